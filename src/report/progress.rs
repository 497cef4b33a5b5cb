//! What happens, as lines for stderr.

use std::time::Duration;

use crate::aws::wait::waiting;
use crate::event::Event;
use crate::plan::{Phase, Verb};
use crate::report::span;
use crate::run::{RunEvent, Verdict, told};

/// The line that tells an event, if it is worth one; `verbose` tells calls, too.
pub fn line(event: &Event, verbose: bool) -> Option<String> {
    match event {
        Event::Started { step } if step.verb == Verb::Run => None,
        Event::Started { step } => verbose.then(|| format!("{step} …")),
        Event::Calling { call, .. } => verbose.then(|| format!("  {call}")),
        Event::Done { step } if step.verb == Verb::Run => None,
        Event::Done { step } => {
            let done = match step.verb {
                Verb::Create => "created",
                Verb::Update => "changed",
                Verb::Delete => "deleted",
                Verb::Release => "let go of",
                Verb::Run => "ran",
            };
            Some(format!("{done} {}", step.at))
        }
        Event::Failed { step, .. } if step.verb == Verb::Run => None,
        Event::Failed { step, failure } => {
            let mut text =
                format!("error: failed to {step}\n  {}: {}\n  {}", failure.call, failure.error, failure.left);
            if let Some(hint) = &failure.hint {
                text.push_str("\n  hint: ");
                text.push_str(hint);
            }
            Some(text)
        }
        // What would have come after the run: its end says what happens with that.
        Event::Skipped { step, .. } if step.phase == Phase::Settle => None,
        Event::Skipped { step, because } => Some(format!("skipped: {step}, because {because}")),
        Event::Waiting { at, text } => Some(format!("{at}: {text}")),
        Event::RunAgain { instance, because, attempt, of } => Some(format!(
            "the run starts again from its first step on a fresh instance, because {because} (instance {attempt} of at most {of}; the last was {instance})"
        )),
        Event::Run(event) => run_line(event),
    }
}

fn whole(seconds: u64) -> String {
    span(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn run_line(event: &RunEvent) -> Option<String> {
    Some(match event {
        RunEvent::LeaseTaken { from: None } => return None,
        RunEvent::LeaseTaken { from: Some(who) } => {
            format!("run: taken over from {who}, who drove it")
        }
        RunEvent::LedgerSetAside { why, kept_as } => {
            format!("run: the ledger cannot be used ({why}); it is kept as {kept_as}, and a new one is begun")
        }
        RunEvent::WaitingForLease { holder, since, at_most_seconds } => {
            format!(
                "run: waiting for {holder}, who drives it since {since}; taken over in {at_most_seconds} s if nothing is heard of them"
            )
        }
        RunEvent::WaitingForTurn { instance, sample, holder, since } => format!(
            "run: waiting for sample {sample}, which is running on {instance} (driven by {holder}, since {since:.0}); then this run begins on a fresh instance"
        ),
        RunEvent::WaitingForCredentials { message } => {
            format!(
                "run: waiting for credentials: sign in again in another terminal, with the same profile, and it goes on; tasks run meanwhile ({message})"
            )
        }
        RunEvent::WaitingForAws { message } => format!("run: waiting for AWS: {message}"),
        RunEvent::WaitingForAgent { instance, at_most_seconds } => {
            let within = whole(*at_most_seconds);
            format!("run: waiting for the container agent of {instance} to register, at most {within}")
        }
        RunEvent::Waiting { what, seconds, at_most_seconds } => {
            let of = Duration::from_secs;
            format!("run: {}", waiting(what, of(*seconds), at_most_seconds.map(of)))
        }
        RunEvent::AgentAway { instance, seconds, given_up_in_seconds } => format!(
            "run: nothing has been heard of the container agent of {instance} for {}: the instance may hang. If nothing is heard of it for {} more, it is ended, and the run begins on a fresh one",
            span(*seconds),
            span(*given_up_in_seconds)
        ),
        RunEvent::AgentBack { instance, seconds } => {
            format!("run: the container agent of {instance} is back after {}", span(*seconds))
        }
        // Only the live part has a place for what changes all the time.
        RunEvent::RunBegun { .. } | RunEvent::InstanceEnds { .. } | RunEvent::StepHeard { .. } => return None,
        RunEvent::StepDoubted { name, why } => format!("step {name}: its result is not relied upon: {why}"),
        RunEvent::StepKept { name } => format!("step {name}: kept, its result is there"),
        RunEvent::StepFound { name, attempt, .. } => {
            format!("step {name}: attempt {attempt} is under way; following it")
        }
        RunEvent::StepStarting { .. } => return None,
        RunEvent::StepWaiting { name, reason, at_most_seconds } => {
            let within = at_most_seconds.map(|seconds| format!("; at most {}", whole(seconds))).unwrap_or_default();
            format!("step {name}: waiting: {reason}{within}")
        }
        RunEvent::StepAgain { name, attempt, of, memory, because } => {
            let memory = memory.map(|mib| format!(" with {mib} MiB")).unwrap_or_default();
            format!("step {name}: tried again, {attempt} of {of}{memory}: the last attempt {because}")
        }
        RunEvent::StepStarted { name, task_arn, .. } => format!("step {name}: started  {task_arn}"),
        RunEvent::StepEnded { name, verdict, explanation, seconds, .. } => {
            let took = seconds.map(|seconds| format!(" after {}", span(seconds))).unwrap_or_default();
            match verdict {
                Verdict::Succeeded => format!("step {name}: succeeded{took}"),
                _ => format!("step {name}: {}{took}", told(verdict, explanation)),
            }
        }
        RunEvent::TaskStopping { name, task_arn } => format!("step {name}: stopping {task_arn}"),
        RunEvent::RunSucceeded { seconds } => format!("run: succeeded in {}", span(*seconds)),
        RunEvent::RunFailed { .. } => return None,
    })
}
