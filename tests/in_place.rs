//! Inputs that are changed in place: by one byte, at equal size, on an instance that a failed run has kept and on one that
//! stays always, with kills between. The real binary, real processes, and AWS's own command line as the pulling step, whose
//! `s3 sync` skips what is there at equal size.
//!
//! `SEQSTACK_SEED=n` plays the same kills again.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; what is skipped is said"
)]
#![cfg(feature = "sandbox")]

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use seqstack::aws::Aws;
use seqstack::aws::clients::connect_to_sandbox;
use seqstack::sandbox::engine::detect::usable;
use seqstack::sandbox::process::connect;

const FILES: [&str; 3] = ["a.txt", "b.txt", "c.txt"];

/// Pulls all that is in the bucket, joins it where `mode` says `pass`, and pushes that.
const STACK: &str = r#"
[stack]
name   = "inplace"
region = "eu-west-2"
[sample.S1]
[bucket.reads]
name = "inplace-reads"
[bucket.results]
name = "inplace-results"
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
[role.output]
trusts = "ecs-tasks.amazonaws.com"
write  = ["results"]
[security_group.ecs]
description = "ECS instances"
[cluster.main]
[instance.worker]
cluster         = "main"
type            = "t3.large"
ami             = "ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
role            = "instance"
security_groups = ["ecs"]
lifetime        = "@LIFETIME@"
max_hours       = 2
[log_group.pipeline]
retention_days = 7
[task_defaults]
execution_role = "execution"
cpu            = 256
memory         = 512
working_dir    = "/data"
mounts         = [{ host = "/var/lib/seqstack/data", container = "/data" }]
log_group      = "pipeline"
[task_definition.aws]
image = "amazon/aws-cli:1"
[task_definition.shell]
image = "inplace/shell:1"
[pipeline]
cluster = "main"
inputs  = [{ bucket = "reads", keys = ["*"] }]
outputs = [{ bucket = "results", keys = ["S1/result.txt"] }]
[[pipeline.step]]
name      = "pull"
task      = "aws"
task_role = "input"
command   = "s3 sync s3://${bucket.reads} /data"
[[pipeline.step]]
name    = "join"
task    = "shell"
command = ["sh", "-c", "grep -q pass mode && cat a.txt b.txt c.txt > result.txt"]
[[pipeline.step]]
name      = "push"
task      = "aws"
task_role = "output"
command   = "s3 cp /data/result.txt s3://${bucket.results}/S1/result.txt"
"#;

struct Lab {
    folder: tempfile::TempDir,
    stack: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// What each file holds: one letter changes.
    content: [u8; 3],
}

impl Lab {
    fn new(lifetime: &str, aws_cli: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stack = folder.path().join("inplace.toml");
        fs::write(&stack, STACK.replace("@LIFETIME@", lifetime)).unwrap();
        fs::DirBuilder::new().mode(0o700).create(folder.path().join(".sandbox")).unwrap();
        let (bin, venv) = (aws_cli.parent().unwrap(), aws_cli.parent().unwrap().parent().unwrap());
        let table = format!(
            "[[image]]\nimage = 'amazon/aws-cli'\nprograms = ['aws']\nentry_point = ['aws']\nworking_dir = '/aws'\npath = ['{}']\nbind = ['{}']\n\
             [[image]]\nimage = 'inplace/shell'\nprograms = ['sh', 'grep', 'cat']\n",
            bin.display(),
            venv.display()
        );
        fs::write(folder.path().join(".sandbox/programs.toml"), table).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let lab = Self { folder, stack, runtime, content: *b"000" };
        // The first plan starts the sandbox and makes the buckets.
        lab.command("plan", &[]).output().unwrap();
        lab
    }

    fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
        command.args([verb, self.stack.to_str().unwrap(), "--sandbox"]).args(more);
        command.env("SEQSTACK_SANDBOX_ENGINE", "bubblewrap").stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
    }

    fn apply(&self) -> Output {
        self.command("apply", &["--yes", "--discard-intermediates"]).output().unwrap()
    }

    fn aws(&self) -> Aws {
        let endpoint = self.runtime.block_on(connect(&self.folder.path().join(".sandbox"))).unwrap().unwrap();
        connect_to_sandbox(&endpoint.url, &endpoint.region, &endpoint.key_id, &endpoint.secret)
    }

    fn put(&self, key: &str, content: String) {
        let aws = self.aws();
        let put = aws.s3.put_object().bucket("inplace-reads").key(key).body(content.into_bytes().into());
        self.runtime.block_on(put.send()).unwrap();
    }

    /// Ten lines, of which one byte differs between two versions.
    fn text(&self, file: usize) -> String {
        format!("{}\n{}\n{}", "a line\n".repeat(5), char::from(self.content[file]), "a line\n".repeat(5))
    }

    fn mode(&self, mode: &str) {
        self.put("mode", format!("{mode}\n"));
    }

    fn change(&mut self, file: usize) {
        self.content[file] += 1;
        self.put(FILES[file], self.text(file));
    }

    /// The result in the bucket, and what a run of the present inputs would have written.
    fn results(&self) -> (String, String) {
        let get = self.aws().s3.get_object().bucket("inplace-results").key("S1/result.txt");
        let body = self.runtime.block_on(async { get.send().await.unwrap().body.collect().await.unwrap() });
        (String::from_utf8(body.to_vec()).unwrap(), (0..3).map(|file| self.text(file)).collect())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing that a failed test left running outlives it.
        for verb in [&["reset", "--yes"][..], &["stop", "--force"]] {
            let args = [&["sandbox"], verb, &["--project", self.folder.path().to_str().unwrap()]].concat();
            drop(Command::new(env!("CARGO_BIN_EXE_seqstack")).args(args).output());
        }
    }
}

fn aws_cli() -> Option<PathBuf> {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/.venv/bin/aws");
    match (usable("bubblewrap"), fs::canonicalize(cli.parent().unwrap())) {
        (Err(why), _) => println!("skipped: bubblewrap: {why}"),
        (_, Ok(bin)) if bin.join("aws").exists() => return Some(bin.join("aws")),
        _ => println!("skipped: tests/clients/install has not brought AWS's command line"),
    }
    None
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn on_an_instance_that_a_failed_run_has_kept_the_results_are_those_of_a_fresh_run() {
    let Some(cli) = aws_cli() else { return };
    let mut lab = Lab::new("run", &cli);
    (0..3).for_each(|file| lab.put(FILES[file], lab.text(file)));
    for (file, name) in FILES.iter().enumerate() {
        lab.mode("fail");
        let failed = lab.apply();
        assert_eq!(failed.status.code(), Some(3), "{}", text(&failed));
        // All of it is on the kept instance now; `sync` would skip both.
        lab.change(file);
        lab.mode("pass");
        let done = lab.apply();
        assert!(done.status.success(), "{}", text(&done));
        let (result, expected) = lab.results();
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn on_an_instance_that_stays_the_results_are_those_of_a_fresh_run_after_kills_too() {
    let Some(cli) = aws_cli() else { return };
    let seed = std::env::var("SEQSTACK_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lab = Lab::new("always", &cli);
    (0..3).for_each(|file| lab.put(FILES[file], lab.text(file)));
    lab.mode("pass");
    let first = lab.apply();
    assert!(first.status.success(), "{}", text(&first));
    for (file, name) in FILES.iter().enumerate() {
        lab.change(file);
        let mut apply = lab.command("apply", &["--yes", "--discard-intermediates"]);
        let mut child = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(8).mul_f64(random.f64()));
        child.kill().unwrap();
        child.wait().unwrap();
        // And once more while it is cut short.
        lab.change((file + 1) % 3);
        let done = lab.apply();
        assert!(done.status.success(), "seed {seed}, {name}: {}", text(&done));
        let (result, expected) = lab.results();
        assert_eq!(result, expected, "seed {seed}, {name}");
    }
}
