//! `[cluster.…]`: an ECS cluster. It costs nothing, and by itself runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ecs::types::{Cluster as Live, ClusterField};
use futures_util::future::{try_join, try_join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_pair::settled;
use super::role::last_part;
use super::{ECS_NAME, ECS_NAME_TOLD, check_name, is_match};
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{again, none, taken_away};
use crate::aws::trace::branch;
use crate::aws::wait::{Pace, until};
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{Acting, Context, Found, Kind, Lifetime, Owner, Reading, SpecFault, Tags};

/// The kind.
pub enum Cluster {}

/// An ECS cluster: where the tasks run. It costs nothing by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The cluster's name in ECS, instead of `<stack>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = ECS_NAME))]
    pub name: Option<String>,
    /// Whether it stays until destroy, or exists for each sample's run only.
    #[serde(default)]
    pub lifetime: Lifetime,
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The cluster's name.
    pub name: String,
    /// Its tags.
    pub tags: Tags,
}

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters"
)]
pub enum Call {
    CreateCluster { at: Address, name: String, tags: Tags },
    TagResource { name: String, arn: Link, tags: Tags },
    UntagResource { name: String, arn: Link, keys: Vec<String> },
    DeleteCluster { name: String },
}

impl Kind for Cluster {
    const TABLE: &'static str = "cluster";
    const FIXED: &'static [&'static str] = &["name"];
    const PARTS: &'static [&'static str] = &["name", "arn"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        check_name(spec.name.as_ref(), ECS_NAME, ECS_NAME_TOLD).into_iter().collect()
    }

    fn lifetime(spec: &Spec) -> Lifetime {
        spec.lifetime
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let name = spec.name.unwrap_or_else(|| cx.physical_name(at));
        if !is_match(ECS_NAME, &name) {
            return Err(format!("ECS takes no cluster name `{name}`: {ECS_NAME_TOLD}; name the sample so"));
        }
        Ok(State { name, tags: cx.tags(at) })
    }

    fn named(want: &State) -> Ids {
        Ids::from([("name".to_owned(), want.name.clone())])
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        match (live, want) {
            (None, Some(want)) => {
                vec![Call::CreateCluster { at: at.clone(), name: want.name.clone(), tags: want.tags.clone() }]
            }
            (Some(live), None) => vec![Call::DeleteCluster { name: live.name.clone() }],
            (Some(live), Some(want)) => {
                let (tags, keys) = tags::change(&live.tags, &want.tags);
                let (name, arn) = (|| live.name.clone(), || Link::ours(at.clone(), "arn"));
                let set = (!tags.is_empty()).then(|| Call::TagResource { name: name(), arn: arn(), tags });
                let gone = (!keys.is_empty()).then(|| Call::UntagResource { name: name(), arn: arn(), keys });
                set.into_iter().chain(gone).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::CreateCluster { name, .. } => format!("ecs:CreateCluster {name}"),
            Call::TagResource { name, tags, .. } => format!("ecs:TagResource {name} {}", tags::keys(tags)),
            Call::UntagResource { name, keys, .. } => format!("ecs:UntagResource {name} {}", keys.join(" ")),
            Call::DeleteCluster { name } => format!("ecs:DeleteCluster {name}"),
        }
    }

    fn gist(state: &State) -> Vec<String> {
        vec![state.name.clone()]
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        let names: BTreeMap<String, &Address> = wanted
            .iter()
            .map(|(at, spec)| (spec.name.clone().unwrap_or_else(|| cx.stack.physical_name(at)), at))
            .collect();
        let (named, all) =
            try_join(branch(described(cx.aws, names.keys().cloned().collect())), branch(arns(cx.aws))).await?;
        let others = all.into_iter().filter(|arn| !names.contains_key(last_part(arn))).collect();
        let others = branch(described(cx.aws, others)).await?;
        let mut out = Vec::new();
        for cluster in named.iter().chain(&others) {
            let name = cluster.cluster_name().unwrap_or_default();
            let tags = tags::from_ecs(cluster.tags());
            let (owner, tagged) = cx.stack.owner(&tags);
            let wanted = names.get(name).map(|at| (*at).clone());
            if wanted.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
                continue;
            }
            let Some(at) = wanted.or(tagged) else { continue };
            out.push(Found { at, ids: ids(cluster), owner, state: State { name: name.to_owned(), tags } });
        }
        Ok(out)
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        Ok(described(cx.aws, vec![existing.to_owned()]).await?.first().map(ids))
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        match call {
            Call::CreateCluster { at, name, tags } => return create(&cx, &at, &name, &tags).await,
            Call::TagResource { name, arn, tags } => {
                tags::set_ecs(&cx.aws, &settled("ecs:TagResource", &name, &arn)?, &tags).await
            }
            Call::UntagResource { name, arn, keys } => {
                tags::remove_ecs(&cx.aws, &settled("ecs:UntagResource", &name, &arn)?, keys).await
            }
            Call::DeleteCluster { name } => delete(&cx, &name).await,
        }
        .map(|()| Ids::new())
    }
}

fn ids(cluster: &Live) -> Ids {
    let parts = [("name", cluster.cluster_name()), ("arn", cluster.cluster_arn())];
    parts.into_iter().filter_map(|(part, id)| Some((part.to_owned(), id?.to_owned()))).collect()
}

async fn arns(aws: &Aws) -> Result<BTreeSet<String>, AwsError> {
    let mut pages = aws.ecs.list_clusters().into_paginator().send();
    let mut out = BTreeSet::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("ecs:ListClusters")?.cluster_arns.unwrap_or_default());
    }
    Ok(out)
}

/// The clusters of these names or ARNs that are there; one deleted stays describable as `INACTIVE` for a while.
async fn described(aws: &Aws, names: Vec<String>) -> Result<Vec<Live>, AwsError> {
    const NAME: &str = "ecs:DescribeClusters";
    let chunks = names.chunks(100).map(|chunk| {
        branch(async move {
            let request = aws.ecs.describe_clusters().set_clusters(Some(chunk.to_vec())).include(ClusterField::Tags);
            let answer = request.send().await.or_aws(NAME)?;
            if let Some(failure) = answer.failures().iter().find(|failure| failure.reason() != Some("MISSING")) {
                let (arn, why) = (failure.arn().unwrap_or_default(), failure.reason().unwrap_or("no reason given"));
                return Err(AwsError::refused(NAME, format!("{arn}: {why}")));
            }
            Ok(answer.clusters.unwrap_or_default())
        })
    });
    let mut out: Vec<Live> = try_join_all(chunks).await?.into_iter().flatten().collect();
    out.retain(|cluster| !matches!(cluster.status(), Some("INACTIVE" | "DEPROVISIONING")));
    Ok(out)
}

async fn create(cx: &Acting, at: &Address, name: &str, tags: &Tags) -> Result<Ids, AwsError> {
    const NAME: &str = "ecs:CreateCluster";
    // The first cluster of an account makes ECS's own role first (containers-roadmap #2614).
    let no_role = |error: &AwsError| error.message.contains("Unable to assume the service linked role");
    again(Pace::SETTLING, NAME, "ECS's service-linked role", no_role, || {
        let request = cx.aws.ecs.create_cluster().cluster_name(name).set_tags(tags::to_ecs(tags));
        async move { request.send().await.or_aws(NAME) }
    })
    .await?;
    let cluster = until(
        Pace::SETTLING,
        NAME,
        "the cluster to be active",
        |_| false,
        || async move {
            let found = described(&cx.aws, vec![name.to_owned()]).await?;
            Ok(found.into_iter().find(|cluster| cluster.status() == Some("ACTIVE")))
        },
    )
    .await?;
    // CreateCluster quietly returns a cluster that exists (terraform-aws #38875); its tags are then not the call's.
    let (owner, tagged) = cx.stack.owner(&tags::from_ecs(cluster.tags()));
    if matches!(owner, Owner::Ours | Owner::Adopted) && tagged.as_ref() == Some(at) {
        Ok(ids(&cluster))
    } else {
        Err(AwsError::refused(NAME, format!("{name} exists meanwhile and is not this resource's; plan again")))
    }
}

async fn delete(cx: &Acting, name: &str) -> Result<(), AwsError> {
    const NAME: &str = "ecs:DeleteCluster";
    // Instances and tasks leave the cluster some time after they have ended.
    let emptying = |error: &AwsError| {
        error.is(&[
            "ClusterContainsContainerInstancesException",
            "ClusterContainsTasksException",
            "UpdateInProgressException",
        ])
    };
    let pace = Pace { within: Duration::from_secs(600), ..Pace::SETTLING };
    let sent = taken_away(&*cx.say, NAME, name, none, || {
        again(pace, NAME, "the cluster to be empty", emptying, || {
            let request = cx.aws.ecs.delete_cluster().cluster(name);
            async move { request.send().await.or_aws(NAME) }
        })
    });
    sent.await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_called() {
        let at = Address::new("cluster", "main");
        let tags = Tags::from([("a".to_owned(), "1".to_owned())]);
        let want = State { name: "germline-main".to_owned(), tags };
        let live = State { tags: Tags::from([("b".to_owned(), "1".to_owned())]), ..want.clone() };
        let calls = |live: Option<&State>, want: Option<&State>| -> Vec<String> {
            Cluster::calls(&at, live, want).iter().map(Cluster::describe).collect()
        };
        assert!(calls(Some(&want), Some(&want)).is_empty());
        assert_eq!(
            calls(Some(&live), Some(&want)),
            ["ecs:TagResource germline-main a", "ecs:UntagResource germline-main b"]
        );
        assert_eq!(calls(None, Some(&want)), ["ecs:CreateCluster germline-main"]);
        assert_eq!(calls(Some(&want), None), ["ecs:DeleteCluster germline-main"]);
    }
}
