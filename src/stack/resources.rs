//! The tables of the registry: each resource's spec, what it refers to, and how long it is wanted.
//!
//! Knows no kind: types, checks and lifetimes come from the registry, references from the reading itself.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use serde_json::Value as Json;

use super::diagnostic::{MOST_CIRCLES, Sink, round, suggest};
use super::head::logical_name;
use super::tolerant::{Reference, Table};
use super::tree::{Entry, Node, Value};
use super::values::PLACEHOLDER;
use super::warning::{ALLOW, Seen, Sightings, SpecWarning};
use super::{protect, reference};
use crate::address::Address;
use crate::kind::{ErasedKind, Lifetime, SpecFault};

/// What the resource tables say.
#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) specs: BTreeMap<Address, Json>,
    pub(super) existing: BTreeMap<Address, String>,
    pub(super) per_run: BTreeSet<Address>,
    references: BTreeSet<(Option<Address>, Reference)>,
    /// Whose each thing in AWS is that a table names.
    claimed: BTreeMap<(&'static str, String), Address>,
}

/// Puts `[task_defaults]` into every task definition that does not say otherwise.
pub(super) fn merge_defaults(root: &mut Node) {
    let Some(defaults) = root.get("task_defaults").map(|node| node.entries().to_vec()) else { return };
    let Some(definitions) = root.get_mut("task_definition") else { return };
    for definition in definitions.entries_mut() {
        if definition.node.get("existing").is_some() {
            continue;
        }
        if let Value::Table(entries) = &mut definition.node.value {
            let missing = defaults.iter().filter(|default| entries.iter().all(|own| own.key != default.key));
            let missing: Vec<Entry> = missing.cloned().collect();
            entries.extend(missing);
        }
    }
}

/// Reads every table of the registry.
pub(super) fn read(root: &Node, kinds: &[&dyn ErasedKind], sink: &Sink, seen: &mut Sightings) -> Resources {
    let mut out = Resources::default();
    for kind in kinds {
        for entry in root.get(kind.table()).map(Node::entries).unwrap_or_default() {
            let at = Address::new(kind.table(), &entry.key);
            logical_name(entry, sink);
            if !matches!(entry.node.value, Value::Table(_) | Value::Broken) {
                let hint = format!("each has a name: [{}.<name>]", kind.table());
                let text = format!("expected a table, found {}", entry.node.value.type_name());
                sink.tell(&entry.node.span, text, Some(hint));
            } else if entry.node.get("existing").is_some() {
                out.existing.extend(existing(&entry.node, sink).map(|id| (at, id)));
            } else {
                out.resource(*kind, at, entry, sink, seen);
            }
        }
        // Once more by themselves, since every definition may override the default that is wrong.
        if kind.table() == "task_definition"
            && let Some(defaults) = root.get("task_defaults")
        {
            let table = Table::partial(defaults, sink).beside(&[protect::KEY, ALLOW]);
            let _ = kind.read(&table);
            out.refer(None, table);
        }
    }
    out
}

/// Somebody else's: nothing else may be said of it.
fn existing(node: &Node, sink: &Sink) -> Option<String> {
    for other in node.entries().iter().filter(|entry| entry.key != "existing") {
        let hint = "what is somebody else's is used as it is: keep only `existing`, or take it out".to_owned();
        sink.tell(&other.key_span, format!("`{}` beside `existing`", other.key), Some(hint));
    }
    let value = node.get("existing")?;
    match &value.value {
        Value::String(text) | Value::Typed { text, .. } if !text.trim().is_empty() => Some(text.clone()),
        Value::Broken => None,
        Value::String(_) => {
            let hint = "its name, id or ARN, as AWS has it".to_owned();
            sink.tell(&value.span, "expected its name, id or ARN, found nothing", Some(hint));
            None
        }
        other => {
            let hint = "write it in quotes, as AWS has it".to_owned();
            sink.tell(&value.span, format!("expected its name, id or ARN, found {}", other.type_name()), Some(hint));
            None
        }
    }
}

impl Resources {
    fn resource(&mut self, kind: &dyn ErasedKind, at: Address, entry: &Entry, sink: &Sink, seen: &mut Sightings) {
        let table = Table::new(&entry.node, sink).beside(&[protect::KEY, ALLOW]);
        let spec = kind.read(&table);
        self.refer(Some(&at), table);
        let Some(spec) = spec else { return };
        let spoilt = sink.at_fault(&entry.node);
        for fault in kind.check(&spec) {
            tell_spec_fault(entry, &fault, spoilt, sink);
        }
        for (key, claim) in kind.claims(&at.name, &spec) {
            // A claim with a placeholder has a fault of its own already.
            if claim.contains(PLACEHOLDER) || reference::is_later(&claim) {
                continue;
            }
            match self.claimed.entry((kind.table(), claim)) {
                // Twice in one table is the kind's own fault to tell.
                Occupied(other) if *other.get() != at => {
                    let text = format!("`{}` is `{}`'s already", other.key().1, other.get());
                    let hint = "what is one thing in AWS can be one resource's only: name another here";
                    sink.tell(&at_key(&entry.node, &key).span, text, Some(hint.to_owned()));
                }
                Occupied(_) => {}
                Vacant(place) => {
                    place.insert(at.clone());
                }
            }
        }
        for SpecWarning { code, key, message: text, hint } in kind.warn(&spec) {
            let Range { start, end } = at_key(&entry.node, &key).span;
            seen.insert((Seen { start, end, code, text, hint }, at.clone()));
        }
        if kind.lifetime(&spec) == Lifetime::Run {
            self.per_run.insert(at.clone());
        }
        self.specs.insert(at, spec);
    }

    /// Books the references that a table had.
    pub(super) fn refer(&mut self, from: Option<&Address>, table: Table<'_>) {
        self.references.extend(table.into_references().into_iter().map(|to| (from.cloned(), to)));
    }

    /// Which resource refers to which other thing of the stack; what is named by an id or ARN is none of it.
    pub(super) fn between(&self) -> BTreeSet<(Address, Address)> {
        let ours = self.references.iter().filter(|(_, to)| !reference::is_id(to.table, &to.text));
        ours.filter_map(|(from, to)| Some((from.clone()?, Address::new(to.table, &to.text)))).collect()
    }

    /// Every reference points to something that is there and lasts at least as long.
    pub(super) fn check(&self, root: &Node, kinds: &[&dyn ErasedKind], sink: &Sink) {
        for (from, to) in &self.references {
            if reference::is_id(to.table, &to.text) || reference::is_later(&to.text) {
                continue;
            }
            let target = root.get(to.table).and_then(|table| table.entry(&to.text));
            match (target, from) {
                (None, _) => tell_dangling(root, to, sink),
                (Some(_), Some(from)) => self.check_lifetime(root, from, to, sink),
                (Some(_), None) => {}
            }
        }
        self.check_circles(sink);
        kinds.iter().for_each(|kind| self.check_needs(*kind, root, sink));
        if root.get("pipeline").is_none() {
            for at in &self.per_run {
                let Some(entry) = root.get(&at.kind).and_then(|table| table.entry(&at.name)) else { continue };
                let hint = "add a [pipeline] and a sample, or say lifetime = \"always\"".to_owned();
                let text = format!("`{at}` exists for a sample's run only, and there is no [pipeline]");
                sink.tell(&entry.node.span, text, Some(hint));
            }
        }
    }

    /// What is referred to says what whoever refers to it needs.
    fn check_needs(&self, kind: &dyn ErasedKind, root: &Node, sink: &Sink) {
        for (at, spec) in self.specs.iter().filter(|(at, _)| at.kind == kind.table()) {
            for (key, table, flag) in kind.needs() {
                let Some(name) = spec.get(key).and_then(Json::as_str) else { continue };
                let Some(other) = self.specs.get(&Address::new(*table, name)) else { continue };
                let Some(entry) = root.get(&at.kind).and_then(|table| table.entry(&at.name)) else { continue };
                // Where that table is at fault, what it says is not known.
                let known = root.get(table).and_then(|table| table.get(name)).is_some_and(|node| !sink.at_fault(node));
                if known && other.get(flag).and_then(Json::as_bool) != Some(true) {
                    let text = format!("`{table}.{name}` does not say `{flag}`, which `{at}` needs of it");
                    let hint = format!("say {flag} = true in [{table}.{name}]");
                    sink.tell(&at_key(&entry.node, key).span, text, Some(hint));
                }
            }
        }
    }

    /// Nothing can be made first of what needs each other in a circle. To name oneself is none: a group may let itself in.
    fn check_circles(&self, sink: &Sink) {
        let mut needs: BTreeMap<Address, BTreeSet<Address>> = BTreeMap::new();
        for (from, to) in &self.references {
            let Some(from) = from else { continue };
            let target = Address::new(to.table, &to.text);
            if *from != target && !reference::is_id(to.table, &to.text) {
                needs.entry(from.clone()).or_default().insert(target);
            }
        }
        only_round(&mut needs);
        let mut told = 0;
        for (from, to) in &self.references {
            let Some(from) = from else { continue };
            let target = Address::new(to.table, &to.text);
            if *from != target
                && told < MOST_CIRCLES
                && needs.get(from).is_some_and(|needs| needs.contains(&target))
                && let Some(way) = way(&needs, &target, from)
            {
                told += 1;
                let names: Vec<String> = std::iter::once(from).chain(way).map(ToString::to_string).collect();
                let hint = round(&names, " refers to ");
                sink.tell(&(to.start..to.end), format!("`{target}` itself refers to `{from}`"), Some(hint));
            }
        }
    }

    fn check_lifetime(&self, root: &Node, from: &Address, to: &Reference, sink: &Sink) {
        let target = Address::new(to.table, &to.text);
        if self.per_run.contains(from) || !self.per_run.contains(&target) {
            return;
        }
        // A lifetime that is itself at fault was read as a placeholder.
        let lifetime =
            root.get(&from.kind).and_then(|table| table.get(&from.name)).and_then(|node| node.get("lifetime"));
        if lifetime.is_some_and(|node| sink.at_fault(node)) {
            return;
        }
        let hint = format!("give both the same `lifetime`: \"run\" for `{from}`, or \"always\" for `{target}`");
        let text = format!("`{target}` exists for a sample's run only, but `{from}` stays");
        sink.tell(&(to.start..to.end), text, Some(hint));
    }
}

/// Leaves only what is in a circle, or leads to one: what refers to nothing is in none, nor what refers to such alone.
fn only_round(needs: &mut BTreeMap<Address, BTreeSet<Address>>) {
    let mut by: BTreeMap<Address, Vec<Address>> = BTreeMap::new();
    let mut left: BTreeMap<Address, usize> = BTreeMap::new();
    for (from, to) in needs.iter() {
        left.insert(from.clone(), to.len());
        for target in to {
            by.entry(target.clone()).or_default().push(from.clone());
        }
    }
    let mut free: Vec<Address> = by.keys().filter(|target| !needs.contains_key(target)).cloned().collect();
    while let Some(target) = free.pop() {
        for from in by.get(&target).into_iter().flatten() {
            if let Some(count) = left.get_mut(from) {
                *count -= 1;
                if *count == 0 {
                    free.push(from.clone());
                }
            }
        }
        needs.remove(&target);
    }
    let kept: BTreeSet<Address> = needs.keys().cloned().collect();
    needs.values_mut().for_each(|to| to.retain(|target| kept.contains(target)));
}

/// The shortest way from one resource to another along what each refers to, both ends included.
fn way<'a>(
    needs: &'a BTreeMap<Address, BTreeSet<Address>>,
    from: &'a Address,
    to: &'a Address,
) -> Option<Vec<&'a Address>> {
    let mut before: BTreeMap<&Address, &Address> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at];
            while let Some(earlier) = way.last().and_then(|last| before.get(last)) {
                way.push(earlier);
            }
            way.reverse();
            return Some(way);
        }
        for next in needs.get(at).into_iter().flatten().filter(|next| *next != from) {
            if !before.contains_key(next) {
                before.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn tell_dangling(root: &Node, to: &Reference, sink: &Sink) {
    let Reference { table, text, start, end } = to;
    let names: Vec<&str> = root.get(table).map(|table| table.keys().collect()).unwrap_or_default();
    let own = text.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')).filter(|name| names.contains(name));
    let hint = match own {
        Some(name) => format!("write the name alone: `{name}`"),
        None => suggest(text, names.iter().copied(), "there are").unwrap_or_else(|| format!("add [{table}.{text}]")),
    };
    sink.tell(&(*start..*end), format!("there is no {} `{text}`", table.replace('_', " ")), Some(hint));
}

/// A fault that the kind found, at the key that it names. A value that is a placeholder is not judged again; nor is
/// the table as a whole, when some of it is.
fn tell_spec_fault(entry: &Entry, fault: &SpecFault, spoilt: bool, sink: &Sink) {
    let node = at_key(&entry.node, &fault.key);
    let whole = std::ptr::eq(node, &entry.node);
    if if whole { spoilt } else { sink.at_fault(node) } {
        return;
    }
    sink.tell(&node.span, &fault.message, fault.hint.clone());
}

/// The value with this dotted path in a table, or the innermost that is there on the way to it.
fn at_key<'n>(table: &'n Node, key: &str) -> &'n Node {
    let path = key.replace('[', ".").replace(']', "");
    let mut node = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let inner = match &node.value {
            Value::Table(_) => node.get(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        node = inner;
    }
    node
}
