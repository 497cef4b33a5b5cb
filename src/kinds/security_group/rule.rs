//! The rules of a security group: as written, in normal form, and as EC2 spells them.
//!
//! EC2 groups rules into permissions with several peers; here each rule is one.

use std::collections::BTreeSet;

use aws_sdk_ec2::types as ec2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Link;
use crate::aws::AwsError;
use crate::kind::{Context, SpecFault};
use crate::kinds::is_match;
use crate::kinds::key_pair::settled;
use crate::stack::reference::{Ref, SecurityGroup as Group};
use crate::stack::values::{Cidr, Int, PLACEHOLDER};

/// One rule: a protocol, ports, and the other side by `cidr` or `security_group`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Which protocol; `all` is every protocol and port.
    pub protocol: Protocol,
    /// The port, or the first of a range up to `to_port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Int<0, 65535>>,
    /// The last port of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<Int<0, 65535>>,
    /// The other side by its addresses: `203.0.113.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// The other side by its security group: the name of a `[security_group.…]`, or `sg-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_group: Option<Ref<Group>>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The protocols as a person writes them; `-1` is EC2's own word for all of them.
const PROTOCOLS: &[&str] = &["tcp", "udp", "icmp", "icmpv6", "all", "-1"];

/// Which protocol; `all` is every protocol and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("enum" = PROTOCOLS))]
#[expect(missing_docs, reason = "the protocols' own names")]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    #[serde(alias = "-1")]
    All,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// EC2's name or number of the protocol; `-1` is all of them.
    pub protocol: String,
    /// The first port (ICMP: the type); -1 is all of them.
    pub from_port: i32,
    /// The last port (ICMP: the code); -1 is all of them.
    pub to_port: i32,
    /// The other side.
    pub peer: Peer,
    /// For people.
    pub description: String,
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// An address range.
    Cidr(String),
    /// The members of a security group.
    Group(Link),
    /// A prefix list, which a stack file cannot ask for.
    PrefixList(String),
}

impl Rule {
    /// To or from everywhere.
    pub(super) fn everywhere(cidr: &str) -> Self {
        Self {
            protocol: "-1".to_owned(),
            from_port: -1,
            to_port: -1,
            peer: Peer::Cidr(cidr.to_owned()),
            description: String::new(),
        }
    }

    /// The rule with what was written of it, `way` being `from` or `to`: `tcp 22 from 203.0.113.0/24 (SSH access)`.
    pub(super) fn told(&self, way: &str) -> String {
        let about = if self.description.is_empty() { String::new() } else { format!(" ({})", self.description) };
        format!("{} {way} {}{about}", self.ports(), self.other_side())
    }

    fn ports(&self) -> String {
        let protocol = if self.protocol == "-1" { "all" } else { &self.protocol };
        match (self.from_port, self.to_port) {
            (-1, _) => protocol.to_owned(),
            (from, to) if from == to => format!("{protocol} {from}"),
            (from, to) => format!("{protocol} {from}-{to}"),
        }
    }

    fn other_side(&self) -> String {
        match &self.peer {
            Peer::Cidr(text) | Peer::PrefixList(text) => text.clone(),
            Peer::Group(link) => link.to_string(),
        }
    }

    /// What makes it this rule: all but its description.
    fn identity(&self) -> (&str, i32, i32, &Peer) {
        (&self.protocol, self.from_port, self.to_port, &self.peer)
    }

    /// The rule that a spec asks for.
    pub(super) fn lower(spec: &RuleSpec, cx: &Context<'_>) -> Self {
        let port = |port: Int<0, 65535>| i32::try_from(port.0).unwrap_or(-1);
        let from_port = spec.port.map_or(-1, port);
        let (protocol, from_port, to_port) = match spec.protocol {
            Protocol::Tcp => ("tcp", from_port, spec.to_port.map_or(from_port, port)),
            Protocol::Udp => ("udp", from_port, spec.to_port.map_or(from_port, port)),
            Protocol::Icmp => ("icmp", -1, -1),
            Protocol::Icmpv6 => ("icmpv6", -1, -1),
            Protocol::All => ("-1", -1, -1),
        };
        let peer = match (&spec.cidr, &spec.security_group) {
            (_, Some(group)) => Peer::Group(group.link(cx, "id")),
            (Some(cidr), None) => Peer::Cidr(cidr.0.to_string()),
            (None, None) => Peer::Cidr("0.0.0.0/0".to_owned()),
        };
        Self { protocol: protocol.to_owned(), from_port, to_port, peer, description: spec.description.clone() }
    }

    /// As EC2 groups them: one permission, several peers.
    pub(super) fn of(permission: &ec2::IpPermission) -> impl Iterator<Item = Self> {
        let protocol = match permission.ip_protocol().unwrap_or("-1") {
            "6" => "tcp",
            "17" => "udp",
            "1" => "icmp",
            "58" => "icmpv6",
            other => other,
        };
        let all = protocol == "-1";
        let port = |port: Option<i32>| if all { -1 } else { port.unwrap_or(-1) };
        let (from_port, to_port) = (port(permission.from_port()), port(permission.to_port()));
        let cidr = |text: Option<&str>| {
            let text = text.unwrap_or_default();
            Peer::Cidr(text.parse::<ipnet::IpNet>().map_or_else(|_| text.to_owned(), |net| net.to_string()))
        };
        let v4 = permission.ip_ranges().iter().map(|range| (cidr(range.cidr_ip()), range.description()));
        let v6 = permission.ipv6_ranges().iter().map(|range| (cidr(range.cidr_ipv6()), range.description()));
        let groups = permission.user_id_group_pairs().iter().map(|pair| {
            (Peer::Group(Link::theirs("security_group", pair.group_id().unwrap_or_default())), pair.description())
        });
        let lists = permission
            .prefix_list_ids()
            .iter()
            .map(|list| (Peer::PrefixList(list.prefix_list_id().unwrap_or_default().to_owned()), list.description()));
        let peers: Vec<_> = v4.chain(v6).chain(groups).chain(lists).collect();
        let rules: Vec<_> = peers
            .into_iter()
            .map(|(peer, description)| Self {
                protocol: protocol.to_owned(),
                from_port,
                to_port,
                peer,
                description: description.unwrap_or_default().to_owned(),
            })
            .collect();
        rules.into_iter()
    }

    /// The rule as EC2 takes it.
    pub(super) fn permission(&self, operation: &'static str) -> Result<ec2::IpPermission, AwsError> {
        let described = (!self.description.is_empty()).then(|| self.description.clone());
        let permission = ec2::IpPermission::builder().ip_protocol(&self.protocol);
        let permission = match self.protocol.as_str() {
            "-1" => permission,
            _ => permission.from_port(self.from_port).to_port(self.to_port),
        };
        let permission = match &self.peer {
            Peer::Cidr(cidr) if cidr.contains(':') => {
                permission.ipv6_ranges(ec2::Ipv6Range::builder().cidr_ipv6(cidr).set_description(described).build())
            }
            Peer::Cidr(cidr) => {
                permission.ip_ranges(ec2::IpRange::builder().cidr_ip(cidr).set_description(described).build())
            }
            Peer::Group(group) => {
                let id = settled(operation, "the other security group", group)?;
                let pair = ec2::UserIdGroupPair::builder().group_id(id).set_description(described).build();
                permission.user_id_group_pairs(pair)
            }
            Peer::PrefixList(id) => permission
                .prefix_list_ids(ec2::PrefixListId::builder().prefix_list_id(id).set_description(described).build()),
        };
        Ok(permission.build())
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.ports(), self.other_side())
    }
}

pub(super) fn check(key: &str, rule: &RuleSpec) -> Vec<SpecFault> {
    let fault = |message: &str, hint: &str| SpecFault::new(key, message, hint);
    let ports = matches!(rule.protocol, Protocol::Tcp | Protocol::Udp);
    let mut faults = Vec::new();
    match (rule.port, rule.to_port) {
        (None, _) if ports => {
            faults.push(fault("a tcp or udp rule needs a `port`", "all of them: `port = 0, to_port = 65535`"));
        }
        (Some(_), _) | (_, Some(_)) if !ports => {
            faults.push(fault("only tcp and udp rules have ports", "leave `port` and `to_port` out"));
        }
        (Some(from), Some(to)) if to.0 < from.0 => {
            faults.push(fault("`to_port` comes before `port`", "the range goes upwards"));
        }
        _ => {}
    }
    if rule.cidr.is_some() == rule.security_group.is_some() {
        let hint = "`cidr = \"203.0.113.0/24\"` or `security_group = \"name\"`";
        faults.push(fault("a rule has either a `cidr` or a `security_group`", hint));
    }
    faults
}

/// What EC2 takes as a group's name, and as a description of a group or of a rule (EC2 API, CreateSecurityGroup).
pub(super) const TEXT: &str = r"^[A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}$";
/// That in words.
pub(super) const TEXT_TOLD: &str = "1 to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*";

pub(super) fn check_text(key: &str, text: &str) -> Option<SpecFault> {
    let sound = text == PLACEHOLDER || is_match(TEXT, text);
    (!sound).then(|| SpecFault::new(key, format!("EC2 takes no such description: `{text}`"), TEXT_TOLD))
}

/// EC2 knows a rule by all but its description, and keeps one of each (`InvalidPermission.Duplicate`).
pub(super) fn check_twice(key: &str, rule: &RuleSpec, before: &[RuleSpec]) -> Option<SpecFault> {
    let plain =
        |rule: &RuleSpec| RuleSpec { description: String::new(), to_port: rule.to_port.or(rule.port), ..rule.clone() };
    let same = |other: &RuleSpec| plain(other) == plain(rule);
    let hint = "a description alone makes no other rule: keep one of them";
    before.iter().any(same).then(|| SpecFault::new(key, "this rule is there twice", hint))
}

/// What leads from one set of rules to another.
pub(super) enum Change {
    /// It is not there.
    Add(Rule),
    /// It is there and not wanted.
    Drop(Rule),
    /// It is there under another description.
    Describe(Rule),
}

pub(super) fn changes(live: &BTreeSet<Rule>, want: &BTreeSet<Rule>) -> Vec<Change> {
    let same = |rules: &BTreeSet<Rule>, rule: &Rule| {
        rules.iter().find(|other| other.identity() == rule.identity()).map(|other| other.description.clone())
    };
    let added = want.iter().filter_map(|rule| match same(live, rule) {
        None => Some(Change::Add(rule.clone())),
        Some(description) if description != rule.description => Some(Change::Describe(rule.clone())),
        Some(_) => None,
    });
    let dropped = live.iter().filter(|rule| same(want, rule).is_none()).map(|rule| Change::Drop(rule.clone()));
    added.chain(dropped).collect()
}
