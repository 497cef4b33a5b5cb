//! Placeholder of ec2 until its own file replaces this one: it refuses every operation by name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::Account;
use super::service::{Answer, Cx, unserved};

/// Nothing yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {}

/// Answers one operation.
///
/// # Errors
/// Always: none is served.
pub fn handle(_account: &mut Account, _cx: &Cx, operation: &str, _input: Value) -> Answer {
    Err(unserved("ec2", operation))
}

/// Lets happen what time brings.
pub fn settle(_account: &mut Account, _cx: &Cx) {}
