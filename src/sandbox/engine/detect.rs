//! Which engine answers on this machine: Docker, else Podman, else bubblewrap; or the one that was asked for by name.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use super::bubblewrap::Bubblewrap;
use super::container::{Cli, Containers};

/// The environment variable that asks for an engine by name.
pub const ENGINE_VARIABLE: &str = "SEQSTACK_SANDBOX_ENGINE";

/// The names of the engines, in the order in which they are tried.
pub const ENGINES: [&str; 3] = ["docker", "podman", "bubblewrap"];

/// The way from a task to the sandbox, and the only one out of a task's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// The sandbox's port, on which the relay listens inside a task's network.
    pub port: u16,
    /// The sandbox's unix socket. Its folder is what tasks' relays see of this machine.
    pub socket: PathBuf,
}

/// No engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The name is none of ours.
    #[error("there is no task engine named {0:?}: it is one of docker, podman, bubblewrap")]
    Unknown(String),
    /// The one that was asked for does not work here.
    #[error("the task engine {name} does not work on this machine: {why}")]
    Unusable {
        /// Its name.
        name: &'static str,
        /// What it answered.
        why: String,
    },
    /// None works here.
    #[error("no task engine works on this machine: {0}")]
    None(String),
    /// The sandbox's folder cannot be used.
    #[error("failed to prepare the sandbox's folder")]
    Folder(#[source] std::io::Error),
}

/// Finds the engine to run tasks with. `folder` is the sandbox's, `exe` our own binary, `prefer` a name; without one
/// `SEQSTACK_SANDBOX_ENGINE` is looked at.
///
/// # Errors
///
/// When no engine works here, or not the one asked for.
pub fn detect(folder: &Path, exe: &Path, prefer: Option<&str>, relay: &Relay) -> Result<Arc<dyn Engine>, EngineError> {
    let variable = std::env::var(ENGINE_VARIABLE).ok().filter(|name| !name.is_empty());
    if let Some(name) = prefer.map(str::to_owned).or(variable) {
        let Some(name) = ENGINES.into_iter().find(|known| *known == name) else {
            return Err(EngineError::Unknown(name));
        };
        usable(name).map_err(|why| EngineError::Unusable { name, why })?;
        return open(name, folder, exe, relay);
    }
    let mut whys = Vec::new();
    for name in ENGINES {
        match usable(name) {
            Ok(()) => return open(name, folder, exe, relay),
            Err(why) => whys.push(format!("{name}: {why}")),
        }
    }
    Err(EngineError::None(whys.join("; ")))
}

fn open(name: &str, folder: &Path, exe: &Path, relay: &Relay) -> Result<Arc<dyn Engine>, EngineError> {
    let engine: Arc<dyn Engine> = match name {
        "docker" => Arc::new(Containers::open(Cli::Docker, folder, exe, relay).map_err(EngineError::Folder)?),
        "podman" => Arc::new(Containers::open(Cli::Podman, folder, exe, relay).map_err(EngineError::Folder)?),
        _ => Arc::new(Bubblewrap::open(folder, exe, relay).map_err(EngineError::Folder)?),
    };
    Ok(engine)
}

/// Whether an engine works on this machine, by asking it.
///
/// # Errors
///
/// Why it does not.
pub fn usable(name: &str) -> Result<(), String> {
    match name {
        // A client without its daemon prints "Server: null" and, in some releases, still exits with 0.
        "docker" => match ask("docker", &["info", "--format", "{{.ServerVersion}}"])?.as_str() {
            "" => Err("its daemon does not answer".to_owned()),
            _ => Ok(()),
        },
        "podman" => ask("podman", &["info", "--format", "{{.Host.OS}}"]).map(drop),
        // Namespaces may be forbidden where the program is installed: only making them tells.
        _ => ask("bwrap", &["--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]).map(drop),
    }
}

// A daemon that hangs must not hang us.
fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("it is not installed".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let asked = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if asked.elapsed() > PATIENCE => {
                child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
                return Err(format!("it did not answer within {} s", PATIENCE.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut out = String::new();
    let mut err = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut out).map_err(|error| error.to_string())?;
    }
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut err).map_err(|error| error.to_string())?;
    }
    if status.success() {
        return Ok(out.trim().to_owned());
    }
    Err(err.lines().find(|line| !line.trim().is_empty()).map_or_else(|| status.to_string(), |line| line.trim().to_owned()))
}
