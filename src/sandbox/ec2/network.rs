//! The network that every account begins with: a default VPC with one default subnet in each of three zones.

use serde_json::{Value, json};

use super::{Tags, paged, pass, well_formed};
use crate::sandbox::account::Account;
use crate::sandbox::input::texts;
use crate::sandbox::service::{Answer, ApiError, Cx};

/// The default VPC.
pub const VPC: &str = "vpc-0d3f4a17b29c5e681";

const SUBNETS: [(&str, &str, &str); 3] = [
    ("subnet-0a51c7e93d2b4f860", "a", "172.31.0.0/20"),
    ("subnet-0b62d8fa4e3c50971", "b", "172.31.16.0/20"),
    ("subnet-0c73e90b5f4d61a82", "c", "172.31.32.0/20"),
];

/// A default subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`
    pub id: &'static str,
    /// Its zone, e.g. `eu-west-2a`.
    pub zone: String,
    /// Its addresses.
    pub cidr: &'static str,
    /// The third byte of its first address.
    pub third_byte: u64,
}

/// The three subnets.
pub fn all_subnets(region: &str) -> Vec<Subnet> {
    (0..)
        .zip(SUBNETS)
        .map(|(n, (id, letter, cidr))| Subnet { id, zone: format!("{region}{letter}"), cidr, third_byte: n * 16 })
        .collect()
}

fn unknown(what: &str, prefix: &str, code: &'static str, malformed: &'static str, id: &str) -> ApiError {
    if well_formed(id, prefix) {
        ApiError::new(code, format!("The {what} ID '{id}' does not exist"))
    } else {
        ApiError::new(malformed, format!("Invalid id: \"{id}\""))
    }
}

/// The subnet of this id.
pub(super) fn subnet(region: &str, id: &str) -> Result<Subnet, ApiError> {
    all_subnets(region)
        .into_iter()
        .find(|subnet| subnet.id == id)
        .ok_or_else(|| unknown("subnet", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", id))
}

/// DescribeVpcs.
pub(super) fn vpcs(account: &Account, cx: &Cx, input: &Value) -> Answer {
    if let Some(id) = texts(input, "VpcId").iter().find(|id| *id != VPC) {
        return Err(unknown("vpc", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed", id));
    }
    let shown = pass(input, &Tags::new(), |filter| match filter {
        "vpc-id" => Some(vec![VPC.to_owned()]),
        "isDefault" | "is-default" => Some(vec!["true".to_owned()]),
        "state" => Some(vec!["available".to_owned()]),
        "cidr" => Some(vec!["172.31.0.0/16".to_owned()]),
        "owner-id" => Some(vec![account.id.clone()]),
        _ => None,
    })?;
    let vpc = json!({
        "vpcId": VPC, "ownerId": account.id, "state": "available", "cidrBlock": "172.31.0.0/16", "isDefault": true,
        "instanceTenancy": "default", "dhcpOptionsId": "dopt-0e84fa1c605e72b93", "tagSet": [],
        "cidrBlockAssociationSet": [{
            "cidrBlock": "172.31.0.0/16", "associationId": "vpc-cidr-assoc-0f95ab2d716f83ca4",
            "cidrBlockState": {"state": "associated"},
        }],
    });
    paged("vpcSet", shown.then_some(vpc).into_iter().collect(), cx, input)
}

/// DescribeSubnets.
pub(super) fn subnets(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let ids = texts(input, "SubnetId");
    for id in &ids {
        subnet(&account.region, id)?;
    }
    let mut found = Vec::new();
    for one in all_subnets(&account.region) {
        let shown = pass(input, &Tags::new(), |filter| match filter {
            "subnet-id" => Some(vec![one.id.to_owned()]),
            "vpc-id" => Some(vec![VPC.to_owned()]),
            "availability-zone" | "availabilityZone" => Some(vec![one.zone.clone()]),
            "default-for-az" | "defaultForAz" => Some(vec!["true".to_owned()]),
            "state" => Some(vec!["available".to_owned()]),
            "cidr-block" | "cidr" | "cidrBlock" => Some(vec![one.cidr.to_owned()]),
            _ => None,
        })?;
        if shown && (ids.is_empty() || ids.iter().any(|id| id == one.id)) {
            let used = account.ec2.instances.iter().filter(|instance| instance.subnet == one.id && !instance.gone());
            found.push(json!({
                "subnetId": one.id, "vpcId": VPC, "availabilityZone": one.zone, "cidrBlock": one.cidr,
                "state": "available", "defaultForAz": true, "mapPublicIpOnLaunch": true, "ownerId": account.id,
                "availableIpAddressCount": 4091usize.saturating_sub(used.count()), "tagSet": [],
                "subnetArn": format!("arn:aws:ec2:{}:{}:subnet/{}", account.region, account.id, one.id),
            }));
        }
    }
    paged("subnetSet", found, cx, input)
}

/// DescribeAvailabilityZones.
pub(super) fn zones(account: &Account, _cx: &Cx, input: &Value) -> Answer {
    let names = texts(input, "ZoneName");
    let all = all_subnets(&account.region);
    if let Some(name) = names.iter().find(|name| !all.iter().any(|subnet| subnet.zone == **name)) {
        return Err(super::invalid(format!("Invalid availability zone: [{name}]")));
    }
    let mut found = Vec::new();
    for zone in all.into_iter().map(|subnet| subnet.zone) {
        let shown = pass(input, &Tags::new(), |filter| match filter {
            "zone-name" => Some(vec![zone.clone()]),
            "region-name" => Some(vec![account.region.clone()]),
            "state" => Some(vec!["available".to_owned()]),
            "zone-type" => Some(vec!["availability-zone".to_owned()]),
            "opt-in-status" => Some(vec!["opt-in-not-required".to_owned()]),
            _ => None,
        })?;
        if shown && (names.is_empty() || names.contains(&zone)) {
            found.push(json!({
                "zoneName": zone, "zoneState": "available", "regionName": account.region,
                "optInStatus": "opt-in-not-required", "zoneType": "availability-zone", "groupName": account.region,
                "networkBorderGroup": account.region, "messageSet": [],
            }));
        }
    }
    Ok(json!({"availabilityZoneInfo": found}))
}
