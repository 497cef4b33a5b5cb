//! A machine that hangs, and an ECS that forgets: what is told, what is ended, and that no step runs twice at once.

use super::*;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The window from so many minutes from now on, for so many minutes.
fn window(from: u64, long: u64) -> Vec<(Instant, Instant)> {
    let from = Instant::now() + minutes(from);
    vec![(from, from + minutes(long))]
}

/// The run, with what was told and after how many seconds.
async fn timed(fake: &Fake, spec: &RunSpec) -> (Result<Outcome, RunError>, Vec<(u64, RunEvent)>) {
    let events = Mutex::new(Vec::new());
    let (_keep, stop) = watch::channel(false);
    let tell = |event| events.lock().unwrap().push((fake.started.elapsed().as_secs(), event));
    let outcome = drive_in(fake, spec, &options(), &tell, stop).await;
    (outcome, events.into_inner().unwrap())
}

/// When it was told that the agent is away, and when that it is back.
fn told(events: &[(u64, RunEvent)]) -> (Vec<u64>, Vec<u64>) {
    let at = |wanted: fn(&RunEvent) -> bool| {
        events.iter().filter(|(_, event)| wanted(event)).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    (at(|event| matches!(event, RunEvent::AgentAway { .. })), at(|event| matches!(event, RunEvent::AgentBack { .. })))
}

/// The most tasks of a step that ran at one time.
fn at_once(fake: &Fake, step: &str) -> usize {
    let inner = fake.inner.lock().unwrap();
    let of_step: Vec<&FakeTask> =
        inner.tasks.iter().filter(|task| task.request.tags["seqstack:step"] == step).collect();
    let end = |task: &FakeTask| task.stopped_at.unwrap_or(task.ends_at);
    of_step
        .iter()
        .map(|one| of_step.iter().filter(|task| task.made <= one.made && one.made < end(task)).count())
        .max()
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_short_disconnect_is_not_told() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(3600, exit(0))]);
    fake.inner.lock().unwrap().away = window(5, 4);
    let (outcome, events) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(told(&events), (vec![], vec![]));
}

/// It was away for a moment before we lost AWS from sight, and is away for a moment when we see it again.
#[tokio::test(start_paused = true)]
async fn what_was_not_seen_is_not_held_against_an_agent() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(7200, exit(0))]);
    {
        let mut inner = fake.inner.lock().unwrap();
        inner.away = [window(5, 2), window(49, 3)].concat();
    }
    let held = async {
        tokio::time::sleep(minutes(6)).await;
        fake.inner.lock().unwrap().out_of_reach.insert("DescribeTasks", Instant::now() + minutes(44));
    };
    let ((outcome, events), ()) = tokio::join!(timed(&fake, &spec), held);
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(told(&events), (vec![], vec![]));
    assert!(fake.inner.lock().unwrap().ending.is_none());
}

/// Somebody has drained it: its tasks go on.
#[tokio::test(start_paused = true)]
async fn an_instance_that_is_drained_does_not_hang() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(7200, exit(0))]);
    (fake.inner.lock().unwrap().away, fake.inner.lock().unwrap().drained) = (window(5, 60), true);
    let (outcome, events) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(told(&events), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_for_long_is_told_and_so_is_that_it_is_back() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(3600, exit(0))]);
    fake.inner.lock().unwrap().away = window(5, 20);
    let (outcome, events) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    let (away, back) = told(&events);
    assert!(matches!(away[..], [at] if (600..=640).contains(&at)), "{away:?}");
    assert!(matches!(back[..], [at] if (1500..=1540).contains(&at)), "{back:?}");
    assert_eq!(fake.tasks_of("pull"), 1);
    assert!(fake.inner.lock().unwrap().ending.is_none());
}

/// Its container may write until the instance has ended: only then is the host lost.
#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_is_ended_before_the_run_goes_on_elsewhere() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0))]);
    (fake.inner.lock().unwrap().away, fake.inner.lock().unwrap().ends_for) = (window(5, 600), minutes(4));
    let (outcome, events) = timed(&fake, &spec).await;
    let Ok(Outcome::HostLost { steps, explanation, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(steps, ["pull"]);
    assert!(explanation.contains("had not been connected for 30 min"), "{explanation}");
    let took = fake.started.elapsed().as_secs();
    assert!((2340..2440).contains(&took), "{took} s: 5 min, 30 min, and 4 min until it has ended");
    let ending = fake.inner.lock().unwrap().ending.unwrap() - fake.started;
    assert!((2100..2200).contains(&ending.as_secs()), "{ending:?}");
    assert_eq!(told(&events).0.len(), 1);
    let waits = |event: &RunEvent| matches!(event, RunEvent::Waiting { what, .. } if what.contains("terminated"));
    assert!(events.iter().any(|(_, event)| waits(event)), "{events:?}");
    assert_eq!(fake.ledger().runs[0].state, RunState::HostLost);
    assert_eq!(fake.tasks_of("pull"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_and_does_not_end_is_an_error_and_not_left_for_another() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0))]);
    (fake.inner.lock().unwrap().away, fake.inner.lock().unwrap().ends_for) = (window(5, 600), HOUR);
    let (outcome, _) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Err(RunError::NotEnded { .. })), "{outcome:?}");
    assert_eq!(fake.ledger().runs[0].state, RunState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_placed_on_an_instance_that_hangs_is_lost_with_it() {
    let (fake, spec) = (Fake::new(), spec());
    {
        let mut inner = fake.inner.lock().unwrap();
        inner.refuse = vec!["AGENT"; 3000];
        inner.away = window(1, 600);
    }
    let (outcome, _) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::HostLost { .. })), "{outcome:?}");
    assert!(fake.inner.lock().unwrap().ending.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_word_that_a_task_is_not_known_is_no_end() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(1200, exit(0))]);
    // Nor are two, with another answer between them.
    let blind = [5, 10].map(|from| Instant::now() + minutes(from));
    fake.inner.lock().unwrap().blind = blind.map(|from| (from, from + Duration::from_secs(50))).to_vec();
    let (outcome, events) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(fake.tasks_of("pull"), 1);
    assert!(!events.iter().any(|(_, event)| matches!(event, RunEvent::StepAgain { .. })), "{events:?}");
    assert!(!fake.inner.lock().unwrap().calls.iter().any(|call| call.starts_with("StopTask")));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_shown_for_long_is_stopped_before_another_one_is_started() {
    // The answers come back before the task has stopped, or only after that.
    for long in [2, 30] {
        let (fake, spec) = (Fake::new(), spec());
        fake.ends("align", vec![(36_000, exit(0)), (60, exit(0))]);
        {
            let mut inner = fake.inner.lock().unwrap();
            (inner.blind, inner.stops_for) = (window(5, long), Duration::from_secs(30));
        }
        let (outcome, _) = timed(&fake, &spec).await;
        assert!(matches!(outcome, Ok(Outcome::Succeeded(_))) || long == 30, "{long}: {outcome:?}");
        assert!(fake.inner.lock().unwrap().calls.iter().any(|call| call.starts_with("StopTask")), "{long}");
        assert!(fake.tasks_of("align") > 1, "{long}");
        assert_eq!(at_once(&fake, "align"), 1, "{long}");
        assert_eq!(fake.ledger().steps["align"].attempts[0].verdict, Some(Verdict::Unknown), "{long}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_are_asked_for_until_no_more_come() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(100, exit(1))]);
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (early, late) = (lines(&["reading"]), lines(&["reading", "write: No space left on device"]));
    fake.inner.lock().unwrap().logged = vec![vec![], early, late.clone(), late.clone()];
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(failure.last_lines, late);
    assert!(failure.explanation.contains("disk is full"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn what_was_denied_within_its_first_minute_is_tried_once_more_after_half_a_minute() {
    let denied = || vec!["fatal error: An error occurred (AccessDenied) when calling GetObject".to_owned()];
    let aligns = async |seconds: u64, times: usize| {
        let (fake, spec) = (Fake::new(), spec());
        fake.ends("align", vec![(seconds, exit(1)); times]);
        fake.inner.lock().unwrap().logged = vec![denied(); 20];
        let begun = Instant::now();
        let outcome = run(&fake, &spec).await;
        (matches!(outcome, Outcome::Succeeded(_)), fake.tasks_of("align"), begun.elapsed().as_secs())
    };
    let (succeeded, tasks, took) = aligns(5, 1).await;
    assert!(succeeded && tasks == 2 && took > 85, "{tasks} tasks, {took} s");
    // A role that does not allow it does not allow it half a minute later either.
    assert_eq!((aligns(5, 2).await.0, aligns(5, 2).await.1), (false, 2));
    // What ran for an hour was allowed to begin.
    assert_eq!((aligns(3600, 1).await.0, aligns(3600, 1).await.1), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn an_execution_role_that_may_not_write_the_log_yet_is_not_definitive() {
    let never = || {
        TaskEnd {
        stop_code: Some("TaskFailedToStart".to_owned()),
        stopped_reason: Some(
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException: User: arn:aws:sts::1:assumed-role/x is not authorized to perform: logs:CreateLogStream"
                .to_owned(),
        ),
        ..TaskEnd::default()
    }
    };
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(1, never())]);
    let (outcome, events) = timed(&fake, &spec).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    let waits = |event: &RunEvent| matches!(event, RunEvent::StepWaiting { at_most_seconds: Some(30), .. });
    assert!(events.iter().any(|(_, event)| waits(event)), "{events:?}");
    let fake = Fake::new();
    fake.ends("pull", vec![(1, never()), (1, never())]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    assert_eq!(fake.tasks_of("pull"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_told_and_not_waited_for_after_an_interrupt() {
    let (fake, spec, options) = (Fake::new(), spec(), options());
    fake.inner.lock().unwrap().never_ask_for = Some("pull".to_owned());
    let events = Mutex::new(Vec::new());
    let (interrupt, stop) = watch::channel(false);
    let tell = |event| events.lock().unwrap().push(event);
    let raised = async {
        tokio::time::sleep(minutes(2)).await;
        interrupt.send(true).unwrap();
        Instant::now()
    };
    let (outcome, at) = tokio::join!(drive_in(&fake, &spec, &options, &tell, stop), raised);
    assert!(matches!(outcome, Ok(Outcome::Stopped { .. })), "{outcome:?}");
    assert!(at.elapsed() <= Duration::from_secs(11), "{:?}", at.elapsed());
    let told = events.into_inner().unwrap();
    let waits = |event: &RunEvent| matches!(event, RunEvent::Waiting { what, .. } if what == "AWS to answer");
    assert!(told.iter().any(waits), "{told:?}");
}
