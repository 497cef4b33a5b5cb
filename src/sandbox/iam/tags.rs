//! Tags of roles, policies and instance profiles.

use serde_json::{Value, json};

use super::super::service::{Answer, ApiError, Cx};
use super::{Input, Tags, invalid, limit, page};

const MOST: usize = 50;

/// How the keys of a kind's tags are told apart.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// By more than case: a role's.
    AnyCase,
    /// By case as well: a policy's and an instance profile's.
    Exact,
}

impl Keys {
    fn same(self, one: &str, other: &str) -> bool {
        match self {
            Self::AnyCase => one.to_lowercase() == other.to_lowercase(),
            Self::Exact => one == other,
        }
    }
}

/// The tags of a thing that is being made.
pub(super) fn new(input: Input<'_>, keys: Keys) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    add(&mut tags, input, keys)?;
    Ok(tags)
}

/// Adds the request's tags, each in the place of one with the same key; all of them or none.
pub(super) fn add(tags: &mut Tags, input: Input<'_>, keys: Keys) -> Answer {
    let given = given(input, keys)?;
    let mut all = tags.clone();
    all.retain(|key, _| !given.keys().any(|new| keys.same(new, key)));
    all.extend(given);
    if all.len() > MOST {
        return Err(limit(format!("Cannot exceed quota for TagsPerResource: {MOST}")));
    }
    *tags = all;
    Ok(Value::Null)
}

/// Removes the tags whose keys the request names.
pub(super) fn remove(tags: &mut Tags, input: Input<'_>, keys: Keys) -> Answer {
    let gone: Vec<&str> = input.0["TagKeys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    tags.retain(|key, _| !gone.iter().any(|name| keys.same(name, key)));
    Ok(Value::Null)
}

/// A page of tags, in the order of their keys.
pub(super) fn list(tags: &Tags, cx: &Cx, input: Input<'_>) -> Answer {
    page(cx, input, "Tags", tags.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect())
}

/// All tags, as they stand in what they belong to.
pub(super) fn all(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| shown(key, value)).collect()
}

fn shown(key: &str, value: &str) -> Value {
    json!({"Key": key, "Value": value})
}

fn given(input: Input<'_>, keys: Keys) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in input.0["Tags"].as_array().into_iter().flatten() {
        let key = tag["Key"].as_str().unwrap_or_default();
        let value = tag["Value"].as_str().unwrap_or_default();
        let fits = |text: &str, longest| text.chars().count() <= longest && text.chars().all(allowed);
        if key.is_empty() || !fits(key, 128) || !fits(value, 256) {
            return Err(invalid(format!(
                "1 validation error detected: Value at 'tags' failed to satisfy constraint: '{key}' is empty or too \
                 long, or has other characters than letters, numbers, spaces and _.:/=+-@"
            )));
        }
        if key.starts_with("aws:") || value.starts_with("aws:") {
            return Err(ApiError::new("InvalidInput", "The prefix aws: is reserved for AWS's own tags."));
        }
        if tags.keys().any(|known| keys.same(known, key)) {
            return Err(ApiError::new(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    Ok(tags)
}

fn allowed(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}
