//! What an account is like without what is another each time: ids, times, tokens.

use serde_json::Value;

/// Members whose values are another each time.
const CHANCE: &[&str] = &[
    "blob",
    "client_token",
    "completed",
    "container_id",
    "created",
    "deregistered",
    "down_since",
    "ended",
    "expired",
    "fingerprint",
    "id",
    "index",
    "interface",
    "launched",
    "mac",
    "made",
    "modified",
    "next",
    "number",
    "private_ip",
    "public_ip",
    "public_key",
    "registered",
    "registered_at",
    "reservation",
    "running_since",
    "seqstack:deadline",
    "serial",
    "since",
    "started",
    "started_by",
    "stopped",
    "stopping",
    "tokens",
    "updated",
    "user_data",
];

/// The same without what chance decides: such members go, ids become `#`, and lists are sorted by what is left.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !CHANCE.contains(&name.as_str()))
            .enumerate()
            .map(|(at, (name, member))| match name.strip_prefix(".seqstack/") {
                // Of claims only how many there are: each is called after its instance.
                Some(own) => match own.split_once("/instances/i-") {
                    Some((stack, _)) => (format!("{stack}/instances/{at}"), "a claim".into()),
                    None => (name.clone(), "a ledger".into()),
                },
                // Each stream is called after its task.
                None => match member.as_object().filter(|_| name == "streams") {
                    Some(streams) => (name.clone(), plain(&streams.values().cloned().collect())),
                    None => (name.clone(), plain(member)),
                },
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::String(text) => {
            let mut out = String::new();
            let mut word = String::new();
            for c in text.chars().chain([' ']) {
                if c.is_ascii_hexdigit() {
                    word.push(c);
                } else {
                    out.push_str(if word.len() >= 16 { "#" } else { &word });
                    out.push(c);
                    word.clear();
                }
            }
            out.trim_end().into()
        }
        other => other.clone(),
    }
}

/// A line a thing.
pub fn of(account: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    draw("", &plain(account), &mut lines);
    lines
}

fn draw(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| draw(&format!("{path}/{name}"), member, lines))
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                draw(&format!("{path}[{n} of {}]", items.len()), item, lines);
            }
        }
        other => lines.push(format!("{path} = {other}")),
    }
}
