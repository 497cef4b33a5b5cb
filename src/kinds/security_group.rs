//! `[security_group.…]`: a security group and its rules, the default egress rule included.
//!
//! A replacement is made first, so the physical name ends in a hash of what is fixed, unless `name` gives another: a
//! name of one's own is used as it is, and such a group must be renamed to be replaced. Rules are a set, each added and
//! revoked by a call of its own, so that one of them that is there already hides nothing about the others.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as ec2;
use futures_util::future::try_join3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::check_name;
use super::key_pair::settled;
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{again, none, taken_away};
use crate::aws::facts::default_vpc;
use crate::aws::trace::branch;
use crate::aws::wait::Pace;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Owner, Reading, Replace, SpecFault, TAG_STACK, Tags};
use crate::stack::values::PLACEHOLDER;
use crate::stack::warning::SpecWarning;

mod act;
mod open;
mod rule;

use act::{change_rule, close, create};
use rule::{Change, TEXT, TEXT_TOLD, changes, check, check_text, check_twice};
pub use rule::{Peer, Protocol, Rule, RuleSpec};

/// The kind.
pub enum SecurityGroup {}

/// An EC2 security group: who may connect to an instance, and where it may connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The group's name, instead of `<stack>-<name>-<hash>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TEXT))]
    pub name: Option<String>,
    /// EC2 wants one; left out, the stack and the logical name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `vpc-…`; left out, the default VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Who may connect; left out, nobody.
    #[serde(default)]
    pub ingress: Vec<RuleSpec>,
    /// Where it may connect to; left out, everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<RuleSpec>>,
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The group's name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// Its id, where it is there. Not wanted, only known: its deletion may come after a new one of the same address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who may connect.
    pub ingress: BTreeSet<Rule>,
    /// Where it may connect to.
    pub egress: BTreeSet<Rule>,
    /// Its tags.
    pub tags: Tags,
}

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters; the default egress, which \
              depends on the VPC, is revoked by RevokeSecurityGroupEgress"
)]
pub enum Call {
    CreateSecurityGroup { at: Address, name: String, description: String, vpc: String, tags: Tags },
    AuthorizeSecurityGroupIngress { group: Link, name: String, rule: Rule },
    AuthorizeSecurityGroupEgress { group: Link, name: String, rule: Rule },
    RevokeDefaultEgress { group: Link, name: String, kept: BTreeSet<Rule> },
    RevokeSecurityGroupIngress { group: Link, name: String, rule: Rule },
    RevokeSecurityGroupEgress { group: Link, name: String, rule: Rule },
    UpdateSecurityGroupRuleDescriptionsIngress { group: Link, name: String, rule: Rule },
    UpdateSecurityGroupRuleDescriptionsEgress { group: Link, name: String, rule: Rule },
    CreateTags { group: Link, name: String, tags: Tags },
    DeleteTags { group: Link, name: String, keys: Vec<String> },
    DeleteSecurityGroup { group: Link, name: String },
}

impl Kind for SecurityGroup {
    const TABLE: &'static str = "security_group";
    const FIXED: &'static [&'static str] = &["name", "description", "vpc"];
    const MINOR: &'static [&'static str] = &["name"];
    const PARTS: &'static [&'static str] = &["id"];
    const REPLACE: Replace = Replace::CreateFirst;
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        let id = spec.name.iter().filter(|name| name.starts_with("sg-"));
        let id =
            id.map(|_| SpecFault::new("name", "a name that begins with `sg-` is an id to EC2", "begin it otherwise"));
        let named = check_name(spec.name.as_ref(), TEXT, TEXT_TOLD).into_iter().chain(id);
        let own = spec.description.iter().filter_map(|text| check_text("description", text)).chain(named);
        let vpc = spec
            .vpc
            .iter()
            .filter(|id| *id != PLACEHOLDER && !id.starts_with("vpc-"))
            .map(|id| SpecFault::new("vpc", format!("`{id}` is no VPC id"), "`vpc-…`"));
        let sides = [("ingress", Some(&spec.ingress)), ("egress", spec.egress.as_ref())];
        let rules = sides.into_iter().flat_map(|(side, rules)| {
            let rules = rules.map(Vec::as_slice).unwrap_or_default();
            rules.iter().enumerate().flat_map(move |(at, rule)| {
                // A rule may have none.
                let text = Some(&rule.description).filter(|text| !text.is_empty());
                let text = text.and_then(|text| check_text(&format!("{side}[{at}].description"), text));
                let twice = check_twice(&format!("{side}[{at}]"), rule, rules.get(..at).unwrap_or_default());
                check(&format!("{side}[{at}]"), rule).into_iter().chain(text).chain(twice)
            })
        });
        own.chain(vpc).chain(rules).collect()
    }

    fn claims(_name: &str, spec: &Spec) -> Vec<(String, String)> {
        let vpc = spec.vpc.as_deref().map(|vpc| format!(" in {vpc}")).unwrap_or_default();
        spec.name.iter().map(|name| ("name".to_owned(), format!("{name}{vpc}"))).collect()
    }

    fn warn(spec: &Spec) -> Vec<SpecWarning> {
        let sides = [("ingress", spec.ingress.len()), ("egress", spec.egress.as_ref().map_or(0, Vec::len))];
        let many = sides.into_iter().filter(|(_, rules)| *rules > 60);
        let many = many.map(|(side, rules)| SpecWarning::over_quota(side, &format!("{rules} {side} rules"), 60));
        open::warn(&spec.ingress).into_iter().chain(many).collect()
    }

    fn lookups(_name: &str, spec: &Spec) -> Vec<Lookup> {
        let vpc = spec.vpc.clone().map_or(Lookup::DefaultVpc, Lookup::Vpc);
        let rules = spec.ingress.iter().chain(spec.egress.iter().flatten());
        let peers = rules.filter_map(|rule| rule.security_group.as_ref()).filter(|peer| peer.is_id());
        [vpc].into_iter().chain(peers.map(|peer| Lookup::SecurityGroup(peer.text.clone()))).collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let vpc = spec.vpc.clone().or_else(|| cx.facts.default_vpc.clone());
        let vpc = vpc.ok_or_else(|| format!("{} has no default VPC; name one with `vpc`", cx.facts.region))?;
        let base = cx.physical_name(at);
        let description = spec.description.clone().unwrap_or_else(|| base.clone());
        let rules = |rules: &[RuleSpec]| rules.iter().map(|rule| Rule::lower(rule, cx)).collect();
        Ok(State {
            name: spec.name.unwrap_or_else(|| format!("{base}-{}", fixed_hash(&description, &vpc))),
            description,
            vpc,
            id: None,
            ingress: rules(&spec.ingress),
            egress: spec.egress.map_or_else(|| default_egress().into_iter().take(1).collect(), |spec| rules(&spec)),
            tags: cx.tags(at),
        })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        want.id.clone_from(&live.id);
        if is_default(&want.egress) && live.egress == BTreeSet::from(default_egress()) {
            want.egress.clone_from(&live.egress);
        }
        Vec::new()
    }

    fn made(want: State, ids: &Ids) -> State {
        State { id: ids.get("id").cloned(), ..want }
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        let group = || match live.and_then(|live| live.id.clone()) {
            Some(id) => Link::theirs("security_group", id),
            None => Link::ours(at.clone(), "id"),
        };
        let Some(want) = want else {
            let delete = |live: &State| Call::DeleteSecurityGroup { group: group(), name: live.name.clone() };
            return live.map(delete).into_iter().collect();
        };
        let name = || want.name.clone();
        let mut calls = Vec::new();
        match live {
            None => {
                let (description, vpc, tags) = (want.description.clone(), want.vpc.clone(), want.tags.clone());
                calls.push(Call::CreateSecurityGroup { at: at.clone(), name: name(), description, vpc, tags });
            }
            Some(live) => {
                let (tags, keys) = tags::change(&live.tags, &want.tags);
                calls.extend((!tags.is_empty()).then(|| Call::CreateTags { group: group(), name: name(), tags }));
                calls.extend((!keys.is_empty()).then(|| Call::DeleteTags { group: group(), name: name(), keys }));
            }
        }
        let wanted = || default_egress().into_iter().filter(|rule| want.egress.contains(rule));
        let (ingress, egress) = match live {
            Some(live) => (live.ingress.clone(), live.egress.clone()),
            None => (BTreeSet::new(), wanted().filter(|rule| *rule == default_egress()[0]).collect()),
        };
        if live.is_none() && !is_default(&want.egress) {
            calls.push(Call::RevokeDefaultEgress { group: group(), name: name(), kept: wanted().collect() });
        }
        for change in changes(&ingress, &want.ingress) {
            let (group, name) = (group(), name());
            calls.push(match change {
                Change::Add(rule) => Call::AuthorizeSecurityGroupIngress { group, name, rule },
                Change::Drop(rule) => Call::RevokeSecurityGroupIngress { group, name, rule },
                Change::Describe(rule) => Call::UpdateSecurityGroupRuleDescriptionsIngress { group, name, rule },
            });
        }
        for change in changes(&egress, &want.egress) {
            let (group, name) = (group(), name());
            calls.push(match change {
                Change::Add(rule) => Call::AuthorizeSecurityGroupEgress { group, name, rule },
                Change::Drop(rule) => Call::RevokeSecurityGroupEgress { group, name, rule },
                Change::Describe(rule) => Call::UpdateSecurityGroupRuleDescriptionsEgress { group, name, rule },
            });
        }
        calls
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::CreateSecurityGroup { name, .. } => format!("ec2:CreateSecurityGroup {name}"),
            Call::AuthorizeSecurityGroupIngress { name, rule, .. } => {
                format!("ec2:AuthorizeSecurityGroupIngress {name} {rule}")
            }
            Call::AuthorizeSecurityGroupEgress { name, rule, .. } => {
                format!("ec2:AuthorizeSecurityGroupEgress {name} {rule}")
            }
            Call::RevokeDefaultEgress { name, .. } => format!("ec2:RevokeSecurityGroupEgress {name} the default rules"),
            Call::RevokeSecurityGroupIngress { name, rule, .. } => {
                format!("ec2:RevokeSecurityGroupIngress {name} {rule}")
            }
            Call::RevokeSecurityGroupEgress { name, rule, .. } => {
                format!("ec2:RevokeSecurityGroupEgress {name} {rule}")
            }
            Call::UpdateSecurityGroupRuleDescriptionsIngress { name, rule, .. } => {
                format!("ec2:UpdateSecurityGroupRuleDescriptionsIngress {name} {rule}")
            }
            Call::UpdateSecurityGroupRuleDescriptionsEgress { name, rule, .. } => {
                format!("ec2:UpdateSecurityGroupRuleDescriptionsEgress {name} {rule}")
            }
            Call::CreateTags { name, tags, .. } => format!("ec2:CreateTags {name} {}", tags::keys(tags)),
            Call::DeleteTags { name, keys, .. } => format!("ec2:DeleteTags {name} {}", keys.join(" ")),
            Call::DeleteSecurityGroup { name, .. } => format!("ec2:DeleteSecurityGroup {name}"),
        }
    }

    fn gist(state: &State) -> Vec<String> {
        let out = state.egress.iter().filter(|_| !is_default(&state.egress));
        let inwards = state.ingress.iter().map(|rule| format!("lets in {}", rule.told("from")));
        let closed = state.ingress.is_empty().then(|| "lets nothing in".to_owned());
        closed.into_iter().chain(inwards).chain(out.map(|rule| format!("lets out {}", rule.told("to")))).collect()
    }

    fn phrase(path: &str, value: &Value) -> Option<String> {
        let way = match path {
            "ingress" => "from",
            "egress" => "to",
            _ => return None,
        };
        Rule::deserialize(value).ok().map(|rule| rule.told(way))
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        let names: BTreeMap<&str, &Address> =
            wanted.iter().filter_map(|(at, spec)| Some((spec.name.as_deref()?, at))).collect();
        let by_tag = format!("tag:{TAG_STACK}");
        let tagged = found(cx.aws, vec![(by_tag.as_str(), vec![cx.stack.name.clone()])]);
        let named = async {
            match names.is_empty() {
                true => Ok(Vec::new()),
                false => found(cx.aws, vec![("group-name", names.keys().map(|&name| name.to_owned()).collect())]).await,
            }
        };
        // A name is unique in one VPC only; another VPC's group of that name is no conflict.
        let default = async {
            match wanted.values().any(|spec| spec.name.is_some() && spec.vpc.is_none()) {
                true => default_vpc(cx.aws).await,
                false => Ok(None),
            }
        };
        let (tagged, named, default) = try_join3(branch(tagged), branch(named), branch(default)).await?;
        let mut out = BTreeMap::new();
        for group in tagged.iter().chain(&named) {
            let state = state(group);
            let here = |at: &Address| wanted[at].vpc.as_ref().or(default.as_ref()) == Some(&state.vpc);
            let by_name = names.get(state.name.as_str()).filter(|at| here(at)).map(|at| (*at).clone());
            let (owner, tagged) = cx.stack.owner(&state.tags);
            if by_name.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
                continue;
            }
            let Some(at) = by_name.or(tagged) else { continue };
            let id = group.group_id().unwrap_or_default().to_owned();
            out.insert(id.clone(), Found { at, ids: Ids::from([("id".to_owned(), id)]), owner, state });
        }
        Ok(out.into_values().collect())
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        let by = if existing.starts_with("sg-") { "group-id" } else { "group-name" };
        let found = found(cx.aws, vec![(by, vec![existing.to_owned()])]).await?;
        let parts = |group: &ec2::SecurityGroup| {
            let parts = [("id", group.group_id()), ("vpc", group.vpc_id())];
            parts.into_iter().filter_map(|(part, id)| Some((part.to_owned(), id?.to_owned()))).collect()
        };
        Ok(found.first().map(parts))
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        match call {
            Call::CreateSecurityGroup { at, name, description, vpc, tags } => {
                create(&cx, &at, &name, &description, &vpc, &tags).await
            }
            Call::CreateTags { group, name, tags } => {
                let id = settled("ec2:CreateTags", &name, &group)?;
                tags::set_ec2(&cx.aws, &id, &tags).await.map(|()| Ids::new())
            }
            Call::DeleteTags { group, name, keys } => {
                let id = settled("ec2:DeleteTags", &name, &group)?;
                tags::remove_ec2(&cx.aws, &id, &keys).await.map(|()| Ids::new())
            }
            Call::DeleteSecurityGroup { group, name } => {
                const NAME: &str = "ec2:DeleteSecurityGroup";
                let id = settled(NAME, &name, &group)?;
                // Held until every instance that used it has let go of its network interface (terraform-aws #27476).
                let held = |error: &AwsError| error.is(&["DependencyViolation"]);
                let sent = taken_away(&*cx.say, NAME, &name, none, || {
                    again(Pace::SETTLING, NAME, "nothing to use the group any more", held, || {
                        let request = cx.aws.ec2.delete_security_group().group_id(&id);
                        async move { request.send().await.or_aws(NAME) }
                    })
                });
                sent.await.map(|_| Ids::new())
            }
            Call::RevokeDefaultEgress { group, name, kept } => {
                Box::pin(close(&cx, group, &name, &kept)).await.map(|()| Ids::new())
            }
            rule => Box::pin(change_rule(&cx, rule)).await.map(|()| Ids::new()),
        }
    }
}

fn fixed_hash(description: &str, vpc: &str) -> String {
    hex::encode(&Sha256::digest(format!("{description}\n{vpc}"))[..4])
}

/// Where a new group lets out to, before anything is said about it: the second in a VPC with IPv6 only (EC2 API,
/// CreateSecurityGroup).
fn default_egress() -> [Rule; 2] {
    ["0.0.0.0/0", "::/0"].map(Rule::everywhere)
}

/// Whether it is what the file gets that says nothing.
fn is_default(egress: &BTreeSet<Rule>) -> bool {
    egress.iter().eq(&default_egress()[..1])
}

fn state(group: &ec2::SecurityGroup) -> State {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    State {
        name: text(group.group_name()),
        description: text(group.description()),
        vpc: text(group.vpc_id()),
        id: group.group_id().map(str::to_owned),
        ingress: group.ip_permissions().iter().flat_map(Rule::of).collect(),
        egress: group.ip_permissions_egress().iter().flat_map(Rule::of).collect(),
        tags: tags::from_ec2(group.tags()),
    }
}

async fn found(aws: &Aws, by: Vec<(&str, Vec<String>)>) -> Result<Vec<ec2::SecurityGroup>, AwsError> {
    let filter =
        |(name, values): (&str, Vec<String>)| ec2::Filter::builder().name(name).set_values(Some(values)).build();
    let filters = by.into_iter().map(filter).collect();
    let mut pages = aws.ec2.describe_security_groups().set_filters(Some(filters)).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("ec2:DescribeSecurityGroups")?.security_groups.unwrap_or_default());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::Facts;
    use crate::kind::StackInfo;

    fn at() -> Address {
        Address::new("security_group", "ecs")
    }

    fn lowered(spec: serde_json::Value) -> State {
        let stack = StackInfo { name: "germline".to_owned(), ..StackInfo::default() };
        let facts = Facts { default_vpc: Some("vpc-1".to_owned()), ..Facts::default() };
        let spec = serde_json::from_value(spec).unwrap();
        SecurityGroup::lower(&at(), spec, &Context { stack: &stack, facts: &facts, sample: None }).unwrap()
    }

    fn ssh(description: &str) -> State {
        lowered(json!({ "ingress": [
            { "protocol": "tcp", "port": 22, "cidr": "203.0.113.0/24", "description": description },
            { "protocol": "udp", "port": 53, "to_port": 54, "security_group": "other" },
        ] }))
    }

    fn described(live: Option<&State>, want: Option<&State>) -> Vec<String> {
        SecurityGroup::calls(&at(), live, want).iter().map(SecurityGroup::describe).collect()
    }

    #[test]
    fn a_create_cut_short_goes_on_with_the_rules() {
        let want = ssh("");
        let all = described(None, Some(&want));
        assert_eq!(all.len(), 3, "{all:?}");
        let bare = State { ingress: BTreeSet::new(), ..want.clone() };
        assert_eq!(described(Some(&bare), Some(&want)), all[1..]);
        assert!(described(Some(&want), Some(&want)).is_empty());
    }

    #[test]
    fn a_description_alone_is_updated_in_place() {
        let calls = described(Some(&ssh("")), Some(&ssh("SSH access")));
        assert_eq!(calls.len(), 1);
        assert!(calls[0].starts_with("ec2:UpdateSecurityGroupRuleDescriptionsIngress"), "{calls:?}");
    }

    #[test]
    fn what_is_fixed_makes_another_name() {
        assert_ne!(ssh("").name, lowered(json!({ "description": "x" })).name);
        assert_eq!(lowered(json!({ "name": "mine" })).name, "mine");
    }

    #[test]
    fn a_rule_reads_back_as_it_was_sent() {
        for rule in lowered(json!({ "ingress": [
            { "protocol": "all", "cidr": "2001:db8::/32" }, { "protocol": "icmp", "cidr": "10.0.0.0/8", "description": "p" },
            { "protocol": "tcp", "port": 1, "to_port": 9, "security_group": "sg-1" },
        ] }))
        .ingress
        {
            assert_eq!(Rule::of(&rule.permission("test").unwrap()).collect::<Vec<_>>(), [rule]);
        }
    }

    #[test]
    fn rules_without_port_or_peer_are_faults() {
        let spec =
            json!({ "ingress": [{ "protocol": "tcp" }, { "protocol": "icmp", "port": 1, "cidr": "0.0.0.0/0" }] });
        assert_eq!(SecurityGroup::check(&serde_json::from_value(spec).unwrap()).len(), 3);
    }
}
