//! STS: who is asking.

use serde_json::json;

use super::account::Account;
use super::service::{Answer, Caller, Documented, unserved};

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[("GetCallerIdentity", &[])];

/// Answers one operation.
///
/// # Errors
/// Operations that are not served are refused by name.
pub fn handle(account: &Account, caller: &Caller, operation: &str) -> Answer {
    if operation != "GetCallerIdentity" {
        return Err(unserved("sts", operation));
    }
    let user = match caller {
        Caller::Root => "AIDASANDBOXSANDBOX000".to_owned(),
        Caller::Task { task, role } => {
            let id = account.iam.role_by_arn(role).map_or("AROAUNKNOWN", |role| role.id.as_str());
            format!("{id}:{task}")
        }
    };
    Ok(json!({"Arn": caller.arn(&account.id), "UserId": user, "Account": account.id}))
}
