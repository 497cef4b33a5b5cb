//! Listings: of objects, of their versions, and of uploads in progress, in pages and by prefixes.

use std::ops::Bound;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Cx};
use super::super::wire;
use super::objects::quoted;
use super::state::{Object, Upload, Version};
use super::{Call, Reply};

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

/// What all listings are asked: which keys, how grouped, how written, and how many.
struct Asked<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    encoded: bool,
    most: usize,
    page: usize,
    /// The time now, where it is asked which objects are restored.
    restoration: Option<Timestamp>,
}

impl<'a> Asked<'a> {
    fn read(cx: &Cx, call: &'a Call, most: &str) -> Result<Self, ApiError> {
        let encoded = match call.parameter("encoding-type") {
            None => false,
            Some("url") => true,
            Some(_) => return Err(ApiError::new("InvalidArgument", "Invalid Encoding Method specified in Request")),
        };
        let most = call.at_most(most)?;
        Ok(Self {
            prefix: call.parameter("prefix").unwrap_or_default(),
            delimiter: call.parameter("delimiter").filter(|delimiter| !delimiter.is_empty()),
            encoded,
            most,
            page: most.min(cx.options.settings.page.max(1)),
            restoration: call.header("x-amz-optional-object-attributes").map(|_| cx.now),
        })
    }

    /// A key as it is written.
    fn written(&self, key: &str) -> String {
        if self.encoded { wire::encode_key(key) } else { key.to_owned() }
    }

    /// One page of what comes after a key; the items are in the keys' order, and start there or at the prefix.
    fn page<T>(&self, items: impl Iterator<Item = (&'a str, T)>, after: &str) -> Page<'a, T> {
        let mut last: Option<&str> = None;
        let mut entries = items.take_while(|(key, _)| key.starts_with(self.prefix)).filter_map(|(key, item)| {
            let group = self.delimiter.and_then(|delimiter| {
                let at = key[self.prefix.len()..].find(delimiter)?;
                Some(&key[..self.prefix.len() + at + delimiter.len()])
            });
            match group {
                None => Some(Entry::Item(key, item)),
                // A group that is not after the marker was shown, or was not asked for.
                Some(group) if group <= after || last == Some(group) => None,
                Some(group) => {
                    last = Some(group);
                    Some(Entry::Group(group))
                }
            }
        });
        let shown: Vec<Entry<'a, T>> = entries.by_ref().take(self.page).collect();
        let more = !shown.is_empty() && entries.next().is_some();
        Page { shown, more }
    }

    /// Where to look for what comes after a key.
    fn start<'b>(&'b self, after: &'b str) -> (Bound<&'b str>, Bound<&'b str>) {
        let from = if after >= self.prefix { Bound::Excluded(after) } else { Bound::Included(self.prefix) };
        (from, Bound::Unbounded)
    }

    /// What all listings answer, and their own members.
    fn answer<T>(&self, root: &str, call: &Call, page: &Page<'a, T>, most: &str, own: Value) -> Reply {
        let groups: Vec<Value> = page
            .shown
            .iter()
            .filter_map(|entry| match entry {
                Entry::Group(group) => Some(json!({ "Prefix": self.written(group) })),
                Entry::Item(..) => None,
            })
            .collect();
        let mut members = json!({
            "Prefix": self.written(self.prefix),
            "Delimiter": self.delimiter.map(|delimiter| self.written(delimiter)),
            "EncodingType": self.encoded.then_some("url"),
            "IsTruncated": page.more,
            "CommonPrefixes": groups,
        });
        if let (Some(members), Value::Object(own)) = (members.as_object_mut(), own) {
            let bucket = if root == "ListMultipartUploadsResult" { "Bucket" } else { "Name" };
            members.insert(bucket.to_owned(), json!(call.bucket));
            members.insert(most.to_owned(), json!(self.most));
            members.extend(own);
        }
        Reply::xml(root, &members)
    }
}

/// What a listing shows: an item under its key, or what keys have in common up to the delimiter.
enum Entry<'a, T> {
    Item(&'a str, T),
    Group(&'a str),
}

struct Page<'a, T> {
    shown: Vec<Entry<'a, T>>,
    more: bool,
}

impl<'a, T> Page<'a, T> {
    fn items(&self) -> impl Iterator<Item = (&'a str, &T)> {
        self.shown.iter().filter_map(|entry| match entry {
            Entry::Item(key, item) => Some((*key, item)),
            Entry::Group(_) => None,
        })
    }

    /// Where the next page starts: after the last that is shown, if there is more.
    fn next(&self) -> Option<(&'a str, Option<&T>)> {
        self.shown.last().filter(|_| self.more).map(|entry| match entry {
            Entry::Item(key, item) => (*key, Some(item)),
            Entry::Group(group) => (*group, None),
        })
    }
}

fn object(asked: &Asked<'_>, key: &str, version: &Version, object: &Object) -> Value {
    let keeping = &object.keeping;
    json!({
        "Key": asked.written(key),
        "LastModified": seconds(version.modified),
        "ETag": quoted(&object.etag),
        "Size": object.size,
        "StorageClass": keeping.class(),
        "RestoreStatus": asked.restoration.map_or(Value::Null, |now| keeping.restoration(now)),
    })
}

/// A current object and its version.
type Current<'a> = (&'a Version, &'a Object);

/// A page of the current objects, and its `Contents`.
fn contents<'a>(
    account: &'a Account,
    call: &Call,
    asked: &Asked<'a>,
    after: &str,
) -> Result<(Page<'a, Current<'a>>, Vec<Value>), ApiError> {
    let keys = account.s3.bucket(&call.bucket)?.keys.range::<str, _>(asked.start(after));
    let current = keys.filter_map(|(key, versions)| {
        let newest = versions.first()?;
        Some((key.as_str(), (newest, newest.object.as_ref()?)))
    });
    let page = asked.page(current, after);
    let shown = page.items().map(|(key, (version, one))| object(asked, key, version, one)).collect();
    Ok((page, shown))
}

pub(super) fn objects(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let asked = Asked::read(cx, call, "max-keys")?;
    let marker = call.parameter("marker").unwrap_or_default();
    let (page, contents) = contents(account, call, &asked, marker)?;
    // Without a delimiter the last key says as much.
    let next = page.next().filter(|_| asked.delimiter.is_some()).map(|(key, _)| asked.written(key));
    let own = json!({"Marker": asked.written(marker), "NextMarker": next, "Contents": contents});
    Ok(asked.answer("ListBucketResult", call, &page, "MaxKeys", own))
}

/// A continuation token is the key after which the listing goes on, out of sight.
fn token(after: &str) -> String {
    hex::encode(format!(">{after}"))
}

fn read_token(token: &str) -> Result<String, ApiError> {
    let text = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.strip_prefix('>'))
        .map(str::to_owned)
        .ok_or_else(|| ApiError::new("InvalidArgument", "The continuation token provided is incorrect"))
}

pub(super) fn objects_v2(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let asked = Asked::read(cx, call, "max-keys")?;
    let start_after = call.parameter("start-after");
    let after = match call.parameter("continuation-token") {
        Some(token) => read_token(token)?,
        None => start_after.unwrap_or_default().to_owned(),
    };
    let (page, contents) = contents(account, call, &asked, &after)?;
    let own = json!({
        "StartAfter": start_after.map(|key| asked.written(key)),
        "KeyCount": page.shown.len(),
        "ContinuationToken": call.parameter("continuation-token"),
        "NextContinuationToken": page.next().map(|(key, _)| token(key)),
        "Contents": contents,
    });
    Ok(asked.answer("ListBucketResult", call, &page, "MaxKeys", own))
}

pub(super) fn versions(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let asked = Asked::read(cx, call, "max-keys")?;
    let keys = &account.s3.bucket(&call.bucket)?.keys;
    let key_marker = call.parameter("key-marker").unwrap_or_default();
    let id_marker = call.parameter("version-id-marker").filter(|id| !id.is_empty());
    // The versions of the marker's own key that come after the marker's version.
    let rest: &[Version] = match id_marker {
        None => &[],
        Some(id) => {
            let all = keys.get(key_marker).map(Vec::as_slice).unwrap_or_default();
            let at = all.iter().position(|version| version.id == id);
            let invalid = || ApiError::new("InvalidArgument", "Invalid version id specified");
            &all[at.ok_or_else(invalid)? + 1..]
        }
    };
    let rest = rest.iter().map(|version| (key_marker, (version, false)));
    let later = keys.range::<str, _>(asked.start(key_marker)).flat_map(|(key, versions)| {
        versions.iter().enumerate().map(move |(n, version)| (key.as_str(), (version, n == 0)))
    });
    let page = asked.page(rest.chain(later), key_marker);
    let (mut objects, mut markers) = (Vec::new(), Vec::new());
    for (key, (version, latest)) in page.items() {
        let (mut shown, to) = match &version.object {
            Some(one) => (object(&asked, key, version, one), &mut objects),
            None => (json!({"Key": asked.written(key), "LastModified": seconds(version.modified)}), &mut markers),
        };
        shown["VersionId"] = json!(version.id);
        shown["IsLatest"] = json!(latest);
        to.push(shown);
    }
    let next = page.next();
    let own = json!({
        "KeyMarker": asked.written(key_marker),
        "VersionIdMarker": id_marker,
        "NextKeyMarker": next.map(|(key, _)| asked.written(key)),
        "NextVersionIdMarker": next.and_then(|(_, last)| last).map(|(version, _)| &version.id),
        "Version": objects,
        "DeleteMarker": markers,
    });
    Ok(asked.answer("ListVersionsResult", call, &page, "MaxKeys", own))
}

pub(super) fn uploads(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    let asked = Asked::read(cx, call, "max-uploads")?;
    let key_marker = call.parameter("key-marker").unwrap_or_default();
    let id_marker = call.parameter("upload-id-marker").unwrap_or_default();
    let mut found: Vec<(&str, (&str, &Upload))> = account
        .s3
        .uploads
        .iter()
        .filter(|(_, upload)| upload.bucket == call.bucket && upload.key.starts_with(asked.prefix))
        .map(|(id, upload)| (upload.key.as_str(), (id.as_str(), upload)))
        .filter(|(key, (id, _))| *key > key_marker || (*key == key_marker && !id_marker.is_empty() && *id > id_marker))
        .collect();
    found.sort_by_key(|(key, (id, _))| (*key, *id));
    let page = asked.page(found.into_iter(), key_marker);
    let shown: Vec<Value> = page
        .items()
        .map(|(key, (id, upload))| {
            json!({
                "Key": asked.written(key), "UploadId": id, "Initiated": seconds(upload.begun),
                "StorageClass": upload.keeping.class(),
            })
        })
        .collect();
    let next = page.next();
    let own = json!({
        "KeyMarker": asked.written(key_marker),
        "UploadIdMarker": id_marker,
        "NextKeyMarker": next.map(|(key, _)| asked.written(key)),
        "NextUploadIdMarker": next.and_then(|(_, last)| last).map(|(id, _)| id),
        "Upload": shown,
    });
    Ok(asked.answer("ListMultipartUploadsResult", call, &page, "MaxUploads", own))
}
