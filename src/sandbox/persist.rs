//! The account on disk: one JSON file, replaced whole.
//!
//! A file that cannot be read as an account is set aside, never overwritten.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::Account;
use super::service::Options;

/// Changes whenever an older sandbox could not read what a newer one keeps, or the other way round.
pub const SCHEMA: u32 = 2;

const FILE: &str = "account.json";

#[derive(Serialize)]
struct Kept<'a> {
    schema: u32,
    account: &'a Account,
}

#[derive(Deserialize)]
struct Found {
    schema: u32,
    account: Account,
}

/// Where an account is kept, and what was last written there.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    last: Option<[u8; 32]>,
}

impl Keeper {
    /// Opens the folder and loads the account in it, if there is one; also says what had to be set aside.
    ///
    /// # Errors
    /// Where the folder cannot be made or read.
    pub fn open(folder: &Path, options: &Options) -> io::Result<(Self, Account, Option<String>)> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let mut keeper = Self { folder: folder.to_owned(), last: None };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((keeper, Account::new(options), None));
            }
            Err(error) => return Err(error),
        };
        let why = match serde_json::from_slice::<Found>(&text) {
            Ok(found) if found.schema != SCHEMA => format!("its schema is {}, not {SCHEMA}", found.schema),
            Ok(found) if found.account.id != options.account || found.account.region != options.region => {
                format!("it is of account {} in {}", found.account.id, found.account.region)
            }
            Ok(found) => {
                keeper.last = Some(Sha256::digest(&text).into());
                return Ok((keeper, found.account, None));
            }
            Err(error) => error.to_string(),
        };
        let aside = free_name(folder);
        fs::rename(&path, &aside)?;
        let message = format!("{FILE} was set aside as {}: {why}", aside.display());
        Ok((keeper, Account::new(options), Some(message)))
    }

    /// Writes the account if it has changed since it was last written.
    ///
    /// # Errors
    /// Where it cannot be written; what was there before is still there.
    pub fn keep(&mut self, account: &Account) -> io::Result<()> {
        let text = serde_json::to_vec(&Kept { schema: SCHEMA, account })?;
        let digest: [u8; 32] = Sha256::digest(&text).into();
        if self.last == Some(digest) {
            return Ok(());
        }
        // The file holds tasks' credentials; a temporary file is made readable for its owner only.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(FILE)).map_err(|failed| failed.error)?;
        File::open(&self.folder)?.sync_all()?;
        self.last = Some(digest);
        Ok(())
    }
}

fn free_name(folder: &Path) -> PathBuf {
    let mut n = 0_u32;
    loop {
        let path = folder.join(format!("{FILE}.set-aside.{n}"));
        if !path.exists() {
            return path;
        }
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let (mut keeper, mut account, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert!(aside.is_none());
        account.iam.serial = 7;
        keeper.keep(&account).unwrap();
        let (_, again, _) = Keeper::open(folder.path(), &options).unwrap();
        assert_eq!(again.iam.serial, 7);

        let text = fs::read(folder.path().join(FILE)).unwrap();
        fs::write(folder.path().join(FILE), &text[..text.len() / 2]).unwrap();
        let (_, empty, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert_eq!(empty.iam.serial, 0);
        assert!(aside.unwrap().contains("set-aside.0"));
        assert!(folder.path().join("account.json.set-aside.0").exists());
    }
}
