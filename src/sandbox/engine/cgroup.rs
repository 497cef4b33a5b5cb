//! A memory limit around a process and what it starts, by a control group of its own (version 1 or 2).
//!
//! It needs root, or a machine that lets us make control groups; where it cannot be had, that is said, not hidden.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// A control group with a hard memory limit.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    version: u8,
}

impl Cgroup {
    /// Makes the group `name`, or takes over what is left of one, with a limit in bytes.
    ///
    /// # Errors
    ///
    /// When no group can be made here.
    pub fn make(name: &str, limit_bytes: u64) -> io::Result<Self> {
        Self::make_in(Path::new("/sys/fs/cgroup"), name, limit_bytes)
    }

    fn make_in(top: &Path, name: &str, limit_bytes: u64) -> io::Result<Self> {
        let limit = limit_bytes.to_string();
        if top.join("memory/memory.limit_in_bytes").exists() {
            let group = Self { folder: top.join("memory").join(format!("seqstack-{name}")), version: 1 };
            group.create()?;
            fs::write(group.folder.join("memory.limit_in_bytes"), &limit)?;
            // Not there when swap is not accounted for; then there is none to limit, or the machine's owner chose so.
            let swap = group.folder.join("memory.memsw.limit_in_bytes");
            if swap.exists() {
                fs::write(swap, &limit)?;
            }
            return Ok(group);
        }
        let offered = fs::read_to_string(top.join("cgroup.controllers"))?;
        if !offered.split_whitespace().any(|controller| controller == "memory") {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no memory controller"));
        }
        let passed_on = fs::read_to_string(top.join("cgroup.subtree_control"))?;
        if !passed_on.split_whitespace().any(|controller| controller == "memory") {
            fs::write(top.join("cgroup.subtree_control"), "+memory")?;
        }
        let group = Self { folder: top.join(format!("seqstack-{name}")), version: 2 };
        group.create()?;
        fs::write(group.folder.join("memory.max"), &limit)?;
        let swap = group.folder.join("memory.swap.max");
        if swap.exists() {
            fs::write(swap, "0")?;
        }
        Ok(group)
    }

    fn create(&self) -> io::Result<()> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove();
                fs::create_dir(&self.folder)
            }
            made => made,
        }
    }

    /// The file into which a process writes its number to enter the group.
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Whether the kernel has killed something in it for its memory. The count is exact: it is not derived from an exit
    /// code, which a program can mask.
    pub fn out_of_memory(&self) -> bool {
        let file = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        fs::read_to_string(self.folder.join(file)).is_ok_and(|text| kills(&text) > 0)
    }

    /// Removes the group, once its last process is gone.
    pub fn remove(&self) {
        // The kernel takes a moment to forget the processes of a group after they were waited for.
        for _ in 0..50 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
        tracing::warn!(folder = %self.folder.display(), "a control group could not be removed");
    }
}

fn kills(text: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("oom_kill ").and_then(|count| count.trim().parse().ok());
    text.lines().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_either_version() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }

    #[test]
    fn a_machine_without_the_controller_is_refused() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("cgroup.controllers"), "cpu io\n").unwrap();
        assert!(Cgroup::make_in(top.path(), "a", 1 << 20).is_err());
    }

    #[test]
    fn version_two_is_limited_without_swap() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        std::fs::write(top.path().join("cgroup.subtree_control"), "memory\n").unwrap();
        let group = Cgroup::make_in(top.path(), "a", 1 << 20).unwrap();
        assert_eq!(std::fs::read_to_string(top.path().join("seqstack-a/memory.max")).unwrap(), "1048576");
        assert!(!group.out_of_memory());
    }
}
