//! The display of a terminal, of a whole apply by the real driver against the sandbox in process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;

use std::sync::Arc;
use std::time::Duration;

use indicatif::InMemoryTerm;
use lab::{Lab, STACK, fine, wish, yes};
use seqstack::command::{Console, Exit, apply};
use seqstack::report::live::Live;
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::{Fate, Passing};
use tokio::time::Instant;

/// A session whose terminal is in memory, with a clock that is AWS's.
fn watched(lab: &Lab, columns: u16) -> (seqstack::command::session::Session, InMemoryTerm) {
    let term = InMemoryTerm::new(40, columns);
    let (start, begun) = ("2026-01-02T03:04:05Z".parse::<jiff::Timestamp>().unwrap(), Instant::now());
    let clock = move || start + begun.elapsed();
    let live = Live::on(Box::new(term.clone()), false, false, Box::new(clock));
    let mut session = lab.session(STACK, None, true);
    session.console = Console::Live(Box::leak(Box::new(live)));
    (session, term)
}

#[tokio::test(start_paused = true)]
async fn a_running_step_is_shown_with_the_age_of_its_last_line() {
    let lab = Lab::with(|line| match line {
        "call S1" => Outcome {
            runs_for: Duration::from_secs(600),
            log: (1..6).map(|n| format!("line {n}")).collect(),
            ..Outcome::default()
        },
        _ => fine(),
    });
    let (session, term) = watched(&lab, 80);
    let mut seen = String::new();
    let (wish, consent) = (wish(), yes());
    let (exit, ()) = tokio::join!(Box::pin(apply::apply(&session, &wish, &consent)), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let asked = lab.sandbox.counts().get("logs:GetLogEvents").copied().unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(120)).await;
        seen = term.contents();
        // Gently: not more than every ten seconds.
        let asked = lab.sandbox.counts().get("logs:GetLogEvents").copied().unwrap_or_default() - asked;
        assert!((8..=12).contains(&asked), "{asked}");
    });
    assert_eq!(exit.unwrap_or_else(|problem| panic!("{problem}")), Exit::Done);
    for part in
        ["  run of S1: 2 min ", " ends itself at 2026-01-02T05:0", "    pull  succeeded  2 s\n", "    push  waiting"]
    {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let row = seen.lines().find(|line| line.contains(" call  running  ")).unwrap_or_else(|| panic!("{seen}"));
    // A line every hundred seconds, and 120 have gone by; AWS's clock shows whole ones.
    let age: i64 = row.rsplit_once("last line ").and_then(|(_, age)| age.strip_suffix(" s ago")?.parse().ok()).unwrap();
    assert!((18..=24).contains(&age), "{seen}");
    // Nothing of the live part is left, and what it came to is.
    let after = term.contents();
    assert!(!after.contains("run of S1") && !after.contains("running"), "{after}");
    for part in [
        " infrastructure: 9 created in ",
        " step call: succeeded after 10 min 0 s\n",
        " run: succeeded in 10 min",
        " after the run: 1 deleted in ",
    ] {
        assert!(after.contains(part), "{part}: {after}");
    }
    assert!(after.ends_with("applied: the stack is as its file says"), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_said_and_fails_nothing() {
    let mut lab = Lab::with(|line| match line {
        "call S1" => Outcome { runs_for: Duration::from_secs(60), ..Outcome::default() },
        _ => fine(),
    });
    let denied = |passing: &Passing| if passing.name == "logs:GetLogEvents" { Fate::Denied } else { Fate::Pass };
    lab.wire.fates = Some(Arc::new(denied));
    let (session, term) = watched(&lab, 120);
    let mut seen = String::new();
    let (wish, consent) = (wish(), yes());
    let (exit, ()) = tokio::join!(Box::pin(apply::apply(&session, &wish, &consent)), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        seen = term.contents();
    });
    assert_eq!(exit.unwrap_or_else(|problem| panic!("{problem}")), Exit::Done);
    assert!(seen.contains("its log cannot be read: logs:GetLogEvents"), "{seen}");
}
