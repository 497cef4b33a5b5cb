//! From a session to a plan: reads facts, live state and the run's state side by side, and lowers, compares and plans.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::address::Address;
use crate::aws::facts::FactError;
use crate::aws::trace::branch;
use crate::aws::{AwsError, Class};
use crate::cli::Wish;
use crate::desired::{Desired, lower, wanted};
use crate::diff::{Conflict, Difference, Scope, diff};
use crate::facts::{Facts, Lookup};
use crate::kind::{Context, kind};
use crate::live::{self, Live};
use crate::plan::{self, Phase, Plan, Run, Verb, Why};
use crate::rehearse::rehearse;
use crate::report::plan::{Detail, Header, render};
use crate::report::{self, span};
use crate::run::ledger::RunState;
use crate::run::{Assessment, Due, Ledger, Observed, RunError, RunSpec, Work, observe};
use crate::stack::pipeline::OnFailure;

use super::outlook::{self, Host};
use super::session::Session;
use super::{Exit, Problem};

/// A plan, and what was read to make it.
pub struct Prepared {
    /// What the header says.
    pub header: Header,
    /// The plan.
    pub plan: Plan,
    /// What is due of the run, where there is a pipeline.
    pub due: Option<Due>,
    /// What would be lost, with its worth: to be confirmed apart.
    pub losses: Vec<String>,
    /// What stays as it is.
    pub same: Vec<Address>,
    /// Notes on the run.
    pub run_lines: Vec<String>,
    /// The run's instance, where there is a pipeline.
    pub host: Option<Host>,
    /// What threatens a run that is due.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// The whole plan as text.
    pub fn text(&self, verbose: bool) -> String {
        let mut out = format!("{}\n\n", self.header);
        if verbose {
            for at in &self.same {
                let _infallible = writeln!(out, "    {at}");
            }
        }
        out.push_str(&render(&self.plan, &self.run_lines, Detail { calls: verbose }));
        for loss in &self.losses {
            let _infallible = writeln!(out, "this loses {loss}");
        }
        for warning in &self.warnings {
            let _infallible = writeln!(out, "warning: {warning}");
        }
        out
    }
}

/// The calls that were made so far, and how deep they had to wait for one another.
pub fn calls(session: &Session) -> String {
    let calls = session.aws.trace.calls();
    let total: usize = calls.values().sum();
    let mut out = format!("\n{total} calls, {} dependent round trips deep\n", session.aws.trace.depth());
    for (name, times) in calls {
        let _infallible = writeln!(out, "  {times:>4} {name}");
    }
    out
}

struct Read {
    facts: Facts,
    live: Live,
    observed: Option<Observed>,
}

async fn read(session: &Session, spec: Option<&RunSpec>) -> Result<Read, Problem> {
    let lookups: BTreeSet<Lookup> = wanted(&session.stack)
        .iter()
        .filter_map(|(at, spec)| Some(kind(&at.kind)?.lookups(&at.name, spec)))
        .flatten()
        .collect();
    let keys = session.state_dir.join("keys");
    let (facts, live, observed) = futures_util::future::join3(
        Box::pin(branch(crate::aws::facts::read(&session.aws, &lookups, &session.stack.folder, &keys))),
        Box::pin(branch(live::read(&session.aws, &session.stack))),
        Box::pin(branch(async {
            match spec {
                Some(spec) => observe(&session.aws, spec).await.map(Some),
                None => Ok(None),
            }
        })),
    )
    .await;

    match (facts, live, observed) {
        (Ok(facts), Ok(live), Ok(observed)) => Ok(Read { facts, live, observed }),
        (facts, live, observed) => {
            let mut unread = Unread::default();
            unread.facts(facts.err().unwrap_or_default());
            unread.aws.extend(live.err().unwrap_or_default());
            match observed.err() {
                Some(RunError::Aws(error)) => unread.aws.push(error),
                other => unread.other.extend(other.map(|error| crate::aws::chain(&error))),
            }
            Err(unread.problem(session))
        }
    }
}

/// What had to be read for a plan and could not be.
#[derive(Default)]
struct Unread {
    aws: Vec<AwsError>,
    other: Vec<String>,
}

impl Unread {
    fn facts(&mut self, errors: Vec<FactError>) {
        for error in errors {
            match error {
                FactError::Aws { source, .. } => self.aws.push(source),
                other => self.other.push(fact_error(&other)),
            }
        }
    }

    /// That there is no plan, and why: each cause once.
    fn problem(mut self, session: &Session) -> Problem {
        self.other.sort();
        self.other.dedup();
        let causes: Vec<String> = report::unknown::causes(&self.aws).into_iter().chain(self.other).collect();
        let problem =
            Problem::failed(format!("the live state is not known, so there is no plan:\n  {}", causes.join("\n  ")));
        let any = |class: Class| self.aws.iter().any(|error| error.class == class);
        let what = "what could not be read is not taken for absent";
        if any(Class::Credentials) {
            problem.hint(format!("{what}: sign in ({}, or new keys), then again", session.aws.sign_in()))
        } else if any(Class::Denied) {
            problem.hint(format!("{what}: ask for the right to read it, then again"))
        } else if any(Class::Passing) || any(Class::Throttled) || any(Class::Unsent) {
            problem.hint(format!("{what}: this passes; try again"))
        } else {
            problem
        }
    }
}

/// The plan that converges.
///
/// # Errors
/// When live state is not known, another account answers, or the facts make the stack impossible.
pub async fn converge(session: &Session, wish: &Wish, verb: &str) -> Result<Prepared, Problem> {
    let stack = &session.stack;
    let sample = stack.sample.as_deref();
    // What the run reads is asked for before the account is known: its text needs no facts but the region.
    let early = Facts { region: session.aws.region.clone(), ..Facts::default() };
    let spec = run_spec(session, &early)?;
    let Read { facts, live, observed } = Box::pin(read(session, spec.as_ref())).await?;
    check_account(session, &facts)?;
    let spec = run_spec(session, &facts)?;

    let cx = Context { stack: &stack.info, facts: &facts, sample };
    let adopt: BTreeSet<Address> = wish.adopt.iter().cloned().collect();
    let mut unknown: Vec<String> =
        adopt.iter().filter(|at| !wanted(stack).contains_key(at)).map(ToString::to_string).collect();
    if let Some(first) = unknown.pop() {
        return Err(Problem {
            text: format!("error: --adopt {first}: the stack file has no such resource"),
            hint: None,
            exit: Exit::Usage,
        });
    }
    let scope = Scope { adopt, per_run: stack.info.per_run.clone(), sample: sample.map(str::to_owned) };
    let all = lowered(session, &cx, |_| true)?;
    let cycle = |error: crate::diff::Cycle| Problem::failed(error.to_string());

    let assessment = match (&spec, &observed) {
        (Some(spec), Some(observed)) => {
            let found = live.found.get(&spec.instance_at).and_then(|found| found.first());
            // What this plan would replace holds nothing that a run could keep.
            let differences = diff(&all, &live, &scope).map_err(cycle)?;
            let replaced = matches!(
                differences.by_address.get(&spec.instance_at),
                Some(Difference::Changed { fixed: Some(_), .. })
            );
            let instance = found.filter(|_| !replaced).and_then(|found| found.ids.get("id")).map(String::as_str);
            let uploads = pending_uploads(&all, &live);
            Some(crate::run::due(spec, observed, instance, wish.retry, &uploads))
        }
        _ => None,
    };
    let (assessment, missing) = match assessment {
        Some(Err(missing)) => (None, missing),
        answer => (answer.and_then(Result::ok), Vec::new()),
    };
    let due = assessment.as_ref().map(|assessment| &assessment.due);
    // What a run without inputs would be is shown all the same; it cannot be applied.
    let runs = !missing.is_empty() || matches!(due, Some(Due::Yes(_) | Due::KnownAfterUpload { .. }));
    let keeps = matches!(due, Some(Due::Failed(_)))
        && stack.pipeline.as_ref().is_some_and(|pipeline| pipeline.on_failure == OnFailure::Keep);
    let with_run = if runs { all.clone() } else { without_the_run(&all, &live, keeps) };
    let without_run = Desired(all.0.into_iter().filter(|(at, _)| at.sample.is_none()).collect());

    let first = diff(&with_run, &live, &scope).map_err(cycle)?;
    let same = with_run.0.keys().filter(|at| !first.by_address.contains_key(*at)).cloned().collect();
    let why = |at: &Address| if at.sample.is_some() { Why::RunOver } else { Why::NotInStack };
    let next = rehearse(&live, &with_run, &first);
    let mut converge = plan::plan(Phase::Converge, first, &why);
    converge.conflicts.extend(live.absent.iter().map(|(at, id)| Conflict {
        at: at.clone(),
        why: format!("there is no {} `{id}`, which the stack file calls `existing`", at.kind),
        hint: "`existing` names something that somebody else made: correct the name, or leave `existing` out to have it made".to_owned(),
    }));

    converge.conflicts.extend(spec.as_ref().filter(|_| !missing.is_empty()).map(|spec| Conflict {
        at: plan::run_address(&spec.sample),
        why: format!("no object matches {}", missing.join(", ")),
        hint: "the run's inputs must be there before it: upload them, or mend the keys in [pipeline] inputs".to_owned(),
    }));

    // Whoever drives a run on it needs the instance: it is not taken from under them.
    let ends_instance = |at: &Address| converge.steps.keys().any(|id| id.at == *at && id.verb == Verb::Delete);
    let driver = observed.as_ref().and_then(|observed| observed.ledger.as_ref()).and_then(crate::run::due::holder);
    if let (Some(spec), Some(driver)) = (&spec, driver)
        && ends_instance(&spec.instance_at)
    {
        converge.conflicts.push(Conflict {
            at: spec.instance_at.clone(),
            why: format!("{} is driving a run on it since {}", driver.who, driver.since),
            hint: "wait until that has ended (a driver that died is given up after five minutes), or stop it with destroy --stop-run".to_owned(),
        });
    }

    let host = spec.as_ref().map(|spec| outlook::host(spec, &with_run, &live));
    let left = match due {
        Some(Due::Yes(work)) => Some(work.steps.as_slice()),
        Some(Due::KnownAfterUpload { .. }) => Some([].as_slice()),
        _ => None,
    };
    let warnings = match (left, &spec, &host) {
        (Some(left), Some(spec), Some(host)) => {
            let ledger = observed.as_ref().and_then(|observed| observed.ledger.as_ref());
            outlook::warnings(&facts, host, left, spec, ledger.map(|kept| &kept.ledger))
        }
        _ => Vec::new(),
    };
    let mut run_lines = match (&assessment, &spec) {
        (Some(assessment), _) => run_lines(assessment, sample),
        (None, Some(spec)) => {
            spec.steps.iter().enumerate().map(|(n, step)| format!("{:>2} {}", n + 1, step.name)).collect()
        }
        (None, None) => Vec::new(),
    };
    if let (Some(spec), Some(observed)) = (&spec, &observed) {
        run_lines.extend(outlook::ledger_lines(session, spec, observed, &live).await?);
    }
    let losses = losses(&converge, observed.as_ref());
    let plan = match spec {
        Some(spec) if runs => {
            let settle =
                plan::plan(Phase::Settle, diff(&without_run, &next, &scope).map_err(cycle)?, &|_| Why::RunOver);
            let settle_always =
                stack.pipeline.as_ref().is_some_and(|pipeline| pipeline.on_failure == OnFailure::Release);
            let reasons = match due {
                Some(Due::Yes(work)) => work.reasons.clone(),
                Some(_) => vec!["its inputs are known only after the upload".to_owned()],
                None => vec!["its inputs are not there".to_owned()],
            };
            plan::with_run(converge, Run { spec, settle_always }, reasons, settle)
        }
        _ => converge,
    };
    let due = assessment.map(|assessment| assessment.due);
    Ok(Prepared { header: header(session, &facts, verb), plan, due, losses, same, run_lines, host, warnings })
}

/// The plan that takes everything down.
///
/// # Errors
/// As [`converge`].
pub async fn destroy(session: &Session) -> Result<Prepared, Problem> {
    let Read { facts, live, .. } = read_for_destroy(session).await?;
    check_account(session, &facts)?;
    // Every sample's compute goes, so nothing is another sample's here.
    let scope = Scope::default();
    let differences = diff(&Desired::default(), &live, &scope).map_err(|error| Problem::failed(error.to_string()))?;
    let plan = plan::plan(Phase::Converge, differences, &|_| Why::Destroy);
    Ok(Prepared {
        header: header(session, &facts, "destroy"),
        plan,
        due: None,
        losses: Vec::new(),
        same: Vec::new(),
        run_lines: Vec::new(),
        host: None,
        warnings: Vec::new(),
    })
}

async fn read_for_destroy(session: &Session) -> Result<Read, Problem> {
    let (facts, live) =
        futures_util::future::join(caller(session), Box::pin(branch(live::read(&session.aws, &session.stack)))).await;
    match (facts, live) {
        (Ok(facts), Ok(live)) => Ok(Read { facts, live, observed: None }),
        (facts, live) => {
            let mut unread = Unread::default();
            unread.facts(facts.err().unwrap_or_default());
            unread.aws.extend(live.err().unwrap_or_default());
            Err(unread.problem(session))
        }
    }
}

/// The account, and who asks.
///
/// # Errors
/// When AWS does not say.
pub(super) async fn who_asks(session: &Session) -> Result<Facts, Problem> {
    let told = |errors: Vec<FactError>| errors.iter().map(fact_error).collect::<Vec<_>>().join("\n");
    caller(session).await.map_err(|errors| Problem::failed(told(errors)))
}

async fn caller(session: &Session) -> Result<Facts, Vec<FactError>> {
    let keys = session.state_dir.join("keys");
    let nothing_else = BTreeSet::new();
    let asked = crate::aws::facts::read(&session.aws, &nothing_else, &session.stack.folder, &keys);
    Box::pin(branch(asked)).await
}

/// A fact that could not be had, with its cause and what to do about it.
fn fact_error(error: &FactError) -> String {
    let hint = error.hint().map(|hint| format!("\n    hint: {hint}")).unwrap_or_default();
    format!("{}{hint}", crate::aws::chain(error))
}

/// Refuses any account but the stack file's.
///
/// # Errors
/// When it is another.
pub(super) fn check_account(session: &Session, facts: &Facts) -> Result<(), Problem> {
    match &session.stack.account {
        Some(account) if *account != facts.account && session.sandbox.is_none() => Err(Problem::failed(format!(
            "the stack is for account {account}, and these credentials are of {}",
            facts.account
        ))
        .hint("sign in to the right account, or pick its profile with --profile")),
        _ => Ok(()),
    }
}

pub(super) fn header(session: &Session, facts: &Facts, verb: &str) -> Header {
    Header {
        verb: verb.to_owned(),
        stack: session.stack.info.name.clone(),
        sample: session.stack.sample.clone(),
        sandbox: session.sandbox.clone(),
        account: facts.account.clone(),
        region: session.stack.info.region.clone(),
        identity: facts.identity.clone(),
    }
}

fn lowered(session: &Session, cx: &Context<'_>, include: impl Fn(&Address) -> bool) -> Result<Desired, Problem> {
    lower(&session.stack, cx, include).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(|(at, why)| format!("{at}: {why}")).collect();
        Problem::failed(lines.join("\n  "))
    })
}

fn run_spec(session: &Session, facts: &Facts) -> Result<Option<RunSpec>, Problem> {
    let stack = &session.stack;
    let Some(pipeline) = &stack.pipeline else { return Ok(None) };
    let cx = Context { stack: &stack.info, facts, sample: stack.sample.as_deref() };
    let mut definitions = lowered(session, &cx, |at| at.kind == "task_definition")?;
    // Of an instance a run needs only what sort of machine it is, which takes no facts: its spec says that.
    definitions.0.extend(wanted(stack).into_iter().filter(|(at, _)| at.kind == "instance"));
    crate::run::spec::lower(pipeline, &cx, &definitions.0).map(Some).map_err(Problem::failed)
}

/// What is desired while no run is due. What a failed run keeps stays as it is: without a run there is no use in another.
fn without_the_run(all: &Desired, live: &Live, keeps: bool) -> Desired {
    let kept = |at: &Address| live.found.get(at).and_then(|found| found.first()).filter(|_| keeps);
    let states = all.0.iter().filter_map(|(at, state)| match at.sample {
        None => Some((at.clone(), state.clone())),
        Some(_) => kept(at).map(|found| (at.clone(), found.state.clone())),
    });
    Desired(states.collect())
}

/// Objects that this plan will upload, as bucket and key.
fn pending_uploads(desired: &Desired, live: &Live) -> BTreeSet<(String, String)> {
    let objects = |state: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        state
            .get("objects")
            .and_then(|objects| objects.as_object())
            .map(|objects| objects.clone().into_iter().collect())
            .unwrap_or_default()
    };
    let mut out = BTreeSet::new();
    for (at, want) in desired.0.iter().filter(|(at, _)| at.kind == "upload") {
        let there =
            live.found.get(at).and_then(|found| found.first()).map(|found| objects(&found.state)).unwrap_or_default();
        let bucket = want.get("bucket").and_then(|bucket| bucket.as_str()).unwrap_or_default();
        for (key, object) in objects(want) {
            if there.get(&key) != Some(&object) {
                out.insert((bucket.to_owned(), key));
            }
        }
    }
    out
}

/// What ends with an instance that this plan ends before any run of it was done.
fn losses(plan: &Plan, observed: Option<&Observed>) -> Vec<String> {
    let ledger = observed.and_then(|observed| observed.ledger.as_ref()).map(|kept| &kept.ledger);
    plan.phase(Phase::Converge)
        .filter(|(id, _)| id.at.kind == "instance" && id.verb == Verb::Delete)
        .filter_map(|(id, step)| {
            Some(format!("the intermediate files on {} ({})", id.at, intermediates(ledger?, &step.subject)?))
        })
        .collect()
}

/// What is on an instance, with its worth: the steps that succeeded there, of a run that has not.
pub fn intermediates(ledger: &Ledger, instance: &str) -> Option<String> {
    let run = ledger.run().filter(|run| run.state != RunState::Succeeded)?;
    let kept: Vec<_> = run
        .steps
        .iter()
        .filter(|step| ledger.kept(&step.name, &step.key, instance))
        .filter_map(|step| Some((step.name.as_str(), ledger.last_attempt(&step.name)?.seconds().unwrap_or(0))))
        .collect();
    let seconds: i64 = kept.iter().map(|(_, seconds)| seconds).sum();
    let names = match kept.as_slice() {
        [] => return None,
        [(only, _)] => format!("step {only}"),
        [(first, _), .., (last, _)] => format!("steps {first} to {last}"),
    };
    Some(format!("{names}, {}", span(seconds)))
}

fn run_lines(assessment: &Assessment, sample: Option<&str>) -> Vec<String> {
    let sample = sample.unwrap_or("the run");
    let mut lines = match &assessment.due {
        Due::KnownAfterUpload { .. } => vec!["which pipeline steps run is known after the upload".to_owned()],
        Due::No(done) => {
            let when = done.ended_at.map(|at| format!(" at {at:.0}")).unwrap_or_default();
            vec![format!("pipeline: {sample} has run{when}, and what it wrote is still there")]
        }
        Due::Failed(earlier) => vec![
            format!("pipeline: the same run of {sample} failed before: {}", report::run::earlier(earlier)),
            "nothing has changed since, so it is not started again; --retry does".to_owned(),
        ],
        Due::Yes(work) => work_lines(work),
    };
    lines.extend(assessment.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn work_lines(work: &Work) -> Vec<String> {
    let width = work.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = work
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let verb = if step.kept { "keep" } else { "run " };
            format!("{:>2} {:<width$}  {verb}  {}", index + 1, step.name, step.why)
        })
        .collect();
    lines.extend(
        work.in_progress
            .as_ref()
            .map(|holder| format!("{} is driving this run since {}; it will be joined", holder.who, holder.since)),
    );
    lines
}
