//! Who may do what in S3: the account's owner everything, a task what its role's policies allow.

use super::super::account::Account;
use super::super::policy::{Ask, Decision, decide};
use super::super::service::{ApiError, Caller};
use super::{Call, Operation};

/// A task's rights; the account's owner has all.
pub(super) struct Rights<'a> {
    pub(super) account: &'a Account,
    pub(super) caller: &'a Caller,
}

impl Rights<'_> {
    fn weigh(&self, action: &str, resource: &str, context: &[(&str, &str)]) -> Decision {
        let Caller::Task { role, .. } = self.caller else { return Decision::Allowed };
        let Some(documents) = self.account.iam.rights(role) else { return Decision::NotAllowed };
        let ask = Ask { action, resource, context };
        // What a role may do is what both its policies and its permissions boundary allow.
        match (decide(&documents, ask), self.account.iam.boundary(role)) {
            (Decision::Allowed, Some(boundary)) => decide([&boundary], ask),
            (decision, _) => decision,
        }
    }

    pub(super) fn need(
        &self,
        action: &str,
        bucket: &str,
        key: Option<&str>,
        context: &[(&str, &str)],
    ) -> Result<(), ApiError> {
        let resource = match (bucket, key) {
            ("", _) => "*".to_owned(),
            (bucket, None) => format!("arn:aws:s3:::{bucket}"),
            (bucket, Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
        };
        let why = match self.weigh(action, &resource, context) {
            Decision::Allowed => return Ok(()),
            Decision::NotAllowed => format!("because no identity-based policy allows the {action} action"),
            Decision::Denied => "with an explicit deny in an identity-based policy".to_owned(),
        };
        let arn = self.caller.arn(&self.account.id);
        let message = format!("User: {arn} is not authorized to perform: {action} on resource: \"{resource}\" {why}");
        Err(ApiError::new("AccessDenied", message).status(403))
    }
}

/// Whether the caller may do what it asks for.
pub(super) fn authorise(account: &Account, caller: &Caller, call: &Call) -> Result<(), ApiError> {
    let rights = Rights { account, caller };
    let Some((action, on_object)) = call.operation.right(call.parameter("versionId").is_some()) else { return Ok(()) };
    let mut context = Vec::new();
    if matches!(call.operation, Operation::ListObjects | Operation::ListObjectsV2 | Operation::ListObjectVersions) {
        // S3 gives the key whenever the parameter is there, empty or not.
        context.extend(call.parameter("prefix").map(|prefix| ("s3:prefix", prefix)));
        context.extend(call.parameter("delimiter").map(|delimiter| ("s3:delimiter", delimiter)));
    }
    rights.need(action, &call.bucket, on_object.then_some(call.key.as_str()), &context)?;
    if call.header("if-match").is_some() && action == "s3:PutObject" {
        rights.need("s3:GetObject", &call.bucket, Some(&call.key), &[])?;
    }
    // Who may not list is not told that a key is missing.
    let reads = matches!(call.operation, Operation::HeadObject | Operation::GetObject);
    let absent = account.s3.buckets.get(&call.bucket).is_some_and(|bucket| bucket.current(&call.key).is_none());
    if reads && absent && call.parameter("versionId").is_none() {
        rights.need("s3:ListBucket", &call.bucket, None, &[])?;
    }
    Ok(())
}
