//! The sandbox as the service of its own process.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::listen::Service;
use super::process::serve::Parts as Given;
use super::service::{Caller, Settings};
use super::{Key, Sandbox, Setup};

/// Where its owner asks what exists in it, with a signed GET.
pub const STATUS: &str = "/_seqstack/status";
/// Where its owner reads (GET) and changes (PUT, a JSON object with some of them) its settings.
pub const SETTINGS: &str = "/_seqstack/settings";

/// S3's largest single upload, bytes.
const LARGEST_BODY: usize = 5 * 1024 * 1024 * 1024;
/// The largest body of somebody who has no key here, bytes.
const STRANGERS_BODY: usize = 64 * 1024;

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
            STATUS | SETTINGS => self.own(request),
            _ => self.0.handle(request).await,
        }
    }

    fn largest_body(&self, head: &Parts) -> usize {
        if self.0.may_upload(head) { LARGEST_BODY } else { STRANGERS_BODY }
    }

    fn busy(&self) -> bool {
        self.0.with_account(|account, _| account.busy())
    }
}

impl Served {
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
                json!({ "exists": self.0.status(), "calls": self.0.counts(), "refusals": self.0.refusals() }),
            ),
            (&Method::GET, SETTINGS) => (StatusCode::OK, json!(self.0.options().settings)),
            (&Method::PUT, SETTINGS) => match self.set(&admitted.body) {
                Ok(settings) => (StatusCode::OK, json!(settings)),
                Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error.to_string() })),
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
