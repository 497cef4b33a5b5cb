//! The tool through its binary: what a person types, sees, and gets as an exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary, with no way to AWS: no credentials, no region, no metadata service, and an endpoint that nobody serves.
fn seqstack(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
    command.args(args).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("HOME", "/nonexistent");
    command.output().unwrap()
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
    for verb in ["plan", "apply", "destroy"] {
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

#[test]
fn without_credentials_nothing_is_known_and_that_is_said() {
    let output = seqstack(&["plan", "stacks/germline.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("the live state is not known") && told.contains("hint: "), "{told}");
    assert!(output.stdout.is_empty());
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
