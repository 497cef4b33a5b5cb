//! Security groups: their making, listing and the refusals to delete them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::network::{self, default_vpc};
use super::rules::{self, Rule, Target};
use super::{Filter, Tags, filtered, invalid, page_size, paged, required, tag_set, tag_types, tags_for, well_formed};
use crate::account::Account;
use crate::ec2::State;
use crate::input::{text, texts};
use crate::regions;
use crate::service::{Answer, ApiError, Cx};

const DEFAULT: &str = "sg-0f1e2d3c4b5a69788";

/// A security group; its rules are kept apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub(super) id: String,
    pub(super) name: String,
    description: String,
    pub(super) vpc: String,
    pub(super) tags: Tags,
}

/// The group `default` of the default VPC, and its two rules.
pub(super) fn default_group(region: &str) -> (Group, Vec<Rule>) {
    let id = regions::id_in(region, DEFAULT);
    let group = Group {
        id: id.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        vpc: default_vpc(region),
        tags: Tags::new(),
    };
    let rule = |rule: &str, egress, target| Rule {
        id: regions::id_in(region, rule),
        group: id.clone(),
        egress,
        protocol: "-1".to_owned(),
        from: None,
        to: None,
        target,
        description: None,
        tags: Tags::new(),
    };
    let inward = rule("sgr-0a1b2c3d4e5f60718", false, Target::Group(id.clone()));
    let outward = rule("sgr-0b2c3d4e5f6071829", true, Target::Cidr4("0.0.0.0/0".to_owned()));
    (group, vec![inward, outward])
}

/// Letters that EC2 lets a group's name, description and rule descriptions hold.
pub(super) fn check_letters(what: &str, value: &str) -> Result<(), ApiError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(letter);
    if value.chars().count() > 255 || !value.chars().all(fits) {
        return Err(invalid(format!(
            "Value ({value}) for parameter {what} is invalid. Character sets beyond ASCII are not supported, at most \
             255 characters, of a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{{}}!$*"
        )));
    }
    Ok(())
}

fn not_found(id: &str) -> ApiError {
    if well_formed(id, "sg") {
        ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
    } else {
        malformed(id)
    }
}

/// The refusal of what is no group's id.
pub(super) fn malformed(id: &str) -> ApiError {
    ApiError::new("InvalidGroupId.Malformed", format!("Invalid id: \"{id}\" (expecting \"sg-...\")"))
}

impl State {
    pub(super) fn group(&self, id: &str) -> Result<&Group, ApiError> {
        self.groups.iter().find(|group| group.id == id).ok_or_else(|| not_found(id))
    }

    /// The group that the request names by id or by name.
    pub(super) fn group_of(&self, input: &Value) -> Result<&Group, ApiError> {
        match (text(input, "GroupId"), text(input, "GroupName")) {
            (Some(id), _) => self.group(id),
            (None, Some(name)) => self.groups.iter().find(|group| group.name == name).ok_or_else(|| {
                ApiError::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist"))
            }),
            (None, None) => {
                Err(ApiError::new("MissingParameter", "The request must contain the parameter groupName or groupId"))
            }
        }
    }
}

/// The groups' ids for a launch: by id, by name, or the default VPC's default one.
pub(super) fn resolve(state: &State, ids: &[String], names: &[String], vpc: &str) -> Result<Vec<String>, ApiError> {
    let mut found = Vec::new();
    for id in ids {
        found.push(state.group(id)?.id.clone());
    }
    for name in names {
        found.push(state.group_of(&json!({"GroupName": name}))?.id.clone());
    }
    if found.is_empty() && vpc == default_vpc(&state.region) {
        found.push(regions::id_in(&state.region, DEFAULT));
    }
    Ok(found)
}

/// CreateSecurityGroup: with the egress rule that every new group has.
pub(super) fn create(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "GroupName")?;
    let description = required(input, "GroupDescription")?;
    check_letters("groupName", name)?;
    check_letters("GroupDescription", description)?;
    if name.is_empty() || description.is_empty() || name.starts_with("sg-") {
        return Err(invalid(format!(
            "Value ({name}) for parameter GroupName is invalid, or the description is empty."
        )));
    }
    if name.eq_ignore_ascii_case("default") {
        return Err(ApiError::new("InvalidGroup.Reserved", format!("The security group '{name}' is reserved")));
    }
    let vpc = text(input, "VpcId").map_or_else(|| default_vpc(&account.region), str::to_owned);
    if !network::has_vpc(account, &vpc) {
        return Err(ApiError::new("InvalidVpcID.NotFound", format!("The vpc ID '{vpc}' does not exist")));
    }
    tag_types(input, &["security-group"])?;
    let tags = tags_for(input, "security-group")?;
    let state = &mut account.ec2;
    if state.groups.iter().any(|group| group.vpc == vpc && group.name.eq_ignore_ascii_case(name)) {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let id = state.id("sg", cx.now);
    let rule = state.id("sgr", cx.now);
    let answer = json!({
        "return": true, "groupId": id, "tagSet": tag_set(&tags),
        "securityGroupArn": arn(&account.region, &account.id, &id),
    });
    state.rules.push(Rule {
        id: rule,
        group: id.clone(),
        egress: true,
        protocol: "-1".to_owned(),
        from: None,
        to: None,
        target: Target::Cidr4("0.0.0.0/0".to_owned()),
        description: None,
        tags: Tags::new(),
    });
    state.groups.push(Group { id, name: name.to_owned(), description: description.to_owned(), vpc, tags });
    Ok(answer)
}

/// DeleteSecurityGroup: refused while an instance that is not terminated, or a rule of another group, holds it.
pub(super) fn delete(account: &mut Account, input: &Value) -> Answer {
    let state = &mut account.ec2;
    let group = state.group_of(input)?;
    let id = group.id.clone();
    if group.name == "default" {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let used = state.instances.iter().any(|instance| !instance.gone() && instance.groups.contains(&id));
    let referenced =
        state.rules.iter().any(|rule| rule.group != id && matches!(&rule.target, Target::Group(other) if *other == id));
    if used || referenced {
        return Err(ApiError::new("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    state.groups.retain(|group| group.id != id);
    state.rules.retain(|rule| rule.group != id);
    Ok(json!({"return": true, "groupId": id}))
}

fn arn(region: &str, account: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{account}:security-group/{id}")
}

/// A group with its owner's id and its rules.
struct Ruled<'a> {
    owner: &'a str,
    group: &'a Group,
    ingress: Vec<&'a Rule>,
    egress: Vec<&'a Rule>,
}

fn filters<'a>() -> [Filter<Ruled<'a>>; 17] {
    [
        ("group-id", |one| vec![one.group.id.clone()]),
        ("group-name", |one| vec![one.group.name.clone()]),
        ("description", |one| vec![one.group.description.clone()]),
        ("vpc-id", |one| vec![one.group.vpc.clone()]),
        ("owner-id", |one| vec![one.owner.to_owned()]),
        ("ip-permission.protocol", |one| rules::protocols(&one.ingress)),
        ("ip-permission.from-port", |one| rules::from_ports(&one.ingress)),
        ("ip-permission.to-port", |one| rules::to_ports(&one.ingress)),
        ("ip-permission.cidr", |one| rules::cidrs(&one.ingress)),
        ("ip-permission.ipv6-cidr", |one| rules::ipv6_cidrs(&one.ingress)),
        ("ip-permission.group-id", |one| rules::peer_groups(&one.ingress)),
        ("egress.ip-permission.protocol", |one| rules::protocols(&one.egress)),
        ("egress.ip-permission.from-port", |one| rules::from_ports(&one.egress)),
        ("egress.ip-permission.to-port", |one| rules::to_ports(&one.egress)),
        ("egress.ip-permission.cidr", |one| rules::cidrs(&one.egress)),
        ("egress.ip-permission.ipv6-cidr", |one| rules::ipv6_cidrs(&one.egress)),
        ("egress.ip-permission.group-id", |one| rules::peer_groups(&one.egress)),
    ]
}

/// DescribeSecurityGroups.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let state = &account.ec2;
    let (ids, names) = (texts(input, "GroupId"), texts(input, "GroupName"));
    for id in &ids {
        state.group(id)?;
    }
    for name in &names {
        state.group_of(&json!({"GroupName": name}))?;
    }
    let of = |group: &Group, egress| -> Vec<&Rule> {
        state.rules.iter().filter(|rule| rule.group == group.id && rule.egress == egress).collect()
    };
    let each = state.groups.iter().map(|group| Ruled {
        owner: &account.id,
        group,
        ingress: of(group, false),
        egress: of(group, true),
    });
    let mut found = filtered(input, each, |one| &one.group.tags, &filters())?;
    found.retain(|Ruled { group, .. }| {
        (ids.is_empty() && names.is_empty()) || ids.contains(&group.id) || names.contains(&group.name)
    });
    let shown = |Ruled { owner, group, ingress, egress }: Ruled<'_>| {
        json!({
            "ownerId": owner, "groupId": group.id, "groupName": group.name, "vpcId": group.vpc,
            "groupDescription": group.description, "tagSet": tag_set(&group.tags),
            "securityGroupArn": arn(&account.region, owner, &group.id),
            "ipPermissions": rules::permissions(owner, &ingress),
            "ipPermissionsEgress": rules::permissions(owner, &egress),
        })
    };
    let found = found.into_iter().map(shown).collect();
    paged("securityGroupInfo", found, cx, input)
}
