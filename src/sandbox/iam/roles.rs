//! Roles, their inline policies and attachments.

use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{Answer, ApiError, Cx};
use super::super::wire;
use super::tags::{self, Keys};
use super::{Input, Role, aws_policies, conflict, documents, exists, invalid, limit, missing, page};

/// What a role's inline policies may come to together.
const INLINE_SIZE: usize = 10_240;

pub(super) fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Input<'_>) -> Option<Answer> {
    Some(match operation {
        "CreateRole" => create(account, cx, input),
        "GetRole" => get(account, input).map(|role| json!({"Role": shown(role, true)})),
        "DeleteRole" => delete(account, input),
        "UpdateRole" => update(account, input),
        "UpdateAssumeRolePolicy" => update_trust(account, input),
        "ListRoles" => list(account, cx, input),
        "TagRole" => get_mut(account, input).and_then(|role| tags::add(&mut role.tags, input, Keys::AnyCase)),
        "UntagRole" => get_mut(account, input).and_then(|role| tags::remove(&mut role.tags, input, Keys::AnyCase)),
        "ListRoleTags" => get(account, input).and_then(|role| tags::list(&role.tags, cx, input)),
        "AttachRolePolicy" => attach(account, input),
        "DetachRolePolicy" => detach(account, input),
        "ListAttachedRolePolicies" => list_attached(account, cx, input),
        "ListRolePolicies" => get(account, input).and_then(|role| {
            page(cx, input, "PolicyNames", role.inline.keys().map(|name| (name.clone(), json!(name))).collect())
        }),
        "PutRolePolicy" => put_inline(account, input),
        "GetRolePolicy" => get_inline(account, input),
        "DeleteRolePolicy" => delete_inline(account, input),
        _ => return None,
    })
}

/// A role as IAM shows it; listings show no tags.
pub(super) fn shown(role: &Role, whole: bool) -> Value {
    let mut shown = json!({
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": seconds(role.created),
        "AssumeRolePolicyDocument": wire::encode(&role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session_seconds,
    });
    if whole {
        if !role.tags.is_empty() {
            shown["Tags"] = tags::all(&role.tags);
        }
        if let Some(boundary) = &role.boundary {
            shown["PermissionsBoundary"] =
                json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": boundary});
        }
        shown["RoleLastUsed"] = json!({});
    }
    shown
}

fn not_found(name: &str) -> ApiError {
    missing(format!("The role with name {name} cannot be found."))
}

fn get<'a>(account: &'a Account, input: Input<'_>) -> Result<&'a Role, ApiError> {
    let name = input.need("RoleName")?;
    account.iam.roles.get(name).ok_or_else(|| not_found(name))
}

fn get_mut<'a>(account: &'a mut Account, input: Input<'_>) -> Result<&'a mut Role, ApiError> {
    let name = input.need("RoleName")?;
    account.iam.roles.get_mut(name).ok_or_else(|| not_found(name))
}

fn create(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let name = input.need_name("RoleName", 64)?;
    let path = input.path()?;
    let trust = input.need("AssumeRolePolicyDocument")?;
    documents::check_trust(trust)?;
    let tags = tags::new(input, Keys::AnyCase)?;
    let max_session_seconds = session(input)?.unwrap_or(3600);
    // Names differ by more than case, whatever their paths.
    if account.iam.roles.keys().any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    let boundary = input.text("PermissionsBoundary").map(str::to_owned);
    if let Some(arn) = &boundary {
        known_policy(account, arn)?;
    }
    let role = Role {
        name: name.to_owned(),
        id: account.iam.new_id("AROA"),
        arn: format!("arn:aws:iam::{}:role{path}{name}", account.id),
        path,
        created: cx.now,
        description: input.text("Description").map(str::to_owned),
        max_session_seconds,
        trust: trust.to_owned(),
        tags,
        attached: Default::default(),
        inline: Default::default(),
        boundary,
    };
    let answer = json!({"Role": shown(&role, true)});
    account.iam.roles.insert(name.to_owned(), role);
    Ok(answer)
}

fn session(input: Input<'_>) -> Result<Option<u32>, ApiError> {
    let Some(text) = input.text("MaxSessionDuration") else { return Ok(None) };
    match text.parse() {
        Ok(seconds @ 3600..=43200) => Ok(Some(seconds)),
        _ => Err(invalid(format!("Value '{text}' at 'maxSessionDuration' must be between 3600 and 43200"))),
    }
}

fn update(account: &mut Account, input: Input<'_>) -> Answer {
    let max_session = session(input)?;
    let role = get_mut(account, input)?;
    if let Some(description) = input.text("Description") {
        role.description = Some(description.to_owned());
    }
    if let Some(seconds) = max_session {
        role.max_session_seconds = seconds;
    }
    Ok(json!({}))
}

fn update_trust(account: &mut Account, input: Input<'_>) -> Answer {
    let trust = input.need("PolicyDocument")?;
    documents::check_trust(trust)?;
    get_mut(account, input)?.trust = trust.to_owned();
    Ok(Value::Null)
}

fn delete(account: &mut Account, input: Input<'_>) -> Answer {
    let role = get(account, input)?;
    if account.iam.profiles.values().any(|profile| profile.role.as_ref() == Some(&role.name)) {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    if !role.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    if !role.inline.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    let name = role.name.clone();
    account.iam.roles.remove(&name);
    Ok(Value::Null)
}

fn list(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let prefix = input.path_prefix();
    let roles = account.iam.roles.values().filter(|role| role.path.starts_with(prefix));
    page(cx, input, "Roles", roles.map(|role| (role.name.clone(), shown(role, false))).collect())
}

/// The policy's name, if it may be attached.
fn known_policy(account: &Account, arn: &str) -> Result<String, ApiError> {
    if let Some(policy) = account.iam.policies.get(arn) {
        return Ok(policy.name.clone());
    }
    aws_policies::find(arn)
        .map(|policy| policy.name().to_owned())
        .ok_or_else(|| missing(format!("Policy {arn} does not exist or is not attachable.")))
}

fn attach(account: &mut Account, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    get(account, input)?;
    known_policy(account, arn)?;
    let role = get_mut(account, input)?;
    if role.attached.len() >= 10 && !role.attached.contains(arn) {
        return Err(limit("Cannot exceed quota for PoliciesPerRole: 10"));
    }
    role.attached.insert(arn.to_owned());
    Ok(Value::Null)
}

fn detach(account: &mut Account, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    if get_mut(account, input)?.attached.remove(arn) {
        Ok(Value::Null)
    } else {
        Err(missing(format!("Policy {arn} was not found.")))
    }
}

fn list_attached(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let prefix = input.path_prefix();
    let mut items = Vec::new();
    for arn in &get(account, input)?.attached {
        let path = match account.iam.policies.get(arn) {
            Some(policy) => policy.path.as_str(),
            None => aws_policies::find(arn).map_or("/", |policy| policy.path),
        };
        if path.starts_with(prefix) {
            let name = known_policy(account, arn)?;
            items.push((arn.clone(), json!({"PolicyName": name, "PolicyArn": arn})));
        }
    }
    page(cx, input, "AttachedPolicies", items)
}

fn put_inline(account: &mut Account, input: Input<'_>) -> Answer {
    let name = input.need_name("PolicyName", 128)?;
    let document = input.need("PolicyDocument")?;
    documents::check_rights(document)?;
    let role = get_mut(account, input)?;
    let others = role.inline.iter().filter(|(other, _)| *other != name).map(|(_, other)| documents::size(other));
    if others.sum::<usize>() + documents::size(document) > INLINE_SIZE {
        return Err(limit(format!("Maximum policy size of {INLINE_SIZE} bytes exceeded for role {}", role.name)));
    }
    role.inline.insert(name.to_owned(), document.to_owned());
    Ok(Value::Null)
}

fn get_inline(account: &Account, input: Input<'_>) -> Answer {
    let name = input.need("PolicyName")?;
    let role = get(account, input)?;
    let document = role.inline.get(name).ok_or_else(|| no_inline(name))?;
    Ok(json!({"RoleName": role.name, "PolicyName": name, "PolicyDocument": wire::encode(document)}))
}

fn delete_inline(account: &mut Account, input: Input<'_>) -> Answer {
    let name = input.need("PolicyName")?;
    match get_mut(account, input)?.inline.remove(name) {
        Some(_) => Ok(Value::Null),
        None => Err(no_inline(name)),
    }
}

fn no_inline(name: &str) -> ApiError {
    missing(format!("The role policy with name {name} cannot be found."))
}
