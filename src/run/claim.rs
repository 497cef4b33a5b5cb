//! An instance's folders belong to one run: turns claims and the ledger into whether a run may begin, or go on, among them.
//!
//! What a step reads is what its key says. A pulling program may skip what is there already (`aws s3 sync` skips a file of
//! equal size), so a run that begins from its first step must find nothing. Emptied folders, or a folder a run, would need
//! help of the machine's image that nobody confirms: RunTask overrides neither mounts nor the entry point. A fresh instance
//! holds under every pulling program, every mount and every kill. So the first run on an instance claims it, by an object
//! beside the ledgers that S3 makes for one of several writers only; who finds another claim, or files of an earlier
//! beginning, needs a fresh instance.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::drive::Driver;
use super::due::{StepPlan, holder};
use super::key::Keys;
use super::ledger::{Attempt, Ledger};
use super::observe::Kept;
use super::spec::RunSpec;
use super::strays::TaggedTask;
use super::verdict::Verdict;
use super::world::{Agent, Life, Live, World};
use super::{Holder, Outcome, RunError, RunEvent};
use crate::aws::Aws;
use crate::aws::absence::SEEN;

/// How often EC2 is asked for an instance that it does not tell of yet.
const LOOK: Duration = Duration::from_secs(2);
/// How often a run that waits for its turn looks whether the other one has ended.
const TURN: Duration = Duration::from_secs(10);

/// Whose files an instance's folders hold: the object `.seqstack/REGION/STACK/instances/INSTANCE.json`, written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The sample.
    pub sample: String,
    /// A random text, which the sample's ledger has too: after that ledger was lost the claim is nobody's.
    pub token: String,
}

/// The claim that a sample's ledger knows to be its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The instance's id.
    pub instance: String,
    /// The claim's token.
    pub token: String,
}

/// Whose an instance's folders are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody's.
    Free,
    /// This sample's run's.
    Ours,
    /// Another sample's.
    Others(String),
    /// Not this run's, for a reason that fits after "since".
    Lost(String),
}

/// `tagged`: the instance's own tag says that a run has claimed it. It tells where a claim is looked for in vain: in
/// another bucket than it was made in, or after somebody has deleted it.
fn standing(claim: Option<&Claim>, tagged: bool, ledger: &Ledger, sample: &str, instance: &str) -> Standing {
    let own = ledger.claimed.as_ref().filter(|own| own.instance == instance);
    match claim {
        Some(claim) if own.is_some_and(|own| own.token == claim.token) && ledger.put_back.is_none() => Standing::Ours,
        Some(claim) if claim.sample != sample => Standing::Others(claim.sample.clone()),
        Some(_) => Standing::Lost("the ledger does not know what this sample has left on it".to_owned()),
        None if attempts_on(ledger, instance).next().is_some() => {
            Standing::Lost("tasks have run on it that no claim tells of".to_owned())
        }
        // Unless this very run was about to claim it, and was cut short.
        None if tagged && own.is_none() => Standing::Lost("a run has claimed it, and its claim is gone".to_owned()),
        None => Standing::Free,
    }
}

/// The attempts that may have left files on an instance.
fn attempts_on<'l>(ledger: &'l Ledger, instance: &'l str) -> impl Iterator<Item = (&'l str, &'l Attempt)> {
    let all =
        ledger.steps.iter().flat_map(|(name, record)| record.attempts.iter().map(move |one| (name.as_str(), one)));
    all.filter(move |(_, attempt)| {
        attempt.request.instance == instance && !matches!(attempt.verdict, Some(Verdict::NeverStarted { .. }))
    })
}

/// Why this run cannot go on among the files on its own instance, where it cannot: one of its first steps has to be
/// started, and something has run there. A first step whose result is kept, or whose task goes on, is no obstacle.
fn residue(spec: &RunSpec, keys: &Keys, plans: &[StepPlan], ledger: &Ledger, instance: &str) -> Option<String> {
    let stands = |name: &str| {
        let last = ledger.last_attempt(name).filter(|last| last.request.instance == instance);
        let goes_on = last.is_some_and(|last| last.verdict.is_none() && keys.steps.get(name) == Some(&last.key));
        goes_on || plans.iter().any(|plan| plan.name == name && plan.kept)
    };
    let first = |name: &str| spec.steps.iter().any(|step| step.name == name && step.follows.is_empty());
    if spec.steps.iter().filter(|step| step.follows.is_empty()).all(|step| stands(&step.name)) {
        return None;
    }
    let left = attempts_on(ledger, instance).filter(|(name, attempt)| {
        let last = ledger.last_attempt(name).is_some_and(|last| last.n == attempt.n);
        !(last && first(name) && stands(name))
    });
    let place = |name: &str| spec.steps.iter().position(|step| step.name == name).unwrap_or(usize::MAX);
    let name = left.map(|(name, _)| name).min_by_key(|name| place(name))?;
    Some(format!("step `{name}` has run on {instance} before"))
}

/// What a plan has to know of the instance that is there for a run that is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The run begins there, or goes on.
    Good,
    /// A fresh instance is needed, for this reason: a sentence without its full stop.
    Used(String),
    /// Another sample's run has the instance, and is being driven: this one waits for its turn.
    Waits {
        /// The other sample.
        sample: String,
        /// Who drives it.
        holder: Box<Holder>,
    },
}

/// Says whether a run may use that instance. `steps` is what is to become of each step; none where that is known only after
/// an upload, and then the first steps run.
///
/// # Errors
/// When S3 cannot be asked, or the other sample's ledger cannot be read.
pub async fn place(
    aws: &Aws,
    spec: &RunSpec,
    ledger: Option<&Ledger>,
    keys: &Keys,
    steps: &[StepPlan],
    instance: &str,
) -> Result<Place, RunError> {
    let live = Live { aws, bucket: &spec.ledger_bucket, key: &spec.ledger_key };
    let empty = Ledger::default();
    let ledger = ledger.unwrap_or(&empty);
    let (claim, life) = tokio::try_join!(live.read_claim(instance), live.life(instance))?;
    let seen = (claim.as_ref(), life.is_some_and(|life| life.claimed));
    place_in(&live, seen, spec, ledger, keys, steps, instance).await
}

async fn place_in<W: World>(
    world: &W,
    (claim, tagged): (Option<&Claim>, bool),
    spec: &RunSpec,
    ledger: &Ledger,
    keys: &Keys,
    steps: &[StepPlan],
    instance: &str,
) -> Result<Place, RunError> {
    Ok(match standing(claim, tagged, ledger, &spec.sample, instance) {
        Standing::Free => Place::Good,
        Standing::Ours => residue(spec, keys, steps, ledger, instance).map_or(Place::Good, Place::Used),
        Standing::Lost(why) => Place::Used(why),
        Standing::Others(sample) => match driven(world, spec, &sample).await? {
            Some(holder) => Place::Waits { sample, holder: Box::new(holder) },
            None => Place::Used(format!("sample {sample} has run on {instance}")),
        },
    })
}

/// Who drives the run of another sample of the stack, if anybody does.
async fn driven<W: World>(world: &W, spec: &RunSpec, sample: &str) -> Result<Option<Holder>, RunError> {
    let key = super::spec::ledger_key(&spec.region, &spec.stack, sample);
    let at = format!("s3://{}/{key}", spec.ledger_bucket);
    let kept = match Kept::of(world.read_ledger_at(&key).await?, &at) {
        Ok(kept) => kept,
        // Whoever drives it sets that one aside first.
        Err(source) if source.is_replaced() => None,
        Err(source) => return Err(RunError::Ledger { at, source }),
    };
    Ok(kept.as_ref().and_then(holder))
}

impl<W: World> Driver<'_, W> {
    /// Claims the instance's folders for a run that begins, waits for its turn where another sample's run has them, and
    /// gives an outcome where a fresh instance is needed.
    pub(super) async fn settle_in(&mut self, tasks: &[TaggedTask]) -> Result<Option<Outcome>, RunError> {
        let mut told = false;
        loop {
            let claim = self.patience.ask(|| self.world.read_claim(&self.instance)).await?;
            let life = self.seen_life().await?;
            let ledger = self.book.ledger().await;
            let seen = (claim.as_ref(), life.claimed);
            let free = standing(seen.0, seen.1, &ledger, &self.spec.sample, &self.instance) == Standing::Free;
            let (world, spec, keys, plans) = (self.world, self.spec, &self.keys, &self.plans);
            match place_in(world, seen, spec, &ledger, keys, plans, &self.instance).await? {
                Place::Good if free => {
                    let claimed = Claimed { instance: self.instance.clone(), token: self.fresh() };
                    let claim = Claim { sample: self.spec.sample.clone(), token: claimed.token.clone() };
                    self.book.update(|ledger, _| ledger.claimed = Some(claimed)).await?;
                    if life.made_by_a_stack && !life.claimed {
                        self.patience.ask(|| self.world.tag_claimed(&self.instance)).await?;
                    }
                    if self.patience.ask(|| self.world.claim(&self.instance, &claim)).await? {
                        return Ok(None);
                    }
                    // Another one's, or our own whose answer was lost: the claim tells.
                }
                Place::Good => return self.unknown_to_the_ledger(&ledger, tasks).await,
                Place::Used(because) => return self.used(because).await.map(Some),
                Place::Waits { sample, holder } => {
                    if !told {
                        told = true;
                        (self.patience.events)(RunEvent::WaitingForTurn {
                            instance: self.instance.clone(),
                            sample,
                            holder: holder.who,
                            since: holder.since,
                        });
                    }
                    self.patience.sleep(TURN).await?;
                }
            }
        }
    }

    /// The instance as EC2 tells of it: one that was launched a moment ago may not be told of yet.
    async fn seen_life(&self) -> Result<Life, RunError> {
        let mut wait = self.patience.wait(format!("EC2 to tell of {}", self.instance), SEEN.within);
        loop {
            match self.patience.ask(|| self.world.life(&self.instance)).await? {
                Some(life) => return Ok(life),
                // One that is gone is found out by whoever waits for its agent.
                None if wait.is_over() => return Ok(Life::default()),
                None => wait.pause(LOOK).await?,
            }
        }
    }

    /// A claimed instance that only now gets its first attempt, and on which a task of this sample has run all the same.
    async fn unknown_to_the_ledger(&self, ledger: &Ledger, tasks: &[TaggedTask]) -> Result<Option<Outcome>, RunError> {
        let attempts = ledger.steps.values().flat_map(|record| &record.attempts);
        let known: BTreeSet<&str> = attempts.map(|attempt| attempt.request.started_by.as_str()).collect();
        let mut unknown =
            tasks.iter().filter(|task| task.sample == self.spec.sample && !known.contains(task.started_by.as_str()));
        if attempts_on(ledger, &self.instance).next().is_some() || unknown.clone().next().is_none() {
            return Ok(None);
        }
        let Agent::Ready { arn, .. } = self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await?
        else {
            return Ok(None);
        };
        match unknown.find(|task| task.on == arn) {
            Some(task) => {
                let because = format!("{} has run on {}, and the ledger does not know of it", task.arn, self.instance);
                self.used(because).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Ends a drive that needs a fresh instance. Nothing is started any more; a run that was begun goes on there.
    pub(super) async fn used(&self, because: String) -> Result<Outcome, RunError> {
        self.book.release(|_, _| ()).await?;
        Ok(Outcome::InstanceUsed { instance: self.instance.clone(), because })
    }

    /// Why these steps cannot be started here, where one of them is a first step that has run on the instance before.
    pub(super) async fn begins_again(&self, ready: &[String]) -> Option<String> {
        if ready.is_empty() {
            return None;
        }
        let ledger = self.book.ledger().await;
        let again = |name: &&String| {
            let first = self.spec.steps.iter().any(|step| step.name == **name && step.follows.is_empty());
            first && attempts_on(&ledger, &self.instance).any(|(step, _)| step == name.as_str())
        };
        let name = ready.iter().find(again)?;
        Some(format!("step `{name}` is tried again, and its last attempt may have left files on {}", self.instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(sample: &str, token: &str) -> Claim {
        Claim { sample: sample.to_owned(), token: token.to_owned() }
    }

    #[test]
    fn an_instance_is_a_runs_own_only_by_the_token_of_its_claim() {
        let mut ledger = Ledger::default();
        let of = |claim: Option<&Claim>, ledger: &Ledger| standing(claim, false, ledger, "s1", "i-1");
        assert_eq!(of(None, &ledger), Standing::Free);
        assert_eq!(of(Some(&claim("s2", "b")), &ledger), Standing::Others("s2".to_owned()));
        // The ledger was lost.
        assert!(matches!(of(Some(&claim("s1", "a")), &ledger), Standing::Lost(_)));
        ledger.claimed = Some(Claimed { instance: "i-1".to_owned(), token: "a".to_owned() });
        assert_eq!(of(Some(&claim("s1", "a")), &ledger), Standing::Ours);
        assert!(matches!(of(Some(&claim("s1", "b")), &ledger), Standing::Lost(_)));
        // The claim is gone, or in another bucket: the instance's own tag tells. Not of a claim that was just begun.
        assert!(matches!(standing(None, true, &Ledger::default(), "s1", "i-1"), Standing::Lost(_)));
        assert_eq!(standing(None, true, &ledger, "s1", "i-1"), Standing::Free);
        // An earlier ledger that was put back knows an old state of the folders.
        ledger.put_back = Some(jiff::Timestamp::UNIX_EPOCH);
        assert!(matches!(of(Some(&claim("s1", "a")), &ledger), Standing::Lost(_)));
    }
}
