//! How a drive begins: what of an earlier one it goes on with.

use super::*;

/// Whether the first task of a step has ended with its instance.
fn went(fake: &Fake, step: &str) -> bool {
    let inner = fake.inner.lock().unwrap();
    let first = inner.tasks.iter().find(|task| task.request.tags["seqstack:step"] == step).unwrap();
    first.end.stopped_reason.as_deref().is_some_and(|reason| reason.starts_with("Host EC2"))
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_step_that_runs_again_counts_no_more_on_its_own_instance() {
    for (instance, void) in [("i-1", true), ("i-2", false)] {
        let (fake, mut spec) = (Fake::new(), spec());
        run(&fake, &spec).await;
        fake.lose("s1.vcf");
        spec.instance = Link::theirs("instance", instance);
        killed_after(&fake, &spec, 5).await;
        assert_eq!(fake.ledger().steps["call"].attempts[0].void, void, "{instance}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_elsewhere_is_of_its_new_instance() {
    let (fake, mut spec) = (Fake::new(), spec());
    killed_after(&fake, &spec, 35).await;
    spec.instance = Link::theirs("instance", "i-2");
    run(&fake, &spec).await;
    assert_eq!(fake.ledger().runs.len(), 1);
    assert_eq!(fake.ledger().runs[0].instance, "i-2");
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_doubted_step_is_not_followed() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(3000, exit(0))]);
    killed_after(&fake, &spec, 25).await;
    let now = fake.now();
    fake.rewrite(|ledger| ledger.put_back = Some(now));
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert!(went(&fake, "pull"));
    assert_eq!(fake.tasks_of("pull"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_not_followed_where_what_it_builds_upon_runs_again() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(3000, exit(0))]);
    killed_after(&fake, &spec, 45).await;
    fake.rewrite(|ledger| ledger.attempt_mut("pull", 1).unwrap().void = true);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert!(went(&fake, "align"));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_goes_before_its_agent_registers_is_not_waited_for() {
    let (fake, spec, begun) = (Fake::new(), spec(), Instant::now());
    {
        let mut inner = fake.inner.lock().unwrap();
        (inner.gone, inner.unregistered) = (true, true);
    }
    assert!(matches!(run(&fake, &spec).await, Outcome::HostLost { .. }));
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
    assert!(fake.inner.lock().unwrap().tasks.is_empty());
}
