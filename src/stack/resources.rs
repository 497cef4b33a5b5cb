//! The tables of the registry: each resource's spec, what it refers to, and how long it is wanted.
//!
//! Knows no kind: types, checks and lifetimes come from the registry, references from the reading itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::diagnostic::{Sink, suggest};
use super::head::logical_name;
use super::reference;
use super::tolerant::{Reference, Table};
use super::tree::{Entry, Node, Value};
use crate::address::Address;
use crate::kind::{ErasedKind, Lifetime, SpecFault};

/// What the resource tables say.
#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) specs: BTreeMap<Address, Json>,
    pub(super) existing: BTreeMap<Address, String>,
    pub(super) per_run: BTreeSet<Address>,
    references: BTreeSet<(Option<Address>, Reference)>,
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
pub(super) fn read(root: &Node, kinds: &[&dyn ErasedKind], sink: &Sink) -> Resources {
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
                out.resource(*kind, at, entry, sink);
            }
        }
        // Once more by themselves, since every definition may override the default that is wrong.
        if kind.table() == "task_definition"
            && let Some(defaults) = root.get("task_defaults")
        {
            let table = Table::partial(defaults, sink);
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
            sink.tell(&value.span, "expected its name, id or ARN, found nothing", None);
            None
        }
        other => {
            sink.tell(&value.span, format!("expected its name, id or ARN, found {}", other.type_name()), None);
            None
        }
    }
}

impl Resources {
    fn resource(&mut self, kind: &dyn ErasedKind, at: Address, entry: &Entry, sink: &Sink) {
        let table = Table::new(&entry.node, sink);
        let spec = kind.read(&table);
        self.refer(Some(&at), table);
        let Some(spec) = spec else { return };
        let spoilt = sink.at_fault(&entry.node);
        for fault in kind.check(&spec) {
            tell_spec_fault(entry, &fault, spoilt, sink);
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

    /// Every reference points to something that is there and lasts at least as long.
    pub(super) fn check(&self, root: &Node, sink: &Sink) {
        for (from, to) in &self.references {
            if reference::is_id(to.table, &to.text) {
                continue;
            }
            let target = root.get(to.table).and_then(|table| table.entry(&to.text));
            match (target, from) {
                (None, _) => tell_dangling(root, to, sink),
                (Some(_), Some(from)) => self.check_lifetime(root, from, to, sink),
                (Some(_), None) => {}
            }
        }
        if root.get("pipeline").is_none() {
            for at in &self.per_run {
                let Some(entry) = root.get(&at.kind).and_then(|table| table.entry(&at.name)) else { continue };
                let hint = "add a [pipeline] and a sample, or say lifetime = \"always\"".to_owned();
                let text = format!("`{at}` exists for a sample's run only, and there is no [pipeline]");
                sink.tell(&entry.node.span, text, Some(hint));
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
    let path = fault.key.replace('[', ".").replace(']', "");
    let mut node = &entry.node;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let inner = match &node.value {
            Value::Table(_) => node.get(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        node = inner;
    }
    let whole = std::ptr::eq(node, &entry.node);
    if if whole { spoilt } else { sink.at_fault(node) } {
        return;
    }
    sink.tell(&node.span, &fault.message, fault.hint.clone());
}
