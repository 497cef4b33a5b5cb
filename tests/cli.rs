//! The tool through its binary: what a person types, sees, and gets as an exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
