//! The task engines for real: real containers, real bubblewrap, real limits.
//!
//! Each test runs with every engine that answers here and has what it needs (the demo's image, or bubblewrap), and
//! prints `skipped` for one that does not.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; what is skipped is said"
)]
#![cfg(feature = "sandbox")]

mod here;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use seqstack::sandbox::engine::detect::{Relay, detect};
use seqstack::sandbox::engine::{Engine, Folder, Launch, More, Process};
use seqstack::sandbox::listen::Service;
use seqstack::sandbox::process::serve::{ServeArgs, ServeError, serve};
use seqstack::sandbox::process::{StartError, connect_or_start, running, stop};
use seqstack::sandbox::service::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const IMAGE: &str = "seqstack-demo/bwa:0.7.17";
const CHILD: &str = "SEQSTACK_ENGINE_TEST_CHILD";

struct Bench {
    engine: Arc<dyn Engine>,
    folder: PathBuf,
    _owned: Option<tempfile::TempDir>,
}

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_seqstack"))
}

fn ready(name: &str) -> bool {
    here::ready(name, IMAGE)
}

impl Bench {
    fn new(name: &str) -> Option<Self> {
        if !ready(name) {
            return None;
        }
        let owned = tempfile::tempdir().unwrap();
        let socket_folder = owned.path().join("s");
        fs::create_dir(&socket_folder).unwrap();
        fs::set_permissions(&socket_folder, fs::Permissions::from_mode(0o755)).unwrap();
        let socket = UnixListener::bind(socket_folder.join("sandbox")).unwrap();
        fs::set_permissions(socket_folder.join("sandbox"), fs::Permissions::from_mode(0o666)).unwrap();
        thread::spawn(move || {
            for connection in socket.incoming() {
                let mut connection = connection.unwrap();
                let mut asked = [0; 4];
                connection.read_exact(&mut asked).unwrap();
                connection.write_all(b"heard ").unwrap();
                connection.write_all(&asked).unwrap();
            }
        });
        let mut bench = Self::open(name, owned.path());
        bench._owned = Some(owned);
        Some(bench)
    }

    fn open(name: &str, top: &Path) -> Self {
        let folder = top.join("sandbox");
        fs::create_dir_all(&folder).unwrap();
        let table = "[[image]]\nimage = 'seqstack-demo/bwa'\nprograms = ['bash']\n";
        fs::write(folder.join("programs.toml"), table).unwrap();
        let relay = Relay { port: 4566, socket: top.join("s/sandbox") };
        Self { engine: detect(&folder, exe(), Some(name), &relay).unwrap(), folder, _owned: None }
    }

    fn launch(&self, task: &str, script: &str) -> Launch {
        Launch {
            task: task.to_owned(),
            instance: "i-0a".to_owned(),
            image: IMAGE.to_owned(),
            entry_point: None,
            command: Some(vec!["bash".into(), "-c".into(), script.into()]),
            environment: BTreeMap::from([("SAMPLE".to_owned(), "NA 12878".to_owned())]),
            user: Some("1000".to_owned()),
            working_dir: Some("/data".to_owned()),
            mounts: vec![("/var/lib/data".to_owned(), "/data".to_owned(), false)],
            folders: vec![Folder { path: "/var/lib/data".to_owned(), owner: (1000, 1000), mode: 0o755 }],
            memory_mib: 64,
            more: More::default(),
        }
    }

    fn start(&self, launch: &Launch) {
        self.engine.start(launch, Timestamp::now());
    }

    fn data(&self) -> PathBuf {
        self.folder.join("instances/i-0a/var/lib/data")
    }

    fn when(&self, task: &str, is: impl Fn(&Process) -> bool) -> Process {
        let found = within(Duration::from_secs(90), || self.engine.process(task, Timestamp::now()).filter(|at| is(at)));
        found.unwrap_or_else(|| {
            panic!("{task} is {:?}\n{:?}", self.engine.process(task, Timestamp::now()), self.lines(task))
        })
    }

    fn end(&self, task: &str) -> Process {
        self.when(task, |at| matches!(at, Process::Exited { .. } | Process::Failed { .. }))
    }

    fn code(&self, task: &str) -> (i32, bool) {
        match self.end(task) {
            Process::Exited { code, out_of_memory, .. } => (code, out_of_memory),
            other => panic!("{other:?}"),
        }
    }

    fn reason(&self, task: &str) -> String {
        match self.end(task) {
            Process::Failed { reason, .. } => reason,
            other => panic!("{other:?} {:?}", self.lines(task)),
        }
    }

    /// The log without what the engine itself says first.
    fn lines(&self, task: &str) -> Vec<String> {
        let log = self.engine.log(task, Timestamp::now()).into_iter().map(|(_, line)| line);
        log.filter(|line| !line.starts_with("seqstack: ")).collect()
    }

    fn end_instance(&self) {
        self.engine.end_instance("i-0a", Timestamp::now());
        let gone = within(Duration::from_secs(60), || {
            fs::read_dir(self.folder.join("instances")).unwrap().next().is_none().then_some(())
        });
        assert_eq!(gone, Some(()), "the instance's folder is deleted");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine.end_instance("i-0a", Timestamp::now());
        within(Duration::from_secs(60), || {
            fs::read_dir(self.folder.join("instances")).ok()?.next().is_none().then_some(())
        });
    }
}

fn within<T>(time: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        match look() {
            Some(found) => return Some(found),
            None if begun.elapsed() > time => return None,
            None => thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

fn a_task_sees_what_it_was_given(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    let script = r#"
        echo "$SAMPLE $(id -u) $PWD"; echo complaint >&2; echo kept > out.txt
        exec 3<>/dev/tcp/127.0.0.1/4566; printf ping >&3; cat <&3; echo
        exit 3"#;
    bench.start(&bench.launch("0a", script));
    assert_eq!(bench.code("0a"), (3, false), "{:?}", bench.lines("0a"));
    let mut lines = bench.lines("0a");
    // A container's two streams reach its engine apart, so their order is known to nobody.
    lines.sort();
    assert_eq!(lines, ["NA 12878 1000 /data", "complaint", "heard ping"]);
    assert_eq!(fs::read_to_string(bench.data().join("out.txt")).unwrap(), "kept\n");
    assert!(!bench.folder.join("tasks/0a/environment").exists() && !bench.folder.join("tasks/0a/run.json").exists());
    bench.start(
        &bench.launch("0b", "cat out.txt; ls -A /data; sed 1d /proc/net/route | wc -l; ls /sys/class/net || true"),
    );
    assert_eq!(bench.code("0b").0, 0);
    assert_eq!(bench.lines("0b")[..3], ["kept", "out.txt", "0"], "no route leads out of a task");
    bench.end_instance();
}

fn nothing_but_loopback(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    // A port of this machine, on its loopback: the task's loopback is another one.
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let script =
        format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) || echo refused; (exec 3<>/dev/tcp/192.0.2.1/80) || echo none");
    let begun = Instant::now();
    bench.start(&bench.launch("0a", &script));
    assert_eq!(bench.code("0a").0, 0);
    let lines = bench.lines("0a");
    assert!(lines.contains(&"refused".to_owned()) && lines.contains(&"none".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("Network is unreachable")), "{lines:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

fn memory_is_a_hard_limit(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    bench.start(&bench.launch("0a", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"));
    let end = bench.code("0a");
    let limited = !bench.engine.log("0a", Timestamp::now()).iter().any(|(_, line)| line.contains("is not enforced"));
    if limited {
        assert_eq!(end, (137, true), "{:?}", bench.lines("0a"));
    } else {
        println!("skipped: {name}: no memory limit can be made here");
    }
    let enough = Launch { memory_mib: 512, ..bench.launch("0b", "exec dd if=/dev/zero of=/dev/null bs=200M count=1") };
    bench.start(&enough);
    assert_eq!(bench.code("0b"), (0, false));
}

/// What a definition asks for beside the ordinary is done, or refused by its name.
fn limits_and_folders_in_memory_are_as_asked(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    let script = "ulimit -Sn; ulimit -Hn; df -m --output=size /dev/shm /scratch | tail -n 2 | tr -d ' '";
    let mut launch = bench.launch("0a", script);
    launch.more = More {
        ulimits: vec![("nofile".to_owned(), 321, 432)],
        shared_memory_mib: Some(8),
        tmpfs: vec![("/scratch".to_owned(), 4)],
        init: true,
        ..More::default()
    };
    if name == "bubblewrap" {
        bench.start(&launch);
        assert!(bench.reason("0a").contains("no `ulimits` under bubblewrap"));
        launch.task = "0b".to_owned();
        launch.more.ulimits.clear();
    }
    bench.start(&launch);
    assert_eq!(bench.code(&launch.task).0, 0, "{:?}", bench.lines(&launch.task));
    let lines = bench.lines(&launch.task);
    assert!(lines.ends_with(&["8".to_owned(), "4".to_owned()]), "{lines:?}");
    if name != "bubblewrap" {
        assert_eq!(lines[..2], ["321", "432"]);
    }
}

/// A task's log is the events that the awslogs driver sends.
fn a_line_is_an_event(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    let script = r#"
        line() { printf "%${1}s" | tr ' ' a; echo; }
        line 20000; line 300000; echo; echo "  kept  "; printf '\xff.\r\n'
        for part in 1 2 3 4 5 6; do
            echo "part $part"; printf '[##\r' >&2; sleep 0.02
        done
        printf end"#;
    bench.start(&bench.launch("0a", script));
    assert_eq!(bench.code("0a"), (0, false));
    let lines = bench.lines("0a");
    let long: Vec<usize> = lines.iter().map(String::len).filter(|length| *length > 100).collect();
    assert_eq!(long, [20_000, 262_118, 37_882]);
    let parts: Vec<&str> = lines.iter().filter(|line| line.starts_with("part ")).map(String::as_str).collect();
    assert_eq!(parts, ["part 1", "part 2", "part 3", "part 4", "part 5", "part 6"]);
    for line in ["  kept  ", "\u{fffd}.\r", "end", &"[##\r".repeat(6)] {
        assert!(lines.iter().any(|known| known == line), "{line:?} {:?}", &lines[3..]);
    }
    assert_eq!(lines.len(), 3 + 6 + 4, "an empty line is no event: {:?}", &lines[3..]);
    let log = bench.engine.log("0a", Timestamp::now());
    assert!(log.is_sorted_by_key(|line| line.0));
}

fn what_cannot_start_says_why(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    bench.start(&Launch { image: "lab/none:1".to_owned(), ..bench.launch("0a", "true") });
    let reason = bench.reason("0a");
    assert!(reason.starts_with("CannotPullContainerError: ") && reason.contains("lab/none:1"), "{reason}");
    bench.start(&Launch { command: Some(vec!["no-such-program".into()]), ..bench.launch("0b", "") });
    let reason = bench.reason("0b");
    assert!(reason.starts_with("CannotStartContainerError: ") && reason.contains("no-such-program"), "{reason}");
    let program = Some(vec!["bash".to_owned(), "-c".to_owned()]);
    bench.start(&Launch { entry_point: program, command: Some(vec!["exit 4".into()]), ..bench.launch("0c", "") });
    assert_eq!(bench.code("0c").0, 4, "an entry point of the task's own");
    assert_eq!(bench.engine.process("0d", Timestamp::now()), None);
}

/// A folder that user data does not make is root's, as Docker makes it; one that it makes is whose it says.
fn folders_are_whose_user_data_says(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    let folder = |path: &str, owner, mode| Folder { path: path.to_owned(), owner, mode };
    let touch = |task: &str, user: &str, host: &str| {
        let launch = Launch {
            user: Some(user.to_owned()),
            working_dir: None,
            mounts: vec![(host.to_owned(), "/scratch".to_owned(), false)],
            folders: vec![folder("/mine", (1001, 1001), 0o755), folder("/all", (0, 0), 0o777)],
            ..bench.launch(task, "echo x > /scratch/$RANDOM")
        };
        bench.start(&launch);
        bench.code(task).0
    };
    assert_eq!((touch("0a", "1001", "/mine"), touch("0b", "1000", "/all"), touch("0c", "0", "/none")), (0, 0, 0));
    assert_ne!(touch("0d", "1000", "/none"), 0);
    assert!(bench.lines("0d").iter().any(|line| line.contains("Permission denied")), "{:?}", bench.lines("0d"));
    // Where the sandbox is not root, no folder is another user's.
    if fs::metadata(bench.data().ancestors().nth(3).unwrap().join("mine")).unwrap().uid() == 1001 {
        assert_ne!(touch("0e", "1000", "/mine"), 0);
    }
}

fn stopping_is_a_signal_the_program_hears(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    bench.start(&bench.launch("0a", "trap 'echo heard; exit 7' TERM; echo up; while :; do sleep 0.05; done"));
    within(Duration::from_secs(60), || (!bench.lines("0a").is_empty()).then_some(()));
    bench.when("0a", |at| matches!(at, Process::Running { .. }));
    bench.engine.stop("0a", Timestamp::now());
    assert_eq!(bench.code("0a"), (7, false));
    assert_eq!(bench.lines("0a"), ["up", "heard"]);
}

fn an_instance_ends_with_its_tasks(name: &str) {
    let Some(bench) = Bench::new(name) else { return };
    bench.start(&bench.launch("0a", "echo up; exec sleep 600"));
    bench.when("0a", |at| matches!(at, Process::Running { .. }));
    bench.end_instance();
    assert_eq!(bench.code("0a"), (137, false));
    bench.start(&bench.launch("0b", "true"));
    assert!(bench.reason("0b").contains("terminated"));
}

// The sandbox is a child process here, killed without a chance to tidy up.
fn a_task_outlives_the_sandbox(name: &str, test: &str) {
    if let Ok(top) = std::env::var(CHILD) {
        let bench = Bench::open(name, Path::new(&top));
        bench.start(&bench.launch("0a", "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second; exit 5"));
        within(Duration::from_secs(60), || (!bench.lines("0a").is_empty()).then_some(()));
        bench.when("0a", |at| matches!(at, Process::Running { .. }));
        fs::write(Path::new(&top).join("up"), "").unwrap();
        loop {
            thread::park();
        }
    }
    if !ready(name) {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("s")).unwrap();
    let mut sandbox = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, top.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let up = within(Duration::from_secs(90), || top.path().join("up").exists().then_some(()));
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    assert_eq!(up, Some(()), "the task runs");

    let bench = Bench::open(name, top.path());
    bench.when("0a", |at| matches!(at, Process::Running { .. }));
    fs::write(bench.data().join("go"), "").unwrap();
    assert_eq!(bench.code("0a"), (5, false));
    assert_eq!(bench.lines("0a"), ["first", "second"]);
    bench.end_instance();
}

macro_rules! with_engine {
    ($($test:ident, $engine:literal: $body:ident;)+) => {$(
        #[test]
        fn $test() {
            $body($engine);
        }
    )+};
}

with_engine! {
    engine_docker_task, "docker": a_task_sees_what_it_was_given;
    engine_docker_network, "docker": nothing_but_loopback;
    engine_docker_memory, "docker": memory_is_a_hard_limit;
    engine_docker_limits, "docker": limits_and_folders_in_memory_are_as_asked;
    engine_docker_log, "docker": a_line_is_an_event;
    engine_docker_refusals, "docker": what_cannot_start_says_why;
    engine_docker_folders, "docker": folders_are_whose_user_data_says;
    engine_docker_stop, "docker": stopping_is_a_signal_the_program_hears;
    engine_docker_instance, "docker": an_instance_ends_with_its_tasks;
    engine_podman_task, "podman": a_task_sees_what_it_was_given;
    engine_podman_network, "podman": nothing_but_loopback;
    engine_podman_memory, "podman": memory_is_a_hard_limit;
    engine_podman_limits, "podman": limits_and_folders_in_memory_are_as_asked;
    engine_podman_log, "podman": a_line_is_an_event;
    engine_podman_refusals, "podman": what_cannot_start_says_why;
    engine_podman_folders, "podman": folders_are_whose_user_data_says;
    engine_podman_stop, "podman": stopping_is_a_signal_the_program_hears;
    engine_podman_instance, "podman": an_instance_ends_with_its_tasks;
    engine_bubblewrap_task, "bubblewrap": a_task_sees_what_it_was_given;
    engine_bubblewrap_network, "bubblewrap": nothing_but_loopback;
    engine_bubblewrap_memory, "bubblewrap": memory_is_a_hard_limit;
    engine_bubblewrap_limits, "bubblewrap": limits_and_folders_in_memory_are_as_asked;
    engine_bubblewrap_log, "bubblewrap": a_line_is_an_event;
    engine_bubblewrap_refusals, "bubblewrap": what_cannot_start_says_why;
    engine_bubblewrap_folders, "bubblewrap": folders_are_whose_user_data_says;
    engine_bubblewrap_stop, "bubblewrap": stopping_is_a_signal_the_program_hears;
    engine_bubblewrap_instance, "bubblewrap": an_instance_ends_with_its_tasks;
}

#[test]
fn engine_docker_survives() {
    a_task_outlives_the_sandbox("docker", "engine_docker_survives");
}

#[test]
fn engine_podman_survives() {
    a_task_outlives_the_sandbox("podman", "engine_podman_survives");
}

#[test]
fn engine_bubblewrap_survives() {
    a_task_outlives_the_sandbox("bubblewrap", "engine_bubblewrap_survives");
}

/// A variable with a line break, or longer than a line that Docker reads.
#[test]
fn engine_docker_long_variables() {
    let Some(bench) = Bench::new("docker") else { return };
    let mut launch = bench.launch("0a", "echo ${#LONG}; echo \"$LINES_2\"");
    launch.environment.insert("LONG".to_owned(), "a".repeat(100_000));
    launch.environment.insert("LINES_2".to_owned(), "one\ntwo".to_owned());
    bench.start(&launch);
    assert_eq!(bench.code("0a").0, 0);
    assert_eq!(bench.lines("0a"), ["100000", "one", "two"]);
}

/// The containers of a sandbox whose folder was removed go at the next start of any sandbox; another's stay.
#[test]
fn engine_docker_sweeps_what_a_removed_folder_left() {
    let (Some(mut gone), Some(stays)) = (Bench::new("docker"), Bench::new("docker")) else { return };
    let containers = |bench: &Bench| {
        let label = format!("label=seqstack.folder={}", fs::canonicalize(&bench.folder).unwrap_or_default().display());
        label_count(&label)
    };
    for bench in [&gone, &stays] {
        bench.start(&bench.launch("0a", "exec sleep 600"));
        bench.when("0a", |at| matches!(at, Process::Running { .. }));
        assert_eq!(containers(bench), 2, "the task and its instance's pause container");
    }
    let label = format!("label=seqstack.folder={}", gone.folder.display());
    drop(gone._owned.take());
    fs::remove_dir_all(&gone.folder).unwrap_or_default();
    let _next = Bench::new("docker");
    let swept = within(Duration::from_secs(30), || (label_count(&label) == 0).then_some(()));
    // There is no instance of it left to be ended.
    std::mem::forget(gone);
    assert_eq!((swept, containers(&stays)), (Some(()), 2));
}

fn label_count(label: &str) -> usize {
    let found = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", label]).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().count()
}

struct Account;

impl Service for Account {
    fn largest_body(&self, _head: &http::request::Parts) -> usize {
        1024 * 1024
    }

    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        Response::new(Bytes::from(request.uri().path().to_owned()))
    }

    fn busy(&self) -> bool {
        false
    }
}

// The whole life of the process but its being one: served here, found as a command finds it, asked to end.
#[tokio::test]
async fn engine_process_is_found_and_ends() {
    if !ready("bubblewrap") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().join(".sandbox");
    let args = ServeArgs {
        folder: folder.clone(),
        id: None,
        port: None,
        engine: Some("bubblewrap".into()),
        foreground: false,
    };
    let serving = tokio::spawn(serve(args.clone(), exe(), Options::default(), |parts| {
        assert!(parts.endpoint.starts_with("http://127.0.0.1:"));
        Ok(Arc::new(Account))
    }));
    let found = loop {
        match running(&folder) {
            Ok(Some(found)) => break found,
            _ => tokio::task::yield_now().await,
        }
    };
    let endpoint = connect_or_start(&folder, exe(), Some("bubblewrap")).await.unwrap();
    assert_eq!(endpoint.url, format!("http://127.0.0.1:{}", found.port));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let second = serve(args, exe(), Options::default(), |_| Ok(Arc::new(Account))).await;
    assert!(matches!(second, Err(ServeError::Running(_))), "one process owns the folder");
    let mut socket = tokio::net::UnixStream::connect(&found.socket).await.unwrap();
    socket.write_all(b"GET /over/the/socket HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("/over/the/socket"), "{answer}");
    assert!(stop(&folder).await.unwrap());
    serving.await.unwrap().unwrap();
    assert_eq!(running(&folder).unwrap(), None);
    assert!(!found.socket.exists(), "nothing is left outside the folder");
}

#[tokio::test]
async fn engine_process_that_cannot_start_says_why() {
    let top = tempfile::tempdir().unwrap();
    // No sandbox, but a program that ends at once.
    let started = connect_or_start(&top.path().join(".sandbox"), Path::new("/bin/false"), None).await;
    assert!(matches!(started, Err(StartError::Ended { .. })), "{started:?}");
}
