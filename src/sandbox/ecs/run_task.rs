//! RunTask: its checks, placement, and its idempotency, whose answer to a changed request names the tasks.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::container_instances::{self, ContainerInstance, Status};
use super::definitions::{self, Definition};
use super::expression::{self, Expression};
use super::launch::{Part, Written};
use super::tasks::{self, Container, Task};
use super::{arn, client, clusters, invalid, read_tags, required};
use crate::account::{Account, Credentials, credentials_for};
use crate::ecs::State;
use crate::input::{fingerprint, list, number, text};
use crate::service::{Answer, ApiError, Cx};
use crate::{logs, lookups};

/// A client token, and what was asked and started under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub(super) cluster: String,
    token: String,
    request: String,
    tasks: Vec<String>,
    made: Timestamp,
    /// When the last of its tasks stopped.
    over: Option<Timestamp>,
}

/// Tokens live for a day, or until an hour after their tasks.
pub(super) fn settle(account: &mut Account, cx: &Cx) {
    let State { tokens, tasks, .. } = &mut *account.ecs;
    let by_id: HashMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    let later = |at: Timestamp, hours| at.checked_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX);
    let of =
        |token: &Token| -> Vec<&Task> { token.tasks.iter().filter_map(|id| by_id.get(id.as_str()).copied()).collect() };
    tokens.revise(
        |_| true,
        |token| {
            let of = of(token);
            if !of.is_empty() {
                let over = of.iter().filter_map(|task| task.stopped).max();
                token.over = if of.iter().any(|task| task.holds()) { None } else { over };
            }
        },
    );
    tokens.retain(|token| {
        let forgotten = of(token).is_empty() && token.over.is_none();
        !forgotten && later(token.made, 24) > cx.now && token.over.is_none_or(|over| later(over, 1) > cx.now)
    });
}

fn repeated(account: &Account, cluster: &str, token: &str, request: &str) -> Option<Answer> {
    let known = account.ecs.tokens.iter().find(|known| known.cluster == cluster && known.token == token)?;
    if known.request != request {
        let arns: Vec<String> = known.tasks.iter().map(|id| arn(account, &format!("task/{cluster}/{id}"))).collect();
        let mut error = ApiError::new(
            "ConflictException",
            "The RunTask request could not be processed due to conflicts: the clientToken was used with other \
             parameters.",
        );
        error.more = Some(json!({"resourceIds": arns}));
        return Some(Err(error));
    }
    let shown: Vec<Value> = account
        .ecs
        .tasks
        .iter()
        .filter(|task| known.tasks.contains(&task.id))
        .map(|task| tasks::shown(account, task, true))
        .collect();
    Some(Ok(json!({"tasks": shown, "failures": []})))
}

fn check_texts(input: &Value) -> Result<(), ApiError> {
    if let Some(by) = text(input, "startedBy")
        && (by.len() > 128 || !by.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte)))
    {
        return Err(invalid(
            "startedBy can have at most 128 letters, numbers, hyphens, forward slashes, and underscores.",
        ));
    }
    if let Some(token) = text(input, "clientToken")
        && (token.is_empty() || token.len() > 64 || !token.bytes().all(|byte| (33..=126).contains(&byte)))
    {
        return Err(invalid("clientToken must have between 1 and 64 ASCII characters."));
    }
    if text(input, "propagateTags") == Some("SERVICE") {
        return Err(invalid("propagateTags cannot be SERVICE: the task is not one of a service."));
    }
    if input.get("overrides").is_some_and(|overrides| overrides.to_string().chars().count() > 8192) {
        return Err(invalid("Container Overrides length must be at most 8192"));
    }
    Ok(())
}

fn check_written(
    account: &Account,
    definition: &Definition,
    input: &Value,
    written: Written<'_>,
) -> Result<(), ApiError> {
    for one in list(written.overrides, "containerOverrides") {
        let name = text(one, "name").unwrap_or_default();
        if !written.parts().any(|part| part.name() == name) {
            return Err(invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    for member in ["taskRoleArn", "executionRoleArn"] {
        if let Some(role) = written.task_text(member)
            && !lookups::role_exists(account, role)
        {
            return Err(client(format!(
                "ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the \
                 role being passed has the proper trust relationship and permissions and that your IAM user has \
                 permissions to pass this role."
            )));
        }
    }
    let (_, memory) = written.share();
    let greater = |part: &Part<'_>| part.number("memory").is_some_and(|own| own > memory);
    if let Some(part) = written.parts().find(greater).filter(|_| written.task_text("memory").is_some()) {
        return Err(invalid(format!(
            "Invalid setting for container '{}'. 'memory' must not be greater than the task's memory.",
            part.name()
        )));
    }
    if let Some(mode @ ("awsvpc" | "none")) = text(&definition.body, "networkMode") {
        return Err(invalid(format!("the sandbox does not run tasks in network mode {mode}")));
    }
    if input.get("networkConfiguration").is_some_and(|given| !given.is_null()) {
        return Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."));
    }
    Ok(())
}

fn constraints(definition: &Definition, input: &Value) -> Result<Vec<Expression>, ApiError> {
    let mut all = Vec::new();
    let (asked, own) = (list(input, "placementConstraints"), list(&definition.body, "placementConstraints"));
    if asked.len() + own.len() > 10 {
        return Err(invalid("A task can have at most 10 placement constraints."));
    }
    for one in asked.iter().chain(own) {
        match text(one, "type") {
            Some("memberOf") => all.push(expression::parse(required(one, "expression")?)?),
            other => {
                return Err(invalid(format!(
                    "the sandbox does not serve the placement constraint {}",
                    other.unwrap_or_default()
                )));
            }
        }
    }
    Ok(all)
}

/// The ports of its machine that a task of this definition holds: those that are given, not those that are found at its
/// start (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>).
fn host_ports(definition: &Definition) -> Vec<(String, i64)> {
    let containers = list(&definition.body, "containerDefinitions").iter();
    let ports = containers.flat_map(|container| list(container, "portMappings"));
    let held = ports.filter_map(|port| {
        let number = number(port, "hostPort").filter(|number| *number != 0)?;
        Some((text(port, "protocol").unwrap_or("tcp").to_owned(), number))
    });
    held.collect()
}

/// Why a task cannot be placed on this instance.
fn unfit(
    account: &Account,
    known: &ContainerInstance,
    constraints: &[Expression],
    definition: &Definition,
    share: (i64, i64),
    gpus: u64,
) -> Option<&'static str> {
    let (cpu, memory) = known.remaining(account);
    if !known.connected {
        Some("AGENT")
    } else if !constraints.iter().all(|constraint| constraint.holds(&known.facts())) {
        Some("MemberOf placement constraint unsatisfied.")
    } else if !known.has_what_is_required(definition) {
        Some("ATTRIBUTE")
    } else if share.0 > cpu {
        Some("RESOURCE:CPU")
    } else if share.1 > memory {
        Some("RESOURCE:MEMORY")
    } else if host_ports(definition).iter().any(|port| known.held_ports(account).contains(port)) {
        Some("RESOURCE:PORTS")
    } else if gpus > known.gpus() {
        Some("RESOURCE:GPU")
    } else {
        None
    }
}

/// Starts one container of a task.
fn start_container(
    account: &mut Account,
    cx: &Cx,
    part: &Part<'_>,
    (task, process, instance): (&str, String, &str),
    credentials: Option<&Credentials>,
) -> Container {
    let id = account.ecs.id("container", cx.now);
    let mut refused = None;
    let mut log = None;
    if let Some((group, stream, create)) = part.log(task, &id) {
        match logs::open(account, cx, &group, &stream, &process, create) {
            Ok(()) => log = Some((group, stream)),
            Err(error) => {
                refused = Some(format!(
                    "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: \
                     failed to create Cloudwatch log stream: operation error CloudWatch Logs: CreateLogStream, https \
                     response error StatusCode: 400, {}: {}",
                    error.code, error.message
                ));
            }
        }
    }
    if refused.is_none() {
        match part.launch(account, cx, (task, &process, instance), credentials) {
            Ok(launch) => cx.engine.start(&launch, cx.now),
            Err(reason) => refused = Some(reason),
        }
    }
    Container {
        id,
        process,
        essential: part.essential(),
        shown: part.shown(),
        log,
        refused,
        status: tasks::Status::Pending,
        started: None,
        ended: None,
        exit_code: None,
        reason: None,
    }
}

/// Starts one task on an instance.
fn start(
    account: &mut Account,
    cx: &Cx,
    input: &Value,
    definition: &Definition,
    host: &ContainerInstance,
) -> Result<String, ApiError> {
    let overrides = input.get("overrides").filter(|given| !given.is_null()).cloned();
    let mut overrides = overrides.unwrap_or_else(|| json!({}));
    if let Some(members) = overrides.as_object_mut() {
        members.entry("containerOverrides").or_insert_with(|| json!([]));
        members.entry("inferenceAcceleratorOverrides").or_insert_with(|| json!([]));
    }
    let written = Written { body: &definition.body, overrides: &overrides };
    let id = account.ecs.id("task", cx.now);
    let role = written.task_text("taskRoleArn").map(str::to_owned);
    let credentials = role.as_deref().map(|role| credentials_for(account, role, &id)).transpose()?;
    let containers = written
        .parts()
        .enumerate()
        .map(|(place, part)| {
            let process = if place == 0 { id.clone() } else { format!("{id}-{place}") };
            start_container(account, cx, &part, (&id, process, &host.instance), credentials.as_ref())
        })
        .collect();
    let (cpu, memory_mib) = written.share();
    let group = text(input, "group").map_or_else(|| format!("family:{}", definition.family), str::to_owned);
    let zone = account.ec2.instances.iter().find(|one| one.id == host.instance).map(|one| one.zone.clone());
    let mut tags = read_tags(input)?;
    if text(input, "propagateTags") == Some("TASK_DEFINITION") {
        for (key, value) in &definition.tags {
            tags.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let task = Task {
        id: id.clone(),
        cluster: host.cluster.clone(),
        definition: definition.full_name(),
        container_instance: host.id.clone(),
        instance: host.instance.clone(),
        zone: zone.unwrap_or_default(),
        architecture: host.architecture.clone(),
        started_by: text(input, "startedBy").filter(|by| !by.is_empty()).map(str::to_owned),
        group,
        tags,
        role,
        cpu,
        memory_mib,
        ports: host_ports(definition),
        shown_size: (written.task_text("cpu").map(str::to_owned), written.task_text("memory").map(str::to_owned)),
        containers,
        status: tasks::Status::Pending,
        created: cx.now,
        started: None,
        stopping: None,
        stopped: None,
        stop_code: None,
        stopped_reason: None,
        told: false,
        overrides,
    };
    account.ecs.tasks.push(task);
    Ok(id)
}

/// RunTask: what cannot be placed comes back as failures in an answer of its own kind, not as an error.
pub(super) fn run(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    check_texts(input)?;
    read_tags(input)?;
    let count = number(input, "count").unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(invalid("count must be between 1 and 10."));
    }
    let token = text(input, "clientToken").map(str::to_owned);
    let request = fingerprint(input, &["clientToken"]);
    if let Some(answer) = token.as_deref().and_then(|token| repeated(account, &cluster, token, &request)) {
        return answer;
    }
    let definition = definitions::runnable(account, required(input, "taskDefinition")?)?.clone();
    let null = Value::Null;
    let written = Written { body: &definition.body, overrides: input.get("overrides").unwrap_or(&null) };
    check_written(account, &definition, input, written)?;
    let constraints = constraints(&definition, input)?;
    let here = |known: &&ContainerInstance| known.cluster == cluster && known.status == Status::Active;
    if !account.ecs.container_instances.iter().any(|known| here(&known)) {
        return Err(container_instances::none_found());
    }
    let gpus = written.parts().map(|part| part.gpus()).sum();
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut fit = None;
        let mut reasons = Vec::new();
        for known in account.ecs.container_instances.iter().filter(here) {
            match unfit(account, known, &constraints, &definition, written.share(), gpus) {
                None => {
                    fit = Some(known.clone());
                    break;
                }
                Some(reason) => reasons.push(json!({"arn": known.arn(account), "reason": reason})),
            }
        }
        match fit {
            Some(host) => started.push(start(account, cx, input, &definition, &host)?),
            None => {
                failures = reasons;
                break;
            }
        }
    }
    if let Some(token) = token.filter(|_| !started.is_empty()) {
        let tasks = started.clone();
        account.ecs.tokens.push(Token { cluster, token, request, tasks, made: cx.now, over: None });
    }
    let shown: Vec<Value> = account
        .ecs
        .tasks
        .iter()
        .filter(|task| started.contains(&task.id))
        .map(|task| tasks::shown(account, task, true))
        .collect();
    Ok(json!({"tasks": shown, "failures": failures}))
}
