//! What a role cannot be made with.

use serde_json::Value;

use super::Spec;
use super::document::canonical;
use crate::kind::SpecFault;
use crate::kinds::{check_name, is_match};
use crate::stack::values::PLACEHOLDER;

/// What IAM takes for a name (API, CreateRole).
pub(super) const NAME: &str = "^[A-Za-z0-9_+=,.@-]{1,64}$";

/// The longest managed policy, in characters without white space (IAM user guide, quotas; it cannot be raised).
pub(super) const LONGEST_POLICY: usize = 6144;

/// How long a document is to IAM, as it is sent: white space does not count.
pub(super) fn length(document: Value) -> usize {
    canonical(document).to_string().chars().filter(|c| !c.is_whitespace()).count()
}

/// A managed policy: an ARN, or the path and name of one of AWS's own.
const ATTACHED: &str = "^(arn:.+|[A-Za-z0-9_+=,.@/-]+)$";

/// Whether IAM takes this letter in a description (API, CreateRole).
fn is_described(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{a1}'..='\u{ff}')
}

pub(super) fn check(spec: &Spec) -> Vec<SpecFault> {
    let named = check_name(spec.name.as_ref(), NAME, "1 to 64 letters, digits and _ + = , . @ -");
    let mut faults: Vec<SpecFault> = named.into_iter().collect();
    if spec.policy.is_some() && !(spec.read.is_empty() && spec.write.is_empty()) {
        let hint = "write the whole document in `policy`, or leave it out and name buckets in `read` and `write`";
        faults.push(SpecFault::new("policy", "`policy` and `read` or `write` exclude each other", hint));
    }
    let document = match &spec.policy {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        other => other.clone(),
    };
    if let Some(length) = document.map(length).filter(|length| *length > LONGEST_POLICY) {
        let told = format!("this policy has {length} characters without white space, and IAM takes {LONGEST_POLICY}");
        let hint =
            "name resources by a common prefix and `*`, or make a policy of your own of a part, and `attach` that";
        faults.push(SpecFault::new("policy", told, hint));
    }
    match &spec.policy {
        Some(Value::String(text)) if text != PLACEHOLDER => {
            if let Err(error) = serde_json::from_str::<serde_json::Map<String, Value>>(text) {
                faults.push(SpecFault::new("policy", format!("not a JSON object: {error}"), "or write it as a table"));
            }
        }
        Some(Value::Object(_) | Value::Null | Value::String(_)) | None => {}
        Some(_) => {
            faults.push(SpecFault::new("policy", "not a policy document", "a table, or JSON in a string"));
        }
    }
    for (at, policy) in spec.attach.iter().enumerate().filter(|(_, policy)| !is_match(ATTACHED, policy)) {
        if policy != PLACEHOLDER {
            let hint =
                "an ARN, or the name of one of AWS's own such as `service-role/AmazonECSTaskExecutionRolePolicy`";
            faults.push(SpecFault::new(format!("attach[{at}]"), format!("`{policy}` is no managed policy"), hint));
        }
    }
    let description = spec.description.as_deref().filter(|text| *text != PLACEHOLDER).unwrap_or_default();
    if let Some(letter) = description.chars().find(|letter| !is_described(*letter)) {
        let hint = "IAM takes letters of Western European languages and ASCII: a plain `-`, plain quotes";
        faults.push(SpecFault::new(
            "description",
            format!("IAM takes no `{}` in a description", letter.escape_debug()),
            hint,
        ));
    }
    if description.chars().count() > 1000 {
        let long = description.chars().count();
        let told = format!("this description has {long} characters, and IAM takes 1000");
        faults.push(SpecFault::new("description", told, "shorten it"));
    }
    let trusted = &spec.trusts;
    if !(trusted == PLACEHOLDER || trusted.contains(".amazonaws.com") || trusted.starts_with("arn:")) {
        let hint = "such as `ecs-tasks.amazonaws.com` for tasks, `ec2.amazonaws.com` for instances";
        faults.push(SpecFault::new("trusts", format!("`{trusted}` is neither an AWS service nor an ARN"), hint));
    }
    faults
}
