//! Conditions on reads, copies and writes.

use jiff::Timestamp;
use serde_json::json;

use super::super::account::Account;
use super::super::service::ApiError;
use super::objects::quoted;
use super::{Call, http_date, no_such_key, precondition};

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
/// A time that is yet to come is none for If-Modified-Since.
fn weigh(header: impl Fn(&str) -> Option<String>, etag: &str, modified: Timestamp, now: Timestamp) -> Outcome {
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
        None => time("if-modified-since").is_some_and(|since| modified <= since && since <= now.as_second()),
    };
    if unchanged { Outcome::Unchanged } else { Outcome::Holds }
}

/// The conditions of a read. What is unchanged is named all the same (RFC 9110, section 15.4.5).
pub(super) fn read(call: &Call, etag: &str, modified: Timestamp, now: Timestamp) -> Result<(), ApiError> {
    match weigh(|name| call.header(name).map(str::to_owned), etag, modified, now) {
        Outcome::Holds => Ok(()),
        Outcome::Fails(header) => Err(precondition(header)),
        Outcome::Unchanged => Err(ApiError {
            headers: vec![("etag", quoted(etag)), ("last-modified", http_date(modified))],
            ..ApiError::new("NotModified", "Not Modified").status(304)
        }),
    }
}

/// The conditions of a copy on its source.
pub(super) fn source(call: &Call, etag: &str, modified: Timestamp, now: Timestamp) -> Result<(), ApiError> {
    match weigh(|name| call.header(&format!("x-amz-copy-source-{name}")).map(str::to_owned), etag, modified, now) {
        Outcome::Holds => Ok(()),
        Outcome::Fails(header) => Err(precondition(&format!("x-amz-copy-source-{header}"))),
        Outcome::Unchanged if call.header("x-amz-copy-source-if-none-match").is_none() => {
            Err(precondition("x-amz-copy-source-If-Modified-Since"))
        }
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
    match (absent, present) {
        (Some(_), Some(_)) => {
            return Err(not_weighed(
                "If-Match,If-None-Match",
                "Multiple conditional request headers present in the request",
            ));
        }
        (Some(etags), None) if etags != "*" => {
            return Err(not_weighed(
                "If-None-Match",
                "We don't accept the provided value of If-None-Match header for this API",
            ));
        }
        (None, Some("*")) => {
            return Err(not_weighed("If-Match", "We don't accept the provided value of If-Match header for this API"));
        }
        (None, None) => return Ok(()),
        _ => {}
    }
    if account.s3.conflicts > 0 {
        account.s3.conflicts -= 1;
        return Err(conflict(call));
    }
    match present {
        Some(etags) => matches(&call.key, current.as_deref(), etags),
        None if current.is_some() => Err(precondition("If-None-Match")),
        None => Ok(()),
    }
}

/// Refuses a conditional write that another write went before.
pub(super) fn undisturbed(call: &Call, disturbed: bool) -> Result<(), ApiError> {
    let conditional = call.header("if-none-match").is_some() || call.header("if-match").is_some();
    if conditional && disturbed { Err(conflict(call)) } else { Ok(()) }
}

fn conflict(call: &Call) -> ApiError {
    let condition = if call.header("if-match").is_some() { "If-Match" } else { "If-None-Match" };
    let message = "The conditional request cannot succeed due to a conflicting operation against this resource.";
    ApiError {
        more: Some(json!({"Condition": condition, "Key": call.key})),
        ..ApiError::new("ConditionalRequestConflict", message).status(409)
    }
}

/// A condition that S3 knows and this operation does not weigh.
fn not_weighed(header: &str, why: &str) -> ApiError {
    let message = "A header you provided implies functionality that is not implemented";
    ApiError {
        more: Some(json!({"Header": header, "additionalMessage": why})),
        ..ApiError::new("NotImplemented", message).status(501)
    }
}

/// What is current has one of these ETags.
pub(super) fn matches(key: &str, current: Option<&str>, etags: &str) -> Result<(), ApiError> {
    let current = current.ok_or_else(|| no_such_key(key))?;
    if etag_in(etags, current) { Ok(()) } else { Err(precondition("If-Match")) }
}
