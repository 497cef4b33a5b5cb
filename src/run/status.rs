//! Where a run is: turns a sample's ledger, and what ECS and EC2 say of its tasks and instance now, into its state and
//! that of each step. Reads only: takes no lease, and what cannot be read is said to be unknown, never taken for absent.

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::due::{Holder, holder};
use super::host::GIVEN_UP;
use super::lease::LEASE;
use super::ledger::{Attempt, RunRecord, RunState};
use super::observe::Kept;
use super::stop::task_of;
use super::verdict::{Verdict, verdict};
use super::world::{Agent, Live, TaskNow, World};
use crate::aws::{Aws, AwsError};
use crate::report::span;

/// How a sample's last run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no run in the ledger, or no ledger.
    NeverRun,
    /// Somebody drives it, or a task of it runs.
    Running,
    /// It is not over, nobody drives it and nothing of it runs: apply goes on with it.
    Interrupted,
    /// All of it succeeded.
    Succeeded,
    /// A step failed, or an output was missing at the end.
    Failed,
    /// Its instance went away under it.
    HostLost,
    /// Its inputs were changed under it.
    InputsChanged,
    /// Somebody stopped it.
    Cancelled,
    /// It could not be read.
    Unknown,
}

/// How one step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has not started yet, and the run is not over.
    Waiting,
    /// The run ended before it.
    NotRun,
    /// Its attempt is in the ledger; its container does not run yet.
    Starting,
    /// Its container runs.
    Running,
    /// It ran and exited with 0.
    Succeeded,
    /// It ran and exited with something else.
    Failed,
    /// Nothing of it ever ran.
    NeverStarted,
    /// It was killed for want of memory.
    OutOfMemory,
    /// Its instance went away under it.
    HostLost,
    /// Somebody stopped it.
    Cancelled,
    /// It cannot be told, or could not be read.
    Unknown,
}

/// Where a sample's run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The sample.
    pub sample: String,
    /// Where its ledger is, as `s3://bucket/key`.
    pub ledger: String,
    /// How its last run stands.
    pub state: State,
    /// Why, in one sentence, where there is more to say than the state.
    pub explanation: Option<String>,
    /// The step that failed, where one did.
    pub step: Option<String>,
    /// When the run began, by S3's clock.
    pub started_at: Option<Timestamp>,
    /// When it ended, by S3's clock.
    pub ended_at: Option<Timestamp>,
    /// Seconds from its beginning to its end, or until now.
    pub seconds: Option<i64>,
    /// Who drives it, or drove it and did not let go.
    pub driver: Option<Driver>,
    /// The instance that it is on, or was.
    pub instance: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<StepStatus>,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

/// Who drives a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Identity and host.
    pub who: String,
    /// Since when, by S3's clock.
    pub since: Timestamp,
    /// How long ago it was last heard of, seconds, by S3's clock.
    pub heard_seconds_ago: u64,
    /// Whether its lease is good still. One that is not is taken over by the next apply.
    pub alive: bool,
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: StepState,
    /// Its attempt, from 1, where there was one.
    pub attempt: Option<u32>,
    /// How long its container ran, or has been running, seconds, by ECS's clock.
    pub seconds: Option<i64>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Its task.
    pub task_arn: Option<String>,
    /// The task's status as ECS tells it now; none where the ledger has its end already.
    pub ecs: Option<String>,
    /// Why, in one sentence, where there is more to say than the state.
    pub explanation: Option<String>,
}

impl From<&Verdict> for StepState {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Succeeded => Self::Succeeded,
            Verdict::Failed { .. } => Self::Failed,
            Verdict::NeverStarted { .. } => Self::NeverStarted,
            Verdict::HostLost => Self::HostLost,
            Verdict::OutOfMemory { .. } => Self::OutOfMemory,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::Unknown => Self::Unknown,
        }
    }
}

/// Looks where a sample's run is; `is_dead` tells of a lease's holder that is known to be so. What cannot be read is in the
/// answer.
pub async fn look(aws: &Aws, sample: &str, bucket: &str, key: &str, is_dead: impl Fn(&str) -> bool) -> RunStatus {
    look_in(&Live { aws, bucket, key }, sample, format!("s3://{bucket}/{key}"), is_dead).await
}

async fn look_in<W: World>(world: &W, sample: &str, at: String, is_dead: impl Fn(&str) -> bool) -> RunStatus {
    let mut status = RunStatus {
        sample: sample.to_owned(),
        ledger: at,
        state: State::NeverRun,
        explanation: None,
        step: None,
        started_at: None,
        ended_at: None,
        seconds: None,
        driver: None,
        instance: None,
        steps: Vec::new(),
        unknown: Vec::new(),
    };
    let unread = |mut status: RunStatus, why: String| {
        status.state = State::Unknown;
        status.unknown.push(format!("the ledger {} could not be read: {why}", status.ledger));
        status
    };
    let read = match world.read_ledger().await {
        Ok(read) => read,
        Err(error) if error.is(&["NoSuchBucket"]) => {
            status.explanation = Some("the bucket of its ledger does not exist".to_owned());
            return status;
        }
        Err(error) => return unread(status, error.to_string()),
    };
    let now = read.now;
    let kept = match Kept::of(read, &status.ledger) {
        Ok(Some(kept)) => kept,
        Ok(None) => return status,
        Err(error) => return unread(status, crate::aws::chain(&error)),
    };
    status.driver = driver(&kept, &is_dead);
    let kept = kept.bury(is_dead);
    match kept.ledger.run() {
        Some(run) => seen(world, status, &kept, run, now).await,
        None if holder(&kept).is_some() => RunStatus { state: State::Running, ..status },
        None => status,
    }
}

fn driver(kept: &Kept, is_dead: impl Fn(&str) -> bool) -> Option<Driver> {
    let lease = kept.ledger.lease.as_ref()?;
    let (who, since) = (lease.who.clone(), lease.since);
    Some(Driver {
        who,
        since,
        heard_seconds_ago: kept.age.as_secs(),
        alive: kept.age < LEASE && !is_dead(&lease.holder),
    })
}

/// A run that the ledger knows, with what ECS and EC2 say of it.
async fn seen<W: World>(world: &W, mut status: RunStatus, kept: &Kept, run: &RunRecord, now: Timestamp) -> RunStatus {
    let going_on = run.state == RunState::Running;
    let attempts: Vec<(&str, Option<&Attempt>)> =
        run.steps.iter().map(|step| (step.name.as_str(), kept.ledger.attempt_of(run, &step.name))).collect();
    let tasks = join_all(attempts.iter().map(|(_, attempt)| async move {
        match attempt.filter(|attempt| attempt.verdict.is_none()) {
            Some(attempt) => Some(task_of(world, attempt).await),
            None => None,
        }
    }));
    let host = async { if going_on { world.instance_gone(&run.instance).await } else { Ok(false) } };
    let under_way = attempts.iter().filter_map(|(_, attempt)| *attempt).find(|attempt| attempt.verdict.is_none());
    let agent = async {
        match under_way {
            // Of no consequence where it cannot be read.
            Some(open) => world.agent(&open.request.cluster, &run.instance).await.ok(),
            None => None,
        }
    };
    let (tasks, host, agent) = futures_util::future::join3(tasks, host, agent).await;
    let gone = host.unwrap_or_else(|error| {
        status.unknown.push(format!("whether the instance {} is there is not known: {error}", run.instance));
        false
    });
    for ((name, attempt), task) in attempts.into_iter().zip(tasks) {
        let mut step = step(name, attempt, going_on && !gone);
        if let (Some(attempt), Some(task)) = (attempt, task) {
            open(&mut step, attempt, task, gone, now, &mut status.unknown);
        }
        status.steps.push(step);
    }
    let runs = |step: &StepStatus| matches!(step.state, StepState::Running | StepState::Starting);
    let goes_on = status.driver.as_ref().is_some_and(|driver| driver.alive) || status.steps.iter().any(runs);
    (status.state, status.explanation) = match &run.state {
        RunState::Running if gone => {
            (State::HostLost, Some(format!("the instance {} is gone; apply begins again on another one", run.instance)))
        }
        RunState::Running if goes_on => (State::Running, agent.and_then(|agent| away(&agent, &run.instance))),
        // Whatever could not be read may be what runs.
        RunState::Running if !status.unknown.is_empty() => (State::Unknown, None),
        RunState::Running => {
            (State::Interrupted, Some("nobody drives it, and none of its tasks runs; apply goes on with it".to_owned()))
        }
        RunState::Succeeded => (State::Succeeded, None),
        RunState::Failed { step, explanation, .. } => {
            status.step.clone_from(step);
            (State::Failed, Some(explanation.clone()))
        }
        RunState::HostLost => (State::HostLost, Some(format!("the instance {} went away under it", run.instance))),
        RunState::InputsChanged => (State::InputsChanged, Some("its inputs were changed while it ran".to_owned())),
        RunState::Cancelled { by } => (State::Cancelled, Some(format!("stopped by {by}"))),
    };
    status.started_at = Some(run.started_at);
    status.ended_at = run.ended_at;
    status.seconds = Some(run.ended_at.unwrap_or(now).as_second() - run.started_at.as_second());
    status.instance = Some(run.instance.clone());
    status
}

/// What is said of an agent that is not connected: what ECS shows of its tasks may be old.
fn away(agent: &Agent, instance: &str) -> Option<String> {
    match agent {
        Agent::Away { connected: false, .. } => Some(format!(
            "the container agent of {instance} is not connected at the moment, so the states of its tasks may be out of date; a few minutes are normal, and an apply that drives the run ends the instance after {}",
            span(i64::try_from(GIVEN_UP.as_secs()).unwrap_or(i64::MAX))
        )),
        Agent::Ready { .. } | Agent::Away { .. } | Agent::Absent => None,
    }
}

/// A step as the ledger has it.
fn step(name: &str, attempt: Option<&Attempt>, going_on: bool) -> StepStatus {
    let none = if going_on { StepState::Waiting } else { StepState::NotRun };
    let verdict = attempt.and_then(|attempt| attempt.verdict.as_ref());
    StepStatus {
        name: name.to_owned(),
        state: verdict.map_or(none, StepState::from),
        attempt: attempt.map(|attempt| attempt.n),
        seconds: attempt.and_then(Attempt::seconds),
        exit_code: attempt.and_then(|attempt| attempt.exit_code),
        task_arn: attempt.and_then(|attempt| attempt.task_arn.clone()),
        ecs: None,
        explanation: match verdict {
            None | Some(Verdict::Succeeded) => None,
            Some(_) => attempt.and_then(|attempt| attempt.explanation.clone()),
        },
    }
}

/// A step whose end is not in the ledger, as ECS has it.
fn open(
    step: &mut StepStatus,
    attempt: &Attempt,
    task: Result<Option<(String, TaskNow)>, AwsError>,
    gone: bool,
    now: Timestamp,
    unknown: &mut Vec<String>,
) {
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            step.state = StepState::Unknown;
            unknown.push(format!("how the task of step `{}` stands is not known: {error}", step.name));
            return;
        }
    };
    let Some((arn, task)) = task else {
        step.state = if gone { StepState::HostLost } else { StepState::Starting };
        step.explanation = Some(format!("no task of attempt {} is known yet", attempt.n));
        return;
    };
    step.task_arn = Some(arn);
    match task {
        TaskNow::Stopped(end) => {
            let end = end.of(&attempt.request.container, &attempt.request.essential);
            let judged = verdict(&end);
            step.state = StepState::from(&judged.verdict);
            step.seconds = end.started_at.zip(end.ended_at).map(|(from, to)| to.as_second() - from.as_second());
            step.exit_code = end.exit_code;
            step.ecs = Some("STOPPED".to_owned());
            step.explanation = Some(format!("{}; the ledger has not heard of it yet", judged.explanation));
        }
        TaskNow::Going(_) | TaskNow::Missing if gone => {
            step.state = StepState::HostLost;
            step.explanation = Some(format!("the instance {} is gone", attempt.request.instance));
        }
        TaskNow::Going(going) => {
            step.state = if going.since.is_some() { StepState::Running } else { StepState::Starting };
            step.seconds = going.since.map(|since| now.as_second() - since.as_second());
            step.ecs = Some(going.status);
        }
        TaskNow::Missing => {
            step.state = StepState::Unknown;
            step.ecs = Some("MISSING".to_owned());
            step.explanation =
                Some("ECS does not know its task, or not any more; apply finds out what it left".to_owned());
        }
    }
}

/// What a run came to, where a step of it never began: fits after `because`.
pub(super) fn before_it(run: &RunRecord, step: &str, driven: Option<&Holder>) -> String {
    match &run.state {
        RunState::Running if driven.is_some() => "the run has not come to it".to_owned(),
        RunState::Running => "the run was cut short before it, and nobody drives it".to_owned(),
        RunState::Succeeded => "the last run, which succeeded, had no such step".to_owned(),
        RunState::Failed { step: Some(failed), explanation, .. } if failed != step => {
            format!("step `{failed}` of the last run failed before it ({explanation})")
        }
        RunState::Failed { explanation, .. } => format!("the last run failed before it ({explanation})"),
        RunState::HostLost => format!("the last run lost its instance {} before it", run.instance),
        RunState::InputsChanged => "the inputs of the last run were changed under it".to_owned(),
        RunState::Cancelled { by } => format!("the last run was stopped before it, by {by}"),
    }
}
