//! What `--target`, `--exclude` and `protect` make of a whole plan: hands it to [`crate::choose`] and [`crate::protect`], and
//! turns names that mean nothing into a usage error.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::choose::{Choice, choose};
use crate::desired::{Desired, wanted};
use crate::live::Live;
use crate::plan::Plan;
use crate::protect::refusals;

use super::session::Session;
use super::{Exit, Problem};

/// What is chosen of a plan, and what of it is refused. `others` can be chosen although they are neither in the stack
/// file nor live: the run, where this plan could have it.
///
/// # Errors
/// Every name that means nothing here.
pub(super) fn chosen<'a>(
    session: &Session,
    whole: Plan,
    choice: &Choice,
    others: impl Iterator<Item = &'a Address>,
    desired: &Desired,
    live: &Live,
) -> Result<Plan, Problem> {
    let stack = &session.stack;
    let mut known: BTreeSet<Address> = wanted(stack).into_keys().collect();
    known.extend(stack.existing.keys().chain(live.found.keys()).cloned());
    known.extend(others.cloned());
    let wrong: Vec<String> = choice
        .faults(&known)
        .into_iter()
        .map(|wrong| {
            let hint = wrong.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            format!("error: {}{hint}", wrong.text)
        })
        .collect();
    if !wrong.is_empty() {
        return Err(Problem { text: wrong.join("\n"), hint: None, exit: Exit::Usage });
    }
    let mut plan = choose(whole, choice, desired, live);
    plan.conflicts.extend(refusals(&plan, live, stack));
    Ok(plan)
}
