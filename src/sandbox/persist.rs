//! The account on disk: one JSON file, replaced whole.
//!
//! A file that cannot be read as an account is set aside, never overwritten.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::Account;
use super::engine::book::write_file;
use super::service::Options;

/// Changes whenever an older sandbox could not read what a newer one keeps, or the other way round.
pub const SCHEMA: u32 = 2;

const FILE: &str = "account.json";
/// The folder beside it with the objects' content.
const CONTENT: &str = "objects";

#[derive(Serialize)]
struct Kept<'a> {
    schema: u32,
    account: &'a Account,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

#[derive(Deserialize)]
struct Found {
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
        // Of another schema nothing else need be readable.
        let found = match serde_json::from_slice::<Schema>(&text) {
            Ok(Schema { schema: SCHEMA }) => serde_json::from_slice::<Found>(&text).map_err(|error| error.to_string()),
            Ok(Schema { schema }) => Err(format!("its schema is {schema}, not {SCHEMA}")),
            Err(error) => Err(error.to_string()),
        };
        let why = match found {
            Ok(found) if found.account.id != options.account || found.account.region != options.region => {
                format!("it is of account {} in {}", found.account.id, found.account.region)
            }
            Ok(found) => {
                keeper.last = Some(Sha256::digest(&text).into());
                return Ok((keeper, found.account, None));
            }
            Err(why) => why,
        };
        let aside = free_name(folder);
        // The content first: without its account a sweep would take it for a crash's leavings.
        let content = folder.join(CONTENT);
        if content.exists() {
            fs::rename(content, name_aside(folder, CONTENT, aside))?;
        }
        let aside = name_aside(folder, FILE, aside);
        fs::rename(&path, &aside)?;
        let message = format!("{FILE} was set aside as {}: {why}", aside.display());
        Ok((keeper, Account::new(options), Some(message)))
    }

    /// The folder with the objects' content.
    pub fn content(&self) -> PathBuf {
        self.folder.join(CONTENT)
    }

    /// Whether an account lies aside, whose tasks and instances may still be in the folder.
    pub fn has_aside(&self) -> bool {
        free_name(&self.folder) > 0
    }

    /// Removes what was set aside.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove_aside(&self) -> io::Result<()> {
        for n in (0..free_name(&self.folder)).rev() {
            let content = name_aside(&self.folder, CONTENT, n);
            if content.exists() {
                fs::remove_dir_all(content)?;
            }
            fs::remove_file(name_aside(&self.folder, FILE, n))?;
        }
        Ok(())
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
        // Under one name, for its owner only (it holds tasks' credentials): a kill leaves no more than that behind.
        write_file(&self.folder.join(FILE), &text)?;
        File::open(&self.folder)?.sync_all()?;
        self.last = Some(digest);
        Ok(())
    }
}

// The first number under which nothing lies aside.
fn free_name(folder: &Path) -> u32 {
    (0..).find(|n| !name_aside(folder, FILE, *n).exists()).unwrap_or_default()
}

fn name_aside(folder: &Path, name: &str, n: u32) -> PathBuf {
    folder.join(format!("{name}.set-aside.{n}"))
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

    #[test]
    fn an_account_of_another_schema_is_set_aside_with_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        for (n, schema) in [(0, SCHEMA - 1), (1, SCHEMA + 1)] {
            let text = format!("{{\"schema\": {schema}, \"account\": \"nothing that we know\"}}");
            fs::write(folder.path().join(FILE), &text).unwrap();
            fs::create_dir(folder.path().join(CONTENT)).unwrap();
            fs::write(folder.path().join(CONTENT).join("1"), "ACGT").unwrap();
            let (mut keeper, account, aside) = Keeper::open(folder.path(), &options).unwrap();
            assert!(aside.unwrap().ends_with(&format!("set-aside.{n}: its schema is {schema}, not {SCHEMA}")));
            keeper.keep(&account).unwrap();
            assert_eq!(fs::read_to_string(name_aside(folder.path(), FILE, n)).unwrap(), text);
            assert_eq!(fs::read(name_aside(folder.path(), CONTENT, n).join("1")).unwrap(), b"ACGT");
            assert!(keeper.has_aside() && !keeper.content().exists());
        }
        let (keeper, _, _) = Keeper::open(folder.path(), &options).unwrap();
        keeper.remove_aside().unwrap();
        assert!(!keeper.has_aside() && !name_aside(folder.path(), CONTENT, 0).exists());
    }
}
