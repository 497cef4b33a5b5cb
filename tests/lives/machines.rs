//! Two commands at once, on one machine or two, and those that died or slept: one wins, or both converge.

use std::time::Duration;

use seqstack::cli::Wish;
use seqstack::command::session::Session;
use seqstack::command::{Exit, apply, prepare};
use seqstack::run::strays;
use seqstack::sandbox::engine::fake::Outcome;

use super::steps;
use crate::lab::{Lab, STACK, edited, fine, wish, yes};

/// A session with a `state/` of its own.
fn elsewhere(lab: &Lab, stack: &str) -> Session {
    let mut session = lab.session(stack, None, true);
    session.state_dir = lab.folder.path().join("another machine");
    session
}

/// A lab in which the second of three steps takes so long.
fn calling_for(seconds: u64) -> Lab {
    Lab::with(move |line| Outcome {
        runs_for: if line.starts_with("call S1") { Duration::from_secs(seconds) } else { fine().runs_for },
        ..Outcome::default()
    })
}

#[tokio::test(start_paused = true)]
async fn who_comes_second_to_a_run_does_not_drive_it() {
    let lab = calling_for(400);
    let other = elsewhere(&lab, STACK);
    let (first, second) = tokio::join!(lab.apply(STACK), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let planned = lab.plan(STACK).await;
        assert!(
            planned.plan.conflicts.is_empty() && planned.text(false).contains("is being run for S1 by arn:"),
            "{}",
            planned.text(false)
        );
        apply::apply(&other, &wish(), &yes()).await.unwrap_or_else(|problem| panic!("{problem}"))
    });
    assert_eq!((first, second), (Exit::Done, Exit::Failed));
    assert_eq!(lab.started().len(), 3);
}

/// A laptop that was shut in mid-run, and is opened when another one has taken over.
#[tokio::test(start_paused = true)]
async fn a_driver_that_wakes_up_late_does_nothing_more() {
    let lab = calling_for(2000);
    let (asleep, other) = (lab.session(STACK, None, true), elsewhere(&lab, STACK));
    let (wish, consent) = (wish(), yes());
    let mut sleeper = Box::pin(apply::apply(&asleep, &wish, &consent));
    let mut second = Box::pin(apply::apply(&other, &wish, &consent));
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut sleeper).await.is_err());
    assert!(tokio::time::timeout(Duration::from_secs(900), &mut second).await.is_err());
    let (sleeper, second) = tokio::join!(sleeper, second);
    let [sleeper, second] = [sleeper, second].map(|end| end.unwrap_or_else(|problem| panic!("{problem}")));
    assert_eq!((sleeper, second), (Exit::Failed, Exit::Done));
    assert_eq!(lab.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_not_taken_from_under_whoever_drives_a_run_on_it() {
    let long = Duration::from_secs(300);
    let lab = Lab::with(move |line| Outcome {
        runs_for: if line.starts_with("call") { long } else { fine().runs_for },
        ..Outcome::default()
    });
    // Elsewhere, with a `state/` of its own, somebody applies the same stack with another machine.
    let other = edited("size_gib = 30", "size_gib = 60");
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let prepared = lab.plan(&other).await;
        assert!(prepared.text(false).contains("is driving a run on it"), "{}", prepared.text(false));
        assert_eq!(lab.apply(&other).await, Exit::Failed);
    });
    assert_eq!(exit, Exit::Done);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_stacks_tasks_are_found_by_their_tags_whether_they_run_or_have_stopped() {
    let lab = calling_for(300);
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let found = async |stack: &str, region: &str| {
            let tasks = strays::tasks_of(&lab.aws(), "lab-main", stack, region).await.unwrap();
            tasks.into_iter().map(|task| (task.step, task.stopped)).collect::<Vec<_>>()
        };
        assert_eq!(found("lab", "eu-west-2").await, [("call".to_owned(), false), ("pull".to_owned(), true)]);
        assert_eq!(found("other", "eu-west-2").await, []);
        assert_eq!(found("lab", "eu-west-1").await, []);
    });
    assert_eq!(exit, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_died_on_this_machine_is_not_waited_for() {
    let long = Duration::from_secs(4000);
    let lab = Lab::with(move |line| Outcome {
        runs_for: if line.starts_with("call S1") { long } else { fine().runs_for },
        ..Outcome::default()
    });
    let killed = tokio::time::timeout(Duration::from_secs(30), lab.apply(STACK)).await;
    assert!(killed.is_err() && lab.started().contains(&"call S1".to_owned()));
    let other = edited("size_gib = 30", "size_gib = 60").replace("call ${sample.name}", "call again ${sample.name}");
    let began = tokio::time::Instant::now();
    let planned = lab.plan(&other).await;
    assert!(planned.driver.is_none());
    let lost: Vec<String> = planned.losses.iter().map(ToString::to_string).collect();
    assert!(lost.len() == 1 && lost[0].ends_with("), and what runs there of call"), "{lost:?}");
    assert_eq!(lab.discard(&other).await, Exit::Done);
    let took = began.elapsed().as_secs();
    assert!(took < 120, "{took} s");
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    assert_eq!(steps(&lab.plan(&other).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_driver_died_elsewhere_is_taken_over_without_a_person() {
    let long = Duration::from_secs(4000);
    let lab = Lab::with(move |line| Outcome {
        runs_for: if line.starts_with("call S1") { long } else { fine().runs_for },
        ..Outcome::default()
    });
    let killed = tokio::time::timeout(Duration::from_secs(30), lab.apply(STACK)).await;
    assert!(killed.is_err() && lab.started().contains(&"call S1".to_owned()));
    // On another machine, that driver is not known to be dead. The stack file asks for another instance by now.
    std::fs::remove_dir_all(lab.state()).unwrap();
    let other = edited("size_gib = 30", "size_gib = 60").replace("call ${sample.name}", "call again ${sample.name}");
    let began = tokio::time::Instant::now();
    assert_eq!(lab.discard(&other).await, Exit::Done);
    let took = began.elapsed().as_secs();
    assert!((240..600).contains(&took), "{took} s: a lease is given up after five minutes, and not before");
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    assert_eq!(steps(&lab.plan(&other).await), Vec::<String>::new());
}

/// Found by a random life: each version had a token of its own, so both launched.
#[tokio::test(start_paused = true)]
async fn two_versions_of_a_stack_applied_at_once_on_two_machines_launch_one_instance() {
    let lab = Lab::new();
    let other = edited("project = \"ngs\"", "project = \"other\"");
    let sessions = [lab.session(STACK, None, true), elsewhere(&lab, &other)];
    let (wish, consent) = (wish(), yes());
    let ends =
        futures_util::future::join_all(sessions.iter().map(|session| apply::apply(session, &wish, &consent))).await;
    let launched = lab.sandbox.with_account(|account, _| account.ec2.instances.len());
    assert_eq!(launched, 1, "{:?}", ends.iter().map(Result::is_ok).collect::<Vec<_>>());
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn two_types_of_an_instance_applied_at_once_leave_the_older_one() {
    // At once, and the second while the first one's instance boots.
    for later in [0, 3000] {
        let lab = Lab::with(|_| Outcome { runs_for: Duration::from_secs(400), ..Outcome::default() });
        let other = edited("type            = \"t3.large\"", "type            = \"t3.xlarge\"");
        let sessions = [lab.session(STACK, None, true), elsewhere(&lab, &other)];
        let (wish, consent) = (wish(), yes());
        let [first, second] = &sessions;
        let ends = tokio::join!(apply::apply(first, &wish, &consent), async {
            tokio::time::sleep(Duration::from_millis(later)).await;
            apply::apply(second, &wish, &consent).await
        });
        let account = lab.sandbox.portrait().unwrap();
        let all = account["ec2"]["instances"].as_array().unwrap().iter();
        let living = all.filter(|one| !matches!(one["life"].as_str(), Some("terminated" | "shutting-down"))).count();
        assert!(living <= 1, "{later}: {ends:?}");
        assert!(lab.fake.launches().iter().all(|one| one.instance == lab.fake.launches()[0].instance), "{later}");
        assert_eq!(lab.apply(STACK).await, Exit::Done, "{later}");
        lab.destroy(STACK).await;
        assert_eq!(lab.left(), Vec::<String>::new(), "{later}");
    }
}

/// The instance stays, and a run has it to itself: the second sample waits, and begins on a fresh one.
#[tokio::test(start_paused = true)]
async fn two_samples_on_one_instance_take_turns() {
    let text = edited("[sample.S1]", "[sample.S2]\nreads = \"S2.fq\"\n[sample.S1]")
        .replace("lifetime        = \"run\"\nmax_hours       = 2", "lifetime        = \"always\"")
        .replace("cpu            = 1024", "cpu            = 2048");
    let lab = Lab::with(|_| Outcome { runs_for: Duration::from_secs(900), ..Outcome::default() });
    let of = |sample: &str| Wish { sample: Some(sample.into()), ..wish() };
    let (first, second) = tokio::join!(lab.try_apply(&text, of("S1")), lab.try_apply(&text, of("S2")));
    assert_eq!((first.unwrap(), second.unwrap()), (Exit::Done, Exit::Done));
    let mut started = lab.started();
    started.sort();
    assert_eq!(started, ["call S1", "call S2", "pull S1", "pull S2", "push S1", "push S2"]);
    let told = std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap();
    assert!(told.contains("waiting_for_turn"), "{told}");
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    let on: Vec<String> = lab.fake.launches().iter().map(|launch| launch.instance.clone()).collect();
    assert!(
        on[..3].iter().all(|one| *one == on[0]) && on[3..].iter().all(|one| *one == on[3] && *one != on[0]),
        "{on:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_not_taken_from_under_another_samples_run() {
    let samples = "[sample.S1]\nreads = \"S1.fq\"\n[sample.S2]\nreads = \"S2.fq\"";
    let stack = edited("[sample.S1]\nreads = \"S1.fq\"", samples).replace("= \"run\"", "= \"always\"");
    let larger = stack.replace("size_gib = 30", "size_gib = 60");
    let lab = Lab::with(|line| Outcome {
        runs_for: if line.starts_with("call S1") { Duration::from_secs(300) } else { fine().runs_for },
        code: i32::from(line.starts_with("call S1")),
        ..Outcome::default()
    });
    let of = |sample: &str| Wish { sample: Some(sample.to_owned()), ..wish() };
    let planned = async || {
        let session = lab.session(&larger, Some("S2"), true);
        prepare::converge(&session, &of("S2"), "plan").await.unwrap_or_else(|problem| panic!("{problem}"))
    };
    let (exit, ()) = tokio::join!(lab.try_apply(&stack, of("S1")), async {
        while !lab.started().iter().any(|line| line == "call S1") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let text = planned().await.text(false);
        assert!(text.contains("is driving a run of sample S1 on it since"), "{text}");
    });
    assert_eq!(exit.unwrap(), Exit::RunFailed);
    // And what it has left there is told.
    let prepared = planned().await;
    assert!(prepared.plan.conflicts.is_empty(), "{}", prepared.text(false));
    assert_eq!(prepared.losses.iter().map(|loss| loss.sample.as_str()).collect::<Vec<_>>(), ["S1"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_no_type_of_the_instance_can_hold_is_told_before_one_is_launched() {
    let lab = Lab::new();
    let text = edited("name    = \"call\"", "name    = \"call\"\nmemory = 500000");
    let planned = lab.plan(&text).await;
    let told = planned.text(false);
    assert!(told.contains("step call asks for") && told.contains("500000 MiB"), "{told}");
    assert_eq!(lab.apply(&text).await, Exit::Failed);
    assert_eq!(lab.mutations().values().sum::<usize>(), 0);
    assert!(lab.plan(&text.replace("500000", "5000")).await.plan.conflicts.is_empty());
}
