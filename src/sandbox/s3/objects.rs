//! Single objects: get, put, copy.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Caller, Cx};
use super::super::wire;
use super::keeping::{self, Keeping};
use super::operation::read_right;
use super::rights::Rights;
use super::state::Object;
use super::store::{Staged, Store};
use super::{Call, Content, Operation, REDIRECT, Reply, checksum, conditions, http_date};

pub(super) fn get(account: &Account, cx: &Cx, store: &Store, call: &Call) -> Result<Reply, ApiError> {
    let bucket = account.s3.bucket(&call.bucket)?;
    let (version, object) = bucket.read(&call.key, call.parameter("versionId"))?;
    conditions::read(call, &object.etag, version.modified, cx.now)?;
    if call.operation == Operation::GetObject {
        object.keeping.readable(cx.now)?;
    }
    let range = match call.header("range") {
        Some(text) => range(text, object.size)?,
        None => None,
    };
    let mut reply = Reply::empty(if range.is_some() { 206 } else { 200 })
        .header("etag", quoted(&object.etag))
        .version(bucket.versioning.map(|_| version.id.clone()))
        .header("last-modified", http_date(version.modified))
        .header("accept-ranges", "bytes");
    reply = object.keeping.told(reply, cx.now);
    let length = match range {
        Some((from, to)) => {
            reply = reply.header("content-range", format!("bytes {from}-{to}/{}", object.size));
            to + 1 - from
        }
        None => object.size,
    };
    reply = reply.header("content-length", length.to_string());
    for (name, value) in shown_headers(call, object) {
        reply = reply.header(&name, value);
    }
    // A checksum of the whole says nothing of a part.
    let wanted = call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if let Some(checksum) = &object.checksum
        && wanted
        && length == object.size
    {
        reply = checksum::told(reply, checksum);
    }
    if call.operation == Operation::GetObject {
        reply.content = Content::Stored(store.open(object.blob, object.size)?, range);
    }
    Ok(reply)
}

/// The headers that were kept with an object, but for what the request wants said instead (`?response-content-type=…`).
fn shown_headers(call: &Call, object: &Object) -> BTreeMap<String, String> {
    let mut shown = object.headers.clone();
    shown.entry("content-type".to_owned()).or_insert_with(|| "binary/octet-stream".to_owned());
    for (name, value) in &call.query {
        if let Some(header) = name.strip_prefix("response-") {
            shown.insert(header.to_owned(), value.clone());
        }
    }
    shown
}

/// `bytes=a-b` within a size, both ends included; what cannot be understood is no range at all.
fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')) else { return Ok(None) };
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to),
        (Ok(from), Err(_)) if to.is_empty() => (from, u64::MAX),
        (Err(_), Ok(0)) if from.is_empty() => (size, u64::MAX),
        (Err(_), Ok(last)) if from.is_empty() => (size.saturating_sub(last), u64::MAX),
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
    let headers = call.kept_headers()?;
    let keeping = Keeping::asked(call, account.s3.bucket(&call.bucket)?)?;
    conditions::write(account, call)?;
    let blob = account.s3.number();
    let (size, etag) = (staged.size(), keeping.encryption.etag(staged.md5(), blob));
    let checksum = match &call.checksum {
        Some(sent) => sent.clone(),
        None => checksum::added(&call.body)?,
    };
    store.commit(staged, blob)?;
    let reply = keeping.encryption.told(Reply::empty(200).header("etag", quoted(&etag)));
    let reply = checksum::told(reply, &checksum);
    let object = Object { blob, size, etag, headers, checksum: Some(checksum), keeping };
    let version = account.s3.place(&call.bucket, &call.key, object, cx.now)?;
    Ok(reply.version(version))
}

/// Where a copy comes from.
pub(super) struct Source {
    version: String,
    versioned: bool,
    pub(super) object: Object,
    same: bool,
}

impl Source {
    /// The object that `x-amz-copy-source` names (`bucket/key`, or `bucket/key?versionId=id`), if the caller may read it and
    /// the conditions on it hold.
    pub(super) fn find(account: &Account, cx: &Cx, caller: &Caller, call: &Call) -> Result<Self, ApiError> {
        let invalid = || ApiError::new("InvalidArgument", "Copy Source must mention the source bucket and key");
        let text = call.header("x-amz-copy-source").ok_or_else(invalid)?;
        let (path, version) = match text.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let path = wire::decode(path).ok_or_else(invalid)?;
        let (bucket, key) = path.trim_start_matches('/').split_once('/').ok_or_else(invalid)?;
        let rights = Rights { account, caller };
        rights.need(read_right(version.is_some()), bucket, Some(key), &[])?;
        let from = account.s3.bucket(bucket)?;
        if from.current(key).is_none() {
            // As of a read: who may not list is not told that it is missing.
            rights.need("s3:ListBucket", bucket, None, &[])?;
        }
        let (found, object) = from.read(key, version)?;
        conditions::source(call, &object.etag, found.modified, cx.now)?;
        object.keeping.readable(cx.now)?;
        Ok(Self {
            version: found.id.clone(),
            versioned: from.versioning.is_some(),
            object: object.clone(),
            same: bucket == call.bucket && key == call.key && version.is_none(),
        })
    }

    /// The answer says which version was copied.
    pub(super) fn named(&self, reply: Reply) -> Reply {
        if self.versioned { reply.header("x-amz-copy-source-version-id", &self.version) } else { reply }
    }
}

pub(super) fn copy(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    caller: &Caller,
    call: &Call,
) -> Result<Reply, ApiError> {
    let source = Source::find(account, cx, caller, call)?;
    let replaces = call.header("x-amz-metadata-directive").is_some_and(|way| way.eq_ignore_ascii_case("replace"));
    if source.same && !replaces && !CHANGES.iter().any(|name| call.header(name).is_some()) {
        return Err(ApiError::new(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let said = call.kept_headers()?;
    let headers = if replaces {
        said
    } else {
        // The redirection is never copied: it is what the request says, or none.
        let copied = source.object.headers.iter().filter(|(name, _)| *name != REDIRECT);
        let redirect = said.into_iter().filter(|(name, _)| name == REDIRECT);
        copied.map(|(name, value)| (name.clone(), value.clone())).chain(redirect).collect()
    };
    conditions::write(account, call)?;
    let content = store.open(source.object.blob, source.object.size)?.read(None)?;
    let checksum = checksum::of_copy(call, source.object.checksum.as_ref(), &content)?;
    let staged = store.stage(&content)?;
    let blob = account.s3.number();
    let keeping = Keeping::asked(call, account.s3.bucket(&call.bucket)?)?;
    let (size, etag) = (staged.size(), keeping.encryption.etag(staged.md5(), blob));
    store.commit(staged, blob)?;
    let mut result = json!({
        "ETag": quoted(&etag), "LastModified": seconds(cx.now), "ChecksumType": checksum::kind(&checksum),
    });
    result[checksum::element(checksum::by(&checksum))] = json!(checksum.1);
    let reply = source.named(keeping.encryption.told(Reply::xml("CopyObjectResult", &result)));
    let object = Object { blob, size, etag, headers, checksum: Some(checksum), keeping };
    let version = account.s3.place(&call.bucket, &call.key, object, cx.now)?;
    Ok(reply.version(version))
}

/// What a copy of an object onto itself can change.
const CHANGES: &[&str] = &["x-amz-storage-class", "x-amz-checksum-algorithm", keeping::METHOD, keeping::KEY, REDIRECT];

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
        assert_eq!(range("bytes=-0", 10).unwrap_err().status, 416);
        assert_eq!(range("bytes=-15", 10).unwrap(), Some((0, 9)));
    }
}
