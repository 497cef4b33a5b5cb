//! Customer-managed policies and their versions; AWS's own can be read.

use serde_json::{Value, json};

use super::super::account::{Account, seconds};
use super::super::service::{Answer, ApiError, Cx};
use super::super::wire;
use super::tags::{self, Keys};
use super::{Input, Policy, Role, Version, aws_policies, conflict, documents, exists, invalid, limit, missing, page};

pub(super) fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Input<'_>) -> Option<Answer> {
    Some(match operation {
        "CreatePolicy" => create(account, cx, input),
        "GetPolicy" => get_policy(account, input),
        "DeletePolicy" => delete(account, input),
        "CreatePolicyVersion" => create_version(account, cx, input),
        "GetPolicyVersion" => get_version(account, input),
        "ListPolicyVersions" => list_versions(account, cx, input),
        "DeletePolicyVersion" => delete_version(account, cx, input),
        "SetDefaultPolicyVersion" => set_default(account, cx, input),
        "ListPolicies" => list(account, cx, input),
        "ListEntitiesForPolicy" => entities(account, cx, input),
        "TagPolicy" => ours(account, input).and_then(|policy| tags::add(&mut policy.tags, input, Keys::Exact)),
        "UntagPolicy" => ours(account, input).and_then(|policy| tags::remove(&mut policy.tags, input, Keys::Exact)),
        "ListPolicyTags" => ours(account, input).and_then(|policy| tags::list(&policy.tags, cx, input)),
        _ => return None,
    })
}

fn not_found(arn: &str) -> ApiError {
    missing(format!("Policy {arn} was not found."))
}

/// A policy that may be changed; AWS's may not.
fn ours<'a>(account: &'a mut Account, input: Input<'_>) -> Result<&'a mut Policy, ApiError> {
    let arn = input.need("PolicyArn")?;
    if aws_policies::find(arn).is_some() {
        return Err(ApiError::new("AccessDenied", format!("{arn} is AWS's own and cannot be changed")).status(403));
    }
    account.iam.policies.get_mut(arn).ok_or_else(|| not_found(arn))
}

fn attachments(account: &Account, arn: &str) -> usize {
    account.iam.roles.values().filter(|role| role.attached.contains(arn)).count()
}

fn shown(account: &Account, arn: &str, policy: &Policy, whole: bool) -> Value {
    let mut shown = json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": arn,
        "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default),
        "AttachmentCount": attachments(account, arn),
        "PermissionsBoundaryUsageCount":
            account.iam.roles.values().filter(|role| role.boundary.as_deref() == Some(arn)).count(),
        "IsAttachable": true,
        "CreateDate": seconds(policy.created),
        "UpdateDate": seconds(policy.updated),
    });
    if whole {
        shown["Description"] = json!(policy.description);
        if !policy.tags.is_empty() {
            shown["Tags"] = tags::all(&policy.tags);
        }
    }
    shown
}

fn shown_aws(account: &Account, policy: &aws_policies::AwsPolicy) -> Value {
    json!({
        "PolicyName": policy.name(),
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": "v1",
        "AttachmentCount": attachments(account, policy.arn),
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": true,
        "CreateDate": aws_policies::CREATED,
        "UpdateDate": aws_policies::CREATED,
    })
}

fn create(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let name = input.need_name("PolicyName", 128)?;
    let path = input.path()?;
    let document = input.need("PolicyDocument")?;
    documents::check_managed(document)?;
    let tags = tags::new(input, Keys::Exact)?;
    if account.iam.policies.values().any(|policy| policy.name.eq_ignore_ascii_case(name)) {
        return Err(exists(format!("A policy called {name} already exists. Duplicate names are not allowed.")));
    }
    let arn = format!("arn:aws:iam::{}:policy{path}{name}", account.id);
    let policy = Policy {
        name: name.to_owned(),
        path,
        id: account.iam.new_id("ANPA"),
        description: input.text("Description").map(str::to_owned),
        created: cx.now,
        updated: cx.now,
        tags,
        versions: [(1, Version { document: document.to_owned(), created: cx.now })].into(),
        default: 1,
        next: 2,
    };
    let answer = json!({"Policy": shown(account, &arn, &policy, true)});
    account.iam.policies.insert(arn, policy);
    Ok(answer)
}

fn get_policy(account: &Account, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    if let Some(policy) = aws_policies::find(arn) {
        return Ok(json!({"Policy": shown_aws(account, policy)}));
    }
    let policy = account.iam.policies.get(arn).ok_or_else(|| not_found(arn))?;
    Ok(json!({"Policy": shown(account, arn, policy, true)}))
}

fn delete(account: &mut Account, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    let versions = ours(account, input)?.versions.len();
    if attachments(account, arn) > 0 || account.iam.roles.values().any(|role| role.boundary.as_deref() == Some(arn)) {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    if versions > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's \
             versions. The default version is deleted with the policy.",
        ));
    }
    account.iam.policies.remove(arn);
    Ok(Value::Null)
}

fn shown_version(policy: &Policy, number: u32, version: &Version, document: bool) -> Value {
    json!({
        "VersionId": format!("v{number}"),
        "IsDefaultVersion": number == policy.default,
        "CreateDate": seconds(version.created),
        "Document": document.then(|| wire::encode(&version.document)),
    })
}

fn create_version(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let document = input.need("PolicyDocument")?;
    documents::check_managed(document)?;
    let policy = ours(account, input)?;
    if policy.versions.len() >= 5 {
        return Err(limit(
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an \
             existing version.",
        ));
    }
    let number = policy.next;
    policy.next += 1;
    policy.updated = cx.now;
    let version = Version { document: document.to_owned(), created: cx.now };
    if input.flag("SetAsDefault") {
        policy.default = number;
    }
    let answer = json!({"PolicyVersion": shown_version(policy, number, &version, false)});
    policy.versions.insert(number, version);
    Ok(answer)
}

fn version_number(input: Input<'_>) -> Result<u32, ApiError> {
    let id = input.need("VersionId")?;
    id.strip_prefix('v').and_then(|number| number.parse().ok()).ok_or_else(|| {
        invalid(format!("Value '{id}' at 'versionId' failed to satisfy constraint: Member must satisfy v[1-9][0-9]*"))
    })
}

fn no_version(arn: &str, number: u32) -> ApiError {
    missing(format!("Policy {arn} version v{number} does not exist or is not attachable."))
}

fn get_version(account: &Account, input: Input<'_>) -> Answer {
    let (arn, number) = (input.need("PolicyArn")?, version_number(input)?);
    if let Some(policy) = aws_policies::find(arn) {
        if number != 1 {
            return Err(no_version(arn, number));
        }
        return Ok(json!({"PolicyVersion": {
            "VersionId": "v1",
            "IsDefaultVersion": true,
            "CreateDate": aws_policies::CREATED,
            "Document": wire::encode(policy.document),
        }}));
    }
    let policy = account.iam.policies.get(arn).ok_or_else(|| not_found(arn))?;
    let version = policy.versions.get(&number).ok_or_else(|| no_version(arn, number))?;
    Ok(json!({"PolicyVersion": shown_version(policy, number, version, true)}))
}

fn list_versions(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    if aws_policies::find(arn).is_some() {
        let only = json!({"VersionId": "v1", "IsDefaultVersion": true, "CreateDate": aws_policies::CREATED});
        return page(cx, input, "Versions", vec![("1".to_owned(), only)]);
    }
    let policy = account.iam.policies.get(arn).ok_or_else(|| not_found(arn))?;
    // Newest first, as IAM lists them.
    let items = policy.versions.iter().map(|(number, version)| {
        (format!("{:010}", u32::MAX - number), shown_version(policy, *number, version, false))
    });
    page(cx, input, "Versions", items.collect())
}

fn delete_version(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let (arn, number) = (input.need("PolicyArn")?, version_number(input)?);
    let policy = ours(account, input)?;
    if !policy.versions.contains_key(&number) {
        return Err(no_version(arn, number));
    }
    if policy.default == number {
        return Err(conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(&number);
    policy.updated = cx.now;
    Ok(Value::Null)
}

fn set_default(account: &mut Account, cx: &Cx, input: Input<'_>) -> Answer {
    let (arn, number) = (input.need("PolicyArn")?, version_number(input)?);
    let policy = ours(account, input)?;
    if !policy.versions.contains_key(&number) {
        return Err(no_version(arn, number));
    }
    policy.default = number;
    policy.updated = cx.now;
    Ok(Value::Null)
}

fn list(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let prefix = input.path_prefix();
    let scope = input.text("Scope").unwrap_or("All");
    if !["All", "AWS", "Local"].contains(&scope) {
        return Err(invalid(format!("Value '{scope}' at 'scope' failed to satisfy constraint: [AWS, Local, All]")));
    }
    let mut items = Vec::new();
    if scope != "AWS" {
        let local = account.iam.policies.iter().filter(|(_, policy)| policy.path.starts_with(prefix));
        items.extend(local.map(|(arn, policy)| (policy.name.clone(), shown(account, arn, policy, false))));
    }
    if scope != "Local" {
        let aws = aws_policies::ALL.iter().filter(|policy| policy.path.starts_with(prefix));
        items.extend(aws.map(|policy| (policy.arn.to_owned(), shown_aws(account, policy))));
    }
    if input.flag("OnlyAttached") {
        items.retain(|(_, policy)| policy["AttachmentCount"] != 0);
    }
    page(cx, input, "Policies", items)
}

const ENTITIES: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];

fn entities(account: &Account, cx: &Cx, input: Input<'_>) -> Answer {
    let arn = input.need("PolicyArn")?;
    if aws_policies::find(arn).is_none() && !account.iam.policies.contains_key(arn) {
        return Err(not_found(arn));
    }
    let wanted = input.text("EntityFilter").unwrap_or("Role");
    if !ENTITIES.contains(&wanted) {
        return Err(invalid(format!("Value '{wanted}' at 'entityFilter' failed to satisfy constraint: {ENTITIES:?}")));
    }
    let prefix = input.path_prefix();
    let held = |role: &&Role| wanted == "Role" && role.path.starts_with(prefix) && role.attached.contains(arn);
    let roles = account.iam.roles.values().filter(held);
    let items = roles.map(|role| (role.name.clone(), json!({"RoleName": role.name, "RoleId": role.id})));
    let mut answer = page(cx, input, "PolicyRoles", items.collect())?;
    answer["PolicyGroups"] = json!([]);
    answer["PolicyUsers"] = json!([]);
    Ok(answer)
}
