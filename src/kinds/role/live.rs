//! Roles as they are: by name and by the stack's path side by side, then what those point at, then documents.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types as iam;
use futures_util::future::{try_join, try_join_all, try_join3, try_join4};

use super::{Policy, Profile, Spec, State, document, last_part, policy_name};
use crate::address::{Address, Ids};
use crate::aws::absence::{OrAbsent, SEEN};
use crate::aws::trace::branch;
use crate::aws::wait::until;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{Found, Owner, Reading, Tags};

/// What IAM knows under one role's name.
struct Named {
    role: Option<iam::Role>,
    attached: BTreeSet<String>,
    inline: BTreeSet<String>,
    profile: Option<iam::InstanceProfile>,
}

pub(super) async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
    let aws = cx.aws;
    let by_name: BTreeMap<String, (&Address, &Spec)> = wanted
        .iter()
        .map(|(at, spec)| (spec.name.clone().unwrap_or_else(|| cx.stack.physical_name(at)), (at, spec)))
        .collect();
    let path = cx.stack.iam_path();
    let names = by_name.keys().map(|name| branch(named(aws, name)));
    let (roles, policies, profiles, first) = try_join4(
        branch(roles(aws, &path)),
        branch(policies(aws, &path)),
        branch(profiles(aws, &path)),
        branch(try_join_all(names)),
    )
    .await?;
    let of_policy = policies.keys().filter_map(|name| name.strip_suffix("_policy").map(str::to_owned));
    let others: BTreeSet<String> =
        roles.into_iter().chain(profiles).chain(of_policy).filter(|name| !by_name.contains_key(name)).collect();

    let first = by_name.iter().zip(first).map(|((name, (at, spec)), named)| {
        let policy = policies.get(&policy_name(name)).cloned().or_else(|| {
            // An adopted role's policy may be anywhere, and then only its attachment tells.
            let same = |arn: &&String| last_part(arn) == policy_name(name) && !arn.contains("::aws:policy/");
            named.attached.iter().find(same).map(|arn| (arn.clone(), None))
        });
        branch(whole(cx, name, Some((*at, *spec)), named, policy))
    });
    let second = others.iter().map(|name| {
        let policy = policies.get(&policy_name(name)).cloned();
        branch(async move {
            let read = async {
                match &policy {
                    Some((arn, version)) => self::policy(aws, arn, version.clone()).await,
                    None => Ok(None),
                }
            };
            let (mut named, read) = try_join(branch(named(aws, name)), branch(read)).await?;
            let policy = match &policy {
                Some((arn, _)) => seen(cx, name, &mut named, arn, read).await?,
                None => None,
            };
            Ok::<_, AwsError>(found(cx, name, None, named, policy))
        })
    });
    let (first, second) = try_join(branch(try_join_all(first)), branch(try_join_all(second))).await?;
    Ok(first.into_iter().chain(second).flatten().collect())
}

type ByArn = (String, Option<String>);

async fn whole(
    cx: Reading<'_>,
    name: &str,
    wanted: Option<(&Address, &Spec)>,
    mut named: Named,
    policy: Option<ByArn>,
) -> Result<Option<Found<State>>, AwsError> {
    let policy = match policy {
        Some((arn, version)) => {
            let read = self::policy(cx.aws, &arn, version).await?;
            seen(cx, name, &mut named, &arn, read).await?
        }
        None => None,
    };
    Ok(found(cx, name, wanted, named, policy))
}

/// A policy that is listed or attached is there, even where GetPolicy does not see it yet, and is never taken for none:
/// all is read again until it agrees.
async fn seen(
    cx: Reading<'_>,
    name: &str,
    named: &mut Named,
    arn: &str,
    read: Option<Policy>,
) -> Result<Option<Policy>, AwsError> {
    if read.is_some() {
        return Ok(read);
    }
    let (aws, path) = (cx.aws, cx.stack.iam_path());
    let what = format!("{arn}, which is listed or attached, to be seen");
    let (attached, policy) = until(
        SEEN,
        "iam:GetPolicy",
        &what,
        |_| false,
        || async {
            let (attached, listed, policy) =
                try_join3(branch(attached(aws, name)), branch(policies(aws, &path)), branch(policy(aws, arn, None)))
                    .await?;
            let known = attached.contains(arn) || listed.values().any(|(listed, _)| listed == arn);
            Ok((policy.is_some() || !known).then_some((attached, policy)))
        },
    )
    .await?;
    named.attached = attached;
    Ok(policy)
}

/// Puts together what is under one name, and says whose it is.
fn found(
    cx: Reading<'_>,
    name: &str,
    wanted: Option<(&Address, &Spec)>,
    named: Named,
    policy: Option<Policy>,
) -> Option<Found<State>> {
    let ours = |tags: &Tags| matches!(cx.stack.owner(tags).0, Owner::Ours | Owner::Adopted);
    let wants_policy =
        wanted.is_some_and(|(_, spec)| spec.policy.is_some() || !spec.read.is_empty() || !spec.write.is_empty());
    let wants_profile = wanted.is_some_and(|(_, spec)| spec.instance_profile);
    let policy = policy.filter(|policy| wants_policy || ours(&policy.tags));
    let profile = named.profile.map(|profile| {
        let state = Profile {
            path: profile.path().to_owned(),
            role: profile.roles().first().map(|role| role.role_name().to_owned()),
            tags: tags::from_iam(profile.tags()),
        };
        (profile.arn().to_owned(), state)
    });
    let profile = profile.filter(|(_, profile)| wants_profile || ours(&profile.tags));
    if named.role.is_none() && policy.is_none() && profile.is_none() {
        return None;
    }
    let role_tags = named.role.as_ref().map(|role| tags::from_iam(role.tags()));
    let all: Vec<&Tags> = role_tags
        .iter()
        .chain(policy.iter().map(|policy| &policy.tags))
        .chain(profile.iter().map(|(_, profile)| &profile.tags))
        .collect();
    let (owner, tagged) = owner(cx, &all);
    let at = wanted.map(|(at, _)| at.clone()).or(tagged)?;
    // Under our path but not ours by tag: no business of ours unless its name is wanted.
    if wanted.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
        return None;
    }

    let mut ids = Ids::new();
    if let Some(role) = &named.role {
        ids.extend([("name".to_owned(), name.to_owned()), ("arn".to_owned(), role.arn().to_owned())]);
    }
    if let Some((arn, _)) = &profile {
        ids.extend([("profile".to_owned(), name.to_owned()), ("profile_arn".to_owned(), arn.clone())]);
    }
    let mut attached = named.attached;
    let policy = policy.map(|policy| Policy { attached: attached.remove(&policy.arn), ..policy });
    let role = named.role.as_ref();
    let state = State {
        name: name.to_owned(),
        path: role.map_or_else(|| cx.stack.iam_path(), |role| role.path().to_owned()),
        made: role.is_some(),
        trust: role
            .and_then(|role| role.assume_role_policy_document())
            .map_or(serde_json::Value::Null, document::decoded),
        description: role.and_then(|role| role.description()).unwrap_or_default().to_owned(),
        session_seconds: role.and_then(|role| role.max_session_duration()).unwrap_or(3600).into(),
        attached,
        inline: named.inline,
        policy,
        profile: profile.map(|(_, profile)| profile),
        tags: role_tags.unwrap_or_default(),
    };
    Some(Found { at, ids, owner, state })
}

/// The least friendly owner of the parts: one part of somebody else's makes a conflict of it all.
fn owner(cx: Reading<'_>, all: &[&Tags]) -> (Owner, Option<Address>) {
    let owners: Vec<_> = all.iter().map(|tags| cx.stack.owner(tags)).collect();
    let at = owners.iter().find_map(|(_, at)| at.clone());
    let rank = |owner: &Owner| match owner {
        Owner::Stack(_) => 0,
        Owner::Nobody => 1,
        Owner::Adopted => 2,
        Owner::Ours | Owner::Remains => 3,
    };
    let owner = owners.into_iter().map(|(owner, _)| owner).min_by_key(rank).unwrap_or(Owner::Nobody);
    (owner, at)
}

async fn named(aws: &Aws, name: &str) -> Result<Named, AwsError> {
    let role = async {
        let asked = aws.iam.get_role().role_name(name).send().await.or_aws("iam:GetRole");
        Ok(asked.or_absent()?.and_then(|answer| answer.role))
    };
    let (role, attached, inline, profile) =
        try_join4(branch(role), branch(attached(aws, name)), branch(inline(aws, name)), branch(profile(aws, name)))
            .await?;
    Ok(Named { role, attached, inline, profile })
}

pub(super) async fn attached(aws: &Aws, role: &str) -> Result<BTreeSet<String>, AwsError> {
    let mut pages = aws.iam.list_attached_role_policies().role_name(role).into_paginator().send();
    let mut out = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.or_aws("iam:ListAttachedRolePolicies").or_absent()? else { break };
        out.extend(page.attached_policies().iter().filter_map(|policy| policy.policy_arn().map(str::to_owned)));
    }
    Ok(out)
}

async fn inline(aws: &Aws, role: &str) -> Result<BTreeSet<String>, AwsError> {
    let mut pages = aws.iam.list_role_policies().role_name(role).into_paginator().send();
    let mut out = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.or_aws("iam:ListRolePolicies").or_absent()? else { break };
        out.extend(page.policy_names().iter().cloned());
    }
    Ok(out)
}

async fn profile(aws: &Aws, name: &str) -> Result<Option<iam::InstanceProfile>, AwsError> {
    let asked = aws.iam.get_instance_profile().instance_profile_name(name).send().await;
    Ok(asked.or_aws("iam:GetInstanceProfile").or_absent()?.and_then(|answer| answer.instance_profile))
}

/// The instance profile of a role, which need not be named like it; of several, the one that is.
async fn profile_of(aws: &Aws, role: &str) -> Result<Option<iam::InstanceProfile>, AwsError> {
    let asked = aws.iam.list_instance_profiles_for_role().role_name(role).send().await;
    let found = asked.or_aws("iam:ListInstanceProfilesForRole").or_absent()?.map(|answer| answer.instance_profiles);
    let mut found = found.unwrap_or_default();
    found.sort_by_key(|profile| profile.instance_profile_name() != role);
    Ok(found.into_iter().next())
}

/// Names of the roles under a path. (Their tags are not in the listing.)
async fn roles(aws: &Aws, path: &str) -> Result<Vec<String>, AwsError> {
    let mut pages = aws.iam.list_roles().path_prefix(path).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("iam:ListRoles")?.roles().iter().map(|role| role.role_name().to_owned()));
    }
    Ok(out)
}

async fn profiles(aws: &Aws, path: &str) -> Result<Vec<String>, AwsError> {
    let mut pages = aws.iam.list_instance_profiles().path_prefix(path).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("iam:ListInstanceProfiles")?;
        out.extend(page.instance_profiles().iter().map(|profile| profile.instance_profile_name().to_owned()));
    }
    Ok(out)
}

/// Policies under a path by name: ARN and default version.
async fn policies(aws: &Aws, path: &str) -> Result<BTreeMap<String, ByArn>, AwsError> {
    let listing = aws.iam.list_policies().scope(iam::PolicyScopeType::Local).path_prefix(path);
    let mut pages = listing.into_paginator().send();
    let mut out = BTreeMap::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("iam:ListPolicies")?.policies().iter().filter_map(|policy| {
            let version = policy.default_version_id().map(str::to_owned);
            Some((policy.policy_name()?.to_owned(), (policy.arn()?.to_owned(), version)))
        }));
    }
    Ok(out)
}

/// A policy, its default version and its spare ones; `None` if it went meanwhile. One wave where the default version is
/// known already, else two.
async fn policy(aws: &Aws, arn: &str, version: Option<String>) -> Result<Option<Policy>, AwsError> {
    let get = async {
        let asked = aws.iam.get_policy().policy_arn(arn).send().await.or_aws("iam:GetPolicy");
        Ok::<_, AwsError>(asked.or_absent()?.and_then(|answer| answer.policy))
    };
    let document = async {
        match &version {
            Some(version) => policy_document(aws, arn, version).await,
            None => Ok(None),
        }
    };
    let (policy, versions, known) = try_join3(branch(get), branch(spare_versions(aws, arn)), branch(document)).await?;
    let Some(policy) = policy else { return Ok(None) };
    let document = match (known, policy.default_version_id()) {
        (Some(document), _) => Some(document),
        (None, Some(default)) => policy_document(aws, arn, default).await?,
        (None, None) => None,
    };
    Ok(document.map(|document| Policy {
        arn: arn.to_owned(),
        document,
        attached: false,
        tags: tags::from_iam(policy.tags()),
        spare_versions: versions,
    }))
}

/// The default version's document, canonical.
pub(super) async fn policy_document(
    aws: &Aws,
    arn: &str,
    version: &str,
) -> Result<Option<serde_json::Value>, AwsError> {
    let asked = aws.iam.get_policy_version().policy_arn(arn).version_id(version).send().await;
    let version = asked.or_aws("iam:GetPolicyVersion").or_absent()?.and_then(|answer| answer.policy_version);
    Ok(version.and_then(|version| version.document().map(document::decoded)))
}

/// Ids of the versions that are not the default, oldest first.
async fn spare_versions(aws: &Aws, arn: &str) -> Result<Vec<String>, AwsError> {
    let mut pages = aws.iam.list_policy_versions().policy_arn(arn).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.or_aws("iam:ListPolicyVersions").or_absent()? else { break };
        let spare = page.versions().iter().filter(|version| !version.is_default_version());
        out.extend(spare.filter_map(|version| version.version_id().map(str::to_owned)));
    }
    out.sort_by_key(|id| id.trim_start_matches('v').parse::<u64>().unwrap_or(u64::MAX));
    Ok(out)
}

pub(super) async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
    let name = last_part(existing);
    let role = async {
        let asked = cx.aws.iam.get_role().role_name(name).send().await.or_aws("iam:GetRole");
        Ok(asked.or_absent()?.and_then(|answer| answer.role))
    };
    let by_profile = existing.contains(":instance-profile/");
    let profile = async {
        match by_profile {
            true => profile(cx.aws, name).await,
            false => profile_of(cx.aws, name).await,
        }
    };
    let (role, profile) = try_join(branch(role), branch(profile)).await?;
    let mut ids = Ids::new();
    if by_profile {
        // A profile need not have its role's name.
        let Some(held) = profile.as_ref().and_then(|profile| profile.roles().first()) else { return Ok(None) };
        ids.extend([("name".to_owned(), held.role_name().to_owned()), ("arn".to_owned(), held.arn().to_owned())]);
    } else {
        let Some(role) = role else { return Ok(None) };
        ids.extend([("name".to_owned(), role.role_name().to_owned()), ("arn".to_owned(), role.arn().to_owned())]);
    }
    if let Some(profile) = profile {
        ids.insert("profile".to_owned(), profile.instance_profile_name().to_owned());
        ids.insert("profile_arn".to_owned(), profile.arn().to_owned());
    }
    Ok(Some(ids))
}
