//! Tags of anything that EC2 keeps, by its id.

use serde_json::{Value, json};

use super::{Tags, filtered, invalid, page_size, paged, required, well_formed};
use crate::account::Account;
use crate::ec2::State;
use crate::input::{list, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// The tags written as `Tag.n.Key`, `Tag.n.Value`.
pub(super) fn read(input: &Value) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in list(input, "Tag") {
        let key = required(tag, "Key")?;
        let value = text(tag, "Value").unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(invalid("Tag key exceeds the maximum length of 128 characters, or is empty"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if value.chars().count() > 256 {
            return Err(invalid("Tag value exceeds the maximum length of 256 characters"));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    Ok(tags)
}

/// At most fifty.
pub(super) fn few(tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::new(
            "TagLimitExceeded",
            "The maximum number of tags (50) for a resource has been reached",
        ));
    }
    Ok(())
}

/// Keys that instance metadata can show.
pub(super) fn for_metadata(tags: &Tags) -> Result<(), ApiError> {
    let fits = |key: &String| {
        key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_+=,.@:".contains(letter))
            && ![".", "..", "_index"].contains(&key.as_str())
    };
    match tags.keys().find(|key| !fits(key)) {
        None => Ok(()),
        Some(key) => Err(invalid(format!(
            "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not \
             be a reserved name ('.', '..', '_index')"
        ))),
    }
}

struct Tagged<'a> {
    tags: &'a mut Tags,
    shown_in_metadata: bool,
}

fn find<'a>(state: &'a mut State, cx: &Cx, id: &str) -> Result<Tagged<'a>, ApiError> {
    let plain = |tags| Tagged { tags, shown_in_metadata: false };
    match id.split('-').next().unwrap_or_default() {
        "i" => super::instances::find(state, cx, id).map(|instance| Tagged {
            shown_in_metadata: instance.metadata.instance_metadata_tags == "enabled",
            tags: &mut instance.tags,
        }),
        "vol" => state
            .volumes
            .find_mut(|volume| volume.id == id)
            .map(|volume| plain(&mut volume.tags))
            .ok_or_else(|| ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))),
        "sg" => {
            state.groups.find_mut(|group| group.id == id).map(|group| plain(&mut group.tags)).ok_or_else(|| {
                ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
            })
        }
        "sgr" => state.rules.find_mut(|rule| rule.id == id).map(|rule| plain(&mut rule.tags)).ok_or_else(|| {
            ApiError::new(
                "InvalidSecurityGroupRuleId.NotFound",
                format!("The security group rule ID '{id}' does not exist"),
            )
        }),
        "key" => state
            .key_pairs
            .find_mut(|pair| pair.id == id)
            .map(|pair| plain(&mut pair.tags))
            .ok_or_else(|| ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{id}' does not exist"))),
        prefix if well_formed(id, prefix) => {
            Err(ApiError::new("InvalidID", format!("the sandbox keeps no tags for '{id}'")))
        }
        _ => Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}

/// CreateTags.
pub(super) fn create(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let new = read(input)?;
    if new.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter tagSet"));
    }
    let ids = texts(input, "ResourceId");
    if ids.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter resourceIdSet"));
    }
    for id in &ids {
        let found = find(account.ec2, cx, id)?;
        if found.shown_in_metadata {
            for_metadata(&new)?;
        }
        let mut all = found.tags.clone();
        all.extend(new.clone());
        few(&all)?;
    }
    for id in &ids {
        find(account.ec2, cx, id)?.tags.extend(new.clone());
    }
    Ok(json!({"return": true}))
}

/// DeleteTags: a key without a value goes whatever its value; with one, only if the value is that.
pub(super) fn delete(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    for id in texts(input, "ResourceId") {
        let tags = find(account.ec2, cx, &id)?.tags;
        if list(input, "Tag").is_empty() {
            tags.clear();
        }
        for tag in list(input, "Tag") {
            let key = required(tag, "Key")?;
            if text(tag, "Value").is_none_or(|value| tags.get(key).is_some_and(|have| have == value)) {
                tags.remove(key);
            }
        }
    }
    Ok(json!({"return": true}))
}

/// DescribeTags.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let state = &account.ec2;
    let mut all: Vec<(&str, &str, &Tags)> = Vec::new();
    all.extend(
        state
            .instances
            .iter()
            .filter(|instance| instance.visible(cx))
            .map(|instance| (instance.id.as_str(), "instance", &instance.tags)),
    );
    let interfaces = state.instances.iter().filter(|instance| instance.visible(cx) && !instance.gone());
    all.extend(interfaces.map(|one| (one.interface.as_str(), "network-interface", &one.interface_tags)));
    all.extend(state.volumes.iter().map(|volume| (volume.id.as_str(), "volume", &volume.tags)));
    all.extend(state.groups.iter().map(|group| (group.id.as_str(), "security-group", &group.tags)));
    all.extend(state.rules.iter().map(|rule| (rule.id.as_str(), "security-group-rule", &rule.tags)));
    all.extend(state.key_pairs.iter().map(|pair| (pair.id.as_str(), "key-pair", &pair.tags)));
    let each = all.into_iter().flat_map(|(id, kind, tags)| {
        tags.iter().map(move |(key, value)| (id, kind, Tags::from([(key.clone(), value.clone())])))
    });
    let found = filtered(
        input,
        each,
        |(_, _, tag)| tag,
        &[
            ("key", |(_, _, tag)| tag.keys().cloned().collect()),
            ("value", |(_, _, tag)| tag.values().cloned().collect()),
            ("resource-id", |(id, _, _)| vec![(*id).to_owned()]),
            ("resource-type", |(_, kind, _)| vec![(*kind).to_owned()]),
        ],
    )?;
    let shown = found.iter().flat_map(|(id, kind, tag)| {
        tag.iter().map(move |(key, value)| json!({"resourceId": id, "resourceType": kind, "key": key, "value": value}))
    });
    paged("tagSet", shown.collect(), cx, input)
}
