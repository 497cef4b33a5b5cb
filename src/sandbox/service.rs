//! What every service of the sandbox shares: the caller's context, the error, and how answers are given.
//!
//! A service is one function: `handle(account, cx, operation, input) -> Result<Value, ApiError>`. Input is JSON: the body
//! of a JSON service, or a query's parameters nested (`TagSpecification.1.Tag.1.Key=a` becomes
//! `{"TagSpecification":[{"Tag":[{"Key":"a"}]}]}`, `member` levels dropped, leaves strings). Output is JSON in the
//! members' own names; the front renders it as JSON or XML (lists as `<member>` for IAM and STS, `<item>` for EC2).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::Engine;

/// An answer of a service.
pub type Answer = Result<Value, ApiError>;

/// An AWS error.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The code, e.g. `NoSuchEntity`.
    pub code: &'static str,
    /// The message.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// Further members of the error's body (`resourceIds` of ECS's `ConflictException`).
    pub more: Option<Value>,
    /// Further headers of the answer (`x-amz-delete-marker` of S3's `NoSuchKey`).
    pub headers: Vec<(&'static str, String)>,
}

impl ApiError {
    /// An error of the caller's: HTTP 400.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: 400, more: None, headers: Vec::new() }
    }

    /// The same with another HTTP status (IAM answers 404 and 409).
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

/// An operation's name, and the codes of the errors that it can give beyond its protocol's own.
pub type Documented = (&'static str, &'static [&'static str]);

/// How quickly things happen in the sandbox, and who may be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The account's id.
    pub account: String,
    /// Its region.
    pub region: String,
    /// What can be set while it runs.
    #[serde(flatten)]
    pub settings: Settings,
}

/// How the sandbox behaves where AWS behaves now so, now otherwise. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// From RunInstances to `running`.
    #[serde(rename = "boot_ms", with = "millis")]
    pub boot: Duration,
    /// From `running` to the agent's registration.
    #[serde(rename = "registration_ms", with = "millis")]
    pub registration: Duration,
    /// From TerminateInstances to `terminated`.
    #[serde(rename = "termination_ms", with = "millis")]
    pub termination: Duration,
    /// From `running` until an instance's status checks are `ok`.
    #[serde(rename = "checks_ms", with = "millis")]
    pub checks: Duration,
    /// How long a just-made instance cannot be described, nor a just-made instance profile be used.
    #[serde(rename = "visibility_ms", with = "millis")]
    pub visibility: Duration,
    /// The largest page of any listing.
    pub page: usize,
    /// Instance types for which there is no capacity (`InsufficientInstanceCapacity`).
    pub no_capacity: Vec<String>,
    /// Instances that hang: EC2 says `running`, their agent is not connected, and ECS hears nothing more of their tasks.
    pub hung: Vec<String>,
    /// How many conditional writes to come meet a race (S3's 409 `ConditionalRequestConflict`).
    pub conflicts: usize,
    /// Whether calls are limited as AWS documents it for each service.
    pub throttle: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            boot: Duration::from_millis(300),
            registration: Duration::from_millis(300),
            termination: Duration::from_millis(300),
            checks: Duration::from_secs(120),
            visibility: Duration::ZERO,
            page: 100,
            no_capacity: Vec::new(),
            hung: Vec::new(),
            conflicts: 0,
            throttle: false,
        }
    }
}

/// A duration as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { account: "123456789012".to_owned(), region: "eu-west-2".to_owned(), settings: Settings::default() }
    }
}

/// What a service may know about the request it answers.
#[derive(Clone)]
pub struct Cx {
    /// The sandbox's own clock: real time in a process, tokio's (hence paused) time in tests.
    pub now: Timestamp,
    /// How the sandbox is set.
    pub options: Arc<Options>,
    /// What runs tasks.
    pub engine: Arc<dyn Engine>,
    /// The endpoint that tasks are given, e.g. `http://127.0.0.1:4566`.
    pub endpoint: String,
}

impl Cx {
    /// `seconds.millis` since the epoch, as ECS and Logs' JSON carries times.
    pub fn epoch(&self) -> f64 {
        epoch(self.now)
    }
}

/// A time as ECS's JSON carries it.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
pub fn epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The owner of one of the sandbox's own keys: may do everything.
    Root,
    /// A task, with the rights of its role.
    Task {
        /// The task's id.
        task: String,
        /// The role's ARN.
        role: String,
    },
}

impl Caller {
    /// The caller as an ARN.
    pub fn arn(&self, account: &str) -> String {
        match self {
            Self::Root => format!("arn:aws:iam::{account}:user/sandbox"),
            Self::Task { task, role } => {
                let name = role.rsplit('/').next().unwrap_or(role);
                format!("arn:aws:sts::{account}:assumed-role/{name}/{task}")
            }
        }
    }
}

/// The refusal of an operation that the sandbox does not serve, in the words of the service's protocol.
pub fn unserved(service: &str, operation: &str) -> ApiError {
    let (code, status) = match service {
        "iam" | "sts" | "ec2" => ("InvalidAction", 400),
        "s3" => ("NotImplemented", 501),
        _ => ("UnknownOperationException", 400),
    };
    ApiError::new(code, format!("the sandbox does not serve {service}:{operation}")).status(status)
}
