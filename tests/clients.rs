//! The sandbox as other clients meet it: its commands, AWS's own command line, a suite of boto3 checks, and kills.
//!
//! The clients are `tests/clients/install`'s; what needs them, or an engine, prints `skipped` where there is none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; what is skipped is said"
)]
#![cfg(feature = "sandbox")]

mod here;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use seqstack::aws::Aws;
use seqstack::aws::clients::connect_to_sandbox;
use seqstack::sandbox::engine::detect::{ENGINES, usable};
use seqstack::sandbox::process::{Endpoint, connect};
use seqstack::sandbox::{members, operations};

/// Has a shell, as the checks' and the walk's tasks need one.
const IMAGE: &str = "seqstack-demo/samtools:1.16.1";

/// A folder with a sandbox of its own.
struct Project {
    folder: tempfile::TempDir,
    engine: &'static str,
}

/// `sandbox serve` in a project.
struct Served<'a> {
    project: &'a Project,
    child: Child,
    url: String,
}

impl Project {
    /// With whichever engine answers here.
    fn new() -> Option<Self> {
        let engine = ENGINES.into_iter().rev().find(|name| usable(name).is_ok());
        if engine.is_none() {
            println!("skipped: no task engine answers here");
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), engine: engine? })
    }

    /// With an engine that runs the image.
    fn with_tasks() -> Option<Self> {
        let engine = ENGINES.into_iter().find(|name| here::ready(name, IMAGE))?;
        let project = Self { folder: tempfile::tempdir().unwrap(), engine };
        fs::create_dir(project.account()).unwrap();
        let table = "[[image]]\nimage = 'seqstack-demo/samtools'\nprograms = ['sh']\n";
        fs::write(project.account().join("programs.toml"), table).unwrap();
        Some(project)
    }

    fn account(&self) -> PathBuf {
        self.folder.path().join(".sandbox")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
        command.args(["sandbox", verb, "--project"]).arg(self.folder.path()).stdin(Stdio::null());
        command.env("SEQSTACK_SANDBOX_ENGINE", self.engine);
        command
    }

    fn run(&self, verb: &str, more: &[&str]) -> (Option<i32>, String, String) {
        told(&self.command(verb).args(more).output().unwrap())
    }

    fn ok(&self, verb: &str, more: &[&str]) -> String {
        let (code, out, err) = self.run(verb, more);
        assert_eq!(code, Some(0), "sandbox {verb} {more:?}: {err}");
        out
    }

    fn serve(&self) -> Served<'_> {
        let mut child = self.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Served { project: self, child, url: url.trim().to_owned() }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok("status", &["--json"])).unwrap()
    }

    async fn endpoint(&self) -> Endpoint {
        connect(&self.account()).await.unwrap().unwrap()
    }

    async fn aws(&self) -> Aws {
        let Endpoint { url, region, key_id, secret, .. } = self.endpoint().await;
        connect_to_sandbox(&url, &region, &key_id, &secret)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.account().join("keys.json").exists() {
            // Nothing that a failed test left running outlives it.
            self.run("reset", &["--yes"]);
            self.run("stop", &["--force"]);
        }
    }
}

impl Served<'_> {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One of the clients' programs, pointed at it.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(clients().join(program));
        let endpoint = tokio::runtime::Runtime::new().unwrap().block_on(self.project.endpoint());
        assert_eq!(endpoint.url, self.url);
        command.env("AWS_ENDPOINT_URL", &endpoint.url).env("AWS_REGION", &endpoint.region);
        command.env("AWS_ACCESS_KEY_ID", &endpoint.key_id).env("AWS_SECRET_ACCESS_KEY", &endpoint.secret);
        command.env("AWS_DEFAULT_REGION", &endpoint.region).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("SEQSTACK_CHECK_IMAGE", IMAGE);
        command
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn installed() -> bool {
    let there = clients().join(".venv/bin/aws").exists();
    if !there {
        println!("skipped: the clients are not here: tests/clients/install brings them");
    }
    there
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What any request can be refused with, before its operation is looked at.
const PROTOCOL: [&str; 17] = [
    "InvalidAction",
    "UnknownOperationException",
    "NotImplemented",
    "MethodNotAllowed",
    "MissingAction",
    "SerializationException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "SlowDown",
    "ServiceUnavailable",
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];

#[test]
fn each_deliberate_bug_has_its_place_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list: toml::Table = fs::read_to_string(clients().join("bugs.toml")).unwrap().parse().unwrap();
    let bugs = list["bug"].as_array().unwrap();
    assert!(bugs.len() >= 20);
    for bug in bugs {
        let [what, file, text, other] = ["what", "file", "text", "bug"].map(|key| bug[key].as_str().unwrap());
        let source = fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(source.matches(text).count(), 1, "tests/clients/bugs.toml: {what}: {text}");
        assert_ne!(text, other, "{what}");
    }
}

#[test]
fn the_suite_holds_and_no_error_is_undocumented() {
    // Side by side, each with a sandbox of its own: they wait for tasks and instances most of the time.
    let parts: [&[&str]; 4] = [
        &["--only=ecs", "--part=1/2"],
        &["--only=ecs", "--part=2/2"],
        &["--only=ec2", "--only=ssm", "--only=sts"],
        &["--only=iam", "--only=logs", "--only=s3", "--only=door"],
    ];
    std::thread::scope(|threads| {
        for part in parts {
            threads.spawn(move || suite(part));
        }
    });
}

fn suite(part: &[&str]) {
    let Some(project) = installed().then(Project::with_tasks).flatten() else { return };
    let served = project.serve();
    let mut run = served.client("run");
    let (code, out, err) = told(&run.args(["--quiet", "--endpoint", &served.url]).args(part).output().unwrap());
    println!("{out}{err}");
    assert_eq!(code, Some(0), "{out}{err}");
    let refusals = project.status()["refusals"].as_object().unwrap().clone();
    let documented = |refusal: &str| {
        let (name, code) = refusal.split_once(' ').unwrap();
        let (service, operation) = name.split_once(':').unwrap();
        let listed = operations(service).iter().find(|(name, _)| *name == operation);
        // Any operation can refuse a member that the sandbox does not do.
        PROTOCOL.contains(&code)
            || code == members::code(service, operation)
            || listed.is_some_and(|(_, codes)| codes.contains(&code))
    };
    let unknown: Vec<_> = refusals.keys().filter(|refusal| !documented(refusal)).collect();
    assert!(unknown.is_empty(), "given, but not in src/sandbox/README.md's tables: {unknown:#?}");
}

#[test]
fn the_aws_cli_walks_a_whole_life() {
    let Some(project) = installed().then(Project::with_tasks).flatten() else { return };
    let served = project.serve();
    let (code, out, err) = told(&served.client("walk").output().unwrap());
    println!("{out}{err}");
    assert_eq!(code, Some(0), "{out}{err}");
    nothing_is_left(&project);
}

fn nothing_is_left(project: &Project) {
    for (service, kinds) in project.status()["exists"].as_object().unwrap() {
        for (kind, things) in kinds.as_object().into_iter().flatten() {
            let left = things.as_array().unwrap().iter().filter(|one| one["objects"] != 0).count();
            assert_eq!(left, 0, "{service} {kind}: {things}");
        }
    }
}

#[test]
fn two_starts_at_one_moment_make_one_process() {
    let Some(project) = Project::new() else { return };
    let starts: Vec<Child> =
        (0..4).map(|_| project.command("env").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    let told: Vec<_> = starts.into_iter().map(|start| told(&start.wait_with_output().unwrap())).collect();
    for (code, out, err) in &told {
        assert_eq!((code, out), (&Some(0), &told[0].1), "{err}");
    }
    assert!(told[0].1.contains("AWS_ENDPOINT_URL"));
    let log = fs::read_to_string(project.account().join("sandbox.log")).unwrap();
    assert_eq!(log.matches("the sandbox serves").count(), 1, "{log}");
    project.ok("stop", &[]);
    assert!(fs::File::open(project.account().join("lock")).unwrap().try_lock().is_ok(), "none runs");
}

#[test]
fn what_is_not_there_is_not_made_and_what_runs_is_said() {
    let Some(project) = Project::new() else { return };
    assert_eq!(project.ok("status", &[]), "there was never a sandbox here\n");
    assert_eq!(project.status()["exists"], serde_json::Value::Null);
    assert_eq!(fs::read_dir(project.folder.path()).unwrap().count(), 0, "nothing was made");
    let nowhere = project.folder.path().join("nowhere");
    for verb in ["env", "status", "set", "stop", "reset", "serve"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
        let (code, out, err) = told(&command.args(["sandbox", verb, "--project"]).arg(&nowhere).output().unwrap());
        assert!(code == Some(64) && out.is_empty() && err.contains("there is no folder"), "{verb}: {err}");
    }
    assert!(!nowhere.exists());

    let served = project.serve();
    let (code, _, err) = project.run("serve", &[]);
    assert!(code == Some(1) && err.contains("runs in") && err.contains("hint: "), "{err}");
    assert!(project.ok("set", &["page=2", "no_capacity=t3.large"]).contains("no_capacity=t3.large\npage=2\n"));
    let (code, _, err) = project.run("set", &["pages=2"]);
    assert!(code == Some(64) && err.contains("no setting `pages`"), "{err}");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let launch = async |kind: &str| {
        let aws = project.aws().await;
        let of =
            aws.ssm.get_parameters().names("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id");
        let image = of.send().await.unwrap().parameters()[0].value().unwrap().to_owned();
        aws.ec2.run_instances().image_id(image).instance_type(kind.into()).min_count(1).max_count(1).send().await
    };
    let refused = runtime.block_on(launch("t3.large")).unwrap_err();
    assert_eq!(refused.into_service_error().meta().code(), Some("InsufficientInstanceCapacity"));
    let launched = runtime.block_on(launch("t3.micro")).unwrap();
    let id = launched.instances()[0].instance_id().unwrap();
    assert!(project.ok("status", &[]).contains(id));
    let (code, _, err) = project.run("stop", &[]);
    assert!(code == Some(1) && err.contains(&format!("instance {id}")) && err.contains("--force"), "{err}");
    project.ok("stop", &["--force"]);
    drop(served);
    assert!(project.ok("status", &[]).contains(id), "another process has the same account");
    let (code, _, err) = project.run("reset", &[]);
    assert!(code == Some(1) && err.contains("--yes"), "{err}");
    project.ok("reset", &["--yes"]);
    let status = project.ok("status", &[]);
    assert!(status.contains("nothing exists in it") && !status.contains(id), "{status}");
    project.ok("stop", &[]);
}

#[test]
fn a_process_that_hangs_can_be_ended() {
    let Some(project) = Project::new() else { return };
    let served = project.serve();
    let pid = rustix::process::Pid::from_raw(i32::try_from(served.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    project.ok("stop", &["--force"]);
    assert!(project.ok("status", &[]).contains("nothing exists in it"));
}

#[test]
fn an_account_of_another_tool_is_set_aside_and_said() {
    let Some(project) = Project::new() else { return };
    fs::create_dir_all(project.account().join("objects")).unwrap();
    fs::write(project.account().join("account.json"), r#"{"schema": 99, "account": {}}"#).unwrap();
    fs::write(project.account().join("objects/1"), "ACGT").unwrap();
    let (code, _, err) = project.run("env", &[]);
    assert!(
        code == Some(0)
            && err.contains("an older version of seqstack wrote it")
            && err.contains("account.json.set-aside.0"),
        "{err}"
    );
    assert!(project.run("env", &[]).2.is_empty(), "it is said once");
    assert!(project.ok("status", &[]).contains("an older version of seqstack wrote it"), "and shown while it is so");
    assert_eq!(fs::read(project.account().join("objects.set-aside.0/1")).unwrap(), b"ACGT");
    project.ok("reset", &["--yes"]);
    assert!(!project.account().join("objects.set-aside.0").exists());
}

#[test]
fn a_region_that_is_not_enabled_is_refused_before_any_call() {
    let Some(project) = Project::new() else { return };
    let stack = project.folder.path().join("stack.toml");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/demo.toml"), &stack).unwrap();
    fs::create_dir(project.account()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
    command.arg("plan").arg(&stack).args(["--sandbox", "--region", "eu-south-2"]);
    let (code, _, err) = told(&command.env("SEQSTACK_SANDBOX_ENGINE", project.engine).output().unwrap());
    assert!(code == Some(1) && err.contains("no region eu-south-2") && err.contains("hint: "), "{err}");
    assert_eq!(project.status()["calls"], serde_json::json!({}));
}

/// What writers were told that is there, and what they may have asked for besides.
#[derive(Default)]
struct Book {
    /// Roles by name, and whether they were deleted; `None` while that is not known.
    roles: BTreeMap<String, Option<bool>>,
    /// Of each key, the last version that was acknowledged and the last that was sent.
    objects: BTreeMap<String, (u64, u64)>,
    /// Log events acknowledged and sent.
    events: (u64, u64),
}

type Shared = Arc<Mutex<Book>>;

const BUCKET: &str = "kills";

fn content(version: u64) -> Vec<u8> {
    format!("{version} ").repeat(4000).into_bytes()
}

// Each writer goes on until a call fails, as it does once its sandbox is killed.
type Told = tokio::sync::mpsc::UnboundedSender<()>;

async fn write_roles(aws: Aws, book: Shared, round: usize, told: Told) -> Option<()> {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    for n in 0.. {
        let name = format!("role-{round}-{n}");
        let note = |known| book.lock().unwrap().roles.insert(name.clone(), known);
        note(None);
        let create = aws.iam.create_role().role_name(&name).assume_role_policy_document(trust).description(&name);
        create.send().await.ok()?;
        note(Some(true));
        told.send(()).ok()?;
        if n % 3 == 0 {
            note(None);
            aws.iam.delete_role().role_name(&name).send().await.ok()?;
            note(Some(false));
            told.send(()).ok()?;
        }
    }
    None
}

async fn write_objects(aws: Aws, book: Shared, told: Told) -> Option<()> {
    for n in 0_u64.. {
        let key = format!("key-{}", n % 4);
        let version = {
            let mut book = book.lock().unwrap();
            let entry = book.objects.entry(key.clone()).or_default();
            entry.1 += 1;
            entry.1
        };
        aws.s3.put_object().bucket(BUCKET).key(&key).body(content(version).into()).send().await.ok()?;
        book.lock().unwrap().objects.get_mut(&key)?.0 = version;
        told.send(()).ok()?;
    }
    None
}

async fn write_events(aws: Aws, book: Shared, told: Told) -> Option<()> {
    use aws_sdk_cloudwatchlogs::types::InputLogEvent;
    loop {
        let n = {
            let mut book = book.lock().unwrap();
            book.events.1 += 1;
            book.events.1
        };
        let at = jiff::Timestamp::now().as_millisecond();
        let event = InputLogEvent::builder().timestamp(at).message(n.to_string()).build().unwrap();
        let put = aws.logs.put_log_events().log_group_name(BUCKET).log_stream_name("s").log_events(event);
        put.send().await.ok()?;
        book.lock().unwrap().events.0 = n;
        told.send(()).ok()?;
    }
}

/// Everything acknowledged is there and whole; what was in flight is there and whole, or not there at all.
async fn look(aws: &Aws, shared: &Shared, folder: &Path) {
    let mut book = std::mem::take(&mut *shared.lock().unwrap());
    let mut roles = BTreeMap::new();
    let mut pages = aws.iam.list_roles().into_paginator().items().send();
    while let Some(role) = pages.next().await {
        let role = role.unwrap();
        roles.insert(role.role_name().to_owned(), role.description().unwrap().to_owned());
    }
    assert!(roles.iter().all(|(name, description)| name == description), "{roles:?}");
    for (name, known) in &mut book.roles {
        let there = roles.remove(name).is_some();
        assert!(known.is_none_or(|known| known == there), "{name}: acknowledged as {known:?}, there: {there}");
        *known = Some(there);
    }
    assert!(roles.is_empty(), "nobody asked for {roles:?}");

    let listed = aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert!(listed.contents().len() <= book.objects.len());
    for (key, (acknowledged, sent)) in &mut book.objects {
        let got = match aws.s3.get_object().bucket(BUCKET).key(key.as_str()).send().await {
            Ok(got) => got.body.collect().await.unwrap().to_vec(),
            Err(error) => {
                assert!(error.into_service_error().is_no_such_key() && *acknowledged == 0, "{key} is lost");
                continue;
            }
        };
        let version = String::from_utf8_lossy(&got).split(' ').next().unwrap().parse().unwrap();
        assert!(got == content(version) && (*acknowledged..=*sent).contains(&version), "{key}: {version}");
        *acknowledged = version;
    }
    let contents = fs::read_dir(folder.join("objects")).unwrap().count();
    assert_eq!(contents, listed.contents().len(), "content without an object");

    let mut events = Vec::new();
    let get = aws.logs.get_log_events().log_group_name(BUCKET).log_stream_name("s").start_from_head(true);
    let mut pages = get.into_paginator().send();
    while let Some(page) = pages.next().await {
        events.extend(page.unwrap().events().iter().map(|event| event.message().unwrap().parse::<u64>().unwrap()));
    }
    let there = events.last().copied().unwrap_or(0);
    assert!((book.events.0..=book.events.1).contains(&there), "{there} of {:?}", book.events);
    assert!(events.windows(2).all(|pair| pair[0] < pair[1]), "{events:?}");
    book.events.0 = there;
    let strange = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strange: Vec<_> = strange.filter(|name| name.contains("aside") || name.starts_with(".tmp")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    *shared.lock().unwrap() = book;
}

#[test]
fn killed_thirty_times_it_loses_nothing_that_it_acknowledged() {
    let Some(project) = Project::new() else { return };
    let seed = std::env::var("SEQSTACK_SEED")
        .ok()
        .map_or_else(|| u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap(), |seed| seed.parse().unwrap());
    println!("SEQSTACK_SEED={seed}");
    let mut random = seed | 1;
    let mut below = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let book = Shared::default();
    for round in 0..30 {
        let served = project.serve();
        let (after, pause) = (1 + below(12), Duration::from_micros(below(15_000)));
        let writers = runtime.block_on(async {
            let aws = project.aws().await;
            if round == 0 {
                let here = BucketLocationConstraint::from(aws.region.as_str());
                let here = CreateBucketConfiguration::builder().location_constraint(here).build();
                aws.s3.create_bucket().bucket(BUCKET).create_bucket_configuration(here).send().await.unwrap();
                aws.logs.create_log_group().log_group_name(BUCKET).send().await.unwrap();
                aws.logs.create_log_stream().log_group_name(BUCKET).log_stream_name("s").send().await.unwrap();
            }
            look(&aws, &book, &project.account()).await;
            let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
            let writers = [
                tokio::spawn(write_roles(aws.clone(), book.clone(), round, told.clone())),
                tokio::spawn(write_objects(aws.clone(), book.clone(), told.clone())),
                tokio::spawn(write_events(aws, book.clone(), told)),
            ];
            for _ in 0..after {
                hears.recv().await.unwrap();
            }
            writers
        });
        // Somewhere in the midst of the next calls.
        std::thread::park_timeout(pause);
        served.kill();
        for writer in writers {
            writer.abort();
            let ended = runtime.block_on(writer);
            assert!(ended.is_ok() || ended.is_err_and(|ended| ended.is_cancelled()), "a writer broke down");
        }
    }
    let _served = project.serve();
    runtime.block_on(async { look(&project.aws().await, &book, &project.account()).await });
}
