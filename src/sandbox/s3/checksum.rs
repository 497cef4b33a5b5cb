//! Checksums that clients send with content, in headers or trailers: checked, kept, and given back.

use std::collections::BTreeMap;

use aws_smithy_checksums::ChecksumAlgorithm;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::super::service::ApiError;
use super::super::wire::Trailers;
use super::{Call, Reply, xml};

const ALGORITHMS: &[&str] = &["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];
/// What S3 adds by itself to what came without a checksum
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
const ADDED: &str = "crc64nvme";

/// What the checksums of an upload in parts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The algorithm in lower case, e.g. `sha256`.
    pub algorithm: String,
    /// Whether the object's checksum is of its whole content, rather than of its parts' checksums.
    pub whole: bool,
}

impl Declared {
    /// What holds where CreateMultipartUpload declares nothing.
    pub(super) fn nothing() -> Self {
        Self { algorithm: ADDED.to_owned(), whole: true }
    }

    /// What CreateMultipartUpload declares; none where it declares nothing.
    pub(super) fn read(call: &Call) -> Result<Option<Self>, ApiError> {
        let invalid = |message: String| Err(ApiError::new("InvalidRequest", message));
        let kind = call.header("x-amz-checksum-type").map(str::to_uppercase);
        let Some(algorithm) = call.header("x-amz-checksum-algorithm").map(str::to_lowercase) else {
            return match kind {
                Some(_) => invalid(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
                        .to_owned(),
                ),
                None => Ok(None),
            };
        };
        known(&algorithm)?;
        let (only_whole, only_parts) = (algorithm == "crc64nvme", algorithm.starts_with("sha"));
        let whole = match kind.as_deref() {
            None => only_whole,
            Some("FULL_OBJECT") if !only_parts => true,
            Some("COMPOSITE") if !only_whole => false,
            Some(kind @ ("FULL_OBJECT" | "COMPOSITE")) => {
                return invalid(format!(
                    "The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
                ));
            }
            Some(other) => return invalid(format!("Value for x-amz-checksum-type header is invalid: {other}")),
        };
        Ok(Some(Self { algorithm, whole }))
    }

    /// The type's name on the wire.
    pub(super) fn kind(&self) -> &'static str {
        if self.whole { "FULL_OBJECT" } else { "COMPOSITE" }
    }

    /// The checksum of the object that parts with these checksums and contents make.
    pub(super) fn of_object<'a>(
        &self,
        parts: impl Iterator<Item = (Option<&'a str>, Result<Bytes, ApiError>)>,
    ) -> Result<String, ApiError> {
        let mut sum = implementation(&self.algorithm)?;
        let mut count = 0;
        for (checksum, content) in parts {
            count += 1;
            if self.whole {
                sum.update(&content?);
            } else {
                sum.update(&BASE64_STANDARD.decode(checksum.unwrap_or_default()).unwrap_or_default());
            }
        }
        let sum = BASE64_STANDARD.encode(sum.finalize());
        Ok(if self.whole { sum } else { format!("{sum}-{count}") })
    }
}

fn known(algorithm: &str) -> Result<(), ApiError> {
    if ALGORITHMS.contains(&algorithm) {
        return Ok(());
    }
    let known = ALGORITHMS.iter().map(|one| one.to_uppercase()).collect::<Vec<_>>().join(", ");
    let message =
        format!("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{known}]");
    Err(ApiError::new("InvalidRequest", message))
}

/// What is kept of a checksum: its header's name and its value.
pub(super) type Kept = (String, String);

/// The checksum that S3 adds to content that came with none.
pub(super) fn added(content: &[u8]) -> Result<Kept, ApiError> {
    Ok((format!("x-amz-checksum-{ADDED}"), of(ADDED, content)?))
}

/// The checksum of a copy: by the algorithm that is asked for, else by the source's.
pub(super) fn of_copy(call: &Call, source: Option<&Kept>, content: &[u8]) -> Result<Kept, ApiError> {
    let asked = call.header("x-amz-checksum-algorithm").map(str::to_lowercase);
    let algorithm = asked.as_deref().or(source.map(by)).unwrap_or(ADDED);
    known(algorithm)?;
    Ok((format!("x-amz-checksum-{algorithm}"), of(algorithm, content)?))
}

/// The algorithm of a checksum.
pub(super) fn by(kept: &Kept) -> &str {
    kept.0.strip_prefix("x-amz-checksum-").unwrap_or_default()
}

/// Whether a checksum is of the whole content or of its parts' checksums; those end with the number of parts.
pub(super) fn kind(kept: &Kept) -> &'static str {
    if kept.1.contains('-') { "COMPOSITE" } else { "FULL_OBJECT" }
}

/// Says a checksum in the headers of an answer.
pub(super) fn told(reply: Reply, kept: &Kept) -> Reply {
    reply.header(&kept.0, &kept.1).header("x-amz-checksum-type", kind(kept))
}

/// The XML element that carries a checksum by this algorithm.
pub(super) fn element(algorithm: &str) -> String {
    format!("Checksum{}", algorithm.to_uppercase())
}

/// The checksums that a part of CompleteMultipartUpload names, by algorithm.
pub(super) fn named(part: &xml::Element) -> BTreeMap<&'static str, String> {
    let of = |algorithm: &&'static str| Some((*algorithm, part.child(&element(algorithm))?.to_owned()));
    ALGORITHMS.iter().filter_map(of).collect()
}

fn implementation(algorithm: &str) -> Result<Box<dyn aws_smithy_checksums::http::HttpChecksum>, ApiError> {
    let known: ChecksumAlgorithm =
        algorithm.parse().map_err(|_| ApiError::new("InvalidRequest", format!("unknown checksum {algorithm}")))?;
    Ok(known.into_impl())
}

/// The checksum of content.
pub(in super::super) fn of(algorithm: &str, content: &[u8]) -> Result<String, ApiError> {
    let mut sum = implementation(algorithm)?;
    sum.update(content);
    Ok(BASE64_STANDARD.encode(sum.finalize()))
}

/// The checksum that came with a request: its header's name and value.
pub(super) fn sent(headers: &HeaderMap, trailers: &Trailers) -> Option<(String, String)> {
    ALGORITHMS.iter().find_map(|algorithm| {
        let name = format!("x-amz-checksum-{algorithm}");
        let header = headers.get(&name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let value =
            header.or_else(|| trailers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone()))?;
        Some((name, value))
    })
}

/// Checks what was sent against the content.
pub(super) fn check(call: &Call) -> Result<(), ApiError> {
    let bad = |what: &str| {
        ApiError::new("BadDigest", format!("The {what} you specified did not match the calculated checksum."))
    };
    if let Some(md5) = call.header("content-md5") {
        let given = BASE64_STANDARD.decode(md5).ok().filter(|md5| md5.len() == 16);
        let given =
            given.ok_or_else(|| ApiError::new("InvalidDigest", "The Content-MD5 you specified is not valid."))?;
        if *given != *Md5::digest(&call.body) {
            return Err(bad("Content-MD5"));
        }
    }
    // Versity's gateway has quoted this answer of S3's (versitygw#1593).
    if call.header("x-amz-sdk-checksum-algorithm").is_some() && call.checksum.is_none() {
        let message = "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.";
        return Err(ApiError::new("InvalidRequest", message));
    }
    if ALGORITHMS.iter().filter(|one| call.header(&format!("x-amz-checksum-{one}")).is_some()).count() > 1 {
        let message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
        return Err(ApiError::new("InvalidRequest", message));
    }
    if let Some(sent) = &call.checksum {
        let expected = of(by(sent), &call.body)?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map(|bytes| bytes.len()).ok();
        if bytes(&sent.1) != bytes(&expected) {
            return Err(ApiError::new("InvalidRequest", format!("Value for {} header is invalid.", sent.0)));
        }
        if sent.1 != expected {
            return Err(bad(&by(sent).to_uppercase()));
        }
    }
    Ok(())
}
