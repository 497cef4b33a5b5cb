//! Tasks that run and that no ledger knows of: what is left of a run whose ledger was lost, or put back from a copy. They
//! are found by their tags and stopped before anything is started: never a second task for a step while the first runs.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ecs::types as ecs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::drive::Driver;
use super::lease::Patience;
use super::ledger::Ledger;
use super::place::TAG_STEP;
use super::stop::{STOPPING, UNSHOWN};
use super::verdict::Verdict;
use super::world::{Live, TaskNow, World};
use super::{RunError, RunEvent};
use crate::aws::absence::OrAbsent;
use crate::aws::clock::timestamp;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{TAG_REGION, TAG_SAMPLE, TAG_STACK};

/// A task of a stack, as its tags say what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedTask {
    /// The task.
    pub arn: String,
    /// The sample.
    pub sample: String,
    /// The pipeline step.
    pub step: String,
    /// The digest of its attempt's token.
    pub started_by: String,
    /// The container instance that it was placed on.
    pub on: String,
    /// When ECS made it.
    pub made_at: Option<Timestamp>,
    /// Whether it has stopped: ECS keeps it for an hour then.
    pub stopped: bool,
}

/// The tasks of a stack in a cluster, as far as ECS still has them. A cluster that is gone has none.
///
/// # Errors
/// When ECS cannot be asked.
pub async fn tasks_of(aws: &Aws, cluster: &str, stack: &str, region: &str) -> Result<Vec<TaggedTask>, AwsError> {
    let mut arns = Vec::new();
    // What is to stop may run for half a minute yet: it is in the other list by then.
    for status in [ecs::DesiredStatus::Running, ecs::DesiredStatus::Stopped] {
        let mut pages = aws.ecs.list_tasks().cluster(cluster).desired_status(status).into_paginator().send();
        while let Some(page) = pages.next().await {
            let Some(page) = page.or_aws("ecs:ListTasks").or_absent()? else { return Ok(Vec::new()) };
            arns.extend(page.task_arns.unwrap_or_default());
        }
    }
    let mut out = Vec::new();
    for some in arns.chunks(100) {
        let request = aws.ecs.describe_tasks().cluster(cluster).set_tasks(Some(some.to_vec()));
        let answer = request.include(ecs::TaskField::Tags).send().await.or_aws("ecs:DescribeTasks").or_absent()?;
        for task in answer.iter().flat_map(|answer| answer.tasks()) {
            let tags = tags::from_ecs(task.tags());
            let tag = |key: &str| tags.get(key).cloned().unwrap_or_default();
            if tag(TAG_STACK) != stack || tag(TAG_REGION) != region {
                continue;
            }
            out.push(TaggedTask {
                arn: task.task_arn().unwrap_or_default().to_owned(),
                sample: tag(TAG_SAMPLE),
                step: tag(TAG_STEP),
                started_by: task.started_by().unwrap_or_default().to_owned(),
                on: task.container_instance_arn().unwrap_or_default().to_owned(),
                made_at: timestamp(task.created_at()),
                stopped: task.last_status() == Some("STOPPED"),
            });
        }
    }
    Ok(out)
}

/// Stops tasks of a cluster, and waits until they have stopped.
///
/// # Errors
/// When AWS refuses, or one does not stop.
pub async fn stop_tasks(
    aws: &Aws,
    cluster: &str,
    tasks: &[TaggedTask],
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let live = Live { aws, bucket: "", key: "" };
    put_down(&live, &Patience { events, stop }, cluster, tasks, || std::future::ready(Ok(()))).await
}

/// `holds`: that they are still ours to stop.
async fn put_down<W: World, H>(
    world: &W,
    patience: &Patience<'_>,
    cluster: &str,
    tasks: &[TaggedTask],
    holds: impl Fn() -> H,
) -> Result<(), RunError>
where
    H: Future<Output = Result<(), RunError>>,
{
    for task in tasks {
        holds().await?;
        (patience.events)(RunEvent::TaskStopping { name: task.step.clone(), task_arn: task.arn.clone() });
        let reason = "seqstack: no ledger knows of this task";
        patience.ask_while(&holds, || world.stop_task(cluster, &task.arn, reason)).await?;
    }
    let arns: Vec<String> = tasks.iter().map(|task| task.arn.clone()).collect();
    let end = Instant::now() + STOPPING;
    let mut pause = Duration::from_millis(250);
    let mut wait = patience.wait("tasks that no ledger knows of to stop", STOPPING);
    let told = Instant::now();
    while !arns.is_empty() {
        let now = patience.ask(|| world.tasks(cluster, &arns)).await?;
        // One word that a task is not known is no end: it was listed a moment ago.
        let unshown = told.elapsed() < UNSHOWN;
        let goes_on = |now: &TaskNow| matches!(now, TaskNow::Going(_)) || unshown && matches!(now, TaskNow::Missing);
        let going = arns.iter().zip(now).filter(|(_, now)| goes_on(now));
        let going: Vec<String> = going.map(|(arn, _)| arn.clone()).collect();
        if going.is_empty() {
            break;
        }
        if Instant::now() > end {
            return Err(RunError::StillRunning(going));
        }
        wait.pause(pause).await?;
        pause = (pause * 3 / 2).min(Duration::from_secs(3));
    }
    Ok(())
}

/// Of these tasks, those of this sample that run, and that the ledger has no open attempt for. One that it has lost with its instance
/// runs nowhere, although ECS shows it for minutes yet.
pub fn unrecorded(tasks: Vec<TaggedTask>, sample: &str, ledger: Option<&Ledger>) -> Vec<TaggedTask> {
    let known: BTreeSet<&str> = ledger
        .into_iter()
        .flat_map(|ledger| ledger.steps.values())
        .flat_map(|step| &step.attempts)
        .filter(|attempt| matches!(attempt.verdict, None | Some(Verdict::HostLost)))
        .flat_map(|attempt| attempt.task_arn.as_deref().into_iter().chain([attempt.request.started_by.as_str()]))
        .collect();
    let strange = |task: &TaggedTask| !known.contains(task.arn.as_str()) && !known.contains(task.started_by.as_str());
    tasks.into_iter().filter(|task| task.sample == sample && !task.stopped && strange(task)).collect()
}

impl<W: World> Driver<'_, W> {
    /// Stops this sample's tasks that the ledger does not know of.
    pub(super) async fn strays(&self, tasks: Vec<TaggedTask>) -> Result<(), RunError> {
        let strays = unrecorded(tasks, &self.spec.sample, Some(&self.book.ledger().await));
        if strays.is_empty() {
            return Ok(());
        }
        put_down(self.world, self.patience, &self.cluster, &strays, || self.book.hold()).await
    }
}
