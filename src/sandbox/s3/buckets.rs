//! Buckets: made, found, set to keep versions, deleted.

use serde_json::json;

use super::super::account::{Account, seconds};
use super::super::service::{ApiError, Cx};
use super::super::wire;
use super::state::Versioning;
use super::{Call, Content, NAMESPACE, Reply, keeping, members, xml};

pub(super) fn list(account: &Account) -> Reply {
    let mut out = format!("<ListAllMyBucketsResult xmlns=\"{NAMESPACE}\">");
    wire::write_xml(&mut out, "Owner", &super::owner(account), "member");
    out.push_str("<Buckets>");
    for (name, bucket) in account.s3.buckets.iter() {
        let region = bucket.region.as_str();
        let bucket = json!({"Name": name, "CreationDate": seconds(bucket.created), "BucketRegion": region});
        wire::write_xml(&mut out, "Bucket", &bucket, "member");
    }
    out.push_str("</Buckets></ListAllMyBucketsResult>");
    Reply { content: Content::Xml(out), ..Reply::empty(200) }
}

pub(super) fn head(account: &Account, call: &Call) -> Result<Reply, ApiError> {
    let bucket = account.s3.bucket(&call.bucket)?;
    Ok(Reply::empty(200).header("x-amz-bucket-region", bucket.region.as_str()))
}

pub(super) fn location(account: &Account, call: &Call) -> Result<Reply, ApiError> {
    let region = account.s3.bucket(&call.bucket)?.region.as_str();
    // us-east-1 is written as nothing, for reasons of age.
    let region = if region == "us-east-1" { "" } else { region };
    let out = format!("<LocationConstraint xmlns=\"{NAMESPACE}\">{region}</LocationConstraint>");
    Ok(Reply { content: Content::Xml(out), ..Reply::empty(200) })
}

/// Prefixes and suffixes that no name of a bucket has.
const RESERVED: (&[&str], &[&str]) =
    (&["xn--", "sthree-", "amzn-s3-demo-"], &["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]);

/// Whether a bucket can have this name (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn is_name(name: &str) -> bool {
    let (prefixes, suffixes) = RESERVED;
    (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !prefixes.iter().any(|prefix| name.starts_with(prefix))
        && !suffixes.iter().any(|suffix| name.ends_with(suffix))
}

pub(super) fn create(account: &mut Account, cx: &Cx, call: &Call) -> Result<Reply, ApiError> {
    let name = &call.bucket;
    if !is_name(name) {
        let more = Some(json!({ "BucketName": name }));
        return Err(ApiError { more, ..ApiError::new("InvalidBucketName", "The specified bucket is not valid.") });
    }
    let configuration =
        if call.body.is_empty() { None } else { Some(members::body(call, "CreateBucketConfiguration")?) };
    let asked = configuration.as_ref().and_then(|root| root.child("LocationConstraint"));
    // North Virginia is named by naming nothing.
    if asked == Some("us-east-1") && call.region == "us-east-1" {
        let message = "The specified location-constraint is not valid";
        return Err(ApiError::new("InvalidLocationConstraint", message));
    }
    if asked.unwrap_or("us-east-1") != call.region {
        let what = asked.unwrap_or("unspecified");
        let message = format!(
            "The {what} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        return Err(ApiError::new("IllegalLocationConstraintException", message));
    }
    // North Virginia answers as if it had made it, for reasons of age.
    let is_there = account.s3.buckets.get(name).map(|bucket| bucket.region.as_str());
    if is_there.is_some_and(|region| region != "us-east-1" || region != call.region) {
        let message = "Your previous request to create the named bucket succeeded and you already own it.";
        return Err(ApiError::new("BucketAlreadyOwnedByYou", message).status(409));
    }
    account.s3.create_bucket(name, &call.region, cx.now);
    Ok(Reply::empty(200).header("location", format!("/{name}")))
}

pub(super) fn delete(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    if !account.s3.bucket(&call.bucket)?.keys.is_empty() {
        let message = "The bucket you tried to delete is not empty";
        return Err(ApiError::new("BucketNotEmpty", message).status(409));
    }
    account.s3.buckets.remove(&call.bucket);
    // Uploads in progress do not keep a bucket from being deleted; they go with it.
    let uploads = account.s3.uploads.iter().filter(|(_, upload)| upload.bucket == call.bucket);
    let ids: Vec<String> = uploads.map(|(id, _)| id.clone()).collect();
    for id in ids {
        let gone = account.s3.uploads.remove(&id);
        account.s3.garbage.extend(gone.iter().flat_map(|upload| upload.parts.values().map(|part| part.blob)));
    }
    Ok(Reply::empty(204))
}

pub(super) fn versioning(account: &Account, call: &Call) -> Result<Reply, ApiError> {
    let status = account.s3.bucket(&call.bucket)?.versioning;
    Ok(Reply::xml("VersioningConfiguration", &json!({ "Status": status })))
}

pub(super) fn set_versioning(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket(&call.bucket)?;
    let configuration = members::body(call, "VersioningConfiguration")?;
    let status = match configuration.child("Status") {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        Some(_) => return Err(xml::malformed()),
        None => {
            let message = "The Versioning element must be specified";
            return Err(ApiError::new("IllegalVersioningConfigurationException", message));
        }
    };
    account.s3.bucket_mut(&call.bucket)?.versioning = Some(status);
    Ok(Reply::empty(200))
}

pub(super) fn policy(account: &Account, call: &Call) -> Result<Reply, ApiError> {
    let policy = account.s3.bucket(&call.bucket)?.policy.as_ref();
    let none = || ApiError::new("NoSuchBucketPolicy", "The bucket policy does not exist").status(404);
    let text = policy.ok_or_else(none)?.to_string();
    Ok(Reply { content: Content::Loaded(text.into()), ..Reply::empty(200) }.header("content-type", "application/json"))
}

pub(super) fn set_policy(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    let malformed = || ApiError::new("MalformedPolicy", "This policy contains invalid Json");
    let policy: serde_json::Value = serde_json::from_slice(&call.body).map_err(|_| malformed())?;
    if !policy["Statement"].is_array() && !policy["Statement"].is_object() {
        return Err(ApiError::new("MalformedPolicy", "Missing required field Statement"));
    }
    account.s3.bucket_mut(&call.bucket)?.policy = Some(policy);
    Ok(Reply::empty(204))
}

pub(super) fn delete_policy(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    account.s3.bucket_mut(&call.bucket)?.policy = None;
    Ok(Reply::empty(204))
}

pub(super) fn set_encryption(account: &mut Account, call: &Call) -> Result<Reply, ApiError> {
    let configuration = members::body(call, "ServerSideEncryptionConfiguration")?;
    let encryption = keeping::Encryption::of_bucket(&configuration)?;
    account.s3.bucket_mut(&call.bucket)?.encryption = Some(encryption);
    Ok(Reply::empty(200))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_buckets() {
        for name in ["abc", "a.b-c.1", "192.168.5.1234", "my-bucket-xn--x"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in [
            "ab",
            &long,
            "Abc",
            "-abc",
            "abc-",
            ".abc",
            "a_b",
            "foo..bar",
            "192.168.5.123",
            "xn--abc",
            "sthree-abc",
            "amzn-s3-demo-abc",
            "abc-s3alias",
            "abc--ol-s3",
            "abc.mrap",
            "abc--x-s3",
            "abc--table-s3",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
