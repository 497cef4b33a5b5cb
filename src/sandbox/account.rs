//! The account: everything that exists in the sandbox, as it is kept on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::service::{ApiError, Cx, Options};
use super::table::{One, Record, Stored, Table, from_json, plain_records};
use super::{ec2, ecs, iam, logs, s3, ssm, throttle};

/// How long a task is told that its credentials hold; they really hold until [`end_credentials`].
pub const CREDENTIALS_LAST: Duration = Duration::from_secs(6 * 3600);

/// The account as a request in one region sees it. IAM and S3 are the same in all of them.
#[derive(Debug)]
pub struct Account<'a> {
    /// The twelve-digit id.
    pub id: String,
    /// The region.
    pub region: String,
    /// IAM.
    pub iam: &'a mut iam::State,
    /// S3, all but the objects' content.
    pub s3: &'a mut s3::State,
    /// Credentials of tasks, by task id.
    pub sessions: &'a mut Table<String, Credentials>,
    /// EC2 in the region.
    pub ec2: &'a mut ec2::State,
    /// ECS in the region.
    pub ecs: &'a mut ecs::State,
    /// CloudWatch Logs in the region.
    pub logs: &'a mut logs::State,
    /// Systems Manager's own parameters of the account in the region.
    pub ssm: &'a mut ssm::State,
}

/// What is in one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Region {
    name: String,
    #[serde(skip)]
    ec2: One<ec2::State>,
    #[serde(skip)]
    ecs: One<ecs::State>,
    #[serde(skip)]
    logs: One<logs::State>,
    #[serde(skip)]
    ssm: One<ssm::State>,
}

impl Record for Region {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("ec2", &mut self.ec2), ("ecs", &mut self.ecs), ("logs", &mut self.logs), ("ssm", &mut self.ssm)]
    }
}

impl Region {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ec2: One::new(ec2::State::new(name)),
            ecs: One::new(ecs::State::new(name)),
            logs: One::default(),
            ssm: One::default(),
        }
    }

    /// Whether anything runs in it: an instance that is not terminated, or a task that is not stopped.
    fn busy(&self) -> bool {
        self.ecs.busy() || self.ec2.instances.iter().any(|instance| !instance.gone())
    }
}

/// Everything in the account, in all regions, as it is kept on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Whole {
    /// The twelve-digit id.
    pub id: String,
    #[serde(skip)]
    iam: One<iam::State>,
    /// S3, all but the objects' content.
    #[serde(skip)]
    pub s3: One<s3::State>,
    #[serde(skip)]
    sessions: Table<String, Credentials>,
    #[serde(skip)]
    regions: Table<String, Region>,
    /// How often each operation was called since the sandbox started, by `service:Operation`.
    #[serde(skip)]
    pub counts: BTreeMap<String, usize>,
    /// How often each operation was refused and with what, by `service:Operation Code`.
    #[serde(skip)]
    pub refusals: BTreeMap<String, usize>,
    /// What is left of each region's buckets of calls, where calls are throttled.
    #[serde(skip)]
    pub throttle: BTreeMap<String, throttle::Buckets>,
}

impl Record for Whole {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![
            ("iam", &mut self.iam),
            ("regions", &mut self.regions),
            ("s3", &mut self.s3),
            ("sessions", &mut self.sessions),
        ]
    }
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

plain_records!(Credentials);

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

impl Account<'_> {
    /// Lets happen in the region what time brings: instances boot, tasks end.
    pub fn settle(&mut self, cx: &Cx) {
        ec2::settle(self, cx);
        ecs::settle(self, cx);
        logs::settle(self, cx);
    }

    /// What exists in the region, by service and kind: a list of each kind, of objects with `id` or `name` and what else
    /// tells.
    fn status(&self) -> Value {
        json!({
            "ec2": self.ec2.status(),
            "ecs": self.ecs.status(),
            "logs": self.logs.status(),
            "ssm": self.ssm.status(),
        })
    }
}

impl Account<'_> {
    /// Puts JSON in the place of IAM and of what is in the region, in the shape that [`Stored::json`] gives each.
    pub(super) fn set(&mut self, all: &mut Value) -> Result<(), String> {
        *self.iam = from_json(all["iam"].take())?;
        *self.ec2 = from_json(all["ec2"].take())?;
        *self.ecs = from_json(all["ecs"].take())?;
        *self.logs = from_json(all["logs"].take())?;
        Ok(())
    }
}

impl Whole {
    /// An empty account.
    pub fn new(options: &Options) -> Self {
        Self { id: options.account.clone(), ..Self::default() }
    }

    /// The account as it is seen in a region.
    pub fn at(&mut self, region: &str) -> Account<'_> {
        let here = self.regions.get_or_insert_with(region.to_owned(), || Region::new(region));
        Account {
            id: self.id.clone(),
            region: region.to_owned(),
            iam: &mut self.iam,
            s3: &mut self.s3,
            sessions: &mut self.sessions,
            ec2: &mut here.ec2,
            ecs: &mut here.ecs,
            logs: &mut here.logs,
            ssm: &mut here.ssm,
        }
    }

    /// The regions in which anything was ever asked.
    pub fn regions(&self) -> Vec<String> {
        self.regions.keys().cloned().collect()
    }

    /// The task to which an access key was given, and its credentials.
    pub fn session_of(&self, access_key_id: &str) -> Option<(&String, &Credentials)> {
        self.sessions.iter().find(|(_, session)| session.access_key_id == access_key_id)
    }

    /// A task's credentials, while it runs.
    pub fn session(&self, task: &str) -> Option<&Credentials> {
        self.sessions.get(task)
    }

    /// Lets happen in every region what time brings.
    pub fn settle(&mut self, cx: &Cx) {
        for region in self.regions() {
            self.at(&region).settle(cx);
        }
    }

    /// Whether anything runs in any region.
    pub fn busy(&self) -> bool {
        self.regions.values().any(Region::busy)
    }

    /// The ids of all tasks that are there, the stopped ones of the last hour among them.
    pub fn task_ids(&self) -> impl Iterator<Item = &String> {
        self.regions.values().flat_map(|region| region.ecs.task_ids())
    }

    /// The ids of the instances that are not terminated.
    pub fn instance_ids(&self) -> impl Iterator<Item = &String> {
        let there = self.regions.values().flat_map(|region| region.ec2.instances.iter());
        there.filter(|instance| !instance.gone()).map(|instance| &instance.id)
    }

    /// All that may be seen late. The rest is not asked for.
    pub(super) fn copy(&self) -> Self {
        Self { id: self.id.clone(), iam: self.iam.clone(), regions: self.regions.clone(), ..Self::default() }
    }

    /// What exists, by service and kind: a list of each kind, of objects with `id` or `name`, their region, and what else
    /// tells.
    pub fn status(&mut self) -> Value {
        let names =
            |names: &mut dyn Iterator<Item = &String>| names.map(|name| json!({ "name": name })).collect::<Vec<_>>();
        let mut regional = json!({ "ec2": {}, "ecs": {}, "logs": {}, "ssm": {} });
        for region in self.regions() {
            let mut there = self.at(&region).status();
            for service in ["ec2", "ecs", "logs", "ssm"] {
                for (kind, things) in there[service].as_object_mut().into_iter().flatten() {
                    let all = &mut regional[service][kind.as_str()];
                    let mut known = all.as_array_mut().map(std::mem::take).unwrap_or_default();
                    known.extend(things.as_array_mut().into_iter().flatten().map(|thing| {
                        thing["region"] = json!(region);
                        thing.take()
                    }));
                    *all = Value::Array(known);
                }
            }
        }
        json!({
            "account": self.id,
            "iam": {
                "roles": names(&mut self.iam.roles.keys()),
                "policies": names(&mut self.iam.policies.values().map(|one| &one.name)),
                "instance_profiles": names(&mut self.iam.profiles.keys()),
            },
            "s3": {
                "buckets": self.s3.buckets.iter()
                    .map(|(name, bucket)| json!({
                        "name": name,
                        "region": bucket.region,
                        "objects": bucket.objects().count(),
                        "bytes": bucket.objects().map(|(_, _, object)| object.size).sum::<u64>(),
                    }))
                    .collect::<Vec<_>>(),
            },
            "ec2": regional["ec2"], "ecs": regional["ecs"], "logs": regional["logs"],
            "ssm": regional["ssm"],
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
