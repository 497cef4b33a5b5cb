//! Single objects: get, put, copy, delete, and their conditions.

use serde_json::json;

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Caller, Cx};
use super::super::wire;
use super::rights::Rights;
use super::store::{Staged, Store};
use super::{Call, Content, Object, Operation, Reply, checksum, http_date, no_such_key, precondition};

/// S3's longest key, bytes.
const LONGEST_KEY: usize = 1024;

pub(super) fn get(account: &Account, store: &Store, call: &Call) -> Result<Reply, ApiError> {
    let bucket = account.s3.bucket(&call.bucket)?;
    let object = bucket.objects.get(&call.key).ok_or_else(|| no_such_key(&call.key))?;
    check_read(call, object)?;
    let range = match call.header("range") {
        Some(text) => range(text, object.size)?,
        None => None,
    };
    let mut reply = Reply::empty(if range.is_some() { 206 } else { 200 })
        .header("etag", quoted(&object.etag))
        .header("last-modified", http_date(object.modified))
        .header("accept-ranges", "bytes")
        .header("x-amz-server-side-encryption", "AES256");
    let length = match range {
        Some((from, to)) => {
            reply = reply.header("content-range", format!("bytes {from}-{to}/{}", object.size));
            to + 1 - from
        }
        None => object.size,
    };
    reply = reply.header("content-length", length.to_string());
    if !object.headers.contains_key("content-type") {
        reply = reply.header("content-type", "binary/octet-stream");
    }
    for (name, value) in &object.headers {
        reply = reply.header(name, value);
    }
    // A checksum of the whole says nothing of a part.
    let wanted = call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if let Some((name, value)) = &object.checksum
        && wanted
        && range.is_none()
    {
        reply = reply.header(name, value).header("x-amz-checksum-type", "FULL_OBJECT");
    }
    if call.operation == Operation::GetObject {
        reply.content = Content::Stored(store.open(object.blob, object.size)?, range);
    }
    Ok(reply)
}

fn check_read(call: &Call, object: &Object) -> Result<(), ApiError> {
    let time = |name: &str| {
        call.header(name).and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|at| at.timestamp().as_second())
    };
    let modified = object.modified.as_second();
    if let Some(etags) = call.header("if-match") {
        if !etag_in(etags, &object.etag) {
            return Err(precondition("If-Match"));
        }
    } else if time("if-unmodified-since").is_some_and(|since| modified > since) {
        return Err(precondition("If-Unmodified-Since"));
    }
    let unchanged = match call.header("if-none-match") {
        Some(etags) => etag_in(etags, &object.etag),
        None => time("if-modified-since").is_some_and(|since| modified <= since),
    };
    if unchanged { Err(ApiError::new("NotModified", "Not Modified").status(304)) } else { Ok(()) }
}

fn etag_in(etags: &str, etag: &str) -> bool {
    etags.split(',').map(str::trim).any(|one| one == "*" || one.trim_matches('"') == etag)
}

/// `bytes=a-b` within a size, both ends included; what cannot be understood is no range at all.
fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')) else { return Ok(None) };
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to),
        (Ok(from), Err(_)) if to.is_empty() => (from, u64::MAX),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 => (size.saturating_sub(last), u64::MAX),
        _ => return Ok(None),
    };
    if from >= size {
        return Err(ApiError {
            more: Some(json!({"RangeRequested": text, "ActualObjectSize": size})),
            ..ApiError::new("InvalidRange", "The requested range is not satisfiable").status(416)
        });
    }
    Ok(Some((from, to.min(size - 1))))
}

pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// Checks the conditions of a write, at the moment of the write.
pub(super) fn check_write(account: &mut Account, call: &Call) -> Result<(), ApiError> {
    if call.key.len() > LONGEST_KEY {
        return Err(ApiError::new("KeyTooLongError", "Your key is too long"));
    }
    let current = account.s3.bucket(&call.bucket)?.objects.get(&call.key).map(|object| object.etag.clone());
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
    if let Some(etags) = present {
        let current = current.ok_or_else(|| no_such_key(&call.key))?;
        if !etag_in(etags, &current) {
            return Err(precondition("If-Match"));
        }
    }
    Ok(())
}

fn not_staged() -> ApiError {
    ApiError::new("InternalError", "the body was not staged").status(500)
}

pub(super) fn put(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    call: &Call,
    staged: Option<Staged>,
) -> Result<Reply, ApiError> {
    let staged = staged.ok_or_else(not_staged)?;
    checksum::check(call)?;
    let headers = call.kept_headers()?;
    check_write(account, call)?;
    let blob = account.s3.number();
    let object = Object {
        blob,
        size: staged.size(),
        etag: staged.md5(),
        modified: cx.now,
        headers,
        checksum: call.checksum.clone(),
    };
    store.commit(staged, blob)?;
    let mut reply =
        Reply::empty(200).header("etag", quoted(&object.etag)).header("x-amz-server-side-encryption", "AES256");
    if let Some((name, value)) = &object.checksum {
        reply = reply.header(name, value).header("x-amz-checksum-type", "FULL_OBJECT");
    }
    account.s3.place(&call.bucket, &call.key, object);
    Ok(reply)
}

pub(super) fn copy(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    caller: &Caller,
    call: &Call,
) -> Result<Reply, ApiError> {
    let invalid = || ApiError::new("InvalidArgument", "Copy Source must mention the source bucket and key");
    let source = call.header("x-amz-copy-source").and_then(wire::decode).ok_or_else(invalid)?;
    let (bucket, key) = source.trim_start_matches('/').split_once('/').ok_or_else(invalid)?;
    Rights { account, caller }.need("s3:GetObject", bucket, Some(key), &[])?;
    let from = account.s3.bucket(bucket)?.objects.get(key).ok_or_else(|| no_such_key(key))?.clone();
    if call.header("x-amz-copy-source-if-match").is_some_and(|etags| !etag_in(etags, &from.etag)) {
        return Err(precondition("x-amz-copy-source-If-Match"));
    }
    let replaces = call.header("x-amz-metadata-directive").is_some_and(|way| way.eq_ignore_ascii_case("replace"));
    if !replaces && bucket == call.bucket && key == call.key {
        return Err(ApiError::new(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing anything.",
        ));
    }
    check_write(account, call)?;
    let headers = if replaces { call.kept_headers()? } else { from.headers };
    let content = store.open(from.blob, from.size)?.read(None)?;
    let staged = store.stage(&content)?;
    let blob = account.s3.number();
    let object =
        Object { blob, size: from.size, etag: staged.md5(), modified: cx.now, headers, checksum: from.checksum };
    store.commit(staged, blob)?;
    let result = json!({"ETag": quoted(&object.etag), "LastModified": seconds(cx.now)});
    account.s3.place(&call.bucket, &call.key, object);
    Ok(Reply::xml("CopyObjectResult", &result))
}

pub(super) fn delete(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    let s3 = &mut account.s3;
    if let Some(bucket) = s3.buckets.get_mut(&call.bucket) {
        if let Some(etags) = call.header("if-match") {
            let object = bucket.objects.get(&call.key).ok_or_else(|| no_such_key(&call.key))?;
            if !etag_in(etags, &object.etag) {
                return Err(precondition("If-Match"));
            }
        }
        // Deleting what is not there succeeds.
        if let Some(object) = bucket.objects.remove(&call.key) {
            s3.garbage.push(object.blob);
        }
    }
    Ok(Reply::empty(204))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-3", 10).unwrap(), Some((0, 3)));
        assert_eq!(range("bytes=8-99", 10).unwrap(), Some((8, 9)));
        assert_eq!(range("bytes=4-", 10).unwrap(), Some((4, 9)));
        assert_eq!(range("bytes=-3", 10).unwrap(), Some((7, 9)));
        assert_eq!(range("bytes=5-2", 10).unwrap(), None);
        assert_eq!(range("bytes=10-", 10).unwrap_err().status, 416);
    }
}
