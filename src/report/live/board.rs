//! Events to what is going on now: what is being made, and where each pipeline step stands. Says which events are worth
//! a line that stays.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::address::Address;
use crate::event::Event;
use crate::plan::{Phase, Plan, StepId, Verb};
use crate::report::{progress, span};
use crate::run::{RunEvent, Verdict};

/// What is to be done, as far as it is known before.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// How many steps there are before the run.
    pub converge: usize,
    /// The run's sample and steps, where it is due.
    pub run: Option<(String, Vec<String>)>,
    /// How many steps there are after the run.
    pub settle: usize,
}

impl Outline {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        let steps = |run: &crate::plan::Run| run.spec.steps.iter().map(|step| step.name.clone()).collect();
        Self {
            converge: plan.phase(Phase::Converge).count(),
            run: plan.run.as_ref().map(|run| (run.spec.sample.clone(), steps(run))),
            settle: plan.phase(Phase::Settle).count(),
        }
    }
}

/// What is going on.
pub(super) struct Board {
    verbose: bool,
    pub(super) converge: Works,
    pub(super) run: Option<Run>,
    pub(super) settle: Works,
}

/// The infrastructure before the run, or after it.
pub(super) struct Works {
    title: &'static str,
    pub(super) total: usize,
    pub(super) begun: Option<Timestamp>,
    /// What is being done: since when, and what it waits for.
    pub(super) doing: BTreeMap<StepId, (Timestamp, Option<String>)>,
    done: BTreeMap<Verb, usize>,
    failed: usize,
    skipped: usize,
}

/// The run.
pub(super) struct Run {
    pub(super) sample: String,
    pub(super) begun: Option<Timestamp>,
    /// The instance, and when it ends itself.
    pub(super) instance: Option<(String, Option<Timestamp>)>,
    /// What the whole run waits for.
    pub(super) waits: Option<String>,
    pub(super) steps: Vec<Step>,
    over: bool,
}

/// A pipeline step.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) state: State,
}

/// Where a pipeline step stands.
pub(super) enum State {
    /// For its turn; or for another try, with what is said of it.
    Waiting(Option<String>),
    Kept,
    Starting {
        since: Timestamp,
        why: Option<String>,
    },
    Running {
        since: Timestamp,
        attempt: u32,
        log: Log,
    },
    Ended {
        verdict: Verdict,
        seconds: Option<i64>,
    },
}

/// What is known of a running step's log.
pub(super) enum Log {
    NotAsked,
    Silent,
    Last(Timestamp),
    Unread(String),
}

impl Board {
    pub(super) fn new(outline: Outline, verbose: bool, now: Timestamp) -> Self {
        let step = |name: String| Step { name, state: State::Waiting(None) };
        let run = outline.run.map(|(sample, steps)| Run {
            sample,
            begun: None,
            instance: None,
            waits: None,
            steps: steps.into_iter().map(step).collect(),
            over: false,
        });
        let mut converge = Works::new("infrastructure", outline.converge);
        converge.begun = Some(now);
        Self { verbose, converge, run, settle: Works::new("after the run", outline.settle) }
    }

    /// Takes an event in, and gives the lines that stay.
    pub(super) fn read(&mut self, event: &Event, now: Timestamp) -> Vec<String> {
        let mut kept: Vec<String> =
            progress::line(event, self.verbose).filter(|_| self.keeps(event)).into_iter().collect();
        match event {
            Event::Started { step } if step.verb == Verb::Run => {
                if let Some(run) = &mut self.run {
                    run.begun = Some(now);
                }
            }
            Event::Done { step } | Event::Failed { step, .. } | Event::Skipped { step, .. }
                if step.verb == Verb::Run =>
            {
                if let Some(run) = &mut self.run {
                    run.over = true;
                }
            }
            Event::Started { step } => {
                let works = self.works(step.phase);
                works.begun.get_or_insert(now);
                works.doing.insert(step.clone(), (now, None));
            }
            Event::Done { step } => kept.extend(self.works(step.phase).ended(step, now, |works| {
                *works.done.entry(step.verb).or_default() += 1;
            })),
            Event::Failed { step, .. } => {
                kept.extend(self.works(step.phase).ended(step, now, |works| works.failed += 1));
            }
            Event::Skipped { step, .. } => {
                kept.extend(self.works(step.phase).ended(step, now, |works| works.skipped += 1));
            }
            Event::Waiting { at, text } => self.wait(at, text),
            Event::Calling { .. } | Event::RunAgain { .. } => {}
            Event::Run(event) => {
                if let Some(run) = &mut self.run {
                    run.read(event, now);
                }
            }
        }
        kept
    }

    /// Whether an event's line stays. What the live part shows, and tells when it is done, does not: but for the calls that
    /// somebody asked for.
    fn keeps(&self, event: &Event) -> bool {
        match event {
            Event::Started { .. } | Event::Done { .. } => self.verbose,
            Event::Run(RunEvent::StepStarted { .. } | RunEvent::StepKept { .. }) => self.verbose,
            _ => true,
        }
    }

    fn works(&mut self, phase: Phase) -> &mut Works {
        if phase == Phase::Settle { &mut self.settle } else { &mut self.converge }
    }

    fn wait(&mut self, at: &Address, text: &str) {
        let doing = self.converge.doing.iter_mut().chain(&mut self.settle.doing);
        for (_, (_, waits)) in doing.filter(|(step, _)| step.at == *at) {
            *waits = Some(text.to_owned());
        }
    }

    /// What an early end leaves to say.
    pub(super) fn left(&self, now: Timestamp) -> Vec<String> {
        [&self.converge, &self.settle]
            .into_iter()
            .filter(|works| works.is_open())
            .filter_map(|works| works.sum(now))
            .collect()
    }
}

impl Works {
    fn new(title: &'static str, total: usize) -> Self {
        let (doing, done) = (BTreeMap::new(), BTreeMap::new());
        Self { title, total, begun: None, doing, done, failed: 0, skipped: 0 }
    }

    pub(super) fn over(&self) -> usize {
        self.done.values().sum::<usize>() + self.failed + self.skipped
    }

    /// Whether it was begun, and something is still to come.
    pub(super) fn is_open(&self) -> bool {
        self.begun.is_some() && self.over() < self.total
    }

    /// A step ended. What all of it came to is said with the last one.
    fn ended(&mut self, step: &StepId, now: Timestamp, count: impl FnOnce(&mut Self)) -> Option<String> {
        self.doing.remove(step);
        count(self);
        if self.over() == self.total { self.sum(now) } else { None }
    }

    /// How far it is, in one line; nothing of what was never begun.
    pub(super) fn headline(&self, now: Timestamp) -> Option<String> {
        let begun = self.begun.filter(|_| self.is_open())?;
        Some(format!("{}: {} of {} done, {}", self.title, self.over(), self.total, since(begun, now)))
    }

    fn sum(&self, now: Timestamp) -> Option<String> {
        let word = |verb: &Verb| match verb {
            Verb::Create => "created",
            Verb::Update => "changed",
            Verb::Delete => "deleted",
            Verb::Release => "let go of",
            Verb::Run => "run",
        };
        let mut parts: Vec<String> = self.done.iter().map(|(verb, n)| format!("{n} {}", word(verb))).collect();
        parts.extend((self.failed > 0).then(|| format!("{} failed", self.failed)));
        let under_way = self.doing.len();
        parts.extend((under_way > 0).then(|| format!("{under_way} under way")));
        let not_begun = (self.total + self.skipped).saturating_sub(self.over() + under_way);
        parts.extend((not_begun > 0).then(|| format!("{not_begun} not begun")));
        let begun = self.begun.filter(|_| !parts.is_empty())?;
        Some(format!("{}: {} in {}", self.title, parts.join(", "), since(begun, now)))
    }
}

impl Run {
    /// Whether it was begun and is not over.
    pub(super) fn is_on(&self) -> bool {
        self.begun.is_some() && !self.over
    }

    fn read(&mut self, event: &RunEvent, now: Timestamp) {
        self.waits = match event {
            RunEvent::WaitingForLease { holder, since, .. } => {
                Some(format!("{holder}, who drives it since {since:.0}"))
            }
            RunEvent::WaitingForTurn { sample, since, .. } => {
                Some(format!("the run of sample {sample}, which is driven since {since:.0}"))
            }
            RunEvent::WaitingForCredentials { .. } => Some("credentials: sign in again in another terminal".to_owned()),
            RunEvent::WaitingForAws { message } => Some(format!("AWS: {message}")),
            RunEvent::WaitingForAgent { instance, .. } => Some(format!("the container agent of {instance}")),
            RunEvent::Waiting { what, .. } => Some(what.clone()),
            RunEvent::AgentAway { instance, .. } => {
                Some(format!("the container agent of {instance}, which is away: the instance may hang"))
            }
            // Neither tells that AWS answers the run itself.
            RunEvent::InstanceEnds { .. } | RunEvent::StepHeard { .. } => self.waits.take(),
            _ => None,
        };
        match event {
            RunEvent::InstanceEnds { instance, at } => self.instance = Some((instance.clone(), *at)),
            RunEvent::StepKept { name } => self.set(name, State::Kept),
            RunEvent::RunBegun { seconds } => self.begun = Some(before(now, *seconds)),
            RunEvent::StepFound { name, attempt, seconds } => {
                let since = before(now, seconds.unwrap_or(0));
                self.set(name, State::Running { since, attempt: *attempt, log: Log::NotAsked });
            }
            RunEvent::StepStarted { name, attempt, .. } => {
                self.set(name, State::Running { since: now, attempt: *attempt, log: Log::NotAsked });
            }
            RunEvent::StepStarting { name, .. } => self.set(name, State::Starting { since: now, why: None }),
            RunEvent::StepAgain { name, attempt, of, .. } => {
                self.set(name, State::Waiting(Some(format!("tried again, {attempt} of {of}"))));
            }
            RunEvent::StepWaiting { name, reason, .. } => {
                if let Some(Step { state: State::Starting { why, .. }, .. }) = self.step(name) {
                    *why = Some(reason.clone());
                }
            }
            RunEvent::StepHeard { name, seconds, unread } => {
                if let Some(Step { state: State::Running { log, .. }, .. }) = self.step(name) {
                    *log = match (seconds, unread) {
                        (_, Some(why)) => Log::Unread(why.clone()),
                        (Some(seconds), None) => Log::Last(before(now, *seconds)),
                        (None, None) => Log::Silent,
                    };
                }
            }
            RunEvent::StepEnded { name, verdict, seconds, .. } => {
                self.set(name, State::Ended { verdict: verdict.clone(), seconds: *seconds });
            }
            _ => {}
        }
    }

    fn step(&mut self, name: &str) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.name == name)
    }

    fn set(&mut self, name: &str, state: State) {
        if let Some(step) = self.step(name) {
            step.state = state;
        }
    }
}

/// So many seconds before now.
fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(now)
}

/// The time since then, in words.
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(then).as_secs().max(0))
}
