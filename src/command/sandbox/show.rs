//! The sandbox's answers as a person reads them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What exists, a table a kind; then how often each operation was called, and refused.
pub fn status(status: &Value) -> String {
    let mut out = String::new();
    if let Some(aside) = status["set_aside"].as_str() {
        let _infallible = writeln!(out, "{aside}\n");
    }
    let exists = &status["exists"];
    if exists.is_null() {
        return "there was never a sandbox here\n".to_owned();
    }
    let _infallible = writeln!(out, "account {}\n", text(&exists["account"]));
    let services = exists.as_object().into_iter().flatten();
    let kinds = services.filter_map(|(service, kinds)| Some((service, kinds.as_object()?)));
    let mut empty = true;
    for (service, kinds) in kinds {
        for (kind, things) in kinds {
            let things: Vec<&Map<_, _>> =
                things.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
            if !things.is_empty() {
                empty = false;
                let _infallible = writeln!(out, "{service} {}\n{}", kind.replace('_', " "), table(&things));
            }
        }
    }
    if empty {
        out.push_str("nothing exists in it\n\n");
    }
    for counted in ["calls", "refusals"] {
        let of = status[counted].as_object().filter(|of| !of.is_empty());
        if let Some(of) = of {
            let _infallible = writeln!(out, "{counted}");
            for (name, times) in of {
                let _infallible = writeln!(out, "  {:>6} {name}", text(times));
            }
        }
    }
    out
}

/// What keeps a sandbox from ending, e.g. `in the sandbox there run instance i-1 and task 2, 3`.
pub fn running(status: &Value) -> String {
    let ids = |things: &Value| {
        let things = things.as_array().into_iter().flatten();
        things.map(|thing| text(&thing["id"])).collect::<Vec<_>>()
    };
    let (instances, tasks) = (ids(&status["exists"]["ec2"]["instances"]), ids(&status["exists"]["ecs"]["tasks"]));
    let kinds = [("instance", instances), ("task", tasks)].into_iter().filter(|(_, ids)| !ids.is_empty());
    let named = kinds.map(|(kind, ids)| format!("{kind} {}", ids.join(", "))).collect::<Vec<_>>();
    if named.is_empty() {
        "the sandbox is being asked by somebody".to_owned()
    } else {
        format!("in the sandbox there run {}", named.join(" and "))
    }
}

/// Settings as `sandbox set` takes them.
pub fn settings(settings: &Value) -> String {
    let mut out = String::new();
    for (key, value) in settings.as_object().into_iter().flatten() {
        let _infallible = writeln!(out, "{key}={}", text(value));
    }
    out
}

fn table(things: &[&Map<String, Value>]) -> String {
    let mut columns: Vec<&str> = things.iter().flat_map(|thing| thing.keys().map(String::as_str)).collect();
    // What a thing is called comes first.
    columns.sort_by_key(|column| (*column != "id", *column != "name", *column));
    columns.dedup();
    let mut rows = vec![columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
    rows.extend(
        things
            .iter()
            .map(|thing| columns.iter().map(|column| thing.get(*column).map_or_else(String::new, text)).collect()),
    );
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _infallible = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_tables() {
        let mut given = json!({
            "exists": {
                "account": "123456789012",
                "ec2": {
                    "instances": [
                        { "id": "i-1", "state": "running", "type": "t3.large" },
                        { "id": "i-22", "state": "pending", "type": "t3.micro" },
                    ],
                    "key_pairs": [],
                },
                "s3": { "buckets": [{ "bytes": 12, "name": "reads", "objects": 3 }] },
            },
            "calls": { "ec2:RunInstances": 2 },
            "refusals": {},
            "set_aside": null,
        });
        insta::assert_snapshot!(status(&given), @r"
        account 123456789012

        ec2 instances
          id    state    type
          i-1   running  t3.large
          i-22  pending  t3.micro

        s3 buckets
          name   bytes  objects
          reads  12     3

        calls
               2 ec2:RunInstances
        ");
        assert_eq!(running(&given), "in the sandbox there run instance i-1, i-22");
        given["exists"]["ec2"] = json!({});
        given["exists"]["s3"] = json!({});
        assert!(status(&given).contains("nothing exists in it"));
    }
}
