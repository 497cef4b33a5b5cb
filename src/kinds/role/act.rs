//! Each mutating call on roles: as words, and made. A create that was lost on the way is found, never repeated.

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_iam::config::retry::RetryConfig;
use aws_sdk_iam::types::Tag;
use serde_json::Value;
use tokio::time::Instant;

use super::{Call, last_part, live};
use crate::address::{Address, Ids};
use crate::aws::absence::{OrAbsent, SEEN, again, none, taken_away, unclear, unseen};
use crate::aws::wait::{Pace, until};
use crate::aws::{Aws, AwsError, Class, OrAws, tags};
use crate::kind::{Acting, Owner, Tags};

pub(super) fn describe(call: &Call) -> String {
    match call {
        Call::CreateRole { role, .. } => format!("iam:CreateRole {role}"),
        Call::UpdateAssumeRolePolicy { role, .. } => format!("iam:UpdateAssumeRolePolicy {role}"),
        Call::UpdateRole { role, .. } => format!("iam:UpdateRole {role}"),
        Call::TagRole { role, tags } => format!("iam:TagRole {role} {}", keys(tags)),
        Call::UntagRole { role, keys } => format!("iam:UntagRole {role} {}", keys.join(" ")),
        Call::AttachRolePolicy { role, policy } => format!("iam:AttachRolePolicy {role} {}", last_part(policy)),
        Call::DetachRolePolicy { role, policy } => format!("iam:DetachRolePolicy {role} {}", last_part(policy)),
        Call::DeleteRolePolicy { role, name } => format!("iam:DeleteRolePolicy {role} {name}"),
        Call::CreatePolicy { policy, .. } => format!("iam:CreatePolicy {}", last_part(policy)),
        Call::CreatePolicyVersion { policy, .. } => format!("iam:CreatePolicyVersion {}", last_part(policy)),
        Call::DeletePolicyVersion { policy, version } => {
            format!("iam:DeletePolicyVersion {} {version}", last_part(policy))
        }
        Call::TagPolicy { policy, tags } => format!("iam:TagPolicy {} {}", last_part(policy), keys(tags)),
        Call::UntagPolicy { policy, keys } => format!("iam:UntagPolicy {} {}", last_part(policy), keys.join(" ")),
        Call::DeletePolicy { policy } => format!("iam:DeletePolicy {}", last_part(policy)),
        Call::CreateInstanceProfile { profile, .. } => format!("iam:CreateInstanceProfile {profile}"),
        Call::AddRoleToInstanceProfile { profile, role } => format!("iam:AddRoleToInstanceProfile {profile} {role}"),
        Call::RemoveRoleFromInstanceProfile { profile, role } => {
            format!("iam:RemoveRoleFromInstanceProfile {profile} {role}")
        }
        Call::TagInstanceProfile { profile, tags } => format!("iam:TagInstanceProfile {profile} {}", keys(tags)),
        Call::UntagInstanceProfile { profile, keys } => {
            format!("iam:UntagInstanceProfile {profile} {}", keys.join(" "))
        }
        Call::DeleteInstanceProfile { profile } => format!("iam:DeleteInstanceProfile {profile}"),
        Call::DeleteRole { role } => format!("iam:DeleteRole {role}"),
    }
}

fn keys(tags: &Tags) -> String {
    tags.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn iam_tags(operation: &'static str, tags: &Tags) -> Result<Option<Vec<Tag>>, AwsError> {
    tags::to_iam(operation, tags)
}

pub(super) async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
    match &call {
        Call::CreateRole { .. } | Call::CreatePolicy { .. } | Call::CreateInstanceProfile { .. } => {
            create(&cx, call).await
        }
        Call::CreatePolicyVersion { policy, document } => {
            new_version(&cx.aws, policy, document).await.map(|()| Ids::new())
        }
        Call::AttachRolePolicy { .. } | Call::AddRoleToInstanceProfile { .. } => {
            join(&cx, call).await.map(|()| Ids::new())
        }
        Call::TagRole { .. }
        | Call::UntagRole { .. }
        | Call::TagPolicy { .. }
        | Call::UntagPolicy { .. }
        | Call::TagInstanceProfile { .. }
        | Call::UntagInstanceProfile { .. } => retag(&cx.aws, call).await.map(|()| Ids::new()),
        Call::UpdateAssumeRolePolicy { .. } | Call::UpdateRole { .. } => {
            update(&cx.aws, call).await.map(|()| Ids::new())
        }
        _ => Box::pin(remove(&cx, call)).await.map(|()| Ids::new()),
    }
}

async fn create(cx: &Acting, call: Call) -> Result<Ids, AwsError> {
    let iam = &cx.aws.iam;
    match call {
        Call::CreateRole { at, role, path, trust, description, session_seconds, tags } => {
            const NAME: &str = "iam:CreateRole";
            let seconds = i32::try_from(session_seconds).unwrap_or(3600);
            let sent = iam
                .create_role()
                .role_name(&role)
                .path(path)
                .assume_role_policy_document(trust.to_string())
                .set_description((!description.is_empty()).then_some(description))
                .max_session_duration(seconds)
                .set_tags(iam_tags(NAME, &tags)?)
                .send()
                .await
                .or_aws(NAME);
            let made = sent.or_absent_if(exists)?;
            // What was just made may not be seen yet; what another attempt of ours made is taken for made by this one.
            let seen = again(SEEN, NAME, "the role to be seen", unseen, || {
                let get = iam.get_role().role_name(&role);
                async move { get.send().await.or_aws("iam:GetRole") }
            })
            .await?;
            let Some(seen) = seen.role else { return Err(AwsError::refused(NAME, "the answer has no role")) };
            if made.is_none() {
                ours(cx, NAME, &role, &tags::from_iam(seen.tags()), Some(&at))?;
            }
            Ok(Ids::from([("name".to_owned(), role), ("arn".to_owned(), seen.arn().to_owned())]))
        }
        Call::CreatePolicy { policy, document, tags } => {
            const NAME: &str = "iam:CreatePolicy";
            let (path, name) = split(&policy);
            let sent = iam
                .create_policy()
                .policy_name(name)
                .path(path)
                .policy_document(document.to_string())
                .set_tags(iam_tags(NAME, &tags)?)
                .send()
                .await
                .or_aws(NAME);
            if sent.or_absent_if(exists)?.is_none() {
                let get = iam.get_policy().policy_arn(&policy).send().await.or_aws("iam:GetPolicy")?;
                let found = get.policy.map(|policy| tags::from_iam(policy.tags())).unwrap_or_default();
                ours(cx, NAME, name, &found, None)?;
            }
            Ok(Ids::new())
        }
        Call::CreateInstanceProfile { profile, path, tags } => {
            const NAME: &str = "iam:CreateInstanceProfile";
            let sent = iam
                .create_instance_profile()
                .instance_profile_name(&profile)
                .path(path)
                .set_tags(iam_tags(NAME, &tags)?)
                .send()
                .await
                .or_aws(NAME);
            let made = sent.or_absent_if(exists)?.and_then(|answer| answer.instance_profile);
            let arn = match made {
                Some(made) => made.arn,
                None => {
                    let get = iam.get_instance_profile().instance_profile_name(&profile).send().await;
                    let Some(found) = get.or_aws("iam:GetInstanceProfile")?.instance_profile else {
                        return Err(AwsError::refused(NAME, "the answer has no instance profile"));
                    };
                    ours(cx, NAME, &profile, &tags::from_iam(found.tags()), None)?;
                    found.arn
                }
            };
            Ok(Ids::from([("profile".to_owned(), profile), ("profile_arn".to_owned(), arn)]))
        }
        _ => Ok(Ids::new()),
    }
}

fn exists(error: &AwsError) -> bool {
    error.is(&["EntityAlreadyExists", "EntityAlreadyExistsException"])
}

/// That what exists already is this stack's.
fn ours(cx: &Acting, operation: &'static str, name: &str, tags: &Tags, at: Option<&Address>) -> Result<(), AwsError> {
    let (owner, found) = cx.stack.owner(tags);
    let same = at.is_none_or(|at| found.as_ref() == Some(at));
    if matches!(owner, Owner::Ours | Owner::Adopted) && same {
        return Ok(());
    }
    Err(AwsError::refused(operation, format!("{name} exists meanwhile and is not this resource's; plan again")))
}

/// Path and name of `arn:aws:iam::123456789012:policy/path/name`.
fn split(arn: &str) -> (&str, &str) {
    let rest = arn.split_once(":policy").map_or(arn, |(_, rest)| rest);
    rest.rfind('/').map_or(("/", rest), |slash| rest.split_at(slash + 1))
}

/// How long a version that may have been made is looked for before another one is asked for.
const SHOWN: Duration = Duration::from_secs(60);

/// Looked for before it is sent, and sent once only: a version has no name that a second attempt could run into, and the
/// first may have been made before somebody had to sign in again. When its fate is unclear, the policy says, for as long as
/// IAM may take to show it.
async fn new_version(aws: &Aws, policy: &str, document: &Value) -> Result<(), AwsError> {
    const NAME: &str = "iam:CreatePolicyVersion";
    let unclear_since: Mutex<Option<Instant>> = Mutex::new(None);
    until(Pace::SETTLING, NAME, "the policy's new version", unclear, || async {
        let found = aws.iam.get_policy().policy_arn(policy).send().await.or_aws("iam:GetPolicy").or_absent()?;
        let version = found.and_then(|found| found.policy).and_then(|policy| policy.default_version_id);
        if let Some(version) = version
            && live::policy_document(aws, policy, &version).await?.as_ref() == Some(document)
        {
            return Ok(Some(()));
        }
        let since = unclear_since.lock().ok().and_then(|since| *since);
        if since.is_some_and(|since| since.elapsed() < SHOWN) {
            return Ok(None);
        }
        let once = aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
        let request = aws.iam.create_policy_version().policy_arn(policy).policy_document(document.to_string());
        let sent = request.set_as_default(true).customize().config_override(once).send().await.or_aws(NAME);
        if let (Err(error), Ok(mut since)) = (&sent, unclear_since.lock()) {
            *since = (error.class == Class::Passing).then(Instant::now);
        }
        sent.map(|_| Some(()))
    })
    .await
}

/// Attaches one thing to another.
async fn join(cx: &Acting, call: Call) -> Result<(), AwsError> {
    let iam = &cx.aws.iam;
    match call {
        Call::AttachRolePolicy { role, policy } => {
            let request = iam.attach_role_policy().role_name(&role).policy_arn(&policy);
            request.send().await.or_aws("iam:AttachRolePolicy").map(|_| ())
        }
        Call::AddRoleToInstanceProfile { profile, role } => {
            let request = iam.add_role_to_instance_profile().instance_profile_name(&profile).role_name(&role);
            match request.send().await.or_aws("iam:AddRoleToInstanceProfile") {
                // It holds one already: the same, if an earlier attempt was heard.
                Err(error) if error.is(&["LimitExceeded", "EntityAlreadyExists"]) => {
                    holds(cx, &profile, &role, error).await
                }
                other => other.map(|_| ()),
            }
        }
        _ => Ok(()),
    }
}

/// That a profile which holds a role already holds this one; that it holds any may not be seen yet.
async fn holds(cx: &Acting, profile: &str, role: &str, error: AwsError) -> Result<(), AwsError> {
    const NAME: &str = "iam:GetInstanceProfile";
    let held = until(SEEN, NAME, "the profile's role to be seen", unseen, || async move {
        let get = cx.aws.iam.get_instance_profile().instance_profile_name(profile).send().await.or_aws(NAME)?;
        let held = get.instance_profile.and_then(|profile| profile.roles.into_iter().next());
        Ok(held.map(|held| held.role_name))
    });
    if held.await? == role { Ok(()) } else { Err(error) }
}

async fn retag(aws: &Aws, call: Call) -> Result<(), AwsError> {
    let iam = &aws.iam;
    match call {
        Call::TagRole { role, tags } => {
            const NAME: &str = "iam:TagRole";
            let request = iam.tag_role().role_name(role).set_tags(iam_tags(NAME, &tags)?);
            request.send().await.or_aws(NAME).map(|_| ())
        }
        Call::UntagRole { role, keys } => {
            let request = iam.untag_role().role_name(role).set_tag_keys(Some(keys));
            request.send().await.or_aws("iam:UntagRole").map(|_| ())
        }
        Call::TagPolicy { policy, tags } => {
            const NAME: &str = "iam:TagPolicy";
            let request = iam.tag_policy().policy_arn(policy).set_tags(iam_tags(NAME, &tags)?);
            request.send().await.or_aws(NAME).map(|_| ())
        }
        Call::UntagPolicy { policy, keys } => {
            let request = iam.untag_policy().policy_arn(policy).set_tag_keys(Some(keys));
            request.send().await.or_aws("iam:UntagPolicy").map(|_| ())
        }
        Call::TagInstanceProfile { profile, tags } => {
            const NAME: &str = "iam:TagInstanceProfile";
            let request = iam.tag_instance_profile().instance_profile_name(profile).set_tags(iam_tags(NAME, &tags)?);
            request.send().await.or_aws(NAME).map(|_| ())
        }
        Call::UntagInstanceProfile { profile, keys } => {
            let request = iam.untag_instance_profile().instance_profile_name(profile).set_tag_keys(Some(keys));
            request.send().await.or_aws("iam:UntagInstanceProfile").map(|_| ())
        }
        _ => Ok(()),
    }
}

async fn update(aws: &Aws, call: Call) -> Result<(), AwsError> {
    let iam = &aws.iam;
    match call {
        Call::UpdateAssumeRolePolicy { role, trust } => {
            let request = iam.update_assume_role_policy().role_name(role).policy_document(trust.to_string());
            request.send().await.or_aws("iam:UpdateAssumeRolePolicy").map(|_| ())
        }
        Call::UpdateRole { role, description, session_seconds } => {
            let seconds = i32::try_from(session_seconds).unwrap_or(3600);
            let request = iam.update_role().role_name(role).description(description).max_session_duration(seconds);
            request.send().await.or_aws("iam:UpdateRole").map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Takes something away; what is gone already is gone, once that is sure.
async fn remove(cx: &Acting, call: Call) -> Result<(), AwsError> {
    // `DeleteConflict` passes while IAM has not yet seen what was taken away just before; one that stays is told.
    let conflict = |error: &AwsError| error.is(&["DeleteConflict", "DeleteConflictException"]);
    let (operation, call) = (operation(&call), &call);
    let what = describe(call);
    let sent = taken_away(&*cx.say, operation, &what, none, || {
        again(SEEN, operation, "IAM to have seen what was detached", conflict, || Box::pin(send_removal(&cx.aws, call)))
    });
    sent.await.map(|_| ())
}

async fn send_removal(aws: &Aws, call: &Call) -> Result<(), AwsError> {
    let (iam, name) = (&aws.iam, operation(call));
    match call {
        Call::DetachRolePolicy { role, policy } => {
            iam.detach_role_policy().role_name(role).policy_arn(policy).send().await.or_aws(name).map(drop)
        }
        Call::DeleteRolePolicy { role, name: policy } => {
            iam.delete_role_policy().role_name(role).policy_name(policy).send().await.or_aws(name).map(drop)
        }
        Call::DeletePolicyVersion { policy, version } => {
            iam.delete_policy_version().policy_arn(policy).version_id(version).send().await.or_aws(name).map(drop)
        }
        Call::DeletePolicy { policy } => iam.delete_policy().policy_arn(policy).send().await.or_aws(name).map(drop),
        Call::RemoveRoleFromInstanceProfile { profile, role } => {
            let request = iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role);
            request.send().await.or_aws(name).map(drop)
        }
        Call::DeleteInstanceProfile { profile } => {
            iam.delete_instance_profile().instance_profile_name(profile).send().await.or_aws(name).map(drop)
        }
        Call::DeleteRole { role } => iam.delete_role().role_name(role).send().await.or_aws(name).map(drop),
        _ => Ok(()),
    }
}

/// The operation of a removal.
fn operation(call: &Call) -> &'static str {
    match call {
        Call::DetachRolePolicy { .. } => "iam:DetachRolePolicy",
        Call::DeleteRolePolicy { .. } => "iam:DeleteRolePolicy",
        Call::DeletePolicyVersion { .. } => "iam:DeletePolicyVersion",
        Call::DeletePolicy { .. } => "iam:DeletePolicy",
        Call::RemoveRoleFromInstanceProfile { .. } => "iam:RemoveRoleFromInstanceProfile",
        Call::DeleteInstanceProfile { .. } => "iam:DeleteInstanceProfile",
        _ => "iam:DeleteRole",
    }
}
