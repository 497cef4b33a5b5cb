//! The ledger: what has been run on a sample, as one JSON object in the output bucket. Data and its reading; the
//! writing is [`super::lease`]'s. Holds no secret that ECS fetches; other variables it
//! holds as the stack file writes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::Shelf;
use super::claim::Claimed;
use super::verdict::Verdict;

/// The schema that this version writes.
pub const SCHEMA: u32 = 1;
/// How far the clocks of two services may be apart.
const SLACK_SECONDS: i64 = 2;
/// How many attempts a step keeps, and how many runs the ledger.
const HISTORY: usize = 20;
/// How many outputs of earlier runs the ledger keeps in all.
const OUTPUTS: usize = 2_000;

/// The ledger of one sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Always [`SCHEMA`]; a newer one is refused.
    pub schema: u32,
    /// Where it belongs, as `s3://bucket/key`: anywhere else it is a copy, and says nothing of what is there.
    #[serde(default)]
    pub at: String,
    /// A digest of all else in it: what was changed by hand, or only half of it put back, is told by that.
    #[serde(default)]
    pub digest: String,
    /// Set anew by each write, so that a writer that gets 412 can see whether the write was its own.
    pub nonce: String,
    /// When it was written, by S3's clock as its writer knew it.
    #[serde(default)]
    pub written_at: Option<Timestamp>,
    /// When an older version of it was put back by somebody; none once a run was begun on it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back: Option<Timestamp>,
    /// Who may change it.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// The instance whose folders hold this sample's files. None in a ledger of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Claimed>,
    /// The runs, oldest first.
    #[serde(default)]
    pub runs: Vec<RunRecord>,
    /// What was tried of each pipeline step, by name.
    #[serde(default)]
    pub steps: BTreeMap<String, StepRecord>,
}

/// The right to drive the run and to write the ledger. Its age is that of the object, by S3's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A random id of the holder.
    pub holder: String,
    /// Identity and host, for a person to read.
    pub who: String,
    /// When it was taken, by S3's clock.
    pub since: Timestamp,
}

/// One run: everything that the pipeline did, or was about to do, under one run key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run key.
    pub key: String,
    /// The digest of all settings, keyed or not.
    pub settings: String,
    /// What it read; empty in runs before the last one and the last success.
    pub inputs: Vec<Object>,
    /// The steps in order, to explain what changed since.
    pub steps: Vec<StepNote>,
    /// The instance that it was on.
    pub instance: String,
    /// When it began, by S3's clock.
    pub started_at: Timestamp,
    /// When it ended, by S3's clock.
    pub ended_at: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
    /// What it wrote, once it succeeded; empty in earlier runs where that was too much to keep.
    #[serde(default)]
    pub outputs: Vec<Output>,
}

/// A step of a run, as far as it explains what changed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepNote {
    /// Its name.
    pub name: String,
    /// Its step key.
    pub key: String,
    /// A digest of each part of its content.
    pub parts: BTreeMap<String, String>,
    /// The number that its first attempt in this run has: what was tried before does not count against it.
    #[serde(default)]
    pub first: u32,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is being driven, or was when its driver was cut short.
    Running,
    /// All of it succeeded, and its outputs were there.
    Succeeded,
    /// A step failed, or an output was missing at the end.
    Failed {
        /// The step; none if all of them succeeded and an output was missing.
        step: Option<String>,
        /// What became of that step.
        verdict: Verdict,
        /// Why, in one sentence.
        explanation: String,
    },
    /// Its instance went away under it.
    HostLost,
    /// Its inputs were changed under it.
    InputsChanged,
    /// Somebody stopped it.
    Cancelled {
        /// Who.
        by: String,
    },
}

/// An S3 object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Its ETag: opaque, another one for other content.
    pub etag: String,
    /// When it was last written.
    #[serde(default)]
    pub last_modified: Option<Timestamp>,
    /// Where S3 keeps it. Never recorded.
    #[serde(skip)]
    pub shelf: Shelf,
}

/// An object that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The object.
    #[serde(flatten)]
    pub object: Object,
    /// Seconds from the run's start to its writing; negative if it is older than the run.
    pub seconds_into_run: Option<i64>,
    /// The step that was running when it was written, if it was one only.
    #[serde(default)]
    pub written_by: Option<String>,
}

/// What was tried of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The attempts, oldest first. Their numbers only ever grow.
    pub attempts: Vec<Attempt>,
}

/// One attempt at a step: at most one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub n: u32,
    /// The step key that it was made under.
    pub key: String,
    /// A digest of each part of the content.
    pub parts: BTreeMap<String, String>,
    /// The attempts of other steps that it built upon, by step.
    pub after: BTreeMap<String, u32>,
    /// RunTask's client token.
    pub token: String,
    /// When it was written down, by S3's clock.
    #[serde(default)]
    pub made_at: Option<Timestamp>,
    /// The whole request: whoever comes after sends the same again, and gets the same task.
    pub request: Request,
    /// The task, once it is known.
    #[serde(default)]
    pub task_arn: Option<String>,
    /// When its container started, by ECS's clock.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When its container ended, by ECS's clock.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How it ended; none while it is open.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// Why, in one sentence.
    #[serde(default)]
    pub explanation: Option<String>,
    /// The exit code, where there is one.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The digest of the image that ran. Recorded, not keyed.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// The name of its log stream, where only ECS knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream: Option<String>,
    /// Its result does not count any more (an output that it wrote went missing, say).
    #[serde(default)]
    pub void: bool,
}

/// A RunTask request, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The cluster.
    pub cluster: String,
    /// The task definition's ARN.
    pub task_definition: String,
    /// The container that the overrides are for.
    pub container: String,
    /// The other containers that the task ends with: that one of them failed is no success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub essential: Vec<String>,
    /// The instance that it is pinned to.
    pub instance: String,
    /// The command.
    pub command: Option<Vec<String>>,
    /// Variables added or replaced.
    pub environment: BTreeMap<String, String>,
    /// CPU units of the task and its container.
    pub cpu: Option<i64>,
    /// MiB of the task and its container.
    pub memory: Option<i64>,
    /// The task role's ARN.
    pub task_role: Option<String>,
    /// A digest, by which the task can be found before its ARN is known.
    pub started_by: String,
    /// The task's tags.
    pub tags: BTreeMap<String, String>,
    /// Log group and stream prefix; the prefix is empty where the stream has the name of the container's runtime id.
    #[serde(default)]
    pub log: Option<(String, String)>,
}

/// A ledger that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or not of that shape.
    #[error("it is torn, or no ledger")]
    Json(#[from] serde_json::Error),
    /// Of a version that this one knows nothing about.
    #[error("a newer seqstack wrote it (its schema is {0}, and this version reads {SCHEMA}): use that one")]
    Newer(u64),
    /// Copied from somewhere else: another stack's or sample's.
    #[error("it is not of this stack and sample, but belongs at `{0}`")]
    Foreign(String),
    /// Its content is not what a seqstack wrote.
    #[error("it was changed by hand")]
    Edited,
}

impl Unreadable {
    /// Whether it is kept elsewhere and begun anew: all but a newer version's, which that one reads.
    pub fn is_replaced(&self) -> bool {
        !matches!(self, Self::Newer(_))
    }
}

/// The digest of a ledger's JSON, itself apart.
fn digest_of(ledger: &serde_json::Value) -> String {
    let mut rest = ledger.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("digest");
    }
    super::key::digest("ledger", &rest)
}

impl Ledger {
    /// Reads the one that was found at `at` (`s3://bucket/key`).
    ///
    /// # Errors
    /// When it is of a newer schema, no ledger, another place's, or not as a seqstack wrote it.
    pub fn read(bytes: &[u8], at: &str) -> Result<Self, Unreadable> {
        let value: serde_json::Value = serde_json::from_slice(bytes)?;
        if let Some(schema) = value.get("schema").and_then(serde_json::Value::as_u64)
            && schema > u64::from(SCHEMA)
        {
            return Err(Unreadable::Newer(schema));
        }
        let digest = digest_of(&value);
        let ledger: Self = serde_json::from_value(value)?;
        if ledger.digest != digest {
            return Err(Unreadable::Edited);
        }
        if ledger.at == at { Ok(ledger) } else { Err(Unreadable::Foreign(ledger.at)) }
    }

    /// It as it is written: with its digest.
    ///
    /// # Errors
    /// Never for a ledger, whose keys are text.
    pub fn sealed(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        value["digest"] = digest_of(&value).into();
        serde_json::to_vec_pretty(&value)
    }

    /// The last run.
    pub fn run(&self) -> Option<&RunRecord> {
        self.runs.last()
    }

    /// Whether a run that has not succeeded was going on then, by S3's clock: until it ended, or the next one began.
    pub fn was_running(&self, at: Timestamp) -> bool {
        let begins = self.runs.iter().skip(1).map(|next| Some(next.started_at)).chain([None]);
        self.runs.iter().zip(begins).filter(|(run, _)| run.state != RunState::Succeeded).any(|(run, next)| {
            let end = run.ended_at.or(next).map(|end| end.as_second() + SLACK_SECONDS);
            run.started_at.as_second() <= at.as_second() && end.is_none_or(|end| at.as_second() <= end)
        })
    }

    /// The last attempt at a step that may have left something behind: one that never started did not.
    pub fn last_attempt(&self, step: &str) -> Option<&Attempt> {
        let attempts = &self.steps.get(step)?.attempts;
        attempts.iter().rev().find(|attempt| !matches!(attempt.verdict, Some(Verdict::NeverStarted { .. })))
    }

    /// Whether a step's result under this key is on that instance still: its last attempt succeeded under the key,
    /// on the last results of what it follows.
    pub fn kept(&self, step: &str, key: &str, instance: &str) -> bool {
        self.last_attempt(step).is_some_and(|attempt| {
            attempt.key == key
                && attempt.request.instance == instance
                && attempt.verdict == Some(Verdict::Succeeded)
                && !attempt.void
                && self.put_back.is_none()
                && attempt.after.iter().all(|(name, n)| self.last_attempt(name).is_some_and(|last| last.n == *n))
        })
    }

    /// The last attempt at a step as far as it belongs to that run: made under the run's key of the step, on the run's
    /// instance, with a result that counts, and no failure of before the run.
    pub fn attempt_of(&self, run: &RunRecord, step: &str) -> Option<&Attempt> {
        let key = &run.steps.iter().find(|note| note.name == step)?.key;
        let attempts = &self.steps.get(step)?.attempts;
        let last = attempts.iter().rev().find(|one| one.key == *key && one.request.instance == run.instance)?;
        let failed = last.verdict.as_ref().is_some_and(|verdict| *verdict != Verdict::Succeeded);
        // ECS dates one, S3 the other.
        let before = |at: Timestamp| at.as_second() + SLACK_SECONDS < run.started_at.as_second();
        let of_before = failed && last.ended_at.is_some_and(before);
        if last.void || of_before { None } else { Some(last) }
    }

    /// Attempts without a verdict: their tasks may be running.
    pub fn open(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        self.steps.iter().flat_map(|(name, step)| {
            step.attempts
                .iter()
                .filter(|attempt| attempt.verdict.is_none())
                .map(move |attempt| (name.as_str(), attempt))
        })
    }

    /// Adds an attempt.
    pub(super) fn push_attempt(&mut self, step: &str, attempt: Attempt) {
        let attempts = &mut self.steps.entry(step.to_owned()).or_default().attempts;
        attempts.push(attempt);
        let extra = attempts.len().saturating_sub(HISTORY);
        attempts.drain(..extra);
    }

    /// The number that a step's next attempt gets.
    pub(super) fn next_number(&self, step: &str) -> u32 {
        self.steps.get(step).and_then(|step| step.attempts.last()).map_or(1, |last| last.n + 1)
    }

    /// One attempt, to be changed.
    pub(super) fn attempt_mut(&mut self, step: &str, n: u32) -> Option<&mut Attempt> {
        self.steps.get_mut(step)?.attempts.iter_mut().find(|attempt| attempt.n == n)
    }

    /// Adds a run.
    pub(super) fn push_run(&mut self, run: RunRecord) {
        self.runs.push(run);
        let extra = self.runs.len().saturating_sub(HISTORY);
        self.runs.drain(..extra);
        self.thin();
    }

    /// Forgets lists of objects that nobody needs: the ledger is sent whole each minute. What was read is told of the last run
    /// and of the last success; what was written of those, and of earlier runs as long as it is not too much.
    fn thin(&mut self) {
        let success = self.runs.iter().rposition(|run| run.state == RunState::Succeeded);
        let last = self.runs.len().saturating_sub(1);
        let mut left = OUTPUTS;
        for (at, run) in self.runs.iter_mut().enumerate().rev() {
            let needed = at == last || Some(at) == success;
            if !needed {
                run.inputs.clear();
            }
            match left.checked_sub(run.outputs.len()) {
                Some(rest) => left = rest,
                None if needed => left = 0,
                None => {
                    run.outputs.clear();
                    left = 0;
                }
            }
        }
    }

    /// Ends the last run.
    pub(super) fn end_run(&mut self, state: RunState, at: Timestamp) {
        if let Some(run) = self.runs.last_mut() {
            run.state = state;
            run.ended_at = Some(at);
        }
    }
}

impl Attempt {
    /// How long its container ran, seconds.
    pub fn seconds(&self) -> Option<i64> {
        Some(self.ended_at?.as_second() - self.started_at?.as_second())
    }

    /// The log group and stream that its task writes to, once the task is known.
    pub fn log_place(&self) -> Option<(String, String)> {
        let (group, prefix) = self.request.log.as_ref()?;
        let stream = log_stream(prefix, &self.request.container, self.task_arn.as_deref()?);
        Some((group.clone(), stream.or_else(|| self.log_stream.clone())?))
    }
}

/// A task's log stream: the awslogs driver names them `prefix/container/task-id`; without a prefix only ECS knows.
pub(super) fn log_stream(prefix: &str, container: &str, task_arn: &str) -> Option<String> {
    let task = task_arn.rsplit('/').next().unwrap_or(task_arn);
    (!prefix.is_empty()).then(|| format!("{prefix}/{container}/{task}"))
}

/// One line of a run's summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// The step.
    pub name: String,
    /// How long its last task ran, seconds.
    pub seconds: Option<i64>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Its task.
    pub task_arn: Option<String>,
    /// How many attempts this run made at it; 1 also for a result that it took over.
    pub attempts: usize,
    /// How it ended; none while it runs or was never tried.
    pub verdict: Option<Verdict>,
}

/// The steps of the last run in order, as the ledger has them.
pub fn summary(ledger: &Ledger) -> Vec<StepRow> {
    let Some(run) = ledger.run() else { return Vec::new() };
    run.steps
        .iter()
        .map(|step| {
            let last = ledger.attempt_of(run, &step.name);
            // What this run has taken over from before it is one attempt.
            let since = run.started_at.as_second() - SLACK_SECONDS;
            let of_run = |attempt: &&Attempt| {
                attempt.key == step.key && attempt.made_at.is_none_or(|at| at.as_second() >= since)
            };
            let record = ledger.steps.get(&step.name);
            let tried = record.map_or(0, |record| record.attempts.iter().filter(of_run).count());
            StepRow {
                name: step.name.clone(),
                seconds: last.and_then(|attempt| attempt.seconds()),
                exit_code: last.and_then(|attempt| attempt.exit_code),
                task_arn: last.and_then(|attempt| attempt.task_arn.clone()),
                attempts: tried.max(usize::from(last.is_some())),
                verdict: last.and_then(|attempt| attempt.verdict.clone()),
            }
        })
        .collect()
}
