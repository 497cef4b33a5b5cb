//! The sandbox as a process of its own, seen from a command: found where it runs, started where it does not.
//!
//! All is in one folder (`.sandbox/`, 0700): `lock` is held while the process lives, and nothing else says that it does;
//! `sandbox.json` is its handshake, `keys.json` (0600) the only key pair it accepts, `sandbox.log` what it says. A command
//! never reads the account's own files: it talks to the process or not at all. The lock's file also names its holder's
//! pid, for `stop --force` alone, which ends a process that does not answer any more.

pub mod serve;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::engine::book::read_json;
use super::engine::detect::ENGINE_VARIABLE;

/// The form of the files in the folder; another one is not understood.
pub const SCHEMA: u32 = 1;

/// How long a process may take to answer after its start. Looking for an engine can take most of it.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long an idle process may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(7);
const GLANCE: Duration = Duration::from_millis(25);
/// In a request to end: although something runs.
const NOW: &str = "now";

/// What a command needs to talk to a sandbox.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// The region that clients use where nobody names one.
    pub region: String,
    /// The account's number.
    pub account: String,
    /// What runs its tasks.
    pub engine: String,
    /// The access key's id.
    pub key_id: String,
    /// The secret access key.
    pub secret: String,
    /// What whoever started it should be told; nothing for whoever found it running.
    pub note: Option<String>,
}

// The secret stays out of whatever prints an endpoint.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, region, account, engine, key_id, secret: _, note: _ } = self;
        let mut shown = f.debug_struct("Endpoint");
        shown.field("url", url).field("region", region).field("account", account);
        shown.field("engine", engine).field("key_id", key_id).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Lines for a shell to evaluate, so that any AWS tool talks to this sandbox and to nothing else.
    pub fn shell_lines(&self) -> String {
        let set = [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", &self.key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", &self.region),
            ("AWS_DEFAULT_REGION", &self.region),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let mut lines = "unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN\n".to_owned();
        for (name, value) in set {
            lines.push_str(&format!("export {name}={}\n", shell_words::quote(value)));
        }
        lines
    }
}

/// The only key pair that a sandbox accepts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The access key's id.
    pub key_id: String,
    /// The secret access key.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What a sandbox says of itself in `sandbox.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handshake {
    /// Of this one process; random.
    pub id: String,
    /// The version and build of its binary.
    pub version: String,
    /// The form of its files.
    pub schema: u32,
    /// On loopback.
    pub port: u16,
    /// What tasks' relays connect to.
    pub socket: PathBuf,
    /// What runs its tasks.
    pub engine: String,
    /// The region that clients use where nobody names one.
    pub region: String,
    /// The account's number.
    pub account: String,
    /// Somebody runs it in a terminal: it ends when they say so.
    #[serde(default)]
    pub foreground: bool,
    /// What whoever starts it should be told.
    #[serde(default)]
    pub note: Option<String>,
}

/// No sandbox.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder cannot be used.
    #[error("failed to use the sandbox's folder {}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its binary cannot be started.
    #[error("failed to start a sandbox")]
    Spawn(#[source] io::Error),
    /// It ended before it answered.
    #[error("the sandbox ended at once ({status}): {said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The last thing that it said.
        said: String,
    },
    /// It lives but does not answer.
    #[error("the sandbox did not answer within {} s; what it says is in {}", .seconds, .log.display())]
    Silent {
        /// How long it had.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// Something runs there with another engine than the one asked for.
    #[error("the sandbox at work here runs tasks with {running}, not with {wanted}: destroy what runs in it first")]
    Engine {
        /// What it has.
        running: String,
        /// What was asked for.
        wanted: String,
    },
    /// Another version's sandbox is at work in the folder.
    #[error(
        "a sandbox of another version is at work here (it is {running}, schema {schema}; this is {ours}, schema {SCHEMA}): \
         destroy what runs in it with that version, or wait until it ends by itself"
    )]
    Version {
        /// Its version.
        running: String,
        /// Its schema.
        schema: u32,
        /// Ours.
        ours: String,
    },
}

/// The sandbox that runs in a folder, if one does.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn running(folder: &Path) -> Result<Option<Handshake>, StartError> {
    Ok(if lives(folder).map_err(in_folder(folder))? { read_json(&folder.join("sandbox.json")) } else { None })
}

/// Finds the sandbox in `folder`, or starts `exe sandbox-serve` there, apart from us: it outlives the command. `engine`
/// asks for one by name, as `SEQSTACK_SANDBOX_ENGINE` does. An idle sandbox of another build or engine makes way.
///
/// # Errors
///
/// When the folder cannot be used, a sandbox does not start, or one of another schema or engine is at work.
pub async fn connect_or_start(folder: &Path, exe: &Path, engine: Option<&str>) -> Result<Endpoint, StartError> {
    make_folder(folder).map_err(in_folder(folder))?;
    let folder = &fs::canonicalize(folder).map_err(in_folder(folder))?;
    let ours = version(exe);
    let wanted =
        engine.map(str::to_owned).or_else(|| std::env::var(ENGINE_VARIABLE).ok()).filter(|name| !name.is_empty());
    let fits = |shake: &Handshake| {
        (shake.version == ours || shake.foreground) && shake.schema == SCHEMA && has_engine(shake, wanted.as_deref())
    };
    if let Some(shake) = answering(folder).await?
        && fits(&shake)
    {
        return endpoint(folder, shake);
    }
    // One command starts it; the others wait here and then find it.
    let _starting = lock_to_start(folder).await?;
    if let Some(shake) = answering(folder).await? {
        if fits(&shake) {
            return endpoint(folder, shake);
        }
        // Of another build or engine: an idle one gives way, one at work, or in somebody's terminal, is used as long as we
        // understand each other.
        if shake.foreground || !ask_to_end(folder, &shake.id).await? {
            if shake.schema != SCHEMA {
                return Err(StartError::Version { running: shake.version, schema: shake.schema, ours });
            }
            return match wanted.filter(|wanted| !has_engine(&shake, Some(wanted))) {
                Some(wanted) => Err(StartError::Engine { running: shake.engine, wanted }),
                None => endpoint(folder, shake),
            };
        }
    }
    let id = random_hex(8).map_err(StartError::Spawn)?;
    let mut child = spawn(folder, exe, engine, &id)?;
    let asked = Instant::now();
    loop {
        if let Some(shake) = running(folder)?.filter(|shake| shake.id == id)
            && TcpStream::connect(("127.0.0.1", shake.port)).await.is_ok()
        {
            let note = shake.note.clone();
            return Ok(Endpoint { note, ..endpoint(folder, shake)? });
        }
        if let Some(status) = child.try_wait().map_err(StartError::Spawn)? {
            return Err(StartError::Ended { status, said: last_words(folder) });
        }
        if asked.elapsed() > START_TIMEOUT {
            return Err(silent(folder, START_TIMEOUT));
        }
        sleep(GLANCE).await;
    }
}

/// Asks the sandbox in `folder` to end if nothing runs in it. True if none runs any more.
///
/// # Errors
///
/// When the folder cannot be used.
pub async fn stop(folder: &Path) -> Result<bool, StartError> {
    match answering(folder).await? {
        Some(shake) => ask_to_end(folder, &shake.id).await,
        None => Ok(true),
    }
}

/// Ends the sandbox in `folder` whatever runs in it, and whether it answers or not: it is asked, then killed. Its tasks go
/// on, and the next one finds them. True if none runs any more.
///
/// # Errors
///
/// When the folder cannot be used, or the process is not ours to kill.
pub async fn force(folder: &Path) -> Result<bool, StartError> {
    let in_folder = in_folder(folder);
    if let Some(shake) = running(folder)?
        && ask_to_end(folder, &format!("{} {NOW}", shake.id)).await?
    {
        return Ok(true);
    }
    if !lives(folder).map_err(&in_folder)? {
        return Ok(true);
    }
    let pid = fs::read_to_string(folder.join("lock")).map_err(&in_folder)?;
    let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| in_folder(io::Error::new(io::ErrorKind::InvalidData, "its lock names no process")))?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|error| in_folder(error.into()))?;
    ended(folder).await
}

/// The sandbox that answers in `folder`, if one does.
///
/// # Errors
///
/// When the folder cannot be read, or one lives there and does not answer.
pub async fn connect(folder: &Path) -> Result<Option<Endpoint>, StartError> {
    answering(folder).await?.map(|shake| endpoint(folder, shake)).transpose()
}

/// Whether there was ever a sandbox in `folder`.
pub fn known(folder: &Path) -> bool {
    folder.join("keys.json").exists()
}

/// The version and the build of a binary, so that a rebuilt one does not talk to its own past by accident.
pub fn version(exe: &Path) -> String {
    let build =
        fs::metadata(exe).map(|found| format!("{:x}.{:x}.{:x}", found.len(), found.mtime(), found.mtime_nsec()));
    format!("{}+{}", env!("CARGO_PKG_VERSION"), build.unwrap_or_default())
}

fn has_engine(shake: &Handshake, wanted: Option<&str>) -> bool {
    // An engine's name may say more after its first word.
    wanted.is_none_or(|wanted| shake.engine.split(' ').next() == Some(wanted))
}

fn in_folder(folder: &Path) -> impl Fn(io::Error) -> StartError {
    let folder = folder.to_owned();
    move |source| StartError::Folder { folder: folder.clone(), source }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn open_lock(folder: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).read(true).mode(0o600).open(folder.join(name))
}

// Whether its lock is held. Asked with a shared lock, so that two who ask do not see each other.
fn lives(folder: &Path) -> io::Result<bool> {
    let file = match File::open(folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

// The one that lives, once it answers; `None` if none lives.
async fn answering(folder: &Path) -> Result<Option<Handshake>, StartError> {
    let asked = Instant::now();
    while lives(folder).map_err(in_folder(folder))? {
        if let Some(shake) = read_json::<Handshake>(&folder.join("sandbox.json"))
            && TcpStream::connect(("127.0.0.1", shake.port)).await.is_ok()
        {
            return Ok(Some(shake));
        }
        if asked.elapsed() > START_TIMEOUT {
            return Err(silent(folder, START_TIMEOUT));
        }
        sleep(GLANCE).await;
    }
    Ok(None)
}

async fn lock_to_start(folder: &Path) -> Result<File, StartError> {
    let file = open_lock(folder, "start.lock").map_err(in_folder(folder))?;
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if asked.elapsed() > START_TIMEOUT * 2 => {
                return Err(silent(folder, START_TIMEOUT * 2));
            }
            Err(TryLockError::WouldBlock) => sleep(GLANCE).await,
            Err(TryLockError::Error(error)) => return Err(in_folder(folder)(error)),
        }
    }
}

// By a file that names the process it is meant for: no pid, and no request that an older one might not know.
async fn ask_to_end(folder: &Path, words: &str) -> Result<bool, StartError> {
    let request = folder.join("stop");
    fs::write(&request, words).map_err(in_folder(folder))?;
    let ended = ended(folder).await?;
    match fs::remove_file(&request) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(in_folder(folder)(error)),
        _ => Ok(ended),
    }
}

// Whether none lives any more, or soon.
async fn ended(folder: &Path) -> Result<bool, StartError> {
    let asked = Instant::now();
    while lives(folder).map_err(in_folder(folder))? {
        if asked.elapsed() > STOP_TIMEOUT {
            return Ok(false);
        }
        sleep(GLANCE).await;
    }
    Ok(true)
}

fn spawn(folder: &Path, exe: &Path, engine: Option<&str>, id: &str) -> Result<Child, StartError> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("sandbox.log"));
    let log = log.map_err(in_folder(folder))?;
    let again = log.try_clone().map_err(in_folder(folder))?;
    let mut command = Command::new(exe);
    command.arg("sandbox-serve").arg("--folder").arg(folder).args(["--id", id]);
    if let Some(engine) = engine {
        command.args(["--engine", engine]);
    }
    // A group of its own: Ctrl-C in the command's terminal is not meant for it.
    command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(again);
    // It answers to its key alone; whatever credentials the command has are none of its business.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
    }
    command.spawn().map_err(StartError::Spawn)
}

fn endpoint(folder: &Path, shake: Handshake) -> Result<Endpoint, StartError> {
    let keys: Option<Keys> = read_json(&folder.join("keys.json"));
    let keys =
        keys.ok_or_else(|| in_folder(folder)(io::Error::new(io::ErrorKind::InvalidData, "keys.json is not whole")))?;
    let Handshake { port, engine, region, account, .. } = shake;
    let url = format!("http://127.0.0.1:{port}");
    Ok(Endpoint { url, region, account, engine, key_id: keys.key_id, secret: keys.secret, note: None })
}

fn silent(folder: &Path, time: Duration) -> StartError {
    StartError::Silent { seconds: time.as_secs(), log: folder.join("sandbox.log") }
}

fn last_words(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("sandbox.log")).unwrap_or_default();
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_is_a_lock_and_a_stale_handshake_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sandbox.json"), "{}").unwrap();
        assert_eq!(running(folder.path()).unwrap(), None);
        let lock = open_lock(folder.path(), "lock").unwrap();
        assert!(!lives(folder.path()).unwrap(), "a lock file alone is no process");
        lock.try_lock().unwrap();
        assert!(lives(folder.path()).unwrap());
    }

    #[test]
    fn an_endpoint_shows_no_secret_but_to_a_shell() {
        let text = |text: &str| text.to_owned();
        let endpoint = Endpoint {
            url: text("http://127.0.0.1:1"),
            region: text("eu-west-2"),
            account: text("123456789012"),
            engine: text("docker"),
            key_id: text("AKIAEXAMPLE"),
            secret: text("a secret'"),
            note: None,
        };
        assert!(!format!("{endpoint:?}").contains("secret'"));
        let lines = endpoint.shell_lines();
        let line = lines.lines().find_map(|line| line.strip_prefix("export AWS_SECRET_ACCESS_KEY=")).unwrap();
        assert_eq!(shell_words::split(line).unwrap(), ["a secret'"]);
    }
}
