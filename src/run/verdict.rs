//! The verdict: turns a stopped task into what became of its pipeline step, and what to do next. Never asks AWS.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A stopped task, as far as it decides the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// ECS's stop code, e.g. `EssentialContainerExited`.
    pub stop_code: Option<String>,
    /// ECS's reason for the task.
    pub stopped_reason: Option<String>,
    /// The container's own reason.
    pub container_reason: Option<String>,
    /// The container's exit code; there is none where it never ran, or nobody could see it end.
    pub exit_code: Option<i32>,
    /// When its containers started, by AWS's clock.
    pub started_at: Option<Timestamp>,
    /// When its containers ended, by AWS's clock.
    pub ended_at: Option<Timestamp>,
    /// The digest of the image that ran.
    pub image_digest: Option<String>,
    /// The name of its log stream where the log driver has no prefix: the container's runtime id.
    pub log_stream: Option<String>,
    /// The container whose exit code it is, where that is not the step's own.
    pub other: Option<String>,
    /// How each container of the task ended.
    pub containers: Vec<ContainerEnd>,
}

/// One container of a stopped task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEnd {
    /// Its name.
    pub name: String,
    /// Its exit code, where there was one.
    pub exit_code: Option<i32>,
    /// Its own reason.
    pub reason: Option<String>,
    /// The digest of its image.
    pub image_digest: Option<String>,
    /// Its id where it ran.
    pub runtime_id: Option<String>,
}

impl ContainerEnd {
    /// Whether it failed by itself. ECS ends the essential containers that are left by SIGTERM, then SIGKILL: the exit codes
    /// of these are no failure of their own.
    fn failed(&self) -> bool {
        match (self.exit_code, self.reason.as_deref()) {
            (_, Some(reason)) if reason.contains("OutOfMemory") => true,
            (Some(0 | 137 | 143), _) => false,
            (Some(_), _) => true,
            (None, reason) => reason.is_some(),
        }
    }
}

impl TaskEnd {
    /// The end of this container of the task. Where it exited with 0, and another one failed that the task ends with, that
    /// one's: a step whose task failed did not succeed.
    pub fn of(&self, container: &str, essential: &[String]) -> Self {
        let Some(own) = self.containers.iter().find(|one| one.name == container) else { return self.clone() };
        let mut others = self.containers.iter().filter(|one| essential.contains(&one.name));
        let other = others.clone().find(|one| one.failed()).filter(|_| own.exit_code == Some(0));
        let counts = other.unwrap_or(own);
        let reason = counts.reason.clone().or_else(|| others.find_map(|one| one.reason.clone()));
        Self {
            container_reason: reason,
            exit_code: counts.exit_code,
            image_digest: own.image_digest.clone(),
            log_stream: own.runtime_id.clone(),
            other: other.map(|one| one.name.clone()),
            ..self.clone()
        }
    }
}

/// What became of one attempt at a pipeline step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It ran and exited with 0.
    Succeeded,
    /// It ran and exited with something else.
    Failed {
        /// The exit code.
        exit: i32,
    },
    /// Nothing of it ever ran.
    NeverStarted {
        /// Why, in AWS's words.
        reason: String,
        /// Whether the same thing may well start the next time.
        retryable: bool,
    },
    /// The machine under it went away.
    HostLost,
    /// It, or a process in it, was killed for want of memory.
    OutOfMemory {
        /// The exit code, where there was one: a program can mask the kill, with 0 even.
        exit: Option<i32>,
    },
    /// Somebody stopped it.
    Cancelled,
    /// It ran, and nobody can tell how it ended. Never success.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed { exit } => write!(f, "failed with exit code {exit}"),
            Self::NeverStarted { .. } => f.write_str("never started"),
            Self::HostLost => f.write_str("lost its instance"),
            Self::OutOfMemory { .. } => f.write_str("ran out of memory"),
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Unknown => f.write_str("ended in a way that cannot be told"),
        }
    }
}

/// A verdict with its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub explanation: String,
    /// What to do next; empty after success.
    pub next: String,
}

fn judged(verdict: Verdict, explanation: impl Into<String>, next: &str) -> Judgement {
    Judgement { verdict, explanation: explanation.into(), next: next.to_owned() }
}

/// Judges a stopped task.
pub fn verdict(end: &TaskEnd) -> Judgement {
    let container = end.container_reason.as_deref().unwrap_or_default();
    let task = end.stopped_reason.as_deref().unwrap_or_default();
    let said = if container.is_empty() { task } else { container };
    let code = end.stop_code.as_deref().unwrap_or_default();

    // Memory first: the kernel kills one process, and the program around it may exit with anything, 0 included.
    if container.contains("OutOfMemory") || task.contains("OutOfMemory") {
        return judged(
            Verdict::OutOfMemory { exit: end.exit_code },
            match end.exit_code {
                Some(137) | None => "the container was killed for using more memory than it has".to_owned(),
                Some(exit) => format!(
                    "a process in the container was killed for using more memory than it has (the exit code, {exit}, hides it)"
                ),
            },
            "raise the step's `memory`, or have seqstack do it with `attempts` and `memory_factor`; the steps before it are kept while the instance is there",
        );
    }
    if host_lost(code, task) {
        return judged(
            Verdict::HostLost,
            if task.is_empty() { format!("the instance under the task went away ({code})") } else { task.to_owned() },
            "apply again: a new instance is made and the run starts over",
        );
    }
    // A stopped program may well catch SIGTERM and exit with 0: who stopped it counts, not how it took it.
    if matches!(code, "UserInitiated" | "ServiceSchedulerInitiated") {
        return judged(
            Verdict::Cancelled,
            if task.is_empty() { "the task was stopped on request".to_owned() } else { task.to_owned() },
            "apply again to go on with the run",
        );
    }
    // Docker gives a container that it could not start an exit code of its own, 127 or 128.
    if before_the_start(said) && end.started_at.is_none() {
        return never_started(said);
    }
    match end.exit_code {
        Some(0) => judged(Verdict::Succeeded, "exit code 0", ""),
        Some(exit) => judged(
            Verdict::Failed { exit },
            match &end.other {
                Some(other) => {
                    format!("{} of the container `{other}`, which is essential to the same task", exit_meaning(exit))
                }
                None => exit_meaning(exit),
            },
            "see the log lines, mend the step and apply again; `--retry` starts it again as it is",
        ),
        None => without_exit_code(end, code, said),
    }
}

fn host_lost(code: &str, task_reason: &str) -> bool {
    matches!(code, "SpotInterruption" | "TerminationNotice" | "InfrastructureHealth")
        || task_reason.starts_with("Host EC2 (instance")
        || task_reason.contains("container instance was deregistered")
        || task_reason.contains("Container instance deregistration")
}

fn without_exit_code(end: &TaskEnd, code: &str, said: &str) -> Judgement {
    if end.started_at.is_none() && matches!(code, "TaskFailedToStart" | "") {
        return never_started(said);
    }
    let why = if said.is_empty() { String::new() } else { format!(": {said}") };
    judged(
        Verdict::Unknown,
        format!("the task stopped without an exit code{why}"),
        "apply again with `--retry`: what it did cannot be relied on, so it runs again",
    )
}

/// Whether a reason is one of the container agent's errors from before anything ran (amazon-ecs-agent, `dockerapi` and
/// `taskresource`).
fn before_the_start(said: &str) -> bool {
    const ERRORS: &[&str] = &[
        "CannotPull",
        "CannotCreate",
        "CannotStart",
        "CannotGetDocker",
        "ResourceInitialization",
        "Docker",
        "ContainerRuntime",
        "HostConfigError",
        "TaskStoppedBeforePullBegin",
    ];
    ERRORS.iter().any(|error| said.starts_with(error))
}

fn never_started(said: &str) -> Judgement {
    let retryable = may_start_next_time(said);
    let reason = if said.is_empty() { "ECS gave no reason".to_owned() } else { said.to_owned() };
    Judgement {
        verdict: Verdict::NeverStarted { reason: reason.clone(), retryable },
        explanation: reason,
        next: start_advice(said, retryable).to_owned(),
    }
}

/// Whether a task that failed to start may well start the next time. About one task in a hundred fails to start for a
/// passing reason, so everything that is not known to be definitive is tried again.
fn may_start_next_time(reason: &str) -> bool {
    const DEFINITIVE: &[&str] = &[
        "manifest unknown",
        "not found",
        "does not exist",
        "no such image",
        "access denied",
        "accessdenied",
        "access to the resource is denied",
        "unauthorized",
        "no basic auth credentials",
        "incorrect username or password",
        "not authorized",
        "403 forbidden",
        "invalid reference format",
        "descriptor matching platform",
        "no matching manifest",
        "cannot be used on this platform",
        "no supported platform",
        "exec format error",
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "is a directory",
        "not a directory",
        "read-only file system",
        "no matching entries in",
        "can't find the specified",
        "pull the image. check that the role",
        "the task can't find the image",
        "must be an absolute path",
        "minimum memory limit",
        "invalid mode",
        "no space left on device",
        "invalid parameter",
        "invalidparameters",
        "validationexception",
        "conflicting options",
    ];
    let reason = reason.to_lowercase();
    // Written while IAM has not told everybody of a new role yet, or while Docker itself is starting: it passes.
    if reason.contains("unable to assume the role") || reason.contains("docker.sock") {
        return true;
    }
    !DEFINITIVE.iter().any(|definitive| reason.contains(definitive))
}

/// What to do about a role that ECS still cannot assume after minutes: a new one is known everywhere by then.
pub(super) const ROLE_ADVICE: &str = "ECS could not assume the role for several minutes: it does not exist, or does not trust ecs-tasks.amazonaws.com; correct the role, or the `task_role` or `execution_role` that names it, and apply again";

fn start_advice(reason: &str, retryable: bool) -> &'static str {
    let lower = reason.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if any(&["unable to assume the role"]) {
        ROLE_ADVICE
    } else if any(&["toomanyrequests", "pull rate limit"]) {
        "the registry limits how often it is asked: apply again later, or pull the image from your own ECR"
    } else if retryable {
        "apply again: this usually passes; if it keeps coming back, the reason above says what to correct"
    } else if any(&["no space left"]) {
        "give the instance a larger `volume`, and apply again"
    } else if any(&[
        "matching platform",
        "exec format",
        "no matching manifest",
        "used on this platform",
        "no supported platform",
    ]) {
        "the image is made for another architecture or operating system than the instance's: change the image or the instance `type`"
    } else if any(&["no basic auth credentials", "incorrect username or password"]) {
        "the image's registry wants a sign-in. From ECR, the execution role must be allowed to pull (service-role/AmazonECSTaskExecutionRolePolicy), and another account's registry must let it in; from any other private registry, copy the image to your ECR and name it there"
    } else if any(&["logging driver", "logger args", "log stream", "log group"]) {
        "see that the log group is there and that the execution role may write to it, then apply again with `--retry`"
    } else if any(&["secret", "ssm", "invalid parameters"]) {
        "check the `secret`, and whether the execution role may read it"
    } else if any(&["no matching entries in"]) {
        "check the task definition's `user`: the image does not have it; a number needs no entry"
    } else if any(&["chdir to cwd", "working directory", "must be an absolute path"]) {
        "check the task definition's `working_dir`, and whether its `user` may enter it"
    } else if reason.starts_with("CannotPull") {
        "check the task definition's `image`: its name and tag, and whether the execution role may pull it"
    } else if any(&["mount", "volume", "read-only file system"]) {
        "check the task definition's `mounts`"
    } else if any(&["exec:", "exec ", "executable file not found", "no such file"]) {
        "check the step's `command` and the image's entry point"
    } else if any(&["minimum memory limit"]) {
        "raise the step's `memory`"
    } else {
        "mend the task definition and apply again with `--retry`"
    }
}

fn exit_meaning(exit: i32) -> String {
    match exit {
        125 => "exit code 125: by custom, that the container could not be run".to_owned(),
        126 => "exit code 126: the command cannot be executed".to_owned(),
        127 => "exit code 127: the command was not found in the image".to_owned(),
        137 => "exit code 137: killed by SIGKILL, often for want of memory on the instance".to_owned(),
        139 => "exit code 139: killed by SIGSEGV, a crash of the program".to_owned(),
        143 => "exit code 143: ended by SIGTERM".to_owned(),
        signal @ 129..=192 => format!("exit code {signal}: killed by signal {}", signal - 128),
        _ => format!("exit code {exit}"),
    }
}

/// What the log says beyond the exit code, where that is well known.
pub fn log_hint(lines: &[String]) -> Option<&'static str> {
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    if has("exec format error") {
        Some("the program in the image is made for another architecture than the instance's")
    } else if has("No space left on device") {
        Some("the instance's disk is full: give it a larger `volume`")
    } else if has("kms:") && (has("AccessDenied") || has("not authorized")) {
        Some(
            "the step's `task_role` has no right to the bucket's KMS key: name it as `kms_key` in the [bucket.…] that the role has in `read` or `write`",
        )
    } else if has("AccessDenied") || has("403") && has("Forbidden") {
        Some(
            "the step's `task_role` does not allow what it did (if the bucket's objects have a KMS key, `kms_key` in its [bucket.…] gives the role the rights to it)",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
