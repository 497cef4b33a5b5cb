//! What of a stack is billed by the hour: its instances and the volumes that outlive theirs, by tag, whichever sample
//! they are for and whether or not the stack file has them still. Changes nothing.

use aws_sdk_ec2::types as ec2;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TAG_DEADLINE;
use super::live::{filter, instances, is_there, state_of};
use crate::aws::clock::timestamp;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{Owner, StackInfo, TAG_STACK};
use crate::stack::values::Price;

/// An instance of a stack that is there, and billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// Its address.
    pub at: String,
    /// When it was launched.
    pub launched: Option<Timestamp>,
    /// When it ends itself (RFC 3339, UTC), where it has a deadline.
    pub ends_itself_at: Option<String>,
}

/// The instances of a stack that are there, whichever sample's.
///
/// # Errors
/// When EC2 cannot be asked.
pub async fn running(aws: &Aws, stack: &StackInfo) -> Result<Vec<Running>, AwsError> {
    let filters = vec![filter(&format!("tag:{TAG_STACK}"), &[&stack.name])];
    let found = instances(aws, filters).await?;
    let running = found.iter().filter(|one| is_there(one)).filter_map(|one| {
        let tags = tags::from_ec2(one.tags());
        let (Owner::Ours | Owner::Adopted, at) = stack.owner(&tags) else { return None };
        Some(Running {
            id: one.instance_id()?.to_owned(),
            r#type: one.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            at: at.map(|at| at.to_string()).unwrap_or_default(),
            launched: one.launch_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
            ends_itself_at: tags.get(TAG_DEADLINE).cloned(),
        })
    });
    Ok(running.collect())
}

/// An instance that is not terminated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its address in the stack, with the sample; none where its tags do not say one.
    pub address: Option<String>,
    /// Its id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down`.
    pub state: String,
    /// Whether its hours are billed in that state: only those of a running one are (EC2, "Instance lifecycle"). The
    /// volumes of a stopped one are.
    pub billed: bool,
    /// When it was launched, or last started.
    pub launched_at: Option<Timestamp>,
    /// Seconds from then until now, by EC2's clock.
    pub seconds: Option<i64>,
    /// When it ends itself (RFC 3339, UTC); none where it has no deadline.
    pub ends_itself_at: Option<String>,
    /// What an hour of it costs, by the stack file's `price_per_hour`, in the currency that was meant there; none where
    /// the file says none for this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<Price>,
}

/// A volume that is there after its instance, or is attached to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its id.
    pub id: String,
    /// GiB.
    pub size_gib: i64,
    /// EBS's name of what sort of disk it is.
    pub r#type: String,
    /// `available`, `in-use`, …
    pub state: String,
    /// The instance that it is attached to, and that it outlives.
    pub attached_to: Option<String>,
}

/// Every instance of a stack that is not terminated.
///
/// # Errors
/// When EC2 cannot be asked.
pub async fn machines(aws: &Aws, stack: &StackInfo) -> Result<Vec<Machine>, AwsError> {
    const OPERATION: &str = "ec2:DescribeInstances";
    let by_tag = filter(&format!("tag:{TAG_STACK}"), &[&stack.name]);
    let not_gone = filter("instance-state-name", &["pending", "running", "stopping", "stopped", "shutting-down"]);
    let mut out = Vec::new();
    let mut token = None;
    loop {
        let request = aws.ec2.describe_instances().filters(by_tag.clone()).filters(not_gone.clone());
        let asked = request.set_next_token(token).send().await;
        let page = asked.or_aws(OPERATION)?;
        let now = aws.clock.now();
        let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
        out.extend(instances.filter_map(|instance| machine(instance, stack, now)));
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            out.sort_by(|one: &Machine, other| (&one.address, &one.id).cmp(&(&other.address, &other.id)));
            return Ok(out);
        }
    }
}

/// One instance, also one that has gone and that EC2 still knows (for about an hour); none if it does not.
///
/// # Errors
/// When EC2 cannot be asked.
pub async fn machine_of(aws: &Aws, stack: &StackInfo, id: &str) -> Result<Option<Machine>, AwsError> {
    let found = instances(aws, vec![filter("instance-id", &[id])]).await?;
    let now = aws.clock.now();
    Ok(found.iter().find_map(|instance| machine(instance, stack, now)))
}

fn machine(instance: &ec2::Instance, stack: &StackInfo, now: Timestamp) -> Option<Machine> {
    let tags = tags::from_ec2(instance.tags());
    let (owner, at) = stack.owner(&tags);
    if !matches!(owner, Owner::Ours | Owner::Adopted) {
        return None;
    }
    let state = state_of(instance)?;
    let launched_at = timestamp(instance.launch_time());
    Some(Machine {
        address: at.map(|at| at.to_string()),
        id: instance.instance_id()?.to_owned(),
        r#type: instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        billed: state == "running",
        state: state.to_owned(),
        launched_at,
        seconds: launched_at.map(|at| (now.as_second() - at.as_second()).max(0)),
        ends_itself_at: tags.get(TAG_DEADLINE).cloned(),
        price_per_hour: None,
    })
}

/// Every volume of a stack that does not go with an instance.
///
/// # Errors
/// When EC2 cannot be asked.
pub async fn disks(aws: &Aws, stack: &StackInfo) -> Result<Vec<Disk>, AwsError> {
    let by_tag = filter(&format!("tag:{TAG_STACK}"), &[&stack.name]);
    let mut pages = aws.ec2.describe_volumes().filters(by_tag).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        let volumes = page.or_aws("ec2:DescribeVolumes")?.volumes.unwrap_or_default();
        out.extend(volumes.iter().filter_map(|volume| disk(volume, stack)));
    }
    Ok(out)
}

fn disk(volume: &ec2::Volume, stack: &StackInfo) -> Option<Disk> {
    let (owner, _) = stack.owner(&tags::from_ec2(volume.tags()));
    let state = volume.state().map(|state| state.as_str().to_owned())?;
    let goes = volume.attachments().iter().any(|attached| attached.delete_on_termination() == Some(true));
    if !matches!(owner, Owner::Ours | Owner::Adopted) || goes || matches!(state.as_str(), "deleting" | "deleted") {
        return None;
    }
    Some(Disk {
        id: volume.volume_id()?.to_owned(),
        size_gib: volume.size()?.into(),
        r#type: volume.volume_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        state,
        attached_to: volume.attachments().iter().find_map(|attached| attached.instance_id()).map(str::to_owned),
    })
}
