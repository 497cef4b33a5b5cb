//! Listings: of objects, of their versions, and of uploads in progress, in pages and by prefixes.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Cx};
use super::super::table::Table;
use super::super::wire;
use super::checksum::{self, Declared};
use super::objects::quoted;
use super::state::{NULL, Object, Upload, Version, current, number_of};
use super::{Call, Reply, argument, owner};

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
            Some(other) => {
                return Err(argument("encoding-type", other, "Invalid Encoding Method specified in Request"));
            }
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

    /// What a key has in common with others, up to the delimiter.
    fn group<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let at = key.get(self.prefix.len()..)?.find(delimiter)?;
        key.get(..self.prefix.len() + at + delimiter.len())
    }

    /// One page of what comes after a key: first the rest of that key's own items, then those of the keys that `keys` gives
    /// from some place on, in order. No key is looked at that is not shown, hidden by a deletion, or the first of a group.
    fn page<'k, V: 'k, T, K, I>(
        &self,
        after: &str,
        rest: impl IntoIterator<Item = (&'k str, T)>,
        keys: impl Fn(Bound<&str>) -> K,
        items: impl Fn(&'k V) -> I,
    ) -> Page<'k, T>
    where
        K: Iterator<Item = (&'k str, &'k V)>,
        I: Iterator<Item = T>,
    {
        let mut page = Page { shown: Vec::new(), more: false };
        for (key, item) in rest {
            if key.starts_with(self.prefix) && self.group(key).is_none() && !page.add(self.page, Entry::Item(key, item))
            {
                return page;
            }
        }
        let mut from = if after >= self.prefix {
            Bound::Excluded(after.to_owned())
        } else {
            Bound::Included(self.prefix.to_owned())
        };
        loop {
            let mut beyond = None;
            for (key, value) in keys(from.as_ref().map(String::as_str)) {
                if !key.starts_with(self.prefix) {
                    return page;
                }
                let Some(group) = self.group(key) else {
                    for item in items(value) {
                        if !page.add(self.page, Entry::Item(key, item)) {
                            return page;
                        }
                    }
                    continue;
                };
                // A group that is not after the marker was shown, or was not asked for.
                if group > after {
                    if items(value).next().is_none() {
                        continue;
                    }
                    if !page.add(self.page, Entry::Group(group)) {
                        return page;
                    }
                }
                beyond = after_all(group);
                break;
            }
            match beyond {
                Some(next) => from = Bound::Included(next),
                None => return page,
            }
        }
    }

    /// What all listings answer, and their own members.
    fn answer<T>(&self, root: &str, call: &Call, page: &Page<'_, T>, most: &str, own: Value) -> Reply {
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

/// The least text that is greater than all that begin with this; none where nothing is.
fn after_all(start: &str) -> Option<String> {
    let mut text = start.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
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
    /// Shows one more, or notes that there is more than fits.
    fn add(&mut self, most: usize, entry: Entry<'a, T>) -> bool {
        let fits = self.shown.len() < most;
        if fits {
            self.shown.push(entry);
        } else {
            self.more = !self.shown.is_empty();
        }
        fits
    }

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
    let checksum = object.checksum.as_ref();
    json!({
        "Key": asked.written(key),
        "LastModified": seconds(version.modified),
        "ETag": quoted(&object.etag),
        "ChecksumAlgorithm": checksum.map(|sum| checksum::by(sum).to_uppercase()),
        "ChecksumType": checksum.map(checksum::kind),
        "Size": object.size,
        "StorageClass": keeping.class(),
        "RestoreStatus": asked.restoration.map_or(Value::Null, |now| keeping.restoration(now)),
    })
}

/// A current object and its version.
type Current<'a> = (&'a Version, &'a Object);

/// A bucket's keys with their versions, from some place on.
fn from<'a>(
    keys: &'a Table<String, Vec<Version>>,
    place: Bound<&str>,
) -> impl Iterator<Item = (&'a str, &'a Vec<Version>)> + use<'a> {
    keys.range::<str>((place, Bound::Unbounded)).map(|(key, versions)| (key.as_str(), versions))
}

/// A page of the current objects, and its `Contents`.
fn contents<'a>(
    account: &'a Account,
    call: &Call,
    asked: &Asked<'_>,
    after: &str,
    owned: bool,
) -> Result<(Page<'a, Current<'a>>, Vec<Value>), ApiError> {
    let keys = &account.s3.bucket(&call.bucket)?.keys;
    let page = asked.page(after, [], |place| from(keys, place), |versions| current(versions).into_iter());
    let owner = owned.then(|| owner(account));
    let shown = page.items().map(|(key, (version, one))| {
        let mut shown = object(asked, key, version, one);
        shown["Owner"] = json!(owner);
        shown
    });
    let shown = shown.collect();
    Ok((page, shown))
}

pub(super) fn objects(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let asked = Asked::read(cx, call, "max-keys")?;
    let marker = call.parameter("marker").unwrap_or_default();
    let (page, contents) = contents(account, call, &asked, marker, true)?;
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
        .ok_or_else(|| argument("continuation-token", token, "The continuation token provided is incorrect"))
}

pub(super) fn objects_v2(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let asked = Asked::read(cx, call, "max-keys")?;
    let start_after = call.parameter("start-after");
    let after = match call.parameter("continuation-token") {
        Some(token) => read_token(token)?,
        None => start_after.unwrap_or_default().to_owned(),
    };
    let owned = call.parameter("fetch-owner").is_some_and(|wanted| wanted.eq_ignore_ascii_case("true"));
    let (page, contents) = contents(account, call, &asked, &after, owned)?;
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
    let rest: Vec<(&str, (&Version, bool))> = match id_marker {
        None => Vec::new(),
        Some(id) => rest_of(keys.get(key_marker), id)?.map(|one| (key_marker, one)).collect(),
    };
    if id_marker.is_some() && key_marker.is_empty() {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(argument("version-id-marker", id_marker.unwrap_or_default(), message));
    }
    let page = asked.page(key_marker, rest, |place| from(keys, place), |versions| numbered(versions));
    let owner = owner(account);
    let (mut objects, mut markers) = (Vec::new(), Vec::new());
    for (key, (version, latest)) in page.items() {
        let (mut shown, to) = match &version.object {
            Some(one) => (object(&asked, key, version, one), &mut objects),
            None => (json!({"Key": asked.written(key), "LastModified": seconds(version.modified)}), &mut markers),
        };
        shown["Owner"] = json!(owner);
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

/// A key's versions, each with whether it is the latest.
fn numbered(versions: &[Version]) -> impl Iterator<Item = (&Version, bool)> {
    versions.iter().enumerate().map(|(n, version)| (version, n == 0))
}

/// The versions of a key that come after that of this id, which may be deleted by now: who deletes what a page has shown, and
/// then asks for the next page, misses nothing (localstack#12255).
fn rest_of<'a>(
    versions: Option<&'a Vec<Version>>,
    id: &str,
) -> Result<impl Iterator<Item = (&'a Version, bool)> + use<'a>, ApiError> {
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    let number = versions.iter().find(|one| one.id == id).map(|one| one.number).or_else(|| number_of(id));
    // Where the version `null` was is not known any more once it is gone: rather all again than one lost.
    let number = number.or_else(|| (id == NULL).then_some(u64::MAX));
    let number = number.ok_or_else(|| argument("version-id-marker", id, "Invalid version id specified"))?;
    Ok(numbered(versions).skip_while(move |(version, _)| version.number >= number))
}

pub(super) fn uploads(account: &Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    let asked = Asked::read(cx, call, "max-uploads")?;
    let key_marker = call.parameter("key-marker").unwrap_or_default();
    let id_marker = call.parameter("upload-id-marker").unwrap_or_default();
    let mut found: BTreeMap<&str, Vec<(&str, &Upload)>> = BTreeMap::new();
    for (id, upload) in account.s3.uploads.iter().filter(|(_, upload)| upload.bucket == call.bucket) {
        found.entry(&upload.key).or_default().push((id, upload));
    }
    let own = found.get(key_marker).filter(|_| !id_marker.is_empty()).into_iter().flatten();
    let rest = own.filter(|(id, _)| *id > id_marker).map(|one| (key_marker, *one));
    let keys = |place: Bound<&str>| found.range::<str, _>((place, Bound::Unbounded)).map(|(key, all)| (*key, all));
    let page = asked.page(key_marker, rest, keys, |all| all.iter().copied());
    let owner = owner(account);
    let shown: Vec<Value> = page
        .items()
        .map(|(key, (id, upload))| {
            json!({
                "Key": asked.written(key), "UploadId": id, "Initiated": seconds(upload.begun),
                "Initiator": owner, "Owner": owner, "StorageClass": upload.keeping.class(),
                "ChecksumAlgorithm": upload.declared.as_ref().map(|declared| declared.algorithm.to_uppercase()),
                "ChecksumType": upload.declared.as_ref().map(Declared::kind),
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What a page shows, whether there is more, and how many keys were looked at.
    fn listed(keys: &BTreeMap<String, bool>, prefix: &str, after: &str, most: usize) -> (Vec<String>, bool, usize) {
        let asked = Asked { prefix, delimiter: Some("/"), encoded: false, most, page: most, restoration: None };
        let looked_at = Cell::new(0);
        let from = |place: Bound<&str>| {
            let keys = keys.range::<str, _>((place, Bound::Unbounded)).map(|(key, there)| (key.as_str(), there));
            keys.inspect(|_| looked_at.set(looked_at.get() + 1))
        };
        let page = asked.page(after, [], from, |there| there.then_some(()).into_iter());
        let name = |entry: &Entry<'_, ()>| match entry {
            Entry::Item(key, ()) => (*key).to_owned(),
            Entry::Group(group) => (*group).to_owned(),
        };
        (page.shown.iter().map(name).collect(), page.more, looked_at.get())
    }

    #[test]
    fn a_listing_looks_at_no_more_keys_than_it_shows() {
        // A hundred folders with a thousand keys each, and one key beside them.
        let mut keys: BTreeMap<String, bool> =
            (0..100_000).map(|n| (format!("runs/{:02}/{:03}", n / 1000, n % 1000), true)).collect();
        keys.insert("runs/readme".to_owned(), true);

        let (shown, more, looked_at) = listed(&keys, "runs/", "", 1000);
        assert_eq!((shown.len(), more, looked_at), (101, false, 101));
        let (shown, more, looked_at) = listed(&keys, "runs/", "runs/41/", 2);
        assert_eq!((shown.as_slice(), more), (["runs/42/", "runs/43/"].map(str::to_owned).as_slice(), true));
        assert_eq!(looked_at, 4, "the rest of the marker's group is passed over");
        let (shown, more, looked_at) = listed(&keys, "runs/77/", "runs/77/500", 10);
        assert_eq!((shown.len(), more, looked_at), (10, true, 11));
        assert_eq!(shown[0], "runs/77/501");
        let (shown, more, looked_at) = listed(&keys, "runs/77/999", "", 10);
        assert_eq!((shown.len(), more, looked_at), (1, false, 2));
        assert_eq!(listed(&keys, "none/", "", 10), (Vec::new(), false, 1));
        assert_eq!(listed(&keys, "runs/", "", 0), (Vec::new(), false, 1));
        // A folder in which all is deleted is no folder.
        for n in 0..1000 {
            keys.insert(format!("runs/00/{n:03}"), false);
        }
        let (shown, _, looked_at) = listed(&keys, "runs/", "", 1);
        assert_eq!((shown.as_slice(), looked_at), (["runs/01/".to_owned()].as_slice(), 1002));
    }

    #[test]
    fn the_least_text_after_all_that_begin_alike() {
        assert_eq!(after_all("a/").as_deref(), Some("a0"));
        assert_eq!(after_all("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_all(&format!("a{}", char::MAX)).as_deref(), Some("b"));
        assert_eq!(after_all(&char::MAX.to_string()), None);
    }
}
