//! The tool against an emulator that is not ours: moto's server, and real processes for tasks. See `tests/moto/README.md`.
//!
//! What came about is asked of moto, never of the tool. Where the clients are not installed (`tests/clients/install`) or
//! a program is missing, the tests print `skipped`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; what is skipped is said"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const SAMPLE: &str = "OMGL_2005265_U035";
const BUCKETS: [&str; 2] = ["lab-fastq-in", "lab-results-out"];
/// Of one command; coreutils' `timeout` ends it then.
const SECONDS: &str = "120";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn germline() -> String {
    fs::read_to_string(root().join("stacks/germline.toml")).unwrap()
}

/// The stack up to its run: without the pipeline, and without the instance that exists only for it.
fn infrastructure() -> String {
    let all = germline();
    let (before, rest) = all.split_once("[instance.worker]").unwrap();
    let (_, rest) = rest.split_once("[log_group.pipeline]").unwrap();
    let (rest, _) = rest.split_once("[pipeline]").unwrap();
    format!("{before}[log_group.pipeline]{rest}")
}

fn edited(stack: &str, from: &str, to: &str) -> String {
    assert_eq!(stack.matches(from).count(), 1, "{from}");
    stack.replace(from, to)
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
}

/// Why these tests cannot run here.
fn missing() -> Option<String> {
    let python = root().join("tests/clients/.venv/bin/python");
    if !works(
        python.to_str().unwrap(),
        &["-c", "import importlib.util as i; assert i.find_spec('boto3') and i.find_spec('moto.server')"],
    ) {
        return Some("moto is not installed (tests/clients/install)".to_owned());
    }
    let programs = [
        ("timeout", ["1", "true"].as_slice()),
        ("bwrap", &["--unshare-user", "--unshare-pid", "--uid", "1000", "--ro-bind", "/", "/", "true"]),
        ("samtools", &["--version"]),
        ("freebayes", &["--version"]),
        // It has no option that only says its version.
        ("sh", &["-c", "command -v bwa"]),
    ];
    let missing = programs.iter().find(|(program, arguments)| !works(program, arguments));
    missing.map(|(program, arguments)| format!("`{program} {}` does not work here", arguments.join(" ")))
}

/// A process that ends when its standard input does: also when this test was killed.
struct Attached(Child);

impl Attached {
    fn spawn(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Its failure is seen by what it did not do, and a drop must not panic.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }
}

/// One account: a server, and a folder with the stack file.
struct Moto {
    url: String,
    _server: Attached,
    folder: tempfile::TempDir,
}

impl Moto {
    fn new() -> Option<Self> {
        if let Some(why) = missing() {
            println!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(root().join("tests/moto/server"));
        command.arg(folder.path().join("calls"));
        let mut server = Attached::spawn(command);
        let url = server.output().lines().next().expect("the server says where it is").unwrap();
        let moto = Self { url, _server: server, folder };
        for bucket in BUCKETS {
            moto.aws(&["s3", "mb", &format!("s3://{bucket}")]);
        }
        moto.open_the_default_vpc();
        Some(moto)
    }

    /// The default VPC of an account of AWS's has a way out (VPC user guide, "Default VPC components"); moto's has none.
    fn open_the_default_vpc(&self) {
        let one = |arguments: &[&str]| self.aws(arguments).trim().to_owned();
        let text = |query| ["--output", "text", "--query", query];
        let vpcs = ["ec2", "describe-vpcs", "--filters", "Name=is-default,Values=true"];
        let vpc = one(&[vpcs.as_slice(), &text("Vpcs[0].VpcId")].concat());
        let gateway =
            one(&[["ec2", "create-internet-gateway"].as_slice(), &text("InternetGateway.InternetGatewayId")].concat());
        one(&["ec2", "attach-internet-gateway", "--vpc-id", &vpc, "--internet-gateway-id", &gateway]);
        let filter = format!("Name=vpc-id,Values={vpc}");
        let tables = ["ec2", "describe-route-tables", "--filters", &filter];
        let table = one(&[tables.as_slice(), &text("RouteTables[0].RouteTableId")].concat());
        let route = ["ec2", "create-route", "--destination-cidr-block", "0.0.0.0/0"];
        one(&[route.as_slice(), &["--route-table-id", &table, "--gateway-id", &gateway]].concat());
    }

    /// The container agents of all its instances, while they are held.
    fn agents(&self) -> Attached {
        let hosts = self.path("hosts");
        fs::create_dir(&hosts).unwrap();
        let mut command = Command::new(root().join("tests/moto/agent"));
        environment(&mut command, &self.url, self.folder.path()).arg(hosts);
        Attached::spawn(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Done {
        let mut command = Command::new("timeout");
        command.args(["--kill-after", "5", SECONDS]).arg(program.as_ref()).args(arguments);
        let done = environment(&mut command, &self.url, self.folder.path()).output().unwrap();
        Done {
            code: done.status.code().unwrap(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    fn aws(&self, arguments: &[&str]) -> String {
        self.command(root().join("tests/clients/.venv/bin/aws"), arguments).expect(0).out
    }

    /// The tool itself, on that text as the stack file, with the demo's reference.
    fn seqstack(&self, stack: &str, verb: &str, options: &[&str]) -> Done {
        let file = self.path("germline.toml");
        fs::write(&file, stack).unwrap();
        let mut arguments = vec![verb, file.to_str().unwrap(), "--endpoint-url", &self.url];
        arguments.extend(["--set", "reference=q", "--set", "regions=q.bed"]);
        arguments.extend(options);
        self.command(env!("CARGO_BIN_EXE_seqstack"), &arguments)
    }

    /// The input bucket as the stack wants it: the demo's reads and reference, and what GATK needs beside it.
    fn fill(&self) {
        let (demo, data) = (root().join("stacks/demo"), self.path("data"));
        fs::create_dir(&data).unwrap();
        for entry in fs::read_dir(&demo).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let to = match name.as_str() {
                "NA12878_R1.fastq.gz" => "OMGL_2005265_U035_S35_L001_R1_001.fastq.gz",
                "NA12878_R2.fastq.gz" => "OMGL_2005265_U035_S35_L001_R2_001.fastq.gz",
                name if name.starts_with("q.fa") => name,
                _ => continue,
            };
            fs::copy(demo.join(&name), data.join(to)).unwrap();
        }
        let length = fs::read_to_string(data.join("q.fa.fai")).unwrap();
        let length = length.split('\t').nth(1).unwrap();
        fs::write(data.join("q.bed"), format!("q\t0\t{length}\n")).unwrap();
        let dictionary = self.command("samtools", &["dict", data.join("q.fa").to_str().unwrap()]).expect(0).out;
        fs::write(data.join("q.dict"), dictionary).unwrap();
        self.aws(&["s3", "cp", "--quiet", "--recursive", data.to_str().unwrap(), "s3://lab-fastq-in"]);
    }

    /// What moto has, a line each; see `tests/moto/inventory`.
    fn inventory(&self) -> BTreeSet<String> {
        let done = self.command(root().join("tests/moto/inventory"), &[]).expect(0);
        done.out.lines().map(str::to_owned).collect()
    }

    /// The kinds of what moto has, without buckets and their objects.
    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = kinds(&self.inventory()).into_iter().map(str::to_owned).collect();
        kinds.retain(|kind| kind != "bucket" && kind != "object");
        kinds
    }

    /// What `act` brought about, and the changing calls that moto was sent meanwhile, in their order.
    fn calls<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<String>) {
        let calls = || fs::read_to_string(self.path("calls")).unwrap();
        let before = calls().lines().count();
        let out = act();
        let reads = ["Describe", "List", "Get", "GET ", "HEAD "];
        let changing = |call: &&str| !reads.iter().any(|read| call.starts_with(read));
        (out, calls().lines().skip(before).filter(changing).map(str::to_owned).collect())
    }

    fn object(&self, key: &str) -> String {
        self.aws(&["s3", "cp", "--quiet", &format!("s3://lab-results-out/{key}"), "-"])
    }
}

/// Loopback and AWS's documented example keys, and nothing of this machine's.
fn environment<'a>(command: &'a mut Command, url: &str, home: &Path) -> &'a mut Command {
    command
        .env_clear()
        // Which change `tests/controls` tries.
        .envs(std::env::var_os("SEQSTACK_MUTANT").map(|number| ("SEQSTACK_MUTANT", number)))
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_REGION", "eu-west-2")
        .env("AWS_DEFAULT_REGION", "eu-west-2")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

fn kinds<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    lines.into_iter().map(|line| line.split(' ').next().unwrap()).collect()
}

/// The truth set's variants that a record with QUAL of at least 20 covers, and how many there are.
fn found(vcf: &str) -> (usize, usize) {
    let truth = fs::read_to_string(root().join("stacks/demo/truth.vcf")).unwrap();
    let records = |text: &str| -> Vec<(usize, usize, f64)> {
        let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
        rows.map(|row| (row[1].parse().unwrap(), row[3].len(), row[5].parse().unwrap())).collect()
    };
    let (truth, called) = (records(&truth), records(vcf));
    let covers = |at: usize| called.iter().any(|(from, len, qual)| *qual >= 20.0 && (*from..from + len).contains(&at));
    (truth.iter().filter(|(at, ..)| covers(*at)).count(), truth.len())
}

#[test]
fn the_infrastructure_is_made_edited_mended_and_taken_down() {
    let Some(moto) = Moto::new() else { return };
    let mut stack = infrastructure();
    let planned = moto.seqstack(&stack, "plan", &["--detailed-exitcode"]).expect(2);
    assert!(planned.out.ends_with("12 to create\n"), "{}", planned.out);
    assert_eq!(moto.kinds(), Vec::<String>::new(), "a plan makes nothing");
    moto.seqstack(&stack, "apply", &["--yes"]).expect(0);
    let made = [
        ("cluster", 1),
        ("instance_profile", 1),
        ("key_pair", 1),
        ("log_group", 1),
        ("policy", 2),
        ("role", 4),
        ("security_group", 1),
        ("task_definition", 4),
    ];
    let made: Vec<_> = made.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count)).collect();
    assert_eq!(moto.kinds(), made);

    for verb in [["plan", "--detailed-exitcode"], ["apply", "--yes"]] {
        let (done, calls) = moto.calls(|| moto.seqstack(&stack, verb[0], &verb[1..]));
        assert!(done.expect(0).out.contains("nothing to do"));
        assert_eq!(calls, Vec::<String>::new());
    }

    // One edit is exactly that change.
    let mut before = moto.inventory();
    for (from, to, kind, sent) in [
        ("retention_days = 90", "retention_days = 30", "log_group", ["PutRetentionPolicy"].as_slice()),
        (
            "port = 22,",
            "port = 2222,",
            "security_group",
            &["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"],
        ),
        (
            "samtools:v1.9-4-deb_cv1",
            "samtools:v1.10",
            "task_definition",
            &["DeregisterTaskDefinition", "RegisterTaskDefinition"],
        ),
    ] {
        stack = edited(&stack, from, to);
        let planned = moto.seqstack(&stack, "plan", &["--detailed-exitcode"]).expect(2);
        assert!(planned.out.ends_with("1 to change\n"), "{}", planned.out);
        let (done, mut calls) = moto.calls(|| moto.seqstack(&stack, "apply", &["--yes"]));
        done.expect(0);
        calls.sort();
        assert_eq!(calls, sent);
        let after = moto.inventory();
        assert_eq!(kinds(before.difference(&after)), [kind]);
        assert_eq!(kinds(after.difference(&before)), [kind]);
        before = after;
    }

    // Drift is found and mended.
    let group =
        moto.aws(&["ec2", "describe-security-groups", "--query", "SecurityGroups[].GroupName", "--output", "text"]);
    let group = group.split_whitespace().find(|name| name.starts_with("germline-")).unwrap();
    let anyone = ["--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"];
    moto.aws(&[["ec2", "authorize-security-group-ingress", "--group-name", group].as_slice(), &anyone].concat());
    let attached = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
    moto.aws(&["iam", "detach-role-policy", "--role-name", "germline-execution", "--policy-arn", attached]);
    moto.aws(&["logs", "delete-retention-policy", "--log-group-name", "/seqstack/germline/pipeline"]);
    let planned = moto.seqstack(&stack, "plan", &["--detailed-exitcode"]).expect(2).out;
    for changed in ["~ role.execution", "~ security_group.ecs", "~ log_group.pipeline", "\n3 to change\n"] {
        assert!(planned.contains(changed), "{planned}");
    }
    moto.seqstack(&stack, "apply", &["--yes"]).expect(0);
    assert_eq!(moto.inventory(), before);

    moto.seqstack(&stack, "destroy", &["--yes"]).expect(0);
    assert_eq!(kinds(&moto.inventory()), ["bucket", "bucket"]);
}

#[test]
fn a_group_in_a_vpc_with_ipv6_lets_out_what_the_file_says_and_no_more() {
    let Some(moto) = Moto::new() else { return };
    let vpc = ["ec2", "create-vpc", "--cidr-block", "10.9.0.0/16", "--amazon-provided-ipv6-cidr-block"];
    let vpc = moto.aws(&[vpc.as_slice(), &["--query", "Vpc.VpcId", "--output", "text"]].concat()).trim().to_owned();
    let egress = "{ protocol = \"tcp\", port = 443, cidr = \"0.0.0.0/0\" }";
    let all = "{ protocol = \"all\", cidr = \"0.0.0.0/0\" }, { protocol = \"all\", cidr = \"::/0\" }";
    let stack = format!(
        "[stack]\nname = \"lab\"\nregion = \"eu-west-2\"\n[vars]\nreference = \"\"\nregions = \"\"\n\
         [security_group.narrow]\nname = \"narrow\"\nvpc = \"{vpc}\"\negress = [{egress}]\n\
         [security_group.open]\nvpc = \"{vpc}\"\negress = [{egress}, {all}]\n\
         [security_group.plain]\nvpc = \"{vpc}\"\n"
    );
    moto.seqstack(&stack, "apply", &["--yes"]).expect(0);
    moto.seqstack(&stack, "plan", &["--detailed-exitcode"]).expect(0);
    // The same name in the default VPC is another group's.
    let (from, to) =
        ("[security_group.narrow]\nname = \"narrow\"\nvpc", "[security_group.another]\nname = \"narrow\"\n# vpc");
    let planned = moto.seqstack(&edited(&stack, from, to), "plan", &["--detailed-exitcode"]).expect(2).out;
    assert!(planned.ends_with("1 to create, 1 to delete\n"), "{planned}");
    moto.seqstack(&stack, "destroy", &["--yes"]).expect(0);
}

#[test]
fn the_run_succeeds_and_one_that_fails_is_mended_and_goes_on() {
    let Some(moto) = Moto::new() else { return };
    moto.fill();
    let _agents = moto.agents();
    let inputs = moto.inventory();
    let stack = germline();
    let (done, calls) = moto.calls(|| moto.seqstack(&stack, "apply", &["--yes"]));
    let done = done.expect(0);
    assert_eq!(done.out.matches("  exit   0  arn:aws:ecs:").count(), 9, "{}", done.out);
    assert_eq!(calls.iter().filter(|call| *call == "RunTask").count(), 9);
    assert_eq!(found(&moto.object(&format!("{SAMPLE}/{SAMPLE}.vcf"))), (14, 14));
    let computers = ["container_instance", "instance", "volume"];
    assert!(moto.kinds().iter().all(|kind| !computers.contains(&kind.as_str())), "{:?}", moto.kinds());
    let (done, calls) = moto.calls(|| moto.seqstack(&stack, "plan", &["--detailed-exitcode"]));
    assert!(done.expect(0).out.contains("nothing to do"));
    assert_eq!(calls, Vec::<String>::new());

    // An annotation more, and a reference that is not there: the eighth step ends with 2, and the instance stays.
    let annotated = edited(&stack, "HaplotypeCaller -A Coverage", "HaplotypeCaller -A Coverage -A StrandBiasBySample");
    let wrong = edited(&annotated, "-R ${vars.reference}.fa\n", "-R hg38.fa\n");
    let (done, calls) = moto.calls(|| moto.seqstack(&wrong, "apply", &["--yes"]));
    let done = done.expect(3);
    assert_eq!(calls.iter().filter(|call| *call == "RunTask").count(), 8);
    for part in ["variant_caller", "exit code 2", "A USER ERROR has occurred: hg38.fa does not exist"] {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    assert!(moto.kinds().contains(&"container_instance".to_owned()));
    // Nothing has changed, so it is not started again.
    let (done, calls) = moto.calls(|| moto.seqstack(&wrong, "apply", &["--yes"]));
    done.expect(3);
    assert_eq!(calls, Vec::<String>::new());

    // Mended, it goes on from that step, on the same instance.
    let (done, calls) = moto.calls(|| moto.seqstack(&annotated, "apply", &["--yes"]));
    done.expect(0);
    assert_eq!(calls.iter().filter(|call| *call == "RunTask").count(), 2);
    assert!(!calls.contains(&"RunInstances".to_owned()));
    assert_eq!(found(&moto.object(&format!("{SAMPLE}/{SAMPLE}.vcf"))), (14, 14));
    assert!(moto.kinds().iter().all(|kind| !computers.contains(&kind.as_str())), "{:?}", moto.kinds());

    moto.seqstack(&annotated, "destroy", &["--yes"]).expect(0);
    assert_eq!(moto.kinds(), Vec::<String>::new());
    let left = moto.inventory();
    assert!(inputs.is_subset(&left), "the buckets and the inputs stay as they were");
    // Five results, the ledger, and the claims on the two instances that there have been.
    assert_eq!(left.difference(&inputs).count(), 8);
}

#[test]
fn a_file_of_any_size_arrives_whatever_checksums_the_sdk_adds() {
    let Some(moto) = Moto::new() else { return };
    let stack = "[stack]\nname = \"lab\"\nregion = \"eu-west-2\"\n[bucket.reads]\nname = \"lab-fastq-in\"\n\
                 [upload.reads]\nbucket = \"reads\"\nfiles = [\"file\"]\n";
    fs::write(moto.path("upload.toml"), stack).unwrap();
    for (byte, setting) in [(b'A', "when_supported"), (b'C', "when_required")] {
        for size in [0, 8 << 20, (8 << 20) + 1, 100_000_000] {
            let content = vec![byte; size];
            fs::write(moto.path("file"), &content).unwrap();
            let setting = format!("AWS_REQUEST_CHECKSUM_CALCULATION={setting}");
            let file = moto.path("upload.toml");
            let tool =
                [env!("CARGO_BIN_EXE_seqstack"), "apply", file.to_str().unwrap(), "--endpoint-url", &moto.url, "--yes"];
            moto.command("env", &[[setting.as_str()].as_slice(), &tool].concat()).expect(0);
            let there = moto.path("there");
            moto.aws(&["s3", "cp", "--quiet", "s3://lab-fastq-in/file", there.to_str().unwrap()]);
            assert!(fs::read(&there).unwrap() == content, "{size} {setting}");
        }
    }
}
