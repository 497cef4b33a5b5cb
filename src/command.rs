//! The verbs of the command line, one file each, and how a process ends.

use std::fmt;

pub mod apply;
pub mod destroy;
pub mod journal;
pub mod logs;
pub mod outlook;
pub mod plan;
pub mod prepare;
pub mod proceed;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod session;
pub mod status;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Whoever reads this process's stdout (data) and stderr (progress).
    Process,
    /// Nobody: for commands that a program runs by the hundred.
    Silent,
}

impl Console {
    /// Tells a line. A closed stderr is nobody listening: what is being done goes on.
    pub fn say(self, line: &str) {
        use std::io::Write as _;
        if self == Self::Process {
            let _nobody_listens = writeln!(anstream::stderr(), "{line}");
        }
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
        }
    }

    /// Puts text on stdout as it is, and says whether somebody still reads there.
    ///
    /// # Errors
    /// When stdout is full.
    pub fn pass(self, text: &str) -> Result<bool, Problem> {
        match self {
            Self::Silent => Ok(true),
            Self::Process => heard(write(&mut std::io::stdout().lock(), text)),
        }
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
