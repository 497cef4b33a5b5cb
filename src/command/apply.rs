//! `seqstack apply`

use crate::address::Address;
use crate::aws::wait::interrupted;
use crate::cli::{Apply, Consent, Wish};
use crate::event::Event;
use crate::plan::{Plan, Verb};
use crate::report;
use crate::report::span;
use crate::run::{DriveOptions, Due, Outcome, RunSpec, Verdict, observe, prove, summary};
use crate::saved::Saved;
use crate::stack::pipeline::OnFailure;

use super::session::Session;
use super::{Console, Exit, Problem, cost, outlook, prepare, proceed, saved, session};

/// How many fresh instances one apply makes, beside its plan's own, for a run that loses them.
pub(super) const FRESH_INSTANCES: u32 = 2;

/// Why an instance stays after a run that failed in a later step.
const RESUME: &str =
    "it stays with the intermediate files, so that the next apply goes on from the failed step (on_failure = \"keep\")";
/// Why it stays after one that failed in a first step.
const LOOK: &str = "it stays so that you can look around on it (on_failure = \"keep\"); the next apply begins the run from its first step, on a fresh instance";
/// Why it stays after one that was cut short.
const JOIN: &str = "it stays, so that the next apply can try to go on there (on_failure = \"keep\")";

/// Shows the plan, asks, and converges.
///
/// # Errors
/// When the stack file is wrong, AWS could not be read, or nobody agreed.
pub async fn run(args: &Apply) -> Result<Exit, Problem> {
    let console = Console::for_changes(args.json, args.target.verbose);
    let consent = Consent { overwrite: args.overwrite, ..args.consent.clone() };
    let applied = Box::pin(async {
        if let Some(plan) = saved::read(&args.target.stack)? {
            let mut session = saved::open(&args.target, &args.wish, &plan).await?;
            session.console = console;
            session.warn();
            return apply_saved(&session, &plan, &consent).await;
        }
        let mut session = session::open(&args.target, args.wish.sample.as_deref(), true).await?;
        session.console = console;
        session.warn();
        apply(&session, &args.wish, &consent).await
    });
    console.end(applied.await)
}

/// The same, in a session that is open.
///
/// # Errors
/// As [`run`].
pub async fn apply(session: &Session, wish: &Wish, consent: &Consent) -> Result<Exit, Problem> {
    converge(session, wish, consent, None).await
}

/// The same for a plan that was saved, if it is what would be done now. Who saved it has looked at it: only what would be
/// lost, or is somebody's and would be overwritten, is asked about.
///
/// # Errors
/// As [`run`], and when anything has moved since.
pub async fn apply_saved(session: &Session, saved: &Saved, consent: &Consent) -> Result<Exit, Problem> {
    converge(session, &saved.request.wish, consent, Some(saved)).await
}

async fn converge(session: &Session, wish: &Wish, consent: &Consent, saved: Option<&Saved>) -> Result<Exit, Problem> {
    let mut lock = proceed::Lock::take(&session.state_dir, session.console).await?;
    let mut prepared = Box::pin(prepare::converge(session, wish, "apply")).await?;
    if let Some(driver) = &prepared.driver
        && driver.is_gone(session).await?
    {
        prepared = Box::pin(prepare::converge(session, wish, "apply")).await?;
    }
    if let Some(saved) = saved {
        saved::still(session, saved, &prepared)?;
    }
    prepare::show(session, &prepared)?;
    if !prepared.plan.conflicts.is_empty() {
        return Ok(Exit::Failed);
    }
    if prepared.plan.is_empty() {
        if session.verbose {
            session.console.print(&prepare::calls(session))?;
        }
        return Ok(if matches!(prepared.due, Some(Due::Failed(_))) { Exit::RunFailed } else { Exit::Done });
    }
    match saved {
        Some(_) => proceed::loss_agreed(session.console, &prepared, consent)?,
        None => proceed::consent(session.console, &prepared, consent, "applied")?,
    }
    if !consent.yes {
        // The question may have stood for long: a run that somebody has begun meanwhile is a conflict.
        let now = Box::pin(prepare::converge(session, wish, "apply")).await?;
        if now.driver.is_some() {
            prepare::show(session, &now)?;
            return Ok(Exit::Failed);
        }
    }
    if let Some(host) = prepared.host.as_ref().filter(|_| prepared.plan.run.is_some()) {
        session.console.say(&outlook::opening(host));
    }
    let interrupts = proceed::Interrupts::heed(session);
    let (mut fresh, mut trouble) = (0, None);
    let (outcome, run_end) = loop {
        if launches(&prepared.plan) {
            Box::pin(recordable(session, &prepared, &interrupts)).await?;
        }
        let carried_out =
            proceed::carry_out(session, &prepared.plan, &prepared.header.identity, wish.retry, lock, &interrupts);
        let (outcome, run_end) = Box::pin(carried_out).await?;
        let (instance, because) = match &run_end {
            Some(Ok(Outcome::HostLost { instance, explanation, .. })) => (instance, explanation),
            Some(Ok(Outcome::InstanceUsed { instance, because })) => (instance, because),
            _ => break (outcome, run_end),
        };
        if fresh == FRESH_INSTANCES || interrupts.raised() {
            break (outcome, run_end);
        }
        let again = Event::RunAgain {
            instance: instance.clone(),
            because: because.clone(),
            attempt: fresh + 2,
            of: FRESH_INSTANCES + 1,
        };
        proceed::note(session, &again);
        let again = async {
            let lock = proceed::Lock::take(&session.state_dir, session.console).await?;
            Ok((lock, again_on_a_fresh_instance(session, wish, consent, &prepared).await?))
        };
        let stopped = interrupts.stopped();
        let next = tokio::select! {
            again = Box::pin(again) => again,
            () = interrupted(&stopped) => break (outcome, run_end),
        };
        // How the run stands, and what is billed, is told whatever comes after it.
        let next = next.and_then(|(lock, next)| Ok((lock, used_no_more(next, &run_end)?)));
        (lock, prepared) = match next {
            Ok(next) => next,
            Err(problem) => {
                trouble = Some(problem);
                break (outcome, run_end);
            }
        };
        // Another sample may have put a fresh one there meanwhile.
        fresh += u32::from(launches(&prepared.plan));
    };
    let exit = proceed::exit(&outcome, run_end.as_ref());
    let once_more = matches!(&run_end, Some(Ok(Outcome::HostLost { .. }))) && fresh == FRESH_INSTANCES;
    if let Some(end) = run_end
        && let Err(problem) = report(session, &prepared, end).await
    {
        session.console.say(&format!("warning: {}", problem.text));
    }
    if let Some(problem) = trouble {
        return Err(problem);
    }
    let failed_before = matches!(prepared.due, Some(Due::Failed(_)));
    if once_more {
        session.console.say(&format!(
            "hint: {} instances went away under this run in one apply: see in EC2 who or what ended them before the next",
            fresh + 1
        ));
    }
    session.console.say(&match exit {
        Exit::Done if failed_before => {
            "applied, but for the run, which failed before; --retry starts it again".to_owned()
        }
        Exit::Done => match prepared.plan.left_out.len() {
            0 => "applied: the stack is as its file says".to_owned(),
            left_out => format!("applied what was chosen; left out: {left_out} other changes"),
        },
        _ => format!(
            "not converged: {} done, {} failed, {} not begun; {}",
            outcome.done.len(),
            outcome.failed.len(),
            outcome.skipped.len(),
            match exit {
                Exit::RunFailed => "mend what failed and apply again, or start the same again with apply --retry",
                _ => "apply again goes on from here",
            }
        ),
    });
    if session.verbose {
        session.console.print(&prepare::calls(session))?;
    }
    Ok(if failed_before && exit == Exit::Done { Exit::RunFailed } else { exit })
}

/// Whether a plan launches the instance of its run.
fn launches(plan: &Plan) -> bool {
    let made = |at: &Address| plan.steps.keys().any(|id| id.at == *at && id.verb == Verb::Create);
    plan.run.as_ref().is_some_and(|run| made(&run.spec.instance_at))
}

/// The plan after a run that could not use its instance, or lost it, if it leads to a run on another one.
fn used_no_more(next: prepare::Prepared, end: &Option<proceed::RunEnd>) -> Result<prepare::Prepared, Problem> {
    if next.plan.run.is_none() && !matches!(next.due, Some(Due::No(_))) {
        return Err(Problem::failed("the run needs a fresh instance, and this apply leaves that out")
            .hint("apply again without --target and --exclude, or name the instance and the pipeline with --target"));
    }
    // The id under which the next plan would run it again: known only of what stays.
    let again = next.plan.run.as_ref().and_then(|run| next.plan.ids.get(&run.spec.instance_at)?.get("id"));
    if let Some(Ok(Outcome::InstanceUsed { instance, because })) = end
        && again == Some(instance)
    {
        return Err(Problem::failed(format!(
            "the run cannot begin on {instance}: {because}; and nothing may replace it"
        ))
        .hint("let the pipeline run on an [instance.…] of the stack file instead of an `existing` one"));
    }
    Ok(next)
}

/// Makes sure, before an instance is billed for it, that the run can be recorded.
async fn recordable(
    session: &Session,
    prepared: &prepare::Prepared,
    interrupts: &proceed::Interrupts,
) -> Result<(), Problem> {
    let Some(run) = &prepared.plan.run else { return Ok(()) };
    let RunSpec { ledger_bucket, ledger_key, .. } = &run.spec;
    let options = DriveOptions::new(&prepared.header.identity);
    let tell = |event| proceed::note(session, &Event::Run(event));
    let proven = prove(&session.aws, &run.spec, &options, &tell, interrupts.stopped()).await;
    proven.map_err(|error| {
        Problem::failed(format!(
            "the run cannot be recorded at s3://{ledger_bucket}/{ledger_key}: {}; no instance was launched for it",
            crate::aws::chain(&error)
        ))
        .hint("the run's record is written there with s3:GetObject and s3:PutObject; a bucket may also demand encryption by its policy, or a right to its KMS key")
    })
}

/// The plan after the run's instance went away. What was agreed to covers that same instance and the run once more, and
/// nothing else.
async fn again_on_a_fresh_instance(
    session: &Session,
    wish: &Wish,
    consent: &Consent,
    agreed: &prepare::Prepared,
) -> Result<prepare::Prepared, Problem> {
    let next = prepare::converge(session, wish, "apply").await.map_err(|problem| {
        problem.hint("the run needs a fresh instance; apply again makes one and begins it from its start")
    })?;
    let instance = agreed.plan.run.as_ref().map(|run| &run.spec.instance_at);
    let mut others: Vec<String> = next
        .plan
        .steps
        .keys()
        .filter(|id| id.verb != Verb::Run && Some(&id.at) != instance)
        .map(ToString::to_string)
        .collect();
    others.extend(next.plan.conflicts.iter().map(|conflict| format!("{}: {}", conflict.at, conflict.why)));
    if !others.is_empty() {
        return Err(Problem::failed(format!(
            "the run needs a fresh instance, and more than that has changed since the plan: {}",
            others.join(", ")
        ))
        .hint("look at the plan, and apply again: the run then begins from its start, on a fresh instance"));
    }
    let overwrite = consent.overwrite || next.overwrites_others().all(|one| agreed.overwrites.contains(one));
    proceed::consent(session.console, &next, &Consent { yes: true, overwrite, ..consent.clone() }, "applied")?;
    Ok(next)
}

/// What happens with the instance of a run that came to no good end: whether it is there, what it costs and until when, and
/// what can be done with it.
async fn afterwards(session: &Session, at: &Address, stays: &str) -> String {
    if let Some(theirs) = session.stack.existing.get(at) {
        return format!("the instance {theirs} is not this stack's: it stays as it is, and goes on being billed");
    }
    let released = session.stack.pipeline.as_ref().is_none_or(|one| one.on_failure == OnFailure::Release);
    let found = match crate::kinds::instance::running(&session.aws, &session.stack.info).await {
        Ok(running) => running.into_iter().find(|one| one.at == at.to_string()),
        Err(error) => return format!("whether the run's instance is there, and billed, could not be read ({error})"),
    };
    let Some(found) = found else {
        return "the run's instance is gone, and the intermediate files with it; nothing of it is billed any more: the next apply begins the run from its start".to_owned();
    };
    let billed = outlook::billed(session, &found);
    let id = &found.id;
    let why = if released { "on_failure = \"release\" was to end it, and it is still there" } else { stays };
    format!(
        "still running on AWS, and billed:\n{billed}\n\
         {why}\n\
         to look around on it: {} (files are under the task definition's mounts)\n\
         to let it go: {}",
        looking_around(session, at, id).await,
        session.command("destroy", &["--target", &at.clone().of(None).to_string(), "--discard-intermediates"])
    )
}

/// How one gets onto an instance: Session Manager serves only a machine whose role has its policy.
async fn looking_around(session: &Session, at: &Address, instance: &str) -> String {
    let ssh = "SSH where its security group lets you in";
    let of = |at: &Address, key: &str| session.stack.resources.get(at)?.get(key)?.as_str().map(str::to_owned);
    let role = of(&at.clone().of(None), "role").unwrap_or_default();
    let ours = Address::new("role", role.clone());
    let name = match session.stack.existing.get(&ours) {
        Some(existing) => existing.clone(),
        None if role.starts_with("arn:") => role,
        None => of(&ours, "name").unwrap_or_else(|| session.stack.info.physical_name(&ours)),
    };
    match crate::kinds::role::has_session_manager(&session.aws, &name).await {
        true => format!("aws ssm start-session --target {instance}, or {ssh}"),
        false => {
            format!("{ssh}; for `aws ssm start-session` its role must have AmazonSSMManagedInstanceCore (`attach`)")
        }
    }
}

/// The run's steps with their times, exit codes and task ARNs, as the ledger has them.
async fn report(session: &Session, prepared: &prepare::Prepared, end: proceed::RunEnd) -> Result<(), Problem> {
    let Some(run) = &prepared.plan.run else { return Ok(()) };
    let at = &run.spec.instance_at;
    match &end {
        Ok(outcome) => {
            session.console.say(&report::run::outcome(outcome));
            if let Outcome::Failed(failure) = outcome
                && failure.verdict != Verdict::HostLost
            {
                if let (Some(step), Some(_)) = (&failure.step, &failure.log_group) {
                    session.console.say(&format!("its whole log: {}", session.command("logs", &[step])));
                }
                let first =
                    |name: &String| run.spec.steps.iter().any(|one| one.name == *name && one.follows.is_empty());
                let stays = if failure.step.as_ref().is_none_or(first) { LOOK } else { RESUME };
                session.console.say(&afterwards(session, at, stays).await);
            }
            if matches!(
                outcome,
                Outcome::Cancelled { .. }
                    | Outcome::InputsChanged { .. }
                    | Outcome::InstanceUsed { .. }
                    | Outcome::FailedBefore(_)
            ) {
                session.console.say(&afterwards(session, at, JOIN).await);
            }
        }
        Err(cut) if cut.goes_on => {
            session.console.say(&format!("error: the run was not driven to its end from here: {}", cut.why));
        }
        Err(cut) => {
            session.console.say(&format!("error: the run cannot go on: {}", cut.why));
            session.console.say(&afterwards(session, at, JOIN).await);
        }
    }
    let observed =
        Box::pin(observe(&session.aws, &run.spec)).await.map_err(|error| Problem::failed(crate::aws::chain(&error)))?;
    let Some(kept) = &observed.ledger else { return Ok(()) };
    if let Some(run) = kept.ledger.run() {
        session.console.say(&format!("cost: {}", cost::so_far(session, &run.instance).await));
    }
    let rows = summary(&kept.ledger);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let exit = row.exit_code.map_or("-".to_owned(), |code| code.to_string());
        let seconds = row.seconds.map_or("-".to_owned(), span);
        // Only what was tried more than once is worth a word.
        let attempts = if row.attempts > 1 { format!("  after {} attempts", row.attempts) } else { String::new() };
        text.push_str(&format!(
            "{:<width$}  {seconds:>12}  exit {exit:>3}  {}{attempts}\n",
            row.name,
            row.task_arn.unwrap_or_default()
        ));
    }
    session.console.print(&text)
}
