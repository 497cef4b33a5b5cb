//! `seqstack destroy`

use std::collections::BTreeSet;

use crate::aws::Class;
use crate::cli::{Consent, Destroy};
use crate::event::Event;
use crate::plan::Verb;
use crate::report::progress;
use crate::run::strays::{TaggedTask, stop_tasks, tasks_of};
use crate::run::{DriveOptions, Holder, RunError, RunEvent, in_progress, list_ledgers, read_ledger, stop_run};

use super::session::Session;
use super::{Exit, Problem, prepare, proceed, session};

/// Shows what would go, asks, and takes it down.
///
/// # Errors
/// When the stack file is wrong, AWS could not be read, a run is going on, or nobody agreed.
pub async fn run(args: &Destroy) -> Result<Exit, Problem> {
    let session = session::open(&args.target, None, false).await?;
    destroy(&session, args.stop_run, &args.consent).await
}

/// The same, in a session that is open.
///
/// # Errors
/// As [`run`].
pub async fn destroy(session: &Session, stop_run: bool, consent: &Consent) -> Result<Exit, Problem> {
    let lock = proceed::Lock::take(&session.state_dir, session.console).await?;
    let mut prepared = Box::pin(prepare::destroy(session)).await?;
    // All of it is read before any of it is shown: what is not known is not a plan.
    let running = runs(session).await?;
    let strays = strays(session, &prepared, &running).await?;
    prepared.losses = losses(session, &prepared).await?;
    session.console.print(&prepared.text(session.verbose))?;
    if let (Some(run), false) = (running.first(), stop_run) {
        return Err(Problem::failed(format!(
            "a run of sample {} is going on, driven by {} since {}",
            run.sample, run.holder.who, run.holder.since
        ))
        .hint(format!(
            "wait until it has ended (`{}` shows where it is), or stop it with --stop-run; its ledger and results stay",
            session.command("status", &[])
        )));
    }
    if let (Some(task), false) = (strays.iter().find_map(|(_, tasks)| tasks.first()), stop_run) {
        return Err(Problem::failed(format!(
            "the task {} (sample {}, step {}) is running, and no ledger knows of it",
            task.arn, task.sample, task.step
        ))
        .hint("stop it with --stop-run, or apply, which stops it and runs the step again"));
    }
    if prepared.plan.is_empty() && running.is_empty() {
        return Ok(Exit::Done);
    }
    proceed::consent(&prepared, consent, "destroyed")?;
    for run in &running {
        stop(session, run, &prepared.header.identity).await?;
    }
    for (cluster, tasks) in strays.iter().filter(|(_, tasks)| !tasks.is_empty()) {
        let (_never, stopped) = tokio::sync::watch::channel(false);
        stop_tasks(&session.aws, cluster, tasks, &tell(session), stopped)
            .await
            .map_err(|error| Problem::failed(crate::aws::chain(&error)))?;
    }
    let (outcome, _) = proceed::proceed(session, &prepared.plan, &prepared.header.identity, false, lock).await?;
    let exit = proceed::exit(&outcome, None);
    if exit == Exit::Done {
        session.console.say("destroyed: nothing of the stack is left");
        let buckets: Vec<&str> = session.stack.info.buckets.values().map(String::as_str).collect();
        if !buckets.is_empty() {
            session
                .console
                .say(&format!("the buckets, their objects and the runs' ledgers stay: {}", buckets.join(", ")));
        }
    } else {
        session.console.say("not all of it is gone; destroy again goes on from here");
    }
    Ok(exit)
}

/// A run that is going on.
struct Running {
    sample: String,
    bucket: String,
    key: String,
    holder: Holder,
}

/// Every run of the stack that is going on, whichever of its buckets has the ledger.
async fn runs(session: &Session) -> Result<Vec<Running>, Problem> {
    let failed =
        |error: &dyn std::error::Error| Problem::failed(format!("whether a run is going on is not known: {error}"));
    let info = &session.stack.info;
    let mut out = Vec::new();
    for bucket in info.buckets.values() {
        let ledgers = match list_ledgers(&session.aws, bucket, &info.name, &info.region).await {
            Err(error) if error.class == Class::NotFound => continue,
            answer => answer.map_err(|error| failed(&error))?,
        };
        for (sample, key) in ledgers {
            let holder = match in_progress(&session.aws, bucket, &key).await {
                // Then the tasks themselves tell, by their tags.
                Err(RunError::Ledger { source, at }) if source.is_replaced() => {
                    session.console.say(&format!("the ledger {at} cannot be used: {source}; it stays as it is"));
                    None
                }
                answer => answer.map_err(|error| failed(&error))?,
            };
            out.extend(holder.map(|holder| Running { sample, bucket: bucket.clone(), key, holder }));
        }
    }
    Ok(out)
}

/// Tasks of the stack that no ledger knows of, by cluster.
async fn strays(
    session: &Session,
    prepared: &prepare::Prepared,
    running: &[Running],
) -> Result<Vec<(String, Vec<TaggedTask>)>, Problem> {
    let info = &session.stack.info;
    let known: Vec<&String> = running.iter().flat_map(|run| run.holder.tasks.values()).collect();
    let ours = prepared.plan.steps.iter().filter(|(id, _)| id.at.kind == "cluster").map(|(_, step)| &step.subject);
    let theirs = session.stack.existing.iter().filter(|(at, _)| at.kind == "cluster").map(|(_, name)| name);
    let mut out = Vec::new();
    for cluster in ours.chain(theirs).collect::<BTreeSet<_>>() {
        let tasks = tasks_of(&session.aws, cluster, &info.name, &info.region).await;
        let tasks = tasks.map_err(|error| Problem::failed(format!("which tasks are running is not known: {error}")))?;
        out.push((cluster.clone(), tasks.into_iter().filter(|task| !known.contains(&&task.arn)).collect()));
    }
    Ok(out)
}

/// What would be lost: the files on instances of runs that have not succeeded, whichever sample's.
async fn losses(session: &Session, prepared: &prepare::Prepared) -> Result<Vec<String>, Problem> {
    let info = &session.stack.info;
    let failed = |error: &dyn std::error::Error| Problem::failed(format!("what would be lost is not known: {error}"));
    let ended: Vec<&str> = prepared
        .plan
        .steps
        .iter()
        .filter(|(id, _)| id.at.kind == "instance" && id.verb == Verb::Delete)
        .map(|(_, step)| step.subject.as_str())
        .collect();
    let mut out = Vec::new();
    for bucket in info.buckets.values().filter(|_| !ended.is_empty()) {
        let ledgers = match list_ledgers(&session.aws, bucket, &info.name, &info.region).await {
            Err(error) if error.class == Class::NotFound => continue,
            answer => answer.map_err(|error| failed(&error))?,
        };
        for (sample, key) in ledgers {
            let kept = match read_ledger(&session.aws, bucket, &key).await {
                Err(RunError::Ledger { source, .. }) if source.is_replaced() => {
                    out.push(format!("the intermediate files of {sample} (which, its ledger does not tell: {source})"));
                    continue;
                }
                answer => answer.map_err(|error| failed(&error))?,
            };
            let worth = kept.and_then(|kept| ended.iter().find_map(|id| prepare::intermediates(&kept.ledger, id)));
            out.extend(worth.map(|worth| format!("the intermediate files of {sample} ({worth})")));
        }
    }
    Ok(out)
}

fn tell(session: &Session) -> impl Fn(RunEvent) + Send + Sync {
    let console = session.console;
    move |event| {
        if let Some(line) = progress::line(&Event::Run(event), true) {
            console.say(&line);
        }
    }
}

async fn stop(session: &Session, run: &Running, identity: &str) -> Result<(), Problem> {
    session.console.say(&format!("stopping the run of sample {}", run.sample));
    // Nobody asks it to stop half-way: it is bounded by itself.
    let (_never, stopped) = tokio::sync::watch::channel(false);
    stop_run(&session.aws, &run.bucket, &run.key, &DriveOptions::new(identity), &tell(session), stopped)
        .await
        .map(|_| ())
        .map_err(|error| Problem::failed(crate::aws::chain(&error)))
}
