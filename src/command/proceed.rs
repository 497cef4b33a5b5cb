//! Carries a plan out: asks first, tells what happens, keeps the journal, and heeds Ctrl-C.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::address::{Address, Ids};
use crate::aws::absence::{SEEN, unseen};
use crate::aws::wait::{TOLD, Watcher, interrupted, waiting, watched};
use crate::aws::{AwsError, Class};
use crate::cli::Consent;
use crate::event::{Event, Failure};
use crate::execute::{Outcome, Performer, execute};
use crate::kind::{Acting, ErasedKind, Kind as _, kind};
use crate::kinds::upload::Upload;
use crate::plan::Plan;
use crate::report::live::Live;
use crate::report::live::board::Outline;
use crate::run::{self, DriveOptions, RunError, RunSpec, drive};

use super::journal::Journal;
use super::outlook;
use super::prepare::Prepared;
use super::seat::Seat;
use super::session::Session;
use super::{Console, Exit, Problem};

/// How often the live part of a terminal is drawn anew.
const REDRAWN: Duration = Duration::from_millis(250);
/// How often another command's lock is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// For how long after an interrupt the answer to a call in flight is waited for.
const UNANSWERED: Duration = Duration::from_secs(10);

const DISCARD: &str = "add --discard-intermediates, or finish the run first";
const OVERWRITE: &str = "add --overwrite, or put what is there elsewhere first";

/// Asks whether to go on, unless `--yes`.
///
/// # Errors
/// When there is nobody to ask, when the answer is no, or when [`loss_agreed`] refuses.
pub fn consent(console: Console, prepared: &Prepared, consent: &Consent, what: &str) -> Result<(), Problem> {
    loss_agreed(console, prepared, consent)?;
    if !consent.yes && matches!(console, Console::Json(_)) {
        return Err(Problem::failed("with --json nobody is asked: nothing was changed")
            .hint("look at the plan, then add --yes"));
    }
    agree(consent.yes, &format!("Shall this be {what}? [y/N] "), "look at the plan above, then add --yes")
}

/// Asks whether intermediate files may be lost, and objects overwritten that this stack has not written, where they would be.
///
/// # Errors
/// When there is nobody to ask, or when the answer is no.
pub fn loss_agreed(console: Console, prepared: &Prepared, consent: &Consent) -> Result<(), Problem> {
    let lost: Vec<String> = prepared.losses.iter().map(ToString::to_string).collect();
    let others: Vec<String> = prepared.overwrites_others().map(ToString::to_string).collect();
    let discard = "Intermediate files would be lost. Type `discard` to agree: ";
    let overwrite = "What others have written would be overwritten. Type `overwrite` to agree: ";
    for (what, agreed, verb, question, word, hint) in [
        (lost, consent.discard_intermediates, "lose", discard, "discard", DISCARD),
        (others, consent.overwrite, "overwrite", overwrite, "overwrite", OVERWRITE),
    ] {
        if what.is_empty() || agreed {
            continue;
        }
        if consent.yes || !console.asks() {
            return Err(Problem::failed(format!(
                "this would {verb} {}, and nobody has agreed to that (--yes alone does not)",
                what.join(" and ")
            ))
            .hint(hint));
        }
        if ask(question)?.trim() != word {
            return Err(Problem::failed("not agreed: nothing was changed"));
        }
    }
    Ok(())
}

/// Asks a question, unless the answer is known to be yes.
///
/// # Errors
/// When there is nobody to ask (then with this hint), or when the answer is no.
pub fn agree(yes: bool, question: &str, hint: &str) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Problem::failed("there is no terminal to ask on: nothing was changed").hint(hint));
    }
    let answer = ask(question)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Problem::failed("not agreed: nothing was changed"))
    }
}

fn ask(question: &str) -> Result<String, Problem> {
    let failed = |error: std::io::Error| Problem::failed(format!("failed to ask: {error}"));
    let mut err = anstream::stderr();
    write!(err, "{question}").and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(answer)
}

/// The lock that keeps two commands on one machine from changing one stack at once. It is let go of when the run begins,
/// so that two samples can run side by side.
pub struct Lock(Mutex<Option<File>>);

impl Lock {
    /// Takes it; waits, and says so, while another command has it.
    ///
    /// # Errors
    /// When the folder or file cannot be made.
    pub async fn take(state_dir: &Path, console: Console) -> Result<Self, Problem> {
        let path = state_dir.join("lock");
        let failed = |error: std::io::Error| {
            Problem::failed(format!("failed to lock {}: {error}; nothing was changed", path.display()))
                .hint("this folder holds the stack's lock, journal and private keys: make room, or make it a folder that you may write to")
        };
        std::fs::create_dir_all(state_dir).map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Mutex::new(Some(file)))),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if !told => {
                    told = true;
                    console.say("waiting for another seqstack on this machine that is changing this stack");
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(GLANCE).await,
            }
        }
    }

    fn release(&self) {
        if let Ok(mut held) = self.0.lock() {
            held.take();
        }
    }
}

/// Carries the plan out, as one of several during which the same interrupts are heeded.
///
/// # Errors
/// When this machine does not let us begin. What fails on the way is in the outcome.
pub async fn carry_out(
    session: &Session,
    plan: &Plan,
    identity: &str,
    retry: bool,
    lock: Lock,
    interrupts: &Interrupts,
) -> Result<(Outcome, Option<RunEnd>), Problem> {
    let journal = Journal::open(&session.state_dir, session.console);
    let (verbose, console) = (session.verbose, session.console);
    let tell: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(move |event: Event| {
        if matches!(&event, Event::Run(_)) {
            lock.release();
        }
        if !event.is_fleeting() {
            journal.note(&event);
        }
        console.tell(&event, verbose);
    });
    let shown = Shown::begin(console, plan);
    let told = tell.clone();
    let hands = Hands {
        session,
        identity: identity.to_owned(),
        retry,
        stopped: interrupts.stopped.clone(),
        tell: tell.clone(),
        run_end: Mutex::new(None),
        signed_out: AtomicBool::new(false),
    };
    let outcome = Box::pin(execute(plan, &hands, &|event| told(event), &interrupts.raised)).await;
    drop(shown);
    let run_end = hands.run_end.into_inner().ok().flatten();
    if interrupts.raised() {
        session.console.say(&outlook::left(session).await);
    }
    Ok((outcome, run_end))
}

/// Notes an event of the command's own, between plans, and tells it.
pub fn note(session: &Session, event: &Event) {
    Journal::open(&session.state_dir, session.console).note(event);
    session.console.tell(event, session.verbose);
}

/// The live part of a terminal, as long as a plan is being carried out; it is drawn anew all the time.
struct Shown(Option<(&'static Live, tokio::task::JoinHandle<()>)>);

impl Shown {
    fn begin(console: Console, plan: &Plan) -> Self {
        let Console::Live(live) = console else { return Self(None) };
        live.begin(Outline::of(plan));
        let drawing = tokio::spawn(async move {
            let mut times = tokio::time::interval(REDRAWN);
            loop {
                times.tick().await;
                live.tick();
            }
        });
        Self(Some((live, drawing)))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((live, drawing)) = &self.0 {
            drawing.abort();
            live.end();
        }
    }
}

/// Ctrl-C and SIGTERM, as they come.
pub struct Interrupts {
    raised: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
}

impl Interrupts {
    /// Heeds them from now on.
    pub fn heed(session: &Session) -> Self {
        let raised = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = watch::channel(false);
        heed_interrupts(raised.clone(), stop, session.console, session.command("status", &[]));
        Self { raised, stopped }
    }

    /// Whether there was one.
    pub fn raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Becomes true with the first one.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}

/// How the run ended, as far as it was driven from here.
pub type RunEnd = Result<run::Outcome, Cut>;

/// A run that was not driven to its end from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Why.
    pub why: String,
    /// Whether somebody else drives it, or it goes on once AWS can be reached again: its instance is needed then.
    pub goes_on: bool,
}

impl From<RunError> for Cut {
    fn from(error: RunError) -> Self {
        let goes_on = match &error {
            RunError::Held { .. } | RunError::LeaseLost { .. } | RunError::Stopped => true,
            RunError::Aws(error) => {
                matches!(error.class, Class::Passing | Class::Throttled | Class::Unsent | Class::Credentials)
            }
            _ => false,
        };
        Self { why: crate::aws::chain(&error), goes_on }
    }
}

fn heed_interrupts(interrupted: Arc<AtomicBool>, stop: watch::Sender<bool>, console: Console, status: String) {
    tokio::spawn(async move {
        loop {
            let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(term) => term,
                Err(error) => {
                    console.say(&format!("warning: SIGTERM will not be heeded: {error}"));
                    return;
                }
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            if interrupted.swap(true, Ordering::SeqCst) {
                console.leave(Exit::Interrupted);
                std::process::exit(Exit::Interrupted as i32);
            }
            console.say(&format!(
                "interrupted: nothing new is begun, waits end, and calls in flight have {} s to be answered; once more leaves at once. Tasks that run go on; apply again joins them, within an hour of their end (ECS forgets the result of a task that stopped longer ago), and `{status}` shows where they are",
                UNANSWERED.as_secs()
            ));
            // Nobody waits for it any more when the run is over.
            let _run_is_over = stop.send(true);
        }
    });
}

/// The first and the longest pause between two looks whether somebody has signed in again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

struct Hands<'a> {
    session: &'a Session,
    identity: String,
    retry: bool,
    stopped: watch::Receiver<bool>,
    tell: Arc<dyn Fn(Event) + Send + Sync>,
    run_end: Mutex<Option<RunEnd>>,
    /// Whether it has been told that the credentials have expired.
    signed_out: AtomicBool,
}

impl Hands<'_> {
    /// Waits for somebody to sign in again, says so once, and is false when we are asked to stop meanwhile.
    async fn sign_in(&self, at: &Address, error: &AwsError, pause: &mut Duration) -> bool {
        if !self.signed_out.swap(true, Ordering::SeqCst) {
            let text = format!(
                "waiting for credentials: sign in again in another terminal ({}) and it goes on; Ctrl-C ends the waiting ({error})",
                self.session.aws.sign_in()
            );
            (self.tell)(Event::Waiting { at: at.clone(), text });
        }
        let go_on = tokio::select! {
            () = tokio::time::sleep(*pause) => true,
            () = interrupted(&self.stopped) => false,
        };
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        go_on
    }
}

impl Hands<'_> {
    /// Makes one call. What takes long is told; after an interrupt its waits end at once, and an answer of AWS that does
    /// not come is not waited for.
    async fn made(&self, kind: &dyn ErasedKind, acting: &Acting, call: &Value) -> Result<Ids, AwsError> {
        let told = Arc::new(AtomicBool::new(false));
        let (say, tell) = (acting.say.clone(), told.clone());
        let say: Arc<dyn Fn(String) + Send + Sync> = Arc::new(move |text| {
            tell.store(true, Ordering::Relaxed);
            say(text);
        });
        let watcher = Watcher { say: say.clone(), stopped: self.stopped.clone() };
        let acting = Acting { say: say.clone(), ..acting.clone() };
        let mut made = Box::pin(watched(watcher, kind.perform(acting, call.clone())));
        tokio::select! {
            made = &mut made => return made,
            () = tokio::time::sleep(TOLD) => {}
            () = interrupted(&self.stopped) => {}
        }
        if !told.load(Ordering::Relaxed) && !*self.stopped.borrow() {
            say(format!("{}: under way for {} s", kind.describe(call), TOLD.as_secs()));
        }
        tokio::select! {
            made = &mut made => made,
            // An upload heeds the interrupt itself, between two parts, and takes away what it has sent.
            () = async {
                interrupted(&self.stopped).await;
                tokio::time::sleep(UNANSWERED).await;
            }, if kind.table() != Upload::TABLE => Err(AwsError {
                class: Class::Stopped,
                ..AwsError::refused("AWS", "stopped on request while AWS had not answered")
            }),
        }
    }
}

impl Performer for Hands<'_> {
    async fn call(&self, at: &Address, call: Value) -> Result<Ids, Failure> {
        let Some(kind) = kind(&at.kind) else { return Ok(Ids::new()) };
        let (tell, of) = (self.tell.clone(), at.clone());
        let acting = Acting {
            aws: self.session.aws.clone(),
            stack: self.session.stack.info.clone(),
            state_dir: self.session.state_dir.clone(),
            say: Arc::new(move |text| tell(Event::Waiting { at: of.clone(), text })),
            stopped: self.stopped.clone(),
        };
        let mut pause = FIRST_PAUSE;
        let (begun, mut told) = (tokio::time::Instant::now(), false);
        loop {
            match self.made(kind, &acting, &call).await {
                // A call that is refused for its credentials was not carried out, and what came before it in here is
                // found again: identity is in the create calls.
                Err(error) if error.class == Class::Credentials && self.sign_in(at, &error, &mut pause).await => {}
                // What is gone already is no failure of a deletion: this is about something that is not seen yet.
                Err(error) if unseen(&error) && begun.elapsed() < SEEN.within && !*self.stopped.borrow() => {
                    if !told && begun.elapsed() >= TOLD {
                        told = true;
                        let what = format!("AWS to see what {} needs ({error})", kind.describe(&call));
                        (acting.say)(waiting(
                            &what,
                            begun.elapsed(),
                            Some(SEEN.within.saturating_sub(begun.elapsed())),
                        ));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = interrupted(&self.stopped) => {}
                    }
                    pause = (pause * 3 / 2).min(SEEN.most);
                }
                Err(error) => return Err(failure(kind.describe(&call), &error)),
                Ok(ids) => {
                    self.signed_out.store(false, Ordering::SeqCst);
                    return Ok(ids);
                }
            }
        }
    }

    fn describe(&self, at: &Address, call: &Value) -> String {
        kind(&at.kind).map(|kind| kind.describe(call)).unwrap_or_default()
    }

    async fn run(&self, spec: RunSpec) -> Result<(), Failure> {
        let tell = self.tell.clone();
        let seat = Seat::take(&self.session.state_dir, &spec.sample);
        let options = DriveOptions {
            retry: self.retry,
            holder: seat.as_ref().map(|seat| seat.id.clone()),
            watched: matches!(self.session.console, Console::Live(_)),
            ..DriveOptions::new(self.identity.clone())
        };
        let told = move |event| tell(Event::Run(event));
        // The futures of whole commands are large: what is in a box is not on the stack of whoever polls.
        let end = Box::pin(drive(&self.session.aws, &spec, &options, &told, self.stopped.clone())).await;
        drop(seat);
        let end = end.map_err(Cut::from);
        let result = match &end {
            Ok(run::Outcome::Succeeded(_) | run::Outcome::AlreadyDone(_)) => Ok(()),
            // One line, without what a task printed: this goes to the journal.
            Ok(outcome) => {
                let text = crate::report::run::outcome(outcome);
                let ended = !matches!(outcome, run::Outcome::Stopped { .. });
                Err(run_failure(text.lines().next().unwrap_or_default().to_owned(), ended))
            }
            Err(cut) => Err(run_failure(cut.why.clone(), !cut.goes_on)),
        };
        if let Ok(mut place) = self.run_end.lock() {
            *place = Some(end);
        }
        result
    }
}

fn run_failure(error: String, ended: bool) -> Failure {
    Failure { call: "run".to_owned(), error, left: "what ran is in the ledger".to_owned(), hint: None, ended }
}

fn failure(call: String, error: &AwsError) -> Failure {
    let (left, hint) = match error.class {
        Class::Passing | Class::Throttled | Class::Stopped => (
            "whether it took effect is not known".to_owned(),
            Some("apply again: what is there is found, and nothing is made twice".to_owned()),
        ),
        Class::Denied => (String::new(), Some("ask for the right to make this call, then apply again".to_owned())),
        Class::Credentials => (String::new(), Some("sign in again, then apply again".to_owned())),
        Class::Refused | Class::NotFound | Class::Unsent => (String::new(), None),
    };
    Failure { call, error: error.to_string(), left, hint, ended: true }
}

/// How a process ends after a plan was carried out: only a pipeline that ran and failed is [`Exit::RunFailed`].
pub fn exit(outcome: &Outcome, run_end: Option<&RunEnd>) -> Exit {
    match run_end {
        _ if outcome.clean() => Exit::Done,
        Some(Ok(run::Outcome::Failed(_) | run::Outcome::FailedBefore(_))) => Exit::RunFailed,
        _ => Exit::Failed,
    }
}
