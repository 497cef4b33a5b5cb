//! Policies that allow more than anybody listed. Never evaluates a policy.

use serde_json::Value;

use super::{Spec, last_part};
use crate::stack::warning::{Code, SpecWarning};

const ACTIONS: &str = "name the actions that the step needs, or name buckets in `read` and `write`: the least policy for \
                       them is made for you";
const RESOURCES: &str = "name the resources by ARN, such as arn:aws:s3:::lab-results-out/*";

pub(super) fn warn(spec: &Spec) -> Vec<SpecWarning> {
    let attached = spec.attach.iter().enumerate().filter(|(_, policy)| is_broad(last_part(policy)));
    let attached = attached.map(|(at, policy)| {
        let message = format!("`{}` allows every action of a service, or of all", last_part(policy));
        SpecWarning::new(Code::WildcardAction, format!("attach.{at}"), message, ACTIONS)
    });
    let document = match &spec.policy {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        other => other.clone(),
    };
    let own = document.as_ref().map(in_document).unwrap_or_default();
    attached.chain(own).collect()
}

/// AWS's own policies of this reach, by their names.
fn is_broad(name: &str) -> bool {
    ["AdministratorAccess", "PowerUserAccess"].contains(&name) || name.ends_with("FullAccess")
}

fn in_document(document: &Value) -> Vec<SpecWarning> {
    match document.get("Statement") {
        Some(Value::Array(statements)) => {
            let each = statements.iter().enumerate();
            each.flat_map(|(at, one)| in_statement(one, &format!("policy.Statement.{at}"))).collect()
        }
        Some(one) => in_statement(one, "policy.Statement"),
        None => Vec::new(),
    }
}

fn in_statement(statement: &Value, at: &str) -> Vec<SpecWarning> {
    if statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let actions = texts(statement, "Action");
    if let Some(wide) = actions.iter().find(|action| **action == "*" || action.ends_with(":*")) {
        let message = format!("`{wide}` allows every action of {}", wide.strip_suffix(":*").unwrap_or("every service"));
        warnings.push(SpecWarning::new(Code::WildcardAction, format!("{at}.Action"), message, ACTIONS));
    } else if statement.get("NotAction").is_some() {
        let message = "`NotAction` allows all but what it names";
        warnings.push(SpecWarning::new(Code::WildcardAction, format!("{at}.NotAction"), message, ACTIONS));
    }
    if statement.get("Condition").is_some() {
        return warnings;
    }
    if statement.get("NotResource").is_some() {
        let message = "`NotResource` allows it on all but what it names";
        warnings.push(SpecWarning::new(Code::WildcardResource, format!("{at}.NotResource"), message, RESOURCES));
    } else if texts(statement, "Resource").contains(&"*") && !actions.iter().all(|action| knows_no_resource(action)) {
        let message = "`*` allows it on everything in the account";
        warnings.push(SpecWarning::new(Code::WildcardResource, format!("{at}.Resource"), message, RESOURCES));
    }
    warnings
}

/// One text or several.
fn texts<'d>(statement: &'d Value, key: &str) -> Vec<&'d str> {
    match statement.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        one => one.and_then(Value::as_str).into_iter().collect(),
    }
}

/// Actions whose only resource is `*` (Service Authorization Reference), as far as a lab meets them.
fn knows_no_resource(action: &str) -> bool {
    let verb = action.split_once(':').map_or("", |(_, verb)| verb);
    ["Describe", "List"].iter().any(|start| verb.starts_with(start))
        || ["ecr:GetAuthorizationToken", "sts:GetCallerIdentity"].contains(&action)
}
