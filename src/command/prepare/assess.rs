//! The pipeline's run as it was found, to whether it is due. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::command::driver::Driver;
use crate::desired::Desired;
use crate::diff::{Conflict, Cycle, Difference, Scope, diff};
use crate::facts::{Facts, InstanceType};
use crate::live::Live;
use crate::plan::{Phase, Plan, StepId, Verb, run_address};
use crate::run::archive::archived;
use crate::run::spec::StepSpec;
use crate::run::{Assessment, Due, Observed, RunSpec, StepPlan};
use crate::stack::Stack;

/// A pipeline's run.
pub(super) struct Assessed {
    pub(super) spec: RunSpec,
    pub(super) observed: Observed,
    /// None where inputs are missing.
    pub(super) assessment: Option<Assessment>,
    /// The inputs that are not there, as `s3://bucket/glob`.
    pub(super) missing: Vec<String>,
    /// Whether its instance is there and stays.
    pub(super) stays: bool,
}

/// Says whether a run is due.
///
/// # Errors
/// [`Cycle`].
pub(super) fn assess(
    (spec, observed): (RunSpec, Observed),
    all: &Desired,
    live: &Live,
    scope: &Scope,
    retry: bool,
) -> Result<Assessed, Cycle> {
    // What this plan would replace holds nothing that a run could keep.
    let difference = diff(all, live, scope)?.by_address.remove(&spec.instance_at);
    let replaced = matches!(difference, Some(Difference::Changed { fixed: Some(_), .. }));
    let found = live.found.get(&spec.instance_at).and_then(|found| found.first()).filter(|_| !replaced);
    let instance = found.and_then(|found| found.ids.get("id")).map(String::as_str);
    let (assessment, missing) = match crate::run::due(&spec, &observed, instance, retry, &pending_uploads(all, live)) {
        Ok(assessment) => (Some(assessment), Vec::new()),
        Err(missing) => (None, missing),
    };
    Ok(Assessed { assessment, missing, stays: instance.is_some(), spec, observed })
}

impl Assessed {
    pub(super) fn at(&self) -> Address {
        run_address(&self.spec.sample)
    }

    pub(super) fn due(&self) -> Option<&Due> {
        self.assessment.as_ref().map(|assessment| &assessment.due)
    }

    /// Whether it is in the plan. What a run without inputs would be is shown all the same; it cannot be applied.
    pub(super) fn runs(&self) -> bool {
        matches!(self.due(), None | Some(Due::Yes(_) | Due::KnownAfterUpload { .. }))
    }

    /// Why it is in the plan.
    pub(super) fn reasons(&self) -> Vec<String> {
        match self.due() {
            Some(Due::Yes(work)) => work.reasons.clone(),
            Some(_) => vec!["its inputs are known only after the upload".to_owned()],
            None => vec!["its inputs are not there".to_owned()],
        }
    }

    /// What happens with its steps, where it is due; empty where that is known only after the upload.
    pub(super) fn steps(&self) -> Option<&[StepPlan]> {
        match self.due()? {
            Due::Yes(work) => Some(&work.steps),
            Due::KnownAfterUpload { .. } => Some(&[]),
            Due::No(_) | Due::Failed(_) => None,
        }
    }

    /// That its inputs are not there, where they are not.
    pub(super) fn without_inputs(&self) -> Option<Conflict> {
        let why = || format!("no object matches {}", self.missing.join(", "));
        let hint = "the run's inputs must be there before it: upload them, or mend the keys in [pipeline] inputs";
        (!self.missing.is_empty()).then(|| Conflict::new(self.at(), why(), hint))
    }

    /// That inputs are archived: S3 does not give them out, and a run would find that on a machine that is billed.
    pub(super) fn archived(&self) -> Option<Conflict> {
        const SHOWN: usize = 5;
        let archived = archived(&self.observed.inputs);
        let first = archived.first().filter(|_| self.steps().is_some() || self.assessment.is_none())?;
        let place = first.split(" (").next().and_then(|at| at.strip_prefix("s3://")?.split_once('/'));
        let (bucket, key) = place.unwrap_or_default();
        let more = archived.len().saturating_sub(SHOWN);
        let shown = archived.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let why = format!("S3 has archived {} of its inputs and does not give them out: {shown}{more}", archived.len());
        let hint = format!(
            "restore each of them and wait until it is there, hours later (aws s3api restore-object --bucket {bucket} --key '{key}' --restore-request Days=7), or copy them to another storage class; a lifecycle rule of the bucket archives them"
        );
        Some(Conflict::new(self.at(), why, hint))
    }

    /// That a step asks for more than any of the instance's types has: ECS would never place it, on a machine that is billed.
    pub(super) fn too_large(&self, stack: &Stack, facts: &Facts) -> Option<Conflict> {
        let instance = stack.resources.get(&self.spec.instance_at.clone().of(None))?;
        let others = instance.get("types").and_then(|types| types.as_array()).into_iter().flatten();
        let names = instance.get("type").into_iter().chain(others).filter_map(|name| name.as_str());
        let types: Vec<_> =
            names.map(|name| Some((name, facts.instance_types.get(name)?))).collect::<Option<Vec<_>>>()?;
        let room = |has: &InstanceType| {
            (i64::from(has.vcpus) * 1024, i64::try_from(has.memory_for_tasks()).unwrap_or(i64::MAX))
        };
        let asks = |step: &&StepSpec| {
            let (cpu, memory) = (step.cpu.unwrap_or_default(), step.memory.unwrap_or_default());
            let gpus = step.gpus.unwrap_or_default();
            types
                .iter()
                .map(|(_, has)| (room(has), i64::from(has.gpus)))
                .all(|((has_cpu, has_memory), has_gpus)| cpu > has_cpu || memory > has_memory || gpus > has_gpus)
        };
        let kept: BTreeSet<&str> =
            self.steps().into_iter().flatten().filter(|plan| plan.kept).map(|plan| plan.name.as_str()).collect();
        let runs = self.spec.steps.iter().filter(|step| !kept.contains(step.name.as_str()));
        let steps: Vec<_> = runs.filter(asks).collect();
        let asked = steps.iter().map(|step| {
            let gpus = if step.gpus == Some(1) { "GPU" } else { "GPUs" };
            let parts = [(step.cpu, "CPU units"), (step.memory, "MiB"), (step.gpus, gpus)];
            let parts = parts.iter().filter_map(|(n, unit)| Some(format!("{} {unit}", (*n)?)));
            format!("step {} asks for {}", step.name, parts.collect::<Vec<_>>().join(" and "))
        });
        let has = types.iter().map(|(name, has)| {
            let (cpu, memory) = room(has);
            let gpus = if steps.iter().any(|step| step.gpus.is_some()) {
                format!(", {} GPUs", has.gpus)
            } else {
                String::new()
            };
            format!("{name} has {cpu} CPU units and {memory} MiB{gpus}, not all of it free")
        });
        let why = asked.chain(has).collect::<Vec<_>>().join("; ");
        let hint = "lower the `cpu`, `memory` or `gpus` of the step or its task definition, or take an instance `type` that has them";
        (!steps.is_empty() && !types.is_empty()).then(|| Conflict::new(self.at(), why, hint))
    }

    /// Whoever drives a run on the instance that this plan ends needs it: it is not taken from under them. Where the plan
    /// runs the pipeline before that, it has the lease by then.
    pub(super) fn driver(&self, plan: &Plan) -> Option<Driver> {
        let at = &self.spec.instance_at;
        let waits = |id: &StepId| id.phase == Phase::Settle && plan.run.is_some();
        let ends = plan.steps.keys().any(|id| id.at == *at && id.verb == Verb::Delete && !waits(id));
        let kept = self.observed.ledger.as_ref().filter(|_| ends)?;
        Some(Driver::of(&self.spec, crate::run::due::holder(kept)?, &kept.ledger.nonce))
    }

    /// That somebody drives a run on its instance.
    pub(super) fn driven(&self, driver: &Driver) -> Conflict {
        Conflict::new(
            self.spec.instance_at.clone(),
            format!("{} is driving a run on it since {}", driver.holder.who, driver.holder.since),
            "wait until that has ended (apply gives up a driver that died, after five minutes), or stop it with destroy --stop-run",
        )
    }
}

/// Objects that this plan will upload, as bucket and key.
fn pending_uploads(desired: &Desired, live: &Live) -> BTreeSet<(String, String)> {
    let objects = |state: &serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        state
            .get("objects")
            .and_then(|objects| objects.as_object())
            .map(|objects| objects.clone().into_iter().collect())
            .unwrap_or_default()
    };
    let mut out = BTreeSet::new();
    for (at, want) in desired.0.iter().filter(|(at, _)| at.kind == "upload") {
        let there =
            live.found.get(at).and_then(|found| found.first()).map(|found| objects(&found.state)).unwrap_or_default();
        let bucket = want.get("bucket").and_then(|bucket| bucket.as_str()).unwrap_or_default();
        for (key, object) in objects(want) {
            if there.get(&key) != Some(&object) {
                out.insert((bucket.to_owned(), key));
            }
        }
    }
    out
}
