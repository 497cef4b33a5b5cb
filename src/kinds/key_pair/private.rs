//! Private keys on this machine: made once, written whole or not at all, never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ssh_key::{Algorithm, LineEnding, PrivateKey};

/// A key that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system's.
    #[error("the private key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no OpenSSH private key, or none could be made.
    #[error("the private key {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ssh_key::Error,
    },
    /// The making itself failed.
    #[error("the making of a key pair ended early")]
    Stopped,
}

/// The public half of the key `name` in this folder, which is made if there is none.
///
/// # Errors
/// When the file cannot be written or read.
pub async fn made(folder: &Path, name: &str) -> Result<String, KeyError> {
    let (folder, name) = (folder.to_owned(), name.to_owned());
    tokio::task::spawn_blocking(move || make(&folder, &name)).await.map_err(|_| KeyError::Stopped)?
}

/// The public half (`ssh-ed25519 AAAA…`, no comment) of a private key file; `None` if there is no such file.
///
/// # Errors
/// When it cannot be read, or is no private key.
pub fn public_half(path: &Path) -> Result<Option<String>, KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyError::File { path: path.to_owned(), source }),
    };
    let wrong = |source| KeyError::Key { path: path.to_owned(), source };
    let key = PrivateKey::from_openssh(text).map_err(wrong)?;
    let line = key.public_key().to_openssh().map_err(wrong)?;
    Ok(Some(super::without_comment(&line)))
}

fn make(folder: &Path, name: &str) -> Result<String, KeyError> {
    let path = folder.join(name);
    let io = |source| KeyError::File { path: path.clone(), source };
    if let Some(there) = public_half(&path)? {
        return Ok(there);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let key = |source| KeyError::Key { path: path.clone(), source };
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|error| io(io::Error::other(error.to_string())))?;
    let made = PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&seed));
    debug_assert_eq!(made.algorithm(), Algorithm::Ed25519);
    let text = made.to_openssh(LineEnding::LF).map_err(key)?;

    // Whole and synced under another name first: a kill in between leaves no half a key under the real one.
    let draft =
        folder.join(format!(".{name}.{}", hex::encode(&made.fingerprint(ssh_key::HashAlg::Sha256).as_bytes()[..8])));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        // Half a key that nobody has used: the full disk is what matters.
        let _left_over = fs::remove_file(&draft);
        return Err(io(error));
    }
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    match linked {
        // Another process of ours was quicker: its key counts.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    public_half(&path)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// Moves a key out of the way, never over another, and says where it is now.
///
/// # Errors
/// The file system's.
pub async fn set_aside(folder: &Path, name: &str) -> Result<PathBuf, KeyError> {
    let path = folder.join(name);
    let moved = tokio::task::spawn_blocking(move || {
        let io = |source| KeyError::File { path: path.clone(), source };
        let mut free =
            (1..).map(|n| path.with_file_name(format!("{}.aside-{n}", path.file_name().unwrap_or_default().display())));
        let Some(aside) = free.find(|aside| !aside.exists()) else {
            return Err(io(io::ErrorKind::AlreadyExists.into()));
        };
        fs::hard_link(&path, &aside).and_then(|()| fs::remove_file(&path)).map_err(io)?;
        Ok(aside)
    });
    moved.await.map_err(|_| KeyError::Stopped)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_is_made_once_kept_private_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("keys");
        let first = made(&folder, "ecs").await.unwrap();
        assert!(first.starts_with("ssh-ed25519 AAAA"));
        assert_eq!(made(&folder, "ecs").await.unwrap(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("ecs"))), (0o700, 0o600));
        let aside = set_aside(&folder, "ecs").await.unwrap();
        assert_eq!(public_half(&aside).unwrap().unwrap(), first);
        assert_ne!(made(&folder, "ecs").await.unwrap(), first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::write(folder.join("ecs"), "no key").unwrap();
        assert!(made(&folder, "ecs").await.is_err());
    }
}
