//! The place from which one sample's run is driven on this machine: an id in a file that is locked meanwhile. Whoever gets
//! the lock knows that the last one with this id is dead, and need not wait for its lease to run out.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

pub(super) struct Seat {
    pub(super) id: String,
    locked: File,
}

impl Drop for Seat {
    /// Closing the file is not enough: a child that is just being started shares the lock until it is another program.
    fn drop(&mut self) {
        // Then closing it, or the end of this process, frees it.
        let _freed = self.locked.unlock();
    }
}

impl Seat {
    /// None when another process sits there, or the file cannot be used: then the lease alone decides.
    pub(super) fn take(state_dir: &Path, sample: &str) -> Option<Self> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(file(state_dir, sample));
        let mut file = open.ok()?;
        file.try_lock().ok()?;
        if let Some(id) = id(&mut file) {
            return Some(Self { id, locked: file });
        }
        // New, torn by a kill, or not ours: a fresh id, and then the lease of whoever was here before has to run out.
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).ok()?;
        let id = hex::encode(bytes);
        file.set_len(0).ok()?;
        file.rewind().ok()?;
        write!(file, "{id}\n{}", machine()).and_then(|()| file.sync_all()).ok()?;
        Some(Self { id, locked: file })
    }
}

/// Whether this holder of a lease was a process of this machine that is no more.
pub(super) fn is_dead(state_dir: &Path, sample: &str, holder: &str) -> bool {
    let Ok(mut file) = File::open(file(state_dir, sample)) else { return false };
    id(&mut file).is_some_and(|id| id == holder) && file.try_lock_shared().is_ok_and(|()| file.unlock().is_ok())
}

fn file(state_dir: &Path, sample: &str) -> PathBuf {
    state_dir.join(format!("run-{sample}.holder"))
}

fn id(file: &mut File) -> Option<String> {
    let mut found = String::new();
    file.read_to_string(&mut found).ok()?;
    let (id, of) = found.split_once('\n')?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && of == machine()).then(|| id.to_owned())
}

/// What this machine is called: a file that was copied, or that several share, is not of this one. Locks need not be either.
fn machine() -> String {
    let names = ["/etc/machine-id", "/proc/sys/kernel/hostname"].map(|path| std::fs::read_to_string(path).ok());
    names.map(|name| name.unwrap_or_default().trim().to_owned()).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sat_here_is_dead_and_who_sat_on_another_machine_may_not_be() {
        let folder = tempfile::tempdir().unwrap();
        let first = Seat::take(folder.path(), "s1").unwrap().id.clone();
        assert!(is_dead(folder.path(), "s1", &first));
        let again = Seat::take(folder.path(), "s1").unwrap();
        assert_eq!(again.id, first);
        assert!(!is_dead(folder.path(), "s1", &first));
        // What a child has that is just being started.
        let shared = again.locked.try_clone().unwrap();
        drop(again);
        assert!(is_dead(folder.path(), "s1", &first));
        drop(shared);
        // The same file, copied from elsewhere.
        std::fs::write(file(folder.path(), "s1"), format!("{first}\nanother machine")).unwrap();
        assert!(!is_dead(folder.path(), "s1", &first));
        assert_ne!(Seat::take(folder.path(), "s1").unwrap().id, first);
    }
}
