//! The tool through its binary: what a person types, sees, and gets as an exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use seqstack::sandbox::Sandbox;
use seqstack::sandbox::engine::fake::Outcome;
use tokio::sync::watch;

mod served;
use served::{command, command_to, served};

fn seqstack(args: &[&str]) -> Output {
    command(args).output().unwrap()
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
    for args in [&["--help"][..], &["--version"], &["apply", "--help"], &["graph", "stacks/demo.toml"]] {
        let output = seqstack(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

/// With what the germline stack reads.
async fn with_reads() -> (Arc<Sandbox>, watch::Sender<bool>) {
    let (sandbox, stop) = served(|_| Outcome::default()).await;
    for bucket in ["lab-fastq-in", "lab-results-out"] {
        sandbox.create_bucket(bucket);
    }
    let reads = ["R1", "R2"].map(|read| format!("OMGL_2005265_U035_S35_L001_{read}_001.fastq.gz"));
    for key in reads.iter().map(String::as_str).chain(["hs37d5.fa", "hs37d5.fa.fai", "hs37d5.dict", "FH.bed"]) {
        sandbox.put_object("lab-fastq-in", key, "x".into()).unwrap();
    }
    (sandbox, stop)
}

#[test]
fn a_reader_that_reads_no_further_is_no_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, _stop) = runtime.block_on(with_reads());
    for args in [&["plan", "stacks/germline.toml"][..], &["status", "stacks/germline.toml"], &["--help"]] {
        let with_sandbox = || command_to(&sandbox, args);
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
fn a_choice_is_part_of_the_plan_and_one_that_means_nothing_is_64() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, _stop) = runtime.block_on(with_reads());
    let run = |args: &[&str]| {
        let mut command = command(args);
        command.env("AWS_ENDPOINT_URL", sandbox.endpoint());
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.output().unwrap()
    };
    for verb in ["plan", "apply", "destroy"] {
        let wrong = run(&[verb, "stacks/germline.toml", "--target", "role.outputs", "--exclude", "clustr"]);
        let told = text(&wrong.stderr);
        assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(64), String::new()), "{verb}: {told}");
        assert!(told.contains("did you mean `role.output`?") && told.contains("did you mean `cluster`?"), "{told}");
    }
    let one = ["plan", "stacks/germline.toml", "--detailed-exitcode", "--target", "role.output"];
    let plan = run(&one);
    assert_eq!(plan.status.code(), Some(2), "{}", text(&plan.stderr));
    assert!(text(&plan.stdout).contains("1 to create; "), "{}", text(&plan.stdout));
    let none = run(&[&one[..], &["--exclude", "role"]].concat());
    assert_eq!(none.status.code(), Some(0), "{}", text(&none.stdout));
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

#[test]
fn a_saved_plan_is_its_owners_and_goes_with_its_stack_file_and_its_place() {
    use std::os::unix::fs::PermissionsExt as _;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, _stop) = runtime.block_on(with_reads());
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".git")).unwrap();
    let stack = home.path().join("germline.toml");
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/germline.toml")).unwrap();
    std::fs::write(&stack, &source).unwrap();
    let run = |args: &[&str]| {
        let output = command_to(&sandbox, args).current_dir(home.path()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };

    let (code, told) = run(&["plan", "germline.toml", "--out", "lab.plan"]);
    assert_eq!((code, told.as_str()), (0, "saved: seqstack apply lab.plan does exactly this, or refuses\n"));
    let file = home.path().join("lab.plan");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&file).unwrap();
    assert_eq!(run(&["plan", "germline.toml", "--out", "lab.plan"]).0, 0, "over a saved plan it may be written");
    assert_eq!(std::fs::read(&file).unwrap(), first, "byte for byte");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 3, "no draft is left");

    // Over anything else it may not.
    let (code, told) = run(&["plan", "germline.toml", "--out", "germline.toml"]);
    assert!(code == 1 && told.contains("is no saved plan: it was left as it is"), "{told}");
    assert_eq!(std::fs::read_to_string(&stack).unwrap(), source);

    // What the plan has decided cannot be asked for again, and it is no stack file.
    for (args, named) in [
        (&["apply", "lab.plan", "--sample", "x"][..], "--sample cannot be given with a saved plan"),
        (
            &["apply", "lab.plan", "--retry", "--set", "regions=x", "--adopt", "role.input"],
            "--adopt, --retry, --set cannot",
        ),
        (&["apply", "lab.plan", "--region", "eu-west-2"], "--region cannot"),
        (&["apply", "lab.plan", "--target", "role", "--exclude", "role.input"], "--exclude, --target cannot"),
        (&["plan", "lab.plan"], "is a saved plan, and this takes a stack file"),
        (&["destroy", "lab.plan"], "is a saved plan, and this takes a stack file"),
        (&["output", "germline.toml", "cluster.main", "--format", "json"], "cannot be used with"),
        (
            &["plan", "germline.toml", "--set", "regions=glpat-abcdefghijklmnopqrst", "--out", "new.plan"],
            "--set regions: what looks like a credential is not saved",
        ),
    ] {
        let (code, told) = run(args);
        assert!(!told.contains("glpat"), "{told}");
        assert!(code == 64 && told.contains(named), "{args:?}: {told}");
    }

    for (args, named) in [
        (&["apply", "lab.plan", "--sandbox"][..], "is a plan for AWS itself; nothing was changed"),
        (&["output", "germline.toml", "role.input.arn"], "role.input.arn is not there"),
    ] {
        let (code, told) = run(args);
        assert!(code == 1 && told.contains(named), "{args:?}: {told}");
    }
    std::fs::write(&file, &first[..first.len() / 2]).unwrap();
    let (code, told) = run(&["apply", "lab.plan"]);
    assert!(code == 1 && told.contains("lab.plan is damaged, or was edited") && told.contains("hint: "), "{told}");
    std::fs::write(&file, &first).unwrap();
    std::fs::write(&stack, source.replace("retention_days = 90", "retention_days = 30")).unwrap();
    let (code, told) = run(&["apply", "lab.plan"]);
    assert!(code == 1 && told.contains("the stack file germline.toml has changed since"), "{told}");
    std::fs::remove_file(&stack).unwrap();
    let (code, told) = run(&["apply", "lab.plan"]);
    assert!(code == 1 && told.contains("run this in the folder in which the plan was made"), "{told}");
    assert!(!home.path().join("state").exists(), "nothing was begun");
    assert!(sandbox.counts().keys().all(|name| !seqstack::sandbox::connector::mutates(name)), "{:?}", sandbox.counts());

    // What was chosen is the plan's: one role of all that is missing. What the stack file is warned of is told again.
    let open = source.replace("port = 22, cidr = \"203.0.113.0/24\"", "port = 22, cidr = \"0.0.0.0/0\"");
    std::fs::write(&stack, open).unwrap();
    let (code, told) = run(&["plan", "germline.toml", "--target", "role.output", "--out", "lab.plan"]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = run(&["apply", "lab.plan"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("open-ssh"), "{told}");
    let counts = sandbox.counts();
    assert_eq!((counts.get("iam:CreateRole"), counts.get("ecs:CreateCluster")), (Some(&1), None), "{counts:?}");
}
