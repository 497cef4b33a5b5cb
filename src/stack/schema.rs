//! The JSON Schema of the stack file, for editors and checkers: from the types that read it, their docs included.
//!
//! It takes whatever the reader takes. What it cannot see (references to what is not there, circles, keys that exclude
//! each other) the reader tells alone.

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::head::{Bucket, Head};
use super::pipeline::Pipeline;
use super::protect;
use super::reference::NAME;
use super::warning::{ALLOW, Code};
use crate::kind::KINDS;

/// The key of a table that is somebody else's.
const EXISTING: &str = "existing";

/// The schema of a whole stack file.
///
/// Draft 7, with nothing behind a reference: what most editors understand.
pub fn stack_file() -> Schema {
    let mut generator = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut tables = Map::new();
    let mut put = |name: &str, schema: Schema| drop(tables.insert(name.to_owned(), schema.to_value()));
    put("stack", allowing(substituted(Head::json_schema(&mut generator))));
    put("vars", vars());
    put("sample", samples());
    put("bucket", named(substituted(Bucket::json_schema(&mut generator)), "The buckets, a table each."));
    put("pipeline", allowing(substituted(Pipeline::json_schema(&mut generator))));
    let mut conditions = Vec::new();
    for kind in KINDS {
        let mut schema = allowing(substituted(protectable(kind.schema(&mut generator))));
        let doc = description(&schema);
        if kind.table() == "task_definition" {
            conditions = required(&mut schema).into_iter().map(|key| unless_by_default(&key)).collect();
            put("task_defaults", defaults(schema.clone()));
        }
        put(kind.table(), named(or_existing(schema), &doc));
    }
    json_schema!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "seqstack stack file",
        "description": "The AWS resources of a lab and the pipeline that is run on one sample.",
        "type": "object",
        "properties": tables,
        "required": ["stack"],
        "additionalProperties": false,
        "allOf": conditions,
    })
}

/// A command: a list of words, or a string that is split.
pub fn words(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [texts(), { "type": "string" }] })
}

/// Keys or files: a list, or one `${…}` that is a list.
pub fn several(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [texts(), { "type": "string", "pattern": r"^\$\{[^}]*\}$" }] })
}

/// Strings, one at least.
fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
}

fn vars() -> Schema {
    json_schema!({
        "description": "Values for `${vars.…}`; `--set KEY=VALUE` overrides one. A string that is only one `${vars.x}` takes its type.",
        "type": "object",
        "additionalProperties": { "anyOf": [{ "type": ["string", "number", "boolean"] }, texts()] },
    })
}

fn samples() -> Schema {
    json_schema!({
        "description": "The samples, a table each; `--sample` picks one where there are several. The name is `${sample.name}`.",
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$" },
        "additionalProperties": {
            "description": "A sample's values, for `${sample.…}` in `[pipeline]` and `[upload]`.",
            "type": "object",
            "properties": { "name": false },
            "additionalProperties": { "anyOf": [{ "type": "string" }, texts()] },
        },
    })
}

/// Tables by logical name.
fn named(table: Schema, doc: &str) -> Schema {
    json_schema!({
        "description": doc,
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "additionalProperties": table,
    })
}

/// The table with the key that silences warnings.
fn allowing(mut table: Schema) -> Schema {
    let codes: Vec<&str> = Code::ALLOWABLE.iter().map(|code| code.name()).collect();
    let allow = json!({
        "description": "Warnings that are meant here: their codes.",
        "type": "array",
        "items": { "type": "string", "enum": codes },
    });
    add(&mut table, ALLOW, allow);
    table
}

/// The table with the key that keeps the resource.
fn protectable(mut table: Schema) -> Schema {
    let doc = "Whether its deletion and its replacement are refused. On AWS it is a tag, so that it holds as well once the \
               table is gone.";
    add(&mut table, protect::KEY, json!({ "description": doc, "type": "boolean", "default": false }));
    table
}

/// Adds a key that the reader takes for every kind.
fn add(table: &mut Schema, key: &str, schema: Value) {
    if let Some(properties) = table.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(key.to_owned(), schema);
    }
}

/// The table, or one that only says what it is called where it exists.
fn or_existing(mut table: Schema) -> Schema {
    let required = required(&mut table);
    let doc = "Somebody else's, by its name, id or ARN: used as it is, never changed, never deleted. Nothing else can be \
               said beside it.";
    add(&mut table, EXISTING, json!({ "description": doc, "type": "string", "minLength": 1 }));
    // Tombi takes each part of a condition for a table of its own, which no other key may be in.
    table.insert("if".to_owned(), json!({ "required": [EXISTING], "additionalProperties": true }));
    table.insert("then".to_owned(), json!({ "maxProperties": 1, "additionalProperties": true }));
    table.insert("else".to_owned(), json!({ "required": required, "additionalProperties": true }));
    table
}

/// What a table cannot do without; the table then can.
fn required(table: &mut Schema) -> Vec<String> {
    let keys = table.remove("required").unwrap_or_default();
    keys.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `[task_defaults]`: the same keys, none of which must be there.
fn defaults(mut table: Schema) -> Schema {
    fn optional(schema: &mut Schema) {
        schema.remove("required");
        transform_subschemas(&mut optional, schema);
    }
    optional(&mut table);
    let doc = "What all task definitions share. A task definition's own key replaces the default whole.";
    table.insert("description".to_owned(), doc.into());
    table
}

/// Every task definition has the key, unless there is a default for it.
fn unless_by_default(key: &str) -> Value {
    let has = |key: &str| json!({ "required": [key], "additionalProperties": true });
    let mut default = has("task_defaults");
    default["properties"] = json!({ "task_defaults": has(key) });
    let own = json!({ "if": { "not": has(EXISTING) }, "then": has(key) });
    json!({
        "if": { "not": default },
        "then": { "properties": { "task_definition": { "additionalProperties": own } }, "additionalProperties": true },
    })
}

fn description(schema: &Schema) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The schema of what is there before substitution: `${vars.x}` may stand for any number or boolean, and every string
/// may have `${…}` in it. TOML has no null.
fn substituted(mut schema: Schema) -> Schema {
    substitutable(&mut schema);
    schema
}

fn substitutable(schema: &mut Schema) {
    // Keys are not substituted.
    let names = schema.remove("propertyNames");
    without_null(schema);
    let constants = |one: &Value| one.get("const").is_some() || one.get("enum").is_some();
    let of = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let bounded = ["enum", "const", "pattern", "minLength", "maxLength"].iter().any(|key| schema.get(*key).is_some());
    match of("type") {
        "integer" | "number" | "boolean" => or(schema, json!({ "type": "string", "pattern": r"^\$\{vars\.[^}]*\}$" })),
        "string" if bounded => or(schema, some_text()),
        _ => match schema.get("oneOf").and_then(Value::as_array) {
            // An enum whose variants have docs.
            Some(variants) if variants.iter().all(constants) => {
                let mut variants = variants.clone();
                variants.push(some_text());
                schema.remove("oneOf");
                schema.insert("anyOf".to_owned(), variants.into());
            }
            _ => transform_subschemas(&mut substitutable, schema),
        },
    }
    if let Some(names) = names {
        schema.insert("propertyNames".to_owned(), names);
    }
}

/// Text that is known only after substitution.
fn some_text() -> Value {
    json!({ "type": "string", "pattern": r"\$\{" })
}

/// The schema or the other one, under the same docs.
fn or(schema: &mut Schema, other: Value) {
    let docs: Vec<(&str, Value)> =
        ["description", "default"].into_iter().filter_map(|key| Some((key, schema.remove(key)?))).collect();
    let own = std::mem::take(schema);
    *schema = json_schema!({ "anyOf": [own, other] });
    docs.into_iter().for_each(|(key, value)| drop(schema.insert(key.to_owned(), value)));
}

/// What an `Option` adds.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(options)) = schema.get_mut("anyOf") {
        let null = json!({ "type": "null" });
        options.retain(|option| *option != null);
        if let [Value::Object(one)] = options.as_slice() {
            let one = one.clone();
            schema.remove("anyOf");
            one.into_iter().for_each(|(key, value)| {
                if schema.get(&key).is_none() {
                    schema.insert(key, value);
                }
            });
        }
    }
}
