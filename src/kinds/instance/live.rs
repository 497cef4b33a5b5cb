//! Instances as they are, by tag. What is shutting down or terminated is gone.

use std::collections::BTreeMap;

use aws_sdk_ec2::types as ec2;

use super::{State, TAG_CLUSTER, TAG_FOLDER, TAG_LAUNCH, TAG_MAX_HOURS, TAG_PUBLIC_IP, TECHNICAL, Volume};
use crate::address::{Ids, Link};
use crate::aws::absence::OrAbsent;
use crate::aws::trace::branch;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{Found, Owner, Reading, TAG_STACK};
use crate::kinds::role::last_part;

/// States of an instance that is there.
const THERE: &[&str] = &["pending", "running", "stopping", "stopped"];

pub(super) fn filter(name: &str, values: &[&str]) -> ec2::Filter {
    ec2::Filter::builder().name(name).set_values(Some(values.iter().map(|&value| value.to_owned()).collect())).build()
}

/// The instances that these filters let through, gone ones included.
pub(super) async fn instances(aws: &Aws, filters: Vec<ec2::Filter>) -> Result<Vec<ec2::Instance>, AwsError> {
    let mut pages = aws.ec2.describe_instances().set_filters(Some(filters)).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        let reservations = page.or_aws("ec2:DescribeInstances")?.reservations.unwrap_or_default();
        out.extend(reservations.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()));
    }
    Ok(out)
}

/// Whether it is there, or about to be.
pub(super) fn is_there(instance: &ec2::Instance) -> bool {
    state_of(instance).is_some_and(|state| THERE.contains(&state))
}

/// `pending`, `running`, …
pub(super) fn state_of(instance: &ec2::Instance) -> Option<&str> {
    Some(instance.state()?.name()?.as_str())
}

fn root(instance: &ec2::Instance) -> Option<&str> {
    let root = instance.root_device_name();
    let mapping = instance.block_device_mappings().iter().find(|mapping| mapping.device_name() == root)?;
    mapping.ebs()?.volume_id()
}

pub(super) async fn list(cx: Reading<'_>) -> Result<Vec<Found<State>>, AwsError> {
    let by_tag = format!("tag:{TAG_STACK}");
    let filters = vec![filter(&by_tag, &[&cx.stack.name]), filter("instance-state-name", THERE)];
    let instances = branch(instances(cx.aws, filters)).await?;
    let ids: Vec<&str> = instances.iter().filter_map(root).collect();
    let volumes = branch(volumes(cx.aws, &ids)).await?;
    let found = instances.iter().filter_map(|instance| {
        let state = state(instance, &volumes);
        let (owner, at) = cx.stack.owner(&state.tags);
        if !matches!(owner, Owner::Ours | Owner::Adopted) {
            return None;
        }
        let id = instance.instance_id()?.to_owned();
        Some(Found { at: at?, ids: Ids::from([("id".to_owned(), id)]), owner, state })
    });
    Ok(found.collect())
}

/// Volumes by id. Asked by filter: one that went meanwhile is not in the answer.
async fn volumes(aws: &Aws, ids: &[&str]) -> Result<BTreeMap<String, Volume>, AwsError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut pages = aws.ec2.describe_volumes().filters(filter("volume-id", ids)).into_paginator().send();
    let mut out = BTreeMap::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("ec2:DescribeVolumes")?.volumes.unwrap_or_default().into_iter().filter_map(|volume| {
            let kind = volume.volume_type.as_ref().map(|kind| kind.as_str().to_owned())?;
            let chosen = matches!(kind.as_str(), "gp3" | "io1" | "io2");
            let state = Volume {
                size_gib: volume.size?.into(),
                encrypted: volume.encrypted.unwrap_or_default(),
                iops: volume.iops.filter(|_| chosen).map(i64::from),
                throughput: volume.throughput.filter(|_| kind == "gp3").map(i64::from),
                r#type: kind,
            };
            Some((volume.volume_id?, state))
        }));
    }
    Ok(out)
}

fn state(instance: &ec2::Instance, volumes: &BTreeMap<String, Volume>) -> State {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let mut tags = tags::from_ec2(instance.tags());
    let tag = |key: &str| tags.get(key).cloned().unwrap_or_default();
    let (cluster, launch, max_hours) = (tag(TAG_CLUSTER), tag(TAG_LAUNCH), tag(TAG_MAX_HOURS).parse().ok());
    let public_ip = tag(TAG_PUBLIC_IP).parse().ok();
    let folders = tags.iter().filter(|(key, _)| key.starts_with(TAG_FOLDER)).filter_map(|(_, value)| {
        let (owner, path) = value.split_at_checked(value.find(" /")?)?;
        Some((path.trim_start().to_owned(), owner.to_owned()))
    });
    let folders = folders.collect();
    tags.retain(|key, _| !TECHNICAL.iter().any(|technical| key.starts_with(technical)));
    let profile = instance.iam_instance_profile().and_then(|profile| profile.arn()).map(last_part);
    let groups = instance.security_groups().iter().filter_map(|group| group.group_id());
    let launched = instance.launch_time().and_then(|at| jiff::Timestamp::from_second(at.secs()).ok());
    State {
        r#type: instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        ami: text(instance.image_id()),
        ami_behind: None,
        root_device: text(instance.root_device_name()),
        cluster: Link::theirs("cluster", cluster),
        profile: Link::theirs("role", text(profile)),
        key_pair: instance.key_name().map(|name| Link::theirs("key_pair", name)),
        security_groups: groups.map(|id| Link::theirs("security_group", id)).collect(),
        subnet: text(instance.subnet_id()),
        choices: Vec::new(),
        public_ip,
        folders,
        volume: root(instance).and_then(|id| volumes.get(id).cloned()),
        max_hours,
        launch,
        stopped: state_of(instance).is_some_and(|state| matches!(state, "stopping" | "stopped")),
        used: None,
        id: instance.instance_id().map(str::to_owned),
        launched: launched.map(|at| at.to_string()),
        tags,
    }
}

pub(super) async fn find_existing(aws: &Aws, existing: &str) -> Result<Option<Ids>, AwsError> {
    let asked = aws.ec2.describe_instances().instance_ids(existing).send().await.or_aws("ec2:DescribeInstances");
    let found = asked.or_absent_if(|error| error.is(&["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"]))?;
    let instances = found.iter().flat_map(|answer| answer.reservations()).flat_map(|one| one.instances());
    let there = instances.filter(|instance| is_there(instance)).filter_map(|instance| instance.instance_id()).next();
    Ok(there.map(|id| Ids::from([("id".to_owned(), id.to_owned())])))
}
