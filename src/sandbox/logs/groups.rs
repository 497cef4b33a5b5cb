//! Log groups, their retention and their tags.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::events::Stream;
use super::{State, invalid, no_group, required};
use crate::sandbox::account::Account;
use crate::sandbox::input::{list, number, page, text};
use crate::sandbox::service::{Answer, ApiError, Cx};

const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// A log group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub(super) name: String,
    created: Timestamp,
    retention_days: Option<i64>,
    tags: BTreeMap<String, String>,
    pub(super) streams: Vec<Stream>,
}

impl State {
    pub(super) fn group(&self, name: &str) -> Result<&Group, ApiError> {
        self.groups.iter().find(|group| group.name == name).ok_or_else(no_group)
    }

    pub(super) fn group_mut(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.iter_mut().find(|group| group.name == name).ok_or_else(no_group)
    }

    pub(super) fn add_group(&mut self, name: &str, tags: BTreeMap<String, String>, now: Timestamp) -> &mut Group {
        let place = self.groups.partition_point(|group| group.name.as_str() < name);
        self.groups.insert(
            place,
            Group { name: name.to_owned(), created: now, retention_days: None, tags, streams: Vec::new() },
        );
        &mut self.groups[place]
    }
}

pub(super) fn arn(account: &Account, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", account.region, account.id)
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
    Ok(tags)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/#".contains(letter);
    if name.len() > 512 || !name.chars().all(fits) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
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
        .iter()
        .filter(|group| group.name.starts_with(prefix) && group.name.contains(pattern))
        .map(|group| {
            let plain = arn(account, &group.name);
            let bytes: usize = group.streams.iter().map(Stream::bytes).sum();
            let mut one = json!({
                "logGroupName": group.name, "creationTime": group.created.as_millisecond(), "metricFilterCount": 0,
                "arn": format!("{plain}:*"), "logGroupArn": plain, "storedBytes": bytes, "logGroupClass": "STANDARD",
            });
            if let Some(days) = group.retention_days {
                one["retentionInDays"] = json!(days);
            }
            one
        })
        .collect();
    let limit = number(input, "limit").unwrap_or(50);
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
    account.logs.groups.retain(|group| group.name != name);
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

/// The group of an ARN, which may end in `:*`.
fn by_arn<'a>(account: &'a mut Account, input: &Value) -> Result<&'a mut Group, ApiError> {
    let given = required(input, "resourceArn")?;
    let given = given.strip_suffix(":*").unwrap_or(given);
    let beginning = arn(account, "");
    let name = given.strip_prefix(&beginning).ok_or_else(no_group)?;
    account.logs.group_mut(name)
}

/// TagResource.
pub(super) fn tag(account: &mut Account, input: &Value) -> Answer {
    let tags = read_tags(input)?;
    let group = by_arn(account, input)?;
    if group.tags.keys().chain(tags.keys()).collect::<std::collections::BTreeSet<_>>().len() > 50 {
        return Err(ApiError::new("TooManyTagsException", "The maximum number of tags (50) has been reached"));
    }
    group.tags.extend(tags);
    Ok(json!({}))
}

/// UntagResource.
pub(super) fn untag(account: &mut Account, input: &Value) -> Answer {
    let group = by_arn(account, input)?;
    for key in list(input, "tagKeys").iter().filter_map(Value::as_str) {
        group.tags.remove(key);
    }
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) fn list_tags(account: &mut Account, input: &Value) -> Answer {
    Ok(json!({"tags": by_arn(account, input)?.tags}))
}

/// Drops what is older than its group's retention.
pub(super) fn expire(state: &mut State, cx: &Cx) {
    for group in &mut state.groups {
        if let Some(days) = group.retention_days {
            let oldest = cx.now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN);
            for stream in &mut group.streams {
                stream.expire(oldest.as_millisecond());
            }
        }
    }
}
