//! Who drives, who waits for whom, who has lost it, and who is told to stop.

use super::*;
use crate::run::due::holder;
use crate::run::lease::{Book, Patience, Wants};

#[tokio::test(start_paused = true)]
async fn an_answer_of_run_task_that_never_came_is_found_by_its_token() {
    let (fake, spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().lose_run_task_of = Some("align".to_owned());
    killed_after(&fake, &spec, 60).await;
    fake.inner.lock().unwrap().lose_run_task_of = None;
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("align"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_recognised_by_its_nonce() {
    for write in 1..=12 {
        let (fake, spec) = (Fake::new(), spec());
        fake.inner.lock().unwrap().lose_answer_of = Some(write);
        assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)), "write {write}");
        assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_named_to_who_must_wait() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(400, exit(0))]);
    let (first, second) = (options(), DriveOptions { identity: "arn:other".to_owned(), ..options() });
    let ((first, _), (second, _)) = tokio::join!(run_with(&fake, &spec, &first), run_with(&fake, &spec, &second));
    assert!(matches!(first, Ok(Outcome::Succeeded(_))), "{first:?}");
    assert!(matches!(&second, Err(RunError::Held { who, .. }) if who == "arn:me on host"), "{second:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_known_dead_holder_is_not_waited_for() {
    let (fake, spec) = (Fake::new(), spec());
    let mine = DriveOptions { holder: Some("this machine".to_owned()), ..options() };
    let cut = tokio::time::timeout(Duration::from_secs(25), run_with(&fake, &spec, &mine)).await;
    assert!(cut.is_err());
    let (outcome, events) = run_with(&fake, &spec, &mine).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))));
    assert!(!events.iter().any(|event| matches!(event, RunEvent::WaitingForLease { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_starts_nothing_more() {
    let (fake, spec) = (Fake::new(), spec());
    let options = options();
    let theft = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        let mut ledger = fake.ledger();
        ledger.nonce = "theirs".to_owned();
        ledger.lease = Some(Lease { holder: "x".to_owned(), who: "arn:thief".to_owned(), since: fake.now() });
        fake.set_ledger(&ledger);
    };
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), theft);
    assert!(matches!(&outcome, Err(RunError::LeaseLost { by }) if by == "arn:thief"), "{outcome:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_finds_out_while_nothing_is_written() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(3000, exit(0))]);
    let (options, begun) = (options(), Instant::now());
    let theft = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        let mut ledger = fake.ledger();
        ledger.nonce = "theirs".to_owned();
        fake.set_ledger(&ledger);
    };
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), theft);
    assert!(matches!(outcome, Err(RunError::LeaseLost { .. })), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stop_run_takes_the_lease_and_stops_the_tasks() {
    let (fake, spec) = (Fake::new(), spec());
    let (driver, stopper) = (options(), options());
    let (_keep, stop) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        stop_run_in(&fake, AT, &stopper, &|_| (), stop).await.unwrap()
    };
    let ((outcome, _), stopped) = tokio::join!(run_with(&fake, &spec, &driver), stopping);
    assert_eq!(stopped.keys().collect::<Vec<_>>(), ["pull"]);
    assert!(matches!(outcome, Err(RunError::LeaseLost { .. }) | Ok(Outcome::Cancelled { .. })), "{outcome:?}");
    assert!(matches!(fake.ledger().run().unwrap().state, RunState::Cancelled { .. }));
    assert!(in_progress_in(&fake, AT, |_| false).await.unwrap().is_none());
    let Due::Yes(work) = is_due(&fake, &spec, Some("i-1")).await else { panic!("due") };
    assert!(work.reasons[0].contains("cancelled by arn:me"));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_leaves_the_task_and_the_next_apply_follows_it() {
    let (fake, spec) = (Fake::new(), spec());
    let (ask, stop) = watch::channel(false);
    let options = options();
    let asking = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        ask.send(true).unwrap();
    };
    let (outcome, ()) = tokio::join!(drive_in(&fake, &spec, &options, &|_| (), stop), asking);
    let Ok(Outcome::Stopped { running, left }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((running.len(), left.len()), (1, 3));
    assert!(fake.ledger().lease.is_none());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("pull"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_makes_sure_of_the_lease_before_asking_again() {
    let (fake, spec, options) = (Fake::new(), spec(), options());
    let now = Instant::now();
    let reach = [("RunTask", now + Duration::from_secs(420)), ("PutObject", now + Duration::from_secs(450))];
    let cut = async {
        // The attempt is in the ledger by then.
        tokio::time::sleep(Duration::from_secs(30)).await;
        fake.inner.lock().unwrap().out_of_reach = BTreeMap::from(reach);
        tokio::time::sleep(Duration::from_secs(360)).await;
        let mut ledger = fake.ledger();
        assert_eq!(ledger.open().count(), 1);
        ledger.nonce = "theirs".to_owned();
        ledger.lease = Some(Lease { holder: "x".to_owned(), who: "arn:other".to_owned(), since: fake.now() });
        fake.set_ledger(&ledger);
    };
    fake.inner.lock().unwrap().out_of_reach = BTreeMap::from([reach[0]]);
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), cut);
    assert!(matches!(&outcome, Err(RunError::LeaseLost { by }) if by == "arn:other"), "{outcome:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_shown_yet_is_stopped_before_its_step_runs_otherwise() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0)), (10, exit(0))]);
    {
        let mut inner = fake.inner.lock().unwrap();
        inner.lose_run_task_of = Some("pull".to_owned());
        inner.unseen_for = Duration::from_secs(20);
    }
    let mine = DriveOptions { holder: Some("this machine".to_owned()), ..options() };
    let cut = tokio::time::timeout(Duration::from_secs(25), run_with(&fake, &spec, &mine)).await;
    assert!(cut.is_err());
    fake.inner.lock().unwrap().lose_run_task_of = None;
    spec.steps[0].content.image = "pull:2".to_owned();
    let (outcome, _) = run_with(&fake, &spec, &mine).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    let inner = fake.inner.lock().unwrap();
    let pulls: Vec<&FakeTask> =
        inner.tasks.iter().filter(|task| task.request.tags["seqstack:step"] == "pull").collect();
    assert_eq!(pulls.len(), 2);
    let reason = pulls[0].end.stopped_reason.as_deref().unwrap_or_default();
    assert!(reason.starts_with("Host EC2"), "it ran on beside the other one: {reason}");
    assert_ne!(pulls[0].request.instance, pulls[1].request.instance);
}

#[test]
fn a_live_lease_is_shown_in_the_plan_and_an_old_one_is_not() {
    let lease = Lease { holder: "h".to_owned(), who: "arn:a on b".to_owned(), since: Timestamp::UNIX_EPOCH };
    let ledger = Ledger { schema: 1, lease: Some(lease), ..Ledger::default() };
    let at = |seconds| Kept { ledger: ledger.clone(), etag: String::new(), age: Duration::from_secs(seconds) };
    assert!(holder(&at(299)).is_some());
    assert!(holder(&at(300)).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_leave_off_stopping_a_run_lets_go_of_it() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(300, exit(0))]);
    killed_after(&fake, &spec, 25).await;
    fake.inner.lock().unwrap().deaf = true;
    let (ask, stop) = watch::channel(false);
    let options = options();
    let asking = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        ask.send(true).unwrap();
    };
    let (stopped, ()) = tokio::join!(stop_run_in(&fake, AT, &options, &|_| (), stop), asking);
    assert!(matches!(stopped, Err(RunError::Stopped)), "{stopped:?}");
    assert!(fake.ledger().lease.is_none());
    assert_eq!(fake.ledger().run().unwrap().state, RunState::Running);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_a_moment_ago_is_asked_for_again_and_not_for_ever() {
    let (_keep, stop) = watch::channel(false);
    let patience = Patience { events: &|_| (), stop };
    let absent = |operation| AwsError { operation, ..failure(Some(400), "ClusterNotFoundException", Class::NotFound) };
    let begun = Instant::now();
    let seen_later = async || {
        if begun.elapsed() < Duration::from_secs(30) { Err(absent("ecs:RunTask")) } else { Ok(()) }
    };
    patience.ask(&seen_later).await.unwrap();
    let begun = Instant::now();
    patience.ask(async || Err::<(), _>(absent("ecs:RunTask"))).await.unwrap_err();
    assert!((120..150).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // S3 shows what it was given at once.
    let begun = Instant::now();
    patience.ask(async || Err::<(), _>(absent("s3:GetObject"))).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

async fn book<'a>(fake: &'a Fake, patience: &'a Patience<'a>, options: &'a DriveOptions) -> Book<'a, Fake> {
    let wants = Wants { holder: "h", who: "arn:me", by_force: false, at: AT };
    Book::take(fake, patience, options.fresh.as_ref(), &wants).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_write_after_a_long_silence_is_dated_of_its_own_time() {
    let (fake, options) = (Fake::new(), options());
    let (_keep, stop) = watch::channel(false);
    let patience = Patience { events: &|_| (), stop };
    let book = book(&fake, &patience, &options).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    book.update(|_, _| ()).await.unwrap();
    assert_eq!(fake.ledger().written_at.unwrap().as_second(), fake.now().as_second());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_and_took_effect_is_followed_by_the_next() {
    let (fake, options) = (Fake::new(), options());
    let (ask, stop) = watch::channel(false);
    let patience = Patience { events: &|_| (), stop };
    let book = book(&fake, &patience, &options).await;
    fake.inner.lock().unwrap().lose_answer_of = Some(2);
    ask.send(true).unwrap();
    let given_up = book.update(|_, _| ()).await;
    assert!(matches!(given_up, Err(RunError::Stopped)), "{given_up:?}");
    book.release(|_, _| ()).await.unwrap();
    assert!(fake.ledger().lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn writes_that_meet_are_tried_again() {
    let (fake, options) = (Fake::new(), options());
    let (_keep, stop) = watch::channel(false);
    let patience = Patience { events: &|_| (), stop };
    let book = book(&fake, &patience, &options).await;
    fake.inner.lock().unwrap().conflicts = 3;
    book.update(|_, _| ()).await.unwrap();
    assert_eq!(fake.inner.lock().unwrap().writes, 2);
    // Not for ever.
    fake.inner.lock().unwrap().conflicts = usize::MAX;
    book.update(|_, _| ()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_was_deleted_under_a_drive_is_told() {
    let (fake, options) = (Fake::new(), options());
    let (_keep, stop) = watch::channel(false);
    let patience = Patience { events: &|_| (), stop };
    let book = book(&fake, &patience, &options).await;
    fake.inner.lock().unwrap().ledger = None;
    let gone = book.update(|_, _| ()).await;
    assert!(matches!(gone, Err(RunError::LedgerGone)), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_to_sign_in_is_told_so_and_not_that_aws_is_out_of_reach() {
    let events = Mutex::new(Vec::new());
    let tell = |event| events.lock().unwrap().push(event);
    let (_keep, stop) = watch::channel(false);
    let patience = Patience { events: &tell, stop };
    let begun = Instant::now();
    // Longer than AWS may be out of reach.
    let expired = || failure(Some(400), "ExpiredToken", Class::Credentials);
    patience.ask(async || if begun.elapsed() < 5 * HOUR { Err(expired()) } else { Ok(()) }).await.unwrap();
    let told = events.into_inner().unwrap();
    assert!(matches!(&told[..], [RunEvent::WaitingForCredentials { .. }]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_while_an_attempt_is_written_down_starts_no_task_of_it() {
    let (fake, spec) = (Fake::new(), spec());
    let (ask, stop) = watch::channel(false);
    // The lease, the claim on the instance, the run's record, the attempt.
    let attempt = 4;
    fake.inner.lock().unwrap().on_write = Some(Box::new(move |n| {
        ask.send_replace(n >= attempt);
    }));
    let options = options();
    let outcome = drive_in(&fake, &spec, &options, &|_| (), stop).await;
    assert!(matches!(outcome, Ok(Outcome::Stopped { .. })), "{outcome:?}");
    assert_eq!(fake.ledger().open().count(), 1);
    assert!(fake.inner.lock().unwrap().tasks.is_empty());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("pull"), 1);
}
