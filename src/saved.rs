//! A plan that is kept in a file, to be applied later as it is or not at all: turns a plan and the request that led to it
//! into that file's text, the text back, and two such plans into what has moved from one to the other. Pure.
//!
//! What looks like a credential is kept as a digest ([`kept`]), what a task gets as a secret by where ECS fetches it, a key
//! pair by its public half. A value that looks like none of these is kept as the stack file has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::address::{Address, Ids};
use crate::cli::Wish;
use crate::diff::{Change, changes};
use crate::kind::json;
use crate::plan::{Plan, Step, StepId, Why};
use crate::stack::Credentials;

/// The schema of the file.
pub const SCHEMA: u32 = 1;

/// A plan, with all that it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// Whether it was made for the sandbox.
    pub sandbox: bool,
    /// The stack file.
    pub stack: StackFile,
    /// What was asked for.
    pub request: Request,
    /// The plan.
    pub plan: Plan,
    /// What the run would read and do, where the plan has one.
    pub run: Option<RunBasis>,
}

/// The stack file that a plan is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFile {
    /// The stack's name.
    pub name: String,
    /// Where it was, as the command line said: relative to the folder in which the plan was made.
    pub path: String,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// What the command line asked for, as far as it decides what is planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// `--set`
    pub set: Vec<(String, String)>,
    /// `--region`; the region that it came to is [`Saved::region`].
    pub region: Option<String>,
    /// Everything else.
    pub wish: Wish,
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        json(self) == json(other)
    }
}

/// What a run that is due would read and do, beyond the plan's own [`crate::run::RunSpec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBasis {
    /// The objects that it reads, as `s3://bucket/key`, each with its ETag and size.
    pub inputs: BTreeMap<String, String>,
    /// The objects that are there already where it writes, told alike: who agreed to the plan agreed to lose these and no others.
    pub outputs: BTreeMap<String, String>,
    /// What happens with each pipeline step: `run` or `keep`. Empty where that is known only after uploads.
    pub steps: BTreeMap<String, String>,
}

/// The file: its magic member and what guards the rest, then the rest.
#[derive(Serialize, Deserialize)]
struct Envelope {
    seqstack_plan: u32,
    version: String,
    sha256: String,
    #[serde(flatten)]
    saved: Saved,
}

/// What of a file is understood whatever its schema.
#[derive(Deserialize)]
struct Head {
    seqstack_plan: u32,
    version: String,
}

/// Why a file is no plan that this program can apply.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is JSON, and never was one.
    #[error("is JSON, but no saved plan")]
    Other,
    /// Its text is not as it was written.
    #[error("is damaged, or was edited: {0}")]
    Damaged(String),
    /// Another version wrote it: its calls may be others.
    #[error("was made by seqstack {version} (schema {schema}), and this is {} (schema {SCHEMA})", env!("CARGO_PKG_VERSION"))]
    Version {
        /// The version that made it.
        version: String,
        /// Its schema.
        schema: u32,
    },
}

/// Whether a text is no stack file, but perhaps a saved plan: JSON's opening brace begins no TOML.
pub fn is_json(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a text is a saved plan, of whatever version.
pub fn is_saved(text: &[u8]) -> bool {
    is_json(text) && serde_json::from_slice::<Head>(text).is_ok()
}

/// SHA-256, lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

impl Saved {
    /// The file's text: for the same plan the same, byte for byte.
    ///
    /// # Errors
    /// When it has no JSON form, which is a fault of this tool.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let envelope = Envelope {
            seqstack_plan: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: self.digest()?,
            saved: self.clone(),
        };
        Ok(serde_json::to_string_pretty(&envelope)? + "\n")
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is none, another version's, or not as it was written.
    pub fn from_text(text: &[u8]) -> Result<Self, Unusable> {
        let damaged = |error: serde_json::Error| Unusable::Damaged(error.to_string());
        let whole: Value = serde_json::from_slice(text).map_err(damaged)?;
        if whole.get("seqstack_plan").is_none() {
            return Err(Unusable::Other);
        }
        let head: Head = serde_json::from_value(whole).map_err(damaged)?;
        if head.seqstack_plan != SCHEMA || head.version != env!("CARGO_PKG_VERSION") {
            return Err(Unusable::Version { version: head.version, schema: head.seqstack_plan });
        }
        let envelope: Envelope = serde_json::from_slice(text).map_err(damaged)?;
        if envelope.saved.digest().map_err(damaged)? != envelope.sha256 {
            return Err(Unusable::Damaged("its content does not match its checksum".to_owned()));
        }
        Ok(envelope.saved)
    }

    fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(sha256(&serde_json::to_vec(self)?))
    }
}

/// Something that is not as it was when a plan was saved.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// A plan step that is needed now, and was not.
    New {
        /// Which.
        step: StepId,
        /// Why.
        why: Why,
        /// The fields that it changes, from live to desired.
        changes: Vec<Change>,
    },
    /// A plan step that was needed, and is not any more.
    Gone {
        /// Which.
        step: StepId,
    },
    /// Something that is in both, and not the same.
    Differs {
        /// What: a plan step, the run, the ids of a resource.
        what: String,
        /// In which fields: then, and now.
        changes: Vec<Change>,
    },
    /// What is in the way now.
    InTheWay {
        /// At which resource.
        at: Address,
        /// Why.
        why: String,
    },
}

/// What has moved between the plan that was saved and the one that would be made now; nothing where they are the same.
/// Notes are no part of what is done.
pub fn moved(then: &Saved, now: &Saved) -> Vec<Moved> {
    let (old, new) = (&then.plan.steps, &now.plan.steps);
    let mut out = Vec::new();
    let mut told: BTreeSet<&Address> = BTreeSet::new();
    for id in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let difference = match (old.get(id), new.get(id)) {
            (Some(_), None) => Moved::Gone { step: id.clone() },
            (None, Some(step)) => Moved::New { step: id.clone(), why: step.why.clone(), changes: step.changes.clone() },
            (Some(old), Some(new)) => match changes(&comparable(old), &comparable(new)) {
                same if same.is_empty() => continue,
                changes => Moved::Differs { what: id.told_apart(), changes },
            },
            (None, None) => continue,
        };
        told.insert(&id.at);
        out.push(difference);
    }
    let (old, new) = (&then.plan.ids, &now.plan.ids);
    let none = Ids::new();
    for at in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(at).unwrap_or(&none), new.get(at).unwrap_or(&none));
        // What became of the resource itself says more than its ids.
        if old != new && !told.contains(at) {
            out.push(Moved::Differs { what: at.to_string(), changes: changes(&json(old), &json(new)) });
        }
    }
    out.extend(
        now.plan
            .conflicts
            .iter()
            .map(|conflict| Moved::InTheWay { at: conflict.at.clone(), why: conflict.why.clone() }),
    );
    // A run that is in one of them only is a plan step that is.
    if then.run.is_some() && now.run.is_some() {
        out.extend(differs("the run", &json(&then.run), &json(&now.run)));
        out.extend(differs("the run", &json(&then.plan.run), &json(&now.plan.run)));
    }
    out.extend(differs("the plan", &rest(&then.plan), &rest(&now.plan)));
    out
}

fn differs(what: &str, old: &Value, new: &Value) -> Option<Moved> {
    let changes = changes(old, new);
    (!changes.is_empty()).then(|| Moved::Differs { what: what.to_owned(), changes })
}

/// A plan as it is kept: with its credentials masked, and without the states, which only explain it. It is compared, and
/// never carried out.
pub fn kept(plan: &Plan, credentials: &Credentials) -> Plan {
    let changes = |changes: &[Change]| changes.iter().map(|change| credentials.change(change)).collect::<Vec<_>>();
    let mut plan = plan.clone();
    for step in plan.steps.values_mut() {
        step.changes = changes(&step.changes);
        step.calls.iter_mut().for_each(|call| *call = credentials.value("", call));
        step.state = Value::Null;
    }
    for conflict in &mut plan.conflicts {
        conflict.why = credentials.text(&conflict.why);
        conflict.adopting = changes(&conflict.adopting);
    }
    plan.notes.iter_mut().for_each(|(_, note)| *note = credentials.text(note));
    for step in plan.run.iter_mut().flat_map(|run| &mut run.spec.steps) {
        let words = [&mut step.content.entry_point, &mut step.content.command, &mut step.overrides.command];
        words.into_iter().flatten().for_each(|words| *words = masked(credentials, words));
        for variables in [&mut step.content.environment, &mut step.overrides.environment] {
            *variables = masked(credentials, variables);
        }
    }
    plan
}

/// Text in text's place: what was read as this is read as this again.
fn masked<T: Serialize + DeserializeOwned + Default>(credentials: &Credentials, text: &T) -> T {
    serde_json::from_value(credentials.value("", &json(text))).unwrap_or_default()
}

/// A step whose lists are tables, so that a difference is told by its own field and not by the whole list.
fn comparable(step: &Step) -> Value {
    let mut value = json(step);
    let fields: BTreeMap<&str, Value> = step
        .changes
        .iter()
        .map(|change| (change.path.as_str(), serde_json::json!({ "live": change.from, "desired": change.to })))
        .collect();
    let numbered: BTreeMap<String, &Value> =
        step.calls.iter().enumerate().map(|(n, call)| ((n + 1).to_string(), call)).collect();
    let after: BTreeMap<String, bool> = step.after.iter().map(|id| (id.told_apart(), true)).collect();
    value["changes"] = json(&fields);
    value["calls"] = json(&numbered);
    value["after"] = json(&after);
    value
}

/// What of a plan is told by none of the others.
fn rest(plan: &Plan) -> Value {
    let mut value = json(plan);
    if let Some(members) = value.as_object_mut() {
        members.retain(|name, _| !["steps", "run", "ids", "notes", "conflicts"].contains(&name.as_str()));
    }
    value
}

/// A plan's steps as a list of objects, since JSON's keys are strings.
pub(crate) mod listed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::plan::{Step, StepId};

    #[derive(Serialize, Deserialize)]
    struct Listed<I, S> {
        step: I,
        #[serde(flatten)]
        content: S,
    }

    pub(crate) fn serialize<S: Serializer>(steps: &BTreeMap<StepId, Step>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(steps.iter().map(|(step, content)| Listed { step, content }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<StepId, Step>, D::Error> {
        let steps = Vec::<Listed<StepId, Step>>::deserialize(deserializer)?;
        Ok(steps.into_iter().map(|listed| (listed.step, listed.content)).collect())
    }
}
