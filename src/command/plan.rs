//! `seqstack plan`

use crate::cli::Plan;

use super::{Exit, Problem, prepare, session};

/// Shows what apply would change.
///
/// # Errors
/// When the stack file is wrong or AWS could not be read.
pub async fn run(args: &Plan) -> Result<Exit, Problem> {
    let session = session::open(&args.target, args.wish.sample.as_deref(), true).await?;
    let prepared = prepare::converge(&session, &args.wish, "plan").await?;
    session.console.print(&prepared.text(session.verbose))?;
    if session.verbose {
        session.console.print(&prepare::calls(&session))?;
    }
    if !prepared.plan.conflicts.is_empty() {
        return Ok(Exit::Failed);
    }
    Ok(if args.detailed_exitcode && !prepared.plan.is_empty() { Exit::Changes } else { Exit::Done })
}
