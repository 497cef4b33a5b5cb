//! What runs tasks: containers, bubblewrap, or nothing at all.

pub mod book;
pub mod bubblewrap;
pub mod cgroup;
pub mod container;
pub mod detect;
pub mod fake;
pub mod lines;
pub mod podman;
pub mod programs;
pub mod relay;
pub mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A container of a task, ready to be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The name that the engine knows it by: the task's id (the last part of its ARN) for the task's first container, the id
    /// with `-1`, `-2`, … for the others.
    pub task: String,
    /// The instance that it was placed on; its folder holds what host mounts name.
    pub instance: String,
    /// The image as the task definition writes it.
    pub image: String,
    /// Overrides the image's entry point.
    pub entry_point: Option<Vec<String>>,
    /// Overrides the image's command.
    pub command: Option<Vec<String>>,
    /// The environment, credentials' address and endpoint included.
    pub environment: BTreeMap<String, String>,
    /// `uid`, `uid:gid` or a name.
    pub user: Option<String>,
    /// The working folder.
    pub working_dir: Option<String>,
    /// Host path (inside the instance's folder), container path, read-only.
    pub mounts: Vec<(String, String, bool)>,
    /// Folders that the instance's user data has made; every other one is root's (0755), as Docker makes it.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// The container's hard limit, MiB.
    pub memory_mib: u64,
    /// What else is asked of the engine.
    #[serde(default)]
    pub more: More,
}

/// What a container asks for beside the ordinary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct More {
    /// Whether it has every capability.
    pub privileged: bool,
    /// Limits of its processes: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// MiB of `/dev/shm`.
    pub shared_memory_mib: Option<i64>,
    /// Folders in memory, with their sizes in MiB.
    pub tmpfs: Vec<(String, i64)>,
    /// Whether a small `init` is its first process.
    pub init: bool,
}

/// A folder of an instance as user data makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Its path on the instance.
    pub path: String,
    /// Whose it is: user and group.
    pub owner: (u32, u32),
    /// Its mode, e.g. `0o755`.
    pub mode: u32,
}

/// Where a task's process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// Not started yet: the image is being looked for, the container made.
    Pending,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It ended by itself or was stopped.
    Exited {
        /// Since when it ran.
        since: Timestamp,
        /// When it ended.
        at: Timestamp,
        /// Its exit code (128 + n after signal n).
        code: i32,
        /// The kernel killed it for its memory.
        out_of_memory: bool,
    },
    /// It never ran; the reason as ECS words it, e.g. `CannotPullContainerError: …`.
    Failed {
        /// When that was known.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// Runs tasks. Calls return at once; what takes time happens behind them.
pub trait Engine: Send + Sync + fmt::Debug {
    /// What it is, e.g. `docker`, for the record.
    fn name(&self) -> &str;
    /// Starts a task's process.
    fn start(&self, launch: &Launch, now: Timestamp);
    /// Where the process of this task is; `None` if there was never one.
    fn process(&self, task: &str, now: Timestamp) -> Option<Process>;
    /// What it has written so far (stdout and stderr together), in the order of time: the events that the awslogs driver
    /// would send.
    fn log(&self, task: &str, now: Timestamp) -> Vec<(Timestamp, String)>;
    /// The times of the first and the last event of its log so far.
    fn log_ends(&self, task: &str, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let log = self.log(task, now);
        Some((log.first()?.0, log.last()?.0))
    }
    /// Stops it: SIGTERM, then SIGKILL after 30 s.
    fn stop(&self, task: &str, now: Timestamp);
    /// The instance was terminated: its processes and its folder go at once.
    fn end_instance(&self, instance: &str, now: Timestamp);
    /// The account does not know this task any more: what is kept of it goes, once it has ended.
    fn forget(&self, _task: &str) {}
    /// The account knows these tasks and instances and no others: what else an earlier process left is ended, or goes
    /// where it has ended.
    fn keep_only(&self, _tasks: &BTreeSet<String>, _instances: &BTreeSet<String>, _now: Timestamp) {}
}
