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
    fake.inner.lock().unwrap().life = Some(Life { launched: Some(fake.now()), deadline, ..Life::default() });
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
    tokio::time::sleep(Duration::from_secs(100)).await;
    fake.ends("call", vec![(100, exit(1))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    let (outcome, _) = run_with(&fake, &spec, &DriveOptions { retry: true, ..options() }).await;
    let Ok(Outcome::Succeeded(success)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((fake.tasks_of("qc"), fake.tasks_of("call")), (1, 2));
    assert_eq!(success.notes.len(), 1, "{:?}", success.notes);
    assert!(success.notes[0].starts_with("s3://out/s1.old was there before"), "{:?}", success.notes);
    let written: Vec<&str> = success.outputs.iter().map(|output| output.object.key.as_str()).collect();
    assert_eq!(written, ["s1.qc.txt", "s1.vcf"]);
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

/// What was there before the run, and a push whose pattern matches nothing: S3 holds last month's result.
#[tokio::test(start_paused = true)]
async fn an_output_that_no_step_of_this_run_wrote_is_no_success_of_it() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("call", vec![(10, exit(0))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    let wrote = fake.ledger().runs[0].outputs[0].object.last_modified;
    // The same keys, other inputs: `call` writes nothing this time, although it exits with 0.
    fake.put("in", "s1_R1.fastq.gz", "b");
    tokio::time::sleep(Duration::from_secs(100)).await;
    fake.inner.lock().unwrap().writes_nothing = true;
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(failure.step, None);
    assert!(
        failure.explanation.contains("s3://out/s1.vcf was there before, and no step of this run wrote it"),
        "{failure}"
    );
    assert_eq!(fake.inner.lock().unwrap().objects[&("out".to_owned(), "s1.vcf".to_owned())].2, wrote.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_result_of_between_two_runs_of_kept_steps_counts_for_neither() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.ends("call", vec![(10, exit(1))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    // Somebody else's, between the steps that are kept and the one that runs again.
    tokio::time::sleep(Duration::from_secs(100)).await;
    fake.put("out", "s1.vcf", "somebody's");
    tokio::time::sleep(Duration::from_secs(100)).await;
    fake.inner.lock().unwrap().writes_nothing = true;
    spec.steps[3].content.image = "call:2".to_owned();
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(failure) if failure.step.is_none()));
    assert_eq!(fake.tasks_of("pull"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_output_is_told_after_the_run_and_in_every_plan() {
    let (fake, spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().writes_empty = true;
    let Outcome::Succeeded(success) = run(&fake, &spec).await else { panic!("success") };
    assert_eq!(success.notes, ["s3://out/s1.vcf is empty: it has 0 bytes"]);
    let assessed = due(&spec, &observed(&fake, &spec).await, None, false, &BTreeSet::new()).unwrap();
    assert!(matches!(assessed.due, Due::No(_)));
    assert_eq!(assessed.notes, success.notes);
}
