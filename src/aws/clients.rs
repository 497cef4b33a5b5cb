//! From the command line and the SDK's own environment to clients.
//!
//! A sandbox's clients take nothing from the environment, and AWS's never point at a sandbox by accident.

use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{ConfigBag, Layer};
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
    /// An endpoint is set to nothing, which the SDK takes for a programming error.
    #[error("{0} is set, but empty")]
    EmptyEndpoint(String),
}

impl ConnectError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRegion => "set `region` under [stack], --region, AWS_REGION, or a region in the AWS profile",
            Self::EmptyEndpoint(_) => "leave it out for AWS itself, or give it an address",
        }
    }
}

/// The SDK's standard retries, over some half a minute: AWS's buckets of calls fill by one a second (ECS's task definitions).
fn retries() -> RetryConfig {
    RetryConfig::adaptive().with_max_attempts(8)
}

/// How long an answer's first byte may take, from the request's first one. A connection that went silent (the machine
/// slept, the network changed) is given up then, and the call is made again.
const ANSWERED: Duration = Duration::from_secs(25);
/// The same for a request with a body that takes long to send, on a slow line too.
const SENT: Duration = Duration::from_secs(300);

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(ANSWERED)
        .operation_attempt_timeout(Duration::from_secs(600))
        .build()
}

/// The interceptor that gives S3's uploads the time that they take.
#[derive(Clone, Debug)]
pub(super) struct Uploads;

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Uploads {
    fn name(&self) -> &'static str {
        "seqstack-uploads"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let name = config.load::<Metadata>().map(Metadata::name).unwrap_or_default();
        if matches!(name, "PutObject" | "UploadPart") {
            // The other times are those of the layers below.
            let mut layer = Layer::new("seqstack-uploads");
            layer.store_put(TimeoutConfig::builder().read_timeout(SENT).build());
            config.push_layer(layer);
        }
        Ok(())
    }
}

fn app() -> Option<AppName> {
    AppName::new("seqstack").ok()
}

/// What sets an endpoint to nothing. With `--endpoint-url` the environment's do not count.
fn empty_endpoint(access: &Access) -> Option<String> {
    if let Some(url) = &access.endpoint_url {
        return url.is_empty().then(|| "--endpoint-url".to_owned());
    }
    let variables = std::env::vars_os().filter(|(_, value)| value.is_empty());
    variables.filter_map(|(name, _)| name.into_string().ok()).find(|name| name.starts_with("AWS_ENDPOINT_URL"))
}

/// Clients from the SDK's own environment: variables, profiles, single sign-on.
///
/// # Errors
/// When no region is set, or an empty endpoint. Credentials are not looked at before the first call.
pub async fn connect(access: &Access) -> Result<Aws, ConnectError> {
    if let Some(name) = empty_endpoint(access) {
        return Err(ConnectError::EmptyEndpoint(name));
    }
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

/// The configuration with this tool's retries and time-outs.
pub fn patient(config: SdkConfig) -> SdkConfig {
    config.into_builder().retry_config(retries()).timeout_config(timeouts()).build()
}

/// Clients of a sandbox at this endpoint, with its own key and nothing from the environment.
pub fn connect_to_sandbox(endpoint: &str, region: &str, key_id: &str, secret: &str) -> Aws {
    let credentials = Credentials::new(key_id, secret, None, None, "sandbox");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build();
    Aws::new(&patient(config))
}
