//! Policies, roles and instance profiles that a stack file names and does not make: whether they are there.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join_all, join3};

use super::{FactError, Read, failed, missing, take};
use crate::aws::absence::OrAbsent as _;
use crate::aws::trace::branch;
use crate::aws::{Aws, AwsError, Class, OrAws};
use crate::facts::Lookup;

/// What is asked for.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) policies: BTreeSet<String>,
    pub(super) roles: BTreeSet<String>,
    pub(super) profiles: BTreeSet<String>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Identities {
    /// The instance profile of a role, by the role's ARN.
    pub(super) profiles: BTreeMap<String, String>,
    pub(super) unknown: Vec<Unknown>,
}

/// What is not there, if it is of that account.
pub(super) struct Unknown {
    pub(super) account: String,
    pub(super) fault: FactError,
}

/// Looks them up, one call each. What may not be read is taken for there: the call that needs it says more.
pub(super) async fn read(aws: &Aws, wanted: Wanted) -> Read<Identities> {
    let policies = wanted.policies.iter().map(|arn| branch(policy(aws, arn)));
    let roles = wanted.roles.iter().map(|arn| branch(role(aws, arn)));
    let profiles = wanted.profiles.iter().map(|role| branch(profile(aws, role)));
    let (policies, roles, profiles) = join3(join_all(policies), join_all(roles), join_all(profiles)).await;
    let (mut out, mut faults) = (Identities::default(), Vec::new());
    for found in policies.into_iter().chain(roles) {
        take(found, &mut faults, |unknown| out.unknown.extend(unknown));
    }
    for found in profiles {
        take(found, &mut faults, |found| match found {
            Some(Found::Profile(role, name)) => drop(out.profiles.insert(role, name)),
            Some(Found::Unknown(unknown)) => out.unknown.push(unknown),
            None => {}
        });
    }
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

/// The account in an ARN; of AWS's own policies it is `aws`.
fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// An answer, nothing where there is none, and nothing to say where it may not be read.
fn told<T>(answer: Result<T, AwsError>, what: String) -> Read<Option<Option<T>>> {
    match answer.or_absent() {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class == Class::Denied => Ok(None),
        Err(error) => Err(failed(what)(error)),
    }
}

async fn policy(aws: &Aws, written: &str) -> Read<Option<Unknown>> {
    let arn = match written.starts_with("arn:") {
        true => written.to_owned(),
        false => format!("arn:{}:iam::aws:policy/{written}", partition(&aws.region)),
    };
    let answer = aws.iam.get_policy().policy_arn(&arn).send().await.or_aws("iam:GetPolicy");
    // IAM refuses the ARN itself where its form is wrong.
    let answer = answer.or_absent_if(|error| error.is(&["InvalidInput", "ValidationError"]));
    let Some(None) = told(answer, format!("the policy {arn}"))?.map(Option::flatten) else { return Ok(None) };
    let hint = "aws iam list-policies shows those that there are; AWS's own are written by path and name, such as \
                `service-role/AmazonECSTaskExecutionRolePolicy`";
    let fault = missing(&Lookup::Policy(written.to_owned()), format!("there is no managed policy {arn}"), hint);
    Ok(Some(Unknown { account: account(&arn).to_owned(), fault }))
}

/// The partition that a region is of.
fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

async fn role(aws: &Aws, arn: &str) -> Read<Option<Unknown>> {
    let answer = aws.iam.get_role().role_name(name(arn)).send().await.or_aws("iam:GetRole");
    let Some(found) = told(answer, format!("the role {arn}"))? else { return Ok(None) };
    let found = found.and_then(|answer| answer.role).map(|role| role.arn);
    let what = match found {
        Some(same) if same == arn => return Ok(None),
        Some(other) => format!("there is no role {arn}; the one of that name is {other}"),
        None => format!("there is no role {arn}"),
    };
    let fault = missing(&Lookup::Role(arn.to_owned()), what, "aws iam list-roles shows those that there are");
    Ok(Some(Unknown { account: account(arn).to_owned(), fault }))
}

enum Found {
    Profile(String, String),
    Unknown(Unknown),
}

/// The name of a role's instance profile, which need not be the role's own. Of several, the one that is named like it.
async fn profile(aws: &Aws, role: &str) -> Read<Option<Found>> {
    let asked = aws.iam.list_instance_profiles_for_role().role_name(name(role)).send().await;
    let answer = asked.or_aws("iam:ListInstanceProfilesForRole");
    let Some(Some(found)) = told(answer, format!("the instance profile of {role}"))? else { return Ok(None) };
    let names: Vec<&str> = found.instance_profiles().iter().map(|one| one.instance_profile_name()).collect();
    if let Some(found) = names.iter().find(|one| **one == name(role)).or(names.first()) {
        return Ok(Some(Found::Profile(role.to_owned(), (*found).to_owned())));
    }
    let what = format!("the role {role} has no instance profile, without which no instance can have it");
    let hint =
        "aws iam create-instance-profile, then aws iam add-role-to-instance-profile; or name a role that has one";
    let fault = missing(&Lookup::Profile(role.to_owned()), what, hint);
    Ok(Some(Found::Unknown(Unknown { account: account(role).to_owned(), fault })))
}
