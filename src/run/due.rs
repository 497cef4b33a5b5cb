//! Whether a run is due: turns what is asked for and what was found into an answer with reasons. Pure.
//!
//! A reason explains, it never steers: what is due follows from keys alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::{Keys, keys, parts, settings};
use super::lease::LEASE;
use super::ledger::{Ledger, Object, Output, RunRecord, RunState};
use super::observe::{Kept, Observed, matches, unmatched};
use super::spec::{RunSpec, StepSpec};
use super::verdict::Verdict;

/// The answer, and what a person should know beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether the run is due.
    pub due: Due,
    /// The run key; none where uploads come first.
    pub key: Option<String>,
    /// Notes: outputs that somebody changed, with dates.
    pub notes: Vec<String>,
}

/// Whether a run is due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// This exact run succeeded, and what it wrote is still there.
    No(Done),
    /// It has to run.
    Yes(Work),
    /// This exact run failed, nothing has changed since, and nobody asked for another try.
    Failed(Earlier),
    /// Uploads come first, and only then is it known which steps run: these input objects are about to change.
    KnownAfterUpload {
        /// As `s3://bucket/key`.
        uploads: Vec<String>,
    },
}

/// A run that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, seconds.
    pub seconds: Option<i64>,
    /// What it wrote.
    pub outputs: Vec<Output>,
}

/// A run that is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Why, in words.
    pub reasons: Vec<String>,
    /// What happens with each step.
    pub steps: Vec<StepPlan>,
    /// Who is driving it right now.
    pub in_progress: Option<Holder>,
}

/// What happens with one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its name.
    pub name: String,
    /// Whether its result is there and counts: then it is not started again.
    pub kept: bool,
    /// Whether its key has never succeeded: what it does has changed, not only its result gone with the instance.
    pub changed: bool,
    /// Why.
    pub why: String,
}

/// Who holds a ledger's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Identity and host.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// How long ago it gave a sign of life, seconds.
    pub seen_seconds_ago: u64,
    /// Tasks that are running, by step, where that was asked for.
    pub tasks: BTreeMap<String, String>,
}

/// A failure of before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// The step; none if an output was missing after all of them.
    pub step: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub explanation: String,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Its task.
    pub task_arn: Option<String>,
    /// When the run ended.
    pub ended_at: Option<Timestamp>,
    /// The instance that it was on.
    pub instance: String,
}

/// Says whether a run is due.
///
/// `live_instance` is the id of the run's own instance if it is there and stays; `pending_uploads` are the buckets and
/// keys that the plan will upload first.
///
/// # Errors
/// The input globs that match nothing, as `s3://bucket/glob`.
pub fn due(
    spec: &RunSpec,
    observed: &Observed,
    live_instance: Option<&str>,
    retry: bool,
    pending_uploads: &BTreeSet<(String, String)>,
) -> Result<Assessment, Vec<String>> {
    let missing_inputs = unmatched(&spec.inputs, |bucket, glob| {
        has(&observed.inputs, bucket, glob)
            || pending_uploads.iter().any(|(to, key)| to == bucket && matches(glob, key))
    });
    if !missing_inputs.is_empty() {
        return Err(missing_inputs);
    }
    let ledger = observed.ledger.as_ref().map(|kept| &kept.ledger);
    let uploads = uploads_to_inputs(spec, pending_uploads);
    if !uploads.is_empty() {
        return Ok(Assessment { due: Due::KnownAfterUpload { uploads }, key: None, notes: Vec::new() });
    }
    let keys = keys(spec, &observed.inputs);
    let missing = missing_outputs(spec, ledger.and_then(|ledger| succeeded(ledger, &keys.run)), &observed.outputs);
    let answer = |due, notes| Ok(Assessment { due, key: Some(keys.run.clone()), notes });

    if let Some(ledger) = ledger {
        if let Some(run) = succeeded(ledger, &keys.run)
            && missing.is_empty()
            && stands(ledger, run, &observed.outputs)
        {
            let empty = run.outputs.iter().filter_map(|output| super::end::empty(&output.object));
            let notes = changed_since(run, &observed.outputs).into_iter().chain(empty).collect();
            return answer(Due::No(done(run)), notes);
        }
        if !retry && let Some(earlier) = failed_alike(ledger, spec, &keys) {
            return answer(Due::Failed(earlier), Vec::new());
        }
    }
    let work = Work {
        reasons: reasons(spec, observed, &keys, ledger, &missing),
        steps: step_plans(spec, ledger, &keys, live_instance, &redone(spec, ledger, &keys, &missing)),
        in_progress: observed.ledger.as_ref().and_then(holder),
    };
    answer(Due::Yes(work), Vec::new())
}

/// Who holds the lease, if anybody does.
pub fn holder(kept: &Kept) -> Option<Holder> {
    let lease = kept.ledger.lease.as_ref().filter(|_| kept.age < LEASE)?;
    Some(Holder {
        who: lease.who.clone(),
        since: lease.since,
        seen_seconds_ago: kept.age.min(Duration::from_secs(86_400)).as_secs(),
        tasks: BTreeMap::new(),
    })
}

fn has(objects: &[Object], bucket: &str, glob: &str) -> bool {
    objects.iter().any(|object| object.bucket == bucket && matches(glob, &object.key))
}

fn same_place(a: &Object, b: &Object) -> bool {
    a.bucket == b.bucket && a.key == b.key
}

fn place(object: &Object) -> String {
    format!("s3://{}/{}", object.bucket, object.key)
}

fn uploads_to_inputs(spec: &RunSpec, pending: &BTreeSet<(String, String)>) -> Vec<String> {
    pending
        .iter()
        .filter(|(bucket, key)| {
            spec.inputs.iter().any(|globs| globs.bucket == *bucket && globs.keys.iter().any(|glob| matches(glob, key)))
        })
        .map(|(bucket, key)| format!("s3://{bucket}/{key}"))
        .collect()
}

/// The newest run that succeeded under this key.
fn succeeded<'a>(ledger: &'a Ledger, key: &str) -> Option<&'a RunRecord> {
    ledger.runs.iter().rev().find(|run| run.key == key && run.state == RunState::Succeeded)
}

/// Whether a success still speaks for the outputs: the last run's does even if somebody changed them (that is a note);
/// an earlier one's only while they are what it wrote, since a later run may have begun to overwrite them. So may one have
/// that a ledger which was put back knows nothing of, and of some earlier ones the ledger has forgotten what they wrote.
fn stands(ledger: &Ledger, run: &RunRecord, outputs: &[Object]) -> bool {
    let last = ledger.put_back.is_none() && ledger.run().is_some_and(|last| std::ptr::eq(last, run));
    let same = |was: &Output| outputs.iter().any(|now| same_place(&was.object, now) && now.etag == was.object.etag);
    last || !run.outputs.is_empty() && run.outputs.iter().all(same)
}

/// Outputs that should be there and are not, as `s3://bucket/key` or glob.
fn missing_outputs(spec: &RunSpec, run: Option<&RunRecord>, outputs: &[Object]) -> Vec<String> {
    let mut missing = unmatched(&spec.outputs, |bucket, glob| has(outputs, bucket, glob));
    for was in run.map(|run| run.outputs.as_slice()).unwrap_or_default() {
        let gone = !outputs.iter().any(|now| same_place(&was.object, now));
        let at = place(&was.object);
        if gone && !missing.contains(&at) {
            missing.push(at);
        }
    }
    missing
}

fn done(run: &RunRecord) -> Done {
    Done {
        started_at: run.started_at,
        ended_at: run.ended_at,
        seconds: run.ended_at.map(|ended| ended.as_second() - run.started_at.as_second()),
        outputs: run.outputs.clone(),
    }
}

fn date(object: &Object) -> String {
    object.last_modified.map_or_else(|| "unknown date".to_owned(), |at| at.to_string())
}

fn changed_since(run: &RunRecord, outputs: &[Object]) -> Vec<String> {
    outputs
        .iter()
        .filter(|now| run.outputs.iter().any(|was| same_place(&was.object, now) && was.object.etag != now.etag))
        .map(|now| format!("{} was changed by somebody after the run, on {}", place(now), date(now)))
        .collect()
}

/// The failure of this very run under these very settings.
fn failed_alike(ledger: &Ledger, spec: &RunSpec, keys: &Keys) -> Option<Earlier> {
    if ledger.put_back.is_some() {
        return None;
    }
    let run = ledger.run().filter(|run| run.key == keys.run && run.settings == settings(spec))?;
    let RunState::Failed { step, verdict, explanation } = &run.state else { return None };
    // What passes is worth another try without being asked for one.
    if matches!(verdict, Verdict::NeverStarted { retryable: true, .. }) {
        return None;
    }
    let attempt = step.as_ref().and_then(|step| ledger.steps.get(step)).and_then(|record| record.attempts.last());
    Some(Earlier {
        step: step.clone(),
        verdict: verdict.clone(),
        explanation: explanation.clone(),
        exit_code: attempt.and_then(|attempt| attempt.exit_code),
        task_arn: attempt.and_then(|attempt| attempt.task_arn.clone()),
        ended_at: run.ended_at,
        instance: run.instance.clone(),
    })
}

fn reasons(
    spec: &RunSpec,
    observed: &Observed,
    keys: &Keys,
    ledger: Option<&Ledger>,
    missing: &[String],
) -> Vec<String> {
    let Some((ledger, run)) = ledger.and_then(|ledger| Some((ledger, ledger.run()?))) else {
        let unknown = |why| format!("what was run is not known, since its ledger cannot be used: {why}");
        return vec![observed.unusable.as_ref().map_or_else(|| "it was never run".to_owned(), unknown)];
    };
    let mut reasons = Vec::new();
    if let Some(at) = ledger.put_back {
        reasons.push(format!("the ledger was put back from a copy at {at:.0}: what was run since is not known"));
    }
    let lost = "its outputs are no longer what a run under this key wrote";
    if ledger.put_back.is_none() && run.key != keys.run && succeeded(ledger, &keys.run).is_some() {
        // That one counts, whatever was tried since.
        reasons.extend(missing.iter().map(|output| format!("output {output} is missing")));
        reasons.extend(reasons.is_empty().then(|| lost.to_owned()));
        return reasons;
    }
    if run.key != keys.run {
        reasons.extend(input_changes(run, &observed.inputs));
        reasons.extend(step_changes(run, spec));
        if reasons.is_empty() {
            reasons.push("the order of the steps changed".to_owned());
        }
    }
    match &run.state {
        RunState::Succeeded => {
            if succeeded(ledger, &keys.run).is_some() {
                reasons.extend(missing.iter().map(|output| format!("output {output} is missing")));
            }
        }
        RunState::Running => reasons.push("the last run was not finished".to_owned()),
        RunState::Failed { step, verdict, .. } => {
            reasons.push(match step {
                Some(step) => format!("step `{step}` {verdict} in the last run"),
                None => "the last run wrote not all of its outputs".to_owned(),
            });
            if run.key == keys.run && run.settings != settings(spec) {
                reasons.push("its settings changed since".to_owned());
            }
        }
        RunState::HostLost => reasons.push(format!("the last run lost its instance {}", run.instance)),
        RunState::InputsChanged => {
            reasons.push("the inputs of the last run were changed while it ran".to_owned());
        }
        RunState::Cancelled { by } => reasons.push(format!("the last run was cancelled by {by}")),
    }
    if reasons.is_empty() {
        reasons.push(lost.to_owned());
    }
    reasons
}

pub(super) fn input_changes(run: &RunRecord, now: &[Object]) -> Vec<String> {
    let mut out = Vec::new();
    for object in now {
        match run.inputs.iter().find(|was| same_place(was, object)) {
            None => out.push(format!("input {} is new", object.key)),
            Some(was) if was.etag != object.etag || was.size != object.size => {
                out.push(format!("input {} changed", object.key));
            }
            Some(_) => {}
        }
    }
    let gone = run.inputs.iter().filter(|was| !now.iter().any(|object| same_place(was, object)));
    out.extend(gone.map(|was| format!("input {} is no longer one", was.key)));
    out
}

fn step_changes(run: &RunRecord, spec: &RunSpec) -> Vec<String> {
    let mut out = Vec::new();
    for step in &spec.steps {
        match run.steps.iter().find(|was| was.name == step.name) {
            None => out.push(format!("step `{}` is new", step.name)),
            Some(was) => out.extend(
                changed_parts(&was.parts, step)
                    .into_iter()
                    .map(|part| format!("{part} of step `{}` changed", step.name)),
            ),
        }
    }
    let gone = run.steps.iter().filter(|was| !spec.steps.iter().any(|step| step.name == was.name));
    out.extend(gone.map(|was| format!("step `{}` was removed", was.name)));
    out
}

fn changed_parts(was: &BTreeMap<String, String>, step: &StepSpec) -> Vec<String> {
    let now = parts(&step.content);
    now.iter().filter(|(part, digest)| was.get(*part) != Some(*digest)).map(|(part, _)| part.clone()).collect()
}

/// The steps whose results do not count although their keys succeeded: those that wrote an output that is gone. Where
/// that cannot be told, the steps that nothing follows; and all of them, where doing that has not brought it back.
fn redone(spec: &RunSpec, ledger: Option<&Ledger>, keys: &Keys, missing: &[String]) -> BTreeSet<String> {
    let Some(ledger) = ledger else { return BTreeSet::new() };
    let all = || spec.steps.iter().map(|step| step.name.clone()).collect();
    let last = ledger.run().filter(|run| run.key == keys.run).or_else(|| succeeded(ledger, &keys.run));
    match last.map(|run| &run.state) {
        Some(RunState::Failed { step: None, .. }) => return all(),
        Some(RunState::Succeeded) if !missing.is_empty() => {}
        // An earlier success whose outputs were changed by a later run: the steps that wrote them run again.
        _ => return BTreeSet::new(),
    }
    let wrote: BTreeSet<String> = last
        .map(|run| run.outputs.as_slice())
        .unwrap_or_default()
        .iter()
        .filter(|output| missing.contains(&place(&output.object)) || missing.iter().any(|at| glob_of(at, output)))
        .filter_map(|output| output.written_by.clone())
        .filter(|name| spec.steps.iter().any(|step| step.name == *name))
        .collect();
    if !wrote.is_empty() {
        return wrote;
    }
    spec.steps
        .iter()
        .filter(|step| !spec.steps.iter().any(|other| other.follows.contains(&step.name)))
        .map(|step| step.name.clone())
        .collect()
}

fn glob_of(at: &str, output: &Output) -> bool {
    at.strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(bucket, glob)| bucket == output.object.bucket && matches(glob, &output.object.key))
}

fn step_plans(
    spec: &RunSpec,
    ledger: Option<&Ledger>,
    keys: &Keys,
    live_instance: Option<&str>,
    redone: &BTreeSet<String>,
) -> Vec<StepPlan> {
    let mut plans: Vec<StepPlan> = Vec::new();
    for step in &spec.steps {
        let key = &keys.steps[&step.name];
        let again = step.follows.iter().find(|name| plans.iter().any(|plan| plan.name == **name && !plan.kept));
        let attempts = ledger.and_then(|ledger| ledger.steps.get(&step.name)).map(|record| record.attempts.as_slice());
        let attempts = attempts.unwrap_or_default();
        let under_key = attempts.iter().rev().find(|attempt| attempt.key == *key && !attempt.void);
        let succeeded = attempts
            .iter()
            .rev()
            .find(|attempt| attempt.key == *key && attempt.verdict == Some(Verdict::Succeeded) && !attempt.void);
        let there =
            live_instance.is_some_and(|instance| ledger.is_some_and(|ledger| ledger.kept(&step.name, key, instance)));
        let kept = there && again.is_none() && !redone.contains(&step.name);
        let why = if kept {
            "it succeeded, and its result is on the instance".to_owned()
        } else if redone.contains(&step.name) {
            "an output is missing".to_owned()
        } else if let Some(last) = succeeded {
            match again {
                _ if Some(last.request.instance.as_str()) != live_instance => {
                    "its result is gone with the instance".to_owned()
                }
                Some(before) => format!("it follows `{before}`"),
                None => "its result was overwritten since".to_owned(),
            }
        } else if let Some(last) = under_key {
            match &last.verdict {
                None => "it was started, and how it ended is not known yet".to_owned(),
                Some(verdict) => format!("it {verdict}"),
            }
        } else if let Some(last) = attempts.last() {
            let changed = changed_parts(&last.parts, step);
            match (changed.is_empty(), again) {
                (false, _) => format!("its {} changed", changed.join(", ")),
                (true, Some(before)) => format!("it follows `{before}`"),
                (true, None) => "the inputs changed".to_owned(),
            }
        } else {
            "never run".to_owned()
        };
        plans.push(StepPlan { name: step.name.clone(), kept, changed: succeeded.is_none(), why });
    }
    plans
}
