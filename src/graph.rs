//! What comes before what: turns a stack's references, or a plan's order, into nodes and arrows. Pure. An arrow leads from
//! what comes first to what comes after it.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::plan::{Phase, Plan, StepId};
use crate::stack::Stack;

/// A graph to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// What it is of.
    pub title: String,
    /// Its nodes, each with the group that it is drawn in: `""` for none.
    pub nodes: BTreeMap<String, &'static str>,
    /// Its arrows.
    pub edges: BTreeSet<(String, String)>,
}

impl Graph {
    fn arrow(&mut self, first: &str, then: &str) {
        if first != then {
            self.edges.insert((first.to_owned(), then.to_owned()));
        }
    }

    /// Takes out the arrows that other arrows imply.
    fn reduce(&mut self) {
        let edges: Vec<(String, String)> = self.edges.iter().cloned().collect();
        for (first, then) in edges {
            let edge = (first, then);
            self.edges.remove(&edge);
            if !self.leads(&edge.0, &edge.1) {
                self.edges.insert(edge);
            }
        }
    }

    fn leads(&self, first: &str, then: &str) -> bool {
        let mut seen = BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(at) = open.pop() {
            let from = (at.to_owned(), String::new());
            for (_, next) in self.edges.range(from..).take_while(|(from, _)| from == at) {
                if next == then {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }
}

/// A stack: each resource after those that it refers to, each pipeline step after those that it follows.
pub fn of_stack(stack: &Stack) -> Graph {
    let mut graph = Graph { title: stack.info.name.clone(), ..Graph::default() };
    let buckets = stack.info.buckets.keys().map(|name| Address::new("bucket", name));
    for at in stack.resources.keys().chain(stack.existing.keys()).cloned().chain(buckets) {
        graph.nodes.insert(at.to_string(), "");
    }
    for (from, to) in &stack.references {
        graph.arrow(&to.to_string(), &from.to_string());
    }
    let Some(pipeline) = &stack.pipeline else { return graph };
    let name = |step: &str| format!("step {step}");
    for step in &pipeline.step {
        graph.nodes.insert(name(&step.name), "pipeline");
    }
    let of_all = pipeline.inputs.iter().map(|objects| Address::new("bucket", &objects.bucket.text));
    let of_all: Vec<String> = of_all
        .chain([Address::new("cluster", &pipeline.cluster.text)])
        .chain(pipeline.instance.iter().map(|instance| Address::new("instance", &instance.text)))
        .map(|at| at.to_string())
        .collect();
    for (step, follows) in pipeline.step.iter().zip(pipeline.follows()) {
        let this = name(&step.name);
        follows.iter().for_each(|before| graph.arrow(&name(before), &this));
        let own = [Address::new("task_definition", &step.task.text)]
            .into_iter()
            .chain(step.task_role.iter().map(|role| Address::new("role", &role.text)))
            .map(|at| at.to_string());
        // What the whole pipeline needs comes before its first steps, and by them before the others.
        for needed in own.chain(of_all.iter().filter(|_| follows.is_empty()).cloned()) {
            // What is named by its ARN is none of this stack.
            if graph.nodes.contains_key(&needed) {
                graph.arrow(&needed, &this);
            }
        }
    }
    let last =
        |name: &String| !graph.edges.iter().any(|(from, to)| from == name && graph.nodes.get(to) == Some(&"pipeline"));
    let last: Vec<String> = pipeline.step.iter().map(|step| name(&step.name)).filter(last).collect();
    for objects in &pipeline.outputs {
        let results = format!("results in {}", Address::new("bucket", &objects.bucket.text));
        graph.nodes.insert(results.clone(), "");
        last.iter().for_each(|step| graph.arrow(step, &results));
    }
    graph
}

/// A plan: each step after those that it waits for, without what other arrows say already.
pub fn of_plan(title: &str, plan: &Plan) -> Graph {
    let mut graph = Graph { title: title.to_owned(), ..Graph::default() };
    // Only where two would be one node does a name say more than its group does.
    let twice = |id: &StepId| plan.steps.contains_key(&StepId { phase: Phase::Converge, ..id.clone() });
    let name = |id: &StepId| if twice(id) { id.told_apart() } else { id.to_string() };
    for id in plan.steps.keys() {
        let group = match id.phase {
            Phase::Converge => "converge",
            Phase::Run => "run",
            Phase::Settle => "after the run",
        };
        graph.nodes.insert(name(id), group);
    }
    for (id, step) in &plan.steps {
        for before in step.after.iter().filter(|before| plan.steps.contains_key(before)) {
            graph.arrow(&name(before), &name(id));
        }
    }
    graph.reduce();
    graph
}
