//! `seqstack apply`

use crate::cli::{Apply, Consent, Wish};
use crate::report;
use crate::report::span;
use crate::run::{Due, Outcome, observe, summary};
use crate::stack::pipeline::OnFailure;

use super::session::Session;
use super::{Exit, Problem, outlook, prepare, proceed, session};

/// Shows the plan, asks, and converges.
///
/// # Errors
/// When the stack file is wrong, AWS could not be read, or nobody agreed.
pub async fn run(args: &Apply) -> Result<Exit, Problem> {
    let session = session::open(&args.target, args.wish.sample.as_deref(), true).await?;
    apply(&session, &args.wish, &args.consent).await
}

/// The same, in a session that is open.
///
/// # Errors
/// As [`run`].
pub async fn apply(session: &Session, wish: &Wish, consent: &Consent) -> Result<Exit, Problem> {
    let lock = proceed::Lock::take(&session.state_dir, session.console).await?;
    let prepared = Box::pin(prepare::converge(session, wish, "apply")).await?;
    session.console.print(&prepared.text(session.verbose))?;
    if !prepared.plan.conflicts.is_empty() {
        return Ok(Exit::Failed);
    }
    // Whatever else is converged: a run that failed is not.
    let failed_before = matches!(prepared.due, Some(Due::Failed(_)));
    if prepared.plan.is_empty() {
        if session.verbose {
            session.console.print(&prepare::calls(session))?;
        }
        return Ok(if failed_before { Exit::RunFailed } else { Exit::Done });
    }
    proceed::consent(&prepared, consent, "applied")?;
    if let Some(host) = prepared.host.as_ref().filter(|_| prepared.plan.run.is_some()) {
        session.console.say(&outlook::opening(host));
    }
    let (outcome, run_end) =
        proceed::proceed(session, &prepared.plan, &prepared.header.identity, wish.retry, lock).await?;
    let exit = proceed::exit(&outcome, run_end.as_ref());
    if let Some(end) = run_end
        && let Err(problem) = report(session, &prepared, end).await
    {
        session.console.say(&format!("warning: {}", problem.text));
    }
    session.console.say(&match exit {
        Exit::Done if failed_before => {
            "applied, but for the run, which failed before; --retry starts it again".to_owned()
        }
        Exit::Done => "applied: the stack is as its file says".to_owned(),
        _ => format!(
            "not converged: {} done, {} failed, {} not begun; apply again goes on from here",
            outcome.done.len(),
            outcome.failed.len(),
            outcome.skipped.len()
        ),
    });
    if session.verbose {
        session.console.print(&prepare::calls(session))?;
    }
    Ok(if failed_before && exit == Exit::Done { Exit::RunFailed } else { exit })
}

/// What happens with the instance of a run that failed, until when, and what can be done with it.
async fn afterwards(session: &Session, instance: &str) -> String {
    let stack = &session.stack;
    if stack.pipeline.as_ref().is_none_or(|pipeline| pipeline.on_failure == OnFailure::Release) {
        return format!("the instance {instance} was let go of (on_failure = \"release\")");
    }
    let until = match crate::kinds::instance::ends_itself_at(&session.aws, instance).await {
        Ok(Some(deadline)) => format!("it ends itself at {deadline}, and is billed until then"),
        Ok(None) => "it has no deadline, and is billed until it is let go of".to_owned(),
        Err(error) => format!("when it ends itself could not be read ({error})"),
    };
    format!(
        "the instance {instance} stays with the intermediate files, so that the next apply goes on from the failed step; {until}\n\
         to look around on it: aws ssm start-session --target {instance}, or SSH where its security group lets you in (files are under the task definition's mounts)\n\
         to let it go: seqstack destroy --discard-intermediates"
    )
}

/// The run's steps with their times, exit codes and task ARNs, as the ledger has them.
async fn report(session: &Session, prepared: &prepare::Prepared, end: proceed::RunEnd) -> Result<(), Problem> {
    let Some(run) = &prepared.plan.run else { return Ok(()) };
    match &end {
        Ok(outcome) => {
            session.console.say(&report::run::outcome(outcome));
            if let Outcome::Failed(failure) = outcome {
                session.console.say(&afterwards(session, &failure.instance).await);
            }
        }
        Err(error) => session.console.say(&format!("error: the run could not go on: {error}")),
    }
    let observed =
        Box::pin(observe(&session.aws, &run.spec)).await.map_err(|error| Problem::failed(crate::aws::chain(&error)))?;
    let Some(kept) = &observed.ledger else { return Ok(()) };
    let rows = summary(&kept.ledger);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let exit = row.exit_code.map_or("-".to_owned(), |code| code.to_string());
        let seconds = row.seconds.map_or("-".to_owned(), span);
        text.push_str(&format!(
            "{:<width$}  {seconds:>12}  exit {exit:>3}  {}\n",
            row.name,
            row.task_arn.unwrap_or_default()
        ));
    }
    session.console.print(&text)
}
