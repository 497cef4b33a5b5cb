//! The machine under a run while tasks are on it: turns what EC2 and ECS say of it now and then into whether it is lost.
//!
//! An instance that hangs is `running` for EC2, and ECS shows its tasks as `RUNNING` for ever (containers-roadmap #2040):
//! only its container agent, which does not come back, tells of it.

use std::time::Duration;

use tokio::time::Instant;

use super::drive::{Driver, Ended, HOST_CHECK, Stage, host_lost};
use super::verdict::{Judgement, TaskEnd, Verdict};
use super::world::{Agent, World};
use super::{RunError, RunEvent};
use crate::report::span;

/// After how long an agent that is away is told. An agent makes its connection anew several times an hour, and is back
/// within seconds, at times minutes (ECS developer guide, "container instance state change events"; amazon-ecs-agent #618).
const UNUSUAL: Duration = Duration::from_secs(300);
/// After how long an instance whose agent is away is given up. An agent that works, and has a way to ECS, has tried to
/// come back every two minutes and has made its connection anew at least once by then (amazon-ecs-agent, `wsclient`). Half
/// an hour costs little beside the hours of work that are lost with the instance.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(1800);
/// How far apart two answers about the agent may be, for the first one to tell of the time between them.
const IN_SIGHT: Duration = Duration::from_secs(120);
/// How long EC2 may take to end an instance that hangs.
const ENDING: Duration = Duration::from_secs(900);

/// What is known of the machine.
pub(super) struct Host {
    checked: Instant,
    /// When it was last answered how its agent stands.
    seen: Instant,
    /// Since when its agent is away, and whether that was told.
    away: Option<(Instant, bool)>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self { checked: Instant::now(), seen: Instant::now(), away: None }
    }
}

impl<W: World> Driver<'_, W> {
    /// Looks, if it is time to, whether the machine is there and its agent connected; says why it is lost, where it is.
    pub(super) async fn check_host(&mut self) -> Result<Option<Judgement>, RunError> {
        if self.host.checked.elapsed() < HOST_CHECK {
            return Ok(None);
        }
        self.host.checked = Instant::now();
        if self.patience.ask(|| self.world.instance_gone(&self.instance)).await? {
            return Ok(Some(host_lost(&self.instance)));
        }
        let agent = self.patience.ask(|| self.world.agent(&self.cluster, &self.instance)).await?;
        let instance = || self.instance.clone();
        // Where we were out of AWS's reach ourselves, nobody has seen that it was away all the time.
        if self.host.seen.elapsed() > IN_SIGHT {
            self.host.away = None;
        }
        self.host.seen = Instant::now();
        if matches!(agent, Agent::Ready { .. } | Agent::Away { connected: true, .. }) {
            if let Some((since, true)) = self.host.away.take() {
                (self.patience.events)(RunEvent::AgentBack { instance: instance(), seconds: seconds(since) });
            }
            return Ok(None);
        }
        let (since, told) = *self.host.away.get_or_insert((Instant::now(), false));
        if since.elapsed() >= GIVEN_UP {
            return self.end_host(since).await.map(Some);
        }
        if since.elapsed() >= UNUSUAL && !told {
            self.host.away = Some((since, true));
            let left = i64::try_from((GIVEN_UP - since.elapsed()).as_secs()).unwrap_or(i64::MAX);
            let (instance, seconds) = (instance(), seconds(since));
            (self.patience.events)(RunEvent::AgentAway { instance, seconds, given_up_in_seconds: left });
        }
        Ok(None)
    }

    /// The same while nothing runs and tasks wait to be placed: they are lost with it.
    pub(super) async fn look_at_host_alone(&mut self) -> Result<Vec<Ended>, RunError> {
        let placing = |(name, stage): (&String, &Stage)| match stage {
            Stage::Placing { n, .. } => Some((name.clone(), *n)),
            _ => None,
        };
        let placing: Vec<(String, u32)> = self.stages.iter().filter_map(placing).collect();
        if placing.is_empty() {
            return Ok(Vec::new());
        }
        let Some(judgement) = self.check_host().await? else { return Ok(Vec::new()) };
        let lost = |(step, n)| Ended { step, n, end: TaskEnd::default(), judgement: judgement.clone(), again: None };
        Ok(placing.into_iter().map(lost).collect())
    }

    /// Ends the instance whose agent has been away since then, and waits until it has ended: its containers may write until
    /// then, and the run goes on elsewhere.
    async fn end_host(&self, since: Instant) -> Result<Judgement, RunError> {
        let instance = &self.instance;
        let why = format!(
            "the container agent of {instance} had not been connected for {}, so the instance was taken for hung and ended",
            span(seconds(since))
        );
        self.book.hold().await?;
        let mut wait = self.patience.wait(format!("{instance}, which hangs, to be terminated"), ENDING);
        loop {
            let (stack, region) = (&self.spec.stack, &self.spec.region);
            let end = || self.world.end_instance(&self.cluster, instance, stack, region);
            if self.patience.ask_while(|| self.book.hold(), end).await? {
                return Ok(Judgement { verdict: Verdict::HostLost, explanation: why, ..host_lost(instance) });
            }
            if wait.is_over() {
                return Err(RunError::NotEnded { instance: instance.clone(), seconds: ENDING.as_secs() });
            }
            wait.pause(Duration::from_secs(5)).await?;
        }
    }
}

fn seconds(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX)
}
