//! What a plan would lose, with its worth: the files on an instance that goes before any run of it was done; and what its
//! uploads would overwrite.

use crate::address::Address;
use crate::aws::Class;
use crate::command::session::Session;
use crate::command::{Problem, seat};
use crate::kinds::upload::is_others;
use crate::plan::{Phase, Plan, StepId, Verb};
use crate::report::plan::view::{Loss, Overwrite};
use crate::run::due::holder;
use crate::run::ledger::RunState;
use crate::run::observe::written;
use crate::run::spec::Globs;
use crate::run::{Holder, Ledger, RunError, list_ledgers, read_ledger};

/// What ends with the instances that a plan ends, but for those of its own run, which then is over.
#[derive(Default)]
pub struct Ending {
    /// The files of runs that have not succeeded, whichever sample's.
    pub losses: Vec<Loss>,
    /// Who drives a run on one of them: the instance's address, the sample, and who it is.
    pub driven: Vec<(Address, String, Holder)>,
}

impl Ending {
    /// Reads every ledger of the stack, where a plan ends any instance. The files of the sample that begins `anew` with this
    /// plan are no loss.
    ///
    /// # Errors
    /// When a ledger could not be read.
    pub async fn of(session: &Session, plan: &Plan, anew: Option<&str>) -> Result<Self, Problem> {
        let info = &session.stack.info;
        let failed =
            |error: &dyn std::error::Error| Problem::failed(format!("what would be lost is not known: {error}"));
        let after_its_run = |id: &StepId| id.phase == Phase::Settle && plan.run.is_some();
        let ends = |id: &StepId| id.at.kind == "instance" && id.verb == Verb::Delete && !after_its_run(id);
        let ended: Vec<(&Address, &str)> =
            plan.steps.iter().filter(|(id, _)| ends(id)).map(|(id, step)| (&id.at, step.subject.as_str())).collect();
        let mut out = Self::default();
        for bucket in info.buckets.values().filter(|_| !ended.is_empty()) {
            let ledgers = match list_ledgers(&session.aws, bucket, &info.name, &info.region).await {
                Err(error) if error.class == Class::NotFound => continue,
                answer => answer.map_err(|error| failed(&error))?,
            };
            for (sample, key) in ledgers {
                let begins_anew = anew == Some(sample.as_str());
                let kept = match read_ledger(&session.aws, bucket, &key).await {
                    Err(RunError::Ledger { source, .. }) if source.is_replaced() && begins_anew => continue,
                    Err(RunError::Ledger { source, .. }) if source.is_replaced() => {
                        // Which instance was its own, it does not tell either.
                        let address = ended.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>().join(" or ");
                        let unknown = Some(source.to_string());
                        out.losses.push(Loss {
                            address,
                            sample,
                            steps: Vec::new(),
                            seconds: 0,
                            running: Vec::new(),
                            unknown,
                        });
                        continue;
                    }
                    answer => answer.map_err(|error| failed(&error))?,
                };
                let Some(kept) = kept.map(|kept| kept.bury(|who| seat::is_dead(&session.state_dir, &sample, who)))
                else {
                    continue;
                };
                let on = |(at, id): &(&Address, &str)| intermediates(&kept.ledger, &sample, &at.to_string(), id);
                out.losses.extend(ended.iter().find_map(on).filter(|_| !begins_anew));
                let run = kept.ledger.run().filter(|run| run.state == RunState::Running);
                let its = ended.iter().find(|(_, id)| run.is_some_and(|run| run.instance == *id));
                out.driven.extend(its.zip(holder(&kept)).map(|((at, _), who)| ((*at).clone(), sample.clone(), who)));
            }
        }
        Ok(out)
    }
}

/// What is on an instance of a run that has not succeeded: the results of the steps that did, and tasks that have not ended.
fn intermediates(ledger: &Ledger, sample: &str, address: &str, instance: &str) -> Option<Loss> {
    let run = ledger.run().filter(|run| run.state != RunState::Succeeded)?;
    let kept: Vec<_> = run
        .steps
        .iter()
        .filter(|step| ledger.kept(&step.name, &step.key, instance))
        .filter_map(|step| Some((step.name.clone(), ledger.last_attempt(&step.name)?.seconds().unwrap_or(0))))
        .collect();
    let open = ledger.open().filter(|_| run.instance == instance);
    let running: Vec<_> = open.map(|(name, _)| name.to_owned()).collect();
    (!kept.is_empty() || !running.is_empty()).then(|| Loss {
        address: address.to_owned(),
        sample: sample.to_owned(),
        seconds: kept.iter().map(|(_, seconds)| seconds).sum(),
        steps: kept.into_iter().map(|(name, _)| name).collect(),
        running,
        unknown: None,
    })
}

/// What the uploads of a plan would overwrite that seqstack did not put there, as it is now. Asks only where there is any.
///
/// # Errors
/// When S3 cannot be asked.
pub(super) async fn replaced(session: &Session, plan: &Plan) -> Result<Vec<Overwrite>, Problem> {
    let mut out = Vec::new();
    for (id, step) in plan.phase(Phase::Converge).filter(|(id, _)| id.at.kind == "upload") {
        let others = step.changes.iter().filter(|change| is_others(&change.from));
        let keys: Vec<String> =
            others.filter_map(|change| change.path.strip_prefix("objects.")).map(str::to_owned).collect();
        let Some(bucket) = step.state.get("bucket").and_then(|bucket| bucket.as_str()).filter(|_| !keys.is_empty())
        else {
            continue;
        };
        let there = written(&session.aws, &[Globs { bucket: bucket.to_owned(), keys: keys.clone() }]).await;
        let there =
            there.map_err(|error| Problem::failed(format!("what would be overwritten is not known: {error}")))?;
        let these = there.into_iter().filter(|object| keys.contains(&object.key));
        out.extend(these.map(|object| Overwrite::of(object, false, &id.at)));
    }
    Ok(out)
}
