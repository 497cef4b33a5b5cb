//! What a plan says, as data: the shape of `plan --json`, and all that the text is made from. Names and meanings stay as
//! they are under one `schema`; fields may be added. What looks like a credential ([`crate::stack::Credentials`]) is a digest
//! here, and what a task gets as a secret the place where ECS fetches it; all else is as the stack file has it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Header;
use crate::address::Address;
use crate::phrase::{counted, size, span};
use crate::run::ledger::Object;
use crate::stack::Warning;

/// The schema of the JSON.
pub const SCHEMA: u32 = 1;

/// A plan. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "seqstack plan --json", rename = "Plan")]
pub struct View {
    /// Always 1; it changes when a name or a meaning does.
    pub schema: u32,
    /// The version of seqstack that made it.
    pub tool: String,
    /// Which stack, where, and who asks.
    #[serde(flatten)]
    pub header: Header,
    /// What changes, in the order in which it happens: before the run, then after it.
    pub resources: Vec<Resource>,
    /// The pipeline's run, whether it is due or not; null for a stack without a pipeline, and for `destroy`.
    pub run: Option<Run>,
    /// What is in the way. While there is any, nothing can be applied.
    pub conflicts: Vec<Conflict>,
    /// What will be lost, and has to be agreed to apart.
    pub losses: Vec<Loss>,
    /// Objects that are there, and that are written again: outputs, by the run, and what uploads replace. Those that are
    /// somebody else's have to be agreed to apart.
    pub overwrites: Vec<Overwrite>,
    /// Worth knowing, but no change.
    pub notes: Vec<Note>,
    /// What threatens the run.
    pub warnings: Vec<String>,
    /// What is sound in the stack file and seldom meant, as `validate` tells it; empty for `destroy`.
    pub stack_warnings: Vec<StackWarning>,
    /// What its instances come to at the most: instance-hours, and money by the stack file's own prices.
    pub cost: Vec<String>,
    /// Addresses where there is something to do as well, and `--target` or `--exclude` leaves it out.
    pub left_out: Vec<String>,
    /// Addresses of what stays as it is.
    pub unchanged: Vec<String>,
    /// How many of each.
    pub counts: Counts,
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the run, or without one.
    BeforeRun,
    /// After the run.
    AfterRun,
}

/// What happens to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Change,
    /// It is deleted, and another made in its place.
    Replace,
    /// It is deleted.
    Delete,
    /// It was there before: its tags of ours are taken off, and it stays.
    Release,
}

/// Why something happens to a resource. A reason explains, it never steers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is not there.
    Missing,
    /// It is not as the stack file says.
    Differs,
    /// It was there, and is taken over.
    Adopted,
    /// A field cannot change in place.
    Fixed,
    /// The stack file does not have it any more.
    NotInStack,
    /// It exists only for the run.
    RunOver,
    /// A replacement or a race left it over.
    LeftOver,
    /// Everything goes.
    Destroy,
}

/// A resource that changes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Resource {
    /// Its address: `role.execution`, `instance.worker[NA12878]`.
    pub address: String,
    /// When it happens.
    pub when: When,
    /// What happens to it.
    pub action: Action,
    /// Its id or name in AWS, where it is there.
    pub id: Option<String>,
    /// Whether it exists only while a run is due.
    pub only_for_the_run: bool,
    /// Why.
    pub cause: Cause,
    /// Why, in words; null where the action says it all.
    pub because: Option<String>,
    /// What it is, in a few words each, where it is made.
    pub gist: Vec<String>,
    /// The fields that change; all of them where it is made.
    pub fields: Vec<Field>,
    /// The AWS calls, in order.
    pub calls: Vec<String>,
}

/// A field that changes. Where a value holds an id that is not known yet, `{"part": "id", "of": "security_group.ecs"}`
/// stands in its place.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Field {
    /// Its dotted path in the resource's normal form.
    pub path: String,
    /// What it is; null where there is none.
    pub before: Value,
    /// What it is to be; null for none.
    pub after: Value,
    /// The change as people read it, line by line: each begins with `-` (goes), `+` (comes) or a space (stays).
    pub diff: Vec<String>,
    /// Whether it is this that makes a replacement necessary.
    pub forces_replacement: bool,
    /// Whether it follows from others, or is seqstack's own: the text shows it only with `-v`.
    pub minor: bool,
}

/// How the run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is due.
    Due,
    /// It has to follow uploads, and which of its steps run is known only then.
    DueAfterUpload,
    /// This very run succeeded, and what it wrote is still there.
    Done,
    /// This very run failed, and nothing has changed since: `--retry` starts it again.
    FailedBefore,
    /// Its inputs are not there.
    InputsMissing,
}

/// The pipeline's run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// The sample; `default` for a stack without samples.
    pub sample: String,
    /// Whether apply will run it.
    pub will_run: bool,
    /// How it stands.
    pub standing: Standing,
    /// Why it runs, or does not: each a sentence without its full stop.
    pub because: Vec<String>,
    /// The address of the instance that it runs on.
    pub instance: String,
    /// Who is driving it right now, and since when: apply takes it over only when they are silent.
    pub driver: Option<String>,
    /// Its steps in order; empty where it does not run.
    pub steps: Vec<PipelineStep>,
    /// What else should be known about it.
    pub notes: Vec<String>,
}

/// What happens with a pipeline step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// It runs.
    Run,
    /// Its result is on the instance, and counts.
    Keep,
    /// Which of the two is known after the upload.
    KnownAfterUpload,
}

/// A pipeline step.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PipelineStep {
    /// Its name.
    pub name: String,
    /// What happens with it.
    pub action: StepAction,
    /// Why.
    pub because: String,
    /// What differs in its command and environment from when it was last tried.
    pub fields: Vec<Field>,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Conflict {
    /// The resource.
    pub address: String,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub hint: String,
    /// What taking it over with `--adopt` would change, where that can be done.
    pub adopting: Vec<Field>,
}

/// Work that will be lost: the intermediate files on an instance that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Loss {
    /// The instance's address.
    pub address: String,
    /// The sample whose files they are.
    pub sample: String,
    /// The pipeline steps whose results they are; empty where the ledger does not tell.
    pub steps: Vec<String>,
    /// How long those steps took.
    pub seconds: i64,
    /// The pipeline steps of which nobody has seen the end yet: their tasks are ended.
    pub running: Vec<String>,
    /// Why it is not known what is lost, where it is not.
    pub unknown: Option<String>,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the intermediate files of {} on {}", self.sample, self.address)?;
        match (&self.unknown, self.steps.as_slice()) {
            (Some(why), _) => write!(f, " (which, its ledger does not tell: {why})"),
            (None, []) => Ok(()),
            (None, [only]) => write!(f, " (step {only}, {})", span(self.seconds)),
            (None, [first, .., last]) => {
                let count = counted(self.steps.len(), "step");
                write!(f, " ({count}, {first} to {last}: {})", span(self.seconds))
            }
        }?;
        match self.running.as_slice() {
            [] => Ok(()),
            running => write!(f, ", and what runs there of {}", running.join(", ")),
        }
    }
}

/// An object that is written again: an output of the run; or what seqstack did not put there, where an upload goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Overwrite {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub written_at: Option<String>,
    /// Whether a run of this pipeline wrote it: one that finished, and nobody has changed it since, or another while it
    /// was going on. What was not has to be agreed to apart.
    pub by_a_run: bool,
    /// The address of what overwrites it: the run, or an upload.
    pub by: String,
}

impl std::fmt::Display for Overwrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{} ({}", self.bucket, self.key, size(self.size))?;
        self.written_at.iter().try_for_each(|at| write!(f, " of {at}"))?;
        f.write_str(")")
    }
}

impl Overwrite {
    /// The overwriting of an object as it is now.
    pub fn of(object: Object, by_a_run: bool, by: &Address) -> Self {
        let written_at = object.last_modified.map(|at| format!("{at:.0}"));
        Self { bucket: object.bucket, key: object.key, size: object.size, written_at, by_a_run, by: by.to_string() }
    }
}

/// A warning about the stack file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StackWarning {
    /// What it is about, as an `allow` names it: `open-ssh`.
    pub code: String,
    /// The line of the stack file, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What is there.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl From<&Warning> for StackWarning {
    fn from(Warning { code, line, column, text, hint, .. }: &Warning) -> Self {
        let (message, hint) = (text.clone(), hint.clone());
        Self { code: code.name().to_owned(), line: *line, column: *column, message, hint }
    }
}

/// Worth knowing, but no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// The resource.
    pub address: String,
    /// What.
    pub text: String,
}

/// How many of each; those after the run are in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Made.
    pub create: usize,
    /// Changed in place.
    pub change: usize,
    /// Replaced.
    pub replace: usize,
    /// Deleted.
    pub delete: usize,
    /// Let go of.
    pub release: usize,
    /// Left as they are.
    pub unchanged: usize,
    /// Pipeline steps that run; where that is known after an upload, those that may.
    pub steps_run: usize,
    /// Pipeline steps whose result is kept.
    pub steps_kept: usize,
}

impl Counts {
    /// Counts what of these happens.
    pub fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut counts = Self::default();
        for resource in resources {
            *match resource.action {
                Action::Create => &mut counts.create,
                Action::Change => &mut counts.change,
                Action::Replace => &mut counts.replace,
                Action::Delete => &mut counts.delete,
                Action::Release => &mut counts.release,
            } += 1;
        }
        counts
    }
}
