//! `[pipeline]`: what to run on one sample, in which order, from which objects to which.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::{Bucket, Cluster, Instance, Ref, Role, TaskDefinition};
use super::schema;
use super::values::{Factor, Int};

/// What is run on one sample: from which objects, to which, in which steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Where its tasks run: the name of a `[cluster.…]`, or an ARN.
    pub cluster: Ref<Cluster>,
    /// The instance that they run on: the name of an `[instance.…]`; left out, the only one of that cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Ref<Instance>>,
    /// The objects that it reads. The run is due when one of them has changed.
    #[serde(default)]
    pub inputs: Vec<Objects>,
    /// The objects that it writes: the run is due when one of them is gone. The first one's bucket holds the runs' ledgers.
    #[schemars(length(min = 1))]
    pub outputs: Vec<Objects>,
    /// What happens to the run's compute when a pipeline step fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How often a step that ran and failed is tried in one run; a step may say otherwise. Left out, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Int<1, 10>>,
    /// What a step's memory is multiplied with after it ran out of it: more than 1, at most 4. A step may say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_factor: Option<Factor>,
    /// The steps, each a `[[pipeline.step]]`, in the order in which they run.
    #[schemars(length(min = 1))]
    pub step: Vec<Step>,
}

/// Objects of one bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// The name of a `[bucket.…]`.
    pub bucket: Ref<Bucket>,
    /// Keys or globs; `*` does not cross `/`, `**` does. A `${…}` that is a list is as many keys.
    #[schemars(schema_with = "schema::several")]
    pub keys: Vec<String>,
}

/// What happens to the run's compute when a pipeline step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It stays, so that the next apply resumes, until its own deadline.
    #[default]
    Keep,
    /// It goes.
    Release,
}

/// One step of the pipeline: a task with its command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique in the pipeline.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub name: String,
    /// What it runs: the name of a `[task_definition.…]`, or an ARN.
    pub task: Ref<TaskDefinition>,
    /// Which container of the task definition it is, where that is somebody else's and has several essential ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Overrides the task definition's task role: the name of a `[role.…]`, or an ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_role: Option<Ref<Role>>,
    /// The command: a list of words, or a string that is split as a shell would and then substituted. No shell runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::words")]
    pub command: Option<Vec<String>>,
    /// Environment variables, beside or instead of the task definition's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Overrides the task's cpu units (1024 a virtual CPU).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Int<128, 196_608>>,
    /// Overrides the task's and the container's memory, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Int<6, 1_000_000>>,
    /// How often it is tried in one run if it ran and failed, instead of the pipeline's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Int<1, 10>>,
    /// What its memory is multiplied with after it ran out of it, instead of the pipeline's factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_factor: Option<Factor>,
    /// Names of the steps that it follows; left out, all the steps above it; `[]`, none: it begins at once. Steps that do not
    /// follow each other run side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
}

impl Pipeline {
    /// Which steps each step follows, by the place of the step in the file.
    pub fn follows(&self) -> Vec<Vec<&str>> {
        follows(self.step.iter().map(|step| {
            let needs = step.needs.as_ref().map(|names| names.iter().map(String::as_str).collect());
            (step.name.as_str(), needs)
        }))
    }
}

/// Turns each step and its `needs` into the steps that it follows: what `needs` says, else all the steps above it.
///
/// Of all the steps above only those are listed that no other of them follows: these bring the rest along. So a chain
/// without `needs` has one entry a step, and its keys say no more than that.
pub(super) fn follows<T: Ord + Clone>(steps: impl IntoIterator<Item = (T, Option<Vec<T>>)>) -> Vec<Vec<T>> {
    let (mut last, mut needed, mut out) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (step, needs) in steps {
        if let Some(needs) = needs {
            needed.extend(needs.iter().cloned());
            out.push(needs);
        } else {
            out.push(std::mem::take(&mut last).into_iter().filter(|step| !needed.contains(step)).collect());
        }
        last.push(step);
    }
    out
}
