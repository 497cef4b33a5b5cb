//! A run's end as people read it: what happened, where the log is, what to do next.

use std::fmt::Write as _;

use crate::run::{Earlier, Outcome, told};

/// The end of a run.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded(success) => {
            let mut out = String::new();
            for output in &success.outputs {
                let object = &output.object;
                let _infallible = writeln!(out, "wrote s3://{}/{} ({} bytes)", object.bucket, object.key, object.size);
            }
            for note in &success.notes {
                let _infallible = writeln!(out, "note: {note}");
            }
            out.trim_end().to_owned()
        }
        Outcome::AlreadyDone(_) => "the run had succeeded before: nothing was started".to_owned(),
        Outcome::Failed(failure) => {
            let mut out = format!("error: the pipeline failed: {failure}\n");
            if let Some(arn) = &failure.task_arn {
                let _infallible = writeln!(out, "  task {arn}");
            }
            if let (Some(group), Some(stream)) = (&failure.log_group, &failure.log_stream) {
                let _infallible = writeln!(out, "  log group {group}, stream {stream}");
            }
            if !failure.last_lines.is_empty() {
                out.push_str("  its last lines:\n");
                for line in &failure.last_lines {
                    let _infallible = writeln!(out, "    | {line}");
                }
            }
            if !failure.not_run.is_empty() {
                let _infallible = writeln!(out, "  not run: {}", failure.not_run.join(", "));
            }
            let _infallible = writeln!(out, "hint: {}", failure.next);
            out.trim_end().to_owned()
        }
        Outcome::FailedBefore(before) => {
            format!(
                "error: this same run failed before: {}\nhint: change what made it fail, or add --retry",
                earlier(before)
            )
        }
        Outcome::HostLost { instance, steps, explanation } => format!(
            "error: the instance {instance} was lost under {}: {explanation}\nhint: apply again: a fresh instance is made, and the run begins from its start",
            if steps.is_empty() { "the run".to_owned() } else { format!("step {}", steps.join(", ")) }
        ),
        Outcome::InstanceUsed { instance, because } => format!(
            "error: the run did not begin on {instance}: {because}\nhint: apply again: a fresh instance is made, and the run begins there from its first step"
        ),
        Outcome::InputsChanged { changes } => format!(
            "error: the inputs changed while the run was going on, so its success is not recorded: {}\nhint: apply again",
            changes.join("; ")
        ),
        Outcome::Cancelled { step, explanation } => {
            format!("error: step {step} was stopped: {explanation}\nhint: apply again goes on from it")
        }
        Outcome::Stopped { running, left } => {
            let mut out = "stopped watching the run\n".to_owned();
            for (step, task) in running {
                let _infallible = writeln!(out, "  step {step} goes on as {task}");
            }
            if !left.is_empty() {
                let _infallible = writeln!(out, "  not started: {}", left.join(", "));
            }
            out.push_str(
                "hint: apply again joins it; status shows where it is and what is billed; destroy --stop-run stops it",
            );
            out
        }
    }
}

/// A failure of before, in one line.
pub fn earlier(earlier: &Earlier) -> String {
    match &earlier.step {
        Some(step) => format!("step `{step}` {}", told(&earlier.verdict, &earlier.explanation)),
        None => earlier.explanation.clone(),
    }
}
