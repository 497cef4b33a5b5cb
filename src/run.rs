//! The run: one sample through the pipeline, as a resource that is due or not.
//!
//! Turns a pipeline into plan data ([`spec`]), what S3 holds into whether the run is due ([`observe()`], [`due()`]), and
//! a due run into tasks on its own instance ([`drive()`]). What was done is in the ledger, which only the holder of the
//! lease writes. Never creates or ends an instance: that is the plan's.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Unsettled;
use crate::aws::AwsError;

pub mod archive;
mod attempts;
mod begin;
pub mod changed;
pub mod claim;
mod doubt;
pub mod drive;
pub mod due;
mod end;
mod hear;
mod host;
pub mod key;
pub mod lease;
pub mod ledger;
pub mod logs;
mod look;
pub mod observe;
mod place;
mod prove;
pub mod spec;
pub mod status;
pub mod stop;
pub mod strays;
#[cfg(test)]
mod tests;
pub mod verdict;
mod world;

pub use drive::{DriveOptions, drive};
pub use due::{Assessment, Done, Due, Earlier, Holder, StepPlan, Work, due};
pub use ledger::{Ledger, StepRow, summary};
pub use observe::{Observed, observe};
pub use prove::prove;
pub use spec::{RunSpec, ledger_key, lower};
pub use status::RunStatus;
pub use stop::{in_progress, list_ledgers, read_ledger, stop_run};
pub use verdict::Verdict;

/// Why a run could not be observed, driven or stopped. A pipeline that ran and failed is no error but an [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A call failed, and trying again does not help.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The ledger cannot be read.
    #[error("the ledger {at} cannot be used")]
    Ledger {
        /// Where it is.
        at: String,
        /// Why.
        source: ledger::Unreadable,
    },
    /// The ledger has no JSON form.
    #[error("the ledger cannot be written: {0}")]
    Unwritable(String),
    /// Somebody else is driving the run.
    #[error(
        "the run is held by {who} since {since}; wait for it (`seqstack status` shows where it is), or stop it with `destroy --stop-run`"
    )]
    Held {
        /// Identity and host.
        who: String,
        /// Since when.
        since: Timestamp,
    },
    /// Somebody else took the lease.
    #[error("the run was taken over by {by}; nothing more was started from here")]
    LeaseLost {
        /// Identity and host.
        by: String,
    },
    /// The ledger was deleted under us.
    #[error("the ledger was deleted while the run was being driven; nothing more was started from here")]
    LedgerGone,
    /// Input globs match nothing.
    #[error("no object matches {}", .0.join(", "))]
    NoSuchInputs(Vec<String>),
    /// A link without an id: a fault of this tool.
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    /// The instance's agent never registered.
    #[error(
        "the container agent of {instance} did not register with cluster {cluster} within {seconds} s ({status})\n\
         hint: the usual causes: its subnet has no way to ECS, ECR, CloudWatch Logs and S3 (it needs a public IP address, a NAT gateway, or VPC endpoints, and its security group must let it out); its `ami` is not an ECS-optimised one; its role lacks the policy service-role/AmazonEC2ContainerServiceforEC2Role; or its user data names another cluster than {cluster}. \
         What it says itself is in `aws ec2 get-console-output --latest --instance-id {instance}`, and on the instance in /var/log/ecs/ecs-agent.log and `systemctl status ecs`"
    )]
    NoAgent {
        /// The instance's id.
        instance: String,
        /// The cluster's name.
        cluster: String,
        /// How long that was waited for.
        seconds: u64,
        /// What the cluster last said of it.
        status: String,
    },
    /// An instance that hangs did not end in time.
    #[error(
        "{instance} hangs, and EC2 did not end it within {seconds} s: what runs on it may still write, so the run was not begun elsewhere\nhint: see in EC2 what keeps it, end it there, and apply again"
    )]
    NotEnded {
        /// The instance's id.
        instance: String,
        /// How long that was waited for.
        seconds: u64,
    },
    /// Tasks did not stop in time.
    #[error("these tasks have not stopped yet: {}", .0.join(", "))]
    StillRunning(Vec<String>),
    /// We were asked to stop before there was anything to say.
    #[error("stopped on request")]
    Stopped,
}

/// What a drive tells while it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// The lease is ours.
    LeaseTaken {
        /// Who held it before and was not heard of for long enough.
        from: Option<String>,
    },
    /// What was at the ledger's place is none that can be used; it is kept elsewhere, and a new ledger begun.
    LedgerSetAside {
        /// Why it cannot be used.
        why: String,
        /// Where it is kept.
        kept_as: String,
    },
    /// Somebody else may be driving the run.
    WaitingForLease {
        /// Identity and host.
        holder: String,
        /// Since when.
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Timestamp,
        /// When we take over if nothing is heard of them.
        at_most_seconds: u64,
    },
    /// Another sample's run has the instance to itself.
    WaitingForTurn {
        /// The instance's id.
        instance: String,
        /// The other sample.
        sample: String,
        /// Who drives its run: identity and host.
        holder: String,
        /// Since when.
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Timestamp,
    },
    /// The credentials have expired: sign in again, and it goes on.
    WaitingForCredentials {
        /// What AWS said.
        message: String,
    },
    /// AWS is out of reach, or has too much to do.
    WaitingForAws {
        /// What happened.
        message: String,
    },
    /// The instance's container agent has not registered yet.
    WaitingForAgent {
        /// The instance's id.
        instance: String,
        /// How long that is waited for, seconds.
        at_most_seconds: u64,
    },
    /// Something takes long.
    Waiting {
        /// What is waited for.
        what: String,
        /// For how long so far, seconds.
        seconds: u64,
        /// How many more seconds at the most; none where that is not known.
        at_most_seconds: Option<u64>,
    },
    /// The instance's container agent has been away for unusually long. ECS tells nothing of its tasks meanwhile.
    AgentAway {
        /// The instance's id.
        instance: String,
        /// For how long, seconds.
        seconds: i64,
        /// After how many more seconds the instance is taken for hung, ended, and replaced.
        given_up_in_seconds: i64,
    },
    /// The instance's container agent is back.
    AgentBack {
        /// The instance's id.
        instance: String,
        /// How long it was away, seconds.
        seconds: i64,
    },
    /// The run is on, and that is recorded.
    RunBegun {
        /// Since how many seconds: 0, unless an earlier apply began it.
        seconds: i64,
    },
    /// When the run's instance ends itself, by the tag that its timer goes by. Told only to whoever watches.
    InstanceEnds {
        /// The instance's id.
        instance: String,
        /// When; none if it never does.
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        at: Option<Timestamp>,
    },
    /// What the ledger says of a step is not relied upon: something tells against it.
    StepDoubted {
        /// The step.
        name: String,
        /// What tells against it.
        why: String,
    },
    /// A step's result is there already.
    StepKept {
        /// The step.
        name: String,
    },
    /// A task that an earlier apply started for this step is still there, and is followed.
    StepFound {
        /// The step.
        name: String,
        /// Its attempt.
        attempt: u32,
        /// How long ago that was made, seconds.
        seconds: Option<i64>,
    },
    /// A step is about to start.
    StepStarting {
        /// The step.
        name: String,
        /// Its attempt, from 1.
        attempt: u32,
    },
    /// A step is tried again in this run.
    StepAgain {
        /// The step.
        name: String,
        /// Which attempt this is, from 1, among those that the same reason allows.
        attempt: u32,
        /// How many it allows.
        of: u32,
        /// MiB that its task gets, where that is known.
        memory: Option<i64>,
        /// What became of the last one, and why.
        because: String,
    },
    /// ECS cannot place a task yet.
    StepWaiting {
        /// The step.
        name: String,
        /// Why.
        reason: String,
        /// How long that is waited for, seconds; none where it ends by itself.
        at_most_seconds: Option<u64>,
    },
    /// A task was started.
    StepStarted {
        /// The step.
        name: String,
        /// Its attempt.
        attempt: u32,
        /// Its task.
        task_arn: String,
    },
    /// How long ago a running step wrote its last line. Told only to whoever watches, now and then.
    StepHeard {
        /// The step.
        name: String,
        /// Seconds since its last line, by AWS's clock; none if it has written none, or none that can be read.
        seconds: Option<i64>,
        /// Why its log cannot be read, where it cannot.
        unread: Option<String>,
    },
    /// A task has stopped.
    StepEnded {
        /// The step.
        name: String,
        /// Its attempt.
        attempt: u32,
        /// What became of it.
        verdict: Verdict,
        /// Why.
        explanation: String,
        /// The exit code.
        exit_code: Option<i32>,
        /// How long it ran, seconds.
        seconds: Option<i64>,
    },
    /// A task of an earlier run, or of a run to be stopped, was told to stop.
    TaskStopping {
        /// The step.
        name: String,
        /// The task.
        task_arn: String,
    },
    /// All of it succeeded, and that is recorded.
    RunSucceeded {
        /// How long it took, seconds.
        seconds: i64,
    },
    /// A step failed, or an output is missing.
    RunFailed {
        /// The step; none if an output is missing after all of them.
        step: Option<String>,
        /// Why.
        explanation: String,
    },
}

/// How a drive ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The run succeeded, and that is recorded.
    Succeeded(Success),
    /// It had succeeded before: nothing was started.
    AlreadyDone(Done),
    /// A step failed, or an output is missing.
    Failed(Box<Failure>),
    /// This very run had failed before, and nobody asked for another try: nothing was started.
    FailedBefore(Box<Earlier>),
    /// The instance went away: plan and apply again.
    HostLost {
        /// The instance's id.
        instance: String,
        /// The steps whose tasks were lost.
        steps: Vec<String>,
        /// Why, in AWS's words.
        explanation: String,
    },
    /// The instance holds files that are not this run's, so the run begins on a fresh one: plan and apply again.
    InstanceUsed {
        /// The instance's id.
        instance: String,
        /// Whose files it holds, or why they may not be used.
        because: String,
    },
    /// Everything ran, but the inputs were changed meanwhile: the run is due again.
    InputsChanged {
        /// What changed.
        changes: Vec<String>,
    },
    /// Somebody stopped a task: the run is due still.
    Cancelled {
        /// The step.
        step: String,
        /// Why, in AWS's words.
        explanation: String,
    },
    /// We were asked to stop. Tasks go on without us, and the next apply follows them.
    Stopped {
        /// Running tasks by step.
        running: std::collections::BTreeMap<String, String>,
        /// Steps that were not started.
        left: Vec<String>,
    },
}

/// A run that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Success {
    /// The run key.
    pub key: String,
    /// How long it took, seconds.
    pub seconds: i64,
    /// What it wrote.
    pub outputs: Vec<ledger::Output>,
    /// Objects that an output matches and no step of the run wrote, and outputs that are empty, in words.
    pub notes: Vec<String>,
    /// The steps with times, exit codes and tasks.
    pub steps: Vec<StepRow>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The step; none if an output is missing after all of them.
    pub step: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub explanation: String,
    /// What to do next.
    pub next: String,
    /// Its attempt.
    pub attempt: u32,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Its task.
    pub task_arn: Option<String>,
    /// The log group that it wrote to.
    pub log_group: Option<String>,
    /// The log stream that it wrote to.
    pub log_stream: Option<String>,
    /// The log's last lines, twenty at most; empty where they cannot be read.
    pub last_lines: Vec<String>,
    /// Steps that were not started.
    pub not_run: Vec<String>,
    /// The instance that it was on.
    pub instance: String,
    /// The steps with times, exit codes and tasks.
    pub steps: Vec<StepRow>,
}

/// A verdict with its explanation, unless that says the same once more.
pub fn told(verdict: &Verdict, explanation: &str) -> String {
    let verdict = verdict.to_string();
    if verdict.contains(explanation) { verdict } else { format!("{verdict}: {explanation}") }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step `{step}` {}", told(&self.verdict, &self.explanation)),
            None => f.write_str(&self.explanation),
        }
    }
}
