//! The sandbox's front door: a request's Host and signature, its service and operation.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::account::{Account, CREDENTIALS_PATH, Whole};
use super::answers::{Protocol, fail, json_response, plain, render, worded};
use super::connector::mutates;
use super::past::{self, Behind};
use super::service::{Answer, ApiError, Caller, Cx, Documented, unserved};
use super::sigv4::{Refusal, Signed, same, sha256_hex};
use super::wire::{self, Trailers};
use super::{Kept, Sandbox, ec2, ecs, iam, logs, members, regions, s3, ssm, sts, throttle};

/// A request that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Who asks.
    pub caller: Caller,
    /// The service that the signature is for, e.g. `ecs`.
    pub service: String,
    /// The region that the signature is for.
    pub region: String,
    /// The body, out of its chunks.
    pub body: Bytes,
    /// The trailing headers of a chunked body.
    pub trailers: Trailers,
}

impl Sandbox {
    /// Answers a request as AWS would.
    pub async fn handle(self: &Arc<Self>, request: Request<Bytes>) -> Response<Bytes> {
        if self.store.is_memory() {
            return self.answer(request);
        }
        // Objects' content and the account are written to disk meanwhile.
        let sandbox = self.clone();
        match tokio::task::spawn_blocking(move || sandbox.answer(request)).await {
            Ok(response) => response,
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("the sandbox failed: {error}")),
        }
    }

    /// Checks a request's Host and signature, and takes its body out of its chunks.
    ///
    /// # Errors
    /// The answer that refuses it, in the words of the service's protocol.
    pub fn admit(&self, request: Request<Bytes>) -> Result<(Parts, Admitted), Box<Response<Bytes>>> {
        let (parts, body) = request.into_parts();
        if !self.host_is_ours(&parts.headers) {
            return Err(Box::new(plain(
                StatusCode::FORBIDDEN,
                "this is a sandbox, and not the host that was asked for",
            )));
        }
        let signed = Signed::read(&parts);
        let protocol =
            signed.as_ref().ok().and_then(|signed| Protocol::of(&signed.service)).unwrap_or(Protocol::guess(&parts));
        match signed.and_then(|signed| self.check(&parts, &signed, body)) {
            Ok(admitted) => {
                self.note_asked();
                Ok((parts, admitted))
            }
            Err(refusal) => {
                let head = parts.method == Method::HEAD;
                Err(Box::new(fail(protocol, &self.request_id(), head, &worded(protocol, &refusal))))
            }
        }
    }

    /// Whether a request's head is of somebody who has a key here; only then is a large body worth reading.
    pub fn may_upload(&self, parts: &Parts) -> bool {
        self.host_is_ours(&parts.headers)
            && Signed::read(parts).is_ok_and(|signed| {
                self.keys.iter().any(|key| key.id == signed.key) || self.lock().whole.session_of(&signed.key).is_some()
            })
    }

    fn host_is_ours(&self, headers: &HeaderMap) -> bool {
        let Ok(endpoint) = self.endpoint.parse::<http::Uri>() else { return false };
        let Some(ours) = endpoint.authority() else { return false };
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
        let local = endpoint.port().map(|port| format!("localhost:{port}"));
        host.eq_ignore_ascii_case(ours.as_str()) || local.is_some_and(|local| host.eq_ignore_ascii_case(&local))
    }

    fn request_id(&self) -> String {
        let digest = sha256_hex(format!("{:?} {}", self.clock, self.next_request()).as_bytes());
        format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
    }

    fn check(&self, parts: &Parts, signed: &Signed, body: Bytes) -> Result<Admitted, Refusal> {
        let (secret, session) = match self.keys.iter().find(|key| key.id == signed.key) {
            Some(key) => (key.secret.clone(), None),
            None => {
                let kept = self.lock();
                let (task, session) = kept.whole.session_of(&signed.key).ok_or(Refusal::UnknownKey)?;
                (session.secret_access_key.clone(), Some((task.clone(), session.clone())))
            }
        };
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let payload = match header("x-amz-content-sha256") {
            Some(text) => text.to_owned(),
            None => sha256_hex(&body),
        };
        signed.verify(parts, &secret, &payload, self.clock.now())?;
        // IAM and STS are global: a client signs for its own region, or for us-east-1. S3's buckets have regions of their own.
        let global = matches!(signed.service.as_str(), "iam" | "sts" | "s3");
        if !global && !regions::is_enabled(&signed.region) {
            return Err(Refusal::Region);
        }
        let caller = match session {
            None if header("x-amz-security-token").is_some() => return Err(Refusal::BadToken),
            None => Caller::Root,
            Some((task, session)) => {
                let token = header("x-amz-security-token").unwrap_or_default();
                if !same(token.as_bytes(), session.token.as_bytes()) {
                    return Err(Refusal::BadToken);
                }
                Caller::Task { task, role: session.role }
            }
        };
        let s3 = signed.service == "s3";
        let (body, trailers) = match payload.as_str() {
            "UNSIGNED-PAYLOAD" if s3 => (body, Trailers::new()),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" if s3 => {
                wire::aws_chunked(body, None).map_err(|error| Refusal::Incomplete(error.to_string()))?
            }
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if s3 => {
                let mut chunks = signed.chunks(&secret)?;
                wire::aws_chunked(body, Some(&mut chunks)).map_err(|error| match error {
                    wire::ChunkError::Signature => Refusal::Mismatch,
                    malformed @ wire::ChunkError::Malformed(_) => Refusal::Incomplete(malformed.to_string()),
                })?
            }
            digest if digest == sha256_hex(&body) => (body, Trailers::new()),
            _ => return Err(Refusal::Body),
        };
        if let Some(length) = header("x-amz-decoded-content-length")
            && length.parse() != Ok(body.len())
        {
            return Err(Refusal::Incomplete(
                "The body is not as long as x-amz-decoded-content-length says.".to_owned(),
            ));
        }
        let (service, region) = (signed.service.clone(), signed.region.clone());
        Ok(Admitted { caller, service, region, body, trailers })
    }

    fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.dated(self.answer_undated(request))
    }

    /// The answer that refuses a request, whatever it asks, with the error that its service would give.
    pub(super) fn refuse(&self, request: &Request<Bytes>, error: impl FnOnce(&str) -> ApiError) -> Response<Bytes> {
        let parts = request_parts(request);
        let service = Signed::read(&parts).map(|signed| signed.service).unwrap_or_default();
        let protocol = Protocol::of(&service).unwrap_or(Protocol::guess(&parts));
        self.dated(fail(protocol, "refused-on-the-way", parts.method == Method::HEAD, &error(&service)))
    }

    /// Every answer says what time it is here, errors included.
    fn dated(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let now = s3::http_date(self.clock.now());
        response.headers_mut().extend(HeaderValue::from_str(&now).ok().map(|now| (DATE, now)));
        response
    }

    fn answer_undated(&self, request: Request<Bytes>) -> Response<Bytes> {
        if let Some(task) = request.uri().path().strip_prefix(CREDENTIALS_PATH) {
            return self.task_credentials(&request, task);
        }
        let (parts, admitted) = match self.admit(request) {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let id = self.request_id();
        let head = parts.method == Method::HEAD;
        let Some(protocol) = Protocol::of(&admitted.service) else {
            let error =
                ApiError::new("UnknownServiceException", format!("the sandbox does not serve {}", admitted.service));
            return fail(Protocol::guess(&parts), &id, head, &error);
        };
        if protocol == Protocol::S3 {
            return match self.answer_s3(&parts, admitted) {
                Ok(reply) => reply.into_response(&id, head),
                Err(error) => fail(protocol, &id, head, &error),
            };
        }
        let behind = parts.extensions.get::<Behind>().copied();
        let answered = operation(protocol, &parts, &admitted.body)
            .and_then(|(operation, input)| Ok((self.call(&admitted, &operation, input, behind)?, operation)));
        match answered {
            Ok((value, operation)) => render(protocol, &id, &operation, &value),
            Err(error) => fail(protocol, &id, head, &error),
        }
    }

    /// One operation of any service but S3.
    fn call(&self, admitted: &Admitted, operation: &str, input: Value, behind: Option<Behind>) -> Answer {
        let cx = self.cx();
        let mut kept = self.lock();
        if kept.closed {
            return Err(unavailable(&self.fault().unwrap_or_default()));
        }
        let Kept { whole, past, .. } = &mut *kept;
        let name = format!("{}:{operation}", admitted.service);
        *whole.counts.entry(name.clone()).or_default() += 1;
        past.begin(whole, cx.now);
        whole.settle(&cx);
        let (caller, service, region) = (&admitted.caller, admitted.service.as_str(), admitted.region.as_str());
        // Of the services that are everywhere the same, any region's view will do.
        let region = if regions::is_enabled(region) { region } else { &cx.options.region };
        let then = behind.and_then(|behind| past.at(service, cx.now, behind));
        let answer =
            throttle::call(whole.throttle.entry(region.to_owned()).or_default(), &cx, service, operation, &input)
                .and_then(|()| match then {
                    Some(mut then) if !mutates(&name) => {
                        dispatch(&mut then.at(region), &cx, caller, service, operation, input)
                    }
                    Some(mut then) => {
                        match past::unheard(&mut then.at(region), &cx, caller, (service, operation), &input) {
                            Some(answer) => answer,
                            None => dispatch(&mut whole.at(region), &cx, caller, service, operation, input),
                        }
                    }
                    None => dispatch(&mut whole.at(region), &cx, caller, service, operation, input),
                });
        past.note(whole, cx.now, &name);
        note_refusal(whole, service, operation, answer.as_ref().err());
        self.keep(kept)?;
        answer
    }

    fn answer_s3(&self, parts: &Parts, admitted: Admitted) -> Result<s3::Reply, ApiError> {
        let call = s3::Call::read(parts, admitted.body, &admitted.trailers)?.in_region(admitted.region);
        // Content goes to the disk before anybody waits for the account.
        let staged = if call.operation.stores_body() { Some(self.store.stage(&call.body)?) } else { None };
        let cx = self.cx();
        let mut kept = self.lock();
        if kept.closed {
            return Err(unavailable(&self.fault().unwrap_or_default()));
        }
        let whole = &mut kept.whole;
        *whole.counts.entry(format!("s3:{}", call.operation.name())).or_default() += 1;
        whole.settle(&cx);
        let reached = s3::reached(&whole.at(&cx.options.region), &call);
        reached
            .and_then(|()| throttle::s3(whole.throttle.entry(cx.options.region.clone()).or_default(), &cx, &call))
            .inspect_err(|error| {
            note_refusal(whole, "s3", call.operation.name(), Some(error));
        })?;
        let account = &mut whole.at(&cx.options.region);
        let reply = s3::handle(account, &cx, &self.store, &admitted.caller, &call, staged);
        note_refusal(whole, "s3", call.operation.name(), reply.as_ref().err());
        debug_assert!(listed("s3", call.operation.name(), reply.as_ref().err()), "{:?} {reply:?}", call.operation);
        self.keep(kept)?;
        let mut reply = reply?;
        reply.load()?;
        Ok(reply)
    }

    /// ECS's credentials endpoint: not signed, but shown the task's own authorization.
    fn task_credentials(&self, request: &Request<Bytes>, task: &str) -> Response<Bytes> {
        let shown = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        if !self.host_is_ours(request.headers()) || request.method() != Method::GET {
            return plain(StatusCode::FORBIDDEN, "not this way");
        }
        let cx = self.cx();
        let kept = self.lock();
        match kept.whole.session(task) {
            Some(session) if same(shown, session.authorization.as_bytes()) => json_response(200, &session.answer(&cx)),
            _ => json_response(403, &json!({"code": "AccessDenied", "message": "no credentials for this task"})),
        }
    }
}

/// `service:Operation` of a signed request, without checking anything: for hooks that count or break calls.
pub(super) fn name_of(request: &Request<Bytes>) -> Option<String> {
    let (parts, body) = (request_parts(request), request.body());
    let service = Signed::read(&parts).ok()?.service;
    let operation = match Protocol::of(&service)? {
        Protocol::S3 => s3::Call::read(&parts, Bytes::new(), &Trailers::new()).ok()?.operation.name().to_owned(),
        protocol => operation(protocol, &parts, body).ok()?.0,
    };
    Some(format!("{service}:{operation}"))
}

/// The refusal of a call for want of rights, as its service says that.
pub(super) fn denied(service: &str) -> ApiError {
    match service {
        "ec2" => {
            ApiError::new("UnauthorizedOperation", "You are not authorized to perform this operation.").status(403)
        }
        "iam" | "sts" | "s3" => ApiError::new("AccessDenied", "Access Denied").status(403),
        _ => ApiError::new("AccessDeniedException", "Access Denied"),
    }
}

/// The refusal of a call by expired credentials, as its service says that.
pub(super) fn expired(service: &str) -> ApiError {
    match service {
        "ec2" => ApiError::new("RequestExpired", "Request has expired."),
        "iam" | "sts" => {
            ApiError::new("ExpiredToken", "The security token included in the request is expired").status(403)
        }
        "s3" => ApiError::new("ExpiredToken", "The provided token has expired."),
        _ => ApiError::new("ExpiredTokenException", "The security token included in the request is expired"),
    }
}

fn request_parts(request: &Request<Bytes>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.headers = request.headers().clone();
    parts
}

/// The operation's name and its input.
fn operation(protocol: Protocol, parts: &Parts, body: &Bytes) -> Result<(String, Value), ApiError> {
    match protocol {
        Protocol::Json => {
            let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default();
            if operation.is_empty() {
                return Err(ApiError::new("UnknownOperationException", "X-Amz-Target names no operation"));
            }
            let input = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice(body) };
            let input = input.map_err(|error| ApiError::new("SerializationException", error.to_string()))?;
            Ok((operation.to_owned(), input))
        }
        _ => {
            let text = std::str::from_utf8(body)
                .map_err(|_| ApiError::new("MalformedQueryString", "the body is not UTF-8"))?;
            let mut pairs = wire::pairs(text);
            if pairs.is_empty() {
                pairs = wire::pairs(parts.uri.query().unwrap_or_default());
            }
            let operation = pairs.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
            let operation = operation.ok_or_else(|| ApiError::new("MissingAction", "the request names no Action"))?;
            pairs.retain(|(name, _)| name != "Action" && name != "Version");
            Ok((operation, wire::nested(pairs)))
        }
    }
}

/// Whether the documentation of an operation has this error of it.
fn listed(service: &str, operation: &str, error: Option<&ApiError>) -> bool {
    let errors = operations(service).iter().find(|(name, _)| *name == operation).map(|(_, errors)| *errors);
    error.is_none_or(|error| errors.unwrap_or_default().contains(&error.code))
}

fn note_refusal(whole: &mut Whole, service: &str, operation: &str, error: Option<&ApiError>) {
    if let Some(error) = error {
        *whole.refusals.entry(format!("{service}:{operation} {}", error.code)).or_default() += 1;
    }
}

pub(super) fn dispatch(
    account: &mut Account,
    cx: &Cx,
    caller: &Caller,
    service: &str,
    operation: &str,
    input: Value,
) -> Answer {
    if !operations(service).iter().any(|(name, _)| *name == operation) {
        return Err(unserved(service, operation));
    }
    members::check(service, operation, &input)?;
    if service == "sts" {
        return sts::handle(account, caller, operation);
    }
    // A task's role is weighed for S3 only; what it would need elsewhere, no pipeline step of ours does.
    if *caller != Caller::Root {
        let (code, status) = match service {
            "ec2" => ("UnauthorizedOperation", 403),
            "iam" => ("AccessDenied", 403),
            _ => ("AccessDeniedException", 400),
        };
        let arn = caller.arn(&account.id);
        let message = format!("User: {arn} is not authorized to perform: {service}:{operation}");
        return Err(ApiError::new(code, message).status(status));
    }
    match service {
        "iam" => iam::handle(account, cx, operation, input),
        "ec2" => ec2::handle(account, cx, operation, input),
        "ecs" => ecs::handle(account, cx, operation, input),
        "logs" => logs::handle(account, cx, operation, input),
        "ssm" => ssm::handle(account, cx, operation, input),
        _ => Err(unserved(service, operation)),
    }
}

/// The operations of a service that are served, each with the codes of its errors.
pub fn operations(service: &str) -> &'static [Documented] {
    match service {
        "iam" => iam::OPERATIONS,
        "sts" => sts::OPERATIONS,
        "ec2" => ec2::OPERATIONS,
        "ecs" => ecs::OPERATIONS,
        "logs" => logs::OPERATIONS,
        "ssm" => ssm::OPERATIONS,
        "s3" => s3::OPERATIONS,
        _ => &[],
    }
}

pub(super) fn unavailable(fault: &str) -> ApiError {
    ApiError::new("ServiceUnavailable", fault).status(503)
}
