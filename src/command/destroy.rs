//! `seqstack destroy`

use std::collections::BTreeSet;

use crate::cli::{Consent, Destroy};

use super::session::Session;
use super::{Exit, Problem, prepare, print, proceed, say, session};

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
    let lock = proceed::Lock::take(&session.state_dir).await?;
    let prepared = prepare::destroy(session).await?;
    print(&prepared.text(session.verbose))?;
    let running = runs(session).await?;
    if let Some((_, holder)) = running.first()
        && !stop_run
    {
        return Err(Problem::failed(format!("a run is going on: {holder}"))
            .hint("wait until it has ended, or stop it with --stop-run; its ledger and results stay"));
    }
    if prepared.plan.is_empty() {
        return Ok(Exit::Done);
    }
    proceed::consent(&prepared, consent, "destroyed")?;
    for (place, holder) in &running {
        say(&format!("stopping the run: {holder}"));
        crate::run::stop::stop_run(&session.aws, place, &prepared.header.identity)
            .await
            .map_err(|error| Problem::failed(crate::aws::chain(&error)))?;
    }
    let (outcome, _) =
        proceed::proceed(session, &prepared.plan, &prepared.header.identity, false, lock).await?;
    let exit = proceed::exit(&prepared.plan, &outcome);
    if exit == Exit::Done {
        let buckets: BTreeSet<&str> = session.stack.info.buckets.values().map(String::as_str).collect();
        say("destroyed: nothing of the stack is left");
        if !buckets.is_empty() {
            say(&format!("the buckets, their objects and the run's ledger stay: {}", buckets.into_iter().collect::<Vec<_>>().join(", ")));
        }
    } else {
        say("not all of it is gone; destroy again goes on from here");
    }
    Ok(exit)
}
