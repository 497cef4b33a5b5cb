//! `seqstack plan`

use crate::cli::Plan;

use super::{Exit, Problem, prepare, saved, session};

/// Shows what apply would change.
///
/// # Errors
/// When the stack file is wrong or AWS could not be read.
pub async fn run(args: &Plan) -> Result<Exit, Problem> {
    let session = session::open(&args.target, args.wish.sample.as_deref(), true).await?;
    session.warn();
    if args.out.is_some() {
        saved::can_keep(&args.target.set, &session.stack.credentials)?;
    }
    let prepared = prepare::converge(&session, &args.wish, "plan").await?;
    session.console.print(&if args.json { prepared.json()? } else { prepared.text(session.verbose) })?;
    if session.verbose && !args.json {
        session.console.print(&prepare::calls(&session))?;
    }
    if let Some(path) = &args.out {
        let request = saved::request(&args.target, &args.wish);
        saved::write(path, &saved::of(&session, &request, &prepared))?;
        session.console.say(&format!("saved: {} does exactly this, or refuses", saved::command(path, &args.target)));
    }
    if !prepared.plan.conflicts.is_empty() {
        return Ok(Exit::Failed);
    }
    Ok(if args.detailed_exitcode && !prepared.plan.is_empty() { Exit::Changes } else { Exit::Done })
}
