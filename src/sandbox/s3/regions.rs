//! Buckets of other regions: what S3 answers to who asks for one at another region's endpoint.

use serde_json::json;

use super::super::account::Account;
use super::super::service::ApiError;
use super::{Call, Operation};

/// Regions that an account has to enable: S3 has a third answer about buckets there (boto3#2622), and is taken here to name
/// no region in it.
const ENABLED_FIRST: &[&str] = &["af-south-1", "ap-east-1", "eu-south-1", "me-south-1"];

/// Whether a request has come to the endpoint of its bucket's region.
///
/// A client's region is known here by its signature only, so the account's own region stands for the endpoint: who signs
/// for that is redirected to a bucket elsewhere, and who signs for another one is told that the signature is wrong. S3 gives
/// both answers for a wrong region, and leaves the region's name out of the second one to HeadObject (botocore#1413).
pub(in super::super) fn reached(account: &Account, call: &Call) -> Result<(), ApiError> {
    let bucket = account.s3.buckets.get(&call.bucket);
    let region = bucket.map_or(account.region.as_str(), |bucket| &bucket.region);
    if call.region == region || call.operation == Operation::CreateBucket {
        return Ok(());
    }
    let name = region.to_owned();
    let told = call.operation == Operation::HeadBucket;
    if ENABLED_FIRST.contains(&region) || ENABLED_FIRST.contains(&call.region.as_str()) {
        let message = format!(
            "The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        return Err(ApiError {
            headers: told.then_some(("x-amz-bucket-region", name)).into_iter().collect(),
            ..ApiError::new("IllegalLocationConstraintException", message)
        });
    }
    if call.region == account.region {
        let message = "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.";
        let endpoint = format!("{}.s3-{region}.amazonaws.com", call.bucket);
        return Err(ApiError {
            more: Some(json!({"Endpoint": endpoint, "Bucket": call.bucket})),
            headers: vec![("x-amz-bucket-region", name)],
            ..ApiError::new("PermanentRedirect", message).status(301)
        });
    }
    let told = call.operation != Operation::HeadObject;
    let message =
        format!("The authorization header is malformed; the region '{}' is wrong; expecting '{region}'", call.region);
    Err(ApiError {
        more: Some(json!({ "Region": region })),
        headers: told.then_some(("x-amz-bucket-region", name)).into_iter().collect(),
        ..ApiError::new("AuthorizationHeaderMalformed", message)
    })
}
