//! An engine that runs no process: each task's outcome is a script's, and happens in the caller's time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Engine, Launch, Process};

/// How a task goes.
#[derive(Default)]
pub struct Outcome {
    /// From its start to its end.
    pub runs_for: Duration,
    /// Its exit code.
    pub code: i32,
    /// Whether it is killed for its memory at its end.
    pub out_of_memory: bool,
    /// What it writes, spread evenly over its time.
    pub log: Vec<String>,
    /// It never runs, for this reason.
    pub failed: Option<String>,
    /// Run once, when somebody first sees that it ended by itself. It runs inside a request of the sandbox, so it must
    /// not make one and wait for it.
    pub effect: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("runs_for", &self.runs_for)
            .field("code", &self.code)
            .field("out_of_memory", &self.out_of_memory)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Run {
    launch: Launch,
    outcome: Outcome,
    since: Timestamp,
    cut: Option<Timestamp>,
    killed: bool,
}

impl Run {
    fn own_end(&self) -> Timestamp {
        self.since.checked_add(self.outcome.runs_for).unwrap_or(Timestamp::MAX)
    }

    fn end(&self) -> Timestamp {
        self.cut.map_or(self.own_end(), |cut| cut.min(self.own_end()))
    }
}

type Script = dyn Fn(&Launch) -> Outcome + Send + Sync;

/// The engine.
pub struct Fake {
    script: Box<Script>,
    runs: Mutex<BTreeMap<String, Run>>,
    order: Mutex<Vec<Launch>>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("launches", &self.launches().len()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    /// An engine whose tasks go as the script says.
    pub fn new(script: impl Fn(&Launch) -> Outcome + Send + Sync + 'static) -> Self {
        Self { script: Box::new(script), runs: Mutex::default(), order: Mutex::default() }
    }

    /// Another engine with the same tasks, which go on as this script says: the same one, for another sandbox.
    #[must_use]
    pub fn copied(&self, script: impl Fn(&Launch) -> Outcome + Send + Sync + 'static) -> Self {
        let copied = |run: &Run| {
            let mut outcome = script(&run.launch);
            if run.outcome.effect.is_none() {
                outcome.effect = None;
            }
            Run { launch: run.launch.clone(), outcome, since: run.since, cut: run.cut, killed: run.killed }
        };
        let runs = lock(&self.runs).iter().map(|(task, run)| (task.clone(), copied(run))).collect();
        Self { runs: Mutex::new(runs), order: Mutex::new(self.launches()), script: Box::new(script) }
    }

    /// Everything that was started, in order.
    pub fn launches(&self) -> Vec<Launch> {
        lock(&self.order).clone()
    }

    fn cut(&self, chosen: impl Fn(&Run) -> bool, now: Timestamp, killed: bool) {
        for run in lock(&self.runs).values_mut() {
            if chosen(run) && run.outcome.failed.is_none() && now < run.end() {
                run.cut = Some(now);
                run.killed = killed;
            }
        }
    }
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn start(&self, launch: &Launch, now: Timestamp) {
        let mut runs = lock(&self.runs);
        if runs.contains_key(&launch.task) {
            return;
        }
        lock(&self.order).push(launch.clone());
        let outcome = (self.script)(launch);
        runs.insert(launch.task.clone(), Run { launch: launch.clone(), outcome, since: now, cut: None, killed: false });
    }

    fn process(&self, task: &str, now: Timestamp) -> Option<Process> {
        let mut effect = None;
        let process = {
            let mut runs = lock(&self.runs);
            let run = runs.get_mut(task)?;
            if let Some(reason) = &run.outcome.failed {
                Process::Failed { at: run.since, reason: reason.clone() }
            } else if now < run.end() {
                Process::Running { since: run.since }
            } else if run.cut.is_some_and(|cut| cut < run.own_end()) {
                let code = if run.killed { 137 } else { 143 };
                Process::Exited { since: run.since, at: run.end(), code, out_of_memory: false }
            } else {
                effect = run.outcome.effect.take();
                let Outcome { code, out_of_memory, .. } = run.outcome;
                Process::Exited { since: run.since, at: run.end(), code, out_of_memory }
            }
        };
        if let Some(effect) = effect {
            effect();
        }
        Some(process)
    }

    fn log(&self, task: &str, now: Timestamp) -> Vec<(Timestamp, String)> {
        let runs = lock(&self.runs);
        let Some(run) = runs.get(task) else { return Vec::new() };
        if run.outcome.failed.is_some() {
            return Vec::new();
        }
        let parts = u32::try_from(run.outcome.log.len()).unwrap_or(u32::MAX).saturating_add(1);
        let last = now.min(run.end());
        (1..)
            .zip(&run.outcome.log)
            .map(|(part, line)| {
                let at = run.since.checked_add(run.outcome.runs_for / parts * part).unwrap_or(Timestamp::MAX);
                (at, line.clone())
            })
            .filter(|(at, _)| *at <= last)
            .collect()
    }

    fn stop(&self, task: &str, now: Timestamp) {
        self.cut(|run| run.launch.task == task, now, false);
    }

    fn end_instance(&self, instance: &str, now: Timestamp) {
        self.cut(|run| run.launch.instance == instance, now, true);
    }
}
