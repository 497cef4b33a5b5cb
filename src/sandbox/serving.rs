//! The sandbox as the service of its own process.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::listen::Service;
use super::process::serve::Parts as Given;
use super::service::{Caller, Settings};
use super::{Key, Sandbox, Setup, front};

/// Where its owner asks what exists in it, with a signed GET.
pub const STATUS: &str = "/_seqstack/status";
/// Where its owner reads (GET) and changes (PUT, a JSON object with some of them) its settings.
pub const SETTINGS: &str = "/_seqstack/settings";

/// Where its owner empties it, with a signed POST.
pub const RESET: &str = "/_seqstack/reset";

/// S3's largest single upload, bytes.
const LARGEST_BODY: usize = 5 * 1024 * 1024 * 1024;
/// The largest body of somebody who has no key here, bytes.
const STRANGERS_BODY: usize = 64 * 1024;

/// The log's target for requests, a line each.
pub const REQUESTS: &str = "requests";

/// A sandbox that is served.
#[derive(Debug)]
pub struct Served(pub(super) Arc<Sandbox>);

impl Served {
    /// Opens the account for a process.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(given: Given) -> Result<Arc<Self>, Box<dyn std::error::Error + Send + Sync>> {
        let sandbox = Sandbox::new(Setup {
            options: given.options,
            engine: given.engine,
            keys: vec![Key { id: given.keys.key_id, secret: given.keys.secret }],
            endpoint: given.endpoint,
            folder: Some(given.folder),
            clock_start: jiff::Timestamp::now(),
        });
        match sandbox.fault() {
            Some(fault) => Err(fault.into()),
            None => Ok(Arc::new(Self(sandbox))),
        }
    }
}

impl Service for Served {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match request.uri().path() {
            STATUS | SETTINGS | RESET => self.own(request),
            _ => self.told(request).await,
        }
    }

    fn largest_body(&self, head: &Parts) -> usize {
        if self.0.may_upload(head) { LARGEST_BODY } else { STRANGERS_BODY }
    }

    fn busy(&self) -> bool {
        self.0.busy()
    }

    fn note(&self) -> Option<String> {
        self.0.set_aside().map(str::to_owned)
    }
}

impl Served {
    /// Answers, and tells a log of it, if somebody reads one.
    async fn told(&self, request: Request<Bytes>) -> Response<Bytes> {
        if !tracing::enabled!(target: REQUESTS, tracing::Level::INFO) {
            return self.0.handle(request).await;
        }
        let asked =
            front::name_of(&request).unwrap_or_else(|| format!("{} {}", request.method(), request.uri().path()));
        let response = self.0.handle(request).await;
        let refusal = if response.status().is_client_error() || response.status().is_server_error() {
            code(response.body()).unwrap_or_default()
        } else {
            String::new()
        };
        tracing::info!(target: REQUESTS, "{asked} {} {refusal}", response.status().as_u16());
        response
    }

    /// What only its owner may ask.
    fn own(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, admitted) = match self.0.admit(request) {
            Ok(admitted) => admitted,
            Err(refusal) => return *refusal,
        };
        let (status, body) = match (&parts.method, parts.uri.path()) {
            _ if admitted.caller != Caller::Root => (StatusCode::FORBIDDEN, json!({ "error": "not yours" })),
            (&Method::GET, STATUS) => (
                StatusCode::OK,
                json!({
                    "exists": self.0.status(),
                    "calls": self.0.counts(),
                    "refusals": self.0.refusals(),
                    "set_aside": self.0.set_aside(),
                }),
            ),
            (&Method::GET, SETTINGS) => (StatusCode::OK, json!(self.0.options().settings)),
            (&Method::PUT, SETTINGS) => match self.set(&admitted.body) {
                Ok(settings) => (StatusCode::OK, json!(settings)),
                Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error.to_string() })),
            },
            (&Method::POST, RESET) => match self.0.reset() {
                Ok(()) => (StatusCode::OK, json!({})),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error.message })),
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "not this way" })),
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        response
    }

    /// The settings as they are, with these ones changed.
    fn set(&self, changes: &[u8]) -> serde_json::Result<Settings> {
        let mut settings = json!(self.0.options().settings);
        let changes: Map<String, Value> = serde_json::from_slice(changes)?;
        settings.as_object_mut().into_iter().for_each(|all| all.extend(changes.clone()));
        let settings: Settings = serde_json::from_value(settings)?;
        self.0.set(settings.clone());
        Ok(settings)
    }
}

/// The code of the error in a body, of whichever protocol.
fn code(body: &[u8]) -> Option<String> {
    if let Ok(Value::Object(error)) = serde_json::from_slice(body) {
        return error.get("__type")?.as_str().map(str::to_owned);
    }
    let text = std::str::from_utf8(body).ok()?;
    Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned())
}
