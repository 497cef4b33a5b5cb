//! SDK clients onto a sandbox in the same process: no socket, the sandbox's clock, and faults on the way if wished.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::BodyExt;

use super::{Clock, Key, Sandbox, front};

/// What happens to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The connection breaks before the call takes effect.
    NotSent,
    /// It takes effect, and its answer is lost.
    AnswerLost,
}

/// Decides a call's fate by `service:Operation` and how many calls of that operation there were, this one included.
pub type Faults = Arc<dyn Fn(&str, usize) -> Fault + Send + Sync>;

/// The way between clients and sandbox.
#[derive(Clone, Default)]
pub struct Wire {
    /// How long each call takes, there and back.
    pub latency: Duration,
    /// What breaks.
    pub faults: Option<Faults>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("latency", &self.latency).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Direct {
    sandbox: Arc<Sandbox>,
    wire: Wire,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl HttpConnector for Direct {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move { this.carry(request).await })
    }
}

impl Direct {
    async fn carry(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
        // A real connection adds the Host header and asks for the path alone.
        if !parts.headers.contains_key(HOST)
            && let Some(authority) = parts.uri.authority()
        {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|error| ConnectorError::user(error.into()))?;
            parts.headers.insert(HOST, host);
        }
        if let Some(target) = parts.uri.path_and_query() {
            parts.uri = target.clone().into();
        }
        let fault = self.fate(&parts, &body);
        let broken = || ConnectorError::io("the connection was reset by a fault of the test".into());
        if fault == Fault::NotSent {
            return Err(broken());
        }
        if !self.wire.latency.is_zero() {
            tokio::time::sleep(self.wire.latency / 2).await;
        }
        let response = self.sandbox.handle(Request::from_parts(parts, body)).await;
        if !self.wire.latency.is_zero() {
            tokio::time::sleep(self.wire.latency - self.wire.latency / 2).await;
        }
        if fault == Fault::AnswerLost {
            return Err(broken());
        }
        HttpResponse::try_from(response.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
    }

    fn fate(&self, parts: &http::request::Parts, body: &bytes::Bytes) -> Fault {
        let Some(faults) = &self.wire.faults else { return Fault::Pass };
        let name = front::name_of(parts, body).unwrap_or_default();
        let nth = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = calls.entry(name.clone()).or_default();
            *nth += 1;
            *nth
        };
        faults(&name, nth)
    }
}

/// An HTTP client that carries every request straight to the sandbox, wherever it is addressed to.
pub fn http_client(sandbox: Arc<Sandbox>, wire: Wire) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Direct { sandbox, wire, calls: Arc::default() });
    http_client_fn(move |_, _| connector.clone())
}

#[derive(Debug)]
struct SandboxTime(Clock);

impl TimeSource for SandboxTime {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

/// A configuration of SDK clients onto the sandbox, as the account's owner.
pub fn sdk_config(sandbox: &Arc<Sandbox>, wire: Wire) -> SdkConfig {
    let key = sandbox.key().cloned().unwrap_or_else(|| Key { id: "NONE".to_owned(), secret: "none".to_owned() });
    sdk_config_as(sandbox, wire, &key, None)
}

/// The same with other credentials: a task's, or wrong ones.
pub fn sdk_config_as(sandbox: &Arc<Sandbox>, wire: Wire, key: &Key, token: Option<&str>) -> SdkConfig {
    let credentials = Credentials::new(&key.id, &key.secret, token.map(str::to_owned), None, "sandbox");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(sandbox.options().region.clone()))
        .endpoint_url(sandbox.endpoint())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(SandboxTime(sandbox.clock()))
        .sleep_impl(TokioSleep::new())
        .http_client(http_client(sandbox.clone(), wire))
        .build()
}
