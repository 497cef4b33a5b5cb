//! The tables of the sandbox's documentation are those that it goes by.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::service::Caller;
use super::{front, operations};

const SERVICES: [&str; 7] = ["iam", "ec2", "ecs", "logs", "s3", "ssm", "sts"];
const BEGIN: &str = "<!-- tables -->\n";
const END: &str = "<!-- end of tables -->";

fn tables() -> String {
    let mut out = String::new();
    for service in SERVICES {
        let _infallible = writeln!(out, "## {service}\n\n| operation | errors |\n|---|---|");
        for (operation, errors) in operations(service) {
            let errors: Vec<String> = errors.iter().map(|code| format!("`{code}`")).collect();
            let _infallible = writeln!(out, "| {operation} | {} |", errors.join(", "));
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_readme_has_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_TABLES").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", tables())).unwrap();
    } else {
        assert_eq!(found, tables(), "UPDATE_TABLES=1 cargo test --lib tables");
    }
}

/// Each listed operation is answered or refused for what is asked, never as one that is not served.
#[test]
fn what_is_listed_is_served() {
    let mut bench = super::bench::Bench::new(|_| unreachable!());
    for service in SERVICES.into_iter().filter(|service| *service != "s3") {
        for (operation, _) in operations(service) {
            let answer = front::dispatch(
                &mut bench.whole.at("eu-west-2"),
                &bench.cx,
                &Caller::Root,
                service,
                operation,
                json!({}),
            );
            if let Err(error) = answer {
                assert!(!error.message.contains("does not serve"), "{service}:{operation}: {error:?}");
            }
        }
    }
}

#[test]
fn lists_name_nothing_twice() {
    for service in SERVICES {
        let mut names: Vec<&str> = operations(service).iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{service}");
    }
}
