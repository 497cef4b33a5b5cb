//! What a long run may meet, told before it starts: credentials that end, a machine that ends itself, a terminal that is
//! closed. And what is still there once it was interrupted.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::address::{Address, Link};
use crate::desired::Desired;
use crate::facts::Facts;
use crate::kind::StackInfo;
use crate::kinds::instance::{Running, deadline, running};
use crate::live::Live;
use crate::report::cost::hours;
use crate::report::span;
use crate::run::strays::{tasks_of, unrecorded};
use crate::run::{Ledger, Observed, RunSpec, StepPlan, Verdict};
use crate::stack::values::Price;

use super::session::Session;
use super::{Problem, cost};

mod buckets;

/// The run's instance, as far as its end is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its id, where it is there already.
    pub id: Option<String>,
    /// When it was launched, where it was.
    pub launched: Option<Timestamp>,
    /// Hours from its launch to its end; none if it never ends itself.
    pub max_hours: Option<i64>,
    /// Whether it exists only for the run.
    pub for_the_run: bool,
}

impl Host {
    /// When it ends itself, where it is there.
    fn ends(&self) -> Option<Timestamp> {
        Some(deadline(self.launched?, self.max_hours?))
    }

    /// When it ends itself, in words.
    fn end(&self) -> String {
        match (self.ends(), self.max_hours) {
            (Some(at), _) => format!("ends itself at {at:.0}"),
            (None, Some(hours)) => format!("ends itself {hours} h after its launch"),
            (None, None) => "never ends itself (it has no max_hours)".to_owned(),
        }
    }
}

/// The run's instance as it will be.
pub(super) fn host(info: &StackInfo, spec: &RunSpec, with_run: &Desired, live: &Live) -> Host {
    let found = live.found.get(&spec.instance_at).and_then(|found| found.first());
    let state = with_run.0.get(&spec.instance_at).or(found.map(|found| &found.state));
    let field = |name: &str| found.and_then(|found| found.state.get(name)?.as_str().map(str::to_owned));
    Host {
        id: field("id"),
        launched: field("launched").and_then(|at| at.parse().ok()),
        max_hours: state.and_then(|state| state.get("max_hours")?.as_i64()),
        for_the_run: info.per_run.contains(&Address { sample: None, ..spec.instance_at.clone() }),
    }
}

/// What is said of a ledger that is none that can be used, and of tasks that no ledger knows of.
///
/// # Errors
/// When the tasks cannot be asked for.
pub(super) async fn ledger_lines(
    session: &Session,
    spec: &RunSpec,
    observed: &Observed,
    live: &Live,
) -> Result<Vec<String>, Problem> {
    let mut lines = Vec::new();
    lines.extend(observed.unusable.as_ref().map(|why| {
        format!(
            "the ledger s3://{}/{} cannot be used: {why}; apply keeps it beside its place as ledger.set-aside-….json, begins a new one, and what is not known to have been run runs again",
            spec.ledger_bucket, spec.ledger_key
        )
    }));
    let (elsewhere, encryptions) = (session.aws.buckets.elsewhere(), &session.stack.info.encryptions);
    lines.extend(buckets::notes(spec, observed, &elsewhere, encryptions));
    // Tasks are pinned to the run's own instance: without one there are none.
    let cluster = match &spec.cluster {
        Link::Theirs { id, .. } => Some(id),
        Link::Ours { to, part } => live
            .found
            .get(to)
            .and_then(|found| found.first())
            .map(|found| &found.ids)
            .or(live.existing.get(to))
            .and_then(|ids| ids.get(part)),
    };
    if let Some(cluster) = cluster.filter(|_| observed.ledger.is_none() && live.found.contains_key(&spec.instance_at)) {
        let tasks = tasks_of(&session.aws, cluster, &spec.stack, &spec.region).await.map_err(|error| {
            Problem::failed(format!("which tasks are running is not known, so there is no plan: {error}"))
        })?;
        lines.extend(unrecorded(tasks, &spec.sample, None).into_iter().map(|task| {
            format!(
                "the task {} (step {}) is running, and no ledger knows of it: apply stops it first",
                task.arn, task.step
            )
        }));
    }
    Ok(lines)
}

/// What threatens a run that is due.
pub fn warnings(
    facts: &Facts,
    host: &Host,
    steps: &[StepPlan],
    spec: &RunSpec,
    ledger: Option<&Ledger>,
) -> Vec<String> {
    let mut out = Vec::new();
    let latest = host.ends().or_else(|| Some(deadline(facts.now, host.max_hours?)));
    if let Some(end) = facts.credentials_end
        && latest.is_none_or(|latest| end < latest)
    {
        out.push(format!(
            "these credentials end at {end:.0}, and the run's instance {}: where the run takes longer, its task goes on without them, and apply waits until you have signed in again, and goes on",
            host.end()
        ));
    }
    if let (Some(id), Some(end), Some(ledger)) = (&host.id, host.ends(), ledger) {
        let left = end.as_second() - facts.now.as_second();
        let needed = needed(steps, spec, ledger);
        if left < needed {
            out.push(format!(
                "{id} ends itself at {end:.0}, in {}, and the steps that are left took {} before; a larger `max_hours` moves its end while it runs",
                span(left.max(0)),
                span(needed)
            ));
        }
    }
    out
}

/// How long the steps that are left took before, seconds: the longest way through them. A step that never ran adds
/// nothing, so it is the least that they need.
fn needed(steps: &[StepPlan], spec: &RunSpec, ledger: &Ledger) -> i64 {
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    for step in &spec.steps {
        let left = steps.iter().any(|plan| plan.name == step.name && !plan.kept);
        let attempts = ledger.steps.get(&step.name).map(|record| record.attempts.as_slice()).unwrap_or_default();
        let succeeded = attempts.iter().rev().find(|attempt| attempt.verdict == Some(Verdict::Succeeded));
        let took = match succeeded {
            Some(attempt) => attempt.seconds(),
            None => attempts.iter().filter_map(|attempt| attempt.seconds()).max(),
        };
        let begin = step.follows.iter().filter_map(|name| ends.get(name.as_str())).max().copied().unwrap_or(0);
        ends.insert(&step.name, begin + took.filter(|_| left).unwrap_or(0));
    }
    ends.into_values().max().unwrap_or(0)
}

/// What happens without us, told before a run is begun.
pub fn opening(host: &Host) -> String {
    format!(
        "if this terminal is closed, or this machine sleeps, the task that runs goes on, and nothing is started after it; apply again joins it and goes on. Do so within an hour of its end: ECS forgets the result of a task that stopped longer ago, and its step then runs again\n\
         {}; whatever happens here, it {}, and it is billed until it is gone",
        if host.for_the_run {
            "the run's instance goes when the run has succeeded"
        } else {
            "the instance stays after the run"
        },
        host.end()
    )
}

/// What is still there on AWS, in instance-hours, and what can be done with it. That it cannot be read is said too.
pub async fn left(session: &Session) -> String {
    let hint = "apply again goes on from here; destroy takes it all down (with --stop-run, where a run is going on)";
    match running(&session.aws, &session.stack.info).await {
        Err(error) => format!("what is still running on AWS could not be read ({error})\nhint: {hint}"),
        Ok(there) if there.is_empty() => format!("no instance of this stack is running on AWS\nhint: {hint}"),
        Ok(there) => {
            let lines: Vec<String> = there.iter().map(|one| billed(session, one)).collect();
            format!("still running on AWS, and billed:\n{}\nhint: {hint}", lines.join("\n"))
        }
    }
}

/// An instance that is billed, in a line: since when, what it came to so far, and until when.
pub fn billed(session: &Session, one: &Running) -> String {
    line(one, cost::price(&session.stack, Some(&one.at), &one.r#type), session.aws.clock.now())
}

fn line(one: &Running, price: Option<Price>, now: Timestamp) -> String {
    let seconds = one.launched.map(|at| now.duration_since(at).max(SignedDuration::ZERO).as_secs());
    let since = one.launched.map(|at| format!(" since {at:.0}")).unwrap_or_default();
    let hours = seconds.map(|seconds| format!(", so far {}", hours(seconds, price))).unwrap_or_default();
    let ends = one.ends_itself_at.as_ref().map_or("never ends itself".to_owned(), |at| format!("ends itself at {at}"));
    format!("  {} {} ({}){since}{hours}; {ends}", one.id, one.r#type, one.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    #[test]
    fn an_instance_is_told_with_its_hours_and_its_end() {
        let one = Running {
            id: "i-1".to_owned(),
            r#type: "r6i.2xlarge".to_owned(),
            at: "instance.worker[S1]".to_owned(),
            launched: Some(at(0)),
            ends_itself_at: Some(at(12).to_string()),
        };
        assert_eq!(
            line(&one, None, Timestamp::from_second(at(1).as_second() + 1800).unwrap()),
            "  i-1 r6i.2xlarge (instance.worker[S1]) since 2023-11-14T22:13:20Z, so far 1.50 instance-hours; ends itself at 2023-11-15T10:13:20Z"
        );
    }
}
