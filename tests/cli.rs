//! The tool through its binary: what a person types, sees, and gets as an exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use seqstack::sandbox::engine::fake::{Fake, Outcome};
use seqstack::sandbox::listen::{Listener, Service, listen};
use seqstack::sandbox::service::Options;
use seqstack::sandbox::{Key, Sandbox, Setup};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The binary, with no way to AWS: no credentials, no region, no metadata service, and an endpoint that nobody serves.
fn seqstack(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
    command.args(args).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("HOME", "/nonexistent");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn twenty_faults_are_told_at_once_each_on_its_line() {
    let path = "tests/faults/twenty.toml";
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let planted: BTreeSet<usize> =
        source.lines().enumerate().filter(|(_, line)| line.contains("# fault ")).map(|(index, _)| index + 1).collect();
    assert_eq!(planted.len(), 20);
    for verb in ["plan", "apply", "destroy", "status"] {
        let output = seqstack(&[verb, path]);
        assert_eq!(output.status.code(), Some(64), "{verb}");
        assert!(output.stdout.is_empty(), "{verb}");
        let told = text(&output.stderr);
        let lines: Vec<usize> = told
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("--> ")?.rsplit(':').nth(1)?.parse().ok())
            .collect();
        assert_eq!(lines.iter().copied().collect::<BTreeSet<_>>(), planted, "{told}");
        assert_eq!(lines.len(), 20, "{told}");
        assert_eq!(told.matches("help: ").count(), 20, "{told}");
    }
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_an_answer() {
    for args in [
        &["frobnicate"][..],
        &["plan"],
        &["plan", "stacks/demo.toml", "--set", "x"],
        &["plan", "stacks/demo.toml", "--sample", "nobody"],
        &["plan", "no-such-file.toml"],
        &["logs", "stacks/demo.toml"],
        &["logs", "stacks/demo.toml", "align", "--attempt", "x"],
    ] {
        let output = seqstack(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["apply", "--help"]] {
        let output = seqstack(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

struct Served(Arc<Sandbox>);

impl Service for Served {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle(request).await
    }

    fn largest_body(&self, _head: &Parts) -> usize {
        1 << 20
    }

    fn busy(&self) -> bool {
        false
    }
}

/// A sandbox of this process, on loopback, with what the germline stack reads.
async fn served() -> (Arc<Sandbox>, watch::Sender<bool>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::new(Setup {
        options: Options::default(),
        engine: Arc::new(Fake::new(|_| Outcome::default())),
        keys: vec![Key { id: "AKIAIOSFODNN7EXAMPLE".into(), secret: "secret".into() }],
        endpoint: format!("http://{}", socket.local_addr().unwrap()),
        folder: None,
        clock_start: jiff::Timestamp::now(),
    });
    for bucket in ["lab-fastq-in", "lab-results-out"] {
        sandbox.create_bucket(bucket);
    }
    let reads = ["R1", "R2"].map(|read| format!("OMGL_2005265_U035_S35_L001_{read}_001.fastq.gz"));
    for key in reads.iter().map(String::as_str).chain(["hs37d5.fa", "hs37d5.fa.fai", "hs37d5.dict", "FH.bed"]) {
        sandbox.put_object("lab-fastq-in", key, "x".into()).unwrap();
    }
    let (stop, stopped) = watch::channel(false);
    let (listener, serving) = (Listener::loopback(socket).unwrap(), Arc::new(Served(sandbox.clone())));
    tokio::spawn(listen(serving, listener, Arc::default(), stopped, Duration::ZERO));
    (sandbox, stop)
}

#[test]
fn a_reader_that_reads_no_further_is_no_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, _stop) = runtime.block_on(served());
    for args in [&["plan", "stacks/germline.toml"][..], &["status", "stacks/germline.toml"], &["--help"]] {
        let with_sandbox = || {
            let mut command = command(args);
            command.env("AWS_ENDPOINT_URL", sandbox.endpoint());
            command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            command
        };
        let read = with_sandbox().output().unwrap();
        assert!(read.status.success() && !read.stdout.is_empty(), "{args:?}: {}", text(&read.stderr));
        // As `| head` does, but at once.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = with_sandbox().stdout(writer).output().unwrap();
        assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn without_credentials_nothing_is_known_and_that_is_said() {
    let output = seqstack(&["plan", "stacks/germline.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("the live state is not known") && told.contains("hint: "), "{told}");
    assert!(output.stdout.is_empty());
    for args in [&["status", "stacks/germline.toml"][..], &["logs", "stacks/germline.toml", "align"]] {
        let output = seqstack(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn an_endpoint_that_is_set_to_nothing_is_named() {
    for (name, mut command) in [
        ("--endpoint-url", command(&["plan", "stacks/demo.toml", "--endpoint-url", ""])),
        ("AWS_ENDPOINT_URL", command(&["plan", "stacks/demo.toml"])),
        ("AWS_ENDPOINT_URL_ECS", command(&["plan", "stacks/demo.toml"])),
    ] {
        if !name.starts_with('-') {
            command.env(name, "");
        }
        let output = command.output().unwrap();
        let told = text(&output.stderr);
        assert_ne!(output.status.code(), Some(0));
        assert!(told.starts_with(&format!("error: {name} is set, but empty\nhint: ")), "{told}");
    }
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named_and_nothing_is_begun() {
    let home = tempfile::tempdir().unwrap();
    let stack = home.path().join("germline.toml");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/germline.toml"), &stack).unwrap();
    std::fs::create_dir(home.path().join(".git")).unwrap();
    std::fs::write(home.path().join("state"), "a file where the folder should be").unwrap();
    for verb in ["apply", "destroy"] {
        let output = seqstack(&[verb, &stack.display().to_string(), "--yes"]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let told = text(&output.stderr);
        let path = home.path().join("state/germline/lock").display().to_string();
        assert!(told.contains(&path) && told.contains("nothing was changed") && told.contains("hint: "), "{told}");
        assert!(output.stdout.is_empty(), "{verb}");
    }
}

#[test]
fn without_credentials_the_one_cause_is_told_once() {
    let told = text(&seqstack(&["plan", "stacks/germline.toml"]).stderr);
    assert_eq!(told.matches("no credentials found").count(), 1, "{told}");
}
