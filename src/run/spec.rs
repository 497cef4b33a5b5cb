//! The run as plan data: turns a pipeline and the desired states around it into what one run needs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::digest;
use crate::address::{Address, Ids, Link, links};
use crate::kind::{Context, Tags};
use crate::kinds::task_definition::{THEIRS, Theirs};
use crate::stack::pipeline::{Objects, OnFailure, Pipeline, Step};
use crate::stack::reference::{Ref, Target};
use crate::stack::values::Factor;

/// The sample of a stack that names none.
pub const DEFAULT_SAMPLE: &str = "default";

/// Everything that one sample's run needs, with links where AWS gives the id only later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The stack's name.
    pub stack: String,
    /// The region.
    pub region: String,
    /// The account.
    pub account: String,
    /// The sample; [`DEFAULT_SAMPLE`] where the stack has none.
    pub sample: String,
    /// The stack's own tags, which its tasks bear too.
    pub tags: Tags,
    /// The cluster's name.
    pub cluster: Link,
    /// The id of the run's own instance.
    pub instance: Link,
    /// The address of that instance.
    pub instance_at: Address,
    /// A digest of the machine's type, disk and longest life: a failed run is worth another try on another machine.
    pub machine: String,
    /// The bucket of the ledger: that of the first output.
    pub ledger_bucket: String,
    /// The key of the ledger.
    pub ledger_key: String,
    /// What it reads.
    pub inputs: Vec<Globs>,
    /// What it writes.
    pub outputs: Vec<Globs>,
    /// What happens to its compute when a pipeline step fails.
    pub on_failure: OnFailure,
    /// The pipeline steps, each after those that it follows, in file order otherwise.
    pub steps: Vec<StepSpec>,
}

/// Objects of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globs {
    /// The bucket's physical name.
    pub bucket: String,
    /// Keys or globs; `*` does not cross `/`, `**` does.
    pub keys: Vec<String>,
}

/// One pipeline step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name.
    pub name: String,
    /// The steps that it follows at once: what those follow comes before it by them.
    pub follows: Vec<String>,
    /// The ARN of its task definition.
    pub task: Link,
    /// The name of the task definition's container.
    pub container: String,
    /// The other containers that its task ends with, of a task definition that is not ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub essential: Vec<String>,
    /// What decides its result.
    pub content: Content,
    /// What RunTask overrides.
    pub overrides: Overrides,
    /// CPU units that its task takes (1024 a virtual CPU), override or not.
    pub cpu: Option<i64>,
    /// MiB of memory that its task takes, override or not.
    pub memory: Option<i64>,
    /// GPUs that its task takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<i64>,
    /// Where its log goes.
    pub log: Option<Log>,
    /// How often it is tried in one run if it ran and failed.
    pub attempts: u32,
    /// What its memory is multiplied with after it ran out of it.
    pub memory_factor: Option<Factor>,
    /// A digest of everything that is set for it, keyed or not (tags aside): a failure with other settings is history.
    pub settings: String,
}

/// What decides a step's result, hence what is keyed. Not cpu, memory, roles, logging, attempts, instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// A task definition that is not ours, as the stack file names it: a revision never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The image as written.
    pub image: String,
    /// The entry point, where the task definition sets one.
    pub entry_point: Option<Vec<String>>,
    /// The command, resolved.
    pub command: Option<Vec<String>>,
    /// The environment, resolved.
    pub environment: BTreeMap<String, String>,
    /// Secrets by variable: where ECS fetches them, never their values.
    pub secrets: BTreeMap<String, String>,
    /// The user.
    pub user: Option<String>,
    /// The working folder.
    pub working_dir: Option<String>,
    /// Folders of the instance in the container.
    pub mounts: Vec<Mount>,
}

/// A folder of the instance in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// On the instance.
    pub host: String,
    /// In the container.
    pub container: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// What RunTask overrides of a task definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// The command.
    pub command: Option<Vec<String>>,
    /// Variables added or replaced.
    pub environment: BTreeMap<String, String>,
    /// CPU units of the task and its container.
    pub cpu: Option<i64>,
    /// MiB of the task and its container.
    pub memory: Option<i64>,
    /// The task role's ARN.
    pub task_role: Option<Link>,
}

/// Where a task's log goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// The log group's name.
    pub group: Link,
    /// The stream's first part; empty where the stream has the name of the container's runtime id.
    pub prefix: String,
}

/// A task definition's state, as far as a run needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    image: String,
    entry_point: Option<Vec<String>>,
    command: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    user: Option<String>,
    working_dir: Option<String>,
    mounts: Vec<Mount>,
    cpu: Option<i64>,
    memory: Option<i64>,
    gpus: Option<i64>,
    log_group: Option<Link>,
    log_options: BTreeMap<String, String>,
    container: String,
}

impl Definition {
    fn log(&self) -> Option<Log> {
        let prefix = self.log_options.get("awslogs-stream-prefix")?;
        Some(Log { group: self.log_group.clone()?, prefix: prefix.clone() })
    }
}

/// The ledger's key in its bucket.
pub fn ledger_key(region: &str, stack: &str, sample: &str) -> String {
    format!(".seqstack/{region}/{stack}/{sample}/ledger.json")
}

/// Lowers a pipeline.
///
/// `desired` holds the desired states, links in them not settled yet (or the digests of settings would differ between
/// a plan and the next): those of its task definitions, and of the instances. For an `existing` task definition it may
/// hold the text of that instead, as a JSON string. `theirs` holds what was read of those; without it, nothing is known
/// of them yet.
///
/// # Errors
/// A sentence for the user: no such bucket, no or several instances to run on, steps that wait for one another.
pub fn lower(
    pipeline: &Pipeline,
    cx: &Context<'_>,
    desired: &BTreeMap<Address, Value>,
    theirs: Option<&BTreeMap<Address, Ids>>,
) -> Result<RunSpec, String> {
    let sample = cx.sample.unwrap_or(DEFAULT_SAMPLE).to_owned();
    let outputs = pipeline.outputs.iter().map(|objects| globs(objects, cx)).collect::<Result<Vec<_>, _>>()?;
    let inputs = pipeline.inputs.iter().map(|objects| globs(objects, cx)).collect::<Result<Vec<_>, _>>()?;
    let ledger_bucket = outputs
        .first()
        .map(|first| first.bucket.clone())
        .ok_or("the pipeline has no `outputs`: the first one's bucket holds the ledger")?;
    let instance_at = instance_of(pipeline, cx, desired)?;
    let steps = pipeline
        .step
        .iter()
        .zip(pipeline.follows())
        .map(|(step, follows)| {
            let follows = follows.into_iter().map(str::to_owned).collect();
            lower_step(pipeline, step, follows, cx, desired).and_then(|lowered| known(lowered, step, cx, theirs))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RunSpec {
        stack: cx.stack.name.clone(),
        region: cx.stack.region.clone(),
        account: cx.facts.account.clone(),
        tags: cx.stack.tags.clone(),
        cluster: pipeline.cluster.link(cx, "name"),
        instance: Link::ours(instance_at.clone(), "id"),
        machine: machine(desired.get(&instance_at)),
        instance_at,
        ledger_key: ledger_key(&cx.stack.region, &cx.stack.name, &sample),
        ledger_bucket,
        sample,
        inputs,
        outputs,
        on_failure: pipeline.on_failure,
        steps: in_order(steps)?,
    })
}

fn globs(objects: &Objects, cx: &Context<'_>) -> Result<Globs, String> {
    let bucket = cx
        .stack
        .buckets
        .get(&objects.bucket.text)
        .ok_or_else(|| format!("there is no bucket `{}` in the stack", objects.bucket.text))?;
    Ok(Globs { bucket: bucket.clone(), keys: objects.keys.clone() })
}

fn instance_of(pipeline: &Pipeline, cx: &Context<'_>, desired: &BTreeMap<Address, Value>) -> Result<Address, String> {
    if let Some(instance) = &pipeline.instance {
        return Ok(cx.target("instance", &instance.text));
    }
    let cluster = pipeline.cluster.link(cx, "name");
    let in_cluster = |state: &Value| {
        links(state).iter().any(|link| match (link, &cluster) {
            (Link::Ours { to, .. }, Link::Ours { to: cluster, .. }) => to == cluster,
            (link, cluster) => link == cluster,
        })
    };
    let all: Vec<_> = desired.iter().filter(|(at, _)| at.kind == "instance").collect();
    let near: Vec<_> = all.iter().filter(|(_, state)| in_cluster(state)).collect();
    match (all.as_slice(), near.as_slice()) {
        ([(only, _)], _) | (_, [(only, _)]) => Ok((*only).clone()),
        ([], _) => Err("the stack has no instance for the pipeline to run on".to_owned()),
        _ => Err("there are several instances: say with `instance =` which of them the pipeline runs on".to_owned()),
    }
}

fn machine(state: Option<&Value>) -> String {
    const MATTERS: &[&str] = &["type", "types", "instance_type", "volume", "max_hours"];
    let parts: BTreeMap<&str, &Value> = MATTERS.iter().filter_map(|name| Some((*name, state?.get(*name)?))).collect();
    digest("machine", &parts)
}

fn lower_step(
    pipeline: &Pipeline,
    step: &Step,
    follows: Vec<String>,
    cx: &Context<'_>,
    desired: &BTreeMap<Address, Value>,
) -> Result<StepSpec, String> {
    let at = cx.target("task_definition", &step.task.text);
    let found = if step.task.is_id() { None } else { desired.get(&at) };
    let mut content = Content::default();
    let definition = match found {
        Some(state @ Value::Object(_)) => serde_json::from_value::<Definition>(state.clone())
            .map_err(|error| format!("the state of {at} cannot be read by the run: {error}"))?,
        Some(Value::String(text)) => {
            content.definition = Some(text.clone());
            Definition::default()
        }
        _ => {
            content.definition = Some(step.task.text.clone());
            Definition::default()
        }
    };
    let log = definition.log();
    content.image = definition.image;
    content.entry_point = definition.entry_point;
    content.command = step.command.clone().or(definition.command);
    content.environment = definition.environment;
    content.environment.extend(step.environment.clone());
    content.secrets = definition.secrets;
    content.user = definition.user;
    content.working_dir = definition.working_dir;
    content.mounts = definition.mounts;
    let overrides = Overrides {
        command: step.command.clone(),
        environment: step.environment.clone(),
        cpu: step.cpu.map(|cpu| cpu.0),
        memory: step.memory.map(|memory| memory.0),
        task_role: step.task_role.as_ref().map(|role| role.link(cx, "arn")),
    };
    let mut state = found.cloned().unwrap_or_default();
    if let Value::Object(fields) = &mut state {
        fields.remove("tags");
    }
    let attempts = step.attempts.or(pipeline.attempts).map_or(1, |attempts| attempts.0);
    let memory_factor = step.memory_factor.or(pipeline.memory_factor);
    let settings = digest("settings", &(state, &overrides, &content.definition, attempts, memory_factor));
    Ok(StepSpec {
        name: step.name.clone(),
        follows,
        task: task_link(&step.task, cx),
        container: definition.container,
        essential: Vec::new(),
        cpu: overrides.cpu.or(definition.cpu),
        memory: overrides.memory.or(definition.memory),
        gpus: definition.gpus,
        log,
        content,
        overrides,
        attempts: u32::try_from(attempts).unwrap_or(1),
        memory_factor,
        settings,
    })
}

/// The step with what was read of its task definition, where that is somebody else's.
fn known(
    lowered: StepSpec,
    step: &Step,
    cx: &Context<'_>,
    theirs: Option<&BTreeMap<Address, Ids>>,
) -> Result<StepSpec, String> {
    let at = cx.target("task_definition", &step.task.text);
    let found = theirs.and_then(|theirs| theirs.get(&at)?.get(THEIRS)).and_then(|text| serde_json::from_str(text).ok());
    let Some::<Theirs>(theirs) = found.filter(|_| lowered.container.is_empty()) else { return Ok(lowered) };
    let container = theirs
        .container(step.container.as_deref())
        .map_err(|why| format!("step `{}` runs the task definition `{}`: {why}", step.name, step.task.text))?;
    let log =
        |(group, prefix): &(String, String)| Log { group: Link::theirs("log_group", group), prefix: prefix.clone() };
    let others = theirs.containers.iter().filter(|one| one.essential && one.name != container.name);
    Ok(StepSpec {
        container: container.name.clone(),
        essential: others.map(|one| one.name.clone()).collect(),
        cpu: lowered.cpu.or(theirs.cpu),
        memory: lowered.memory.or(theirs.memory),
        gpus: theirs.gpus,
        log: container.log.as_ref().map(log),
        ..lowered
    })
}

fn task_link<T: Target>(task: &Ref<T>, cx: &Context<'_>) -> Link {
    task.link(cx, "arn")
}

/// Sorts the steps so that each comes after those that it follows, in file order otherwise.
fn in_order(mut steps: Vec<StepSpec>) -> Result<Vec<StepSpec>, String> {
    let names: BTreeSet<String> = steps.iter().map(|step| step.name.clone()).collect();
    if names.len() != steps.len() {
        return Err("two pipeline steps have the same name".to_owned());
    }
    for step in &steps {
        if let Some(unknown) = step.follows.iter().find(|name| !names.contains(*name)) {
            return Err(format!("step `{}` needs `{unknown}`, which is not in the pipeline", step.name));
        }
    }
    let mut sorted: Vec<StepSpec> = Vec::with_capacity(steps.len());
    while !steps.is_empty() {
        let ready = |step: &StepSpec| step.follows.iter().all(|name| sorted.iter().any(|done| done.name == *name));
        let Some(next) = steps.iter().position(ready) else {
            let stuck: Vec<_> = steps.iter().map(|step| format!("`{}`", step.name)).collect();
            return Err(format!("these steps need one another: {}", stuck.join(", ")));
        };
        sorted.push(steps.remove(next));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::Facts;
    use crate::kind::StackInfo;

    fn lowered(step: Value, desired: &BTreeMap<Address, Value>) -> Result<RunSpec, String> {
        let pipeline: Pipeline = serde_json::from_value(json!({
            "cluster": "main",
            "outputs": [{ "bucket": "results", "keys": ["s1/*.vcf"] }],
            "step": step,
        }))
        .unwrap();
        let stack = StackInfo {
            name: "g".to_owned(),
            region: "eu-west-2".to_owned(),
            buckets: BTreeMap::from([("results".to_owned(), "lab-out".to_owned())]),
            per_run: BTreeSet::from([Address::new("instance", "worker")]),
            ..StackInfo::default()
        };
        lower(&pipeline, &Context { stack: &stack, facts: &Facts::default(), sample: Some("s1") }, desired, None)
    }

    fn desired() -> BTreeMap<Address, Value> {
        let role = json!({ "ours": { "to": "role.execution", "part": "arn" } });
        let group = json!({ "ours": { "to": "log_group.pipeline", "part": "name" } });
        BTreeMap::from([
            (
                Address::new("task_definition", "bwa"),
                json!({
                    "family": "g--bwa", "image": "bwa:1", "entry_point": null, "command": ["bwa"],
                    "environment": { "A": "1", "B": "2" }, "secrets": { "B": "ssm:/b", "C": "ssm:/c" }, "user": "1000",
                    "working_dir": "/data", "mounts": [{ "host": "/h", "container": "/data", "read_only": false }],
                    "cpu": 1024, "memory": 512, "privileged": false, "execution_role": role, "task_role": null,
                    "log_group": group, "log_options": { "awslogs-stream-prefix": "bwa", "mode": "blocking" }, "container": "bwa", "tags": {},
                }),
            ),
            (Address::new("instance", "worker").of(Some("s1")), json!({ "type": "r6i.large" })),
        ])
    }

    #[test]
    fn a_pipeline_lowers_to_what_is_keyed_and_what_is_overridden() {
        let step = json!([
            { "name": "b", "task": "bwa", "needs": ["a"], "command": ["mem"], "environment": { "B": "3" }, "memory": 900 },
            { "name": "a", "task": "bwa", "needs": [] },
        ]);
        let spec = lowered(step, &desired()).unwrap();
        assert_eq!(spec.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(spec.instance_at.to_string(), "instance.worker[s1]");
        assert_eq!(spec.ledger_key, ".seqstack/eu-west-2/g/s1/ledger.json");
        let (a, b) = (&spec.steps[0], &spec.steps[1]);
        assert_eq!(
            (a.content.command.as_deref(), b.content.command.as_deref()),
            (Some(&["bwa".to_owned()][..]), Some(&["mem".to_owned()][..]))
        );
        assert_eq!((a.memory, b.memory, b.cpu), (Some(512), Some(900), Some(1024)));
        assert_eq!(b.content.environment["B"], "3");
        assert_eq!(b.content.secrets["C"], "ssm:/c");
        // Links settle in the spec's JSON as in any state's.
        let mut value = serde_json::to_value(&spec).unwrap();
        crate::address::settle(&mut value, &|to, part| Some(format!("{to}/{part}")));
        let settled: RunSpec = serde_json::from_value(value).unwrap();
        assert_eq!(settled.cluster.id().unwrap(), "cluster.main/name");
        assert_eq!(settled.steps[0].log.as_ref().unwrap().group.id().unwrap(), "log_group.pipeline/name");
    }

    #[test]
    fn settings_tell_apart_what_keys_do_not() {
        let step = json!([{ "name": "a", "task": "bwa" }]);
        let before = lowered(step.clone(), &desired()).unwrap();
        let mut more = desired();
        more.get_mut(&Address::new("task_definition", "bwa")).unwrap()["memory"] = json!(1024);
        let after = lowered(step, &more).unwrap();
        assert_eq!(before.steps[0].content, after.steps[0].content);
        assert_ne!(before.steps[0].settings, after.steps[0].settings);
    }

    #[test]
    fn attempts_are_the_steps_own_or_the_pipelines_and_no_part_of_any_key() {
        let with = |attempts: Value| {
            let mut step = json!([{ "name": "a", "task": "bwa" }, { "name": "b", "task": "bwa" }]);
            step[1].as_object_mut().unwrap().extend(attempts.as_object().unwrap().clone());
            lowered(step, &desired()).unwrap()
        };
        let (plain, more) = (with(json!({})), with(json!({ "attempts": 3, "memory_factor": 1.5 })));
        assert_eq!(plain.steps.iter().map(|step| step.attempts).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(more.steps.iter().map(|step| step.attempts).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(more.steps[1].memory_factor.unwrap().times(1001), 1502);
        assert_eq!(super::super::key::keys(&plain, &[]), super::super::key::keys(&more, &[]));
        // A step that failed is worth another run once it may be tried more often.
        assert_ne!(plain.steps[1].settings, more.steps[1].settings);
        let text = serde_json::to_string(&more).unwrap();
        assert_eq!(serde_json::from_str::<RunSpec>(&text).unwrap(), more);
    }

    #[test]
    fn steps_that_need_one_another_are_named() {
        let step = json!([{ "name": "a", "task": "bwa", "needs": ["b"] }, { "name": "b", "task": "bwa" }]);
        assert!(lowered(step, &desired()).unwrap_err().contains("`a`, `b`"));
    }
}
