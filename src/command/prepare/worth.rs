//! What a plan would lose, with its worth: the files on an instance that goes before any run of it was done; and what its
//! uploads would overwrite.

use crate::command::Problem;
use crate::command::session::Session;
use crate::kinds::upload::is_others;
use crate::plan::{Phase, Plan, Verb};
use crate::report::plan::view::{Loss, Overwrite};
use crate::run::ledger::RunState;
use crate::run::observe::written;
use crate::run::spec::{DEFAULT_SAMPLE, Globs};
use crate::run::{Ledger, Observed};

/// What ends with an instance that this plan ends before any run of it was done.
pub(super) fn losses(plan: &Plan, sample: Option<&str>, observed: Option<&Observed>) -> Vec<Loss> {
    let ledger = observed.and_then(|observed| observed.ledger.as_ref()).map(|kept| &kept.ledger);
    plan.phase(Phase::Converge)
        .filter(|(id, _)| id.at.kind == "instance" && id.verb == Verb::Delete)
        .filter_map(|(id, step)| {
            let sample = sample.unwrap_or(DEFAULT_SAMPLE);
            intermediates(ledger?, sample, &id.at.to_string(), &step.subject)
        })
        .collect()
}

/// What is on an instance: the results of the steps that succeeded there, of a run that has not.
pub fn intermediates(ledger: &Ledger, sample: &str, address: &str, instance: &str) -> Option<Loss> {
    let run = ledger.run().filter(|run| run.state != RunState::Succeeded)?;
    let kept: Vec<_> = run
        .steps
        .iter()
        .filter(|step| ledger.kept(&step.name, &step.key, instance))
        .filter_map(|step| Some((step.name.clone(), ledger.last_attempt(&step.name)?.seconds().unwrap_or(0))))
        .collect();
    (!kept.is_empty()).then(|| Loss {
        address: address.to_owned(),
        sample: sample.to_owned(),
        seconds: kept.iter().map(|(_, seconds)| seconds).sum(),
        steps: kept.into_iter().map(|(name, _)| name).collect(),
        unknown: None,
    })
}

/// What the uploads of a plan would overwrite that seqstack did not put there, as it is now. Asks only where there is any.
///
/// # Errors
/// When S3 cannot be asked.
pub(super) async fn replaced(session: &Session, plan: &Plan) -> Result<Vec<Overwrite>, Problem> {
    let mut out = Vec::new();
    for (id, step) in plan.phase(Phase::Converge).filter(|(id, _)| id.at.kind == "upload") {
        let others = step.changes.iter().filter(|change| is_others(&change.from));
        let keys: Vec<String> =
            others.filter_map(|change| change.path.strip_prefix("objects.")).map(str::to_owned).collect();
        let Some(bucket) = step.state.get("bucket").and_then(|bucket| bucket.as_str()).filter(|_| !keys.is_empty())
        else {
            continue;
        };
        let there = written(&session.aws, &[Globs { bucket: bucket.to_owned(), keys: keys.clone() }]).await;
        let there =
            there.map_err(|error| Problem::failed(format!("what would be overwritten is not known: {error}")))?;
        let these = there.into_iter().filter(|object| keys.contains(&object.key));
        out.extend(these.map(|object| Overwrite::of(object, false, &id.at)));
    }
    Ok(out)
}
