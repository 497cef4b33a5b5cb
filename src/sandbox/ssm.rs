//! Systems Manager: public parameters that hold AMIs' ids.

use serde_json::{Value, json};

use super::account::Account;
use super::images::by_parameter;
use super::service::{Answer, ApiError, Cx, Documented, unserved};

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[("GetParameters", &[])];

/// Answers one operation.
///
/// # Errors
/// As SSM; operations that are not served are refused by name.
pub fn handle(account: &mut Account, _cx: &Cx, operation: &str, input: Value) -> Answer {
    if operation != "GetParameters" {
        return Err(unserved("ssm", operation));
    }
    let names: Vec<&str> = input["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() || names.len() > 10 {
        return Err(ApiError::new(
            "ValidationException",
            "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length \
             less than or equal to 10, and greater than or equal to 1",
        ));
    }
    let (mut parameters, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match by_parameter(name) {
            Some(ami) => parameters.push(json!({
                "Name": name,
                "Type": "String",
                "Value": ami.id,
                "Version": 1,
                "ARN": format!("arn:aws:ssm:{}::parameter{name}", account.region),
                "DataType": "text",
            })),
            None => invalid.push(name),
        }
    }
    Ok(json!({"Parameters": parameters, "InvalidParameters": invalid}))
}
