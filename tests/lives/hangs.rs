//! An AWS that hangs and forgets: instances whose agent does not come back, and tasks that ECS does not show for a while.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use seqstack::command::{Exit, apply, status};
use seqstack::run::status::State;
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::service::Settings;
use seqstack::sandbox::{Fate, Life, Passing, Wire};
use tokio::time::Instant;

use crate::lab::{Lab, STACK, fine, wish, yes};

/// A lab in which the second of three steps takes so long.
fn calling_for(seconds: u64) -> Lab {
    Lab::with(move |line| Outcome {
        runs_for: if line.starts_with("call S1") { Duration::from_secs(seconds) } else { fine().runs_for },
        ..Outcome::default()
    })
}

/// Waits until `call` has been started so often.
async fn called(lab: &Lab, times: usize) {
    while lab.started().iter().filter(|line| *line == "call S1").count() < times {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn journal(lab: &Lab) -> String {
    std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_is_told_ended_and_replaced() {
    let lab = calling_for(3000);
    let (exit, hung_for) = tokio::join!(lab.apply(STACK), async {
        called(&lab, 1).await;
        let hung = lab.fake.launches()[0].instance.clone();
        lab.sandbox.set(Settings { hung: vec![hung.clone()], ..lab.sandbox.options().settings.clone() });
        let since = Instant::now();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let session = lab.session(STACK, None, false);
        let (_, status) = status::read(&session).await.unwrap_or_else(|problem| panic!("{problem}"));
        let why = status.runs[0].explanation.clone().unwrap_or_default();
        assert!(status.runs[0].state == State::Running && why.contains("is not connected at the moment"), "{why}");
        let told = journal(&lab);
        assert!(told.contains("agent_away") && told.contains(&hung), "{told}");
        // What EC2 and ECS say of it all the while.
        let asked = lab.aws().ec2.describe_instances().instance_ids(&hung).send().await.unwrap();
        assert_eq!(asked.reservations()[0].instances()[0].state().unwrap().name().unwrap().as_str(), "running");
        called(&lab, 2).await;
        let asked = lab.aws().ec2.describe_instances().instance_ids(&hung).send().await.unwrap();
        assert_eq!(asked.reservations()[0].instances()[0].state().unwrap().name().unwrap().as_str(), "terminated");
        since.elapsed().as_secs()
    });
    assert_eq!(exit, Exit::Done);
    assert!((1800..1960).contains(&hung_for), "{hung_for} s until the step was begun on another instance");
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    lab.destroy(STACK).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_for_minutes_is_kept_and_nothing_is_said() {
    let lab = calling_for(3000);
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        called(&lab, 1).await;
        let settings = lab.sandbox.options().settings.clone();
        let hung = lab.fake.launches()[0].instance.clone();
        lab.sandbox.set(Settings { hung: vec![hung], ..settings.clone() });
        tokio::time::sleep(Duration::from_secs(240)).await;
        lab.sandbox.set(settings);
    });
    assert_eq!((exit, lab.started().len()), (Exit::Done, 3));
    assert!(!journal(&lab).contains("agent_away"));
}

/// The connection has gone silent: the machine slept, or its network has changed.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_made_again_within_half_a_minute() {
    let lab = calling_for(120);
    let fates = |passing: &Passing| match (passing.name.as_str(), passing.nth) {
        ("ecs:DescribeTasks", 20) => Fate::Silent,
        _ => Fate::Pass,
    };
    let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
    let session = lab.session_over(wire, STACK, None, true);
    let (wish, consent, began) = (wish(), yes(), Instant::now());
    let exit = apply::apply(&session, &wish, &consent).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(exit, Exit::Done);
    assert!(began.elapsed() < Duration::from_secs(170), "{:?}", began.elapsed());
    assert!(journal(&lab).contains("AWS to answer"), "{}", journal(&lab));
}

/// ECS answers from before the task was started: once, and for so long.
#[tokio::test(start_paused = true)]
async fn a_task_that_ecs_does_not_show_for_a_while_is_not_run_twice() {
    for blind in [2, 40] {
        let lab = calling_for(400);
        lab.sandbox.remember(Duration::from_secs(900));
        let since: Arc<OnceLock<Instant>> = Arc::default();
        let seen = since.clone();
        let fates = move |passing: &Passing| {
            let elapsed = seen.get().map(Instant::elapsed).unwrap_or_default();
            match passing.name == "ecs:DescribeTasks" && (100..100 + blind).contains(&elapsed.as_secs()) {
                true => Fate::Behind(elapsed + Duration::from_secs(1)),
                false => Fate::Pass,
            }
        };
        let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
        let session = lab.session_over(wire, STACK, None, true);
        let (wish, consent) = (wish(), yes());
        let (exit, ()) = tokio::join!(apply::apply(&session, &wish, &consent), async {
            called(&lab, 1).await;
            since.set(Instant::now()).unwrap();
        });
        assert_eq!(exit.unwrap_or_else(|problem| panic!("{problem}")), Exit::Done, "{blind}");
        assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"], "{blind}");
    }
}
