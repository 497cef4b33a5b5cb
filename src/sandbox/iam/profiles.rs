//! Instance profiles: each holds one role at most.

use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{Answer, ApiError, Cx};
use super::tags::{self, Keys};
use super::{Input, Profile, conflict, exists, limit, missing, page, roles};

pub(super) fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Input<'_>) -> Option<Answer> {
    Some(match operation {
        "CreateInstanceProfile" => create(account, cx, input),
        "GetInstanceProfile" => {
            get(account, input).map(|profile| json!({"InstanceProfile": shown(account, profile, true)}))
        }
        "DeleteInstanceProfile" => delete(account, input),
        "AddRoleToInstanceProfile" => add_role(account, input),
        "RemoveRoleFromInstanceProfile" => remove_role(account, input),
        "ListInstanceProfiles" => list(account, cx, input),
        "ListInstanceProfilesForRole" => list_for_role(account, cx, input),
        "TagInstanceProfile" => {
            get_mut(account, input).and_then(|profile| tags::add(&mut profile.tags, input, Keys::Exact))
        }
        "UntagInstanceProfile" => {
            get_mut(account, input).and_then(|profile| tags::remove(&mut profile.tags, input, Keys::Exact))
        }
        "ListInstanceProfileTags" => get(account, input).and_then(|profile| tags::list(&profile.tags, cx, input)),
        _ => return None,
    })
}

fn shown(account: &Account, profile: &Profile, whole: bool) -> Value {
    let role = profile.role.as_ref().and_then(|name| account.iam.roles.get(name));
    let mut shown = json!({
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": profile.arn,
        "CreateDate": seconds(profile.created),
        "Roles": role.map(|role| roles::shown(role, false)).into_iter().collect::<Vec<_>>(),
    });
    if whole && !profile.tags.is_empty() {
        shown["Tags"] = tags::all(&profile.tags);
    }
    shown
}

fn not_found(name: &str) -> ApiError {
    missing(format!("Instance Profile {name} cannot be found."))
}

fn get<'a>(account: &'a Account, input: Input<'_>) -> Result<&'a Profile, ApiError> {
    let name = input.need("InstanceProfileName")?;
    account.iam.profiles.get(name).ok_or_else(|| not_found(name))
}

fn get_mut<'a>(account: &'a mut Account, input: Input<'_>) -> Result<&'a mut Profile, ApiError> {
    let name = input.need("InstanceProfileName")?;
    account.iam.profiles.get_mut(name).ok_or_else(|| not_found(name))
}

fn create(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let name = input.need_name("InstanceProfileName", 128)?;
    let path = input.path()?;
    let tags = tags::new(input, Keys::Exact)?;
    if account.iam.profiles.keys().any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(exists(format!("Instance Profile {name} already exists.")));
    }
    let profile = Profile {
        name: name.to_owned(),
        id: account.iam.new_id("AIPA"),
        arn: format!("arn:aws:iam::{}:instance-profile{path}{name}", account.id),
        path,
        created: cx.now,
        tags,
        role: None,
    };
    let answer = json!({"InstanceProfile": shown(account, &profile, true)});
    account.iam.profiles.insert(name.to_owned(), profile);
    Ok(answer)
}

fn delete(account: &mut Account, input: Input<'_>) -> Answer {
    let profile = get(account, input)?;
    if profile.role.is_some() {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    let name = profile.name.clone();
    account.iam.profiles.remove(&name);
    Ok(Value::Null)
}

fn role_name<'a>(account: &Account, input: Input<'a>) -> Result<&'a str, ApiError> {
    let name = input.need("RoleName")?;
    if account.iam.roles.contains_key(name) {
        Ok(name)
    } else {
        Err(missing(format!("The role with name {name} cannot be found.")))
    }
}

fn add_role(account: &mut Account, input: Input<'_>) -> Answer {
    get(account, input)?;
    let role = role_name(account, input)?;
    let profile = get_mut(account, input)?;
    // The same role again is refused too, as at AWS.
    if profile.role.is_some() {
        return Err(limit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"));
    }
    profile.role = Some(role.to_owned());
    Ok(Value::Null)
}

fn remove_role(account: &mut Account, input: Input<'_>) -> Answer {
    get(account, input)?;
    let role = role_name(account, input)?;
    let profile = get_mut(account, input)?;
    if profile.role.as_deref() != Some(role) {
        return Err(missing(format!("The role with name {role} cannot be found in the instance profile.")));
    }
    profile.role = None;
    Ok(Value::Null)
}

fn list(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let prefix = input.path_prefix();
    let profiles = account.iam.profiles.values().filter(|profile| profile.path.starts_with(prefix));
    let items = profiles.map(|profile| (profile.name.clone(), shown(account, profile, false)));
    page(cx, input, "InstanceProfiles", items.collect())
}

fn list_for_role(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let role = role_name(account, input)?;
    let profiles = account.iam.profiles.values().filter(|profile| profile.role.as_deref() == Some(role));
    let items = profiles.map(|profile| (profile.name.clone(), shown(account, profile, false)));
    page(cx, input, "InstanceProfiles", items.collect())
}
