//! A ledger that is whole and in its place, and not the last one: an older version put back by hand, or restored. Turns what
//! S3 and ECS tell against it into steps whose results are not relied upon. Pure.
//!
//! Two things tell. A ledger that a seqstack wrote was in S3 moments later; one whose `Last-Modified` is much later was put
//! there by somebody else. And a task that ECS has of a step, and that the ledger knows nothing of although it is younger
//! than the step's last attempt, has been there since. An older version that S3 shows again because a newer one was
//! deleted, more than an hour after the last task, cannot be told from the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::ledger::Ledger;
use super::strays::TaggedTask;
use super::verdict::Verdict;

/// How long after it was made a seqstack's own write may arrive. Each attempt is given up after seconds and dated anew; what
/// a network held back that long is rare.
const UNDER_WAY: Duration = Duration::from_secs(600);

impl Ledger {
    /// The same, found in S3 as last written then.
    #[must_use]
    pub(super) fn found(mut self, last_modified: Timestamp) -> Self {
        if self.written_at.is_some_and(|written| last_modified > written + UNDER_WAY) {
            self.put_back.get_or_insert(last_modified);
        }
        self
    }

    /// Takes results of these steps out of account.
    pub(super) fn doubt(&mut self, steps: &BTreeMap<String, String>) {
        for (_, record) in self.steps.iter_mut().filter(|(name, _)| steps.contains_key(*name)) {
            let succeeded = record.attempts.iter_mut().filter(|one| one.verdict == Some(Verdict::Succeeded));
            succeeded.for_each(|attempt| attempt.void = true);
        }
    }
}

/// The steps whose results in the ledger are not to be relied upon, and why, from all that ECS has of this sample's tasks.
pub(super) fn doubted(ledger: &Ledger, tasks: &[TaggedTask], sample: &str) -> BTreeMap<String, String> {
    if let Some(at) = ledger.put_back {
        let why = format!("the ledger was put back from a copy at {at:.0}");
        return ledger.steps.keys().map(|step| (step.clone(), why.clone())).collect();
    }
    let attempts = ledger.steps.values().flat_map(|record| &record.attempts);
    let known: BTreeSet<&str> = attempts.map(|attempt| attempt.request.started_by.as_str()).collect();
    let later = tasks.iter().filter(|task| task.sample == sample && !known.contains(task.started_by.as_str()));
    later
        .filter(|task| {
            let last = ledger.last_attempt(&task.step).filter(|last| last.verdict == Some(Verdict::Succeeded));
            last.is_some_and(|last| last.made_at.zip(task.made_at).is_some_and(|(last, made)| made > last))
        })
        .map(|task| (task.step.clone(), format!("{} has run since, and the ledger does not know of it", task.arn)))
        .collect()
}
