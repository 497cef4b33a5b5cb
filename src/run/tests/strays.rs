//! Tasks that no ledger knows of, and what they tell against one.

use super::*;
use crate::run::doubt::doubted;
use crate::run::strays::unrecorded;

/// The tasks of a run that was cut short, and its ledger.
async fn cut_short() -> (Fake, RunSpec, Ledger, Vec<TaggedTask>) {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(300, exit(0))]);
    killed_after(&fake, &spec, 25).await;
    let (ledger, tasks) = (fake.ledger(), fake.tagged("c", "g", "eu-west-2").await.unwrap());
    assert_eq!(tasks.len(), 1);
    (fake, spec, ledger, tasks)
}

#[tokio::test(start_paused = true)]
async fn only_this_samples_running_tasks_that_the_ledger_does_not_know_are_strays() {
    let (_, _, mut ledger, tasks) = cut_short().await;
    assert_eq!(unrecorded(tasks.clone(), "s1", None).len(), 1);
    assert_eq!(unrecorded(tasks.clone(), "s2", None).len(), 0);
    let stopped = tasks.iter().map(|task| TaggedTask { stopped: true, ..task.clone() }).collect();
    assert_eq!(unrecorded(stopped, "s1", None).len(), 0);
    // Known by what it was started as, before anybody wrote down what came of it.
    ledger.attempt_mut("pull", 1).unwrap().task_arn = None;
    assert_eq!(unrecorded(tasks.clone(), "s1", Some(&ledger)).len(), 0);
    ledger.attempt_mut("pull", 1).unwrap().verdict = Some(Verdict::Unknown);
    assert_eq!(unrecorded(tasks, "s1", Some(&ledger)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stray_has_stopped_before_its_step_runs_again() {
    for deaf in [false, true] {
        let (fake, spec) = (Fake::new(), spec());
        fake.ends("align", vec![(500, exit(0))]);
        killed_after(&fake, &spec, 45).await;
        fake.rewrite(|ledger| drop(ledger.steps.remove("align")));
        fake.inner.lock().unwrap().deaf = deaf;
        assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
        assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align")), (1, 2));
        let inner = fake.inner.lock().unwrap();
        let of_align = |task: &&FakeTask| task.request.tags["seqstack:step"] == "align";
        let aligns: Vec<&FakeTask> = inner.tasks.iter().filter(of_align).collect();
        assert_eq!(aligns[0].end.stop_code.as_deref() == Some("UserInitiated"), !deaf);
        assert!(!deaf || aligns[1].made >= aligns[0].ends_at, "it ran on beside the other one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_younger_task_of_the_same_sample_tells_against_a_result() {
    let (fake, spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    let mut ledger = fake.ledger();
    let made = ledger.last_attempt("align").unwrap().made_at.unwrap();
    let task = |sample: &str, seconds: i64| TaggedTask {
        arn: "arn:aws:ecs:eu-west-2:1:task/c/x".to_owned(),
        sample: sample.to_owned(),
        step: "align".to_owned(),
        started_by: "another".to_owned(),
        on: String::new(),
        made_at: Some(made + SignedDuration::from_secs(seconds)),
        stopped: true,
    };
    let steps = |ledger: &Ledger, task| doubted(ledger, &[task], "s1").into_keys().collect::<Vec<_>>();
    assert_eq!(steps(&ledger, task("s1", 60)), ["align"]);
    assert_eq!(steps(&ledger, task("s1", -60)), Vec::<String>::new());
    assert_eq!(steps(&ledger, task("s2", 60)), Vec::<String>::new());
    ledger.put_back = Some(made);
    assert_eq!(steps(&ledger, task("s2", 60)), ["align", "call", "pull", "qc"]);
}

#[tokio::test(start_paused = true)]
async fn another_samples_task_has_the_room_only_where_it_runs_on_the_same_instance() {
    for (on, gets_room) in [("", true), ("another container instance", false)] {
        let (fake, spec) = (Fake::new(), spec());
        run(&fake, &spec).await;
        {
            let mut inner = fake.inner.lock().unwrap();
            let mut request = inner.tasks[0].request.clone();
            request.tags.insert("seqstack:sample".to_owned(), "s2".to_owned());
            let (made, ends_at) = (Instant::now(), Instant::now() + HOUR);
            let (token, end) = ("s2's".to_owned(), exit(0));
            inner.tasks = vec![FakeTask { token, request, made, ends_at, end, stopped: false, stopped_at: None }];
            inner.ledger = None;
            inner.claims.clear();
            inner.crowded = Some(("pull".to_owned(), Instant::now() + Duration::from_secs(300)));
            inner.tasks_are_on = on.to_owned();
        }
        let (outcome, events) = run_with(&fake, &spec, &options()).await;
        assert_eq!(matches!(outcome, Ok(Outcome::Succeeded(_))), gets_room, "{on}: {outcome:?}");
        let told = format!("{events:?} {outcome:?}");
        assert_eq!(told.contains("sample s2 runs its step"), gets_room, "{told}");
    }
}
