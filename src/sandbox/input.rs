//! Reads the members of a request, whatever its protocol: a query's leaves are strings, JSON's have types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::service::ApiError;

/// A text; an empty one is a text too.
pub fn text<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key).and_then(Value::as_str)
}

/// A list; what is left out is an empty one.
pub fn list<'a>(input: &'a Value, key: &str) -> &'a [Value] {
    input.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list of texts.
pub fn texts(input: &Value, key: &str) -> Vec<String> {
    list(input, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A whole number, written as a number or as its digits.
pub fn number(input: &Value, key: &str) -> Option<i64> {
    match input.get(key)? {
        Value::String(digits) => digits.parse().ok(),
        other => other.as_i64(),
    }
}

/// A truth value, written as one or as its word.
pub fn flag(input: &Value, key: &str) -> Option<bool> {
    match input.get(key)? {
        Value::String(word) => word.parse().ok(),
        other => other.as_bool(),
    }
}

/// One page of a listing and the token of the next. `at_most` is what the caller asked for, `page` the sandbox's limit.
///
/// # Errors
/// `code` when the token is not one of ours.
pub fn page<T>(
    all: Vec<T>,
    token: Option<&str>,
    at_most: Option<i64>,
    page: usize,
    code: &'static str,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match token {
        None => 0,
        Some(token) => STANDARD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.strip_prefix("from:").and_then(|digits| digits.parse::<usize>().ok()))
            .ok_or_else(|| ApiError::new(code, "Invalid value for 'nextToken'."))?,
    };
    let asked = at_most.and_then(|asked| usize::try_from(asked).ok()).filter(|asked| *asked > 0);
    let size = asked.map_or(page, |asked| asked.min(page)).max(1);
    let next =
        (start.saturating_add(size) < all.len()).then(|| STANDARD.encode(format!("from:{}", start + size).as_bytes()));
    Ok((all.into_iter().skip(start).take(size).collect(), next))
}

/// `length` hexadecimal digits that no other counter gives.
pub fn digits(kind: &str, counter: u64, now: Timestamp, length: usize) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{kind}:{counter}:{}", now.as_nanosecond()).as_bytes());
    let mut text = hex::encode(digest.finalize());
    text.truncate(length);
    text
}

/// What stands for a whole request when it is compared with a later one: everything but the named members.
pub fn fingerprint(input: &Value, but: &[&str]) -> String {
    let mut input = input.clone();
    if let Some(members) = input.as_object_mut() {
        for name in but {
            members.remove(*name);
        }
    }
    hex::encode(Sha256::digest(input.to_string().as_bytes()))
}

/// Whether a text matches a pattern of EC2's filters: `*` stands for any letters, `?` for one or none, and `\` takes the
/// letter after it for itself.
pub fn matches(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| go(rest, &text[skip..])),
            ['?', rest @ ..] => go(rest, text) || !text.is_empty() && go(rest, &text[1..]),
            ['\\', letter, rest @ ..] | [letter, rest @ ..] => text.first() == Some(letter) && go(rest, &text[1..]),
        }
    }
    go(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let (first, token) = page((0..5).collect(), None, Some(2), 100, "Bad").unwrap();
        assert_eq!(first, [0, 1]);
        let (second, token) = page((0..5).collect(), token.as_deref(), Some(2), 100, "Bad").unwrap();
        assert_eq!(second, [2, 3]);
        let (third, token) = page((0..5).collect(), token.as_deref(), None, 2, "Bad").unwrap();
        assert_eq!((third, token), (vec![4], None));
        assert_eq!(page(vec![1], Some("x"), None, 2, "Bad").unwrap_err().code, "Bad");
    }

    #[test]
    fn patterns() {
        assert!(matches("a*c?", "abbcd"));
        assert!(matches("a*c?", "abbc"));
        assert!(!matches("a*c?", "abbcde"));
        assert!(matches(r"\*?", "*") && !matches(r"\*", "x"));
    }

    #[test]
    fn requests_differ_by_what_counts() {
        let a = serde_json::json!({"ClientToken": "x", "ImageId": "ami-1"});
        let b = serde_json::json!({"ClientToken": "y", "ImageId": "ami-1"});
        assert_eq!(fingerprint(&a, &["ClientToken"]), fingerprint(&b, &["ClientToken"]));
        assert_ne!(fingerprint(&a, &[]), fingerprint(&b, &[]));
    }
}
