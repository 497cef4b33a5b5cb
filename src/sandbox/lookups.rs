//! What EC2 and ECS ask of IAM: the only place where one service looks into another's state for principals.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::account::Account;

/// The roles and instance profiles of an account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Principals {
    /// Instance profiles.
    pub profiles: Vec<Profile>,
    /// ARNs of roles.
    pub roles: BTreeSet<String>,
}

/// An instance profile as EC2 sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its ARN.
    pub arn: String,
    /// Its id, `AIPA…`.
    pub id: String,
    /// When it was made: EC2 does not know a profile that is younger than the sandbox's `visibility`.
    pub created: Timestamp,
    /// Whether it holds a role.
    pub has_role: bool,
}

/// The instance profile of this name or ARN.
pub fn instance_profile(account: &Account, name_or_arn: &str) -> Option<Profile> {
    account
        .principals
        .profiles
        .iter()
        .find(|profile| profile.arn == name_or_arn || profile.arn.rsplit('/').next() == Some(name_or_arn))
        .cloned()
}

/// Whether there is a role of this ARN.
pub fn role_exists(account: &Account, arn: &str) -> bool {
    account.principals.roles.contains(arn)
}
