//! CloudWatch Logs: groups with their retention and tags, streams and events, and what tasks write.
//!
//! A running task's lines are asked of the engine when they are read; when the task ends they are kept here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Account;
use super::input::text;
use super::service::{Answer, ApiError, Cx, Documented};

pub mod events;
pub mod groups;

/// What the account holds of CloudWatch Logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    groups: Vec<groups::Group>,
}

impl State {
    /// What exists of it.
    pub fn status(&self) -> Value {
        json!({ "log_groups": self.groups.iter().map(|one| json!({ "name": one.name })).collect::<Vec<_>>() })
    }
}

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("CreateLogGroup", &[]),
    ("DescribeLogGroups", &[]),
    ("DeleteLogGroup", &[]),
    ("PutRetentionPolicy", &[]),
    ("DeleteRetentionPolicy", &[]),
    ("TagResource", &[]),
    ("UntagResource", &[]),
    ("ListTagsForResource", &[]),
    ("CreateLogStream", &[]),
    ("DescribeLogStreams", &[]),
    ("PutLogEvents", &[]),
    ("GetLogEvents", &[]),
    ("FilterLogEvents", &[]),
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
        "CreateLogStream" => events::create_stream(account, cx, input),
        "DescribeLogStreams" => events::describe_streams(account, cx, input),
        "PutLogEvents" => events::put(account, cx, input),
        "GetLogEvents" => events::get(account, cx, input),
        "FilterLogEvents" => events::filter(account, cx, input),
        other => Err(ApiError::new("UnknownOperationException", format!("the sandbox does not serve {other}"))),
    }
}

/// Lets time pass: events older than their group's retention go.
pub fn settle(account: &mut Account, cx: &Cx) {
    groups::expire(&mut account.logs, cx);
}

pub use events::{open, seal};

fn required<'a>(input: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    text(input, name).filter(|value| !value.is_empty()).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn no_group() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log group does not exist.")
}

#[cfg(test)]
mod tests;
