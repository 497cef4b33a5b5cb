//! An older version of the ledger, whole and in its place, put back by hand.

use super::*;

/// Two steps have run on other reads since the ledger that is given was written; both runs on the same instance.
async fn run_on_other_reads(fake: &Fake, spec: &RunSpec) -> Ledger {
    fake.ends("align", vec![(10, exit(0)), (10, exit(0))]);
    fake.ends("call", vec![(10, exit(1)), (10, exit(1))]);
    assert!(matches!(run(fake, spec).await, Outcome::Failed(_)));
    let old = fake.ledger();
    fake.put("in", "s1_R1.fastq.gz", "b");
    assert!(matches!(run(fake, spec).await, Outcome::Failed(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align")), (2, 2));
    // The first reads are back, and so is what was known of them; on the instance are the others.
    fake.put("in", "s1_R1.fastq.gz", "a");
    fake.set_ledger(&old);
    old
}

#[tokio::test(start_paused = true)]
async fn a_kept_step_that_a_task_of_since_contradicts_runs_again() {
    let (fake, spec) = (Fake::new(), spec());
    run_on_other_reads(&fake, &spec).await;
    let options = DriveOptions { retry: true, ..options() };
    let (outcome, events) = run_with(&fake, &spec, &options).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align"), fake.tasks_of("qc")), (3, 3, 3));
    let doubted = |event: &RunEvent| matches!(event, RunEvent::StepDoubted { name, .. } if name == "pull");
    assert!(events.iter().any(doubted), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_put_back_after_ecs_has_forgotten_is_told_by_its_date() {
    let (fake, spec) = (Fake::new(), spec());
    let old = run_on_other_reads(&fake, &spec).await;
    tokio::time::sleep(2 * HOUR).await;
    // Where it lies is what S3 dates; what it says of itself is older.
    fake.set_ledger(&old);
    let Due::Yes(work) = is_due(&fake, &spec, Some("i-1")).await else { panic!("due") };
    assert!(work.reasons[0].contains("put back from a copy"), "{:?}", work.reasons);
    assert!(work.steps.iter().all(|step| !step.kept), "{:?}", work.steps);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align")), (3, 3));
    assert_eq!(fake.ledger().put_back, None);
    assert!(matches!(is_due(&fake, &spec, None).await, Due::No(_)));
}

#[tokio::test(start_paused = true)]
async fn a_success_that_was_put_back_counts_while_the_outputs_are_its_own() {
    let (fake, spec) = (Fake::new(), spec());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    let old = fake.ledger();
    tokio::time::sleep(2 * HOUR).await;
    fake.set_ledger(&old);
    assert!(matches!(is_due(&fake, &spec, None).await, Due::No(_)));
    fake.put("in", "s1_R1.fastq.gz", "b");
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    fake.put("in", "s1_R1.fastq.gz", "a");
    tokio::time::sleep(2 * HOUR).await;
    fake.set_ledger(&old);
    let Due::Yes(work) = is_due(&fake, &spec, None).await else { panic!("the outputs are of the other reads") };
    assert!(work.reasons[0].contains("put back from a copy"), "{:?}", work.reasons);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_whose_holder_slept_is_not_taken_for_put_back() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(5000, exit(0))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    tokio::time::sleep(5 * HOUR).await;
    assert_eq!(observed(&fake, &spec).await.ledger.unwrap().ledger.put_back, None);
    assert!(matches!(is_due(&fake, &spec, None).await, Due::No(_)));
}
