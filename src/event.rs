//! What happens while a plan is applied, for whoever wants to show or keep it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::address::Address;
use crate::plan::StepId;
use crate::run::RunEvent;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A plan step began.
    Started {
        /// Which.
        step: StepId,
    },
    /// A call is about to be made.
    Calling {
        /// For which plan step.
        step: StepId,
        /// The call, as a person reads it.
        call: String,
    },
    /// A plan step is done.
    Done {
        /// Which.
        step: StepId,
    },
    /// A plan step failed.
    Failed {
        /// Which.
        step: StepId,
        /// Why, and what it left behind.
        failure: Failure,
    },
    /// A plan step was not begun, because what it waits for failed, or because of an interrupt.
    Skipped {
        /// Which.
        step: StepId,
        /// Why.
        because: String,
    },
    /// Something is being waited for.
    Waiting {
        /// By which resource's step.
        at: Address,
        /// For what.
        text: String,
    },
    /// The run lost its instance, or cannot use it, and begins again on a fresh one.
    RunAgain {
        /// The instance that went away, or holds files that are not the run's.
        instance: String,
        /// Why.
        because: String,
        /// Which instance follows, from 1.
        attempt: u32,
        /// How many one apply makes at the most.
        of: u32,
    },
    /// The run went on.
    #[serde(untagged)]
    Run(RunEvent),
}

impl Event {
    /// Whether it is worth showing while it is so, and not worth keeping.
    pub fn is_fleeting(&self) -> bool {
        matches!(self, Self::Run(RunEvent::StepHeard { .. }))
    }
}

/// A plan step's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// The call that failed, as a person reads it.
    pub call: String,
    /// What went wrong.
    pub error: String,
    /// What is there now because of this step.
    pub left: String,
    /// What to do next.
    pub hint: Option<String>,
    /// For the run: it came to an end, or cannot go on. A run that somebody else drives, or that goes on once AWS can be
    /// reached again, has not.
    pub ended: bool,
}
