//! An instance's folders belong to one run: what begins where, and what needs a fresh instance.

use super::*;

async fn drive(fake: &Fake, spec: &RunSpec) -> Outcome {
    drive_with(fake, spec, &options()).await.0.unwrap()
}

fn why_not(outcome: Outcome) -> String {
    let Outcome::InstanceUsed { instance, because } = outcome else { panic!("{outcome:?}") };
    assert_eq!(instance, "i-1");
    because
}

#[tokio::test(start_paused = true)]
async fn a_run_of_other_inputs_begins_on_a_fresh_instance() {
    let (fake, spec) = (Fake::new(), spec());
    assert!(matches!(drive(&fake, &spec).await, Outcome::Succeeded(_)));
    fake.put("in", "s1_R1.fastq.gz", "b");
    assert_eq!(why_not(drive(&fake, &spec).await), "step `pull` has run on i-1 before");
    assert_eq!(fake.tasks_of("pull"), 1);
    assert!(fake.ledger().lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_first_step_is_kept_goes_on_where_it_is() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.ends("call", vec![(10, exit(1))]);
    assert!(matches!(drive(&fake, &spec).await, Outcome::Failed(_)));
    spec.steps[3].content.image = "call:2".to_owned();
    assert!(matches!(drive(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("call")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_first_step_that_runs_is_joined_and_one_that_ended_badly_begins_elsewhere() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.steps.push(step("reference", &[]));
    fake.ends("pull", vec![(100, exit(1))]);
    killed_after(&fake, &spec, 30).await;
    // Joined: both tasks run on.
    assert!(matches!(drive(&fake, &spec).await, Outcome::Failed(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("reference")), (1, 1));
    let retry = DriveOptions { retry: true, ..options() };
    let outcome = drive_with(&fake, &spec, &retry).await.0.unwrap();
    assert!(why_not(outcome).contains("has run on i-1 before"));
}

#[tokio::test(start_paused = true)]
async fn each_further_attempt_at_a_first_step_takes_a_fresh_instance() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.steps[0].attempts = 10;
    fake.ends("pull", vec![(10, exit(1)); 5]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert!(failure.explanation.ends_with("(attempt 3 of 3)"), "{failure}");
    let inner = fake.inner.lock().unwrap();
    let on: Vec<&str> = inner.tasks.iter().map(|task| task.request.instance.as_str()).collect();
    assert_eq!(on, ["i-1", "i-2", "i-3"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_nothing_ran_on_is_used() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(1, TaskEnd { stop_code: Some("TaskFailedToStart".to_owned()), ..TaskEnd::default() })]);
    // Cut short after the claim, before anything was started; then tasks that never start.
    killed_after(&fake, &spec, 10).await;
    assert_eq!(fake.inner.lock().unwrap().claims.len(), 1);
    assert!(matches!(drive(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("pull"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_leaves_its_instance_to_nobody() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("call", vec![(10, exit(1))]);
    assert!(matches!(drive(&fake, &spec).await, Outcome::Failed(_)));
    fake.inner.lock().unwrap().ledger = None;
    assert!(why_not(drive(&fake, &spec).await).contains("the ledger does not know"));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_ledger_that_does_not_know_of_a_task_does_not_begin_beside_its_files() {
    let (fake, spec) = (Fake::new(), spec());
    killed_after(&fake, &spec, 25).await;
    fake.rewrite(|ledger| {
        ledger.steps.clear();
        ledger.runs.clear();
    });
    assert!(why_not(drive(&fake, &spec).await).contains("the ledger does not know of it"));
}

/// The ledger of another sample that is driven, or was.
fn others(fake: &Fake, age: u64) {
    let key = ledger_key("eu-west-2", "g", "s2");
    let lease = Lease { holder: "h".to_owned(), who: "arn:a on b".to_owned(), since: fake.now() };
    let ledger = Ledger { schema: 1, at: format!("s3://out/{key}"), lease: Some(lease), ..Ledger::default() };
    let mut inner = fake.inner.lock().unwrap();
    inner.others.insert(key, (ledger.sealed().unwrap(), age));
    inner.claims.insert("i-1".to_owned(), Claim { sample: "s2".to_owned(), token: "t".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_until_another_samples_run_on_its_instance_has_ended() {
    let (fake, spec) = (Fake::new(), spec());
    others(&fake, 10);
    let ended = async {
        tokio::time::sleep(Duration::from_secs(1000)).await;
        others(&fake, 400);
    };
    let begun = Instant::now();
    let options = options();
    let ((outcome, events), ()) = tokio::join!(drive_with(&fake, &spec, &options), ended);
    assert_eq!(why_not(outcome.unwrap()), "sample s2 has run on i-1");
    assert!((1000..1030).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let told: Vec<&RunEvent> = events.iter().filter(|one| matches!(one, RunEvent::WaitingForTurn { .. })).collect();
    assert_eq!(told.len(), 1, "{events:?}");
    assert!(fake.inner.lock().unwrap().tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_ends_the_waiting_for_ones_turn() {
    let (fake, spec, options) = (Fake::new(), spec(), options());
    others(&fake, 10);
    let (ask, stop) = watch::channel(false);
    let asking = async {
        tokio::time::sleep(Duration::from_secs(33)).await;
        ask.send(true).unwrap();
    };
    let (outcome, ()) = tokio::join!(drive_in(&fake, &spec, &options, &|_| (), stop), asking);
    assert!(matches!(outcome, Ok(Outcome::Stopped { .. })), "{outcome:?}");
}
