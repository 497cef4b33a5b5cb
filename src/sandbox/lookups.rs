//! What EC2 and ECS ask of IAM: the only place where one service looks into another's state for principals.

use jiff::Timestamp;
use serde_json::Value;

use super::account::Account;
use super::policy::{Ask, Decision, decide};

/// An instance profile as EC2 sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// Its ARN.
    pub(super) arn: String,
    /// Its id, `AIPA…`.
    pub(super) id: String,
    /// When it was made: EC2 does not know a profile that is younger than the sandbox's `visibility`.
    pub(super) created: Timestamp,
    /// Whether it holds a role.
    pub(super) has_role: bool,
}

/// The instance profile of this name or ARN.
pub(super) fn instance_profile(account: &Account, name_or_arn: &str) -> Option<Profile> {
    let profile = account.iam.profile(name_or_arn)?;
    Some(Profile {
        arn: profile.arn.clone(),
        id: profile.id.clone(),
        created: profile.created,
        has_role: profile.role.is_some(),
    })
}

/// Whether there is a role of this ARN.
pub(super) fn role_exists(account: &Account, arn: &str) -> bool {
    account.iam.role_by_arn(arn).is_some()
}

/// What a role lets do: what its policies allow and its permissions boundary too.
#[derive(Debug)]
pub(super) struct Rights {
    documents: Vec<Value>,
    boundary: Option<Value>,
}

impl Rights {
    pub(super) fn allow(&self, ask: Ask<'_>) -> bool {
        decide(&self.documents, ask) == Decision::Allowed
            && self.boundary.as_ref().is_none_or(|boundary| decide([boundary], ask) == Decision::Allowed)
    }
}

/// The rights of who speaks for an instance: the role in its instance profile; none without one.
pub(super) fn instance_rights(account: &Account, profile: &str) -> Option<Rights> {
    let role = account.iam.roles.get(account.iam.profile(profile)?.role.as_ref()?)?;
    Some(Rights { documents: account.iam.rights(&role.arn)?, boundary: account.iam.boundary(&role.arn) })
}
