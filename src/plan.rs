//! Differences to a plan: steps down to the call, and what each waits for. Pure.
//!
//! A plan has up to three phases: converge (with the run due), the run, and settle (with the run no longer due).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Address, Ids, Link, links, settle};
use crate::diff::{Change, Conflict, Difference, Differences};
use crate::kind::{
    Found, Owner, Replace, TAG_ADDRESS, TAG_ADOPTED, TAG_KEYS, TAG_PROTECT, TAG_REGION, TAG_SAMPLE, TAG_STACK, kind,
};
use crate::run::RunSpec;

/// When in a plan a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the run.
    Converge,
    /// The run itself.
    Run,
    /// After the run: its compute goes.
    Settle,
}

/// What a step does to its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Makes it.
    Create,
    /// Changes it in place.
    Update,
    /// Deletes it.
    Delete,
    /// Takes our tags off it and leaves it.
    Release,
    /// Runs the pipeline.
    Run,
}

/// One step of a plan. A replacement is two steps, so the graph needs no special case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepId {
    /// The phase.
    pub phase: Phase,
    /// The resource.
    pub at: Address,
    /// What is done to it.
    pub verb: Verb,
    /// Which of several at that address, by physical id, for what a replacement left over.
    pub deposed: Option<String>,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
            Verb::Release => "release",
            Verb::Run => "run",
        };
        write!(f, "{verb} {}", self.at)?;
        self.deposed.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))
    }
}

impl StepId {
    /// Its text, unlike that of any other step of a plan: the run's instance may go before the run, and another after it.
    pub fn told_apart(&self) -> String {
        if self.phase == Phase::Settle { format!("{self} after the run") } else { self.to_string() }
    }
}

/// Why a step is in the plan. A reason explains; it never steers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is not there.
    Missing,
    /// It differs.
    Differs,
    /// It is there, unmanaged, and `--adopt` asks for it.
    Adopted,
    /// A field cannot change in place.
    Fixed {
        /// Which.
        field: String,
    },
    /// The stack file does not have it any more.
    NotInStack,
    /// It exists for the run only, which is over, or not due.
    RunOver,
    /// A replacement or a race left it over.
    LeftOver,
    /// Everything goes.
    Destroy,
    /// The pipeline's run is due.
    Due {
        /// Why.
        reasons: Vec<String>,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Why.
    pub why: Why,
    /// The fields that change, for an update or a replacement.
    pub changes: Vec<Change>,
    /// The mutating calls, in order, as the kind's plan data.
    pub calls: Vec<Value>,
    /// What it acts upon, as a person knows it (an id, a name).
    pub subject: String,
    /// What the resource is to be, or, where it goes, what it is: its normal form. Null for the run.
    pub state: Value,
    /// What it waits for.
    pub after: BTreeSet<StepId>,
}

/// The run, as the plan has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What to run.
    pub spec: RunSpec,
    /// What happens after it happens whatever its outcome (`on_failure = "release"`), not only after success.
    pub settle_always: bool,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    #[serde(with = "crate::saved::listed")]
    pub steps: BTreeMap<StepId, Step>,
    /// The run, where it is due.
    pub run: Option<Run>,
    /// Ids known now that will still be good; the executor adds those that become known.
    pub ids: BTreeMap<Address, Ids>,
    /// Worth knowing, but no change.
    pub notes: Vec<(Address, String)>,
    /// What keeps it from being applied.
    pub conflicts: Vec<Conflict>,
    /// Where there is something to do as well, but a choice leaves it out ([`crate::choose`]).
    pub left_out: BTreeSet<Address>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps of one phase.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = (&StepId, &Step)> {
        self.steps.iter().filter(move |(id, _)| id.phase == phase)
    }
}

/// The address of the pipeline's run.
pub fn run_address(sample: &str) -> Address {
    Address::new("pipeline", "run").of(Some(sample))
}

/// Why an extra resource goes, in one plan.
pub type ExtraReason<'a> = &'a dyn Fn(&Address) -> Why;

/// Turns differences into the steps of one phase, with the edges between them.
pub fn plan(phase: Phase, differences: Differences, extra: ExtraReason<'_>) -> Plan {
    let mut draft = Draft {
        phase,
        ids: differences.ids,
        steps: BTreeMap::new(),
        lives: BTreeMap::new(),
        conflicts: differences.conflicts,
    };
    for (at, difference) in differences.by_address {
        draft.add(&at, difference, extra);
    }
    for found in differences.deposed {
        let at = found.at.clone();
        let id = crate::diff::name(&found);
        draft.remove(&at, found, Why::LeftOver, Some(id));
    }
    let edges = draft.edges(&differences.links);
    let mut steps = draft.steps;
    for (id, after) in edges {
        if let Some(step) = steps.get_mut(&id) {
            step.after = after;
        }
    }
    Plan { steps, ids: draft.ids, notes: differences.notes, conflicts: draft.conflicts, ..Plan::default() }
}

/// Puts the run after everything that converges, and what settles after the run.
#[must_use]
pub fn with_run(mut converge: Plan, run: Run, reasons: Vec<String>, settle: Plan) -> Plan {
    let id = StepId { phase: Phase::Run, at: run_address(&run.spec.sample), verb: Verb::Run, deposed: None };
    let after = converge.steps.keys().cloned().collect();
    let subject = run.spec.sample.clone();
    converge.steps.insert(
        id.clone(),
        Step { why: Why::Due { reasons }, changes: Vec::new(), calls: Vec::new(), subject, state: Value::Null, after },
    );
    for (settle_id, mut step) in settle.steps {
        step.after.insert(id.clone());
        converge.steps.insert(settle_id, step);
    }
    converge.run = Some(run);
    converge
}

fn step(why: Why, changes: Vec<Change>, calls: Vec<Value>, state: Value) -> Step {
    Step { why, changes, calls, subject: String::new(), state, after: BTreeSet::new() }
}

struct Draft {
    phase: Phase,
    ids: BTreeMap<Address, Ids>,
    steps: BTreeMap<StepId, Step>,
    /// What each step that changes or deletes something found there.
    lives: BTreeMap<StepId, Found<Value>>,
    conflicts: Vec<Conflict>,
}

impl Draft {
    fn id(&self, at: &Address, verb: Verb, deposed: Option<String>) -> StepId {
        StepId { phase: self.phase, at: at.clone(), verb, deposed }
    }

    fn put(&mut self, id: StepId, mut step: Step, found: Option<Found<Value>>) {
        step.subject = found.as_ref().map(crate::diff::name).unwrap_or_default();
        self.lives.extend(found.map(|found| (id.clone(), found)));
        self.steps.insert(id, step);
    }

    fn add(&mut self, at: &Address, difference: Difference, extra: ExtraReason<'_>) {
        let Some(kind) = kind(&at.kind) else { return };
        match difference {
            Difference::Missing { want } => {
                let calls = self.settled(kind.calls(at, None, Some(&want)), None);
                let id = self.id(at, Verb::Create, None);
                self.put(id, step(Why::Missing, Vec::new(), calls, want), None);
            }
            Difference::Extra { found } => self.remove(at, found, extra(at), None),
            Difference::Changed { found, want, changes, fixed: Some(field) } => {
                let why = Why::Fixed { field };
                let calls = self.settled(kind.calls(at, None, Some(&want)), None);
                self.remove(at, found, why.clone(), None);
                let id = self.id(at, Verb::Create, None);
                self.put(id, step(why, changes, calls, want), None);
            }
            Difference::Changed { found, want, changes, fixed: None } => {
                let calls = self.settled(kind.calls(at, Some(&found.state), Some(&want)), Some(&found));
                if calls.is_empty() {
                    let fields: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
                    self.conflicts.push(Conflict::new(
                        at.clone(),
                        format!("differs in {}, and no call can change that", fields.join(", ")),
                        "this is a fault of seqstack: please report it with the output of `plan -v`",
                    ));
                    return;
                }
                let why = if found.owner == Owner::Nobody { Why::Adopted } else { Why::Differs };
                let id = self.id(at, Verb::Update, None);
                self.put(id, step(why, changes, calls, want), Some(found));
            }
        }
    }

    /// Deletes what is ours; lets go of what was adopted.
    fn remove(&mut self, at: &Address, found: Found<Value>, why: Why, deposed: Option<String>) {
        let Some(kind) = kind(&at.kind) else { return };
        let (verb, calls) = if found.owner == Owner::Adopted {
            let mut free = found.state.clone();
            if let Some(tags) = free.get_mut("tags").and_then(Value::as_object_mut) {
                for ours in [TAG_STACK, TAG_REGION, TAG_ADDRESS, TAG_SAMPLE, TAG_ADOPTED, TAG_PROTECT, TAG_KEYS] {
                    tags.remove(ours);
                }
            }
            (Verb::Release, kind.calls(at, Some(&found.state), Some(&free)))
        } else {
            (Verb::Delete, kind.calls(at, Some(&found.state), None))
        };
        if calls.is_empty() {
            return;
        }
        let calls = self.settled(calls, Some(&found));
        let id = self.id(at, verb, deposed);
        self.put(id, step(why, Vec::new(), calls, found.state.clone()), Some(found));
    }

    /// Calls with every id in them that is known: a resource's own where one is found, and those of what stays.
    fn settled(&self, calls: Vec<Value>, own: Option<&Found<Value>>) -> Vec<Value> {
        let known = |to: &Address, part: &str| match own {
            Some(found) if found.at == *to => found.ids.get(part).cloned(),
            _ => self.ids.get(to)?.get(part).cloned(),
        };
        calls
            .into_iter()
            .map(|mut call| {
                settle(&mut call, &known);
                call
            })
            .collect()
    }

    /// What each step waits for.
    fn edges(&self, links: &BTreeMap<Address, Vec<Link>>) -> BTreeMap<StepId, BTreeSet<StepId>> {
        let makers = |to: &Address| {
            let to = to.clone();
            self.steps
                .keys()
                .filter(move |other| other.at == to && matches!(other.verb, Verb::Create | Verb::Update))
                .cloned()
        };
        let mut out = BTreeMap::new();
        for id in self.steps.keys() {
            let mut after: BTreeSet<StepId> = BTreeSet::new();
            match id.verb {
                // Whoever links to a resource waits until that is as it shall be.
                Verb::Create | Verb::Update => {
                    for link in links.get(&id.at).into_iter().flatten() {
                        if let Link::Ours { to, .. } = link
                            && *to != id.at
                        {
                            after.extend(makers(to));
                        }
                    }
                    if id.verb == Verb::Create && self.replaced(&id.at) == Some(Replace::DeleteFirst) {
                        after.extend(
                            self.steps
                                .keys()
                                .filter(|other| {
                                    other.at == id.at && other.verb == Verb::Delete && other.deposed.is_none()
                                })
                                .cloned(),
                        );
                    }
                }
                Verb::Delete => after.extend(self.before_delete(id)),
                Verb::Release | Verb::Run => {}
            }
            after.remove(id);
            out.insert(id.clone(), after);
        }
        out
    }

    /// How the resource is replaced, if this plan replaces it.
    fn replaced(&self, at: &Address) -> Option<Replace> {
        let has = |verb| self.steps.contains_key(&self.id(at, verb, None));
        (has(Verb::Create) && has(Verb::Delete)).then(|| kind(&at.kind).map(|kind| kind.replace())).flatten()
    }

    /// A delete waits until nobody holds the thing: for its holders' deletion, and for the updates that move them off.
    /// The delete half of a delete-first replacement cannot wait for updates, since they wait for its other half.
    fn before_delete(&self, id: &StepId) -> Vec<StepId> {
        let Some(gone) = self.lives.get(id) else { return Vec::new() };
        let replaced = if id.deposed.is_none() { self.replaced(&id.at) } else { Some(Replace::CreateFirst) };
        let mut after: Vec<StepId> = self
            .lives
            .iter()
            .filter(|(other, live)| *other != id && holds(&live.state, gone))
            .filter(|(other, _)| !(replaced == Some(Replace::DeleteFirst) && other.verb == Verb::Update))
            .map(|(other, _)| other.clone())
            .collect();
        if replaced == Some(Replace::CreateFirst) {
            after.extend(self.steps.keys().filter(|other| other.at == id.at && other.verb == Verb::Create).cloned());
            // A holder that is itself replaced lets go when its old half goes, which is among the lives above.
        }
        after
    }
}

/// Whether a live state links to this resource.
fn holds(state: &Value, gone: &Found<Value>) -> bool {
    links(state).iter().any(|link| match link {
        Link::Ours { to, .. } => *to == gone.at,
        Link::Theirs { kind, id } => *kind == gone.at.kind && gone.ids.values().any(|own| own == id),
    })
}
