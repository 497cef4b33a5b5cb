//! IAM: roles, customer-managed policies, instance profiles, and AWS's own policies as far as pipelines use them.
//!
//! Everything is visible at once here; AWS needs some seconds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::account::Account;
use super::service::{Answer, ApiError, Cx, Documented, unserved};
use super::sigv4::sha256_hex;
use super::table::{Record, Stored, Table, plain_records};

mod aws_policies;
mod documents;
mod policies;
mod profiles;
mod roles;
mod tags;

/// Everything in IAM.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Roles by name.
    #[serde(skip)]
    pub roles: Table<String, Role>,
    /// Customer-managed policies by ARN.
    #[serde(skip)]
    pub policies: Table<String, Policy>,
    /// Instance profiles by name.
    #[serde(skip)]
    pub profiles: Table<String, Profile>,
    /// How many ids were given out.
    pub serial: u64,
}

plain_records!(Role, Policy, Profile);

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("policies", &mut self.policies), ("profiles", &mut self.profiles), ("roles", &mut self.roles)]
    }
}

/// Tags, by key.
pub type Tags = BTreeMap<String, String>;

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `/…/`
    pub path: String,
    /// `AROA…`
    pub id: String,
    /// `arn:aws:iam::…`
    pub arn: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its description, if it has one.
    pub description: Option<String>,
    /// The longest session, seconds.
    pub max_session_seconds: u32,
    /// Who may assume it: the trust policy as it was given.
    pub trust: String,
    /// Tags.
    pub tags: Tags,
    /// ARNs of attached policies.
    pub attached: BTreeSet<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// The permissions boundary's ARN.
    pub boundary: Option<String>,
}

/// A customer-managed policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `/…/`
    pub path: String,
    /// `ANPA…`
    pub id: String,
    /// Its description, if it has one.
    pub description: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When its versions last changed.
    pub updated: Timestamp,
    /// Tags.
    pub tags: Tags,
    /// Versions by number.
    pub versions: BTreeMap<u32, Version>,
    /// The default version's number.
    pub default: u32,
    /// The number that the next version gets; none is used twice.
    pub next: u32,
}

/// A version of a policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The document as it was given.
    pub document: String,
    /// When it was created.
    pub created: Timestamp,
}

/// An instance profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// `/…/`
    pub path: String,
    /// `AIPA…`
    pub id: String,
    /// `arn:aws:iam::…`
    pub arn: String,
    /// When it was created: EC2 does not know it at once.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
    /// The name of its role, if it has one.
    pub role: Option<String>,
}

impl State {
    /// The role of this ARN.
    pub fn role_by_arn(&self, arn: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.arn == arn)
    }

    /// The instance profile of this name or ARN.
    pub fn profile(&self, name_or_arn: &str) -> Option<&Profile> {
        self.profiles.get(name_or_arn).or_else(|| self.profiles.values().find(|profile| profile.arn == name_or_arn))
    }

    /// The documents that a role's rights come from: attached policies' default versions and inline policies.
    /// `None` where the role does not exist, or a document of it cannot be read (then nothing is allowed).
    pub fn rights(&self, role_arn: &str) -> Option<Vec<Value>> {
        let role = self.role_by_arn(role_arn)?;
        let attached = role.attached.iter().map(|arn| match self.policies.get(arn) {
            Some(policy) => policy.versions.get(&policy.default).map(|version| version.document.clone()),
            None => aws_policies::find(arn).map(|policy| policy.document.to_owned()),
        });
        attached
            .chain(role.inline.values().map(|document| Some(document.clone())))
            .map(|document| serde_json::from_str(&document?).ok())
            .collect()
    }

    /// The document of the role's permissions boundary, if it has one: `null`, which allows nothing, where that policy is
    /// not there or cannot be read.
    pub fn boundary(&self, role_arn: &str) -> Option<Value> {
        let arn = self.role_by_arn(role_arn)?.boundary.as_deref()?;
        let document = match self.policies.get(arn) {
            Some(policy) => policy.versions.get(&policy.default).map(|version| version.document.as_str()),
            None => aws_policies::find(arn).map(|policy| policy.document),
        };
        Some(document.and_then(|document| serde_json::from_str(document).ok()).unwrap_or(Value::Null))
    }

    fn new_id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        let digest = sha256_hex(format!("{prefix} {}", self.serial).as_bytes()).to_uppercase();
        format!("{prefix}{}", &digest[..17])
    }
}

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    (
        "CreateRole",
        &[
            "ValidationError",
            "MalformedPolicyDocument",
            "LimitExceeded",
            "InvalidInput",
            "EntityAlreadyExists",
            "NoSuchEntity",
        ],
    ),
    ("GetRole", &["ValidationError", "NoSuchEntity"]),
    ("DeleteRole", &["ValidationError", "NoSuchEntity", "DeleteConflict"]),
    ("UpdateRole", &["ValidationError", "NoSuchEntity"]),
    ("UpdateAssumeRolePolicy", &["ValidationError", "MalformedPolicyDocument", "LimitExceeded", "NoSuchEntity"]),
    ("ListRoles", &["ValidationError"]),
    ("TagRole", &["ValidationError", "NoSuchEntity", "InvalidInput", "LimitExceeded"]),
    ("UntagRole", &["ValidationError", "NoSuchEntity"]),
    ("ListRoleTags", &["ValidationError", "NoSuchEntity"]),
    ("AttachRolePolicy", &["ValidationError", "NoSuchEntity", "LimitExceeded"]),
    ("DetachRolePolicy", &["ValidationError", "NoSuchEntity"]),
    ("ListAttachedRolePolicies", &["ValidationError", "NoSuchEntity"]),
    ("ListRolePolicies", &["ValidationError", "NoSuchEntity"]),
    ("PutRolePolicy", &["ValidationError", "MalformedPolicyDocument", "NoSuchEntity", "LimitExceeded"]),
    ("GetRolePolicy", &["ValidationError", "NoSuchEntity"]),
    ("DeleteRolePolicy", &["ValidationError", "NoSuchEntity"]),
    (
        "CreatePolicy",
        &["ValidationError", "MalformedPolicyDocument", "LimitExceeded", "InvalidInput", "EntityAlreadyExists"],
    ),
    ("GetPolicy", &["ValidationError", "NoSuchEntity"]),
    ("DeletePolicy", &["ValidationError", "AccessDenied", "NoSuchEntity", "DeleteConflict"]),
    (
        "CreatePolicyVersion",
        &["ValidationError", "MalformedPolicyDocument", "LimitExceeded", "AccessDenied", "NoSuchEntity"],
    ),
    ("GetPolicyVersion", &["ValidationError", "NoSuchEntity"]),
    ("ListPolicyVersions", &["ValidationError", "NoSuchEntity"]),
    ("DeletePolicyVersion", &["ValidationError", "AccessDenied", "NoSuchEntity", "DeleteConflict"]),
    ("SetDefaultPolicyVersion", &["ValidationError", "AccessDenied", "NoSuchEntity"]),
    ("ListPolicies", &["ValidationError"]),
    ("ListEntitiesForPolicy", &["ValidationError", "NoSuchEntity"]),
    ("TagPolicy", &["ValidationError", "AccessDenied", "NoSuchEntity", "InvalidInput", "LimitExceeded"]),
    ("UntagPolicy", &["ValidationError", "AccessDenied", "NoSuchEntity"]),
    ("ListPolicyTags", &["ValidationError", "AccessDenied", "NoSuchEntity"]),
    ("CreateInstanceProfile", &["ValidationError", "InvalidInput", "LimitExceeded", "EntityAlreadyExists"]),
    ("GetInstanceProfile", &["ValidationError", "NoSuchEntity"]),
    ("DeleteInstanceProfile", &["ValidationError", "NoSuchEntity", "DeleteConflict"]),
    ("AddRoleToInstanceProfile", &["ValidationError", "NoSuchEntity", "LimitExceeded"]),
    ("RemoveRoleFromInstanceProfile", &["ValidationError", "NoSuchEntity"]),
    ("ListInstanceProfiles", &["ValidationError"]),
    ("ListInstanceProfilesForRole", &["ValidationError", "NoSuchEntity"]),
    ("TagInstanceProfile", &["ValidationError", "NoSuchEntity", "InvalidInput", "LimitExceeded"]),
    ("UntagInstanceProfile", &["ValidationError", "NoSuchEntity"]),
    ("ListInstanceProfileTags", &["ValidationError", "NoSuchEntity"]),
];

/// Answers one operation.
///
/// # Errors
/// As IAM; operations that are not served are refused by name.
pub fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Value) -> Answer {
    let input = Input(&input);
    for group in [roles::handle, policies::handle, profiles::handle] {
        if let Some(answer) = group(account, cx, operation, input) {
            return answer;
        }
    }
    Err(unserved("iam", operation))
}

/// An operation's parameters.
#[derive(Clone, Copy)]
struct Input<'a>(&'a Value);

impl<'a> Input<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0[name].as_str()
    }

    fn need(self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| {
            let member: String =
                name.chars().take(1).flat_map(char::to_lowercase).chain(name.chars().skip(1)).collect();
            invalid(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not \
                 be null"
            ))
        })
    }

    /// A new thing's name: letters, digits and `+=,.@_-`.
    fn need_name(self, name: &str, longest: usize) -> Result<&'a str, ApiError> {
        let text = self.need(name)?;
        let fits = text.len() <= longest && text.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c));
        if fits { Ok(text) } else { Err(invalid(format!("The specified value for {name} is invalid: {text}"))) }
    }

    fn path(self) -> Result<String, ApiError> {
        let path = self.text("Path").unwrap_or("/");
        let fits = path.len() <= 512 && path.starts_with('/') && path.ends_with('/');
        if fits && path.chars().all(|c| ('!'..='\u{7e}').contains(&c)) {
            Ok(path.to_owned())
        } else {
            Err(invalid(format!("The specified value for path is invalid: {path}. It must begin and end with /")))
        }
    }

    fn path_prefix(self) -> &'a str {
        self.text("PathPrefix").filter(|prefix| !prefix.is_empty()).unwrap_or("/")
    }

    fn flag(self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn missing(message: impl Into<String>) -> ApiError {
    ApiError::new("NoSuchEntity", message).status(404)
}

fn exists(message: impl Into<String>) -> ApiError {
    ApiError::new("EntityAlreadyExists", message).status(409)
}

fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("DeleteConflict", message).status(409)
}

fn limit(message: impl Into<String>) -> ApiError {
    ApiError::new("LimitExceeded", message).status(409)
}

/// One page of a listing under `name`: items by their sort keys, the marker being the last key that was shown.
fn page(cx: &Cx, input: Input<'_>, name: &str, mut items: Vec<(String, Value)>) -> Answer {
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(marker) = input.text("Marker") {
        let after = hex::decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let after = after.ok_or_else(|| invalid(format!("Invalid Marker: {marker}")))?;
        items.retain(|(key, _)| *key > after);
    }
    let wanted = match input.text("MaxItems") {
        None => 100,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|n| (1..=1000).contains(n))
            .ok_or_else(|| invalid(format!("Value '{text}' at 'maxItems' must be between 1 and 1000")))?,
    };
    let size = wanted.min(cx.options.settings.page.max(1));
    let more = items.len() > size;
    items.truncate(size);
    let mut answer = Map::new();
    if more && let Some((last, _)) = items.last() {
        answer.insert("Marker".to_owned(), hex::encode(last).into());
    }
    answer.insert("IsTruncated".to_owned(), more.into());
    answer.insert(name.to_owned(), items.into_iter().map(|(_, item)| item).collect());
    Ok(Value::Object(answer))
}

#[cfg(test)]
mod tests;
