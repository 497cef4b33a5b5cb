//! Credentials that are looked for anew once AWS has refused those in use, or they have ended: who signs in again in
//! another terminal need not start the command again.
//!
//! The SDK's own cache would keep credentials without a known end for a quarter of an hour although AWS refuses them, and
//! a provider that has read a profile's file does not read it again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;

use super::EXPIRED;
use super::clients::Access;

/// How long before their end credentials are no longer used, as the SDK has it.
const BUFFER: Duration = Duration::from_secs(10);

/// The SDK's own chain (environment, profile, single sign-on, …), set up anew for each question: what has been read of a
/// profile's file is not remembered.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    profile: Option<String>,
    region: Region,
}

impl Chain {
    pub(super) fn new(access: &Access, region: &Region) -> Self {
        Self { profile: access.profile.clone(), region: region.clone() }
    }

    async fn ask(&self) -> provider::Result {
        let mut chain = DefaultCredentialsChain::builder().region(self.region.clone());
        if let Some(profile) = &self.profile {
            chain = chain.profile_name(profile);
        }
        chain.build().await.provide_credentials().await
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

/// Credentials in use: kept until they end or AWS refuses them. One question at a time goes to where they come from.
#[derive(Clone)]
pub struct Renewing(Arc<Inner>);

struct Inner {
    source: Option<SharedCredentialsProvider>,
    kept: Mutex<Option<Credentials>>,
    asking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}

impl Renewing {
    /// Credentials from this source.
    pub(super) fn new(source: Option<SharedCredentialsProvider>) -> Self {
        Self(Arc::new(Inner { source, kept: Mutex::default(), asking: tokio::sync::Mutex::default() }))
    }

    /// When the present credentials end; none where that is not known, where new ones come by themselves, or there are none.
    pub async fn end(&self) -> Option<Timestamp> {
        let credentials = self.ask().await.ok()?;
        // Those of `aws login` last a quarter of an hour, and the SDK has new ones for twelve hours (AWS SDKs reference guide,
        // "Login credentials provider").
        let features = credentials.get_property::<Vec<AwsCredentialFeature>>();
        let renewed = features.is_some_and(|features| {
            features.iter().any(|one| {
                matches!(one, AwsCredentialFeature::CredentialsLogin | AwsCredentialFeature::CredentialsProfileLogin)
            })
        });
        let end = credentials.expiry().filter(|_| !renewed)?;
        Timestamp::try_from(end).ok()
    }

    fn kept(&self) -> Option<Credentials> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let ends = kept.expiry().is_some_and(|end| end <= SystemTime::now() + BUFFER);
        (!ends).then_some(kept)
    }

    async fn ask(&self) -> provider::Result {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let _one_at_a_time = self.0.asking.lock().await;
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let source = self.0.source.as_ref().ok_or_else(|| CredentialsError::not_loaded("no credentials are set"))?;
        let fresh = source.provide_credentials().await?;
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Renewing {
    fn name(&self) -> &'static str {
        "seqstack-credentials"
    }

    /// Forgets credentials that AWS says it does not take (any more).
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let said = |code: &&str| {
            let body = response.body().bytes().unwrap_or_default();
            body.windows(code.len()).any(|part| part == code.as_bytes())
        };
        if response.status().as_u16() >= 400 && EXPIRED.iter().any(said) {
            self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Ok(())
    }
}
