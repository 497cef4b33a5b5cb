//! A task definition as it is registered becomes the one that is read back: checked, and with AWS's defaults filled in.

use serde_json::{Map, Value, json};

use super::{client, required};
use crate::input::{flag, list, number, text};
use crate::members;
use crate::service::ApiError;

/// The largest task definition, bytes of its JSON.
const LARGEST: usize = 65_536;

/// Whole numbers written as texts (`"512"`, as task-level cpu and memory are), also `1 vCPU` and `2GB`.
pub(super) fn size(written: &str, scale: i64) -> Option<i64> {
    let squeezed: String = written.split_whitespace().collect::<String>().to_ascii_lowercase();
    if let Ok(number) = squeezed.parse() {
        return Some(number);
    }
    let digits = squeezed.strip_suffix("vcpu").or_else(|| squeezed.strip_suffix("gb"))?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<i64>().ok()? * scale + part.parse::<i64>().ok()? * scale / 1000)
}

/// The task's cpu units, where they are set.
pub(super) fn task_cpu(body: &Value) -> Option<i64> {
    size(text(body, "cpu")?, 1024)
}

/// The task's memory, MiB, where it is set.
pub(super) fn task_memory(body: &Value) -> Option<i64> {
    size(text(body, "memory")?, 1024)
}

fn check_role(input: &Value, member: &str) -> Result<(), ApiError> {
    match text(input, member) {
        Some(role) if !role.is_empty() && role.starts_with("arn:") && !role.contains(":role/") => {
            Err(client("Role is not valid"))
        }
        _ => Ok(()),
    }
}

fn sorted(items: &[Value], key: &str) -> Value {
    let mut items = items.to_vec();
    items.sort_by(|a, b| text(a, key).cmp(&text(b, key)));
    Value::Array(items)
}

fn fill(members: &mut Map<String, Value>, name: &str, default: Value) {
    let slot = members.entry(name).or_insert(Value::Null);
    if slot.is_null() {
        *slot = default;
    }
}

fn check_ports(written: &Value, task: &Value) -> Result<(), ApiError> {
    let ports = list(written, "portMappings");
    let given = |port: &Value| number(port, "hostPort").filter(|host| *host != 0);
    match text(task, "networkMode") {
        Some("none") if !ports.is_empty() => Err(client("Port mappings are not valid with network mode none.")),
        Some("host")
            if ports.iter().any(|port| given(port).is_some() && given(port) != number(port, "containerPort")) =>
        {
            Err(client("When networkMode=host, the host ports and container ports in port mappings must match."))
        }
        _ => Ok(()),
    }
}

/// Checks what the containers have together, and that each has a name of its own.
fn check_together(written: &[Value], task: &Value) -> Result<(), ApiError> {
    let mut names: Vec<&str> = written.iter().filter_map(|one| text(one, "name")).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(client(format!("Container name '{}' is used more than once.", twice[0])));
    }
    let memory: i64 = written.iter().filter_map(|one| number(one, "memory").or(number(one, "memoryReservation"))).sum();
    let cpu: i64 = written.iter().filter_map(|one| number(one, "cpu")).sum();
    for (member, all, together) in [("memory", task_memory(task), memory), ("cpu", task_cpu(task), cpu)] {
        if all.is_some_and(|all| together > all) {
            return Err(client(format!(
                "Invalid setting for the containers: their '{member}' together must not be greater than the task's."
            )));
        }
    }
    Ok(())
}

fn check_compatibilities(input: &Value) -> Result<(), ApiError> {
    for wanted in list(input, "requiresCompatibilities").iter().filter_map(Value::as_str) {
        match wanted {
            "EC2" | "EXTERNAL" => {}
            "FARGATE" if text(input, "networkMode") != Some("awsvpc") => {
                return Err(client("Fargate only supports network mode 'awsvpc'."));
            }
            other => return Err(client(format!("the sandbox serves no task definitions for {other}"))),
        }
    }
    Ok(())
}

/// What is done of the options of the awslogs driver. Whether it waits for CloudWatch Logs (`mode`) makes no difference
/// here: it never has to.
const AWSLOGS: [&str; 6] =
    ["awslogs-group", "awslogs-region", "awslogs-stream-prefix", "awslogs-create-group", "mode", "max-buffer-size"];

fn check_log(log: &Value, region: &str) -> Result<(), ApiError> {
    let driver = text(log, "logDriver").unwrap_or_default();
    let known: &[&str] = match driver {
        "awslogs" => &AWSLOGS,
        "json-file" => &[],
        // No agent has another driver: no task of it is ever placed.
        _ => return Ok(()),
    };
    let options = log.get("options").and_then(Value::as_object);
    if let Some(other) =
        options.into_iter().flatten().map(|(name, _)| name).find(|name| !known.contains(&name.as_str()))
    {
        let member = format!("containerDefinitions.logConfiguration.options.{other}");
        return Err(members::refusal("ecs", "RegisterTaskDefinition", &member));
    }
    if driver != "awslogs" {
        return Ok(());
    }
    let option = |name: &str| options.and_then(|options| options.get(name)?.as_str()).unwrap_or_default();
    if option("awslogs-group").is_empty() || option("awslogs-region").is_empty() {
        return Err(client("Log driver awslogs requires options: awslogs-group, awslogs-region"));
    }
    if option("awslogs-region") != region {
        let member = "containerDefinitions.logConfiguration.options.awslogs-region of another region";
        return Err(members::refusal("ecs", "RegisterTaskDefinition", member));
    }
    Ok(())
}

fn container(written: &Value, task: &Value, region: &str) -> Result<Value, ApiError> {
    let name = text(written, "name").unwrap_or_default();
    if name.is_empty() {
        return Err(client("Container.name should not be null or empty."));
    }
    if name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(client(format!("Invalid container name: {name}")));
    }
    if text(written, "image").unwrap_or_default().is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    let (hard, soft) = (number(written, "memory"), number(written, "memoryReservation"));
    if hard.is_none() && soft.is_none() && task_memory(task).is_none() {
        return Err(client(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    if hard.is_some_and(|hard| hard < 6) {
        return Err(client(format!("Invalid setting for container '{name}'. 'memory' must be at least 6 MiB.")));
    }
    if let (Some(hard), Some(soft)) = (hard, soft)
        && soft > hard
    {
        return Err(client(format!(
            "Invalid setting for container '{name}'. 'memoryReservation' must not be greater than 'memory'."
        )));
    }
    check_ports(written, task)?;
    let volumes: Vec<&str> = list(task, "volumes").iter().filter_map(|volume| text(volume, "name")).collect();
    for mount in list(written, "mountPoints") {
        let source = text(mount, "sourceVolume").unwrap_or_default();
        if !volumes.contains(&source) {
            return Err(client(format!("Unknown volume '{source}'.")));
        }
        if text(mount, "containerPath").unwrap_or_default().is_empty() {
            return Err(client("Container path should not be null or empty."));
        }
    }
    check_log(written.get("logConfiguration").unwrap_or(&Value::Null), region)?;
    if !list(written, "secrets").is_empty() && text(task, "executionRoleArn").unwrap_or_default().is_empty() {
        return Err(client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ));
    }
    let mut members = written.as_object().cloned().unwrap_or_default();
    fill(&mut members, "cpu", json!(0));
    fill(&mut members, "essential", json!(true));
    for name in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
        fill(&mut members, name, json!([]));
    }
    for name in ["environment", "secrets"] {
        if !list(written, name).is_empty() {
            members.insert(name.to_owned(), sorted(list(written, name), "name"));
        }
    }
    let host = text(task, "networkMode") == Some("host");
    let ports = list(written, "portMappings").iter().map(|port| {
        let mut port = port.as_object().cloned().unwrap_or_default();
        let default = if host { port.get("containerPort").cloned().unwrap_or_default() } else { json!(0) };
        fill(&mut port, "hostPort", default);
        fill(&mut port, "protocol", json!("tcp"));
        Value::Object(port)
    });
    members.insert("portMappings".to_owned(), ports.collect());
    Ok(Value::Object(members))
}

fn attributes(input: &Value, containers: &[Value]) -> Value {
    let mut names = vec!["com.amazonaws.ecs.capability.docker-remote-api.1.18".to_owned()];
    let mut drivers: Vec<&str> =
        containers.iter().filter_map(|one| one.pointer("/logConfiguration/logDriver")?.as_str()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    names.extend(drivers.iter().map(|driver| format!("com.amazonaws.ecs.capability.logging-driver.{driver}")));
    if drivers.contains(&"awslogs") {
        names.push("com.amazonaws.ecs.capability.docker-remote-api.1.19".to_owned());
        if text(input, "executionRoleArn").is_some() {
            names.push("ecs.capability.execution-role-awslogs".to_owned());
        }
    }
    if containers.iter().any(|one| number(one, "memoryReservation").is_some()) {
        names.push("com.amazonaws.ecs.capability.docker-remote-api.1.21".to_owned());
    }
    if text(input, "taskRoleArn").is_some() {
        let network = if text(input, "networkMode") == Some("host") { "-network-host" } else { "" };
        names.push(format!("com.amazonaws.ecs.capability.task-iam-role{network}"));
    }
    if containers.iter().any(|one| !list(one, "secrets").is_empty()) {
        names.push("ecs.capability.secrets.ssm.environment-variables".to_owned());
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}

/// The body that is read back, without ARN, revision, status and times.
///
/// # Errors
/// `ClientException` for what ECS would not register, and for what the sandbox could not run: containers that depend on
/// each other, tasks of other kinds of machines.
pub(super) fn body(input: &Value, region: &str) -> Result<Value, ApiError> {
    let family = required(input, "family").map_err(|_| client("Family should not be null or empty."))?;
    if family.len() > 255 || !family.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(client(format!("Family contains invalid characters: {family}")));
    }
    let mut whole = input.clone();
    whole.as_object_mut().and_then(|members| members.remove("tags"));
    let length = whole.to_string().len();
    if length > LARGEST {
        return Err(client(format!("Actual length: '{length}'. Max allowed length is '{LARGEST}' bytes.")));
    }
    check_role(input, "taskRoleArn")?;
    check_role(input, "executionRoleArn")?;
    for member in ["cpu", "memory"] {
        if let Some(written) = text(input, member)
            && size(written, 1024).is_none_or(|size| size <= 0)
        {
            return Err(client(format!("Invalid '{member}' setting for task: {written}")));
        }
    }
    match text(input, "networkMode") {
        None | Some("bridge" | "host" | "none" | "awsvpc") => {}
        Some(other) => return Err(client(format!("Network mode is not valid: {other}"))),
    }
    let written = list(input, "containerDefinitions");
    if written.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    check_compatibilities(input)?;
    check_together(written, input)?;
    if list(input, "placementConstraints").len() > 10 {
        return Err(client("A task can have at most 10 placement constraints."));
    }
    let containers = written.iter().map(|one| container(one, input, region)).collect::<Result<Vec<_>, _>>()?;
    if !containers.iter().any(|one| flag(one, "essential") == Some(true)) {
        return Err(client("Task definition does not have any essential containers."));
    }
    let volumes = list(input, "volumes").iter().map(|volume| {
        let mut volume = volume.as_object().cloned().unwrap_or_default();
        if !["dockerVolumeConfiguration", "efsVolumeConfiguration", "configuredAtLaunch"]
            .iter()
            .any(|name| volume.contains_key(*name))
        {
            fill(&mut volume, "host", json!({}));
        }
        Value::Object(volume)
    });
    let volumes = sorted(&volumes.collect::<Vec<_>>(), "name");
    let mut members = input.as_object().cloned().unwrap_or_default();
    members.retain(|_, value| !value.is_null());
    members.remove("tags");
    members.insert("requiresAttributes".to_owned(), attributes(input, &containers));
    members.insert("containerDefinitions".to_owned(), Value::Array(containers));
    members.insert("volumes".to_owned(), volumes);
    for member in ["cpu", "memory"] {
        if let Some(units) = text(input, member).and_then(|written| size(written, 1024)) {
            members.insert(member.to_owned(), json!(units.to_string()));
        }
    }
    members.insert("compatibilities".to_owned(), json!(["EXTERNAL", "EC2"]));
    fill(&mut members, "placementConstraints", json!([]));
    for role in ["taskRoleArn", "executionRoleArn"] {
        if members.get(role).and_then(Value::as_str) == Some("") {
            members.remove(role);
        }
    }
    if list(input, "requiresCompatibilities").is_empty() {
        members.remove("requiresCompatibilities");
    }
    Ok(Value::Object(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("512", 1024), Some(512));
        assert_eq!(size("1 vCPU", 1024), Some(1024));
        assert_eq!(size("0.5 GB", 1024), Some(512));
        assert_eq!(size("lots", 1024), None);
    }

    #[test]
    fn defaults_are_filled_in() {
        let read = body(
            &json!({
                "family": "f", "containerDefinitions": [{"name": "c", "image": "i", "memory": 128,
                    "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}],
            }),
            "eu-west-2",
        )
        .unwrap();
        let container = &read["containerDefinitions"][0];
        assert_eq!(container["cpu"], 0);
        assert_eq!(container["essential"], true);
        assert_eq!(container["mountPoints"], json!([]));
        assert_eq!(container["environment"][0]["name"], "A");
        assert_eq!(read["placementConstraints"], json!([]));
        assert_eq!(read["compatibilities"], json!(["EXTERNAL", "EC2"]));
    }

    #[test]
    fn options_of_logs() {
        let with = |driver: &str, options: Value| {
            let log = json!({"logDriver": driver, "options": options});
            check_log(&log, "eu-west-2").map_err(|error| error.message)
        };
        let mine = json!({"awslogs-group": "g", "awslogs-region": "eu-west-2", "awslogs-stream-prefix": "p"});
        assert!(with("awslogs", mine.clone()).is_ok());
        for (name, value) in [("awslogs-multiline-pattern", "^x"), ("awslogs-datetime-format", "%Y"), ("tag", "t")] {
            let mut options = mine.clone();
            options[name] = json!(value);
            assert!(with("awslogs", options).unwrap_err().contains(name));
        }
        assert!(with("awslogs", json!({"awslogs-group": "g"})).unwrap_err().contains("awslogs-region"));
        let abroad = json!({"awslogs-group": "g", "awslogs-region": "us-east-1"});
        assert!(with("awslogs", abroad).unwrap_err().contains("another region"));
        assert!(with("json-file", json!({"max-size": "1m"})).is_err() && with("json-file", json!({})).is_ok());
    }

    #[test]
    fn refusals() {
        let message = |input: Value| body(&input, "eu-west-2").unwrap_err().message;
        let with = |container: Value| json!({"family": "f", "containerDefinitions": [container]});
        assert_eq!(message(json!({"family": "f"})), "Container list cannot be empty.");
        assert!(message(with(json!({"name": "c", "image": "i"}))).contains("'memory' or 'memoryReservation'"));
        assert!(
            message(with(json!({"name": "c", "image": "i", "memory": 9, "mountPoints": [{"sourceVolume": "v"}]})))
                .contains("Unknown volume")
        );
        assert!(message(with(json!({"name": "c", "memory": 9}))).contains("image"));
        let long =
            |length: usize| with(json!({"name": "c", "image": "i", "memory": 9, "command": ["x".repeat(length)]}));
        assert!(body(&long(65_000), "eu-west-2").is_ok());
        assert!(message(long(65_536)).ends_with("Max allowed length is '65536' bytes."));
    }
}
