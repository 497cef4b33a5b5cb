//! Values that check themselves as they are read.
//!
//! A value under a fault that has been told already reads as a placeholder: [`PLACEHOLDER`] for a string, `i64::MIN`
//! for a whole number, `f64::MIN` for any other; every type here answers those with any valid value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// A factor of more than 1 and at most 4, to the thousandth: so it multiplies whole numbers exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    thousandths: i64,
}

impl Factor {
    /// The product, rounded up.
    pub fn times(self, number: i64) -> i64 {
        number.saturating_mul(self.thousandths).saturating_add(999) / 1000
    }
}

impl<'de> Deserialize<'de> for Factor {
    #[expect(clippy::cast_possible_truncation, reason = "it is known to be between 1 and 4")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = f64::deserialize(deserializer)?;
        if given.to_bits() == f64::MIN.to_bits() {
            return Ok(Self { thousandths: 2000 });
        }
        let thousandths = (given * 1000.0).round();
        if thousandths > 1000.0 && thousandths <= 4000.0 {
            Ok(Self { thousandths: thousandths as i64 })
        } else {
            Err(serde::de::Error::custom(format!("{given} is out of range: more than 1, and at most 4")))
        }
    }
}

impl Serialize for Factor {
    #[expect(clippy::cast_precision_loss, reason = "at most 4000")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.thousandths as f64 / 1000.0)
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
