//! What there is: every kind's listing, read side by side.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::Value;

use crate::address::{Address, Ids};
use crate::aws::trace::branch;
use crate::aws::{Aws, AwsError};
use crate::desired::wanted;
use crate::kind::{Found, KINDS, Reading, kind};
use crate::stack::Stack;

/// The live account, as far as this stack is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// What was found, by address. More than one only after a replacement or a race that was cut short.
    pub found: BTreeMap<Address, Vec<Found<Value>>>,
    /// The ids of what is somebody else's and only used.
    pub existing: BTreeMap<Address, Ids>,
    /// What the stack file calls `existing` and is not there.
    pub absent: Vec<(Address, String)>,
}

/// Reads it, all kinds at once.
///
/// # Errors
/// Every listing that failed: what could not be read is not known, and is never taken for absent.
pub async fn read(aws: &Aws, stack: &Stack) -> Result<Live, Vec<AwsError>> {
    let cx = Reading { aws, stack: &stack.info, sample: stack.sample.as_deref() };
    let mut by_kind: BTreeMap<&str, BTreeMap<Address, Value>> = BTreeMap::new();
    let wanted = wanted(stack);
    for (at, spec) in &wanted {
        by_kind.entry(&at.kind).or_default().insert(at.clone(), spec.clone());
    }
    let nothing = BTreeMap::new();
    let listings = KINDS.iter().map(|kind| branch(kind.list(cx, by_kind.get(kind.table()).unwrap_or(&nothing))));
    // What a pipeline step names by its ARN is as much somebody else's.
    let tasks =
        stack.pipeline.iter().flat_map(|pipeline| &pipeline.step).map(|step| &step.task).filter(|task| task.is_id());
    let named = tasks.map(|task| (Address::new("task_definition", &task.text), task.text.clone()));
    let theirs: BTreeMap<Address, String> = stack.existing.clone().into_iter().chain(named).collect();
    let lookups = theirs.iter().filter_map(|(at, id)| {
        let kind = kind(&at.kind)?;
        Some(branch(async move { (at, id, kind.find_existing(cx, id).await) }))
    });
    let (listings, lookups) = futures_util::future::join(join_all(listings), join_all(lookups)).await;

    let mut live = Live::default();
    let mut errors = Vec::new();
    for listing in listings {
        match listing {
            Ok(found) => found.into_iter().for_each(|one| live.found.entry(one.at.clone()).or_default().push(one)),
            Err(error) => errors.push(error),
        }
    }
    for (at, id, answer) in lookups {
        match answer {
            Ok(Some(ids)) => {
                live.existing.insert(at.clone(), ids);
            }
            Ok(None) => live.absent.push((at.clone(), id.clone())),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(live) } else { Err(errors) }
}
