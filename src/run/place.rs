//! What RunTask's answer means: turns it into started, worth waiting for, or never. Pure, but for the requests' making.

use std::time::Duration;

use super::key::digest;
use super::ledger::Request;
use super::spec::{RunSpec, StepSpec};
use super::world::Placed;
use super::RunError;
use crate::aws::{AwsError, Class};
use crate::kind::{TAG_REGION, TAG_SAMPLE, TAG_STACK};

/// The tag of a task that says which pipeline step it runs.
const TAG_STEP: &str = "seqstack:step";

/// What RunTask's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The task is there.
    Started(String),
    /// The instance has no room for it (now).
    NoRoom(String),
    /// It passes, for so long at the most.
    Wait(String, Duration),
    /// The instance may have gone.
    Nowhere(String),
    /// The same request will never start anything.
    Never(String),
}

/// Reads RunTask's answer.
///
/// # Errors
/// What is no answer about the task at all: no rights, no connection.
pub(super) fn answer(result: Result<Placed, RunError>) -> Result<Answer, RunError> {
    match result {
        Ok(Placed::Task(arn)) => Ok(Answer::Started(arn)),
        Ok(Placed::Refused(reason, detail)) => {
            let text = if detail.is_empty() { reason.clone() } else { format!("{reason} ({detail})") };
            Ok(if reason.starts_with("RESOURCE") {
                Answer::NoRoom(text)
            } else if reason == "AGENT" {
                Answer::Wait("the instance's container agent is not connected".to_owned(), Duration::from_secs(300))
            } else {
                Answer::Nowhere(text)
            })
        }
        Err(RunError::Aws(error)) => of_error(error),
        Err(error) => Err(error),
    }
}

fn of_error(error: AwsError) -> Result<Answer, RunError> {
    if error.message.contains("No Container Instances were found") {
        return Ok(Answer::Nowhere("no instance is registered with the cluster".to_owned()));
    }
    // A role that IAM made seconds ago is not known everywhere yet.
    if error.message.to_lowercase().contains("unable to assume") {
        return Ok(Answer::Wait(error.message, Duration::from_secs(180)));
    }
    match error.class {
        Class::Refused | Class::NotFound => Ok(Answer::Never(error.to_string())),
        _ => Err(error.into()),
    }
}

/// The request of a step's attempt, whole; `container` and `log` as the task definition has them.
///
/// # Errors
/// When a link has no id yet.
pub(super) fn request(
    spec: &RunSpec,
    step: &StepSpec,
    container: &str,
    log: Option<(String, String)>,
    token: &str,
) -> Result<Request, RunError> {
    let mut tags = spec.tags.clone();
    tags.extend([
        (TAG_STACK.to_owned(), spec.stack.clone()),
        (TAG_REGION.to_owned(), spec.region.clone()),
        (TAG_SAMPLE.to_owned(), spec.sample.clone()),
        (TAG_STEP.to_owned(), step.name.clone()),
    ]);
    Ok(Request {
        cluster: spec.cluster.id()?.to_owned(),
        task_definition: step.task.id()?.to_owned(),
        container: container.to_owned(),
        instance: spec.instance.id()?.to_owned(),
        command: step.overrides.command.clone(),
        environment: step.overrides.environment.clone(),
        cpu: step.overrides.cpu,
        memory: step.overrides.memory,
        task_role: step.overrides.task_role.as_ref().map(|role| role.id().map(str::to_owned)).transpose()?,
        started_by: started_by(token),
        tags,
        log,
    })
}

/// `startedBy` of the task with this token: its alphabet is narrow, so a digest.
fn started_by(token: &str) -> String {
    format!("seqstack/{}", &digest("started by", &token)[..40])
}

/// Why a step can never be placed on a machine of that size, where it cannot; amounts in CPU units and MiB.
pub(super) fn too_large(step: &StepSpec, registered: (i64, i64)) -> Option<String> {
    let (cpu, memory) = (step.cpu.unwrap_or_default(), step.memory.unwrap_or_default());
    (cpu > registered.0 || memory > registered.1).then(|| {
        format!(
            "it needs {cpu} CPU units and {memory} MiB, and the whole instance has {} CPU units and {} MiB for tasks",
            registered.0, registered.1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str) -> Answer {
        answer(Ok(Placed::Refused(reason.to_owned(), String::new()))).unwrap()
    }

    fn error(code: &str, message: &str, class: Class) -> RunError {
        RunError::Aws(AwsError {
            operation: "ecs:RunTask",
            code: Some(code.to_owned()),
            message: message.to_owned(),
            status: Some(400),
            request_id: None,
            class,
        })
    }

    #[test]
    fn each_answer_has_its_meaning() {
        assert!(matches!(refused("RESOURCE:MEMORY"), Answer::NoRoom(_)));
        assert!(matches!(refused("AGENT"), Answer::Wait(..)));
        assert!(matches!(refused("MISSING"), Answer::Nowhere(_)));
        let none = error("InvalidParameterException", "No Container Instances were found in your cluster.", Class::Refused);
        assert!(matches!(answer(Err(none)), Ok(Answer::Nowhere(_))));
        let role = error("ClientException", "ECS was unable to assume the role 'r'", Class::Refused);
        assert!(matches!(answer(Err(role)), Ok(Answer::Wait(..))));
        let gone = error("ClientException", "TaskDefinition is inactive", Class::Refused);
        assert!(matches!(answer(Err(gone)), Ok(Answer::Never(_))));
        assert!(answer(Err(error("AccessDeniedException", "no", Class::Denied))).is_err());
    }

    #[test]
    fn started_by_keeps_to_its_alphabet() {
        let text = started_by("token");
        assert!(text.len() <= 128);
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)));
    }
}
