//! Log streams and their events, put by a request or written by a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::groups::{self, Group};
use super::{invalid, required};
use crate::sandbox::account::Account;
use crate::sandbox::input::{flag, list, number, page, text, texts};
use crate::sandbox::service::{Answer, ApiError, Cx};

const MOST: i64 = 10_000;

/// Time in milliseconds, time of ingestion, message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Event(i64, i64, String);

/// A log stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    name: String,
    created: Timestamp,
    /// The task that writes it, while the engine holds what it wrote.
    task: Option<String>,
    events: Vec<Event>,
    /// How many were dropped at the head for their age: tokens count them.
    expired: usize,
}

impl Stream {
    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.2.len() + 26).sum()
    }

    pub(super) fn expire(&mut self, oldest: i64) {
        let old = self.events.iter().take_while(|event| event.0 < oldest).count();
        if self.task.is_none() {
            self.events.drain(..old);
            self.expired += old;
        }
    }

    fn written(&self, cx: &Cx) -> Vec<Event> {
        let Some(task) = &self.task else { return Vec::new() };
        let line = |(at, line): (Timestamp, String)| Event(at.as_millisecond(), at.as_millisecond(), line);
        cx.engine.log(task, cx.now).into_iter().map(line).collect()
    }

    fn all(&self, cx: &Cx) -> Vec<Event> {
        let mut events = self.events.clone();
        events.extend(self.written(cx));
        events.sort_by_key(|event| event.0);
        events
    }
}

fn no_stream() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

fn stream<'a>(group: &'a Group, name: &str) -> Result<&'a Stream, ApiError> {
    group.streams.iter().find(|stream| stream.name == name).ok_or_else(no_stream)
}

fn add(group: &mut Group, name: &str, task: Option<&str>, now: Timestamp) {
    group.streams.push(Stream {
        name: name.to_owned(),
        created: now,
        task: task.map(str::to_owned),
        events: Vec::new(),
        expired: 0,
    });
}

/// Opens the stream that a task writes to, as the awslogs driver does, making the group only if it was told to.
///
/// # Errors
/// There is no such group.
pub fn open(account: &mut Account, cx: &Cx, group: &str, name: &str, task: &str, create: bool) -> Result<(), ApiError> {
    if create && account.logs.group(group).is_err() {
        account.logs.add_group(group, std::collections::BTreeMap::new(), cx.now);
    }
    let group = account.logs.group_mut(group)?;
    match group.streams.iter_mut().find(|stream| stream.name == name) {
        Some(stream) => stream.task = Some(task.to_owned()),
        None => add(group, name, Some(task), cx.now),
    }
    Ok(())
}

/// Keeps what a task wrote: it has ended, or what ran it goes. A group deleted meanwhile keeps nothing.
pub fn seal(account: &mut Account, cx: &Cx, group: &str, name: &str) {
    let Ok(group) = account.logs.group_mut(group) else { return };
    if let Some(stream) = group.streams.iter_mut().find(|stream| stream.name == name) {
        stream.events = stream.all(cx);
        stream.task = None;
    }
}

/// CreateLogStream.
pub(super) fn create_stream(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "logStreamName")?;
    let group = account.logs.group_mut(required(input, "logGroupName")?)?;
    if name.contains([':', '*']) || name.len() > 512 {
        return Err(invalid(format!("1 validation error detected: Value '{name}' at 'logStreamName' is invalid")));
    }
    if stream(group, name).is_ok() {
        return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log stream already exists"));
    }
    add(group, name, None, cx.now);
    Ok(json!({}))
}

/// The group that a request names by its name or its ARN.
fn group_of<'a>(account: &'a Account, input: &Value) -> Result<&'a Group, ApiError> {
    match text(input, "logGroupName") {
        Some(name) => account.logs.group(name),
        None => {
            let given = required(input, "logGroupIdentifier")?;
            let given = given.strip_suffix(":*").unwrap_or(given);
            let beginning = groups::arn(account, "");
            account.logs.group(given.strip_prefix(&beginning).unwrap_or(given))
        }
    }
}

/// DescribeLogStreams.
pub(super) fn describe_streams(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let group = group_of(account, input)?;
    let prefix = text(input, "logStreamNamePrefix");
    let by_time = text(input, "orderBy") == Some("LastEventTime");
    if by_time && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let mut found: Vec<(Option<i64>, Value)> = group
        .streams
        .iter()
        .filter(|stream| stream.name.starts_with(prefix.unwrap_or_default()))
        .map(|stream| {
            let events = stream.all(cx);
            let mut one = json!({
                "logStreamName": stream.name, "creationTime": stream.created.as_millisecond(), "storedBytes": 0,
                "uploadSequenceToken": "49039859569518213600000000000000000000000000000000000001",
                "arn": format!("{}:log-stream:{}", groups::arn(account, &group.name), stream.name),
            });
            if let (Some(first), Some(last)) = (events.first(), events.last()) {
                one["firstEventTimestamp"] = json!(first.0);
                one["lastEventTimestamp"] = json!(last.0);
                one["lastIngestionTime"] = json!(last.1);
            }
            (events.last().map(|event| event.0), one)
        })
        .collect();
    if by_time {
        found.sort_by_key(|(last, _)| *last);
    } else {
        found.sort_by(|(_, a), (_, b)| a["logStreamName"].as_str().cmp(&b["logStreamName"].as_str()));
    }
    if flag(input, "descending") == Some(true) {
        found.reverse();
    }
    let found: Vec<Value> = found.into_iter().map(|(_, one)| one).collect();
    let limit = number(input, "limit").unwrap_or(50);
    let (some, next) =
        page(found, text(input, "nextToken"), Some(limit), cx.options.settings.page, "InvalidParameterException")?;
    let mut answer = json!({"logStreams": some});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

/// PutLogEvents: in the order of time.
pub(super) fn put(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "logStreamName")?;
    let group = account.logs.group_mut(required(input, "logGroupName")?)?;
    let stream = group.streams.iter_mut().find(|stream| stream.name == name).ok_or_else(no_stream)?;
    let mut new = Vec::new();
    for event in list(input, "logEvents") {
        let at = number(event, "timestamp").ok_or_else(|| invalid("An event has no timestamp"))?;
        new.push(Event(at, cx.now.as_millisecond(), required(event, "message")?.to_owned()));
    }
    if new.is_empty() {
        return Err(invalid("1 validation error detected: Value '[]' at 'logEvents' is empty"));
    }
    if !new.is_sorted_by_key(|event| event.0) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    stream.events.extend(new);
    stream.events.sort_by_key(|event| event.0);
    Ok(json!({"nextSequenceToken": "49039859569518213600000000000000000000000000000000000001"}))
}

fn place(token: &str) -> Option<(bool, usize)> {
    let (way, rest) = token.split_once('/')?;
    let digits = rest.strip_suffix("/s")?;
    match way {
        "f" => Some((true, digits.parse().ok()?)),
        "b" => Some((false, digits.parse().ok()?)),
        _ => None,
    }
}

fn in_time(event: &Event, input: &Value, last: impl Fn(i64, i64) -> bool) -> bool {
    number(input, "startTime").is_none_or(|start| event.0 >= start)
        && number(input, "endTime").is_none_or(|end| last(event.0, end))
}

/// GetLogEvents: at either end the token repeats.
pub(super) fn get(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let stream = stream(group_of(account, input)?, required(input, "logStreamName")?)?;
    let limit = number(input, "limit").unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(invalid(format!("1 validation error detected: Value '{limit}' at 'limit' is not in 1..=10000")));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let events: Vec<Event> =
        stream.all(cx).into_iter().filter(|event| in_time(event, input, |at, end| at < end)).collect();
    let (gone, count) = (stream.expired, events.len());
    let (first, last) = match text(input, "nextToken") {
        Some(token) => {
            let (forward, at) = place(token).ok_or_else(|| invalid("The specified nextToken is invalid."))?;
            let at = at.saturating_sub(gone).min(count);
            if forward { (at, at.saturating_add(limit).min(count)) } else { (at.saturating_sub(limit), at) }
        }
        None if flag(input, "startFromHead") == Some(true) => (0, limit.min(count)),
        None => (count.saturating_sub(limit), count),
    };
    let shown: Vec<Value> = events[first..last]
        .iter()
        .map(|event| json!({"timestamp": event.0, "ingestionTime": event.1, "message": event.2}))
        .collect();
    Ok(json!({
        "events": shown, "nextForwardToken": format!("f/{:056}/s", last + gone),
        "nextBackwardToken": format!("b/{:056}/s", first + gone),
    }))
}

/// Terms of a filter pattern: words or quoted texts, all of which must be there; `?a` one of them, `-a` none.
fn wanted(pattern: &str, message: &str) -> Result<bool, ApiError> {
    if pattern.trim_start().starts_with(['{', '[', '%']) {
        return Err(invalid(format!("the sandbox serves filter patterns of terms only, not '{pattern}'")));
    }
    let terms = shell_words::split(pattern).map_err(|_| invalid("Invalid character(s) in term"))?;
    let mut any = None;
    for term in &terms {
        if let Some(term) = term.strip_prefix('?') {
            any = Some(any.unwrap_or(false) || message.contains(term));
        } else if let Some(term) = term.strip_prefix('-') {
            if message.contains(term) {
                return Ok(false);
            }
        } else if !message.contains(term.as_str()) {
            return Ok(false);
        }
    }
    Ok(any.unwrap_or(true))
}

/// FilterLogEvents.
pub(super) fn filter(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let group = group_of(account, input)?;
    let names = texts(input, "logStreamNames");
    let prefix = text(input, "logStreamNamePrefix").unwrap_or_default();
    let pattern = text(input, "filterPattern").unwrap_or_default();
    for name in &names {
        stream(group, name)?;
    }
    let mut found: Vec<(Event, &str)> = Vec::new();
    for stream in &group.streams {
        if stream.name.starts_with(prefix) && (names.is_empty() || names.contains(&stream.name)) {
            for event in stream.all(cx) {
                if in_time(&event, input, |at, end| at <= end) && wanted(pattern, &event.2)? {
                    found.push((event, &stream.name));
                }
            }
        }
    }
    found.sort_by_key(|(event, _)| event.0);
    let shown: Vec<Value> = (0..)
        .zip(found)
        .map(|(number, (event, name)): (u64, _)| {
            json!({
                "logStreamName": name, "timestamp": event.0, "ingestionTime": event.1, "message": event.2,
                "eventId": format!("{number:056}"),
            })
        })
        .collect();
    let limit = number(input, "limit").unwrap_or(MOST);
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let (some, next) = page(shown, text(input, "nextToken"), Some(limit), most, "InvalidParameterException")?;
    let mut answer = json!({"events": some, "searchedLogStreams": []});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}
