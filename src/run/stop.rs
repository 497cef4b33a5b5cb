//! Looking at a run from outside, and stopping it: for `destroy`, and for what an earlier driver left running.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::drive::{DriveOptions, HOST_CHECK, VISIBLE, host_lost};
use super::due::{Holder, holder};
use super::lease::{Book, Patience, Wants};
use super::ledger::{Attempt, RunState};
use super::observe::Kept;
use super::verdict::{Judgement, TaskEnd, Verdict, verdict};
use super::world::{Live, TaskNow, World};
use super::{RunError, RunEvent};
use crate::aws::absence::OrAbsent as _;
use crate::aws::{Aws, AwsError, Class};

/// How long a task that was told to stop, and that ECS does not show, is given: SIGTERM, thirty seconds, SIGKILL.
pub(super) const UNSHOWN: Duration = Duration::from_secs(120);
/// How long a stopped task may take to be gone: SIGTERM, thirty seconds, SIGKILL, and ECS's own delays.
pub(super) const STOPPING: Duration = Duration::from_secs(600);

/// The ledgers of a stack in a bucket: samples and keys.
///
/// # Errors
/// When the bucket cannot be listed.
pub async fn list_ledgers(
    aws: &Aws,
    bucket: &str,
    stack: &str,
    region: &str,
) -> Result<Vec<(String, String)>, AwsError> {
    let prefix = format!(".seqstack/{region}/{stack}/");
    let mut out = Vec::new();
    let mut token = None;
    loop {
        let list = |s3: &aws_sdk_s3::Client| {
            s3.list_objects_v2().bucket(bucket).prefix(&prefix).set_continuation_token(token.clone()).send()
        };
        let page = aws.buckets.call(bucket, "s3:ListObjectsV2", list).await?;
        out.extend(page.contents().iter().filter_map(|object| {
            let key = object.key()?;
            let sample = key.strip_prefix(&prefix)?.strip_suffix("/ledger.json")?;
            Some((sample.to_owned(), key.to_owned()))
        }));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return Ok(out);
        }
    }
}

/// A ledger, and how old it is by S3's clock; none where there is none.
///
/// # Errors
/// When it cannot be read.
pub async fn read_ledger(aws: &Aws, bucket: &str, key: &str) -> Result<Option<Kept>, RunError> {
    read(&Live { aws, bucket, key }, &format!("s3://{bucket}/{key}")).await
}

async fn read<W: World>(world: &W, at: &str) -> Result<Option<Kept>, RunError> {
    Kept::of(world.read_ledger().await?, at).map_err(|source| RunError::Ledger { at: at.to_owned(), source })
}

/// Who is driving a run, or whose tasks run on: somebody whose lease is alive, and who is not known to be dead, or any task
/// that has not stopped.
///
/// # Errors
/// When AWS cannot be asked, or the ledger cannot be read.
pub async fn in_progress(
    aws: &Aws,
    bucket: &str,
    key: &str,
    is_dead: impl Fn(&str) -> bool,
) -> Result<Option<Holder>, RunError> {
    in_progress_in(&Live { aws, bucket, key }, &format!("s3://{bucket}/{key}"), is_dead).await
}

pub(super) async fn in_progress_in<W: World>(
    world: &W,
    at: &str,
    is_dead: impl Fn(&str) -> bool,
) -> Result<Option<Holder>, RunError> {
    let Some(kept) = read(world, at).await? else { return Ok(None) };
    let kept = kept.bury(is_dead);
    let mut tasks = BTreeMap::new();
    for (step, attempt) in kept.ledger.open() {
        if let Some((arn, TaskNow::Going(_))) = task_of(world, attempt).await? {
            tasks.insert(step.to_owned(), arn);
        }
    }
    let alive = holder(&kept);
    if alive.is_none() && tasks.is_empty() {
        return Ok(None);
    }
    let since = kept.ledger.run().map_or(Timestamp::UNIX_EPOCH, |run| run.started_at);
    let nobody = || Holder {
        who: "nobody at present".to_owned(),
        since,
        seen_seconds_ago: kept.age.as_secs(),
        tasks: BTreeMap::new(),
    };
    Ok(Some(Holder { tasks, ..alive.unwrap_or_else(nobody) }))
}

/// The task of an open attempt, if there is one, and how it stands. A cluster that is gone has no tasks.
pub(super) async fn task_of<W: World>(world: &W, attempt: &Attempt) -> Result<Option<(String, TaskNow)>, AwsError> {
    let cluster = &attempt.request.cluster;
    let gone = |error: &AwsError| error.class == Class::NotFound;
    let arn = match &attempt.task_arn {
        Some(arn) => arn.clone(),
        None => match world.find_task(cluster, &attempt.request.started_by).await {
            Ok(Some(arn)) => arn,
            Ok(None) => return Ok(None),
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    match world.tasks(cluster, std::slice::from_ref(&arn)).await {
        Ok(mut now) => Ok(now.pop().map(|now| (arn, now))),
        Err(error) if gone(&error) => Ok(Some((arn, TaskNow::Missing))),
        Err(error) => Err(error),
    }
}

/// Stops the task of an open attempt, if there is one, and says how it ended.
pub(super) async fn put_down<W: World>(
    world: &W,
    patience: &Patience<'_>,
    book: &Book<'_, W>,
    step: &str,
    attempt: &Attempt,
    reason: &str,
) -> Result<(Option<String>, TaskEnd, Judgement), RunError> {
    let unknown = |explanation: &str| Judgement {
        verdict: Verdict::Unknown,
        explanation: explanation.to_owned(),
        next: String::new(),
    };
    let end = Instant::now() + STOPPING;
    // Written down a moment ago, by a driver that died since: its task may be there, and not seen yet.
    let now = book.now().await;
    let age = attempt.made_at.map_or(VISIBLE, |made| Duration::try_from(now - made).unwrap_or_default());
    let mut seen_by = Instant::now() + VISIBLE.saturating_sub(age);
    let mut pause = Duration::from_millis(250);
    let mut told = false;
    let mut wait = patience.wait(format!("the task of step {step} to stop"), STOPPING);
    let mut host_checked: Option<Instant> = None;
    loop {
        let found = patience.ask(|| task_of(world, attempt)).await?;
        if matches!(found, None | Some((_, TaskNow::Missing))) && Instant::now() < seen_by {
            wait.pause(pause).await?;
            pause = (pause * 3 / 2).min(Duration::from_secs(3));
            continue;
        }
        let Some((arn, now)) = found else {
            return Ok((None, TaskEnd::default(), unknown("no task is known to have been started for it")));
        };
        match now {
            TaskNow::Stopped(end) => {
                let end = end.of(&attempt.request.container, &attempt.request.essential);
                let judgement = verdict(&end);
                return Ok((Some(arn), end, judgement));
            }
            // That it is not shown does not say that it does not run. Where ECS takes the order, it is given time to stop.
            TaskNow::Missing if !told => {
                book.hold().await?;
                let stop = || stopped(world, &attempt.request.cluster, &arn, reason);
                if !patience.ask_while(|| book.hold(), stop).await? {
                    return Ok((Some(arn), TaskEnd::default(), unknown("ECS does not know its task any more")));
                }
                told = true;
                seen_by = Instant::now() + UNSHOWN;
            }
            TaskNow::Missing => {
                return Ok((Some(arn), TaskEnd::default(), unknown("ECS does not know its task any more")));
            }
            TaskNow::Going(_) if !told => {
                (patience.events)(RunEvent::TaskStopping { name: step.to_owned(), task_arn: arn.clone() });
                book.hold().await?;
                let stop = || stopped(world, &attempt.request.cluster, &arn, reason);
                patience.ask_while(|| book.hold(), stop).await?;
                told = true;
            }
            // ECS shows the tasks of an instance that is gone as running for minutes yet.
            TaskNow::Going(_) if host_checked.is_none_or(|at| at.elapsed() >= HOST_CHECK) => {
                host_checked = Some(Instant::now());
                let instance = &attempt.request.instance;
                if patience.ask(|| world.instance_gone(instance)).await? {
                    return Ok((Some(arn), TaskEnd::default(), host_lost(instance)));
                }
            }
            TaskNow::Going(_) if Instant::now() > end => return Err(RunError::StillRunning(vec![arn])),
            TaskNow::Going(_) => {
                wait.pause(pause).await?;
                pause = (pause * 3 / 2).min(Duration::from_secs(3));
            }
        }
    }
}

/// Tells a task to stop; false where ECS does not know it (any more).
async fn stopped<W: World>(world: &W, cluster: &str, arn: &str, reason: &str) -> Result<bool, AwsError> {
    // ECS has no code of its own for this: it is an `InvalidParameterException` whose message says so.
    let unknown = |error: &AwsError| error.class == Class::NotFound || error.message.contains("task was not found");
    world.stop_task(cluster, arn, reason).await.or_absent_if(unknown).map(|sent| sent.is_some())
}

/// Writes an end into its attempt.
pub(super) fn close(attempt: &mut Attempt, arn: Option<String>, end: &TaskEnd, judgement: &Judgement) {
    attempt.task_arn = arn.or(attempt.task_arn.take());
    attempt.started_at = end.started_at;
    attempt.ended_at = end.ended_at;
    attempt.exit_code = end.exit_code;
    attempt.image_digest = end.image_digest.clone();
    attempt.log_stream = end.log_stream.clone();
    attempt.verdict = Some(judgement.verdict.clone());
    attempt.explanation = Some(judgement.explanation.clone());
}

/// Takes the lease from whoever holds it, stops the run's tasks, and records the run as cancelled. Gives the tasks that
/// were open, by step. The ledger and what the run wrote stay.
///
/// # Errors
/// When AWS refuses, or a task does not stop.
pub async fn stop_run(
    aws: &Aws,
    bucket: &str,
    key: &str,
    options: &DriveOptions,
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<BTreeMap<String, String>, RunError> {
    let at = format!("s3://{bucket}/{key}");
    stop_run_in(&Live { aws, bucket, key }, &at, options, events, stop).await
}

pub(super) async fn stop_run_in<W: World>(
    world: &W,
    at: &str,
    options: &DriveOptions,
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<BTreeMap<String, String>, RunError> {
    let patience = Patience { events, stop };
    // Where there is no ledger there is no run, and none is made for the occasion.
    if patience.ask(|| world.read_ledger()).await?.object.is_none() {
        return Ok(BTreeMap::new());
    }
    let who = options.who();
    let holder = options.holder_id();
    let wants = Wants { holder: &holder, who: &who, by_force: true, at };
    let book = Book::take(world, &patience, options.fresh.as_ref(), &wants).await?;
    let stop = async {
        let mut stopped = BTreeMap::new();
        let open: Vec<(String, Attempt)> =
            book.ledger().await.open().map(|(step, attempt)| (step.to_owned(), attempt.clone())).collect();
        let reason = format!("seqstack: the run was stopped by {who}");
        let ends = open.iter().map(|(step, attempt)| put_down(world, &patience, &book, step, attempt, &reason));
        let ends = futures_util::future::try_join_all(ends).await?;
        book.release(|ledger, now| {
            for ((step, attempt), (arn, end, judgement)) in open.iter().zip(ends) {
                stopped.extend(arn.clone().map(|arn| (step.clone(), arn)));
                if let Some(attempt) = ledger.attempt_mut(step, attempt.n) {
                    close(attempt, arn, &end, &judgement);
                }
            }
            if ledger.run().is_some_and(|run| run.state == RunState::Running) {
                ledger.end_run(RunState::Cancelled { by: who.clone() }, now);
            }
        })
        .await?;
        Ok(stopped)
    };
    let work = async {
        let stopped = stop.await;
        // Told to leave off, it is nobody's to wait for.
        if matches!(stopped, Err(RunError::Stopped)) {
            book.release(|_, _| ()).await?;
        }
        stopped
    };
    tokio::select! {
        stopped = work => stopped,
        error = book.renew() => Err(error),
    }
}
