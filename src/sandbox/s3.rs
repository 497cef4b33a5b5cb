//! S3: objects with conditional writes, multipart uploads and listings, in path style, with tasks' rights enforced.
//!
//! One lock is around the whole account, so a conditional write checks and writes at one moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use jiff::Timestamp;

use super::account::Account;
use super::answers::{name_request, s3_response};
use super::service::{ApiError, Caller, Cx};
use super::wire::{self, Trailers};
pub use members::{Listed, members};
pub use operation::{OPERATIONS, Operation};
pub(super) use regions::reached;
pub use state::State;
use store::{Opened, Staged, Store};

mod buckets;
pub(super) mod checksum;
mod conditions;
mod delete;
pub mod keeping;
mod listing;
mod members;
mod multipart;
mod objects;
mod operation;
mod regions;
mod rights;
pub mod state;
pub mod store;
mod xml;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// S3's largest page of any listing.
const LARGEST_PAGE: usize = 1000;

/// A request to S3.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The request's body.
    pub body: Bytes,
    bucket: String,
    key: String,
    /// The region whose endpoint was asked.
    region: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    checksum: Option<(String, String)>,
    reads: bool,
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
        let copies = parts.headers.contains_key("x-amz-copy-source");
        let operation = Operation::of(&parts.method, bucket, key, &query, copies)?;
        let checksum = checksum::sent(&parts.headers, trailers);
        Ok(Self {
            operation,
            body,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            region: String::new(),
            query,
            headers: parts.headers.clone(),
            checksum,
            reads: matches!(parts.method, Method::GET | Method::HEAD),
        })
    }

    /// The same, sent to the endpoint of that region.
    pub(super) fn in_region(self, region: String) -> Self {
        Self { region, ..self }
    }

    /// A request for an object.
    #[cfg(test)]
    pub(super) fn example(method: &str, bucket: &str, key: &str) -> Self {
        let request = http::Request::builder().method(method).uri(format!("/{bucket}/{key}")).body(()).unwrap();
        Self::read(&request.into_parts().0, Bytes::new(), &Trailers::new()).unwrap()
    }

    /// Whether S3 counts it among the reads rather than the writes.
    pub(super) fn reads(&self) -> bool {
        self.reads
    }

    /// The bucket, and its key up to the last slash.
    pub(super) fn prefix(&self) -> String {
        format!("{}/{}", self.bucket, self.key.rsplit_once('/').map_or("", |(prefix, _)| prefix))
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
            REDIRECT,
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
            if name == REDIRECT && !["/", "http://", "https://"].iter().any(|start| text.starts_with(start)) {
                let message = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
                return Err(ApiError::new("InvalidRedirectLocation", message));
            }
            if name == "content-encoding" {
                text = encoding(&text);
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

/// Where a website's visitor is sent instead of this object.
const REDIRECT: &str = "x-amz-website-redirect-location";

/// How an object is encoded: how the request was framed is no part of it.
fn encoding(text: &str) -> String {
    let framed = |one: &&str| one.trim() != "aws-chunked";
    if text.split(',').all(|one| framed(&one)) {
        return text.to_owned();
    }
    text.split(',').filter(framed).collect::<Vec<_>>().join(",").trim().to_owned()
}

impl Call {
    /// A parameter that says how much is wanted at most: S3's largest page where it does not.
    fn at_most(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.parameter(name) else { return Ok(LARGEST_PAGE) };
        let wanted: i32 = text
            .parse()
            .map_err(|_| argument(name, text, &format!("Provided {name} not an integer or within integer range")))?;
        let wanted = usize::try_from(wanted).map_err(|_| {
            argument(name, text, &format!("Argument {name} must be an integer between 0 and 2147483647"))
        })?;
        Ok(wanted.min(LARGEST_PAGE))
    }
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

    /// The version that was read or written, where the bucket has versions.
    fn version(self, id: Option<String>) -> Self {
        match id {
            Some(id) => self.header("x-amz-version-id", id),
            None => self,
        }
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
            Content::Xml(text) => s3_response(self.status, text),
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

/// `InvalidArgument`, with the argument's name and value.
fn argument(name: &str, value: &str, message: &str) -> ApiError {
    ApiError {
        more: Some(serde_json::json!({"ArgumentName": name, "ArgumentValue": value})),
        ..ApiError::new("InvalidArgument", message)
    }
}

fn no_such_bucket(name: &str) -> ApiError {
    ApiError {
        more: Some(serde_json::json!({ "BucketName": name })),
        ..ApiError::new("NoSuchBucket", "The specified bucket does not exist").status(404)
    }
}

/// `NoSuchKey`.
pub(super) fn no_such_key(key: &str) -> ApiError {
    ApiError {
        more: Some(serde_json::json!({ "Key": key })),
        ..ApiError::new("NoSuchKey", "The specified key does not exist.").status(404)
    }
}

/// Whom the buckets of an account, and what is in them, belong to: its canonical user's id.
fn owner(account: &Account) -> serde_json::Value {
    serde_json::json!({ "ID": super::sigv4::sha256_hex(format!("canonical user of {}", account.id).as_bytes()) })
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
    members::check_headers(account, call)?;
    if members::checks_body(call.operation) {
        checksum::check(call)?;
    }
    match call.operation {
        Operation::ListBuckets => Ok(buckets::list(account)),
        Operation::CreateBucket => buckets::create(account, cx, call),
        Operation::DeleteBucket => buckets::delete(account, call),
        Operation::HeadBucket => buckets::head(account, call),
        Operation::GetBucketLocation => buckets::location(account, call),
        Operation::GetBucketVersioning => buckets::versioning(account, call),
        Operation::PutBucketVersioning => buckets::set_versioning(account, call),
        Operation::ListObjects => listing::objects(account, cx, call),
        Operation::ListObjectsV2 => listing::objects_v2(account, cx, call),
        Operation::ListObjectVersions => listing::versions(account, cx, call),
        Operation::GetBucketPolicy => buckets::policy(account, call),
        Operation::PutBucketPolicy => buckets::set_policy(account, call),
        Operation::DeleteBucketPolicy => buckets::delete_policy(account, call),
        Operation::PutBucketEncryption => buckets::set_encryption(account, call),
        Operation::HeadObject | Operation::GetObject => objects::get(account, cx, store, call),
        Operation::RestoreObject => keeping::restore(account, cx, call),
        Operation::PutObject => objects::put(account, cx, store, call, staged),
        Operation::CopyObject => objects::copy(account, cx, store, caller, call),
        Operation::DeleteObject => delete::one(account, cx, call),
        Operation::DeleteObjects => delete::many(account, cx, caller, call),
        Operation::CreateMultipartUpload => multipart::create(account, cx, call),
        Operation::UploadPart => multipart::part(account, cx, store, call, staged),
        Operation::UploadPartCopy => multipart::part_copy(account, cx, store, caller, call),
        Operation::ListParts => multipart::parts(account, cx, call),
        Operation::ListMultipartUploads => listing::uploads(account, cx, call),
        Operation::CompleteMultipartUpload => multipart::complete(account, cx, store, call),
        Operation::AbortMultipartUpload => multipart::abort(account, call),
    }
}
