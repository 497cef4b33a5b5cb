//! What happens, as lines for stderr.

use crate::event::Event;
use crate::plan::Verb;
use crate::run::RunEvent;

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
            let mut text = format!("error: failed to {step}\n  {}: {}\n  {}", failure.call, failure.error, failure.left);
            if let Some(hint) = &failure.hint {
                text.push_str("\n  hint: ");
                text.push_str(hint);
            }
            Some(text)
        }
        Event::Skipped { step, because } => Some(format!("skipped: {step}, because {because}")),
        Event::Waiting { at, text } => Some(format!("{at}: {text}")),
        Event::Run(event) => run_line(event),
    }
}

fn run_line(event: &RunEvent) -> Option<String> {
    Some(event.to_string())
}
