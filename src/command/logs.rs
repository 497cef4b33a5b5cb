//! `seqstack logs`: a pipeline step's log, from the ledger and CloudWatch alone. Changes nothing.

use std::ops::ControlFlow;

use crate::cli::{Log, Logs};
use crate::event::Event;
use crate::report::progress;
use crate::run::ledger_key;
use crate::run::logs::{Ears, Wanted, show};
use crate::run::spec::DEFAULT_SAMPLE;

use super::session::Session;
use super::{Exit, Problem, session};

/// Shows a step's log.
///
/// # Errors
/// When the stack file is wrong, or there is no such log, or it cannot be read.
pub async fn run(args: &Logs) -> Result<Exit, Problem> {
    let session = session::open(&args.target, args.sample.as_deref(), true).await?;
    let console = session.console;
    let mut pass = |text: &str| console.pass(text);
    tokio::select! {
        shown = logs(&session, &args.log, &mut pass) => shown,
        Ok(()) = tokio::signal::ctrl_c() => {
            console.say(&format!("stopped reading; step {} goes on", args.log.step));
            Ok(Exit::Done)
        }
    }
}

/// The same, in a session that is open; `pass` takes text for stdout and says whether somebody still reads there.
///
/// # Errors
/// As [`run`].
pub async fn logs(
    session: &Session,
    log: &Log,
    pass: &mut (dyn FnMut(&str) -> Result<bool, Problem> + Send),
) -> Result<Exit, Problem> {
    let (stack, console) = (&session.stack, session.console);
    let (Some(pipeline), Some(bucket)) = (&stack.pipeline, session.ledger_bucket()) else {
        return Err(Problem::failed("the stack has no [pipeline], so there are no steps to show the log of"));
    };
    let sample = stack.sample.as_deref().unwrap_or(DEFAULT_SAMPLE);
    let key = ledger_key(&stack.info.region, &stack.info.name, sample);
    let steps: Vec<&str> = pipeline.step.iter().map(|step| step.name.as_str()).collect();
    let wanted = Wanted { sample, step: &log.step, steps: &steps, attempt: log.attempt, follow: log.follow };

    let mut unwritten = None;
    let mut lines = |page: Vec<String>| match pass(&text(&page)) {
        Ok(true) => ControlFlow::Continue(()),
        Ok(false) => ControlFlow::Break(()),
        Err(problem) => {
            unwritten = Some(problem);
            ControlFlow::Break(())
        }
    };
    let ears = Ears {
        events: &|event| {
            if let Some(line) = progress::line(&Event::Run(event), true) {
                console.say(&line);
            }
        },
        tell: &|line| console.say(&line),
        lines: &mut lines,
    };
    let shown = Box::pin(show(&session.aws, (bucket, &key), &wanted, ears)).await;
    match (shown, unwritten) {
        (_, Some(problem)) => Err(problem),
        (Ok(()), None) => Ok(Exit::Done),
        (Err(error), None) => Err(Problem { text: crate::aws::chain(&error), hint: error.hint(), exit: Exit::Failed }),
    }
}

/// Each event is a line, as the task wrote it.
fn text(page: &[String]) -> String {
    page.iter().fold(String::new(), |mut text, line| {
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push('\n');
        }
        text
    })
}
