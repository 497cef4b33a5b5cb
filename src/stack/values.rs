//! Values that check themselves as they are read.
//!
//! A value under a fault that has been told already reads as a placeholder: [`PLACEHOLDER`] for a string, `i64::MIN`
//! for a number; every type here answers those with any valid value.

use serde::{Deserialize, Deserializer, Serialize};

/// What a string reads as when its fault has been told already.
pub const PLACEHOLDER: &str = "\0";

/// A whole number from `LO` to `HI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Int<const LO: i64, const HI: i64>(pub i64);

impl<'de, const LO: i64, const HI: i64> Deserialize<'de> for Int<LO, HI> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            i64::MIN => Ok(Self(LO)),
            n if (LO..=HI).contains(&n) => Ok(Self(n)),
            n => Err(serde::de::Error::custom(format!("{n} is out of range: {LO} to {HI}"))),
        }
    }
}

/// An address range such as `203.0.113.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(pub ipnet::IpNet);

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = if text == PLACEHOLDER { "0.0.0.0/0" } else { &text };
        let net: ipnet::IpNet =
            text.parse().map_err(|_| format!("`{text}` is not a CIDR block: one such as 203.0.113.0/24"))?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(format!("`{text}` has host bits set: did you mean `{}`?", net.trunc()))
        }
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.0.to_string()
    }
}
