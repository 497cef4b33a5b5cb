//! What the rest of a stack file may name: `[vars]`, `[stack]`, `[bucket.…]`, `[sample.…]`.
//!
//! Turns those tables into the scope of `${…}` and into the stack's own data.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::Request;
use super::diagnostic::{Sink, suggest};
use super::substitute::{Meaning, Place, Scope};
use super::tolerant::Table;
use super::tree::{Entry, Node, Value};
use super::values::PLACEHOLDER;
use super::warning::ALLOW;
use crate::encryption::{Encryption, Encryptions};
use crate::kind::Tags;

/// A string that checks itself; the placeholder of a fault told before passes.
macro_rules! checked {
    ($(#[$doc:meta] $name:ident $check:ident $pattern:literal;)*) => { $(
        #[$doc]
        #[derive(Clone, Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                if text == PLACEHOLDER { Ok(Self(text)) } else { $check(&text).map(|()| Self(text)) }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )* };
}

checked! {
    /// The stack's name.
    StackName stack_name "^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$";
    /// An account id.
    Account account "^[0-9]{12}$";
    /// A region.
    Region region "^[a-z]{2,}(-[a-z]{2,}){1,2}-[0-9]{1,2}$";
    /// A bucket's physical name.
    BucketName bucket_name "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$";
    /// How S3 encrypts what is written.
    Method method "^(AES256|aws:kms)$";
    /// A KMS key.
    KmsKey kms_key "^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$";
}

/// The stack itself: what it is called, and where it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The stack's name: letters, digits and single dashes, at most 32. Everything that is made is named after it.
    #[schemars(length(max = 32))]
    pub(super) name: StackName,
    /// The AWS account (twelve digits): any other is refused before anything is changed. Left out, whichever answers.
    pub(super) account: Option<Account>,
    /// The AWS region, e.g. `eu-west-2`; left out, the profile's.
    pub(super) region: Option<Region>,
    /// Tags for everything that is made, e.g. for the bill.
    #[serde(default)]
    pub(super) tags: Tags,
}

/// A bucket that exists. It is never made, emptied or deleted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bucket {
    /// The bucket's name in S3.
    name: BucketName,
    /// How each object that seqstack writes there says it is to be encrypted: `AES256` or `aws:kms`. Left out, it says nothing,
    /// and the bucket's own default holds; some buckets' policies refuse such writes.
    encryption: Option<Method>,
    /// The KMS key of the bucket's objects, as an ARN: what is written is encrypted with it (`aws:kms`), and roles that `read`
    /// or `write` the bucket get the rights to it.
    kms_key: Option<KmsKey>,
}

impl Bucket {
    /// How what is written to it is encrypted, where that is said.
    fn encryption(&self) -> Option<Encryption> {
        let key = self.kms_key.as_ref().map(|key| key.0.clone());
        match (self.encryption.as_ref().map(|method| method.0.as_str()), &key) {
            (None, None) => None,
            (Some("AES256"), _) => Some(Encryption::Aes256),
            _ => Some(Encryption::Kms { key }),
        }
    }
}

fn stack_name(name: &str) -> Result<(), String> {
    let alphabet = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !alphabet || name.is_empty() || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return Err(format!("`{name}` is no stack name: letters, digits, and single dashes between them"));
    }
    if name.len() > 32 { Err(format!("`{name}` is longer than 32 characters: make it shorter")) } else { Ok(()) }
}

fn account(id: &str) -> Result<(), String> {
    if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("`{id}` is no account id: twelve digits"))
    }
}

fn region(name: &str) -> Result<(), String> {
    let parts: Vec<&str> = name.split('-').collect();
    let letters = |part: &&str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [words @ .., number]
            if (2..=3).contains(&words.len())
                && words.iter().all(letters)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            Ok(())
        }
        _ => Err(format!("`{name}` is no region: one such as eu-west-2")),
    }
}

/// S3's rules for general purpose buckets.
fn bucket_name(name: &str) -> Result<(), String> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let why = if !(3..=63).contains(&name.len()) {
        "it has 3 to 63 characters"
    } else if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)) {
        "only lower-case letters, digits, dots and dashes"
    } else if !edge(name.chars().next()) || !edge(name.chars().next_back()) {
        "it begins and ends with a letter or digit"
    } else if name.contains("..") {
        "no two dots side by side"
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        "it must not look like an IP address"
    } else if ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|start| name.starts_with(start))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| name.ends_with(end))
    {
        "S3 keeps that beginning or end for itself"
    } else {
        return Ok(());
    };
    Err(format!("`{name}` is no bucket name: {why}"))
}

fn method(name: &str) -> Result<(), String> {
    match name {
        "AES256" | "aws:kms" => Ok(()),
        _ => Err(format!("`{name}` is no encryption: `AES256` (S3's own keys) or `aws:kms`")),
    }
}

/// Policies name a key by its id only: an alias in a role's policy allows nothing.
fn kms_key(arn: &str) -> Result<(), String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let id = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match parts.as_slice() {
        ["arn", partition, "kms", place, owner, key]
            if partition.starts_with("aws")
                && id(place)
                && account(owner).is_ok()
                && key.strip_prefix("key/").is_some_and(id) =>
        {
            Ok(())
        }
        _ => Err(format!(
            "`{arn}` is no KMS key's ARN: arn:aws:kms:REGION:ACCOUNT:key/ID, as `aws kms describe-key --key-id alias/NAME` tells it"
        )),
    }
}

/// Letters, digits, `_` and `-`: what AWS's names, tags and addresses all allow.
pub(super) fn logical_name(entry: &Entry, sink: &Sink) {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if entry.key.is_empty() || !entry.key.chars().all(sound) {
        let text = format!("`{}` is no name: letters, digits, `_` and `-`", entry.key);
        sink.tell(&entry.key_span, text, None);
    } else if entry.key.len() > 64 {
        sink.tell(&entry.key_span, "this name is longer than 64 characters", Some("make it shorter".to_owned()));
    }
}

/// `[vars]`, with what `--set` puts in their place.
pub(super) fn vars(root: &Node, request: &Request<'_>, scope: &mut Scope, sink: &Sink) {
    let entries = root.get("vars").map(Node::entries).unwrap_or_default();
    for (key, _) in request.set {
        if !entries.iter().any(|entry| entry.key == *key) {
            let names = entries.iter().map(|entry| entry.key.as_str());
            let hint = suggest(key, names, "the file has")
                .unwrap_or_else(|| "the file has no [vars]: `--set` only overrides what is there".to_owned());
            sink.tell_request(format!("--set {key}: there is no `{key}` in [vars]"), Some(hint));
        }
    }
    for entry in entries {
        let meaning = var(entry, sink);
        let given = request.set.iter().rev().find(|(key, _)| *key == entry.key);
        let meaning = match given {
            Some((_, text)) => override_var(&entry.key, text, &meaning, sink),
            None => meaning,
        };
        scope.define(format!("vars.{}", entry.key), meaning);
    }
}

fn var(entry: &Entry, sink: &Sink) -> Meaning {
    match &entry.node.value {
        Value::String(text) if text.replace("$${", "").contains("${") => {
            let hint = "write the value itself, or `$${` for a literal `${`".to_owned();
            sink.tell(&entry.node.span, "a var cannot refer to anything", Some(hint));
            Meaning::Broken
        }
        Value::String(text) => Meaning::Is(Value::String(text.replace("$${", "${"))),
        value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => Meaning::Is(value.clone()),
        Value::Broken => Meaning::Broken,
        Value::Array(items) if items.iter().all(|item| item.text().is_some_and(|text| !text.contains("${"))) => {
            listed(&entry.node, sink)
        }
        other => {
            let text = format!("expected a string, number, boolean or list of strings, found {}", other.type_name());
            let hint = "a var is one value, which `${vars.…}` puts into text, or a list of strings".to_owned();
            sink.tell(&entry.node.span, text, Some(hint));
            Meaning::Broken
        }
    }
}

/// A list of strings, each of which is a word or a key of its own where the list is named.
fn listed(node: &Node, sink: &Sink) -> Meaning {
    if node.items().is_empty() {
        sink.tell(&node.span, "there is nothing in this list", Some("name one value at least".to_owned()));
        return Meaning::Broken;
    }
    Meaning::Is(node.value.clone())
}

/// What `--set` says, as the type that the var has in the file.
fn override_var(key: &str, text: &str, meaning: &Meaning, sink: &Sink) -> Meaning {
    let (wanted, value) = match meaning {
        Meaning::Is(Value::Integer(_)) => {
            ("an integer", text.parse().ok().filter(|n| *n != i64::MIN).map(Value::Integer))
        }
        Meaning::Is(Value::Float(_)) => ("a number", text.parse().ok().map(Value::Float)),
        Meaning::Is(Value::Array(_)) => ("a list", None),
        Meaning::Is(Value::Boolean(_)) => ("true or false", text.parse().ok().map(Value::Boolean)),
        _ => ("text", (!text.contains(PLACEHOLDER)).then(|| Value::String(text.to_owned()))),
    };
    value.map_or_else(
        || {
            let hint = format!("`{key}` is {wanted} in [vars], and stays that");
            sink.tell_request(format!("--set {key}: expected {wanted}, found `{text}`"), Some(hint));
            Meaning::Broken
        },
        Meaning::Is,
    )
}

/// `[stack]`
pub(super) fn stack(root: &Node, scope: &mut Scope, sink: &Sink) -> Option<Head> {
    let Some(node) = root.get("stack") else {
        let hint = "begin the file with [stack] and a name: name = \"germline\"".to_owned();
        sink.tell(&(0..0), "there is no [stack]", Some(hint));
        scope.define("stack.name".to_owned(), Meaning::Broken);
        scope.define("stack.region".to_owned(), Meaning::Broken);
        return None;
    };
    let head: Option<Head> = Table::new(node, sink).beside(&[ALLOW]).read();
    if let Some(tags) = node.get("tags") {
        check_tags(tags, sink);
    }
    let is = |text: Option<&str>, unset: Meaning| match text {
        Some(PLACEHOLDER) => Meaning::Broken,
        Some(text) => Meaning::Is(Value::String(text.to_owned())),
        None => unset,
    };
    let name = head.as_ref().map(|head| head.name.0.as_str());
    scope.define("stack.name".to_owned(), is(name, Meaning::Broken));
    let region = head.as_ref().and_then(|head| head.region.as_ref()).map(|region| region.0.as_str());
    let unset = match head {
        Some(_) => Meaning::Unset("say it in [stack]: region = \"eu-west-2\""),
        None => Meaning::Broken,
    };
    scope.define("stack.region".to_owned(), is(region, unset));
    head
}

/// The limits of all the services that the tags go to: instances show theirs through their metadata, which allows
/// fewer characters in a key than the others.
fn check_tags(tags: &Node, sink: &Sink) {
    const MOST: usize = 40;
    if tags.entries().len() > MOST {
        let hint = "AWS takes 50 on a resource, and some are needed to find it again".to_owned();
        sink.tell(&tags.span, format!("more than {MOST} tags"), Some(hint));
    }
    let mut seen = BTreeSet::new();
    for Entry { key, key_span, node } in tags.entries() {
        let sound = |c: char| c.is_ascii_alphanumeric() || "+-=._:@".contains(c);
        let lower = key.to_lowercase();
        if lower.starts_with("aws:") || lower.starts_with("seqstack:") {
            let owner = if lower.starts_with("aws:") { "AWS" } else { "seqstack" };
            sink.tell(
                key_span,
                format!("tags that begin with `{}` are {owner}'s own: take another key", &key[..=owner_end(key)]),
                None,
            );
        } else if key.is_empty() || key.len() > 128 {
            sink.tell(key_span, "a tag's key has 1 to 128 characters", Some("make it that".to_owned()));
        } else if !key.chars().all(sound) || matches!(key.as_str(), "." | ".." | "_index") {
            let hint = "letters, digits and + - = . _ : @, since instances show their tags in their metadata";
            sink.tell(key_span, format!("`{key}` cannot be a tag's key"), Some(hint.to_owned()));
        } else if !seen.insert(lower) {
            let hint = "IAM does not tell upper from lower case in the keys of tags".to_owned();
            sink.tell(key_span, format!("the tag `{key}` is there twice"), Some(hint));
        }
        let Some(text) = node.text() else { continue };
        let sound = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
        if text.chars().count() > 256 {
            sink.tell(&node.span, "a tag's value has at most 256 characters", Some("make it shorter".to_owned()));
        } else if !text.chars().all(sound) {
            let hint = "letters, digits, spaces and _ . : / = + - @".to_owned();
            sink.tell(&node.span, "a character in this tag's value that AWS does not take", Some(hint));
        }
    }
}

fn owner_end(key: &str) -> usize {
    key.find(':').unwrap_or_default()
}

/// `[bucket.…]`: physical names by logical name, and how what is written there is encrypted.
pub(super) fn buckets(root: &Node, scope: &mut Scope, sink: &Sink) -> (BTreeMap<String, String>, Encryptions) {
    let (mut names, mut encryptions) = (BTreeMap::new(), Encryptions::new());
    for entry in root.get("bucket").map(Node::entries).unwrap_or_default() {
        logical_name(entry, sink);
        let read: Option<Bucket> = Table::new(&entry.node, sink).read();
        let encryption = read.as_ref().and_then(Bucket::encryption);
        let key = read.as_ref().and_then(|bucket| bucket.kms_key.as_ref()).filter(|key| key.0 != PLACEHOLDER);
        if let (Some(key), Some(Encryption::Aes256)) = (key.and(entry.node.get("kms_key")), &encryption) {
            let hint = "leave one of them out, or write: encryption = \"aws:kms\"".to_owned();
            sink.tell(&key.span, "a `kms_key` goes with `aws:kms`, not with `AES256`", Some(hint));
        }
        let name = read.map(|bucket| bucket.name.0).filter(|name| name != PLACEHOLDER);
        let twice = |name: &String, encryption: &Encryption| {
            encryptions.get(name).is_some_and(|other: &Encryption| other != encryption)
        };
        if let (Some(name), Some(encryption)) = (&name, encryption) {
            if twice(name, &encryption) {
                let hint = "say the same in both tables, or name the bucket in one only".to_owned();
                sink.tell(
                    &entry.key_span,
                    format!("the bucket `{name}` is there twice, with another encryption"),
                    Some(hint),
                );
            }
            encryptions.insert(name.clone(), encryption);
        }
        let meaning = name.clone().map_or(Meaning::Broken, |name| Meaning::Is(Value::String(name)));
        scope.define(format!("bucket.{}", entry.key), meaning);
        names.extend(name.map(|name| (entry.key.clone(), name)));
    }
    (names, encryptions)
}

/// `[sample.…]`: their names, and the one that was picked.
pub(super) fn samples(
    root: &mut Node,
    source: &str,
    request: &Request<'_>,
    scope: &mut Scope,
    sink: &Sink,
) -> (Vec<String>, Option<String>) {
    let entries = root.get_mut("sample").map(Node::entries_mut).unwrap_or_default();
    let names: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    scope.has_samples = !names.is_empty();
    let picked = pick(&names, request, sink);
    for entry in entries {
        sample_name(entry, sink);
        let mut own = scope.clone();
        own.define("sample.name".to_owned(), Meaning::Is(Value::String(entry.key.clone())));
        own.substitute(&mut entry.node, source, Place::SampleTable, sink);
        sample_values(entry, sink);
        if picked.as_ref().is_some_and(|picked| *picked != entry.key) {
            continue;
        }
        for value in entry.node.entries() {
            let meaning = match (&value.node.value, value.node.text(), &picked) {
                (Value::Array(items), ..) if items.iter().any(|item| item.text().is_none()) => Meaning::Broken,
                (Value::Array(_), ..) if picked.is_some() => listed(&value.node, sink),
                (Value::Array(_), ..) | (_, Some(_), None) => Meaning::Later,
                (_, None, _) => Meaning::Broken,
                (_, Some(text), Some(_)) => Meaning::Is(Value::String(text.to_owned())),
            };
            scope.define(format!("sample.{}", value.key), meaning);
        }
    }
    if scope.has_samples {
        let name = picked.clone().map_or(Meaning::Later, |name| Meaning::Is(Value::String(name)));
        scope.define("sample.name".to_owned(), name);
    }
    (names, picked)
}

fn pick(names: &[String], request: &Request<'_>, sink: &Sink) -> Option<String> {
    match (request.sample, names) {
        (Some(wanted), _) => {
            let found = names.iter().find(|name| *name == wanted).cloned();
            if found.is_none() {
                let hint = suggest(wanted, names.iter().map(String::as_str), "the file has")
                    .unwrap_or_else(|| "the file has no [sample.…]".to_owned());
                sink.tell_request(format!("--sample {wanted}: there is no such sample"), Some(hint));
            }
            found
        }
        (None, [only]) if request.needs_sample => Some(only.clone()),
        (None, [_, _, ..]) if request.needs_sample => {
            let hint = format!("--sample NAME picks one: {}", names.join(", "));
            sink.tell_request("the file has several samples, and none was picked", Some(hint));
            None
        }
        (None, _) => None,
    }
}

/// What S3 keys, tags and addresses all allow.
fn sample_name(entry: &Entry, sink: &Sink) {
    let name = &entry.key;
    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || !name.chars().all(sound) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let text = format!("`{name}` is no sample name: letters, digits, `_`, `.` and `-`, a letter or digit first");
        sink.tell(&entry.key_span, text, None);
    } else if name.len() > 100 {
        sink.tell(
            &entry.key_span,
            "this sample name is longer than 100 characters",
            Some("make it shorter".to_owned()),
        );
    }
}

fn sample_values(entry: &Entry, sink: &Sink) {
    match &entry.node.value {
        Value::Table(values) => {
            for value in values {
                if value.key == "name" {
                    let hint = "`sample.name` is the name in the table's header".to_owned();
                    sink.tell(&value.key_span, "`name` cannot be a value of a sample", Some(hint));
                }
                let text = |node: &Node| node.text().is_some() || matches!(node.value, Value::Broken);
                let wrong = value.node.items().iter().find(|item| !text(item));
                let node = match &value.node.value {
                    Value::Array(_) => wrong,
                    _ => Some(&value.node).filter(|node| !text(node)),
                };
                let Some(Node { value: found, span, .. }) = node else { continue };
                let hint = match (found, found.scalar_text()) {
                    (Value::Table(_), _) => Some(format!(
                        "a sample's name that has dots is quoted: [sample.\"{}.{}\"]",
                        entry.key, value.key
                    )),
                    (_, Some(text)) => Some(format!("write it in quotes: \"{text}\"")),
                    _ => Some("text in quotes: \"…\"".to_owned()),
                };
                sink.tell(span, format!("expected a string, found {}", found.type_name()), hint);
            }
        }
        Value::Broken => {}
        other => {
            let hint = "a sample is a table: [sample.<name>]".to_owned();
            sink.tell(&entry.node.span, format!("expected a table, found {}", other.type_name()), Some(hint));
        }
    }
}
