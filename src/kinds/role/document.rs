//! IAM policy documents in one spelling, so that two of the same meaning are equal.
//!
//! AWS gives documents back URL-encoded, with lists where a string was sent, and in another order (terraform-aws #22314,
//! #21968, ACK #2142). Never evaluates a policy.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

mod told;

pub use told::{gist, sentences, whole};

/// A document as a person writes it.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "string"] })
}

/// A document as IAM returns it, in canonical form; what is no JSON stays as text, and so differs from all that is.
pub fn decoded(text: &str) -> Value {
    let text = percent_decode_str(text).decode_utf8_lossy();
    serde_json::from_str(&text).map_or_else(|_| Value::String(text.into_owned()), canonical)
}

/// The one spelling of a document: lists everywhere, sets in order, accounts as twelve digits.
pub fn canonical(document: Value) -> Value {
    let Value::Object(mut fields) = document else { return document };
    fields.entry("Version").or_insert_with(|| json!("2008-10-17"));
    if let Some(statements) = fields.remove("Statement") {
        fields.insert("Statement".to_owned(), set(listed(statements).into_iter().map(statement).collect()));
    }
    Value::Object(fields)
}

fn statement(one: Value) -> Value {
    let Value::Object(fields) = one else { return one };
    let fields = fields.into_iter().map(|(key, value)| {
        let value = match key.as_str() {
            "Action" | "NotAction" | "Resource" | "NotResource" => set(listed(value)),
            "Principal" | "NotPrincipal" => principal(value),
            "Condition" => condition(value),
            _ => value,
        };
        (key, value)
    });
    Value::Object(fields.collect())
}

/// `"*"` is `{"AWS": "*"}`, and an account's root ARN is the account.
fn principal(value: Value) -> Value {
    let Value::Object(fields) = value else { return json!({ "AWS": set(listed(value)) }) };
    let fields = fields.into_iter().map(|(key, value)| {
        let values = listed(value).into_iter().map(|one| match one.as_str().and_then(account) {
            Some(account) => Value::String(account.to_owned()),
            None => one,
        });
        let values = set(values.collect());
        (key, values)
    });
    Value::Object(fields.collect())
}

/// The account of `arn:aws:iam::123456789012:root`.
fn account(text: &str) -> Option<&str> {
    let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
    let (_partition, service, region, account, rest) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (service == "iam" && region.is_empty() && rest == "root").then_some(account)
}

/// Operator, key, values: the values are a set, and all of them strings.
fn condition(value: Value) -> Value {
    let Value::Object(operators) = value else { return value };
    let operators = operators.into_iter().map(|(operator, keys)| {
        let keys = match keys {
            Value::Object(keys) => {
                Value::Object(keys.into_iter().map(|(key, values)| (key, strings(values))).collect())
            }
            other => other,
        };
        (operator, keys)
    });
    Value::Object(operators.collect::<Map<_, _>>())
}

fn strings(values: Value) -> Value {
    let text = |one: Value| match one {
        Value::Bool(_) | Value::Number(_) => Value::String(one.to_string()),
        other => other,
    };
    set(listed(values).into_iter().map(text).collect())
}

fn listed(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        one => vec![one],
    }
}

fn set(mut items: Vec<Value>) -> Value {
    items.sort_by_cached_key(ToString::to_string);
    items.dedup();
    Value::Array(items)
}

/// Who may take on a role: one AWS service, or a principal by ARN or account.
pub fn trust(who: &str) -> Value {
    let principal = if who.ends_with(".amazonaws.com") || who.ends_with(".amazonaws.com.cn") {
        json!({ "Service": who })
    } else {
        json!({ "AWS": who })
    };
    canonical(json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }],
    }))
}

/// The least policy for reading whole buckets and writing to them. `aws s3 sync` lists in both directions.
pub fn least(partition: &str, read: &[String], write: &[String]) -> Value {
    let bucket = |name: &String| format!("arn:{partition}:s3:::{name}");
    let objects = |name: &String| format!("arn:{partition}:s3:::{name}/*");
    let mut statements = vec![json!({
        "Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket",
        "Resource": read.iter().chain(write).map(bucket).collect::<Vec<_>>(),
    })];
    if !read.is_empty() {
        statements.push(json!({
            "Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject",
            "Resource": read.iter().map(objects).collect::<Vec<_>>(),
        }));
    }
    if !write.is_empty() {
        statements.push(json!({
            "Sid": "Write", "Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": write.iter().map(objects).collect::<Vec<_>>(),
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The same document, with the rights to the KMS keys of the buckets that are read and written. To send a file in parts one
/// must be able to decrypt, too (S3 API, UploadPart).
pub fn with_keys(document: Value, read: &BTreeSet<String>, write: &BTreeSet<String>) -> Value {
    let Value::Object(mut fields) = document else { return document };
    let mut statements = fields.remove("Statement").map(listed).unwrap_or_default();
    let all: BTreeSet<_> = read.union(write).collect();
    if !all.is_empty() {
        statements.push(json!({ "Sid": "Decrypt", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": all }));
    }
    if !write.is_empty() {
        statements
            .push(json!({ "Sid": "Encrypt", "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": write }));
    }
    fields.insert("Statement".to_owned(), Value::Array(statements));
    Value::Object(fields)
}

/// The same document, which also keeps tasks away from the runs' ledgers in these buckets.
pub fn without_ledgers<'a>(document: Value, partition: &str, buckets: impl Iterator<Item = &'a String>) -> Value {
    let ledgers: Vec<_> = buckets.map(|bucket| format!("arn:{partition}:s3:::{bucket}/.seqstack/*")).collect();
    let Value::Object(mut fields) = document else { return document };
    if !ledgers.is_empty() {
        let mut statements = fields.remove("Statement").map(listed).unwrap_or_default();
        statements.push(json!({
            "Sid": "DenyLedger", "Effect": "Deny", "Resource": ledgers,
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject*"],
        }));
        fields.insert("Statement".to_owned(), Value::Array(statements));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z]{1,4}", 1..4)
    }

    prop_compose! {
        fn one()(action in words(), resource in words(), who in words(), allow in any::<bool>(), number in 0..100) -> Value {
            json!({
                "Effect": if allow { "Allow" } else { "Deny" }, "Action": action, "Resource": resource,
                "Principal": { "Service": who }, "Condition": { "NumericLessThan": { "k": number } },
            })
        }
    }

    /// Another spelling of the same meaning, as AWS might answer.
    fn respelled(document: &Value) -> Value {
        match document {
            Value::Array(items) if items.len() == 1 => respelled(&items[0]),
            Value::Array(items) => items.iter().rev().map(respelled).collect(),
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), respelled(value))).collect(),
            Value::Number(number) => Value::String(number.to_string()),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn a_document_equals_its_other_spellings(statements in prop::collection::vec(one(), 1..4)) {
            let document = json!({ "Version": "2012-10-17", "Statement": statements });
            let form = canonical(document.clone());
            prop_assert_eq!(&canonical(form.clone()), &form);
            prop_assert_eq!(&canonical(respelled(&document)), &form);
            let sent = utf8_percent_encode(&respelled(&form).to_string(), NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(&decoded(&sent), &form);
        }

        #[test]
        fn another_action_is_another_document(statements in prop::collection::vec(one(), 1..4)) {
            let document = json!({ "Version": "2012-10-17", "Statement": statements });
            let mut other = document.clone();
            other["Statement"][0]["Action"] = json!("quite-another");
            prop_assert_ne!(canonical(document), canonical(other));
        }
    }

    #[test]
    fn an_account_is_its_root() {
        let by = |who: &str| canonical(json!({ "Statement": { "Principal": { "AWS": who } } }));
        assert_eq!(by("arn:aws:iam::123456789012:root"), by("123456789012"));
        assert_ne!(by("arn:aws:iam::123456789012:role/x"), by("123456789012"));
    }

    #[test]
    fn the_least_policy_lists_reads_and_writes_no_more_than_asked() {
        let document = least("aws", &["in".to_owned()], &["out".to_owned()]);
        assert_eq!(document["Statement"][0]["Resource"], json!(["arn:aws:s3:::in", "arn:aws:s3:::out"]));
        assert_eq!(document["Statement"][1]["Resource"], json!(["arn:aws:s3:::in/*"]));
        assert_eq!(document["Statement"][2]["Resource"], json!(["arn:aws:s3:::out/*"]));
        let kept = without_ledgers(document, "aws", [&"out".to_owned()].into_iter());
        assert_eq!(kept["Statement"][3]["Resource"], json!(["arn:aws:s3:::out/.seqstack/*"]));
    }

    #[test]
    fn who_reads_may_decrypt_and_who_writes_may_encrypt_too() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let statements = |read: &[&str], write: &[&str]| {
            with_keys(json!({ "Statement": [] }), &keys(read), &keys(write))["Statement"].clone()
        };
        assert_eq!(statements(&[], &[]), json!([]));
        let reads = statements(&["a"], &[]);
        assert_eq!((&reads[0]["Action"], &reads[0]["Resource"]), (&json!("kms:Decrypt"), &json!(["a"])));
        assert_eq!(reads.as_array().unwrap().len(), 1);
        let both = statements(&["a"], &["b"]);
        assert_eq!(both[0]["Resource"], json!(["a", "b"]));
        assert_eq!((&both[1]["Action"], &both[1]["Resource"]), (&json!("kms:GenerateDataKey"), &json!(["b"])));
    }
}
