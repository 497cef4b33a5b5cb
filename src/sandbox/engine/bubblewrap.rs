//! Tasks as the host's own programs in bubblewrap: files and network of their own, but not the image.
//!
//! Each task's supervisor (a process of its own) runs it; here a thread a task only reads what that one writes. `/usr` and
//! `/etc` are the host's, read-only; the network has loopback alone, where our own binary carries to the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::book::{Book, read_json, write_json};
use super::cgroup::Cgroup;
use super::detect::Relay;
use super::programs::{Programs, Stand};
use super::supervisor::{self, Run};
use super::{Engine, Launch, Process};

/// Where a task's relay finds the folder of the sandbox's socket.
const SOCKET_FOLDER: &str = "/run/seqstack";
/// Where our own binary is inside a task.
const EXE: &str = "/run/seqstack-relay";
/// Where the relay says whether the program was started.
const STATUS: &str = "/run/seqstack-status";

const GLANCE: Duration = Duration::from_millis(30);

/// The engine.
#[derive(Debug)]
pub struct Bubblewrap {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    book: Book,
    exe: PathBuf,
    relay: Relay,
}

impl Bubblewrap {
    /// Opens the engine in the sandbox's folder and takes up the tasks that an earlier process left running.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used, or its `programs.toml` is no such table.
    pub fn open(folder: &Path, exe: &Path, relay: &Relay) -> io::Result<Self> {
        let book = Book::open(folder)?;
        Programs::read(book.folder())?;
        let inner = Arc::new(Inner { book, exe: exe.to_owned(), relay: relay.clone() });
        for launch in inner.book.unfinished() {
            inner.follow(launch);
        }
        for instance in inner.book.half_deleted() {
            inner.book.end_instance(&instance, Timestamp::now());
            let inner = Arc::clone(&inner);
            thread::Builder::new().spawn(move || inner.delete(&instance, &[]))?;
        }
        Ok(Self { inner })
    }
}

impl Engine for Bubblewrap {
    fn name(&self) -> &str {
        "bubblewrap (host programs, not the image)"
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
        self.inner.ask(task, "stop");
    }

    fn end_instance(&self, instance: &str, now: Timestamp) {
        let tasks = self.inner.book.end_instance(instance, now);
        for task in &tasks {
            self.inner.ask(task, "kill");
        }
        let (inner, instance) = (Arc::clone(&self.inner), instance.to_owned());
        if let Err(error) = thread::Builder::new().spawn(move || inner.delete(&instance, &tasks)) {
            tracing::error!(%error, "an instance's folder could not be deleted");
        }
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

impl Inner {
    fn follow(self: &Arc<Self>, launch: Launch) {
        let (inner, task) = (Arc::clone(self), launch.task.clone());
        let followed = thread::Builder::new().name("task".to_owned()).spawn(move || {
            if let Err(reason) = inner.drive(&launch) {
                inner.fail(&launch.task, &reason);
            }
        });
        if let Err(error) = followed {
            self.fail(&task, &format!("CannotStartContainerError: {error}"));
        }
    }

    fn fail(&self, task: &str, reason: &str) {
        let failed = Process::Failed { at: Timestamp::now(), reason: reason.to_owned() };
        if let Err(error) = self.book.end(task, failed) {
            tracing::error!(%error, task, "a task's end could not be written");
        }
    }

    fn ask(&self, task: &str, what: &str) {
        if let Err(error) = fs::write(self.book.task_folder(task).join(what), "") {
            tracing::error!(%error, task, "a task could not be asked to {what}");
        }
    }

    // From wherever the task is to its end. An error is why it never ran.
    fn drive(&self, launch: &Launch) -> Result<(), String> {
        let folder = self.book.task_folder(&launch.task);
        if !supervisor::lives(&folder) && !folder.join("started.json").exists() && !folder.join("exit.json").exists() {
            if self.book.stop_asked(&launch.task) || folder.join("stop").exists() {
                return Err("CannotStartContainerError: stopped before it was started".to_owned());
            }
            let programs = Programs::read(self.book.folder()).map_err(cannot_create)?;
            let stand = programs.stand(&launch.image).map_err(|why| format!("CannotPullContainerError: {why}"))?;
            let run = self.run(launch, &stand)?;
            write_json(&folder.join("run.json"), &run).map_err(cannot_create)?;
            supervisor::start(&self.exe, &folder).map_err(cannot_create)?;
        }
        self.read_until_end(launch, &folder)
    }

    fn read_until_end(&self, launch: &Launch, folder: &Path) -> Result<(), String> {
        // A supervisor takes its lock a moment after it was started; without one for this long there is none.
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut offset = 0;
        let mut alone = Instant::now();
        loop {
            let ended = folder.join("exit.json").exists();
            if let Some(Process::Running { since }) = read_json(&folder.join("started.json")) {
                self.book.running(&launch.task, since);
            }
            let (lines, next) = supervisor::read_log(&folder.join("log"), offset);
            offset = next;
            for line in lines {
                self.book.write_line(&launch.task, line);
            }
            if ended {
                let end =
                    read_json(&folder.join("exit.json")).ok_or("CannotInspectContainerError: its end was lost")?;
                self.book.end(&launch.task, end).map_err(cannot_create)?;
                return Ok(());
            }
            if supervisor::lives(folder) {
                alone = Instant::now();
            } else if folder.join("started.json").exists() && !folder.join("exit.json").exists()
                || alone.elapsed() > PATIENCE
            {
                return self.lost(launch, folder);
            }
            thread::sleep(GLANCE);
        }
    }

    // The supervisor was killed, and with it (bubblewrap's --die-with-parent) the program.
    fn lost(&self, launch: &Launch, folder: &Path) -> Result<(), String> {
        if let Ok(group) = Cgroup::make(folder, launch.memory_mib << 20) {
            group.remove();
        }
        let Some(Process::Running { since }) = read_json(&folder.join("started.json")) else {
            return Err("CannotStartContainerError: its supervisor did not start it".to_owned());
        };
        let at = Timestamp::now();
        self.book.write_line(&launch.task, (at, "seqstack: its supervisor was killed, and it with it".to_owned()));
        self.book
            .end(&launch.task, Process::Exited { since, at, code: 137, out_of_memory: false })
            .map_err(cannot_create)
    }

    fn run(&self, launch: &Launch, stand: &Stand) -> Result<Run, String> {
        let mut mounts = Vec::new();
        for (host, container, read_only) in &launch.mounts {
            let source = self.book.mount_source(launch, host).map_err(cannot_create)?;
            mounts.push((source, container.clone(), *read_only));
        }
        // Its first process is an `init` already.
        let refused = [("ulimits", !launch.more.ulimits.is_empty()), ("privileged", launch.more.privileged)];
        if let Some((what, _)) = refused.into_iter().find(|(_, asked)| *asked) {
            return Err(format!("CannotCreateContainerError: the sandbox knows no `{what}` under bubblewrap"));
        }
        let root = rustix::process::geteuid().is_root();
        let user = match &launch.user {
            None => None,
            Some(user) => Some(resolve(user, &read("/etc/passwd"), &read("/etc/group")).ok_or_else(|| {
                format!("CannotStartContainerError: unable to find user {user}: no matching entries in passwd file")
            })?),
        };
        let program = program(launch, stand);
        if program.is_empty() {
            return Err("CannotCreateContainerError: no command specified".to_owned());
        }
        let walls = Walls { launch, stand, mounts, user, root, program };
        let mut environment = BTreeMap::from([("HOME".to_owned(), "/".to_owned())]);
        let path: Vec<_> = stand.path.iter().map(|path| path.display().to_string()).collect();
        environment.insert("PATH".to_owned(), path.join(":"));
        environment.extend(launch.environment.clone());
        Ok(Run {
            argv: walls.argv(&self.exe, &self.relay, &self.book.task_folder(&launch.task).join("status"))?,
            environment,
            memory_mib: launch.memory_mib,
            exe: self.exe.clone(),
            preface: format!("seqstack: host programs, not the image {}", launch.image),
        })
    }

    fn delete(&self, instance: &str, tasks: &[String]) {
        // Bounded by what a kill takes; a supervisor that still lives then holds no file of the instance open for long.
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(10)
            && tasks.iter().any(|task| supervisor::lives(&self.book.task_folder(task)))
        {
            thread::sleep(GLANCE);
        }
        let deleted = self.book.set_aside(instance).and_then(|aside| aside.map_or(Ok(()), fs::remove_dir_all));
        if let Err(error) = deleted {
            tracing::error!(%error, instance, "an instance's folder could not be deleted");
        }
    }
}

fn cannot_create(error: io::Error) -> String {
    format!("CannotCreateContainerError: {error}")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

// An entry point of the task's own leaves the image's command out, as Docker does.
fn program(launch: &Launch, stand: &Stand) -> Vec<String> {
    let (entry, default) = match &launch.entry_point {
        Some(entry) => (entry, &Vec::new()),
        None => (&stand.entry_point, &stand.command),
    };
    entry.iter().chain(launch.command.as_ref().unwrap_or(default)).cloned().collect()
}

/// `uid`, `uid:gid` or names, as Docker reads them. A number without a group has group 0 unless the host knows it.
fn resolve(user: &str, passwd: &str, group: &str) -> Option<(u32, u32)> {
    let row = |text: &str, key: &str, column: usize| {
        let rows = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|row| row.len() > 3).find(|row| row[0] == key || row[column] == key)
    };
    let (name, of) = user.split_once(':').map_or((user, None), |(name, of)| (name, Some(of)));
    let entry = row(passwd, name, 2);
    let uid = name.parse().ok().or_else(|| entry.as_ref()?[2].parse().ok())?;
    let gid = match of {
        Some(of) => of.parse().ok().or_else(|| row(group, of, 2)?[2].parse().ok())?,
        None => entry.and_then(|row| row[3].parse().ok()).unwrap_or(0),
    };
    Some((uid, gid))
}

struct Walls<'a> {
    launch: &'a Launch,
    stand: &'a Stand,
    mounts: Vec<(PathBuf, String, bool)>,
    user: Option<(u32, u32)>,
    root: bool,
    program: Vec<String>,
}

impl Walls<'_> {
    fn argv(&self, exe: &Path, relay: &Relay, status: &Path) -> Result<Vec<String>, String> {
        let mut argv: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]);
        let (uid, gid) = self.user.unwrap_or((0, 0));
        if self.root {
            // What Docker leaves a container's root, and what changing the user needs; all of it goes with the change.
            add(&["--cap-drop", "ALL"]);
            for capability in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"] {
                add(&["--cap-add", &format!("CAP_{capability}")]);
            }
        } else {
            add(&["--unshare-user", "--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        }
        add(&["--hostname", "task", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]);
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            let path = Path::new("/").join(name);
            if path.is_symlink() {
                add(&["--symlink", &format!("usr/{name}"), &text(&path)?]);
            } else if path.is_dir() {
                // A host whose /usr is not merged.
                add(&["--ro-bind", &text(&path)?, &text(&path)?]);
            }
        }
        add(&["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]);
        let folder = relay.socket.parent().unwrap_or(Path::new("/"));
        let socket = Path::new(SOCKET_FOLDER).join(relay.socket.file_name().unwrap_or_default());
        add(&[
            "--bind",
            &text(folder)?,
            SOCKET_FOLDER,
            "--ro-bind",
            &text(exe)?,
            EXE,
            "--bind",
            &text(status)?,
            STATUS,
        ]);
        for path in &self.stand.bind {
            // Bubblewrap makes what is above a mount for its owner alone, and the task is another user.
            let above: Vec<&Path> = path.ancestors().skip(1).filter(|above| above.parent().is_some()).collect();
            for above in above.into_iter().rev().filter(|above| !above.starts_with("/usr")) {
                add(&["--perms", "0755", "--dir", &text(above)?]);
            }
            add(&["--ro-bind", &text(path)?, &text(path)?]);
        }
        let shared = self.launch.more.shared_memory_mib.map(|mib| ("/dev/shm".to_owned(), mib));
        for (target, mib) in self.launch.more.tmpfs.iter().chain(&shared) {
            let bytes = (mib << 20).to_string();
            add(&["--perms", "1777", "--size", &bytes, "--tmpfs", target]);
        }
        let working_dir = self.launch.working_dir.as_ref().or(self.stand.working_dir.as_ref());
        let mut targets = Vec::new();
        for (source, target, read_only) in &self.mounts {
            add(&[if *read_only { "--ro-bind" } else { "--bind" }, &text(source)?, target]);
            targets.push(Path::new(target));
        }
        if let Some(folder) = working_dir {
            // Docker makes a working folder that is not there; one inside a mount is the mount's own affair.
            if !targets.iter().any(|target| Path::new(folder).starts_with(target)) {
                add(&["--perms", "0755", "--dir", folder]);
            }
            add(&["--chdir", folder]);
        } else {
            add(&["--chdir", "/"]);
        }
        add(&["--", EXE, "sandbox-relay", "--listen", &format!("127.0.0.1:{}", relay.port), "--to", &text(&socket)?]);
        add(&["--status", STATUS]);
        if self.root {
            add(&["--user", &format!("{uid}:{gid}")]);
        }
        add(&["--"]);
        argv.extend(self.program.iter().cloned());
        Ok(argv)
    }
}

fn text(path: &Path) -> Result<String, String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("CannotCreateContainerError: {} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_number_and_by_name() {
        let (passwd, group) = ("root:x:0:0::/root:/bin/sh\nlab:x:1000:1001::/:/bin/sh\n", "bench:x:50:lab\n");
        let of = |user: &str| resolve(user, passwd, group);
        assert_eq!(of("1000"), Some((1000, 1001)));
        assert_eq!(of("1002"), Some((1002, 0)));
        assert_eq!(of("1002:7"), Some((1002, 7)));
        assert_eq!(of("lab:bench"), Some((1000, 50)));
        assert_eq!(of("nobody-here"), None);
    }
}
