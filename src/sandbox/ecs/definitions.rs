//! Task definitions: families of revisions, none of which is ever used twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tags, arn, client, includes, invalid, local, normal, paged, read_tags, required, shown_tags};
use crate::account::Account;
use crate::ecs::State;
use crate::input::{text, texts};
use crate::service::{Answer, ApiError, Cx, epoch};

/// Where a revision is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// Can be run.
    Active,
    /// Deregistered.
    Inactive,
    /// Told to go; it goes when no task uses it.
    DeleteInProgress,
}

impl Life {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

/// A revision of a task definition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Definition {
    pub(super) family: String,
    pub(super) revision: u64,
    pub(super) body: Value,
    pub(super) life: Life,
    registered: Timestamp,
    deregistered: Option<Timestamp>,
    pub(super) tags: Tags,
}

impl Definition {
    /// `family:revision`
    pub(super) fn full_name(&self) -> String {
        format!("{}:{}", self.family, self.revision)
    }

    pub(super) fn arn(&self, account: &Account) -> String {
        arn(account, &format!("task-definition/{}", self.full_name()))
    }

    fn shown(&self, account: &Account) -> Value {
        let mut shown = self.body.clone();
        shown["taskDefinitionArn"] = json!(self.arn(account));
        shown["revision"] = json!(self.revision);
        shown["status"] = json!(self.life.name());
        shown["registeredAt"] = json!(epoch(self.registered));
        shown["registeredBy"] = json!(format!("arn:aws:iam::{}:root", account.id));
        if let Some(at) = self.deregistered {
            shown["deregisteredAt"] = json!(epoch(at));
        }
        shown
    }
}

/// The newest active revision of a family, or the revision that an ARN or `family:revision` names.
pub(super) fn find<'a>(account: &'a Account, given: &str) -> Option<&'a Definition> {
    let name = local(account, given);
    let name = name.strip_prefix("task-definition/").unwrap_or(name);
    let all = &account.ecs.definitions;
    match name.split_once(':') {
        Some((family, revision)) => {
            let revision: u64 = revision.parse().ok()?;
            all.iter().find(|one| one.family == family && one.revision == revision)
        }
        None => all.iter().filter(|one| one.family == name && one.life == Life::Active).max_by_key(|one| one.revision),
    }
}

fn place(account: &Account, given: &str) -> Option<usize> {
    if !local(account, given).contains(':') {
        return None;
    }
    let name = find(account, given)?.full_name();
    account.ecs.definitions.iter().position(|one| one.full_name() == name)
}

/// RegisterTaskDefinition: always a new revision, even of the same content.
pub(super) fn register(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let body = normal::body(input, &account.region)?;
    let tags = read_tags(input)?;
    let family = required(input, "family")?.to_owned();
    let revision = account.ecs.revisions.get_or_insert_with(family.clone(), || 0);
    *revision += 1;
    let new = Definition {
        family,
        revision: *revision,
        body,
        life: Life::Active,
        registered: cx.now,
        deregistered: None,
        tags,
    };
    let answer = json!({"taskDefinition": new.shown(account), "tags": shown_tags(&new.tags)});
    account.ecs.definitions.push(new);
    Ok(answer)
}

/// DescribeTaskDefinition.
pub(super) fn describe(account: &Account, input: &Value) -> Answer {
    let given = required(input, "taskDefinition")?;
    let found = find(account, given).ok_or_else(|| client("Unable to describe task definition."))?;
    let mut answer = json!({"taskDefinition": found.shown(account)});
    if includes(input, "TAGS") {
        answer["tags"] = shown_tags(&found.tags);
    }
    Ok(answer)
}

/// ListTaskDefinitions: `familyPrefix` is the whole family's name here.
pub(super) fn list_all(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let family = text(input, "familyPrefix");
    let status = text(input, "status").unwrap_or("ACTIVE");
    let mut found: Vec<&Definition> = account
        .ecs
        .definitions
        .iter()
        .filter(|one| family.is_none_or(|family| one.family == family) && one.life.name() == status)
        .collect();
    found.sort_by(|a, b| (&a.family, a.revision).cmp(&(&b.family, b.revision)));
    if text(input, "sort") == Some("DESC") {
        found.reverse();
    }
    paged("taskDefinitionArns", found.into_iter().map(|one| one.arn(account)).collect(), cx, input)
}

/// ListTaskDefinitionFamilies: `familyPrefix` is a prefix here.
pub(super) fn list_families(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let prefix = text(input, "familyPrefix").unwrap_or_default();
    let status = text(input, "status").unwrap_or("ALL");
    let active =
        |family: &str| account.ecs.definitions.iter().any(|one| one.family == family && one.life == Life::Active);
    let mut found: Vec<String> = account
        .ecs
        .definitions
        .iter()
        .filter(|one| one.family.starts_with(prefix))
        .filter(|one| match status {
            "ACTIVE" => active(&one.family),
            "INACTIVE" => !active(&one.family),
            _ => true,
        })
        .map(|one| one.family.clone())
        .collect();
    found.sort();
    found.dedup();
    paged("families", found, cx, input)
}

/// DeregisterTaskDefinition: running tasks go on; nothing new can be run with it.
pub(super) fn deregister(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let given = required(input, "taskDefinition")?;
    let place = place(account, given).ok_or_else(|| match local(account, given).rsplit_once(':') {
        None => client("Revision is missing."),
        Some((_, number)) if number.parse::<u64>().is_err() => {
            invalid(format!("Invalid revision number. Number: {number}"))
        }
        Some(_) => client("The specified task definition does not exist."),
    })?;
    let one = &mut account.ecs.definitions[place];
    if one.life != Life::Active {
        return Err(invalid("The specified task definition is inactive."));
    }
    one.life = Life::Inactive;
    one.deregistered = Some(cx.now);
    Ok(json!({"taskDefinition": account.ecs.definitions[place].shown(account)}))
}

/// DeleteTaskDefinitions: at most ten, deregistered before.
pub(super) fn delete(account: &mut Account, _cx: &Cx, input: &Value) -> Answer {
    let wanted = texts(input, "taskDefinitions");
    if wanted.is_empty() || wanted.len() > 10 {
        return Err(invalid("taskDefinitions must have between 1 and 10 items."));
    }
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    for given in &wanted {
        match place(account, given) {
            None if !local(account, given).contains(':') => failures.push(json!({
                "arn": given, "reason": "The specified task definition identifier is invalid. Specify a valid name or \
                 ARN and try again.",
            })),
            None => failures.push(json!({
                "arn": given, "reason": "The specified task definition does not exist. Specify a valid account, \
                 family, revision and try again.",
            })),
            Some(place) if account.ecs.definitions[place].life == Life::Active => failures.push(json!({
                "arn": account.ecs.definitions[place].arn(account),
                "reason": "The specified task definition is still in ACTIVE status. Please deregister the target and \
                 try again.",
            })),
            Some(place) => {
                account.ecs.definitions[place].life = Life::DeleteInProgress;
                gone.push(account.ecs.definitions[place].shown(account));
            }
        }
    }
    Ok(json!({"taskDefinitions": gone, "failures": failures}))
}

/// What was told to go goes once no task uses it.
pub(super) fn settle(account: &mut Account) {
    let State { definitions, tasks, .. } = &mut *account.ecs;
    definitions.retain(|one| {
        one.life != Life::DeleteInProgress
            || tasks.iter().any(|task| task.holds() && task.definition == one.full_name())
    });
}

/// The revision to run, or the refusal.
pub(super) fn runnable<'a>(account: &'a Account, given: &str) -> Result<&'a Definition, ApiError> {
    let found = find(account, given).ok_or_else(|| client("TaskDefinition not found."))?;
    if found.life == Life::Active { Ok(found) } else { Err(client("TaskDefinition is inactive")) }
}
