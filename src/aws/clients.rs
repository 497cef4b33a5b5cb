//! From the command line and the SDK's own environment to clients.
//!
//! A sandbox's clients take nothing from the environment, and AWS's never point at a sandbox by accident.

use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::Aws;
use super::credentials::Chain;

/// Where to go, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A profile of the AWS configuration; left out, the environment's.
    pub profile: Option<String>,
    /// The region; left out, the profile's.
    pub region: Option<String>,
    /// Another endpoint for every service (an emulator); left out, AWS's own.
    pub endpoint_url: Option<String>,
}

/// Clients that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither the command line, the stack file nor the profile names one.
    #[error("no region is set")]
    NoRegion,
}

impl ConnectError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRegion => "set `region` under [stack], --region, AWS_REGION, or a region in the AWS profile",
        }
    }
}

/// The SDK's standard retries, once more than usual.
fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(5)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        // From the request's first byte: a part of an upload must fit, on a slow line too.
        .read_timeout(Duration::from_secs(300))
        .operation_attempt_timeout(Duration::from_secs(600))
        .build()
}

fn app() -> Option<AppName> {
    AppName::new("seqstack").ok()
}

/// Clients from the SDK's own environment: variables, profiles, single sign-on.
///
/// # Errors
/// When no region is set. Credentials are not looked at before the first call.
pub async fn connect(access: &Access) -> Result<Aws, ConnectError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries()).timeout_config(timeouts());
    if let Some(app) = app() {
        loader = loader.app_name(app);
    }
    if let Some(profile) = &access.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &access.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &access.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    let config = loader.load().await;
    let Some(region) = config.region() else { return Err(ConnectError::NoRegion) };
    let chain = SharedCredentialsProvider::new(Chain::new(access, region));
    let aws = Aws::new(&config.into_builder().credentials_provider(chain).build());
    Ok(Aws { profile: access.profile.clone(), ..aws })
}

/// What a configuration that takes nothing from the environment has in common.
fn fixed(region: &str, key_id: &str, secret: &str) -> SdkConfig {
    let credentials = Credentials::new(key_id, secret, None, None, "sandbox");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(retries())
        .timeout_config(timeouts())
        .build()
}

/// Clients of a sandbox at this endpoint, with its own key and nothing from the environment.
pub fn connect_to_sandbox(endpoint: &str, region: &str, key_id: &str, secret: &str) -> Aws {
    Aws::new(&fixed(region, key_id, secret).into_builder().endpoint_url(endpoint).build())
}
