//! The network that every account begins with: a default VPC with one public default subnet in each of three zones. A test
//! can add subnets, without a way out or in another VPC; a request can switch a subnet's public addresses off.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{filtered, no_tags, page_size, paged, required, well_formed};
use crate::account::Account;
use crate::ec2::instances::Instance;
use crate::input::{flag, texts};
use crate::regions;
use crate::service::{Answer, ApiError, Cx};

/// The default VPC, as it is called in `eu-west-2`.
pub const VPC: &str = "vpc-0d3f4a17b29c5e681";

/// The default subnets, in the order of the zones, as they are called in `eu-west-2`.
const SUBNETS: [&str; 6] = [
    "subnet-0a51c7e93d2b4f860",
    "subnet-0b62d8fa4e3c50971",
    "subnet-0c73e90b5f4d61a82",
    "subnet-0d84fa1c605e72b93",
    "subnet-0e950b2d716f83ca4",
    "subnet-0fa61c3e827094db5",
];

/// The default VPC of a region.
pub fn default_vpc(region: &str) -> String {
    regions::id_in(region, VPC)
}

/// Where a subnet's route table leads what is not for its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// To an internet gateway: for who has a public address.
    Gateway,
    /// To a NAT gateway.
    Nat,
    /// Nowhere.
    None,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its zone, e.g. `eu-west-2a`.
    pub zone: String,
    /// Its addresses.
    pub cidr: String,
    /// The third byte of its first address.
    pub third_byte: u64,
    /// Whether it is its zone's default subnet.
    pub default: bool,
    /// Whether who is launched in it has a public address (MapPublicIpOnLaunch).
    pub public: bool,
    /// The way out.
    pub way: Way,
}

/// What of the network is not as it is in every account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Network {
    /// Subnets that were added, or are not as they began.
    pub subnets: Vec<Subnet>,
    /// Services of which a VPC has an interface endpoint: the VPC, and the end of the name, e.g. `ecs-agent`.
    pub endpoints: Vec<(String, String)>,
}

struct Vpc {
    id: String,
    default: bool,
}

struct Zone {
    name: String,
    id: String,
    region: String,
}

/// The id of a zone, e.g. `euw2-az1` of `eu-west-2a`: the same place for every account, while its name is the account's own
/// (<https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html>). Here `a` is always the first.
pub fn zone_id(zone: &str) -> String {
    let (region, letter) = zone.split_at(zone.len().saturating_sub(1));
    let nth = letter.bytes().next().map_or(1, |letter| letter.saturating_sub(b'a') + 1);
    let mut parts = region.split('-');
    let area = parts.next().unwrap_or_default();
    let short = |way: &str| match way {
        "northeast" => "ne".to_owned(),
        "northwest" => "nw".to_owned(),
        "southeast" => "se".to_owned(),
        "southwest" => "sw".to_owned(),
        other => other.chars().take(1).collect(),
    };
    format!("{area}{}-az{nth}", parts.map(short).collect::<String>())
}

/// The subnets that are there.
pub fn all_subnets(account: &Account) -> Vec<Subnet> {
    let network = &account.ec2.network;
    let changed = |id: &str| network.subnets.iter().any(|one| one.id == id);
    let region = &account.region;
    let begun = (0..).zip(SUBNETS).zip(regions::zone_letters(region)).map(|((n, id), letter)| Subnet {
        id: regions::id_in(region, id),
        vpc: default_vpc(region),
        zone: format!("{region}{letter}"),
        cidr: format!("172.31.{}.0/20", n * 16),
        third_byte: n * 16,
        default: true,
        public: true,
        way: Way::Gateway,
    });
    let begun = begun.filter(|subnet| !changed(&subnet.id));
    let mut all: Vec<Subnet> = begun.chain(network.subnets.iter().cloned()).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

fn subnet_of(account: &Account, id: &str) -> Option<Subnet> {
    all_subnets(account).into_iter().find(|subnet| subnet.id == id)
}

/// Whether an instance's agent reaches ECS: by a public address, a NAT gateway, or endpoints in its VPC.
pub fn reaches_ecs(account: &Account, instance: &Instance) -> bool {
    let Some(subnet) = subnet_of(account, &instance.subnet) else { return false };
    let endpoint =
        |service: &str| account.ec2.network.endpoints.iter().any(|(vpc, name)| *vpc == subnet.vpc && name == service);
    let out = match subnet.way {
        Way::Gateway => instance.is_public(),
        Way::Nat => true,
        Way::None => false,
    };
    out || (endpoint("ecs") && endpoint("ecs-agent"))
}

fn unknown(what: &str, prefix: &str, code: &'static str, malformed: &'static str, id: &str) -> ApiError {
    if well_formed(id, prefix) {
        ApiError::new(code, format!("The {what} ID '{id}' does not exist"))
    } else {
        ApiError::new(malformed, format!("Invalid id: \"{id}\""))
    }
}

/// The subnet of this id.
pub(super) fn subnet(account: &Account, id: &str) -> Result<Subnet, ApiError> {
    subnet_of(account, id)
        .ok_or_else(|| unknown("subnet", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", id))
}

fn vpc_ids(account: &Account) -> Vec<String> {
    let mut all: Vec<String> = all_subnets(account).into_iter().map(|subnet| subnet.vpc).collect();
    all.push(default_vpc(&account.region));
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether there is such a VPC.
pub(super) fn has_vpc(account: &Account, id: &str) -> bool {
    vpc_ids(account).iter().any(|vpc| vpc == id)
}

/// DescribeVpcs.
pub(super) fn vpcs(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let ids = texts(input, "VpcId");
    if let Some(id) = ids.iter().find(|id| !has_vpc(account, id)) {
        return Err(unknown("vpc", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed", id));
    }
    let default = default_vpc(&account.region);
    let all = vpc_ids(account).into_iter().map(|id| Vpc { default: id == default, id }).collect::<Vec<_>>();
    let default = |one: &Vpc| vec![one.default.to_string()];
    let mut found = filtered(
        input,
        all,
        no_tags,
        &[
            ("vpc-id", |one| vec![one.id.clone()]),
            ("is-default", default),
            ("isDefault", default),
            ("state", |_| vec!["available".to_owned()]),
            ("cidr", |_| vec!["172.31.0.0/16".to_owned()]),
        ],
    )?;
    found.retain(|one| ids.is_empty() || ids.contains(&one.id));
    let vpc = |one: Vpc| {
        json!({
        "vpcId": one.id, "ownerId": account.id, "state": "available", "cidrBlock": "172.31.0.0/16",
        "isDefault": one.default,
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
        subnet(account, id)?;
    }
    let mut found = filtered(
        input,
        all_subnets(account),
        no_tags,
        &[
            ("subnet-id", |one| vec![one.id.clone()]),
            ("vpc-id", |one| vec![one.vpc.clone()]),
            ("availability-zone", |one| vec![one.zone.clone()]),
            ("availabilityZone", |one| vec![one.zone.clone()]),
            ("availability-zone-id", |one| vec![zone_id(&one.zone)]),
            ("availabilityZoneId", |one| vec![zone_id(&one.zone)]),
            ("default-for-az", |one| vec![one.default.to_string()]),
            ("defaultForAz", |one| vec![one.default.to_string()]),
            ("state", |_| vec!["available".to_owned()]),
            ("cidr-block", |one| vec![one.cidr.clone()]),
            ("cidr", |one| vec![one.cidr.clone()]),
            ("cidrBlock", |one| vec![one.cidr.clone()]),
        ],
    )?;
    found.retain(|one| ids.is_empty() || ids.contains(&one.id));
    let shown = |one: Subnet| {
        let used = account.ec2.instances.iter().filter(|instance| instance.subnet == one.id && !instance.gone());
        json!({
            "subnetId": one.id, "vpcId": one.vpc, "availabilityZone": one.zone, "cidrBlock": one.cidr,
            "availabilityZoneId": zone_id(&one.zone),
            "state": "available", "defaultForAz": one.default, "mapPublicIpOnLaunch": one.public,
            "ownerId": account.id,
            "availableIpAddressCount": 4091usize.saturating_sub(used.count()), "tagSet": [],
            "subnetArn": format!("arn:aws:ec2:{}:{}:subnet/{}", account.region, account.id, one.id),
        })
    };
    let found = found.into_iter().map(shown).collect();
    paged("subnetSet", found, cx, input)
}

/// ModifySubnetAttribute: whether who is launched in a subnet has a public address.
pub(super) fn modify_subnet(account: &mut Account, input: &Value) -> Answer {
    let mut subnet = subnet(account, required(input, "SubnetId")?)?;
    let Some(public) = input.get("MapPublicIpOnLaunch").and_then(|attribute| flag(attribute, "Value")) else {
        return Err(super::invalid("the sandbox changes MapPublicIpOnLaunch only"));
    };
    subnet.public = public;
    let network = &mut account.ec2.network;
    network.subnets.retain(|one| one.id != subnet.id);
    network.subnets.push(subnet);
    Ok(json!({"return": true}))
}

/// A route table: its VPC's main one, or a subnet's own.
struct Table {
    id: String,
    vpc: String,
    subnet: Option<String>,
    way: Way,
}

/// The default VPC's main table leads to an internet gateway, another VPC's nowhere; a subnet with another way has a table
/// of its own.
fn tables(account: &Account) -> Vec<Table> {
    let default = default_vpc(&account.region);
    let main = |vpc: &str| if vpc == default { Way::Gateway } else { Way::None };
    let id = |of: &str| format!("rtb-{}", of.split_once('-').map_or(of, |(_, id)| id));
    let mains = vpc_ids(account).into_iter().map(|vpc| Table { id: id(&vpc), subnet: None, way: main(&vpc), vpc });
    let own = all_subnets(account).into_iter().filter(|subnet| subnet.way != main(&subnet.vpc));
    let own = own.map(|subnet| Table { id: id(&subnet.id), vpc: subnet.vpc, subnet: Some(subnet.id), way: subnet.way });
    mains.chain(own).collect()
}

/// DescribeRouteTables.
pub(super) fn route_tables(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let found = filtered(
        input,
        tables(account),
        no_tags,
        &[
            ("vpc-id", |one| vec![one.vpc.clone()]),
            ("route-table-id", |one| vec![one.id.clone()]),
            ("association.subnet-id", |one| one.subnet.iter().cloned().collect()),
            ("association.main", |one| vec![one.subnet.is_none().to_string()]),
        ],
    )?;
    let shown = |one: Table| {
        let mut routes = vec![json!({
            "destinationCidrBlock": "172.31.0.0/16", "gatewayId": "local", "state": "active",
            "origin": "CreateRouteTable",
        })];
        let default = json!({"destinationCidrBlock": "0.0.0.0/0", "state": "active", "origin": "CreateRoute"});
        let to = match one.way {
            Way::Gateway => Some(("gatewayId", "igw-0a1b2c3d4e5f60718")),
            Way::Nat => Some(("natGatewayId", "nat-0b2c3d4e5f6071829")),
            Way::None => None,
        };
        routes.extend(to.map(|(member, id)| {
            let mut route = default.clone();
            route[member] = json!(id);
            route
        }));
        let mut association = json!({
            "routeTableAssociationId": one.id.replacen("rtb", "rtbassoc", 1), "routeTableId": one.id,
            "main": one.subnet.is_none(), "associationState": {"state": "associated"},
        });
        if let Some(subnet) = &one.subnet {
            association["subnetId"] = json!(subnet);
        }
        json!({
            "routeTableId": one.id, "vpcId": one.vpc, "ownerId": account.id, "routeSet": routes,
            "associationSet": [association], "propagatingVgwSet": [], "tagSet": [],
        })
    };
    paged("routeTableSet", found.into_iter().map(shown).collect(), cx, input)
}

/// DescribeVpcEndpoints.
pub(super) fn endpoints(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let region = &account.region;
    let all = account.ec2.network.endpoints.iter();
    let all = all.map(|(vpc, service)| (vpc.clone(), format!("com.amazonaws.{region}.{service}")));
    let found = filtered(
        input,
        all,
        no_tags,
        &[
            ("vpc-id", |one: &(String, String)| vec![one.0.clone()]),
            ("service-name", |one| vec![one.1.clone()]),
            ("vpc-endpoint-state", |_| vec!["available".to_owned()]),
        ],
    )?;
    let shown = |(n, (vpc, service)): (usize, (String, String))| {
        json!({
            "vpcEndpointId": format!("vpce-{n:017x}"), "vpcEndpointType": "Interface", "vpcId": vpc,
            "serviceName": service, "state": "available", "ownerId": account.id,
        })
    };
    paged("vpcEndpointSet", found.into_iter().enumerate().map(shown).collect(), cx, input)
}

/// DescribeAvailabilityZones.
pub(super) fn zones(account: &Account, _cx: &Cx, input: &Value) -> Answer {
    let (names, ids) = (texts(input, "ZoneName"), texts(input, "ZoneId"));
    let region = &account.region;
    let named = |name: String| Zone { id: zone_id(&name), name, region: region.clone() };
    let all: Vec<Zone> = regions::zone_letters(region).map(|letter| named(format!("{region}{letter}"))).collect();
    if let Some(name) = names.iter().find(|name| !all.iter().any(|zone| zone.name == **name)) {
        return Err(super::invalid(format!("Invalid availability zone: [{name}]")));
    }
    if let Some(id) = ids.iter().find(|id| !all.iter().any(|zone| zone.id == **id)) {
        return Err(super::invalid(format!("Invalid availability zone-id: [{id}]")));
    }
    let mut found = filtered(
        input,
        all,
        no_tags,
        &[
            ("zone-name", |zone| vec![zone.name.clone()]),
            ("zone-id", |zone| vec![zone.id.clone()]),
            ("region-name", |zone| vec![zone.region.clone()]),
            ("state", |_| vec!["available".to_owned()]),
            ("zone-type", |_| vec!["availability-zone".to_owned()]),
            ("opt-in-status", |_| vec!["opt-in-not-required".to_owned()]),
        ],
    )?;
    found.retain(|zone| names.is_empty() && ids.is_empty() || names.contains(&zone.name) || ids.contains(&zone.id));
    let shown = |zone: Zone| {
        json!({
            "zoneName": zone.name, "zoneId": zone.id, "zoneState": "available", "regionName": zone.region,
            "optInStatus": "opt-in-not-required", "zoneType": "availability-zone", "groupName": zone.region,
            "networkBorderGroup": zone.region, "messageSet": [],
        })
    };
    Ok(json!({"availabilityZoneInfo": found.into_iter().map(shown).collect::<Vec<_>>()}))
}
