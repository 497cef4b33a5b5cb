//! `[instance.…]`: one EC2 instance that serves a cluster's tasks, and ends itself when its time is up.
//!
//! Its identity is its tags and its client token ([`launch`]); what DescribeInstances does not tell of a launch is a digest
//! in a tag. An AMI behind `ssm:` that has moved on, another of the types or subnets that were allowed: no differences.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::role::last_part;
use crate::address::{Address, Ids, Link};
use crate::aws::{AwsError, tags};
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Lifetime, Reading, SpecFault, Tags};
use crate::live::Live;
use crate::stack::reference::{Cluster, KeyPair, Ref, Role, SecurityGroup};
use crate::stack::values::{Int, Price};
use crate::stack::warning::SpecWarning;

pub mod billed;
mod check;
mod end;
pub mod folders;
mod launch;
mod live;
pub mod reach;
mod user_data;
mod volume;

pub use billed::{Running, running};
use folders::Folders;
pub use volume::{Volume, VolumeSpec, VolumeType};

/// The kind.
pub enum Instance {}

/// The tag with the digest of what DescribeInstances does not tell of a launch.
pub const TAG_LAUNCH: &str = "seqstack:launch";
/// The tag with the cluster that user data names.
pub const TAG_CLUSTER: &str = "seqstack:cluster";
/// The tag with the hours from launch to the deadline.
pub const TAG_MAX_HOURS: &str = "seqstack:max-hours";
/// The tag with the time (RFC 3339, UTC) at which the instance ends itself. It reads it through instance metadata.
pub const TAG_DEADLINE: &str = "seqstack:deadline";
/// What the tags begin with that say which folders user data has made, one tag a folder: `uid:gid mode path`.
const TAG_FOLDER: &str = "seqstack:folder-";
/// The tag that says whether the launch asked for a public address.
const TAG_PUBLIC_IP: &str = "seqstack:public-ip";
/// The tag that says that a run has claimed the instance's folders, whatever became of the claim itself.
pub const TAG_CLAIMED: &str = "seqstack:claimed";
/// The tag with a digest of all that its launch asked for.
const TAG_ASKED: &str = "seqstack:asked";
/// The field of a state that says why the run that is due cannot use the instance.
pub const USED: &str = "used";
/// Tags that say what a launch was; they are no part of a state's tags.
const TECHNICAL: &[&str] =
    &[TAG_ASKED, TAG_LAUNCH, TAG_CLUSTER, TAG_MAX_HOURS, TAG_DEADLINE, TAG_PUBLIC_IP, TAG_FOLDER, TAG_CLAIMED];

/// An EC2 instance that runs a cluster's tasks, and ends itself when its time is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its `Name` tag, instead of `<stack>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cluster whose tasks it runs: the name of a `[cluster.…]`, or an ARN.
    pub cluster: Ref<Cluster>,
    /// The instance type, e.g. `r6i.2xlarge`.
    pub r#type: String,
    /// Further types, tried in turn where there is no capacity or quota for the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// The machine image: `ami-…`, or `ssm:/…` for a public parameter that holds its id, such as
    /// `ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id`.
    #[schemars(regex(pattern = "^(ami-|ssm:/)"))]
    pub ami: String,
    /// The role that it has, with `instance_profile = true`: the name of a `[role.…]`, or an ARN.
    pub role: Ref<Role>,
    /// For signing in over SSH: the name of a `[key_pair.…]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<Ref<KeyPair>>,
    /// Names of `[security_group.…]`, or `sg-…`; left out, the VPC's default group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<Ref<SecurityGroup>>,
    /// `subnet-…`; left out, one of the default VPC's, and the plan says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^subnet-"))]
    pub subnet: Option<String>,
    /// Availability zones of the default VPC, tried in turn; left out, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Whether it has a public IPv4 address; left out, as its subnet says. It must reach ECS, image registry and S3: by a
    /// public address and an internet gateway, by a NAT gateway, or by VPC endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<bool>,
    /// Its root volume; left out, 30 GiB of encrypted gp3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSpec>,
    /// Whether it stays until destroy, or exists exactly while a sample's run is due.
    #[serde(default)]
    pub lifetime: Lifetime,
    /// It ends itself so many hours after its launch, whatever happened to your terminal. Left out: 24 for
    /// `lifetime = "run"`, never for `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hours: Option<Int<1, 8760>>,
    /// What an hour of `type` costs you, in your currency: for telling the money beside the instance-hours. It changes
    /// nothing on AWS, and no price is looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<Price>,
}

impl Spec {
    /// Hours from its launch to its end; none if it never ends itself.
    pub fn hours(&self) -> Option<i64> {
        let default = (self.lifetime == Lifetime::Run).then_some(24);
        self.max_hours.map(|hours| hours.0).or(default)
    }
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The instance type.
    pub r#type: String,
    /// The AMI.
    pub ami: String,
    /// The parameter that the AMI is behind. Only wanted; gone once an instance of some such AMI is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami_behind: Option<String>,
    /// The root volume's device name.
    pub root_device: String,
    /// The cluster's name.
    pub cluster: Link,
    /// The instance profile's name.
    pub profile: Link,
    /// The key pair's name.
    pub key_pair: Option<Link>,
    /// Ids of its security groups.
    pub security_groups: BTreeSet<Link>,
    /// Its subnet.
    pub subnet: String,
    /// Where it may be, in the order in which that is tried. Only wanted; gone once it is somewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Whether it was asked to have a public address; None where its subnet says.
    pub public_ip: Option<bool>,
    /// The folders that user data has made. None are wanted any more where those that it has serve.
    pub folders: Folders,
    /// The root volume; None while a just-launched instance does not tell yet.
    pub volume: Option<Volume>,
    /// Hours from launch to the deadline.
    pub max_hours: Option<i64>,
    /// A digest of user data and of the other parameters that DescribeInstances does not tell.
    pub launch: String,
    /// Somebody stopped it. It is never wanted so: a run cannot use it, and its disk is billed.
    pub stopped: bool,
    /// Why the run that is due cannot use it. It is never wanted so: that run begins on a fresh one.
    #[serde(default)]
    pub used: Option<String>,
    /// Its id, where it is there. Not wanted, only known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was launched (RFC 3339), where it was. Not wanted, only known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<String>,
    /// Its tags, without those that say what the launch was.
    pub tags: Tags,
}

/// A type in a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The instance type.
    pub r#type: String,
    /// The subnet's id.
    pub subnet: String,
}

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters"
)]
pub enum Call {
    RunInstances { at: Address, want: Box<State> },
    ModifyInstanceAttribute { instance: Link, security_groups: BTreeSet<Link> },
    CreateTags { instance: Link, tags: Tags },
    DeleteTags { instance: Link, keys: Vec<String> },
    TerminateInstances { instance: Link, cluster: Link },
}

impl State {
    fn is_choice(&self, live: &Self) -> bool {
        let same = |choice: &Choice| choice.r#type == live.r#type && choice.subnet == live.subnet;
        self.choices.iter().any(same)
    }
}

/// Equal, as far as it is known: what has no id yet may be the same.
fn maybe(one: &Link, other: &Link) -> bool {
    matches!(one, Link::Ours { .. }) || matches!(other, Link::Ours { .. }) || one == other
}

/// Marks the instance at an address as one that the run that is due cannot use.
pub fn mark_used(live: &mut Live, at: &Address, because: &str) {
    for found in live.found.get_mut(at).into_iter().flatten() {
        found.state[USED] = because.into();
    }
}

/// The time at which an instance launched then ends itself.
pub fn deadline(launched: jiff::Timestamp, hours: i64) -> jiff::Timestamp {
    launched.saturating_add(jiff::SignedDuration::from_hours(hours)).unwrap_or(jiff::Timestamp::MAX)
}

/// The deadline among an instance's tags.
pub(crate) fn deadline_tag(tags: &[aws_sdk_ec2::types::Tag]) -> Option<jiff::Timestamp> {
    tags.iter().find(|tag| tag.key() == Some(TAG_DEADLINE))?.value()?.parse().ok()
}

impl Kind for Instance {
    const TABLE: &'static str = "instance";
    const FIXED: &'static [&'static str] = &[
        "stopped",
        USED,
        "type",
        "ami",
        "root_device",
        "cluster",
        "profile",
        "key_pair",
        "subnet",
        "public_ip",
        "folders",
        "volume",
        "volume.size_gib",
        "volume.type",
        "volume.encrypted",
        "volume.iops",
        "volume.throughput",
        "launch",
    ];
    const MINOR: &'static [&'static str] = &["ami_behind", "choices", "root_device", "folders", USED];
    const NEEDS: &'static [(&'static str, &'static str, &'static str)] = &[("role", "role", "instance_profile")];
    const PARTS: &'static [&'static str] = &["id"];
    /// An agent whose cluster was deleted never registers in one that is made in its place (amazon-ecs-agent, agent.go: it
    /// exits for good).
    const DIES_WITH: &'static [&'static str] = &["cluster"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        check::check(spec)
    }

    /// Any number of instances may have one name.
    fn claims(_name: &str, _spec: &Spec) -> Vec<(String, String)> {
        Vec::new()
    }

    fn warn(spec: &Spec) -> Vec<SpecWarning> {
        let many = Some(spec.security_groups.len()).filter(|many| *many > 5);
        let many = many.map(|many| SpecWarning::over_quota("security_groups", &format!("{many} security groups"), 5));
        check::warn(spec).into_iter().chain(many).collect()
    }

    fn lifetime(spec: &Spec) -> Lifetime {
        spec.lifetime
    }

    fn lookups(_name: &str, spec: &Spec) -> Vec<Lookup> {
        let subnet = spec.subnet.clone().map_or(Lookup::DefaultVpc, Lookup::Subnet);
        let types = std::iter::once(&spec.r#type).chain(&spec.types).cloned().map(Lookup::InstanceType);
        let groups = spec.security_groups.iter().filter(|group| group.is_id());
        let groups = groups.map(|group| Lookup::SecurityGroup(group.text.clone()));
        let role = [Lookup::Role, Lookup::Profile].map(|lookup| lookup(spec.role.text.clone()));
        let role = role.into_iter().filter(|_| spec.role.is_id());
        [Lookup::Image(spec.ami.clone()), subnet].into_iter().chain(types).chain(groups).chain(role).collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let image = cx.facts.images.get(&spec.ami).ok_or_else(|| format!("the AMI {} is not known", spec.ami))?;
        let mut types = vec![spec.r#type.clone()];
        types.extend(spec.types.iter().filter(|name| **name != spec.r#type).cloned());
        for name in &types {
            let known = cx.facts.instance_types.get(name);
            let known = known.ok_or_else(|| format!("the instance type {name} is not known"))?;
            if !known.architectures.contains(&image.architecture) {
                return Err(format!(
                    "the instance type {name} is {}, but the AMI {} is {}",
                    known.architectures.join(" or "),
                    image.id,
                    image.architecture
                ));
            }
        }
        let subnets = subnets(&spec, cx)?;
        let choices: Vec<Choice> = types
            .iter()
            .flat_map(|name| subnets.iter().map(|subnet| Choice { r#type: name.clone(), subnet: subnet.clone() }))
            .collect();
        let Some(Choice { r#type, subnet }) = choices.first().cloned() else {
            return Err("there is no subnet for it".to_owned());
        };
        let mut tags = cx.tags(at);
        let name = spec.name.clone().unwrap_or_else(|| cx.physical_name(at));
        tags.entry("Name".to_owned()).or_insert(name);
        // Its tags are readable in instance metadata, whose paths their keys are parts of.
        if let Some(key) = tags.keys().find(|key| key.contains('/') || key.contains(' ')) {
            return Err(format!("the tag key `{key}` has a `/` or a space, which instance metadata cannot show"));
        }
        let by_name = |link: Link| match link {
            Link::Theirs { kind, id } => Link::Theirs { kind, id: last_part(&id).to_owned() },
            ours @ Link::Ours { .. } => ours,
        };
        let volume = volume::Volume::of(spec.volume.as_ref(), image.size_gib);
        if let Some(least) = image.size_gib.filter(|least| volume.size_gib < *least) {
            let (size, ami) = (volume.size_gib, &image.id);
            return Err(format!("`size_gib` is {size}, but the AMI {ami} itself has {least} GiB: say that or more"));
        }
        let folders = cx.stack.folders.clone();
        if let Some(long) = folders.keys().find(|path| path.len() > folders::LONGEST) {
            return Err(format!("the folder {long} of a mount is longer than {} characters", folders::LONGEST));
        }
        if folders.len() > folders::MOST {
            let (most, count) = (folders::MOST, folders.len());
            return Err(format!("task definitions mount {count} folders of it; user data makes {most} at the most"));
        }
        let max_hours = spec.hours();
        Ok(State {
            r#type,
            ami: image.id.clone(),
            ami_behind: spec.ami.starts_with("ssm:").then(|| spec.ami.clone()),
            root_device: image.root_device.clone(),
            cluster: by_name(spec.cluster.link(cx, "name")),
            profile: match cx.facts.profiles.get(&spec.role.text) {
                // A profile need not have its role's name.
                Some(profile) => Link::theirs("role", profile.clone()),
                None => by_name(spec.role.link(cx, "profile")),
            },
            key_pair: spec.key_pair.as_ref().map(|pair| pair.link(cx, "name")),
            security_groups: spec.security_groups.iter().map(|group| group.link(cx, "id")).collect(),
            subnet,
            choices,
            public_ip: spec.public_ip,
            folders,
            volume: Some(volume),
            max_hours,
            launch: user_data::digest(),
            stopped: false,
            used: None,
            id: None,
            launched: None,
            tags,
        })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        want.id.clone_from(&live.id);
        want.launched.clone_from(&live.launched);
        if live.volume.is_none() {
            want.volume = None;
        }
        if folders::serve(&live.folders, &want.folders) {
            want.folders.clone_from(&live.folders);
        }
        let mut notes = Vec::new();
        // An account may have every volume encrypted (EC2 API, EnableEbsEncryptionByDefault), whatever a launch asks for.
        if let (Some(want), Some(live)) = (&mut want.volume, &live.volume)
            && live.encrypted
            && !want.encrypted
        {
            want.encrypted = true;
            notes.push(
                "its volume is encrypted although the file does not ask for it: an account can be set so".to_owned(),
            );
        }
        let pairs = match (&want.key_pair, &live.key_pair) {
            (Some(want), Some(live)) => maybe(want, live),
            (want, live) => want == live,
        };
        let same_ami = want.ami == live.ami || want.ami_behind.is_some();
        // Only where it would stay for all else: one that is replaced anyway is launched anew from everything now known.
        let stays = !live.stopped
            && live.used.is_none()
            && same_ami
            && pairs
            && want.is_choice(live)
            && want.cluster == live.cluster
            && maybe(&want.profile, &live.profile)
            && want.volume == live.volume
            && want.public_ip == live.public_ip
            && want.folders == live.folders
            && want.launch == live.launch;
        if stays {
            if want.ami != live.ami {
                let behind = want.ami_behind.as_deref().unwrap_or_default();
                notes.push(format!("{behind} is {} by now; the instance keeps {}", want.ami, live.ami));
                want.ami.clone_from(&live.ami);
                want.root_device.clone_from(&live.root_device);
            }
            if want.security_groups.is_empty() {
                want.security_groups.clone_from(&live.security_groups);
            }
            want.ami_behind = None;
            want.r#type.clone_from(&live.r#type);
            want.subnet.clone_from(&live.subnet);
            want.choices.clear();
        }
        notes
    }

    fn made(want: State, ids: &Ids) -> State {
        State { id: ids.get("id").cloned(), ami_behind: None, choices: Vec::new(), ..want }
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        let instance = || match live.and_then(|live| live.id.clone()) {
            Some(id) => Link::theirs("instance", id),
            None => Link::ours(at.clone(), "id"),
        };
        match (live, want) {
            (None, Some(want)) => {
                let want = State { id: None, launched: None, ..want.clone() };
                vec![Call::RunInstances { at: at.clone(), want: Box::new(want) }]
            }
            (Some(live), None) => {
                vec![Call::TerminateInstances { instance: instance(), cluster: live.cluster.clone() }]
            }
            (Some(live), Some(want)) => {
                let mut calls = Vec::new();
                if live.security_groups != want.security_groups {
                    let security_groups = want.security_groups.clone();
                    calls.push(Call::ModifyInstanceAttribute { instance: instance(), security_groups });
                }
                let (mut tags, mut keys) = tags::change(&live.tags, &want.tags);
                match (live.max_hours == want.max_hours, want.max_hours) {
                    (true, _) => {}
                    (false, Some(hours)) => {
                        tags.insert(TAG_MAX_HOURS.to_owned(), hours.to_string());
                        let launched = live.launched.as_deref().and_then(|at| at.parse().ok());
                        let at =
                            launched.map(|launched| (TAG_DEADLINE.to_owned(), deadline(launched, hours).to_string()));
                        tags.extend(at);
                    }
                    (false, None) => keys.extend([TAG_MAX_HOURS, TAG_DEADLINE].map(str::to_owned)),
                }
                calls.extend((!tags.is_empty()).then(|| Call::CreateTags { instance: instance(), tags }));
                calls.extend((!keys.is_empty()).then(|| Call::DeleteTags { instance: instance(), keys }));
                calls
            }
            (None, None) => Vec::new(),
        }
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::RunInstances { at, want } => {
                format!("ec2:RunInstances {at} {} {} in {}", want.r#type, want.ami, want.subnet)
            }
            Call::ModifyInstanceAttribute { instance, security_groups } => {
                let groups: Vec<_> = security_groups.iter().map(ToString::to_string).collect();
                format!("ec2:ModifyInstanceAttribute {instance} groups {}", groups.join(" "))
            }
            Call::CreateTags { instance, tags } => format!("ec2:CreateTags {instance} {}", tags::keys(tags)),
            Call::DeleteTags { instance, keys } => format!("ec2:DeleteTags {instance} {}", keys.join(" ")),
            Call::TerminateInstances { instance, .. } => format!("ec2:TerminateInstances {instance}"),
        }
    }

    fn gist(state: &State) -> Vec<String> {
        let ends = state.max_hours.map(|hours| format!("ends itself after {hours} h"));
        std::iter::once(state.r#type.clone())
            .chain(state.volume.as_ref().map(Volume::told))
            .chain(ends)
            .chain([state.ami.clone(), state.subnet.clone()])
            .collect()
    }

    fn phrase(path: &str, value: &Value) -> Option<String> {
        match path {
            "volume" => Volume::deserialize(value).ok().map(|volume| volume.told()),
            "launch" => Some(format!("boot script {}", value.as_str()?.get(..12)?)),
            "max_hours" => Some(format!("{} h", value.as_i64()?)),
            "choices" => {
                Choice::deserialize(value).ok().map(|choice| format!("{} in {}", choice.r#type, choice.subnet))
            }
            _ => None,
        }
    }

    async fn list(cx: Reading<'_>, _wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        live::list(cx).await
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        live::find_existing(cx.aws, existing).await
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        launch::perform(cx, call).await
    }
}

/// The subnet that was named, or the default VPC's in the order of their zones.
fn subnets(spec: &Spec, cx: &Context<'_>) -> Result<Vec<String>, String> {
    if let Some(subnet) = &spec.subnet {
        return Ok(vec![subnet.clone()]);
    }
    let vpc = cx.facts.default_vpc.as_ref();
    let vpc = vpc.ok_or_else(|| format!("{} has no default VPC; name a `subnet`", cx.facts.region))?;
    let default = cx.facts.subnets.iter().filter(|(_, subnet)| subnet.default && subnet.vpc == *vpc);
    let by_zone: BTreeMap<&str, &String> = default.map(|(id, subnet)| (subnet.zone.as_str(), id)).collect();
    if by_zone.is_empty() {
        return Err(format!("the default VPC {vpc} has no default subnet; name a `subnet`"));
    }
    if spec.zones.is_empty() {
        return Ok(by_zone.into_values().cloned().collect());
    }
    let in_zone = |zone: &String| {
        let zones: Vec<_> = by_zone.keys().copied().collect();
        let found = by_zone.get(zone.as_str()).map(|id| (*id).clone());
        found.ok_or_else(|| format!("the default VPC has no subnet in the zone {zone}; it has {}", zones.join(", ")))
    };
    spec.zones.iter().map(in_zone).collect()
}

#[cfg(test)]
mod tests;
