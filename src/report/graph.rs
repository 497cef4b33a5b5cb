//! A graph as text that other programs draw: Graphviz's DOT and Mermaid's flowchart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::ValueEnum;

use crate::graph::Graph;

/// A language for graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Graphviz: `| dot -Tsvg`
    #[default]
    Dot,
    /// Mermaid: what GitHub and GitLab draw in a ```` ```mermaid ```` block
    Mermaid,
}

/// The graph in that language.
pub fn render(graph: &Graph, format: Format) -> String {
    match format {
        Format::Dot => dot(graph),
        Format::Mermaid => mermaid(graph),
    }
}

/// Groups with their nodes; those that are in none first.
fn groups(graph: &Graph) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, group) in &graph.nodes {
        groups.entry(group).or_default().insert(name);
    }
    groups
}

fn dot(graph: &Graph) -> String {
    // DOT's only escapes in a quoted string are those of the quote and, by what reads it, of the backslash.
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&graph.title));
    for (n, (group, names)) in groups(graph).into_iter().enumerate() {
        let indent = if group.is_empty() { "" } else { "  " };
        if !group.is_empty() {
            let _infallible = writeln!(out, "  subgraph cluster_{n} {{\n    label={};", quoted(group));
        }
        for name in names {
            let _infallible = writeln!(out, "{indent}  {};", quoted(name));
        }
        if !group.is_empty() {
            out.push_str("  }\n");
        }
    }
    for (first, then) in &graph.edges {
        let _infallible = writeln!(out, "  {} -> {};", quoted(first), quoted(then));
    }
    out.push_str("}\n");
    out
}

fn mermaid(graph: &Graph) -> String {
    // Mermaid's nodes have ids of their own, since words such as `end` are its keywords; its escapes are entities.
    let names: Vec<&String> = graph.nodes.keys().collect();
    let id = |name: &str| names.partition_point(|other| other.as_str() < name);
    let quoted = |text: &str| format!("\"{}\"", text.replace('#', "#35;").replace('"', "#quot;"));
    let mut out = String::from("flowchart LR\n");
    for (n, (group, names)) in groups(graph).into_iter().enumerate() {
        let indent = if group.is_empty() { "" } else { "  " };
        if !group.is_empty() {
            let _infallible = writeln!(out, "  subgraph g{n}[{}]", quoted(group));
        }
        for name in names {
            let _infallible = writeln!(out, "{indent}  n{}[{}]", id(name), quoted(name));
        }
        if !group.is_empty() {
            out.push_str("  end\n");
        }
    }
    for (first, then) in &graph.edges {
        let _infallible = writeln!(out, "  n{} --> n{}", id(first), id(then));
    }
    out
}
