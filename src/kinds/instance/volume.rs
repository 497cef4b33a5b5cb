//! An instance's root volume: as the file says, and in the normal form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stack::values::Int;

/// An instance's root volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Its size in GiB.
    pub size_gib: Int<1, 65_536>,
    /// What sort of disk.
    #[serde(default)]
    pub r#type: VolumeType,
    /// Whether it is encrypted.
    #[serde(default = "yes")]
    pub encrypted: bool,
    /// Operations a second (gp3, io1, io2; the latter two need it), from 3000 for gp3; left out, EBS's 3000 for gp3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<Int<100, 256_000>>,
    /// MiB a second (gp3 only), a quarter of `iops` at the most; left out, EBS's 125.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Int<125, 2000>>,
}

fn yes() -> bool {
    true
}

/// What sort of disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "EBS's own names")]
pub enum VolumeType {
    #[default]
    Gp3,
    Gp2,
    Io1,
    Io2,
    St1,
    Sc1,
    Standard,
}

impl VolumeType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gp3 => "gp3",
            Self::Gp2 => "gp2",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}

/// A root volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// GiB.
    pub size_gib: i64,
    /// EBS's name of what sort of disk it is.
    pub r#type: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Operations a second, where they can be chosen.
    pub iops: Option<i64>,
    /// MiB a second, where they can be chosen.
    pub throughput: Option<i64>,
}

impl Volume {
    /// What the file asks for, and what EBS gives where it asks for nothing.
    /// `least` is the size of the AMI's own.
    pub(super) fn of(spec: Option<&VolumeSpec>, least: Option<i64>) -> Self {
        let Some(spec) = spec else {
            return Self {
                size_gib: least.unwrap_or(30).max(30),
                r#type: "gp3".to_owned(),
                encrypted: true,
                iops: Some(3000),
                throughput: Some(125),
            };
        };
        // What EBS gives a gp3 volume that asks for nothing.
        let gp3 = spec.r#type == VolumeType::Gp3;
        Self {
            size_gib: spec.size_gib.0,
            r#type: spec.r#type.name().to_owned(),
            encrypted: spec.encrypted,
            iops: spec.iops.map(|iops| iops.0).or(gp3.then_some(3000)),
            throughput: spec.throughput.map(|throughput| throughput.0).or(gp3.then_some(125)),
        }
    }

    /// `200 GiB gp3, encrypted`.
    pub(super) fn told(&self) -> String {
        let encrypted = if self.encrypted { "encrypted" } else { "not encrypted" };
        format!("{} GiB {} {encrypted}", self.size_gib, self.r#type)
    }
}
