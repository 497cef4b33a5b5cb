//! How objects are kept: encrypted by what, in which storage class, restored until when.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Cx};
use super::state::Bucket;
use super::{Call, Reply, http_date, members, xml};

/// S3's class for what says nothing.
const STANDARD: &str = "STANDARD";
const CLASSES: &[&str] = &[
    STANDARD,
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];
/// How long a restoration takes here: on AWS it is hours.
const RESTORATION: Duration = Duration::from_secs(60);

/// How an object is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// What it is encrypted with.
    pub encryption: Encryption,
    /// Its storage class; none is `STANDARD`.
    pub class: Option<String>,
    /// The archive tier of `INTELLIGENT_TIERING` that it has come to: `ARCHIVE_ACCESS` or `DEEP_ARCHIVE_ACCESS`.
    pub tier: Option<String>,
    /// From when to when a restored copy is there.
    pub restored: Option<(Timestamp, Timestamp)>,
}

/// What an object is encrypted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `AES256` or `aws:kms`.
    pub method: String,
    /// The key's ARN; none is S3's own key.
    pub key: Option<String>,
}

impl Default for Encryption {
    fn default() -> Self {
        Self { method: "AES256".to_owned(), key: None }
    }
}

pub(super) const METHOD: &str = "x-amz-server-side-encryption";
pub(super) const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

impl Encryption {
    fn known(method: &str, key: Option<&str>) -> Result<Self, ApiError> {
        let invalid = |message: &str| Err(ApiError::new("InvalidArgument", message));
        match (method, key) {
            ("AES256", Some(_)) => invalid(
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
            ),
            ("AES256" | "aws:kms", key) => Ok(Self { method: method.to_owned(), key: key.map(str::to_owned) }),
            _ => invalid("The encryption method specified is not supported"),
        }
    }

    /// A bucket's default, as PutBucketEncryption gives it.
    pub(super) fn of_bucket(configuration: &xml::Element) -> Result<Self, ApiError> {
        let rule = configuration.each("Rule").next().ok_or_else(xml::malformed)?;
        let default = rule.each("ApplyServerSideEncryptionByDefault").next().ok_or_else(xml::malformed)?;
        let method = default.child("SSEAlgorithm").ok_or_else(xml::malformed)?;
        Self::known(method, default.child("KMSMasterKeyID"))
    }

    /// What a request asks for, else the bucket's default.
    fn asked(call: &Call, bucket: &Bucket) -> Result<Self, ApiError> {
        match (call.header(METHOD), call.header(KEY)) {
            (None, None) => Ok(bucket.encryption.clone().unwrap_or_default()),
            (method, key) => Self::known(method.unwrap_or("AES256"), key),
        }
    }

    /// An object's ETag is its MD5 only without KMS (S3 API, `Object`).
    pub(super) fn etag(&self, md5: String, blob: u64) -> String {
        if self.method == "aws:kms" {
            super::super::sigv4::sha256_hex(format!("{md5} {blob}").as_bytes())[..32].to_owned()
        } else {
            md5
        }
    }

    /// Says it in an answer.
    pub(super) fn told(&self, reply: Reply) -> Reply {
        let reply = reply.header(METHOD, &self.method);
        match &self.key {
            Some(key) => reply.header(KEY, key),
            None => reply,
        }
    }
}

impl Keeping {
    /// How a new object is to be kept.
    pub(super) fn asked(call: &Call, bucket: &Bucket) -> Result<Self, ApiError> {
        let class = call.header("x-amz-storage-class").map(str::to_owned);
        if class.as_ref().is_some_and(|class| !CLASSES.contains(&class.as_str())) {
            return Err(ApiError::new("InvalidStorageClass", "The storage class you specified is not valid"));
        }
        let class = class.filter(|class| class != STANDARD);
        Ok(Self { encryption: Encryption::asked(call, bucket)?, class, ..Self::default() })
    }

    /// The storage class.
    pub(super) fn class(&self) -> &str {
        self.class.as_deref().unwrap_or(STANDARD)
    }

    fn is_archive(&self) -> bool {
        matches!(self.class(), "GLACIER" | "DEEP_ARCHIVE") || self.tier.is_some()
    }

    /// Refuses to read what is archived and not restored.
    pub(super) fn readable(&self, now: Timestamp) -> Result<(), ApiError> {
        if !self.is_archive() || self.restored.is_some_and(|(from, to)| from <= now && now < to) {
            return Ok(());
        }
        Err(ApiError {
            more: Some(json!({"StorageClass": self.class(), "AccessTier": self.tier})),
            ..ApiError::new("InvalidObjectState", "The operation is not valid for the object's storage class")
                .status(403)
        })
    }

    /// Says in an answer to a read how the object is kept.
    pub(super) fn told(&self, reply: Reply, now: Timestamp) -> Reply {
        let mut reply = self.encryption.told(reply);
        if let Some(class) = &self.class {
            reply = reply.header("x-amz-storage-class", class);
        }
        if let Some(tier) = &self.tier {
            reply = reply.header("x-amz-archive-status", tier);
        }
        match self.restored {
            Some((from, _)) if now < from => reply.header("x-amz-restore", "ongoing-request=\"true\""),
            Some((_, to)) if now < to => {
                let until = format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(to));
                reply.header("x-amz-restore", until)
            }
            _ => reply,
        }
    }

    /// `RestoreStatus` of a listing; null for what was never restored.
    pub(super) fn restoration(&self, now: Timestamp) -> Value {
        match self.restored {
            Some((from, _)) if now < from => json!({"IsRestoreInProgress": true}),
            Some((_, to)) if now < to => json!({"IsRestoreInProgress": false, "RestoreExpiryDate": seconds(to)}),
            _ => Value::Null,
        }
    }
}

/// RestoreObject: a copy of what is archived, for some days.
pub(super) fn restore(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let request = members::body(call, "RestoreRequest")?;
    let days: Option<i64> = request.child("Days").and_then(|days| days.parse().ok()).filter(|days| *days > 0);
    let bucket = account.s3.bucket_mut(&call.bucket)?;
    bucket.read(&call.key, call.parameter("versionId"))?;
    let versions = bucket.keys.get_mut(&call.key).into_iter().flatten();
    let wanted = call.parameter("versionId");
    let found = versions
        .filter(|version| wanted.is_none_or(|wanted| version.id == wanted))
        .find_map(|version| version.object.as_mut());
    let keeping = &mut found.ok_or_else(|| super::no_such_key(&call.key))?.keeping;
    if !keeping.is_archive() {
        let message = "Restore is not allowed for the object's current storage class";
        return Err(ApiError::new("InvalidObjectState", message).status(403));
    }
    let days = days.ok_or_else(xml::malformed)?;
    let (from, status) = match keeping.restored {
        Some((from, _)) if cx.now < from => {
            let message = "Object restore is already in progress";
            return Err(ApiError::new("RestoreAlreadyInProgress", message).status(409));
        }
        Some((from, to)) if cx.now < to => (from, 200),
        _ => (cx.now + RESTORATION, 202),
    };
    let to = cx.now.max(from).checked_add(SignedDuration::from_hours(24 * days)).map_err(|_| xml::malformed())?;
    keeping.restored = Some((from, to));
    Ok(Reply::empty(status))
}
