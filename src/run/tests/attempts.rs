//! Further attempts in one run, and what nobody can tell any more.

use super::*;
use crate::stack::values::Factor;

fn out_of_memory() -> TaskEnd {
    TaskEnd { container_reason: Some("OutOfMemoryError: Container killed due to memory usage".to_owned()), ..exit(137) }
}

fn factor(factor: f64) -> Option<Factor> {
    Some(serde_json::from_value(factor.into()).unwrap())
}

/// The pipeline with `align` tried so often.
fn with_attempts(attempts: u32) -> RunSpec {
    let mut spec = spec();
    spec.steps[1].attempts = attempts;
    spec
}

/// The further attempts that were told: which, of how many, with which memory.
fn again(events: &[RunEvent]) -> Vec<(u32, u32, Option<i64>)> {
    let told = |event: &RunEvent| match event {
        RunEvent::StepAgain { attempt, of, memory, .. } => Some((*attempt, *of, *memory)),
        _ => None,
    };
    events.iter().filter_map(told).collect()
}

fn memory_of_align(fake: &Fake) -> Vec<Option<i64>> {
    let inner = fake.inner.lock().unwrap();
    let align = inner.tasks.iter().filter(|task| task.request.tags["seqstack:step"] == "align");
    align.map(|task| task.request.memory).collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_failed_is_tried_as_often_as_the_file_says_and_each_time_is_told() {
    let (fake, spec) = (Fake::new(), with_attempts(3));
    fake.ends("align", vec![(5, exit(1)), (5, exit(9))]);
    let (outcome, events) = run_with(&fake, &spec, &options()).await;
    let Ok(Outcome::Succeeded(success)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(again(&events), [(2, 3, Some(1024)), (3, 3, Some(1024))]);
    assert!(events.iter().any(
        |event| matches!(event, RunEvent::StepAgain { because, .. } if because.contains("failed with exit code 9"))
    ));
    assert_eq!(success.steps.iter().map(|row| row.attempts).collect::<Vec<_>>(), [1, 3, 1, 1]);

    // Failed as often as that, it has failed; asked for again, it is tried as often again.
    let (fake, spec) = (Fake::new(), with_attempts(2));
    fake.ends("align", vec![(5, exit(1)); 3]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert!(failure.explanation.contains("attempt 2 of 2"), "{failure}");
    assert_eq!(fake.tasks_of("align"), 2);
    assert!(matches!(run(&fake, &spec).await, Outcome::FailedBefore(_)));
    let (outcome, events) = run_with(&fake, &spec, &DriveOptions { retry: true, ..options() }).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(again(&events), [(2, 2, Some(1024))]);
    assert_eq!((fake.tasks_of("align"), fake.tasks_of("pull")), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn out_of_all_the_memory_there_is_it_is_tried_again_where_no_more_was_asked_for() {
    let (fake, mut spec) = (Fake::new(), with_attempts(3));
    spec.steps[1].memory = Some(4096);
    fake.ends("align", vec![(5, out_of_memory()), (5, out_of_memory())]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("align"), 3);
}

#[tokio::test(start_paused = true)]
async fn out_of_memory_it_gets_more_each_time_and_no_more_than_there_is() {
    let (fake, mut spec) = (Fake::new(), with_attempts(5));
    spec.steps[1].memory_factor = factor(1.501);
    fake.ends("align", vec![(5, out_of_memory()), (5, exit(1)), (5, out_of_memory())]);
    let (outcome, events) = run_with(&fake, &spec, &options()).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    // What failed for another reason keeps what it was given.
    assert_eq!(memory_of_align(&fake), [None, Some(1538), Some(1538), Some(2309)]);
    assert_eq!(again(&events), [(2, 5, Some(1538)), (3, 5, Some(1538)), (4, 5, Some(2309))]);

    let (fake, mut spec) = (Fake::new(), with_attempts(5));
    spec.steps[1].memory_factor = factor(4.0);
    spec.steps[1].memory = Some(1500);
    fake.ends("align", vec![(5, out_of_memory()); 5]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(memory_of_align(&fake), [None, Some(4096)], "all that the instance has, and then no more");
    assert!(failure.explanation.contains("4096 MiB") && failure.next.contains("`type`"), "{failure} {}", failure.next);

    // Without a factor it is tried again with what it has.
    let (fake, spec) = (Fake::new(), with_attempts(2));
    fake.ends("align", vec![(5, out_of_memory()); 2]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(memory_of_align(&fake), [None, None]);
    assert!(failure.next.contains("`memory_factor`"), "{}", failure.next);
}

#[tokio::test(start_paused = true)]
async fn a_driver_killed_between_two_attempts_is_followed_by_one_that_goes_on_counting() {
    // pull runs until second 31, align fails at 36 and is tried again some seconds later.
    for seconds in [33, 38, 42, 46] {
        let (fake, spec) = (Fake::new(), with_attempts(2));
        fake.ends("align", vec![(5, exit(1)); 3]);
        killed_after(&fake, &spec, seconds).await;
        let (outcome, events) = run_with(&fake, &spec, &options()).await;
        assert!(matches!(outcome, Ok(Outcome::Failed(_))), "{seconds}: {outcome:?}");
        assert_eq!(fake.tasks_of("align"), 2, "{seconds}");
        assert_eq!(again(&events).len(), usize::from(seconds < 45), "{seconds}: {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_room_behind_a_long_one_has_its_minute_after_that() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(600, exit(0))]);
    fake.inner.lock().unwrap().crowded = Some(("qc".to_owned(), Instant::now() + Duration::from_secs(670)));
    let outcome = run(&fake, &spec).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(fake.tasks_of("qc"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_ecs_has_forgotten_is_never_taken_for_a_success() {
    let (fake, spec) = (Fake::new(), spec());
    killed_after(&fake, &spec, 25).await;
    tokio::time::sleep(2 * HOUR).await;
    let (outcome, events) = run_with(&fake, &spec, &options()).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align")), (2, 1));
    assert_eq!(again(&events), [(2, 3, Some(1024))]);
    assert_eq!(fake.ledger().steps["pull"].attempts[0].verdict, Some(Verdict::Unknown));
    // What the ledger has is not asked of ECS again.
    let fake = Fake::new();
    fake.ends("call", vec![(5, exit(3))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    tokio::time::sleep(2 * HOUR).await;
    let again = DriveOptions { retry: true, ..options() };
    assert!(matches!(run_with(&fake, &spec, &again).await.0, Ok(Outcome::Succeeded(_))));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align"), fake.tasks_of("call")), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_task_is_followed_while_it_can_be_and_made_anew_when_nobody_can_tell() {
    // Its task runs on for longer than its token is good for: it is found, and there is no second one.
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(30 * 3600, exit(0))]);
    fake.inner.lock().unwrap().lose_run_task_of = Some("align".to_owned());
    killed_after(&fake, &spec, 60).await;
    fake.inner.lock().unwrap().lose_run_task_of = None;
    tokio::time::sleep(25 * HOUR).await;
    let outcome = run(&fake, &spec).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(fake.tasks_of("align"), 1);

    // Its task ended long ago, if there was one.
    for sent in [true, false] {
        let (fake, spec) = (Fake::new(), super::spec());
        let step = Some("align".to_owned());
        let asked = if sent { (step, None) } else { (None, step) };
        (fake.inner.lock().unwrap().lose_run_task_of, fake.inner.lock().unwrap().never_ask_for) = asked;
        killed_after(&fake, &spec, 60).await;
        (fake.inner.lock().unwrap().lose_run_task_of, fake.inner.lock().unwrap().never_ask_for) = (None, None);
        tokio::time::sleep(2 * HOUR).await;
        assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)), "{sent}");
        let attempts = &fake.ledger().steps["align"].attempts;
        let verdicts: Vec<_> = attempts.iter().map(|attempt| (attempt.n, attempt.verdict.clone())).collect();
        assert_eq!(verdicts, [(1, Some(Verdict::Unknown)), (2, Some(Verdict::Succeeded))], "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_request_for_a_revision_that_is_gone_gives_way_to_the_present_one() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().never_ask_for = Some("align".to_owned());
    killed_after(&fake, &spec, 60).await;
    fake.inner.lock().unwrap().never_ask_for = None;
    let old = "arn:aws:ecs:eu-west-2:1:task-definition/align:1";
    fake.inner.lock().unwrap().inactive = vec![old.to_owned()];
    spec.steps[1].task = Link::theirs("task_definition", "arn:aws:ecs:eu-west-2:1:task-definition/align:2");
    let outcome = run(&fake, &spec).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    let ledger = fake.ledger();
    let attempts = &ledger.steps["align"].attempts;
    assert!(matches!(attempts[0].verdict, Some(Verdict::NeverStarted { .. })), "{:?}", attempts[0].verdict);
    assert!(attempts[1].request.task_definition.ends_with("align:2"));
    assert_eq!((attempts.len(), fake.tasks_of("align")), (2, 1));

    // Where it is the present one that is gone, the plan has to register it: that is not a failure that stays.
    let (fake, spec) = (Fake::new(), super::spec());
    fake.inner.lock().unwrap().inactive = vec![old.to_owned()];
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert!(failure.next.contains("apply again"), "{}", failure.next);
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Yes(_)));
}

/// The instance goes away at that second.
async fn gone_at(fake: &Fake, seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    fake.inner.lock().unwrap().gone = true;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ended_itself_under_a_run_that_had_all_its_life_was_given_too_little() {
    let life = |fake: &Fake, before: i64, ended_by_others: bool| {
        let launched = Timestamp::from_second(fake.now().as_second() - before).unwrap();
        let deadline = Timestamp::from_second(launched.as_second() + 2 * 3600).unwrap();
        Some(Life { launched: Some(launched), deadline: Some(deadline), ended_by_others, ..Life::default() })
    };
    for (before, by_others, failed) in [(60, false, true), (60, true, false), (3000, false, false)] {
        let (fake, spec) = (Fake::new(), spec());
        fake.ends("pull", vec![(36_000, exit(0))]);
        fake.inner.lock().unwrap().life = life(&fake, before, by_others);
        let options = options();
        let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), gone_at(&fake, 7200));
        match outcome.unwrap() {
            Outcome::Failed(failure) => {
                assert!(failed && failure.explanation.contains("`max_hours` is too short"), "{failure}");
                assert!(matches!(is_due(&fake, &spec, None).await, Due::Failed(_)), "it is not begun again as it is");
            }
            Outcome::HostLost { explanation, .. } => {
                assert!(!failed && explanation.contains("deadline") != by_others, "{explanation}");
                assert!(matches!(is_due(&fake, &spec, None).await, Due::Yes(_)));
            }
            other => panic!("{other:?}"),
        }
    }
}
