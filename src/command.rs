//! The verbs of the command line, one file each, and how a process ends.

use std::fmt;
use std::io::IsTerminal as _;

use crate::event::Event;
use crate::report::events::{self, Told};
use crate::report::live::Live;
use crate::report::progress;

pub mod apply;
mod choosing;
pub mod cost;
pub mod destroy;
pub mod driver;
pub mod graph;
pub mod journal;
pub mod logs;
pub mod outlook;
pub mod output;
pub mod plan;
pub mod prepare;
pub mod proceed;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod saved;
mod seat;
pub mod session;
pub mod status;
pub mod validate;
pub mod words;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// There is something to do (`plan --detailed-exitcode`).
    Changes = 2,
    /// The pipeline ran and failed.
    RunFailed = 3,
    /// The stack file or the command line is wrong.
    Usage = 64,
    /// Left at once, at a second Ctrl-C (128 and SIGINT's number, as shells have it).
    Interrupted = 130,
}

/// Why a command could not go on.
#[derive(Debug)]
pub struct Problem {
    /// What to tell, without a prefix.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the process ends.
    pub exit: Exit,
}

impl Problem {
    /// A failure.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, exit: Exit::Failed }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Faults of a stack file come rendered, each with its own `error:`.
        if self.exit == Exit::Usage {
            write!(f, "{}", self.text)?
        } else {
            write!(f, "error: {}", self.text)?
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// Whom a command talks to.
#[derive(Clone, Copy)]
pub enum Console {
    /// Whoever reads this process's stdout (data) and stderr (progress).
    Process,
    /// The same, where stderr is a terminal with a live part.
    Live(&'static Live),
    /// A script that reads events on stdout; stderr has what people read.
    Json(&'static Stream),
    /// Nobody: for commands that a program runs by the hundred.
    Silent,
}

impl Console {
    /// For a command that carries out a plan.
    pub fn for_changes(json: bool, verbose: bool) -> Self {
        // There is one a process, until its end: so it can be at hand everywhere, and in tasks that nobody waits for.
        if json {
            return Self::Json(Box::leak(Box::default()));
        }
        Live::on_stderr(verbose).map_or(Self::Process, |live| Self::Live(Box::leak(Box::new(live))))
    }

    /// Tells a line. A closed stderr is nobody listening: what is being done goes on.
    pub fn say(self, line: &str) {
        match self {
            Self::Silent => {}
            Self::Process => to_stderr(line),
            Self::Live(live) => live.say(line),
            Self::Json(stream) => {
                to_stderr(line);
                stream.tell(Told::Message { text: anstream::adapter::strip_str(line).to_string() });
            }
        }
    }

    /// Tells an event. Where nothing else tells the time of a line, each begins with it.
    pub fn tell(self, event: &Event, verbose: bool) {
        match self {
            Self::Silent => {}
            Self::Live(live) => live.read(event),
            Self::Process | Self::Json(_) => {
                if let Some(line) = progress::line(event, verbose) {
                    to_stderr(&format!("{:.0} {line}", jiff::Timestamp::now()));
                }
                if let Self::Json(stream) = self {
                    stream.tell(Told::Happened(event.clone()));
                }
            }
        }
    }

    /// Whether there is a person who can be asked.
    pub fn asks(self) -> bool {
        !matches!(self, Self::Json(_)) && std::io::stdin().is_terminal()
    }

    /// Says how a command ended that carries out a plan; what cannot be said makes it a failure.
    ///
    /// # Errors
    /// Those of the command, or when stdout is full.
    pub fn end(self, ended: Result<Exit, Problem>) -> Result<Exit, Problem> {
        let Self::Json(stream) = self else { return ended };
        if let Err(problem) = &ended {
            let error = anstream::adapter::strip_str(&problem.text).to_string();
            stream.tell(Told::Error { error, hint: problem.hint.clone() });
        }
        let exit = ended.as_ref().map_or_else(|problem| problem.exit, |exit| *exit);
        stream.end(exit)?;
        ended
    }

    /// What has to be put in order where the process is left at once, with this exit code.
    pub fn leave(self, exit: Exit) {
        match self {
            Self::Silent | Self::Process => {}
            Self::Live(live) => live.end(),
            Self::Json(stream) => {
                let _left_at_once = stream.end(exit);
            }
        }
    }

    /// Columns of the terminal that stdout is; none where it is none.
    pub fn width() -> Option<usize> {
        let terminal = console::Term::stdout();
        terminal.is_term().then(|| terminal.size_checked().map(|(_, columns)| usize::from(columns))).flatten()
    }

    /// Puts text on stdout, without its colours where nobody can see them. A closed stdout (`| head`) is nobody listening:
    /// what is being done goes on, and ends as it would have.
    ///
    /// # Errors
    /// When stdout is full.
    pub fn print(self, text: &str) -> Result<(), Problem> {
        match self {
            Self::Silent => Ok(()),
            Self::Process => heard(write(&mut anstream::stdout(), text)).map(|_| ()),
            Self::Live(live) => live.aside(|| Self::Process.print(text)),
            Self::Json(_) => {
                to_stderr(text.trim_end_matches('\n'));
                Ok(())
            }
        }
    }

    /// Puts text on stdout as it is, and says whether somebody still reads there.
    ///
    /// # Errors
    /// When stdout is full.
    pub fn pass(self, text: &str) -> Result<bool, Problem> {
        match self {
            Self::Silent => Ok(true),
            _ => heard(write(&mut std::io::stdout().lock(), text)),
        }
    }
}

fn to_stderr(line: &str) {
    use std::io::Write as _;
    let _nobody_listens = writeln!(anstream::stderr(), "{line}");
}

/// Events on stdout, a line each.
#[derive(Default)]
pub struct Stream(std::sync::Mutex<Option<Problem>>);

impl Stream {
    /// Tells one. Where stdout is full, the first line that is lost is remembered: what is being done goes on.
    pub fn tell(&self, told: Told) {
        if matches!(&told, Told::Happened(event) if event.is_fleeting()) {
            return;
        }
        let written = events::Line::now(told)
            .map_err(|error| Problem::failed(format!("failed to tell an event: {error}")))
            .and_then(|line| heard(write(&mut std::io::stdout().lock(), &line)));
        if let (Err(problem), Ok(mut first)) = (written, self.0.lock()) {
            first.get_or_insert(problem);
        }
    }

    /// Tells the end.
    ///
    /// # Errors
    /// When a line could not be written.
    fn end(&self, exit: Exit) -> Result<(), Problem> {
        let outcome = match exit {
            Exit::Done => events::End::Done,
            Exit::RunFailed => events::End::RunFailed,
            Exit::Usage => events::End::Usage,
            Exit::Failed | Exit::Changes | Exit::Interrupted => events::End::Failed,
        };
        self.tell(Told::End { outcome, exit_code: exit as u8 });
        self.0.lock().ok().and_then(|mut first| first.take()).map_or(Ok(()), Err)
    }
}

fn write(out: &mut impl std::io::Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

fn heard(written: std::io::Result<()>) -> Result<bool, Problem> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Problem::failed(format!("failed to write to standard output: {error}"))),
    }
}
