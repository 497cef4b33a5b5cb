//! Part of a plan: from the whole plan and what `--target` and `--exclude` name, to the steps that are chosen. Pure.
//!
//! The whole plan is made first, and choosing only takes steps out of it: it never changes a step, nor asks AWS for more.
//! Without a choice nothing is taken out.
//!
//! - A resource is in or out **whole**: never half of a replacement.
//! - A thing to do *needs* another one: a resource what its desired state links to (its role, its group); the run what
//!   its tasks and its instance link to, and the uploads; and what is to be deleted or replaced everyone who **uses** it
//!   now, since they must let go of it first. That leads on through what stays as it is.
//! - `--target X`: X and all that it needs. So a deleted role takes along the instance that has it, and nothing is
//!   deleted under its holder.
//! - `--exclude X`: X stays as it is, and so does all that needs X. It beats `--target`. What is already as the stack
//!   file says has nothing to leave out: then those who need it go on.
//! - The run (`pipeline.run`, or the kind `pipeline`) is one of the things. What exists for a run only (`lifetime =
//!   "run"`) comes with it: without the run it is not made, unless it is itself a target; what happens after the run
//!   happens only where the run does.
//! - What is in the way of something that is left out is left out as well: it is no reason to refuse the rest.
//!
//! So a chosen plan is closed: each of its steps finds done all that it waits for. Applied, and then the whole plan, it
//! comes to the same as the whole plan at once (`tests/properties.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::address::{Address, Link, NotAnAddress, links};
use crate::desired::Desired;
use crate::live::Live;
use crate::plan::{Phase, Plan, StepId, Verb, run_address};
use crate::stack::diagnostic::suggest;

/// What is chosen of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Choice {
    /// Only this and what it needs: an address (role.execution, pipeline.run) or a kind (role); more than once for more
    #[arg(long = "target", value_name = "ADDRESS")]
    #[serde(rename = "target")]
    pub targets: Vec<Pick>,
    /// Leave this as it is, and what needs it: an address or a kind (pipeline: do not run); more than once for more
    #[arg(long = "exclude", value_name = "ADDRESS")]
    #[serde(rename = "exclude")]
    pub excludes: Vec<Pick>,
}

/// One thing that is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pick {
    /// Everything of a kind: `role`.
    Kind(String),
    /// One resource: `role.execution`. Without a sample, every sample's.
    Address(Address),
}

/// The kind of the run's address.
const PIPELINE: &str = "pipeline";
const NO_RUN: &str = "plan and apply have one where the stack file has a [pipeline]; destroy takes down the instance that it is on, and leaves its ledger and results";

impl Pick {
    fn kind(&self) -> &str {
        match self {
            Self::Kind(kind) => kind,
            Self::Address(at) => &at.kind,
        }
    }

    fn takes(&self, at: &Address) -> bool {
        match self {
            Self::Kind(kind) => at.kind == *kind,
            Self::Address(one) => {
                (&one.kind, &one.name) == (&at.kind, &at.name) && (one.sample.is_none() || one.sample == at.sample)
            }
        }
    }
}

impl std::fmt::Display for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => f.write_str(kind),
            Self::Address(at) => at.fmt(f),
        }
    }
}

impl std::str::FromStr for Pick {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.contains('.') { text.parse().map(Self::Address) } else { Ok(Self::Kind(text.to_owned())) }
    }
}

impl From<Pick> for String {
    fn from(pick: Pick) -> Self {
        pick.to_string()
    }
}

impl TryFrom<String> for Pick {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

/// A name that cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// As it was written: `--target rol.input`, and what is wrong with it.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Choice {
    /// Whether nothing is chosen, hence everything.
    pub fn is_everything(&self) -> bool {
        self.targets.is_empty() && self.excludes.is_empty()
    }

    /// Whether an address is asked for: by name, or for want of any name.
    pub fn asks_for(&self, at: &Address) -> bool {
        (self.targets.is_empty() || self.targets(at)) && !self.excludes(at)
    }

    fn targets(&self, at: &Address) -> bool {
        self.targets.iter().any(|pick| pick.takes(at))
    }

    fn excludes(&self, at: &Address) -> bool {
        self.excludes.iter().any(|pick| pick.takes(at))
    }

    /// Every name that means nothing here, or two things at once; `known` is all that the stack file has and all that is
    /// live.
    pub fn faults(&self, known: &BTreeSet<Address>) -> Vec<Wrong> {
        let names = || {
            let whole = known.iter().map(|at| at.clone().of(None).to_string());
            whole.chain(known.iter().map(|at| at.kind.clone())).collect::<BTreeSet<_>>()
        };
        let targets = self.targets.iter().map(|pick| ("--target", pick));
        let picks = targets.chain(self.excludes.iter().map(|pick| ("--exclude", pick)));
        let mut out: Vec<Wrong> = picks
            .filter(|(_, pick)| !known.iter().any(|at| pick.takes(at)))
            .map(|(option, pick)| {
                let (what, hint) = if pick.kind() == PIPELINE && known.iter().all(|at| at.kind != PIPELINE) {
                    ("there is no run to choose", Some(NO_RUN.to_owned()))
                } else {
                    let hint = suggest(&pick.to_string(), names().iter().map(String::as_str), "there are");
                    ("there is no such thing, neither in the stack file nor in the account", hint)
                };
                Wrong { text: format!("{option} {pick}: {what}"), hint }
            })
            .collect();
        out.extend(
            self.targets
                .iter()
                .filter(|pick| self.excludes.contains(pick))
                .map(|pick| Wrong { text: format!("--target {pick} --exclude {pick}: it cannot be both"), hint: None }),
        );
        out
    }
}

/// How one thing needs another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It links to it.
    Link,
    /// It goes, and the other uses it until then.
    Release,
}

/// What each address needs; or, turned round, who needs it.
type Needs = BTreeMap<Address, BTreeMap<Address, Need>>;

/// What is reached, each with what to do led there, and how; none where it began.
type Reached = BTreeMap<Address, Option<(Address, Need)>>;

/// Takes out of a plan what is not chosen, and notes what comes with the choice, and what it takes along.
///
/// `desired` and `live` are what the plan was made from.
#[must_use]
pub fn choose(mut plan: Plan, choice: &Choice, desired: &Desired, live: &Live) -> Plan {
    if choice.is_everything() {
        return plan;
    }
    let todo = todo(&plan);
    let needs = needs(&plan, desired, live);
    let run = plan.run.as_ref().map(|run| run_address(&run.spec.sample));
    let excluded = todo.iter().filter(|at| choice.excludes(at));
    let out = reach(excluded, &turned(&needs), &todo);
    let without_run = run.as_ref().is_some_and(|run| out.contains_key(run));
    let for_the_run = |at: &Address| at.sample.is_some() && desired.0.contains_key(at);
    let all = choice.targets.is_empty();
    let asked = |at: &Address| all || choice.targets(at);
    let begins = |at: &&Address| asked(at) && !out.contains_key(*at) && !(all && without_run && for_the_run(at));
    // Whoever needs something that is left out is itself left out: none of those is ever reached.
    let comes = reach(todo.iter().chain(desired.0.keys()).filter(begins), &needs, &todo);

    let chosen = |at: &Address| comes.contains_key(at);
    let runs = run.as_ref().is_some_and(chosen);
    plan.steps.retain(|id, _| chosen(&id.at) && (id.phase != Phase::Settle || runs));
    let kept: BTreeSet<StepId> = plan.steps.keys().cloned().collect();
    plan.steps.values_mut().for_each(|step| step.after.retain(|id| kept.contains(id)));
    plan.run = plan.run.filter(|_| runs);
    plan.conflicts.retain(|conflict| chosen(&conflict.at));
    plan.notes.retain(|(at, _)| !out.contains_key(at) && (all || chosen(at)));
    let still = self::todo(&plan);
    for at in &todo {
        let note = match (comes.get(at), out.get(at)) {
            (_, Some(Some((other, Need::Link)))) if asked(at) => format!("left out, because it needs {other}"),
            (_, Some(Some((other, Need::Release)))) if asked(at) => format!("left out, because {other} uses it"),
            (Some(Some((other, Need::Link))), _) => format!("also, because {other} needs it"),
            (Some(Some((other, Need::Release))), _) => format!("also, because it uses {other}, which goes"),
            (None, None) if all => "left out, because it exists for the run only".to_owned(),
            (Some(None), _) if for_the_run(at) && run.is_some() && !runs && still.contains(at) => {
                "the run is left out: this stays until a run has used it, or it ends itself".to_owned()
            }
            _ => continue,
        };
        plan.notes.push((at.clone(), note));
    }
    plan.left_out = todo.difference(&still).cloned().collect();
    plan
}

/// Where there is something to do, or something in the way.
fn todo(plan: &Plan) -> BTreeSet<Address> {
    plan.steps.keys().map(|id| &id.at).chain(plan.conflicts.iter().map(|conflict| &conflict.at)).cloned().collect()
}

fn needs(plan: &Plan, desired: &Desired, live: &Live) -> Needs {
    let mut out = Needs::new();
    let mut add = |from: &Address, to: &Address, need: Need| {
        if from != to {
            out.entry(from.clone()).or_default().entry(to.clone()).or_insert(need);
        }
    };
    let ours = |value: &serde_json::Value| {
        links(value).into_iter().filter_map(|link| match link {
            Link::Ours { to, .. } => Some(to),
            Link::Theirs { .. } => None,
        })
    };
    for (at, want) in &desired.0 {
        ours(want).for_each(|to| add(at, &to, Need::Link));
    }
    if let Some(run) = &plan.run {
        let at = run_address(&run.spec.sample);
        ours(&crate::kind::json(&run.spec)).for_each(|to| add(&at, &to, Need::Link));
        desired.0.keys().filter(|to| to.kind == "upload").for_each(|to| add(&at, to, Need::Link));
    }
    let mut users: BTreeMap<(String, String), BTreeSet<&Address>> = BTreeMap::new();
    for found in live.found.values().flatten() {
        for link in links(&found.state) {
            if let Link::Theirs { kind, id } = link {
                users.entry((kind, id)).or_default().insert(&found.at);
            }
        }
    }
    for (id, step) in plan.phase(Phase::Converge).filter(|(id, _)| id.verb == Verb::Delete) {
        let found = live.found.get(&id.at).into_iter().flatten();
        for gone in found.filter(|one| crate::diff::name(one) == step.subject) {
            let of = |own: &String| users.get(&(id.at.kind.clone(), own.clone()));
            gone.ids.values().filter_map(of).flatten().for_each(|user| add(&id.at, user, Need::Release));
        }
    }
    out
}

fn turned(needs: &Needs) -> Needs {
    let mut out = Needs::new();
    for (from, all) in needs {
        for (to, need) in all {
            out.entry(to.clone()).or_default().insert(from.clone(), *need);
        }
    }
    out
}

fn reach<'a>(from: impl Iterator<Item = &'a Address>, edges: &Needs, todo: &BTreeSet<Address>) -> Reached {
    let mut out: Reached = from.map(|at| (at.clone(), None)).collect();
    let mut queue: VecDeque<Address> = out.keys().cloned().collect();
    while let Some(at) = queue.pop_front() {
        let led = out.get(&at).cloned().flatten();
        for (next, need) in edges.get(&at).into_iter().flatten() {
            if out.contains_key(next) {
                continue;
            }
            // Nothing happens to what stays as it is: the reason is what led there.
            let why = led.clone().filter(|_| !todo.contains(&at)).unwrap_or_else(|| (at.clone(), *need));
            out.insert(next.clone(), Some(why));
            queue.push_back(next.clone());
        }
    }
    out
}
