//! SDK clients onto a sandbox in the same process: no socket, the sandbox's clock, and on the way whatever fate is wished.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
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
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::past::Behind;
use super::{Clock, Key, Sandbox, front, throttle};

/// What happens to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it is made and answered.
    Pass,
    /// The connection breaks before it takes effect.
    NotSent,
    /// It takes effect, and the connection breaks before the answer.
    AnswerLost,
    /// It is refused for its rate, as its service says that.
    Throttled,
    /// It is refused for want of rights.
    Denied,
    /// It is refused because the credentials have expired.
    Expired,
    /// AWS fails (503), and nothing was changed.
    Failed,
    /// AWS fails (503) after it took effect.
    FailedAfter,
    /// It never arrives, and no answer ever comes.
    Silent,
    /// It takes effect, and no answer ever comes.
    Unanswered,
    /// It is delivered twice; the second answer comes back.
    Twice,
    /// It is answered as from that long ago ([`Sandbox::remember`]): a read does not see what was changed since, and a
    /// change of what was not there yet is refused for that.
    Behind(Duration),
    /// The client dies at it.
    Dies(Moment),
}

/// When a client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call is sent.
    BeforeSending,
    /// After AWS did what was asked, before its answer.
    BeforeAnswer,
    /// With the answer received, at the next thing that it would wait for.
    AfterAnswer,
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Passing {
    /// `service:Operation`.
    pub name: String,
    /// The how manieth of this operation it is, from 1.
    pub nth: usize,
    /// Whether it may change something, and then the how manieth such call of this client it is, from 1.
    pub mutating: Option<usize>,
    /// The path that is asked for: of S3, bucket and key.
    pub path: String,
    /// The body: of the other services, what is asked.
    pub body: Bytes,
}

/// Decides the fate of each call.
pub type Fates = Arc<dyn Fn(&Passing) -> Fate + Send + Sync>;

/// A client's life: whoever runs it drops it when it has ended, and nothing that is left of it gets through any more.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<(AtomicBool, Notify)>);

impl Life {
    /// Returns once it has ended.
    pub async fn ended(&self) {
        let ended = self.0.1.notified();
        if !self.is_over() {
            ended.await;
        }
    }

    fn is_over(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }
}

/// The way between clients and sandbox.
#[derive(Clone, Default)]
pub struct Wire {
    /// How long each call takes, there and back.
    pub latency: Duration,
    /// What becomes of calls.
    pub fates: Option<Fates>,
    /// The client's life, which a fate can end.
    pub life: Life,
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
    calls: Arc<Mutex<Calls>>,
    /// How long the client waits for the first byte of an answer.
    read_timeout: Option<Duration>,
}

#[derive(Debug, Default)]
struct Calls {
    by_name: BTreeMap<String, usize>,
    mutating: usize,
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
        let answer = self.deliver(Request::from_parts(parts, body)).await?;
        HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
    }

    async fn deliver(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, ConnectorError> {
        let fails = |_: &str| front::unavailable("a fault of the test");
        let broken = || ConnectorError::io("the connection was reset by a fault of the test".into());
        match self.fate(&request) {
            Fate::Pass => {}
            Fate::NotSent => return Err(broken()),
            Fate::AnswerLost => {
                self.answer(request).await;
                return Err(broken());
            }
            Fate::Throttled => return Ok(self.sandbox.refuse(&request, throttle::refusal)),
            Fate::Denied => return Ok(self.sandbox.refuse(&request, front::denied)),
            Fate::Expired => return Ok(self.sandbox.refuse(&request, front::expired)),
            Fate::Failed => return Ok(self.sandbox.refuse(&request, fails)),
            Fate::FailedAfter => {
                self.answer(request.clone()).await;
                return Ok(self.sandbox.refuse(&request, fails));
            }
            Fate::Silent => return self.silence().await,
            Fate::Unanswered => {
                self.answer(request).await;
                return self.silence().await;
            }
            Fate::Twice => {
                self.answer(request.clone()).await;
            }
            Fate::Behind(age) => {
                request.extensions_mut().insert(Behind(age));
            }
            Fate::Dies(moment) => {
                let answer = if moment == Moment::BeforeSending { None } else { Some(self.answer(request).await) };
                self.wire.life.end();
                return match answer {
                    Some(answer) if moment == Moment::AfterAnswer => Ok(answer),
                    _ => std::future::pending().await,
                };
            }
        }
        Ok(self.answer(request).await)
    }

    /// No answer, until the client gives it up.
    async fn silence(&self) -> Result<Response<Bytes>, ConnectorError> {
        match self.read_timeout {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
        Err(ConnectorError::timeout("nothing was read in time".into()))
    }

    /// The sandbox's answer, after the time that the way takes. Who has died meanwhile is neither heard nor answered.
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        if !self.wire.latency.is_zero() {
            tokio::time::sleep(self.wire.latency / 2).await;
        }
        if self.wire.life.is_over() {
            std::future::pending().await
        }
        let response = self.sandbox.handle(request).await;
        if !self.wire.latency.is_zero() {
            tokio::time::sleep(self.wire.latency - self.wire.latency / 2).await;
        }
        response
    }

    fn fate(&self, request: &Request<Bytes>) -> Fate {
        let Some(fates) = &self.wire.fates else { return Fate::Pass };
        let name = front::name_of(request).unwrap_or_default();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = calls.by_name.entry(name.clone()).or_default();
        *nth += 1;
        let nth = *nth;
        let mutating = mutates(&name).then(|| {
            calls.mutating += 1;
            calls.mutating
        });
        drop(calls);
        fates(&Passing { name, nth, mutating, path: request.uri().path().to_owned(), body: request.body().clone() })
    }
}

/// Whether a call of this name, `service:Operation`, may change something.
pub fn mutates(name: &str) -> bool {
    const READS: [&str; 5] = ["Describe", "Filter", "Get", "Head", "List"];
    let operation = name.split_once(':').map_or(name, |(_, operation)| operation);
    !READS.iter().any(|read| operation.starts_with(read))
}

/// An HTTP client that carries every request straight to the sandbox, wherever it is addressed to.
pub fn http_client(sandbox: Arc<Sandbox>, wire: Wire) -> SharedHttpClient {
    let direct = Direct { sandbox, wire, calls: Arc::default(), read_timeout: None };
    http_client_fn(move |settings, _| {
        SharedHttpConnector::new(Direct { read_timeout: settings.read_timeout(), ..direct.clone() })
    })
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
