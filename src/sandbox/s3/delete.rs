//! Deletions: of one object, and of many in one request.

use serde_json::{Value, json};

use super::super::account::Account;
use super::super::service::{ApiError, Caller, Cx};
use super::operation::delete_right;
use super::rights::Rights;
use super::state::{Deleted, no_such_version};
use super::{Call, LARGEST_PAGE, Reply, conditions, members, xml};

/// What is to be deleted.
struct Wanted<'a> {
    key: &'a str,
    version: Option<&'a str>,
    etags: Option<&'a str>,
}

/// Deleting what is not there succeeds.
fn delete(account: &mut Account, cx: &Cx, bucket: &str, wanted: &Wanted<'_>) -> Result<Deleted, ApiError> {
    let current = account.s3.bucket(bucket)?.current(wanted.key).map(|(_, object)| object.etag.clone());
    if let Some(etags) = wanted.etags {
        conditions::matches(wanted.key, current.as_deref(), etags)?;
    }
    account.s3.delete(bucket, wanted.key, wanted.version, cx.now)
}

pub(super) fn one(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let wanted = Wanted { key: &call.key, version: call.parameter("versionId"), etags: call.header("if-match") };
    let deleted = delete(account, cx, &call.bucket, &wanted)?;
    let reply = Reply::empty(204).version(deleted.version);
    Ok(if deleted.marker { reply.header("x-amz-delete-marker", "true") } else { reply })
}

pub(super) fn many(account: &mut Account, cx: &Cx, caller: &Caller, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    if call.checksum.is_none() && call.header("content-md5").is_none() {
        return Err(ApiError::new("InvalidRequest", "Missing required header for this request: Content-MD5"));
    }
    let root = members::body(call, "Delete")?;
    let objects: Vec<&xml::Element> = root.each("Object").collect();
    if objects.is_empty() || objects.len() > LARGEST_PAGE {
        return Err(xml::malformed());
    }
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for object in objects {
        let key = object.exactly("Key").ok_or_else(xml::malformed)?;
        let wanted = Wanted { key, version: object.child("VersionId"), etags: object.child("ETag") };
        let action = delete_right(wanted.version.is_some());
        let deleted = Rights { account, caller }
            .need(action, &call.bucket, Some(key), &[])
            .and_then(|()| delete(account, cx, &call.bucket, &wanted));
        match deleted {
            Ok(deleted) => done.push(shown(&wanted, &deleted)),
            // Of one key alone this would be a bad argument.
            Err(error) if error.code == "InvalidArgument" => errors.push(failed(&wanted, &no_such_version(key, ""))),
            Err(error) => errors.push(failed(&wanted, &error)),
        }
    }
    let quiet = root.child("Quiet") == Some("true");
    Ok(Reply::xml("DeleteResult", &json!({"Deleted": if quiet { Vec::new() } else { done }, "Error": errors})))
}

fn failed(wanted: &Wanted<'_>, error: &ApiError) -> Value {
    json!({"Key": wanted.key, "VersionId": wanted.version, "Code": error.code, "Message": error.message})
}

fn shown(wanted: &Wanted<'_>, deleted: &Deleted) -> Value {
    json!({
        "Key": wanted.key,
        "VersionId": wanted.version,
        "DeleteMarker": deleted.marker.then_some(true),
        "DeleteMarkerVersionId": if deleted.marker { deleted.version.as_deref() } else { None },
    })
}
