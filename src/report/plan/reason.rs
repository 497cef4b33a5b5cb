//! Why a plan step is in a plan, in words. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::view::{Cause, Field};
use crate::address::{Address, Link, links};
use crate::diff::Change;
use crate::kind::kind;
use crate::kinds::instance::USED;
use crate::plan::{Step, Verb, Why};

/// The replaced resources of a phase, with what each is to be.
pub(super) type Replaced<'a> = BTreeMap<&'a Address, &'a Value>;

pub(super) fn cause(why: &Why) -> Option<Cause> {
    Some(match why {
        Why::Missing => Cause::Missing,
        Why::Differs => Cause::Differs,
        Why::Adopted => Cause::Adopted,
        Why::Fixed { .. } => Cause::Fixed,
        Why::NotInStack => Cause::NotInStack,
        Why::RunOver => Cause::RunOver,
        Why::LeftOver => Cause::LeftOver,
        Why::Destroy => Cause::Destroy,
        // The run's own step is told apart.
        Why::Due { .. } => return None,
    })
}

/// The reason; none where the action says it all.
pub(super) fn because(step: &Step, verb: Verb, fields: &[Field], replaced: &Replaced<'_>) -> Option<String> {
    let released =
        |text: &str| if verb == Verb::Release { format!("{text}, so it is let go of") } else { text.to_owned() };
    Some(match &step.why {
        Why::Missing | Why::Due { .. } => return None,
        Why::Differs => {
            let targets = targets(&step.changes, replaced);
            return (!targets.is_empty()).then(|| format!("because {}", of_targets(&targets)));
        }
        Why::Adopted => "it was there before, and is taken over".to_owned(),
        Why::Fixed { field } => match step.changes.iter().find(|change| change.path == USED) {
            Some(used) => format!("because the run begins anew: {}", used.from.as_str().unwrap_or_default()),
            None => fixed(field, step, fields, replaced),
        },
        Why::NotInStack if verb == Verb::Release => {
            "not in the stack file any more; it was there before, so it is let go of".to_owned()
        }
        Why::NotInStack => "not in the stack file any more".to_owned(),
        Why::RunOver => "exists only for the run".to_owned(),
        Why::LeftOver => "left over from a replacement".to_owned(),
        Why::Destroy if verb == Verb::Release => released("it was there before"),
        Why::Destroy => return None,
    })
}

/// What cannot change in place; what only follows from that (a name that is made of it) is not worth a word.
fn fixed(first: &str, step: &Step, fields: &[Field], replaced: &Replaced<'_>) -> String {
    let mut names: Vec<&str> = fields
        .iter()
        .filter(|field| field.forces_replacement && !field.minor)
        .map(|field| field.path.as_str())
        .collect();
    if names.is_empty() {
        names.push(first);
    }
    let forcing: Vec<Change> =
        step.changes.iter().filter(|change| names.contains(&change.path.as_str())).cloned().collect();
    let targets = targets(&forcing, replaced);
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let text = format!("because {} cannot change in place", names.join(" and "));
    if targets.is_empty() { text } else { format!("{text}, and {}", of_targets(&targets)) }
}

fn of_targets(targets: &[&Address]) -> String {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    format!("{} {} replaced", names.join(" and "), if names.len() == 1 { "is" } else { "are" })
}

/// Which of the replaced resources these fields are to point at.
fn targets<'a>(changes: &[Change], replaced: &Replaced<'a>) -> Vec<&'a Address> {
    let links: Vec<Link> = changes.iter().flat_map(|change| links(&change.to)).collect();
    let is_meant = |at: &Address, state: &Value| {
        // What is named after itself has an id before it is made.
        let named = kind(&at.kind).map(|kind| kind.named(state)).unwrap_or_default();
        links.iter().any(|link| match link {
            Link::Ours { to, .. } => to == at,
            Link::Theirs { kind, id } => *kind == at.kind && named.values().any(|own| own == id),
        })
    };
    replaced.iter().filter(|(at, state)| is_meant(at, state)).map(|(at, _)| *at).collect()
}
