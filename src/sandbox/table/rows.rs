//! Rows that are in the order in which they came.

use std::ops::{Index, IndexMut};

use serde_json::Value;

use super::{Change, Record, Row, Stored, Table};

/// Rows in the order in which they came: a `Vec` to read.
#[derive(Clone, Debug)]
pub struct Rows<V>(Table<u64, V>);

impl<V> Default for Rows<V> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<V> Rows<V> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.values()
    }

    /// The first row.
    pub fn first(&self) -> Option<&V> {
        self.iter().next()
    }

    /// The last row.
    pub fn last(&self) -> Option<&V> {
        self.iter().next_back()
    }

    /// Adds a row at the end.
    pub fn push(&mut self, value: V) {
        let next = self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        self.0.insert(next, value);
    }

    /// The first row for which this holds, to be changed.
    pub fn find_mut(&mut self, holds: impl Fn(&V) -> bool) -> Option<&mut V> {
        let (key, _) = self.0.iter().find(|(_, row)| holds(row))?;
        self.0.get_mut(&key.clone())
    }

    /// Changes every row for which this holds.
    pub fn change(&mut self, holds: impl Fn(&V) -> bool, mut change: impl FnMut(&mut V)) {
        let keys: Vec<u64> = self.0.iter().filter(|(_, row)| holds(row)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.0.get_mut(key).map(&mut change)).for_each(drop);
    }

    /// Changes rows for which this holds; one that stays as it is counts as untouched.
    pub fn revise(&mut self, holds: impl Fn(&V) -> bool, mut change: impl FnMut(&mut V))
    where
        V: Clone + PartialEq,
    {
        let mut changed = Vec::new();
        for (key, row) in self.0.iter().filter(|(_, row)| holds(row)) {
            let mut new = row.clone();
            change(&mut new);
            if new != *row {
                changed.push((*key, new));
            }
        }
        for (key, new) in changed {
            self.0.get_mut(&key).into_iter().for_each(|row| *row = new.clone());
        }
    }

    /// Takes out the row at a position.
    pub fn remove(&mut self, at: usize) -> Option<V> {
        let key = *self.0.keys().nth(at)?;
        self.0.remove(&key)
    }

    /// Takes out the rows for which this does not hold.
    pub fn retain(&mut self, mut holds: impl FnMut(&V) -> bool) {
        self.0.retain(|_, row| holds(row));
    }
}

impl<V> Extend<V> for Rows<V> {
    fn extend<I: IntoIterator<Item = V>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.push(row));
    }
}

impl<V> FromIterator<V> for Rows<V> {
    fn from_iter<I: IntoIterator<Item = V>>(rows: I) -> Self {
        let mut all = Self::default();
        all.extend(rows);
        all
    }
}

impl<V> Index<usize> for Rows<V> {
    type Output = V;

    fn index(&self, at: usize) -> &V {
        self.iter().nth(at).unwrap_or_else(|| panic!("there is no row {at}"))
    }
}

impl<V> IndexMut<usize> for Rows<V> {
    fn index_mut(&mut self, at: usize) -> &mut V {
        let key = self.0.keys().nth(at).copied();
        key.and_then(|key| self.0.get_mut(&key)).unwrap_or_else(|| panic!("there is no row {at}"))
    }
}

impl<V: Record> Stored for Rows<V> {
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()> {
        self.0.drain(path, out)
    }

    fn load(&mut self, rest: &[String], record: &[u8]) -> Result<(), String> {
        self.0.load(rest, record)
    }

    fn json(&mut self) -> serde_json::Result<Value> {
        self.0.rows.values_mut().map(Row::json).collect::<serde_json::Result<Vec<Value>>>().map(Value::Array)
    }

    fn set(&mut self, json: Value) -> Result<(), String> {
        let Value::Array(rows) = json else { return Err("rows are a list".to_owned()) };
        self.retain(|_| false);
        for json in rows {
            self.push(Row::from_json(json)?.value);
        }
        Ok(())
    }
}
