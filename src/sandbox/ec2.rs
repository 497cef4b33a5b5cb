//! EC2: the default network, images and types as they are; key pairs, security groups and instances as they are made.
//!
//! Turns one operation and its nested parameters into a change of the state and the answer's members, in the names that
//! EC2's XML gives them. Time passes in `settle` alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Account;
use super::input::{digits, flag, list, matches, number, page, text, texts};
use super::service::{Answer, ApiError, Cx};
use super::table::{Record, Rows, Stored, plain_records};

pub mod attributes;
pub mod groups;
pub mod instances;
pub mod key_pairs;
pub mod network;
mod operations;
pub mod rules;
pub mod run;
pub mod show;
pub mod tags;
pub mod types;
pub mod volumes;

pub use operations::OPERATIONS;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// What the account holds of EC2.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    region: String,
    made: u64,
    #[serde(skip)]
    key_pairs: Rows<key_pairs::KeyPair>,
    #[serde(skip)]
    groups: Rows<groups::Group>,
    #[serde(skip)]
    rules: Rows<rules::Rule>,
    /// Instances, the terminated ones of the last hour among them.
    #[serde(skip)]
    pub instances: Rows<instances::Instance>,
    #[serde(skip)]
    volumes: Rows<volumes::Volume>,
    #[serde(skip)]
    tokens: Rows<run::Token>,
    /// What of the network is not as it is in every account.
    #[serde(default)]
    pub network: network::Network,
}

plain_records!(key_pairs::KeyPair, groups::Group, rules::Rule, instances::Instance, volumes::Volume, run::Token);

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![
            ("groups", &mut self.groups),
            ("instances", &mut self.instances),
            ("key_pairs", &mut self.key_pairs),
            ("rules", &mut self.rules),
            ("tokens", &mut self.tokens),
            ("volumes", &mut self.volumes),
        ]
    }
}

impl State {
    /// What there is in a region at the beginning.
    pub fn new(region: &str) -> Self {
        let (group, rules) = groups::default_group(region);
        Self {
            region: region.to_owned(),
            groups: Rows::from_iter([group]),
            rules: Rows::from_iter(rules),
            ..Self::default()
        }
    }

    /// What exists of it: not the default group, nor what is terminated.
    pub fn status(&self) -> Value {
        let there = self.instances.iter().filter(|one| !one.gone());
        json!({
            "key_pairs": self.key_pairs.iter().map(|one| json!({ "id": one.id, "name": one.name })).collect::<Vec<_>>(),
            "security_groups": self.groups.iter().filter(|one| one.name != "default")
                .map(|one| json!({ "id": one.id, "name": one.name })).collect::<Vec<_>>(),
            "instances": there
                .map(|one| json!({ "id": one.id, "state": one.life.name(), "type": one.instance_type })).collect::<Vec<_>>(),
            "volumes": self.volumes.iter()
                .map(|one| json!({ "id": one.id, "instance": one.instance })).collect::<Vec<_>>(),
        })
    }

    /// A new id of this kind, e.g. `sg-0123456789abcdef0`; no region gives another's.
    fn id(&mut self, kind: &str, now: Timestamp) -> String {
        self.made += 1;
        format!("{kind}-0{}", digits(&format!("{} {kind}", self.region), self.made, now, 16))
    }
}

/// Answers one operation.
///
/// # Errors
/// As EC2 refuses; `InvalidAction` for an operation that is not served.
pub fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Value) -> Answer {
    let input = &input;
    if flag(input, "DryRun") != Some(true) {
        return dispatch(account, cx, operation, input);
    }
    let before = account.ec2.clone();
    let answer = dispatch(account, cx, operation, input);
    *account.ec2 = before;
    answer?;
    Err(ApiError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").status(412))
}

fn dispatch(account: &mut Account, cx: &Cx, operation: &str, input: &Value) -> Answer {
    match operation {
        "DescribeVpcs" => network::vpcs(account, cx, input),
        "DescribeSubnets" => network::subnets(account, cx, input),
        "ModifySubnetAttribute" => network::modify_subnet(account, input),
        "DescribeRouteTables" => network::route_tables(account, cx, input),
        "DescribeVpcEndpoints" => network::endpoints(account, cx, input),
        "DescribeAvailabilityZones" => network::zones(account, cx, input),
        "DescribeImages" => types::images(account, cx, input),
        "DescribeInstanceTypes" => types::instance_types(cx, input),
        "CreateKeyPair" => key_pairs::create(account, cx, input),
        "ImportKeyPair" => key_pairs::import(account, cx, input),
        "DescribeKeyPairs" => key_pairs::describe(account, input),
        "DeleteKeyPair" => key_pairs::delete(account, input),
        "CreateSecurityGroup" => groups::create(account, cx, input),
        "DeleteSecurityGroup" => groups::delete(account, input),
        "DescribeSecurityGroups" => groups::describe(account, cx, input),
        "DescribeSecurityGroupRules" => rules::describe(account, cx, input),
        "AuthorizeSecurityGroupIngress" => rules::authorize(account, cx, input, false),
        "AuthorizeSecurityGroupEgress" => rules::authorize(account, cx, input, true),
        "RevokeSecurityGroupIngress" => rules::revoke(account, input, false),
        "RevokeSecurityGroupEgress" => rules::revoke(account, input, true),
        "UpdateSecurityGroupRuleDescriptionsIngress" => rules::update_descriptions(account, input, false),
        "UpdateSecurityGroupRuleDescriptionsEgress" => rules::update_descriptions(account, input, true),
        "ModifySecurityGroupRules" => rules::modify(account, input),
        "RunInstances" => run::run(account, cx, input),
        "DescribeInstances" => instances::describe(account, cx, input),
        "DescribeInstanceStatus" => instances::describe_status(account, cx, input),
        "TerminateInstances" => instances::terminate(account, cx, input),
        "StopInstances" => instances::stop(account, cx, input),
        "StartInstances" => instances::start(account, cx, input),
        "DescribeInstanceAttribute" => attributes::describe(account, cx, input),
        "ModifyInstanceAttribute" => attributes::modify(account, cx, input),
        "ModifyInstanceMetadataOptions" => attributes::modify_metadata(account, cx, input),
        "DescribeVolumes" => volumes::describe(account, cx, input),
        "CreateTags" => tags::create(account, cx, input),
        "DeleteTags" => tags::delete(account, cx, input),
        "DescribeTags" => tags::describe(account, cx, input),
        other => Err(ApiError::new("InvalidAction", format!("the sandbox does not serve {other}"))),
    }
}

/// Lets time pass: instances boot, end themselves at their deadline, shut down, and are forgotten.
pub fn settle(account: &mut Account, cx: &Cx) {
    instances::settle(account, cx);
}

/// A parameter that must be there.
fn required<'a>(input: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    text(input, name)
        .ok_or_else(|| ApiError::new("MissingParameter", format!("The request must contain the parameter {name}")))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// Whether an id has the form of its kind: `prefix-` and 8 or 17 hexadecimal digits.
fn well_formed(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| {
        matches!(rest.len(), 8 | 17) && rest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// A filter's name, and what of a thing its values are compared with.
type Filter<T> = (&'static str, fn(&T) -> Vec<String>);

/// Those things for which all of the request's filters hold; everything with tags has the filters of tags too.
///
/// # Errors
/// A filter that is not known, even if there is nothing to filter.
fn filtered<T>(
    input: &Value,
    all: impl IntoIterator<Item = T>,
    tags: fn(&T) -> &Tags,
    known: &[Filter<T>],
) -> Result<Vec<T>, ApiError> {
    let values = |name: &str| known.iter().find(|(known, _)| *known == name).map(|(_, values)| *values);
    for filter in list(input, "Filter") {
        let name = required(filter, "Name")?;
        if !name.starts_with("tag:") && name != "tag-key" && values(name).is_none() {
            return Err(invalid(format!("The filter '{name}' is invalid")));
        }
    }
    let holds = |one: &T, filter: &Value| {
        let name = text(filter, "Name").unwrap_or_default();
        let have = match (name.strip_prefix("tag:"), values(name)) {
            (Some(key), _) => tags(one).get(key).cloned().into_iter().collect(),
            (None, Some(values)) => values(one),
            (None, None) => tags(one).keys().cloned().collect(),
        };
        let wanted = texts(filter, "Value");
        have.iter().any(|have| wanted.iter().any(|wanted| matches(wanted, have)))
    };
    Ok(all.into_iter().filter(|one| list(input, "Filter").iter().all(|filter| holds(one, filter))).collect())
}

/// The tags of what has none.
fn no_tags<T>(_: &T) -> &Tags {
    static NONE: Tags = Tags::new();
    &NONE
}

/// Refuses pages of a size that EC2 does not give.
fn page_size(input: &Value, most: i64) -> Result<(), ApiError> {
    match number(input, "MaxResults") {
        Some(size) if !(5..=most).contains(&size) => Err(invalid(format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and {most}."
        ))),
        _ => Ok(()),
    }
}

/// One page of a listing as the answer `{"<set>": […], "nextToken": …}`.
fn paged(set: &str, all: Vec<Value>, cx: &Cx, input: &Value) -> Answer {
    let (some, next) =
        page(all, text(input, "NextToken"), number(input, "MaxResults"), cx.options.settings.page, "InvalidNextToken")?;
    let mut answer = json!({ set: some });
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

fn tag_set(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// The tags that the request gives to what it makes of this type.
///
/// # Errors
/// A key that may not be used.
fn tags_for(input: &Value, resource_type: &str) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for specification in list(input, "TagSpecification") {
        if text(specification, "ResourceType") == Some(resource_type) {
            tags.extend(tags::read(specification)?);
        }
    }
    tags::few(&tags)?;
    Ok(tags)
}

/// Refuses tag specifications for types that the call does not make.
fn tag_types(input: &Value, allowed: &[&str]) -> Result<(), ApiError> {
    for specification in list(input, "TagSpecification") {
        let resource_type = required(specification, "ResourceType")?;
        if !allowed.contains(&resource_type) {
            return Err(invalid(format!(
                "'{resource_type}' is not a valid taggable resource type for this operation."
            )));
        }
    }
    Ok(())
}

/// Seconds as EC2 writes times: `2026-01-02T03:04:05.000Z`.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests;
