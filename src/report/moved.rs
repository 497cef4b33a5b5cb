//! What has moved since a plan was saved, as people read it.

use std::fmt::Write as _;

use serde_json::Value;

use super::plan::short;
use crate::diff::Change;
use crate::plan::{Verb, Why};
use crate::saved::Moved;

/// A line or more for each.
pub fn render(moved: &[Moved]) -> String {
    let mut out = String::new();
    for one in moved {
        match one {
            Moved::New { step, why, changes } => {
                let why = match (why, step.verb) {
                    (Why::Missing, _) if step.at.sample.is_some() => "is needed for the run".to_owned(),
                    (Why::Missing, _) => "is not there".to_owned(),
                    (Why::Due { reasons }, _) => format!("is due: {}", reasons.join("; ")),
                    (Why::Fixed { field }, _) => format!("`{field}` differs now, and cannot change in place"),
                    (_, Verb::Update) => "differs now".to_owned(),
                    _ => "was not needed then".to_owned(),
                };
                line(&mut out, &format!("  + {step}: new: {why}"));
                fields(&mut out, changes, ("live", "to be"));
            }
            Moved::Gone { step } => line(&mut out, &format!("  - {step}: not needed any more")),
            Moved::Differs { what, changes } => {
                line(&mut out, &format!("  ~ {what}: differs"));
                fields(&mut out, changes, ("then", "now"));
            }
            Moved::InTheWay { at, why } => line(&mut out, &format!("  ! {at}: in the way now: {why}")),
        }
    }
    out
}

/// Each field as it was and as it is; of a list, only what comes and goes.
fn fields(out: &mut String, changes: &[Change], (old, new): (&str, &str)) {
    for Change { path, from, to } in changes {
        if let (Value::Array(was), Value::Array(is)) = (from, to) {
            line(out, &format!("      {path}"));
            for item in was.iter().filter(|item| !is.contains(item)) {
                line(out, &format!("        {old:<5} {}", short(item)));
            }
            for item in is.iter().filter(|item| !was.contains(item)) {
                line(out, &format!("        {new:<5} {}", short(item)));
            }
            continue;
        }
        let (from, to) = (short(from), short(to));
        if from.len() + to.len() < 80 {
            line(out, &format!("      {path}: {old} {from}, {new} {to}"));
        } else {
            line(out, &format!("      {path}"));
            line(out, &format!("        {old:<5} {from}"));
            line(out, &format!("        {new:<5} {to}"));
        }
    }
}

fn line(out: &mut String, text: &str) {
    let _infallible = writeln!(out, "{}", text.trim_end());
}
