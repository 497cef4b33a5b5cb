//! `seqstack destroy`

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::address::Address;
use crate::aws::Class;
use crate::choose::Choice;
use crate::cli::{Consent, Destroy};
use crate::event::Event;
use crate::plan::StepId;
use crate::report::plan::view::Loss;
use crate::run::strays::{TaggedTask, stop_tasks, tasks_of};
use crate::run::{DriveOptions, Holder, RunError, RunEvent, in_progress, list_ledgers, stop_run};

use super::prepare::{Ending, Prepared};
use super::session::Session;
use super::{Console, Exit, Problem, prepare, proceed, seat, session};

/// Shows what would go, asks, and takes it down.
///
/// # Errors
/// When the stack file is wrong, AWS could not be read, a run is going on, or nobody agreed.
pub async fn run(args: &Destroy) -> Result<Exit, Problem> {
    let console = Console::for_changes(args.json, args.target.verbose);
    let destroyed = Box::pin(async {
        let mut session = session::open(&args.target, None, false).await?;
        session.console = console;
        destroy_chosen(&session, &args.choice, args.stop_run, &args.consent).await
    });
    console.end(destroyed.await)
}

/// All of it, in a session that is open.
///
/// # Errors
/// As [`run`].
pub async fn destroy(session: &Session, stop_run: bool, consent: &Consent) -> Result<Exit, Problem> {
    Box::pin(destroy_chosen(session, &Choice::default(), stop_run, consent)).await
}

/// What is chosen of it, in a session that is open.
///
/// # Errors
/// As [`run`].
pub async fn destroy_chosen(
    session: &Session,
    choice: &Choice,
    stop_run: bool,
    consent: &Consent,
) -> Result<Exit, Problem> {
    let mut gone = BTreeSet::new();
    let mut interrupts = None;
    // Again after it was carried out: what was made a moment before may not have been listed yet. It is looked at as
    // closely as all of it was.
    let (exit, left_out) = loop {
        let lock = proceed::Lock::take(&session.state_dir, session.console).await?;
        let mut sight = Sight::of(session, choice, &gone).await?;
        let plan = &sight.prepared.plan.clone();
        let mut things: BTreeSet<Thing> =
            plan.steps.iter().map(|(id, step)| (id.clone(), step.subject.clone())).collect();
        if interrupts.is_some() {
            // What was just deleted may be listed for a while yet.
            if things.is_subset(&gone) {
                break (Exit::Done, plan.left_out.len());
            }
            session.console.say("more of the stack has shown up since:");
        }
        prepare::show(session, &sight.prepared)?;
        if !plan.conflicts.is_empty() {
            if interrupts.is_none() {
                return Ok(Exit::Failed);
            }
            break (Exit::Failed, 0);
        }
        if !stop_run {
            sight.nothing_runs(session)?;
        }
        if interrupts.is_some() {
            proceed::loss_agreed(session.console, &sight.prepared, consent)?;
        } else if plan.is_empty() && sight.running.is_empty() {
            return Ok(Exit::Done);
        } else {
            proceed::consent(session.console, &sight.prepared, consent, "destroyed")?;
            if !consent.yes {
                // The question may have stood for long.
                sight.look_for_runs(session).await?;
                if !stop_run {
                    sight.nothing_runs(session)?;
                }
            }
        }
        let interrupts = interrupts.get_or_insert_with(|| proceed::Interrupts::heed(session));
        sight.stop(session, interrupts).await?;
        let identity = &sight.prepared.header.identity;
        let (outcome, _) = Box::pin(proceed::carry_out(session, plan, identity, false, lock, interrupts)).await?;
        let exit = proceed::exit(&outcome, None);
        if exit != Exit::Done || interrupts.raised() {
            break (exit, plan.left_out.len());
        }
        gone.append(&mut things);
    };
    if exit == Exit::Done {
        session.console.say(&match left_out {
            0 => "destroyed: nothing of the stack is left".to_owned(),
            left => format!("destroyed what was chosen; left out, and still there: {left} more"),
        });
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

/// A step, and what it takes down, as a person knows it.
type Thing = (StepId, String);

/// What would go, and what runs on it.
struct Sight {
    prepared: Prepared,
    running: Vec<Running>,
    /// Tasks that no ledger knows of, by cluster.
    strays: Vec<(String, Vec<TaggedTask>)>,
}

impl Sight {
    /// All of it is read before any of it is shown: what is not known is not a plan.
    async fn of(session: &Session, choice: &Choice, gone: &BTreeSet<Thing>) -> Result<Self, Problem> {
        let gone: BTreeSet<Address> = gone.iter().map(|(id, _)| id.at.clone()).collect();
        let mut prepared = Box::pin(prepare::destroy(session, choice, &gone)).await?;
        // That tasks are stopped is asked for apart.
        let files = |loss: Loss| Loss { running: Vec::new(), ..loss };
        let losses = Ending::of(session, &prepared.plan, None).await?.losses.into_iter().map(files);
        prepared.losses = losses.filter(|loss| loss.unknown.is_some() || !loss.steps.is_empty()).collect();
        let mut sight = Self { prepared, running: Vec::new(), strays: Vec::new() };
        sight.look_for_runs(session).await?;
        Ok(sight)
    }

    async fn look_for_runs(&mut self, session: &Session) -> Result<(), Problem> {
        self.running = runs(session).await?;
        self.strays = strays(session, &self.prepared.clusters, &self.running).await?;
        Ok(())
    }

    /// Refuses while anything runs.
    fn nothing_runs(&self, session: &Session) -> Result<(), Problem> {
        if let Some(run) = self.running.first() {
            return Err(Problem::failed(format!(
                "a run of sample {} is going on, driven by {} since {}",
                run.sample, run.holder.who, run.holder.since
            ))
            .hint(format!(
                "wait until it has ended (`{}` shows where it is), or stop it with --stop-run; its ledger and results stay",
                session.command("status", &[])
            )));
        }
        if let Some(task) = self.strays.iter().find_map(|(_, tasks)| tasks.first()) {
            return Err(Problem::failed(format!(
                "the task {} (sample {}, step {}) is running, and no ledger knows of it",
                task.arn, task.sample, task.step
            ))
            .hint("stop it with --stop-run, or apply, which stops it and runs the step again"));
        }
        Ok(())
    }

    /// Stops whatever runs. Interrupted, it leaves what is not stopped yet: then nothing is begun after it either.
    async fn stop(&self, session: &Session, interrupts: &proceed::Interrupts) -> Result<(), Problem> {
        match self.stop_all(session, interrupts.stopped()).await {
            Ok(()) | Err(RunError::Stopped) => Ok(()),
            Err(error) => Err(Problem::failed(crate::aws::chain(&error))),
        }
    }

    async fn stop_all(&self, session: &Session, stopped: watch::Receiver<bool>) -> Result<(), RunError> {
        let tell = tell(session);
        for run in &self.running {
            session.console.say(&format!("stopping the run of sample {}", run.sample));
            let options = DriveOptions::new(&self.prepared.header.identity);
            stop_run(&session.aws, &run.bucket, &run.key, &options, &tell, stopped.clone()).await?;
        }
        for (cluster, tasks) in self.strays.iter().filter(|(_, tasks)| !tasks.is_empty()) {
            stop_tasks(&session.aws, cluster, tasks, &tell, stopped.clone()).await?;
        }
        Ok(())
    }
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
            let is_dead = |holder: &str| seat::is_dead(&session.state_dir, &sample, holder);
            let holder = match in_progress(&session.aws, bucket, &key, is_dead).await {
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
    clusters: &BTreeSet<String>,
    running: &[Running],
) -> Result<Vec<(String, Vec<TaggedTask>)>, Problem> {
    let info = &session.stack.info;
    let known: Vec<&String> = running.iter().flat_map(|run| run.holder.tasks.values()).collect();
    let mut out = Vec::new();
    for cluster in clusters {
        let tasks = tasks_of(&session.aws, cluster, &info.name, &info.region).await;
        let tasks = tasks.map_err(|error| Problem::failed(format!("which tasks are running is not known: {error}")))?;
        out.push((
            cluster.clone(),
            tasks.into_iter().filter(|task| !task.stopped && !known.contains(&&task.arn)).collect(),
        ));
    }
    Ok(out)
}

fn tell(session: &Session) -> impl Fn(RunEvent) + Send + Sync {
    let console = session.console;
    move |event| console.tell(&Event::Run(event), true)
}
