//! Ctrl-C and SIGTERM: a signal is the whole process's, so each test has it to itself, and a runtime of its own that ends
//! with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seqstack::command::{Exit, apply};
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::service::Settings;
use seqstack::sandbox::{Fate, Life, Passing, Wire};
use tokio::time::Instant;

mod lab;
use lab::{Lab, STACK, wish, yes};

fn alone<F: Future>(test: F) -> F::Output {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

fn interrupt() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
}

fn journal(lab: &Lab) -> String {
    std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap()
}

#[test]
fn after_a_signal_nothing_new_begins_and_the_next_apply_joins_what_runs() {
    alone(async {
        let lab = Lab::with(|line| Outcome {
            runs_for: Duration::from_secs(if line.starts_with("call") { 600 } else { 2 }),
            ..Outcome::default()
        });
        let (exit, ()) = tokio::join!(lab.apply(STACK), async {
            while !lab.started().iter().any(|line| line == "call S1") {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            interrupt();
        });
        assert_eq!(exit, Exit::Failed);
        assert_eq!(lab.started(), ["pull S1", "call S1"]);
        let journal = journal(&lab);
        assert!(journal.lines().all(|line| line.starts_with("{\"schema\":1,")), "{journal}");
        assert!(journal.contains("stopped watching the run"), "{journal}");
        // The task has run on; it is followed, and not started twice.
        assert_eq!(lab.apply(STACK).await, Exit::Done);
        assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
    });
}

/// What is waited for, how the sandbox is set then, what becomes of a call, what is told, and how many seconds after an
/// interrupt the command may go on; in the paused clock, a pause of five seconds may pass before a signal is heard.
type Wait = (&'static str, fn(&mut Settings), &'static str, Fate, &'static [&'static str], u64);

#[test]
fn each_wait_is_told_and_ended_by_the_first_signal() {
    const LONG: Duration = Duration::from_secs(900);
    let waits: [Wait; 6] = [
        ("a boot", |set| set.boot = LONG, "", Fate::Pass, &[" to run"], 6),
        (
            "an agent",
            |set| set.registration = LONG,
            "",
            Fate::Pass,
            &["waiting_for_agent", "\"at_most_seconds\":900"],
            6,
        ),
        ("an end", |set| set.termination = LONG, "", Fate::Pass, &["to be terminated"], 6),
        (
            "a role to be seen",
            |_| {},
            "iam:GetRole",
            Fate::Behind(LONG),
            &["waiting for the role to be seen: ", " so far, at most "],
            6,
        ),
        ("a call that hangs", |_| {}, "ecs:CreateCluster", Fate::Silent, &["CreateCluster", "under way for 10 s"], 16),
        ("a run's call that hangs", |_| {}, "ecs:RunTask", Fate::Silent, &["\"what\":\"AWS to answer\""], 27),
    ];
    for (what, set, call, fate, told, within) in waits {
        alone(async {
            let lab = Lab::new();
            let mut settings = lab.sandbox.options().settings.clone();
            set(&mut settings);
            lab.sandbox.set(settings);
            lab.sandbox.remember(2 * LONG);
            let fates = move |passing: &Passing| match passing.name == call {
                true => fate,
                false => Fate::Pass,
            };
            let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
            let session = lab.session_over(wire, STACK, None, true);
            let (wish, consent) = (wish(), yes());
            let (exit, at) = tokio::join!(apply::apply(&session, &wish, &consent), async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                let journal = journal(&lab);
                assert!(told.iter().all(|told| journal.contains(told)), "{what}: {journal}");
                interrupt();
                Instant::now()
            });
            let exit = exit.unwrap_or_else(|problem| panic!("{what}: {problem}"));
            assert_eq!(exit, Exit::Failed, "{what}: {}", journal(&lab));
            assert!(at.elapsed() <= Duration::from_secs(within), "{what}: {:?}", at.elapsed());
        });
    }
}
