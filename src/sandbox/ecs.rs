//! ECS: clusters, the instances that register in them, task definitions, and tasks that the engine runs.
//!
//! Turns one operation and its JSON body into a change of the state and the answer's body. Time passes in `settle`
//! alone: instances register, and what the engine says about a task's process becomes the task's status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Account;
use super::input::{digits, list, text, texts};
use super::service::{Answer, ApiError, Cx, Documented};
use super::table::{Record, Rows, Stored, Table, plain_records};

pub mod clusters;
pub mod container_instances;
pub mod definitions;
pub mod expression;
pub mod launch;
pub mod normal;
pub mod run_task;
pub mod tags;
pub mod tasks;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// What the account holds of ECS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    region: String,
    made: u64,
    #[serde(skip)]
    clusters: Rows<clusters::Cluster>,
    #[serde(skip)]
    container_instances: Rows<container_instances::ContainerInstance>,
    #[serde(skip)]
    definitions: Rows<definitions::Definition>,
    /// The last revision of each family: never used again.
    #[serde(skip)]
    revisions: Table<String, u64>,
    #[serde(skip)]
    tasks: Rows<tasks::Task>,
    #[serde(skip)]
    tokens: Rows<run_task::Token>,
}

plain_records!(
    clusters::Cluster,
    container_instances::ContainerInstance,
    definitions::Definition,
    u64,
    tasks::Task,
    run_task::Token
);

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![
            ("clusters", &mut self.clusters),
            ("container_instances", &mut self.container_instances),
            ("definitions", &mut self.definitions),
            ("revisions", &mut self.revisions),
            ("tasks", &mut self.tasks),
            ("tokens", &mut self.tokens),
        ]
    }
}

impl State {
    /// What there is in a region at the beginning.
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), ..Self::default() }
    }

    /// What exists of it: not what is inactive or stopped.
    pub fn status(&self) -> Value {
        let active = self.definitions.iter().filter(|one| one.life == definitions::Life::Active);
        json!({
            "clusters": self.clusters.iter().filter(|one| one.active)
                .map(|one| json!({ "name": one.name })).collect::<Vec<_>>(),
            "container_instances": self.container_instances.iter().filter(|one| one.registered())
                .map(|one| json!({ "id": one.id, "cluster": one.cluster, "instance": one.instance, "status": one.status.name() }))
                .collect::<Vec<_>>(),
            "task_definitions": active.map(|one| json!({ "name": one.full_name() })).collect::<Vec<_>>(),
            "tasks": self.tasks.iter().filter(|one| one.holds())
                .map(|one| json!({
                    "id": one.id, "cluster": one.cluster, "definition": one.definition, "group": one.group,
                    "status": one.status.name(),
                }))
                .collect::<Vec<_>>(),
        })
    }

    /// The ids of the tasks that are there, the stopped ones of the last hour among them.
    pub fn task_ids(&self) -> impl Iterator<Item = &String> {
        self.tasks.iter().map(|one| &one.id)
    }

    /// Whether any task is not stopped.
    pub fn busy(&self) -> bool {
        self.tasks.iter().any(tasks::Task::holds)
    }

    /// A new id of 32 hexadecimal digits; no region gives another's.
    fn id(&mut self, kind: &str, now: Timestamp) -> String {
        self.made += 1;
        digits(&format!("{} {kind}", self.region), self.made, now, 32)
    }
}

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("CreateCluster", &["InvalidParameterException"]),
    ("DescribeClusters", &["InvalidParameterException"]),
    ("ListClusters", &["InvalidParameterException"]),
    (
        "DeleteCluster",
        &["ClusterNotFoundException", "ClusterContainsContainerInstancesException", "ClusterContainsTasksException"],
    ),
    ("ListContainerInstances", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("DescribeContainerInstances", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("DeregisterContainerInstance", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("UpdateContainerInstancesState", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("RegisterTaskDefinition", &["ClientException", "InvalidParameterException"]),
    ("DescribeTaskDefinition", &["ClientException", "InvalidParameterException"]),
    ("ListTaskDefinitions", &["InvalidParameterException"]),
    ("ListTaskDefinitionFamilies", &["InvalidParameterException"]),
    ("DeregisterTaskDefinition", &["ClientException", "InvalidParameterException"]),
    ("DeleteTaskDefinitions", &["InvalidParameterException"]),
    (
        "RunTask",
        &[
            "ClusterNotFoundException",
            "InvalidParameterException",
            "ClientException",
            "ConflictException",
            "ServerException",
        ],
    ),
    ("ListTasks", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("DescribeTasks", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("StopTask", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("TagResource", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("UntagResource", &["ClusterNotFoundException", "InvalidParameterException"]),
    ("ListTagsForResource", &["ClusterNotFoundException", "InvalidParameterException"]),
];

/// Answers one operation.
///
/// # Errors
/// As ECS refuses; `UnknownOperationException` for an operation that is not served.
pub fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Value) -> Answer {
    let input = &input;
    match operation {
        "CreateCluster" => clusters::create(account, input),
        "DescribeClusters" => clusters::describe(account, input),
        "ListClusters" => clusters::list_all(account, cx, input),
        "DeleteCluster" => clusters::delete(account, input),
        "ListContainerInstances" => container_instances::list_all(account, cx, input),
        "DescribeContainerInstances" => container_instances::describe(account, cx, input),
        "DeregisterContainerInstance" => container_instances::deregister(account, cx, input),
        "UpdateContainerInstancesState" => container_instances::update_state(account, cx, input),
        "RegisterTaskDefinition" => definitions::register(account, cx, input),
        "DescribeTaskDefinition" => definitions::describe(account, input),
        "ListTaskDefinitions" => definitions::list_all(account, cx, input),
        "ListTaskDefinitionFamilies" => definitions::list_families(account, cx, input),
        "DeregisterTaskDefinition" => definitions::deregister(account, cx, input),
        "DeleteTaskDefinitions" => definitions::delete(account, cx, input),
        "RunTask" => run_task::run(account, cx, input),
        "ListTasks" => tasks::list_all(account, cx, input),
        "DescribeTasks" => tasks::describe(account, input),
        "StopTask" => tasks::stop(account, cx, input),
        "TagResource" => tags::tag(account, input),
        "UntagResource" => tags::untag(account, input),
        "ListTagsForResource" => tags::list_for(account, input),
        other => Err(ApiError::new("UnknownOperationException", format!("the sandbox does not serve {other}"))),
    }
}

/// Lets time pass. EC2's time must have passed before.
pub fn settle(account: &mut Account, cx: &Cx) {
    container_instances::settle(account, cx);
    tasks::settle(account, cx, None);
    tasks::end_credentials(account);
    definitions::settle(account);
    run_task::settle(account, cx);
}

/// An instance is terminated and its processes are about to go: its tasks end, and what they wrote is kept.
pub(super) fn instance_ends(account: &mut Account, cx: &Cx, instance: &str) {
    tasks::settle(account, cx, Some(instance));
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn client(message: impl Into<String>) -> ApiError {
    ApiError::new("ClientException", message)
}

fn required<'a>(input: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    text(input, name).filter(|value| !value.is_empty()).ok_or_else(|| invalid(format!("{name} can not be blank.")))
}

fn arn(account: &Account, rest: &str) -> String {
    format!("arn:aws:ecs:{}:{}:{rest}", account.region, account.id)
}

/// What follows the account in an ARN of this account's, or the text as it is.
fn local<'a>(account: &Account, given: &'a str) -> &'a str {
    given.strip_prefix(arn(account, "").as_str()).unwrap_or(given)
}

/// The last part of an ARN or path.
fn last(given: &str) -> &str {
    given.rsplit('/').next().unwrap_or(given)
}

fn includes(input: &Value, what: &str) -> bool {
    texts(input, "include").iter().any(|one| one == what)
}

fn read_tags(input: &Value) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in list(input, "tags") {
        let key = required(tag, "key")?;
        let value = text(tag, "value").unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!("The tag '{key}' is not valid.")));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid("Duplicate tag keys found."));
        }
    }
    if tags.len() > 50 {
        return Err(invalid("Too many tags: at most 50."));
    }
    Ok(tags)
}

fn shown_tags(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// One page of ARNs.
fn paged(member: &str, all: Vec<String>, cx: &Cx, input: &Value) -> Answer {
    if super::input::number(input, "maxResults").is_some_and(|most| !(1..=100).contains(&most)) {
        return Err(invalid("maxResults must be between 1 and 100."));
    }
    let (some, next) = super::input::page(
        all,
        text(input, "nextToken"),
        super::input::number(input, "maxResults"),
        cx.options.settings.page.min(100),
        "InvalidParameterException",
    )?;
    let mut answer = json!({ member: some });
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
