//! Where a stack's runs are and what is billed, as text and, by its own shape, as JSON (`status --json`). The JSON's
//! names and meanings stay as they are under one `schema`; fields may be added.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Serialize};

use super::plan::Header;
use super::{cost, span};
use crate::kinds::instance::billed::{Disk, Machine};
use crate::run::RunStatus;
use crate::run::status::{State, StepState, StepStatus};

/// The schema of the JSON.
pub const SCHEMA: u32 = 1;

const GOOD: Style = AnsiColor::Green.on_default();
const BUSY: Style = AnsiColor::Cyan.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Everything that `status` tells. Times are RFC 3339 in UTC, by AWS's clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The stack's name.
    pub stack: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The run of each sample: those of the stack file in its order, then those that only have a ledger.
    pub runs: Vec<RunStatus>,
    /// Every instance of the stack that is not terminated, whichever sample's; null where that is not known.
    pub instances: Option<Vec<Machine>>,
    /// Every volume of the stack that outlives its instance; null where that is not known.
    pub volumes: Option<Vec<Disk>>,
    /// What else could not be read, and why: not to be taken for absent.
    pub unknown: Vec<String>,
}

impl Status {
    /// Everything that could not be read, and why.
    pub fn all_unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().chain(self.runs.iter().flat_map(|run| &run.unknown)).map(String::as_str)
    }
}

/// The whole of it for people.
pub fn text(header: &Header, status: &Status) -> String {
    let mut out = format!("{header}\n");
    for run in &status.runs {
        out.push('\n');
        run_text(&mut out, run);
    }
    out.push('\n');
    billed_text(&mut out, status);
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn run_text(out: &mut String, run: &RunStatus) {
    let (style, state) = match run.state {
        State::NeverRun => (DIM, "never run".to_owned()),
        State::Running => (BUSY, "running".to_owned()),
        State::Interrupted => (BAD, "interrupted".to_owned()),
        State::Succeeded => (GOOD, "succeeded".to_owned()),
        State::Failed => (BAD, run.step.as_ref().map_or("failed".to_owned(), |step| format!("failed at step {step}"))),
        State::HostLost => (BAD, "host lost".to_owned()),
        State::InputsChanged => (BAD, "inputs changed".to_owned()),
        State::Cancelled => (BAD, "cancelled".to_owned()),
        State::Unknown => (BAD, "not known".to_owned()),
    };
    let why = run.explanation.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    line(out, &format!("{BOLD}sample {}{BOLD:#}  {style}{state}{style:#}{why}", run.sample));
    if let Some(from) = run.started_at {
        let took = run.seconds.map(span).unwrap_or_default();
        match run.ended_at {
            Some(to) => line(out, &format!("  from {from:.0} to {to:.0}, {took}")),
            None => line(out, &format!("  since {from:.0}, {took}")),
        }
    }
    if let Some(driver) = &run.driver {
        let heard = span(i64::try_from(driver.heard_seconds_ago).unwrap_or(i64::MAX));
        let (who, since) = (&driver.who, driver.since);
        line(
            out,
            &if driver.alive {
                format!("  driven by {who} since {since:.0}, last heard of {heard} ago")
            } else {
                format!("  driven by nobody: {who}, who drove it since {since:.0}, was last heard of {heard} ago")
            },
        );
    } else if run.state == State::Running {
        line(out, "  driven by nobody: what runs goes on, and apply joins it");
    }
    for unknown in &run.unknown {
        line(out, &format!("  {BAD}!{BAD:#} {unknown}"));
    }
    steps_text(out, &run.steps);
}

fn steps_text(out: &mut String, steps: &[StepStatus]) {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
    for step in steps {
        let (style, state) = match step.state {
            StepState::Waiting => (DIM, "waiting"),
            StepState::NotRun => (DIM, "not run"),
            StepState::Starting => (BUSY, "starting"),
            StepState::Running => (BUSY, "running"),
            StepState::Succeeded => (GOOD, "succeeded"),
            StepState::Failed => (BAD, "failed"),
            StepState::NeverStarted => (BAD, "never started"),
            StepState::OutOfMemory => (BAD, "out of memory"),
            StepState::HostLost => (BAD, "host lost"),
            StepState::Cancelled => (BAD, "cancelled"),
            StepState::Unknown => (BAD, "not known"),
        };
        let dash = || "-".to_owned();
        let padding = if step.attempt.is_some() { 13 } else { 0 };
        let mut text = format!("  {:<width$}  {style}{state:<padding$}{style:#}", step.name);
        if let Some(attempt) = step.attempt {
            let seconds = step.seconds.map_or_else(dash, span);
            let exit = step.exit_code.map_or_else(dash, |code| code.to_string());
            let task = step.task_arn.as_deref().unwrap_or_default();
            let _infallible = write!(text, "  attempt {attempt}  {seconds:>12}  exit {exit:>3}  {task}");
        }
        line(out, &text);
        let ecs = step.ecs.as_ref().map(|status| format!("ECS says {status}"));
        let more: Vec<&str> = ecs.as_deref().into_iter().chain(step.explanation.as_deref()).collect();
        if !more.is_empty() {
            line(out, &format!("  {:<width$}  {DIM}{}{DIM:#}", "", more.join("; ")));
        }
    }
}

fn billed_text(out: &mut String, status: &Status) {
    if let (Some(instances), Some(volumes)) = (&status.instances, &status.volumes)
        && instances.is_empty()
        && volumes.is_empty()
    {
        line(out, "billed by the hour: nothing");
    } else {
        line(out, &format!("{BOLD}billed by the hour{BOLD:#}"));
    }
    for one in status.instances.iter().flatten() {
        let address = one.address.as_deref().unwrap_or("an instance without an address");
        let since = one.launched_at.map(|at| format!(" since {at:.0}")).unwrap_or_default();
        let hours = match (one.seconds.filter(|_| one.billed), one.state.as_str()) {
            (Some(seconds), _) => {
                let hours = cost::hours(seconds, one.price_per_hour);
                format!(", {} so far ({hours})", span(seconds))
            }
            (None, "stopped" | "stopping") => ", of which only the volumes are billed".to_owned(),
            (None, _) => ", which is not billed".to_owned(),
        };
        let end = match &one.ends_itself_at {
            Some(at) => format!("ends itself at {at}"),
            None => "has no deadline: it is there, and billed, until destroy".to_owned(),
        };
        line(out, &format!("  {address}  {}  {}  {}{since}{hours}; {end}", one.id, one.r#type, one.state));
    }
    for one in status.volumes.iter().flatten() {
        let held = match &one.attached_to {
            Some(instance) => format!("stays when {instance} ends"),
            None => "attached to nothing".to_owned(),
        };
        let text = format!("  volume {}  {} GiB {}  {}: {held}", one.id, one.size_gib, one.r#type, one.state);
        line(out, &format!("{text}; it is there until somebody deletes it"));
    }
    for unknown in &status.unknown {
        line(out, &format!("  {BAD}!{BAD:#} {unknown}"));
    }
}
