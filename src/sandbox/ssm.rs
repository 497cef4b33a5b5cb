//! Systems Manager: the public parameters that tell of the ECS-optimised AMIs, and the account's own ones.
//!
//! For each image there is `…/recommended`, a JSON object, and a parameter below it for each of the object's members.

use serde_json::{Value, json};

use super::account::Account;
use super::images::{self, Image};
use super::input::{flag, number, page, text};
use super::service::{Answer, ApiError, Cx, Documented, epoch, unserved};

mod own;

pub use own::State;

/// The operations that are served, each with the codes of the errors that it can give.
pub const OPERATIONS: &[Documented] = &[
    ("GetParameters", &["ValidationException"]),
    ("GetParameter", &["ValidationException", "ParameterNotFound", "ParameterVersionNotFound"]),
    ("GetParametersByPath", &["ValidationException", "InvalidNextToken"]),
    (
        "PutParameter",
        &[
            "ValidationException",
            "ParameterAlreadyExists",
            "ParameterLimitExceeded",
            "ParameterMaxVersionLimitExceeded",
            "HierarchyLevelLimitExceededException",
            "HierarchyTypeMismatchException",
        ],
    ),
    ("DeleteParameter", &["ValidationException", "ParameterNotFound"]),
    ("DeleteParameters", &["ValidationException"]),
    (
        "LabelParameterVersion",
        &["ValidationException", "ParameterNotFound", "ParameterVersionNotFound", "ParameterVersionLabelLimitExceeded"],
    ),
    ("UnlabelParameterVersion", &["ValidationException", "ParameterNotFound", "ParameterVersionNotFound"]),
    ("GetParameterHistory", &["ValidationException", "ParameterNotFound", "InvalidNextToken"]),
    ("DescribeParameters", &["ValidationException", "InvalidFilterKey", "InvalidFilterOption", "InvalidNextToken"]),
];

/// There is one version of each public parameter.
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
        "PutParameter" => own::put(account, cx, &input),
        "DeleteParameter" => own::delete(account, &input),
        "DeleteParameters" => own::delete_several(account, &input),
        "LabelParameterVersion" => own::label(account, &input),
        "UnlabelParameterVersion" => own::unlabel(account, &input),
        "GetParameterHistory" => own::history(account, cx, &input),
        "DescribeParameters" => own::describe(account, cx, &input),
        _ => Err(unserved("ssm", operation)),
    }
}

/// A parameter at one of its versions.
struct Found {
    name: String,
    kind: String,
    value: String,
    version: i64,
    modified: f64,
    arn: String,
}

/// What there is under a name and a selector.
enum Selected {
    Found(Found),
    /// The parameter is there, and not this version of it.
    OtherVersion,
    Unknown,
}

impl Found {
    /// `selector` is what was asked for after the name, e.g. `:1`.
    fn shown(&self, selector: Option<&str>) -> Value {
        let mut shown = json!({
            "Name": self.name, "Type": self.kind, "Value": self.value, "Version": self.version,
            "LastModifiedDate": self.modified, "ARN": self.arn, "DataType": "text",
        });
        if let Some(selector) = selector {
            shown["Selector"] = json!(selector);
        }
        shown
    }
}

/// AWS's public parameters.
fn public(account: &Account) -> Vec<Found> {
    images::of(&account.region).iter().flat_map(|image| of_image(account, image)).collect()
}

fn of_image(account: &Account, image: &'static Image) -> Vec<Found> {
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
    let found = |name: String, value: String| Found {
        arn: format!("arn:aws:ssm:{}::parameter{name}", account.region),
        name,
        kind: "String".to_owned(),
        value,
        version: VERSION,
        modified: image.created.parse().map(epoch).unwrap_or_default(),
    };
    let parts = metadata.as_object().into_iter().flatten().map(|(member, value)| {
        found(format!("{whole}/{member}"), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    parts.chain([found(whole.to_owned(), metadata.to_string())]).collect()
}

/// What is asked for by a name and a selector; secrets are open where their decryption is asked for.
fn select(account: &Account, name: &str, selector: Option<&str>, open: bool) -> Selected {
    match public(account).into_iter().find(|one| one.name == name) {
        Some(one) if selects(selector) => Selected::Found(one),
        Some(_) => Selected::OtherVersion,
        None => own::select(account, name, selector, open),
    }
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
    let open = flag(input, "WithDecryption") == Some(true);
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for given in names {
        let (name, selector) = read_name(given)?;
        match select(account, name, selector, open) {
            Selected::Found(one) => found.push((one.name.clone(), one.shown(selector))),
            Selected::OtherVersion | Selected::Unknown => unknown.push(given),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let found: Vec<Value> = found.into_iter().map(|(_, parameter)| parameter).collect();
    Ok(json!({"Parameters": found, "InvalidParameters": unknown}))
}

fn not_found(name: &str) -> ApiError {
    ApiError::new("ParameterNotFound", format!("Parameter {name} not found."))
}

/// GetParameter.
fn one(account: &Account, input: &Value) -> Answer {
    let given = text(input, "Name").ok_or_else(|| invalid("Value null at 'name': Member must not be null"))?;
    let (name, selector) = read_name(given)?;
    match select(account, name, selector, flag(input, "WithDecryption") == Some(true)) {
        Selected::Found(one) => Ok(json!({"Parameter": one.shown(selector)})),
        Selected::OtherVersion => Err(ApiError::new(
            "ParameterVersionNotFound",
            format!("Systems Manager could not find version {} of {name}.", selector.unwrap_or_default()),
        )),
        Selected::Unknown => Err(not_found(name)),
    }
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
    let mut found = public(account);
    found.extend(own::all(account, flag(input, "WithDecryption") == Some(true)));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.retain(|parameter| parameter.name.strip_prefix(&inside).is_some_and(|rest| recursive || !rest.contains('/')));
    let (some, next) = page(found, text(input, "NextToken"), Some(most), cx.options.settings.page, "InvalidNextToken")?;
    let mut answer = json!({"Parameters": some.iter().map(|one| one.shown(None)).collect::<Vec<_>>()});
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}
