//! Log groups, their retention and their tags.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::events::Stream;
use super::{State, at_most, invalid, no_group, required};
use crate::account::Account;
use crate::input::{list, number, page, text};
use crate::service::{Answer, ApiError, Cx};
use crate::table::{Record, Stored, Table};

const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

const MOST_TAGS: usize = 50;

/// A log group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub(super) name: String,
    created: Timestamp,
    retention_days: Option<i64>,
    tags: BTreeMap<String, String>,
    #[serde(skip)]
    pub(super) streams: Table<String, Stream>,
}

impl Record for Group {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("streams", &mut self.streams)]
    }
}

impl Group {
    /// Events before this time, in milliseconds, have expired.
    pub(super) fn retained_since(&self, now: Timestamp) -> Option<i64> {
        let days = self.retention_days?;
        let oldest = now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN);
        Some(oldest.as_millisecond())
    }

    fn add_tags(&mut self, tags: BTreeMap<String, String>) -> Answer {
        let mut all = self.tags.clone();
        all.extend(tags);
        if all.len() > MOST_TAGS {
            let message = format!("A resource can have no more than {MOST_TAGS} tags.");
            return Err(ApiError::new("TooManyTagsException", message));
        }
        self.tags = all;
        Ok(json!({}))
    }

    fn remove_tags(&mut self, keys: &[Value]) -> Answer {
        self.tags.retain(|key, _| !keys.iter().any(|gone| gone == key));
        Ok(json!({}))
    }
}

impl State {
    pub(super) fn group(&self, name: &str) -> Result<&Group, ApiError> {
        self.groups.get(name).ok_or_else(no_group)
    }

    pub(super) fn group_mut(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(name).ok_or_else(no_group)
    }

    pub(super) fn add_group(&mut self, name: &str, tags: BTreeMap<String, String>, now: Timestamp) -> &mut Group {
        self.groups.get_or_insert_with(name.to_owned(), || Group {
            name: name.to_owned(),
            created: now,
            retention_days: None,
            tags,
            streams: Table::default(),
        })
    }
}

pub(super) fn arn(account: &Account, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", account.region, account.id)
}

/// The group that a request names by its name or its ARN.
pub(super) fn group_of<'a>(account: &'a Account, input: &Value) -> Result<&'a Group, ApiError> {
    match (text(input, "logGroupName"), text(input, "logGroupIdentifier")) {
        (Some(name), None) => account.logs.group(name),
        // An ARN that ends in `:*`, as DescribeLogGroups shows it, is none here: the pattern of identifiers has no `*`
        // (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>).
        (None, Some(given)) if given.contains('*') => Err(invalid(format!(
            "1 validation error detected: Value '{given}' at 'logGroupIdentifier' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [\\w#+=/:,.@-]*"
        ))),
        (None, Some(given)) => account.logs.group(given.strip_prefix(&arn(account, "")).unwrap_or(given)),
        (Some(_), Some(_)) => Err(ApiError::new(
            "ValidationException",
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
        )),
        (None, None) => Err(invalid("One of logGroupName and logGroupIdentifier must be given.")),
    }
}

fn read_tags(input: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for (key, value) in input.get("tags").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if key.is_empty() || key.len() > 128 || value.len() > 256 || key.starts_with("aws:") {
            return Err(invalid(format!("Invalid tag '{key}'")));
        }
        tags.insert(key.clone(), value.to_owned());
    }
    if tags.len() > MOST_TAGS {
        return Err(invalid(format!("A request can have no more than {MOST_TAGS} tags.")));
    }
    Ok(tags)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/#".contains(letter);
    if name.len() > 512 || !name.chars().all(fits) || name.starts_with("aws/") {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+, and not begin with aws/"
        )));
    }
    Ok(())
}

/// CreateLogGroup.
pub(super) fn create(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "logGroupName")?;
    check_name(name)?;
    let tags = read_tags(input)?;
    if account.logs.group(name).is_ok() {
        return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log group already exists"));
    }
    account.logs.add_group(name, tags, cx.now);
    Ok(json!({}))
}

/// DescribeLogGroups.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let prefix = text(input, "logGroupNamePrefix").unwrap_or_default();
    let pattern = text(input, "logGroupNamePattern").unwrap_or_default();
    if !prefix.is_empty() && !pattern.is_empty() {
        return Err(invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."));
    }
    let found: Vec<Value> = account
        .logs
        .groups
        .values()
        .filter(|group| group.name.starts_with(prefix) && group.name.contains(pattern))
        .map(|group| {
            let plain = arn(account, &group.name);
            let bytes: usize = group.streams.values().map(Stream::bytes).sum();
            let mut one = json!({
                "logGroupName": group.name, "creationTime": group.created.as_millisecond(), "metricFilterCount": 0,
                "arn": format!("{plain}:*"), "logGroupArn": plain, "storedBytes": bytes, "logGroupClass": "STANDARD",
            });
            if let Some(days) = group.retention_days {
                one["retentionInDays"] = json!(days);
            }
            if let (Some(members), false) = (one.as_object_mut(), pattern.is_empty()) {
                members.retain(|member, _| ["arn", "creationTime", "logGroupName"].contains(&member.as_str()));
            }
            one
        })
        .collect();
    let limit = at_most(input, 50)?;
    let (some, next) =
        page(found, text(input, "nextToken"), Some(limit), cx.options.settings.page, "InvalidParameterException")?;
    let mut answer = json!({"logGroups": some});
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

/// DeleteLogGroup.
pub(super) fn delete(account: &mut Account, input: &Value) -> Answer {
    let name = account.logs.group(required(input, "logGroupName")?)?.name.clone();
    account.logs.groups.remove(&name);
    Ok(json!({}))
}

/// PutRetentionPolicy.
pub(super) fn put_retention(account: &mut Account, input: &Value) -> Answer {
    let days = number(input, "retentionInDays")
        .filter(|days| RETENTIONS.contains(days))
        .ok_or_else(|| invalid("1 validation error detected: Value at 'retentionInDays' is not a valid retention"))?;
    account.logs.group_mut(required(input, "logGroupName")?)?.retention_days = Some(days);
    Ok(json!({}))
}

/// DeleteRetentionPolicy.
pub(super) fn delete_retention(account: &mut Account, input: &Value) -> Answer {
    account.logs.group_mut(required(input, "logGroupName")?)?.retention_days = None;
    Ok(json!({}))
}

/// The group of an ARN, which must not end in `:*` (boto3 #4104, cloud-nuke #1150;
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html>).
fn by_arn<'a>(account: &'a mut Account, input: &Value) -> Result<&'a mut Group, ApiError> {
    let given = required(input, "resourceArn")?;
    if given.contains('*') {
        return Err(ApiError::new("ValidationException", format!("Invalid resourceArn: {given}")));
    }
    let beginning = arn(account, "");
    let name = given.strip_prefix(&beginning).ok_or_else(no_group)?;
    account.logs.group_mut(name)
}

fn by_name<'a>(account: &'a mut Account, input: &Value) -> Result<&'a mut Group, ApiError> {
    account.logs.group_mut(required(input, "logGroupName")?)
}

/// TagResource.
pub(super) fn tag(account: &mut Account, input: &Value) -> Answer {
    let tags = read_tags(input)?;
    by_arn(account, input)?.add_tags(tags)
}

/// UntagResource.
pub(super) fn untag(account: &mut Account, input: &Value) -> Answer {
    by_arn(account, input)?.remove_tags(list(input, "tagKeys"))
}

/// ListTagsForResource.
pub(super) fn list_tags(account: &mut Account, input: &Value) -> Answer {
    Ok(json!({"tags": by_arn(account, input)?.tags}))
}

/// TagLogGroup, the older TagResource.
pub(super) fn tag_by_name(account: &mut Account, input: &Value) -> Answer {
    let tags = read_tags(input)?;
    by_name(account, input)?.add_tags(tags)
}

/// UntagLogGroup.
pub(super) fn untag_by_name(account: &mut Account, input: &Value) -> Answer {
    by_name(account, input)?.remove_tags(list(input, "tags"))
}

/// ListTagsLogGroup.
pub(super) fn list_tags_by_name(account: &mut Account, input: &Value) -> Answer {
    Ok(json!({"tags": by_name(account, input)?.tags}))
}

/// Drops what is older than its group's retention.
pub(super) fn expire(state: &mut State, cx: &Cx) {
    let mut old = Vec::new();
    for (name, group) in state.groups.iter().filter(|(_, group)| group.retention_days.is_some()) {
        let Some(oldest) = group.retained_since(cx.now) else { continue };
        let streams = group.streams.iter().filter(|(_, stream)| stream.has_older(oldest));
        old.extend(streams.map(|(stream, _)| (name.clone(), stream.clone(), oldest)));
    }
    for (group, stream, oldest) in old {
        let stream = state.groups.get_mut(&group).and_then(|group| group.streams.get_mut(&stream));
        stream.into_iter().for_each(|stream| stream.expire(oldest));
    }
}
