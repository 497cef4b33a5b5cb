//! The network that every account begins with: a default VPC with one default subnet in each of three zones.

use serde_json::{Value, json};

use super::{filtered, no_tags, page_size, paged, well_formed};
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

struct Zone {
    name: String,
    region: String,
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
    page_size(input, 1000)?;
    if let Some(id) = texts(input, "VpcId").iter().find(|id| *id != VPC) {
        return Err(unknown("vpc", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed", id));
    }
    let found = filtered(
        input,
        [account],
        no_tags,
        &[
            ("vpc-id", |_| vec![VPC.to_owned()]),
            ("is-default", |_| vec!["true".to_owned()]),
            ("isDefault", |_| vec!["true".to_owned()]),
            ("state", |_| vec!["available".to_owned()]),
            ("cidr", |_| vec!["172.31.0.0/16".to_owned()]),
            ("owner-id", |account| vec![account.id.clone()]),
        ],
    )?;
    let vpc = |account: &Account| {
        json!({
        "vpcId": VPC, "ownerId": account.id, "state": "available", "cidrBlock": "172.31.0.0/16", "isDefault": true,
        "instanceTenancy": "default", "dhcpOptionsId": "dopt-0e84fa1c605e72b93", "tagSet": [],
        "cidrBlockAssociationSet": [{
            "cidrBlock": "172.31.0.0/16", "associationId": "vpc-cidr-assoc-0f95ab2d716f83ca4",
            "cidrBlockState": {"state": "associated"},
        }],
        })
    };
    paged("vpcSet", found.into_iter().map(vpc).collect(), cx, input)
}

/// DescribeSubnets.
pub(super) fn subnets(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let ids = texts(input, "SubnetId");
    for id in &ids {
        subnet(&account.region, id)?;
    }
    let mut found = filtered(
        input,
        all_subnets(&account.region),
        no_tags,
        &[
            ("subnet-id", |one| vec![one.id.to_owned()]),
            ("vpc-id", |_| vec![VPC.to_owned()]),
            ("availability-zone", |one| vec![one.zone.clone()]),
            ("availabilityZone", |one| vec![one.zone.clone()]),
            ("default-for-az", |_| vec!["true".to_owned()]),
            ("defaultForAz", |_| vec!["true".to_owned()]),
            ("state", |_| vec!["available".to_owned()]),
            ("cidr-block", |one| vec![one.cidr.to_owned()]),
            ("cidr", |one| vec![one.cidr.to_owned()]),
            ("cidrBlock", |one| vec![one.cidr.to_owned()]),
        ],
    )?;
    found.retain(|one| ids.is_empty() || ids.iter().any(|id| id == one.id));
    let shown = |one: Subnet| {
        let used = account.ec2.instances.iter().filter(|instance| instance.subnet == one.id && !instance.gone());
        json!({
            "subnetId": one.id, "vpcId": VPC, "availabilityZone": one.zone, "cidrBlock": one.cidr,
            "state": "available", "defaultForAz": true, "mapPublicIpOnLaunch": true, "ownerId": account.id,
            "availableIpAddressCount": 4091usize.saturating_sub(used.count()), "tagSet": [],
            "subnetArn": format!("arn:aws:ec2:{}:{}:subnet/{}", account.region, account.id, one.id),
        })
    };
    let found = found.into_iter().map(shown).collect();
    paged("subnetSet", found, cx, input)
}

/// DescribeAvailabilityZones.
pub(super) fn zones(account: &Account, _cx: &Cx, input: &Value) -> Answer {
    let names = texts(input, "ZoneName");
    let all: Vec<Zone> = all_subnets(&account.region)
        .into_iter()
        .map(|subnet| Zone { name: subnet.zone, region: account.region.clone() })
        .collect();
    if let Some(name) = names.iter().find(|name| !all.iter().any(|zone| zone.name == **name)) {
        return Err(super::invalid(format!("Invalid availability zone: [{name}]")));
    }
    let mut found = filtered(
        input,
        all,
        no_tags,
        &[
            ("zone-name", |zone| vec![zone.name.clone()]),
            ("region-name", |zone| vec![zone.region.clone()]),
            ("state", |_| vec!["available".to_owned()]),
            ("zone-type", |_| vec!["availability-zone".to_owned()]),
            ("opt-in-status", |_| vec!["opt-in-not-required".to_owned()]),
        ],
    )?;
    found.retain(|zone| names.is_empty() || names.contains(&zone.name));
    let shown = |zone: Zone| {
        json!({
            "zoneName": zone.name, "zoneState": "available", "regionName": zone.region,
            "optInStatus": "opt-in-not-required", "zoneType": "availability-zone", "groupName": zone.region,
            "networkBorderGroup": zone.region, "messageSet": [],
        })
    };
    Ok(json!({"availabilityZoneInfo": found.into_iter().map(shown).collect::<Vec<_>>()}))
}
