//! Conditions on reads, copies and writes.

use jiff::Timestamp;

use super::super::account::Account;
use super::super::service::ApiError;
use super::{Call, no_such_key, precondition};

/// S3's longest key, bytes.
const LONGEST_KEY: usize = 1024;

/// What the conditions on a read come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Holds,
    /// The header whose condition fails.
    Fails(&'static str),
    Unchanged,
}

/// An ETag's condition goes before a time's: the first that is there of each pair decides.
fn weigh(header: impl Fn(&str) -> Option<String>, etag: &str, modified: Timestamp) -> Outcome {
    let time = |name: &str| {
        header(name).and_then(|text| jiff::fmt::rfc2822::parse(&text).ok()).map(|at| at.timestamp().as_second())
    };
    let modified = modified.as_second();
    if let Some(etags) = header("if-match") {
        if !etag_in(&etags, etag) {
            return Outcome::Fails("If-Match");
        }
    } else if time("if-unmodified-since").is_some_and(|since| modified > since) {
        return Outcome::Fails("If-Unmodified-Since");
    }
    let unchanged = match header("if-none-match") {
        Some(etags) => etag_in(&etags, etag),
        None => time("if-modified-since").is_some_and(|since| modified <= since),
    };
    if unchanged { Outcome::Unchanged } else { Outcome::Holds }
}

/// The conditions of a read.
pub(super) fn read(call: &Call, etag: &str, modified: Timestamp) -> Result<(), ApiError> {
    match weigh(|name| call.header(name).map(str::to_owned), etag, modified) {
        Outcome::Holds => Ok(()),
        Outcome::Fails(header) => Err(precondition(header)),
        Outcome::Unchanged => Err(ApiError::new("NotModified", "Not Modified").status(304)),
    }
}

/// The conditions of a copy on its source.
pub(super) fn source(call: &Call, etag: &str, modified: Timestamp) -> Result<(), ApiError> {
    match weigh(|name| call.header(&format!("x-amz-copy-source-{name}")).map(str::to_owned), etag, modified) {
        Outcome::Holds => Ok(()),
        Outcome::Fails(header) => Err(precondition(&format!("x-amz-copy-source-{header}"))),
        Outcome::Unchanged => Err(precondition("x-amz-copy-source-If-None-Match")),
    }
}

/// Whether a list of ETags, or `*`, has this one.
pub(super) fn etag_in(etags: &str, etag: &str) -> bool {
    etags.split(',').map(str::trim).any(|one| one == "*" || one.trim_matches('"') == etag)
}

/// Refuses a key that is too long.
pub(super) fn key_length(key: &str) -> Result<(), ApiError> {
    if key.len() > LONGEST_KEY { Err(ApiError::new("KeyTooLongError", "Your key is too long")) } else { Ok(()) }
}

/// The conditions of a write, at the moment of the write.
pub(super) fn write(account: &mut Account, call: &Call) -> Result<(), ApiError> {
    key_length(&call.key)?;
    let current = account.s3.bucket(&call.bucket)?.current(&call.key).map(|(_, object)| object.etag.clone());
    let (absent, present) = (call.header("if-none-match"), call.header("if-match"));
    if (absent.is_some() || present.is_some()) && account.s3.conflicts > 0 {
        account.s3.conflicts -= 1;
        return Err(ApiError::new(
            "ConditionalRequestConflict",
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
        )
        .status(409));
    }
    match absent {
        Some("*") if current.is_some() => return Err(precondition("If-None-Match")),
        Some("*") | None => {}
        Some(_) => {
            let message = "A header you provided implies functionality that is not implemented";
            return Err(ApiError::new("NotImplemented", message).status(501));
        }
    }
    match present {
        Some(etags) => matches(&call.key, current.as_deref(), etags),
        None => Ok(()),
    }
}

/// What is current has one of these ETags.
pub(super) fn matches(key: &str, current: Option<&str>, etags: &str) -> Result<(), ApiError> {
    let current = current.ok_or_else(|| no_such_key(key))?;
    if etag_in(etags, current) { Ok(()) } else { Err(precondition("If-Match")) }
}
