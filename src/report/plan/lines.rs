//! A field's change, line by line: what goes, what comes, and what stays beside it. A document is compared by its lines, a
//! command by its words, a set by its items, never as one long string. Pure.

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::view::Field;
use crate::address::{Link, as_link};
use crate::diff::{Change, is_under};
use crate::kind::{ErasedKind, TAG_PROTECT};

/// Lists whose order has a meaning: what stays beside a change says where in it that is.
const ORDERED: &[&str] = &["command", "entry_point"];

/// A change of a resource's field; `kind` knows how a person says its values.
pub(super) fn field(kind: Option<&dyn ErasedKind>, change: &Change) -> Field {
    let Change { path, from, to } = change;
    let phrase = |value: &Value| kind.and_then(|kind| kind.phrase(path, value));
    // Whoever takes a protection off is to see that.
    let of_ours = path.contains("tags.seqstack:") && !path.ends_with(TAG_PROTECT);
    let minor = kind.is_some_and(|kind| is_under(path, kind.minor())) || of_ours;
    Field {
        path: path.clone(),
        before: shown(from),
        after: shown(to),
        diff: diff(path, from, to, &phrase),
        forces_replacement: false,
        minor,
    }
}

/// A value with every link in it as the id, or as where the id will come from.
fn shown(value: &Value) -> Value {
    match (as_link(value), value) {
        (Some(Link::Theirs { id, .. }), _) => Value::String(id),
        (Some(Link::Ours { to, part }), _) => json!({ "part": part, "of": to }),
        (None, Value::Object(fields)) => {
            fields.iter().map(|(key, inner)| (key.clone(), shown(inner))).collect::<serde_json::Map<_, _>>().into()
        }
        (None, Value::Array(items)) => items.iter().map(shown).collect(),
        (None, other) => other.clone(),
    }
}

type Phrase<'a> = &'a dyn Fn(&Value) -> Option<String>;

fn diff(path: &str, from: &Value, to: &Value, phrase: Phrase<'_>) -> Vec<String> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let is_ordered = ORDERED.contains(&last);
    let as_told = |value: &Value| {
        let mut lines = lines(value, phrase);
        if !is_ordered && value.is_array() && !is_document(value, phrase) {
            lines.sort();
            lines.dedup();
        }
        lines
    };
    let document = [from, to].into_iter().any(|value| is_document(value, phrase));
    let around = if document { 2 } else { usize::from(is_ordered) };
    let told = compared(&as_told(from), &as_told(to), around);
    if told.is_empty() && from != to && !(is_empty(from) && is_empty(to)) {
        // Words that are the same for both sides say nothing: then the JSON does.
        return compared(&pretty(from), &pretty(to), 2);
    }
    told
}

/// Whether there is nothing in it to be told.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What goes and comes, with so many lines around that stay, no further to the right than it must be.
fn compared(old: &[String], new: &[String], around: usize) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&old, &new);
    let mut out = Vec::new();
    for (n, hunk) in diff.grouped_ops(around).iter().enumerate() {
        // A gap between two hunks; where nothing that stays is shown, there is none to be seen.
        out.extend((n > 0 && around > 0).then_some((' ', "…")));
        out.extend(hunk.iter().flat_map(|op| diff.iter_changes(op)).map(|part| {
            let sign = match part.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            (sign, part.value())
        }));
    }
    let indent = |text: &str| text.len() - text.trim_start().len();
    let least = out.iter().filter(|(_, text)| *text != "…").map(|(_, text)| indent(text)).min().unwrap_or(0);
    out.iter().map(|(sign, text)| format!("{sign} {}", text.get(least..).unwrap_or(text))).collect()
}

/// Tables, and lists of tables that nobody has words for.
fn is_document(value: &Value, phrase: Phrase<'_>) -> bool {
    let table = |value: &Value| value.is_object() && as_link(value).is_none() && phrase(value).is_none();
    table(value) || value.as_array().is_some_and(|items| items.iter().any(table))
}

fn lines(value: &Value, phrase: Phrase<'_>) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        _ if is_document(value, phrase) => pretty(value),
        Value::Array(items) => items.iter().flat_map(|item| words(item, phrase)).collect(),
        other => words(other, phrase),
    }
}

/// JSON in lines, its keys in order. A comma comes and goes with the line after it: it is no change of its own.
fn pretty(value: &Value) -> Vec<String> {
    let shown = shown(value);
    let text = serde_json::to_string_pretty(&shown).unwrap_or_else(|_| shown.to_string());
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// A value in one line: links as ids or by where they will come from, small tables as `key value`.
pub fn short(value: &Value) -> String {
    if let Some(link) = as_link(value) {
        return link.to_string();
    }
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| format!("{key} {}", short(inner)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A value that is no list: mostly one line.
fn words(value: &Value, phrase: Phrase<'_>) -> Vec<String> {
    let text = match (as_link(value), phrase(value), value) {
        (Some(Link::Theirs { id, .. }), ..) => id,
        (Some(Link::Ours { to, part }), ..) => format!("{part} of {to}, known after it is made"),
        (None, Some(words), _) => words,
        (None, None, Value::String(text)) => text.clone(),
        (None, None, other) => other.to_string(),
    };
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::kind;

    fn told(path: &str, from: Value, to: Value) -> String {
        field(None, &Change { path: path.to_owned(), from, to }).diff.join("\n")
    }

    #[test]
    fn a_document_differs_in_its_lines_and_not_in_its_commas() {
        let statement =
            |actions: &[&str]| json!([{ "Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::lab"] }]);
        let text = told(
            "policy.document.Statement",
            statement(&["s3:GetObject"]),
            statement(&["s3:GetObject", "s3:PutObject"]),
        );
        insta::assert_snapshot!(text, @r#"
          "Action": [
            "s3:GetObject"
        +   "s3:PutObject"
          ]
          "Effect": "Allow"
        "#);
    }

    #[test]
    fn a_command_differs_in_its_words_with_what_stands_beside_them() {
        let words = |line: &str| json!(line.split(' ').collect::<Vec<_>>());
        let text = told("command", words("bwa mem -t 2 -o a.sam q.fa"), words("bwa mem -t 4 -o a.sam q.fa"));
        insta::assert_snapshot!(text, @"
          -t
        - 2
        + 4
          -o
        ");
    }

    #[test]
    fn a_set_differs_in_its_items_and_an_unknown_id_is_named() {
        let ours = json!({ "ours": { "to": "security_group.ecs", "part": "id" } });
        let theirs = |id: &str| json!({ "theirs": { "kind": "security_group", "id": id } });
        let text = told("security_groups", json!([theirs("sg-1"), theirs("sg-2")]), json!([theirs("sg-2"), ours]));
        insta::assert_snapshot!(text, @"
        - sg-1
        + id of security_group.ecs, known after it is made
        ");
        assert_eq!(shown(&ours), json!({ "part": "id", "of": "security_group.ecs" }));
    }

    #[test]
    fn a_policy_differs_in_what_it_allows_and_else_in_its_json() {
        let role = kind("role");
        let told = |from: Value, to: Value| {
            let path = "policy.document.Statement".to_owned();
            field(role, &Change { path, from, to }).diff.join("\n")
        };
        let one = |action: &str| json!({ "Effect": "Allow", "Action": [action], "Resource": ["arn:aws:s3:::lab/*"] });
        let both = json!({ "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::lab/*"] });
        let (get, put) = (one("s3:GetObject"), one("s3:PutObject"));
        assert_eq!(told(json!([get]), json!([both])), "+ allow s3:PutObject on arn:aws:s3:::lab/*");
        assert!(told(json!([get, put]), json!([both])).contains("\"Action\": ["), "the same rights, otherwise written");
    }

    #[test]
    fn long_text_differs_by_line() {
        let text = told("user_data", json!("#!/bin/bash\nset -u\necho a\n"), json!("#!/bin/bash\nset -eu\necho a\n"));
        insta::assert_snapshot!(text, @"
        - set -u
        + set -eu
        ");
    }
}
