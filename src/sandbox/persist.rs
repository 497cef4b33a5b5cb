//! The account on disk: a record for each thing, in an embedded database that is one file.
//!
//! The database is redb: no C library, one file, and a transaction that is durable or was not. A request hands over what it
//! changed while it still holds the account, and is answered once that is on the disk; requests that come meanwhile share
//! the next transaction. A file that cannot be read as an account is set aside, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::account::Whole;
use super::service::Options;
use super::table::{Change, One, Stored, segments};

/// Changes whenever an older sandbox could not read what a newer one keeps, or the other way round.
pub const SCHEMA: u32 = 3;

const FILE: &str = "account.redb";
/// What sandboxes of schema 2 and before kept.
const OLDER: &str = "account.json";
/// The folder beside it with the objects' content.
const CONTENT: &str = "objects";

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const ABOUT: TableDefinition<&str, u32> = TableDefinition::new("about");

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Where an account is kept.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    queue: Mutex<Queue>,
    disk: Mutex<Disk>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    changes: Vec<Change>,
    /// Contents that no object has any more, once this is written.
    garbage: Vec<u64>,
    /// How many times something was handed over.
    entered: u64,
}

#[derive(Debug)]
struct Disk {
    /// None after an error: redb has to be opened again then.
    database: Option<Database>,
    /// Up to which of the queue's entries all is durable.
    durable: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Opens the folder and loads the account in it, if there is one; also says what had to be set aside.
    ///
    /// # Errors
    /// Where the folder cannot be made or read.
    pub fn open(folder: &Path, options: &Options) -> io::Result<(Self, One<Whole>, Option<String>)> {
        fs::create_dir_all(folder)?;
        let whole = || One::new(Whole::new(options));
        let keeper = |database| Self {
            folder: folder.to_owned(),
            queue: Mutex::default(),
            disk: Mutex::new(Disk { database: Some(database), durable: 0 }),
        };
        let (file, why) = if folder.join(OLDER).exists() {
            (OLDER, "an older version of seqstack wrote it".to_owned())
        } else if !folder.join(FILE).exists() {
            return Ok((keeper(create(folder)?), whole(), None));
        } else {
            match load(folder) {
                Ok((database, found)) if found.id == options.account => return Ok((keeper(database), found, None)),
                // Nothing was kept in it yet.
                Ok((database, found)) if found.id.is_empty() => return Ok((keeper(database), whole(), None)),
                Ok((_, found)) => (FILE, format!("it is of account {}", found.id)),
                Err(Unread::Unreadable(why)) => (FILE, why),
                Err(Unread::Io(error)) => return Err(error),
            }
        };
        let aside = free_name(folder);
        // The content first: without its account a sweep would take it for a crash's leavings.
        let content = folder.join(CONTENT);
        if content.exists() {
            fs::rename(content, name_aside(folder, CONTENT, aside))?;
        }
        let aside = name_aside(folder, file, aside);
        fs::rename(folder.join(file), &aside)?;
        let message = format!("{file} was set aside as {}: {why}", aside.display());
        Ok((keeper(create(folder)?), whole(), Some(message)))
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
            for file in [OLDER, FILE].map(|file| name_aside(&self.folder, file, n)) {
                if file.exists() {
                    fs::remove_file(file)?;
                }
            }
        }
        Ok(())
    }

    /// Takes over what has changed in the account, in the order of the calls; of an account that is `new`, in the place of
    /// all that was kept. The number is for [`Keeper::settle`].
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub fn enter(&self, whole: &mut One<Whole>, new: bool) -> io::Result<u64> {
        let mut changes = Some(if new { vec![Change::Remove(Vec::new())] } else { Vec::new() });
        whole.drain(&[], &mut changes)?;
        let mut queue = lock(&self.queue);
        let changes = changes.unwrap_or_default();
        if !changes.is_empty() || !whole.s3.garbage.is_empty() {
            queue.changes.extend(changes);
            queue.garbage.append(&mut whole.s3.garbage);
            queue.entered += 1;
        }
        Ok(queue.entered)
    }

    /// Returns once all that was entered up to this number is durable; with the contents that nothing names any more.
    ///
    /// # Errors
    /// Where it cannot be written; it is tried again with the next call.
    pub fn settle(&self, number: u64) -> io::Result<Vec<u64>> {
        let mut disk = lock(&self.disk);
        if disk.durable >= number {
            return Ok(Vec::new());
        }
        let (changes, garbage, entered) = {
            let mut queue = lock(&self.queue);
            (std::mem::take(&mut queue.changes), std::mem::take(&mut queue.garbage), queue.entered)
        };
        let written = match disk.database.take().map_or_else(|| reopen(&self.folder), Ok) {
            Ok(database) => write(&database, &changes).map(|()| database),
            Err(error) => Err(error),
        };
        match written {
            Ok(database) => {
                disk.database = Some(database);
                disk.durable = entered;
                Ok(garbage)
            }
            Err(error) => {
                let mut queue = lock(&self.queue);
                queue.changes.splice(0..0, changes);
                queue.garbage.extend(garbage);
                Err(io::Error::other(error))
            }
        }
    }
}

enum Unread {
    /// It is no account, or none of ours.
    Unreadable(String),
    /// It could not be read now.
    Io(io::Error),
}

/// A new database, for its owner only: it holds tasks' credentials. It has its name once it is whole.
fn create(folder: &Path) -> io::Result<Database> {
    let unfinished = folder.join(format!("{FILE}.new"));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let made = redb::backends::FileBackend::new(file)
        .and_then(|file| Database::builder().create_with_backend(file))
        .map_err(Trouble::from)
        .and_then(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(ABOUT)?.insert("schema", SCHEMA)?;
            transaction.open_table(RECORDS)?;
            transaction.commit()?;
            Ok(database)
        });
    let database = made.map_err(io::Error::other)?;
    fs::rename(unfinished, folder.join(FILE))?;
    File::open(folder)?.sync_all()?;
    Ok(database)
}

fn reopen(folder: &Path) -> Result<Database, Trouble> {
    Ok(Database::open(folder.join(FILE))?)
}

fn load(folder: &Path) -> Result<(Database, One<Whole>), Unread> {
    let unreadable = |error: Trouble| Unread::Unreadable(error.to_string());
    let database = Database::open(folder.join(FILE)).map_err(|error| match error {
        DatabaseError::Storage(redb::StorageError::Io(error))
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Unread::Io(error)
        }
        DatabaseError::DatabaseAlreadyOpen => Unread::Io(io::Error::other("another process has it open")),
        error => unreadable(error.into()),
    })?;
    let whole = read(&database).map_err(unreadable)?;
    Ok((database, whole))
}

fn read(database: &Database) -> Result<One<Whole>, Trouble> {
    let transaction = database.begin_read()?;
    let schema = transaction.open_table(ABOUT)?.get("schema")?.map(|schema| schema.value());
    if schema != Some(SCHEMA) {
        let schema = schema.map_or_else(|| "missing".to_owned(), |schema| schema.to_string());
        return Err(format!("its schema is {schema}, not {SCHEMA}").into());
    }
    let mut whole = One::<Whole>::default();
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (path, record) = entry?;
        let segments = segments(path.value()).ok_or("a record has no path")?;
        let loaded = whole.load(&segments, record.value());
        loaded.map_err(|why| format!("{}: {why}", segments.join("/")))?;
    }
    Ok(whole)
}

fn write(database: &Database, changes: &[Change]) -> Result<(), Trouble> {
    if changes.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for change in changes {
            match change {
                Change::Put(path, record) => drop(records.insert(path.as_slice(), record.as_slice())?),
                Change::Remove(path) => {
                    // A path ends with 0 and 1, and everything below it begins with it.
                    let mut end = path.clone();
                    let beyond = if end.is_empty() { 255 } else { end.pop().map_or(255, |last| last + 1) };
                    end.push(beyond);
                    records.retain_in(path.as_slice()..end.as_slice(), |_, _| false)?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

// The first number under which nothing lies aside.
fn free_name(folder: &Path) -> u32 {
    let taken = |n: &u32| [OLDER, FILE].iter().any(|file| name_aside(folder, file, *n).exists());
    (0..).find(|n| !taken(n)).unwrap_or_default()
}

fn name_aside(folder: &Path, name: &str, n: u32) -> PathBuf {
    folder.join(format!("{name}.set-aside.{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(keeper: &Keeper, whole: &mut One<Whole>) {
        keeper.settle(keeper.enter(whole, false).unwrap()).unwrap();
    }

    #[test]
    fn what_is_kept_is_loaded_again_and_only_what_changed_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let (keeper, mut whole, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert!(aside.is_none());
        let now = jiff::Timestamp::UNIX_EPOCH;
        for name in ["a", "b\0c", "d"] {
            whole.s3.create_bucket(name, "eu-west-2", now);
            for key in 0..100 {
                let version =
                    crate::s3::state::Version { id: "null".to_owned(), number: 0, modified: now, object: None };
                let bucket = whole.s3.buckets.get_mut(name).unwrap();
                bucket.keys.insert(format!("{name}/{key}"), vec![version]);
            }
        }
        whole.at("us-east-1");
        keep(&keeper, &mut whole);
        assert_eq!(keeper.enter(&mut whole, false).unwrap(), 1, "nothing has changed");
        whole.s3.buckets.get_mut("a").unwrap().keys.remove("a/7");
        whole.s3.buckets.remove("d");
        let mut changes = Some(Vec::new());
        whole.clone().drain(&[], &mut changes).unwrap();
        assert_eq!(changes.unwrap().len(), 2);
        keep(&keeper, &mut whole);
        drop(keeper);
        let (_, mut again, _) = Keeper::open(folder.path(), &options).unwrap();
        assert_eq!(again.json().unwrap(), whole.json().unwrap());
        assert_eq!(again.s3.buckets.get("b\0c").unwrap().keys.len(), 100);
        assert_eq!(again.s3.buckets.get("a").unwrap().keys.len(), 99);
    }

    #[test]
    fn an_account_in_which_nothing_was_kept_yet_is_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        // A kill while it was made.
        fs::write(folder.path().join("account.redb.new"), "half").unwrap();
        for _ in 0..2 {
            let (_, whole, aside) = Keeper::open(folder.path(), &options).unwrap();
            assert_eq!((whole.id.as_str(), aside), (options.account.as_str(), None));
        }
    }

    #[test]
    fn a_new_account_takes_the_place_of_all_that_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let (keeper, mut whole, _) = Keeper::open(folder.path(), &options).unwrap();
        whole.s3.create_bucket("old", "eu-west-2", jiff::Timestamp::UNIX_EPOCH);
        keep(&keeper, &mut whole);
        let mut new = One::new(Whole::new(&options));
        keeper.settle(keeper.enter(&mut new, true).unwrap()).unwrap();
        drop(keeper);
        let (_, again, _) = Keeper::open(folder.path(), &options).unwrap();
        assert!(again.s3.buckets.is_empty());
    }

    #[test]
    fn a_torn_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let (keeper, mut whole, _) = Keeper::open(folder.path(), &options).unwrap();
        whole.s3.serial = 7;
        keep(&keeper, &mut whole);
        drop(keeper);
        let bytes = fs::read(folder.path().join(FILE)).unwrap();
        fs::write(folder.path().join(FILE), &bytes[..100]).unwrap();
        let (_, empty, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert_eq!(empty.s3.serial, 0);
        assert!(aside.unwrap().contains("set-aside.0"));
        assert!(folder.path().join("account.redb.set-aside.0").exists());
    }

    #[test]
    fn an_account_of_an_older_version_is_set_aside_with_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let text = "{\"schema\": 2, \"account\": \"nothing that we know\"}";
        fs::write(folder.path().join(OLDER), text).unwrap();
        fs::create_dir(folder.path().join(CONTENT)).unwrap();
        fs::write(folder.path().join(CONTENT).join("1"), "ACGT").unwrap();
        let (keeper, mut whole, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert!(aside.unwrap().ends_with("set-aside.0: an older version of seqstack wrote it"));
        keep(&keeper, &mut whole);
        assert_eq!(fs::read_to_string(name_aside(folder.path(), OLDER, 0)).unwrap(), text);
        assert_eq!(fs::read(name_aside(folder.path(), CONTENT, 0).join("1")).unwrap(), b"ACGT");
        assert!(keeper.has_aside() && !keeper.content().exists());
        keeper.remove_aside().unwrap();
        assert!(!keeper.has_aside() && !name_aside(folder.path(), CONTENT, 0).exists());
    }

    #[test]
    fn an_account_of_another_schema_or_number_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        drop(Keeper::open(folder.path(), &options).unwrap());
        let database = Database::open(folder.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(ABOUT).unwrap().insert("schema", SCHEMA + 1).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let (keeper, mut whole, aside) = Keeper::open(folder.path(), &options).unwrap();
        let why = format!("set-aside.0: its schema is {}, not {SCHEMA}", SCHEMA + 1);
        assert!(aside.unwrap().ends_with(&why));
        keep(&keeper, &mut whole);
        drop(keeper);
        options.account = "111122223333".to_owned();
        let (_, _, aside) = Keeper::open(folder.path(), &options).unwrap();
        assert!(aside.unwrap().ends_with("set-aside.1: it is of account 123456789012"));
    }
}
