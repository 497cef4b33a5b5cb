//! What S3 keeps: buckets, the versions of each key, and uploads in progress.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::service::ApiError;
use super::super::sigv4::sha256_hex;
use super::super::table::{Record, Stored, Table, plain_records};
use super::checksum::{self, Declared};
use super::keeping::{Encryption, Keeping};
use super::store::{Staged, Store};
use super::{argument, http_date, no_such_bucket, no_such_key};

/// The version of what was written while there were no versions.
pub(super) const NULL: &str = "null";

/// Everything in S3 but the objects' content.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Buckets by name.
    #[serde(skip)]
    pub buckets: Table<String, Bucket>,
    /// Multipart uploads in progress, by id.
    #[serde(skip)]
    pub uploads: Table<String, Upload>,
    /// The last uploads that were completed, by the number of their content: who completes one again is answered alike.
    #[serde(skip)]
    pub completed: Table<u64, Completed>,
    /// How many contents, uploads and versions were numbered.
    pub serial: u64,
    /// How many conditional writes are still to meet a race (409 `ConditionalRequestConflict`).
    #[serde(skip)]
    pub conflicts: usize,
    /// Contents that no object has any more; they go once the account is kept without them.
    #[serde(skip)]
    pub(in super::super) garbage: Vec<u64>,
}

/// Whether each write makes a version of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// It does.
    Enabled,
    /// It did, and now replaces the version `null`.
    Suspended,
}

/// A bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bucket {
    /// When it was created.
    pub created: Timestamp,
    /// Its versioning state; `None` until one is set.
    pub versioning: Option<Versioning>,
    /// Its region.
    pub region: String,
    /// Its policy.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// What its objects are encrypted with where a request says nothing; none is `AES256`.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// Each key's versions, newest first; a key has at least one.
    #[serde(skip)]
    pub keys: Table<String, Vec<Version>>,
}

plain_records!(Vec<Version>, Upload, Completed);

impl Record for Bucket {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("keys", &mut self.keys)]
    }
}

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("buckets", &mut self.buckets), ("completed", &mut self.completed), ("uploads", &mut self.uploads)]
    }
}

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its id, or `null`.
    pub id: String,
    /// Its number, by which it goes before or after another of its key.
    #[serde(default)]
    pub number: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// What it is; `None` is a delete marker.
    pub object: Option<Object>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The number of its content in the store.
    pub blob: u64,
    /// Bytes.
    pub size: u64,
    /// The ETag without its quotes.
    pub etag: String,
    /// What was sent with it and comes back with it: `content-type`, `x-amz-meta-…`, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The checksum that was sent with it: the header's name and its value.
    pub checksum: Option<(String, String)>,
    /// How it is kept.
    #[serde(default)]
    pub keeping: Keeping,
}

/// A multipart upload in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// The bucket's name.
    pub bucket: String,
    /// The key that it will have.
    pub key: String,
    /// As an object's.
    pub headers: BTreeMap<String, String>,
    /// How the object will be kept.
    #[serde(default)]
    pub keeping: Keeping,
    /// The encryption and the key that its request named.
    #[serde(default)]
    pub said_encryption: (Option<String>, Option<String>),
    /// The checksums that it declared; none where it declared nothing.
    #[serde(default)]
    pub declared: Option<Declared>,
    /// When it was begun.
    pub begun: Timestamp,
    /// Whether its key was written or deleted since.
    #[serde(default)]
    pub disturbed: bool,
    /// Parts by number.
    pub parts: BTreeMap<u32, Part>,
}

/// An upload that was completed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Completed {
    /// The upload's id.
    pub upload: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The digest of the body that completed it.
    pub body: String,
    /// What was answered.
    pub result: serde_json::Value,
    /// The version that it made, where that has an id.
    pub version: Option<String>,
}

/// A part of a multipart upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The number of its content in the store.
    pub blob: u64,
    /// Bytes.
    pub size: u64,
    /// MD5 in hexadecimal, which is its ETag.
    pub md5: String,
    /// The checksum that was sent with it, by the upload's algorithm.
    #[serde(default)]
    pub checksum: Option<String>,
    /// When it was sent.
    pub modified: Timestamp,
}

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// The version that it deleted, or the marker that it made.
    pub(super) version: Option<String>,
    /// Whether that is a delete marker.
    pub(super) marker: bool,
}

impl Bucket {
    /// The current objects by key: what a listing shows, and what a read without a version finds.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Version, &Object)> {
        self.keys
            .iter()
            .filter_map(|(key, versions)| current(versions).map(|(version, object)| (&**key, version, object)))
    }

    /// The current object of a key.
    pub fn current(&self, key: &str) -> Option<(&Version, &Object)> {
        current(self.keys.get(key)?)
    }

    /// What a read finds: the current object, or the one of a version.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`; `MethodNotAllowed` for a version that is a delete marker.
    pub fn read(&self, key: &str, version: Option<&str>) -> Result<(&Version, &Object), ApiError> {
        let versions = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        let found = match version {
            None => versions.first().ok_or_else(|| no_such_key(key))?,
            Some(id) => versions.iter().find(|one| one.id == id).ok_or_else(|| absent(key, id))?,
        };
        let Some(object) = &found.object else {
            let mut error = no_such_key(key);
            if version.is_some() {
                let message = "The specified method is not allowed against this resource.";
                error = ApiError::new("MethodNotAllowed", message).status(405);
                error.more = Some(serde_json::json!({"ResourceType": "DeleteMarker"}));
                error.headers.push(("allow", "DELETE".to_owned()));
                error.headers.push(("last-modified", http_date(found.modified)));
            }
            error.headers.push(("x-amz-delete-marker", "true".to_owned()));
            error.headers.push(("x-amz-version-id", found.id.clone()));
            return Err(error);
        };
        Ok((found, object))
    }
}

/// The current object among a key's versions, newest first.
pub(super) fn current(versions: &[Version]) -> Option<(&Version, &Object)> {
    let newest = versions.first()?;
    Some((newest, newest.object.as_ref()?))
}

impl State {
    /// Makes a bucket, or finds that it is there.
    pub fn create_bucket(&mut self, name: &str, region: &str, now: Timestamp) {
        self.buckets.get_or_insert_with(name.to_owned(), || Bucket {
            created: now,
            versioning: None,
            region: region.to_owned(),
            policy: None,
            encryption: None,
            keys: Table::default(),
        });
    }

    /// A bucket by name.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn bucket(&self, name: &str) -> Result<&Bucket, ApiError> {
        self.buckets.get(name).ok_or_else(|| no_such_bucket(name))
    }

    /// A bucket by name, to be changed.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, ApiError> {
        self.buckets.get_mut(name).ok_or_else(|| no_such_bucket(name))
    }

    /// Puts staged content at a key; gives its ETag without quotes.
    pub(in super::super) fn put(
        &mut self,
        store: &Store,
        bucket: &str,
        key: &str,
        staged: Staged,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        let encryption = self.bucket(bucket)?.encryption.clone().unwrap_or_default();
        let blob = self.number();
        let (size, etag) = (staged.size(), encryption.etag(staged.md5(), blob));
        store.commit(staged, blob)?;
        let sum = checksum::added(&store.open(blob, size)?.read(None)?)?;
        let (headers, keeping) = (BTreeMap::new(), Keeping { encryption, ..Keeping::default() });
        let object = Object { blob, size, etag: etag.clone(), headers, checksum: Some(sum), keeping };
        self.place(bucket, key, object, now)?;
        Ok(etag)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// An object at a key; gives its version where the bucket's versions have ids.
    pub(super) fn place(
        &mut self,
        bucket: &str,
        key: &str,
        object: Object,
        now: Timestamp,
    ) -> Result<Option<String>, ApiError> {
        let id = self.add(bucket, key, Some(object), now)?;
        // Where versions are suspended S3 names the version `null` of a deletion only.
        Ok(id.filter(|id| id != NULL))
    }

    /// Deletes a version, or what is current: for good where there are no versions, else behind a marker.
    pub(super) fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        now: Timestamp,
    ) -> Result<Deleted, ApiError> {
        let versioning = self.bucket(bucket)?.versioning;
        match (version, versioning) {
            (Some(id), _) => {
                // What is deleted already can be deleted again; what never was cannot.
                if id != NULL && number_of(id).is_none() && self.version(bucket, key, id).is_none() {
                    return Err(absent(key, id));
                }
                let marker = self.remove(bucket, key, id)?.is_some_and(|gone| gone.object.is_none());
                self.disturb(bucket, key);
                Ok(Deleted { version: Some(id.to_owned()), marker })
            }
            (None, None) => {
                self.remove(bucket, key, NULL)?;
                self.disturb(bucket, key);
                Ok(Deleted::default())
            }
            (None, Some(_)) => Ok(Deleted { version: self.add(bucket, key, None, now)?, marker: true }),
        }
    }

    fn version(&self, bucket: &str, key: &str, id: &str) -> Option<&Version> {
        self.buckets.get(bucket)?.keys.get(key)?.iter().find(|one| one.id == id)
    }

    fn add(
        &mut self,
        bucket: &str,
        key: &str,
        object: Option<Object>,
        now: Timestamp,
    ) -> Result<Option<String>, ApiError> {
        let versioning = self.bucket(bucket)?.versioning;
        let number = self.number();
        let id = match versioning {
            Some(Versioning::Enabled) => id_of(number),
            Some(Versioning::Suspended) | None => {
                self.remove(bucket, key, NULL)?;
                NULL.to_owned()
            }
        };
        let version = Version { id: id.clone(), number, modified: now, object };
        self.bucket_mut(bucket)?.keys.get_or_insert_with(key.to_owned(), Vec::new).insert(0, version);
        self.disturb(bucket, key);
        Ok(versioning.map(|_| id))
    }

    /// Lets the uploads to a key know that it was written or deleted meanwhile.
    fn disturb(&mut self, bucket: &str, key: &str) {
        let uploads = self.uploads.iter().filter(|(_, upload)| upload.key == key && upload.bucket == bucket);
        let ids: Vec<String> = uploads.map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(upload) = self.uploads.get_mut(&id) {
                upload.disturbed = true;
            }
        }
    }

    fn remove(&mut self, bucket: &str, key: &str, id: &str) -> Result<Option<Version>, ApiError> {
        let keys = &mut self.bucket_mut(bucket)?.keys;
        let Some(versions) = keys.get_mut(key) else { return Ok(None) };
        let Some(at) = versions.iter().position(|one| one.id == id) else { return Ok(None) };
        let gone = versions.remove(at);
        if versions.is_empty() {
            keys.remove(key);
        }
        self.garbage.extend(gone.object.as_ref().map(|object| object.blob));
        Ok(Some(gone))
    }

    /// The numbers of all contents that something names.
    pub(super) fn blobs(&self) -> impl Iterator<Item = u64> {
        let versions = self.buckets.values().flat_map(|bucket| bucket.keys.values().flatten());
        let objects = versions.filter_map(|version| version.object.as_ref().map(|object| object.blob));
        objects.chain(self.uploads.values().flat_map(|upload| upload.parts.values().map(|part| part.blob)))
    }
}

/// The id of the version of this number; who has no such id cannot make one up.
fn id_of(number: u64) -> String {
    let digest = sha256_hex(format!("version {number}").as_bytes());
    let mask = u64::from_str_radix(&digest[..16], 16).unwrap_or_default();
    format!("{}{:016x}", &digest[..16], mask ^ number)
}

/// The number of the version of this id; none for what was never given out.
pub(super) fn number_of(id: &str) -> Option<u64> {
    let (mask, masked) = id.split_at_checked(16)?;
    let number = u64::from_str_radix(mask, 16).ok()? ^ u64::from_str_radix(masked, 16).ok()?;
    (id_of(number) == id).then_some(number)
}

/// A version that is not there: `NoSuchVersion` for one that was, a bad argument for what was never given out.
fn absent(key: &str, id: &str) -> ApiError {
    if id == NULL || number_of(id).is_some() {
        no_such_version(key, id)
    } else {
        argument("versionId", id, "Invalid version id specified")
    }
}

/// `NoSuchVersion`.
pub(super) fn no_such_version(key: &str, id: &str) -> ApiError {
    ApiError {
        more: Some(serde_json::json!({"Key": key, "VersionId": id})),
        ..ApiError::new("NoSuchVersion", "The specified version does not exist.").status(404)
    }
}

#[cfg(test)]
mod tests {
    use super::{id_of, number_of};

    #[test]
    fn ids_tell_their_numbers_to_who_gave_them() {
        for number in [0, 1, 77, u64::MAX] {
            assert_eq!(number_of(&id_of(number)), Some(number));
        }
        for none in ["", "null", "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD", &"0".repeat(32)] {
            assert_eq!(number_of(none), None, "{none}");
        }
    }
}
