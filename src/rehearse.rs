//! The account as it would be had every step of a plan succeeded: what a later phase is planned against, and the
//! executor's specification. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::address::{Address, Ids};
use crate::desired::Desired;
use crate::diff::{Difference, Differences};
use crate::kind::{Found, Owner, TAG_ADOPTED, kind};
use crate::live::Live;

/// Live state after the differences are gone. What is made has no ids yet, so links to it stay links by address.
pub fn rehearse(live: &Live, desired: &Desired, differences: &Differences) -> Live {
    let mut next = live.clone();
    for (at, difference) in &differences.by_address {
        match difference {
            Difference::Missing { want } => {
                next.found.insert(at.clone(), vec![made(at, want, named(at, want))]);
            }
            Difference::Extra { .. } => {
                next.found.remove(at);
            }
            Difference::Changed { found, want, fixed, .. } => {
                let ids = if fixed.is_some() { named(at, want) } else { found.ids.clone() };
                next.found.insert(at.clone(), vec![made(at, want, ids)]);
            }
        }
    }
    // What was left over goes as well; of what stays the same, one stays.
    for (at, found) in &mut next.found {
        if desired.0.contains_key(at) && found.len() > 1 {
            let gone: Vec<&Found<Value>> = differences.deposed.iter().filter(|one| one.at == *at).collect();
            found.retain(|one| !gone.contains(&one));
        }
    }
    next
}

fn named(at: &Address, want: &Value) -> Ids {
    kind(&at.kind).map(|kind| kind.named(want)).unwrap_or_default()
}

fn made(at: &Address, want: &Value, ids: Ids) -> Found<Value> {
    let adopted = want.get("tags").and_then(|tags| tags.get(TAG_ADOPTED)).is_some();
    let owner = if adopted { Owner::Adopted } else { Owner::Ours };
    let state = kind(&at.kind).map_or_else(|| want.clone(), |kind| kind.made(want, &ids));
    Found { at: at.clone(), ids, owner, state }
}

/// Every id that a live account has, by address.
pub fn ids(live: &Live) -> BTreeMap<Address, Ids> {
    let found = live.found.iter().filter_map(|(at, found)| Some((at.clone(), found.first()?.ids.clone())));
    live.existing.clone().into_iter().chain(found).collect()
}
