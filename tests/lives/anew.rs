//! What a step reads is what its key says, and a success is one of this run: runs that begin anew, on instances that stay.

use std::collections::BTreeSet;
use std::time::Duration;

use seqstack::choose::Choice;
use seqstack::cli::{Consent, Wish};
use seqstack::command::{Exit, apply};
use seqstack::sandbox::engine::fake::Outcome;
use serde_json::json;

use crate::lab::{Lab, STACK, edited, fine, wish, yes};

/// Each task's command with the instance that it ran on.
fn on(lab: &Lab) -> Vec<(String, String)> {
    let line = |launch: &seqstack::sandbox::engine::Launch| launch.command.clone().unwrap_or_default().join(" ");
    lab.fake.launches().iter().map(|launch| (line(launch), launch.instance.clone())).collect()
}

/// How many instances ran these steps of each run: one for each run, and no two runs share one.
fn one_instance_a_run(lab: &Lab, steps_a_run: usize) {
    let all = on(lab);
    let runs: Vec<BTreeSet<&String>> =
        all.chunks(steps_a_run).map(|run| run.iter().map(|(_, instance)| instance).collect()).collect();
    assert!(runs.iter().all(|instances| instances.len() == 1), "{all:?}");
    assert_eq!(runs.iter().flatten().collect::<BTreeSet<_>>().len(), runs.len(), "{all:?}");
}

fn always() -> String {
    edited("lifetime        = \"run\"\nmax_hours       = 2", "lifetime        = \"always\"")
}

#[tokio::test(start_paused = true)]
async fn on_an_instance_that_stays_each_run_of_other_inputs_begins_on_a_fresh_one() {
    let (lab, text) = (Lab::new(), always());
    assert_eq!(lab.apply(&text).await, Exit::Done);
    for reads in ["other reads", "OTHER reads"] {
        lab.sandbox.put_object("lab-reads", "S1.fq", reads.into()).unwrap();
        let planned = lab.plan(&text).await;
        let told = anstream::adapter::strip_str(&planned.text(false)).to_string();
        assert!(told.contains("the run begins anew: step `pull` has run on i-"), "{told}");
        assert!(planned.losses.is_empty(), "{told}");
        assert_eq!(lab.apply(&text).await, Exit::Done);
        assert!(lab.plan(&text).await.plan.is_empty());
    }
    assert_eq!(lab.mutations()["ec2:RunInstances"], 3);
    one_instance_a_run(&lab, 3);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_a_failed_run_has_kept_is_used_for_its_later_steps_only() {
    let lab = Lab::with(|line| Outcome { code: i32::from(line == "call S1"), ..fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    let mended = edited("call ${sample.name}", "call better ${sample.name}");
    assert!(lab.plan(&mended).await.plan.steps.keys().all(|id| id.to_string() != "create instance.worker[S1]"));
    // Another input: nothing on the instance is of use, so nobody is asked whether it may go.
    lab.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
    assert_eq!(lab.apply(&mended).await, Exit::Done);
    let all = on(&lab);
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all[..2].iter().all(|(_, instance)| *instance == all[0].1), "{all:?}");
    assert!(all[2..].iter().all(|(_, instance)| *instance == all[2].1 && *instance != all[0].1), "{all:?}");
    lab.destroy(&mended).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_cut_short_anywhere_reads_no_files_of_before() {
    for seconds in [3, 6, 9, 12, 20] {
        let (lab, text) = (Lab::new(), always());
        assert_eq!(lab.apply(&text).await, Exit::Done);
        lab.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
        let killed = tokio::time::timeout(Duration::from_secs(seconds), lab.apply(&text)).await;
        let cut = killed.is_err();
        lab.sandbox.put_object("lab-reads", "S1.fq", "third reads".into()).unwrap();
        assert_eq!(lab.discard(&text).await, Exit::Done, "{seconds}");
        let all = on(&lab);
        let last: BTreeSet<&String> = all[all.len() - 3..].iter().map(|(_, instance)| instance).collect();
        assert_eq!(last.len(), 1, "{seconds}: {all:?}");
        assert!(all[..all.len() - 3].iter().all(|(_, instance)| !last.contains(instance)), "{seconds} {cut}: {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_samples_files_are_on_no_ones_way() {
    let text = always().replace("[sample.S1]", "[sample.S2]\nreads = \"S2.fq\"\n[sample.S1]");
    let lab = Lab::new();
    for sample in ["S1", "S2", "S1"] {
        let of = Wish { sample: Some(sample.to_owned()), ..wish() };
        assert_eq!(lab.try_apply(&text, of).await.unwrap(), Exit::Done, "{sample}");
    }
    // The third apply has nothing to do.
    assert_eq!(lab.started().len(), 6);
    one_instance_a_run(&lab, 3);
}

#[tokio::test(start_paused = true)]
async fn a_pattern_that_matches_nothing_does_not_make_an_old_result_this_runs() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    lab.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // `push` is what writes in this lab; `put` exits with 0 and writes nothing.
    let typo = edited("push ${sample.name}", "put ${sample.name}");
    assert_eq!(lab.apply(&typo).await, Exit::RunFailed);
    let again = anstream::adapter::strip_str(&lab.plan(&typo).await.text(false)).to_string();
    assert!(again.contains("was there before, and no step of this run wrote it"), "{again}");
    assert_eq!(lab.apply(STACK).await, Exit::Done);
}

/// A bucket whose policy lets nobody write the ledger.
fn forbid_the_ledger(lab: &Lab) {
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::lab-results/.seqstack/*",
    }] });
    lab.sandbox.with_account(|account, _| {
        account.s3.buckets.get_mut("lab-results").unwrap().policy = Some(policy);
    });
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_may_not_be_written_is_found_out_before_anything_is_made() {
    let lab = Lab::new();
    forbid_the_ledger(&lab);
    let problem = lab.try_apply(STACK, wish()).await.unwrap_err().to_string();
    assert!(
        problem.contains("the run cannot be recorded at s3://lab-results/.seqstack/eu-west-2/lab/S1/ledger.json"),
        "{problem}"
    );
    assert!(problem.contains("AccessDenied") && problem.contains("no instance was launched for it"), "{problem}");
    assert_eq!(lab.mutations().keys().collect::<Vec<_>>(), ["s3:PutObject"]);
    assert_eq!(lab.left(), Vec::<String>::new());
}

/// A run that cannot go on: the ledger may not be written any more once its first step runs.
#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_go_on_ends_its_compute_as_on_failure_says() {
    for (released, text) in [(true, edited("\"keep\"", "\"release\"")), (false, STACK.to_owned())] {
        let lab = Lab::with(|_| Outcome { runs_for: Duration::from_secs(200), ..fine() });
        let session = lab.session(&text, None, true);
        let (wish, consent): (Wish, Consent) = (wish(), yes());
        let (exit, ()) = tokio::join!(apply::apply(&session, &wish, &consent), async {
            while lab.started().is_empty() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            forbid_the_ledger(&lab);
        });
        assert_eq!(exit.unwrap(), Exit::Failed, "{released}");
        let instances: Vec<String> = lab.left().into_iter().filter(|one| one.starts_with("instances")).collect();
        assert_eq!(instances.is_empty(), released, "{instances:?}");
    }
}

/// Claim and ledger are gone, by hand or by a lifecycle rule: the instance's own tag tells.
#[tokio::test(start_paused = true)]
async fn an_instance_whose_claim_is_gone_is_not_taken_for_a_fresh_one() {
    let (lab, text) = (Lab::new(), always());
    assert_eq!(lab.apply(&text).await, Exit::Done);
    lab.sandbox.with_account(|account, _| {
        account.s3.buckets.get_mut("lab-results").unwrap().keys.retain(|key, _| !key.starts_with(".seqstack/"));
    });
    let agreed = Consent { overwrite: true, discard_intermediates: true, ..yes() };
    let session = lab.session(&text, None, true);
    assert_eq!(apply::apply(&session, &wish(), &agreed).await.unwrap(), Exit::Done);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    one_instance_a_run(&lab, 3);
    assert!(lab.plan(&text).await.plan.is_empty());
}

/// What is left out of the plan cannot be made on the way: the run is not told as done.
#[tokio::test(start_paused = true)]
async fn a_run_whose_fresh_instance_is_left_out_is_no_success() {
    let text = always().replace("[sample.S1]", "[sample.S2]\nreads = \"S2.fq\"\n[sample.S1]");
    let lab = Lab::with(|_| Outcome { runs_for: Duration::from_secs(300), ..fine() });
    let of = |sample: &str, choice: Choice| Wish { sample: Some(sample.into()), choice, ..wish() };
    let without = Choice { excludes: vec!["instance.worker".parse().unwrap()], ..Choice::default() };
    let (first, second) = tokio::join!(lab.try_apply(&text, of("S1", Choice::default())), async {
        while lab.started().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        lab.try_apply(&text, of("S2", without)).await
    });
    assert_eq!(first.unwrap(), Exit::Done);
    let problem = second.unwrap_err().to_string();
    assert!(problem.contains("needs a fresh instance, and this apply leaves that out"), "{problem}");
    assert_eq!(lab.started().len(), 3);
}

/// Somebody else's instance is never replaced: a run that would begin among files is refused, once.
#[tokio::test(start_paused = true)]
async fn a_run_does_not_begin_among_files_on_an_instance_that_nobody_may_replace() {
    let lab = Lab::new();
    assert_eq!(lab.apply(&always()).await, Exit::Done);
    let theirs = on(&lab)[0].1.clone();
    let (before, rest) = STACK.split_once("[instance.worker]").unwrap();
    let (_, after) = rest.split_once("[log_group.pipeline]").unwrap();
    let text = format!("{before}[instance.worker]\nexisting = \"{theirs}\"\n[log_group.pipeline]{after}")
        .replace("\"lab\"", "\"two\"")
        .replace("[cluster.main]", "[cluster.main]\nexisting = \"lab-main\"")
        .replace("on_failure =", "instance = \"worker\"\non_failure =");
    let agreed = Consent { overwrite: true, ..yes() };
    let session = lab.session(&text, None, true);
    let problem = apply::apply(&session, &wish(), &agreed).await.unwrap_err().to_string();
    assert!(problem.contains(&format!("the run cannot begin on {theirs}")), "{problem}");
    assert_eq!(lab.started().len(), 3);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
}
