//! CloudWatch Logs: groups with their retention and tags, streams and events, and what tasks write.
//!
//! A running task's lines are asked of the engine when they are read; when the task ends they are kept here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Account;
use super::input::{number, text};
use super::service::{Answer, ApiError, Cx, Documented, unserved};
use super::table::{Record, Stored, Table};

pub mod events;
pub mod groups;
mod kept;
mod search;

/// What the account holds of CloudWatch Logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    groups: Table<String, groups::Group>,
}

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("groups", &mut self.groups)]
    }
}

impl State {
    /// What exists of it.
    pub fn status(&self) -> Value {
        json!({ "log_groups": self.groups.keys().map(|name| json!({ "name": name })).collect::<Vec<_>>() })
    }
}

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("CreateLogGroup", &["InvalidParameterException", "ResourceAlreadyExistsException"]),
    ("DescribeLogGroups", &["InvalidParameterException"]),
    ("DeleteLogGroup", &["InvalidParameterException", "ResourceNotFoundException"]),
    ("PutRetentionPolicy", &["InvalidParameterException", "ResourceNotFoundException"]),
    ("DeleteRetentionPolicy", &["InvalidParameterException", "ResourceNotFoundException"]),
    (
        "TagResource",
        &["InvalidParameterException", "ValidationException", "ResourceNotFoundException", "TooManyTagsException"],
    ),
    ("UntagResource", &["InvalidParameterException", "ValidationException", "ResourceNotFoundException"]),
    ("ListTagsForResource", &["InvalidParameterException", "ValidationException", "ResourceNotFoundException"]),
    ("TagLogGroup", &["InvalidParameterException", "ResourceNotFoundException", "TooManyTagsException"]),
    ("UntagLogGroup", &["InvalidParameterException", "ResourceNotFoundException"]),
    ("ListTagsLogGroup", &["InvalidParameterException", "ResourceNotFoundException"]),
    ("CreateLogStream", &["InvalidParameterException", "ResourceNotFoundException", "ResourceAlreadyExistsException"]),
    ("DescribeLogStreams", &["InvalidParameterException", "ValidationException", "ResourceNotFoundException"]),
    ("PutLogEvents", &["InvalidParameterException", "ResourceNotFoundException"]),
    ("GetLogEvents", &["InvalidParameterException", "ValidationException", "ResourceNotFoundException"]),
    ("FilterLogEvents", &["InvalidParameterException", "ValidationException", "ResourceNotFoundException"]),
];

/// Answers one operation.
///
/// # Errors
/// As CloudWatch Logs refuses; `UnknownOperationException` for an operation that is not served.
pub fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Value) -> Answer {
    let input = &input;
    match operation {
        "CreateLogGroup" => groups::create(account, cx, input),
        "DescribeLogGroups" => groups::describe(account, cx, input),
        "DeleteLogGroup" => groups::delete(account, input),
        "PutRetentionPolicy" => groups::put_retention(account, input),
        "DeleteRetentionPolicy" => groups::delete_retention(account, input),
        "TagResource" => groups::tag(account, input),
        "UntagResource" => groups::untag(account, input),
        "ListTagsForResource" => groups::list_tags(account, input),
        "TagLogGroup" => groups::tag_by_name(account, input),
        "UntagLogGroup" => groups::untag_by_name(account, input),
        "ListTagsLogGroup" => groups::list_tags_by_name(account, input),
        "CreateLogStream" => events::create_stream(account, cx, input),
        "DescribeLogStreams" => events::describe_streams(account, cx, input),
        "PutLogEvents" => events::put(account, cx, input),
        "GetLogEvents" => events::get(account, cx, input),
        "FilterLogEvents" => search::filter(account, cx, input),
        other => Err(unserved("logs", other)),
    }
}

/// Lets time pass: events older than their group's retention go.
pub fn settle(account: &mut Account, cx: &Cx) {
    groups::expire(account.logs, cx);
}

pub use events::{open, seal};

fn required<'a>(input: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    text(input, name).filter(|value| !value.is_empty()).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// The most that an answer may hold: what is asked for, `most` otherwise.
fn at_most(input: &Value, most: i64) -> Result<i64, ApiError> {
    let limit = number(input, "limit").unwrap_or(most);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(invalid(format!("1 validation error detected: Value '{limit}' at 'limit' must be between 1 and {most}")))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn no_group() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
}

#[cfg(test)]
mod tests;
