//! Driving one run: turns the steps that are due into tasks on the run's own instance, and their ends into the ledger.
//!
//! One loop: record what ended and what is about to start in one write, start it, look at what runs. A task is started
//! only after its attempt, token and whole request are in the ledger, so whoever comes after gets the same task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::due::{Due, StepPlan, due};
use super::key::{Keys, keys, parts, settings};
use super::lease::{Book, Fresh, Patience, Wants};
use super::ledger::{Attempt, Object, Request, RunRecord, RunState, StepNote};
use super::observe::{Kept, Observed, objects};
use super::place::{Answer, answer, request, too_large};
use super::spec::{RunSpec, StepSpec};
use super::stop::{close, put_down};
use super::verdict::{Judgement, TaskEnd, Verdict, verdict};
use super::world::{Agent, Live, TaskNow, World};
use super::{Outcome, RunError, RunEvent};
use crate::aws::Aws;
use crate::aws::wait::Pace;

/// How often a step that did not start for a passing reason is tried in one drive.
const TRIES: u32 = 3;
/// The first and the longest pause between looks at running tasks: a step follows another in less than 2 s.
const LOOKS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(1500));
/// How often EC2 is asked whether the instance is there: ECS takes minutes to notice that one went away.
const HOST_CHECK: Duration = Duration::from_secs(30);
/// How long other things may take to make room on an instance that is large enough.
const ROOM: Duration = Duration::from_secs(60);
/// How long an instance that is there may be missing from the cluster.
const NOWHERE: Duration = Duration::from_secs(120);
/// How long a fresh task may be unknown to DescribeTasks.
const VISIBLE: Duration = Duration::from_secs(60);

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
    /// Makes tokens and nonces.
    pub fresh: Arc<Fresh>,
}

impl DriveOptions {
    /// For this identity, on this machine, with the system's randomness.
    pub fn new(identity: impl Into<String>) -> Self {
        Self { retry: false, identity: identity.into(), host: host_name(), holder: None, fresh: Arc::new(random) }
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
        tries: BTreeMap::new(),
        containers: BTreeMap::new(),
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
    }
}

/// Where a step stands.
enum Stage {
    /// For what it follows, or for another try.
    Waiting { until: Instant },
    /// Its attempt is in the ledger, and no task is known.
    Placing { n: u32, token: String, request: Box<Request>, since: Instant, until: Instant, told: bool },
    /// Its task is not known to have stopped.
    Running { n: u32, arn: String, since: Instant },
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
    /// Whether another attempt may follow in this drive.
    again: bool,
}

/// One drive of one run.
pub(super) struct Driver<'a, W> {
    pub(super) world: &'a W,
    pub(super) spec: &'a RunSpec,
    options: &'a DriveOptions,
    pub(super) patience: &'a Patience<'a>,
    pub(super) book: &'a Book<'a, W>,
    cluster: String,
    pub(super) instance: String,
    pub(super) keys: Keys,
    plans: Vec<StepPlan>,
    stages: BTreeMap<String, Stage>,
    tries: BTreeMap<String, u32>,
    /// Container, log group and stream prefix by step.
    containers: BTreeMap<String, (String, Option<(String, String)>)>,
}

impl<W: World> Driver<'_, W> {
    async fn go(&mut self) -> Result<Outcome, RunError> {
        let (inputs, outputs) = self.patience.ask(|| objects(self.world, self.spec)).await?;
        self.keys = keys(self.spec, &inputs);
        let ledger = self.book.ledger().await;
        let kept = Kept { ledger, etag: String::new(), age: Duration::ZERO };
        let observed = Observed { inputs, outputs, ledger: Some(kept) };
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
        self.begin(&observed.inputs).await?;
        self.leftovers().await?;
        self.name_containers().await?;
        for plan in self.plans.iter().filter(|plan| plan.kept) {
            (self.patience.events)(RunEvent::StepKept { name: plan.name.clone() });
        }
        let waits = self.stages.values().any(|stage| matches!(stage, Stage::Waiting { .. } | Stage::Placing { .. }));
        if waits && !self.wait_for_agent().await? {
            let steps = self.open_steps();
            return self.lost(steps, "the instance went away before its container agent registered").await;
        }
        self.run_steps().await
    }

    /// Records that the run is on, and takes results that do not count any more out of account.
    async fn begin(&mut self, inputs: &[Object]) -> Result<(), RunError> {
        let steps: Vec<StepNote> = self
            .spec
            .steps
            .iter()
            .map(|step| StepNote {
                name: step.name.clone(),
                key: self.keys.steps[&step.name].clone(),
                parts: parts(&step.content),
            })
            .collect();
        let (plans, keys, instance) = (&self.plans, &self.keys, &self.instance);
        let settings = settings(self.spec);
        self.book
            .update(|ledger, now| {
                for plan in plans.iter().filter(|plan| !plan.kept) {
                    let last = ledger.last_attempt(&plan.name).filter(|last| last.verdict == Some(Verdict::Succeeded));
                    let last = last.map(|last| last.n);
                    if let Some(attempt) = last.and_then(|n| ledger.attempt_mut(&plan.name, n)) {
                        // Gone with another instance is not void: a later plan should still say so.
                        attempt.void |= attempt.request.instance == *instance;
                    }
                }
                let going_on = ledger.runs.last_mut().filter(|run| run.key == keys.run && run.state == RunState::Running);
                if let Some(run) = going_on {
                    run.instance.clone_from(instance);
                    run.settings = settings;
                    return;
                }
                ledger.push_run(RunRecord {
                    key: keys.run.clone(),
                    settings,
                    inputs: inputs.to_vec(),
                    steps,
                    instance: instance.clone(),
                    started_at: now,
                    ended_at: None,
                    state: RunState::Running,
                    outputs: Vec::new(),
                });
            })
            .await
    }

    /// What an earlier driver started: followed where it is what we would start, stopped where it is not.
    async fn leftovers(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        self.stages = self
            .plans
            .iter()
            .map(|plan| (plan.name.clone(), if plan.kept { Stage::Done } else { Stage::Waiting { until: now } }))
            .collect();
        let ledger = self.book.ledger().await;
        let mut strays = Vec::new();
        for (name, attempt) in ledger.open() {
            let step = self.spec.steps.iter().find(|step| step.name == name);
            let follow = step.is_some_and(|step| {
                self.keys.steps.get(name) == Some(&attempt.key)
                    && attempt.request.instance == self.instance
                    && step.follows.iter().all(|before| matches!(self.stages.get(before), Some(Stage::Done)))
                    && attempt.after.iter().all(|(name, n)| ledger.last_attempt(name).is_some_and(|last| last.n == *n))
            });
            if !follow {
                strays.push((name.to_owned(), attempt.clone()));
                continue;
            }
            (self.patience.events)(RunEvent::StepFound { name: name.to_owned(), attempt: attempt.n });
            let stage = match &attempt.task_arn {
                Some(arn) => Stage::Running { n: attempt.n, arn: arn.clone(), since: now },
                None => Stage::Placing {
                    n: attempt.n,
                    token: attempt.token.clone(),
                    request: Box::new(attempt.request.clone()),
                    since: now,
                    until: now,
                    told: false,
                },
            };
            self.stages.insert(name.to_owned(), stage);
        }
        if strays.is_empty() {
            return Ok(());
        }
        let reason = "seqstack: what this task was started for has changed";
        let ends = strays
            .iter()
            .map(|(step, attempt)| put_down(self.world, self.patience, self.book, step, attempt, reason));
        let ends = futures_util::future::try_join_all(ends).await?;
        self.book
            .update(|ledger, _| {
                for ((step, attempt), (arn, end, judgement)) in strays.iter().zip(ends) {
                    if let Some(attempt) = ledger.attempt_mut(step, attempt.n) {
                        close(attempt, arn, &end, &judgement);
                    }
                }
            })
            .await
    }

    /// Container and log of each step; asked for where the task definition is not ours.
    async fn name_containers(&mut self) -> Result<(), RunError> {
        for step in &self.spec.steps {
            let known = if step.container.is_empty() {
                let arn = step.task.id()?;
                self.patience.ask(|| self.world.container(arn)).await?
            } else {
                let log = match &step.log {
                    Some(log) => Some((log.group.id()?.to_owned(), log.prefix.clone())),
                    None => None,
                };
                (step.container.clone(), log)
            };
            self.containers.insert(step.name.clone(), known);
        }
        Ok(())
    }

    /// Waits until the instance's agent takes tasks: only that counts, EC2's checks take minutes longer. False if the
    /// instance is gone.
    async fn wait_for_agent(&self) -> Result<bool, RunError> {
        let pace = Pace { first: Duration::from_millis(250), ..Pace::MACHINE };
        let begun = Instant::now();
        let mut checked = begun;
        let mut pause = pace.first;
        let mut told = false;
        loop {
            let status = match self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await? {
                Agent::Ready { .. } => return Ok(true),
                Agent::Absent => "not registered".to_owned(),
                Agent::Away(status) => status,
            };
            if !told {
                (self.patience.events)(RunEvent::WaitingForAgent { instance: self.instance.clone() });
                told = true;
            }
            if checked.elapsed() >= HOST_CHECK {
                checked = Instant::now();
                if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
                    return Ok(false);
                }
            }
            if begun.elapsed() > pace.within {
                return Err(RunError::NoAgent {
                    instance: self.instance.clone(),
                    cluster: self.cluster.clone(),
                    seconds: pace.within.as_secs(),
                    status,
                });
            }
            self.patience.sleep(pause).await?;
            pause = (pause * 3 / 2).min(pace.most);
        }
    }

    async fn run_steps(&mut self) -> Result<Outcome, RunError> {
        let mut ended: Vec<Ended> = Vec::new();
        let mut bad: Option<Ended> = None;
        let mut pause = LOOKS.0;
        let mut host_checked = Instant::now();
        loop {
            for one in &ended {
                self.apply(one);
            }
            let lost = ended.iter().position(|one| one.judgement.verdict == Verdict::HostLost);
            let first_bad = lost
                .or_else(|| ended.iter().position(|one| !one.again && one.judgement.verdict != Verdict::Succeeded));
            let stopping = self.patience.stopped();
            let ready = if bad.is_some() || first_bad.is_some() || stopping { Vec::new() } else { self.ready() };
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
            if stopping {
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
            ended = self.look(&mut host_checked).await?;
        }
        let Some(bad) = bad else { return self.finish().await };
        match &bad.judgement.verdict {
            Verdict::HostLost => {
                let steps = vec![bad.step.clone()];
                self.lost(steps, &bad.judgement.explanation.clone()).await
            }
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

    fn open_steps(&self) -> Vec<String> {
        let open = |name: &String| !matches!(self.stages.get(name), Some(Stage::Done | Stage::Over));
        self.spec.steps.iter().map(|step| step.name.clone()).filter(open).collect()
    }

    fn apply(&mut self, ended: &Ended) {
        let stage = match (&ended.judgement.verdict, ended.again) {
            (Verdict::Succeeded, _) => Stage::Done,
            (_, true) => {
                let tries = self.tries.get(&ended.step).copied().unwrap_or_default();
                Stage::Waiting { until: Instant::now() + Duration::from_secs(2) * 2u32.pow(tries.min(5)) }
            }
            _ => Stage::Over,
        };
        self.stages.insert(ended.step.clone(), stage);
    }

    /// Writes what ended, and the attempts that are about to be made, at once.
    async fn record(&mut self, ended: &[Ended], ready: &[String]) -> Result<(), RunError> {
        let mut fresh: Vec<(&StepSpec, String, Request)> = Vec::new();
        for step in self.spec.steps.iter().filter(|step| ready.contains(&step.name)) {
            let token = (self.options.fresh)();
            let (container, log) = self.containers.get(&step.name).cloned().unwrap_or_default();
            let request = request(self.spec, step, &container, log, &token)?;
            fresh.push((step, token, request));
        }
        let keys = &self.keys;
        let numbers = self
            .book
            .update(|ledger, _| {
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
                            request: request.clone(),
                            task_arn: None,
                            started_at: None,
                            ended_at: None,
                            verdict: None,
                            explanation: None,
                            exit_code: None,
                            image_digest: None,
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
        }
        let now = Instant::now();
        for ((step, token, request), n) in fresh.into_iter().zip(numbers) {
            (self.patience.events)(RunEvent::StepStarting { name: step.name.clone(), attempt: n });
            *self.tries.entry(step.name.clone()).or_default() += 1;
            let request = Box::new(request);
            let stage = Stage::Placing { n, token, request, since: now, until: now, told: false };
            self.stages.insert(step.name.clone(), stage);
        }
        Ok(())
    }

    /// Starts what has its attempt in the ledger, side by side, and writes down the tasks.
    async fn place(&mut self) -> Result<Vec<Ended>, RunError> {
        let now = Instant::now();
        let asked: Vec<(String, u32, String, Request)> = self
            .stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Placing { n, token, request, until, .. } if *until <= now => {
                    Some((name.clone(), *n, token.clone(), (**request).clone()))
                }
                _ => None,
            })
            .collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        self.book.hold().await?;
        let (world, patience) = (self.world, self.patience);
        let answers = join_all(asked.iter().map(|(_, _, token, request)| async move {
            answer(patience.ask(|| world.run_task(request, token)).await)
        }))
        .await;
        let mut started = Vec::new();
        let mut failed = None;
        let mut refused = Vec::new();
        for ((name, n, ..), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(Answer::Started(arn)) => {
                    self.stages.insert(name.clone(), Stage::Running { n, arn: arn.clone(), since: Instant::now() });
                    started.push((name, n, arn));
                }
                Ok(other) => refused.push((name, n, other)),
                Err(error) => failed = Some(error),
            }
        }
        if !started.is_empty() {
            self.book
                .update(|ledger, _| {
                    for (name, n, arn) in &started {
                        if let Some(attempt) = ledger.attempt_mut(name, *n) {
                            attempt.task_arn = Some(arn.clone());
                        }
                    }
                })
                .await?;
        }
        for (name, attempt, task_arn) in started {
            (self.patience.events)(RunEvent::StepStarted { name, attempt, task_arn });
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut ended = Vec::new();
        for (name, n, answer) in refused {
            ended.extend(self.refused(&name, n, answer).await?);
        }
        Ok(ended)
    }

    /// What follows from a task that was not placed: patience, or an end.
    async fn refused(&mut self, name: &str, n: u32, answer: Answer) -> Result<Option<Ended>, RunError> {
        let others = self.stages.values().any(|stage| matches!(stage, Stage::Running { .. }));
        let (reason, within, next) = match answer {
            Answer::Started(_) => return Ok(None),
            Answer::Never(reason) => return Ok(Some(never(name, n, reason, false, "mend what the message names"))),
            Answer::Wait(reason, within) => (reason, within, "apply again: this passes"),
            Answer::NoRoom(reason) if others => (reason, Duration::MAX, ""),
            Answer::NoRoom(reason) => {
                let agent = self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await?;
                let step = self.spec.steps.iter().find(|step| step.name == name);
                let mut reason = format!("ECS cannot place it on {}: {reason}", self.instance);
                if let (Agent::Ready { registered, remaining }, Some(step)) = (agent, step) {
                    if let Some(why) = too_large(step, registered) {
                        let next = "lower the step's `cpu` or `memory`, or take a larger instance `type`";
                        return Ok(Some(never(name, n, format!("{reason}: {why}"), false, next)));
                    }
                    reason = format!(
                        "{reason}: {} CPU units and {} MiB are free, and it needs {} and {}",
                        remaining.0,
                        remaining.1,
                        step.cpu.unwrap_or_default(),
                        step.memory.unwrap_or_default()
                    );
                }
                (reason, ROOM, "something else runs on the instance; apply again once it has room")
            }
            Answer::Nowhere(reason) => {
                if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
                    let judgement = host_lost(&self.instance);
                    let step = name.to_owned();
                    return Ok(Some(Ended { step, n, end: TaskEnd::default(), judgement, again: false }));
                }
                (reason, NOWHERE, "see whether the instance is registered with the cluster, and apply again")
            }
        };
        let Some(Stage::Placing { since, until, told, .. }) = self.stages.get_mut(name) else { return Ok(None) };
        if since.elapsed() > within {
            return Ok(Some(never(name, n, reason, true, next)));
        }
        *until = Instant::now() + Duration::from_secs(2);
        if !*told {
            *told = true;
            (self.patience.events)(RunEvent::StepWaiting { name: name.to_owned(), reason });
        }
        Ok(None)
    }

    /// What was still to be placed when another step failed.
    fn give_up_placing(&mut self) -> Vec<Ended> {
        self.stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Placing { n, .. } => {
                    Some(Ended { again: true, ..never(name, *n, "another step failed first".to_owned(), true, "") })
                }
                _ => None,
            })
            .collect()
    }

    /// Looks at the running tasks, and now and then at the machine under them.
    async fn look(&mut self, host_checked: &mut Instant) -> Result<Vec<Ended>, RunError> {
        let running: Vec<(String, u32, String, Instant)> = self
            .stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Running { n, arn, since } => Some((name.clone(), *n, arn.clone(), *since)),
                _ => None,
            })
            .collect();
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let arns: Vec<String> = running.iter().map(|(_, _, arn, _)| arn.clone()).collect();
        let now = self.patience.ask(|| self.world.tasks(&self.cluster, &arns)).await?;
        let host_gone = host_checked.elapsed() >= HOST_CHECK && {
            *host_checked = Instant::now();
            self.patience.ask(|| self.world.instance_gone(&self.instance)).await?
        };
        let mut ended = Vec::new();
        for ((step, n, _, since), now) in running.into_iter().zip(now) {
            let (end, judgement) = match now {
                TaskNow::Stopped(end) => {
                    let judgement = verdict(&end);
                    (end, judgement)
                }
                TaskNow::Going(_) | TaskNow::Missing if host_gone => (TaskEnd::default(), host_lost(&self.instance)),
                TaskNow::Missing if since.elapsed() >= VISIBLE => (
                    TaskEnd::default(),
                    Judgement {
                        verdict: Verdict::Unknown,
                        explanation: "ECS does not know its task any more (it keeps them for about an hour after they \
                                      stop), so how it ended cannot be told"
                            .to_owned(),
                        next: "apply again: it runs again".to_owned(),
                    },
                ),
                TaskNow::Going(_) | TaskNow::Missing => continue,
            };
            let passing = match &judgement.verdict {
                Verdict::NeverStarted { retryable, .. } => *retryable,
                // Of a task that ECS has forgotten; one that stopped without an exit code has failed.
                Verdict::Unknown => end == TaskEnd::default(),
                _ => false,
            };
            let again = passing && self.tries.get(&step).copied().unwrap_or_default() < TRIES;
            ended.push(Ended { step, n, end, judgement, again });
        }
        Ok(ended)
    }

    /// The instance is gone: the run is due still, on another one.
    async fn lost(&self, steps: Vec<String>, explanation: &str) -> Result<Outcome, RunError> {
        self.book.release(|ledger, now| ledger.end_run(RunState::HostLost, now)).await?;
        Ok(Outcome::HostLost { instance: self.instance.clone(), steps, explanation: explanation.to_owned() })
    }

    /// We were asked to stop: what runs on, and what was not started.
    async fn stopped(&self) -> Outcome {
        let ledger = self.book.ledger().await;
        let running: BTreeMap<String, String> = ledger
            .open()
            .filter_map(|(step, attempt)| Some((step.to_owned(), attempt.task_arn.clone()?)))
            .collect();
        let done = |name: &str| {
            self.keys.steps.get(name).is_some_and(|key| ledger.kept(name, key, &self.instance))
                || running.contains_key(name)
        };
        let left = self.spec.steps.iter().map(|step| step.name.clone()).filter(|name| !done(name)).collect();
        Outcome::Stopped { running, left }
    }
}

fn never(step: &str, n: u32, reason: String, retryable: bool, next: &str) -> Ended {
    Ended {
        step: step.to_owned(),
        n,
        end: TaskEnd::default(),
        judgement: Judgement {
            explanation: reason.clone(),
            verdict: Verdict::NeverStarted { reason, retryable },
            next: next.to_owned(),
        },
        again: false,
    }
}

fn host_lost(instance: &str) -> Judgement {
    Judgement {
        verdict: Verdict::HostLost,
        explanation: format!("the instance {instance} has been terminated"),
        next: "apply again: a new instance is made and the run starts over".to_owned(),
    }
}
