//! May these policy documents do this action to that resource: an explicit Deny wins, an Allow is needed.
//!
//! A condition that is not known here is taken to fail in an Allow and to hold in a Deny: it fails closed.

use serde_json::Value;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `s3:GetObject`
    pub action: &'a str,
    /// `arn:aws:s3:::bucket/key`, or `*` for actions that have no resource.
    pub resource: &'a str,
    /// Condition keys and their values, e.g. `s3:prefix`.
    pub context: &'a [(&'a str, &'a str)],
}

/// The answer of all of a role's policies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and nowhere denied.
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it.
    Denied,
}

/// Weighs the documents.
pub fn decide<'a>(documents: impl IntoIterator<Item = &'a Value>, ask: Ask<'_>) -> Decision {
    let mut decision = Decision::NotAllowed;
    for document in documents {
        for statement in list(&document["Statement"]) {
            let deny = match statement["Effect"].as_str() {
                Some("Deny") => true,
                Some("Allow") => false,
                _ => continue,
            };
            // What is not known here holds in a Deny and not in an Allow.
            let applies = [
                part(statement, "Action", ask.action, true),
                part(statement, "Resource", ask.resource, false),
                condition(&statement["Condition"], ask.context),
            ];
            match (applies.iter().all(|part| part.unwrap_or(deny)), deny) {
                (true, true) => return Decision::Denied,
                (true, false) => decision = Decision::Allowed,
                (false, _) => {}
            }
        }
    }
    decision
}

/// `Action`/`NotAction` and `Resource`/`NotResource`; `None` where it depends on a policy variable, or where a statement has
/// both or neither.
fn part(statement: &Value, name: &str, asked: &str, ignore_case: bool) -> Option<bool> {
    let (patterns, not) = match (statement.get(name), statement.get(format!("Not{name}"))) {
        (Some(patterns), None) => (patterns, false),
        (None, Some(patterns)) => (patterns, true),
        _ => return None,
    };
    let matches = any(patterns, |pattern| like(pattern, asked, ignore_case))?;
    Some(matches != not)
}

/// Whether one of the patterns fits; `None` where none that is known does, and one has a policy variable (`${aws:…}`).
fn any(patterns: &Value, fits: impl Fn(&str) -> bool) -> Option<bool> {
    let variable = |pattern: &&str| pattern.contains("${");
    if strings(patterns).filter(|pattern| !variable(pattern)).any(fits) {
        return Some(true);
    }
    if strings(patterns).any(|pattern| variable(&pattern)) { None } else { Some(false) }
}

/// Whether all conditions hold; `None` where that turns on one that is not known here.
fn condition(conditions: &Value, context: &[(&str, &str)]) -> Option<bool> {
    if conditions.is_null() {
        return Some(true);
    }
    let mut all = Some(true);
    for (operator, keys) in conditions.as_object()? {
        for (key, patterns) in keys.as_object()? {
            match one_condition(operator, key, patterns, context) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
    }
    all
}

/// The condition keys that are known here; a request that has none of them lacks them.
const KNOWN: &[&str] =
    &["s3:prefix", "s3:delimiter", "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"];

fn one_condition(operator: &str, key: &str, patterns: &Value, context: &[(&str, &str)]) -> Option<bool> {
    if !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return None;
    }
    let value = context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value);
    let equal = |value: &str| any(patterns, |pattern| pattern == value);
    let alike = |value: &str| any(patterns, |pattern| like(pattern, value, false));
    // A key that the request lacks makes a positive condition fail and a negative one hold.
    match operator {
        "StringEquals" => value.map_or(Some(false), equal),
        "StringNotEquals" => value.map_or(Some(true), |value| equal(value).map(|equal| !equal)),
        "StringLike" => value.map_or(Some(false), alike),
        "StringNotLike" => value.map_or(Some(true), |value| alike(value).map(|alike| !alike)),
        "StringEqualsIfExists" => value.map_or(Some(true), equal),
        "StringNotEqualsIfExists" => value.map_or(Some(true), |value| equal(value).map(|equal| !equal)),
        "Null" => match patterns.as_bool() {
            Some(absent) => Some(absent == value.is_none()),
            None => equal(if value.is_none() { "true" } else { "false" }),
        },
        _ => None,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    list(value).filter_map(Value::as_str)
}

/// `*` is any text, `?` any one character.
fn like(pattern: &str, text: &str, ignore_case: bool) -> bool {
    let fold = |text: &str| -> Vec<char> {
        if ignore_case { text.to_lowercase().chars().collect() } else { text.chars().collect() }
    };
    let (pattern, text) = (fold(pattern), fold(text));
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask<'a>(action: &'a str, resource: &'a str, context: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { action, resource, context }
    }

    /// IAM's "Policy evaluation logic": denied unless allowed, and an explicit denial overrides every Allow.
    #[test]
    fn deny_wins_and_conditions_fail_closed() {
        let allow = json!({"Statement": [
            {"Effect": "Allow", "Action": ["s3:Get*", "s3:putobject"], "Resource": "arn:aws:s3:::b/*"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
             "Condition": {"StringLike": {"s3:prefix": "in/*"}}},
            {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "*",
             "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
        ]});
        let deny = json!({"Statement": {"Effect": "Deny", "NotAction": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/.seqstack/*"}});
        for both in [[&allow, &deny], [&deny, &allow]] {
            let decide = |a: Ask<'_>| decide(both, a);
            assert_eq!(decide(ask("s3:GetObject", "arn:aws:s3:::b/x", &[])), Decision::Allowed);
            assert_eq!(decide(ask("s3:PutObject", "arn:aws:s3:::b/x/y", &[])), Decision::Allowed);
            assert_eq!(decide(ask("s3:PutObject", "arn:aws:s3:::b/.seqstack/l", &[])), Decision::Denied);
            assert_eq!(decide(ask("s3:GetObject", "arn:aws:s3:::b/.seqstack/l", &[])), Decision::Allowed);
            assert_eq!(decide(ask("s3:GetObject", "arn:aws:s3:::c/x", &[])), Decision::NotAllowed);
            assert_eq!(decide(ask("s3:ListBucket", "arn:aws:s3:::b", &[("s3:prefix", "in/a")])), Decision::Allowed);
            assert_eq!(decide(ask("s3:ListBucket", "arn:aws:s3:::b", &[])), Decision::NotAllowed);
            assert_eq!(decide(ask("s3:DeleteObject", "arn:aws:s3:::b/x", &[])), Decision::NotAllowed);
        }
    }

    /// Of one statement on `s3:GetObject` of `b/in/k`, beside one that allows all of `b/*` where it denies.
    fn of(statement: &Value, context: &[(&str, &str)]) -> Decision {
        let beside = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"});
        let statements = if statement["Effect"] == "Deny" { json!([beside, statement]) } else { json!([statement]) };
        decide([&json!({ "Statement": statements })], ask("s3:GetObject", "arn:aws:s3:::b/in/k", context))
    }

    #[test]
    fn what_a_statement_is_about() {
        // Whether a statement with these is about `s3:GetObject` of `b/in/k`.
        for (about, parts) in [
            (true, json!({"Action": "*", "Resource": "*"})),
            (true, json!({"Action": "S3:getobject", "Resource": "arn:aws:s3:::b/in/k"})),
            (
                true,
                json!({"Action": ["s3:Put*", "s3:Get?bject"], "Resource": ["arn:aws:s3:::c/*", "arn:aws:s3:::b/*"]}),
            ),
            (true, json!({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::*/k"})),
            (true, json!({"NotAction": "s3:Put*", "Resource": "*"})),
            (true, json!({"NotAction": [], "NotResource": "arn:aws:s3:::c/*"})),
            (false, json!({"Action": "s3:GetObjectVersion", "Resource": "*"})),
            (false, json!({"Action": "s3:Get", "Resource": "*"})),
            (false, json!({"Action": [], "Resource": "*"})),
            (false, json!({"Action": "*", "Resource": "arn:aws:s3:::b"})),
            (false, json!({"Action": "*", "Resource": "arn:aws:s3:::B/in/k"})),
            (false, json!({"Action": "*", "Resource": "arn:aws:s3:::b/in/?k"})),
            (false, json!({"NotAction": ["s3:List*", "s3:get*"], "Resource": "*"})),
            (false, json!({"Action": "*", "NotResource": ["arn:aws:s3:::b/in/*"]})),
        ] {
            for (effect, otherwise, then) in
                [("Allow", Decision::NotAllowed, Decision::Allowed), ("Deny", Decision::Allowed, Decision::Denied)]
            {
                let mut statement = parts.clone();
                statement["Effect"] = json!(effect);
                assert_eq!(of(&statement, &[]), if about { then } else { otherwise }, "{statement}");
            }
        }
    }

    #[test]
    fn conditions() {
        let at = [("s3:prefix", "in/a")];
        let none = [];
        // What holds with the prefix `in/a`, and what holds with no prefix at all.
        for (with, without, condition) in [
            (true, true, json!({})),
            (true, false, json!({"StringEquals": {"s3:prefix": "in/a"}})),
            (true, false, json!({"StringEquals": {"S3:Prefix": ["x", "in/a"]}})),
            (false, false, json!({"StringEquals": {"s3:prefix": "in/*"}})),
            (true, false, json!({"StringLike": {"s3:prefix": ["x", "in/*"]}})),
            (false, false, json!({"StringLike": {"s3:prefix": "out/*"}})),
            (false, true, json!({"StringNotEquals": {"s3:prefix": "in/a"}})),
            (true, true, json!({"StringNotLike": {"s3:prefix": "out/*"}})),
            (false, true, json!({"StringNotLike": {"s3:prefix": ["out/*", "in/*"]}})),
            (false, false, json!({"StringLike": {"s3:prefix": "in/*", "s3:delimiter": "/"}})),
            (false, false, json!({"StringLike": {"s3:prefix": "in/*"}, "StringEquals": {"s3:delimiter": "/"}})),
        ] {
            for (holds, context) in [(with, &at[..]), (without, &none[..])] {
                let all = json!({"Action": "*", "Resource": "*", "Condition": condition});
                let (mut allow, mut deny) = (all.clone(), all);
                allow["Effect"] = json!("Allow");
                deny["Effect"] = json!("Deny");
                let allowed = if holds { Decision::Allowed } else { Decision::NotAllowed };
                assert_eq!(of(&allow, context), allowed, "{condition} {context:?}");
                let denied = if holds { Decision::Denied } else { Decision::Allowed };
                assert_eq!(of(&deny, context), denied, "{condition} {context:?}");
            }
        }
    }

    #[test]
    fn what_is_not_known_never_allows_and_always_denies() {
        for unknown in [
            json!({"Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/a": "b"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": {"StringLikeIfExists": {"s3:prefix": "*"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": {"ForAnyValue:StringLike": {"s3:prefix": "*"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": {"Made:Up": {"s3:prefix": "*"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"s3:prefix": "${aws:username}"}}}),
            json!({"Action": "*", "Resource": "*", "Condition": "none"}),
            json!({"Action": "*", "Resource": "*", "Condition": {"StringEquals": "none"}}),
            json!({"Action": "*", "Resource": "arn:aws:s3:::b/${aws:username}/*"}),
            json!({"Action": "*", "NotResource": "arn:aws:s3:::b/${aws:username}/*"}),
            json!({"Action": "*", "NotAction": "*", "Resource": "*"}),
            json!({"Action": "*"}),
        ] {
            let (mut allow, mut deny) = (unknown.clone(), unknown);
            allow["Effect"] = json!("Allow");
            deny["Effect"] = json!("Deny");
            assert_eq!(of(&allow, &[("s3:prefix", "in/a")]), Decision::NotAllowed, "{allow}");
            assert_eq!(of(&deny, &[("s3:prefix", "in/a")]), Decision::Denied, "{deny}");
        }
        // Where another condition fails, what is not known does not matter.
        let both = json!({"StringEquals": {"s3:prefix": "out/a"}, "Bool": {"aws:SecureTransport": "false"}});
        let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": both});
        assert_eq!(of(&deny, &[("s3:prefix", "in/a")]), Decision::Allowed);
        for effect in [json!("allow"), json!(null), json!("ALLOW")] {
            let statement = json!({"Effect": effect, "Action": "*", "Resource": "*"});
            assert_eq!(of(&statement, &[]), Decision::NotAllowed, "{statement}");
        }
    }
}
