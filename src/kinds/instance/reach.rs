//! Whether an instance that a plan launches is in one network with its security groups, and reaches ECS from there. Pure.
//!
//! Its agent must reach ECS (ECS developer guide, "Container instances"), or the instance is billed and serves nothing. Only
//! what is certain is in the way of a plan: routes that are not known, or that lead to a network of the lab's own, are not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::State;
use crate::address::{Address, Link};
use crate::diff::Conflict;
use crate::facts::{Facts, Subnet, Way};
use crate::plan::{Plan, Verb};

/// What is in the way of the instances that this plan launches. `desired` has the groups that are ours.
pub fn conflicts(plan: &Plan, desired: &BTreeMap<Address, Value>, facts: &Facts) -> Vec<Conflict> {
    let launches = plan.steps.iter().filter(|(id, _)| id.at.kind == "instance" && id.verb == Verb::Create);
    let mut out = Vec::new();
    for (id, step) in launches {
        let Ok(want) = serde_json::from_value::<State>(step.state.clone()) else { continue };
        let subnets: BTreeSet<&String> =
            want.choices.iter().map(|choice| &choice.subnet).chain([&want.subnet]).collect();
        let known = subnets.iter().filter_map(|id| Some((id.as_str(), facts.subnets.get(*id)?)));
        for (name, subnet) in known {
            let apart = want.security_groups.iter().find_map(|group| {
                let vpc = vpc_of(group, plan, desired, facts)?;
                (vpc != subnet.vpc).then(|| (group.to_string(), vpc))
            });
            if let Some((group, vpc)) = apart {
                let why = format!("the subnet {name} is in {}, and the security group {group} in {vpc}", subnet.vpc);
                let hint = "name a `subnet` of the group's VPC, or say `vpc` in the [security_group.…]";
                out.push(Conflict::new(id.at.clone(), why, hint));
            } else if let Some((why, hint)) = cut_off(name, subnet, want.public_ip) {
                out.push(Conflict::new(id.at.clone(), why, hint));
            }
        }
    }
    out
}

/// The VPC of a group: one of ours as it is wanted, another as it was looked up.
fn vpc_of(group: &Link, plan: &Plan, desired: &BTreeMap<Address, Value>, facts: &Facts) -> Option<String> {
    let wanted = |at: &Address| desired.get(at)?.get("vpc")?.as_str().map(str::to_owned);
    match group {
        Link::Ours { to, .. } => wanted(to),
        Link::Theirs { id, .. } => facts.groups.get(id).cloned().or_else(|| {
            let (at, ids) = plan.ids.iter().find(|(_, ids)| ids.get("id") == Some(id))?;
            ids.get("vpc").cloned().or_else(|| wanted(at))
        }),
    }
}

/// Why who is launched there does not reach ECS, and what to do about it.
fn cut_off(name: &str, subnet: &Subnet, asked: Option<bool>) -> Option<(String, &'static str)> {
    let public = asked.unwrap_or(subnet.public);
    match subnet.way? {
        _ if subnet.endpoints => None,
        Way::Nowhere => Some((
            format!(
                "an instance in {name} cannot reach ECS: no route leads out of its VPC, which has no endpoints for ECS"
            ),
            "name a `subnet` whose route table leads to an internet or NAT gateway",
        )),
        Way::Gateway if !public => Some((
            format!(
                "an instance in {name} cannot reach ECS: it has no public address, and the subnet's only way out is an \
                 internet gateway"
            ),
            "say `public_ip = true`, or name a `subnet` whose route table leads to a NAT gateway",
        )),
        Way::Gateway | Way::Onward => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_in_the_way() {
        let of = |way, public, endpoints, asked| {
            let (vpc, zone) = ("vpc-1".to_owned(), "a".to_owned());
            cut_off("subnet-1", &Subnet { vpc, zone, default: false, public, way, endpoints }, asked).is_some()
        };
        let (gateway, onward, nowhere) = (Some(Way::Gateway), Some(Way::Onward), Some(Way::Nowhere));
        assert!(of(gateway, false, false, None) && of(gateway, true, false, Some(false)));
        assert!(!of(gateway, true, false, None) && !of(gateway, false, false, Some(true)));
        assert!(of(nowhere, true, false, Some(true)));
        assert!(!of(nowhere, false, true, None) && !of(gateway, false, true, None));
        assert!(!of(onward, false, false, None) && !of(None, false, false, None));
    }
}
