//! The account: everything that exists in the sandbox, as it is kept on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::service::{ApiError, Cx, Options};
use super::{ec2, ecs, iam, logs, s3, ssm, throttle};

/// How long a task is told that its credentials hold; they really hold until [`end_credentials`].
pub const CREDENTIALS_LAST: Duration = Duration::from_secs(6 * 3600);

/// One account in one region.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The twelve-digit id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// IAM.
    pub iam: iam::State,
    /// EC2.
    pub ec2: ec2::State,
    /// ECS.
    pub ecs: ecs::State,
    /// CloudWatch Logs.
    pub logs: logs::State,
    /// S3, all but the objects' content.
    pub s3: s3::State,
    /// Systems Manager's own parameters of the account.
    #[serde(default)]
    pub ssm: ssm::State,
    /// Credentials of tasks, by task id.
    pub sessions: BTreeMap<String, Credentials>,
    /// How often each operation was called since the sandbox started, by `service:Operation`.
    #[serde(skip)]
    pub counts: BTreeMap<String, usize>,
    /// How often each operation was refused and with what, by `service:Operation Code`.
    #[serde(skip)]
    pub refusals: BTreeMap<String, usize>,
    /// What is left of each bucket of calls, where calls are throttled.
    #[serde(skip)]
    pub throttle: throttle::Buckets,
}

/// A task's credentials.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The role, as an ARN.
    pub role: String,
    /// `ASIA…`
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session token that requests carry.
    pub token: String,
    /// What the task shows to be given these (`AWS_CONTAINER_AUTHORIZATION_TOKEN`).
    pub authorization: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("role", &self.role)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The environment by which a task's SDK finds these: where to ask, and what to show.
    pub fn environment(&self, cx: &Cx, task_id: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(),
                format!("{}{CREDENTIALS_PATH}{task_id}", cx.endpoint.trim_end_matches('/')),
            ),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN".to_owned(), self.authorization.clone()),
        ])
    }

    /// As ECS's credentials endpoint answers.
    pub(super) fn answer(&self, cx: &Cx) -> Value {
        let until = cx.now + CREDENTIALS_LAST;
        json!({
            "RoleArn": self.role,
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "Token": self.token,
            "Expiration": seconds(until),
        })
    }
}

/// Where a task asks for its credentials; the task's id follows.
pub const CREDENTIALS_PATH: &str = "/_seqstack/credentials/";

impl Account {
    /// An empty account.
    pub fn new(options: &Options) -> Self {
        Self { id: options.account.clone(), region: options.region.clone(), ..Self::default() }
    }

    /// Lets happen what time brings: instances boot, tasks end.
    pub fn settle(&mut self, cx: &Cx) {
        ec2::settle(self, cx);
        ecs::settle(self, cx);
        logs::settle(self, cx);
    }

    /// Whether anything runs: an instance that is not terminated, or a task that is not stopped.
    pub fn busy(&self) -> bool {
        ecs::busy(self) || self.ec2.instances.iter().any(|instance| !instance.gone())
    }

    /// What exists, by service and kind: a list of each kind, of objects with `id` or `name` and what else tells.
    pub fn status(&self) -> Value {
        json!({
            "account": self.id,
            "region": self.region,
            "iam": {
                "roles": self.iam.roles.values().map(|one| json!({ "name": one.name })).collect::<Vec<_>>(),
                "policies": self.iam.policies.values().map(|one| json!({ "name": one.name })).collect::<Vec<_>>(),
                "instance_profiles": self.iam.profiles.values().map(|one| json!({ "name": one.name })).collect::<Vec<_>>(),
            },
            "s3": {
                "buckets": self.s3.buckets.iter()
                    .map(|(name, bucket)| json!({
                        "name": name,
                        "objects": bucket.objects().count(),
                        "bytes": bucket.objects().map(|(_, _, object)| object.size).sum::<u64>(),
                    }))
                    .collect::<Vec<_>>(),
            },
            "ec2": self.ec2.status(),
            "ecs": self.ecs.status(),
            "logs": self.logs.status(),
        })
    }
}

/// The credentials of a task that runs as this role; made at the first call, the same ever after.
///
/// # Errors
/// `ServerException` where the machine gives no randomness.
pub fn credentials_for(account: &mut Account, role_arn: &str, task_id: &str) -> Result<Credentials, ApiError> {
    if let Some(known) = account.sessions.get(task_id)
        && known.role == role_arn
    {
        return Ok(known.clone());
    }
    let credentials = Credentials {
        role: role_arn.to_owned(),
        access_key_id: format!("ASIA{}", random(8)?.to_uppercase()),
        secret_access_key: random(20)?,
        token: random(32)?,
        authorization: random(32)?,
    };
    account.sessions.insert(task_id.to_owned(), credentials.clone());
    Ok(credentials)
}

/// The task has ended: its credentials are worth nothing from now on.
pub fn end_credentials(account: &mut Account, task_id: &str) {
    account.sessions.remove(task_id);
}

fn random(bytes: usize) -> Result<String, ApiError> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|error| {
        ApiError::new("ServerException", format!("no randomness for credentials: {error}")).status(500)
    })?;
    Ok(hex::encode(buffer))
}

/// A time to the second, as IAM and S3 write it.
pub(super) fn seconds(at: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
