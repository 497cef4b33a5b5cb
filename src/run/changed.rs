//! What a run would change of what an earlier one did: the lines of a step that differ, and the outputs that are
//! overwritten. Explains, and never steers. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use super::ledger::{Attempt, Ledger, Object};
use super::spec::{RunSpec, StepSpec};
use crate::diff::{Change, changes};

/// What differs in each step's own command and environment from its last attempt, by step. What a task definition says is
/// the task definition's change.
pub fn step_changes(spec: &RunSpec, ledger: &Ledger) -> BTreeMap<String, Vec<Change>> {
    let changed = |step: &StepSpec| {
        let was = as_asked(ledger.steps.get(&step.name)?.attempts.last()?);
        let now = json!({ "command": step.overrides.command, "environment": step.overrides.environment });
        Some((step.name.clone(), changes(&was, &now)))
    };
    spec.steps.iter().filter_map(changed).filter(|(_, changes)| !changes.is_empty()).collect()
}

fn as_asked(attempt: &Attempt) -> serde_json::Value {
    json!({ "command": attempt.request.command, "environment": attempt.request.environment })
}

/// An output that is there, and that a run will write again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// The object as it is now.
    pub object: Object,
    /// Whether a run of this pipeline wrote it: one that succeeded, and nobody has changed it since, or another while it
    /// was going on.
    pub by_a_run: bool,
}

/// Every output that is there.
pub fn overwritten(ledger: Option<&Ledger>, outputs: &[Object]) -> Vec<Overwritten> {
    let written = |now: &Object| {
        let mut was = ledger.into_iter().flat_map(|ledger| &ledger.runs).flat_map(|run| &run.outputs);
        was.any(|was| (&was.object.bucket, &was.object.key, &was.object.etag) == (&now.bucket, &now.key, &now.etag))
            || ledger.zip(now.last_modified).is_some_and(|(ledger, at)| ledger.was_running(at))
    };
    outputs.iter().map(|now| Overwritten { object: now.clone(), by_a_run: written(now) }).collect()
}
