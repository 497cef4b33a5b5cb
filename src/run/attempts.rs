//! Further attempts: turns what the ledger says was tried of a step in this run into whether, and with what, it is tried
//! again. Counted from the ledger, so that whoever drives on does not begin to count anew. Never asks AWS.

use std::time::Duration;

use super::drive::{Driver, Ended, Stage};
use super::ledger::{Attempt, Ledger};
use super::spec::StepSpec;
use super::verdict::{Judgement, TaskEnd, Verdict};
use super::world::World;
use super::{RunError, RunEvent, told};

/// How often a step is tried whose tasks do not start for passing reasons, or whose result ECS has forgotten.
pub(super) const TRIES: u32 = 3;

/// After how long a change of a role is looked for again: IAM's changes are mostly known everywhere within seconds.
const PROPAGATION: Duration = Duration::from_secs(30);
/// In which time from its start an attempt that is denied something may have come too early, seconds.
const EARLY_SECONDS: i64 = 60;

/// Whether AWS says that a role may not do something.
fn denies(text: &str) -> bool {
    ["AccessDenied", "is not authorized to perform"].iter().any(|words| text.contains(words))
}

/// What became of an attempt, as far as another one may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// It ran and failed: the stack file's `attempts` count it.
    Failed,
    /// It did not start, or nobody can tell any more what it did: [`TRIES`] count it.
    Passing,
}

/// A task that ECS has forgotten has no end; one that stopped without an exit code has, and failed.
pub(super) fn sort(verdict: &Verdict, has_end: bool) -> Option<Sort> {
    match verdict {
        Verdict::Failed { .. } | Verdict::OutOfMemory { .. } => Some(Sort::Failed),
        Verdict::Unknown if has_end => Some(Sort::Failed),
        Verdict::Unknown | Verdict::NeverStarted { retryable: true, .. } => Some(Sort::Passing),
        Verdict::NeverStarted { .. } | Verdict::Succeeded | Verdict::HostLost | Verdict::Cancelled => None,
    }
}

/// What was tried of a step in the present run, under its present key and on the present instance; of a first step on any,
/// since each further attempt at it gets a fresh one.
pub(super) struct Tried<'a> {
    failed: u32,
    passing: u32,
    /// The most memory, MiB, that it ran out of.
    spent: Option<i64>,
    last: Option<&'a Attempt>,
}

impl<'a> Tried<'a> {
    pub(super) fn of(ledger: &'a Ledger, step: &StepSpec, key: &str, instance: &str) -> Self {
        let note = ledger.run().and_then(|run| run.steps.iter().find(|note| note.name == step.name));
        let first = note.map_or(0, |note| note.first);
        let attempts = ledger.steps.get(&step.name).map(|record| record.attempts.as_slice()).unwrap_or_default();
        let mut tried = Self { failed: 0, passing: 0, spent: None, last: None };
        for attempt in attempts {
            let elsewhere = attempt.request.instance != instance && !step.follows.is_empty();
            if attempt.n < first || attempt.key != key || elsewhere {
                continue;
            }
            let Some(verdict) = &attempt.verdict else { continue };
            match sort(verdict, attempt.ended_at.is_some()) {
                Some(Sort::Failed) => tried.failed += 1,
                Some(Sort::Passing) => tried.passing += 1,
                None => continue,
            }
            if matches!(verdict, Verdict::OutOfMemory { .. }) {
                tried.spent = tried.spent.max(attempt.request.memory.or(step.memory));
            }
            tried.last = Some(attempt);
        }
        tried
    }

    /// MiB for the next attempt, where it gets more than the stack file says: what ran out times the factor, and no more
    /// than an instance with so many MiB for tasks has.
    pub(super) fn memory(&self, step: &StepSpec, registered: Option<i64>) -> Option<i64> {
        let more = step.memory_factor?.times(self.spent?).max(step.memory.unwrap_or_default());
        Some(registered.map_or(more, |registered| more.min(registered)))
    }

    /// What to tell when the next attempt begins, if there was one before.
    pub(super) fn again(&self, step: &StepSpec, memory: Option<i64>) -> Option<RunEvent> {
        let last = self.last?;
        let verdict = last.verdict.as_ref()?;
        let (before, of) = match sort(verdict, last.ended_at.is_some())? {
            Sort::Failed if step.follows.is_empty() => (self.failed, step.attempts.min(TRIES)),
            Sort::Failed => (self.failed, step.attempts),
            Sort::Passing => (self.passing, TRIES),
        };
        Some(RunEvent::StepAgain {
            name: step.name.clone(),
            attempt: before + 1,
            of: of.max(before + 1),
            memory: memory.or(step.memory),
            because: told(verdict, last.explanation.as_deref().unwrap_or_default()),
        })
    }
}

impl<W: World> Driver<'_, W> {
    /// An attempt that has ended. Whether another one follows is decided here, and why not is said.
    pub(super) async fn ended(
        &mut self,
        name: &str,
        n: u32,
        end: TaskEnd,
        mut judgement: Judgement,
    ) -> Result<Ended, RunError> {
        let again = match self.denied_too_early(name, n, &end, &judgement).await {
            true => Some(PROPAGATION),
            false => self.again(name, n, &end, &mut judgement).await?,
        };
        Ok(Ended { step: name.to_owned(), n, end, judgement, again })
    }

    /// Whether an attempt was denied something that it may be allowed a little later: what was changed of a role is not
    /// known everywhere at once. That is given one more attempt, which the stack file's `attempts` do not count. A first step
    /// that has run needs a fresh instance for that, so its own boot has given the role its time already.
    async fn denied_too_early(&mut self, name: &str, n: u32, end: &TaskEnd, judgement: &Judgement) -> bool {
        if self.spared.contains(name) {
            return false;
        }
        let first = self.spec.steps.iter().any(|step| step.name == name && step.follows.is_empty());
        let denied = match &judgement.verdict {
            Verdict::NeverStarted { reason, .. } => denies(reason),
            Verdict::Failed { .. } if !first => {
                let place = self.book.ledger().await.attempt_mut(name, n).and_then(|attempt| attempt.log_place());
                let ran = end.started_at.zip(end.ended_at);
                let early = ran.is_none_or(|(from, to)| to.as_second() - from.as_second() <= EARLY_SECONDS);
                match place.filter(|_| early) {
                    Some((group, stream)) => self.last_lines(&group, &stream).await.iter().any(|line| denies(line)),
                    None => false,
                }
            }
            _ => false,
        };
        denied && self.spared.insert(name.to_owned())
    }

    /// The pause before another attempt, if one may follow.
    async fn again(
        &mut self,
        name: &str,
        n: u32,
        end: &TaskEnd,
        judgement: &mut Judgement,
    ) -> Result<Option<Duration>, RunError> {
        let spec = self.spec;
        let Some(step) = spec.steps.iter().find(|step| step.name == name) else { return Ok(None) };
        // A further attempt at a first step takes a fresh instance: not at the cost of what other steps have made on this one.
        let others = self.spec.steps.iter().filter(|other| !other.follows.is_empty());
        let made = others.filter(|other| matches!(self.stages.get(&other.name), Some(Stage::Done))).count();
        if step.follows.is_empty() && made > 0 && !matches!(judgement.verdict, Verdict::NeverStarted { .. }) {
            return Ok(None);
        }
        let ledger = self.book.ledger().await;
        let tried = Tried::of(&ledger, step, &self.keys.steps[name], &self.instance);
        let (so_far, most) = match sort(&judgement.verdict, end.ended_at.is_some()) {
            None => return Ok(None),
            Some(Sort::Passing) => (tried.passing + 1, TRIES),
            // Each further attempt at a first step takes a fresh instance, and an apply makes no more than that.
            Some(Sort::Failed) if step.follows.is_empty() => (tried.failed + 1, step.attempts.min(TRIES)),
            Some(Sort::Failed) => (tried.failed + 1, step.attempts),
        };
        if so_far >= most {
            if most > 1 {
                judgement.explanation = format!("{} (attempt {so_far} of {most})", judgement.explanation);
            }
            return Ok(None);
        }
        if matches!(judgement.verdict, Verdict::OutOfMemory { .. })
            && step.memory_factor.is_some()
            && let Some(attempt) =
                ledger.steps.get(name).and_then(|record| record.attempts.iter().find(|one| one.n == n))
            && let Some(had) = attempt.request.memory.or(step.memory)
        {
            // Where the instance is gone, the next attempt will find that out.
            if self.registered.is_none() {
                self.registered = self.wait_for_agent().await?;
            }
            if let Some((_, registered)) = self.registered.filter(|(_, registered)| had >= *registered) {
                judgement.explanation = format!(
                    "{}; it had {had} MiB, and the whole instance has {registered} MiB for tasks, so it is not tried again",
                    judgement.explanation
                );
                "take a larger instance `type`: there is no more memory to give on this one"
                    .clone_into(&mut judgement.next);
                return Ok(None);
            }
        }
        Ok(Some(Duration::from_secs(2) * 2u32.pow(so_far.min(5))))
    }
}
