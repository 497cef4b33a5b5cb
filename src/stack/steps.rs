//! What types cannot see in `[pipeline]`: the graph of its steps, its attempts, its key globs, its instance.
//!
//! Reads the tree, not the typed pipeline, so that a fault in one step hides nothing of another.

use std::collections::{BTreeMap, BTreeSet};

use globset::GlobBuilder;
use serde_json::json;

use super::Pipeline;
use super::diagnostic::{MOST_CIRCLES, Sink, round, suggest};
use super::pipeline::follows;
use super::reference::{is_id, is_later};
use super::tree::{Node, Value};

/// Where the ledgers are, in the first output's bucket.
const OWN_PREFIX: &str = ".seqstack/";

/// Tells every fault of the pipeline's meaning.
pub(super) fn check(root: &Node, sink: &Sink) {
    let Some(pipeline) = root.get("pipeline") else { return };
    if let Some(steps) = pipeline.get("step") {
        if matches!(&steps.value, Value::Array(items) if items.is_empty()) {
            sink.tell(&steps.span, "a pipeline has at least one step", Some("add a [[pipeline.step]]".to_owned()));
        }
        let steps: Vec<Step<'_>> = steps.items().iter().map(Step::of).collect();
        check_attempts(pipeline, sink);
        check_names(&steps, sink);
        check_needs(&steps, sink);
    }
    if let Some(outputs) = pipeline.get("outputs")
        && matches!(&outputs.value, Value::Array(items) if items.is_empty())
    {
        let hint = "the first output's bucket holds the ledger of each sample".to_owned();
        sink.tell(&outputs.span, "a pipeline has at least one output", Some(hint));
    }
    for objects in ["inputs", "outputs"].into_iter().filter_map(|side| pipeline.get(side)).flat_map(Node::items) {
        if let Some(keys) = objects.get("keys") {
            check_keys(keys, sink);
        }
    }
    if let Some(samples) = root.get("sample")
        && !samples.entries().is_empty()
    {
        return;
    }
    let hint = "add a table [sample.<name>] with its values".to_owned();
    sink.tell(&pipeline.span, "a pipeline runs on a sample, and the file has none", Some(hint));
}

/// The longest key of an object, bytes of UTF-8 (S3 user guide, "Naming Amazon S3 objects").
pub(crate) const LONGEST_KEY: usize = 1024;

/// The longest overrides that RunTask takes, in characters of their JSON (ECS API, RunTask).
const OVERRIDES: usize = 8192;

/// Tells of every step whose command and environment RunTask would refuse.
pub(super) fn check_overrides(pipeline: &Pipeline, root: &Node, sink: &Sink) {
    let nodes = root.get("pipeline").and_then(|node| node.get("step")).map(Node::items).unwrap_or_default();
    for (step, node) in pipeline.step.iter().zip(nodes) {
        let environment = step.environment.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        let container = json!({
            "name": step.task.text,
            "command": step.command,
            "environment": environment.collect::<Vec<_>>(),
            "cpu": step.cpu,
            "memory": step.memory,
        });
        let length = json!({ "containerOverrides": [container] }).to_string().chars().count();
        if length > OVERRIDES && !sink.at_fault(node) {
            let hint = "ECS counts the command and the environment as JSON: put a long one into a script in the image, or \
                        into a file that an earlier step brings";
            let text = format!("this step hands over {length} characters, and ECS takes {OVERRIDES}");
            sink.tell(&node.get("command").unwrap_or(node).span, text, Some(hint.to_owned()));
        }
    }
}

/// Tells of every step that names a container of a task definition that is made here: that has one.
pub(super) fn check_containers(root: &Node, sink: &Sink) {
    let ours = |task: &str| {
        let definition = root.get("task_definition").and_then(|table| table.get(task));
        definition.is_some_and(|definition| definition.get("existing").is_none())
    };
    for step in root.get("pipeline").and_then(|node| node.get("step")).map(Node::items).unwrap_or_default() {
        if let Some(container) = step.get("container")
            && step.get("task").and_then(Node::text).is_some_and(ours)
        {
            let hint = "a task definition of this file has one container: take it out".to_owned();
            sink.tell(&container.span, "`container` is for a task definition that is somebody else's", Some(hint));
        }
    }
}

struct Step<'a> {
    /// Where `name` is a string.
    name: Option<(&'a str, &'a Node)>,
    /// What `needs` says, where it is a list.
    needs: Option<Vec<(&'a str, &'a Node)>>,
    /// `needs` is left out: it follows all the steps above it.
    in_order: bool,
}

impl<'a> Step<'a> {
    fn of(node: &'a Node) -> Self {
        let named = |node: &'a Node| node.text().map(|text| (text, node));
        let needs = node.get("needs");
        Self {
            name: node.get("name").and_then(named),
            needs: needs
                .filter(|needs| matches!(needs.value, Value::Array(_)))
                .map(|needs| needs.items().iter().filter_map(named).collect()),
            in_order: needs.is_none(),
        }
    }
}

fn check_names(steps: &[Step<'_>], sink: &Sink) {
    let mut seen = BTreeSet::new();
    for (name, node) in steps.iter().filter_map(|step| step.name).filter(|(name, _)| !is_later(name)) {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(sound) {
            let hint = "1 to 64 letters, digits, `_` and `-`".to_owned();
            sink.tell(&node.span, format!("`{name}` cannot be the name of a step"), Some(hint));
        }
        if !seen.insert(name) {
            sink.tell(&node.span, format!("a second step named `{name}`"), Some("give each its own name".to_owned()));
        }
    }
}

/// A factor for memory counts from the second attempt on: where there is none, it was not meant so.
fn check_attempts(pipeline: &Node, sink: &Sink) {
    let once = |step: &Node| match step.get("attempts").or_else(|| pipeline.get("attempts")) {
        None => true,
        Some(node) => node.value.scalar_text().is_some_and(|text| text == "1"),
    };
    let steps = pipeline.get("step").map(Node::items).unwrap_or_default();
    let useless = pipeline.get("memory_factor").filter(|_| steps.iter().all(once));
    let own = steps.iter().filter(|step| once(step)).filter_map(|step| step.get("memory_factor"));
    for node in useless.into_iter().chain(own) {
        let hint = "add attempts = 2 or more beside it, or leave it out".to_owned();
        sink.tell(&node.span, "`memory_factor` is for further attempts, and there is one only", Some(hint));
    }
}

fn check_needs(steps: &[Step<'_>], sink: &Sink) {
    let mut places = BTreeMap::new();
    for (at, (name, _)) in steps.iter().enumerate().filter_map(|(at, step)| Some((at, step.name?))) {
        places.entry(name).or_insert(at);
    }
    let index = |wanted: &str| places.get(wanted).copied();
    let mut circles = 0;
    let needs = |step: &Step<'_>| step.needs.iter().flatten().filter_map(|(name, _)| index(name)).collect();
    let follows = follows(steps.iter().enumerate().map(|(at, step)| (at, (!step.in_order).then(|| needs(step)))));
    let label = |at: usize| steps[at].name.map_or_else(|| format!("step {}", at + 1), |(name, _)| name.to_owned());
    for (at, step) in steps.iter().enumerate() {
        for (name, node) in step.needs.iter().flatten() {
            let Some(needed) = index(name) else {
                let names = steps.iter().filter_map(|step| step.name.map(|(name, _)| name));
                let hint = suggest(name, names, "the pipeline has");
                sink.tell(&node.span, format!("there is no step `{name}`"), hint);
                continue;
            };
            if needed == at {
                let hint = "take it out; [] is for a step that follows none".to_owned();
                sink.tell(&node.span, format!("`{name}` cannot need itself"), Some(hint));
            } else if circles < MOST_CIRCLES
                && let Some(way) = way(&follows, needed, at)
            {
                circles += 1;
                let names: Vec<String> = std::iter::once(at).chain(way).map(label).collect();
                let hint = round(&names, " needs ");
                sink.tell(&node.span, format!("`{name}` itself comes after `{}`", label(at)), Some(hint));
            }
        }
    }
}

/// The shortest way from one step to another along what each follows, both ends included.
fn way(follows: &[Vec<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before: Vec<Option<usize>> = vec![None; follows.len()];
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at];
            while let Some(&last) = way.last()
                && last != from
                && let Some(earlier) = before[last]
            {
                way.push(earlier);
            }
            way.reverse();
            return Some(way);
        }
        for &next in &follows[at] {
            if next != from && before[next].is_none() {
                before[next] = Some(at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn check_keys(keys: &Node, sink: &Sink) {
    if matches!(&keys.value, Value::Array(items) if items.is_empty()) {
        sink.tell(&keys.span, "no keys are named here", Some("such as [\"${sample.name}.vcf\"]".to_owned()));
    }
    for node in keys.items() {
        let Some(key) = node.text() else { continue };
        if key.is_empty() {
            sink.tell(&node.span, "an object's key is not empty", Some("name one, or take it out".to_owned()));
        } else if key.len() > LONGEST_KEY {
            let text = format!("this key has {} bytes, and S3 takes {LONGEST_KEY}", key.len());
            sink.tell(&node.span, text, Some("make it shorter".to_owned()));
        } else if key.starts_with('/') {
            let hint = format!("write `{}`", key.trim_start_matches('/'));
            sink.tell(&node.span, "an object's key does not begin with `/`", Some(hint));
        } else if key.starts_with(OWN_PREFIX) {
            let hint = "it holds the ledgers of the runs".to_owned();
            sink.tell(&node.span, format!("`{OWN_PREFIX}` is seqstack's own"), Some(hint));
        } else if let Err(error) = GlobBuilder::new(key).literal_separator(true).build() {
            let hint =
                "`[` begins a class of characters, `{` alternatives: `[[]` and `[{]` are the characters".to_owned();
            sink.tell(&node.span, format!("`{key}` is no glob: {}", error.kind()), Some(hint));
        }
    }
}

/// The pipeline's instance: the one that it names, else the only one of its cluster.
pub(super) fn instance(root: &Node, sink: &Sink) -> Option<String> {
    let pipeline = root.get("pipeline")?;
    let cluster = pipeline.get("cluster")?;
    let wanted = cluster.text()?;
    let cluster_of = |node: &Node| node.get("cluster").and_then(Node::text).map(str::to_owned);
    let instances = root.get("instance").map(Node::entries).unwrap_or_default();
    let there =
        |name: &str| is_id("cluster", name) || root.get("cluster").is_some_and(|table| table.get(name).is_some());
    if let Some(named) = pipeline.get("instance") {
        let name = named.text()?;
        let entry = instances.iter().find(|entry| entry.key == name)?;
        if let Some(other) = cluster_of(&entry.node)
            && other != wanted
            && there(wanted)
            && root.get("cluster").is_some_and(|table| table.get(&other).is_some())
        {
            let hint = "a task runs on an instance of its own cluster".to_owned();
            let text = format!("`instance.{name}` is in cluster `{other}`, the pipeline in `{wanted}`");
            sink.tell(&named.span, text, Some(hint));
        }
        return Some(name.to_owned());
    }
    if !there(wanted) {
        return None; // told as a reference to nothing
    }
    let of_cluster = instances.iter().filter(|entry| cluster_of(&entry.node).is_some_and(|name| name == wanted));
    let names: Vec<&str> = of_cluster.map(|entry| entry.key.as_str()).collect();
    match names.as_slice() {
        [only] => Some((*only).to_owned()),
        [] => {
            // One whose own cluster is at fault may have been meant.
            if instances.iter().all(|entry| cluster_of(&entry.node).is_some_and(|name| there(&name))) {
                let hint = format!("add an [instance.<name>] with cluster = \"{wanted}\"");
                sink.tell(&cluster.span, format!("cluster `{wanted}` has no instance to run on"), Some(hint));
            }
            None
        }
        several => {
            let hint = format!("say which: instance = \"{}\"", several[0]);
            let text = format!("cluster `{wanted}` has several instances: {}", several.join(", "));
            sink.tell(&cluster.span, text, Some(hint));
            None
        }
    }
}
