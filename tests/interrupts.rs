//! Ctrl-C and SIGTERM: one test in a process of its own, since a signal is the whole process's.

use std::time::Duration;

use seqstack::command::Exit;
use seqstack::sandbox::engine::fake::Outcome;

mod lab;
use lab::{Lab, STACK};

#[tokio::test(start_paused = true)]
async fn after_a_signal_nothing_new_begins_and_the_next_apply_joins_what_runs() {
    let lab = Lab::with(|line| Outcome {
        runs_for: Duration::from_secs(if line.starts_with("call") { 600 } else { 2 }),
        ..Outcome::default()
    });
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    });
    assert_eq!(exit, Exit::Failed);
    assert_eq!(lab.started(), ["pull S1", "call S1"]);
    let journal = std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap();
    assert!(journal.lines().all(|line| line.starts_with("{\"schema\":1,")), "{journal}");
    assert!(journal.contains("stopped watching the run"), "{journal}");
    // The task has run on; it is followed, and not started twice.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
}
