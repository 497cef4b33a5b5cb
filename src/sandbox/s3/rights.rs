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
    fn allows(&self, action: &str, bucket: &str, key: Option<&str>, context: &[(&str, &str)]) -> bool {
        let Caller::Task { role, .. } = self.caller else { return true };
        let Some(documents) = self.account.iam.rights(role) else { return false };
        let resource = match (bucket, key) {
            ("", _) => "*".to_owned(),
            (bucket, None) => format!("arn:aws:s3:::{bucket}"),
            (bucket, Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
        };
        decide(&documents, Ask { action, resource: &resource, context }) == Decision::Allowed
    }

    pub(super) fn need(
        &self,
        action: &str,
        bucket: &str,
        key: Option<&str>,
        context: &[(&str, &str)],
    ) -> Result<(), ApiError> {
        if self.allows(action, bucket, key, context) {
            return Ok(());
        }
        let arn = self.caller.arn(&self.account.id);
        let place = key.map_or_else(|| bucket.to_owned(), |key| format!("{bucket}/{key}"));
        let message =
            format!("User: {arn} is not authorized to perform: {action} on resource: \"arn:aws:s3:::{place}\"");
        Err(ApiError::new("AccessDenied", message).status(403))
    }
}

/// Whether the caller may do what it asks for.
pub(super) fn authorise(account: &Account, caller: &Caller, call: &Call) -> Result<(), ApiError> {
    let rights = Rights { account, caller };
    let (action, on_object) = call.operation.right();
    let mut context = Vec::new();
    if call.operation == Operation::ListObjectsV2 {
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
    let absent = account.s3.buckets.get(&call.bucket).is_some_and(|bucket| !bucket.objects.contains_key(&call.key));
    if reads && absent {
        rights.need("s3:ListBucket", &call.bucket, None, &[])?;
    }
    Ok(())
}
