//! Systems Manager: the public parameters that tell of the ECS-optimised AMIs.
//!
//! For each image there is `…/recommended`, a JSON object, and a parameter below it for each of the object's members.

use serde_json::{Value, json};

use super::account::Account;
use super::images::{self, Image};
use super::input::{flag, number, page, text};
use super::service::{Answer, ApiError, Cx, Documented, epoch, unserved};

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("GetParameters", &["ValidationException"]),
    ("GetParameter", &["ValidationException", "ParameterNotFound", "ParameterVersionNotFound"]),
    ("GetParametersByPath", &["ValidationException", "InvalidNextToken"]),
];

/// There is one version of each parameter.
const VERSION: i64 = 1;

/// Answers one operation.
///
/// # Errors
/// As SSM; operations that are not served are refused by name.
pub fn handle(account: &mut Account, cx: &Cx, operation: &str, input: Value) -> Answer {
    match operation {
        "GetParameters" => several(account, &input),
        "GetParameter" => one(account, &input),
        "GetParametersByPath" => by_path(account, cx, &input),
        _ => Err(unserved("ssm", operation)),
    }
}

/// A public parameter.
struct Parameter {
    name: String,
    value: String,
    image: &'static Image,
}

impl Parameter {
    /// `selector` is what was asked for after the name, e.g. `:1`.
    fn shown(&self, account: &Account, selector: Option<&str>) -> Value {
        let mut shown = json!({
            "Name": self.name,
            "Type": "String",
            "Value": self.value,
            "Version": VERSION,
            "LastModifiedDate": self.image.created.parse().map(epoch).unwrap_or_default(),
            "ARN": format!("arn:aws:ssm:{}::parameter{}", account.region, self.name),
            "DataType": "text",
        });
        if let Some(selector) = selector {
            shown["Selector"] = json!(selector);
        }
        shown
    }
}

/// All parameters, in the alphabet's order.
fn parameters(account: &Account) -> Vec<Parameter> {
    let mut all: Vec<Parameter> = images::of(&account.region).iter().flat_map(of_image).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn of_image(image: &'static Image) -> Vec<Parameter> {
    let whole = image.parameter.trim_end_matches("/image_id");
    let metadata = json!({
        "schema_version": 1,
        "image_id": image.id,
        "image_name": image.name,
        "source_image_name": image.name.replace("-ecs-hvm", ""),
        "os": "Amazon Linux 2023",
        "ecs_agent_version": "1.94.0",
        "ecs_runtime_version": "Docker version 25.0.8",
    });
    let parts = metadata.as_object().into_iter().flatten().map(|(member, value)| Parameter {
        name: format!("{whole}/{member}"),
        value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        image,
    });
    parts.chain([Parameter { name: whole.to_owned(), value: metadata.to_string(), image }]).collect()
}

/// A name as it was given: spaces about it do not count, and what follows a colon selects a version.
fn read_name(given: &str) -> Result<(&str, Option<&str>), ApiError> {
    let given = given.trim();
    if given.is_empty() || given.contains(char::is_whitespace) {
        return Err(invalid(format!("Parameter name: '{given}' must not be empty, nor have spaces in it.")));
    }
    // An ARN's name begins at its slash: `arn:aws:ssm:eu-west-2::parameter/aws/…`.
    let name = given.split_once(":parameter").filter(|_| given.starts_with("arn:")).map_or(given, |(_, name)| name);
    Ok(name.find(':').map_or((name, None), |colon| (&name[..colon], Some(&name[colon..]))))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

fn selects(selector: Option<&str>) -> bool {
    selector.is_none_or(|selector| selector[1..].parse() == Ok(VERSION))
}

/// GetParameters.
fn several(account: &Account, input: &Value) -> Answer {
    let names: Vec<&str> = input["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() || names.len() > 10 {
        return Err(invalid(
            "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length \
             less than or equal to 10, and greater than or equal to 1",
        ));
    }
    let all = parameters(account);
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for given in names {
        let (name, selector) = read_name(given)?;
        match all.iter().find(|parameter| parameter.name == name && selects(selector)) {
            Some(parameter) => found.push((&parameter.name, parameter.shown(account, selector))),
            None => unknown.push(given),
        }
    }
    found.sort_by_key(|(name, _)| *name);
    let found: Vec<Value> = found.into_iter().map(|(_, parameter)| parameter).collect();
    Ok(json!({"Parameters": found, "InvalidParameters": unknown}))
}

/// GetParameter.
fn one(account: &Account, input: &Value) -> Answer {
    let given = text(input, "Name").ok_or_else(|| invalid("Value null at 'name': Member must not be null"))?;
    let (name, selector) = read_name(given)?;
    let all = parameters(account);
    let parameter = all.iter().find(|parameter| parameter.name == name);
    let parameter =
        parameter.ok_or_else(|| ApiError::new("ParameterNotFound", format!("Parameter {name} not found.")))?;
    if !selects(selector) {
        let message = format!("Systems Manager could not find version {} of {name}.", selector.unwrap_or_default());
        return Err(ApiError::new("ParameterVersionNotFound", message));
    }
    Ok(json!({"Parameter": parameter.shown(account, selector)}))
}

/// GetParametersByPath.
fn by_path(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let path = text(input, "Path").unwrap_or_default();
    if !path.starts_with('/') {
        return Err(invalid("The parameter path must begin with a slash \"/\"."));
    }
    let most = number(input, "MaxResults").unwrap_or(10);
    if !(1..=10).contains(&most) {
        return Err(invalid(format!("Value '{most}' at 'maxResults' failed to satisfy constraint: 1 to 10")));
    }
    let inside = format!("{}/", path.trim_end_matches('/'));
    let recursive = flag(input, "Recursive") == Some(true);
    let mut found = parameters(account);
    found.retain(|parameter| parameter.name.strip_prefix(&inside).is_some_and(|rest| recursive || !rest.contains('/')));
    let (some, next) = page(found, text(input, "NextToken"), Some(most), cx.options.settings.page, "InvalidNextToken")?;
    let mut answer = json!({"Parameters": some.iter().map(|one| one.shown(account, None)).collect::<Vec<_>>()});
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}
