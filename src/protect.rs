//! `protect = true`: what must not be deleted, nor replaced. Turns a plan's deletions into refusals. Pure.
//!
//! The word of the stack file is kept on AWS too, as the tag [`TAG_PROTECT`]. So it outlasts the table: a resource that is
//! dropped from the file, or destroyed by way of an older copy of it, is still protected. A table says one of three
//! things: `protect = true`, protected; `protect = false`, not protected, whatever AWS has; nothing, as AWS has it (and the
//! next apply takes the tag off, which the plan shows).
//!
//! What it does not hold against: whoever deletes by other means than this tool; an instance's own `max_hours`; changes in
//! place. What was adopted is never deleted, only let go of, and that is no deletion. An upload has no tags and needs no
//! protection: objects are never deleted. What exists for a run only cannot be protected (a fault in the stack file).

use crate::address::Address;
use crate::diff::Conflict;
use crate::kind::TAG_PROTECT;
use crate::kinds::instance::USED;
use crate::live::Live;
use crate::plan::{Plan, Verb, Why};
use crate::stack::Stack;

/// The protected resources that this plan would delete, each as what is in the way of it. What a replacement left over is
/// not the resource, and goes.
pub fn refusals(plan: &Plan, live: &Live, stack: &Stack) -> Vec<Conflict> {
    let deleted = plan.steps.iter().filter(|(id, _)| id.verb == Verb::Delete && id.deposed.is_none());
    let mut out = Vec::new();
    for (id, step) in deleted.filter(|(id, _)| is_protected(&id.at, live, stack)) {
        let name = &step.subject;
        let why = match &step.why {
            Why::Fixed { field } if field == USED => {
                format!("{name} is protected, and the run that is due needs a fresh instance in its place")
            }
            Why::Fixed { field } => format!("{name} is protected, and changing its `{field}` would replace it"),
            Why::NotInStack => format!("{name} is protected, and would go with its table in the stack file"),
            _ => format!("{name} is protected, and would be deleted"),
        };
        let free = match stack.resources.contains_key(&id.at) {
            true => "set `protect = false` in its table",
            false => "put its table back with `protect = false`, apply, and then take it out",
        };
        let hint = format!("{free}; or leave it as it is, with --exclude {}", id.at);
        out.push(Conflict::new(id.at.clone(), why, hint));
    }
    out
}

fn is_protected(at: &Address, live: &Live, stack: &Stack) -> bool {
    let tagged = || {
        let found = live.found.get(at).into_iter().flatten();
        found.filter_map(|one| one.state.get("tags")?.get(TAG_PROTECT)).any(|tag| tag == "true")
    };
    stack.info.protect.get(at).copied().unwrap_or_else(tagged)
}
