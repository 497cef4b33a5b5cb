//! A plan to its view: what changes in the order in which it happens, each with its reason. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::reason::{self, Replaced};
use super::view::{
    Action, Conflict, Counts, Field, Loss, Note, Overwrite, Resource, Run, SCHEMA, StackWarning, StepAction, View, When,
};
use super::{Header, lines};
use crate::address::{Address, as_link};
use crate::diff::{Change, changes, is_under};
use crate::kind::{ErasedKind, KINDS, kind};
use crate::plan::{Phase, Plan, Step, StepId, Verb};
use crate::stack::Credentials;

/// A plan, and what was read to make it.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// Which stack, where, and who asks.
    pub header: &'a Header,
    /// The plan.
    pub plan: &'a Plan,
    /// The run, due or not.
    pub run: Option<&'a Run>,
    /// What will be lost.
    pub losses: &'a [Loss],
    /// What the run writes again.
    pub overwrites: &'a [Overwrite],
    /// What stays as it is.
    pub unchanged: &'a [Address],
    /// What threatens the run.
    pub warnings: &'a [String],
    /// What the stack file is warned of.
    pub stack_warnings: &'a [StackWarning],
    /// What its instances come to at the most.
    pub cost: &'a [String],
    /// What is masked in all of it.
    pub credentials: &'a Credentials,
}

/// The view of a plan.
pub fn of(read: Read<'_>) -> View {
    let Read { plan, credentials, .. } = read;
    let mut resources = phase(read, Phase::Converge, When::BeforeRun);
    resources.extend(phase(read, Phase::Settle, When::AfterRun));
    let note = |(at, text): &(Address, String)| Note { address: at.to_string(), text: credentials.text(text) };
    let steps = || read.run.into_iter().flat_map(|run| &run.steps);
    let counts = Counts {
        unchanged: read.unchanged.len(),
        steps_run: steps().filter(|step| step.action != StepAction::Keep).count(),
        steps_kept: steps().filter(|step| step.action == StepAction::Keep).count(),
        ..Counts::of(&resources)
    };
    View {
        schema: SCHEMA,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        header: read.header.clone(),
        resources,
        run: read.run.cloned(),
        conflicts: plan.conflicts.iter().map(|one| conflict(one, credentials)).collect(),
        losses: read.losses.to_vec(),
        overwrites: read.overwrites.to_vec(),
        notes: plan.notes.iter().map(note).collect(),
        warnings: read.warnings.to_vec(),
        stack_warnings: read.stack_warnings.to_vec(),
        cost: read.cost.to_vec(),
        left_out: plan.left_out.iter().map(ToString::to_string).collect(),
        unchanged: read.unchanged.iter().map(ToString::to_string).collect(),
        counts,
    }
}

fn conflict(conflict: &crate::diff::Conflict, credentials: &Credentials) -> Conflict {
    Conflict {
        address: conflict.at.to_string(),
        why: credentials.text(&conflict.why),
        hint: conflict.hint.clone(),
        adopting: fields(&conflict.at, &conflict.adopting, credentials),
    }
}

fn phase(read: Read<'_>, phase: Phase, when: When) -> Vec<Resource> {
    let plan = read.plan;
    let mut ids: Vec<&StepId> = plan.phase(phase).map(|(id, _)| id).collect();
    ids.sort_by_key(|id| (rank(id), id.at.clone(), id.verb));
    let deleted: BTreeSet<&Address> =
        ids.iter().filter(|id| id.verb == Verb::Delete && id.deposed.is_none()).map(|id| &id.at).collect();
    let replaced: Replaced<'_> = ids
        .iter()
        .filter(|id| id.verb == Verb::Create && deleted.contains(&id.at))
        .map(|id| (&id.at, &plan.steps[*id].state))
        .collect();
    // A replacement is told once, where the new one is made.
    let is_half = |id: &StepId| id.verb == Verb::Delete && id.deposed.is_none() && replaced.contains_key(&id.at);
    ids.iter()
        .filter(|id| !is_half(id))
        .filter_map(|id| resource(read, id, &plan.steps[*id], &replaced, when))
        .collect()
}

/// Kinds in the order in which a stack is read aloud; what goes is read in the opposite order: what holds others first.
fn rank(id: &StepId) -> usize {
    let rank = KINDS.iter().position(|kind| kind.table() == id.at.kind).unwrap_or(KINDS.len());
    if id.verb == Verb::Delete { 2 * KINDS.len() - rank } else { rank }
}

fn resource(read: Read<'_>, id: &StepId, step: &Step, replaced: &Replaced<'_>, when: When) -> Option<Resource> {
    let Read { plan, credentials, .. } = read;
    let cause = reason::cause(&step.why)?;
    let at = &id.at;
    let is_replaced = replaced.contains_key(at);
    let action = match id.verb {
        Verb::Create if is_replaced => Action::Replace,
        Verb::Create => Action::Create,
        Verb::Update => Action::Change,
        Verb::Delete => Action::Delete,
        Verb::Release => Action::Release,
        Verb::Run => return None,
    };
    let old = if is_replaced { plan.steps.get(&StepId { verb: Verb::Delete, ..id.clone() }) } else { None };
    let subject = id.deposed.as_ref().unwrap_or(old.map_or(&step.subject, |old| &old.subject));
    let kind = kind(&at.kind);
    let mut fields = match action {
        Action::Create => fields(at, &told(kind, &step.state), credentials),
        _ => fields(at, &step.changes, credentials),
    };
    for field in fields.iter_mut().filter(|_| is_replaced) {
        field.forces_replacement = kind.is_some_and(|kind| is_under(&field.path, kind.fixed()));
    }
    let masked = |text: String| credentials.text(&text);
    let gist = kind.filter(|_| action == Action::Create).map(|kind| kind.gist(&step.state)).unwrap_or_default();
    let calls = old.into_iter().chain([step]).flat_map(|step| &step.calls);
    Some(Resource {
        address: at.to_string(),
        when,
        action,
        id: Some(subject.clone()).filter(|subject| !subject.is_empty()),
        only_for_the_run: at.sample.is_some(),
        cause,
        because: reason::because(step, id.verb, &fields, replaced),
        gist: gist.into_iter().map(masked).collect(),
        fields,
        calls: calls.filter_map(|call| Some(masked(kind?.describe(call)))).collect(),
    })
}

fn fields(at: &Address, changes: &[Change], credentials: &Credentials) -> Vec<Field> {
    let kind = kind(&at.kind);
    changes.iter().map(|change| lines::field(kind, &credentials.change(change))).collect()
}

/// Every field of a state that has something to say, as it comes.
fn told(kind: Option<&dyn ErasedKind>, state: &Value) -> Vec<Change> {
    let mut all = changes(&hollow(kind, "", state), state);
    all.retain(|change| !lines::is_empty(&change.to));
    all
}

/// A state's tables without what is in them, as deep as nobody has words for a whole one.
fn hollow(kind: Option<&dyn ErasedKind>, path: &str, value: &Value) -> Value {
    let in_words = kind.is_some_and(|kind| kind.phrase(path, value).is_some());
    match value {
        Value::Object(fields) if !in_words && as_link(value).is_none() => {
            let inner = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            fields
                .iter()
                .map(|(key, value)| (key.clone(), hollow(kind, &inner(key), value)))
                .collect::<Map<_, _>>()
                .into()
        }
        _ => Value::Null,
    }
}
