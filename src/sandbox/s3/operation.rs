//! The operations of S3 that are served: how each is asked for, what it needs, and what it can answer.

use std::collections::BTreeMap;

use http::Method;

use super::super::service::{ApiError, Documented, unserved};

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("ListBuckets", &["AccessDenied", "NotImplemented"]),
    (
        "CreateBucket",
        &[
            "AccessDenied",
            "BadDigest",
            "BucketAlreadyOwnedByYou",
            "IllegalLocationConstraintException",
            "InvalidBucketAclWithObjectOwnership",
            "InvalidBucketName",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidLocationConstraint",
            "InvalidRequest",
            "MalformedXML",
            "NotImplemented",
        ],
    ),
    (
        "DeleteBucket",
        &["AccessDenied", "BucketNotEmpty", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"],
    ),
    ("HeadBucket", &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"]),
    ("GetBucketLocation", &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"]),
    ("GetBucketVersioning", &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"]),
    (
        "PutBucketVersioning",
        &[
            "AccessDenied",
            "BadDigest",
            "IllegalVersioningConfigurationException",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRequest",
            "MalformedXML",
            "NoSuchBucket",
            "NotImplemented",
        ],
    ),
    (
        "GetBucketPolicy",
        &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NoSuchBucketPolicy", "NotImplemented"],
    ),
    (
        "PutBucketPolicy",
        &[
            "AccessDenied",
            "BadDigest",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRequest",
            "MalformedPolicy",
            "NoSuchBucket",
            "NotImplemented",
        ],
    ),
    ("DeleteBucketPolicy", &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"]),
    (
        "PutBucketEncryption",
        &[
            "AccessDenied",
            "BadDigest",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRequest",
            "MalformedXML",
            "NoSuchBucket",
            "NotImplemented",
        ],
    ),
    (
        "ListObjects",
        &["AccessDenied", "InvalidArgument", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"],
    ),
    (
        "ListObjectsV2",
        &["AccessDenied", "InvalidArgument", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"],
    ),
    (
        "ListObjectVersions",
        &["AccessDenied", "InvalidArgument", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"],
    ),
    ("HeadObject", READ),
    ("GetObject", READ),
    (
        "RestoreObject",
        &[
            "AccessDenied",
            "BadDigest",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidObjectState",
            "InvalidRequest",
            "MalformedXML",
            "MethodNotAllowed",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchVersion",
            "NotImplemented",
            "RestoreAlreadyInProgress",
        ],
    ),
    (
        "PutObject",
        &[
            "AccessControlListNotSupported",
            "AccessDenied",
            "BadDigest",
            "ConditionalRequestConflict",
            "InternalError",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRedirectLocation",
            "InvalidRequest",
            "InvalidStorageClass",
            "KeyTooLongError",
            "MetadataTooLarge",
            "NoSuchBucket",
            "NoSuchKey",
            "NotImplemented",
            "PreconditionFailed",
        ],
    ),
    (
        "CopyObject",
        &[
            "AccessControlListNotSupported",
            "AccessDenied",
            "ConditionalRequestConflict",
            "InternalError",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidObjectState",
            "InvalidRedirectLocation",
            "InvalidRequest",
            "InvalidStorageClass",
            "KeyTooLongError",
            "MetadataTooLarge",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchVersion",
            "NotImplemented",
            "PreconditionFailed",
        ],
    ),
    (
        "DeleteObject",
        &[
            "AccessDenied",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "NoSuchBucket",
            "NoSuchKey",
            "NotImplemented",
            "PreconditionFailed",
        ],
    ),
    (
        "DeleteObjects",
        &[
            "AccessDenied",
            "BadDigest",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRequest",
            "MalformedXML",
            "NoSuchBucket",
            "NotImplemented",
        ],
    ),
    (
        "CreateMultipartUpload",
        &[
            "AccessControlListNotSupported",
            "AccessDenied",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidRedirectLocation",
            "InvalidRequest",
            "InvalidStorageClass",
            "KeyTooLongError",
            "MetadataTooLarge",
            "NoSuchBucket",
            "NotImplemented",
        ],
    ),
    (
        "UploadPart",
        &[
            "AccessDenied",
            "BadDigest",
            "InternalError",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidDigest",
            "InvalidRequest",
            "NoSuchUpload",
            "NotImplemented",
        ],
    ),
    (
        "UploadPartCopy",
        &[
            "AccessDenied",
            "InternalError",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidObjectState",
            "InvalidRequest",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchUpload",
            "NoSuchVersion",
            "NotImplemented",
            "PreconditionFailed",
        ],
    ),
    (
        "ListParts",
        &["AccessDenied", "InvalidArgument", "InvalidBucketOwnerAWSAccountID", "NoSuchUpload", "NotImplemented"],
    ),
    (
        "ListMultipartUploads",
        &["AccessDenied", "InvalidArgument", "InvalidBucketOwnerAWSAccountID", "NoSuchBucket", "NotImplemented"],
    ),
    (
        "CompleteMultipartUpload",
        &[
            "AccessDenied",
            "BadDigest",
            "ConditionalRequestConflict",
            "EntityTooSmall",
            "InternalError",
            "InvalidArgument",
            "InvalidBucketOwnerAWSAccountID",
            "InvalidPart",
            "InvalidPartOrder",
            "InvalidRequest",
            "MalformedXML",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchUpload",
            "NotImplemented",
            "PreconditionFailed",
        ],
    ),
    ("AbortMultipartUpload", &["AccessDenied", "InvalidBucketOwnerAWSAccountID", "NoSuchUpload", "NotImplemented"]),
];

const READ: &[&str] = &[
    "AccessDenied",
    "InternalError",
    "InvalidArgument",
    "InvalidBucketOwnerAWSAccountID",
    "InvalidObjectState",
    "InvalidRange",
    "MethodNotAllowed",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchVersion",
    "NotImplemented",
    "NotModified",
    "PreconditionFailed",
];

/// The operations that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are S3's own")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    DeleteBucket,
    HeadBucket,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    GetBucketPolicy,
    PutBucketPolicy,
    DeleteBucketPolicy,
    PutBucketEncryption,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    HeadObject,
    GetObject,
    RestoreObject,
    PutObject,
    CopyObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    ListParts,
    ListMultipartUploads,
    CompleteMultipartUpload,
    AbortMultipartUpload,
}

impl Operation {
    /// What a request asks for, in path style.
    ///
    /// # Errors
    /// `NotImplemented` for what is not served.
    pub(super) fn of(
        method: &Method,
        bucket: &str,
        key: &str,
        query: &BTreeMap<String, String>,
        copies: bool,
    ) -> Result<Self, ApiError> {
        let has = |name: &str| query.contains_key(name);
        let operation = match (method, bucket.is_empty(), key.is_empty()) {
            (&Method::GET, true, true) => Self::ListBuckets,
            (&Method::PUT, false, true) if has("versioning") => Self::PutBucketVersioning,
            (&Method::PUT, false, true) if has("policy") => Self::PutBucketPolicy,
            (&Method::GET, false, true) if has("policy") => Self::GetBucketPolicy,
            (&Method::DELETE, false, true) if has("policy") => Self::DeleteBucketPolicy,
            (&Method::PUT, false, true) if has("encryption") => Self::PutBucketEncryption,
            (&Method::PUT, false, true) if query.is_empty() => Self::CreateBucket,
            (&Method::DELETE, false, true) if query.is_empty() => Self::DeleteBucket,
            (&Method::HEAD, false, true) => Self::HeadBucket,
            (&Method::GET, false, true) if has("location") => Self::GetBucketLocation,
            (&Method::GET, false, true) if has("versioning") => Self::GetBucketVersioning,
            (&Method::GET, false, true) if has("versions") => Self::ListObjectVersions,
            (&Method::GET, false, true) if has("uploads") => Self::ListMultipartUploads,
            (&Method::GET, false, true) if query.get("list-type").is_some_and(|kind| kind == "2") => {
                Self::ListObjectsV2
            }
            (&Method::GET, false, true) if query.keys().all(|name| Self::ListObjects.knows(name)) => Self::ListObjects,
            (&Method::PUT, false, false) if copies && has("uploadId") => Self::UploadPartCopy,
            (&Method::PUT, false, false) if has("uploadId") => Self::UploadPart,
            (&Method::PUT, false, false) if copies && query.is_empty() => Self::CopyObject,
            (&Method::PUT, false, false) if query.is_empty() => Self::PutObject,
            (&Method::HEAD, false, false) => Self::HeadObject,
            (&Method::GET, false, false) if has("uploadId") => Self::ListParts,
            (&Method::GET, false, false) if query.keys().all(|name| Self::GetObject.knows(name)) => Self::GetObject,
            (&Method::DELETE, false, false) if has("uploadId") => Self::AbortMultipartUpload,
            (&Method::DELETE, false, false) if query.keys().all(|name| Self::DeleteObject.knows(name)) => {
                Self::DeleteObject
            }
            (&Method::POST, false, false) if has("restore") => Self::RestoreObject,
            (&Method::POST, false, false) if has("uploads") => Self::CreateMultipartUpload,
            (&Method::POST, false, false) if has("uploadId") => Self::CompleteMultipartUpload,
            (&Method::POST, false, true) if has("delete") => Self::DeleteObjects,
            (method, ..) => {
                let names: Vec<&str> = query.keys().map(String::as_str).collect();
                return Err(unserved("s3", &format!("{method} with ?{}", names.join("&"))));
            }
        };
        match query.keys().find(|name| !operation.knows(name)) {
            Some(unknown) => Err(unserved("s3", &format!("{} with ?{unknown}", operation.name()))),
            None => Ok(operation),
        }
    }

    /// S3's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::HeadBucket => "HeadBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::PutBucketVersioning => "PutBucketVersioning",
            Self::GetBucketPolicy => "GetBucketPolicy",
            Self::PutBucketPolicy => "PutBucketPolicy",
            Self::DeleteBucketPolicy => "DeleteBucketPolicy",
            Self::PutBucketEncryption => "PutBucketEncryption",
            Self::RestoreObject => "RestoreObject",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::HeadObject => "HeadObject",
            Self::GetObject => "GetObject",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
        }
    }

    /// Whether the request's body becomes content.
    pub fn stores_body(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }

    /// The action that a role needs, and whether it is on the object rather than the bucket; `None` where each object of
    /// the request is weighed by itself.
    pub(super) fn right(self, of_version: bool) -> Option<(&'static str, bool)> {
        Some(match self {
            Self::ListBuckets => ("s3:ListAllMyBuckets", false),
            Self::CreateBucket => ("s3:CreateBucket", false),
            Self::DeleteBucket => ("s3:DeleteBucket", false),
            Self::HeadBucket | Self::ListObjects | Self::ListObjectsV2 => ("s3:ListBucket", false),
            Self::ListObjectVersions => ("s3:ListBucketVersions", false),
            Self::ListMultipartUploads => ("s3:ListBucketMultipartUploads", false),
            Self::GetBucketLocation => ("s3:GetBucketLocation", false),
            Self::GetBucketVersioning => ("s3:GetBucketVersioning", false),
            Self::PutBucketVersioning => ("s3:PutBucketVersioning", false),
            Self::GetBucketPolicy => ("s3:GetBucketPolicy", false),
            Self::PutBucketPolicy => ("s3:PutBucketPolicy", false),
            Self::DeleteBucketPolicy => ("s3:DeleteBucketPolicy", false),
            Self::PutBucketEncryption => ("s3:PutEncryptionConfiguration", false),
            Self::RestoreObject => ("s3:RestoreObject", true),
            Self::HeadObject | Self::GetObject => (read_right(of_version), true),
            Self::DeleteObject => (delete_right(of_version), true),
            Self::DeleteObjects => return None,
            Self::ListParts => ("s3:ListMultipartUploadParts", true),
            Self::AbortMultipartUpload => ("s3:AbortMultipartUpload", true),
            Self::PutObject
            | Self::CopyObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload => ("s3:PutObject", true),
        })
    }

    /// Whether it knows a query parameter; any other would be dropped in silence, and is refused instead.
    fn knows(self, parameter: &str) -> bool {
        super::members::takes_parameter(self, parameter)
    }
}

/// The action that reads an object, or one of its versions.
pub(super) fn read_right(of_version: bool) -> &'static str {
    if of_version { "s3:GetObjectVersion" } else { "s3:GetObject" }
}

/// The action that deletes an object, or one of its versions.
pub(super) fn delete_right(of_version: bool) -> &'static str {
    if of_version { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" }
}
