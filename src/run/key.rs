//! Keys: turns what a run reads and what its steps are into digests. Pure.
//!
//! Two runs with the same key would do the same: so the keys hold what decides a result and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::spec::{Content, RunSpec};
use crate::run::ledger::Object;

/// SHA-256 over the JSON of a value under a label, lower-case hexadecimal. Every map in what is hashed is sorted.
pub(super) fn digest<T: Serialize>(label: &str, value: &T) -> String {
    // Plain data with string keys always has a JSON form; should it not, the error's text still keys it apart.
    let text = serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    hex::encode(Sha256::digest(format!("seqstack 1 {label}\n{text}")))
}

/// The keys of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The run's.
    pub run: String,
    /// Each step's, by name.
    pub steps: BTreeMap<String, String>,
}

/// The keys of a run that reads these objects.
pub fn keys(spec: &RunSpec, inputs: &[Object]) -> Keys {
    let mut read: Vec<_> =
        inputs.iter().map(|object| (&object.bucket, &object.key, object.size, &object.etag)).collect();
    read.sort();
    let read_digest = digest("inputs", &read);
    let mut steps: BTreeMap<String, String> = BTreeMap::new();
    for step in &spec.steps {
        // Steps come after what they follow, so the keys are there.
        let mut before: Vec<&String> = step.follows.iter().filter_map(|name| steps.get(name)).collect();
        before.sort();
        let roots = step.follows.is_empty().then_some(&read_digest);
        let key = digest("step", &(&step.content, before, roots));
        steps.insert(step.name.clone(), key);
    }
    let ordered: Vec<_> = spec.steps.iter().map(|step| (&step.name, &step.content, &step.follows)).collect();
    Keys { run: digest("run", &(&read, ordered)), steps }
}

/// Everything that is set for a run, keyed or not: a failed run under the same settings would fail again.
pub fn settings(spec: &RunSpec) -> String {
    let steps: Vec<_> = spec.steps.iter().map(|step| (&step.name, &step.settings)).collect();
    digest("run settings", &(steps, &spec.machine))
}

/// A digest of each part of a step's content, so that a later plan can say which of them changed.
pub fn parts(content: &Content) -> BTreeMap<String, String> {
    let short = |value: &dyn erased::Json| value.digest();
    BTreeMap::from([
        ("task definition".to_owned(), short(&content.definition)),
        ("image".to_owned(), short(&content.image)),
        ("entry point".to_owned(), short(&content.entry_point)),
        ("command".to_owned(), short(&content.command)),
        ("environment".to_owned(), short(&content.environment)),
        ("secrets".to_owned(), short(&content.secrets)),
        ("user".to_owned(), short(&content.user)),
        ("working folder".to_owned(), short(&content.working_dir)),
        ("mounts".to_owned(), short(&content.mounts)),
    ])
}

mod erased {
    /// Anything with a JSON form, digested short.
    pub(super) trait Json {
        fn digest(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn digest(&self) -> String {
            super::digest("part", self).chars().take(16).collect()
        }
    }
}
