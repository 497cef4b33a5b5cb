//! Steps that are tried again, instances that are lost, and results that ECS has forgotten.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::types::Tag;
use seqstack::command::{Exit, apply};
use seqstack::run::{Ledger, Verdict};
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::{Fate, Life, Moment, Passing};

use crate::lab::{Lab, STACK, edited, fails, fine, wish, yes};

/// Terminates the instance so many times, each time once `call` runs on it.
pub async fn lose_the_instance_under_call(lab: &Lab, times: usize) {
    let aws = lab.aws();
    for lost in 1..=times {
        while lab.started().iter().filter(|line| *line == "call S1").count() < lost {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let id = lab.fake.launches().last().unwrap().instance.clone();
        aws.ec2.terminate_instances().instance_ids(id).send().await.unwrap();
    }
}

/// A lab whose `call` takes so long.
fn slow(seconds: u64) -> Lab {
    Lab::with(move |line| Outcome {
        runs_for: Duration::from_secs(if line.starts_with("call") { seconds } else { 2 }),
        ..Outcome::default()
    })
}

fn ledger(lab: &Lab) -> Ledger {
    let body = lab.sandbox.get_object("lab-results", ".seqstack/eu-west-2/lab/S1/ledger.json").unwrap();
    Ledger::read(&body, "s3://lab-results/.seqstack/eu-west-2/lab/S1/ledger.json").unwrap()
}

fn call_verdicts(lab: &Lab) -> Vec<Option<Verdict>> {
    ledger(lab).steps["call"].attempts.iter().map(|attempt| attempt.verdict.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_out_of_memory_is_tried_again_with_more_of_it() {
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    let lab = Lab::with(move |line| match line.starts_with("call") && seen.fetch_add(1, Ordering::SeqCst) < 2 {
        true => Outcome { out_of_memory: true, ..fails(137) },
        false => fine(),
    });
    let text = edited("on_failure = \"keep\"", "on_failure = \"keep\"\nattempts = 3\nmemory_factor = 2");
    assert_eq!(lab.apply(&text).await, Exit::Done);
    let launches = lab.fake.launches();
    let call: Vec<u64> = launches
        .iter()
        .filter(|launch| launch.command.as_ref().is_some_and(|command| command[0] == "call"))
        .map(|launch| launch.memory_mib)
        .collect();
    assert_eq!(call, [1024, 2048, 4096]);
    assert_eq!((lab.started().len(), lab.mutations()["ec2:RunInstances"]), (5, 1));
    // They are settings: fewer of them make no other run.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started().len(), 5);
    lab.destroy(STACK).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn instances_that_keep_going_away_are_not_replaced_for_ever() {
    let lab = slow(600);
    let (exit, ()) = tokio::join!(lab.apply(STACK), lose_the_instance_under_call(&lab, 3));
    assert_eq!(exit, Exit::Failed);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 3);
    assert_eq!(lab.started().len(), 6);
    // The next apply is another agreement.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    lab.destroy(STACK).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_instance_and_the_run_is_agreed_to_for_a_second_time() {
    let lab = slow(600);
    let (exit, ()) = tokio::join!(lab.try_apply(STACK, wish()), async {
        while lab.started().len() < 2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        lab.aws()
            .logs
            .put_retention_policy()
            .log_group_name("/seqstack/lab/pipeline")
            .retention_in_days(1)
            .send()
            .await
            .unwrap();
        lose_the_instance_under_call(&lab, 1).await;
    });
    let problem = exit.unwrap_err().to_string();
    assert!(problem.contains("update log_group.pipeline") && problem.contains("apply again"), "{problem}");
    assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
    assert_eq!(lab.apply(STACK).await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_needs_more_than_max_hours_is_not_begun_again_as_it_is() {
    let lab = slow(600);
    let aws = lab.aws();
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        while lab.started().is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // The tag has this machine's time, and the sandbox a clock of its own here: five minutes stand for the hours.
        let until = lab.sandbox.clock().now() + jiff::SignedDuration::from_mins(5);
        let tag = Tag::builder().key("seqstack:deadline").value(until.to_string()).build();
        aws.ec2.create_tags().resources(&lab.fake.launches()[0].instance).tags(tag).send().await.unwrap();
    });
    assert_eq!(exit, Exit::RunFailed);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
    let text = lab.plan(STACK).await.text(false);
    assert!(text.contains("`max_hours` is too short") && text.contains("--retry"), "{text}");
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
    assert_eq!(lab.apply(&edited("max_hours       = 2", "max_hours       = 4")).await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_client_killed_as_it_started_a_task_and_back_after_ecs_forgot_it_runs_the_step_again() {
    for moment in [Moment::BeforeSending, Moment::BeforeAnswer, Moment::AfterAnswer] {
        let mut lab = slow(60);
        let started = Mutex::new(0);
        let fates = move |passing: &Passing| {
            if passing.name != "ecs:RunTask" {
                return Fate::Pass;
            }
            let mut started = started.lock().unwrap();
            *started += 1;
            if *started == 2 { Fate::Dies(moment) } else { Fate::Pass }
        };
        let (whole, life) = (lab.wire.clone(), Life::default());
        lab.wire.fates = Some(Arc::new(fates));
        lab.wire.life = life.clone();
        let session = lab.session(STACK, None, true);
        let (wish, consent) = (wish(), yes());
        tokio::select! {
            biased;
            () = life.ended() => {}
            exit = apply::apply(&session, &wish, &consent) => panic!("{moment:?}: {exit:?}"),
        }
        lab.wire = whole;
        tokio::time::sleep(Duration::from_secs(70 * 60)).await;
        assert_eq!(lab.apply(STACK).await, Exit::Done, "{moment:?}");
        assert_eq!(call_verdicts(&lab), [Some(Verdict::Unknown), Some(Verdict::Succeeded)], "{moment:?}");
        let call = if moment == Moment::BeforeSending { 1 } else { 2 };
        assert_eq!(lab.started().iter().filter(|line| *line == "call S1").count(), call, "{moment:?}");
        assert_eq!(lab.started().len(), 2 + call, "{moment:?}");
    }
}
