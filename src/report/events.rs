//! What happens while a plan is applied or a stack is taken down, as JSON, a line an event: for scripts on stdout
//! (`--json`), and for the journal. `events/README.md` describes the lines, `events/schema.json` is their schema. Under
//! one number of the schema names and meanings stay as they are; events and fields may be added.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::address::Address;
use crate::event::Event;
use crate::plan::StepId;
use crate::report::plan::view::{Overwrite, StackWarning};

/// The number of the lines' schema.
pub const SCHEMA: u32 = 1;

/// A line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line<T> {
    /// The number of this schema: 1.
    schema: u32,
    /// When it was told, by this machine's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    time: Timestamp,
    /// What.
    #[serde(flatten)]
    what: T,
}

impl<T: Serialize> Line<T> {
    /// The line that tells this, now.
    ///
    /// # Errors
    /// Never, for what is told here; JSON has its own opinion.
    pub fn now(what: T) -> serde_json::Result<String> {
        let line = Self { schema: SCHEMA, time: Timestamp::now(), what };
        serde_json::to_string(&line).map(|line| line + "\n")
    }
}

/// What a line of `apply --json` and `destroy --json` tells.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Told {
    /// The plan, before anything is done: only messages come before it. None where an error left none.
    Plan(Plan),
    /// A line for people that is nothing else here.
    Message {
        /// The line, or lines.
        text: String,
    },
    /// Why the command could not go on, or not begin. What fails on the way is `failed`.
    Error {
        /// What is wrong; the faults of a stack file, all of them, with their lines.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The last line.
    End {
        /// What it came to.
        outcome: End,
        /// The process's exit code.
        exit_code: u8,
    },
    /// Something that happened meanwhile.
    #[serde(untagged)]
    Happened(Event),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Done, or nothing to do.
    Done,
    /// Something failed, was refused, or was interrupted.
    Failed,
    /// The pipeline ran and failed, in this command or before.
    RunFailed,
    /// The stack file or the command line is wrong.
    Usage,
}

/// A plan that is about to be carried out.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// `apply` or `destroy`.
    pub verb: String,
    /// The stack's name.
    pub stack: String,
    /// The sample, where there is one.
    pub sample: Option<String>,
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
    /// Who asks, as an ARN.
    pub identity: String,
    /// The sandbox and its engine; none on AWS.
    pub sandbox: Option<String>,
    /// What will be done; none of it if there are conflicts.
    pub steps: Vec<StepId>,
    /// What is in the way.
    pub conflicts: Vec<Conflict>,
    /// What would be lost, with its worth.
    pub losses: Vec<String>,
    /// Objects that are there, and that are written again.
    pub overwrites: Vec<Overwrite>,
    /// What threatens a run that is due.
    pub warnings: Vec<String>,
    /// What the stack file is warned of; empty for `destroy`.
    pub stack_warnings: Vec<StackWarning>,
    /// Where there is something to do as well, and `--target` or `--exclude` leaves it out.
    pub left_out: Vec<Address>,
}

/// What keeps a plan from being applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conflict {
    /// The resource.
    pub at: Address,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SEQSTACK_BLESS=1 cargo test --lib events` writes it anew.
    #[test]
    fn the_schema_in_the_repository_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/events/schema.json");
        let schema = format!("{:#}\n", schemars::schema_for!(Line<Told>).to_value());
        if std::env::var_os("SEQSTACK_BLESS").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            schema,
            "write it anew: SEQSTACK_BLESS=1 cargo test --lib events"
        );
    }
}
