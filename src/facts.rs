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
