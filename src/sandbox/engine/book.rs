//! What an engine knows of its tasks: their state and log in memory, and on disk what must outlive this process.
//!
//! A task's folder is `<sandbox>/tasks/<task>/`: `launch.json` before anything is started, `log` (a time and a line), and
//! `exit.json` once all is over. An instance's folder is `<sandbox>/instances/<instance>/`; what a task mounts lies in it.
//! The book never asks Docker or the kernel anything: its answers are as quick as a look into a map.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Launch, Process};

/// A line of a log with its time.
pub type Line = (Timestamp, String);

#[derive(Debug)]
struct Entry {
    instance: String,
    process: Process,
    log: Vec<Line>,
    stop: bool,
}

#[derive(Debug, Default)]
struct Pages {
    tasks: BTreeMap<String, Entry>,
    ended: BTreeSet<String>,
}

/// The tasks of one engine.
#[derive(Debug)]
pub struct Book {
    folder: PathBuf,
    pages: Mutex<Pages>,
}

impl Book {
    /// Opens the book of the sandbox in `folder`, making its `tasks` and `instances` folders.
    ///
    /// # Errors
    ///
    /// When the folders cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        for name in ["tasks", "instances"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name))?;
        }
        Ok(Self { folder: fs::canonicalize(folder)?, pages: Mutex::default() })
    }

    /// The sandbox's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A task's folder.
    pub fn task_folder(&self, task: &str) -> PathBuf {
        self.folder.join("tasks").join(plain(task))
    }

    /// An instance's folder.
    pub fn instance_folder(&self, instance: &str) -> PathBuf {
        self.folder.join("instances").join(plain(instance))
    }

    /// Enters a task; false if it is there already, so that nothing is started twice.
    ///
    /// # Errors
    ///
    /// When its folder cannot be written.
    pub fn enter(&self, launch: &Launch, now: Timestamp) -> io::Result<bool> {
        let folder = self.task_folder(&launch.task);
        {
            let mut pages = self.pages();
            if pages.tasks.contains_key(&launch.task) || folder.join("launch.json").exists() {
                return Ok(false);
            }
            pages.tasks.insert(launch.task.clone(), Entry::new(&launch.instance, Process::Pending));
            if pages.ended.contains(&launch.instance) {
                let reason = "CannotStartContainerError: the instance was terminated".to_owned();
                if let Some(entry) = pages.tasks.get_mut(&launch.task) {
                    entry.process = Process::Failed { at: now, reason };
                }
            }
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        write_json(&folder.join("launch.json"), launch)?;
        Ok(true)
    }

    /// Tasks that an earlier process left unfinished; they are entered again as pending.
    pub fn unfinished(&self) -> Vec<Launch> {
        let Ok(entries) = fs::read_dir(self.folder.join("tasks")) else { return Vec::new() };
        let mut launches = Vec::new();
        for entry in entries.flatten() {
            if entry.path().join("exit.json").exists() {
                continue;
            }
            if let Some(launch) = read_json::<Launch>(&entry.path().join("launch.json")) {
                self.pages().tasks.insert(launch.task.clone(), Entry::new(&launch.instance, Process::Pending));
                launches.push(launch);
            }
        }
        launches
    }

    /// Where a task is; one that ended under an earlier process is read from its folder.
    pub fn process(&self, task: &str) -> Option<Process> {
        if let Some(entry) = self.pages().tasks.get(task) {
            return Some(entry.process.clone());
        }
        self.load(task)?;
        self.pages().tasks.get(task).map(|entry| entry.process.clone())
    }

    /// A task's log so far.
    pub fn log(&self, task: &str) -> Vec<Line> {
        self.process(task).and_then(|_| Some(self.pages().tasks.get(task)?.log.clone())).unwrap_or_default()
    }

    /// The times of the first and the last line of a task's log so far.
    pub fn log_ends(&self, task: &str) -> Option<(Timestamp, Timestamp)> {
        self.process(task)?;
        let pages = self.pages();
        let log = &pages.tasks.get(task)?.log;
        Some((log.first()?.0, log.last()?.0))
    }

    /// Adds a line to a task's log, after all that are not later.
    pub fn write_line(&self, task: &str, line: Line) {
        if let Some(entry) = self.pages().tasks.get_mut(task) {
            let place = entry.log.iter().rposition(|known| known.0 <= line.0).map_or(0, |at| at + 1);
            entry.log.insert(place, line);
        }
    }

    /// It runs, unless it is known to have ended.
    pub fn running(&self, task: &str, since: Timestamp) {
        if let Some(entry) = self.pages().tasks.get_mut(task)
            && entry.process == Process::Pending
        {
            entry.process = Process::Running { since };
        }
    }

    /// Its end, in memory and on disk; a second end changes nothing. The log is written first, so that whoever sees
    /// `exit.json` has all of it.
    ///
    /// # Errors
    ///
    /// When its folder cannot be written.
    pub fn end(&self, task: &str, process: Process) -> io::Result<()> {
        let (log, process) = {
            let mut pages = self.pages();
            let Some(entry) = pages.tasks.get_mut(task) else { return Ok(()) };
            if matches!(entry.process, Process::Pending | Process::Running { .. }) {
                entry.process = process;
            }
            (entry.log.clone(), entry.process.clone())
        };
        let folder = self.task_folder(task);
        if folder.join("exit.json").exists() {
            return Ok(());
        }
        let mut text = String::new();
        for (at, line) in &log {
            text.push_str(&stamped(*at, line));
        }
        write_file(&folder.join("log"), text.as_bytes())?;
        write_json(&folder.join("exit.json"), &process)
    }

    /// Someone asked for this task to stop.
    pub fn ask_to_stop(&self, task: &str) {
        if let Some(entry) = self.pages().tasks.get_mut(task) {
            entry.stop = true;
        }
    }

    /// Whether this task should not start, or should stop.
    pub fn stop_asked(&self, task: &str) -> bool {
        let pages = self.pages();
        pages.tasks.get(task).is_some_and(|entry| entry.stop || pages.ended.contains(&entry.instance))
    }

    /// The instance is gone: nothing is started on it any more. Returns its tasks that have not ended, marked as ended.
    pub fn end_instance(&self, instance: &str, now: Timestamp) -> Vec<String> {
        let mut pages = self.pages();
        pages.ended.insert(instance.to_owned());
        let mut tasks = Vec::new();
        for (task, entry) in &mut pages.tasks {
            if entry.instance != instance {
                continue;
            }
            match &entry.process {
                Process::Pending => {
                    let reason = "CannotStartContainerError: the instance was terminated".to_owned();
                    entry.process = Process::Failed { at: now, reason };
                }
                Process::Running { since } => {
                    entry.process = Process::Exited { since: *since, at: now, code: 137, out_of_memory: false };
                }
                Process::Exited { .. } | Process::Failed { .. } => continue,
            }
            tasks.push(task.clone());
        }
        tasks
    }

    /// Whether nothing is started on this instance any more.
    pub fn instance_ended(&self, instance: &str) -> bool {
        self.pages().ended.contains(instance)
    }

    /// The folder on this machine behind a mount's host path: as the instance's user data makes it, and otherwise as Docker
    /// does, for root alone. Where this process is not root, nothing is another user's: what user data makes is everybody's
    /// then, and what it does not make nobody's to write to.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn mount_source(&self, launch: &Launch, host: &str) -> io::Result<PathBuf> {
        let mut path = self.instance_folder(&launch.instance);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        let mut inside = PathBuf::from("/");
        let parts: Vec<&OsStr> = Path::new(host).components().filter_map(normal).collect();
        for (at, part) in parts.iter().enumerate() {
            path.push(part);
            inside.push(part);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let made = launch.folders.iter().find(|folder| {
                let folder: PathBuf = Path::new(&folder.path).components().filter_map(normal).collect();
                Path::new("/").join(folder) == inside
            });
            let root = rustix::process::geteuid().is_root();
            let mode = match made {
                Some(folder) if root => folder.mode,
                Some(_) => 0o777,
                None if root || at + 1 < parts.len() => 0o755,
                None => 0o555,
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            if let (Some(folder), true) = (made, root) {
                std::os::unix::fs::chown(&path, Some(folder.owner.0), Some(folder.owner.1))?;
            }
        }
        Ok(path)
    }

    /// Moves an instance's folder out of sight at once, so that a half-done deletion is known as such. Returns where it
    /// is now, or `None` if it had none.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn set_aside(&self, instance: &str) -> io::Result<Option<PathBuf>> {
        let aside = self.folder.join("instances").join(format!("{GONE}{}", plain(instance)));
        match fs::rename(self.instance_folder(instance), &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(aside.exists().then_some(aside)),
            Err(error) => Err(error),
        }
    }

    /// Lets go of a task that has ended, in memory and on disk; of one that has not it keeps all.
    pub fn forget(&self, task: &str) {
        let folder = self.task_folder(task);
        if !folder.join("exit.json").exists() {
            return;
        }
        self.pages().tasks.remove(task);
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(%error, task, "what is kept of a task could not be removed");
        }
    }

    /// What is here and is none of these. Of a task that has ended nothing is kept; one that has not is told, as is an
    /// instance.
    pub fn strangers(&self, tasks: &BTreeSet<String>, instances: &BTreeSet<String>) -> Strangers {
        let mut strangers = Strangers::default();
        for task in names(&self.folder.join("tasks")).filter(|task| !tasks.contains(task)) {
            let folder = self.task_folder(&task);
            match read_json::<Launch>(&folder.join("launch.json")) {
                Some(launch) if !folder.join("exit.json").exists() => {
                    if !instances.contains(&launch.instance) {
                        strangers.instances.insert(launch.instance);
                    }
                    strangers.tasks.push(task);
                }
                Some(_) => self.forget(&task),
                // It was never entered whole, so nothing of it was started.
                None => drop(fs::remove_dir_all(folder)),
            }
        }
        let folders = names(&self.folder.join("instances")).filter(|name| !name.starts_with(GONE));
        strangers.instances.extend(folders.filter(|instance| !instances.contains(instance)));
        strangers
    }

    /// Instances whose deletion an earlier process did not finish.
    pub fn half_deleted(&self) -> Vec<String> {
        names(&self.folder.join("instances")).filter_map(|name| name.strip_prefix(GONE).map(str::to_owned)).collect()
    }

    fn load(&self, task: &str) -> Option<()> {
        let folder = self.task_folder(task);
        let launch: Launch = read_json(&folder.join("launch.json"))?;
        let process: Process = read_json(&folder.join("exit.json"))?;
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        let log = log.split_terminator('\n').filter_map(parse_line).collect();
        let entry = Entry { instance: launch.instance, process, log, stop: false };
        self.pages().tasks.entry(task.to_owned()).or_insert(entry);
        Some(())
    }

    // A thread that panicked while it held the lock left whole values behind: every change here is one assignment.
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(instance: &str, process: Process) -> Self {
        Self { instance: instance.to_owned(), process, log: Vec::new(), stop: false }
    }
}

const GONE: &str = ".gone-";

/// What runs here, or is here, without an account that knows it.
#[derive(Debug, Default, PartialEq)]
pub struct Strangers {
    /// Tasks that have not ended.
    pub tasks: Vec<String>,
    /// Instances with a folder or with such tasks.
    pub instances: BTreeSet<String>,
}

fn normal(part: Component<'_>) -> Option<&OsStr> {
    match part {
        Component::Normal(part) => Some(part),
        _ => None,
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

// Ids are ours, but they come over the wire once more: no part of one may lead out of its folder.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

/// A log line as it is written to a file.
pub fn stamped(at: Timestamp, line: &str) -> String {
    format!("{at} {line}\n")
}

/// A log line as it was written: a time, a space, the line. Anything else is no line of a log.
pub fn parse_line(text: &str) -> Option<Line> {
    let (at, line) = text.split_once(' ').unwrap_or((text, ""));
    let at: Timestamp = at.parse().ok()?;
    Some((at, line.to_owned()))
}

/// Writes a file whole, for us alone, or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Writes a value as JSON, whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_file(path, &serde_json::to_vec_pretty(value)?)
}

/// Reads a JSON file; `None` if it is not there or not whole.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Folder;

    fn launch() -> Launch {
        Launch {
            task: "0a".into(),
            instance: "i-1".into(),
            image: "a/b:1".into(),
            entry_point: None,
            command: None,
            environment: BTreeMap::new(),
            user: None,
            working_dir: None,
            mounts: Vec::new(),
            folders: vec![
                Folder { path: "/lib/data".into(), owner: (1000, 1000), mode: 0o755 },
                Folder { path: "/all/".into(), owner: (0, 0), mode: 0o777 },
            ],
            memory_mib: 64,
            more: Default::default(),
        }
    }

    #[test]
    fn an_end_outlives_the_process_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let book = Book::open(folder.path()).unwrap();
        assert!(book.enter(&launch(), at).unwrap());
        assert!(!book.enter(&launch(), at).unwrap(), "a task is entered once");
        assert_eq!(Book::open(folder.path()).unwrap().unfinished(), [launch()]);
        book.running("0a", at);
        book.write_line("0a", (at, "a line  with spaces".into()));
        let ended = Process::Exited { since: at, at, code: 3, out_of_memory: false };
        book.end("0a", ended.clone()).unwrap();
        book.end("0a", Process::Failed { at, reason: "too late".into() }).unwrap();

        let again = Book::open(folder.path()).unwrap();
        assert!(again.unfinished().is_empty());
        assert_eq!(again.process("0a"), Some(ended));
        assert_eq!(again.log("0a"), [(at, "a line  with spaces".to_owned())]);
        assert_eq!(again.log_ends("0a"), Some((at, at)));
        assert_eq!((again.process("0b"), again.log_ends("0b")), (None, None));
    }

    #[test]
    fn what_no_account_knows_is_told_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let book = Book::open(folder.path()).unwrap();
        for (task, instance) in [("known", "i-1"), ("ended", "i-1"), ("lost", "i-1"), ("alone", "i-2")] {
            let launch = Launch { task: task.into(), instance: instance.into(), ..launch() };
            assert!(book.enter(&launch, at).unwrap());
        }
        book.end("ended", Process::Failed { at, reason: "x".into() }).unwrap();
        for instance in ["i-1", "i-3"] {
            book.mount_source(&Launch { instance: instance.into(), ..launch() }, "/data").unwrap();
        }
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut strangers = book.strangers(&set(&["known"]), &set(&["i-1"]));
        strangers.tasks.sort();
        assert_eq!(
            strangers,
            Strangers { tasks: vec!["alone".into(), "lost".into()], instances: set(&["i-2", "i-3"]) }
        );
        assert!(!book.task_folder("ended").exists() && book.process("ended").is_none());
        book.forget("known");
        assert!(book.task_folder("known").exists(), "it has not ended");
    }

    #[test]
    fn mounts_stay_inside_the_instance() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::open(folder.path()).unwrap();
        let source = book.mount_source(&launch(), "/../lib/data").unwrap();
        assert_eq!(source, book.instance_folder("i-1").join("lib/data"));
        let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o777 };
        assert_eq!(fs::metadata(&source).unwrap().permissions().mode() & 0o777, mode);
        assert!(book.set_aside("i-1").unwrap().is_some());
        assert_eq!(book.half_deleted(), ["i-1"]);
    }

    #[test]
    fn nothing_starts_on_an_instance_that_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let book = Book::open(folder.path()).unwrap();
        assert!(book.end_instance("i-1", at).is_empty());
        book.enter(&launch(), at).unwrap();
        assert!(matches!(book.process("0a"), Some(Process::Failed { .. })));
        assert!(book.stop_asked("0a"));
    }
}
