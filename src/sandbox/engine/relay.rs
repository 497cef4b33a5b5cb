//! From a task's loopback to the sandbox's unix socket, byte by byte: the only way out of a task's network.
//!
//! It runs inside the task's network namespace: alone, as the one process of an instance's pause container; or, under
//! bubblewrap, as the first process, which starts the task's program, passes stop requests on to it and ends as it ends.
//! It never looks into what it carries.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// On standard input: pass SIGTERM on.
pub const TERMINATE: u8 = b't';
/// What a relay with nothing to run writes to its standard output once it listens.
pub const LISTENING: &str = "listening";
/// What is written to the status file once the program runs.
pub const STARTED: &str = "started";

/// The arguments of `sandbox-relay`.
#[derive(Debug, Default, PartialEq)]
pub struct RelayArgs {
    /// `--listen`: the address inside the task's network.
    pub listen: Option<SocketAddr>,
    /// `--to`: the sandbox's unix socket.
    pub to: PathBuf,
    /// `--user`: uid and gid to run the program as.
    pub user: Option<(u32, u32)>,
    /// `--status`: where to write whether the program was started, and if not, why.
    pub status: Option<PathBuf>,
    /// After `--`: the program to run, and its arguments.
    pub program: Vec<OsString>,
}

impl RelayArgs {
    /// Reads the command line after `sandbox-relay`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut found = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--" {
                found.program = arguments.collect();
                break;
            }
            let value = arguments.next().ok_or_else(|| format!("{} needs a value", name.to_string_lossy()))?;
            let text = value.to_string_lossy().into_owned();
            match name.to_str() {
                Some("--listen") => found.listen = Some(text.parse().map_err(|error| format!("--listen: {error}"))?),
                Some("--to") => found.to = PathBuf::from(value),
                Some("--status") => found.status = Some(PathBuf::from(value)),
                Some("--user") => {
                    let pair = text.split_once(':').and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
                    found.user = Some(pair.ok_or_else(|| format!("--user: {text:?} is not uid:gid"))?);
                }
                _ => return Err(format!("unknown argument {}", name.to_string_lossy())),
            }
        }
        if found.listen.is_some_and(|address| !address.ip().is_loopback()) {
            return Err("--listen: only loopback".to_owned());
        }
        Ok(found)
    }
}

/// Runs the relay: for ever, or until the program it was given ends; then with that program's exit code.
pub fn relay_main(args: RelayArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            // There is no other place to say it: standard error is the pause container's or the task's log.
            if let Err(lost) = writeln!(io::stderr(), "seqstack sandbox-relay: {error}") {
                tracing::debug!(%lost, "standard error is closed");
            }
            ExitCode::from(125)
        }
    }
}

fn run(args: RelayArgs) -> io::Result<ExitCode> {
    if let Some(address) = args.listen {
        let listener = TcpListener::bind(address)?;
        let to = args.to.clone();
        thread::Builder::new().name("relay".to_owned()).spawn(move || serve(&listener, &to))?;
    }
    if args.program.is_empty() {
        let mut out = io::stdout();
        writeln!(out, "{LISTENING}")?;
        out.flush()?;
        loop {
            thread::park();
        }
    }
    run_program(&args)
}

fn serve(listener: &TcpListener, to: &Path) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let to = to.to_owned();
        let carried = thread::Builder::new().spawn(move || {
            // A sandbox that is not there is, to the task, a connection that is closed: SDKs try again.
            if let Err(error) = carry(&connection, &to) {
                tracing::debug!(%error, "a relayed connection ended");
            }
        });
        if let Err(error) = carried {
            tracing::debug!(%error, "no thread for a relayed connection");
        }
    }
}

fn carry(task: &TcpStream, to: &Path) -> io::Result<()> {
    let sandbox = UnixStream::connect(to)?;
    task.set_nodelay(true)?;
    let (mut from_task, mut to_sandbox) = (task.try_clone()?, sandbox.try_clone()?);
    let upward = thread::Builder::new().spawn(move || {
        let copied = io::copy(&mut from_task, &mut to_sandbox);
        // The other end may be gone already, which is what a shutdown wants.
        drop(to_sandbox.shutdown(Shutdown::Write));
        copied
    })?;
    let copied = io::copy(&mut &sandbox, &mut &*task);
    drop(task.shutdown(Shutdown::Both));
    drop(sandbox.shutdown(Shutdown::Both));
    drop(upward.join());
    copied.map(drop)
}

fn run_program(args: &RelayArgs) -> io::Result<ExitCode> {
    // Opened before anything runs as another user, who must not be able to write it.
    let mut status = match &args.status {
        Some(path) => Some(OpenOptions::new().write(true).truncate(true).open(path)?),
        None => None,
    };
    let mut say = |text: &str| status.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes()));
    let Some((program, arguments)) = args.program.split_first() else { return Ok(ExitCode::from(125)) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    if let Some((uid, gid)) = args.user {
        // The standard library drops supplementary groups with the user.
        command.gid(gid).uid(uid);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let name = program.to_string_lossy();
            say(&format!("failed exec: \"{name}\": {}", reason(&error)))?;
            return Ok(ExitCode::from(127));
        }
    };
    say(STARTED)?;
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        thread::Builder::new().name("stop requests".to_owned()).spawn(move || pass_on_stops(pid))?;
    }
    Ok(exit_code(child.wait()?))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

// The program is a process of ours in our own pid namespace, so its number names it until we have waited for it. Standard
// input closes when the supervisor dies: then nobody would ever know how the program ends.
fn pass_on_stops(pid: Pid) {
    let mut byte = [0];
    while let Ok(1) = io::stdin().read(&mut byte) {
        if byte[0] == TERMINATE && kill_process(pid, Signal::TERM).is_err() {
            return;
        }
    }
    if let Err(error) = kill_process(pid, Signal::KILL) {
        tracing::debug!(%error, "the program had ended");
    }
}

/// What a shell would say of this end: the exit code, or 128 + n after signal n.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(u8::try_from(code_of(status)).unwrap_or(255))
}

/// Removes a folder with everything in it: run inside a container, where files of any user may be removed.
pub fn remove_main(path: &Path) -> ExitCode {
    let Ok(entries) = fs::read_dir(path) else { return ExitCode::FAILURE };
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if removed.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn bytes_pass_both_ways_and_ends_pass_on() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let sandbox = UnixListener::bind(&socket).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve(&listener, &socket));
        let answering = thread::spawn(move || {
            let (mut connection, _) = sandbox.accept().unwrap();
            let mut asked = String::new();
            connection.read_to_string(&mut asked).unwrap();
            connection.write_all(asked.to_uppercase().as_bytes()).unwrap();
        });
        let mut task = TcpStream::connect(address).unwrap();
        task.write_all(b"acgt").unwrap();
        task.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        task.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ACGT");
        answering.join().unwrap();
    }

    #[test]
    fn only_loopback_is_listened_on() {
        let parse = |text: &str| RelayArgs::parse(text.split(' ').map(OsString::from));
        let args = parse("--listen 127.0.0.1:80 --to /s --user 1:2 -- a --b").unwrap();
        assert_eq!((args.user, args.program.len()), (Some((1, 2)), 2));
        assert!(parse("--listen 0.0.0.0:80 --to /s").is_err());
        assert!(parse("--listen").is_err());
        assert!(parse("--other 1").is_err());
    }
}
