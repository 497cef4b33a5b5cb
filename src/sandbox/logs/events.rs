//! Log streams and their events, put by a request or written by a task.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::groups::{self, Group, group_of};
use super::kept::Events;
use super::{at_most, invalid, required};
use crate::account::Account;
use crate::input::{flag, list, number, page, text};
use crate::service::{Answer, ApiError, Cx};
use crate::table::{Record, Stored};

/// The most events of an answer.
pub(super) const MOST: i64 = 10_000;
/// The most events of a batch, and their bytes, 26 for each event besides its message.
const BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: usize = 1_048_576;
/// In milliseconds.
const HOUR: i64 = 3_600_000;

/// Time in milliseconds, time of ingestion, message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Event(pub(super) i64, pub(super) i64, pub(super) String);

impl Event {
    pub(super) fn bytes(&self) -> usize {
        self.2.len() + 26
    }
}

/// A log stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    pub(super) name: String,
    created: Timestamp,
    /// The task that writes it, while the engine holds what it wrote.
    task: Option<String>,
    #[serde(skip)]
    events: Events,
}

impl Record for Stream {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("events", &mut self.events)]
    }
}

impl Stream {
    pub(super) fn bytes(&self) -> usize {
        self.events.bytes()
    }

    /// Whether anything in it is older. What a task still writes is left alone.
    pub(super) fn has_older(&self, oldest: i64) -> bool {
        self.task.is_none() && self.events.list().first().is_some_and(|event| event.0 < oldest)
    }

    pub(super) fn expire(&mut self, oldest: i64) {
        self.events.expire(oldest);
    }

    fn written(&self, cx: &Cx) -> Vec<Event> {
        let Some(task) = &self.task else { return Vec::new() };
        let line = |(at, line): (Timestamp, String)| Event(at.as_millisecond(), at.as_millisecond(), line);
        cx.engine.log(task, cx.now).into_iter().map(line).collect()
    }

    /// When its first and its last event were and were taken in, without a look at what is between.
    fn ends(&self, cx: &Cx) -> Option<((i64, i64), (i64, i64))> {
        let events = self.events.list();
        let own = events.first().zip(events.last()).map(|(first, last)| ((first.0, first.1), (last.0, last.1)));
        let written = self.task.as_ref().and_then(|task| cx.engine.log_ends(task, cx.now)).map(|(first, last)| {
            let (first, last) = (first.as_millisecond(), last.as_millisecond());
            ((first, first), (last, last))
        });
        match (own, written) {
            // Of two at the same time the task's is the later one.
            (Some((first, last)), Some((begin, end))) => {
                Some((if begin.0 < first.0 { begin } else { first }, if end.0 >= last.0 { end } else { last }))
            }
            (own, written) => own.or(written),
        }
    }

    pub(super) fn all(&self, cx: &Cx) -> Cow<'_, [Event]> {
        let written = self.written(cx);
        if written.is_empty() {
            return Cow::Borrowed(self.events.list());
        }
        let mut events = self.events.list().to_vec();
        events.extend(written);
        events.sort_by_key(|event| event.0);
        Cow::Owned(events)
    }
}

fn no_stream() -> ApiError {
    ApiError::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

pub(super) fn stream<'a>(group: &'a Group, name: &str) -> Result<&'a Stream, ApiError> {
    group.streams.get(name).ok_or_else(no_stream)
}

fn add(group: &mut Group, name: &str, task: Option<&str>, now: Timestamp) {
    let (task, events) = (task.map(str::to_owned), Events::default());
    group.streams.insert(name.to_owned(), Stream { name: name.to_owned(), created: now, task, events });
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
    match group.streams.get_mut(name) {
        Some(stream) => stream.task = Some(task.to_owned()),
        None => add(group, name, Some(task), cx.now),
    }
    Ok(())
}

/// Keeps what a task wrote: it has ended, or what ran it goes. A group deleted meanwhile keeps nothing.
pub fn seal(account: &mut Account, cx: &Cx, group: &str, name: &str) {
    let Ok(group) = account.logs.group_mut(group) else { return };
    if let Some(stream) = group.streams.get_mut(name) {
        let written = stream.written(cx);
        stream.events.add(written);
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

/// DescribeLogStreams.
pub(super) fn describe_streams(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let group = group_of(account, input)?;
    let prefix = text(input, "logStreamNamePrefix");
    let by_time = match text(input, "orderBy") {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member must \
                 satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    if by_time && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let mut found: Vec<(Option<i64>, Value)> = group
        .streams
        .values()
        .filter(|stream| stream.name.starts_with(prefix.unwrap_or_default()))
        .map(|stream| {
            let ends = stream.ends(cx);
            let mut one = json!({
                "logStreamName": stream.name, "creationTime": stream.created.as_millisecond(), "storedBytes": 0,
                "arn": format!("{}:log-stream:{}", groups::arn(account, &group.name), stream.name),
            });
            if let Some(((first, _), (last, taken))) = ends {
                one["firstEventTimestamp"] = json!(first);
                one["lastEventTimestamp"] = json!(last);
                one["lastIngestionTime"] = json!(taken);
            }
            (ends.map(|(_, (last, _))| last), one)
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
    let limit = at_most(input, 50)?;
    let (some, next) =
        page(found, text(input, "nextToken"), Some(limit), cx.options.settings.page, "InvalidParameterException")?;
    let mut answer = json!({"logStreams": some});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

/// PutLogEvents: what is too old or too new is left out of a batch, the rest is kept in the order of time.
pub(super) fn put(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "logStreamName")?;
    let group = account.logs.group_mut(required(input, "logGroupName")?)?;
    let retained = group.retained_since(cx.now);
    let stream = group.streams.get_mut(name).ok_or_else(no_stream)?;
    let mut new = Vec::new();
    for event in list(input, "logEvents") {
        let at = number(event, "timestamp").ok_or_else(|| invalid("An event has no timestamp"))?;
        new.push(Event(at, cx.now.as_millisecond(), required(event, "message")?.to_owned()));
    }
    if new.is_empty() || new.len() > BATCH_EVENTS {
        return Err(invalid(format!("Log events in a request must be between 1 and {BATCH_EVENTS}.")));
    }
    if new.iter().map(Event::bytes).sum::<usize>() > BATCH_BYTES {
        return Err(invalid(format!("Upload too large: more than {BATCH_BYTES} bytes")));
    }
    if !new.is_sorted_by_key(|event| event.0) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let before = |time: i64| new.partition_point(|event| event.0 < time);
    let now = cx.now.as_millisecond();
    let (old, far) = (before(now - 14 * 24 * HOUR), before(now + 2 * HOUR + 1));
    let expired = retained.map_or(0, before);
    let valid = old.max(expired)..far;
    if let (Some(first), Some(last)) = (new.get(valid.start), new.get(..far).and_then(<[_]>::last))
        && last.0 - first.0 > 24 * HOUR
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let mut rejected = Map::new();
    if old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), old.into());
    }
    if expired > 0 {
        rejected.insert("expiredLogEventEndIndex".to_owned(), expired.into());
    }
    if far < new.len() {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), far.into());
    }
    stream.events.add(new.drain(..far).skip(valid.start).collect());
    let mut answer = json!({"nextSequenceToken": "49039859569518213600000000000000000000000000000000000001"});
    if !rejected.is_empty() {
        answer["rejectedLogEventsInfo"] = Value::Object(rejected);
    }
    Ok(answer)
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

/// GetLogEvents: at either end the token repeats.
pub(super) fn get(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let stream = stream(group_of(account, input)?, required(input, "logStreamName")?)?;
    let limit = usize::try_from(at_most(input, MOST)?).unwrap_or(usize::MAX);
    let all = stream.all(cx);
    let before = |time: i64| all.partition_point(|event| event.0 < time);
    let start = number(input, "startTime").map_or(0, before);
    let end = number(input, "endTime").map_or(all.len(), before);
    let events = all.get(start..end).unwrap_or_default();
    let (gone, count) = (stream.events.expired(), events.len());
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
