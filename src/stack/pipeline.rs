//! `[pipeline]`: what to run on one sample, in which order, from which objects to which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reference::{Bucket, Cluster, Instance, Ref, Role, TaskDefinition};
use super::values::{Factor, Int};

/// The pipeline of a stack, for one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Where its tasks run.
    pub cluster: Ref<Cluster>,
    /// The instance that they run on; left out, the one instance of that cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Ref<Instance>>,
    /// The objects that it reads. What they are is part of the run key.
    #[serde(default)]
    pub inputs: Vec<Objects>,
    /// The objects that it writes. The first one's bucket holds the ledger.
    pub outputs: Vec<Objects>,
    /// What happens to the run's compute when a pipeline step fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How often a step that ran and failed is tried in one run; a step may say otherwise. Left out, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Int<1, 10>>,
    /// What a step's memory is multiplied with after it ran out of it; a step may say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_factor: Option<Factor>,
    /// `[[pipeline.step]]`, in file order.
    pub step: Vec<Step>,
}

/// Objects of one bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// Logical name of the bucket.
    pub bucket: Ref<Bucket>,
    /// Keys or globs; `*` does not cross `/`, `**` does.
    pub keys: Vec<String>,
}

/// What happens to the run's compute when a pipeline step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It stays, so that the next apply resumes, until its own deadline.
    #[default]
    Keep,
    /// It goes.
    Release,
}

/// One pipeline step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// The task definition that it runs.
    pub task: Ref<TaskDefinition>,
    /// Overrides the task definition's task role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_role: Option<Ref<Role>>,
    /// Overrides the command: a list, or a string split by shell-word rules (and then substituted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Adds to or overrides the environment.
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
    /// Steps that it follows; left out, the one before it in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
}

impl Pipeline {
    /// Which steps each step follows: what `needs` says, else the one before it in the file.
    pub fn follows(&self, index: usize) -> Vec<&str> {
        match &self.step[index].needs {
            Some(needs) => needs.iter().map(String::as_str).collect(),
            None => index.checked_sub(1).map(|before| self.step[before].name.as_str()).into_iter().collect(),
        }
    }
}
