//! From the stack and the facts to what each resource is to be. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::address::Address;
use crate::kind::{Context, kind};
use crate::stack::Stack;

/// The states that the stack asks for; links in them name ours by address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired(pub BTreeMap<Address, Value>);

/// Specs by the address that each has in this plan: one sample's, for what exists for a run only.
pub fn wanted(stack: &Stack) -> BTreeMap<Address, Value> {
    let at = |at: &Address| {
        let sample = stack.info.per_run.contains(at).then_some(stack.sample.as_deref()).flatten();
        at.clone().of(sample)
    };
    stack.resources.iter().map(|(logical, spec)| (at(logical), spec.clone())).collect()
}

/// Lowers every spec whose address `include` takes.
///
/// # Errors
/// Every resource that the facts make impossible, with a sentence on why.
pub fn lower(
    stack: &Stack,
    cx: &Context<'_>,
    include: impl Fn(&Address) -> bool,
) -> Result<Desired, Vec<(Address, String)>> {
    let mut out = Desired::default();
    let mut wrong = Vec::new();
    for (at, spec) in wanted(stack).into_iter().filter(|(at, _)| include(at)) {
        let Some(kind) = kind(&at.kind) else { continue };
        match kind.lower(&at, &spec, cx) {
            Ok(state) => {
                out.0.insert(at, state);
            }
            Err(why) => wrong.push((at, why)),
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}
