//! One bubblewrap task's own process: it starts the task, writes its log and its end, and outlives the sandbox.
//!
//! All that passes between it and the sandbox are files in the task's folder: `run.json` (what to run), `stop` and `kill`
//! (requests), `log`, `started.json` and `exit.json` (answers). That it lives is a lock on `alive`, never a pid.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, PipeReader, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Process;
use super::book::{Line, read_json, stamped, write_json};
use super::cgroup::Cgroup;
use super::lines::{LARGEST_EVENT, Stream};
use super::relay::{self, STARTED, TERMINATE};

/// How long a task has between SIGTERM and SIGKILL, as ECS's agent gives it.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How often files and the child are looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// What a supervisor runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The program (bubblewrap) and its arguments.
    pub argv: Vec<String>,
    /// The whole environment of the task; never on a command line, which everybody can read.
    pub environment: BTreeMap<String, String>,
    /// The hard memory limit, MiB.
    pub memory_mib: u64,
    /// Our own binary.
    pub exe: PathBuf,
    /// What the log begins with.
    pub preface: String,
}

/// Runs `sandbox-supervise`: with a task's folder; or, between the two, with `--enter FILE -- PROGRAM…`, which enters a
/// control group and becomes the program, so that nothing of it ever runs outside.
pub fn supervise_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let done = match arguments.as_slice() {
        [folder] => supervise(Path::new(folder)),
        [enter, procs, dashes, program, rest @ ..] if enter == "--enter" && dashes == "--" => {
            fs::write(procs, std::process::id().to_string()).and_then(|()| Err(Command::new(program).args(rest).exec()))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "one task folder is needed")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Err(lost) = writeln!(io::stderr(), "seqstack sandbox-supervise: {error}") {
                tracing::debug!(%lost, "standard error is closed");
            }
            ExitCode::FAILURE
        }
    }
}

fn supervise(folder: &Path) -> io::Result<()> {
    let alive = File::create(folder.join("alive"))?;
    match alive.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if folder.join("exit.json").exists() || folder.join("started.json").exists() {
        return Ok(());
    }
    let run: Run = read_json(&folder.join("run.json"))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "run.json is missing or not whole"))?;
    // It holds the task's environment, secrets included, and has been read.
    fs::remove_file(folder.join("run.json"))?;
    let end = attempt(folder, &run).unwrap_or_else(|error| Process::Failed {
        at: Timestamp::now(),
        reason: format!("CannotStartContainerError: {error}"),
    });
    if folder.join("exit.json").exists() {
        return Ok(());
    }
    write_json(&folder.join("exit.json"), &end)
}

fn attempt(folder: &Path, run: &Run) -> io::Result<Process> {
    let mut log = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("log"))?;
    let mut note = |line: &str| log.write_all(stamped(Timestamp::now(), line).as_bytes());
    note(&run.preface)?;
    let group = match Cgroup::make(folder, run.memory_mib << 20) {
        Ok(group) => Some(group),
        Err(error) => {
            note(&format!("seqstack: the memory limit of {} MiB is not enforced: {error}", run.memory_mib))?;
            None
        }
    };
    drop(log);
    // Of the program's own making only once the relay has written to it; the relay opens it before the program runs.
    let status = folder.join("status");
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&status)?;

    let (out, stdout) = io::pipe()?;
    let (err, stderr) = io::pipe()?;
    let mut child = match spawn(run, group.as_ref(), stdout, stderr) {
        Ok(child) => child,
        Err(error) => {
            if let Some(group) = &group {
                group.remove();
            }
            return Err(error);
        }
    };
    let log = Arc::new(Mutex::new(OpenOptions::new().append(true).open(folder.join("log"))?));
    let written = [copy_log(out, &log)?, copy_log(err, &log)?];
    let (since, code) = watch(folder, &status, &mut child)?;
    // Every process of the pid namespace has died with its first one, so the pipes have ended too.
    for stream in written {
        stream.join().map_err(|_| io::Error::other("the thread that writes the log failed"))??;
    }
    let out_of_memory = group.as_ref().is_some_and(Cgroup::out_of_memory);
    if let Some(group) = &group {
        group.remove();
    }
    let at = Timestamp::now();
    let said = fs::read_to_string(&status)?;
    if said == STARTED {
        return Ok(Process::Exited { since: since.unwrap_or(at), at, code, out_of_memory });
    }
    let reason = said.strip_prefix("failed ").map_or_else(|| last_line(folder), str::to_owned);
    Ok(Process::Failed { at, reason: format!("CannotStartContainerError: {reason}") })
}

fn spawn(run: &Run, group: Option<&Cgroup>, stdout: io::PipeWriter, stderr: io::PipeWriter) -> io::Result<Child> {
    let Some((program, arguments)) = run.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing to run"));
    };
    let mut command = match group {
        Some(group) => {
            let mut command = Command::new(&run.exe);
            command.args(["sandbox-supervise", "--enter"]).arg(group.procs()).arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments).env_clear().envs(&run.environment).stdin(Stdio::piped());
    command.stdout(stdout).stderr(stderr).spawn()
}

type Copying = thread::JoinHandle<io::Result<()>>;

// One of the two streams. A row of the file is one write, so that the streams' rows are not mixed.
fn copy_log(reader: PipeReader, log: &Arc<Mutex<File>>) -> io::Result<Copying> {
    let log = Arc::clone(log);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut stream = Stream::default();
        let mut bytes = Vec::new();
        let write = |events: Vec<Line>| -> io::Result<()> {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            events.iter().try_for_each(|(at, line)| log.write_all(stamped(*at, line).as_bytes()))
        };
        while reader.by_ref().take(LARGEST_EVENT as u64).read_until(b'\n', &mut bytes)? > 0 {
            let line = bytes.strip_suffix(b"\n");
            write(stream.add(Timestamp::now(), line.unwrap_or(&bytes), line.is_some()))?;
            bytes.clear();
        }
        write(stream.rest())
    })
}

// Waits for the end, passing stop requests on. Returns since when the program ran, and bubblewrap's exit code.
fn watch(folder: &Path, status: &Path, child: &mut Child) -> io::Result<(Option<Timestamp>, i32)> {
    let mut since = None;
    let mut stopping: Option<Instant> = None;
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok((since, relay::code_of(ended)));
        }
        if since.is_none() && fs::read_to_string(status)? == STARTED {
            let now = Timestamp::now();
            write_json(&folder.join("started.json"), &Process::Running { since: now })?;
            since = Some(now);
        }
        if folder.join("kill").exists() {
            child.kill()?;
        }
        if folder.join("stop").exists() {
            match stopping {
                // Before the program runs there is nobody to hear it.
                None if since.is_some() => {
                    if let Some(stdin) = &mut child.stdin {
                        // It fails when the program has just ended, which the next look will show.
                        drop(stdin.write_all(&[TERMINATE]).and_then(|()| stdin.flush()));
                    }
                    stopping = Some(Instant::now());
                }
                // Closing standard input lets the relay kill the program and report 137.
                Some(asked) if asked.elapsed() > STOP_TIMEOUT => drop(child.stdin.take()),
                _ => {}
            }
        }
        thread::sleep(GLANCE);
    }
}

fn last_line(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let last = log.lines().last().and_then(|line| line.split_once(' ')).map(|(_, line)| line.to_owned());
    last.unwrap_or_else(|| "it ended before the program was started".to_owned())
}

/// Whether a supervisor lives in this task's folder.
pub fn lives(folder: &Path) -> bool {
    // Shared, so that two who ask do not see each other.
    File::open(folder.join("alive")).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Starts a supervisor for a task's folder, in a process group of its own, so that nothing meant for ours reaches it.
///
/// # Errors
///
/// When it cannot be started.
pub fn start(exe: &Path, folder: &Path) -> io::Result<()> {
    let errors = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("supervisor.log"))?;
    let mut command = Command::new(exe);
    command.arg("sandbox-supervise").arg(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let mut child = command.spawn()?;
    // It is waited for only so that it leaves no zombie while we live.
    thread::Builder::new().name("supervisor".to_owned()).spawn(move || child.wait())?;
    Ok(())
}

/// Reads what `log` has beyond `offset` bytes, whole lines only; returns them with the new offset.
pub fn read_log(path: &Path, offset: u64) -> (Vec<Line>, u64) {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return (Vec::new(), offset);
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..whole]);
    let lines = text.split_terminator('\n').filter_map(super::book::parse_line).collect();
    (lines, offset + u64::try_from(whole).unwrap_or(u64::MAX))
}
