//! Answers on the wire: what an operation answered, and what it or the front door refused, in each protocol's form.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::service::ApiError;
use super::sigv4::Refusal;
use super::wire;

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// IAM and STS, with their XML namespaces.
    Query(&'static str),
    Ec2,
    Json,
    S3,
}

impl Protocol {
    pub(super) fn of(service: &str) -> Option<Self> {
        Some(match service {
            "iam" => Self::Query("https://iam.amazonaws.com/doc/2010-05-08/"),
            "sts" => Self::Query("https://sts.amazonaws.com/doc/2011-06-15/"),
            "ec2" => Self::Ec2,
            "ecs" | "logs" | "ssm" => Self::Json,
            "s3" => Self::S3,
            _ => return None,
        })
    }

    /// For a request whose signature does not say: by the look of it.
    pub(super) fn guess(parts: &Parts) -> Self {
        if parts.headers.contains_key("x-amz-target") {
            Self::Json
        } else if parts.method == Method::POST && parts.uri.path() == "/" {
            Self::Query("https://iam.amazonaws.com/doc/2010-05-08/")
        } else {
            Self::S3
        }
    }
}

/// A refusal in the words of a protocol.
pub(super) fn worded(protocol: Protocol, refusal: &Refusal) -> ApiError {
    let json = protocol == Protocol::Json;
    let s3 = protocol == Protocol::S3;
    let ec2 = protocol == Protocol::Ec2;
    let (code, message, status) = match refusal {
        Refusal::Missing if s3 => ("AccessDenied", "Access Denied".to_owned(), 403),
        Refusal::Missing if json => ("MissingAuthenticationTokenException", "Missing Authentication Token".into(), 400),
        Refusal::Missing => ("MissingAuthenticationToken", "Request is missing Authentication Token".into(), 403),
        Refusal::Incomplete(why) if json => ("IncompleteSignatureException", why.clone(), 400),
        Refusal::Incomplete(why) if s3 => ("AuthorizationHeaderMalformed", why.clone(), 400),
        Refusal::Incomplete(why) => ("IncompleteSignature", why.clone(), 400),
        Refusal::Unsigned if s3 => {
            ("AccessDenied", "There were headers present in the request which were not signed".into(), 403)
        }
        Refusal::Unsigned => (
            if json { "IncompleteSignatureException" } else { "IncompleteSignature" },
            "There were headers present in the request which were not signed".into(),
            400,
        ),
        Refusal::UnknownKey if s3 => {
            ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.".into(), 403)
        }
        Refusal::UnknownKey | Refusal::BadToken if json => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.".into(), 400)
        }
        Refusal::UnknownKey | Refusal::Mismatch if ec2 => {
            ("AuthFailure", "AWS was not able to validate the provided access credentials".into(), 401)
        }
        Refusal::BadToken if s3 => {
            ("InvalidToken", "The provided token is malformed or otherwise invalid.".into(), 400)
        }
        Refusal::UnknownKey | Refusal::BadToken => {
            ("InvalidClientTokenId", "The security token included in the request is invalid.".into(), 403)
        }
        Refusal::Mismatch => (
            if json { "InvalidSignatureException" } else { "SignatureDoesNotMatch" },
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method."
                .into(),
            if json { 400 } else { 403 },
        ),
        Refusal::Expired(_) if s3 => (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.".into(),
            403,
        ),
        Refusal::Expired(why) if json => ("InvalidSignatureException", why.clone(), 400),
        Refusal::Expired(why) => ("RequestExpired", why.clone(), 400),
        // As of a region that the account has not enabled: its keys are not known there.
        Refusal::Region if json => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.".into(), 400)
        }
        Refusal::Region => ("AuthFailure", "AWS was not able to validate the provided access credentials".into(), 401),
        Refusal::Unserved(what) => (
            if s3 { "NotImplemented" } else { "IncompleteSignature" },
            format!("the sandbox does not serve {what}: sign the headers, with X-Amz-Date among them"),
            if s3 { 501 } else { 400 },
        ),
        Refusal::Body => (
            if s3 { "XAmzContentSHA256Mismatch" } else { "InvalidSignatureException" },
            "The provided 'x-amz-content-sha256' header does not match what was computed.".into(),
            400,
        ),
    };
    ApiError::new(code, message).status(status)
}

/// What an operation answered.
pub(super) fn render(protocol: Protocol, id: &str, operation: &str, value: &Value) -> Response<Bytes> {
    let empty = serde_json::Map::new();
    let members = value.as_object().unwrap_or(&empty);
    let mut out = String::new();
    match protocol {
        Protocol::Query(namespace) => {
            out.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
            if !value.is_null() {
                wire::write_xml(&mut out, &format!("{operation}Result"), value, "member");
            }
            out.push_str(&format!(
                "<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
            ));
        }
        Protocol::Ec2 => {
            out.push_str(&format!("<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"));
            wire::element(&mut out, "requestId", id);
            wire::write_members(&mut out, members, "item");
            out.push_str(&format!("</{operation}Response>"));
        }
        Protocol::Json | Protocol::S3 => {
            let nothing = json!({});
            let mut response = json_response(200, if value.is_null() { &nothing } else { value });
            name_request(&mut response, id);
            return response;
        }
    }
    let mut response = xml_response(200, out);
    name_request(&mut response, id);
    response
}

/// What was refused.
pub(super) fn fail(protocol: Protocol, id: &str, head: bool, error: &ApiError) -> Response<Bytes> {
    let mut out = String::new();
    let code_and_message = |out: &mut String| {
        wire::element(out, "Code", error.code);
        wire::element(out, "Message", &error.message);
        if let Some(Value::Object(more)) = &error.more {
            wire::write_members(out, more, "member");
        }
    };
    let mut response = match protocol {
        Protocol::Json => {
            let mut body = json!({"__type": error.code, "message": error.message});
            if let (Some(Value::Object(more)), Some(members)) = (&error.more, body.as_object_mut()) {
                members.extend(more.clone());
            }
            json_response(error.status, &body)
        }
        Protocol::Query(namespace) => {
            out.push_str(&format!("<ErrorResponse xmlns=\"{namespace}\"><Error>"));
            wire::element(&mut out, "Type", if error.status < 500 { "Sender" } else { "Receiver" });
            code_and_message(&mut out);
            out.push_str(&format!("</Error><RequestId>{id}</RequestId></ErrorResponse>"));
            xml_response(error.status, out)
        }
        Protocol::Ec2 => {
            out.push_str("<Response><Errors><Error>");
            code_and_message(&mut out);
            out.push_str(&format!("</Error></Errors><RequestID>{id}</RequestID></Response>"));
            xml_response(error.status, out)
        }
        Protocol::S3 => {
            out.push_str("<Error>");
            code_and_message(&mut out);
            out.push_str(&format!("<RequestId>{id}</RequestId><HostId>sandbox</HostId></Error>"));
            // Neither an answer to HEAD nor 304 has a body; the SDK goes by the status then.
            s3_response(error.status, if head || error.status == 304 { String::new() } else { out })
        }
    };
    for (name, value) in &error.headers {
        response
            .headers_mut()
            .extend(HeaderValue::from_str(value).ok().map(|value| (HeaderName::from_static(name), value)));
    }
    name_request(&mut response, id);
    response
}

/// The request's id, as every answer carries it.
pub(super) fn name_request(response: &mut Response<Bytes>, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", value.clone());
        response.headers_mut().insert("x-amz-request-id", value);
    }
}

pub(super) fn xml_response(status: u16, body: String) -> Response<Bytes> {
    let text = if body.is_empty() { body } else { format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}") };
    response(status, "text/xml", text.into())
}

/// S3's XML has another type than that of the other services.
pub(super) fn s3_response(status: u16, body: String) -> Response<Bytes> {
    let mut response = xml_response(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

pub(super) fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    response(status, "application/x-amz-json-1.1", body.to_string().into())
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    response(status.as_u16(), "text/plain", Bytes::copy_from_slice(text.as_bytes()))
}

fn response(status: u16, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
