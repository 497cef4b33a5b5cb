//! What a request may carry: for each operation the headers, parameters (`?prefix`) and elements of the body
//! (`Delete.Object.Key`) that are taken, and those that are refused by name.
//!
//! One list for all: what refuses goes by it, and so does the documentation. The names are those of botocore's model of S3.
//! `name=a|b` is taken with these values only. What is on neither list and begins with `x-amz-` or `if-` is refused as well.

use super::super::account::Account;
use super::super::service::{ApiError, unserved};
use super::{Call, Operation, argument, xml};

/// What one operation takes and refuses, in groups.
pub(super) struct Members {
    operation: Operation,
    takes: &'static [&'static [&'static str]],
    refuses: &'static [&'static [&'static str]],
}

/// What an operation may be asked: its name, what is taken, and what is refused by name.
pub type Listed = (&'static str, Vec<&'static str>, Vec<&'static str>);

/// For each served operation the headers, parameters and elements that it takes, and those that it refuses.
pub fn members() -> Vec<Listed> {
    let row = |one: &Members| (one.operation.name(), one.takes.concat(), one.refuses.concat());
    TABLE.iter().map(row).collect()
}

/// What every request may carry beside its operation's own: how it is signed, framed and traced.
const FRAME: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-trailer",
    "x-amz-user-agent",
];
/// Who owns the bucket, which is weighed, and who pays, which is always the owner here.
const OWNER: &[&str] = &["x-amz-expected-bucket-owner", "x-amz-request-payer=requester"];
const EXPECTED: &[&str] = &["x-amz-expected-bucket-owner"];
const SOURCE: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-source-expected-bucket-owner",
];
const SOURCE_SSE_C: &[&str] = &[
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];
const SSE_C: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
];
const CONDITIONS: &[&str] = &["if-match", "if-none-match"];
const READS: &[&str] = &[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "range",
    "x-amz-checksum-mode",
    "?response-cache-control",
    "?response-content-disposition",
    "?response-content-encoding",
    "?response-content-language",
    "?response-content-type",
    "?response-expires",
    "?versionId",
];
/// What is kept with an object, and how.
const KEPT: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-meta-*",
    "x-amz-acl=bucket-owner-full-control",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled=false",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];
const NOT_KEPT: &[&str] = &[
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-object-lock-event-hold",
    "x-amz-object-lock-event-hold-duration-days",
    "x-amz-object-lock-event-hold-duration-years",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption-context",
    "x-amz-tagging",
];
const SUMS: &[&str] = &[
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];
const OTHER_SUMS: &[&str] = &[
    "x-amz-checksum-md5",
    "x-amz-checksum-sha512",
    "x-amz-checksum-xxhash128",
    "x-amz-checksum-xxhash3",
    "x-amz-checksum-xxhash64",
];
/// How a body is checked.
const CHECKED: &[&str] = &["content-md5", "x-amz-sdk-checksum-algorithm"];
const PAGE: &[&str] = &["?delimiter", "?encoding-type", "?prefix"];
const RESTORED: &[&str] = &["x-amz-optional-object-attributes=RestoreStatus"];

const TABLE: &[Members] = &[
    Members {
        operation: Operation::ListBuckets,
        takes: &[],
        refuses: &[&["?bucket-region", "?continuation-token", "?max-buckets", "?prefix"]],
    },
    Members {
        operation: Operation::CreateBucket,
        takes: &[
            CHECKED,
            SUMS,
            &[
                "x-amz-acl=private",
                "x-amz-bucket-object-lock-enabled=false",
                "x-amz-object-ownership=BucketOwnerEnforced",
                "CreateBucketConfiguration.LocationConstraint",
            ],
        ],
        refuses: &[&[
            "x-amz-bucket-namespace",
            "x-amz-grant-full-control",
            "x-amz-grant-read",
            "x-amz-grant-read-acp",
            "x-amz-grant-write",
            "x-amz-grant-write-acp",
            "CreateBucketConfiguration.Bucket",
            "CreateBucketConfiguration.Location",
            "CreateBucketConfiguration.Tags",
        ]],
    },
    Members { operation: Operation::DeleteBucket, takes: &[EXPECTED], refuses: &[] },
    Members { operation: Operation::HeadBucket, takes: &[EXPECTED], refuses: &[] },
    Members { operation: Operation::GetBucketLocation, takes: &[EXPECTED, &["?location"]], refuses: &[] },
    Members { operation: Operation::GetBucketVersioning, takes: &[EXPECTED, &["?versioning"]], refuses: &[] },
    Members {
        operation: Operation::PutBucketVersioning,
        takes: &[
            EXPECTED,
            CHECKED,
            SUMS,
            &["?versioning", "VersioningConfiguration.Status", "VersioningConfiguration.MfaDelete=Disabled"],
        ],
        refuses: &[&["x-amz-mfa"]],
    },
    Members { operation: Operation::GetBucketPolicy, takes: &[EXPECTED, &["?policy"]], refuses: &[] },
    Members {
        operation: Operation::PutBucketPolicy,
        takes: &[EXPECTED, CHECKED, SUMS, &["?policy", "x-amz-confirm-remove-self-bucket-access=false", "Policy"]],
        refuses: &[],
    },
    Members { operation: Operation::DeleteBucketPolicy, takes: &[EXPECTED, &["?policy"]], refuses: &[] },
    Members {
        operation: Operation::PutBucketEncryption,
        takes: &[
            EXPECTED,
            CHECKED,
            SUMS,
            &[
                "?encryption",
                "ServerSideEncryptionConfiguration.Rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm",
                "ServerSideEncryptionConfiguration.Rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID",
                "ServerSideEncryptionConfiguration.Rule.BucketKeyEnabled=false",
            ],
        ],
        refuses: &[&["ServerSideEncryptionConfiguration.Rule.BlockedEncryptionTypes"]],
    },
    Members {
        operation: Operation::ListObjects,
        takes: &[OWNER, PAGE, RESTORED, &["?marker", "?max-keys"]],
        refuses: &[],
    },
    Members {
        operation: Operation::ListObjectsV2,
        takes: &[
            OWNER,
            PAGE,
            RESTORED,
            &["?list-type", "?continuation-token", "?fetch-owner", "?max-keys", "?start-after"],
        ],
        refuses: &[],
    },
    Members {
        operation: Operation::ListObjectVersions,
        takes: &[OWNER, PAGE, RESTORED, &["?versions", "?key-marker", "?max-keys", "?version-id-marker"]],
        refuses: &[],
    },
    Members { operation: Operation::HeadObject, takes: &[OWNER, READS], refuses: &[SSE_C, &["?partNumber"]] },
    Members { operation: Operation::GetObject, takes: &[OWNER, READS], refuses: &[SSE_C, &["?partNumber"]] },
    Members {
        operation: Operation::RestoreObject,
        takes: &[
            OWNER,
            CHECKED,
            SUMS,
            &[
                "?restore",
                "?versionId",
                "RestoreRequest.Days",
                "RestoreRequest.GlacierJobParameters.Tier=Standard|Bulk|Expedited",
            ],
        ],
        refuses: &[&[
            "RestoreRequest.Description",
            "RestoreRequest.OutputLocation",
            "RestoreRequest.SelectParameters",
            "RestoreRequest.Tier",
            "RestoreRequest.Type",
        ]],
    },
    Members {
        operation: Operation::PutObject,
        takes: &[OWNER, KEPT, CHECKED, SUMS, CONDITIONS],
        refuses: &[NOT_KEPT, SSE_C, OTHER_SUMS, &["x-amz-write-offset-bytes"]],
    },
    Members {
        operation: Operation::CopyObject,
        takes: &[
            OWNER,
            KEPT,
            SOURCE,
            CONDITIONS,
            &[
                "x-amz-checksum-algorithm",
                "x-amz-metadata-directive=COPY|REPLACE",
                "x-amz-tagging-directive=COPY|REPLACE",
            ],
        ],
        refuses: &[NOT_KEPT, SSE_C, SOURCE_SSE_C, &["x-amz-object-annotation-directive"]],
    },
    Members {
        operation: Operation::DeleteObject,
        takes: &[OWNER, &["if-match", "?versionId"]],
        refuses: &[&[
            "x-amz-bypass-governance-retention",
            "x-amz-if-match-last-modified-time",
            "x-amz-if-match-size",
            "x-amz-mfa",
        ]],
    },
    Members {
        operation: Operation::DeleteObjects,
        takes: &[
            OWNER,
            CHECKED,
            SUMS,
            &["?delete", "Delete.Object.Key", "Delete.Object.VersionId", "Delete.Object.ETag", "Delete.Quiet"],
        ],
        refuses: &[&[
            "x-amz-bypass-governance-retention",
            "x-amz-mfa",
            "Delete.Object.LastModifiedTime",
            "Delete.Object.Size",
        ]],
    },
    Members {
        operation: Operation::CreateMultipartUpload,
        takes: &[OWNER, KEPT, &["?uploads", "x-amz-checksum-algorithm", "x-amz-checksum-type"]],
        refuses: &[NOT_KEPT, SSE_C],
    },
    Members {
        operation: Operation::UploadPart,
        // The encryption is refused by the operation itself, as S3 does.
        takes: &[OWNER, CHECKED, SUMS, &["?partNumber", "?uploadId", "x-amz-server-side-encryption"]],
        refuses: &[SSE_C, OTHER_SUMS],
    },
    Members {
        operation: Operation::UploadPartCopy,
        takes: &[OWNER, SOURCE, &["?partNumber", "?uploadId", "x-amz-copy-source-range"]],
        refuses: &[SSE_C, SOURCE_SSE_C],
    },
    Members {
        operation: Operation::ListParts,
        takes: &[OWNER, &["?max-parts", "?part-number-marker", "?uploadId"]],
        refuses: &[SSE_C],
    },
    Members {
        operation: Operation::ListMultipartUploads,
        takes: &[OWNER, PAGE, &["?uploads", "?key-marker", "?max-uploads", "?upload-id-marker"]],
        refuses: &[],
    },
    Members {
        operation: Operation::CompleteMultipartUpload,
        takes: &[
            OWNER,
            SUMS,
            CONDITIONS,
            &[
                "?uploadId",
                "x-amz-checksum-type",
                "x-amz-mp-object-size",
                "CompleteMultipartUpload.Part.ETag",
                "CompleteMultipartUpload.Part.PartNumber",
                "CompleteMultipartUpload.Part.ChecksumCRC32",
                "CompleteMultipartUpload.Part.ChecksumCRC32C",
                "CompleteMultipartUpload.Part.ChecksumCRC64NVME",
                "CompleteMultipartUpload.Part.ChecksumSHA1",
                "CompleteMultipartUpload.Part.ChecksumSHA256",
            ],
        ],
        refuses: &[
            SSE_C,
            OTHER_SUMS,
            &[
                "CompleteMultipartUpload.Part.ChecksumMD5",
                "CompleteMultipartUpload.Part.ChecksumSHA512",
                "CompleteMultipartUpload.Part.ChecksumXXHASH128",
                "CompleteMultipartUpload.Part.ChecksumXXHASH3",
                "CompleteMultipartUpload.Part.ChecksumXXHASH64",
            ],
        ],
    },
    Members {
        operation: Operation::AbortMultipartUpload,
        takes: &[OWNER, &["?uploadId"]],
        refuses: &[&["x-amz-if-match-initiated-time"]],
    },
];

/// How a name stands on the lists.
enum Standing {
    Taken,
    /// Refused, or taken with other values only.
    Refused,
    Unknown,
}

impl Members {
    fn of(operation: Operation) -> Option<&'static Self> {
        TABLE.iter().find(|one| one.operation == operation)
    }

    fn standing(&self, name: &str, value: &str) -> Standing {
        let mut taken = self.takes.iter().copied().flatten();
        if let Some(entry) = taken.find(|entry| entry.split('=').next().is_some_and(|known| fits(known, name))) {
            let Some((_, values)) = entry.split_once('=') else { return Standing::Taken };
            let known = values.split('|').any(|known| known.eq_ignore_ascii_case(value));
            return if known { Standing::Taken } else { Standing::Refused };
        }
        let refused = |entry: &&str| fits(entry, name) || name.starts_with(&format!("{entry}."));
        if self.refuses.iter().copied().flatten().any(refused) { Standing::Refused } else { Standing::Unknown }
    }
}

fn fits(entry: &str, name: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == name, |stem| name.starts_with(stem))
}

/// Whether an operation takes a parameter of the query.
pub(super) fn takes_parameter(operation: Operation, name: &str) -> bool {
    let standing = Members::of(operation).map(|one| one.standing(&format!("?{name}"), ""));
    matches!(standing, Some(Standing::Taken))
}

/// Whether an operation's body is checked against what the headers say of it.
pub(super) fn checks_body(operation: Operation) -> bool {
    Members::of(operation).is_some_and(|one| one.takes.contains(&CHECKED))
}

/// Refuses what a request's headers say and the sandbox does not keep, and a bucket that is expected to be another's.
pub(super) fn check_headers(account: &Account, call: &Call) -> Result<(), ApiError> {
    let Some(members) = Members::of(call.operation) else { return Ok(()) };
    for (name, value) in &call.headers {
        let (name, value) = (name.as_str(), value.to_str().unwrap_or_default());
        let unknown = name.starts_with("x-amz-") && !FRAME.contains(&name);
        let unknown = unknown || name.starts_with("if-") || name == "range";
        match members.standing(name, value) {
            Standing::Taken => {}
            Standing::Unknown if !unknown => {}
            Standing::Refused | Standing::Unknown => return Err(refusal(call.operation, name, value)),
        }
    }
    // What comes behind the body is named before it.
    if let Some(trailer) = call.header("x-amz-trailer").map(str::to_lowercase)
        && !matches!(members.standing(&trailer, ""), Standing::Taken)
    {
        return Err(refusal(call.operation, &trailer, ""));
    }
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        let Some(expected) = call.header(name) else { continue };
        if expected.len() != 12 || !expected.bytes().all(|c| c.is_ascii_digit()) {
            let message = format!("The value specified in the {name} header must be an AWS account ID");
            return Err(ApiError::new("InvalidBucketOwnerAWSAccountID", message));
        }
        if expected != account.id {
            return Err(ApiError::new("AccessDenied", "Access Denied").status(403));
        }
    }
    Ok(())
}

/// Reads the body, whose root has this name, and refuses what is in it and not kept.
pub(super) fn body(call: &Call, root: &str) -> Result<xml::Element, ApiError> {
    let element = xml::read(&call.body, root)?;
    if let Some(members) = Members::of(call.operation) {
        check_element(call.operation, members, &element, root)?;
    }
    Ok(element)
}

fn check_element(operation: Operation, members: &Members, element: &xml::Element, path: &str) -> Result<(), ApiError> {
    for child in &element.children {
        let path = format!("{path}.{}", child.name);
        match members.standing(&path, child.text()) {
            Standing::Taken => {}
            Standing::Refused => return Err(refusal(operation, &path, child.text())),
            Standing::Unknown if child.children.is_empty() && !leads(members, &path) => return Err(xml::malformed()),
            Standing::Unknown => check_element(operation, members, child, &path)?,
        }
    }
    Ok(())
}

/// Whether a path leads to something that is taken.
fn leads(members: &Members, path: &str) -> bool {
    members.takes.iter().copied().flatten().any(|entry| entry.starts_with(&format!("{path}.")))
}

/// The refusal of a member by its name, in S3's own words where S3 would refuse it too: ACLs where the bucket's owner is
/// enforced (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>), and locks of objects in a
/// bucket without Object Lock.
fn refusal(operation: Operation, name: &str, value: &str) -> ApiError {
    let creates = operation == Operation::CreateBucket;
    if creates && (name == "x-amz-acl" || name.starts_with("x-amz-grant-")) {
        let message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
        return ApiError::new("InvalidBucketAclWithObjectOwnership", message);
    }
    if name == "x-amz-acl" || name.starts_with("x-amz-grant-") {
        return ApiError::new("AccessControlListNotSupported", "The bucket does not allow ACLs");
    }
    if name.starts_with("x-amz-object-lock-") {
        return ApiError::new("InvalidRequest", "Bucket is missing Object Lock Configuration");
    }
    if name == "x-amz-bypass-governance-retention" {
        return argument(
            name,
            value,
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
        );
    }
    let mut error = unserved("s3", &format!("{} with {name}", operation.name()));
    let member = if name.contains('.') { "Element" } else { "Header" };
    error.more = Some(serde_json::json!({ member: name }));
    error
}

#[cfg(test)]
mod tests {
    use super::super::OPERATIONS;
    use super::*;

    #[test]
    fn every_operation_is_listed_once() {
        let mut listed: Vec<&str> = members().iter().map(|(name, ..)| *name).collect();
        let mut served: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
        listed.sort_unstable();
        served.sort_unstable();
        assert_eq!(listed, served);
        for (name, takes, refuses) in members() {
            let mut all: Vec<&str> = takes.iter().chain(&refuses).filter_map(|one| one.split('=').next()).collect();
            all.sort_unstable();
            let whole = all.len();
            all.dedup();
            assert_eq!(all.len(), whole, "{name}");
        }
    }
}
