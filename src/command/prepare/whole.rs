//! The whole plan, before anything is chosen of it: what converges, the run where it is due, and what goes after it. Pure.

use std::collections::BTreeSet;

use super::assess::Assessed;
use crate::address::Address;
use crate::desired::Desired;
use crate::diff::{Conflict, Cycle, Scope, diff};
use crate::live::Live;
use crate::plan::{Phase, Plan, Run, Why, plan, with_run};
use crate::rehearse::rehearse;
use crate::run::Due;
use crate::stack::Stack;
use crate::stack::pipeline::OnFailure;

/// A whole plan.
pub(super) struct Whole {
    pub(super) plan: Plan,
    /// What it leads to, before what goes after the run.
    pub(super) desired: Desired,
    /// What stays as it is.
    pub(super) same: Vec<Address>,
}

/// Makes it. `all` is what is desired with the run due.
///
/// # Errors
/// [`Cycle`].
pub(super) fn whole(
    stack: &Stack,
    all: Desired,
    live: &Live,
    scope: &Scope,
    run: Option<&Assessed>,
) -> Result<Whole, Cycle> {
    let on_failure = |wanted| stack.pipeline.as_ref().is_some_and(|pipeline| pipeline.on_failure == wanted);
    let due = run.filter(|run| run.runs());
    let keeps = on_failure(OnFailure::Keep) && matches!(run.and_then(Assessed::due), Some(Due::Failed(_)));
    let desired = if due.is_some() { all.clone() } else { without_the_run(&all, live, keeps) };
    let first = diff(&desired, live, scope)?;
    let in_the_way: BTreeSet<&Address> = first.conflicts.iter().map(|conflict| &conflict.at).collect();
    let as_it_is = |at: &&Address| !first.by_address.contains_key(*at) && !in_the_way.contains(*at);
    let same = desired.0.keys().filter(as_it_is).cloned().collect();
    let next = rehearse(live, &desired, &first);
    let why = |at: &Address| if at.sample.is_some() { Why::RunOver } else { Why::NotInStack };
    let mut converge = plan(Phase::Converge, first, &why);
    converge.conflicts.extend(live.absent.iter().map(|(at, id)| {
        Conflict::new(
            at.clone(),
            match stack.existing.contains_key(at) {
                true => format!("there is no {} `{id}`, which the stack file calls `existing`", at.kind),
                false => format!("there is no {} `{id}`, which a pipeline step names as its task", at.kind),
            },
            "it is something that somebody else made: correct the name, or describe it in the stack file to have it made",
        )
    }));
    let plan = match due {
        Some(due) => {
            converge.conflicts.extend(due.without_inputs());
            let after = Desired(all.0.into_iter().filter(|(at, _)| at.sample.is_none()).collect());
            let settle = plan(Phase::Settle, diff(&after, &next, scope)?, &|_| Why::RunOver);
            let run = Run { spec: due.spec.clone(), settle_always: on_failure(OnFailure::Release) };
            with_run(converge, run, due.reasons(), settle)
        }
        None => converge,
    };
    Ok(Whole { plan, desired, same })
}

/// What is desired while no run is due. What a failed run keeps stays as it is: without a run there is no use in another.
fn without_the_run(all: &Desired, live: &Live, keeps: bool) -> Desired {
    let kept = |at: &Address| live.found.get(at).and_then(|found| found.first()).filter(|_| keeps);
    let states = all.0.iter().filter_map(|(at, state)| match at.sample {
        None => Some((at.clone(), state.clone())),
        Some(_) => kept(at).map(|found| (at.clone(), found.state.clone())),
    });
    Desired(states.collect())
}
