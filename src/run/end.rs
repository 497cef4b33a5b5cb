//! The end of a drive: turns what became of the steps into a record in the ledger and an outcome.
//!
//! Success is recorded only after the inputs were found unchanged and the outputs there.

use std::time::Duration;

use jiff::Timestamp;

use super::drive::{Driver, Ended};
use super::due::input_changes;
use super::key::{Keys, keys};
use super::ledger::{Attempt, Ledger, Object, Output, RunState, summary};
use super::observe::{matches, objects, unmatched};
use super::spec::{RunSpec, StepSpec};
use super::verdict::{Verdict, log_hint};
use super::world::World;
use super::{Failure, Outcome, RunError, RunEvent, Success};
use crate::report::span;
use crate::stack::shell;

/// How many log lines a failure carries.
const LINES: i32 = 20;
/// How far apart two answers of a log must be, at least, that are the same because nothing more comes.
const BATCH: Duration = Duration::from_millis(2500);
/// For how long the last lines of a log are waited for.
const LATE: Duration = Duration::from_secs(10);
/// S3 dates objects by the second, when their upload began or ended, and ECS dates by its own clock.
const SLACK_SECONDS: i64 = 2;
/// How far behind S3's clock, as last seen, may be.
const STALE_SECONDS: i64 = 120;

impl<W: World> Driver<'_, W> {
    /// Every step has succeeded: checks inputs and outputs, and records the success.
    pub(super) async fn finish(&self) -> Result<Outcome, RunError> {
        let (inputs, outputs) = self.patience.ask(|| objects(self.world, self.spec)).await?;
        if keys(self.spec, &inputs).run != self.keys.run {
            let ledger = self.book.ledger().await;
            let changes = ledger.run().map(|run| input_changes(run, &inputs)).unwrap_or_default();
            self.book.release(|ledger, now| ledger.end_run(RunState::InputsChanged, now)).await?;
            return Ok(Outcome::InputsChanged { changes });
        }
        let (own, others): (Vec<Object>, Vec<Object>) = {
            let ledger = self.book.ledger().await;
            outputs.into_iter().partition(|object| is_own(object, &ledger, &self.keys, &self.instance))
        };
        let there = |objects: &[Object], bucket: &str, glob: &str| {
            objects.iter().any(|object| object.bucket == bucket && matches(glob, &object.key))
        };
        let missing = unmatched(&self.spec.outputs, |bucket, glob| there(&own, bucket, glob));
        if !missing.is_empty() {
            return self.outputs_missing(&missing, &others).await;
        }
        let (success, ledger) = self
            .book
            .release(|ledger, now| {
                let begun = begun(ledger, self);
                let written: Vec<Output> =
                    own.into_iter().map(|object| written(object, begun, ledger, self.spec)).collect();
                let seconds = ledger.run().map_or(0, |run| now.as_second() - run.started_at.as_second());
                ledger.end_run(RunState::Succeeded, now);
                if let Some(run) = ledger.runs.last_mut() {
                    run.outputs.clone_from(&written);
                }
                let empty = written.iter().filter_map(|output| empty(&output.object));
                let notes = others.iter().map(not_its_own).chain(empty).collect();
                let key = self.keys.run.clone();
                (Success { key, seconds, outputs: written, notes, steps: Vec::new() }, ledger.clone())
            })
            .await?;
        (self.patience.events)(RunEvent::RunSucceeded { seconds: success.seconds });
        Ok(Outcome::Succeeded(Success { steps: summary(&ledger), ..success }))
    }

    async fn outputs_missing(&self, missing: &[String], others: &[Object]) -> Result<Outcome, RunError> {
        let mut explanation =
            format!("every step exited with 0, but none of them wrote anything that matches {}", missing.join(", "));
        let stale = others.iter().filter(|object| {
            let is_for = |bucket: &str, glob: &str| bucket == object.bucket && matches(glob, &object.key);
            unmatched(&self.spec.outputs, |bucket, glob| !is_for(bucket, glob))
                .iter()
                .any(|glob| missing.contains(glob))
        });
        let stale: Vec<String> = stale.map(not_its_own).collect();
        if !stale.is_empty() {
            explanation = format!("{explanation}: {}", stale.join("; "));
        }
        let verdict = Verdict::Succeeded;
        let state = RunState::Failed { step: None, verdict: verdict.clone(), explanation: explanation.clone() };
        let steps = self
            .book
            .release(|ledger, now| {
                ledger.end_run(state, now);
                summary(ledger)
            })
            .await?;
        (self.patience.events)(RunEvent::RunFailed { step: None, explanation: explanation.clone() });
        Ok(Outcome::Failed(Box::new(Failure {
            step: None,
            verdict,
            explanation,
            next: "check the pipeline's `outputs` against what its steps write, or `--retry` to run all of it again"
                .to_owned(),
            attempt: 0,
            exit_code: None,
            task_arn: None,
            log_group: None,
            log_stream: None,
            last_lines: Vec::new(),
            not_run: Vec::new(),
            instance: self.instance.clone(),
            steps,
        })))
    }

    /// The instance is gone: the run is due still, on another one.
    pub(super) async fn lost(&self, steps: Vec<String>, explanation: &str) -> Result<Outcome, RunError> {
        self.book.release(|ledger, now| ledger.end_run(RunState::HostLost, now)).await?;
        Ok(Outcome::HostLost { instance: self.instance.clone(), steps, explanation: explanation.to_owned() })
    }

    /// A step has lost its instance. A run that had the whole life of an instance, and needs more, would never end: that is
    /// a failure, and not begun again as it is.
    pub(super) async fn host_lost(&self, mut bad: Ended) -> Result<Outcome, RunError> {
        let steps = vec![bad.step.clone()];
        let life = self.patience.ask(|| self.world.life(&self.instance)).await?;
        let now = self.book.now().await;
        let Some(deadline) = life.as_ref().and_then(|life| life.deadline).filter(|at| {
            // Our view of S3's clock may be a minute old. Who was ended by somebody else did not end itself.
            life.as_ref().is_some_and(|life| !life.ended_by_others) && at.as_second() <= now.as_second() + STALE_SECONDS
        }) else {
            return self.lost(steps, &bad.judgement.explanation).await;
        };
        let begun = self.book.ledger().await.run().map_or(now, |run| run.started_at);
        let launched = life.and_then(|life| life.launched).unwrap_or(begun);
        // A run that goes on from an earlier instance began on this one with its launch.
        let begun = begun.max(launched);
        let itself = format!("the instance {} ended itself at its deadline, {deadline:.0}", self.instance);
        if (begun.as_second() - launched.as_second()) * 10 > deadline.as_second() - launched.as_second() {
            let explanation = format!("{itself}, and the run had begun only at {begun:.0}");
            return self.lost(steps, &explanation).await;
        }
        let had = span(deadline.as_second() - begun.as_second());
        bad.judgement.explanation =
            format!("{itself}: the run had {had} of it, so `max_hours` is too short for this run");
        "raise `max_hours` of the instance and apply again: the run begins from its start, on a fresh one"
            .clone_into(&mut bad.judgement.next);
        self.fail(&bad, self.open_steps()).await
    }

    /// A step has failed: records that, and fetches the end of its log.
    pub(super) async fn fail(&self, failed: &Ended, not_run: Vec<String>) -> Result<Outcome, RunError> {
        let judgement = &failed.judgement;
        let state = RunState::Failed {
            step: Some(failed.step.clone()),
            verdict: judgement.verdict.clone(),
            explanation: judgement.explanation.clone(),
        };
        let (attempt, steps) = self
            .book
            .release(|ledger, now| {
                ledger.end_run(state, now);
                (ledger.attempt_mut(&failed.step, failed.n).cloned(), summary(ledger))
            })
            .await?;
        let place = attempt.as_ref().and_then(Attempt::log_place);
        let last_lines = match &place {
            Some((group, stream)) if !matches!(judgement.verdict, Verdict::NeverStarted { .. }) => {
                self.last_lines(group, stream).await
            }
            _ => Vec::new(),
        };
        let mut explanation = judgement.explanation.clone();
        let content = self.spec.steps.iter().find(|step| step.name == failed.step).map(|step| &step.content);
        let for_a_shell =
            || shell::hint(content?.entry_point.as_deref().unwrap_or_default(), content?.command.as_deref()?);
        if let Some(hint) = log_hint(&last_lines).map(str::to_owned).or_else(for_a_shell) {
            explanation = format!("{explanation}: {hint}");
        }
        (self.patience.events)(RunEvent::RunFailed {
            step: Some(failed.step.clone()),
            explanation: explanation.clone(),
        });
        let (log_group, log_stream) = place.unzip();
        Ok(Outcome::Failed(Box::new(Failure {
            step: Some(failed.step.clone()),
            verdict: judgement.verdict.clone(),
            explanation,
            next: judgement.next.clone(),
            attempt: failed.n,
            exit_code: failed.end.exit_code,
            task_arn: attempt.and_then(|attempt| attempt.task_arn),
            log_group,
            log_stream,
            last_lines,
            not_run,
            instance: self.instance.clone(),
            steps,
        })))
    }

    /// The log's last lines. Lines reach CloudWatch some seconds after the task has stopped, the ones about the failure
    /// last: it is asked until two answers are the same. That they cannot be read must not hide the failure.
    pub(super) async fn last_lines(&self, group: &str, stream: &str) -> Vec<String> {
        let mut last = Vec::new();
        let asking = async {
            loop {
                match self.world.log_tail(group, stream, LINES).await {
                    Ok(lines) if !lines.is_empty() && lines == last => break,
                    Ok(lines) => last = lines,
                    Err(error) => tracing::info!(%error, group, stream, "the log cannot be read"),
                }
                if self.patience.sleep(BATCH).await.is_err() {
                    break;
                }
            }
        };
        // What has come by then is the answer.
        let _in_time = tokio::time::timeout(LATE, asking).await;
        last
    }
}

/// When the run began: with the first of the attempts whose results it consists of, kept ones included.
fn begun<W: World>(ledger: &Ledger, driver: &Driver<'_, W>) -> Timestamp {
    let first = driver.spec.steps.iter().filter_map(|step| ledger.last_attempt(&step.name)?.started_at).min();
    let run = ledger.run().map_or(Timestamp::UNIX_EPOCH, |run| run.started_at);
    first.map_or(run, |first| first.min(run))
}

/// Whether a step of the run wrote an object, as far as dates tell: S3 dates it during an attempt under the run's keys, on its
/// instance, an earlier attempt of the same step included. What an attempt under another key may have written before the run
/// began is not the run's.
fn is_own(object: &Object, ledger: &Ledger, keys: &Keys, instance: &str) -> bool {
    let Some(at) = object.last_modified.map(|at| at.as_second()) else { return false };
    let before_the_run = ledger.run().is_some_and(|run| at + SLACK_SECONDS < run.started_at.as_second());
    let (mut own, mut others) = (false, false);
    for (name, record) in &ledger.steps {
        for attempt in &record.attempts {
            // Its record comes before anything that it wrote, and is dated by S3 as well.
            if !covers(attempt, attempt.made_at, at) {
                continue;
            }
            let ours = keys.steps.get(name) == Some(&attempt.key) && attempt.request.instance == instance;
            own |= ours;
            others |= !ours;
        }
    }
    own && !(others && before_the_run)
}

/// Whether a second is within an attempt that began then, or with its container.
fn covers(attempt: &Attempt, from: Option<Timestamp>, at: i64) -> bool {
    let from = from.or(attempt.started_at).map(|from| from.as_second() - SLACK_SECONDS);
    let to = attempt.ended_at.map(|to| to.as_second() + SLACK_SECONDS);
    from.is_some_and(|from| from <= at) && to.is_none_or(|to| at <= to)
}

fn written(object: Object, begun: Timestamp, ledger: &Ledger, spec: &RunSpec) -> Output {
    let at = object.last_modified.map(|at| at.as_second());
    // Their containers' starts tell steps apart.
    let during = |step: &&StepSpec| {
        ledger.last_attempt(&step.name).zip(at).is_some_and(|(attempt, at)| covers(attempt, attempt.started_at, at))
    };
    let mut writers = spec.steps.iter().filter(during);
    let written_by = match (writers.next(), writers.next()) {
        (Some(only), None) => Some(only.name.clone()),
        _ => None,
    };
    Output { seconds_into_run: at.map(|at| at - begun.as_second()), written_by, object }
}

/// What is said of an object that an output matches, and that no step of the run wrote.
fn not_its_own(object: &Object) -> String {
    let when = object.last_modified.map(|at| format!(" (it is of {at:.0})")).unwrap_or_default();
    format!("s3://{}/{} was there before, and no step of this run wrote it{when}", object.bucket, object.key)
}

/// What is said of an output without content.
pub(super) fn empty(object: &Object) -> Option<String> {
    (object.size == 0).then(|| format!("s3://{}/{} is empty: it has 0 bytes", object.bucket, object.key))
}
