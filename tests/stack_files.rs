//! The stack files that come with the tool, and faults in them, through the library's front door and the real kinds.

use std::path::Path;

use seqstack::stack::{Fault, ReadError, Request, Stack};

const GERMLINE: &str = include_str!("../stacks/germline.toml");

#[test]
fn every_file_in_stacks_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            files += 1;
            match Stack::read(&path, &Request::default()) {
                Err(ReadError::Faulty(faults)) => panic!("{faults}"),
                read => assert!(read.unwrap().info.name.len() > 1),
            }
        }
    }
    assert!(files > 0);
}

#[test]
fn the_kinds_own_faults_are_told_at_the_keys_that_they_name() {
    let changes = [
        ("trusts           = \"ec2.amazonaws.com\"", "trusts           = \"someone\""),
        ("retention_days = 90", "retention_days = 91"),
        ("ami             = \"ssm:", "ami             = \"amy:"),
        ("host = \"/var/lib", "host = \"var/lib"),
        ("port = 22", "prot = 22"),
        ("role            = \"instance\"", "role            = \"instanse\""),
        ("lifetime        = \"run\"", "lifetime        = \"runs\""),
    ];
    let text = changes.iter().fold(GERMLINE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let request = Request { needs_sample: true, ..Request::default() };
    let faults = Stack::parse(Path::new("germline.toml"), &text, &request).unwrap_err();
    let lines: Vec<&str> = text.lines().collect();
    let told: Vec<(String, &str)> = faults
        .iter()
        .map(|fault: &Fault| (fault.text.clone(), lines[fault.line - 1].split(['=', '#']).next().unwrap().trim()))
        .collect();
    for (key, part) in [
        ("trusts", "someone"),
        ("retention_days", "91"),
        ("ami", "amy:"),
        ("mounts", "var/lib"),
        ("ingress", "prot"),
        ("role", "instanse"),
        ("lifetime", "runs"),
    ] {
        assert!(told.iter().any(|(text, line)| *line == key && text.contains(part)), "{key} {part}: {told:?}");
    }
}
