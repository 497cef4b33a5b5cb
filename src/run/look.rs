//! A look at the running tasks: turns what ECS says of each, and EC2 of the machine under them, into the attempts that
//! have ended.

use std::time::Duration;

use tokio::time::Instant;

use super::RunError;
use super::drive::{Driver, Ended, Stage, VISIBLE, forgotten, host_lost};
use super::stop::put_down;
use super::verdict::{Judgement, TaskEnd, Verdict, verdict};
use super::world::{TaskNow, World};

/// For how long after a task was ended by a signal its machine is looked at.
const GOING_DOWN: Duration = Duration::from_secs(60);

impl<W: World> Driver<'_, W> {
    /// Looks at the running tasks, and now and then at the machine under them.
    pub(super) async fn look(&mut self) -> Result<Vec<Ended>, RunError> {
        let running: Vec<(String, u32, String)> = self
            .stages
            .iter()
            .filter_map(|(name, stage)| match stage {
                Stage::Running { n, arn, .. } => Some((name.clone(), *n, arn.clone())),
                _ => None,
            })
            .collect();
        self.audible.send_if_modified(|places| {
            let now = running.iter().filter_map(|(name, _, arn)| Some((name.clone(), self.log_place(name, arn)?)));
            let before = std::mem::replace(places, now.collect());
            before != *places
        });
        if running.is_empty() {
            return self.look_at_host_alone().await;
        }
        let arns: Vec<String> = running.iter().map(|(_, _, arn)| arn.clone()).collect();
        let now = self.patience.ask(|| self.world.tasks(&self.cluster, &arns)).await?;
        let lost = self.check_host().await?;
        let mut ended = Vec::new();
        for ((step, n, _), now) in running.into_iter().zip(now) {
            let since = self.missing(&step, &now);
            let (end, judgement) = match now {
                TaskNow::Stopped(end) => {
                    let container = self.spec.steps.iter().find(|one| one.name == step);
                    let end = container.map_or_else(|| end.clone(), |one| end.of(&one.container, &one.essential));
                    let judgement = verdict(&end);
                    let by_signal = matches!(judgement.verdict, Verdict::Failed { exit } if exit > 128);
                    let lost = by_signal && self.host_goes_down().await?;
                    (end, if lost { host_lost(&self.instance) } else { judgement })
                }
                TaskNow::Going(_) | TaskNow::Missing if lost.is_some() => {
                    (TaskEnd::default(), lost.clone().unwrap_or_else(forgotten))
                }
                TaskNow::Missing if since.is_some_and(|since| since.elapsed() >= VISIBLE) => {
                    self.unseen(&step, n).await?
                }
                TaskNow::Going(_) | TaskNow::Missing => continue,
            };
            ended.push(self.ended(&step, n, end, judgement).await?);
        }
        Ok(ended)
    }

    /// Notes whether ECS knows a step's task; gives since when it says, each time, that it does not.
    fn missing(&mut self, step: &str, now: &TaskNow) -> Option<Instant> {
        let Some(Stage::Running { missing, .. }) = self.stages.get_mut(step) else { return None };
        *missing = matches!(now, TaskNow::Missing).then(|| missing.unwrap_or_else(Instant::now));
        *missing
    }

    /// How the task of an attempt ended that ECS has not shown for long. It is stopped first: no second one is ever started
    /// beside one that may run.
    async fn unseen(&self, step: &str, n: u32) -> Result<(TaskEnd, Judgement), RunError> {
        const REASON: &str = "seqstack: ECS had not shown this task for a minute";
        let mut ledger = self.book.ledger().await;
        let Some(attempt) = ledger.attempt_mut(step, n) else { return Ok((TaskEnd::default(), forgotten())) };
        let (_, end, judgement) = put_down(self.world, self.patience, self.book, step, attempt, REASON).await?;
        Ok(match judgement.verdict {
            // By nobody but us, and for want of an answer.
            Verdict::Cancelled if end.stopped_reason.as_deref() == Some(REASON) => {
                let explanation = format!("ECS did not show its task for {} s, so it was stopped", VISIBLE.as_secs());
                (TaskEnd::default(), Judgement { explanation, ..forgotten() })
            }
            Verdict::Unknown if end == TaskEnd::default() => (end, forgotten()),
            _ => (end, judgement),
        })
    }

    /// Whether the machine goes away in these moments: its system ends the containers before EC2 tells of it.
    async fn host_goes_down(&self) -> Result<bool, RunError> {
        let what = format!("EC2 to tell whether {} goes away under a task that was killed", self.instance);
        let mut wait = self.patience.wait(what, GOING_DOWN);
        loop {
            if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
                return Ok(true);
            }
            if wait.is_over() {
                return Ok(false);
            }
            wait.pause(Duration::from_secs(10)).await?;
        }
    }
}
