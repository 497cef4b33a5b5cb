//! Values that check themselves as they are read.
//!
//! A value under a fault that has been told already reads as a placeholder: [`PLACEHOLDER`] for a string, `i64::MIN`
//! for a whole number, `f64::MIN` for any other; every type here answers those with any valid value.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a string reads as when its fault has been told already.
pub const PLACEHOLDER: &str = "\0";

/// The newtype's name under which a value that is text or a table reads itself: `${vars.x}` is text to it, whatever the
/// type of `x`.
pub const TEXT_OR_TABLE: &str = "text or table";

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

impl<const LO: i64, const HI: i64> JsonSchema for Int<LO, HI> {
    fn schema_name() -> Cow<'static, str> {
        format!("Int{LO}To{HI}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LO, "maximum": HI })
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
        if thousandths > 1000.0 && given <= 4.0 {
            Ok(Self { thousandths: thousandths as i64 })
        } else {
            Err(serde::de::Error::custom(format!("{given} is out of range: more than 1, and at most 4")))
        }
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 1, "maximum": 4 })
    }
}

impl Serialize for Factor {
    #[expect(clippy::cast_precision_loss, reason = "at most 4000")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.thousandths as f64 / 1000.0)
    }
}

/// What something costs an hour, in whatever currency the stack file's reader pays in, to the millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    millionths: i64,
}

impl Price {
    /// The money for so many seconds, to the hundredth.
    pub fn of(self, seconds: i64) -> String {
        let hundredths = (i128::from(self.millionths) * i128::from(seconds.max(0)) / 3600 + 5000) / 10_000;
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

impl fmt::Display for Price {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.millionths / 1_000_000, self.millionths % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl<'de> Deserialize<'de> for Price {
    #[expect(clippy::cast_possible_truncation, reason = "it is known to be below 10,000")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = f64::deserialize(deserializer)?;
        if given.to_bits() == f64::MIN.to_bits() {
            return Ok(Self { millionths: 1_000_000 });
        }
        let millionths = (given * 1_000_000.0).round();
        if (1.0..=10_000_000_000.0).contains(&millionths) {
            Ok(Self { millionths: millionths as i64 })
        } else {
            Err(serde::de::Error::custom(format!("{given} is out of range: 0.000001 to 10000")))
        }
    }
}

impl JsonSchema for Price {
    fn schema_name() -> Cow<'static, str> {
        "Price".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.000_001, "maximum": 10_000 })
    }
}

impl Serialize for Price {
    #[expect(clippy::cast_precision_loss, reason = "at most 10,000 to the millionth")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.millionths as f64 / 1_000_000.0)
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

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$" })
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_as_it_was_written_and_money_is_rounded_to_the_hundredth() {
        let price: Price = serde_json::from_str("0.504").unwrap();
        assert_eq!(price.to_string(), "0.504");
        assert_eq!([0, 1800, 3600, 43_200].map(|seconds| price.of(seconds)), ["0.00", "0.25", "0.50", "6.05"]);
        let whole: Price = serde_json::from_str("2").unwrap();
        assert_eq!((whole.to_string(), serde_json::to_string(&whole).unwrap()), ("2".into(), "2.0".into()));
        for wrong in ["0", "-1", "0.0000001", "10001"] {
            assert!(serde_json::from_str::<Price>(wrong).is_err(), "{wrong}");
        }
    }
}
