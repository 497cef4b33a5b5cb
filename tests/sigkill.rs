//! The real binary, killed by SIGKILL at random moments of `apply`, with tasks that are real processes of this machine.
//!
//! `SEQSTACK_KILLS=n` sets how often (8 unless told); `SEQSTACK_SEED=n` plays the same moments again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(feature = "sandbox")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seqstack::aws::Aws;
use seqstack::aws::clients::connect_to_sandbox;
use seqstack::sandbox::engine::detect::usable;
use seqstack::sandbox::process::connect;

/// A run of four steps, two of them side by side; each appends its name to a file on the instance, which the last one
/// checks: a step that ran twice, or not at all, makes it fail.
const STACK: &str = r#"
[stack]
name   = "kills"
region = "eu-west-2"
[sample.S1]
[bucket.reads]
name = "kills-reads"
[bucket.results]
name = "kills-results"
[role.instance]
trusts           = "ec2.amazonaws.com"
attach           = ["service-role/AmazonEC2ContainerServiceforEC2Role"]
instance_profile = true
[role.execution]
trusts = "ecs-tasks.amazonaws.com"
attach = ["service-role/AmazonECSTaskExecutionRolePolicy"]
[security_group.ecs]
description = "ECS instances"
[cluster.main]
[instance.worker]
cluster         = "main"
type            = "t3.large"
ami             = "ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
role            = "instance"
security_groups = ["ecs"]
lifetime        = "run"
max_hours       = 2
[log_group.pipeline]
retention_days = 7
[task_definition.shell]
image          = "kills/shell:1"
execution_role = "execution"
cpu            = 256
memory         = 256
working_dir    = "/data"
mounts         = [{ host = "/var/lib/seqstack/data", container = "/data" }]
log_group      = "pipeline"
[pipeline]
cluster = "main"
inputs  = [{ bucket = "reads", keys = ["reads"] }]
outputs = [{ bucket = "results", keys = ["result"] }]
[[pipeline.step]]
name    = "first"
task    = "shell"
command = ["sh", "-c", "echo first >> ran; sleep 0.4"]
[[pipeline.step]]
name    = "left"
task    = "shell"
needs   = ["first"]
command = ["sh", "-c", "echo left >> ran; sleep 0.7"]
[[pipeline.step]]
name    = "right"
task    = "shell"
needs   = ["first"]
command = ["sh", "-c", "echo right >> ran; sleep 0.5"]
[[pipeline.step]]
name    = "last"
task    = "shell"
needs   = ["left", "right"]
command = ["sh", "-c", "echo last >> ran; sleep 1.5; test \"$(sort ran | tr '\\n' ' ')\" = 'first last left right '"]
"#;

struct Lab {
    folder: tempfile::TempDir,
    stack: PathBuf,
}

impl Lab {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
        command.args(args).env("SEQSTACK_SANDBOX_ENGINE", "bubblewrap").stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
    }

    fn seqstack(&self, verb: &str) -> Output {
        // What was there before the first run is somebody's.
        let agreed: &[&str] = if verb == "apply" { &["--yes", "--overwrite"] } else { &["--yes"] };
        self.command(&[&[verb, self.stack.to_str().unwrap(), "--sandbox"], agreed].concat()).output().unwrap()
    }

    fn aws(&self, runtime: &tokio::runtime::Runtime) -> Aws {
        let endpoint = runtime.block_on(connect(&self.folder.path().join(".sandbox"))).unwrap().unwrap();
        connect_to_sandbox(&endpoint.url, &endpoint.region, &endpoint.key_id, &endpoint.secret)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing that a failed test left running outlives it.
        for verb in [&["reset", "--yes"][..], &["stop", "--force"]] {
            let args = [&["sandbox"], verb, &["--project", self.folder.path().to_str().unwrap()]].concat();
            drop(self.command(&args).output());
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

async fn put(aws: &Aws, bucket: &str, key: &str, content: String) {
    aws.s3.put_object().bucket(bucket).key(key).body(content.into_bytes().into()).send().await.unwrap();
}

/// Instances that are not terminated, and how often each step's task ran for each reads.
async fn seen(aws: &Aws) -> usize {
    let answer = aws.ec2.describe_instances().send().await.unwrap();
    let instances = answer.reservations().iter().flat_map(|one| one.instances());
    let gone = |state: &str| matches!(state, "terminated" | "shutting-down");
    instances.filter(|one| !gone(one.state().unwrap().name().unwrap().as_str())).count()
}

#[test]
fn killed_at_random_moments_each_step_runs_once() {
    if let Err(why) = usable("bubblewrap") {
        println!("skipped: bubblewrap: {why}");
        return;
    }
    let (kills, seed) = (number("SEQSTACK_KILLS", 8), number("SEQSTACK_SEED", 1));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let stack = folder.path().join("kills.toml");
    fs::write(&stack, STACK).unwrap();
    fs::DirBuilder::new().mode(0o700).create(folder.path().join(".sandbox")).unwrap();
    let table = "[[image]]\nimage = 'kills/shell'\nprograms = ['sh', 'sleep', 'sort', 'tr', 'test']\n";
    fs::write(folder.path().join(".sandbox/programs.toml"), table).unwrap();
    let lab = Lab { folder, stack };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    // The first plan starts the sandbox and makes the buckets.
    let plan = lab.command(&["plan", lab.stack.to_str().unwrap(), "--sandbox"]).output().unwrap();
    assert!(Path::new(&lab.folder.path().join(".sandbox/keys.json")).exists(), "{}", text(&plan));
    let aws = lab.aws(&runtime);
    runtime.block_on(put(&aws, "kills-results", "result", "made before".to_owned()));
    let writing = Writing::begin(lab.folder.path().join(".sandbox"), lab.aws(&runtime));

    let (mut done, mut runs, mut lived) = (0, 0, 0);
    let mut undisturbed = Duration::from_secs(12);
    while done < kills {
        runs += 1;
        runtime.block_on(put(&aws, "kills-reads", "reads", format!("reads {runs}")));
        // Each run is killed a few times, anywhere in what an undisturbed apply takes, then left to end.
        for _ in 0..random.u64(1..5) {
            let mut apply = lab.command(&["apply", lab.stack.to_str().unwrap(), "--sandbox", "--yes", "--overwrite"]);
            let mut child = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(undisturbed.mul_f64(random.f64()));
            if child.try_wait().unwrap().is_some() {
                lived += 1;
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            done += 1;
            let living = runtime.block_on(seen(&aws));
            assert!(living <= 1, "seed {seed}, kill {done}: {living} instances");
        }
        let began = Instant::now();
        let last = lab.seqstack("apply");
        assert!(last.status.success(), "seed {seed}, run {runs}, after {done} kills:\n{}", text(&last));
        undisturbed = undisturbed.min(began.elapsed().max(Duration::from_secs(4)));
        let plan = lab.command(&["plan", lab.stack.to_str().unwrap(), "--sandbox", "--detailed-exitcode"]);
        let plan = { plan }.output().unwrap();
        assert_eq!(plan.status.code(), Some(0), "seed {seed}, run {runs}:\n{}", text(&plan));
        assert_eq!(runtime.block_on(seen(&aws)), 0, "seed {seed}, run {runs}");
    }
    let tasks = runtime.block_on(tasks(&aws));
    for (step, succeeded) in &tasks {
        assert_eq!(*succeeded, runs, "seed {seed}: {step} of {tasks:?}");
    }
    drop(writing);
    let destroyed = lab.seqstack("destroy");
    assert!(destroyed.status.success(), "{}", text(&destroyed));
    println!(
        "{done} SIGKILLs over {runs} runs ({lived} applies ended before theirs): each step ran once a run, nothing is left"
    );
}

/// Writes the run's output while its last step runs, which has no program for that: once for each instance.
struct Writing(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Writing {
    fn begin(sandbox: PathBuf, aws: Aws) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let writer = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut written = BTreeSet::new();
            while !stop.load(Ordering::SeqCst) {
                let mut all = Vec::new();
                named_ran(&sandbox, &mut all);
                for ran in all.into_iter().filter(|ran| fs::read_to_string(ran).is_ok_and(|text| text.contains("last")))
                {
                    if written.insert(ran) {
                        runtime.block_on(put(&aws, "kills-results", "result", "a result".to_owned()));
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self(over, Some(writer))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        drop(self.1.take().map(std::thread::JoinHandle::join));
    }
}

/// The files called `ran` below a folder.
fn named_ran(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => named_ran(&entry.path(), out),
            Ok(_) if entry.file_name() == "ran" => out.push(entry.path()),
            _ => {}
        }
    }
}

/// How often each step's task ended with exit code 0, as ECS still has them.
async fn tasks(aws: &Aws) -> BTreeMap<String, usize> {
    let listed =
        aws.ecs.list_tasks().cluster("kills-main").desired_status("STOPPED".into()).into_paginator().items().send();
    let arns: Vec<String> = listed.collect::<Result<_, _>>().await.unwrap();
    let mut out = BTreeMap::new();
    for some in arns.chunks(100) {
        let answer = aws.ecs.describe_tasks().cluster("kills-main").set_tasks(Some(some.to_vec()));
        let answer = answer.include(aws_sdk_ecs::types::TaskField::Tags).send().await.unwrap();
        for task in answer.tasks() {
            let step = task.tags().iter().find(|tag| tag.key() == Some("seqstack:step")).and_then(|tag| tag.value());
            let zero = task.containers().iter().all(|container| container.exit_code() == Some(0));
            *out.entry(step.unwrap().to_owned()).or_default() += usize::from(zero);
        }
    }
    out
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
