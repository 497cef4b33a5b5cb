//! Ending an instance: it is terminated, and no longer registered in its cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::live::state_of;
use crate::address::Link;
use crate::aws::absence::{OrAbsent, SEEN, taken_away};
use crate::aws::wait::{Pace, until};
use crate::aws::{AwsError, Class, OrAws};
use crate::kind::Acting;
use crate::kinds::key_pair::settled;

pub(super) async fn terminate(cx: &Acting, instance: &Link, cluster: &Link) -> Result<(), AwsError> {
    const NAME: &str = "ec2:TerminateInstances";
    let id = settled(NAME, "the instance", instance)?;
    let cluster = settled(NAME, "the instance's cluster", cluster)?;
    let gone = |error: &AwsError| error.is(&["InvalidInstanceID.NotFound"]);
    (cx.say)(format!("waiting for {id} to be terminated"));
    let (heard, asked_at) = (AtomicBool::new(false), tokio::time::Instant::now());
    let what = format!("{id} to be terminated");
    until(
        Pace::MACHINE,
        NAME,
        &what,
        |_| false,
        || async {
            // Just launched, it may not be known to this call yet: not heard, so it is asked again.
            if !heard.load(Ordering::Relaxed) {
                let sent = cx.aws.ec2.terminate_instances().instance_ids(&id).send().await.or_aws(NAME);
                heard.store(sent.or_absent_if(gone)?.is_some(), Ordering::Relaxed);
            }
            let asked = cx.aws.ec2.describe_instances().instance_ids(&id).send().await.or_aws("ec2:DescribeInstances");
            let answer = asked.or_absent_if(gone)?;
            let found = answer.iter().flat_map(|answer| answer.reservations()).flat_map(|one| one.instances()).next();
            // EC2 shows it for an hour after its end: one that is not shown is too new to be seen.
            let ended = match found {
                Some(instance) => state_of(instance) == Some("terminated"),
                None => asked_at.elapsed() > SEEN.within,
            };
            Ok(ended.then_some(()))
        },
    )
    .await?;
    if cluster.is_empty() { Ok(()) } else { deregister(cx, &cluster, &id).await }
}

/// A running, connected instance leaves its cluster by itself when it is terminated; a stopped or disconnected one stays
/// registered, and would keep the cluster from being deleted.
async fn deregister(cx: &Acting, cluster: &str, id: &str) -> Result<(), AwsError> {
    const NAME: &str = "ecs:DeregisterContainerInstance";
    let brief = Pace { within: Duration::from_secs(20), ..SEEN };
    let what = format!("{id} to leave {cluster}");
    let by_itself = until(
        brief,
        NAME,
        &what,
        |_| false,
        || async { Ok(registered(cx, cluster, id).await?.is_empty().then_some(())) },
    );
    match by_itself.await {
        // Our own word that it has not.
        Err(stays) if stays.class == Class::Refused && stays.code.is_none() => {}
        other => return other,
    }
    for arn in registered(cx, cluster, id).await? {
        let gone = |error: &AwsError| error.is(&["InvalidParameterException", "ClusterNotFoundException"]);
        taken_away(&*cx.say, NAME, &format!("{id} in {cluster}"), gone, || {
            let request = cx.aws.ecs.deregister_container_instance().cluster(cluster).container_instance(&arn);
            async move { request.force(true).send().await.or_aws(NAME) }
        })
        .await?;
    }
    Ok(())
}

/// ARNs of the container instances that this instance is in a cluster.
async fn registered(cx: &Acting, cluster: &str, id: &str) -> Result<BTreeSet<String>, AwsError> {
    let mut pages = cx.aws.ecs.list_container_instances().cluster(cluster).into_paginator().send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        let no_cluster = |error: &AwsError| error.is(&["ClusterNotFoundException"]);
        let Some(page) = page.or_aws("ecs:ListContainerInstances").or_absent_if(no_cluster)? else {
            return Ok(BTreeSet::new());
        };
        arns.extend(page.container_instance_arns.unwrap_or_default());
    }
    let mut out = BTreeSet::new();
    for chunk in arns.chunks(100) {
        let request = cx.aws.ecs.describe_container_instances().cluster(cluster);
        let answer = request.set_container_instances(Some(chunk.to_vec())).send().await;
        let answer = answer.or_aws("ecs:DescribeContainerInstances")?;
        let same = answer.container_instances().iter().filter(|one| one.ec2_instance_id() == Some(id));
        let active = same.filter(|one| one.status() != Some("INACTIVE"));
        out.extend(active.filter_map(|one| one.container_instance_arn().map(str::to_owned)));
    }
    Ok(out)
}
