//! What a ledger says of a step: which of its attempts count, for whom.

use super::*;
use crate::run::ledger::{Output, RunRecord};

/// The ledger of a run that has succeeded, and the key of one of its steps.
async fn after_a_run() -> (Ledger, BTreeMap<String, String>) {
    let (fake, spec) = (Fake::new(), spec());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    let ledger = fake.ledger();
    let keys = ledger.run().unwrap().steps.iter().map(|step| (step.name.clone(), step.key.clone())).collect();
    (ledger, keys)
}

/// Another attempt like the last one, changed.
fn again(ledger: &mut Ledger, step: &str, change: impl FnOnce(&mut crate::run::ledger::Attempt)) {
    let mut next = ledger.steps[step].attempts.last().unwrap().clone();
    next.n += 1;
    change(&mut next);
    ledger.push_attempt(step, next);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_started_leaves_the_result_before_it() {
    let (mut ledger, keys) = after_a_run().await;
    let never = Verdict::NeverStarted { reason: "no room".to_owned(), retryable: true };
    again(&mut ledger, "align", |attempt| attempt.verdict = Some(never));
    assert!(ledger.kept("align", &keys["align"], "i-1"));
    assert!(ledger.kept("call", &keys["call"], "i-1"));
    assert!(!ledger.kept("call", &keys["call"], "i-2"));
    again(&mut ledger, "align", |attempt| attempt.verdict = Some(Verdict::Failed { exit: 1 }));
    assert!(!ledger.kept("align", &keys["align"], "i-1"));
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_only_with_what_it_was_built_on() {
    let (mut ledger, keys) = after_a_run().await;
    again(&mut ledger, "pull", |_| ());
    assert!(ledger.kept("pull", &keys["pull"], "i-1"));
    assert!(!ledger.kept("align", &keys["align"], "i-1"));
}

#[tokio::test(start_paused = true)]
async fn a_run_shows_its_own_attempts_only() {
    let (mut ledger, _) = after_a_run().await;
    let shown = |ledger: &Ledger| ledger.attempt_of(ledger.run().unwrap(), "align").map(|attempt| attempt.n);
    again(&mut ledger, "align", |attempt| attempt.request.instance = "i-2".to_owned());
    assert_eq!(shown(&ledger), Some(1));
    ledger.runs[0].instance = "i-3".to_owned();
    assert_eq!(shown(&ledger), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_show_a_failure_of_before_it() {
    let (mut ledger, _) = after_a_run().await;
    let began = ledger.runs[0].started_at;
    let shown = |ledger: &Ledger| ledger.attempt_of(ledger.run().unwrap(), "align").is_some();
    let attempt = ledger.attempt_mut("align", 1).unwrap();
    // Two clocks date them: a little earlier may be later.
    (attempt.verdict, attempt.ended_at) =
        (Some(Verdict::Failed { exit: 1 }), Some(began - SignedDuration::from_secs(2)));
    assert!(shown(&ledger));
    ledger.attempt_mut("align", 1).unwrap().ended_at = Some(began - SignedDuration::from_secs(3));
    assert!(!shown(&ledger));
}

#[tokio::test(start_paused = true)]
async fn a_summary_counts_the_attempts_under_the_runs_key() {
    let (mut ledger, _) = after_a_run().await;
    again(&mut ledger, "align", |_| ());
    again(&mut ledger, "align", |attempt| attempt.key = "other".to_owned());
    let rows = summary(&ledger);
    let align = rows.iter().find(|row| row.name == "align").unwrap();
    assert_eq!(align.attempts, 2);
    assert_eq!(align.task_arn, ledger.steps["align"].attempts[1].task_arn);
}

#[tokio::test(start_paused = true)]
async fn a_summary_has_what_the_run_did_and_nothing_of_before() {
    let (fake, spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    tokio::time::sleep(HOUR).await;
    // Once more, all of it, on another instance; and a step of it never starts.
    fake.put("in", "s1_R1.fastq.gz", "b");
    let other = RunSpec { instance: Link::theirs("instance", "i-2"), ..spec.clone() };
    run(&fake, &other).await;
    fake.put("in", "s1_R1.fastq.gz", "a");
    tokio::time::sleep(HOUR).await;
    fake.rewrite(|ledger| ledger.runs.clear());
    fake.inner.lock().unwrap().refuse = vec!["RESOURCE:MEMORY"; 100];
    let third = RunSpec { instance: Link::theirs("instance", "i-3"), ..spec };
    assert!(matches!(run(&fake, &third).await, Outcome::Failed(_)));
    let rows = summary(&fake.ledger());
    let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.attempts, row.exit_code)).collect();
    assert_eq!(told[1..], [("align", 0, None), ("qc", 0, None), ("call", 0, None)]);
    assert!(told[0].1 > 0 && told[0].2.is_none(), "{told:?}");
}

/// Twenty runs over three thousand inputs, each run sent whole with every renewal of the lease.
#[tokio::test(start_paused = true)]
async fn many_runs_over_many_inputs_stay_small_enough_to_be_sent() {
    let (mut ledger, _) = after_a_run().await;
    let many =
        |what: &str| (0..3_000).map(|n| object(&format!("run/{what}/{n:0>60}"), &"e".repeat(34))).collect::<Vec<_>>();
    let first = ledger.runs[0].clone();
    let written = |object| Output { object, seconds_into_run: Some(1), written_by: Some("call".to_owned()) };
    let outputs: Vec<_> = many("out").into_iter().map(written).collect();
    for n in 1..=20 {
        ledger.push_run(RunRecord {
            inputs: many("in"),
            key: format!("k{n}"),
            state: RunState::Running,
            ..first.clone()
        });
        let run = ledger.runs.last_mut().unwrap();
        run.outputs.clone_from(&outputs);
        run.state = if n == 18 { RunState::Succeeded } else { RunState::HostLost };
    }
    let lists: Vec<_> = ledger.runs.iter().map(|run| (run.inputs.len(), run.outputs.len())).collect();
    assert_eq!(lists.len(), 20);
    let (before, last) = lists.split_at(17);
    assert!(before.iter().all(|list| *list == (0, 0)), "{lists:?}");
    assert_eq!(last, [(3_000, 3_000), (0, 0), (3_000, 3_000)], "the last success and the last run");
    let bytes = ledger.sealed().unwrap().len();
    assert!(bytes < 6 << 20, "{bytes}");
}

/// What a run long ago wrote may be forgotten: then nothing says that it is still there.
#[tokio::test(start_paused = true)]
async fn an_earlier_success_whose_outputs_are_forgotten_does_not_stand() {
    let (fake, spec) = (Fake::new(), spec());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    for (forgotten, is_due) in [(false, false), (true, true)] {
        let mut found = observed(&fake, &spec).await;
        let ledger = &mut found.ledger.as_mut().unwrap().ledger;
        let later = RunRecord { key: "another".to_owned(), state: RunState::HostLost, ..ledger.runs[0].clone() };
        ledger.runs.push(later);
        if forgotten {
            ledger.runs[0].outputs.clear();
        }
        let answer = due(&spec, &found, None, false, &BTreeSet::new()).unwrap().due;
        assert_eq!(matches!(answer, Due::Yes(_)), is_due, "{answer:?}");
    }
}
