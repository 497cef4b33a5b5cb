//! A task's log as the awslogs driver would send it: a line is one event, however long, up to the driver's largest.
//!
//! <https://github.com/moby/moby/blob/master/daemon/logger/awslogs/cloudwatchlogs.go>: an event has at most 262,144 - 26
//! bytes, a longer line is split between characters, an empty line is not sent, and what is no UTF-8 is replaced.

use std::io::{self, BufRead, Read as _};

use jiff::Timestamp;

use super::book::Line;

/// The most bytes of one event.
pub const LARGEST_EVENT: usize = 262_144 - 26;
/// Docker writes a longer line down in parts of so many bytes, each with a time of its own.
const DOCKER_PART: usize = 16 * 1024;
/// The longest time in front of a part, with its space.
const TIME_BYTES: u64 = 40;
/// What stands for a byte that is no UTF-8 in what Docker wrote down.
const REPLACED: &[u8] = "\u{fffd}".as_bytes();

/// One stream (stdout or stderr) of one task, put together from what was read of it.
#[derive(Debug, Default)]
pub struct Stream {
    begun: Option<Timestamp>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Adds what was read of a line, without its line break; `whole` if the line ends here. Gives the events that are
    /// complete now. The event's time is that of the line's first part.
    pub fn add(&mut self, at: Timestamp, part: &[u8], whole: bool) -> Vec<Line> {
        self.begun.get_or_insert(at);
        self.bytes.extend_from_slice(part);
        if !whole && self.bytes.len() <= LARGEST_EVENT {
            return Vec::new();
        }
        self.events(whole)
    }

    /// What was begun and never ended with a line break; for when the stream has ended.
    pub fn rest(&mut self) -> Vec<Line> {
        self.events(true)
    }

    fn events(&mut self, whole: bool) -> Vec<Line> {
        let Some(begun) = self.begun else { return Vec::new() };
        let bytes = std::mem::take(&mut self.bytes);
        // Half a character may yet get its other half.
        let cut = if whole { bytes.len() } else { bytes.len() - half_character(&bytes) };
        let text = String::from_utf8_lossy(&bytes[..cut]);
        let mut left = &*text;
        let mut found = Vec::new();
        while left.len() > LARGEST_EVENT {
            let (event, after) = left.split_at(left.floor_char_boundary(LARGEST_EVENT));
            found.push((begun, event.to_owned()));
            left = after;
        }
        if whole {
            self.begun = None;
            if !left.is_empty() {
                found.push((begun, left.to_owned()));
            }
        } else {
            self.bytes.extend_from_slice(left.as_bytes());
            self.bytes.extend_from_slice(&bytes[cut..]);
        }
        found
    }
}

// How many bytes at the end are the beginning of a character that is not whole.
fn half_character(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let begin = bytes[tail..].iter().rposition(|byte| byte & 0xc0 != 0x80).map_or(bytes.len(), |at| tail + at);
    match std::str::from_utf8(&bytes[begin..]) {
        Err(error) if error.error_len().is_none() => bytes.len() - begin,
        _ => 0,
    }
}

/// Reads one stream of `docker logs --timestamps` to its end, and hands each event on; what is left without a line break
/// counts where `ended` says that nothing follows it.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_docker(mut reader: impl BufRead, ended: bool, mut event: impl FnMut(Line)) -> io::Result<()> {
    let mut stream = Stream::default();
    let mut at = Timestamp::UNIX_EPOCH;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        // A time and a space; where there is none, the line goes on.
        reader.by_ref().take(TIME_BYTES).read_until(b' ', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        let time = bytes.strip_suffix(b" ").and_then(|time| std::str::from_utf8(time).ok()?.parse().ok());
        if let Some(time) = time {
            at = time;
            bytes.clear();
        }
        read_part(&mut reader, &mut bytes)?;
        let line = bytes.strip_suffix(b"\n");
        stream.add(at, line.unwrap_or(&bytes), line.is_some()).into_iter().for_each(&mut event);
    }
    if ended {
        stream.rest().into_iter().for_each(event);
    }
    Ok(())
}

// The rest of a part, its line break included where it has one.
fn read_part(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let missing = DOCKER_PART.saturating_sub(written(bytes));
        if missing == 0 || bytes.last() == Some(&b'\n') {
            return Ok(());
        }
        let before = bytes.len();
        reader.by_ref().take(missing as u64).read_until(b'\n', bytes)?;
        if bytes.len() == before {
            return Ok(());
        }
    }
}

// How many bytes the program wrote for these: a replaced one was one.
fn written(bytes: &[u8]) -> usize {
    let replaced = bytes.windows(REPLACED.len()).filter(|three| *three == REPLACED).count();
    let begun = (1..REPLACED.len()).find(|length| bytes.ends_with(&REPLACED[..*length])).unwrap_or(0);
    bytes.len() - begun - replaced * (REPLACED.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_line_is_one_event_up_to_the_largest() {
        let at = Timestamp::UNIX_EPOCH;
        let mut stream = Stream::default();
        assert!(stream.add(at, b"", true).is_empty(), "an empty line is not sent");
        assert!(stream.add(at, b"a", false).is_empty());
        assert_eq!(texts(stream.add(at, b"b\r", true)), ["ab\r"]);
        let lengths: Vec<usize> = texts(stream.add(at, &[b'a'; 300_000], true)).iter().map(String::len).collect();
        assert_eq!(lengths, [262_118, 37_882]);
        assert_eq!(texts(stream.add(at, &[b'a'; LARGEST_EVENT], true)).len(), 1);
        assert_eq!(texts(stream.add(at, b"\xff.", true)), ["\u{fffd}."]);
        assert!(stream.add(at, b"end", false).is_empty());
        assert_eq!(texts(stream.rest()), ["end"]);
        assert!(stream.rest().is_empty());
    }

    #[test]
    fn no_character_is_broken() {
        let at = Timestamp::UNIX_EPOCH;
        let text = format!("a{}", "\u{20ac}".repeat(200_000));
        for size in [1000, 16 * 1024, text.len()] {
            let mut stream = Stream::default();
            let mut found = Vec::new();
            for part in text.as_bytes().chunks(size) {
                found.extend(stream.add(at, part, false));
            }
            found.extend(stream.add(at, b"", true));
            let found = texts(found);
            assert_eq!(found.concat(), text);
            assert!(found.iter().all(|event| event.len() <= LARGEST_EVENT) && found.len() == 3);
        }
    }

    #[test]
    fn the_times_of_dockers_parts_are_in_no_line() {
        let part = "b".repeat(16 * 1024);
        let (first, second) = ("2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:06.000000000Z");
        let log = format!("{first} {part}{second} bb\n{second} \n{second} x y\n{second} tail");
        let broken = format!("{}\u{fffd}", "b".repeat(16 * 1024 - 1));
        let mut found = Vec::new();
        let replaced = format!("{first} {broken}{second} \u{fffd}c\n");
        read_docker(replaced.as_bytes(), true, |line| found.push(line)).unwrap();
        assert_eq!(texts(found), [format!("{broken}\u{fffd}c")]);
        let read = |ended| {
            let mut found = Vec::new();
            read_docker(log.as_bytes(), ended, |line| found.push(line)).unwrap();
            found
        };
        let found = read(true);
        assert_eq!(found[0].0, first.parse().unwrap());
        assert_eq!(texts(found), [format!("{part}bb"), "x y".to_owned(), "tail".to_owned()]);
        assert_eq!(read(false).len(), 2, "a line that may go on is no event yet");
    }
}
