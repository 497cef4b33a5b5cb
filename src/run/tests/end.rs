//! How a run ends, and what is told and written down of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_run_that_did_not_write_its_outputs_has_failed() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.outputs[0].keys = vec!["never.txt".to_owned()];
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(failure.step, None);
    assert!(failure.explanation.contains("s3://out/never.txt"), "{failure}");
    assert!(matches!(fake.ledger().run().unwrap().state, RunState::Failed { step: None, .. }));
    assert!(fake.ledger().run().unwrap().ended_at.is_some());
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_went_long_before_its_deadline_was_lost() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0))]);
    let deadline = Some(Timestamp::from_second(fake.now().as_second() + 7200).unwrap());
    fake.inner.lock().unwrap().life = Some(Life { launched: Some(fake.now()), deadline, ended_by_others: false });
    let gone = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        fake.inner.lock().unwrap().gone = true;
    };
    let options = options();
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), gone);
    assert!(matches!(outcome, Ok(Outcome::HostLost { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_instance_explains_what_else_went_wrong_on_it() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(10, exit(1))]);
    fake.ends("qc", vec![(36_000, exit(0))]);
    let gone = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        fake.inner.lock().unwrap().gone = true;
    };
    let options = options();
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), gone);
    assert!(matches!(outcome, Ok(Outcome::HostLost { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_more_is_placed() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(10, exit(1))]);
    fake.inner.lock().unwrap().crowded = Some(("qc".to_owned(), Instant::now() + Duration::from_secs(45)));
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.tasks_of("qc"), 0);
}

#[tokio::test(start_paused = true)]
async fn log_lines_that_are_on_their_way_are_waited_for() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("call", vec![(10, exit(1))]);
    fake.inner.lock().unwrap().silent = 2;
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(failure.last_lines.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_output_of_before_the_run_is_told_and_one_of_a_kept_step_is_not() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.outputs[0].keys = vec!["s1.*".to_owned()];
    fake.put("out", "s1.old", "x");
    fake.ends("call", vec![(100, exit(1))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    let (outcome, _) = run_with(&fake, &spec, &DriveOptions { retry: true, ..options() }).await;
    let Ok(Outcome::Succeeded(success)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((fake.tasks_of("qc"), fake.tasks_of("call")), (1, 2));
    assert_eq!(success.notes.len(), 1, "{:?}", success.notes);
    assert!(success.notes[0].starts_with("s3://out/s1.old was written before this run"), "{:?}", success.notes);
}

#[tokio::test(start_paused = true)]
async fn who_finds_nothing_to_do_lets_go_of_the_lease() {
    let (fake, spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    assert!(matches!(run(&fake, &spec).await, Outcome::AlreadyDone(_)));
    assert!(fake.ledger().lease.is_none());
    fake.put("in", "s1_R1.fastq.gz", "b");
    fake.ends("call", vec![(10, exit(1))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    assert!(matches!(run(&fake, &spec).await, Outcome::FailedBefore(_)));
    assert!(fake.ledger().lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_shown_yet_is_not_forgotten() {
    let (fake, spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().unseen_for = Duration::from_secs(6);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_differs_from_the_last_run_is_listed_and_nothing_else() {
    use crate::run::changed::{overwritten, step_changes};
    let (fake, mut spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    assert!(step_changes(&spec, &fake.ledger()).is_empty());
    spec.steps[1].overrides.command = Some(vec!["bwa".to_owned()]);
    assert_eq!(step_changes(&spec, &fake.ledger()).into_keys().collect::<Vec<_>>(), ["align"]);
    let own = async || {
        let outputs = observed(&fake, &spec).await.outputs;
        overwritten(Some(&fake.ledger()), &outputs).iter().map(|one| one.by_a_run).collect::<Vec<_>>()
    };
    assert_eq!(own().await, [true]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    fake.put("out", "s1.vcf", "somebody's");
    assert_eq!(own().await, [false]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_goes_between_two_steps_is_lost_and_no_step_has_failed() {
    let (fake, spec) = (Fake::new(), spec());
    {
        let mut inner = fake.inner.lock().unwrap();
        (inner.refuse, inner.gone) = (vec!["AGENT"; 300], true);
    }
    let outcome = run(&fake, &spec).await;
    assert!(matches!(outcome, Outcome::HostLost { .. }), "{outcome:?}");
}
