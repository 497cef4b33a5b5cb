//! Desired against live: one comparison for every kind, field by field of the normal form. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Address, Ids, Link, as_link, links, settle};
use crate::desired::Desired;
use crate::kind::{ErasedKind, Found, Owner, TAG_ADOPTED, is_our_tag, kind};
use crate::live::Live;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted path in the state.
    pub path: String,
    /// Live.
    pub from: Value,
    /// Desired.
    pub to: Value,
}

/// How a resource differs from what is desired.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// It is not there.
    Missing {
        /// What it is to be.
        want: Value,
    },
    /// It is there and not wanted.
    Extra {
        /// What is there.
        found: Found<Value>,
    },
    /// It is there and differs.
    Changed {
        /// What is there.
        found: Found<Value>,
        /// What it is to be, with every link settled that can be.
        want: Value,
        /// The fields that differ.
        changes: Vec<Change>,
        /// The first of them that cannot change in place.
        fixed: Option<String>,
    },
}

/// Why a resource cannot be brought to its desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The resource.
    pub at: Address,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub hint: String,
    /// What taking it over would change, where that can be done; empty for every other conflict.
    pub adopting: Vec<Change>,
}

impl Conflict {
    /// One that taking something over does not settle.
    pub fn new(at: Address, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, why: why.into(), hint: hint.into(), adopting: Vec::new() }
    }
}

/// All differences of a stack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// By address; what is the same is not in it.
    pub by_address: BTreeMap<Address, Difference>,
    /// Left over from a replacement or a race: to be deleted once nobody holds them.
    pub deposed: Vec<Found<Value>>,
    /// Ids that will still be good when the plan has run.
    pub ids: BTreeMap<Address, Ids>,
    /// Desired states, links to ours by address as lowered, of what is the same or changed or missing.
    pub links: BTreeMap<Address, Vec<Link>>,
    /// Worth knowing, but no change.
    pub notes: Vec<(Address, String)>,
    /// In the way.
    pub conflicts: Vec<Conflict>,
}

/// Resources that need each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these depend on each other in a circle: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct Cycle(pub Vec<Address>);

/// What a comparison may do beyond comparing.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Addresses whose unmanaged live resource is to be taken over.
    pub adopt: BTreeSet<Address>,
    /// Addresses, without sample, of what exists for a run only: another sample's is none of this plan's business.
    pub per_run: BTreeSet<Address>,
    /// The sample that the plan is for.
    pub sample: Option<String>,
}

impl Scope {
    fn is_another_samples(&self, at: &Address) -> bool {
        at.sample.is_some()
            && at.sample != self.sample
            && self.per_run.contains(&Address::new(at.kind.clone(), at.name.clone()))
    }
}

/// Compares.
///
/// Goes in dependency order and forgets the id of whatever will be replaced, or its dependents would look unchanged.
///
/// # Errors
/// [`Cycle`].
pub fn diff(desired: &Desired, live: &Live, scope: &Scope) -> Result<Differences, Cycle> {
    let mut out = Differences { ids: live.existing.clone(), ..Differences::default() };
    for at in order(desired)? {
        let Some(kind) = kind(&at.kind) else { continue };
        let want = desired.0[&at].clone();
        out.links.insert(at.clone(), links(&want));
        let found = live.found.get(&at).map(Vec::as_slice).unwrap_or_default();
        // New ones are made beside what remains of old ones, and what has another name by now is not built upon.
        let (remains, there): (Vec<_>, Vec<_>) = found.iter().cloned().partition(|one| one.owner == Owner::Remains);
        if !there.is_empty() {
            out.deposed.extend(remains);
        }
        compare(&mut out, kind, &at, want, &there, scope);
    }
    for (at, found) in live.found.iter().filter(|(at, _)| !desired.0.contains_key(at)) {
        for one in found {
            if scope.is_another_samples(at) {
                let sample = at.sample.as_deref().unwrap_or_default();
                out.notes.push((at.clone(), format!("belongs to the run of sample {sample}: left alone")));
            } else if matches!(one.owner, Owner::Ours | Owner::Adopted | Owner::Remains) {
                if out.by_address.contains_key(at) {
                    out.deposed.push(one.clone());
                } else {
                    out.by_address.insert(at.clone(), Difference::Extra { found: one.clone() });
                }
            }
        }
    }
    Ok(out)
}

fn compare(
    out: &mut Differences,
    kind: &dyn ErasedKind,
    at: &Address,
    want: Value,
    found: &[Found<Value>],
    scope: &Scope,
) {
    let Some((chosen, rest)) = choose(kind, &want, &out.ids, found) else {
        let want = settled(kind, want, &out.ids);
        // Whoever has its name already has not changed because it has to be made again.
        out.ids.insert(at.clone(), kind.named(&want));
        out.by_address.insert(at.clone(), Difference::Missing { want });
        return;
    };
    out.deposed.extend(rest.into_iter().filter(|one| one.owner == Owner::Ours).cloned());
    let adopting = match &chosen.owner {
        Owner::Ours | Owner::Remains => false,
        Owner::Adopted => true,
        Owner::Nobody if scope.adopt.contains(at) => true,
        Owner::Nobody => {
            out.ids.insert(at.clone(), chosen.ids.clone());
            out.conflicts.push(unmanaged(kind, at, want, chosen, &out.ids));
            return;
        }
        Owner::Stack(other) => {
            let why = format!("{} belongs to the stack {other}", name(chosen));
            out.conflicts.push(Conflict::new(
                at.clone(),
                why,
                "give this one another `name`, or the stack another name",
            ));
            out.ids.insert(at.clone(), chosen.ids.clone());
            return;
        }
    };

    // Its own id is good as long as it is not replaced, so a link to itself can be settled for the comparison.
    out.ids.insert(at.clone(), chosen.ids.clone());
    let mut want = settled(kind, want, &out.ids);
    if adopting {
        mark_adopted(&mut want);
    }
    let orphaned = orphaned(out, kind, at, &chosen.state);
    if orphaned.is_none() {
        out.notes.extend(kind.keep(&mut want, &chosen.state).into_iter().map(|note| (at.clone(), note)));
    }
    let own = want.clone();
    keep_foreign_tags(&mut want, &chosen.state);
    let changes: Vec<Change> = orphaned.into_iter().chain(changes(&chosen.state, &want)).collect();
    if changes.is_empty() {
        return;
    }
    let fixed = changes.iter().find(|change| is_fixed(kind, &change.path)).map(|change| change.path.clone());
    if fixed.is_some() {
        // What others have tagged goes with the old one.
        want = own;
    }
    if let (Some(field), true) = (&fixed, adopting) {
        out.conflicts.push(Conflict::new(
            at.clone(),
            format!("{} was there before, and its `{field}` cannot change in place", name(chosen)),
            "what was adopted is never replaced: write the stack file as it is, or use another name",
        ));
        return;
    }
    if fixed.is_some() {
        out.ids.insert(at.clone(), kind.named(&want));
    }
    out.by_address.insert(at.clone(), Difference::Changed { found: chosen.clone(), want, changes, fixed });
}

/// The conflict with what somebody else made, and what taking it over would change: that is only offered where it can be done.
fn unmanaged(
    kind: &dyn ErasedKind,
    at: &Address,
    want: Value,
    found: &Found<Value>,
    ids: &BTreeMap<Address, Ids>,
) -> Conflict {
    let mut want = settled(kind, want, ids);
    mark_adopted(&mut want);
    kind.keep(&mut want, &found.state);
    keep_foreign_tags(&mut want, &found.state);
    let adopting = changes(&found.state, &want);
    let why = format!("{} exists already and is not seqstack's", name(found));
    let otherwise = "use it untouched with `existing`, or give another `name`";
    match adopting.iter().find(|change| is_fixed(kind, &change.path)) {
        None => {
            let hint = format!("take it over with --adopt {at}, or {otherwise}");
            Conflict { adopting, ..Conflict::new(at.clone(), why, hint) }
        }
        Some(fixed) => Conflict::new(
            at.clone(),
            why,
            format!("it cannot be taken over, since its `{}` cannot change in place: {otherwise}", fixed.path),
        ),
    }
}

/// That a live resource goes because what it names is made anew ([`crate::kind::Kind::DIES_WITH`]).
fn orphaned(out: &Differences, kind: &dyn ErasedKind, at: &Address, live: &Value) -> Option<Change> {
    let missing = |to: &Address| matches!(out.by_address.get(to), Some(Difference::Missing { .. }));
    out.links.get(at)?.iter().find_map(|link| match link {
        Link::Ours { to, .. } if kind.dies_with().contains(&to.kind.as_str()) && missing(to) => {
            let from = live.get(&to.kind).cloned().unwrap_or_default();
            Some(Change { path: to.kind.clone(), from, to: serde_json::to_value(link).ok()? })
        }
        _ => None,
    })
}

/// Leaves tags that others have put on a live resource, or on a part of it, where they are.
fn keep_foreign_tags(want: &mut Value, live: &Value) {
    let (Some(want), Some(live)) = (want.as_object_mut(), live.as_object()) else { return };
    for (name, want) in want.iter_mut() {
        let Some(live) = live.get(name) else { continue };
        match (name.as_str(), want.as_object_mut(), live.as_object()) {
            ("tags", Some(want), Some(live)) => {
                for (key, value) in live.iter().filter(|(key, _)| !is_our_tag(live, key)) {
                    want.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            _ => keep_foreign_tags(want, live),
        }
    }
}

fn mark_adopted(want: &mut Value) {
    if let Some(tags) = want.get_mut("tags").and_then(Value::as_object_mut) {
        tags.insert(TAG_ADOPTED.to_owned(), Value::String("true".to_owned()));
    }
}

/// Which of several live resources at one address is the one, and the others.
fn choose<'f>(
    kind: &dyn ErasedKind,
    want: &Value,
    ids: &BTreeMap<Address, Ids>,
    found: &'f [Found<Value>],
) -> Option<(&'f Found<Value>, Vec<&'f Found<Value>>)> {
    let fits = |one: &&Found<Value>| {
        let mut want = settled(kind, want.clone(), ids);
        kind.keep(&mut want, &one.state);
        !changes(&one.state, &want).iter().any(|change| is_fixed(kind, &change.path))
    };
    let chosen = if found.len() > 1 { found.iter().find(fits).or(found.first()) } else { found.first() }?;
    Some((chosen, found.iter().filter(|one| !std::ptr::eq(*one, chosen)).collect()))
}

fn settled(kind: &dyn ErasedKind, mut state: Value, ids: &BTreeMap<Address, Ids>) -> Value {
    settle(&mut state, &|to, part| ids.get(to)?.get(part).cloned());
    kind.normal(state)
}

/// What a person calls a live resource; empty for what has neither id nor name yet.
pub fn name(found: &Found<Value>) -> String {
    let state_name = found.state.get("name").and_then(Value::as_str);
    let id = ["id", "name", "family", "arn"].iter().find_map(|part| found.ids.get(*part).map(String::as_str));
    id.or(state_name).unwrap_or_default().to_owned()
}

fn is_fixed(kind: &dyn ErasedKind, path: &str) -> bool {
    is_under(path, kind.fixed())
}

/// Whether a dotted path is one of these, or inside one of them.
pub fn is_under(path: &str, those: &[&str]) -> bool {
    those.iter().any(|one| path.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The fields in which two states differ; a list or a link is one field.
pub fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let mut out = Vec::new();
    walk("", from, to, &mut out);
    out
}

fn walk(path: &str, from: &Value, to: &Value, out: &mut Vec<Change>) {
    let branch = |value: &Value| value.is_object() && as_link(value).is_none();
    match (from, to) {
        (Value::Object(old), Value::Object(new)) if branch(from) && branch(to) => {
            for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&inner, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), out);
            }
        }
        _ if from != to => out.push(Change { path: path.to_owned(), from: from.clone(), to: to.clone() }),
        _ => {}
    }
}

/// Targets before what links to them.
fn order(desired: &Desired) -> Result<Vec<Address>, Cycle> {
    let mut waits: BTreeMap<&Address, BTreeSet<Address>> = desired
        .0
        .iter()
        .map(|(at, want)| {
            let targets = links(want).into_iter().filter_map(|link| match link {
                Link::Ours { to, .. } if to != *at && desired.0.contains_key(&to) => Some(to),
                _ => None,
            });
            (at, targets.collect())
        })
        .collect();
    let mut out = Vec::new();
    while !waits.is_empty() {
        let ready: Vec<Address> = waits.iter().filter(|(_, on)| on.is_empty()).map(|(at, _)| (*at).clone()).collect();
        if ready.is_empty() {
            return Err(Cycle(waits.into_keys().cloned().collect()));
        }
        for at in &ready {
            waits.remove(at);
            waits.values_mut().for_each(|on| {
                on.remove(at);
            });
        }
        out.extend(ready);
    }
    Ok(out)
}
