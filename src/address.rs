//! Addresses and links: how one thing in a stack names another, before and after AWS has given it an id.
//!
//! Links are found and settled in plain JSON, so no kind can forget one. Never asks AWS.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A resource's place in the stack: `role.execution`, or `instance.worker[NA12878]` for what exists for one
/// sample's run only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The kind's table in the stack file, e.g. `role`.
    pub kind: String,
    /// The logical name, e.g. `execution`.
    pub name: String,
    /// The sample whose run it belongs to, if it is compute of a run.
    pub sample: Option<String>,
}

impl Address {
    /// The address of a resource that belongs to no sample.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into(), sample: None }
    }

    /// The same resource, for one sample's run.
    #[must_use]
    pub fn of(mut self, sample: Option<&str>) -> Self {
        self.sample = sample.map(str::to_owned);
        self
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.name)?;
        self.sample.as_ref().map_or(Ok(()), |sample| write!(f, "[{sample}]"))
    }
}

/// Text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address such as role.execution")]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAnAddress(text.to_owned());
        let (kind, rest) = text.split_once('.').ok_or_else(wrong)?;
        let (name, sample) = match rest.split_once('[') {
            Some((name, sample)) => (name, Some(sample.strip_suffix(']').ok_or_else(wrong)?)),
            None => (rest, None),
        };
        if kind.is_empty() || name.is_empty() {
            return Err(wrong());
        }
        Ok(Self::new(kind, name).of(sample))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A resource: `role.execution`, or `instance.worker[NA12878]` for what exists for one sample's run only." })
    }
}

/// The physical ids of one resource by part: a role has a `name`, an `arn`, a `profile`.
pub type Ids = BTreeMap<String, String>;

/// What a state or a call says of another resource (or of its own, whose id is not known yet).
///
/// Live states hold only `Theirs`: the id as AWS reports it. Desired states name ours by address; [`settle`] turns
/// that into the id as soon as it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// A resource of this stack, and the part of it that is meant.
    Ours {
        /// The resource.
        to: Address,
        /// Which of its ids.
        part: String,
    },
    /// A physical id.
    Theirs {
        /// The kind of thing that the id names.
        kind: String,
        /// The id, ARN or name, whichever AWS uses in that place.
        id: String,
    },
}

impl Link {
    /// A link to one of ours.
    pub fn ours(to: Address, part: &str) -> Self {
        Self::Ours { to, part: part.to_owned() }
    }

    /// A link to a physical id.
    pub fn theirs(kind: &str, id: impl Into<String>) -> Self {
        Self::Theirs { kind: kind.to_owned(), id: id.into() }
    }

    /// The physical id.
    ///
    /// # Errors
    /// When the link names a resource that has no id yet: the executor settles every call before it is performed, so
    /// this is a fault of this tool.
    pub fn id(&self) -> Result<&str, Unsettled> {
        match self {
            Self::Theirs { id, .. } => Ok(id),
            Self::Ours { to, part } => Err(Unsettled { to: to.clone(), part: part.clone() }),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours { to, part } => write!(f, "({part} of {to})"),
            Self::Theirs { id, .. } => f.write_str(id),
        }
    }
}

/// A link whose id is not known.
#[derive(Debug, thiserror::Error)]
#[error("the {part} of {to} is not known yet")]
pub struct Unsettled {
    /// The resource.
    pub to: Address,
    /// The part of it.
    pub part: String,
}

/// Every link in a state or call, at any depth.
pub fn links(value: &Value) -> Vec<Link> {
    let mut out = Vec::new();
    walk(value, &mut out);
    out
}

fn walk(value: &Value, out: &mut Vec<Link>) {
    match (as_link(value), value) {
        (Some(link), _) => out.push(link),
        (None, Value::Object(fields)) => fields.values().for_each(|inner| walk(inner, out)),
        (None, Value::Array(items)) => items.iter().for_each(|inner| walk(inner, out)),
        _ => {}
    }
}

/// The value as a link, if it is one.
pub fn as_link(value: &Value) -> Option<Link> {
    let fields = value.as_object()?;
    if fields.len() != 1 || !(fields.contains_key("ours") || fields.contains_key("theirs")) {
        return None;
    }
    serde_json::from_value(value.clone()).ok()
}

/// Puts the id in the place of every link to ours whose id `known` gives.
pub fn settle(value: &mut Value, known: &impl Fn(&Address, &str) -> Option<String>) {
    if let Some(Link::Ours { to, part }) = as_link(value) {
        if let Some(id) = known(&to, &part) {
            *value = serde_json::json!({ "theirs": { "kind": to.kind, "id": id } });
        }
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|inner| settle(inner, known)),
        Value::Array(items) => items.iter_mut().for_each(|inner| settle(inner, known)),
        _ => {}
    }
}
