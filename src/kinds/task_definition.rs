//! `[task_definition.…]`: the newest active revision of a family with one container.
//!
//! What ECS gives back is more than what was registered, and in another order (terraform-aws #10387, #39533): both sides
//! are lowered to the same few fields, and whatever a hand-made revision has beside them is named in `other`. A revision
//! never changes: a new one is registered, and the old one deregistered after.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log_group::name_of;
use super::{ECS_NAME, ECS_NAME_TOLD, check_name};
use crate::address::{Address, Ids, Link};
use crate::aws::{AwsError, tags};
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Reading, SpecFault, StackInfo, Tags};
use crate::phrase::counted;
use crate::stack::reference::{LogGroup, Ref, Role};
use crate::stack::schema;
use crate::stack::values::{Int, PLACEHOLDER};
use crate::stack::warning::SpecWarning;

mod container;
mod ecs;
mod theirs;
mod variable;

pub use theirs::{THEIRS, Theirs};
pub use variable::Variable;

/// The kind.
pub enum TaskDefinition {}

/// An ECS task definition: an image, and how its container is run. `[task_defaults]` holds what they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The family, instead of `<stack>--<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ECS_NAME))]
    pub name: Option<String>,
    /// The image, e.g. `biocontainers/bwa:v0.7.17_cv1`; `@sha256:…` pins it for good.
    #[schemars(regex(pattern = container::IMAGE))]
    pub image: String,
    /// Instead of the image's own entry point: a list of words, or a string that is split as a shell would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::words")]
    pub entry_point: Option<Vec<String>>,
    /// Instead of the image's own command: a list of words, or a string that is split as a shell would. A pipeline step
    /// usually gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::words")]
    pub command: Option<Vec<String>>,
    /// Environment variables: values, or secrets that ECS fetches, `{ secret = "ssm:/…" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Variable>,
    /// Whom the container runs as: `uid`, `uid:gid` or a name; left out, the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = container::USER))]
    pub user: Option<String>,
    /// The working folder in the container; left out, the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub working_dir: Option<String>,
    /// The task's cpu units, a hard share of the machine (1024 a virtual CPU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Int<128, 196_608>>,
    /// MiB, of the task, and what the container is killed above.
    pub memory: Int<6, 1_000_000>,
    /// Folders of the instance in the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What ECS itself may do (pull the image, write logs, fetch secrets): the name of a `[role.…]`, or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_role: Option<Ref<Role>>,
    /// What the task may do: the name of a `[role.…]`, or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_role: Option<Ref<Role>>,
    /// Where its output goes: the name of a `[log_group.…]`, or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_group: Option<Ref<LogGroup>>,
    /// Whether the container may do all that the instance may.
    #[serde(default)]
    pub privileged: bool,
    /// How many of the instance's GPUs the container has to itself. The instance's `type` has them, and its `ami` is ECS's
    /// own for GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Int<1, 16>>,
    /// Limits of its processes, such as the number of open files; left out, the container agent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// MiB of `/dev/shm`, which processes share; left out, Docker's 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_memory_mib: Option<Int<1, 1_000_000>>,
    /// Folders in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<Tmpfs>,
    /// Whether a small `init` runs the command: it passes signals on, and ends what the command leaves behind.
    #[serde(default)]
    pub init: bool,
}

/// A limit of a container's processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// What is limited, e.g. `nofile` (open files) or `memlock`.
    #[schemars(regex(pattern = container::ULIMIT))]
    pub name: String,
    /// The limit that a process begins with, in the unit of `ulimit`; -1 is none.
    #[schemars(range(min = -1, max = 2_147_483_647))]
    pub soft: i64,
    /// How far it may raise that itself; -1 is as far as it likes.
    #[schemars(range(min = -1, max = 2_147_483_647))]
    pub hard: i64,
}

/// A folder in memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where it is in the container.
    #[schemars(regex(pattern = "^/+[^/]"))]
    pub container: String,
    /// The most that it holds, MiB, which count as the container's memory.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub size_mib: i64,
}

/// A folder of the instance in the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The folder on the instance.
    #[schemars(regex(pattern = "^/"))]
    pub host: String,
    /// Where it is in the container.
    #[schemars(regex(pattern = "^/+[^/]"))]
    pub container: String,
    /// Whether it is for reading only.
    #[serde(default)]
    pub read_only: bool,
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The family.
    pub family: String,
    /// The container's name.
    pub container: String,
    /// The image as written.
    pub image: String,
    /// Empty for the image's own.
    pub entry_point: Vec<String>,
    /// Empty for the image's own.
    pub command: Vec<String>,
    /// Plain values.
    pub environment: BTreeMap<String, String>,
    /// Where ECS fetches secrets, by the name of the variable.
    pub secrets: BTreeMap<String, String>,
    /// `uid`, `uid:gid` or a name.
    pub user: Option<String>,
    /// The working folder.
    pub working_dir: Option<String>,
    /// The task's cpu units.
    pub cpu: Option<i64>,
    /// MiB, of the task and the container.
    pub memory: Option<i64>,
    /// Folders of the instance in the container.
    pub mounts: BTreeSet<Mount>,
    /// The execution role's ARN.
    pub execution_role: Option<Link>,
    /// The task role's ARN.
    pub task_role: Option<Link>,
    /// The log group's name.
    pub log_group: Option<Link>,
    /// The log driver's other options.
    pub log_options: BTreeMap<String, String>,
    /// Whether the container may do all that the instance may.
    pub privileged: bool,
    /// GPUs that the container has to itself.
    #[serde(default)]
    pub gpus: Option<i64>,
    /// Limits of its processes.
    #[serde(default)]
    pub ulimits: BTreeSet<Ulimit>,
    /// MiB of `/dev/shm`.
    #[serde(default)]
    pub shared_memory_mib: Option<i64>,
    /// Folders in memory.
    #[serde(default)]
    pub tmpfs: BTreeSet<Tmpfs>,
    /// Whether a small `init` runs the command.
    #[serde(default)]
    pub init: bool,
    /// What the revision has that a stack file cannot ask for.
    pub other: BTreeSet<String>,
    /// ARNs of older active revisions; none are wanted.
    pub older: BTreeSet<String>,
    /// ARNs of deregistered revisions: they go with the family. Not wanted, only known.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub inactive: BTreeSet<String>,
    /// The revision's ARN. Not wanted, only known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

impl State {
    /// The same without what a new revision would not change.
    fn content(&self) -> Self {
        Self { older: BTreeSet::new(), inactive: BTreeSet::new(), arn: None, tags: Tags::new(), ..self.clone() }
    }
}

/// The mutating calls. `arn` is a revision's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters"
)]
pub enum Call {
    RegisterTaskDefinition { at: Address, definition: Box<State> },
    TagResource { arn: Link, tags: Tags },
    UntagResource { arn: Link, keys: Vec<String> },
    DeregisterTaskDefinition { arn: String },
    DeleteTaskDefinitions { arns: Vec<String> },
}

fn family(spec: &Spec, at: &Address, stack: &StackInfo) -> String {
    spec.name.clone().unwrap_or_else(|| format!("{}--{}", stack.name, at.name))
}

/// `family:revision` of a revision's ARN.
fn revision(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

impl Kind for TaskDefinition {
    const TABLE: &'static str = "task_definition";
    const FIXED: &'static [&'static str] = &[];
    const MINOR: &'static [&'static str] = &["container", "family", "log_options", "older", "inactive"];
    const PARTS: &'static [&'static str] = &["arn", "family"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        for (name, variable) in &spec.environment {
            if let Variable::Secret(from) = variable
                && from != PLACEHOLDER
                && !(from.starts_with("ssm:") || from.starts_with("arn:"))
            {
                let hint = "`ssm:/path` of a parameter, or the ARN of a secret";
                faults.push(SpecFault::new(
                    format!("environment.{name}"),
                    "not a place that ECS fetches secrets from",
                    hint,
                ));
            }
            if matches!(variable, Variable::Secret(_)) && spec.execution_role.is_none() {
                let hint = "set `execution_role`, here or in [task_defaults]";
                faults.push(SpecFault::new(
                    format!("environment.{name}"),
                    "ECS needs an execution role to fetch a secret",
                    hint,
                ));
            }
        }
        faults.extend(check_name(spec.name.as_ref(), ECS_NAME, ECS_NAME_TOLD));
        faults.extend(container::check(spec));
        faults
    }

    fn warn(spec: &Spec) -> Vec<SpecWarning> {
        container::warn(spec)
    }

    fn lookups(_name: &str, spec: &Spec) -> Vec<Lookup> {
        let roles = [&spec.execution_role, &spec.task_role].into_iter().flatten();
        roles.filter(|role| role.is_id()).map(|role| Lookup::Role(role.text.clone())).collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let Context { stack, facts, .. } = cx;
        let (mut environment, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for (name, variable) in &spec.environment {
            match variable {
                Variable::Plain(value) => drop(environment.insert(name.clone(), value.clone())),
                Variable::Secret(from) => {
                    let from = match from.strip_prefix("ssm:") {
                        Some(path) => {
                            let (partition, region, account) = (&facts.partition, &facts.region, &facts.account);
                            let path = path.trim_start_matches('/');
                            format!("arn:{partition}:ssm:{region}:{account}:parameter/{path}")
                        }
                        None => from.clone(),
                    };
                    secrets.insert(name.clone(), from);
                }
            }
        }
        let log_options = [
            ("awslogs-region", facts.region.clone()),
            ("awslogs-stream-prefix", at.name.clone()),
            // The default has been to drop lines rather than wait since 2025.
            ("mode", "blocking".to_owned()),
        ];
        let log_options = log_options.map(|(key, value)| (key.to_owned(), value)).into();
        let log_group = spec.log_group.as_ref().map(|group| match group.link(cx, "name") {
            Link::Theirs { kind, id } => Link::Theirs { kind, id: name_of(&id).to_owned() },
            ours @ Link::Ours { .. } => ours,
        });
        Ok(State {
            family: family(&spec, at, stack),
            container: at.name.clone(),
            image: spec.image,
            entry_point: spec.entry_point.unwrap_or_default(),
            command: spec.command.unwrap_or_default(),
            environment,
            secrets,
            user: spec.user,
            working_dir: spec.working_dir,
            cpu: spec.cpu.map(|cpu| cpu.0),
            memory: Some(spec.memory.0),
            mounts: spec.mounts.into_iter().collect(),
            execution_role: spec.execution_role.map(|role| role.link(cx, "arn")),
            task_role: spec.task_role.map(|role| role.link(cx, "arn")),
            log_options: if log_group.is_some() { log_options } else { BTreeMap::new() },
            log_group,
            privileged: spec.privileged,
            gpus: spec.gpus.map(|gpus| gpus.0),
            ulimits: spec.ulimits.into_iter().collect(),
            shared_memory_mib: spec.shared_memory_mib.map(|mib| mib.0),
            tmpfs: spec.tmpfs.into_iter().collect(),
            init: spec.init,
            other: BTreeSet::new(),
            older: BTreeSet::new(),
            inactive: BTreeSet::new(),
            arn: None,
            tags: cx.tags(at),
        })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        want.arn.clone_from(&live.arn);
        want.inactive.clone_from(&live.inactive);
        Vec::new()
    }

    fn made(want: State, ids: &Ids) -> State {
        State { arn: ids.get("arn").cloned(), ..want }
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        let deregister = |arn: &String| Call::DeregisterTaskDefinition { arn: arn.clone() };
        let register = |want: &State| Call::RegisterTaskDefinition {
            at: at.clone(),
            definition: Box::new(State { arn: None, ..want.clone() }),
        };
        match (live, want) {
            (None, Some(want)) => vec![register(want)],
            (Some(live), None) => {
                let active: Vec<&String> = live.arn.iter().chain(&live.older).collect();
                let all: Vec<String> = active.iter().copied().chain(&live.inactive).cloned().collect();
                // The most that one call takes (ECS API, DeleteTaskDefinitions).
                let delete = |arns: &[String]| Call::DeleteTaskDefinitions { arns: arns.to_vec() };
                active.into_iter().map(deregister).chain(all.chunks(10).map(delete)).collect()
            }
            (Some(live), Some(want)) if live.content() != want.content() => {
                let old = live.arn.iter().chain(&live.older).map(deregister);
                // Those are about to go, so none of them may be taken for the new one.
                let older = live.arn.iter().chain(&live.older).cloned().collect();
                std::iter::once(register(&State { older, ..want.clone() })).chain(old).collect()
            }
            (Some(live), Some(want)) => {
                let arn = || match &live.arn {
                    Some(arn) => Link::theirs("task_definition", arn),
                    None => Link::ours(at.clone(), "arn"),
                };
                let (tags, keys) = tags::change(&live.tags, &want.tags);
                let set = (!tags.is_empty()).then(|| Call::TagResource { arn: arn(), tags });
                let gone = (!keys.is_empty()).then(|| Call::UntagResource { arn: arn(), keys });
                let older = live.older.difference(&want.older).map(deregister);
                set.into_iter().chain(gone).chain(older).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::RegisterTaskDefinition { definition, .. } => {
                format!("ecs:RegisterTaskDefinition {}", definition.family)
            }
            Call::TagResource { arn, tags } => {
                format!("ecs:TagResource {} {}", revision(&arn.to_string()), tags::keys(tags))
            }
            Call::UntagResource { arn, keys } => {
                format!("ecs:UntagResource {} {}", revision(&arn.to_string()), keys.join(" "))
            }
            Call::DeregisterTaskDefinition { arn } => format!("ecs:DeregisterTaskDefinition {}", revision(arn)),
            Call::DeleteTaskDefinitions { arns } => {
                let arns: Vec<_> = arns.iter().map(|arn| revision(arn)).collect();
                format!("ecs:DeleteTaskDefinitions {}", arns.join(" "))
            }
        }
    }

    fn gist(state: &State) -> Vec<String> {
        // Quarters of a virtual CPU are what people count in.
        let cpu = state.cpu.map(|units| match units % 256 {
            0 => format!("{} vCPU", units as f64 / 1024.0),
            _ => format!("cpu {units}"),
        });
        let memory = state.memory.map(|mib| match mib % 1024 {
            0 => format!("{} GiB", mib / 1024),
            _ => format!("{mib} MiB"),
        });
        let privileged = state.privileged.then(|| "privileged".to_owned());
        let gpus = state.gpus.map(|gpus| counted(usize::try_from(gpus).unwrap_or_default(), "GPU"));
        std::iter::once(state.image.clone()).chain(cpu).chain(memory).chain(gpus).chain(privileged).collect()
    }

    fn phrase(path: &str, value: &Value) -> Option<String> {
        match path {
            "mounts" => {
                let mount = Mount::deserialize(value).ok()?;
                let only = if mount.read_only { ", read only" } else { "" };
                Some(format!("{} as {}{only}", mount.host, mount.container))
            }
            "ulimits" => {
                let limit = Ulimit::deserialize(value).ok()?;
                Some(format!("{} {}, at most {}", limit.name, limit.soft, limit.hard))
            }
            "tmpfs" => {
                let folder = Tmpfs::deserialize(value).ok()?;
                Some(format!("{} MiB of memory as {}", folder.size_mib, folder.container))
            }
            _ => None,
        }
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        ecs::list(cx, wanted).await
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        ecs::find_existing(cx.aws, existing).await
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        ecs::perform(cx, call).await
    }
}

#[cfg(test)]
mod tests;
