//! `seqstack sandbox`

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::cli::{Sandbox, SandboxVerb};
use crate::sandbox::process::{self, Endpoint};
use crate::sandbox::serving::STATUS;

use super::{Console, Exit, Problem};

/// Looks after the sandbox of a project.
///
/// # Errors
/// When there is none, or it does not answer.
pub async fn run(args: &Sandbox) -> Result<Exit, Problem> {
    // The same project as a stack file in that folder would have.
    let folder = |project: &Path| super::session::project(&project.join("stack.toml")).join(".sandbox");
    let failed = |error: process::StartError| Problem::failed(crate::aws::chain(&error));
    let exe = std::env::current_exe()
        .map_err(|error| Problem::failed(format!("failed to find this program's own file: {error}")))?;
    match &args.verb {
        SandboxVerb::Env(at) => {
            let endpoint = process::connect_or_start(&folder(&at.project), &exe, None).await.map_err(failed)?;
            Console::Process.print(&endpoint.shell_lines())?;
        }
        SandboxVerb::Status(args) => {
            let endpoint =
                process::connect_or_start(&folder(&args.folder.project), &exe, None).await.map_err(failed)?;
            let status = ask(&endpoint).await?;
            Console::Process.print(&if args.json { format!("{status:#}\n") } else { text(&status) })?;
        }
        SandboxVerb::Stop(at) => {
            if !process::stop(&folder(&at.project)).await.map_err(failed)? {
                return Err(Problem::failed("something runs in the sandbox, so it was not stopped")
                    .hint("destroy the stacks in it first; `seqstack sandbox status` lists what there is"));
            }
            Console::Process.say("no sandbox runs here; what is in its account stays");
        }
    }
    Ok(Exit::Done)
}

/// What exists in the sandbox and what was called, as its owner.
async fn ask(endpoint: &Endpoint) -> Result<Value, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("the sandbox did not answer: {error}"));
    let authority = endpoint.url.trim_start_matches("http://").to_owned();
    let url = format!("{}{STATUS}", endpoint.url);
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
    let signable = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params.into()).map_err(|error| failed(&error))?.into_parts();
    let mut request = http::Request::get(STATUS)
        .header("host", &authority)
        .body(Empty::<Bytes>::new())
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
        return Err(failed(&status));
    }
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// The same for people: a line a thing.
fn text(status: &Value) -> String {
    let mut out = String::new();
    walk(&mut out, "", &status["exists"]);
    out.push_str("calls\n");
    for (name, times) in status["calls"].as_object().into_iter().flatten() {
        let _infallible = writeln!(out, "  {times:>6} {name}");
    }
    out
}

fn walk(out: &mut String, path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                walk(out, &if path.is_empty() { key.clone() } else { format!("{path} {key}") }, inner);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(out, path, item)),
        Value::String(text) => {
            let _infallible = writeln!(out, "{path:<24} {text}");
        }
        other => {
            let _infallible = writeln!(out, "{path:<24} {other}");
        }
    }
}
