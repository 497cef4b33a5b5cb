//! One reading of a stack file, from text to a checked [`Stack`], pass after pass over one tree.
//!
//! Every pass tells its faults and goes on; only at the end does any fault refuse the file.

use std::path::Path;

use super::diagnostic::{Faults, Sink, suggest};
use super::reference::Ref;
use super::substitute::{Place, Scope};
use super::tolerant::Table;
use super::tree::{Node, Value};
use super::warning::{Sightings, take_allowed};
use super::{Credentials, Pipeline, Request, Stack, credential, head, protect, resources, shell, steps, tree, words};
use crate::kind::{ErasedKind, StackInfo};

/// The tables that are no kind's.
const TABLES: [&str; 6] = ["stack", "vars", "sample", "bucket", "task_defaults", "pipeline"];

/// Reads a stack file whose resources are of these kinds.
pub(super) fn read(
    path: &Path,
    source: &str,
    request: &Request<'_>,
    kinds: &[&dyn ErasedKind],
) -> Result<Stack, Faults> {
    let sink = Sink::default();
    let mut root = tree::grow(source, &sink);
    top_level(&mut root, kinds, &sink);
    let kind_tables: Vec<&str> = kinds.iter().map(|kind| kind.table()).collect();
    let allowed = take_allowed(&mut root, &kind_tables, &sink);
    let mut seen = Sightings::new();
    credential::look(&root, source, &mut seen);

    let mut scope = Scope::default();
    head::vars(&root, request, &mut scope, &sink);
    substitute(&mut root, &["stack"], source, &scope, &sink);
    let head = head::stack(&root, &mut scope, &sink);
    substitute(&mut root, &["bucket"], source, &scope, &sink);
    let (buckets, encryptions) = head::buckets(&root, &mut scope, &sink);
    let (samples, sample) = head::samples(&mut root, source, request, &mut scope, &sink);

    shell::look(&root, source, &mut seen);
    allowed.refuse(&seen, &sink);
    words::split(&mut root, &sink);
    words::lists(&mut root);
    substitute(&mut root, &kind_tables, source, &scope, &sink);
    substitute(&mut root, &["task_defaults", "pipeline"], source, &scope, &sink);
    words::check(&mut root, &sink);
    resources::merge_defaults(&mut root);

    let protect = protect::take(&mut root, &kind_tables, &sink);
    let mut found = resources::read(&root, kinds, &sink, &mut seen);
    protect::check(&protect, &found, &sink);
    let pipeline = root.get("pipeline").and_then(|node| {
        let table = Table::new(node, &sink);
        let pipeline = table.read::<Pipeline>();
        found.refer(None, table);
        pipeline
    });
    found.check(&root, kinds, &sink);
    steps::check(&root, &sink);
    steps::check_containers(&root, &sink);
    if let Some(pipeline) = &pipeline {
        steps::check_overrides(pipeline, &root, &sink);
    }
    let instance = steps::instance(&root, &sink);

    let shown = path.display().to_string();
    let Some(head) = head.filter(|_| sink.is_empty()) else { return Err(sink.into_faults(shown, source)) };
    let references = found.between();
    let info = StackInfo {
        name: head.name.0,
        region: String::new(),
        tags: head.tags,
        buckets,
        encryptions,
        per_run: found.per_run,
        protect: protect.into_iter().map(|(at, (said, _))| (at, said)).collect(),
        folders: crate::kinds::instance::folders::of(&found.specs),
    };
    Ok(Stack {
        file: path.to_owned(),
        sha256: crate::saved::sha256(source.as_bytes()),
        folder: path.parent().map_or_else(Default::default, Path::to_path_buf),
        info,
        account: head.account.map(|account| account.0),
        region: head.region.map(|region| region.0),
        samples,
        sample,
        references,
        resources: found.specs,
        existing: found.existing,
        credentials: Credentials::of(&root, request.set),
        warnings: allowed.silence(seen, shown, source),
        pipeline: pipeline.map(|pipeline| Pipeline { instance: instance.map(Ref::new), ..pipeline }),
    })
}

/// Every table of the top level is known, and is a table.
fn top_level(root: &mut Node, kinds: &[&dyn ErasedKind], sink: &Sink) {
    let known: Vec<&str> = TABLES.into_iter().chain(kinds.iter().map(|kind| kind.table())).collect();
    for entry in root.entries_mut() {
        let name = entry.key.as_str();
        if !known.contains(&name) {
            let hint = suggest(name, known.iter().copied(), "known here");
            let what = if matches!(entry.node.value, Value::Table(_)) { "table" } else { "key" };
            sink.tell(&entry.key_span, format!("unknown {what} `{name}`"), hint);
        } else if !matches!(entry.node.value, Value::Table(_) | Value::Broken) {
            let named = if ["stack", "vars", "task_defaults", "pipeline"].contains(&name) { "" } else { ".<name>" };
            let text = format!("expected a table, found {}", entry.node.value.type_name());
            sink.tell(&entry.node.span, text, Some(format!("write it as [{name}{named}]")));
            entry.node.value = Value::Broken;
        }
    }
}

fn substitute(root: &mut Node, tables: &[&str], source: &str, scope: &Scope, sink: &Sink) {
    for table in tables {
        let place = if ["pipeline", "upload"].contains(table) { Place::OfSample } else { Place::Infrastructure };
        if let Some(node) = root.get_mut(table) {
            scope.substitute(node, source, place, sink);
        }
    }
}
