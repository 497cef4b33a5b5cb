//! Policy documents: what IAM refuses at the door.

use serde_json::Value;

use super::super::service::ApiError;
use super::limit;

fn malformed(why: &str) -> ApiError {
    ApiError::new("MalformedPolicyDocument", why)
}

/// A trust policy: who may assume a role.
pub(super) fn check_trust(document: &str) -> Result<(), ApiError> {
    for statement in statements(document)? {
        if statement.get("Principal").is_none() && statement.get("NotPrincipal").is_none() {
            return Err(malformed("Missing required field Principal"));
        }
        if statement.get("Resource").is_some() || statement.get("NotResource").is_some() {
            return Err(malformed("Has prohibited field Resource"));
        }
        let known = |action: &str| action == "*" || action.to_lowercase().starts_with("sts:");
        if !texts(&statement["Action"]).all(known) {
            return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
        }
    }
    no_longer_than(document, 2048, "ACLSizePerRole")
}

/// A managed policy.
pub(super) fn check_managed(document: &str) -> Result<(), ApiError> {
    check_rights(document)?;
    no_longer_than(document, 6144, "PolicySize")
}

/// How long a document is to IAM: white space does not count.
pub(super) fn size(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}

fn no_longer_than(document: &str, longest: usize, quota: &str) -> Result<(), ApiError> {
    if size(document) > longest {
        return Err(limit(format!("Cannot exceed quota for {quota}: {longest}")));
    }
    Ok(())
}

/// A policy of rights, whatever its length: what its holder may do.
pub(super) fn check_rights(document: &str) -> Result<(), ApiError> {
    for statement in statements(document)? {
        if statement.get("Principal").is_some() || statement.get("NotPrincipal").is_some() {
            return Err(malformed("Policy document should not specify a principal."));
        }
        if statement.get("Resource").is_none() && statement.get("NotResource").is_none() {
            return Err(malformed("Policy statement must contain resources."));
        }
        let fits = |resource: &str| resource == "*" || resource.starts_with("arn:");
        if let Some(wrong) = texts(&statement["Resource"]).find(|resource| !fits(resource)) {
            return Err(malformed(&format!("Resource {wrong} must be in ARN format or \"*\".")));
        }
        let fits = |action: &str| action == "*" || action.contains(':');
        if !texts(&statement["Action"]).chain(texts(&statement["NotAction"])).all(fits) {
            return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
        }
    }
    Ok(())
}

fn statements(document: &str) -> Result<Vec<Value>, ApiError> {
    let parsed: Value = serde_json::from_str(document).map_err(|_| malformed("Syntax errors in policy."))?;
    let members = parsed.as_object().ok_or_else(|| malformed("Syntax errors in policy."))?;
    if let Some(unknown) = members.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return Err(malformed(&format!("Syntax errors in policy: {unknown}")));
    }
    if !matches!(parsed["Version"].as_str(), None | Some("2012-10-17" | "2008-10-17")) {
        return Err(malformed("The policy must contain a valid version string"));
    }
    let statements = match &parsed["Statement"] {
        Value::Array(statements) if !statements.is_empty() => statements.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    for statement in &statements {
        if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
            return Err(malformed("Syntax errors in policy: Effect must be Allow or Deny."));
        }
        if statement.get("Action").is_none() == statement.get("NotAction").is_none() {
            return Err(malformed("Policy statement must contain actions."));
        }
    }
    Ok(statements)
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    items.iter().filter_map(Value::as_str)
}
