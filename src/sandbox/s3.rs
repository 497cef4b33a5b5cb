//! S3: objects with conditional writes, multipart uploads and listings, in path style, with tasks' rights enforced.
//!
//! One lock is around the whole account, so a conditional write checks and writes at one moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::front::{name_request, xml_response};
use super::service::{ApiError, Caller, Cx, Documented, unserved};
use super::wire::{self, Trailers};
use store::{Opened, Staged, Store};

mod checksum;
mod listing;
mod multipart;
mod objects;
mod rights;
pub mod store;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Everything in S3 but the objects' content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Buckets by name.
    pub buckets: BTreeMap<String, Bucket>,
    /// Multipart uploads in progress, by id.
    pub uploads: BTreeMap<String, Upload>,
    /// How many contents and uploads were numbered.
    pub serial: u64,
    /// How many conditional writes are still to meet a race (409 `ConditionalRequestConflict`).
    #[serde(skip)]
    pub conflicts: usize,
    /// Contents that no object has any more; they go once the account is kept without them.
    #[serde(skip)]
    pub(super) garbage: Vec<u64>,
}

/// A bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bucket {
    /// When it was created.
    pub created: Timestamp,
    /// Objects by key.
    pub objects: BTreeMap<String, Object>,
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
    /// When it was last written.
    pub modified: Timestamp,
    /// What was sent with it and comes back with it: `content-type`, `x-amz-meta-…`, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The checksum that was sent with it: the header's name and its value.
    pub checksum: Option<(String, String)>,
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
    /// When it was begun.
    pub begun: Timestamp,
    /// Parts by number.
    pub parts: BTreeMap<u32, Part>,
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
}

impl State {
    /// Makes a bucket, or finds that it is there.
    pub fn create_bucket(&mut self, name: &str, now: Timestamp) {
        self.buckets.entry(name.to_owned()).or_insert_with(|| Bucket { created: now, objects: BTreeMap::new() });
    }

    /// A bucket by name.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub fn bucket(&self, name: &str) -> Result<&Bucket, ApiError> {
        self.buckets.get(name).ok_or_else(|| no_such_bucket(name))
    }

    /// Puts staged content at a key; gives its ETag without quotes.
    pub(super) fn put(
        &mut self,
        store: &Store,
        bucket: &str,
        key: &str,
        staged: Staged,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        self.bucket(bucket)?;
        let blob = self.number();
        let (size, etag) = (staged.size(), staged.md5());
        store.commit(staged, blob)?;
        let object = Object { blob, size, etag: etag.clone(), modified: now, headers: BTreeMap::new(), checksum: None };
        self.place(bucket, key, object);
        Ok(etag)
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn place(&mut self, bucket: &str, key: &str, object: Object) {
        let Some(bucket) = self.buckets.get_mut(bucket) else { return self.garbage.push(object.blob) };
        if let Some(old) = bucket.objects.insert(key.to_owned(), object) {
            self.garbage.push(old.blob);
        }
    }
}

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("ListBuckets", &[]),
    ("CreateBucket", &[]),
    ("HeadBucket", &[]),
    ("GetBucketLocation", &[]),
    ("ListObjectsV2", &[]),
    ("HeadObject", &[]),
    ("GetObject", &[]),
    ("PutObject", &[]),
    ("CopyObject", &[]),
    ("DeleteObject", &[]),
    ("CreateMultipartUpload", &[]),
    ("UploadPart", &[]),
    ("CompleteMultipartUpload", &[]),
    ("AbortMultipartUpload", &[]),
];

/// The operations that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are S3's own")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    GetBucketLocation,
    ListObjectsV2,
    HeadObject,
    GetObject,
    PutObject,
    CopyObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
}

impl Operation {
    /// S3's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::HeadBucket => "HeadBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::HeadObject => "HeadObject",
            Self::GetObject => "GetObject",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::DeleteObject => "DeleteObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
        }
    }

    /// Whether the request's body becomes content.
    pub fn stores_body(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }

    /// The action that a role needs, and whether it is on the object rather than the bucket.
    fn right(self) -> (&'static str, bool) {
        match self {
            Self::ListBuckets => ("s3:ListAllMyBuckets", false),
            Self::CreateBucket => ("s3:CreateBucket", false),
            Self::HeadBucket | Self::ListObjectsV2 => ("s3:ListBucket", false),
            Self::GetBucketLocation => ("s3:GetBucketLocation", false),
            Self::HeadObject | Self::GetObject => ("s3:GetObject", true),
            Self::DeleteObject => ("s3:DeleteObject", true),
            Self::AbortMultipartUpload => ("s3:AbortMultipartUpload", true),
            Self::PutObject
            | Self::CopyObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::CompleteMultipartUpload => ("s3:PutObject", true),
        }
    }

    /// Query parameters that it knows; any other would be dropped in silence, and is refused instead.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ListObjectsV2 => &[
                "list-type",
                "prefix",
                "delimiter",
                "continuation-token",
                "start-after",
                "max-keys",
                "encoding-type",
                "fetch-owner",
            ],
            Self::GetBucketLocation => &["location"],
            Self::CreateMultipartUpload => &["uploads"],
            Self::UploadPart => &["partNumber", "uploadId"],
            Self::CompleteMultipartUpload | Self::AbortMultipartUpload => &["uploadId"],
            _ => &[],
        }
    }
}

/// A request to S3.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The request's body.
    pub body: Bytes,
    bucket: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    checksum: Option<(String, String)>,
}

impl Call {
    /// Reads a request in path style.
    ///
    /// # Errors
    /// `NotImplemented` for what is not served, by name; `InvalidURI`.
    pub fn read(parts: &Parts, body: Bytes, trailers: &Trailers) -> Result<Self, ApiError> {
        let path = wire::decode(parts.uri.path())
            .ok_or_else(|| ApiError::new("InvalidURI", "Couldn't parse the specified URI."))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query: BTreeMap<String, String> =
            wire::pairs(parts.uri.query().unwrap_or_default()).into_iter().filter(|(name, _)| name != "x-id").collect();
        let has = |name: &str| query.contains_key(name);
        let copies = parts.headers.contains_key("x-amz-copy-source");
        let operation = match (&parts.method, bucket.is_empty(), key.is_empty()) {
            (&Method::GET, true, true) => Operation::ListBuckets,
            (&Method::PUT, false, true) => Operation::CreateBucket,
            (&Method::HEAD, false, true) => Operation::HeadBucket,
            (&Method::GET, false, true) if has("location") => Operation::GetBucketLocation,
            (&Method::GET, false, true) if query.get("list-type").is_some_and(|kind| kind == "2") => {
                Operation::ListObjectsV2
            }
            (&Method::GET, false, true) if query.keys().all(|name| name != "list-type" && known_listing(name)) => {
                return Err(unserved("s3", "ListObjects"));
            }
            (&Method::PUT, false, false) if copies && has("uploadId") => return Err(unserved("s3", "UploadPartCopy")),
            (&Method::PUT, false, false) if copies => Operation::CopyObject,
            (&Method::PUT, false, false) if has("uploadId") => Operation::UploadPart,
            (&Method::PUT, false, false) => Operation::PutObject,
            (&Method::HEAD, false, false) => Operation::HeadObject,
            (&Method::GET, false, false) => Operation::GetObject,
            (&Method::DELETE, false, false) if has("uploadId") => Operation::AbortMultipartUpload,
            (&Method::DELETE, false, false) => Operation::DeleteObject,
            (&Method::DELETE, false, true) => return Err(unserved("s3", "DeleteBucket")),
            (&Method::POST, false, false) if has("uploads") => Operation::CreateMultipartUpload,
            (&Method::POST, false, false) if has("uploadId") => Operation::CompleteMultipartUpload,
            (&Method::POST, false, true) if has("delete") => return Err(unserved("s3", "DeleteObjects")),
            (method, ..) => {
                let names: Vec<&str> = query.keys().map(String::as_str).collect();
                return Err(unserved("s3", &format!("{method} with ?{}", names.join("&"))));
            }
        };
        if let Some(unknown) = query.keys().find(|name| !operation.parameters().contains(&name.as_str())) {
            return Err(unserved("s3", &format!("{} with ?{unknown}", operation.name())));
        }
        let checksum = checksum::sent(&parts.headers, trailers);
        Ok(Self {
            operation,
            body,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query,
            headers: parts.headers.clone(),
            checksum,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The headers that are kept with an object.
    fn kept_headers(&self) -> Result<BTreeMap<String, String>, ApiError> {
        const KEPT: &[&str] = &[
            "content-type",
            "content-encoding",
            "content-disposition",
            "content-language",
            "cache-control",
            "expires",
        ];
        let mut kept = BTreeMap::new();
        let mut metadata = 0;
        for (name, value) in &self.headers {
            let name = name.as_str();
            let mut text = value
                .to_str()
                .map_err(|_| ApiError::new("InvalidArgument", format!("{name} is not US-ASCII")))?
                .to_owned();
            if let Some(short) = name.strip_prefix("x-amz-meta-") {
                metadata += short.len() + text.len();
            } else if !KEPT.contains(&name) {
                continue;
            }
            if name == "content-encoding" {
                // How the request was framed is not how the object is encoded.
                let real: Vec<&str> =
                    text.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked").collect();
                text = real.join(",");
                if text.is_empty() {
                    continue;
                }
            }
            kept.entry(name.to_owned())
                .and_modify(|known: &mut String| *known = format!("{known},{text}"))
                .or_insert(text);
        }
        if metadata > 2048 {
            return Err(ApiError::new(
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size.",
            ));
        }
        Ok(kept)
    }
}

fn known_listing(name: &str) -> bool {
    ["prefix", "delimiter", "marker", "max-keys", "encoding-type"].contains(&name)
}

/// What an answer's body is.
#[derive(Debug)]
enum Content {
    Empty,
    Xml(String),
    /// Content to be read once the account is free again, all or from one byte to another (both included).
    Stored(Opened, Option<(u64, u64)>),
    Loaded(Bytes),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
}

impl Reply {
    fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Content::Empty }
    }

    fn xml(root: &str, members: &serde_json::Value) -> Self {
        let mut out = format!("<{root} xmlns=\"{NAMESPACE}\">");
        if let Some(members) = members.as_object() {
            listing::write_flat(&mut out, members);
        }
        out.push_str(&format!("</{root}>"));
        Self { status: 200, headers: Vec::new(), content: Content::Xml(out) }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Reads stored content.
    pub(super) fn load(&mut self) -> Result<(), ApiError> {
        if let Content::Stored(opened, range) = &mut self.content {
            let loaded = opened.read(*range)?;
            self.content = Content::Loaded(loaded);
        }
        Ok(())
    }

    /// The response on the wire.
    pub(super) fn into_response(self, id: &str, head: bool) -> Response<Bytes> {
        let mut response = match self.content {
            Content::Xml(text) => xml_response(self.status, text),
            Content::Loaded(bytes) if !head => Response::new(bytes),
            _ => Response::new(Bytes::new()),
        };
        *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        name_request(&mut response, id);
        response
    }
}

/// A time as HTTP's headers carry it.
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn no_such_bucket(name: &str) -> ApiError {
    ApiError::new("NoSuchBucket", format!("The specified bucket does not exist: {name}")).status(404)
}

/// `NoSuchKey`.
pub(super) fn no_such_key(key: &str) -> ApiError {
    ApiError::new("NoSuchKey", format!("The specified key does not exist: {key}")).status(404)
}

fn precondition(header: &str) -> ApiError {
    ApiError {
        more: Some(serde_json::json!({"Condition": header})),
        ..ApiError::new("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
            .status(412)
    }
}

/// Answers one request, at one moment.
///
/// # Errors
/// As S3.
pub(super) fn handle(
    account: &mut Account,
    cx: &Cx,
    store: &Store,
    caller: &Caller,
    call: &Call,
    staged: Option<Staged>,
) -> Result<Reply, ApiError> {
    rights::authorise(account, caller, call)?;
    match call.operation {
        Operation::ListBuckets => Ok(listing::buckets(account)),
        Operation::CreateBucket => listing::create_bucket(account, cx, call),
        Operation::HeadBucket => {
            account.s3.bucket(&call.bucket)?;
            Ok(Reply::empty(200).header("x-amz-bucket-region", &account.region))
        }
        Operation::GetBucketLocation => {
            account.s3.bucket(&call.bucket)?;
            Ok(listing::location(account))
        }
        Operation::ListObjectsV2 => listing::objects(account, cx, call),
        Operation::HeadObject | Operation::GetObject => objects::get(account, store, call),
        Operation::PutObject => objects::put(account, cx, store, call, staged),
        Operation::CopyObject => objects::copy(account, cx, store, caller, call),
        Operation::DeleteObject => objects::delete(account, call),
        Operation::CreateMultipartUpload => multipart::create(account, cx, call),
        Operation::UploadPart => multipart::part(account, store, call, staged),
        Operation::CompleteMultipartUpload => multipart::complete(account, cx, store, call),
        Operation::AbortMultipartUpload => multipart::abort(account, call),
    }
}
