//! A step's log, whole and in order: turns the ledger's word of an attempt into its CloudWatch stream, and that into
//! lines. From any machine, since both are AWS's; changes nothing, and takes no lease.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::drive::VISIBLE;
use super::due::{Holder, holder};
use super::lease::Patience;
use super::ledger::{Attempt, Ledger, RunState};
use super::observe::Kept;
use super::status::before_it;
use super::stop::task_of;
use super::verdict::{Verdict, verdict};
use super::world::{Live, TaskNow, World};
use super::{RunError, RunEvent, told};
use crate::aws::Aws;
use crate::stack::diagnostic::suggest;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the ledger is looked at for a step that has not started.
const WAIT: Duration = Duration::from_secs(3);
/// Lines reach CloudWatch some seconds after the task has stopped: so long without a new one, and it was the last.
const LATE: Duration = Duration::from_secs(10);

/// Which log.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The sample.
    pub sample: &'a str,
    /// The pipeline step.
    pub step: &'a str,
    /// The steps that the stack file has.
    pub steps: &'a [&'a str],
    /// The attempt; left out, the last one.
    pub attempt: Option<u32>,
    /// Whether to go on until the task has stopped and its last lines have come.
    pub follow: bool,
}

/// Why a step's log cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The ledger, the task or the log could not be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Neither the file nor the ledger has the step.
    #[error("there is no step `{step}`")]
    NoSuchStep {
        /// What was asked for.
        step: String,
        /// The steps that there are.
        known: Vec<String>,
    },
    /// It was never tried in the last run, nor is it about to be.
    #[error("step `{step}` of sample {sample} was never started: {because}")]
    NeverStarted {
        /// The sample.
        sample: String,
        /// The step.
        step: String,
        /// Why.
        because: String,
    },
    /// The run will come to it.
    #[error("step `{step}` has not started yet: {because}")]
    NotYet {
        /// The step.
        step: String,
        /// Why.
        because: String,
    },
    /// The attempt is not in the ledger.
    #[error("there is no attempt {n} at step `{step}`")]
    NoSuchAttempt {
        /// The step.
        step: String,
        /// What was asked for.
        n: u32,
        /// The attempts that the ledger has.
        known: Vec<u32>,
    },
    /// Nothing of the attempt ever ran.
    #[error("attempt {n} at step `{step}` never started, so it wrote nothing: {reason}")]
    NothingRan {
        /// The step.
        step: String,
        /// The attempt.
        n: u32,
        /// Why, in AWS's words.
        reason: String,
        /// An earlier attempt that did run.
        earlier: Option<u32>,
    },
    /// The task definition sends its log nowhere.
    #[error("step `{step}` keeps no log: its task definition had no `log_group` when attempt {n} was started")]
    NoLog {
        /// The step.
        step: String,
        /// The attempt.
        n: u32,
    },
    /// Somebody deleted it.
    #[error("the log group {group} does not exist any more, and the log of step `{step}` went with it")]
    GroupGone {
        /// The step.
        step: String,
        /// The log group.
        group: String,
    },
    /// Nothing was written.
    #[error("step `{step}` has written nothing: the log group {group} has no stream {stream}")]
    NoStream {
        /// The step.
        step: String,
        /// The log group.
        group: String,
        /// The log stream.
        stream: String,
    },
}

impl LogError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(_) => None,
            Self::NoSuchStep { step, known } => suggest(step, known.iter().map(String::as_str), "the steps are"),
            Self::NeverStarted { .. } => Some("apply goes on with the run, after a failure with the step mended or with --retry; status shows where it is".to_owned()),
            Self::NotYet { .. } => Some("--follow waits for it".to_owned()),
            Self::NoSuchAttempt { known, .. } if known.is_empty() => None,
            Self::NoSuchAttempt { known, .. } => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                Some(format!("the ledger has {}", known.join(", ")))
            }
            Self::NothingRan { earlier, .. } => earlier.map(|n| format!("--attempt {n} shows the one before that ran")),
            Self::NoLog { .. } => {
                Some("give the task definition a `log_group`: tasks write to it from then on".to_owned())
            }
            Self::GroupGone { .. } => Some("apply makes it again, for tasks to come".to_owned()),
            Self::NoStream { .. } => {
                Some("a task that has just started has no stream yet, and --follow waits for it; a log group that was deleted and made anew has none of before".to_owned())
            }
        }
    }
}

/// Who is told what.
pub struct Ears<'a> {
    /// What is being waited for.
    pub events: &'a (dyn Fn(RunEvent) + Send + Sync),
    /// What the lines are of, and how their task ended.
    pub tell: &'a (dyn Fn(String) + Send + Sync),
    /// Takes lines, in order; breaks when nobody reads them any more.
    pub lines: &'a mut (dyn FnMut(Vec<String>) -> ControlFlow<()> + Send),
}

/// Shows a step's log.
///
/// # Errors
/// When there is no such log, or it cannot be read.
pub async fn show(aws: &Aws, at: (&str, &str), wanted: &Wanted<'_>, ears: Ears<'_>) -> Result<(), LogError> {
    let live = Live { aws, bucket: at.0, key: at.1 };
    // Who asked is asked no more: dropping this ends it.
    let (_never, stop) = watch::channel(false);
    let patience = Patience { events: ears.events, stop };
    let (attempt, over) = chosen(&live, &patience, wanted, ears.tell).await?;
    let step = wanted.step.to_owned();
    let (group, stream) = place(&live, &patience, &step, &attempt).await?;
    let tail = Tail { live: &live, patience: &patience, step, group, stream, token: None };
    tail.read(&attempt, wanted.follow && !over, ears).await
}

/// Where the log is. The name of a stream without a prefix is ECS's to tell, until the attempt has ended.
async fn place(
    live: &Live<'_>,
    patience: &Patience<'_>,
    step: &str,
    attempt: &Attempt,
) -> Result<(String, String), LogError> {
    let (request, step) = (&attempt.request, step.to_owned());
    match (attempt.log_place(), &request.log, &attempt.task_arn) {
        (Some(place), ..) => Ok(place),
        (None, Some((group, _)), Some(arn)) => {
            let asked = patience.ask(|| live.runtime_id(&request.cluster, arn, &request.container)).await?;
            let because = "ECS does not tell the name of its log stream: its container has not started yet, or ended too long ago";
            asked.map(|id| (group.clone(), id)).ok_or_else(|| LogError::NotYet { step, because: because.to_owned() })
        }
        _ => Err(LogError::NoLog { step, n: attempt.n }),
    }
}

/// The attempt that is meant, with its task, and whether it has been over for so long that no line can come any more.
async fn chosen(
    live: &Live<'_>,
    patience: &Patience<'_>,
    wanted: &Wanted<'_>,
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<(Attempt, bool), LogError> {
    let at = format!("s3://{}/{}", live.bucket, live.key);
    // Only who is waiting already has patience: at first, credentials that have expired are an error.
    let mut read = live.read_ledger().await.map_err(RunError::from)?;
    let mut waiting = false;
    loop {
        let now = read.now;
        let kept = Kept::of(read, &at).map_err(|source| RunError::Ledger { at: at.clone(), source })?;
        let driven = kept.as_ref().and_then(holder);
        let why = match choose(kept.as_ref().map(|kept| &kept.ledger), driven.as_ref(), wanted) {
            Err(LogError::NotYet { because, .. }) => because,
            Err(error) => return Err(error),
            Ok((attempt, present)) => {
                let mut attempt = attempt.clone();
                if attempt.task_arn.is_none() && attempt.verdict.is_none() {
                    let task = patience.ask(|| task_of(live, &attempt)).await?;
                    attempt.task_arn = task.map(|(arn, _)| arn);
                }
                if attempt.task_arn.is_some() {
                    if !present {
                        tell(format!("step {}: attempt {} is of an earlier run", wanted.step, attempt.n));
                    }
                    let late = i64::try_from(LATE.as_secs()).unwrap_or(i64::MAX);
                    let over = attempt.ended_at.is_some_and(|at| now.as_second() - at.as_second() > late);
                    return Ok((attempt, over));
                }
                let because = format!("attempt {} has no task yet", attempt.n);
                if driven.is_none() {
                    let (sample, step) = (wanted.sample.to_owned(), wanted.step.to_owned());
                    let because = format!("{because}, and nobody drives the run");
                    return Err(LogError::NeverStarted { sample, step, because });
                }
                because
            }
        };
        if !wanted.follow {
            return Err(LogError::NotYet { step: wanted.step.to_owned(), because: why });
        }
        if !waiting {
            waiting = true;
            tell(format!("step {}: waiting for it to start: {why}", wanted.step));
        }
        patience.sleep(WAIT).await?;
        read = patience.ask(|| live.read_ledger()).await?;
    }
}

/// The attempt that is meant, and whether it is of the last run.
fn choose<'l>(
    ledger: Option<&'l Ledger>,
    driven: Option<&Holder>,
    wanted: &Wanted<'_>,
) -> Result<(&'l Attempt, bool), LogError> {
    let step = wanted.step.to_owned();
    let run = ledger.and_then(Ledger::run);
    let attempts = ledger.and_then(|ledger| ledger.steps.get(&step)).map(|record| record.attempts.as_slice());
    let attempts = attempts.unwrap_or_default();
    if attempts.is_empty() && !wanted.steps.contains(&wanted.step) {
        let tried = ledger.into_iter().flat_map(|ledger| ledger.steps.keys());
        let file: BTreeSet<&str> = wanted.steps.iter().copied().collect();
        let tried = tried.map(String::as_str).filter(|name| !file.contains(name));
        let known = wanted.steps.iter().copied().chain(tried).map(str::to_owned).collect();
        return Err(LogError::NoSuchStep { step, known });
    }
    let nothing_ran = |attempt: &Attempt| {
        let reason = match &attempt.verdict {
            Some(Verdict::NeverStarted { reason, .. }) => reason.clone(),
            Some(_) if attempt.task_arn.is_none() => attempt.explanation.clone().unwrap_or_default(),
            _ => return Ok(()),
        };
        let earlier = attempts.iter().rev().find(|one| one.n < attempt.n && one.started_at.is_some());
        let (n, earlier) = (attempt.n, earlier.map(|one| one.n));
        Err(LogError::NothingRan { step: step.clone(), n, reason, earlier })
    };
    let of_run = ledger.zip(run).and_then(|(ledger, run)| ledger.attempt_of(run, &step));
    if let Some(n) = wanted.attempt {
        let found = attempts.iter().find(|attempt| attempt.n == n);
        let known = attempts.iter().map(|attempt| attempt.n).collect();
        let found = found.ok_or(LogError::NoSuchAttempt { step: step.clone(), n, known })?;
        nothing_ran(found)?;
        return Ok((found, true));
    }
    let because = match run {
        Some(run) => before_it(run, &step, driven),
        None if driven.is_some() => "the run is about to begin".to_owned(),
        None => "its pipeline has never run".to_owned(),
    };
    let comes = driven.is_some() && run.is_none_or(|run| run.state == RunState::Running);
    match of_run {
        // Whoever drives it tries again.
        Some(Attempt { verdict: Some(Verdict::NeverStarted { reason, retryable: true }), n, .. }) if comes => {
            Err(LogError::NotYet { step, because: format!("attempt {n} never started: {reason}") })
        }
        Some(attempt) => nothing_ran(attempt).map(|()| (attempt, true)),
        None if comes && wanted.follow => Err(LogError::NotYet { step, because }),
        None => match attempts.iter().rev().find(|attempt| attempt.task_arn.is_some()) {
            Some(earlier) => Ok((earlier, false)),
            None if comes => Err(LogError::NotYet { step, because }),
            None => Err(LogError::NeverStarted { sample: wanted.sample.to_owned(), step, because }),
        },
    }
}

/// A log stream being read.
struct Tail<'a> {
    live: &'a Live<'a>,
    patience: &'a Patience<'a>,
    step: String,
    group: String,
    stream: String,
    token: Option<String>,
}

/// What one reading came to.
enum Came {
    /// There is no stream (yet).
    NoStream,
    /// All that there is, and whether some of it is new.
    All { new: bool },
    /// Nobody reads it any more.
    Unheard,
}

impl Tail<'_> {
    async fn read(mut self, attempt: &Attempt, follow: bool, ears: Ears<'_>) -> Result<(), LogError> {
        let mut ended: Option<Instant> = None;
        let mut missing: Option<Instant> = None;
        loop {
            let came = self.pages(ears.lines).await?;
            match came {
                Came::Unheard => return Ok(()),
                Came::NoStream if !follow || ended.is_some_and(|ended| ended.elapsed() >= LATE) => {
                    let Self { step, group, stream, .. } = self;
                    return Err(LogError::NoStream { step, group, stream });
                }
                Came::All { .. } if !follow => return Ok(()),
                // Only a silence as long as lines may be late says that the last one has come.
                Came::All { new: true } => ended = ended.map(|_| Instant::now()),
                Came::All { new: false } if ended.is_some_and(|ended| ended.elapsed() >= LATE) => return Ok(()),
                Came::All { .. } | Came::NoStream => {}
            }
            if ended.is_none() {
                match self.patience.ask(|| task_of(self.live, attempt)).await? {
                    Some((_, TaskNow::Going(_))) => missing = None,
                    Some((_, TaskNow::Stopped(end))) => {
                        let judged = verdict(&end.of(&attempt.request.container, &attempt.request.essential));
                        (ears.tell)(format!("step {}: {}", self.step, told(&judged.verdict, &judged.explanation)));
                        ended = Some(Instant::now());
                    }
                    // A fresh task is not known everywhere at once, and one that stopped is forgotten after an hour.
                    Some((_, TaskNow::Missing)) | None => {
                        let since = *missing.get_or_insert_with(Instant::now);
                        if attempt.verdict.is_some() || since.elapsed() > VISIBLE {
                            (ears.tell)(format!("step {}: ECS does not know its task any more", self.step));
                            ended = Some(Instant::now());
                        }
                    }
                }
            }
            self.patience.sleep(LOOK).await?;
        }
    }

    /// Every page that there is beyond the last one.
    async fn pages(
        &mut self,
        lines: &mut (dyn FnMut(Vec<String>) -> ControlFlow<()> + Send),
    ) -> Result<Came, LogError> {
        let mut new = false;
        loop {
            let asked = self.patience.ask(|| self.live.log_page(&self.group, &self.stream, self.token.clone()));
            let Some((page, next)) = asked.await? else {
                let there = self.patience.ask(|| self.live.has_stream(&self.group, &self.stream)).await?;
                return match there {
                    // A stream that was deleted while it was read, and its lines with it, is there no more either.
                    Some(_) => Ok(Came::NoStream),
                    None => Err(LogError::GroupGone { step: self.step.clone(), group: self.group.clone() }),
                };
            };
            if !page.is_empty() {
                new = true;
                if lines(page).is_break() {
                    return Ok(Came::Unheard);
                }
            }
            if next.is_none() || next == self.token {
                return Ok(Came::All { new });
            }
            self.token = next;
        }
    }
}
