//! The network as a launch finds it: VPCs, subnets and where their routes lead, security groups by id.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as ec2;
use futures_util::future::{join, join5};

use super::{FactError, Read, failed, missing, take};
use crate::aws::trace::branch;
use crate::aws::{Aws, AwsError, Class, OrAws};
use crate::facts::{Lookup, Subnet, Way};

/// What is asked for.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) default_vpc: bool,
    pub(super) vpcs: BTreeSet<String>,
    pub(super) subnets: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Network {
    pub(super) default_vpc: Option<String>,
    pub(super) subnets: BTreeMap<String, Subnet>,
    /// The VPC of each security group.
    pub(super) groups: BTreeMap<String, String>,
}

fn filter(name: &str, values: impl IntoIterator<Item = String>) -> ec2::Filter {
    ec2::Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

/// The region's default VPC, where it has one.
///
/// # Errors
/// When EC2 cannot be asked.
pub async fn default_vpc(aws: &Aws) -> Result<Option<String>, AwsError> {
    let asked = aws.ec2.describe_vpcs().filters(filter("isDefault", ["true".to_owned()])).send().await;
    Ok(asked.or_aws("ec2:DescribeVpcs")?.vpcs().first().and_then(|vpc| vpc.vpc_id.clone()))
}

/// The default VPC, its default subnets, and what was asked for by id, in one wave; endpoints in a second, where a subnet
/// may have no other way out.
pub(super) async fn read(aws: &Aws, wanted: Wanted) -> Read<Network> {
    let Wanted { default_vpc, vpcs, subnets: named, groups } = wanted;
    let any_subnet = default_vpc || !named.is_empty();
    let (vpc, vpcs, found, groups, tables) = join5(
        branch(the_default_vpc(aws, default_vpc)),
        branch(those_vpcs(aws, vpcs)),
        branch(both_subnets(aws, default_vpc, named)),
        branch(those_groups(aws, groups)),
        branch(route_tables(aws, any_subnet)),
    )
    .await;
    let (mut out, mut faults) = (Network::default(), Vec::new());
    take(vpc, &mut faults, |vpc| out.default_vpc = vpc);
    take(vpcs, &mut faults, |()| {});
    take(found, &mut faults, |subnets| out.subnets = subnets);
    take(groups, &mut faults, |groups| out.groups = groups);
    take(tables, &mut faults, |tables| {
        for (id, subnet) in &mut out.subnets {
            subnet.way = tables.as_deref().and_then(|tables| way(tables, id, &subnet.vpc));
        }
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let closed = |subnet: &&Subnet| match subnet.way {
        Some(Way::Nowhere) => true,
        Some(Way::Gateway) => !subnet.public,
        Some(Way::Onward) | None => false,
    };
    let vpcs: BTreeSet<String> = out.subnets.values().filter(closed).map(|subnet| subnet.vpc.clone()).collect();
    let serves = branch(endpoints(aws, vpcs)).await?;
    for subnet in out.subnets.values_mut() {
        // Where endpoints may not be listed, nothing can be said of the ways out either.
        match &serves {
            Some(serves) => subnet.endpoints = serves.contains(&subnet.vpc),
            None => subnet.way = None,
        }
    }
    Ok(out)
}

async fn the_default_vpc(aws: &Aws, wanted: bool) -> Read<Option<String>> {
    if !wanted {
        return Ok(None);
    }
    let vpc = default_vpc(aws).await.map_err(failed("the default VPC"))?;
    vpc.map(Some).ok_or_else(|| {
        let what = format!("{} has no default VPC", aws.region);
        let hint = "name a `subnet` (instance) and a `vpc` (security group), or make one: aws ec2 create-default-vpc";
        vec![missing(&Lookup::DefaultVpc, what, hint)]
    })
}

/// Those of these that are not there, each as a fault.
fn gone(
    aws: &Aws,
    wanted: &BTreeSet<String>,
    is_there: impl Fn(&String) -> bool,
    what: &str,
    hint: &str,
    lookup: fn(String) -> Lookup,
) -> Read<()> {
    let gone = wanted.iter().filter(|id| !is_there(id));
    let told = |id: &String| missing(&lookup(id.clone()), format!("there is no {what} {id} in {}", aws.region), hint);
    let gone: Vec<FactError> = gone.map(told).collect();
    if gone.is_empty() { Ok(()) } else { Err(gone) }
}

async fn those_vpcs(aws: &Aws, wanted: BTreeSet<String>) -> Read<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let asked = aws.ec2.describe_vpcs().filters(filter("vpc-id", wanted.clone())).send().await;
    let asked = asked.or_aws("ec2:DescribeVpcs").map_err(failed("VPCs"))?;
    let is_there = |id: &String| asked.vpcs().iter().any(|vpc| vpc.vpc_id() == Some(id));
    gone(aws, &wanted, is_there, "VPC", "leave `vpc` out for the default one", Lookup::Vpc)
}

async fn both_subnets(aws: &Aws, default: bool, wanted: BTreeSet<String>) -> Read<BTreeMap<String, Subnet>> {
    let of_default = async {
        match default {
            true => subnets(aws, "default-for-az", vec!["true".to_owned()]).await,
            false => Ok(BTreeMap::new()),
        }
    };
    let named = async {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = subnets(aws, "subnet-id", wanted.iter().cloned().collect()).await?;
        let hint = "leave it out for one of the default VPC's";
        gone(aws, &wanted, |id| found.contains_key(id), "subnet", hint, Lookup::Subnet)?;
        Ok(found)
    };
    let (of_default, named) = join(branch(of_default), branch(named)).await;
    let (mut out, mut faults) = (BTreeMap::new(), Vec::new());
    take(of_default, &mut faults, |subnets| out.extend(subnets));
    take(named, &mut faults, |subnets| out.extend(subnets));
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

async fn subnets(aws: &Aws, by: &str, values: Vec<String>) -> Read<BTreeMap<String, Subnet>> {
    let mut pages = aws.ec2.describe_subnets().filters(filter(by, values)).into_paginator().send();
    let mut out = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("ec2:DescribeSubnets").map_err(failed("subnets"))?;
        out.extend(page.subnets.unwrap_or_default().into_iter().filter_map(|subnet| {
            let found = Subnet {
                vpc: subnet.vpc_id?,
                zone: subnet.availability_zone?,
                default: subnet.default_for_az.unwrap_or_default(),
                public: subnet.map_public_ip_on_launch.unwrap_or_default(),
                way: None,
                endpoints: false,
            };
            Some((subnet.subnet_id?, found))
        }));
    }
    Ok(out)
}

async fn those_groups(aws: &Aws, wanted: BTreeSet<String>) -> Read<BTreeMap<String, String>> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut pages =
        aws.ec2.describe_security_groups().filters(filter("group-id", wanted.clone())).into_paginator().send();
    let mut out = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("ec2:DescribeSecurityGroups").map_err(failed("security groups"))?;
        let groups = page.security_groups.unwrap_or_default().into_iter();
        out.extend(groups.filter_map(|group| Some((group.group_id?, group.vpc_id.unwrap_or_default()))));
    }
    let hint = "aws ec2 describe-security-groups shows those that there are";
    gone(aws, &wanted, |id| out.contains_key(id), "security group", hint, Lookup::SecurityGroup)?;
    Ok(out)
}

/// A list that only makes a plan say more: where it may not be read, the plan goes on without it.
fn unless_denied<T>(answer: Result<T, AwsError>, what: &str) -> Read<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.class == Class::Denied => Ok(None),
        Err(error) => Err(failed(what)(error)),
    }
}

/// The region's route tables; none where they may not be listed.
async fn route_tables(aws: &Aws, wanted: bool) -> Read<Option<Vec<ec2::RouteTable>>> {
    if !wanted {
        return Ok(None);
    }
    let mut pages = aws.ec2.describe_route_tables().into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        match unless_denied(page.or_aws("ec2:DescribeRouteTables"), "route tables")? {
            Some(page) => out.extend(page.route_tables.unwrap_or_default()),
            None => return Ok(None),
        }
    }
    Ok(Some(out))
}

/// Where a subnet's routes lead: those of its own table, else of its VPC's main one.
fn way(tables: &[ec2::RouteTable], subnet: &str, vpc: &str) -> Option<Way> {
    let has = |table: &&ec2::RouteTable, is: &dyn Fn(&ec2::RouteTableAssociation) -> bool| {
        table.associations().iter().any(is)
    };
    let own = tables.iter().find(|table| has(table, &|one| one.subnet_id() == Some(subnet)));
    let main =
        || tables.iter().find(|table| table.vpc_id() == Some(vpc) && has(table, &|one| one.main() == Some(true)));
    let table = own.or_else(main)?;
    let leads = |route: &&ec2::Route| {
        let gateway = route.gateway_id().unwrap_or_default();
        route.state() != Some(&ec2::RouteState::Blackhole) && gateway != "local" && !gateway.starts_with("vpce-")
    };
    let mut routes = table.routes().iter().filter(leads).peekable();
    if routes.peek().is_none() {
        return Some(Way::Nowhere);
    }
    // Any other route may lead to ECS: a NAT, a transit or virtual private gateway, a proxy, IPv6.
    let only_gateway = routes.all(|route| route.gateway_id().is_some_and(|id| id.starts_with("igw-")));
    Some(if only_gateway { Way::Gateway } else { Way::Onward })
}

/// Those of these VPCs in which ECS's own endpoints are; none where they may not be listed.
async fn endpoints(aws: &Aws, vpcs: BTreeSet<String>) -> Read<Option<BTreeSet<String>>> {
    if vpcs.is_empty() {
        return Ok(Some(BTreeSet::new()));
    }
    let services = ["ecs", "ecs-agent"].map(|name| format!("com.amazonaws.{}.{name}", aws.region));
    let mut pages = aws
        .ec2
        .describe_vpc_endpoints()
        .filters(filter("vpc-id", vpcs))
        .filters(filter("service-name", services.clone()))
        .into_paginator()
        .send();
    let mut found: BTreeSet<(String, String)> = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let Some(page) = unless_denied(page.or_aws("ec2:DescribeVpcEndpoints"), "VPC endpoints")? else {
            return Ok(None);
        };
        let endpoints = page.vpc_endpoints.unwrap_or_default().into_iter();
        found.extend(endpoints.filter_map(|one| Some((one.vpc_id?, one.service_name?))));
    }
    let both = |vpc: &&String| services.iter().all(|service| found.contains(&((*vpc).clone(), service.clone())));
    let vpcs: BTreeSet<String> = found.iter().map(|(vpc, _)| vpc.clone()).collect();
    Ok(Some(vpcs.iter().filter(both).cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(subnet: Option<&str>, routes: &[(&str, &str)]) -> ec2::RouteTable {
        let association = match subnet {
            Some(subnet) => ec2::RouteTableAssociation::builder().subnet_id(subnet),
            None => ec2::RouteTableAssociation::builder().main(true),
        };
        let route = |(to, by): &(&str, &str)| {
            let route = ec2::Route::builder().destination_cidr_block(*to).state(ec2::RouteState::Active);
            match by.split_once('-') {
                Some(("nat", _)) => route.nat_gateway_id(*by),
                Some(("blackhole", _)) => route.nat_gateway_id(*by).state(ec2::RouteState::Blackhole),
                _ => route.gateway_id(*by),
            }
            .build()
        };
        let table = ec2::RouteTable::builder().vpc_id("vpc-1").associations(association.build());
        table.set_routes(Some(routes.iter().map(route).collect())).build()
    }

    #[test]
    fn a_way_out_is_that_of_the_subnets_own_table_or_of_the_main_one() {
        let local = ("10.0.0.0/16", "local");
        let main = table(None, &[local, ("0.0.0.0/0", "igw-1")]);
        let of = |routes: &[(&str, &str)]| way(&[table(Some("subnet-1"), routes), main.clone()], "subnet-1", "vpc-1");
        assert_eq!(way(std::slice::from_ref(&main), "subnet-1", "vpc-1"), Some(Way::Gateway));
        assert_eq!(way(std::slice::from_ref(&main), "subnet-1", "vpc-2"), None);
        assert_eq!(of(&[local]), Some(Way::Nowhere));
        assert_eq!(of(&[local, ("pl-1", "vpce-1"), ("0.0.0.0/0", "blackhole-1")]), Some(Way::Nowhere));
        assert_eq!(of(&[local, ("0.0.0.0/0", "nat-1")]), Some(Way::Onward));
        assert_eq!(of(&[local, ("10.8.0.0/16", "vgw-1")]), Some(Way::Onward));
    }
}
