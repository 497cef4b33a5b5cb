//! What of a stack is there, by name, as text, JSON, TOML or YAML. The names and meanings of members stay as they are;
//! members may be added.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

/// In which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "each is the format of its name")]
pub enum Format {
    #[default]
    Text,
    Json,
    Toml,
    Yaml,
}

/// Everything that `output` tells. It has no nulls, which TOML has not either: what is not there is in `absent` alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outputs {
    /// The stack's name.
    pub stack: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// `SANDBOX (docker)`, where it is the sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The addresses of what is not there: `role.execution`, `key_pair.ecs_key.private_key`.
    pub absent: Vec<String>,
    /// By kind, and by name (`worker[NA12878]` for what exists for one sample's run only), the ids of what is there.
    #[serde(flatten)]
    pub by_kind: Map<String, Value>,
}

/// Why there is no such value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// It is not there.
    Absent,
    /// It has several, and none of them stands for it.
    Several(Vec<String>),
    /// The stack has no such thing.
    Unknown,
}

/// The members of a resource that stand for it, the best one first.
const FOR_ALL: &[&str] = &["arn", "path", "name", "id", "objects"];

impl Outputs {
    /// Adds a value, as `kind.name.part`.
    pub fn put(&mut self, kind: &str, name: &str, part: &str, value: impl Into<Value>) {
        let tables = self.by_kind.entry(kind).or_insert_with(|| Value::Object(Map::new()));
        if let Some(tables) = tables.as_object_mut()
            && let Some(table) = tables.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
        {
            table.insert(part.to_owned(), value.into());
        }
    }

    /// The whole of it.
    ///
    /// # Errors
    /// When it has no such form, which is a fault of this tool.
    pub fn render(&self, format: Format) -> Result<String, String> {
        match format {
            Format::Text => Ok(self.text()),
            Format::Json => {
                serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| error.to_string())
            }
            Format::Toml => toml::to_string_pretty(self).map_err(|error| error.to_string()),
            Format::Yaml => serde_saphyr::to_string(self).map_err(|error| error.to_string()),
        }
    }

    fn text(&self) -> String {
        let mut rows = vec![
            ("stack".to_owned(), self.stack.clone()),
            ("account".to_owned(), self.account.clone()),
            ("region".to_owned(), self.region.clone()),
        ];
        rows.extend(self.sandbox.iter().map(|sandbox| ("sandbox".to_owned(), sandbox.clone())));
        for (kind, tables) in &self.by_kind {
            leaves(kind, tables, &mut rows);
        }
        rows.extend(self.absent.iter().map(|at| (at.clone(), "(absent)".to_owned())));
        let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
        let mut out = String::new();
        for (key, value) in rows {
            let _infallible = writeln!(out, "{key:<width$}  {value}");
        }
        out
    }

    /// One value, by its dotted key; a list's items by line.
    ///
    /// # Errors
    /// Why there is none.
    pub fn value(&self, key: &str) -> Result<String, NoValue> {
        let head = [("stack", &self.stack), ("account", &self.account), ("region", &self.region)];
        if let Some((_, value)) = head.into_iter().find(|(name, _)| *name == key) {
            return Ok(value.clone());
        }
        match find(&self.by_kind, key) {
            Some(Value::Object(members)) => match FOR_ALL.iter().find_map(|name| members.get(*name)) {
                Some(value) => Ok(lines(value)),
                None => Err(NoValue::Several(members.keys().map(|name| format!("{key}.{name}")).collect())),
            },
            Some(value) => Ok(lines(value)),
            None if self.absent.iter().any(|at| is_within(key, at)) => Err(NoValue::Absent),
            None => Err(NoValue::Unknown),
        }
    }
}

/// Whether a key is that address, or a part of it.
fn is_within(key: &str, at: &str) -> bool {
    key.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The value behind a dotted key, some of whose names may have dots themselves.
fn find<'v>(members: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    members.iter().find_map(|(name, value)| match key.strip_prefix(name.as_str())? {
        "" => Some(value),
        rest => find(value.as_object()?, rest.strip_prefix('.')?),
    })
}

fn lines(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(lines).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

fn leaves(key: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, inner)| leaves(&format!("{key}.{name}"), inner, rows))
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(key, item, rows)),
        leaf => rows.push((key.to_owned(), lines(leaf))),
    }
}
