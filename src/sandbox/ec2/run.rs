//! RunInstances: everything that EC2 checks before it launches, and its idempotency, which is of the zone that is asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::instances::{self, Instance, Life, Metadata};
use super::network::{self, Subnet};
use super::types::{self, InstanceType};
use super::volumes::{self, Disk, Volume};
use super::{Tags, groups, invalid, key_pairs, required, show, tag_types, tags, tags_for};
use crate::account::Account;
use crate::images::Image;
use crate::input::{digits, fingerprint, flag, list, number, text, texts};
use crate::service::{Answer, ApiError, Cx};
use crate::{lookups, members};

/// A client token, and what was asked and made under it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    token: String,
    /// The zone that was asked for; none where the token is of the region.
    zone: Option<String>,
    request: String,
    reservation: String,
    instances: Vec<String>,
    /// When its last instance was terminated, or the launch was refused for capacity: it is kept for a day more.
    pub(super) over: Option<Timestamp>,
}

impl Token {
    /// Whether it made this instance.
    pub(super) fn made(&self, instance: &str) -> bool {
        self.instances.iter().any(|id| id == instance)
    }
}

struct Launch {
    image: &'static Image,
    instance_type: InstanceType,
    subnet: Subnet,
    groups: Vec<String>,
    key_name: Option<String>,
    profile: Option<(String, String)>,
    disks: Vec<Disk>,
    metadata: Metadata,
    user_data: Option<String>,
    public: bool,
    tags: Tags,
    volume_tags: Tags,
    interface_tags: Tags,
    count: i64,
}

fn chosen_subnet(account: &Account, input: &Value) -> Result<Subnet, ApiError> {
    if list(input, "NetworkInterface").len() > 1 {
        return Err(members::refusal("ec2", "RunInstances", "a second NetworkInterface"));
    }
    let interface = list(input, "NetworkInterface").first();
    if let Some(interface) = interface
        && (text(input, "SubnetId").is_some() || !texts(input, "SecurityGroupId").is_empty())
    {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            format!(
                "Network interfaces and an instance-level subnet ID or security groups may not be specified on the \
                 same request (device {})",
                text(interface, "DeviceIndex").unwrap_or("0")
            ),
        ));
    }
    let zone = input.get("Placement").and_then(|placement| text(placement, "AvailabilityZone"));
    let subnet = match text(input, "SubnetId").or(interface.and_then(|one| text(one, "SubnetId"))) {
        Some(id) => network::subnet(account, id)?,
        None => network::all_subnets(account)
            .into_iter()
            .filter(|subnet| subnet.default)
            .find(|subnet| zone.is_none_or(|zone| subnet.zone == zone))
            .ok_or_else(|| invalid(format!("Invalid availability zone: [{}]", zone.unwrap_or_default())))?,
    };
    if let Some(zone) = zone.filter(|zone| **zone != *subnet.zone) {
        return Err(invalid(format!("The availability zone '{zone}' does not match the subnet '{}'", subnet.id)));
    }
    Ok(subnet)
}

/// Whether the request says in which zone it launches, by its name or by a subnet: its token is of that zone then, and of
/// the region otherwise.
fn zone_asked(input: &Value) -> bool {
    text(input, "SubnetId").is_some()
        || list(input, "NetworkInterface").iter().any(|one| text(one, "SubnetId").is_some())
        || input.get("Placement").is_some_and(|placement| text(placement, "AvailabilityZone").is_some())
}

fn chosen_profile(account: &Account, cx: &Cx, input: &Value) -> Result<Option<(String, String)>, ApiError> {
    let Some(wanted) = input.get("IamInstanceProfile") else { return Ok(None) };
    let (member, what, given) = match (text(wanted, "Arn"), text(wanted, "Name")) {
        (Some(arn), _) => ("arn", "ARN", arn),
        (None, Some(name)) => ("name", "name", name),
        (None, None) => return Ok(None),
    };
    let profile = lookups::instance_profile(account, given)
        .filter(|profile| {
            profile.created.checked_add(cx.options.settings.visibility).is_ok_and(|known| known <= cx.now)
        })
        .ok_or_else(|| {
            invalid(format!(
                "Value ({given}) for parameter iamInstanceProfile.{member} is invalid. Invalid IAM Instance Profile \
                 {what}"
            ))
        })?;
    if !profile.has_role {
        return Err(invalid(format!("IAM Instance Profile \"{}\" has no associated IAM Roles", profile.arn)));
    }
    Ok(Some((profile.arn, profile.id)))
}

fn check(account: &Account, cx: &Cx, input: &Value, subnet: Subnet) -> Result<Launch, ApiError> {
    let count = number(input, "MaxCount")
        .ok_or_else(|| ApiError::new("MissingParameter", "The request must contain the parameter MaxCount"))?;
    let least = number(input, "MinCount")
        .ok_or_else(|| ApiError::new("MissingParameter", "The request must contain the parameter MinCount"))?;
    if least < 1 || least > count || count > 20 {
        return Err(invalid(format!("Value ({least}..{count}) for parameters minCount and maxCount is invalid.")));
    }
    let image = types::image(&account.region, required(input, "ImageId")?)?;
    let type_name = text(input, "InstanceType").unwrap_or("t3.micro");
    let instance_type =
        types::by_name(type_name).ok_or_else(|| invalid(format!("Invalid value '{type_name}' for InstanceType.")))?;
    if instance_type.architecture != image.architecture {
        return Err(invalid(format!(
            "The architecture '{}' of the specified instance type does not match the architecture '{}' of the \
             specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
            instance_type.architecture, image.architecture
        )));
    }
    let key_name = text(input, "KeyName").map(str::to_owned);
    if let Some(name) = key_name.as_deref().filter(|name| !key_pairs::exists(account, name)) {
        return Err(key_pairs::not_found(name));
    }
    let mut group_ids = texts(input, "SecurityGroupId");
    if let Some(interface) = list(input, "NetworkInterface").first() {
        group_ids.extend(texts(interface, "SecurityGroupId"));
    }
    let groups = groups::resolve(account.ec2, &group_ids, &texts(input, "SecurityGroup"), &subnet.vpc)?;
    if let Some(id) = groups.iter().find(|id| account.ec2.group(id).is_ok_and(|group| group.vpc != subnet.vpc)) {
        return Err(ApiError::new(
            "InvalidParameter",
            format!("Security group {id} and subnet {} belong to different networks.", subnet.id),
        ));
    }
    let interface = list(input, "NetworkInterface").first();
    let public = interface.and_then(|one| flag(one, "AssociatePublicIpAddress")).unwrap_or(subnet.public);
    let user_data = text(input, "UserData").map(str::to_owned);
    if let Some(encoded) = &user_data {
        let decoded = STANDARD.decode(encoded).map_err(|_| invalid("Invalid BASE64 encoding of user data."))?;
        if decoded.len() > 16384 {
            return Err(invalid("User data is limited to 16384 bytes"));
        }
    }
    tag_types(input, &["instance", "volume", "network-interface"])?;
    let tags = tags_for(input, "instance")?;
    let metadata = Metadata::default().with(input.get("MetadataOptions").unwrap_or(&Value::Null))?;
    if metadata.instance_metadata_tags == "enabled" {
        tags::for_metadata(&tags)?;
    }
    instances::check_shutdown(text(input, "InstanceInitiatedShutdownBehavior").unwrap_or("stop"))?;
    let profile = chosen_profile(account, cx, input)?;
    let disks = volumes::disks(input, image)?;
    Ok(Launch {
        image,
        instance_type,
        subnet,
        groups,
        key_name,
        profile,
        disks,
        metadata,
        user_data,
        public,
        tags,
        volume_tags: tags_for(input, "volume")?,
        interface_tags: tags_for(input, "network-interface")?,
        count,
    })
}

/// EC2 answers so with 500, and remembers the token with what was asked for (ubicloud #5898).
fn no_capacity(launch: &Launch) -> ApiError {
    let (kind, zone) = (&launch.instance_type.name, &launch.subnet.zone);
    let message = format!(
        "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our system \
         will be working on provisioning additional capacity."
    );
    ApiError::new("InsufficientInstanceCapacity", message).status(500)
}

fn repeated(account: &Account, token: &str, zone: Option<&str>, request: &str) -> Option<Answer> {
    let state = &account.ec2;
    let known = state.tokens.iter().find(|known| {
        let apart = zone.zip(known.zone.as_deref()).is_some_and(|(zone, other)| zone != other);
        known.token == token && !apart
    })?;
    if known.request != request {
        return Some(Err(ApiError::new(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        )));
    }
    // A launch that was refused for capacity is looked at anew where it says the same again.
    if known.instances.is_empty() {
        return None;
    }
    let alive: Vec<&Instance> =
        state.instances.iter().filter(|instance| known.made(&instance.id) && !instance.gone()).collect();
    if alive.is_empty() {
        return Some(Err(ApiError::new(
            "IdempotentInstanceTerminated",
            "The instance that was launched with the specified client token has been terminated.",
        )));
    }
    let shown: Vec<Value> = alive.iter().map(|instance| show::shown(account, instance)).collect();
    Some(Ok(json!({
        "reservationId": known.reservation, "ownerId": account.id, "groupSet": [], "instancesSet": shown,
    })))
}

/// RunInstances.
pub(super) fn run(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let token = text(input, "ClientToken").filter(|token| !token.is_empty());
    if token.is_some_and(|token| token.len() > 64) {
        return Err(invalid("Value for parameter clientToken is invalid. Length exceeds maximum of 64"));
    }
    let subnet = chosen_subnet(account, input)?;
    let request = fingerprint(input, &["ClientToken", "DryRun"]);
    let zone = zone_asked(input).then(|| subnet.zone.clone());
    if let Some(answer) = token.and_then(|token| repeated(account, token, zone.as_deref(), &request)) {
        return answer;
    }
    let launch = check(account, cx, input, subnet)?;
    let known = |known: &Token| Some(known.token.as_str()) == token && known.zone == zone;
    account.ec2.tokens.retain(|token| !known(token));
    let state = &mut account.ec2;
    if cx.options.settings.no_capacity.contains(&launch.instance_type.name) {
        state.tokens.extend(token.map(|token| Token {
            token: token.to_owned(),
            zone,
            request,
            reservation: String::new(),
            instances: Vec::new(),
            over: Some(cx.now),
        }));
        return Err(no_capacity(&launch));
    }
    let reservation = state.id("r", cx.now);
    let mut made = Vec::new();
    for index in 0..launch.count {
        let id = state.id("i", cx.now);
        let host = state.made % 4000 + 4;
        let private_ip = format!("172.31.{}.{}", launch.subnet.third_byte + host / 256, host % 256);
        let interface = state.id("eni", cx.now);
        let mac = digits("mac", state.made, cx.now, 10);
        for disk in &launch.disks {
            let volume = state.id("vol", cx.now);
            state.volumes.push(Volume {
                id: volume,
                disk: disk.clone(),
                zone: launch.subnet.zone.clone(),
                created: cx.now,
                instance: Some(id.clone()),
                tags: launch.volume_tags.clone(),
            });
        }
        state.instances.push(Instance {
            reservation: reservation.clone(),
            index,
            client_token: token.unwrap_or_default().to_owned(),
            image: launch.image.id.clone(),
            architecture: launch.image.architecture.to_owned(),
            instance_type: launch.instance_type.name.clone(),
            vcpus: launch.instance_type.vcpus,
            memory_mib: launch.instance_type.memory_mib,
            subnet: launch.subnet.id.clone(),
            vpc: launch.subnet.vpc.clone(),
            zone: launch.subnet.zone.clone(),
            groups: launch.groups.clone(),
            key_name: launch.key_name.clone(),
            profile: launch.profile.clone(),
            metadata: launch.metadata.clone(),
            user_data: launch.user_data.clone(),
            shutdown: text(input, "InstanceInitiatedShutdownBehavior").unwrap_or("stop").to_owned(),
            protected: flag(input, "DisableApiTermination").unwrap_or(false),
            private_ip,
            public_ip: launch.public.then(|| format!("203.0.113.{}", host % 250 + 1)),
            deadline_seen: false,
            mac: format!("02:{}:{}:{}:{}:{}", &mac[..2], &mac[2..4], &mac[4..6], &mac[6..8], &mac[8..]),
            interface,
            interface_tags: launch.interface_tags.clone(),
            ebs_optimized: flag(input, "EbsOptimized").unwrap_or(false),
            tags: launch.tags.clone(),
            launched: cx.now,
            life: Life::Pending,
            since: cx.now,
            running_since: None,
            down_since: None,
            reason: None,
            id: id.clone(),
        });
        made.push(id);
    }
    if let Some(token) = token {
        state.tokens.push(Token {
            token: token.to_owned(),
            zone,
            request,
            reservation: reservation.clone(),
            instances: made.clone(),
            over: None,
        });
    }
    let shown: Vec<Value> = account
        .ec2
        .instances
        .iter()
        .filter(|instance| made.contains(&instance.id))
        .map(|instance| show::shown(account, instance))
        .collect();
    Ok(json!({"reservationId": reservation, "ownerId": account.id, "groupSet": [], "instancesSet": shown}))
}
