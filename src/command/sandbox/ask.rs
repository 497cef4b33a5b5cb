//! What a command asks of the sandbox as its owner, and where a served one's log goes.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::command::Problem;
use crate::sandbox::process::Endpoint;

/// One signed request to what is the sandbox's own.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn ask(endpoint: &Endpoint, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Problem> {
    let failed = |error: &dyn fmt::Display| Problem::failed(format!("the sandbox did not answer: {error}"));
    let authority = endpoint.url.trim_start_matches("http://").to_owned();
    let url = format!("{}{path}", endpoint.url);
    let body = Bytes::from(body.map(Value::to_string).unwrap_or_default());
    let identity = Credentials::new(&endpoint.key_id, &endpoint.secret, None, None, "sandbox").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&endpoint.region)
        .name("sts")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let headers = [("host", authority.as_str())];
    let signable = SignableRequest::new(method.as_str(), &url, headers.into_iter(), SignableBody::Bytes(&body))
        .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params.into()).map_err(|error| failed(&error))?.into_parts();
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", &authority)
        .body(Full::new(body))
        .map_err(|error| failed(&error))?;
    instructions.apply_to_request_http1x(&mut request);

    let stream = tokio::net::TcpStream::connect(&authority).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let carried = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    carried.abort();
    if !status.is_success() {
        return Err(Problem::failed(format!("the sandbox refused ({status}): {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// Lets what happens in a sandbox that this process serves be read on stderr: a line each, requests among them.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(super::super::session::color())
        .with_target(false)
        .with_timer(WallClock)
        .init();
}

/// The time of day, as a person's clock shows it.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{}", jiff::Zoned::now().strftime("%H:%M:%S"))
    }
}
