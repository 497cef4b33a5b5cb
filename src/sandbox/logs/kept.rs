//! The events of a stream, in the order of their times, kept on disk in chunks: what is added at the end writes the last.

use serde_json::{Value, json};

use super::events::Event;
use crate::table::{Change, Stored, below};

/// Events of a chunk.
const CHUNK: usize = 500;

/// The events.
#[derive(Clone, Debug, Default)]
pub struct Events {
    list: Vec<Event>,
    /// How many were dropped at the head for their age: tokens count them, and so do chunks.
    expired: usize,
    bytes: usize,
    /// The first place, counted with the expired ones, that is not on disk as it is here.
    changed: Option<usize>,
    /// The chunks below this one were removed from disk, or are to be.
    removed: usize,
}

impl Events {
    /// The events, oldest first.
    pub(super) fn list(&self) -> &[Event] {
        &self.list
    }

    /// How many were dropped at the head for their age.
    pub(super) fn expired(&self) -> usize {
        self.expired
    }

    /// As CloudWatch Logs counts them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds events wherever their times put them, after those of the same time.
    pub(super) fn add(&mut self, new: Vec<Event>) {
        let Some(first) = new.iter().map(|event| event.0).min() else { return };
        let place = self.list.partition_point(|event| event.0 <= first);
        self.touch(place);
        self.bytes += new.iter().map(Event::bytes).sum::<usize>();
        self.list.extend(new);
        self.list[place..].sort_by_key(|event| event.0);
    }

    /// Drops what is older.
    pub(super) fn expire(&mut self, oldest: i64) {
        let old = self.list.partition_point(|event| event.0 < oldest);
        if old > 0 {
            self.bytes -= self.list.drain(..old).map(|event| event.bytes()).sum::<usize>();
            self.expired += old;
            // The rest of the chunk that was cut is written anew.
            self.touch(0);
        }
    }

    fn touch(&mut self, place: usize) {
        let place = self.expired + place;
        self.changed = Some(self.changed.map_or(place, |changed| changed.min(place)));
    }
}

fn chunk_path(path: &[u8], chunk: usize) -> Vec<u8> {
    below(path, &format!("{chunk:016x}"))
}

impl Stored for Events {
    fn drain(&mut self, path: &[u8], out: &mut Option<Vec<Change>>) -> serde_json::Result<()> {
        let Some(changed) = self.changed.take() else { return Ok(()) };
        let Some(changes) = out else { return Ok(()) };
        let first = self.expired / CHUNK;
        changes.push(Change::Put(path.to_vec(), serde_json::to_vec(&self.expired)?));
        changes.extend((self.removed..first).map(|chunk| Change::Remove(chunk_path(path, chunk))));
        self.removed = self.removed.max(first);
        let end = self.expired + self.list.len();
        for chunk in changed.max(self.expired) / CHUNK..end.div_ceil(CHUNK) {
            let from = (chunk * CHUNK).max(self.expired) - self.expired;
            let to = ((chunk + 1) * CHUNK).min(end) - self.expired;
            changes.push(Change::Put(chunk_path(path, chunk), serde_json::to_vec(&self.list[from..to])?));
        }
        Ok(())
    }

    fn load(&mut self, rest: &[String], record: &[u8]) -> Result<(), String> {
        let failed = |error: serde_json::Error| error.to_string();
        match rest {
            [] => {
                self.expired = serde_json::from_slice(record).map_err(failed)?;
                self.removed = self.expired / CHUNK;
            }
            [_] => {
                let events: Vec<Event> = serde_json::from_slice(record).map_err(failed)?;
                self.bytes += events.iter().map(Event::bytes).sum::<usize>();
                self.list.extend(events);
            }
            _ => return Err("events have nothing below them".to_owned()),
        }
        Ok(())
    }

    fn json(&mut self) -> serde_json::Result<Value> {
        Ok(json!(self.list))
    }

    fn set(&mut self, json: Value) -> Result<(), String> {
        *self = Self::default();
        self.add(serde_json::from_value(json).map_err(|error| error.to_string())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::table::segments;

    fn event(at: i64) -> Event {
        Event(at, at, format!("line {at}"))
    }

    /// What the disk has after these changes.
    fn apply(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(path, record) => drop(disk.insert(path, record)),
                Change::Remove(path) => disk.retain(|known, _| !known.starts_with(&path)),
            }
        }
    }

    fn drained(events: &mut Events) -> Vec<Change> {
        let mut changes = Some(Vec::new());
        events.drain(&[], &mut changes).unwrap();
        changes.unwrap()
    }

    fn loaded(disk: &BTreeMap<Vec<u8>, Vec<u8>>) -> Events {
        let mut events = Events::default();
        disk.iter().for_each(|(path, record)| events.load(&segments(path).unwrap(), record).unwrap());
        events
    }

    #[test]
    fn a_line_more_writes_one_chunk_whatever_there_is() {
        for count in [10_i64, 1_000, 100_000] {
            let mut events = Events::default();
            events.add((0..count).map(event).collect());
            drained(&mut events);
            events.add(vec![event(count)]);
            let changes = drained(&mut events);
            assert_eq!(changes.len(), 2, "the head and one chunk");
            let bytes: usize = changes.iter().map(|c| if let Change::Put(_, r) = c { r.len() } else { 0 }).sum();
            assert!(bytes < CHUNK * 64, "{bytes} bytes of {count} lines");
        }
    }

    #[test]
    fn the_disk_always_has_what_there_is() {
        let mut state = 20_261_201_u64;
        println!("seed {state}");
        let mut next = |below: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(state >> 33).unwrap() % below
        };
        let (mut events, mut disk) = (Events::default(), BTreeMap::new());
        for _ in 0..40 {
            match next(3) {
                0 => events.expire(next(2_000)),
                1 => events.add((0..next(1_200)).map(|_| event(next(3_000))).collect()),
                _ => events.add(vec![event(3_000 + next(100))]),
            }
            apply(&mut disk, drained(&mut events));
            let again = loaded(&disk);
            assert_eq!((again.list(), again.expired(), again.bytes()), (events.list(), events.expired, events.bytes));
        }
    }
}
