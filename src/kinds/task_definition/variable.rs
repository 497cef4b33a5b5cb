//! The value of an environment variable: text, or a place that ECS fetches a secret from.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stack::values::{PLACEHOLDER, TEXT_OR_TABLE};

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The value itself.
    Plain(String),
    /// `ssm:/path` or an ARN; it never passes through us.
    Secret(String),
}

impl JsonSchema for Variable {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": { "secret": {
                    "description": "Where ECS fetches it: `ssm:/path` of a parameter, or the ARN of a secret.",
                    "type": "string",
                    "pattern": "^(ssm|arn):",
                } },
                "required": ["secret"],
                "additionalProperties": false,
            },
        ] })
    }
}

impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => serializer.serialize_str(value),
            Self::Secret(from) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("secret", from)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Variable;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or { secret = \"ssm:/…\" }")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Variable, D::Error> {
                inner.deserialize_any(self)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Variable, E> {
                Ok(Variable::Plain(text.to_owned()))
            }
            // What a value under a fault that has been told reads as.
            fn visit_unit<E: serde::de::Error>(self) -> Result<Variable, E> {
                Ok(Variable::Plain(PLACEHOLDER.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variable, A::Error> {
                let mut secret = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "secret" {
                        return Err(serde::de::Error::unknown_field(&key, &["secret"]));
                    }
                    secret = Some(map.next_value()?);
                }
                secret.map(Variable::Secret).ok_or_else(|| serde::de::Error::missing_field("secret"))
            }
        }
        deserializer.deserialize_newtype_struct(TEXT_OR_TABLE, Either)
    }
}
