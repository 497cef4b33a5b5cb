//! Runs a plan's graph, as concurrently as its edges allow.
//!
//! It makes no choices: it adds ids that were not known when the plan was made, and keeps the order. How a call is made
//! and retried is the performer's business. Needs no particular async runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use crate::address::{Address, Ids, settle};
use crate::event::{Event, Failure};
use crate::plan::{Phase, Plan, Step, StepId, Verb};
use crate::run::RunSpec;

/// Makes calls and runs the pipeline.
pub trait Performer {
    /// Makes one call, every link in it settled, and gives the ids that became known.
    fn call(&self, at: &Address, call: Value) -> impl Future<Output = Result<Ids, Failure>>;
    /// The call as a person reads it.
    fn describe(&self, at: &Address, call: &Value) -> String;
    /// Runs the pipeline.
    fn run(&self, spec: RunSpec) -> impl Future<Output = Result<(), Failure>>;
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Steps that were done.
    pub done: Vec<StepId>,
    /// Steps that failed.
    pub failed: Vec<(StepId, Failure)>,
    /// Steps that were not begun.
    pub skipped: Vec<StepId>,
    /// Every id known at the end.
    pub ids: BTreeMap<Address, Ids>,
}

impl Outcome {
    /// Whether every step was done.
    pub fn clean(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// Runs the plan. After `interrupted` turns true, nothing new is begun, and what is in flight is finished and noted.
pub async fn execute<P: Performer>(
    plan: &Plan,
    performer: &P,
    tell: &dyn Fn(Event),
    interrupted: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome { ids: plan.ids.clone(), ..Outcome::default() };
    let mut waiting: BTreeMap<&StepId, &Step> = plan.steps.iter().collect();
    let mut ended: BTreeSet<&StepId> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        // What can begin now, and what never will.
        let mut again = true;
        while again {
            again = false;
            let ready: Vec<&StepId> = waiting
                .iter()
                .filter(|(_, step)| {
                    step.after.iter().all(|before| ended.contains(before) || !plan.steps.contains_key(before))
                })
                .map(|(id, _)| *id)
                .collect();
            for id in ready {
                let Some(step) = waiting.remove(id) else { continue };
                if let Some(because) = not_to_begin(plan, step, &outcome, interrupted) {
                    tell(Event::Skipped { step: id.clone(), because });
                    outcome.skipped.push(id.clone());
                    ended.insert(id);
                    again = true;
                    continue;
                }
                tell(Event::Started { step: id.clone() });
                running.push(perform(plan, performer, tell, id, step, outcome.ids.clone()));
            }
        }
        let Some((id, ids, result)) = running.next().await else {
            // Nothing runs and nothing can begin: what is left waits for itself. That is a fault of the plan, and told.
            for id in std::mem::take(&mut waiting).into_keys() {
                tell(Event::Skipped { step: id.clone(), because: "it waits in a circle".to_owned() });
                outcome.skipped.push(id.clone());
            }
            break;
        };
        outcome.ids.entry(id.at.clone()).or_default().extend(ids);
        match result {
            Ok(()) => {
                tell(Event::Done { step: id.clone() });
                outcome.done.push(id.clone());
            }
            Err(failure) => {
                tell(Event::Failed { step: id.clone(), failure: failure.clone() });
                outcome.failed.push((id.clone(), failure));
            }
        }
        ended.insert(id);
    }
    outcome
}

fn not_to_begin(plan: &Plan, step: &Step, outcome: &Outcome, interrupted: &AtomicBool) -> Option<String> {
    if interrupted.load(Ordering::SeqCst) {
        return Some("interrupted".to_owned());
    }
    let settles = |id: &StepId, failure: &Failure| {
        id.phase == Phase::Run && failure.ended && plan.run.as_ref().is_some_and(|run| run.settle_always)
    };
    let failed = |id: &&StepId| outcome.failed.iter().any(|(other, failure)| other == *id && !settles(id, failure));
    let skipped = |id: &&StepId| outcome.skipped.contains(id);
    step.after
        .iter()
        .find(|id| failed(id) || skipped(id))
        .map(|id| if failed(&id) { format!("{id} failed") } else { format!("{id} was not done") })
}

async fn perform<'p, P: Performer>(
    plan: &Plan,
    performer: &P,
    tell: &dyn Fn(Event),
    id: &'p StepId,
    step: &Step,
    mut ids: BTreeMap<Address, Ids>,
) -> (&'p StepId, Ids, Result<(), Failure>) {
    if id.verb == Verb::Run {
        let result = match plan.run.as_ref().map(|run| settled_spec(&run.spec, &ids)) {
            Some(Ok(spec)) => performer.run(spec).await,
            Some(Err(failure)) => Err(failure),
            None => Ok(()),
        };
        return (id, Ids::new(), result);
    }
    let mut learned = Ids::new();
    for (made, call) in step.calls.iter().enumerate() {
        let mut call = call.clone();
        settle(&mut call, &|to, part| ids.get(to)?.get(part).cloned());
        let described = performer.describe(&id.at, &call);
        tell(Event::Calling { step: id.clone(), call: described.clone() });
        match performer.call(&id.at, call).await {
            Ok(new) => {
                ids.entry(id.at.clone()).or_default().extend(new.clone());
                learned.extend(new);
            }
            Err(mut failure) => {
                if failure.left.is_empty() {
                    failure.left = match made {
                        0 => "nothing was changed".to_owned(),
                        _ => format!("{made} of its {} calls took effect", step.calls.len()),
                    };
                }
                return (id, learned, Err(failure));
            }
        }
    }
    (id, learned, Ok(()))
}

fn settled_spec(spec: &RunSpec, ids: &BTreeMap<Address, Ids>) -> Result<RunSpec, Failure> {
    let mut value = crate::kind::json(spec);
    settle(&mut value, &|to, part| ids.get(to)?.get(part).cloned());
    serde_json::from_value(value).map_err(|error| Failure {
        call: "ecs:RunTask".to_owned(),
        error: error.to_string(),
        left: String::new(),
        hint: None,
        ended: false,
    })
}
