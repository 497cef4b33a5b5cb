//! Tasks: their status in time, from what the engine says of their process, and how they are shown.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tags, arn, clusters, includes, invalid, last, local, paged, required, shown_tags};
use crate::account::Account;
use crate::ec2::instances::{Instance, Life};
use crate::engine::Process;
use crate::input::{text, texts};
use crate::logs;
use crate::service::{Answer, Cx, epoch};

const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// A task's last status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Placed, not started.
    Pending,
    /// Its container runs.
    Running,
    /// It ended; shown for an hour.
    Stopped,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub(super) id: String,
    /// The name that the engine knows it by.
    pub(super) process: String,
    /// Whether the task ends when it does.
    pub(super) essential: bool,
    /// The members that DescribeTasks shows of its definition.
    pub(super) shown: Value,
    /// Log group and stream, if it writes there.
    pub(super) log: Option<(String, String)>,
    /// Why it could not even be handed to the engine.
    pub(super) refused: Option<String>,
    pub(super) status: Status,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) exit_code: Option<i32>,
    pub(super) reason: Option<String>,
}

impl Container {
    fn end(&mut self, at: Timestamp, reason: Option<&str>) {
        self.status = Status::Stopped;
        self.ended = Some(at);
        self.reason = reason.map(str::to_owned);
    }

    /// Takes over what the engine says of its process.
    fn see(&mut self, process: Option<Process>, host: Option<&Instance>, created: Timestamp, now: Timestamp) {
        let down = host.filter(|host| matches!(host.life, Life::ShuttingDown | Life::Terminated));
        let down_since = if host.is_none() { Some(now) } else { down.and_then(|host| host.down_since) };
        match process {
            None if self.refused.is_some() || host.is_some_and(|host| !host.gone()) => {
                let unknown = "CannotStartContainerError: the engine knows nothing of this task";
                let reason = self.refused.clone().unwrap_or_else(|| unknown.to_owned());
                self.end(created, Some(&reason));
            }
            Some(Process::Failed { at, reason }) => self.end(at, Some(&reason)),
            Some(Process::Running { since }) => {
                self.status = Status::Running;
                self.started = Some(since);
            }
            Some(Process::Exited { since, at, code, out_of_memory }) if down_since.is_none_or(|down| at < down) => {
                self.started = Some(since);
                self.exit_code = Some(code);
                self.end(at, out_of_memory.then_some(OUT_OF_MEMORY));
            }
            Some(Process::Exited { since, .. }) => self.started = Some(since),
            None | Some(Process::Pending) => {}
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub(super) id: String,
    pub(super) cluster: String,
    /// `family:revision`
    pub(super) definition: String,
    pub(super) container_instance: String,
    /// The EC2 instance.
    pub(super) instance: String,
    pub(super) zone: String,
    pub(super) architecture: String,
    pub(super) overrides: Value,
    pub(super) started_by: Option<String>,
    pub(super) group: String,
    pub(super) tags: Tags,
    /// The role it runs as.
    pub(super) role: Option<String>,
    /// CPU units that it holds of its machine.
    pub(super) cpu: i64,
    /// MiB that it holds of its machine.
    pub(super) memory_mib: i64,
    /// The ports that it holds of its machine: `tcp` or `udp`, and the number.
    #[serde(default)]
    pub(super) ports: Vec<(String, i64)>,
    /// Task-level cpu and memory, where they are set.
    pub(super) shown_size: (Option<String>, Option<String>),
    pub(super) containers: Vec<Container>,
    pub(super) status: Status,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) stopping: Option<Timestamp>,
    pub(super) stopped: Option<Timestamp>,
    pub(super) stop_code: Option<String>,
    pub(super) stopped_reason: Option<String>,
    /// Its containers were told to stop.
    pub(super) told: bool,
}

impl Task {
    /// Whether it holds its share of the machine.
    pub(super) fn holds(&self) -> bool {
        self.status != Status::Stopped
    }

    /// Whether its desired status is `STOPPED`.
    pub(super) fn wanted_stopped(&self) -> bool {
        self.stopping.is_some() || !self.holds()
    }

    fn status_name(&self) -> &'static str {
        if self.holds() && self.stopping.is_some() { "STOPPING" } else { self.status.name() }
    }

    /// It is to stop; what was said first of why stays.
    fn want_stopped(&mut self, at: Timestamp, code: &str, reason: &str) {
        self.stopping.get_or_insert(at);
        self.stop_code.get_or_insert_with(|| code.to_owned());
        self.stopped_reason.get_or_insert_with(|| reason.to_owned());
    }

    /// It is over, whatever its processes do.
    fn end(&mut self, at: Timestamp, code: &str, reason: &str) {
        self.want_stopped(at, code, reason);
        self.status = Status::Stopped;
        self.stopped = Some(at);
        for container in self.containers.iter_mut().filter(|container| container.status != Status::Stopped) {
            container.end(at, None);
        }
    }

    fn tell_to_stop(&mut self, cx: &Cx) {
        if cx.options.settings.hung.contains(&self.instance) {
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            for container in self.containers.iter().filter(|container| container.status != Status::Stopped) {
                cx.engine.stop(&container.process, cx.now);
            }
        }
    }

    /// Takes over what the engine says of its containers.
    fn see(&mut self, cx: &Cx, host: Option<&Instance>) {
        for container in self.containers.iter_mut().filter(|container| container.status != Status::Stopped) {
            let known = container.refused.is_none();
            let process = known.then(|| cx.engine.process(&container.process, cx.now)).flatten();
            container.see(process, host, self.created, cx.now);
        }
        let over = self.containers.iter().filter(|container| container.essential && container.ended.is_some());
        if let Some(first) = over.min_by_key(|container| container.ended).cloned() {
            let at = first.ended.unwrap_or(cx.now);
            match first.reason.filter(|_| first.started.is_none()) {
                Some(reason) => self.want_stopped(at, "TaskFailedToStart", &reason),
                None => self.want_stopped(at, "EssentialContainerExited", "Essential container in task exited"),
            }
        }
        if self.containers.iter().all(|container| container.status != Status::Pending) {
            self.started = self.containers.iter().filter_map(|container| container.started).max();
            self.status = Status::Running;
        }
        if self.containers.iter().all(|container| container.status == Status::Stopped) {
            self.stopped = self.containers.iter().filter_map(|container| container.ended).max();
            self.status = Status::Stopped;
        }
    }

    /// What becomes of it with its machine.
    fn see_host(&mut self, cx: &Cx, host: Option<&Instance>) {
        if host.is_some_and(|host| matches!(host.life, Life::Stopping | Life::Stopped)) {
            let reason = format!("Host EC2 (instance {}) stopped.", self.instance);
            self.want_stopped(cx.now, "TerminationNotice", &reason);
        } else if host.is_none_or(Instance::gone) {
            let reason = format!("Host EC2 (instance {}) terminated.", self.instance);
            self.end(host.map_or(cx.now, |host| host.since), "TerminationNotice", &reason);
        }
    }
}

/// The credentials of tasks that have stopped are worth nothing.
pub(super) fn end_credentials(account: &mut Account) {
    let stopped = account.ecs.tasks.iter().filter(|task| !task.holds());
    let ended: Vec<String> = stopped.map(|task| task.id.clone()).collect();
    ended.iter().for_each(|id| crate::account::end_credentials(account, id));
}

/// Lets tasks' time pass, or only that of the tasks on one instance; ends what ended and keeps what it wrote.
pub(super) fn settle(account: &mut Account, cx: &Cx, instance: Option<&str>) {
    let mut ended = Vec::new();
    let theirs = |task: &Task| task.holds() && instance.is_none_or(|instance| task.instance == instance);
    account.ecs.tasks.revise(theirs, |task| {
        let host = account.ec2.instances.iter().find(|host| host.id == task.instance);
        // Nobody tells ECS what becomes of a task on a machine that hangs, nor the machine what ECS wants of it.
        if cx.options.settings.hung.contains(&task.instance) && host.is_some_and(|host| host.life == Life::Running) {
            return;
        }
        task.see(cx, host);
        if task.holds() {
            task.see_host(cx, host);
        }
        if task.holds() && task.stopping.is_some() {
            task.tell_to_stop(cx);
        }
        if !task.holds() {
            ended.extend(task.containers.iter().filter_map(|container| container.log.clone()));
        }
    });
    for (group, stream) in ended {
        logs::seal(account, cx, &group, &stream);
    }
    let hour = SignedDuration::from_hours(1);
    account
        .ecs
        .tasks
        .retain(|task| task.stopped.is_none_or(|stopped| stopped.checked_add(hour).is_ok_and(|end| end > cx.now)));
}

/// The container instance was deregistered by force: its tasks are over for ECS, though their processes go on.
pub(super) fn abandon(account: &mut Account, cx: &Cx, container_instance: &str) {
    let mut logs = Vec::new();
    let on_it = |task: &Task| task.holds() && task.container_instance == container_instance;
    account.ecs.tasks.change(on_it, |task| {
        task.end(cx.now, "UserInitiated", "Container instance deregistration forced by user");
        logs.extend(task.containers.iter().filter_map(|container| container.log.clone()));
    });
    for (group, stream) in logs {
        logs::seal(account, cx, &group, &stream);
    }
}

fn shown_container(account: &Account, task: &Task, task_arn: &str, container: &Container) -> Value {
    let mut shown = container.shown.clone();
    shown["containerArn"] = json!(arn(account, &format!("container/{}/{}/{}", task.cluster, task.id, container.id)));
    shown["runtimeId"] = json!(container.id);
    shown["taskArn"] = json!(task_arn);
    shown["lastStatus"] = json!(container.status.name());
    shown["networkInterfaces"] = json!([]);
    shown["networkBindings"] = json!([]);
    shown["healthStatus"] = json!("UNKNOWN");
    if let Some(code) = container.exit_code {
        shown["exitCode"] = json!(code);
    }
    if let Some(reason) = &container.reason {
        shown["reason"] = json!(reason);
    }
    shown
}

/// The task as DescribeTasks shows it.
pub(super) fn shown(account: &Account, task: &Task, tags: bool) -> Value {
    let task_arn = arn(account, &format!("task/{}/{}", task.cluster, task.id));
    let containers: Vec<Value> =
        task.containers.iter().map(|container| shown_container(account, task, &task_arn, container)).collect();
    let mut one = json!({
        "taskArn": task_arn, "clusterArn": arn(account, &format!("cluster/{}", task.cluster)),
        "taskDefinitionArn": arn(account, &format!("task-definition/{}", task.definition)),
        "containerInstanceArn":
            arn(account, &format!("container-instance/{}/{}", task.cluster, task.container_instance)),
        "overrides": task.overrides, "lastStatus": task.status_name(),
        "desiredStatus": if task.wanted_stopped() { "STOPPED" } else { "RUNNING" },
        "containers": containers, "version": 1 + u64::from(task.started.is_some()) + u64::from(!task.holds()),
        "createdAt": epoch(task.created), "group": task.group, "launchType": "EC2", "attachments": [],
        "attributes": [{"name": "ecs.cpu-architecture", "value": task.architecture}],
        "availabilityZone": task.zone, "enableExecuteCommand": false, "healthStatus": "UNKNOWN",
        "connectivity": "CONNECTED", "connectivityAt": epoch(task.created),
        "tags": if tags { shown_tags(&task.tags) } else { json!([]) },
    });
    let texts = [
        ("startedBy", &task.started_by),
        ("cpu", &task.shown_size.0),
        ("memory", &task.shown_size.1),
        ("stopCode", &task.stop_code),
        ("stoppedReason", &task.stopped_reason),
    ];
    for (member, value) in texts {
        if let Some(value) = value {
            one[member] = json!(value);
        }
    }
    let times = [
        ("startedAt", task.started),
        ("stoppingAt", task.stopping),
        ("stoppedAt", task.stopped),
        ("executionStoppedAt", task.stopped),
    ];
    for (member, at) in times {
        if let Some(at) = at {
            one[member] = json!(epoch(at));
        }
    }
    one
}

/// ListTasks: those that should run, unless stopped ones are asked for; `startedBy` goes with no other filter.
pub(super) fn list_all(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let started_by = text(input, "startedBy").filter(|given| !given.is_empty());
    let family = text(input, "family").filter(|given| !given.is_empty());
    let instance = text(input, "containerInstance").filter(|given| !given.is_empty());
    if started_by.is_some() && (family.is_some() || instance.is_some() || text(input, "serviceName").is_some()) {
        return Err(invalid("startedBy must be the only filter that is used."));
    }
    let stopped = match text(input, "desiredStatus") {
        None | Some("RUNNING") => false,
        Some("STOPPED") => true,
        Some("PENDING") => return paged("taskArns", Vec::new(), cx, input),
        Some(other) => return Err(invalid(format!("Desired status is not valid: {other}"))),
    };
    let other_kind =
        text(input, "serviceName").is_some() || text(input, "launchType").is_some_and(|kind| kind != "EC2");
    let found = account
        .ecs
        .tasks
        .iter()
        .filter(|task| task.cluster == cluster && task.wanted_stopped() == stopped && !other_kind)
        .filter(|task| started_by.is_none_or(|given| task.started_by.as_deref() == Some(given)))
        .filter(|task| family.is_none_or(|family| task.definition.split(':').next() == Some(family)))
        .filter(|task| instance.is_none_or(|given| task.container_instance == last(local(account, given))))
        .map(|task| arn(account, &format!("task/{}/{}", task.cluster, task.id)))
        .collect();
    paged("taskArns", found, cx, input)
}

/// DescribeTasks: tagged tasks of a deleted cluster too.
pub(super) fn describe(account: &Account, input: &Value) -> Answer {
    let name = clusters::name(account, input);
    let deleted = clusters::deleted(account, &name)
        && account.ecs.tasks.iter().any(|task| task.cluster == name && !task.tags.is_empty());
    let cluster = if deleted { name } else { clusters::active(account, input)? };
    let wanted = texts(input, "tasks");
    if wanted.is_empty() || wanted.len() > 100 {
        return Err(invalid("Tasks cannot be empty, nor more than 100."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for given in &wanted {
        let id = last(local(account, given));
        let listed = |task: &&Task| task.cluster == cluster && task.id == id && !(deleted && task.tags.is_empty());
        match account.ecs.tasks.iter().find(listed) {
            Some(task) => found.push(shown(account, task, includes(input, "TAGS"))),
            None => failures.push(json!({
                "arn": arn(account, &format!("task/{cluster}/{id}")), "reason": "MISSING",
            })),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

/// StopTask: a task that stopped is left as it is, but for its tags.
pub(super) fn stop(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let cluster = clusters::active(account, input)?;
    let id = last(local(account, required(input, "task")?)).to_owned();
    let reason = text(input, "reason").unwrap_or("Task stopped by user");
    if reason.chars().count() > 1024 {
        return Err(invalid("reason can have at most 1024 characters."));
    }
    let place = account
        .ecs
        .tasks
        .iter()
        .position(|task| task.cluster == cluster && task.id == id)
        .ok_or_else(|| invalid("The referenced task was not found."))?;
    let task = &mut account.ecs.tasks[place];
    task.tags.clear();
    if task.holds() {
        task.want_stopped(cx.now, "UserInitiated", reason);
        task.tell_to_stop(cx);
    }
    Ok(json!({"task": shown(account, &account.ecs.tasks[place], true)}))
}
