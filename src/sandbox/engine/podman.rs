//! What Podman leaves out: the log as it was written, and whether the kernel killed a container for its memory.
//!
//! `podman logs --timestamps` puts a time into the middle of a line that was written in parts, so the log is read from
//! the file that conmon writes. Podman does not set `OOMKilled` where conmon misses the event, as it does under control
//! groups version 1 and for what dies at once; the kernel's own log names the container, so that is asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;

use super::book::Line;
use super::lines::Stream;

/// The log file of a container, in its task's folder.
pub fn log_file(task_folder: &Path) -> PathBuf {
    task_folder.join("container.log")
}

/// Reads a log in conmon's form (`TIME STREAM P|F TEXT`, P for a part of a line) as it grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    streams: BTreeMap<String, Stream>,
}

impl Tail {
    /// From the file's beginning.
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, streams: BTreeMap::new() }
    }

    /// The whole lines written since.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<Line>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += u64::try_from(whole).unwrap_or(u64::MAX);
        let rows = bytes[..whole].split(|byte| *byte == b'\n').map(|row| self.row(row));
        Ok(rows.flatten().flatten().collect())
    }

    /// What was begun and never ended with a line break; for when the container has ended.
    pub fn rest(&mut self) -> Vec<Line> {
        self.streams.values_mut().flat_map(Stream::rest).collect()
    }

    // A text may be any bytes; what is before it is plain.
    fn row(&mut self, row: &[u8]) -> Option<Vec<Line>> {
        let mut words = row.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let at: Timestamp = word()?.parse().ok()?;
        let (stream, whole) = (word()?.to_owned(), word()? == "F");
        let text = words.next().unwrap_or_default();
        Some(self.streams.entry(stream).or_default().add(at, text, whole))
    }
}

/// Whether the kernel's log says that it killed something in this container for its memory; `None` where we may not read
/// it (it takes root, or `kernel.dmesg_restrict = 0`).
pub fn killed_for_memory(container_id: &str) -> Option<bool> {
    let log = Command::new("dmesg").stdin(Stdio::null()).output().ok().filter(|done| done.status.success())?;
    Some(names_in_oom_kill(&String::from_utf8_lossy(&log.stdout), container_id))
}

fn names_in_oom_kill(log: &str, container_id: &str) -> bool {
    let kills = log.lines().filter(|line| line.contains("oom-kill:constraint=CONSTRAINT_MEMCG"));
    !container_id.is_empty() && kills.into_iter().any(|line| line.contains(container_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn parts_of_a_line_become_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = log_file(folder.path());
        let mut tail = Tail::new(path.clone());
        assert!(tail.more().unwrap().is_empty(), "not there yet");
        let mut file = File::create(&path).unwrap();
        let at = "2026-01-02T03:04:05.5+00:00";
        write!(file, "{at} stdout P one \n{at} stderr F other\n{at} stdout F two\n{at} stdout F \n{at} stdout P en")
            .unwrap();
        let texts = |lines: Vec<Line>| lines.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(tail.more().unwrap()), ["other", "one two"]);
        writeln!(file, "d").unwrap();
        assert!(tail.more().unwrap().is_empty());
        assert_eq!(texts(tail.rest()), ["end"]);
    }

    #[test]
    fn the_kernel_names_the_container() {
        let log =
            "[1.0] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/libpod_parent/libpod-ab12,task=dd\n[2.0] ab13\n";
        assert!(names_in_oom_kill(log, "ab12") && !names_in_oom_kill(log, "ab13") && !names_in_oom_kill(log, ""));
    }
}
