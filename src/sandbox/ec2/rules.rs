//! Rules of security groups: one row each, read from and shown as EC2's nested permissions.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::groups::{self, check_letters};
use super::network::default_vpc;
use super::{Tags, filtered, invalid, page_size, paged, required, tag_set, tag_types, tags_for, well_formed};
use crate::account::Account;
use crate::ec2::State;
use crate::input::{list, number, text, texts};
use crate::service::{Answer, ApiError, Cx};
use crate::table::Rows;

/// Where traffic comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// IPv4 addresses.
    Cidr4(String),
    /// IPv6 addresses.
    Cidr6(String),
    /// Members of a security group.
    Group(String),
    /// A prefix list.
    PrefixList(String),
}

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` for all, or a number.
    pub(super) protocol: String,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) target: Target,
    pub(super) description: Option<String>,
    pub(super) tags: Tags,
}

impl Rule {
    /// Whether both let the same traffic through; a description changes nothing.
    fn same(&self, other: &Self) -> bool {
        (&self.group, self.egress, &self.protocol, self.from, self.to, &self.target)
            == (&other.group, other.egress, &other.protocol, other.from, other.to, &other.target)
    }

    fn peer(&self) -> &str {
        match &self.target {
            Target::Cidr4(peer) | Target::Cidr6(peer) | Target::Group(peer) | Target::PrefixList(peer) => peer,
        }
    }
}

pub(super) fn protocols(rules: &[&Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.protocol.clone()).collect()
}

pub(super) fn from_ports(rules: &[&Rule]) -> Vec<String> {
    rules.iter().filter_map(|rule| rule.from).map(|port| port.to_string()).collect()
}

pub(super) fn to_ports(rules: &[&Rule]) -> Vec<String> {
    rules.iter().filter_map(|rule| rule.to).map(|port| port.to_string()).collect()
}

pub(super) fn cidrs(rules: &[&Rule]) -> Vec<String> {
    peers(rules, |target| matches!(target, Target::Cidr4(_)))
}

pub(super) fn ipv6_cidrs(rules: &[&Rule]) -> Vec<String> {
    peers(rules, |target| matches!(target, Target::Cidr6(_)))
}

pub(super) fn peer_groups(rules: &[&Rule]) -> Vec<String> {
    peers(rules, |target| matches!(target, Target::Group(_)))
}

fn peers(rules: &[&Rule], of: fn(&Target) -> bool) -> Vec<String> {
    rules.iter().filter(|rule| of(&rule.target)).map(|rule| rule.peer().to_owned()).collect()
}

fn cidr4(written: &str) -> Result<Target, ApiError> {
    let net: Ipv4Net = written.parse().map_err(|_| invalid(format!("CIDR block {written} is malformed")))?;
    Ok(Target::Cidr4(net.trunc().to_string()))
}

fn cidr6(written: &str) -> Result<Target, ApiError> {
    let net: Ipv6Net = written.parse().map_err(|_| invalid(format!("CIDR block {written} is malformed")))?;
    Ok(Target::Cidr6(net.trunc().to_string()))
}

fn group_target(state: &State, pair: &Value) -> Result<Target, ApiError> {
    state.group_of(pair).map(|group| Target::Group(group.id.clone()))
}

/// A rule's peers are of this account: the sandbox has no other.
fn own_peers(owner: &str, input: &Value) -> Result<(), ApiError> {
    let others = list(input, "IpPermissions").iter().flat_map(|permission| list(permission, "Groups"));
    match others.filter_map(|pair| text(pair, "UserId")).find(|user| *user != owner) {
        None => Ok(()),
        Some(user) => {
            Err(ApiError::new("InvalidGroup.NotFound", format!("The sandbox has no groups of the account {user}")))
        }
    }
}

/// The most inbound rules, and the most outbound ones, of a group; those for IPv4 and for IPv6 count apart
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html>).
const MOST_RULES: usize = 60;

fn few(have: &Rows<Rule>, new: &[Rule]) -> Result<(), ApiError> {
    let Some(first) = new.first() else { return Ok(()) };
    for six in [false, true] {
        let counts = |rule: &&Rule| match rule.target {
            Target::Cidr4(_) => !six,
            Target::Cidr6(_) => six,
            Target::Group(_) | Target::PrefixList(_) => true,
        };
        let held = have.iter().filter(|rule| rule.group == first.group && rule.egress == first.egress);
        if new.iter().any(|rule| counts(&rule)) && held.chain(new).filter(counts).count() > MOST_RULES {
            return Err(ApiError::new(
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ));
        }
    }
    Ok(())
}

type Traffic = (String, Option<i64>, Option<i64>);

fn traffic(permission: &Value) -> Result<Traffic, ApiError> {
    let protocol = match required(permission, "IpProtocol")?.to_ascii_lowercase().as_str() {
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        "all" => "-1".to_owned(),
        other => other.to_owned(),
    };
    let (from, to) = (number(permission, "FromPort"), number(permission, "ToPort"));
    match protocol.as_str() {
        "tcp" | "udp" => {
            let (Some(first), Some(last)) = (from, to) else {
                return Err(invalid(
                    "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                ));
            };
            if !(0..=65535).contains(&first) || !(0..=65535).contains(&last) || first > last {
                return Err(invalid(format!("Invalid TCP/UDP port range ({first}:{last})")));
            }
            Ok((protocol, from, to))
        }
        "icmp" | "icmpv6" => Ok((protocol, Some(from.unwrap_or(-1)), Some(to.unwrap_or(-1)))),
        "-1" => Ok((protocol, None, None)),
        other if other.parse::<u8>().is_ok() => Ok((protocol, None, None)),
        other => Err(invalid(format!("Invalid value '{other}' for IP protocol. Unknown protocol."))),
    }
}

fn description(input: &Value) -> Result<Option<String>, ApiError> {
    match text(input, "Description").filter(|description| !description.is_empty()) {
        None => Ok(None),
        Some(description) => {
            check_letters("rule description", description)?;
            Ok(Some(description.to_owned()))
        }
    }
}

/// The rules that a request's permissions stand for, without ids.
fn read(state: &State, input: &Value, group: &str, egress: bool) -> Result<Vec<Rule>, ApiError> {
    let flat = [input.clone()];
    let permissions = match list(input, "IpPermissions") {
        [] if text(input, "IpProtocol").is_some() => &flat[..],
        given => given,
    };
    let mut rules = Vec::new();
    for permission in permissions {
        let (protocol, from, to) = traffic(permission)?;
        let mut targets = Vec::new();
        for range in list(permission, "IpRanges") {
            targets.push((cidr4(required(range, "CidrIp")?)?, description(range)?));
        }
        for range in list(permission, "Ipv6Ranges") {
            targets.push((cidr6(required(range, "CidrIpv6")?)?, description(range)?));
        }
        for pair in list(permission, "Groups") {
            targets.push((group_target(state, pair)?, description(pair)?));
        }
        for prefix in list(permission, "PrefixListIds") {
            targets.push((Target::PrefixList(required(prefix, "PrefixListId")?.to_owned()), description(prefix)?));
        }
        if let Some(cidr) = text(permission, "CidrIp") {
            targets.push((cidr4(cidr)?, None));
        }
        if targets.is_empty() {
            return Err(ApiError::new(
                "MissingParameter",
                "Missing source specification: include source security group or CIDR information",
            ));
        }
        rules.extend(targets.into_iter().map(|(target, description)| Rule {
            id: String::new(),
            group: group.to_owned(),
            egress,
            protocol: protocol.clone(),
            from,
            to,
            target,
            description,
            tags: Tags::new(),
        }));
    }
    Ok(rules)
}

/// Rules as `ipPermissions`: one entry for each protocol and ports.
pub(super) fn permissions(owner: &str, rules: &[&Rule]) -> Value {
    let mut traffic: Vec<(&str, Option<i64>, Option<i64>)> = Vec::new();
    for rule in rules {
        let one = (rule.protocol.as_str(), rule.from, rule.to);
        if !traffic.contains(&one) {
            traffic.push(one);
        }
    }
    let entry = |(protocol, from, to): (&str, Option<i64>, Option<i64>)| {
        let mut entry = json!({
            "ipProtocol": protocol, "groups": [], "ipRanges": [], "ipv6Ranges": [], "prefixListIds": [],
        });
        if let (Some(from), Some(to)) = (from, to) {
            entry["fromPort"] = json!(from);
            entry["toPort"] = json!(to);
        }
        for rule in rules.iter().filter(|rule| (rule.protocol.as_str(), rule.from, rule.to) == (protocol, from, to)) {
            let (set, mut item) = match &rule.target {
                Target::Cidr4(cidr) => ("ipRanges", json!({"cidrIp": cidr})),
                Target::Cidr6(cidr) => ("ipv6Ranges", json!({"cidrIpv6": cidr})),
                Target::Group(group) => ("groups", json!({"userId": owner, "groupId": group})),
                Target::PrefixList(prefix) => ("prefixListIds", json!({"prefixListId": prefix})),
            };
            if let Some(description) = &rule.description {
                item["description"] = json!(description);
            }
            if let Some(items) = entry[set].as_array_mut() {
                items.push(item);
            }
        }
        entry
    };
    traffic.into_iter().map(entry).collect()
}

fn shown(account: &Account, rule: &Rule) -> Value {
    let mut one = json!({
        "securityGroupRuleId": rule.id, "groupId": rule.group, "groupOwnerId": account.id, "isEgress": rule.egress,
        "ipProtocol": rule.protocol, "fromPort": rule.from.unwrap_or(-1), "toPort": rule.to.unwrap_or(-1),
        "tagSet": tag_set(&rule.tags),
        "securityGroupRuleArn":
            format!("arn:aws:ec2:{}:{}:security-group-rule/{}", account.region, account.id, rule.id),
    });
    match &rule.target {
        Target::Cidr4(cidr) => one["cidrIpv4"] = json!(cidr),
        Target::Cidr6(cidr) => one["cidrIpv6"] = json!(cidr),
        Target::PrefixList(prefix) => one["prefixListId"] = json!(prefix),
        Target::Group(group) => {
            one["referencedGroupInfo"] =
                json!({"groupId": group, "userId": account.id, "vpcId": default_vpc(&account.region)});
        }
    }
    if let Some(description) = &rule.description {
        one["description"] = json!(description);
    }
    one
}

fn duplicate(rule: &Rule) -> ApiError {
    ApiError::new(
        "InvalidPermission.Duplicate",
        format!(
            "the specified rule \"peer: {}, {}, from port: {}, to port: {}, ALLOW\" already exists",
            rule.peer(),
            rule.protocol.to_uppercase(),
            rule.from.unwrap_or(-1),
            rule.to.unwrap_or(-1),
        ),
    )
}

/// AuthorizeSecurityGroupIngress and …Egress: all of the rules or none.
pub(super) fn authorize(account: &mut Account, cx: &Cx, input: &Value, egress: bool) -> Answer {
    let group = account.ec2.group_of(input)?.id.clone();
    own_peers(&account.id, input)?;
    tag_types(input, &["security-group-rule"])?;
    let tags = tags_for(input, "security-group-rule")?;
    let new = read(account.ec2, input, &group, egress)?;
    if new.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter ipPermissions"));
    }
    for (place, rule) in new.iter().enumerate() {
        if account.ec2.rules.iter().chain(&new[..place]).any(|have| have.same(rule)) {
            return Err(duplicate(rule));
        }
    }
    few(&account.ec2.rules, &new)?;
    let mut made = Vec::new();
    for mut rule in new {
        rule.id = account.ec2.id("sgr", cx.now);
        rule.tags.clone_from(&tags);
        made.push(shown(account, &rule));
        account.ec2.rules.push(rule);
    }
    Ok(json!({"return": true, "securityGroupRuleSet": made}))
}

fn no_such_rule(id: &str) -> ApiError {
    if well_formed(id, "sgr") {
        ApiError::new(
            "InvalidSecurityGroupRuleId.NotFound",
            format!("The security group rule ID '{id}' does not exist"),
        )
    } else {
        ApiError::new("InvalidSecurityGroupRuleId.Malformed", format!("Invalid id: \"{id}\" (expecting \"sgr-...\")"))
    }
}

/// RevokeSecurityGroupIngress and …Egress: by rule ids or by permissions. As the VPC is the default one, permissions that
/// match no rule are told, and are no error.
pub(super) fn revoke(account: &mut Account, input: &Value, egress: bool) -> Answer {
    let group = account.ec2.group_of(input)?.id.clone();
    own_peers(&account.id, input)?;
    let state = &account.ec2;
    let mut doomed = Vec::new();
    for id in texts(input, "SecurityGroupRuleId") {
        let rule = state.rules.iter().find(|rule| rule.id == id && rule.group == group && rule.egress == egress);
        doomed.push(rule.ok_or_else(|| no_such_rule(&id))?.id.clone());
    }
    let mut unknown = Vec::new();
    for wanted in read(state, input, &group, egress)? {
        match state.rules.iter().find(|rule| rule.same(&wanted)) {
            Some(rule) => doomed.push(rule.id.clone()),
            None => unknown.push(wanted),
        }
    }
    if doomed.is_empty() && unknown.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter ipPermissions"));
    }
    let revoked: Vec<Value> = state
        .rules
        .iter()
        .filter(|rule| doomed.contains(&rule.id))
        .map(|rule| {
            let mut one = shown(account, rule);
            if let Target::Group(group) = &rule.target {
                one["referencedGroupId"] = json!(group);
            }
            for name in ["groupOwnerId", "tagSet", "securityGroupRuleArn", "referencedGroupInfo"] {
                one.as_object_mut().map(|members| members.remove(name));
            }
            one
        })
        .collect();
    account.ec2.rules.retain(|rule| !doomed.contains(&rule.id));
    let mut answer = json!({"return": true, "revokedSecurityGroupRuleSet": revoked});
    if !unknown.is_empty() {
        answer["unknownIpPermissionSet"] = permissions(&account.id, &unknown.iter().collect::<Vec<_>>());
    }
    Ok(answer)
}

/// UpdateSecurityGroupRuleDescriptionsIngress and …Egress.
pub(super) fn update_descriptions(account: &mut Account, input: &Value, egress: bool) -> Answer {
    let group = account.ec2.group_of(input)?.id.clone();
    own_peers(&account.id, input)?;
    let state = &mut account.ec2;
    let mut changes = Vec::new();
    for one in list(input, "SecurityGroupRuleDescription") {
        let id = required(one, "SecurityGroupRuleId")?;
        let place = state.rules.iter().position(|rule| rule.id == id && rule.group == group && rule.egress == egress);
        changes.push((place.ok_or_else(|| no_such_rule(id))?, description(one)?));
    }
    for wanted in read(state, input, &group, egress)? {
        let place = state.rules.iter().position(|rule| rule.same(&wanted)).ok_or_else(|| {
            ApiError::new("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        })?;
        changes.push((place, wanted.description));
    }
    if changes.is_empty() {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter ipPermissions"));
    }
    for (place, description) in changes {
        state.rules[place].description = description;
    }
    Ok(json!({"return": true}))
}

/// ModifySecurityGroupRules: each rule is replaced whole under its id.
pub(super) fn modify(account: &mut Account, input: &Value) -> Answer {
    let group = account.ec2.group_of(input)?.id.clone();
    let mut rules = account.ec2.rules.clone();
    for update in list(input, "SecurityGroupRule") {
        let id = required(update, "SecurityGroupRuleId")?;
        let wanted = update.get("SecurityGroupRule").unwrap_or(&Value::Null);
        // Here, and nowhere else, EC2 calls a protocol that is not given a wrong one (moto's test of it, seen on AWS).
        if text(wanted, "IpProtocol").is_none() {
            return Err(invalid("Invalid value for IP protocol. Unknown protocol."));
        }
        let (protocol, from, to) = traffic(wanted)?;
        let target = match (
            text(wanted, "CidrIpv4"),
            text(wanted, "CidrIpv6"),
            text(wanted, "ReferencedGroupId"),
            text(wanted, "PrefixListId"),
        ) {
            (Some(cidr), None, None, None) => cidr4(cidr)?,
            (None, Some(cidr), None, None) => cidr6(cidr)?,
            (None, None, Some(other), None) => Target::Group(account.ec2.group(other)?.id.clone()),
            (None, None, None, Some(prefix)) => Target::PrefixList(prefix.to_owned()),
            _ => return Err(invalid("A rule must have exactly one of a CIDR block, a group and a prefix list")),
        };
        let place =
            rules.iter().position(|rule| rule.id == id && rule.group == group).ok_or_else(|| no_such_rule(id))?;
        let new = Rule { protocol, from, to, target, description: description(wanted)?, ..rules[place].clone() };
        if rules.iter().any(|rule| rule.id != id && rule.same(&new)) {
            return Err(duplicate(&new));
        }
        rules[place] = new;
    }
    account.ec2.rules = rules;
    Ok(json!({"return": true}))
}

/// DescribeSecurityGroupRules.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let ids = texts(input, "SecurityGroupRuleId");
    let all = &account.ec2.rules;
    if let Some(id) = ids.iter().find(|id| !all.iter().any(|rule| rule.id == **id)) {
        return Err(no_such_rule(id));
    }
    let by_group = list(input, "Filter").iter().filter(|filter| text(filter, "Name") == Some("group-id"));
    if let Some(id) = by_group.flat_map(|filter| texts(filter, "Value")).find(|id| !id.starts_with("sg-")) {
        return Err(groups::malformed(&id));
    }
    let mut found = filtered(
        input,
        all.iter(),
        |rule| &rule.tags,
        &[("group-id", |rule| vec![rule.group.clone()]), ("security-group-rule-id", |rule| vec![rule.id.clone()])],
    )?;
    found.retain(|rule| ids.is_empty() || ids.contains(&rule.id));
    let found = found.into_iter().map(|rule| shown(account, rule)).collect();
    paged("securityGroupRuleSet", found, cx, input)
}
