//! The members of requests: which the sandbox takes, and the refusal of all others by their names.
//!
//! One list a service, in `members/`, says what is taken, and what is not on it is refused before an operation is looked
//! at: nothing that is asked for is left out in silence. `members/aws.json` holds what AWS's models have besides.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::service::ApiError;

/// A member that is taken: with the values with which it is, where not with any.
type Taken = BTreeMap<&'static str, Vec<(String, Option<Vec<&'static str>>)>>;

static LISTS: LazyLock<BTreeMap<&'static str, Taken>> = LazyLock::new(|| {
    let lists = [
        ("iam", include_str!("members/iam.txt")),
        ("ec2", include_str!("members/ec2.txt")),
        ("ecs", include_str!("members/ecs.txt")),
        ("logs", include_str!("members/logs.txt")),
        ("ssm", include_str!("members/ssm.txt")),
        ("sts", include_str!("members/sts.txt")),
    ];
    lists.map(|(service, list)| (service, read(list))).into()
});

/// A list as it is written: `Operation: member member=value|value A.{B,C} @words`, comments from `#` on.
fn read(list: &'static str) -> Taken {
    let mut paragraphs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in list.lines() {
        for word in line.split('#').next().unwrap_or_default().split_whitespace() {
            match word.strip_suffix(':') {
                Some(new) => {
                    name = new;
                    paragraphs.entry(name).or_default();
                }
                None => paragraphs.entry(name).or_default().push(word),
            }
        }
    }
    let operations = paragraphs.iter().filter(|(name, _)| !name.starts_with('@'));
    operations
        .map(|(name, words)| (*name, words.iter().flat_map(|word| spelled(&paragraphs, word)).collect()))
        .collect()
}

fn spelled(
    paragraphs: &BTreeMap<&str, Vec<&'static str>>,
    word: &'static str,
) -> Vec<(String, Option<Vec<&'static str>>)> {
    if word.starts_with('@') {
        let words = paragraphs.get(word).map(Vec::as_slice).unwrap_or_default();
        return words.iter().flat_map(|word| spelled(paragraphs, word)).collect();
    }
    let (path, values) = match word.split_once('=') {
        Some((path, values)) => (path, Some(values.split('|').collect::<Vec<_>>())),
        None => (word, None),
    };
    match path.split_once('{') {
        Some((before, inside)) => {
            inside.trim_end_matches('}').split(',').map(|name| (format!("{before}{name}"), values.clone())).collect()
        }
        None => vec![(path.to_owned(), values)],
    }
}

/// Whether nothing is asked for by it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// The first member that is not taken, with its value where it is only this value that is not.
fn refused(taken: &[(String, Option<Vec<&'static str>>)], path: &str, value: &Value) -> Option<String> {
    if is_empty(value) {
        return None;
    }
    if let Value::Array(items) = value {
        return items.iter().find_map(|item| refused(taken, path, item));
    }
    if let Some((_, values)) = taken.iter().find(|(known, _)| known == path) {
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fits = values.as_ref().is_none_or(|values| values.contains(&word.as_str()));
        return (!fits).then(|| format!("{path}={word}"));
    }
    let below =
        |path: &str| taken.iter().any(|(known, _)| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
    match value {
        Value::Object(members) if path.is_empty() || below(path) => members.iter().find_map(|(name, value)| {
            let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            refused(taken, &full, value)
        }),
        // A query writes an empty list so.
        Value::String(text) if text.is_empty() && below(path) => None,
        Value::Object(_) => Some(first_leaf(path, value)),
        _ => Some(path.to_owned()),
    }
}

/// The path of the first thing that is said below this one.
fn first_leaf(path: &str, value: &Value) -> String {
    match value {
        Value::Object(members) => match members.iter().find(|(_, value)| !is_empty(value)) {
            Some((name, value)) => first_leaf(&format!("{path}.{name}"), value),
            None => path.to_owned(),
        },
        Value::Array(items) => items.first().map_or_else(|| path.to_owned(), |item| first_leaf(path, item)),
        _ => path.to_owned(),
    }
}

/// The code by which a service refuses a member that the sandbox does not take.
pub fn code(service: &str, operation: &str) -> &'static str {
    match (service, operation) {
        ("iam" | "sts", _) => "ValidationError",
        ("ec2", _) => "UnsupportedOperation",
        ("ssm", _) => "ValidationException",
        ("ecs", "RegisterTaskDefinition") => "ClientException",
        _ => "InvalidParameterException",
    }
}

/// The refusal of a member by its name.
pub fn refusal(service: &str, operation: &str, member: &str) -> ApiError {
    ApiError::new(code(service, operation), format!("the sandbox does not do {member} of {operation}"))
}

/// Refuses a request that has a member, or a member's value, which the sandbox does not take.
///
/// # Errors
/// The first such member by its name.
pub(super) fn check(service: &str, operation: &str, input: &Value) -> Result<(), ApiError> {
    let taken = LISTS.get(service).and_then(|list| list.get(operation)).map(Vec::as_slice).unwrap_or_default();
    match refused(taken, "", input) {
        None => Ok(()),
        Some(member) => Err(refusal(service, operation, &member)),
    }
}

#[cfg(test)]
mod tests;
