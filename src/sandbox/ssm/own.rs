//! The account's own parameters: their versions, and the labels of these.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Found, Selected, invalid, not_found, read_name};
use crate::account::Account;
use crate::input::{flag, list, number, page, text, texts};
use crate::service::{Answer, ApiError, Cx, epoch};
use crate::table::{Record, Stored, Table, plain_records};

/// The most versions that are kept of a parameter, labels of a version, and levels of a name
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html>,
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html>).
const VERSIONS: usize = 100;
const LABELS: usize = 10;
const LEVELS: usize = 15;
/// Bytes of a standard parameter's value, and how many of them an account has.
const VALUE: usize = 4096;
const PARAMETERS: usize = 10_000;

/// What the account holds of Systems Manager.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    parameters: Table<String, Parameter>,
}

plain_records!(Parameter);

impl Record for State {
    fn tables(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        vec![("parameters", &mut self.parameters)]
    }
}

impl State {
    /// What exists of it.
    pub fn status(&self) -> Value {
        json!({ "parameters": self.parameters.keys().map(|name| json!({ "name": name })).collect::<Vec<_>>() })
    }
}

/// A parameter of the account's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parameter {
    kind: String,
    /// By number.
    versions: BTreeMap<i64, Version>,
}

/// One version of a parameter.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Version {
    value: String,
    description: Option<String>,
    modified: Timestamp,
    labels: Vec<String>,
}

impl Parameter {
    fn newest(&self) -> i64 {
        self.versions.keys().next_back().copied().unwrap_or_default()
    }

    /// The version that a selector means: `:3`, `:label`, or none for the newest.
    fn version(&self, selector: Option<&str>) -> Option<(i64, &Version)> {
        let number = match selector.map(|selector| &selector[1..]) {
            None => self.newest(),
            Some(number) if number.starts_with(|first: char| first.is_ascii_digit()) => number.parse().ok()?,
            Some(label) => {
                let holds = |version: &Version| version.labels.iter().any(|one| one == label);
                *self.versions.iter().find(|(_, version)| holds(version))?.0
            }
        };
        self.versions.get(&number).map(|version| (number, version))
    }

    fn label(&mut self, number: i64, change: impl FnOnce(&mut Vec<String>)) {
        if let Some(version) = self.versions.get_mut(&number) {
            change(&mut version.labels);
        }
    }
}

/// A secret value as it is shown to whoever does not ask for its decryption.
fn sealed(value: &str) -> String {
    STANDARD.encode(Sha256::digest(value.as_bytes()))
}

fn found(
    account: &Account,
    name: &str,
    parameter: &Parameter,
    (number, version): (i64, &Version),
    open: bool,
) -> Found {
    let secret = parameter.kind == "SecureString" && !open;
    let slash = if name.starts_with('/') { "" } else { "/" };
    Found {
        name: name.to_owned(),
        kind: parameter.kind.clone(),
        value: if secret { sealed(&version.value) } else { version.value.clone() },
        version: number,
        modified: epoch(version.modified),
        arn: format!("arn:aws:ssm:{}:{}:parameter{slash}{name}", account.region, account.id),
    }
}

/// The account's own parameter of this name, at what the selector means.
pub(super) fn select(account: &Account, name: &str, selector: Option<&str>, open: bool) -> Selected {
    match account.ssm.parameters.get(name) {
        None => Selected::Unknown,
        Some(parameter) => match parameter.version(selector) {
            None => Selected::OtherVersion,
            Some(version) => Selected::Found(found(account, name, parameter, version, open)),
        },
    }
}

/// All of them at their newest versions, in the alphabet's order.
pub(super) fn all(account: &Account, open: bool) -> Vec<Found> {
    let each = account.ssm.parameters.iter();
    each.filter_map(|(name, one)| Some(found(account, name, one, one.version(None)?, open))).collect()
}

/// A name that a parameter may be given.
fn new_name(input: &Value) -> Result<&str, ApiError> {
    let given = text(input, "Name").ok_or_else(|| invalid("Value null at 'name': Member must not be null"))?;
    let (name, selector) = read_name(given)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.-/".contains(letter);
    if selector.is_some() || name.len() > 1011 || !name.chars().all(fits) || name.ends_with('/') || name.contains("//")
    {
        return Err(invalid(format!(
            "Parameter name: '{given}' must be of letters, numbers and the symbols .-_ and /"
        )));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        return Err(invalid(format!("Parameter name: '{name}' must not begin with aws or ssm")));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if name.matches('/').count() > LEVELS {
        let message = format!("A hierarchy can have at most {LEVELS} levels.");
        return Err(ApiError::new("HierarchyLevelLimitExceededException", message));
    }
    Ok(name)
}

/// PutParameter: a new parameter, or with `Overwrite` a new version of one that is there.
pub(super) fn put(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = new_name(input)?;
    let value = text(input, "Value").filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| invalid("Value at 'value': Member must have length greater than or equal to 1"))?;
    if value.len() > VALUE {
        return Err(invalid(format!(
            "Standard tier parameters support a maximum parameter value of {VALUE} characters."
        )));
    }
    let kind = text(input, "Type");
    if let Some(other) = kind.filter(|kind| !["String", "StringList", "SecureString"].contains(kind)) {
        return Err(invalid(format!("Value '{other}' at 'type': [SecureString, StringList, String]")));
    }
    let version = Version {
        value: value.to_owned(),
        description: text(input, "Description").map(str::to_owned),
        modified: cx.now,
        labels: Vec::new(),
    };
    let full = account.ssm.parameters.len() >= PARAMETERS;
    match account.ssm.parameters.get_mut(name) {
        None => {
            let kind = kind.ok_or_else(|| invalid("A parameter type is required when you create a parameter."))?;
            if full {
                let message = format!("An account can have at most {PARAMETERS} standard parameters.");
                return Err(ApiError::new("ParameterLimitExceeded", message));
            }
            let new = Parameter { kind: kind.to_owned(), versions: [(1, version)].into() };
            account.ssm.parameters.insert(name.to_owned(), new);
            Ok(json!({"Version": 1, "Tier": "Standard"}))
        }
        Some(_) if flag(input, "Overwrite") != Some(true) => Err(ApiError::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        )),
        Some(parameter) => overwrite(name, parameter, kind, version),
    }
}

fn overwrite(name: &str, parameter: &mut Parameter, kind: Option<&str>, mut version: Version) -> Answer {
    if kind.is_some_and(|kind| kind != parameter.kind) {
        let message = format!("{name} is a {} and stays one.", parameter.kind);
        return Err(ApiError::new("HierarchyTypeMismatchException", message));
    }
    if parameter.versions.len() >= VERSIONS
        && let Some((oldest, labels)) = parameter.versions.iter().next().map(|(n, one)| (*n, one.labels.clone()))
    {
        if !labels.is_empty() {
            let message = format!("Version {oldest} of {name}, the oldest one, cannot go: it has a label.");
            return Err(ApiError::new("ParameterMaxVersionLimitExceeded", message));
        }
        parameter.versions.remove(&oldest);
    }
    let newest = parameter.newest();
    if version.description.is_none() {
        version.description = parameter.versions.get(&newest).and_then(|one| one.description.clone());
    }
    parameter.versions.insert(newest + 1, version);
    Ok(json!({"Version": newest + 1, "Tier": "Standard"}))
}

/// DeleteParameter.
pub(super) fn delete(account: &mut Account, input: &Value) -> Answer {
    let given = text(input, "Name").ok_or_else(|| invalid("Value null at 'name': Member must not be null"))?;
    let (name, _) = read_name(given)?;
    account.ssm.parameters.remove(name).map(|_| json!({})).ok_or_else(|| not_found(name))
}

/// DeleteParameters.
pub(super) fn delete_several(account: &mut Account, input: &Value) -> Answer {
    let names = texts(input, "Names");
    if names.is_empty() || names.len() > 10 {
        return Err(invalid("Value at 'names': Member must have between 1 and 10 items"));
    }
    let (mut gone, mut unknown) = (Vec::new(), Vec::new());
    for given in names {
        let (name, _) = read_name(&given)?;
        match account.ssm.parameters.remove(name) {
            Some(_) => gone.push(given),
            None => unknown.push(given),
        }
    }
    Ok(json!({"DeletedParameters": gone, "InvalidParameters": unknown}))
}

fn named<'a>(account: &'a mut Account, input: &Value) -> Result<&'a mut Parameter, ApiError> {
    let given = text(input, "Name").ok_or_else(|| invalid("Value null at 'name': Member must not be null"))?;
    let (name, _) = read_name(given)?;
    account.ssm.parameters.get_mut(name).ok_or_else(|| not_found(name))
}

fn no_version(number: i64) -> ApiError {
    ApiError::new("ParameterVersionNotFound", format!("Systems Manager could not find version {number}."))
}

/// Whether a label may be one
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_LabelParameterVersion.html>).
fn is_label(label: &str) -> bool {
    let lower = label.to_ascii_lowercase();
    !label.is_empty()
        && label.len() <= 100
        && label.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
        && !label.starts_with(|first: char| first.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}

/// LabelParameterVersion: a label moves from the version that has it; one that may not be a label is told.
pub(super) fn label(account: &mut Account, input: &Value) -> Answer {
    let parameter = named(account, input)?;
    let number = number(input, "ParameterVersion").unwrap_or(parameter.newest());
    let version = parameter.versions.get(&number).ok_or_else(|| no_version(number))?;
    let (good, bad): (Vec<String>, Vec<String>) = texts(input, "Labels").into_iter().partition(|one| is_label(one));
    let mut labels = version.labels.clone();
    labels.extend(good.iter().filter(|one| !version.labels.contains(one)).cloned());
    if labels.len() > LABELS {
        let message = format!("A version can have at most {LABELS} labels.");
        return Err(ApiError::new("ParameterVersionLabelLimitExceeded", message));
    }
    let others: Vec<i64> = parameter.versions.keys().copied().filter(|other| *other != number).collect();
    for other in others {
        parameter.label(other, |labels| labels.retain(|label| !good.contains(label)));
    }
    parameter.label(number, |now| *now = labels);
    Ok(json!({"InvalidLabels": bad, "ParameterVersion": number}))
}

/// UnlabelParameterVersion.
pub(super) fn unlabel(account: &mut Account, input: &Value) -> Answer {
    let parameter = named(account, input)?;
    let number = number(input, "ParameterVersion").ok_or_else(|| invalid("ParameterVersion must not be null"))?;
    let version = parameter.versions.get(&number).ok_or_else(|| no_version(number))?;
    let (gone, unknown): (Vec<String>, Vec<String>) =
        texts(input, "Labels").into_iter().partition(|label| version.labels.contains(label));
    parameter.label(number, |labels| labels.retain(|label| !gone.contains(label)));
    Ok(json!({"RemovedLabels": gone, "InvalidLabels": unknown}))
}

/// GetParameterHistory: all versions, the oldest first.
pub(super) fn history(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let open = flag(input, "WithDecryption") == Some(true);
    let user = user(account);
    let given = text(input, "Name").unwrap_or_default().trim().to_owned();
    let parameter = named(account, input)?;
    let shown = |(number, version): (&i64, &Version)| {
        let secret = parameter.kind == "SecureString" && !open;
        let mut one = json!({
            "Name": given, "Type": parameter.kind, "Version": number, "LastModifiedDate": epoch(version.modified),
            "Value": if secret { sealed(&version.value) } else { version.value.clone() }, "Labels": version.labels,
            "LastModifiedUser": user, "Tier": "Standard", "Policies": [], "DataType": "text",
        });
        if let Some(description) = &version.description {
            one["Description"] = json!(description);
        }
        one
    };
    let all = parameter.versions.iter().map(shown).collect();
    paged(all, "Parameters", cx, input)
}

fn user(account: &Account) -> String {
    format!("arn:aws:iam::{}:user/sandbox", account.id)
}

fn paged(all: Vec<Value>, member: &str, cx: &Cx, input: &Value) -> Answer {
    let most = number(input, "MaxResults").unwrap_or(50);
    if !(1..=50).contains(&most) {
        return Err(invalid(format!("Value '{most}' at 'maxResults' failed to satisfy constraint: 1 to 50")));
    }
    let (some, next) = page(all, text(input, "NextToken"), Some(most), cx.options.settings.page, "InvalidNextToken")?;
    let mut answer = json!({ member: some });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    Ok(answer)
}

/// Whether a filter holds: `Name` and `Type`, as `Equals`, `BeginsWith` or `Contains`.
fn holds(filter: &Value, name: &str, kind: &str) -> Result<bool, ApiError> {
    let (key, option) = (text(filter, "Key").unwrap_or_default(), text(filter, "Option").unwrap_or("Equals"));
    let have = match key {
        "Name" => name,
        "Type" => kind,
        other => return Err(ApiError::new("InvalidFilterKey", format!("the sandbox does not do the filter {other}"))),
    };
    let matches = |wanted: &String| match option {
        "BeginsWith" => have.starts_with(wanted) || have.trim_start_matches('/').starts_with(wanted),
        "Contains" => have.contains(wanted),
        _ => have == wanted,
    };
    if !["Equals", "BeginsWith", "Contains"].contains(&option) || (key == "Type" && option != "Equals") {
        return Err(ApiError::new("InvalidFilterOption", format!("The option {option} is none of the filter {key}")));
    }
    Ok(texts(filter, "Values").iter().any(matches))
}

/// DescribeParameters: the account's own, without their values.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let mut shown = Vec::new();
    let filters = list(input, "ParameterFilters");
    for filter in filters {
        holds(filter, "", "")?;
    }
    for (name, parameter) in account.ssm.parameters.iter() {
        let Some((number, version)) = parameter.version(None) else { continue };
        if !filters.iter().all(|filter| holds(filter, name, &parameter.kind) == Ok(true)) {
            continue;
        }
        let mut one = json!({
            "Name": name, "ARN": found(account, name, parameter, (number, version), false).arn,
            "Type": parameter.kind, "Version": number, "LastModifiedDate": epoch(version.modified),
            "LastModifiedUser": user(account), "Tier": "Standard", "Policies": [], "DataType": "text",
        });
        if parameter.kind == "SecureString" {
            one["KeyId"] = json!("alias/aws/ssm");
        }
        if let Some(description) = &version.description {
            one["Description"] = json!(description);
        }
        shown.push(one);
    }
    paged(shown, "Parameters", cx, input)
}
