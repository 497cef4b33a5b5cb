//! The edge to AWS: clients, one error type with its class, and a record of the calls that were made.
//!
//! Never decides what to do about an error: it says what class it is of, and the kind or the run decides.

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

pub mod absence;
pub mod buckets;
pub mod clients;
pub mod clock;
pub mod credentials;
pub mod facts;
mod last_word;
pub mod tags;
pub mod trace;
pub mod wait;

pub use trace::Trace;

/// One client a service, all of one account and region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Aws {
    /// IAM.
    pub iam: aws_sdk_iam::Client,
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// ECS.
    pub ecs: aws_sdk_ecs::Client,
    /// S3, in the stack's region. What is about a bucket is asked through [`Aws::buckets`].
    pub s3: aws_sdk_s3::Client,
    /// S3's buckets, each in its own region.
    pub buckets: buckets::Buckets,
    /// CloudWatch Logs.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// Systems Manager, for public parameters only.
    pub ssm: aws_sdk_ssm::Client,
    /// STS.
    pub sts: aws_sdk_sts::Client,
    /// The region of every regional client.
    pub region: String,
    /// What was called so far.
    pub trace: Arc<Trace>,
    /// The credentials in use.
    pub credentials: credentials::Renewing,
    /// AWS's clock.
    pub clock: clock::Clock,
    /// The profile that was asked for.
    pub profile: Option<String>,
}

impl Aws {
    /// Clients of one configuration; every call that they make is noted in the trace, and credentials that AWS refuses are
    /// asked for anew before the next call.
    pub fn new(config: &SdkConfig) -> Self {
        let trace = Arc::new(Trace::default());
        let noted = trace::Noted(trace.clone());
        let clock = clock::Clock::default();
        let credentials = credentials::Renewing::new(config.credentials_provider());
        let config = config
            .clone()
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .identity_cache(IdentityCache::no_cache())
            .build();
        let paths = config.endpoint_url().is_some();
        // The SDK's own bucket of retries is empty after some fifty throttled calls at once, and then no call is made again.
        // The attempts are bounded as it is.
        let retries = RetryPartition::custom("seqstack").token_bucket(TokenBucket::unlimited()).build();
        macro_rules! client {
            ($sdk:ident $(, $setting:ident($value:expr))*) => {
                $sdk::Client::from_conf(
                    $sdk::config::Builder::from(&config)
                        .interceptor(noted.clone())
                        .interceptor(clock.clone())
                        .interceptor(credentials.clone())
                        .retry_partition(retries.clone())
                        $(.$setting($value))*
                        .build(),
                )
            };
        }
        let s3 = client!(aws_sdk_s3, force_path_style(paths), interceptor(clients::Uploads));
        Self {
            iam: client!(aws_sdk_iam),
            ec2: client!(aws_sdk_ec2, retry_classifier(last_word::LastWord)),
            ecs: client!(aws_sdk_ecs),
            buckets: buckets::Buckets::new(s3.clone()),
            s3,
            logs: client!(aws_sdk_cloudwatchlogs),
            ssm: client!(aws_sdk_ssm),
            sts: client!(aws_sdk_sts),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            trace,
            credentials,
            clock,
            profile: None,
        }
    }

    /// The commands that sign in again: with single sign-on, or as one signs in to the console.
    pub fn sign_in(&self) -> String {
        let profile = self.profile.as_ref().map(|profile| format!(" --profile {profile}")).unwrap_or_default();
        format!("`aws sso login{profile}`, or `aws login{profile}`")
    }
}

/// What sort of failure a call met, as far as it decides what may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// AWS answered and refused; asking again changes nothing.
    Refused,
    /// The thing asked about does not exist.
    NotFound,
    /// Not allowed. Never to be taken for absence.
    Denied,
    /// The credentials have expired, are missing, or are not taken here.
    Credentials,
    /// Too many requests; the SDK's own attempts are used up.
    Throttled,
    /// Passing: 5xx, time-out, cut connection. Whether the call took effect is not known.
    Passing,
    /// The request never left this machine.
    Unsent,
    /// We were asked to stop while we waited for AWS. What was asked of it before may have taken effect.
    Stopped,
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct AwsError {
    /// `iam:CreateRole`
    pub operation: &'static str,
    /// The AWS error code, where AWS answered.
    pub code: Option<String>,
    /// AWS's message, or what went wrong on the way.
    pub message: String,
    /// HTTP status, where AWS answered.
    pub status: Option<u16>,
    /// AWS's request id, for a support case.
    pub request_id: Option<String>,
    /// What sort of failure it is.
    pub class: Class,
}

impl AwsError {
    /// A failure that this tool found itself, in what AWS answered.
    pub fn refused(operation: &'static str, message: impl Into<String>) -> Self {
        Self { operation, code: None, message: message.into(), status: None, request_id: None, class: Class::Refused }
    }

    /// Whether it says that the key is not known, and not that something else is missing: `AuthFailure` is also said of an AMI
    /// that is not shared, `OptInRequired` of a product whose terms were not accepted.
    fn is_unknown_key(&self) -> bool {
        match self.code.as_deref() {
            Some("AuthFailure") => self.class == Class::Credentials,
            Some("OptInRequired") => !self.message.to_lowercase().contains("marketplace"),
            _ => self.is(UNKNOWN_KEY),
        }
    }

    /// What to do about an error that is about the credentials in use, or the region they are used in.
    pub fn credentials_hint(&self, region: &str) -> Option<String> {
        if self.is(UNSIGNED) {
            let text = "the secret key does not belong to the key id, or this machine's clock is wrong: set both anew";
            return Some(text.to_owned());
        }
        self.is_unknown_key().then(|| {
            format!(
                "the keys are not known to AWS, or the account has not enabled the region {region}: `aws account \
                 get-region-opt-status --region-name {region}` says which"
            )
        })
    }

    /// Whether AWS gave one of these codes.
    pub fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for AwsError {}

/// Turns an SDK error into ours: `client.x().send().await.or_aws("ecs:X")?`.
pub trait OrAws<T> {
    /// Names the operation and classifies the failure.
    ///
    /// # Errors
    /// The failure, classified.
    fn or_aws(self, operation: &'static str) -> Result<T, AwsError>;
}

impl<T, E> OrAws<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn or_aws(self, operation: &'static str) -> Result<T, AwsError> {
        self.map_err(|error| classify(operation, &error))
    }
}

fn classify<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> AwsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let raw = error.raw_response();
    let status = raw.map(|response| response.status().as_u16());
    let request_id = raw.and_then(|response| {
        ["x-amzn-requestid", "x-amz-request-id"]
            .iter()
            .find_map(|name| response.headers().get(*name))
            .map(str::to_owned)
    });
    let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
    let code = meta.and_then(|meta| meta.code()).map(str::to_owned);
    let message = match meta.and_then(|meta| meta.message()) {
        Some(message) => message.to_owned(),
        None => chain(error),
    };
    let class = match error {
        SdkError::ConstructionFailure(_) => {
            if message.to_lowercase().contains("credential") {
                Class::Credentials
            } else {
                Class::Unsent
            }
        }
        SdkError::DispatchFailure(failure) => {
            if message.to_lowercase().contains("credential") {
                Class::Credentials
            } else if failure.is_user() {
                Class::Unsent
            } else {
                Class::Passing
            }
        }
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Class::Passing,
        // EC2's words where it does not know the key; the same code is given for other things (EC2 API, "Error codes").
        _ if code.as_deref() == Some("AuthFailure") && message.contains("access credentials") => Class::Credentials,
        _ => class_of(code.as_deref().unwrap_or_default(), status.unwrap_or_default()),
    };
    AwsError { operation, code, message, status, request_id, class }
}

/// What AWS says of credentials that it does not take (any more).
const EXPIRED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "TokenRefreshRequired",
    "MissingAuthenticationToken",
];

/// What AWS says of a key that it does not know, and of any key in a region that the account has not enabled (IAM user
/// guide, "Managing AWS STS in an AWS Region"; EC2 API, "Error codes").
const UNKNOWN_KEY: &[&str] = &["InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"];

/// What AWS says of a signature that does not fit: the secret key is wrong, or this machine's clock.
const UNSIGNED: &[&str] = &["SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"];

/// EC2 answers some of these with 500 (EC2 API, "Error codes"): they are its last word all the same.
const DEFINITIVE: &[&str] = &[
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    // This machine's clock is wrong: signing in again does not mend that.
    "RequestTimeTooSkewed",
    // 403, and no matter of rights: an archived object.
    "InvalidObjectState",
];

fn class_of(code: &str, status: u16) -> Class {
    if DEFINITIVE.contains(&code) || UNSIGNED.contains(&code) {
        Class::Refused
    } else if EXPIRED.contains(&code) {
        Class::Credentials
    } else if matches!(
        code,
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "SlowDown" | "TooManyRequestsException"
    ) || status == 429
    {
        Class::Throttled
    } else if code.starts_with("AccessDenied") || code.starts_with("UnauthorizedOperation") || status == 403 {
        Class::Denied
    } else if status >= 500
        || matches!(
            code,
            "ConcurrentModification" | "OperationAbortedException" | "RequestTimeout" | "RequestTimeoutException"
        )
    {
        Class::Passing
    } else if code.contains("NotFound") || code.starts_with("NoSuch") || status == 404 {
        Class::NotFound
    } else {
        Class::Refused
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{AwsError, Class, class_of};

    #[test]
    fn a_wrong_clock_is_not_waited_for_as_if_somebody_had_to_sign_in() {
        assert_eq!(class_of("RequestTimeTooSkewed", 403), Class::Refused);
        assert_eq!(class_of("ExpiredToken", 400), Class::Credentials);
    }

    #[test]
    fn a_key_that_is_not_known_may_be_a_region_that_is_not_enabled_and_a_wrong_signature_is_no_lack_of_rights() {
        let of = |code: &str, status| {
            let class = class_of(code, status);
            AwsError { code: Some(code.to_owned()), class, ..AwsError::refused("sts:GetCallerIdentity", "no") }
        };
        assert!(of("OptInRequired", 401).credentials_hint("af-south-1").is_some());
        assert_eq!(of("AuthFailure", 401).credentials_hint("af-south-1"), None);
        for (code, status) in [("InvalidClientTokenId", 403), ("UnrecognizedClientException", 400)] {
            let error = of(code, status);
            assert_eq!(error.class, Class::Credentials, "{code}");
            assert!(error.credentials_hint("af-south-1").unwrap().contains("enabled the region af-south-1"), "{code}");
        }
        for (code, status) in [("SignatureDoesNotMatch", 403), ("InvalidSignatureException", 400)] {
            let error = of(code, status);
            assert_eq!(error.class, Class::Refused, "{code}");
            assert!(error.credentials_hint("af-south-1").unwrap().contains("secret key"), "{code}");
        }
        assert_eq!(of("ExpiredToken", 400).credentials_hint("af-south-1"), None);
    }

    #[test]
    fn a_request_that_was_too_slow_for_s3_passes() {
        assert_eq!(class_of("RequestTimeout", 400), Class::Passing);
    }
}
