//! Container instances: EC2 instances whose user data names a cluster, once their agent registered there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::definitions::Definition;
use super::expression::{self, Facts};
use super::tasks::{self, Task};
use super::{Tags, arn, clusters, includes, invalid, last, local, paged, required, shown_tags};
use crate::account::Account;
use crate::ec2::instances::{Instance, Life};
use crate::ec2::network;
use crate::input::{flag, list, text, texts};
use crate::lookups::{self, Rights};
use crate::policy::Ask;
use crate::service::{Answer, ApiError, Cx, epoch};
use crate::user_data::UserData;

/// Its status; `Inactive` ones were deregistered, and are forgotten after an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Takes tasks.
    Active,
    /// Takes no new tasks.
    Draining,
    /// Deregistered.
    Inactive,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A container instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstance {
    pub(super) id: String,
    pub(super) cluster: String,
    /// The EC2 instance.
    pub(super) instance: String,
    pub(super) status: Status,
    /// Since when it has this status.
    since: Timestamp,
    registered_at: Timestamp,
    cpu: i64,
    memory_mib: i64,
    pub(super) connected: bool,
    zone: String,
    instance_type: String,
    /// `x86_64` or `arm64`.
    pub(super) architecture: String,
    image: String,
    subnet: String,
    vpc: String,
    pub(super) tags: Tags,
}

/// What the agent says that it can do. Of the log drivers, those that the sandbox has: the host's own, and awslogs.
const CAPABILITIES: [&str; 12] = [
    "com.amazonaws.ecs.capability.docker-remote-api.1.18",
    "com.amazonaws.ecs.capability.docker-remote-api.1.19",
    "com.amazonaws.ecs.capability.docker-remote-api.1.21",
    "com.amazonaws.ecs.capability.ecr-auth",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.task-iam-role",
    "com.amazonaws.ecs.capability.task-iam-role-network-host",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.execution-role-ecr-pull",
    "ecs.capability.secrets.ssm.environment-variables",
    "ecs.capability.task-cpu-mem-limit",
];

/// SSH's, Docker's, and the agent's.
const RESERVED_PORTS: [i64; 6] = [22, 2375, 2376, 51678, 51679, 51680];

impl ContainerInstance {
    /// Whether it is active or draining.
    pub(super) fn registered(&self) -> bool {
        self.status != Status::Inactive
    }

    pub(super) fn arn(&self, account: &Account) -> String {
        arn(account, &format!("container-instance/{}/{}", self.cluster, self.id))
    }

    /// The GPUs of its machine. No task holds one: the sandbox starts no container that asks for one.
    pub(super) fn gpus(&self) -> u64 {
        crate::ec2::types::by_name(&self.instance_type).map_or(0, |one| one.gpus)
    }

    /// What is left for tasks: CPU units and MiB.
    pub(super) fn remaining(&self, account: &Account) -> (i64, i64) {
        let held = account.ecs.tasks.iter().filter(|task| task.container_instance == self.id && task.holds());
        held.fold((self.cpu, self.memory_mib), |(cpu, memory), task| (cpu - task.cpu, memory - task.memory_mib))
    }

    /// The ports of its machine that are taken: by the machine itself, Docker and the agent, and by tasks
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>).
    pub(super) fn held_ports(&self, account: &Account) -> Vec<(String, i64)> {
        let tasks = account.ecs.tasks.iter().filter(|task| task.container_instance == self.id && task.holds());
        let reserved = RESERVED_PORTS.into_iter().map(|port| ("tcp".to_owned(), port));
        reserved.chain(tasks.flat_map(|task| task.ports.clone())).collect()
    }

    /// What placement expressions see of it.
    pub(super) fn facts(&self) -> Facts {
        Facts::from([
            ("ec2InstanceId".to_owned(), self.instance.clone()),
            ("agentConnected".to_owned(), self.connected.to_string()),
            ("attribute:ecs.instance-type".to_owned(), self.instance_type.clone()),
            ("attribute:ecs.availability-zone".to_owned(), self.zone.clone()),
            ("attribute:ecs.cpu-architecture".to_owned(), self.architecture.clone()),
            ("attribute:ecs.ami-id".to_owned(), self.image.clone()),
            ("attribute:ecs.os-type".to_owned(), "linux".to_owned()),
            ("attribute:ecs.vpc-id".to_owned(), self.vpc.clone()),
            ("attribute:ecs.subnet-id".to_owned(), self.subnet.clone()),
        ])
    }

    /// Whether it has every attribute that a task definition requires, and is of its architecture.
    pub(super) fn has_what_is_required(&self, definition: &Definition) -> bool {
        let wanted = match definition.body.pointer("/runtimePlatform/cpuArchitecture").and_then(Value::as_str) {
            Some("ARM64") => Some("arm64"),
            Some("X86_64") => Some("x86_64"),
            _ => None,
        };
        let required = list(&definition.body, "requiresAttributes").iter().filter_map(|one| text(one, "name"));
        wanted.is_none_or(|wanted| wanted == self.architecture)
            && required.into_iter().all(|name| CAPABILITIES.contains(&name))
    }
}

/// When the agent of a running instance is up and heard: it needs an instance profile to speak for it, and a way to ECS.
fn agent_up(account: &Account, instance: &Instance, cx: &Cx) -> Option<Timestamp> {
    instance.profile.as_ref()?;
    let up = instance.running_since?.checked_add(cx.options.settings.registration).ok()?;
    (instance.life == Life::Running && up <= cx.now && network::reaches_ecs(account, instance)).then_some(up)
}

/// Whether the agent's role lets it do all of these in this cluster, with this resource
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html>).
fn may(rights: Option<&Rights>, actions: &[&str], resource: &str, cluster: &str) -> bool {
    rights.is_some_and(|rights| {
        actions.iter().all(|action| rights.allow(Ask { action, resource, context: &[("ecs:cluster", cluster)] }))
    })
}

/// Registers, connects and deregisters.
pub(super) fn settle(account: &mut Account, cx: &Cx) {
    let profiles: BTreeSet<&String> =
        account.ec2.instances.iter().filter_map(|one| one.profile.as_ref()).map(|(arn, _)| arn).collect();
    let rights: BTreeMap<String, Rights> =
        profiles.into_iter().filter_map(|arn| Some((arn.clone(), lookups::instance_rights(account, arn)?))).collect();
    let clusters = arn(account, "cluster/");
    let agents = account.ec2.instances.iter().filter_map(|one| Some((one.id.clone(), agent_up(account, one, cx)?)));
    let agents: BTreeMap<String, Timestamp> = agents.collect();
    for instance in account.ec2.instances.iter() {
        let Some(&up) = agents.get(&instance.id) else { continue };
        let state = &mut *account.ecs;
        if state.container_instances.iter().any(|known| known.instance == instance.id) {
            continue;
        }
        let user_data = UserData::of(instance.user_data.as_deref());
        let Some(cluster) = user_data.cluster().map(str::to_owned) else { continue };
        if !state.clusters.iter().any(|known| known.name == cluster && known.active) {
            continue;
        }
        let rights = instance.profile.as_ref().and_then(|(arn, _)| rights.get(arn));
        let cluster_arn = format!("{clusters}{cluster}");
        if !may(rights, &["ecs:RegisterContainerInstance"], &cluster_arn, &cluster_arn) {
            continue;
        }
        let id = state.id("container-instance", up);
        // The kernel keeps some memory for itself, 97.5 % is what an m4.large registers; user data has the agent keep more.
        let total = instance.memory_mib * 975 / 1000;
        let memory = total.saturating_sub(user_data.reserved_mib(total));
        state.container_instances.push(ContainerInstance {
            id,
            cluster,
            instance: instance.id.clone(),
            status: Status::Active,
            since: up,
            registered_at: up,
            cpu: i64::try_from(instance.vcpus * 1024).unwrap_or(i64::MAX),
            memory_mib: i64::try_from(memory).unwrap_or(i64::MAX),
            connected: true,
            zone: instance.zone.clone(),
            instance_type: instance.instance_type.clone(),
            architecture: instance.architecture.clone(),
            image: instance.image.clone(),
            subnet: instance.subnet.clone(),
            vpc: instance.vpc.clone(),
            tags: Tags::new(),
        });
    }
    account.ecs.container_instances.revise(ContainerInstance::registered, |known| {
        let instance = account.ec2.instances.iter().find(|instance| instance.id == known.instance);
        let ends = instance.is_none_or(|instance| matches!(instance.life, Life::ShuttingDown | Life::Terminated));
        // Of an instance that was stopped first nobody tells ECS that it is terminated.
        if known.registered() && known.connected && ends {
            known.status = Status::Inactive;
            known.since = instance.and_then(|instance| instance.down_since).unwrap_or(cx.now);
        }
        let rights = instance.and_then(|instance| rights.get(&instance.profile.as_ref()?.0));
        let cluster = format!("{clusters}{}", known.cluster);
        let own = format!("{}{}/{}", clusters.replace(":cluster/", ":container-instance/"), known.cluster, known.id);
        let heard = may(rights, &["ecs:DiscoverPollEndpoint"], "*", &cluster)
            && may(rights, &["ecs:Poll"], &own, &cluster)
            && may(rights, &["ecs:SubmitTaskStateChange"], &cluster, &cluster);
        known.connected = known.registered()
            && heard
            && !cx.options.settings.hung.contains(&known.instance)
            && agents.contains_key(&known.instance);
    });
    let hour = SignedDuration::from_hours(1);
    let alive: Vec<String> = account.ec2.instances.iter().map(|instance| instance.id.clone()).collect();
    account.ecs.container_instances.retain(|known| {
        known.registered()
            || alive.contains(&known.instance)
            || known.since.checked_add(hour).is_ok_and(|end| end > cx.now)
    });
}

fn shown(account: &Account, known: &ContainerInstance, tags: bool) -> Value {
    let reserved = RESERVED_PORTS.map(|port| ("tcp".to_owned(), port));
    let named = |ports: &[(String, i64)], protocol: &str| -> Vec<String> {
        ports.iter().filter(|(of, _)| of == protocol).map(|(_, port)| port.to_string()).collect()
    };
    let resources = |cpu: i64, memory: i64, ports: &[(String, i64)]| {
        json!([
            {"name": "CPU", "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "doubleValue": 0.0, "longValue": 0, "integerValue": memory},
            {"name": "PORTS", "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0,
             "stringSetValue": named(ports, "tcp")},
            {"name": "PORTS_UDP", "type": "STRINGSET", "doubleValue": 0.0, "longValue": 0, "integerValue": 0,
             "stringSetValue": named(ports, "udp")},
        ])
    };
    let (cpu, memory) = known.remaining(account);
    let attributes: Vec<Value> = known
        .facts()
        .iter()
        .filter_map(|(name, value)| name.strip_prefix("attribute:").map(|name| json!({"name": name, "value": value})))
        .chain(CAPABILITIES.iter().map(|name| json!({"name": name})))
        .collect();
    let tasks: Vec<&Task> = account.ecs.tasks.iter().filter(|task| task.container_instance == known.id).collect();
    let running = tasks.iter().filter(|task| !task.wanted_stopped()).count();
    let pending = tasks.iter().filter(|task| task.status == tasks::Status::Pending).count();
    json!({
        "containerInstanceArn": known.arn(account), "ec2InstanceId": known.instance, "version": 3,
        "versionInfo": {"agentVersion": "1.94.0", "agentHash": "d9a4e3f1", "dockerVersion": "DockerVersion: 25.0.8"},
        "remainingResources": resources(cpu, memory, &known.held_ports(account)),
        "registeredResources": resources(known.cpu, known.memory_mib, &reserved),
        "status": known.status.name(), "agentConnected": known.connected, "attributes": attributes,
        "runningTasksCount": running, "pendingTasksCount": pending, "registeredAt": epoch(known.registered_at),
        "attachments": [], "tags": if tags { shown_tags(&known.tags) } else { json!([]) },
    })
}

/// ListContainerInstances: without a status, all but the inactive ones.
pub(super) fn list_all(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let filter = match text(input, "filter").filter(|filter| !filter.is_empty()) {
        Some(filter) => Some(expression::parse(filter)?),
        None => None,
    };
    let status = text(input, "status");
    let arns = account
        .ecs
        .container_instances
        .iter()
        .filter(|known| known.cluster == cluster)
        .filter(|known| status.map_or(known.registered(), |status| known.status.name() == status))
        .filter(|known| filter.as_ref().is_none_or(|filter| filter.holds(&known.facts())))
        .map(|known| known.arn(account))
        .collect();
    paged("containerInstanceArns", arns, cx, input)
}

fn place(account: &Account, cluster: &str, given: &str) -> Option<usize> {
    let id = last(local(account, given));
    account.ecs.container_instances.iter().position(|known| known.cluster == cluster && known.id == id)
}

fn missing(account: &Account, cluster: &str, given: &str) -> Value {
    json!({
        "arn": arn(account, &format!("container-instance/{cluster}/{}", last(given))), "reason": "MISSING",
    })
}

/// DescribeContainerInstances.
pub(super) fn describe(account: &Account, _cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let wanted = texts(input, "containerInstances");
    if wanted.is_empty() || wanted.len() > 100 {
        return Err(invalid("Container instances cannot be empty, nor more than 100."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for given in &wanted {
        match place(account, &cluster, given) {
            Some(place) => {
                found.push(shown(account, &account.ecs.container_instances[place], includes(input, "TAGS")));
            }
            None => failures.push(missing(account, &cluster, given)),
        }
    }
    Ok(json!({"containerInstances": found, "failures": failures}))
}

/// DeregisterContainerInstance: with `force`, tasks on it are left to themselves.
pub(super) fn deregister(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let place = place(account, &cluster, required(input, "containerInstance")?)
        .filter(|place| account.ecs.container_instances[*place].registered())
        .ok_or_else(|| invalid("Referenced container instance not found."))?;
    let id = account.ecs.container_instances[place].id.clone();
    let held = account.ecs.tasks.iter().any(|task| task.container_instance == id && task.holds());
    if held && flag(input, "force") != Some(true) {
        return Err(invalid("Found running tasks on the instance."));
    }
    tasks::abandon(account, cx, &id);
    let known = &mut account.ecs.container_instances[place];
    known.status = Status::Inactive;
    known.since = cx.now;
    known.connected = false;
    let known = known.clone();
    Ok(json!({"containerInstance": shown(account, &known, true)}))
}

/// UpdateContainerInstancesState: `ACTIVE` or `DRAINING`.
pub(super) fn update_state(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let status = match required(input, "status")? {
        "ACTIVE" => Status::Active,
        "DRAINING" => Status::Draining,
        other => {
            return Err(invalid(format!("Container instance status should be one of [ACTIVE,DRAINING], not {other}")));
        }
    };
    let wanted = texts(input, "containerInstances");
    if wanted.is_empty() || wanted.len() > 10 {
        return Err(invalid("Container instances cannot be empty, nor more than 10."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for given in wanted {
        match place(account, &cluster, &given) {
            Some(place) if account.ecs.container_instances[place].registered() => {
                let known = &mut account.ecs.container_instances[place];
                known.status = status;
                known.since = cx.now;
                let known = known.clone();
                found.push(shown(account, &known, true));
            }
            _ => failures.push(missing(account, &cluster, &given)),
        }
    }
    Ok(json!({"containerInstances": found, "failures": failures}))
}

/// The refusal when a task is to be placed where nothing is registered.
pub(super) fn none_found() -> ApiError {
    invalid("No Container Instances were found in your cluster.")
}
