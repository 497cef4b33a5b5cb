//! S3's buckets: each is spoken to in its own region, and told how to encrypt what is written to it.
//!
//! S3 answers a request at another region's endpoint with the name of the bucket's region, which the SDK drops
//! (aws-sdk-rust#183). Here it is remembered, and the call made again there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::Region;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::{AwsError, Class, OrAws};
use crate::encryption::{Encryption, Encryptions};

/// The header by which S3 says a bucket's region.
const REGION: &str = "x-amz-bucket-region";

/// The buckets of a stack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Buckets {
    home: Client,
    /// The buckets that are known to be elsewhere, each with its region and a client for it.
    elsewhere: Arc<Mutex<BTreeMap<String, (String, Client)>>>,
    encryptions: Arc<Encryptions>,
}

impl Buckets {
    /// Buckets that are looked for in that client's region first.
    pub(super) fn new(home: Client) -> Self {
        Self { home, elsewhere: Arc::default(), encryptions: Arc::default() }
    }

    /// The same, and what is written to them is encrypted as is said here.
    #[must_use]
    pub fn encrypted(&self, encryptions: Encryptions) -> Self {
        Self { encryptions: Arc::new(encryptions), ..self.clone() }
    }

    /// Those that were found in another region than the stack's, each with its region.
    pub fn elsewhere(&self) -> BTreeMap<String, String> {
        let known = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(bucket, (region, _))| (bucket.clone(), region.clone())).collect()
    }

    /// Makes a call about a bucket, in its own region: the second time where the first has gone to another one.
    ///
    /// # Errors
    /// The failure, classified; what may be missing in the stack file is said with a write that is denied.
    pub async fn call<T, E, F>(
        &self,
        bucket: &str,
        operation: &'static str,
        call: impl Fn(&Client) -> F,
    ) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let client = self.client(bucket);
        let mut answer = call(&client).await;
        if let Err(error) = &answer
            && misses(error)
        {
            let told = match region(error) {
                Some(region) => Some(region),
                None => self.region_of(bucket).await,
            };
            if let Some(client) = told.and_then(|region| self.moved(bucket, &region, &client)) {
                answer = call(&client).await;
            }
        }
        answer.or_aws(operation).map_err(|error| self.explained(bucket, error))
    }

    fn client(&self, bucket: &str) -> Client {
        let known = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(bucket).map_or_else(|| self.home.clone(), |(_, client)| client.clone())
    }

    /// A client for the region that a bucket is said to be in; none if that is where it was just asked for.
    fn moved(&self, bucket: &str, region: &str, asked: &Client) -> Option<Client> {
        if asked.config().region().is_some_and(|asked| asked.as_ref() == region) {
            return None;
        }
        let config = self.home.config().to_builder().region(Region::new(region.to_owned())).build();
        let client = Client::from_conf(config);
        let mut known = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(bucket.to_owned(), (region.to_owned(), client.clone()));
        Some(client)
    }

    /// HeadBucket says a bucket's region in any answer to it, denials included (S3 API, HeadBucket).
    async fn region_of(&self, bucket: &str) -> Option<String> {
        match self.home.head_bucket().bucket(bucket).send().await {
            Ok(found) => found.bucket_region,
            Err(error) => region(&error),
        }
    }

    /// PutObject that says how its bucket's objects are encrypted.
    pub fn put_object(&self, client: &Client, bucket: &str) -> PutObjectFluentBuilder {
        let (method, key) = self.encryption(bucket);
        client.put_object().bucket(bucket).set_server_side_encryption(method).set_ssekms_key_id(key)
    }

    /// The same of CreateMultipartUpload; a part takes it from there.
    pub fn create_multipart_upload(&self, client: &Client, bucket: &str) -> CreateMultipartUploadFluentBuilder {
        let (method, key) = self.encryption(bucket);
        client.create_multipart_upload().bucket(bucket).set_server_side_encryption(method).set_ssekms_key_id(key)
    }

    fn encryption(&self, bucket: &str) -> (Option<ServerSideEncryption>, Option<String>) {
        match self.encryptions.get(bucket) {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key }) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    /// An error with what it may come from: the bucket's region, or what its table in the stack file says.
    fn explained(&self, bucket: &str, mut error: AwsError) -> AwsError {
        if matches!(error.class, Class::Denied | Class::Credentials)
            && let Some(region) = self.elsewhere().get(bucket)
        {
            let home = self.home.config().region().map(ToString::to_string).unwrap_or_default();
            error.message = format!("{} (the bucket {bucket} is in {region}, and the stack in {home})", error.message);
        }
        if error.class != Class::Denied {
            return error;
        }
        let writes = matches!(error.operation, "s3:PutObject" | "s3:CreateMultipartUpload" | "s3:UploadPart");
        let why = if error.message.contains("kms:") {
            "the bucket's objects are encrypted with a KMS key: whoever runs seqstack needs kms:GenerateDataKey and kms:Decrypt on it"
        } else if writes && !self.encryptions.contains_key(bucket) {
            "a bucket may demand that each write says its encryption: set `encryption = \"AES256\"` or `\"aws:kms\"` (with `kms_key`) in its [bucket.…]"
        } else if writes {
            "a bucket may demand another `encryption` or `kms_key` than its [bucket.…] says"
        } else {
            return error;
        };
        error.message = format!("{}; {why}", error.message.trim_end_matches('.'));
        error
    }
}

/// The checksum that S3 holds content against. Given with each write: whether the SDK adds one of its own is a setting
/// (`AWS_REQUEST_CHECKSUM_CALCULATION`), and buckets with a lock on their objects demand one.
pub fn checksum(content: &[u8]) -> String {
    BASE64.encode(Sha256::digest(content))
}

/// A key of a listing that was asked for with `encoding-type=url`: in XML itself S3 can write no control character.
pub fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Whether S3 says that a bucket is in another region. HeadObject and HeadBucket have no body, and so no code: then 400 may
/// mean that too (botocore#1413). The third code is of regions that an account has to enable (boto3#2622, prowler#1155).
fn misses<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(|error| error.code());
    match status {
        Some(301 | 307) => true,
        Some(400) => matches!(
            code,
            None | Some("AuthorizationHeaderMalformed" | "BadRequest" | "IllegalLocationConstraintException")
        ),
        _ => false,
    }
}

fn region<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    Some(error.raw_response()?.headers().get(REGION)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn a_key_of_a_listing_is_what_it_was() {
        assert_eq!(decoded("a+b%2Bc%2541/%C3%A9%01.fq"), "a b+c%41/\u{e9}\u{1}.fq");
    }
}
