//! FilterLogEvents: a group's streams searched together, by patterns of terms.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::events::{Event, MOST, stream};
use super::groups::group_of;
use super::{at_most, invalid};
use crate::account::Account;
use crate::input::{flag, number, page, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// Only from then on are events found from the newest backwards.
const BACKWARDS_SINCE: Timestamp = Timestamp::constant(1_704_067_200, 0);
/// Tokens of a search that goes backwards begin so.
const BACKWARDS: &str = "b/";

/// FilterLogEvents.
pub(super) fn filter(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let group = group_of(account, input)?;
    let names = texts(input, "logStreamNames");
    let prefix = text(input, "logStreamNamePrefix").unwrap_or_default();
    if !names.is_empty() && !prefix.is_empty() {
        return Err(invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters."));
    }
    for name in &names {
        stream(group, name)?;
    }
    let pattern = Pattern::read(text(input, "filterPattern").unwrap_or_default())?;
    let (backwards, token) = direction(input)?;
    let limit = at_most(input, MOST)?;
    let of_stream =
        |name: &String| name.starts_with(prefix) && (names.is_empty() || names.iter().any(|one| one == name));
    let streams = group.streams.iter().filter(|(name, _)| of_stream(name));
    let all: Vec<(&String, Cow<'_, [Event]>)> = streams.map(|(name, stream)| (name, stream.all(cx))).collect();
    let (start, end) = (number(input, "startTime"), number(input, "endTime"));
    let mut found: Vec<(&Event, &String, usize)> = Vec::new();
    for (name, events) in &all {
        let (mut at, mut nth) = (None, 0);
        for event in events.iter() {
            nth = if at == Some(event.0) { nth + 1 } else { 0 };
            at = Some(event.0);
            let in_time = start.is_none_or(|start| event.0 >= start) && end.is_none_or(|end| event.0 <= end);
            if in_time && pattern.matches(&event.2) {
                found.push((event, name, nth));
            }
        }
    }
    found.sort_by_key(|(event, ..)| (event.0, event.1));
    if backwards {
        found.reverse();
    }
    let (some, next) = page(found, token, Some(limit), usize::MAX, "InvalidParameterException")?;
    let shown = |(event, name, nth): (&Event, &String, usize)| {
        json!({
            "logStreamName": name, "timestamp": event.0, "ingestionTime": event.1, "message": event.2,
            "eventId": event_id(name, event.0, nth),
        })
    };
    let some: Vec<Value> = some.into_iter().map(shown).collect();
    let mut answer = json!({"events": some, "searchedLogStreams": []});
    if let Some(next) = next {
        answer["nextToken"] = json!(if backwards { format!("{BACKWARDS}{next}") } else { next });
    }
    Ok(answer)
}

/// Whether the newest come first, and the token of the page; the first request decides, then its tokens.
fn direction(input: &Value) -> Result<(bool, Option<&str>), ApiError> {
    if let Some(token) = text(input, "nextToken") {
        let rest = token.strip_prefix(BACKWARDS);
        return Ok((rest.is_some(), rest.or(Some(token))));
    }
    let backwards = flag(input, "startFromHead") == Some(false);
    if backwards && number(input, "startTime").is_none_or(|start| start < BACKWARDS_SINCE.as_millisecond()) {
        return Err(invalid(format!("startFromHead can be false only where startTime is {BACKWARDS_SINCE} or later.")));
    }
    Ok((backwards, None))
}

/// The same for the same event in every search: its stream, its time, and its place among those of that time.
fn event_id(stream: &str, at: i64, nth: usize) -> String {
    let digest = Sha256::digest(format!("{stream}:{at}:{nth}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    format!("{:056}", u128::from_be_bytes(bytes))
}

/// Terms, each a word or a quoted text: `a` and `b` must be there, `-c` must not, of `?d ?e` one must.
#[derive(Debug, Default)]
struct Pattern {
    all: Vec<String>,
    none: Vec<String>,
    any: Vec<String>,
}

impl Pattern {
    fn read(text: &str) -> Result<Self, ApiError> {
        let mut pattern = Self::default();
        let mut rest = text.trim();
        if rest.starts_with(['{', '[', '%']) {
            return Err(invalid(format!("the sandbox serves filter patterns of terms only, not '{text}'")));
        }
        while !rest.is_empty() {
            let (terms, unsigned) = if let Some(after) = rest.strip_prefix('-') {
                (&mut pattern.none, after)
            } else if let Some(after) = rest.strip_prefix('?') {
                (&mut pattern.any, after)
            } else {
                (&mut pattern.all, rest)
            };
            let term;
            (term, rest) = match unsigned.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(|| invalid("Unclosed quote in filter pattern"))?,
                None => unsigned.split_at(unsigned.find(char::is_whitespace).unwrap_or(unsigned.len())),
            };
            let bare = !unsigned.starts_with('"');
            if bare && (term.is_empty() || !term.chars().all(|c| c.is_alphanumeric() || c == '_')) {
                return Err(invalid(format!("Invalid character(s) in term '{term}'")));
            }
            // Nothing between the quotation marks matches everything.
            if !term.trim().is_empty() {
                terms.push(term.to_owned());
            }
            rest = rest.trim_start();
        }
        Ok(pattern)
    }

    /// Terms with a question mark count only where there are no others.
    fn matches(&self, message: &str) -> bool {
        let there = |term: &String| message.contains(term.as_str());
        if self.all.is_empty() && self.none.is_empty() && !self.any.is_empty() {
            return self.any.iter().any(there);
        }
        self.all.iter().all(there) && !self.none.iter().any(there)
    }
}
