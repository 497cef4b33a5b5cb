//! Placing tasks: turns a step into a RunTask request, and the answer into started, worth waiting for, or never.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::drive::{Driver, Ended, Stage, host_lost};
use super::host::GIVEN_UP;
use super::key::digest;
use super::ledger::Request;
use super::spec::{RunSpec, StepSpec};
use super::strays::TaggedTask;
use super::verdict::{Judgement, ROLE_ADVICE, TaskEnd, Verdict};
use super::world::{Agent, Placed, World};
use super::{RunError, RunEvent};
use crate::aws::absence::SEEN;
use crate::aws::{AwsError, Class};
use crate::kind::{TAG_REGION, TAG_SAMPLE, TAG_STACK};

/// How long other things may take to make room on an instance that is large enough.
const ROOM: Duration = Duration::from_secs(60);
/// How often it is tried again while another sample's task has the room.
const ANOTHERS: Duration = Duration::from_secs(15);
/// How long an instance that is there may be missing from the cluster.
const NOWHERE: Duration = Duration::from_secs(120);
/// How long the agent of one that is there may be away, until the instance itself is given up.
const AGENT: Duration = GIVEN_UP.saturating_mul(2);
/// The tag of a task that says which pipeline step it runs.
pub(super) const TAG_STEP: &str = "seqstack:step";

/// What RunTask's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The task is there.
    Started(String),
    /// The instance has no room for it (now).
    NoRoom(String),
    /// It passes, for so long at the most.
    Wait(String, Duration),
    /// The instance may have gone; if it has not, this passes, for so long at the most.
    Nowhere(String, Duration),
    /// Its task definition's revision was deregistered.
    Stale(String),
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
                Answer::Nowhere("the instance's container agent is not connected".to_owned(), AGENT)
            } else {
                Answer::Nowhere(text, NOWHERE)
            })
        }
        Err(RunError::Aws(error)) => of_error(error),
        Err(error) => Err(error),
    }
}

fn of_error(error: AwsError) -> Result<Answer, RunError> {
    if error.message.contains("No Container Instances were found") {
        return Ok(Answer::Nowhere("no instance is registered with the cluster".to_owned(), NOWHERE));
    }
    // A role that IAM made seconds ago is not known everywhere yet.
    let said = error.message.to_lowercase();
    if said.contains("unable to assume") || said.contains("role is not valid") {
        return Ok(Answer::Wait(error.message, Duration::from_secs(180)));
    }
    // ECS's `ClientException`: "TaskDefinition is inactive".
    if error.message.to_lowercase().replace(' ', "").contains("taskdefinitionisinactive") {
        return Ok(Answer::Stale(error.message));
    }
    // ECS's `ClientException` of a revision that was registered a moment ago: "TaskDefinition not found."
    if error.message.to_lowercase().replace(' ', "").contains("taskdefinitionnotfound") {
        return Ok(Answer::Wait(error.message, SEEN.within));
    }
    match error.class {
        Class::Refused | Class::NotFound => Ok(Answer::Never(error.to_string())),
        _ => Err(error.into()),
    }
}

/// The request of a step's attempt, whole.
///
/// # Errors
/// When a link has no id yet.
pub(super) fn request(spec: &RunSpec, step: &StepSpec, token: &str) -> Result<Request, RunError> {
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
        container: step.container.clone(),
        essential: step.essential.clone(),
        instance: spec.instance.id()?.to_owned(),
        command: step.overrides.command.clone(),
        environment: step.overrides.environment.clone(),
        cpu: step.overrides.cpu,
        memory: step.overrides.memory,
        task_role: step.overrides.task_role.as_ref().map(|role| role.id().map(str::to_owned)).transpose()?,
        started_by: started_by(token),
        tags,
        log: step
            .log
            .as_ref()
            .map(|log| Ok::<_, RunError>((log.group.id()?.to_owned(), log.prefix.clone())))
            .transpose()?,
    })
}

/// `startedBy` of the task with this token: its alphabet is narrow, so a digest.
fn started_by(token: &str) -> String {
    format!("seqstack/{}", &digest("started by", &token)[..40])
}

/// Why a task can never be placed on a machine of that size, where it cannot; amounts in CPU units and MiB.
fn too_large((cpu, memory): (i64, i64), registered: (i64, i64)) -> Option<String> {
    (cpu > registered.0 || memory > registered.1).then(|| {
        format!(
            "it needs {cpu} CPU units and {memory} MiB, and the whole instance has {} CPU units and {} MiB for tasks",
            registered.0, registered.1
        )
    })
}

impl<W: World> Driver<'_, W> {
    /// Starts what has its attempt in the ledger, side by side, and writes down the tasks.
    pub(super) async fn place(&mut self) -> Result<Vec<Ended>, RunError> {
        let now = Instant::now();
        let asked: Vec<(String, u32, String, Request)> = self
            .stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Placing { n, token, request, until, .. } if *until <= now => {
                    Some((name.clone(), *n, token.clone(), (**request).clone()))
                }
                _ => None,
            })
            .collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        self.book.hold().await?;
        let (world, patience, book) = (self.world, self.patience, self.book);
        let answers = join_all(asked.iter().map(|(_, _, token, request)| async move {
            answer(patience.ask_while(|| book.hold(), || world.run_task(request, token)).await)
        }))
        .await;
        let mut started = Vec::new();
        let mut failed = None;
        let mut refused = Vec::new();
        for ((name, n, ..), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(Answer::Started(arn)) => {
                    self.stages.insert(name.clone(), Stage::Running { n, arn: arn.clone(), missing: None });
                    started.push((name, n, arn));
                }
                Ok(other) => refused.push((name, n, other)),
                Err(error) => failed = Some(error),
            }
        }
        if !started.is_empty() {
            self.book
                .update(|ledger, _| {
                    for (name, n, arn) in &started {
                        if let Some(attempt) = ledger.attempt_mut(name, *n) {
                            attempt.task_arn = Some(arn.clone());
                        }
                    }
                })
                .await?;
        }
        for (name, attempt, task_arn) in started {
            (self.patience.events)(RunEvent::StepStarted { name, attempt, task_arn });
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut ended = Vec::new();
        for (name, n, answer) in refused {
            ended.extend(self.refused(&name, n, answer).await?);
        }
        Ok(ended)
    }

    /// What follows from a task that was not placed: patience, or an end.
    async fn refused(&mut self, name: &str, n: u32, answer: Answer) -> Result<Option<Ended>, RunError> {
        let others = self.stages.values().any(|stage| matches!(stage, Stage::Running { .. }));
        let spec = self.spec;
        let step = spec.steps.iter().find(|step| step.name == name);
        let request = match self.stages.get(name) {
            Some(Stage::Placing { request, .. }) => request.clone(),
            _ => return Ok(None),
        };
        let mut pause = Duration::from_secs(2);
        let mut ends_by_itself = false;
        let (reason, within, next) = match answer {
            Answer::Started(_) => return Ok(None),
            Answer::Never(reason) => return Ok(Some(never(name, n, reason, false, "mend what the message names"))),
            Answer::Stale(reason) => {
                let ended = never(name, n, reason, true, "apply again: the task definition is registered anew");
                // What an earlier apply wrote down may name a revision that is gone; the present one is then asked for.
                let present = step.map(|step| step.task.id()).transpose()?;
                if present == Some(request.task_definition.as_str()) {
                    return Ok(Some(ended));
                }
                return self.ended(name, n, ended.end, ended.judgement).await.map(Some);
            }
            Answer::Wait(reason, within) if reason.to_lowercase().contains("unable to assume") => {
                (reason, within, ROLE_ADVICE)
            }
            Answer::Wait(reason, within) => {
                (reason, within, "apply again: ECS was slow to show what was just registered")
            }
            Answer::NoRoom(reason) if others => {
                // Its patience begins when nothing of this run is in its way any more.
                ends_by_itself = true;
                if let Some(Stage::Placing { since, .. }) = self.stages.get_mut(name) {
                    *since = Instant::now();
                }
                (reason, ROOM, "")
            }
            Answer::NoRoom(reason) if reason.contains("GPU") => {
                let next = "take an instance `type` that has GPUs, with ECS's own AMI for them, or leave out `gpus`";
                return Ok(Some(never(
                    name,
                    n,
                    format!("ECS cannot place it on {}: {reason}", self.instance),
                    false,
                    next,
                )));
            }
            Answer::NoRoom(reason) => {
                let agent = self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await?;
                let mut reason = format!("ECS cannot place it on {}: {reason}", self.instance);
                if let (Agent::Ready { registered, remaining, .. }, Some(step)) = (&agent, step) {
                    let cpu = request.cpu.or(step.cpu).unwrap_or_default();
                    let memory = request.memory.or(step.memory).unwrap_or_default();
                    if let Some(why) = too_large((cpu, memory), *registered) {
                        let next = "lower the step's `cpu` or `memory`, or take a larger instance `type`";
                        return Ok(Some(never(name, n, format!("{reason}: {why}"), false, next)));
                    }
                    reason = format!(
                        "{reason}: {} CPU units and {} MiB are free, and it needs {cpu} and {memory}",
                        remaining.0, remaining.1
                    );
                }
                if let Agent::Ready { arn, .. } = agent
                    && let Some(TaggedTask { sample, step, made_at, .. }) = self.another_samples(&arn).await?
                {
                    ends_by_itself = true;
                    if let Some(Stage::Placing { since, .. }) = self.stages.get_mut(name) {
                        *since = Instant::now();
                    }
                    pause = ANOTHERS;
                    let since = made_at.map(|at| format!(" since {at:.0}")).unwrap_or_default();
                    reason = format!("{reason}; sample {sample} runs its step {step} there{since}");
                }
                (reason, ROOM, "something else runs on the instance; apply again once it has room")
            }
            Answer::Nowhere(reason, within) => {
                if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
                    let judgement = host_lost(&self.instance);
                    let step = name.to_owned();
                    return Ok(Some(Ended { step, n, end: TaskEnd::default(), judgement, again: None }));
                }
                (reason, within, "see whether the instance is registered with the cluster, and apply again")
            }
        };
        let Some(Stage::Placing { since, until, told, .. }) = self.stages.get_mut(name) else { return Ok(None) };
        if since.elapsed() > within {
            return Ok(Some(never(name, n, reason, true, next)));
        }
        *until = Instant::now() + pause;
        if !*told {
            *told = true;
            let at_most_seconds = (!ends_by_itself).then_some(within.as_secs());
            (self.patience.events)(RunEvent::StepWaiting { name: name.to_owned(), reason, at_most_seconds });
        }
        Ok(None)
    }

    /// A task of another sample of the stack, which runs on the same container instance.
    async fn another_samples(&self, on: &str) -> Result<Option<TaggedTask>, RunError> {
        let RunSpec { stack, region, sample, .. } = self.spec;
        let mut tasks = self.patience.ask(|| self.world.tagged(&self.cluster, stack, region)).await?;
        tasks.retain(|task| !task.stopped && task.sample != *sample && task.on == on);
        Ok(tasks.pop())
    }

    /// What was still to be placed when another step failed.
    pub(super) fn give_up_placing(&mut self) -> Vec<Ended> {
        self.stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Placing { n, .. } => {
                    let ended = never(name, *n, "another step failed first".to_owned(), true, "");
                    Some(Ended { again: Some(Duration::ZERO), ..ended })
                }
                _ => None,
            })
            .collect()
    }
}

fn never(step: &str, n: u32, reason: String, retryable: bool, next: &str) -> Ended {
    Ended {
        step: step.to_owned(),
        n,
        end: TaskEnd::default(),
        judgement: Judgement {
            explanation: reason.clone(),
            verdict: Verdict::NeverStarted { reason, retryable },
            next: next.to_owned(),
        },
        again: None,
    }
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
        assert!(matches!(refused("MISSING"), Answer::Nowhere(_, NOWHERE)));
        assert!(matches!(refused("AGENT"), Answer::Nowhere(_, AGENT)));
        let none =
            error("InvalidParameterException", "No Container Instances were found in your cluster.", Class::Refused);
        assert!(matches!(answer(Err(none)), Ok(Answer::Nowhere(..))));
        let role = error("ClientException", "ECS was unable to assume the role 'r'", Class::Refused);
        assert!(matches!(answer(Err(role)), Ok(Answer::Wait(..))));
        let unseen = error("ClientException", "Role is not valid", Class::Refused);
        assert!(matches!(answer(Err(unseen)), Ok(Answer::Wait(..))));
        let gone = error("ClientException", "TaskDefinition is inactive", Class::Refused);
        assert!(matches!(answer(Err(gone)), Ok(Answer::Stale(_))));
        assert!(answer(Err(error("AccessDeniedException", "no", Class::Denied))).is_err());
    }

    #[test]
    fn started_by_keeps_to_its_alphabet() {
        let text = started_by("token");
        assert!(text.len() <= 128);
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)));
    }
}
