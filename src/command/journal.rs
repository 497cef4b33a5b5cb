//! The journal: one line an event under `state/` (the same as those of `--json`), for a person who wants to know afterwards. Nothing reads it back, and
//! nothing depends on it: what keeps it from being written is told once, and the work goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Console;
use crate::event::Event;
use crate::report::events::Line;

/// How every line begins; the number is that of the lines' schema.
const HEAD: &[u8] = br#"{"schema":1,"#;

/// The journal of one stack.
pub struct Journal {
    path: PathBuf,
    console: Console,
    place: Mutex<Place>,
}

/// The file, and whether its last line was left without an end.
enum Place {
    Open {
        file: File,
        torn: bool,
    },
    /// It cannot be written, and that was told.
    Closed,
}

impl Journal {
    /// Opens it. What is there and is no journal is moved aside; a last line that a kill has torn is ended.
    pub fn open(state_dir: &Path, console: Console) -> Self {
        let path = state_dir.join("journal.jsonl");
        let place = match opened(&path, console) {
            Ok((file, torn)) => Place::Open { file, torn },
            Err(error) => {
                console.say(&unwritten(&path, &error));
                Place::Closed
            }
        };
        Self { path, console, place: Mutex::new(place) }
    }

    /// Adds an event.
    pub fn note(&self, event: &Event) {
        let Ok(mut place) = self.place.lock() else { return };
        let Place::Open { file, torn } = &mut *place else { return };
        // One write a line: two commands may be at it.
        let written = Line::now(event).map_err(io::Error::other).and_then(|line| {
            let begin = if *torn { "\n" } else { "" };
            file.write_all(format!("{begin}{line}").as_bytes())
        });
        match written {
            Ok(()) => *torn = false,
            Err(error) => {
                self.console.say(&unwritten(&self.path, &error));
                *place = Place::Closed;
            }
        }
    }
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    format!(
        "warning: the journal {} cannot be written ({error}); nothing depends on it, and nothing more is noted",
        path.display()
    )
}

/// The journal's file, and whether its last line has no end.
fn opened(path: &Path, console: Console) -> io::Result<(File, bool)> {
    let open = || OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path);
    let mut file = open()?;
    if !is_journal(&mut file)? {
        let aside =
            (1..).map(|n| path.with_file_name(format!("journal.aside-{n}.jsonl"))).find(|aside| !aside.exists());
        let aside = aside.ok_or(io::ErrorKind::AlreadyExists)?;
        // Never over another: a link fails where there is one meanwhile.
        std::fs::hard_link(path, &aside).and_then(|()| std::fs::remove_file(path))?;
        console.say(&format!("{} is no journal of this version; it is {} now", path.display(), aside.display()));
        file = open()?;
    }
    let torn = file.metadata()?.len() > 0 && {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        last != *b"\n"
    };
    Ok((file, torn))
}

/// Whether it begins as a journal does; one that a kill has cut in its very first line, too. What is no plain file (a
/// pipe, a device) has no beginning.
fn is_journal(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(true);
    }
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::take(&mut *file, HEAD.len() as u64).read_to_end(&mut head)?;
    Ok(HEAD.starts_with(&head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn noted(folder: &Path) -> String {
        let event = Event::Waiting { at: Address::new("cluster", "main"), text: "for a test".to_owned() };
        Journal::open(folder, Console::Silent).note(&event);
        std::fs::read_to_string(folder.join("journal.jsonl")).unwrap()
    }

    #[test]
    fn a_torn_line_is_ended_and_what_is_no_journal_is_moved_aside() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal.jsonl");
        let first = noted(home.path());
        assert!(first.as_bytes().starts_with(HEAD) && first.ends_with('\n'), "{first}");
        assert_eq!(noted(home.path()).lines().count(), 2);
        // A kill in mid-write.
        std::fs::write(&path, &first[..first.len() / 2]).unwrap();
        let lines = noted(home.path());
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(serde_json::from_str::<serde_json::Value>(lines.lines().last().unwrap()).is_ok(), "{lines}");
        // Somebody else's, twice.
        for n in 1..=2 {
            std::fs::write(&path, "Dear diary").unwrap();
            assert_eq!(noted(home.path()).lines().count(), 1);
            let aside = std::fs::read_to_string(home.path().join(format!("journal.aside-{n}.jsonl"))).unwrap();
            assert_eq!(aside, "Dear diary");
        }
    }

    #[test]
    fn what_cannot_be_written_stops_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", home.path().join("journal.jsonl")).unwrap();
        assert_eq!(noted_nowhere(home.path()), 0);
    }

    fn noted_nowhere(folder: &Path) -> usize {
        let journal = Journal::open(folder, Console::Silent);
        let event = Event::Waiting { at: Address::new("cluster", "main"), text: String::new() };
        journal.note(&event);
        journal.note(&event);
        assert!(matches!(*journal.place.lock().unwrap(), Place::Closed));
        std::fs::read_dir(folder).unwrap().count() - 1
    }
}
