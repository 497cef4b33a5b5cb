//! Kinds whose specs have the shape of the real ones, so that the reader is tested by itself.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::address::{Address, Ids};
use crate::aws::AwsError;
use crate::facts::Lookup;
use crate::kind::{Acting, Context, ErasedKind, Found, Lifetime, Reading, Replace, SpecFault, json};
use crate::stack::reference::{Bucket, Cluster, KeyPair, LogGroup, Ref, Role, SecurityGroup};
use crate::stack::tolerant::Table;
use crate::stack::values::{Cidr, Int, PLACEHOLDER};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadSpec {
    pub bucket: Ref<Bucket>,
    pub files: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    pub name: Option<String>,
    pub description: Option<String>,
    pub session_seconds: Option<Int<3600, 43200>>,
    pub trusts: String,
    #[serde(default)]
    pub attach: Vec<String>,
    #[serde(default)]
    pub instance_profile: bool,
    #[serde(default)]
    pub read: Vec<Ref<Bucket>>,
    #[serde(default)]
    pub write: Vec<Ref<Bucket>>,
    pub policy: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptySpec {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupSpec {
    pub description: String,
    #[serde(default)]
    pub ingress: Vec<Rule>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub protocol: Protocol,
    pub port: u16,
    pub cidr: Cidr,
    pub description: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    #[serde(alias = "-1")]
    All,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogGroupSpec {
    pub retention_days: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    #[serde(default)]
    pub lifetime: Lifetime,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    pub cluster: Ref<Cluster>,
    #[serde(rename = "type")]
    pub instance_type: String,
    pub ami: Ami,
    pub role: Ref<Role>,
    pub key_pair: Option<Ref<KeyPair>>,
    #[serde(default)]
    pub security_groups: Vec<Ref<SecurityGroup>>,
    pub volume: Volume,
    #[serde(default)]
    pub lifetime: Lifetime,
    pub max_hours: Option<Int<1, 168>>,
}

/// Checks itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Ami(String);

impl TryFrom<String> for Ami {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == PLACEHOLDER || text.starts_with("ami-") || text.starts_with("ssm:/") {
            Ok(Self(text))
        } else {
            Err("no AMI".to_owned())
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub size_gib: Int<1, 16384>,
    #[serde(rename = "type")]
    pub volume_type: VolumeType,
    #[serde(default)]
    pub encrypted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    Gp3,
    Gp2,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinitionSpec {
    pub image: String,
    pub command: Option<Vec<String>>,
    pub entry_point: Option<Vec<String>>,
    pub execution_role: Option<Ref<Role>>,
    pub task_role: Option<Ref<Role>>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub cpu: Int<128, 196_608>,
    pub memory: Int<6, 1_000_000>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    pub log_group: Option<Ref<LogGroup>>,
    #[serde(default)]
    pub environment: BTreeMap<String, Setting>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    pub host: String,
    pub container: String,
}

/// Text, or a table: by a visitor of its own.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Setting {
    Plain(String),
    Secret { secret: String },
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Setting;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text or { secret = \"ssm:/…\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Setting, E> {
                Ok(Setting::Plain(text.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((key, value)) if key == "secret" => Ok(Setting::Secret { secret: value }),
                    Some((key, _)) => Err(de::Error::unknown_field(&key, &["secret"])),
                    None => Err(de::Error::missing_field("secret")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

type Check<S> = fn(&S) -> Vec<SpecFault>;

struct Fake<S> {
    table: &'static str,
    lifetime: fn(&S) -> Lifetime,
    check: Check<S>,
    spec: PhantomData<fn() -> S>,
}

impl<S> Fake<S> {
    const fn new(table: &'static str, lifetime: fn(&S) -> Lifetime, check: Check<S>) -> Self {
        Self { table, lifetime, check, spec: PhantomData }
    }
}

type Later<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<S: Serialize + DeserializeOwned + 'static> ErasedKind for Fake<S> {
    fn table(&self) -> &'static str {
        self.table
    }
    fn fixed(&self) -> &'static [&'static str] {
        &[]
    }
    fn minor(&self) -> &'static [&'static str] {
        &[]
    }

    fn gist(&self, _: &Value) -> Vec<String> {
        Vec::new()
    }

    fn phrase(&self, _: &str, _: &Value) -> Option<String> {
        None
    }

    fn parts(&self) -> &'static [&'static str] {
        &[]
    }
    fn dies_with(&self) -> &'static [&'static str] {
        &[]
    }
    fn replace(&self) -> Replace {
        Replace::DeleteFirst
    }
    fn schema(&self, _generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
    fn read(&self, node: &Table<'_>) -> Option<Value> {
        node.read::<S>().as_ref().map(json)
    }
    fn check(&self, spec: &Value) -> Vec<SpecFault> {
        (self.check)(&serde_json::from_value(spec.clone()).unwrap())
    }
    fn warn(&self, _spec: &Value) -> Vec<crate::stack::warning::SpecWarning> {
        Vec::new()
    }
    fn lifetime(&self, spec: &Value) -> Lifetime {
        (self.lifetime)(&serde_json::from_value(spec.clone()).unwrap())
    }
    fn lookups(&self, _name: &str, _spec: &Value) -> Vec<Lookup> {
        Vec::new()
    }
    fn needs(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[]
    }
    fn claims(&self, _name: &str, _spec: &Value) -> Vec<(String, String)> {
        Vec::new()
    }
    fn lower(&self, _at: &Address, _spec: &Value, _cx: &Context<'_>) -> Result<Value, String> {
        Err("the reader never lowers".to_owned())
    }
    fn keep(&self, _want: &mut Value, _live: &Value) -> Vec<String> {
        Vec::new()
    }
    fn made(&self, want: &Value, _ids: &crate::address::Ids) -> Value {
        want.clone()
    }

    fn named(&self, _want: &Value) -> crate::address::Ids {
        crate::address::Ids::new()
    }

    fn normal(&self, state: Value) -> Value {
        state
    }
    fn calls(&self, _at: &Address, _live: Option<&Value>, _want: Option<&Value>) -> Vec<Value> {
        Vec::new()
    }
    fn describe(&self, call: &Value) -> String {
        call.to_string()
    }
    fn list<'a>(
        &self,
        _cx: Reading<'a>,
        _wanted: &'a BTreeMap<Address, Value>,
    ) -> Later<'a, Result<Vec<Found<Value>>, AwsError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn find_existing<'a>(&self, _cx: Reading<'a>, _existing: &'a str) -> Later<'a, Result<Option<Ids>, AwsError>> {
        Box::pin(async { Ok(None) })
    }
    fn perform(&self, _cx: Acting, _call: Value) -> Later<'static, Result<Ids, AwsError>> {
        Box::pin(async { Ok(Ids::new()) })
    }
}

fn always<S>(_: &S) -> Lifetime {
    Lifetime::Always
}

fn sound<S>(_: &S) -> Vec<SpecFault> {
    Vec::new()
}

fn check_role(spec: &RoleSpec) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    if !spec.trusts.ends_with(".amazonaws.com") {
        faults.push(SpecFault { key: "trusts".to_owned(), message: "no service".to_owned(), hint: None });
    }
    if spec.policy.is_some() && !spec.read.is_empty() {
        faults.push(SpecFault { key: String::new(), message: "both policy and read".to_owned(), hint: None });
    }
    faults
}

fn check_task_definition(spec: &TaskDefinitionSpec) -> Vec<SpecFault> {
    let relative = |(at, mount): (usize, &Mount)| {
        (!mount.host.starts_with('/')).then(|| SpecFault {
            key: format!("mounts.{at}.host"),
            message: format!("`{}` is no absolute path", mount.host),
            hint: None,
        })
    };
    spec.mounts.iter().enumerate().filter_map(relative).collect()
}

pub static KINDS: &[&dyn ErasedKind] = &[
    &Fake::<UploadSpec>::new("upload", always, sound),
    &Fake::<RoleSpec>::new("role", always, check_role),
    &Fake::<EmptySpec>::new("key_pair", always, sound),
    &Fake::<SecurityGroupSpec>::new("security_group", always, sound),
    &Fake::<LogGroupSpec>::new("log_group", always, sound),
    &Fake::<ClusterSpec>::new("cluster", |spec| spec.lifetime, sound),
    &Fake::<TaskDefinitionSpec>::new("task_definition", always, check_task_definition),
    &Fake::<InstanceSpec>::new("instance", |spec| spec.lifetime, sound),
];
