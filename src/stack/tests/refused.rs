//! What AWS would refuse late, and the real kinds refuse at once, on its line.

use super::*;

const REFUSED: &[(&str, &str, &str)] = &[
    ("working_dir    = \"/data\"", "working_dir    = \"data\"", "`data` is not absolute"),
    ("user           = \"1000\"", "user           = \"1000:\"", "`1000:` is no user"),
    ("user           = \"1000\"", "user           = \"two words\"", "`two words` is no user"),
    ("container = \"/data\"", "container = \"/\"", "a mount on `/` hides the image itself"),
    ("container = \"/data\"", "container = \"//\"", "a mount on `/` hides the image itself"),
    ("host = \"/var/lib", "host = \"var/lib", "`var/lib/seqstack/data` is not absolute"),
    (
        "image = \"biocontainers/bwa:v0.7.17_cv1\"",
        "image = \"biocontainers/bwa v0.7\"",
        "`biocontainers/bwa v0.7` is no image",
    ),
    ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "image = \"\"", "`` is no image"),
    (
        "description = \"SSH access\" }",
        "description = \"SSH access\" }, { protocol = \"tcp\", port = 22, to_port = 22, cidr = \"203.0.113.0/24\" }",
        "this rule is there twice",
    ),
];

fn told(text: &str) -> Vec<(usize, String)> {
    match Stack::parse(Path::new("x.toml"), text, &NEEDS_SAMPLE) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| (fault.line, fault.text.clone())).collect(),
    }
}

#[test]
fn each_is_told_once_on_its_line() {
    for (from, to, fault) in REFUSED {
        let text = germline(&[(from, to)]);
        let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
        assert_eq!(told(&text), [(line, (*fault).to_owned())], "{to}");
    }
    for (from, to) in [
        ("user           = \"1000\"", "user           = \"www-data:1000\""),
        ("image = \"biocontainers/bwa:v0.7.17_cv1\"", "image = \"host:5000/a/b:1@sha256:00\""),
        (
            "port = 22, cidr = \"203.0.113.0/24\", description = \"SSH access\" }",
            "port = 22, cidr = \"203.0.113.0/24\" }, { protocol = \"udp\", port = 22, cidr = \"203.0.113.0/24\" }",
        ),
    ] {
        assert_eq!(told(&germline(&[(from, to)])), [], "{to}");
    }
}

/// RunTask counts what a step hands over as JSON, and takes 8,192 characters of it.
#[test]
fn a_command_that_ecs_would_refuse_is_a_fault() {
    let with = |length: usize| {
        let word = "x".repeat(length);
        germline(&[("command = \"samtools view -b", &format!("command = \"samtools {word} view -b"))])
    };
    assert_eq!(told(&with(7000)), []);
    let text = with(8200);
    let line = text.lines().position(|line| line.contains("xxx")).unwrap() + 1;
    let faults = told(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0 == line && faults[0].1.ends_with("characters, and ECS takes 8192"), "{faults:?}");
}
