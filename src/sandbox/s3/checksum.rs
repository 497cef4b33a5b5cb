//! Checksums that clients send with content, in headers or trailers: checked, kept, and given back.

use aws_smithy_checksums::ChecksumAlgorithm;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use md5::{Digest, Md5};

use super::super::service::ApiError;
use super::super::wire::Trailers;
use super::Call;

const ALGORITHMS: &[&str] = &["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

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
    if let Some((name, value)) = &call.checksum {
        let algorithm = name.strip_prefix("x-amz-checksum-").unwrap_or_default();
        let algorithm: ChecksumAlgorithm =
            algorithm.parse().map_err(|_| ApiError::new("InvalidRequest", format!("unknown checksum {name}")))?;
        let mut sum = algorithm.into_impl();
        sum.update(&call.body);
        if *value != BASE64_STANDARD.encode(sum.finalize()) {
            return Err(bad(algorithm.as_str()));
        }
    }
    Ok(())
}
