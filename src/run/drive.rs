//! Driving one run: turns the steps that are due into tasks on the run's own instance, and their ends into the ledger.
//!
//! One loop: record what ended and what is about to start in one write, start it, look at what runs. A task is started
//! only after its attempt, token and whole request are in the ledger, so whoever comes after gets the same task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::attempts::Tried;
use super::doubt::doubted;
use super::due::{Due, StepPlan, due};
use super::hear::{Places, listen};
use super::host::Host;
use super::key::{Keys, keys, parts};
use super::lease::{Book, Fresh, Patience, Wants};
use super::ledger::{Attempt, Request, RunState, log_stream};
use super::observe::{Kept, Observed, objects};
use super::place::request;
use super::spec::{RunSpec, StepSpec};
use super::stop::close;
use super::verdict::{Judgement, TaskEnd, Verdict};
use super::world::{Live, World};
use super::{Outcome, RunError, RunEvent};
use crate::aws::Aws;
use crate::aws::wait::TOLD;

/// The first and the longest pause between looks at running tasks: a step follows another in less than 2 s.
const LOOKS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(1500));
/// How often EC2 is asked whether the instance is there: ECS takes minutes to notice that one went away.
pub(super) const HOST_CHECK: Duration = Duration::from_secs(30);
/// For how long ECS must say that it does not know a task, with no other answer in between, before that is believed. Its
/// answers lag behind (ECS API, RunTask: "eventual consistency model"): one alone says nothing.
pub(super) const VISIBLE: Duration = Duration::from_secs(60);

/// How a run is driven.
#[derive(Clone)]
pub struct DriveOptions {
    /// Starts a run again that failed and whose file has not changed.
    pub retry: bool,
    /// Who asks, as an ARN: others that want the lease are shown it.
    pub identity: String,
    /// The name of this machine.
    pub host: String,
    /// An id that only one living process can be using (it holds a lock on where the id is kept): with it, a lease that
    /// this machine's last, killed process left behind is taken over at once. Left out, a random one.
    pub holder: Option<String>,
    /// Somebody watches: tells how long ago running steps wrote their last lines, and when the instance ends itself.
    pub watched: bool,
    /// Makes tokens and nonces.
    pub fresh: Arc<Fresh>,
}

impl DriveOptions {
    /// For this identity, on this machine, with the system's randomness.
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            retry: false,
            identity: identity.into(),
            host: host_name(),
            holder: None,
            watched: false,
            fresh: Arc::new(random),
        }
    }

    pub(super) fn who(&self) -> String {
        format!("{} on {}", self.identity, self.host)
    }

    pub(super) fn holder_id(&self) -> String {
        self.holder.clone().unwrap_or_else(|| (self.fresh)())
    }
}

fn random() -> String {
    let mut bytes = [0u8; 16];
    // The system's randomness does not fail once the system is up; the clock keeps even that case apart.
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = now.as_nanos().to_be_bytes();
    }
    hex::encode(bytes)
}

fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed host".to_owned())
}

/// Drives a run to its end. The spec's links are settled.
///
/// # Errors
/// When the run cannot be driven: another holds it, AWS refuses, the agent does not come.
pub async fn drive(
    aws: &Aws,
    spec: &RunSpec,
    options: &DriveOptions,
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<Outcome, RunError> {
    let live = Live { aws, bucket: &spec.ledger_bucket, key: &spec.ledger_key };
    drive_in(&live, spec, options, events, stop).await
}

pub(super) async fn drive_in<W: World>(
    world: &W,
    spec: &RunSpec,
    options: &DriveOptions,
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<Outcome, RunError> {
    let (cluster, instance) = (spec.cluster.id()?.to_owned(), spec.instance.id()?.to_owned());
    let patience = Patience { events, stop };
    let at = format!("s3://{}/{}", spec.ledger_bucket, spec.ledger_key);
    let (holder, who) = (options.holder_id(), options.who());
    let wants = Wants { holder: &holder, who: &who, by_force: false, at: &at };
    let book = match Book::take(world, &patience, options.fresh.as_ref(), &wants).await {
        Err(RunError::Stopped) => {
            let left = spec.steps.iter().map(|step| step.name.clone()).collect();
            return Ok(Outcome::Stopped { running: BTreeMap::new(), left });
        }
        other => other?,
    };
    let mut driver = Driver {
        world,
        spec,
        options,
        patience: &patience,
        book: &book,
        cluster,
        instance,
        keys: Keys { run: String::new(), steps: BTreeMap::new() },
        plans: Vec::new(),
        stages: BTreeMap::new(),
        registered: None,
        audible: watch::Sender::default(),
        host: Host::new(),
        spared: BTreeSet::new(),
    };
    let (audible, on) = (driver.audible.subscribe(), driver.instance.clone());
    let listening = async {
        if !options.watched {
            return std::future::pending().await;
        }
        listen(world, &on, &audible, events).await
    };
    let work = async {
        let outcome = driver.go().await;
        if let Err(error) = &outcome
            && !matches!(error, RunError::LeaseLost { .. } | RunError::LedgerGone)
            && let Err(error) = book.release(|_, _| ()).await
        {
            // The lease runs out by itself; what went wrong before is what the user has to know.
            tracing::info!(%error, "the lease could not be released");
        }
        match outcome {
            Err(RunError::Stopped) => Ok(driver.stopped().await),
            other => other,
        }
    };
    tokio::select! {
        outcome = work => outcome,
        error = book.renew() => Err(error),
        never = listening => match never {},
    }
}

/// Where a step stands.
pub(super) enum Stage {
    /// For what it follows, or for another try.
    Waiting { until: Instant },
    /// Its attempt is in the ledger, and no task is known.
    Placing { n: u32, token: String, request: Box<Request>, since: Instant, until: Instant, told: bool },
    /// Its task is not known to have stopped; `missing`: since when ECS says, each time, that it does not know it.
    Running { n: u32, arn: String, missing: Option<Instant> },
    /// Its result is there.
    Done,
    /// It failed, and is not tried again.
    Over,
}

/// An attempt that ended.
pub(super) struct Ended {
    pub(super) step: String,
    pub(super) n: u32,
    pub(super) end: TaskEnd,
    pub(super) judgement: Judgement,
    /// After which pause another attempt follows in this drive, if one may.
    pub(super) again: Option<Duration>,
}

/// One drive of one run.
pub(super) struct Driver<'a, W> {
    pub(super) world: &'a W,
    pub(super) spec: &'a RunSpec,
    options: &'a DriveOptions,
    pub(super) patience: &'a Patience<'a>,
    pub(super) book: &'a Book<'a, W>,
    pub(super) cluster: String,
    pub(super) instance: String,
    pub(super) keys: Keys,
    pub(super) plans: Vec<StepPlan>,
    pub(super) stages: BTreeMap<String, Stage>,
    /// CPU units and MiB that the instance registered with, once they are known.
    pub(super) registered: Option<(i64, i64)>,
    /// Where running steps write their logs.
    pub(super) audible: watch::Sender<Places>,
    /// What is known of the machine.
    pub(super) host: Host,
    /// The steps that were tried again because IAM may not have told everybody of a role's rights yet.
    pub(super) spared: BTreeSet<String>,
}

impl<W: World> Driver<'_, W> {
    async fn go(&mut self) -> Result<Outcome, RunError> {
        let (inputs, outputs) = self.patience.ask(|| objects(self.world, self.spec)).await?;
        self.keys = keys(self.spec, &inputs);
        let (stack, region) = (&self.spec.stack, &self.spec.region);
        let tasks = self.patience.ask(|| self.world.tagged(&self.cluster, stack, region)).await?;
        let doubted = doubted(&self.book.ledger().await, &tasks, &self.spec.sample);
        if !doubted.is_empty() {
            self.book.update(|ledger, _| ledger.doubt(&doubted)).await?;
            for (name, why) in &doubted {
                (self.patience.events)(RunEvent::StepDoubted { name: name.clone(), why: why.clone() });
            }
        }
        let ledger = self.book.ledger().await;
        let kept = Kept { ledger, etag: String::new(), age: Duration::ZERO };
        let observed = Observed { inputs, outputs, ledger: Some(kept), unusable: None };
        let assessed = due(self.spec, &observed, Some(&self.instance), self.options.retry, &BTreeSet::new())
            .map_err(RunError::NoSuchInputs)?;
        match assessed.due {
            Due::No(done) => {
                self.book.release(|_, _| ()).await?;
                return Ok(Outcome::AlreadyDone(done));
            }
            Due::Failed(earlier) => {
                self.book.release(|_, _| ()).await?;
                return Ok(Outcome::FailedBefore(Box::new(earlier)));
            }
            Due::Yes(work) => self.plans = work.steps,
            // Nothing is pending by now: uploads come before the run.
            Due::KnownAfterUpload { uploads } => return Err(RunError::NoSuchInputs(uploads)),
        }
        if let Some(outcome) = Box::pin(self.settle_in(&tasks)).await? {
            return Ok(outcome);
        }
        self.begin(&observed.inputs).await?;
        self.leftovers(&doubted).await?;
        self.strays(tasks).await?;
        for plan in self.plans.iter().filter(|plan| plan.kept) {
            (self.patience.events)(RunEvent::StepKept { name: plan.name.clone() });
        }
        let waits = self.stages.values().any(|stage| matches!(stage, Stage::Waiting { .. } | Stage::Placing { .. }));
        // Where a task runs already, its machine is looked after by the loop, which ends one that hangs.
        let runs = self.stages.values().any(|stage| matches!(stage, Stage::Running { .. }));
        if waits && !runs {
            self.registered = self.wait_for_agent().await?;
            if self.registered.is_none() {
                let steps = self.open_steps();
                return self.lost(steps, "it was gone before its container agent registered").await;
            }
        }
        self.run_steps().await
    }

    async fn run_steps(&mut self) -> Result<Outcome, RunError> {
        let mut ended: Vec<Ended> = Vec::new();
        let mut bad: Option<Ended> = None;
        let mut pause = LOOKS.0;
        self.host = Host::new();
        loop {
            for one in &ended {
                self.apply(one);
            }
            let lost = ended.iter().position(|one| one.judgement.verdict == Verdict::HostLost);
            let first_bad = lost.or_else(|| {
                ended.iter().position(|one| one.again.is_none() && one.judgement.verdict != Verdict::Succeeded)
            });
            let stopping = self.patience.stopped();
            let ready = if bad.is_some() || first_bad.is_some() || stopping { Vec::new() } else { self.ready() };
            let ready = match self.begins_again(&ready).await {
                // What runs beside it is not ended for it.
                Some(_) if self.stages.values().any(|stage| matches!(stage, Stage::Running { .. })) => Vec::new(),
                Some(because) => {
                    self.record(&ended, &[]).await?;
                    return self.used(because).await;
                }
                None => ready,
            };
            if !ended.is_empty() || !ready.is_empty() {
                self.record(&ended, &ready).await?;
                pause = LOOKS.0;
            }
            if let Some(index) = first_bad {
                let next = ended.swap_remove(index);
                // A lost host explains whatever else went wrong on it.
                if bad.is_none() || next.judgement.verdict == Verdict::HostLost {
                    bad = Some(next);
                }
            }
            ended.clear();
            // Also while that was written down: nothing of it is begun.
            if self.patience.stopped() {
                return Err(RunError::Stopped);
            }
            ended.extend(if bad.is_some() { self.give_up_placing() } else { self.place().await? });
            if !ended.is_empty() {
                continue;
            }
            let active = |stage: &Stage| matches!(stage, Stage::Running { .. } | Stage::Placing { .. });
            let waiting = |stage: &Stage| matches!(stage, Stage::Waiting { .. });
            if !self.stages.values().any(active) && (bad.is_some() || !self.stages.values().any(waiting)) {
                break;
            }
            self.patience.sleep(pause).await?;
            pause = (pause * 3 / 2).min(LOOKS.1);
            ended = self.look().await?;
        }
        let Some(bad) = bad else { return self.finish().await };
        match &bad.judgement.verdict {
            Verdict::HostLost => self.host_lost(bad).await,
            Verdict::Cancelled => {
                let explanation = bad.judgement.explanation.clone();
                let state = RunState::Cancelled { by: explanation.clone() };
                self.book.release(|ledger, now| ledger.end_run(state, now)).await?;
                Ok(Outcome::Cancelled { step: bad.step, explanation })
            }
            _ => self.fail(&bad, self.open_steps()).await,
        }
    }

    /// The steps that may start now.
    fn ready(&self) -> Vec<String> {
        let now = Instant::now();
        self.spec
            .steps
            .iter()
            .filter(|step| matches!(self.stages.get(&step.name), Some(Stage::Waiting { until }) if *until <= now))
            .filter(|step| step.follows.iter().all(|before| matches!(self.stages.get(before), Some(Stage::Done))))
            .map(|step| step.name.clone())
            .collect()
    }

    /// A random text.
    pub(super) fn fresh(&self) -> String {
        (self.options.fresh)()
    }

    pub(super) fn open_steps(&self) -> Vec<String> {
        let open = |name: &String| !matches!(self.stages.get(name), Some(Stage::Done | Stage::Over));
        self.spec.steps.iter().map(|step| step.name.clone()).filter(open).collect()
    }

    fn apply(&mut self, ended: &Ended) {
        let stage = match (&ended.judgement.verdict, ended.again) {
            (Verdict::Succeeded, _) => Stage::Done,
            (_, Some(pause)) => Stage::Waiting { until: Instant::now() + pause },
            _ => Stage::Over,
        };
        self.stages.insert(ended.step.clone(), stage);
    }

    /// Writes what ended, and the attempts that are about to be made, at once.
    async fn record(&mut self, ended: &[Ended], ready: &[String]) -> Result<(), RunError> {
        let mut fresh: Vec<(&StepSpec, String, Request)> = Vec::new();
        let mut again = Vec::new();
        let before = self.book.ledger().await;
        for step in self.spec.steps.iter().filter(|step| ready.contains(&step.name)) {
            let token = self.fresh();
            let mut request = request(self.spec, step, &token)?;
            let tried = Tried::of(&before, step, &self.keys.steps[&step.name], &self.instance);
            let memory = tried.memory(step, self.registered.map(|(_, memory)| memory));
            request.memory = memory.or(request.memory);
            again.extend(tried.again(step, memory));
            fresh.push((step, token, request));
        }
        let keys = &self.keys;
        let numbers = self
            .book
            .update(|ledger, now| {
                for one in ended {
                    if let Some(attempt) = ledger.attempt_mut(&one.step, one.n) {
                        close(attempt, None, &one.end, &one.judgement);
                    }
                }
                let mut numbers = Vec::new();
                for (step, token, request) in &fresh {
                    let after = step
                        .follows
                        .iter()
                        .filter_map(|name| Some((name.clone(), ledger.last_attempt(name)?.n)))
                        .collect();
                    let n = ledger.next_number(&step.name);
                    numbers.push(n);
                    ledger.push_attempt(
                        &step.name,
                        Attempt {
                            n,
                            key: keys.steps[&step.name].clone(),
                            parts: parts(&step.content),
                            after,
                            token: token.clone(),
                            made_at: Some(now),
                            request: request.clone(),
                            task_arn: None,
                            started_at: None,
                            ended_at: None,
                            verdict: None,
                            explanation: None,
                            exit_code: None,
                            image_digest: None,
                            log_stream: None,
                            void: false,
                        },
                    );
                }
                numbers
            })
            .await?;
        for one in ended {
            let seconds = one.end.started_at.zip(one.end.ended_at).map(|(from, to)| to.as_second() - from.as_second());
            (self.patience.events)(RunEvent::StepEnded {
                name: one.step.clone(),
                attempt: one.n,
                verdict: one.judgement.verdict.clone(),
                explanation: one.judgement.explanation.clone(),
                exit_code: one.end.exit_code,
                seconds,
            });
            if let Some(pause) = one.again.filter(|pause| *pause > TOLD) {
                (self.patience.events)(RunEvent::StepWaiting {
                    name: one.step.clone(),
                    reason: "a pause, after which it is tried again".to_owned(),
                    at_most_seconds: Some(pause.as_secs()),
                });
            }
        }
        again.into_iter().for_each(self.patience.events);
        let now = Instant::now();
        for ((step, token, request), n) in fresh.into_iter().zip(numbers) {
            (self.patience.events)(RunEvent::StepStarting { name: step.name.clone(), attempt: n });
            let request = Box::new(request);
            let stage = Stage::Placing { n, token, request, since: now, until: now, told: false };
            self.stages.insert(step.name.clone(), stage);
        }
        Ok(())
    }

    pub(super) fn log_place(&self, step: &str, task_arn: &str) -> Option<(String, String)> {
        let step = self.spec.steps.iter().find(|one| one.name == step)?;
        let log = step.log.as_ref()?;
        Some((log.group.id().ok()?.to_owned(), log_stream(&log.prefix, &step.container, task_arn)?))
    }

    /// We were asked to stop: what runs on, and what was not started.
    async fn stopped(&self) -> Outcome {
        let ledger = self.book.ledger().await;
        let running: BTreeMap<String, String> =
            ledger.open().filter_map(|(step, attempt)| Some((step.to_owned(), attempt.task_arn.clone()?))).collect();
        let done = |name: &str| {
            self.keys.steps.get(name).is_some_and(|key| ledger.kept(name, key, &self.instance))
                || running.contains_key(name)
        };
        let left = self.spec.steps.iter().map(|step| step.name.clone()).filter(|name| !done(name)).collect();
        Outcome::Stopped { running, left }
    }
}

/// What is said of a task that ECS does not know any more.
pub(super) fn forgotten() -> Judgement {
    Judgement {
        verdict: Verdict::Unknown,
        explanation:
            "ECS does not know its task any more (it keeps them for about an hour after they stop), so how it \
                      ended cannot be told"
                .to_owned(),
        next: "apply again: it runs again".to_owned(),
    }
}

pub(super) fn host_lost(instance: &str) -> Judgement {
    Judgement {
        verdict: Verdict::HostLost,
        explanation: format!("the instance {instance} has been terminated"),
        next: "apply again: a new instance is made and the run starts over".to_owned(),
    }
}
