//! A lab for tests: the real tool against the sandbox in this process, in the paused clock, with an engine whose tasks go
//! as a script says.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary and benchmark uses a part, and cannot go on without it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use seqstack::aws::{Aws, clients};
use seqstack::cli::{Consent, Wish};
use seqstack::command::prepare::{self, Prepared};
use seqstack::command::session::Session;
use seqstack::command::{Console, Exit, Problem, apply, destroy};
use seqstack::desired::wanted;
use seqstack::sandbox::connector::mutates;
use seqstack::sandbox::engine::Launch;
use seqstack::sandbox::engine::fake::{Fake, Outcome};
use seqstack::sandbox::service::Options;
use seqstack::sandbox::{Key, Sandbox, Setup, Wire, sdk_config};
use seqstack::stack::{Request, Stack};

pub mod portrait;
pub mod scene;

pub struct Lab {
    pub sandbox: Arc<Sandbox>,
    pub fake: Arc<Fake>,
    pub wire: Wire,
    pub folder: tempfile::TempDir,
    script: Arc<Script>,
}

/// The sandbox that tasks are in, once it is there.
type Known = Arc<OnceLock<Weak<Sandbox>>>;

/// What a task does: the tests' programs.
type Script = dyn Fn(&Launch, &Known) -> Outcome + Send + Sync;

fn line_of(launch: &Launch) -> String {
    launch.command.clone().unwrap_or_default().join(" ")
}

/// What a task leaves in a bucket when it ends. Inside a request the account is held: the writing comes right after it.
fn writes(known: &Known, objects: Vec<(String, String)>, content: &'static str) -> Option<Box<dyn FnOnce() + Send>> {
    let known = known.clone();
    Some(Box::new(move || {
        tokio::spawn(async move {
            let sandbox = known.get().and_then(Weak::upgrade).unwrap();
            for (bucket, key) in objects {
                sandbox.put_object(&bucket, &key, content.into()).unwrap();
            }
        });
    }))
}

/// A task that takes two seconds and succeeds.
pub fn fine() -> Outcome {
    Outcome { runs_for: Duration::from_secs(2), ..Outcome::default() }
}

/// A task that ends with this exit code.
pub fn fails(code: i32) -> Outcome {
    Outcome { code, log: vec!["reading".into(), "no such file: x.bam".into()], ..fine() }
}

impl Lab {
    /// A lab in which every task succeeds, and `push` writes the sample's VCF.
    pub fn new() -> Self {
        Self::with(|_| fine())
    }

    /// A lab whose tasks go as a script says, by command line; a `push` that succeeds writes the sample's VCF.
    pub fn with(script: impl Fn(&str) -> Outcome + Send + Sync + 'static) -> Self {
        Self::set(Options::default(), script)
    }

    pub fn set(options: Options, script: impl Fn(&str) -> Outcome + Send + Sync + 'static) -> Self {
        let lab = Self::around(
            move |launch: &Launch, known: &Known| {
                let line = line_of(launch);
                let mut outcome = script(&line);
                if let Some(sample) = line.strip_prefix("push ")
                    && outcome.code == 0
                    && outcome.failed.is_none()
                {
                    let key = format!("{0}/{0}.vcf", sample.split(' ').next().unwrap());
                    outcome.effect = writes(known, vec![("lab-results".to_owned(), key)], "a variant\n");
                }
                outcome
            },
            options,
        );
        for bucket in ["lab-reads", "lab-results"] {
            lab.sandbox.create_bucket(bucket);
        }
        for key in ["S1.fq", "S2.fq", "ref.fa"] {
            lab.sandbox.put_object("lab-reads", key, format!("content of {key}").into()).unwrap();
        }
        lab
    }

    /// A lab for a stack file of its own: its buckets, its inputs and the files that it uploads are there (small ones), and
    /// the pipeline's last command writes every output.
    pub fn of(text: &str) -> Self {
        Self::of_with(text, |_| fine())
    }

    /// The same with tasks that go as a script says, by command line.
    pub fn of_with(text: &str, script: impl Fn(&str) -> Outcome + Send + Sync + 'static) -> Self {
        let stack = parsed(text, None, true);
        let physical = stack.info.buckets.clone();
        let (mut outputs, mut last) = (Vec::new(), String::new());
        if let Some(pipeline) = &stack.pipeline {
            for written in &pipeline.outputs {
                outputs.extend(written.keys.iter().map(|key| (physical[&written.bucket.text].clone(), concrete(key))));
            }
            last = pipeline.step.last().unwrap().command.clone().unwrap().join(" ");
        }
        let lab = Self::around(
            move |launch: &Launch, known: &Known| {
                let line = line_of(launch);
                let mut outcome = script(&line);
                if line == last && outcome.code == 0 {
                    outcome.effect = writes(known, outputs.clone(), "a result\n");
                }
                outcome
            },
            Options::default(),
        );
        for bucket in physical.values() {
            lab.sandbox.create_bucket(bucket);
        }
        let uploads: Vec<_> = wanted(&stack).into_iter().filter(|(at, _)| at.kind == "upload").collect();
        for (_, spec) in &uploads {
            for file in spec["files"].as_array().unwrap() {
                let path = lab.folder.path().join(file.as_str().unwrap());
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, format!("content of {}", file.as_str().unwrap())).unwrap();
            }
        }
        for read in stack.pipeline.iter().flat_map(|pipeline| &pipeline.inputs).filter(|_| uploads.is_empty()) {
            for key in &read.keys {
                let key = concrete(key);
                lab.sandbox.put_object(&physical[&read.bucket.text], &key, format!("content of {key}").into()).unwrap();
            }
        }
        lab
    }

    fn around(script: impl Fn(&Launch, &Known) -> Outcome + Send + Sync + 'static, options: Options) -> Self {
        let script: Arc<Script> = Arc::new(script);
        let (known, goes) = (Known::default(), script.clone());
        let seen = known.clone();
        let fake = Arc::new(Fake::new(move |launch: &Launch| goes(launch, &seen)));
        let sandbox = Sandbox::new(Setup {
            options,
            engine: fake.clone(),
            keys: vec![Key {
                id: "AKIAIOSFODNN7EXAMPLE".into(),
                secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            }],
            endpoint: "http://127.0.0.1:4566".into(),
            folder: None,
            clock_start: "2026-01-02T03:04:05Z".parse().unwrap(),
        });
        known.set(Arc::downgrade(&sandbox)).unwrap();
        let wire = Wire { latency: Duration::from_millis(2), ..Wire::default() };
        Self { sandbox, fake, wire, folder: tempfile::tempdir().unwrap(), script }
    }

    /// Another lab like this one, account, tasks and folder, in which it is that time now.
    pub fn copied(&self, now: Timestamp) -> Self {
        let (known, goes) = (Known::default(), self.script.clone());
        let seen = known.clone();
        let fake = Arc::new(self.fake.copied(move |launch: &Launch| goes(launch, &seen)));
        let sandbox = self.sandbox.copied(fake.clone(), now).unwrap();
        known.set(Arc::downgrade(&sandbox)).unwrap();
        let wire = Wire { latency: self.wire.latency, ..Wire::default() };
        let folder = tempfile::tempdir().unwrap();
        copy_all(self.folder.path(), folder.path());
        Self { sandbox, fake, wire, folder, script: self.script.clone() }
    }

    /// This moment of the lab, to be gone back to.
    pub fn frozen(&self) -> Frozen {
        let now = self.sandbox.clock().now();
        Frozen { lab: self.copied(now), now }
    }

    pub fn aws(&self) -> Aws {
        Aws::new(&clients::patient(sdk_config(&self.sandbox, self.wire.clone())))
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn session(&self, text: &str, sample: Option<&str>, needs_sample: bool) -> Session {
        self.session_over(self.wire.clone(), text, sample, needs_sample)
    }

    /// A session of a client with a way of its own to the sandbox.
    pub fn session_over(&self, wire: Wire, text: &str, sample: Option<&str>, needs_sample: bool) -> Session {
        let mut stack = parsed(text, sample, needs_sample);
        let aws = Aws::new(&clients::patient(sdk_config(&self.sandbox, wire)));
        stack.info.region = aws.region.clone();
        let aws = Aws { buckets: aws.buckets.encrypted(stack.info.encryptions.clone()), ..aws };
        stack.folder = self.folder.path().to_owned();
        Session {
            state_dir: self.state().join(&stack.info.name),
            stack,
            aws,
            sandbox: Some("SANDBOX (test)".into()),
            options: vec!["--sandbox".into()],
            verbose: false,
            console: Console::Silent,
        }
    }

    pub async fn plan(&self, text: &str) -> Prepared {
        let session = self.session(text, None, true);
        prepare::converge(&session, &wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub async fn try_apply(&self, text: &str, wish: Wish) -> Result<Exit, Problem> {
        let session = self.session(text, wish.sample.as_deref(), true);
        apply::apply(&session, &wish, &yes()).await
    }

    pub async fn apply(&self, text: &str) -> Exit {
        self.try_apply(text, wish()).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Applies, whatever work is lost.
    pub async fn discard(&self, text: &str) -> Exit {
        let consent = Consent { discard_intermediates: true, ..yes() };
        let session = self.session(text, None, true);
        apply::apply(&session, &wish(), &consent).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub async fn destroy(&self, text: &str) -> Exit {
        let session = self.session(text, None, false);
        destroy::destroy(&session, false, &yes()).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Calls that change something, by name, since the sandbox began.
    pub fn mutations(&self) -> BTreeMap<String, usize> {
        self.sandbox.counts().into_iter().filter(|(name, _)| mutates(name)).collect()
    }

    /// The command lines that were started, in order.
    pub fn started(&self) -> Vec<String> {
        self.fake.launches().iter().map(|launch| launch.command.clone().unwrap_or_default().join(" ")).collect()
    }

    /// The account, all in it come to rest, to compare accounts by.
    pub async fn portrait(&self) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(60)).await;
        portrait::of(&self.sandbox.portrait().unwrap())
    }

    /// The command lines that were started, sorted.
    pub fn started_once(&self) -> Vec<String> {
        let mut started = self.started();
        started.sort();
        started
    }

    /// What is in the account, buckets apart.
    pub fn left(&self) -> Vec<String> {
        let status = self.sandbox.status();
        let mut left = Vec::new();
        for service in ["iam", "ec2", "ecs", "logs"] {
            for (kind, things) in status[service].as_object().unwrap() {
                left.extend(things.as_array().unwrap().iter().map(|thing| {
                    let name = thing.get("name").unwrap_or(&thing["id"]).as_str().unwrap();
                    format!("{kind} {name}")
                }));
            }
        }
        left
    }
}

/// A moment of a lab.
pub struct Frozen {
    lab: Lab,
    now: Timestamp,
}

impl Frozen {
    /// The lab as it was then, as often as one likes.
    pub fn lab(&self) -> Lab {
        self.lab.copied(self.now)
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

/// The stack in a text that is sound.
pub fn parsed(text: &str, sample: Option<&str>, needs_sample: bool) -> Stack {
    let request = Request { sample, set: &[], needs_sample };
    Stack::parse(Path::new("lab.toml"), text, &request).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A key that a glob matches.
fn concrete(glob: &str) -> String {
    glob.replace('*', "x")
}

pub fn wish() -> Wish {
    Wish::default()
}

pub fn yes() -> Consent {
    Consent { yes: true, ..Consent::default() }
}

/// Four roles' worth of stack in small: everything that every kind needs, and three steps.
pub const STACK: &str = r#"
[stack]
name   = "lab"
region = "eu-west-2"
tags   = { project = "ngs" }

[sample.S1]
reads = "S1.fq"

[bucket.reads]
name = "lab-reads"
[bucket.results]
name = "lab-results"

[role.instance]
trusts           = "ec2.amazonaws.com"
attach           = ["service-role/AmazonEC2ContainerServiceforEC2Role"]
instance_profile = true
[role.execution]
trusts = "ecs-tasks.amazonaws.com"
attach = ["service-role/AmazonECSTaskExecutionRolePolicy"]
[role.input]
trusts = "ecs-tasks.amazonaws.com"
read   = ["reads"]

[key_pair.key]
[security_group.ecs]
description = "ECS instances"
ingress     = [{ protocol = "tcp", port = 22, cidr = "203.0.113.0/24", description = "SSH access" }]

[cluster.main]
[instance.worker]
cluster         = "main"
type            = "t3.large"
ami             = "ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
role            = "instance"
key_pair        = "key"
security_groups = ["ecs"]
volume          = { size_gib = 30, type = "gp3" }
lifetime        = "run"
max_hours       = 2

[log_group.pipeline]
retention_days = 7
[task_defaults]
execution_role = "execution"
cpu            = 1024
memory         = 1024
mounts         = [{ host = "/var/lib/seqstack/data", container = "/data" }]
log_group      = "pipeline"
[task_definition.tool]
image = "tool:1"

[pipeline]
cluster    = "main"
inputs     = [{ bucket = "reads", keys = ["${sample.reads}", "ref.fa"] }]
outputs    = [{ bucket = "results", keys = ["${sample.name}/${sample.name}.vcf"] }]
on_failure = "keep"
[[pipeline.step]]
name      = "pull"
task      = "tool"
task_role = "input"
command   = "pull ${sample.name}"
[[pipeline.step]]
name    = "call"
task    = "tool"
command = "call ${sample.name}"
[[pipeline.step]]
name    = "push"
task    = "tool"
command = "push ${sample.name}"
"#;

/// The stack with one text in it replaced by another.
pub fn edited(from: &str, to: &str) -> String {
    assert!(STACK.contains(from), "{from}");
    STACK.replacen(from, to, 1)
}
