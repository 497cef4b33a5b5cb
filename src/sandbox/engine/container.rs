//! Tasks as containers, by the command line of Docker or of Podman.
//!
//! A thread a task leads it from wherever it is (nothing made yet, made, running, ended) to its end, so that taking up a
//! task after this process was killed is the same code as starting it. A container stays until its log and exit code are
//! saved. No image is ever pulled: what is not on this machine is `CannotPullContainerError`.
//!
//! A task's network is that of its instance's pause container, made with `--network none`: loopback, with our relay on it.

mod logs;
mod pause;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::book::{Book, write_file};
use super::detect::Relay;
use super::podman;
use super::supervisor::STOP_TIMEOUT;
use super::{Engine, Launch, Process};
use variables::{by_command, in_a_line};

const LABEL_SANDBOX: &str = "seqstack.sandbox";
const LABEL_INSTANCE: &str = "seqstack.instance";
const LABEL_TASK: &str = "seqstack.task";
const LABEL_FOLDER: &str = "seqstack.folder";
const LABEL_USER: &str = "seqstack.user";

/// Whose command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cli {
    /// Docker's.
    Docker,
    /// Podman's.
    Podman,
}

impl Cli {
    fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.name());
        command.stdin(Stdio::null());
        command
    }

    // Runs one command to its end: its standard output, or the last line of what it complains.
    fn run<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Result<String, String> {
        self.run_with(arguments, &BTreeMap::new())
    }

    // The same with these variables beside its own.
    fn run_with<S: AsRef<OsStr>>(
        self,
        arguments: impl IntoIterator<Item = S>,
        variables: &BTreeMap<&String, &String>,
    ) -> Result<String, String> {
        let done = self.command().args(arguments).envs(variables).output();
        let done = done.map_err(|error| format!("{}: {error}", self.name()))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
        }
        let complaint = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(if complaint.is_empty() { format!("{}: {}", self.name(), done.status) } else { complaint })
    }
}

/// The engine.
#[derive(Debug)]
pub struct Containers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cli: Cli,
    book: Book,
    exe: PathBuf,
    relay: Relay,
    /// Tells this sandbox's containers from another's.
    id: String,
    /// One lock an instance: its pause container is made once.
    networks: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    finished_at: String,
}

impl State {
    fn since(&self) -> Timestamp {
        self.started_at.parse().unwrap_or_else(|_| Timestamp::now())
    }

    fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "exited" | "dead" | "stopped" | "removing")
    }
}

impl Containers {
    /// Opens the engine in the sandbox's folder, takes up the tasks that an earlier process left, and finishes deleting
    /// the instances that it did not.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used.
    pub fn open(cli: Cli, folder: &Path, exe: &Path, relay: &Relay) -> io::Result<Self> {
        let book = Book::open(folder)?;
        let id = hex::encode(&Sha256::digest(book.folder().as_os_str().as_encoded_bytes())[..6]);
        let (exe, relay) = (exe.to_owned(), relay.clone());
        let inner = Arc::new(Inner { cli, book, exe, relay, id, networks: Mutex::default() });
        let unfinished = inner.book.unfinished();
        let half_deleted = inner.book.half_deleted();
        for instance in &half_deleted {
            inner.book.end_instance(instance, Timestamp::now());
        }
        for launch in unfinished {
            inner.follow(launch);
        }
        for instance in half_deleted {
            inner.delete_behind(instance);
        }
        let sweeping = Arc::clone(&inner);
        behind("sweep", move || sweeping.sweep());
        Ok(Self { inner })
    }
}

impl Engine for Containers {
    fn name(&self) -> &str {
        self.inner.cli.name()
    }

    fn start(&self, launch: &Launch, now: Timestamp) {
        match self.inner.book.enter(launch, now) {
            Ok(true) => self.inner.follow(launch.clone()),
            Ok(false) => {}
            Err(error) => self.inner.fail(&launch.task, &format!("CannotCreateContainerError: {error}")),
        }
    }

    fn process(&self, task: &str, _now: Timestamp) -> Option<Process> {
        self.inner.book.process(task)
    }

    fn log(&self, task: &str, _now: Timestamp) -> Vec<(Timestamp, String)> {
        self.inner.book.log(task)
    }

    fn log_ends(&self, task: &str, _now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.inner.book.log_ends(task)
    }

    fn stop(&self, task: &str, _now: Timestamp) {
        self.inner.book.ask_to_stop(task);
        let (inner, task) = (Arc::clone(&self.inner), task.to_owned());
        behind("stop", move || inner.stop_container(&task));
    }

    fn end_instance(&self, instance: &str, now: Timestamp) {
        self.inner.book.end_instance(instance, now);
        self.inner.delete_behind(instance.to_owned());
    }

    fn forget(&self, task: &str) {
        self.inner.book.forget(task);
    }

    fn keep_only(&self, tasks: &BTreeSet<String>, instances: &BTreeSet<String>, now: Timestamp) {
        let strangers = self.inner.book.strangers(tasks, instances);
        strangers.tasks.iter().for_each(|task| self.stop(task, now));
        strangers.instances.iter().for_each(|instance| self.end_instance(instance, now));
    }
}

fn behind(what: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(what.to_owned()).spawn(work) {
        tracing::error!(%error, "no thread to {what}");
    }
}

impl Inner {
    fn follow(self: &Arc<Self>, launch: Launch) {
        let inner = Arc::clone(self);
        behind("task", move || {
            if let Err(reason) = inner.drive(&launch) {
                inner.fail(&launch.task, &reason);
            }
            inner.remove(&inner.container(&launch.task));
        });
    }

    fn fail(&self, task: &str, reason: &str) {
        self.end(task, Process::Failed { at: Timestamp::now(), reason: reason.to_owned() });
    }

    fn end(&self, task: &str, process: Process) {
        if let Err(error) = self.book.end(task, process) {
            tracing::error!(%error, task, "a task's end could not be written");
        }
    }

    fn container(&self, task: &str) -> String {
        format!("seqstack-{}-{task}", self.id)
    }

    fn pause(&self, instance: &str) -> String {
        format!("seqstack-{}-{instance}-pause", self.id)
    }

    fn inspect(&self, container: &str) -> Result<Option<State>, String> {
        match self.cli.run(["container", "inspect", "--format", "{{json .State}}", container]) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| format!("{container}: {error}")),
            Err(complaint) if complaint.to_lowercase().contains("no such container") => Ok(None),
            Err(complaint) => Err(complaint),
        }
    }

    // An error is why the task never ran.
    fn drive(&self, launch: &Launch) -> Result<(), String> {
        let name = self.container(&launch.task);
        let refused = || match self.book.stop_asked(&launch.task) {
            true => Err("CannotStartContainerError: stopped before it was started".to_owned()),
            false => Ok(()),
        };
        let mut state = self.inspect(&name).map_err(cannot("Inspect"))?;
        if state.is_none() {
            refused()?;
            self.create(launch, &name)?;
            state = self.inspect(&name).map_err(cannot("Inspect"))?;
        }
        let state = state.ok_or("CannotInspectContainerError: the container is gone")?;
        if matches!(state.status.as_str(), "created" | "configured" | "initialized") {
            refused()?;
            self.cli.run(["start", &name]).map_err(cannot("Start"))?;
            if self.book.stop_asked(&launch.task) {
                // It came in between; the request itself found nothing that ran.
                self.stop_container(&launch.task);
            }
        }
        self.attend(launch, &name)
    }

    fn create(&self, launch: &Launch, name: &str) -> Result<(), String> {
        if let Err(complaint) = self.cli.run(["image", "inspect", "--format", "{{.Id}}", &launch.image]) {
            let lower = complaint.to_lowercase();
            if ["no such image", "image not known", "not found"].iter().any(|text| lower.contains(text)) {
                let image = &launch.image;
                return Err(format!(
                    "CannotPullContainerError: {image} not found on this machine, and the sandbox pulls no image"
                ));
            }
            return Err(format!("CannotInspectContainerError: {complaint}"));
        }
        self.network(&launch.instance)?;
        let environment = self.book.task_folder(&launch.task).join("environment");
        let arguments = self.create_arguments(launch, name, &environment)?;
        let variables = launch.environment.iter().filter(|(name, value)| by_command(name, value)).collect();
        let made = self.cli.run_with(&arguments, &variables).map_err(cannot("Create"));
        fs::remove_file(&environment).map_err(|error| cannot("Create")(error.to_string()))?;
        made.map(drop)
    }

    fn create_arguments(&self, launch: &Launch, name: &str, environment: &Path) -> Result<Vec<String>, String> {
        let failed = |error: io::Error| cannot("Create")(error.to_string());
        let memory = format!("{}m", launch.memory_mib);
        let mut arguments: Vec<String> = ["create", "--pull", "never", "--name", name].map(str::to_owned).into();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("--label", format!("{LABEL_TASK}={}", launch.task));
        self.labels(&launch.instance).into_iter().for_each(|label| add("--label", label));
        add("--network", format!("container:{}", self.pause(&launch.instance)));
        // As much memory with swap as without: none is swapped.
        add("--memory", memory.clone());
        add("--memory-swap", memory);
        // What SELinux would otherwise forbid is a folder of the user's own.
        add("--security-opt", "label=disable".to_owned());
        if self.cli == Cli::Podman {
            let log = podman::log_file(&self.book.task_folder(&launch.task));
            add("--log-driver", "k8s-file".to_owned());
            add("--log-opt", format!("path={}", log.display()));
        } else {
            // Whatever the daemon's own are: all of it is kept, in a form that `docker logs` reads.
            add("--log-driver", "json-file".to_owned());
            add("--log-opt", "mode=blocking".to_owned());
            add("--log-opt", "max-size=1000g".to_owned());
        }
        if launch.more.privileged {
            add("--cap-add", "ALL".to_owned());
        }
        for (name, soft, hard) in &launch.more.ulimits {
            add("--ulimit", format!("{name}={soft}:{hard}"));
        }
        if let Some(mib) = launch.more.shared_memory_mib {
            add("--shm-size", format!("{mib}m"));
        }
        for (target, mib) in &launch.more.tmpfs {
            add("--tmpfs", format!("{target}:size={mib}m"));
        }
        if let Some(user) = &launch.user {
            add("--user", user.clone());
        }
        if let Some(folder) = &launch.working_dir {
            add("--workdir", folder.clone());
        }
        for (host, target, read_only) in &launch.mounts {
            let source = self.book.mount_source(launch, host).map_err(failed)?;
            add("--mount", mount(&source, Path::new(target), *read_only)?);
        }
        // In a file of ours, as a command line can be read by everybody; what a line of a file cannot hold is
        // in the environment of Docker's command.
        let mut lines = String::new();
        for (key, value) in &launch.environment {
            if by_command(key, value) {
                add("--env", key.clone());
            } else if !in_a_line(value) {
                add("--env", format!("{key}={value}"));
            } else {
                lines.push_str(&format!("{key}={value}\n"));
            }
        }
        write_file(environment, lines.as_bytes()).map_err(failed)?;
        add("--env-file", environment.display().to_string());
        let mut words = Vec::new();
        if let Some((first, rest)) = launch.entry_point.as_deref().and_then(<[String]>::split_first) {
            add("--entrypoint", first.clone());
            words.extend(rest.iter().cloned());
        }
        words.extend(launch.command.iter().flatten().cloned());
        if launch.more.init {
            arguments.push("--init".to_owned());
        }
        arguments.push(launch.image.clone());
        arguments.extend(words);
        Ok(arguments)
    }

    // The log as it is written, and then the end.
    fn attend(&self, launch: &Launch, name: &str) -> Result<(), String> {
        let Some(state) = self.inspect(name).map_err(cannot("Inspect"))? else {
            return Err("CannotInspectContainerError: the container is gone".to_owned());
        };
        let since = state.since();
        self.book.running(&launch.task, since);
        let state = match self.cli {
            Cli::Docker => {
                let known = self.copy_log(&launch.task, name, true, [0, 0]);
                // The log ends when the container does, or when the command that follows it failed; this decides.
                let state = self.over(name)?;
                // Whatever the follower missed: the log is complete now, and longer by just that.
                self.copy_log(&launch.task, name, false, known);
                state
            }
            Cli::Podman => self.tail_log(&launch.task, name)?,
        };
        let end = match state {
            Some(state) => Process::Exited {
                since,
                at: state.finished_at.parse().unwrap_or_else(|_| Timestamp::now()),
                code: state.exit_code,
                out_of_memory: state.oom_killed || self.killed_for_memory(&launch.task, name, &state),
            },
            // Somebody removed it by force: it was killed.
            None => Process::Exited { since, at: Timestamp::now(), code: 137, out_of_memory: false },
        };
        self.end(&launch.task, end);
        Ok(())
    }

    fn tail_log(&self, task: &str, name: &str) -> Result<Option<State>, String> {
        let mut tail = podman::Tail::new(podman::log_file(&self.book.task_folder(task)));
        let mut read = |last: bool| {
            let mut lines = tail.more().unwrap_or_else(|error| {
                tracing::warn!(%error, name, "the log of a container could not be read");
                Vec::new()
            });
            if last {
                lines.extend(tail.rest());
            }
            lines.into_iter().for_each(|line| self.book.write_line(task, line));
        };
        let state = thread::scope(|scope| {
            let over = scope.spawn(|| self.over(name));
            while !over.is_finished() {
                read(false);
                thread::sleep(Duration::from_millis(30));
            }
            over.join().map_err(|_| cannot("Inspect")("the thread that waits for it failed".to_owned()))?
        })?;
        read(true);
        Ok(state)
    }

    fn killed_for_memory(&self, task: &str, name: &str, state: &State) -> bool {
        if self.cli != Cli::Podman || state.exit_code != 137 || self.book.stop_asked(task) {
            return false;
        }
        let id = self.cli.run(["container", "inspect", "--format", "{{.Id}}", name]).unwrap_or_default();
        podman::killed_for_memory(&id).unwrap_or_else(|| {
            let line = "seqstack: killed by SIGKILL, and the kernel's log may not be read: taken for out of memory";
            self.book.write_line(task, (Timestamp::now(), line.to_owned()));
            true
        })
    }

    // A daemon that is restarted in between answers again after a while.
    fn over(&self, name: &str) -> Result<Option<State>, String> {
        const PATIENCE: Duration = Duration::from_secs(120);
        if let Err(complaint) = self.cli.run(["wait", name]) {
            tracing::debug!(complaint, name, "waiting for a container ended early");
        }
        let mut trouble = None;
        loop {
            match self.inspect(name) {
                Ok(None) => return Ok(None),
                Ok(Some(state)) if state.is_over() => return Ok(Some(state)),
                Ok(Some(_)) => {
                    trouble = None;
                    thread::sleep(Duration::from_millis(100));
                }
                Err(complaint) => {
                    let since = trouble.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(cannot("Inspect")(complaint));
                    }
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn stop_container(&self, task: &str) {
        let name = self.container(task);
        let seconds = STOP_TIMEOUT.as_secs().to_string();
        if let Err(complaint) = self.cli.run(["stop", "--time", &seconds, &name]) {
            tracing::debug!(complaint, name, "there is nothing to stop");
        }
    }

    fn remove(&self, name: &str) {
        // Podman says so of what is not there, Docker too; anything else is worth a line.
        if let Err(complaint) = self.cli.run(["rm", "--force", "--volumes", name])
            && !complaint.to_lowercase().contains("no such container")
        {
            tracing::warn!(complaint, name, "a container could not be removed");
        }
    }
}

fn cannot(what: &'static str) -> impl Fn(String) -> String {
    move |complaint| format!("Cannot{what}ContainerError: {complaint}")
}

// `--mount` takes a row of CSV: a field with a comma or a quote in it is quoted.
fn mount(source: &Path, target: &Path, read_only: bool) -> Result<String, String> {
    let field = |key: &str, path: &Path| -> Result<String, String> {
        let text = path.to_str().ok_or_else(|| cannot("Create")(format!("{} is not UTF-8", path.display())))?;
        let field = format!("{key}={text}");
        let quote = field.contains([',', '"']);
        Ok(if quote { format!("\"{}\"", field.replace('"', "\"\"")) } else { field })
    };
    let end = if read_only { ",readonly" } else { "" };
    Ok(format!("type=bind,{},{}{end}", field("source", source)?, field("target", target)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_commas_are_quoted() {
        let row = mount(Path::new("/a,b"), Path::new("/c"), true).unwrap();
        assert_eq!(row, "type=bind,\"source=/a,b\",target=/c,readonly");
    }
}
