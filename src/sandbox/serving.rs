//! The sandbox as the service of its own process.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use super::listen::Service;
use super::process::serve::Parts as Given;
use super::service::Caller;
use super::{Key, Sandbox, Setup};

/// Where its owner asks what exists in it, with a signed GET.
pub const STATUS: &str = "/_seqstack/status";

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
        if request.method() == Method::GET && request.uri().path() == STATUS {
            return self.status(request);
        }
        self.0.handle(request).await
    }

    fn largest_body(&self, head: &Parts) -> usize {
        if self.0.may_upload(head) { LARGEST_BODY } else { STRANGERS_BODY }
    }

    fn busy(&self) -> bool {
        self.0.with_account(|account, _| account.busy())
    }
}

impl Served {
    fn status(&self, request: Request<Bytes>) -> Response<Bytes> {
        let admitted = match self.0.admit(request) {
            Ok((_, admitted)) => admitted,
            Err(refusal) => return *refusal,
        };
        let mut response = Response::new(Bytes::new());
        if admitted.caller == Caller::Root {
            let status = serde_json::json!({ "exists": self.0.status(), "calls": self.0.counts() });
            *response.body_mut() = Bytes::from(status.to_string());
        } else {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    }
}
