//! `protect`, which every kind's table may have: taken out of the tables before any kind reads them, and checked against
//! how long each resource lasts.

use std::collections::BTreeMap;
use std::ops::Range;

use super::diagnostic::Sink;
use super::resources::Resources;
use super::tree::{Node, Value};
use crate::address::Address;

/// The key.
pub(super) const KEY: &str = "protect";

/// What the tables say of it, and where. A table with `existing` keeps the key: it is a fault there.
pub(super) fn take(root: &mut Node, tables: &[&str], sink: &Sink) -> BTreeMap<Address, (bool, Range<usize>)> {
    let mut out = BTreeMap::new();
    for table in tables {
        for entry in root.get_mut(table).map(Node::entries_mut).unwrap_or_default() {
            let said = taken(&mut entry.node, sink);
            out.extend(said.map(|said| (Address::new(*table, &entry.key), said)));
        }
    }
    // Every task definition without a word of its own has this one by now.
    root.get_mut("task_defaults").and_then(|defaults| taken(defaults, sink));
    out
}

fn taken(table: &mut Node, sink: &Sink) -> Option<(bool, Range<usize>)> {
    let Value::Table(entries) = &mut table.value else { return None };
    if entries.iter().any(|entry| entry.key == "existing") {
        return None;
    }
    let at = entries.iter().position(|entry| entry.key == KEY)?;
    let entry = entries.remove(at);
    let value = match entry.node.value {
        Value::Typed { value, .. } => *value,
        value => value,
    };
    match value {
        Value::Boolean(said) => Some((said, entry.key_span)),
        Value::Broken => None,
        other => {
            let text = format!("expected true or false, found {}", other.type_name());
            sink.tell(&entry.node.span, text, Some("without quotes".to_owned()));
            None
        }
    }
}

/// What is made for a run goes with it.
pub(super) fn check(said: &BTreeMap<Address, (bool, Range<usize>)>, found: &Resources, sink: &Sink) {
    for (at, (_, span)) in said.iter().filter(|(at, (protect, _))| *protect && found.per_run.contains(at)) {
        let text = format!("`{at}` exists for a sample's run only, and cannot be protected");
        let hint = "say lifetime = \"always\" to keep it, or leave `protect` out".to_owned();
        sink.tell(span, text, Some(hint));
    }
}
