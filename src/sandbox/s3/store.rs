//! Objects' content: numbered files in a folder, or bytes in memory.
//!
//! Content is staged before the account is locked, and gets its number under the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use tempfile::NamedTempFile;

use super::super::service::ApiError;
use super::State;

/// Where content is.
#[derive(Debug)]
pub struct Store(Place);

#[derive(Debug)]
enum Place {
    Memory(Mutex<BTreeMap<u64, Bytes>>),
    Folder(PathBuf),
}

/// Content without a number yet; it goes when this is dropped.
#[derive(Debug)]
pub struct Staged {
    content: StagedContent,
    size: u64,
    md5: String,
}

#[derive(Debug)]
enum StagedContent {
    Bytes(Bytes),
    File(NamedTempFile),
}

impl Staged {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// MD5 in hexadecimal.
    pub fn md5(&self) -> String {
        self.md5.clone()
    }
}

/// Content that can be read even when its object is replaced meanwhile.
#[derive(Debug)]
pub struct Opened {
    content: OpenedContent,
    size: u64,
}

#[derive(Debug)]
enum OpenedContent {
    Bytes(Bytes),
    File(File),
}

impl Opened {
    /// Reads all of it, or from one byte to another, both included.
    ///
    /// # Errors
    /// `InternalError` where it cannot be read.
    pub fn read(&self, range: Option<(u64, u64)>) -> Result<Bytes, ApiError> {
        let (from, length) = range.map_or((0, self.size), |(from, to)| (from, to + 1 - from));
        match &self.content {
            OpenedContent::Bytes(bytes) => {
                let (from, length) = (index(from)?, index(length)?);
                Ok(bytes.slice(from..from + length))
            }
            OpenedContent::File(file) => {
                let mut file = file;
                let mut buffer = BytesMut::zeroed(index(length)?);
                file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut buffer)).map_err(internal)?;
                Ok(buffer.freeze())
            }
        }
    }
}

fn index(n: u64) -> Result<usize, ApiError> {
    usize::try_from(n).map_err(|_| ApiError::new("InternalError", "too large for this machine").status(500))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn internal(error: io::Error) -> ApiError {
    ApiError::new("InternalError", format!("content in the sandbox: {error}")).status(500)
}

impl Store {
    /// Content in memory.
    pub fn memory() -> Self {
        Self(Place::Memory(Mutex::default()))
    }

    /// The same content in memory, where it is there.
    pub(crate) fn copied(&self) -> Option<Self> {
        let Place::Memory(content) = &self.0 else { return None };
        let content = content.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Self(Place::Memory(Mutex::new(content))))
    }

    /// Content in a folder, made if need be.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn folder(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self(Place::Folder(folder)))
    }

    /// Whether nothing of it is on disk.
    pub fn is_memory(&self) -> bool {
        matches!(self.0, Place::Memory(_))
    }

    /// Stages content.
    ///
    /// # Errors
    /// `InternalError` where it cannot be written.
    pub fn stage(&self, content: &Bytes) -> Result<Staged, ApiError> {
        let md5 = hex::encode(Md5::digest(content));
        let size = content.len() as u64;
        let content = match &self.0 {
            Place::Memory(_) => StagedContent::Bytes(content.clone()),
            Place::Folder(folder) => {
                let mut file = NamedTempFile::new_in(folder).map_err(internal)?;
                file.write_all(content).map_err(internal)?;
                StagedContent::File(file)
            }
        };
        Ok(Staged { content, size, md5 })
    }

    /// Numbers staged content.
    ///
    /// # Errors
    /// `InternalError` where it cannot be moved into place.
    pub fn commit(&self, staged: Staged, blob: u64) -> Result<(), ApiError> {
        match (&self.0, staged.content) {
            (Place::Memory(_), StagedContent::Bytes(bytes)) => {
                self.memory_of(|all| all.insert(blob, bytes));
                Ok(())
            }
            (Place::Folder(folder), StagedContent::File(file)) => {
                file.persist(folder.join(blob.to_string())).map_err(|failed| internal(failed.error))?;
                Ok(())
            }
            _ => Err(ApiError::new("InternalError", "content was staged in another store").status(500)),
        }
    }

    /// Opens content.
    ///
    /// # Errors
    /// `InternalError` where it is not there.
    pub fn open(&self, blob: u64, size: u64) -> Result<Opened, ApiError> {
        let lost = || ApiError::new("InternalError", format!("content {blob} is lost")).status(500);
        let content = match &self.0 {
            Place::Memory(_) => {
                OpenedContent::Bytes(self.memory_of(|all| all.get(&blob).cloned()).flatten().ok_or_else(lost)?)
            }
            Place::Folder(folder) => OpenedContent::File(File::open(folder.join(blob.to_string())).map_err(internal)?),
        };
        Ok(Opened { content, size })
    }

    /// Stages several contents one after another as one.
    ///
    /// # Errors
    /// `InternalError` where they cannot be read or written.
    pub fn join(&self, blobs: &[(u64, u64)]) -> Result<Staged, ApiError> {
        let size = blobs.iter().map(|(_, size)| size).sum();
        let content = match &self.0 {
            Place::Memory(_) => {
                let mut all = BytesMut::new();
                for (blob, size) in blobs {
                    all.extend_from_slice(&self.open(*blob, *size)?.read(None)?);
                }
                StagedContent::Bytes(all.freeze())
            }
            Place::Folder(folder) => {
                let mut file = NamedTempFile::new_in(folder).map_err(internal)?;
                for (blob, _) in blobs {
                    let mut part = File::open(folder.join(blob.to_string())).map_err(internal)?;
                    io::copy(&mut part, &mut file).map_err(internal)?;
                }
                StagedContent::File(file)
            }
        };
        // The MD5 of the whole is nobody's ETag: a multipart object's comes from its parts.
        Ok(Staged { content, size, md5: String::new() })
    }

    /// Removes content; what is not there any more is removed.
    pub fn remove(&self, blob: u64) {
        match &self.0 {
            Place::Memory(_) => {
                self.memory_of(|all| all.remove(&blob));
            }
            Place::Folder(folder) => {
                if let Err(error) = fs::remove_file(folder.join(blob.to_string())) {
                    tracing::warn!("content {blob} of the sandbox cannot be removed: {error}");
                }
            }
        }
    }

    /// Removes content that a crash has left without an object.
    pub fn sweep(&self, state: &State) {
        let Place::Folder(folder) = &self.0 else { return };
        let known: BTreeSet<String> = state.blobs().map(|blob| blob.to_string()).collect();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !known.contains(entry.file_name().to_string_lossy().as_ref())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("{} cannot be removed: {error}", entry.path().display());
            }
        }
    }

    fn memory_of<T>(&self, f: impl FnOnce(&mut BTreeMap<u64, Bytes>) -> T) -> Option<T> {
        let Place::Memory(all) = &self.0 else { return None };
        let mut all: MutexGuard<'_, _> = all.lock().unwrap_or_else(PoisonError::into_inner);
        Some(f(&mut all))
    }
}
