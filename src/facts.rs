//! What must be known about the account and this machine before a stack can be lowered to desired states.
//!
//! Facts are plain data, read side by side with live state (`aws::facts`); this module never asks AWS.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something a kind needs to know before it can lower a spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lookup {
    /// An AMI as the stack file writes it: `ami-…`, or `ssm:/…` for a public parameter that holds its id.
    Image(String),
    /// The default VPC, and its subnets.
    DefaultVpc,
    /// A subnet by id.
    Subnet(String),
    /// A VPC by id.
    Vpc(String),
    /// A security group by id.
    SecurityGroup(String),
    /// A managed policy by ARN, or one of AWS's own by path and name.
    Policy(String),
    /// A role by ARN.
    Role(String),
    /// The instance profile of a role, by the role's ARN.
    Profile(String),
    /// An instance type.
    InstanceType(String),
    /// The public half of the key pair made on this machine for this logical name.
    Key(String),
    /// A local file, as the stack file writes its path (relative to the stack file's folder).
    File(String),
}

/// Everything that was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The twelve-digit account id.
    pub account: String,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// Who is asking, as an ARN.
    pub identity: String,
    /// When the credentials in use end, where that is known.
    pub credentials_end: Option<Timestamp>,
    /// AWS's clock when all this was looked up.
    pub now: Timestamp,
    /// The region of every regional call.
    pub region: String,
    /// AMIs by how the stack file writes them.
    pub images: BTreeMap<String, Image>,
    /// The default VPC's id, if the region has one and a lookup asked.
    pub default_vpc: Option<String>,
    /// Subnets that were asked for, and those of the default VPC, by id.
    pub subnets: BTreeMap<String, Subnet>,
    /// The VPC of each security group that was asked for, by id.
    pub groups: BTreeMap<String, String>,
    /// The names of instance profiles, by the ARN of the role that they hold.
    pub profiles: BTreeMap<String, String>,
    /// Instance types by name.
    pub instance_types: BTreeMap<String, InstanceType>,
    /// OpenSSH public keys (`ssh-ed25519 AAAA…`, no comment) of key pairs whose private half is on this machine, by
    /// logical name.
    pub keys: BTreeMap<String, String>,
    /// Local files by path as written.
    pub files: BTreeMap<String, LocalFile>,
}

/// An AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `ami-…`
    pub id: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// The device name of the root volume, e.g. `/dev/xvda`.
    pub root_device: String,
    /// GiB of its own root volume, where it says so: an instance's cannot be smaller.
    #[serde(default)]
    pub size_gib: Option<i64>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its VPC.
    pub vpc: String,
    /// Its availability zone, e.g. `eu-west-2a`.
    pub zone: String,
    /// Whether it is the zone's default subnet.
    pub default: bool,
    /// Whether instances in it are given a public IPv4 address unless they ask for none.
    #[serde(default)]
    pub public: bool,
    /// Where its routes lead, where that is known.
    #[serde(default)]
    pub way: Option<Way>,
    /// Whether its VPC has endpoints of ECS's own; looked up only where there may be no other way.
    #[serde(default)]
    pub endpoints: bool,
}

/// Where the routes of a subnet lead beyond its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// To an internet gateway and nowhere else: for who has a public address.
    Gateway,
    /// To a NAT gateway, another network, or whatever else may lead to ECS.
    Onward,
    /// Nowhere.
    Nowhere,
}

impl InstanceType {
    /// What tasks can have of its memory at the most, MiB: user data keeps 4 % of it, and 512 MiB at least, for the system.
    pub fn memory_for_tasks(&self) -> u64 {
        self.memory_mib.saturating_sub((self.memory_mib * 4 / 100).max(512))
    }
}

/// An instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Architectures that it runs, e.g. `x86_64`.
    pub architectures: Vec<String>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Nominal memory, MiB.
    pub memory_mib: u64,
    /// GPUs.
    #[serde(default)]
    pub gpus: u32,
}

/// A local file to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalFile {
    /// Where it is on this machine.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
}
