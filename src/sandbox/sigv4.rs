//! From a request to who signed it: Signature Version 4, checked by signing again.
//!
//! Only header authentication is served; presigned addresses are not.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use sha2::{Digest, Sha256};

use super::wire::ChunkSignatures;

/// How far a request's time may be from ours, as at AWS.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// Why a request is not let in; each protocol has its own code for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `Authorization` header.
    Missing,
    /// It is there, and not whole.
    Incomplete(String),
    /// A header that must be signed is not.
    Unsigned,
    /// The access key is not one of ours.
    UnknownKey,
    /// The session token is missing or another's.
    BadToken,
    /// The signature is another than ours.
    Mismatch,
    /// The request's time is too far from ours.
    Expired(String),
    /// Signed for a region that is not enabled.
    Region,
    /// The body is not the one that was signed.
    Body,
    /// Signed in a way that AWS knows and the sandbox does not.
    Unserved(&'static str),
}

/// What an `Authorization` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The access key's id.
    pub key: String,
    /// `20260101`
    date: String,
    /// The region of the credential's scope.
    pub region: String,
    /// The service of the credential's scope, e.g. `iam`.
    pub service: String,
    headers: Vec<String>,
    signature: String,
    /// `20260101T000000Z`
    at: String,
}

impl Signed {
    /// Reads what the headers say; nothing is checked yet.
    ///
    /// # Errors
    /// [`Refusal::Missing`] or [`Refusal::Incomplete`].
    pub fn read(parts: &Parts) -> Result<Self, Refusal> {
        let incomplete = |what: &str| Refusal::Incomplete(format!("Authorization header requires {what}."));
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("X-Amz-Signature=") || query.contains("AWSAccessKeyId=") {
            return Err(Refusal::Unserved("presigned addresses"));
        }
        let header = parts.headers.get(http::header::AUTHORIZATION).ok_or(Refusal::Missing)?;
        let header = header.to_str().map_err(|_| incomplete("printable characters"))?;
        if header.starts_with("AWS ") {
            return Err(Refusal::Unserved("Signature Version 2"));
        }
        let fields = header.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| incomplete("'AWS4-HMAC-SHA256'"))?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let credential = credential.ok_or_else(|| incomplete("'Credential' parameter"))?;
        let headers = headers.ok_or_else(|| incomplete("'SignedHeaders' parameter"))?;
        let signature = signature.ok_or_else(|| incomplete("'Signature' parameter"))?;
        let scope: Vec<&str> = credential.split('/').collect();
        let [key, date, region, service, "aws4_request"] = scope[..] else {
            return Err(incomplete("a credential of key/date/region/service/aws4_request"));
        };
        let at = parts.headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        let at = at.ok_or_else(|| match parts.headers.get(http::header::DATE) {
            Some(_) => Refusal::Unserved("requests that are dated by Date alone"),
            None => incomplete("existence of either a 'X-Amz-Date' or a 'Date' header"),
        })?;
        Ok(Self {
            key: key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            headers: headers.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
            at: at.to_owned(),
        })
    }

    /// Checks the time and the signature. `payload` is the body's SHA-256 in hexadecimal, or what
    /// `x-amz-content-sha256` says in its place.
    ///
    /// # Errors
    /// The refusal.
    pub fn verify(&self, parts: &Parts, secret: &str, payload: &str, now: Timestamp) -> Result<(), Refusal> {
        let at = self.time()?;
        if now.duration_since(at).unsigned_abs() > SKEW {
            return Err(Refusal::Expired(format!(
                "Signature not yet current or expired: {} is more than 15 min from {now}",
                self.at
            )));
        }
        if !self.at.starts_with(&self.date) {
            return Err(Refusal::Mismatch);
        }
        // What is not signed could be changed on the way, or come from another request.
        let unsigned = parts.headers.keys().map(http::HeaderName::as_str).find(|name| {
            (*name == "host" || name.starts_with("x-amz-")) && !self.headers.iter().any(|signed| signed == name)
        });
        if unsigned.is_some() || !self.headers.iter().any(|name| name == "host") {
            return Err(Refusal::Unsigned);
        }
        let expected = self.sign_again(parts, secret, payload, at).ok_or(Refusal::Mismatch)?;
        if same(expected.as_bytes(), self.signature.as_bytes()) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// What checks the signatures of this request's chunks.
    pub fn chunks(&self, secret: &str) -> Result<Chunks, Refusal> {
        let at = SystemTime::from(self.time()?);
        let key = v4::generate_signing_key(secret, at, &self.region, &self.service);
        Ok(Chunks {
            key: key.as_ref().to_vec(),
            scope: format!("{}\n{}/{}/{}/aws4_request", self.at, self.date, self.region, self.service),
            last: self.signature.clone(),
        })
    }

    fn time(&self) -> Result<Timestamp, Refusal> {
        DateTime::strptime("%Y%m%dT%H%M%SZ", &self.at)
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|zoned| zoned.timestamp())
            .map_err(|_| Refusal::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", self.at)))
    }

    fn sign_again(&self, parts: &Parts, secret: &str, payload: &str, at: Timestamp) -> Option<String> {
        let identity: Identity = Credentials::new(&self.key, secret, None, None, "sandbox").into();
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None;
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(at.into())
            .settings(settings)
            .build()
            .ok()?
            .into();
        let mut headers: Vec<(String, String)> = Vec::new();
        for name in &self.headers {
            let values: Option<Vec<&str>> =
                parts.headers.get_all(name).iter().map(|value| value.to_str().ok().map(str::trim)).collect();
            headers.push((name.clone(), values?.join(",")));
        }
        let target = parts.uri.path_and_query()?.as_str();
        let uri = format!("http://{}{target}", parts.headers.get(http::header::HOST)?.to_str().ok()?);
        let request = SignableRequest::new(
            parts.method.as_str(),
            uri,
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Precomputed(payload.to_owned()),
        )
        .ok()?;
        Some(sign(request, &params).ok()?.signature().to_owned())
    }
}

/// The running signature of a chunked body.
#[derive(Debug)]
pub struct Chunks {
    key: Vec<u8>,
    scope: String,
    last: String,
}

impl Chunks {
    fn next(&mut self, text: &str, given: &str) -> bool {
        self.last = v4::calculate_signature(&self.key, text.as_bytes());
        same(self.last.as_bytes(), given.as_bytes())
    }
}

impl ChunkSignatures for Chunks {
    fn chunk(&mut self, data: &[u8], signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}",
            self.scope,
            self.last,
            sha256_hex(b""),
            sha256_hex(data)
        );
        self.next(&text, signature)
    }

    fn trailer(&mut self, canonical: &str, signature: &str) -> bool {
        let text =
            format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}", self.scope, self.last, sha256_hex(canonical.as_bytes()));
        self.next(&text, signature)
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// Compares in a time that does not depend on where the two differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
