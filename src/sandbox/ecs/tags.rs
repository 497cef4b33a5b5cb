//! Tags of anything that ECS keeps, by its ARN.

use serde_json::{Value, json};

use super::{Tags, invalid, last, local, read_tags, required, shown_tags};
use crate::account::Account;
use crate::input::texts;
use crate::service::{Answer, ApiError};

fn find<'a>(account: &'a mut Account, input: &Value) -> Result<&'a mut Tags, ApiError> {
    let given = required(input, "resourceArn")?;
    let rest = local(account, given).to_owned();
    let absent = || invalid(format!("The specified resource was not found: {given}"));
    let (kind, name) = rest.split_once('/').ok_or_else(|| invalid(format!("Invalid resource ARN: {given}")))?;
    let state = &mut account.ecs;
    match kind {
        "cluster" => match state.clusters.find_mut(|cluster| cluster.name == name) {
            None => Err(ApiError::new("ClusterNotFoundException", "Cluster not found.")),
            Some(cluster) if !cluster.active => {
                Err(invalid("The specified cluster is inactive. Specify an active cluster and try again."))
            }
            Some(cluster) => Ok(&mut cluster.tags),
        },
        "task-definition" => state
            .definitions
            .find_mut(|definition| definition.full_name() == name)
            .map(|definition| &mut definition.tags)
            .ok_or_else(absent),
        "task" => state.tasks.find_mut(|task| task.id == last(name)).map(|task| &mut task.tags).ok_or_else(absent),
        "container-instance" => state
            .container_instances
            .find_mut(|instance| instance.id == last(name))
            .map(|instance| &mut instance.tags)
            .ok_or_else(absent),
        _ => Err(absent()),
    }
}

/// TagResource.
pub(super) fn tag(account: &mut Account, input: &Value) -> Answer {
    let new = read_tags(input)?;
    let tags = find(account, input)?;
    let mut all = tags.clone();
    all.extend(new);
    if all.len() > 50 {
        return Err(invalid("Too many tags: at most 50."));
    }
    *tags = all;
    Ok(json!({}))
}

/// UntagResource.
pub(super) fn untag(account: &mut Account, input: &Value) -> Answer {
    let tags = find(account, input)?;
    for key in texts(input, "tagKeys") {
        tags.remove(&key);
    }
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) fn list_for(account: &mut Account, input: &Value) -> Answer {
    Ok(json!({"tags": shown_tags(find(account, input)?)}))
}
