//! The beginning of a drive: the run's record, what an earlier driver left running, and the instance's agent.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::drive::{Driver, HOST_CHECK, Stage, VISIBLE, forgotten};
use super::key::{parts, settings};
use super::ledger::{Attempt, Object, RunRecord, RunState, StepNote};
use super::stop::{close, put_down};
use super::verdict::{TaskEnd, Verdict};
use super::world::{Agent, World};
use super::{RunError, RunEvent};
use crate::aws::wait::Pace;

/// For how long ECS is relied upon to list a task that has stopped: it keeps them for an hour at least (ECS API,
/// DescribeTasks), and a token for an hour after its task (ECS developer guide, "Ensuring idempotency").
const REMEMBERED_SECONDS: i64 = 3600;

impl<W: World> Driver<'_, W> {
    /// Records that the run is on, and takes results that do not count any more out of account.
    pub(super) async fn begin(&mut self, inputs: &[Object]) -> Result<(), RunError> {
        let mut steps: Vec<StepNote> = self
            .spec
            .steps
            .iter()
            .map(|step| StepNote {
                name: step.name.clone(),
                key: self.keys.steps[&step.name].clone(),
                parts: parts(&step.content),
                first: 1,
            })
            .collect();
        let (plans, keys, instance) = (&self.plans, &self.keys, &self.instance);
        let settings = settings(self.spec);
        let seconds = self
            .book
            .update(|ledger, now| {
                ledger.put_back = None;
                for plan in plans.iter().filter(|plan| !plan.kept) {
                    let last = ledger.last_attempt(&plan.name).filter(|last| last.verdict == Some(Verdict::Succeeded));
                    let last = last.map(|last| last.n);
                    if let Some(attempt) = last.and_then(|n| ledger.attempt_mut(&plan.name, n)) {
                        // Gone with another instance is not void: a later plan should still say so.
                        attempt.void |= attempt.request.instance == *instance;
                    }
                }
                let going_on =
                    ledger.runs.last_mut().filter(|run| run.key == keys.run && run.state == RunState::Running);
                if let Some(run) = going_on {
                    run.instance.clone_from(instance);
                    run.settings = settings;
                    return now.as_second() - run.started_at.as_second();
                }
                for note in &mut steps {
                    note.first = ledger.next_number(&note.name);
                }
                ledger.push_run(RunRecord {
                    key: keys.run.clone(),
                    settings,
                    inputs: inputs.to_vec(),
                    steps,
                    instance: instance.clone(),
                    started_at: now,
                    ended_at: None,
                    state: RunState::Running,
                    outputs: Vec::new(),
                });
                0
            })
            .await?;
        (self.patience.events)(RunEvent::RunBegun { seconds });
        Ok(())
    }

    /// What an earlier driver started: followed where it is what we would start, stopped where it is not.
    pub(super) async fn leftovers(&mut self, doubted: &BTreeMap<String, String>) -> Result<(), RunError> {
        let now = Instant::now();
        self.stages = self
            .plans
            .iter()
            .map(|plan| (plan.name.clone(), if plan.kept { Stage::Done } else { Stage::Waiting { until: now } }))
            .collect();
        let ledger = self.book.ledger().await;
        let aws_now = self.book.now().await;
        let (mut strays, mut found, mut forgotten_ones) = (Vec::new(), Vec::new(), Vec::new());
        for (name, attempt) in ledger.open() {
            let step = self.spec.steps.iter().find(|step| step.name == name);
            let follow = step.is_some_and(|step| {
                self.keys.steps.get(name) == Some(&attempt.key)
                    && !doubted.contains_key(name)
                    && attempt.request.instance == self.instance
                    && step.follows.iter().all(|before| matches!(self.stages.get(before), Some(Stage::Done)))
                    && attempt.after.iter().all(|(name, n)| ledger.last_attempt(name).is_some_and(|last| last.n == *n))
            });
            if !follow {
                strays.push((name.to_owned(), attempt.clone()));
                continue;
            }
            let stage = match self.task_of(attempt).await? {
                Some(arn) => {
                    if attempt.task_arn.is_none() {
                        found.push((name.to_owned(), attempt.n, arn.clone()));
                    }
                    Stage::Running { n: attempt.n, arn, missing: None }
                }
                None if self.may_be_forgotten(attempt).await => {
                    forgotten_ones.push((name.to_owned(), attempt.n));
                    continue;
                }
                None => Stage::Placing {
                    n: attempt.n,
                    token: attempt.token.clone(),
                    request: Box::new(attempt.request.clone()),
                    since: now,
                    until: now,
                    told: false,
                },
            };
            let seconds = attempt.made_at.map(|made| aws_now.as_second() - made.as_second());
            (self.patience.events)(RunEvent::StepFound { name: name.to_owned(), attempt: attempt.n, seconds });
            self.stages.insert(name.to_owned(), stage);
        }
        if strays.is_empty() && found.is_empty() && forgotten_ones.is_empty() {
            return Ok(());
        }
        let reason = "seqstack: what this task was started for has changed";
        let ends =
            strays.iter().map(|(step, attempt)| put_down(self.world, self.patience, self.book, step, attempt, reason));
        let ends = futures_util::future::try_join_all(ends).await?;
        self.book
            .update(|ledger, _| {
                for ((step, attempt), (arn, end, judgement)) in strays.iter().zip(ends) {
                    if let Some(attempt) = ledger.attempt_mut(step, attempt.n) {
                        close(attempt, arn, &end, &judgement);
                    }
                }
                for (step, n, arn) in &found {
                    if let Some(attempt) = ledger.attempt_mut(step, *n) {
                        attempt.task_arn = Some(arn.clone());
                    }
                }
                for (step, n) in &forgotten_ones {
                    if let Some(attempt) = ledger.attempt_mut(step, *n) {
                        close(attempt, None, &TaskEnd::default(), &forgotten());
                    }
                }
            })
            .await
    }

    /// The task of an attempt that is to be followed. One whose ARN nobody wrote down is looked for by `startedBy`: its
    /// token may have run out while it runs (after a day), and would start a second one. So where that may be, one answer
    /// that there is none is not enough.
    async fn task_of(&self, attempt: &Attempt) -> Result<Option<String>, RunError> {
        if attempt.task_arn.is_some() {
            return Ok(attempt.task_arn.clone());
        }
        let mut wait = self.patience.wait("a task that an earlier apply may have started to be seen", VISIBLE);
        loop {
            let find = || self.world.find_task(&self.cluster, &attempt.request.started_by);
            let found = self.patience.ask(find).await?;
            if found.is_some() || wait.is_over() || !self.may_be_forgotten(attempt).await {
                return Ok(found);
            }
            wait.pause(Duration::from_secs(3)).await?;
        }
    }

    /// Whether an attempt of which there is no task may have had one. Within the hour that ECS keeps stopped tasks it has
    /// not, and its stored request starts it. After that nobody can tell, so it is never taken for a success, and its
    /// request is not sent again as if it were the first: it ends, and the step is tried anew.
    async fn may_be_forgotten(&self, attempt: &Attempt) -> bool {
        let now = self.book.now().await;
        attempt.made_at.is_none_or(|made| now.as_second() - made.as_second() >= REMEMBERED_SECONDS)
    }

    /// Waits until the instance's agent takes tasks: only that counts, EC2's checks take minutes longer. Gives the CPU units
    /// and MiB that it registered with; none if the instance is gone.
    pub(super) async fn wait_for_agent(&self) -> Result<Option<(i64, i64)>, RunError> {
        let pace = Pace { first: Duration::from_millis(250), ..Pace::MACHINE };
        let begun = Instant::now();
        let mut checked = begun;
        let mut pause = pace.first;
        let mut told = false;
        loop {
            let status = match self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await? {
                Agent::Ready { registered, .. } => return Ok(Some(registered)),
                Agent::Absent => "not registered".to_owned(),
                Agent::Away { status, .. } => status,
            };
            if !told {
                let (instance, at_most_seconds) = (self.instance.clone(), pace.within.as_secs());
                (self.patience.events)(RunEvent::WaitingForAgent { instance, at_most_seconds });
                told = true;
            }
            if checked.elapsed() >= HOST_CHECK {
                checked = Instant::now();
                if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
                    return Ok(None);
                }
            }
            if begun.elapsed() > pace.within {
                return Err(RunError::NoAgent {
                    instance: self.instance.clone(),
                    cluster: self.cluster.clone(),
                    seconds: pace.within.as_secs(),
                    status,
                });
            }
            self.patience.sleep(pause).await?;
            pause = (pause * 3 / 2).min(pace.most);
        }
    }
}
