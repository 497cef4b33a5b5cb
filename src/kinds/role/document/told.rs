//! Canonical policy documents in words: a sentence for each action on each resource, so that a change of one of them is a
//! change of one line. Says no more than the document does, and evaluates nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A statement, a sentence for each of its combinations: `allow s3:GetObject on arn:aws:s3:::lab-reads/*`.
pub fn sentences(statement: &Value) -> Vec<String> {
    let effect = statement["Effect"].as_str().unwrap_or_default().to_lowercase();
    let condition = statement.get("Condition").map(|condition| format!(" if {condition}")).unwrap_or_default();
    let whom = principals(statement);
    let places = either(statement, "Resource", " on ");
    let mut out = Vec::new();
    for action in either(statement, "Action", " ") {
        for place in &places {
            out.extend(whom.iter().map(|who| format!("{effect}{action}{place}{who}{condition}")));
        }
    }
    out
}

/// A document that comes or goes as a whole: each resource with all that is allowed or denied on it.
pub fn whole(document: &Value) -> Vec<String> {
    let mut by_place: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mut statement in statements(document).cloned() {
        let actions = either(&statement, "Action", "").join(" ");
        for key in ["Action", "NotAction"] {
            statement.as_object_mut().and_then(|fields| fields.remove(key));
        }
        for rest in sentences(&statement) {
            by_place.entry(rest).or_default().push(actions.clone());
        }
    }
    let told = |(rest, actions): (String, Vec<String>)| {
        let (effect, rest) = rest.split_once(' ').unwrap_or((&rest, ""));
        format!("{effect} {} {rest}", actions.join(" "))
    };
    by_place.into_iter().map(told).collect()
}

/// A document in a few words: who is trusted, or what is allowed, a part each. What it denies only narrows that.
pub fn gist(document: &Value) -> Vec<String> {
    let allowed = || statements(document).filter(|one| one["Effect"] == "Allow");
    let mut by_place: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for statement in allowed() {
        for place in texts(&statement["Resource"]) {
            by_place.entry(short(place)).or_default().extend(texts(&statement["Action"]));
        }
    }
    let whom: BTreeSet<&str> =
        allowed().flat_map(|one| named(&one["Principal"])).map(|(_, who)| service(who)).collect();
    let rights = by_place
        .into_iter()
        .filter(|(_, actions)| !actions.is_empty())
        .map(|(place, actions)| format!("{} on {place}", actions.into_iter().collect::<Vec<_>>().join(" ")));
    let excepting = allowed().any(|one| one.get("NotAction").or(one.get("NotResource")).is_some());
    let exceptions = excepting.then(|| "all but some (-v shows it)".to_owned());
    whom.into_iter().map(str::to_owned).chain(rights).chain(exceptions).collect()
}

fn statements(document: &Value) -> impl Iterator<Item = &Value> {
    document.get("Statement").and_then(Value::as_array).into_iter().flatten()
}

fn texts(values: &Value) -> impl Iterator<Item = &str> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Principals with what sort each is of.
fn named(principal: &Value) -> impl Iterator<Item = (&String, &str)> {
    let sorts = principal.as_object().into_iter().flatten();
    sorts.flat_map(|(sort, names)| texts(names).map(move |name| (sort, name)))
}

/// The values of `key`, or those of `Not…` as exceptions, or one empty text where a statement has neither.
fn either(statement: &Value, key: &str, before: &str) -> Vec<String> {
    let except = texts(&statement[format!("Not{key}")]).map(|one| format!("{before}all but {one}"));
    let all: Vec<String> = texts(&statement[key]).map(|one| format!("{before}{one}")).chain(except).collect();
    if all.is_empty() { vec![String::new()] } else { all }
}

fn principals(statement: &Value) -> Vec<String> {
    let some = named(&statement["Principal"]).map(|(sort, who)| format!(" by {sort} {who}"));
    let others = named(&statement["NotPrincipal"]).map(|(sort, who)| format!(" by all but {sort} {who}"));
    let all: Vec<String> = some.chain(others).collect();
    if all.is_empty() { vec![String::new()] } else { all }
}

/// The bucket of an S3 ARN, with or without its objects; every other ARN as it is.
fn short(arn: &str) -> String {
    let place = arn.split_once(":s3:::").map_or(arn, |(_, place)| place.strip_suffix("/*").unwrap_or(place));
    place.to_owned()
}

/// `ecs-tasks` of an AWS service's name; everybody else as they are.
fn service(who: &str) -> &str {
    who.strip_suffix(".amazonaws.com").unwrap_or(who)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::canonical;
    use super::*;

    fn document() -> Value {
        canonical(json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"],
              "Resource": ["arn:aws:s3:::lab", "arn:aws:s3:::lab/*"] },
            { "Effect": "Deny", "NotAction": "s3:*", "Resource": "*",
              "Condition": { "Bool": { "aws:SecureTransport": "false" } } },
        ]}))
    }

    #[test]
    fn each_action_on_each_resource_is_a_sentence() {
        let told: Vec<String> = statements(&document()).flat_map(sentences).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        allow s3:GetObject on arn:aws:s3:::lab
        allow s3:GetObject on arn:aws:s3:::lab/*
        allow s3:ListBucket on arn:aws:s3:::lab
        allow s3:ListBucket on arn:aws:s3:::lab/*
        deny all but s3:* on * if {"Bool":{"aws:SecureTransport":["false"]}}
        "#);
        assert_eq!(gist(&document()), ["s3:GetObject s3:ListBucket on lab"]);
        insta::assert_snapshot!(whole(&document()).join("\n"), @r#"
        allow s3:GetObject s3:ListBucket on arn:aws:s3:::lab
        allow s3:GetObject s3:ListBucket on arn:aws:s3:::lab/*
        deny all but s3:* on * if {"Bool":{"aws:SecureTransport":["false"]}}
        "#);
    }

    #[test]
    fn who_is_trusted_is_said() {
        let trust = canonical(json!({ "Statement": [
            { "Effect": "Allow", "Action": "sts:AssumeRole",
              "Principal": { "Service": "ecs-tasks.amazonaws.com", "AWS": "arn:aws:iam::123456789012:root" } },
        ]}));
        let told: Vec<String> = statements(&trust).flat_map(sentences).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        allow sts:AssumeRole by AWS 123456789012
        allow sts:AssumeRole by Service ecs-tasks.amazonaws.com
        ");
        assert_eq!(gist(&trust), ["123456789012", "ecs-tasks"]);
    }
}
