//! What the account keeps, as collections that know what of them has changed: a request writes to disk what it touched, and
//! nothing else, however much there is.
//!
//! Everything has a path: its table's name, its key, and so on downwards (`regions/eu-west-2/logs/groups/NAME/streams/…`).
//! A record is JSON without the tables inside of it, which have paths of their own.

use std::borrow::Borrow;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::hash::Hasher;
use std::ops::{Deref, DerefMut, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

mod rows;

pub use rows::Rows;

/// One change to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keeps a record at a path.
    Put(Vec<u8>, Vec<u8>),
    /// Removes what is kept at a path and below it.
    Remove(Vec<u8>),
}

/// What is kept at a path and below it.
pub trait Stored {
    /// Adds to `out` what has changed since the last time; without `out` it is only forgotten that it has.
    ///
    /// # Errors
    /// A record that cannot be written as JSON.
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()>;

    /// Takes over a record from disk, whose path goes on with these segments. Parents come before what is inside of them.
    ///
    /// # Errors
    /// A record that is not of this shape, or whose parent is missing.
    fn load(&mut self, rest: &[String], record: &[u8]) -> Result<(), String>;

    /// All of it as one JSON value.
    ///
    /// # Errors
    /// A record that cannot be written as JSON.
    fn json(&mut self) -> serde_json::Result<Value>;

    /// Takes the place of what is there from such a value.
    ///
    /// # Errors
    /// A value that is not of this shape.
    fn set(&mut self, json: Value) -> Result<(), String>;
}

/// What is written as one piece, but for the tables in it, which are to be skipped by serde.
pub trait Record: Serialize + DeserializeOwned {
    /// The tables in it, by name.
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        Vec::new()
    }
}

/// Marks types as records without tables.
macro_rules! plain_records {
    ($($record:ty),* $(,)?) => { $(impl $crate::table::Record for $record {})* };
}
pub(crate) use plain_records;

/// What identifies a row in its table.
pub trait Key: Ord + Clone {
    /// As a segment of a path.
    fn segment(&self) -> String;

    /// From a segment of a path.
    fn of(segment: &str) -> Option<Self>;
}

impl Key for String {
    fn segment(&self) -> String {
        self.clone()
    }

    fn of(segment: &str) -> Option<Self> {
        Some(segment.to_owned())
    }
}

impl Key for u64 {
    fn segment(&self) -> String {
        format!("{self:016x}")
    }

    fn of(segment: &str) -> Option<Self> {
        Self::from_str_radix(segment, 16).ok()
    }
}

/// The path of what is in `path` under `segment`. A zero byte ends a segment; one within it is followed by 255.
pub fn below(path: &[u8], segment: &str) -> Vec<u8> {
    let mut below = path.to_vec();
    for byte in segment.bytes() {
        below.push(byte);
        if byte == 0 {
            below.push(255);
        }
    }
    below.extend([0, 1]);
    below
}

/// The segments of a path.
pub fn segments(path: &[u8]) -> Option<Vec<String>> {
    let (mut all, mut segment) = (Vec::new(), Vec::new());
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, if byte == 0 { bytes.next() } else { None }) {
            (0, Some(255)) => segment.push(0),
            (0, Some(1)) => all.push(String::from_utf8(std::mem::take(&mut segment)).ok()?),
            (0, _) => return None,
            _ => segment.push(byte),
        }
    }
    segment.is_empty().then_some(all)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A record, and the digest of what is kept of it on disk.
#[derive(Clone, Debug, Default)]
pub struct Row<V> {
    value: V,
    kept: Option<u64>,
}

impl<V: Record> Row<V> {
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()> {
        if let Some(changes) = out {
            let record = serde_json::to_vec(&self.value)?;
            let now = Some(digest(&record));
            if self.kept != now {
                self.kept = now;
                changes.push(Change::Put(path.to_vec(), record));
            }
        }
        self.value.tables().into_iter().try_for_each(|(name, table)| table.drain(&below(path, name), out))
    }

    fn of(record: &[u8]) -> Result<Self, String> {
        let value = serde_json::from_slice(record).map_err(|error| error.to_string())?;
        Ok(Self { value, kept: Some(digest(record)) })
    }

    fn load_inside(&mut self, rest: &[String], record: &[u8]) -> Result<(), String> {
        let Some((name, rest)) = rest.split_first() else { return Err("a record comes twice".to_owned()) };
        let mut tables = self.value.tables();
        let table = tables.iter_mut().find(|(known, _)| known == name);
        table.ok_or_else(|| format!("there is no table {name}"))?.1.load(rest, record)
    }

    fn from_json(mut json: Value) -> Result<Self, String> {
        let failed = |error: serde_json::Error| error.to_string();
        let mut row = Self { value: serde_json::from_value(json.clone()).map_err(failed)?, kept: None };
        for (name, table) in row.value.tables() {
            table.set(json[name].take())?;
        }
        Ok(row)
    }

    fn json(&mut self) -> serde_json::Result<Value> {
        let mut all = serde_json::to_value(&self.value)?;
        for (name, table) in self.value.tables() {
            if let Value::Object(members) = &mut all {
                members.insert(name.to_owned(), table.json()?);
            }
        }
        Ok(all)
    }
}

/// A record with its tables, from the JSON that [`Stored::json`] gives.
///
/// # Errors
/// JSON of another shape.
pub fn from_json<V: Record>(json: Value) -> Result<V, String> {
    Ok(Row::from_json(json)?.value)
}

/// The rows of a range of keys.
pub type Range<'a, K, V> = std::iter::Map<btree_map::Range<'a, K, Row<V>>, fn((&'a K, &'a Row<V>)) -> (&'a K, &'a V)>;

/// Rows by their keys: a `BTreeMap` to read; what is changed is found by its key first.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    rows: BTreeMap<K, Row<V>>,
    touched: BTreeSet<K>,
    removed: BTreeSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: BTreeSet::new(), removed: BTreeSet::new() }
    }
}

impl<K: Key, V> Table<K, V> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|row| &row.value)
    }

    /// Whether a key has a row.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    /// The row of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (known, _) = self.rows.get_key_value(key)?;
        self.touched.insert(known.clone());
        self.rows.get_mut(key).map(|row| &mut row.value)
    }

    /// The row of a key, made first if it is missing.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.touched.insert(key.clone());
        &mut self.rows.entry(key).or_insert_with(|| Row { value: make(), kept: None }).value
    }

    /// Puts a row in the place of the key's old one, which is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.touched.insert(key.clone());
        let old = self.rows.insert(key.clone(), Row { value, kept: None })?;
        if old.kept.is_some() {
            self.removed.insert(key);
        }
        Some(old.value)
    }

    /// Takes a row out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, row) = self.rows.remove_entry(key)?;
        self.touched.remove::<K>(&key);
        if row.kept.is_some() {
            self.removed.insert(key);
        }
        Some(row.value)
    }

    /// Takes out the rows for which this does not hold.
    pub fn retain(&mut self, mut holds: impl FnMut(&K, &V) -> bool) {
        let out: Vec<K> =
            self.rows.iter().filter(|(key, row)| !holds(key, &row.value)).map(|(key, _)| key.clone()).collect();
        for key in out {
            self.remove(&key);
        }
    }

    /// The rows by their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// The keys.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.rows.keys()
    }

    /// The rows in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.rows.values().map(|row| &row.value)
    }

    /// The rows of a range of keys.
    pub fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        self.rows.range(range).map(|(key, row)| (key, &row.value))
    }

    /// The last row.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.rows.last_key_value().map(|(key, row)| (key, &row.value))
    }
}

impl<K: Key, V: Record> Stored for Table<K, V> {
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()> {
        for key in std::mem::take(&mut self.removed) {
            out.iter_mut().for_each(|changes| changes.push(Change::Remove(below(path, &key.segment()))));
        }
        for key in std::mem::take(&mut self.touched) {
            if let Some(row) = self.rows.get_mut(&key) {
                row.drain(&below(path, &key.segment()), out)?;
            }
        }
        Ok(())
    }

    fn load(&mut self, rest: &[String], record: &[u8]) -> Result<(), String> {
        let (segment, rest) = rest.split_first().ok_or("a table has a record of its own")?;
        let key = K::of(segment).ok_or_else(|| format!("{segment} is no key"))?;
        if !rest.is_empty() {
            let row = self.rows.get_mut(&key).ok_or_else(|| format!("{segment} is missing"))?;
            return row.load_inside(rest, record);
        }
        self.rows.insert(key, Row::of(record)?);
        Ok(())
    }

    fn json(&mut self) -> serde_json::Result<Value> {
        let rows = self.rows.iter_mut().map(|(key, row)| Ok((key.segment(), row.json()?)));
        rows.collect::<serde_json::Result<Map<String, Value>>>().map(Value::Object)
    }

    fn set(&mut self, json: Value) -> Result<(), String> {
        let Value::Object(rows) = json else { return Err("a table is an object".to_owned()) };
        self.retain(|_, _| false);
        for (segment, json) in rows {
            let key = K::of(&segment).ok_or_else(|| format!("{segment} is no key"))?;
            self.insert(key, Row::from_json(json)?.value);
        }
        Ok(())
    }
}

/// A record that there is one of.
#[derive(Clone, Debug, Default)]
pub struct One<V>(Row<V>);

impl<V> One<V> {
    /// A record that is not on disk yet.
    pub fn new(value: V) -> Self {
        Self(Row { value, kept: None })
    }
}

impl<V> Deref for One<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0.value
    }
}

impl<V> DerefMut for One<V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.0.value
    }
}

impl<V: Record> Stored for One<V> {
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()> {
        self.0.drain(path, out)
    }

    fn load(&mut self, rest: &[String], record: &[u8]) -> Result<(), String> {
        if !rest.is_empty() {
            return self.0.load_inside(rest, record);
        }
        self.0 = Row::of(record)?;
        Ok(())
    }

    fn json(&mut self) -> serde_json::Result<Value> {
        self.0.json()
    }

    fn set(&mut self, json: Value) -> Result<(), String> {
        self.0.value = Row::from_json(json)?.value;
        Ok(())
    }
}
