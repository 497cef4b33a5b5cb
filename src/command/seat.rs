//! The place from which one sample's run is driven on this machine: an id in a file that is locked meanwhile. Whoever gets
//! the lock knows that the last one with this id is dead, and need not wait for its lease to run out.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

pub(super) struct Seat {
    pub(super) id: String,
    _locked: File,
}

impl Seat {
    /// None when another process sits there, or the file cannot be used: then the lease alone decides.
    pub(super) fn take(state_dir: &Path, sample: &str) -> Option<Self> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(file(state_dir, sample));
        let mut file = open.ok()?;
        file.try_lock().ok()?;
        if let Some(id) = id(&mut file) {
            return Some(Self { id, _locked: file });
        }
        // New, torn by a kill, or not ours: a fresh id, and then the lease of whoever was here before has to run out.
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).ok()?;
        let id = hex::encode(bytes);
        file.set_len(0).ok()?;
        file.rewind().ok()?;
        file.write_all(id.as_bytes()).and_then(|()| file.sync_all()).ok()?;
        Some(Self { id, _locked: file })
    }
}

/// Whether this holder of a lease was a process of this machine that is no more.
pub(super) fn is_dead(state_dir: &Path, sample: &str, holder: &str) -> bool {
    let Ok(mut file) = File::open(file(state_dir, sample)) else { return false };
    id(&mut file).is_some_and(|id| id == holder) && file.try_lock_shared().is_ok()
}

fn file(state_dir: &Path, sample: &str) -> PathBuf {
    state_dir.join(format!("run-{sample}.holder"))
}

fn id(file: &mut File) -> Option<String> {
    let mut found = String::new();
    file.read_to_string(&mut found).ok()?;
    let is_id = found.len() == 32 && found.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(found)
}
