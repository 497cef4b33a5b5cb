//! Buckets and listings.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Map, Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Cx};
use super::super::wire;
use super::objects::quoted;
use super::{Call, NAMESPACE, Object, Reply};

/// S3's XML has no element around a list: its items stand side by side under the list's name.
pub(super) fn write_flat(out: &mut String, members: &Map<String, Value>) {
    for (name, value) in members {
        match value {
            Value::Array(items) => {
                for item in items {
                    wire::write_xml(out, name, item, "member");
                }
            }
            one => wire::write_xml(out, name, one, "member"),
        }
    }
}

pub(super) fn buckets(account: &Account) -> Reply {
    let mut out = format!("<ListAllMyBucketsResult xmlns=\"{NAMESPACE}\"><Owner>");
    wire::element(&mut out, "ID", &account.id);
    out.push_str("</Owner><Buckets>");
    for (name, bucket) in &account.s3.buckets {
        let bucket = json!({"Name": name, "CreationDate": seconds(bucket.created), "BucketRegion": account.region});
        wire::write_xml(&mut out, "Bucket", &bucket, "member");
    }
    out.push_str("</Buckets></ListAllMyBucketsResult>");
    Reply { content: super::Content::Xml(out), ..Reply::empty(200) }
}

pub(super) fn location(account: &Account) -> Reply {
    // us-east-1 is written as nothing, for reasons of age.
    let region = if account.region == "us-east-1" { "" } else { &account.region };
    let out = format!("<LocationConstraint xmlns=\"{NAMESPACE}\">{region}</LocationConstraint>");
    Reply { content: super::Content::Xml(out), ..Reply::empty(200) }
}

pub(super) fn create_bucket(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let name = &call.bucket;
    let fits = (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !fits {
        return Err(ApiError::new("InvalidBucketName", "The specified bucket is not valid."));
    }
    let text = std::str::from_utf8(&call.body).unwrap_or_default();
    let asked = text
        .split_once("<LocationConstraint>")
        .and_then(|(_, rest)| rest.split_once("</LocationConstraint>"))
        .map_or("us-east-1", |(region, _)| region.trim());
    if asked != account.region {
        let what = if asked == "us-east-1" { "unspecified" } else { asked };
        let message = format!(
            "The {what} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        return Err(ApiError::new("IllegalLocationConstraintException", message));
    }
    if account.s3.buckets.contains_key(name) {
        let message = "Your previous request to create the named bucket succeeded and you already own it.";
        return Err(ApiError::new("BucketAlreadyOwnedByYou", message).status(409));
    }
    account.s3.create_bucket(name, cx.now);
    Ok(Reply::empty(200).header("location", format!("/{name}")))
}

/// What a listing shows: a key with its object, or what keys have in common up to the delimiter.
enum Entry<'a> {
    Object(&'a str, &'a Object),
    Prefix(String),
}

/// Where a listing goes on: after a key (`k…`), or after all keys of a common prefix (`p…`).
fn token(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Object(key, _) => hex::encode(format!("k{key}")),
        Entry::Prefix(prefix) => hex::encode(format!("p{prefix}")),
    }
}

fn entries<'a>(
    all: &'a BTreeMap<String, Object>,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    after: Option<&'a str>,
    after_prefix: Option<&'a str>,
) -> impl Iterator<Item = Entry<'a>> {
    let start = match after.or(after_prefix) {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut last: Option<String> = None;
    all.range::<str, _>((start, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix) || key.as_str() < prefix)
        .filter(move |(key, _)| key.starts_with(prefix))
        .filter(move |(key, _)| after_prefix.is_none_or(|done| !key.starts_with(done)))
        .filter_map(move |(key, object)| {
            let common = delimiter.and_then(|delimiter| {
                key[prefix.len()..].find(delimiter).map(|at| &key[..prefix.len() + at + delimiter.len()])
            });
            match common {
                None => Some(Entry::Object(key, object)),
                Some(common) if last.as_deref() == Some(common) => None,
                Some(common) => {
                    last = Some(common.to_owned());
                    Some(Entry::Prefix(common.to_owned()))
                }
            }
        })
}

pub(super) fn objects(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let bucket = account.s3.bucket(&call.bucket)?;
    let prefix = call.parameter("prefix").unwrap_or_default();
    let delimiter = call.parameter("delimiter").filter(|delimiter| !delimiter.is_empty());
    let encoded = match call.parameter("encoding-type") {
        None => false,
        Some("url") => true,
        Some(_) => return Err(ApiError::new("InvalidArgument", "Invalid Encoding Method specified in Request")),
    };
    let written = |text: &str| if encoded { wire::encode_key(text) } else { text.to_owned() };
    let wanted: usize = match call.parameter("max-keys") {
        None => 1000,
        Some(text) => text.parse().map_err(|_| {
            ApiError::new("InvalidArgument", "Provided max-keys not an integer or within integer range")
        })?,
    };
    let size = wanted.min(1000).min(cx.options.settings.page.max(1));
    let going_on = match call.parameter("continuation-token") {
        None => None,
        Some(token) => {
            let text = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.filter(|text| text.starts_with(['k', 'p']));
            Some(text.ok_or_else(|| ApiError::new("InvalidArgument", "The continuation token provided is incorrect"))?)
        }
    };
    let (after, after_prefix) = match going_on.as_deref().map(|text| text.split_at(1)) {
        Some(("p", done)) => (None, Some(done)),
        Some((_, key)) => (Some(key), None),
        None => (call.parameter("start-after").filter(|key| !key.is_empty()), None),
    };
    let mut found = entries(&bucket.objects, prefix, delimiter, after, after_prefix);
    let shown: Vec<Entry<'_>> = found.by_ref().take(size).collect();
    let next = if size > 0 && found.next().is_some() { shown.last().map(token) } else { None };
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in &shown {
        match entry {
            Entry::Object(key, object) => contents.push(json!({
                "Key": written(key),
                "LastModified": seconds(object.modified),
                "ETag": quoted(&object.etag),
                "Size": object.size,
                "StorageClass": "STANDARD",
            })),
            Entry::Prefix(prefix) => prefixes.push(json!({"Prefix": written(prefix)})),
        }
    }
    Ok(Reply::xml(
        "ListBucketResult",
        &json!({
            "Name": call.bucket,
            "Prefix": written(prefix),
            "Delimiter": delimiter.map(written),
            "StartAfter": call.parameter("start-after").map(written),
            "EncodingType": encoded.then_some("url"),
            "MaxKeys": wanted.min(1000),
            "KeyCount": shown.len(),
            "IsTruncated": next.is_some(),
            "ContinuationToken": call.parameter("continuation-token"),
            "NextContinuationToken": next,
            "Contents": contents,
            "CommonPrefixes": prefixes,
        }),
    ))
}
