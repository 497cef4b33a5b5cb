//! The end of a drive: turns what became of the steps into a record in the ledger and an outcome.
//!
//! Success is recorded only after the inputs were found unchanged and the outputs there.

use std::time::Duration;

use jiff::Timestamp;

use super::drive::{Driver, Ended};
use super::due::input_changes;
use super::key::keys;
use super::ledger::{Attempt, Ledger, Object, Output, RunState, summary};
use super::observe::{matches, objects, unmatched};
use super::verdict::{Verdict, log_hint};
use super::world::World;
use super::{Failure, Outcome, RunError, RunEvent, Success};
use crate::report::span;

/// How many log lines a failure carries.
const LINES: i32 = 20;
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
        let missing = unmatched(&self.spec.outputs, |bucket, glob| {
            outputs.iter().any(|object| object.bucket == bucket && matches(glob, &object.key))
        });
        if !missing.is_empty() {
            return self.outputs_missing(&missing).await;
        }
        let (success, ledger) = self
            .book
            .release(|ledger, now| {
                let begun = begun(ledger, self);
                let written: Vec<Output> = outputs.into_iter().map(|object| written(object, begun, ledger)).collect();
                let seconds = ledger.run().map_or(0, |run| now.as_second() - run.started_at.as_second());
                ledger.end_run(RunState::Succeeded, now);
                if let Some(run) = ledger.runs.last_mut() {
                    run.outputs.clone_from(&written);
                }
                let notes = written.iter().filter_map(older).collect();
                let key = self.keys.run.clone();
                (Success { key, seconds, outputs: written, notes, steps: Vec::new() }, ledger.clone())
            })
            .await?;
        (self.patience.events)(RunEvent::RunSucceeded { seconds: success.seconds });
        Ok(Outcome::Succeeded(Success { steps: summary(&ledger), ..success }))
    }

    async fn outputs_missing(&self, missing: &[String]) -> Result<Outcome, RunError> {
        let explanation =
            format!("every step exited with 0, but nothing was written that matches {}", missing.join(", "));
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
        if let Some(hint) = log_hint(&last_lines) {
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

    /// The log's last lines. Lines reach CloudWatch some seconds after the task has stopped; that they cannot be read
    /// must not hide the failure that they are about.
    async fn last_lines(&self, group: &str, stream: &str) -> Vec<String> {
        for _ in 0..4 {
            match self.world.log_tail(group, stream, LINES).await {
                Ok(lines) if !lines.is_empty() => return lines,
                Ok(_) => {}
                Err(error) => tracing::info!(%error, group, stream, "the log cannot be read"),
            }
            if self.patience.sleep(Duration::from_secs(1)).await.is_err() {
                break;
            }
        }
        Vec::new()
    }
}

/// When the run began: with the first of the attempts whose results it consists of, kept ones included.
fn begun<W: World>(ledger: &Ledger, driver: &Driver<'_, W>) -> Timestamp {
    let first = driver.spec.steps.iter().filter_map(|step| ledger.last_attempt(&step.name)?.started_at).min();
    let run = ledger.run().map_or(Timestamp::UNIX_EPOCH, |run| run.started_at);
    first.map_or(run, |first| first.min(run))
}

fn written(object: Object, begun: Timestamp, ledger: &Ledger) -> Output {
    let at = object.last_modified.map(|at| at.as_second());
    let mut writers = ledger.steps.keys().filter(|step| {
        let Some(attempt) = ledger.last_attempt(step) else { return false };
        match (attempt.started_at, attempt.ended_at, at) {
            (Some(from), Some(to), Some(at)) => {
                (from.as_second() - SLACK_SECONDS..=to.as_second() + SLACK_SECONDS).contains(&at)
            }
            _ => false,
        }
    });
    let written_by = match (writers.next(), writers.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    };
    Output { seconds_into_run: at.map(|at| at - begun.as_second()), written_by, object }
}

fn older(output: &Output) -> Option<String> {
    let seconds = output.seconds_into_run?;
    let at = output.object.last_modified?;
    (seconds < -SLACK_SECONDS).then(|| {
        format!(
            "s3://{}/{} was written before this run, on {at}: no step wrote it anew",
            output.object.bucket, output.object.key
        )
    })
}
