//! The run as a plan shows it: whether it is due and why, and what happens with each of its steps. Pure.

use std::collections::BTreeMap;

use super::lines::field;
use super::view::{Field, Overwrite, PipelineStep, Run, Standing, StepAction};
use crate::diff::Change;
use crate::phrase::span;
use crate::plan::run_address;
use crate::report;
use crate::run::changed::{Overwritten, overwritten, step_changes};
use crate::run::{Assessment, Done, Due, Observed, RunSpec, Work};
use crate::stack::Credentials;

/// The view of a run; `assessment` is none where inputs are `missing`, and `stays` whether its instance is there and stays.
pub fn run(
    spec: &RunSpec,
    observed: &Observed,
    assessment: Option<&Assessment>,
    missing: &[String],
    stays: bool,
    notes: Vec<String>,
    credentials: &Credentials,
) -> Run {
    let ledger = observed.ledger.as_ref().map(|kept| &kept.ledger);
    let due = assessment.map(|assessment| &assessment.due);
    let steps = |action, because: &str| {
        let step = |name: &String| PipelineStep {
            name: name.clone(),
            action,
            because: because.to_owned(),
            fields: Vec::new(),
        };
        spec.steps.iter().map(|one| step(&one.name)).collect::<Vec<_>>()
    };
    let (standing, because, steps) = match due {
        Some(Due::Yes(work)) => {
            let differs = ledger.map(|ledger| step_changes(spec, ledger)).unwrap_or_default();
            (Standing::Due, work.reasons.clone(), of_work(work, &differs, credentials))
        }
        Some(Due::KnownAfterUpload { .. }) if ledger.is_none() && observed.unusable.is_none() => {
            (Standing::DueAfterUpload, vec!["it was never run".to_owned()], steps(StepAction::Run, "never run"))
        }
        Some(Due::KnownAfterUpload { uploads }) => {
            let because = uploads.iter().map(|object| format!("{object} is uploaded first")).collect();
            // Nothing is kept on an instance that is yet to be.
            let steps = match stays {
                true => steps(StepAction::KnownAfterUpload, "known after the upload"),
                false => steps(StepAction::Run, "its inputs are uploaded first"),
            };
            (Standing::DueAfterUpload, because, steps)
        }
        Some(Due::No(done)) => {
            let changed = assessment.is_some_and(|assessment| !assessment.notes.is_empty());
            (Standing::Done, vec![of_done(done, changed)], Vec::new())
        }
        Some(Due::Failed(earlier)) => {
            let because = vec![
                format!("the same run failed before: {}", report::run::earlier(earlier)),
                "nothing has changed since; --retry starts it again".to_owned(),
            ];
            (Standing::FailedBefore, because, Vec::new())
        }
        None => (Standing::InputsMissing, vec![format!("no object matches {}", missing.join(", "))], Vec::new()),
    };
    let driver = match due {
        Some(Due::Yes(Work { in_progress: Some(holder), .. })) => {
            Some(format!("{} since {}", holder.who, holder.since))
        }
        _ => None,
    };
    let of_assessment = assessment.into_iter().flat_map(|assessment| assessment.notes.clone());
    Run {
        sample: spec.sample.clone(),
        will_run: matches!(standing, Standing::Due | Standing::DueAfterUpload),
        standing,
        because,
        instance: spec.instance_at.to_string(),
        driver,
        steps,
        notes: of_assessment.chain(notes).collect(),
    }
}

fn of_work(work: &Work, differs: &BTreeMap<String, Vec<Change>>, credentials: &Credentials) -> Vec<PipelineStep> {
    let fields = |name: &str| -> Vec<Field> {
        differs.get(name).into_iter().flatten().map(|change| field(None, &credentials.change(change))).collect()
    };
    let step = |step: &crate::run::StepPlan| PipelineStep {
        name: step.name.clone(),
        action: if step.kept { StepAction::Keep } else { StepAction::Run },
        because: step.why.clone(),
        fields: if step.kept { Vec::new() } else { fields(&step.name) },
    };
    work.steps.iter().map(step).collect()
}

fn of_done(done: &Done, changed: bool) -> String {
    let when = done.ended_at.map(|at| format!(" until {at:.0}")).unwrap_or_default();
    let took = done.seconds.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
    let there = if changed { "its outputs are there, though changed since" } else { "what it wrote is still there" };
    format!("it has run{took}{when}, and {there}")
}

/// What a run that is due writes again.
pub fn overwrites(run: &Run, observed: &Observed) -> Vec<Overwrite> {
    if !run.will_run {
        return Vec::new();
    }
    let ledger = observed.ledger.as_ref().map(|kept| &kept.ledger);
    let by = run_address(&run.sample);
    let told = |Overwritten { object, by_a_run }: Overwritten| Overwrite::of(object, by_a_run, &by);
    overwritten(ledger, &observed.outputs).into_iter().map(told).collect()
}
