//! Makes a security group and changes its rules, each by a call of its own.

use std::collections::BTreeSet;

use aws_sdk_ec2::types as ec2;

use super::{Call, Rule, default_egress, found, state};
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{OrAbsent, SEEN, none, taken_away};
use crate::aws::wait::until;
use crate::aws::{AwsError, Class, OrAws, tags};
use crate::kind::{Acting, Owner, Tags};
use crate::kinds::key_pair::settled;

pub(super) async fn create(
    cx: &Acting,
    at: &Address,
    name: &str,
    description: &str,
    vpc: &str,
    tags: &Tags,
) -> Result<Ids, AwsError> {
    const NAME: &str = "ec2:CreateSecurityGroup";
    let sent = cx
        .aws
        .ec2
        .create_security_group()
        .group_name(name)
        .description(description)
        .vpc_id(vpc)
        .tag_specifications(tags::on_creation(ec2::ResourceType::SecurityGroup, tags))
        .send()
        .await
        .or_aws(NAME);
    let made = sent.or_absent_if(|error| error.is(&["InvalidGroup.Duplicate"]))?.and_then(|made| made.group_id);
    if let Some(id) = made {
        return Ok(Ids::from([("id".to_owned(), id)]));
    }
    // It exists, so it will be seen.
    let there = until(
        SEEN,
        NAME,
        &format!("{name}, which exists, to be seen"),
        |_| false,
        || async {
            let by = vec![("group-name", vec![name.to_owned()]), ("vpc-id", vec![vpc.to_owned()])];
            Ok(Some(found(&cx.aws, by).await?).filter(|found| !found.is_empty()))
        },
    )
    .await?;
    // One that differs in what cannot change is the old one, which this create is to replace.
    let there: Vec<_> = there.into_iter().filter(|group| group.description() == Some(description)).collect();
    let ours = there.iter().find(|group| {
        let (owner, tagged) = cx.stack.owner(&tags::from_ec2(group.tags()));
        matches!(owner, Owner::Ours | Owner::Adopted) && tagged.as_ref() == Some(at)
    });
    match ours.and_then(|group| group.group_id()) {
        Some(id) => Ok(Ids::from([("id".to_owned(), id.to_owned())])),
        None => Err(AwsError::refused(NAME, format!("{name} exists meanwhile and is not this resource's; plan again"))),
    }
}

/// Takes a new group's default egress away, as far as it has it and it is not wanted.
pub(super) async fn close(cx: &Acting, group: Link, name: &str, kept: &BTreeSet<Rule>) -> Result<(), AwsError> {
    let by_id = vec![("group-id", vec![settled("ec2:RevokeSecurityGroupEgress", name, &group)?])];
    let there = until(
        SEEN,
        "ec2:DescribeSecurityGroups",
        name,
        |_| false,
        || async { Ok(found(&cx.aws, by_id.clone()).await?.first().map(state)) },
    );
    let there = there.await?.egress;
    for rule in default_egress().into_iter().filter(|rule| there.contains(rule) && !kept.contains(rule)) {
        let (group, name) = (group.clone(), name.to_owned());
        Box::pin(change_rule(cx, Call::RevokeSecurityGroupEgress { group, name, rule })).await?;
    }
    Ok(())
}

/// Whether a rule was revoked. In a default VPC EC2 says yes to the revoking of a rule that it does not know (yet), and lists
/// it (EC2 API, RevokeSecurityGroupIngress).
fn revoked(operation: &'static str, unknown: &[ec2::IpPermission]) -> Result<(), AwsError> {
    if unknown.is_empty() {
        return Ok(());
    }
    let error = AwsError::refused(operation, "EC2 does not know this rule");
    Err(AwsError { class: Class::NotFound, ..error })
}

/// One rule, added, revoked or described. What is so already is so.
pub(super) async fn change_rule(cx: &Acting, call: Call) -> Result<(), AwsError> {
    let ec2 = &cx.aws.ec2;
    let duplicate = |error: &AwsError| error.is(&["InvalidPermission.Duplicate"]);
    match call {
        Call::AuthorizeSecurityGroupIngress { group, name, rule } => {
            const NAME: &str = "ec2:AuthorizeSecurityGroupIngress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.authorize_security_group_ingress().group_id(id).ip_permissions(rule);
            request.send().await.or_aws(NAME).or_absent_if(duplicate).map(|_| ())
        }
        Call::AuthorizeSecurityGroupEgress { group, name, rule } => {
            const NAME: &str = "ec2:AuthorizeSecurityGroupEgress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.authorize_security_group_egress().group_id(id).ip_permissions(rule);
            request.send().await.or_aws(NAME).or_absent_if(duplicate).map(|_| ())
        }
        Call::RevokeSecurityGroupIngress { group, name, rule } => {
            const NAME: &str = "ec2:RevokeSecurityGroupIngress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.revoke_security_group_ingress().group_id(id).ip_permissions(rule);
            let sent = taken_away(&*cx.say, NAME, &name, none, || {
                let request = request.clone();
                async move { revoked(NAME, request.send().await.or_aws(NAME)?.unknown_ip_permissions()) }
            });
            sent.await.map(|_| ())
        }
        Call::RevokeSecurityGroupEgress { group, name, rule } => {
            const NAME: &str = "ec2:RevokeSecurityGroupEgress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.revoke_security_group_egress().group_id(id).ip_permissions(rule);
            let sent = taken_away(&*cx.say, NAME, &name, none, || {
                let request = request.clone();
                async move { revoked(NAME, request.send().await.or_aws(NAME)?.unknown_ip_permissions()) }
            });
            sent.await.map(|_| ())
        }
        Call::UpdateSecurityGroupRuleDescriptionsIngress { group, name, rule } => {
            const NAME: &str = "ec2:UpdateSecurityGroupRuleDescriptionsIngress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.update_security_group_rule_descriptions_ingress().group_id(id).ip_permissions(rule);
            request.send().await.or_aws(NAME).map(|_| ())
        }
        Call::UpdateSecurityGroupRuleDescriptionsEgress { group, name, rule } => {
            const NAME: &str = "ec2:UpdateSecurityGroupRuleDescriptionsEgress";
            let (id, rule) = (settled(NAME, &name, &group)?, rule.permission(NAME)?);
            let request = ec2.update_security_group_rule_descriptions_egress().group_id(id).ip_permissions(rule);
            request.send().await.or_aws(NAME).map(|_| ())
        }
        _ => Ok(()),
    }
}
