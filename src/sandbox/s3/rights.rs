//! Who may do what in S3: the account's owner everything, a task what its role's policies allow.

use super::super::account::Account;
use super::super::policy::{Ask, Decision, decide};
use super::super::service::{ApiError, Caller};
use super::keeping::{self, Keeping};
use super::{Call, Operation};

/// A task's rights; the account's owner has all.
pub(super) struct Rights<'a> {
    pub(super) account: &'a Account<'a>,
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
        if self.denied_by_bucket(bucket, Ask { action, resource: &resource, context }) {
            return Err(self.refusal(action, &resource, "with an explicit deny in a resource-based policy"));
        }
        self.need_of(action, &resource, context)
    }

    /// What the caller's own policies must allow.
    fn need_of(&self, action: &str, resource: &str, context: &[(&str, &str)]) -> Result<(), ApiError> {
        match self.weigh(action, resource, context) {
            Decision::Allowed => Ok(()),
            Decision::NotAllowed => {
                let why = format!("because no identity-based policy allows the {action} action");
                Err(self.refusal(action, resource, &why))
            }
            Decision::Denied => {
                Err(self.refusal(action, resource, "with an explicit deny in an identity-based policy"))
            }
        }
    }

    fn refusal(&self, action: &str, resource: &str, why: &str) -> ApiError {
        let arn = self.caller.arn(&self.account.id);
        let message = format!("User: {arn} is not authorized to perform: {action} on resource: \"{resource}\" {why}");
        ApiError::new("AccessDenied", message).status(403)
    }

    /// Whether the bucket's policy denies it, to the account's owner too. A `Principal` that is not known here is taken to
    /// be the caller. What a bucket's policy allows counts for nothing here: the caller's own policies must allow it.
    fn denied_by_bucket(&self, bucket: &str, ask: Ask<'_>) -> bool {
        let bucket = self.account.s3.buckets.get(bucket);
        // The owner can always mend a policy that shuts everybody out.
        let mends = matches!(ask.action, "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy" | "s3:GetBucketPolicy");
        let policy = bucket.filter(|_| !mends).and_then(|bucket| bucket.policy.as_ref());
        policy.is_some_and(|policy| decide([policy], ask) == Decision::Denied)
    }

    /// The rights to the KMS key that an object is encrypted with (S3 API, PutObject, GetObject and the operations of uploads
    /// in parts). A key's own policy is not modelled.
    fn need_key(&self, call: &Call) -> Result<(), ApiError> {
        let Some(bucket) = self.account.s3.buckets.get(&call.bucket) else { return Ok(()) };
        let upload = call.parameter("uploadId").and_then(|id| self.account.s3.uploads.get(id));
        let (action, encryption) = match call.operation {
            Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload => {
                ("kms:GenerateDataKey", Keeping::asked(call, bucket).ok().map(|keeping| keeping.encryption))
            }
            Operation::UploadPart | Operation::UploadPartCopy | Operation::CompleteMultipartUpload => {
                ("kms:Decrypt", upload.map(|upload| upload.keeping.encryption.clone()))
            }
            Operation::GetObject => {
                let found = bucket.read(&call.key, call.parameter("versionId")).ok();
                ("kms:Decrypt", found.map(|(_, object)| object.keeping.encryption.clone()))
            }
            _ => return Ok(()),
        };
        encryption.and_then(|encryption| encryption.key).map_or(Ok(()), |key| self.need_of(action, &key, &[]))
    }
}

/// The encryption that the conditions of policies see: what the request says, and for a part what its upload's said. Never
/// the bucket's default.
fn encryption_context(account: &Account, call: &Call) -> Vec<(&'static str, String)> {
    let upload = call.parameter("uploadId").and_then(|id| account.s3.uploads.get(id));
    let said = match (call.operation, upload) {
        (Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload, _) => {
            (call.header(keeping::METHOD).map(str::to_owned), call.header(keeping::KEY).map(str::to_owned))
        }
        (_, Some(upload)) => upload.said_encryption.clone(),
        _ => (None, None),
    };
    let (method, key) = said;
    [("s3:x-amz-server-side-encryption", method), ("s3:x-amz-server-side-encryption-aws-kms-key-id", key)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Whether the caller may do what it asks for.
pub(super) fn authorise(account: &Account, caller: &Caller, call: &Call) -> Result<(), ApiError> {
    let rights = Rights { account, caller };
    let Some((action, on_object)) = call.operation.right(call.parameter("versionId").is_some()) else { return Ok(()) };
    let said = encryption_context(account, call);
    let mut context: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if matches!(call.operation, Operation::ListObjects | Operation::ListObjectsV2 | Operation::ListObjectVersions) {
        // S3 gives the key whenever the parameter is there, empty or not.
        context.extend(call.parameter("prefix").map(|prefix| ("s3:prefix", prefix)));
        context.extend(call.parameter("delimiter").map(|delimiter| ("s3:delimiter", delimiter)));
    }
    rights.need(action, &call.bucket, on_object.then_some(call.key.as_str()), &context)?;
    rights.need_key(call)?;
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
