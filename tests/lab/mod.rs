//! A lab for tests: the real tool against the sandbox in this process, in the paused clock, with an engine whose tasks go
//! as a script says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use seqstack::aws::Aws;
use seqstack::cli::{Consent, Wish};
use seqstack::command::prepare::{self, Prepared};
use seqstack::command::session::Session;
use seqstack::command::{Exit, Problem, apply, destroy};
use seqstack::sandbox::engine::Launch;
use seqstack::sandbox::engine::fake::{Fake, Outcome};
use seqstack::sandbox::service::Options;
use seqstack::sandbox::{Key, Sandbox, Setup, Wire, sdk_config};
use seqstack::stack::{Request, Stack};

pub struct Lab {
    pub sandbox: Arc<Sandbox>,
    pub fake: Arc<Fake>,
    pub wire: Wire,
    folder: tempfile::TempDir,
}

/// What a task does, by its command line: the tests' programs.
type Script = dyn Fn(&str) -> Outcome + Send + Sync;

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
        let known: Arc<OnceLock<Weak<Sandbox>>> = Arc::default();
        let script: Box<Script> = Box::new(script);
        let seen = known.clone();
        let fake = Arc::new(Fake::new(move |launch: &Launch| {
            let line = launch.command.clone().unwrap_or_default().join(" ");
            let mut outcome = script(&line);
            if let Some(sample) = line.strip_prefix("push ")
                && outcome.code == 0
                && outcome.failed.is_none()
            {
                let (seen, key) = (seen.clone(), format!("{0}/{0}.vcf", sample.split(' ').next().unwrap()));
                // Inside a request the account is held: the writing comes right after it.
                outcome.effect = Some(Box::new(move || {
                    tokio::spawn(async move {
                        let sandbox = seen.get().and_then(Weak::upgrade).unwrap();
                        sandbox.put_object("lab-results", &key, "a variant\n".into()).unwrap();
                    });
                }));
            }
            outcome
        }));
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
        for bucket in ["lab-reads", "lab-results"] {
            sandbox.create_bucket(bucket);
        }
        for key in ["S1.fq", "S2.fq", "ref.fa"] {
            sandbox.put_object("lab-reads", key, format!("content of {key}").into()).unwrap();
        }
        let wire = Wire { latency: Duration::from_millis(2), ..Wire::default() };
        Self { sandbox, fake, wire, folder: tempfile::tempdir().unwrap() }
    }

    pub fn aws(&self) -> Aws {
        Aws::new(&sdk_config(&self.sandbox, self.wire.clone()))
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn session(&self, text: &str, sample: Option<&str>, needs_sample: bool) -> Session {
        let request = Request { sample, set: &[], needs_sample };
        let mut stack = Stack::parse(Path::new("lab.toml"), text, &request).unwrap_or_else(|faults| panic!("{faults}"));
        let aws = self.aws();
        stack.info.region = aws.region.clone();
        stack.folder = self.folder.path().to_owned();
        Session {
            state_dir: self.state().join(&stack.info.name),
            stack,
            aws,
            sandbox: Some("SANDBOX (test)".into()),
            verbose: false,
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

    pub async fn destroy(&self, text: &str) -> Exit {
        let session = self.session(text, None, false);
        destroy::destroy(&session, false, &yes()).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Calls that change something, by name, since the sandbox began.
    pub fn mutations(&self) -> BTreeMap<String, usize> {
        let reads = ["Describe", "Get", "List", "Head"];
        let is_read = |name: &str| {
            name.split_once(':').is_some_and(|(_, operation)| reads.iter().any(|read| operation.starts_with(read)))
        };
        self.sandbox.counts().into_iter().filter(|(name, _)| !is_read(name)).collect()
    }

    /// The command lines that were started, in order.
    pub fn started(&self) -> Vec<String> {
        self.fake.launches().iter().map(|launch| launch.command.clone().unwrap_or_default().join(" ")).collect()
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

pub fn wish() -> Wish {
    Wish { sample: None, adopt: Vec::new(), retry: false }
}

pub fn yes() -> Consent {
    Consent { yes: true, discard_intermediates: false }
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
