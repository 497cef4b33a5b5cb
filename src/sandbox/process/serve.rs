//! The sandbox's own process: takes the folder's lock, listens, and ends when nobody needs it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Handshake, Keys, NOW, SCHEMA, make_folder, open_lock, random_hex, version};
use crate::engine::Engine;
use crate::engine::book::{read_json, write_json};
use crate::engine::detect::{EngineError, Relay, detect};
use crate::listen::{Listener, Service, Traffic, listen};
use crate::service::Options;

/// After so long without a request and with nothing running, it ends.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long requests that are being answered have, once it ends.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// The longest path that a unix socket can have, with room for its closing zero.
const SOCKET_PATH_BYTES: usize = 107;

/// The arguments of `sandbox-serve`.
#[derive(Clone, Debug, clap::Parser)]
pub struct ServeArgs {
    /// The sandbox's folder
    #[arg(long)]
    pub folder: PathBuf,
    /// The id for its handshake; random if left out
    #[arg(long)]
    pub id: Option<String>,
    /// The port on loopback; the last one, or any free one, if left out
    #[arg(long)]
    pub port: Option<u16>,
    /// docker, podman or bubblewrap; the first that works if left out
    #[arg(long)]
    pub engine: Option<String>,
    /// Somebody runs it in a terminal: it does not end by itself
    #[arg(skip)]
    pub foreground: bool,
}

/// What the account is built from.
#[derive(Debug)]
pub struct Parts {
    /// The sandbox's folder: the account's own files go there.
    pub folder: PathBuf,
    /// The only key pair to accept.
    pub keys: Keys,
    /// `http://127.0.0.1:<port>`: for tasks, and (without the scheme) the only `Host` to accept.
    pub endpoint: String,
    /// What runs tasks.
    pub engine: Arc<dyn Engine>,
    /// How it is set.
    pub options: Options,
}

/// The sandbox could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its folder cannot be used.
    #[error("failed to use the sandbox's folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Another one lives in the folder.
    #[error("a sandbox runs in {} already", .0.display())]
    Running(PathBuf),
    /// It cannot listen.
    #[error("failed to listen on {0}")]
    Listen(String, #[source] io::Error),
    /// No place for a unix socket.
    #[error("{} is too long for a unix socket: set TMPDIR to a shorter folder", .0.display())]
    SocketPath(PathBuf),
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The account could not be read.
    #[error("failed to open the sandbox's account")]
    Build(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something of the process itself.
    #[error("failed to run the sandbox's process")]
    Process(#[source] io::Error),
}

/// Serves the sandbox until it is told to end (SIGTERM, SIGINT, or a request in its folder that finds it idle), or until
/// nothing runs in it and nobody has asked for ten minutes.
///
/// `exe` is our own binary, for relays and supervisors; `build` makes the account out of its parts.
///
/// # Errors
///
/// When another sandbox lives in the folder, no engine works, or a part of it cannot be made.
pub async fn serve<S, B>(args: ServeArgs, exe: &Path, options: Options, build: B) -> Result<(), ServeError>
where
    S: Service,
    B: FnOnce(Parts) -> Result<Arc<S>, Box<dyn std::error::Error + Send + Sync>>,
{
    let in_folder = |error| ServeError::Folder(args.folder.clone(), error);
    make_folder(&args.folder).map_err(in_folder)?;
    let folder = fs::canonicalize(&args.folder).map_err(in_folder)?;
    let _alive = take_lock(&folder).await?;
    let mut ends = Ends::new().map_err(ServeError::Process)?;
    let before = set_handshake_aside(&folder).map_err(in_folder)?;

    let tcp = bind(args.port, before.as_ref()).await?;
    let port = tcp.local_addr().map_err(ServeError::Process)?.port();
    let place = socket_folder(before.as_ref()).map_err(ServeError::Process)?;
    let (unix, socket) = bind_socket(&place)?;
    let keys = keys(&folder).map_err(in_folder)?;
    let relay = Relay { port, socket: socket.clone() };
    let (of, with, prefer) = (folder.clone(), exe.to_owned(), args.engine.clone());
    let engine = tokio::task::spawn_blocking(move || detect(&of, &with, prefer.as_deref(), &relay)).await;
    let engine = engine.map_err(|error| ServeError::Process(io::Error::other(error)))??;
    let id = args.id.clone().map_or_else(|| random_hex(8), Ok).map_err(ServeError::Process)?;
    let mut shake = Handshake {
        id: id.clone(),
        version: version(exe),
        schema: SCHEMA,
        port,
        socket,
        engine: engine.name().to_owned(),
        region: options.region.clone(),
        account: options.account.clone(),
        foreground: args.foreground,
        note: None,
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let service =
        build(Parts { folder: folder.clone(), keys, endpoint, engine, options }).map_err(ServeError::Build)?;

    shake.note = service.note();
    let traffic = Arc::new(Traffic::default());
    let (stop, stopped) = watch::channel(false);
    let mut listening = tokio::task::JoinSet::new();
    for listener in [Listener::loopback(tcp).map_err(ServeError::Process)?, Listener::Unix(unix)] {
        let (service, traffic) = (Arc::clone(&service), Arc::clone(&traffic));
        listening.spawn(listen(service, listener, traffic, stopped.clone(), LAST_REQUESTS));
    }
    // From here on it is found.
    write_json(&folder.join("sandbox.json"), &shake).map_err(in_folder)?;
    tracing::info!(port, engine = shake.engine, "the sandbox serves");
    let idle = if args.foreground { Duration::MAX } else { IDLE_TIMEOUT };
    let why = ends.wait(&folder, &id, &*service, &traffic, idle).await;
    tracing::info!(why, "the sandbox ends");
    stop.send_replace(true);
    while listening.join_next().await.is_some() {}
    if !service.busy() {
        // Tasks that go on need the folder of the socket again, by its very inode.
        fs::remove_dir_all(&place).map_err(ServeError::Process)?;
    }
    Ok(())
}

async fn take_lock(folder: &Path) -> Result<File, ServeError> {
    // One who looks whether we live holds it for a moment.
    const PATIENCE: Duration = Duration::from_secs(3);
    let file = open_lock(folder, "lock").map_err(|error| ServeError::Folder(folder.to_owned(), error))?;
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => {
                // Nothing goes by it but a kill that a person asked for.
                let named = file.set_len(0).and_then(|()| (&file).write_all(std::process::id().to_string().as_bytes()));
                named.map_err(|error| ServeError::Folder(folder.to_owned(), error))?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) if asked.elapsed() < PATIENCE => sleep(Duration::from_millis(20)).await,
            Err(TryLockError::WouldBlock) => return Err(ServeError::Running(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(ServeError::Folder(folder.to_owned(), error)),
        }
    }
}

// Who finds us alive must not take an earlier one's handshake for ours; we still want its port and its socket's place.
fn set_handshake_aside(folder: &Path) -> io::Result<Option<Handshake>> {
    let (current, previous) = (folder.join("sandbox.json"), folder.join("sandbox.previous.json"));
    match fs::rename(&current, &previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(read_json(&previous))
}

// The port of before, where it can be had: tasks that run on were told that one.
async fn bind(port: Option<u16>, before: Option<&Handshake>) -> Result<TcpListener, ServeError> {
    let refused = |port: u16| move |error| ServeError::Listen(format!("127.0.0.1:{port}"), error);
    if let Some(port) = port {
        return TcpListener::bind(("127.0.0.1", port)).await.map_err(refused(port));
    }
    if let Some(before) = before {
        match TcpListener::bind(("127.0.0.1", before.port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(%error, port = before.port, "the port of before is taken"),
        }
    }
    TcpListener::bind(("127.0.0.1", 0)).await.map_err(refused(0))
}

// A private folder under the system's temporary one: a path in the sandbox's own folder may be too long for a socket.
// The one of before, if it is still ours alone, as the network of running tasks has it mounted.
fn socket_folder(before: Option<&Handshake>) -> io::Result<PathBuf> {
    let known = before.and_then(|before| Some(before.socket.parent()?.parent()?.to_owned()));
    if let Some(known) = known
        && fs::symlink_metadata(&known).is_ok_and(|found| {
            found.is_dir() && found.mode() & 0o777 == 0o700 && found.uid() == rustix::process::geteuid().as_raw()
        })
    {
        return Ok(known);
    }
    let private = fs::Permissions::from_mode(0o700);
    Ok(tempfile::Builder::new().prefix("seqstack-").permissions(private).tempdir()?.keep())
}

// Tasks run as any user, so the socket is open to all; who may reach it is decided by the private folder around it on
// this machine, and inside a task by what is mounted. Every request is signed besides.
fn bind_socket(place: &Path) -> Result<(UnixListener, PathBuf), ServeError> {
    let inner = place.join("s");
    let socket = inner.join("sandbox");
    if socket.as_os_str().len() > SOCKET_PATH_BYTES {
        return Err(ServeError::SocketPath(socket));
    }
    let bound = || -> io::Result<UnixListener> {
        fs::create_dir_all(&inner)?;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755))?;
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    let listener = bound().map_err(|error| ServeError::Listen(socket.display().to_string(), error))?;
    Ok((listener, socket))
}

// Made once for a folder: a sandbox that is started again is the same account to whoever holds the keys.
fn keys(folder: &Path) -> io::Result<Keys> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let path = folder.join("keys.json");
    if let Some(keys) = read_json::<Keys>(&path) {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        return Ok(keys);
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let id: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    let keys = Keys { key_id: format!("AKIA{id}"), secret: random_hex(20)? };
    write_json(&path, &keys)?;
    Ok(keys)
}

struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait<S: Service>(
        &mut self,
        folder: &Path,
        id: &str,
        service: &S,
        traffic: &Traffic,
        idle: Duration,
    ) -> &'static str {
        let mut ticks = interval(Duration::from_millis(250));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "it was told to (SIGTERM)",
                _ = self.interrupt.recv() => return "it was told to (SIGINT)",
                _ = ticks.tick() => {
                    let quiet = traffic.quiet_for();
                    let request = fs::read_to_string(folder.join("stop")).unwrap_or_default();
                    let (of, how) = request.trim().split_once(' ').unwrap_or((request.trim(), ""));
                    if of == id && how == NOW {
                        return "it was told to (stop --force)";
                    }
                    if of == id && !quiet.is_zero() && !service.busy() {
                        return "it was asked to, and nothing runs in it";
                    }
                    if quiet >= idle && !service.busy() {
                        return "nothing runs in it, and nobody asked for a while";
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{Request, Response};
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Account(AtomicBool);

    impl Service for Account {
        fn largest_body(&self, _head: &http::request::Parts) -> usize {
            1024 * 1024
        }

        async fn handle(&self, _request: Request<Bytes>) -> Response<Bytes> {
            Response::new(Bytes::new())
        }

        fn busy(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_nobody_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let (account, mut traffic) = (Account(AtomicBool::new(true)), Traffic::default());
        let mut ends = Ends::new().unwrap();
        let mut why = async |account: &Account, traffic: &Traffic, idle: Duration, within: Duration| {
            tokio::time::timeout(within, ends.wait(folder.path(), "a", account, traffic, idle)).await.unwrap_or("")
        };
        let begun = Instant::now();
        assert_eq!(why(&account, &traffic, IDLE_TIMEOUT, IDLE_TIMEOUT * 3).await, "", "something runs in it");
        account.0.store(false, Ordering::SeqCst);
        assert_eq!(why(&account, &traffic, Duration::MAX, IDLE_TIMEOUT).await, "", "it is in somebody's terminal");
        assert!(why(&account, &traffic, IDLE_TIMEOUT, IDLE_TIMEOUT * 3).await.contains("nobody asked"));
        assert!(begun.elapsed() >= IDLE_TIMEOUT * 3);

        let second = Duration::from_secs(1);
        let ask = |words: &str| fs::write(folder.path().join("stop"), words).unwrap();
        traffic = Traffic::default();
        tokio::time::advance(second).await;
        ask("b");
        assert_eq!(why(&account, &traffic, IDLE_TIMEOUT, second).await, "", "the request was for another one");
        ask("a");
        assert!(why(&account, &traffic, IDLE_TIMEOUT, second).await.contains("asked to"));
        account.0.store(true, Ordering::SeqCst);
        assert_eq!(why(&account, &traffic, IDLE_TIMEOUT, second).await, "", "something runs in it");
        ask("a now");
        assert!(why(&account, &traffic, IDLE_TIMEOUT, second).await.contains("--force"));
    }

    #[test]
    fn keys_are_made_once_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = keys(folder.path()).unwrap();
        assert_eq!(keys(folder.path()).unwrap(), made);
        assert_eq!((made.key_id.len(), made.secret.len()), (20, 40));
        assert_eq!(fs::metadata(folder.path().join("keys.json")).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn the_socket_keeps_its_folder() {
        let place = socket_folder(None).unwrap();
        let (first, socket) = bind_socket(&place).unwrap();
        let inode = fs::metadata(socket.parent().unwrap()).unwrap().ino();
        drop(first);
        let before = Handshake {
            id: String::new(),
            version: String::new(),
            schema: SCHEMA,
            port: 1,
            socket: socket.clone(),
            engine: String::new(),
            region: String::new(),
            account: String::new(),
            foreground: false,
            note: None,
        };
        assert_eq!(socket_folder(Some(&before)).unwrap(), place);
        let (_second, again) = bind_socket(&place).unwrap();
        assert_eq!((again, fs::metadata(socket.parent().unwrap()).unwrap().ino()), (socket, inode));
        fs::remove_dir_all(place).unwrap();
    }
}
