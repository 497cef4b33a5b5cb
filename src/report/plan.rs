//! A plan as people read it: what changes, why, in the order in which it will happen.

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::address::as_link;
use crate::diff::Change;
use crate::kind::{KINDS, kind};
use crate::plan::{Phase, Plan, Step, StepId, Verb, Why};

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `plan`, `apply`, `destroy`.
    pub verb: String,
    /// The stack's name.
    pub stack: String,
    /// The sample, where there is one.
    pub sample: Option<String>,
    /// `SANDBOX (docker)`, where it is the sandbox.
    pub sandbox: Option<String>,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// Who is asking.
    pub identity: String,
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.stack)?;
        if let Some(sample) = &self.sample {
            write!(f, " · sample {sample}")?;
        }
        writeln!(f)?;
        if let Some(sandbox) = &self.sandbox {
            write!(f, "{sandbox} · ")?;
        }
        write!(f, "account {} · {} · as {}", self.account, self.region, self.identity)
    }
}

/// How much to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// The calls of each step, too.
    pub calls: bool,
}

const ADD: Style = AnsiColor::Green.on_default();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();
const RUN: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The plan's body: steps by phase, the run, notes, conflicts, and a last line that counts.
pub fn render(plan: &Plan, run_lines: &[String], detail: Detail) -> String {
    let mut out = String::new();
    for phase in [Phase::Converge, Phase::Run, Phase::Settle] {
        let mut ids: Vec<&StepId> = plan.phase(phase).map(|(id, _)| id).collect();
        ids.sort_by_key(|id| (kind_rank(id), id.at.clone(), id.verb));
        let replaced = replaced(&ids);
        if phase == Phase::Settle && !ids.is_empty() {
            line(&mut out, &format!("{DIM}after the run{DIM:#}"));
        }
        for id in ids {
            if replaced.contains(&id.at) && id.verb == Verb::Delete && id.deposed.is_none() {
                continue;
            }
            step(&mut out, plan, id, &plan.steps[id], replaced.contains(&id.at), detail);
            if phase == Phase::Run {
                run_lines.iter().for_each(|text| line(&mut out, &format!("      {text}")));
            }
        }
    }
    if !plan.steps.keys().any(|id| id.verb == Verb::Run) {
        run_lines.iter().for_each(|text| line(&mut out, &format!("  {text}")));
    }
    for (at, note) in &plan.notes {
        line(&mut out, &format!("  {DIM}note{DIM:#} {at}: {note}"));
    }
    for conflict in &plan.conflicts {
        line(&mut out, &format!("  {REMOVE}!{REMOVE:#} {BOLD}{}{BOLD:#}  {}", conflict.at, conflict.why));
        line(&mut out, &format!("      hint: {}", conflict.hint));
    }
    line(&mut out, &summary(plan));
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn kind_rank(id: &StepId) -> usize {
    let rank = KINDS.iter().position(|kind| kind.table() == id.at.kind).unwrap_or(KINDS.len());
    // What goes is read in the opposite order: what holds others first.
    if id.verb == Verb::Delete { 2 * KINDS.len() - rank } else { rank }
}

fn replaced(ids: &[&StepId]) -> BTreeSet<crate::address::Address> {
    let of = |verb: Verb| ids.iter().filter(move |id| id.verb == verb && id.deposed.is_none()).map(|id| id.at.clone());
    let created: BTreeSet<_> = of(Verb::Create).collect();
    of(Verb::Delete).filter(|at| created.contains(at)).collect()
}

fn step(out: &mut String, plan: &Plan, id: &StepId, step: &Step, is_replacement: bool, detail: Detail) {
    let (sign, style) = match id.verb {
        _ if is_replacement => ("-/+", REMOVE),
        Verb::Create => ("+", ADD),
        Verb::Update => ("~", CHANGE),
        Verb::Delete => ("-", REMOVE),
        Verb::Release => ("o", CHANGE),
        Verb::Run => (">", RUN),
    };
    let at = id.at.to_string();
    let subject = match &id.deposed {
        Some(physical) => physical,
        None => &step.subject,
    };
    let reason = reason(&step.why, id.verb);
    let subject = if id.verb == Verb::Run { "" } else { subject.as_str() };
    let about: Vec<String> =
        [subject.to_owned(), if reason.is_empty() { reason } else { format!("{DIM}{reason}{DIM:#}") }]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
    let gap = if about.is_empty() { 0 } else { 32 };
    line(
        out,
        &format!(
            "{style}{sign:>3}{style:#} {BOLD}{at:<gap$}{BOLD:#}{}{}",
            if gap > 0 { " " } else { "" },
            about.join("  ")
        ),
    );
    for change in &step.changes {
        self::change(out, change);
    }
    if detail.calls {
        let gone = StepId { verb: Verb::Delete, ..id.clone() };
        let before = if is_replacement { plan.steps.get(&gone) } else { None };
        for call in before.into_iter().chain([step]).flat_map(|step| &step.calls) {
            if let Some(kind) = kind(&id.at.kind) {
                line(out, &format!("      {DIM}calls {}{DIM:#}", kind.describe(call)));
            }
        }
    }
}

fn reason(why: &Why, verb: Verb) -> String {
    match why {
        Why::Missing | Why::Differs => String::new(),
        Why::Adopted => "taken over: it was there before".to_owned(),
        Why::Fixed { field } => format!("replaced, because `{field}` cannot change in place"),
        Why::NotInStack if verb == Verb::Release => {
            "not in the stack file any more; was there before: let go of".to_owned()
        }
        Why::NotInStack => "not in the stack file any more".to_owned(),
        Why::RunOver => "exists for the run only".to_owned(),
        Why::LeftOver => "left over from a replacement".to_owned(),
        Why::Destroy if verb == Verb::Release => "was there before: let go of".to_owned(),
        Why::Destroy => String::new(),
        Why::Due { reasons } => reasons.join("; "),
    }
}

/// One changed field: short values in one line, lists as what comes and goes, long text as a line diff of its meaning.
fn change(out: &mut String, change: &Change) {
    let path = &change.path;
    match (&change.from, &change.to) {
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(|item| short(item).len() < 120) => {
            line(out, &format!("      {path}"));
            for item in old.iter().filter(|item| !new.contains(item)) {
                line(out, &format!("        {REMOVE}- {}{REMOVE:#}", short(item)));
            }
            for item in new.iter().filter(|item| !old.contains(item)) {
                line(out, &format!("        {ADD}+ {}{ADD:#}", short(item)));
            }
        }
        (from, to) if short(from).len() + short(to).len() < 100 => {
            line(out, &format!("      {path}: {REMOVE}{}{REMOVE:#} -> {ADD}{}{ADD:#}", short(from), short(to)));
        }
        (from, to) => {
            line(out, &format!("      {path}"));
            let (from, to) = (long(from), long(to));
            for hunk in TextDiff::from_lines(&from, &to).grouped_ops(2) {
                for part in hunk.iter().flat_map(|op| {
                    TextDiff::from_lines(&from, &to)
                        .iter_changes(op)
                        .map(|part| (part.tag(), part.value().trim_end().to_owned()))
                        .collect::<Vec<_>>()
                }) {
                    let (sign, style) = match part.0 {
                        ChangeTag::Delete => ("-", REMOVE),
                        ChangeTag::Insert => ("+", ADD),
                        ChangeTag::Equal => (" ", DIM),
                    };
                    line(out, &format!("        {style}{sign} {}{style:#}", part.1));
                }
            }
        }
    }
}

/// A value in one line: links as ids or by where they will come from, small tables as `key value`.
pub fn short(value: &Value) -> String {
    if let Some(link) = as_link(value) {
        return link.to_string();
    }
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| format!("{key} {}", short(inner)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn long(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string()),
    }
}

fn summary(plan: &Plan) -> String {
    if !plan.conflicts.is_empty() {
        return format!(
            "{} in the way: nothing can be applied until that is settled",
            count(plan.conflicts.len(), "conflict")
        );
    }
    if plan.is_empty() {
        return "nothing to do".to_owned();
    }
    let replaced: usize = [Phase::Converge, Phase::Settle]
        .into_iter()
        .map(|phase| replaced(&plan.phase(phase).map(|(id, _)| id).collect::<Vec<_>>()).len())
        .sum();
    let number = |verb: Verb| plan.steps.keys().filter(|id| id.verb == verb).count();
    let parts = [
        (number(Verb::Create) - replaced, "to create"),
        (number(Verb::Update), "to change"),
        (replaced, "to replace"),
        (number(Verb::Delete) - replaced, "to delete"),
        (number(Verb::Release), "to let go of"),
    ];
    let mut text: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if number(Verb::Run) > 0 {
        text.push("the pipeline runs".to_owned());
    }
    text.join(", ")
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") }
}
