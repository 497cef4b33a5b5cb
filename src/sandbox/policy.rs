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
            let deny = statement["Effect"] == "Deny";
            if !(part(statement, "Action", ask.action, true) && part(statement, "Resource", ask.resource, false)) {
                continue;
            }
            let holds = match &statement["Condition"] {
                Value::Null => true,
                conditions => condition(conditions, ask.context).unwrap_or(deny),
            };
            match (holds, deny) {
                (true, true) => return Decision::Denied,
                (true, false) => decision = Decision::Allowed,
                (false, _) => {}
            }
        }
    }
    decision
}

/// `Action`/`NotAction` and `Resource`/`NotResource`.
fn part(statement: &Value, name: &str, asked: &str, ignore_case: bool) -> bool {
    let matches = |patterns: &Value| strings(patterns).any(|pattern| like(pattern, asked, ignore_case));
    match (statement.get(name), statement.get(format!("Not{name}"))) {
        (Some(patterns), None) => matches(patterns),
        (None, Some(patterns)) => !matches(patterns),
        _ => false,
    }
}

/// Whether all conditions hold; `None` where one of them is not known here.
fn condition(conditions: &Value, context: &[(&str, &str)]) -> Option<bool> {
    let mut all = true;
    for (operator, keys) in conditions.as_object()? {
        for (key, patterns) in keys.as_object()? {
            let value = context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value);
            if !key.eq_ignore_ascii_case("s3:prefix") && !key.eq_ignore_ascii_case("s3:delimiter") {
                return None;
            }
            let equal = |pattern: &str, value: &str| pattern == value;
            let alike = |pattern: &str, value: &str| like(pattern, value, false);
            // A key that the request lacks makes a positive condition fail and a negative one hold.
            all &= match operator.as_str() {
                "StringEquals" => value.is_some_and(|value| strings(patterns).any(|p| equal(p, value))),
                "StringNotEquals" => value.is_none_or(|value| !strings(patterns).any(|p| equal(p, value))),
                "StringLike" => value.is_some_and(|value| strings(patterns).any(|p| alike(p, value))),
                "StringNotLike" => value.is_none_or(|value| !strings(patterns).any(|p| alike(p, value))),
                _ => return None,
            };
        }
    }
    Some(all)
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
        let both = [&allow, &deny];
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
