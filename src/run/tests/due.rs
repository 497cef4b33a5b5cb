//! Whether the run is due, which of its steps run, and why.

use super::*;

/// A run of two outputs, under one glob, that has succeeded.
async fn succeeded() -> (Fake, RunSpec) {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.outputs[0].keys = vec!["s1.*".to_owned()];
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    (fake, spec)
}

async fn work(fake: &Fake, spec: &RunSpec) -> Work {
    let Due::Yes(work) = is_due(fake, spec, Some("i-1")).await else { panic!("due") };
    work
}

fn kept(work: &Work) -> Vec<&str> {
    work.steps.iter().filter(|step| step.kept).map(|step| step.name.as_str()).collect()
}

impl Fake {
    pub(super) fn lose(&self, key: &str) {
        self.inner.lock().unwrap().objects.remove(&("out".to_owned(), key.to_owned())).unwrap();
    }

    pub(super) fn rewrite(&self, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger();
        change(&mut ledger);
        self.set_ledger(&ledger);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_none_of_the_inputs_decides_nothing() {
    let (fake, spec) = succeeded().await;
    let due = |pending: &str| {
        let pending = BTreeSet::from([("in".to_owned(), pending.to_owned())]);
        let (fake, spec) = (&fake, &spec);
        async move { due(spec, &observed(fake, spec).await, None, false, &pending).unwrap().due }
    };
    assert!(matches!(due("notes.txt").await, Due::No(_)));
    assert!(matches!(due("s1_R2.fastq.gz").await, Due::KnownAfterUpload { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_output_that_the_stack_file_names_is_missed_although_no_run_wrote_it() {
    let (fake, mut spec) = succeeded().await;
    spec.outputs[0].keys.push("other.txt".to_owned());
    assert_eq!(work(&fake, &spec).await.reasons, ["output s3://out/other.txt is missing"]);
}

#[tokio::test(start_paused = true)]
async fn an_output_is_missed_while_another_one_matches_its_glob_and_only_its_writer_runs() {
    let (fake, spec) = succeeded().await;
    fake.lose("s1.qc.txt");
    let written_by = |step: &str| {
        fake.rewrite(|ledger| {
            for output in &mut ledger.runs[0].outputs {
                let writer = if output.object.key == "s1.vcf" { "call" } else { step };
                output.written_by = Some(writer.to_owned());
            }
        });
    };
    written_by("qc");
    let due = work(&fake, &spec).await;
    assert_eq!(due.reasons, ["output s3://out/s1.qc.txt is missing"]);
    assert_eq!(kept(&due), ["pull", "align", "call"]);
    // And what follows it.
    written_by("align");
    assert_eq!(kept(&work(&fake, &spec).await), ["pull", "qc"]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_who_wrote_an_output_the_steps_run_that_nothing_follows() {
    let (fake, spec) = succeeded().await;
    fake.lose("s1.qc.txt");
    fake.rewrite(|ledger| ledger.runs[0].outputs.iter_mut().for_each(|output| output.written_by = None));
    assert_eq!(kept(&work(&fake, &spec).await), ["pull", "align"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_run_that_did_not_write_its_outputs_every_step_runs() {
    let (fake, spec) = succeeded().await;
    fake.lose("s1.vcf");
    let (step, verdict, explanation) = (None, Verdict::Unknown, String::new());
    fake.rewrite(|ledger| ledger.runs[0].state = RunState::Failed { step, verdict, explanation });
    let Due::Yes(work) = due(&spec, &observed(&fake, &spec).await, Some("i-1"), true, &BTreeSet::new()).unwrap().due
    else {
        panic!("due")
    };
    assert_eq!(kept(&work), Vec::<&str>::new());
    assert_eq!(work.reasons, ["the last run wrote not all of its outputs"]);
}

#[tokio::test(start_paused = true)]
async fn what_changed_is_told_whatever_its_size() {
    let (fake, mut spec) = succeeded().await;
    fake.put("in", "s1_R1.fastq.gz", "b");
    assert_eq!(work(&fake, &spec).await.reasons, ["input s1_R1.fastq.gz changed"]);
    fake.put("in", "s1_R1.fastq.gz", "a");
    spec.steps[3].content.image = "call:2".to_owned();
    let work = work(&fake, &spec).await;
    assert_eq!(work.reasons, ["image of step `call` changed"]);
    assert_eq!(work.steps[3].why, "its image changed");
    assert_eq!(work.steps.iter().map(|step| step.changed).collect::<Vec<_>>(), [false, false, false, true]);
    // With the instance only the result is gone.
    let Due::Yes(elsewhere) = is_due(&fake, &spec, None).await else { panic!("due") };
    assert_eq!(elsewhere.steps.iter().map(|step| step.changed).collect::<Vec<_>>(), [false, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_unasked_only_under_other_settings_or_when_it_passes() {
    let (fake, mut spec) = succeeded().await;
    fake.ends("call", vec![(1, exit(1))]);
    fake.put("in", "s1_R1.fastq.gz", "b");
    assert!(matches!(run(&fake, &spec).await, Outcome::Failed(_)));
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Failed(_)));
    let settings = std::mem::replace(&mut spec.steps[3].settings, "more memory".to_owned());
    assert!(work(&fake, &spec).await.reasons.contains(&"its settings changed since".to_owned()));
    spec.steps[3].settings = settings;
    let machine = std::mem::replace(&mut spec.machine, "a larger one".to_owned());
    assert!(work(&fake, &spec).await.reasons.contains(&"its settings changed since".to_owned()));
    spec.machine = machine;
    fake.rewrite(|ledger| {
        let (step, explanation) = (Some("call".to_owned()), String::new());
        let verdict = Verdict::NeverStarted { reason: "no room".to_owned(), retryable: true };
        ledger.runs[1].state = RunState::Failed { step, verdict, explanation };
    });
    work(&fake, &spec).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_that_was_put_right_again_what_counts_is_the_success_before_it() {
    let (fake, good) = succeeded().await;
    let mut bad = good.clone();
    bad.steps[3].content.image = "call:2".to_owned();
    fake.ends("call", vec![(1, exit(1))]);
    assert!(matches!(run(&fake, &bad).await, Outcome::Failed(_)));
    assert!(matches!(is_due(&fake, &good, Some("i-1")).await, Due::No(_)));
    fake.lose("s1.vcf");
    let due = work(&fake, &good).await;
    assert_eq!(due.reasons, ["output s3://out/s1.vcf is missing"]);
    assert_eq!(kept(&due), ["pull", "align", "qc"]);
}
