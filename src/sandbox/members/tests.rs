//! The lists against the operations that are served, and against the members that AWS's models have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{LISTS, check};
use crate::operations;

const SERVICES: [&str; 6] = ["iam", "ec2", "ecs", "logs", "ssm", "sts"];

fn aws() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let facts: Value = serde_json::from_str(include_str!("aws.json")).unwrap();
    serde_json::from_value(facts["services"].clone()).unwrap()
}

fn message(service: &str, operation: &str, input: Value) -> String {
    check(service, operation, &input).unwrap_err().message
}

#[test]
fn each_served_operation_has_a_list_of_members_that_there_are() {
    let aws = aws();
    for service in SERVICES {
        let served: Vec<&str> = operations(service).iter().map(|(name, _)| *name).collect();
        let mut listed: Vec<&str> = LISTS[service].keys().copied().collect();
        for name in &served {
            assert!(LISTS[service].contains_key(name), "{service}:{name} has no list");
            assert!(aws[service].contains_key(*name), "{service}:{name} is not in aws.json: tests/clients/members");
        }
        listed.retain(|name| !served.contains(name));
        assert!(listed.is_empty(), "{service}: {listed:?} are not served");
        for (operation, taken) in &LISTS[service] {
            for (path, _) in taken {
                let known = aws[service][*operation].contains(path);
                assert!(known, "{service}:{operation} has no member {path}");
            }
        }
    }
}

#[test]
fn what_is_not_taken_is_refused_by_its_name() {
    for (service, all) in aws() {
        let Some(lists) = LISTS.get(service.as_str()) else { continue };
        for (operation, members) in all {
            for path in members {
                let taken = lists[operation.as_str()].iter().any(|(known, _)| *known == path);
                let input = path.rsplit('.').fold(json!("x"), |below, name| json!({ name: [below] }));
                let answer = check(&service, &operation, &input);
                if !taken {
                    let name = format!("does not do {path} of {operation}");
                    assert!(answer.unwrap_err().message.contains(&name), "{service}:{operation} takes {path}");
                }
            }
            assert!(check(&service, &operation, &json!({"NoSuchMember": "x"})).is_err(), "{service}:{operation}");
        }
    }
}

#[test]
fn a_value_is_refused_with_its_member() {
    assert!(
        message("ec2", "RunInstances", json!({"Monitoring": {"Enabled": "true"}})).contains("Monitoring.Enabled=true")
    );
    assert!(check("ec2", "RunInstances", &json!({"Monitoring": {"Enabled": "false"}, "ImageId": "x"})).is_ok());
    let container = |members: Value| json!({"family": "f", "containerDefinitions": [{"name": "c"}, members]});
    let refused = message("ecs", "RegisterTaskDefinition", container(json!({"healthCheck": {"command": ["x"]}})));
    assert!(refused.contains("containerDefinitions.healthCheck.command of RegisterTaskDefinition"), "{refused}");
    for nothing in [json!({"links": []}), json!({"healthCheck": null}), json!({"linuxParameters": {"devices": []}})] {
        assert!(check("ecs", "RegisterTaskDefinition", &container(nothing)).is_ok());
    }
}

/// All members of all operations, for people.
fn page() -> String {
    let mut out =
        "# What of each operation's members the sandbox takes, and what it refuses by name\n\nWritten by a test \
                   from the lists by which the sandbox goes (`UPDATE_TABLES=1 cargo test -p seqstack-sandbox`); the \
                   members that AWS has are those of\nbotocore's service models. `=` tells the values with which a \
                   member is taken. Of lists there are only their items' members.\n"
            .to_owned();
    let aws = aws();
    for service in SERVICES {
        let _infallible = writeln!(out, "\n## {service}");
        for (operation, errors) in operations(service) {
            let taken = &LISTS[service][operation];
            let shown = |(path, values): &(String, Option<Vec<&str>>)| match values {
                Some(values) => format!("`{path}={}`", values.join("|")),
                None => format!("`{path}`"),
            };
            let all: Vec<String> = taken.iter().map(shown).collect();
            let refused = aws[service][*operation].iter().filter(|path| !taken.iter().any(|(known, _)| known == *path));
            let refused: Vec<String> = refused.map(|path| format!("`{path}`")).collect();
            let errors: Vec<String> = errors.iter().map(|code| format!("`{code}`")).collect();
            let _infallible = writeln!(out, "\n### {operation}\n");
            for (what, words) in [("takes", all), ("refuses", refused), ("errors", errors)] {
                if !words.is_empty() {
                    let _infallible = writeln!(out, "- {what}: {}", words.join(" "));
                }
            }
        }
    }
    out
}

#[test]
fn the_page_of_members_is_of_the_lists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("OPERATIONS.md");
    if std::env::var_os("UPDATE_TABLES").is_some() {
        std::fs::write(&path, page()).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(&path).unwrap(), page(), "UPDATE_TABLES=1 cargo test -p seqstack-sandbox");
    }
}
