//! References by logical name, as they stand in a spec.
//!
//! A reference reads itself through a newtype whose name tells the reader which table it points into, so the reader
//! sees every reference at any depth and no kind has to list its own.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Link;
use crate::kind::Context;

/// The pattern of a logical name.
pub const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// What a reference may point to.
pub trait Target: 'static {
    /// The table, e.g. `role`.
    const TABLE: &'static str;
    /// The name under which serde's newtype tells the reader: `ref:` and the table.
    const NEWTYPE: &'static str;
    /// How the AWS ids and ARNs of such a thing begin.
    const IDS: &'static [&'static str];
    /// Whether this text is an AWS id or ARN of such a thing, hence somebody else's.
    fn is_id(text: &str) -> bool {
        Self::IDS.iter().any(|start| text.starts_with(start))
    }
}

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident $table:literal $ids:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {}
        impl Target for $name {
            const TABLE: &'static str = $table;
            const NEWTYPE: &'static str = concat!("ref:", $table);
            const IDS: &'static [&'static str] = &$ids;
        }
    )*
        /// Whether this text, in the place of a name in this table, is an AWS id or ARN, hence somebody else's.
        pub fn is_id(table: &str, text: &str) -> bool {
            match table {
                $($table => $name::is_id(text),)*
                _ => false,
            }
        }
    };
}

/// Whether a name is known with the sample only, and none was picked.
pub fn is_later(text: &str) -> bool {
    text.contains("${sample.")
}

targets! {
    /// `[bucket.…]`
    Bucket "bucket" [];
    /// `[role.…]`, or an ARN.
    Role "role" ["arn:"];
    /// `[key_pair.…]`
    KeyPair "key_pair" [];
    /// `[security_group.…]`, or `sg-…`.
    SecurityGroup "security_group" ["sg-"];
    /// `[log_group.…]`, or an ARN.
    LogGroup "log_group" ["arn:"];
    /// `[cluster.…]`, or an ARN.
    Cluster "cluster" ["arn:"];
    /// `[instance.…]`
    Instance "instance" [];
    /// `[task_definition.…]`, or an ARN.
    TaskDefinition "task_definition" ["arn:"];
}

/// A reference to a `T`, as written.
pub struct Ref<T> {
    /// The logical name, or an id of AWS's.
    pub text: String,
    target: PhantomData<fn() -> T>,
}

impl<T: Target> Ref<T> {
    /// A reference by this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), target: PhantomData }
    }

    /// Whether it is somebody else's, by id.
    pub fn is_id(&self) -> bool {
        T::is_id(&self.text)
    }

    /// The link to that part of what it points to.
    pub fn link(&self, cx: &Context<'_>, part: &str) -> Link {
        if self.is_id() {
            Link::theirs(T::TABLE, self.text.clone())
        } else {
            Link::ours(cx.target(T::TABLE, &self.text), part)
        }
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), target: PhantomData }
    }
}

impl<T> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Ref<T> {}

impl<T: Target> JsonSchema for Ref<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Ref_{}", T::TABLE).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let ids = T::IDS.iter().map(|start| format!("|^{start}"));
        json_schema!({ "type": "string", "pattern": format!("{NAME}{}", ids.collect::<String>()) })
    }
}

impl<T> Serialize for Ref<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T: Target> Deserialize<'de> for Ref<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);
        impl<'de, T: Target> Visitor<'de> for Text<T> {
            type Value = Ref<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of a {}", T::TABLE)
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Ref<T>, D::Error> {
                String::deserialize(inner).map(Ref::new)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ref<T>, E> {
                Ok(Ref::new(text))
            }
        }
        deserializer.deserialize_newtype_struct(T::NEWTYPE, Text(PhantomData))
    }
}
