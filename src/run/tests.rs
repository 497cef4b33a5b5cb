//! Runs against a world in memory, in the paused clock: ledger, lease, tasks and objects behave as AWS's do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::archive::Shelf;
use super::claim::Claim;
use super::drive::drive_in;
use super::key::keys;
use super::ledger::{Lease, Object, Request, RunState, Unreadable};
use super::observe::{Kept, Listing, Observed};
use super::spec::{Content, Globs, Overrides, StepSpec};
use super::stop::{in_progress_in, stop_run_in};
use super::strays::TaggedTask;
use super::verdict::TaskEnd;
use super::world::{Agent, Going, Life, Only, Placed, Read, TaskNow, World};
use super::*;
use crate::address::{Address, Link};
use crate::aws::Class;
use crate::stack::pipeline::OnFailure;

mod attempts;
mod begin;
mod claim;
mod due;
mod end;
mod fake;
mod host;
mod lease;
mod ledger;
mod put_back;
mod strays;

use fake::*;

/// Where the ledger of [`spec()`] is.
const AT: &str = "s3://out/.seqstack/eu-west-2/g/s1/ledger.json";

fn step(name: &str, follows: &[&str]) -> StepSpec {
    StepSpec {
        name: name.to_owned(),
        follows: follows.iter().map(|&name| name.to_owned()).collect(),
        task: Link::theirs("task_definition", format!("arn:aws:ecs:eu-west-2:1:task-definition/{name}:1")),
        container: "main".to_owned(),
        essential: Vec::new(),
        content: Content { image: format!("{name}:1"), ..Content::default() },
        overrides: Overrides::default(),
        cpu: Some(1024),
        memory: Some(1024),
        gpus: None,
        log: Some(super::spec::Log { group: Link::theirs("log_group", "/seqstack/g"), prefix: name.to_owned() }),
        attempts: 1,
        memory_factor: None,
        settings: name.to_owned(),
    }
}

fn spec() -> RunSpec {
    RunSpec {
        stack: "g".to_owned(),
        region: "eu-west-2".to_owned(),
        account: "1".to_owned(),
        sample: "s1".to_owned(),
        tags: BTreeMap::new(),
        cluster: Link::theirs("cluster", "c"),
        instance: Link::theirs("instance", "i-1"),
        instance_at: Address::new("instance", "worker"),
        machine: String::new(),
        ledger_bucket: "out".to_owned(),
        ledger_key: ledger_key("eu-west-2", "g", "s1"),
        inputs: vec![Globs { bucket: "in".to_owned(), keys: vec!["s1_*.fastq.gz".to_owned()] }],
        outputs: vec![Globs { bucket: "out".to_owned(), keys: vec!["s1.vcf".to_owned()] }],
        on_failure: OnFailure::Keep,
        steps: vec![step("pull", &[]), step("align", &["pull"]), step("qc", &["pull"]), step("call", &["align"])],
    }
}

fn options() -> DriveOptions {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let fresh = || format!("nonce-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    DriveOptions { fresh: Arc::new(fresh), host: "host".to_owned(), ..DriveOptions::new("arn:me") }
}

/// Drives on the instance of the spec.
async fn drive_with(fake: &Fake, spec: &RunSpec, options: &DriveOptions) -> (Result<Outcome, RunError>, Vec<RunEvent>) {
    let events = Mutex::new(Vec::new());
    let (_keep, stop) = watch::channel(false);
    let outcome = drive_in(fake, spec, options, &|event| events.lock().unwrap().push(event), stop).await;
    (outcome, events.into_inner().unwrap())
}

/// Drives as apply does: where the instance cannot be used it goes, and a fresh one comes.
async fn run_with(fake: &Fake, spec: &RunSpec, options: &DriveOptions) -> (Result<Outcome, RunError>, Vec<RunEvent>) {
    let (mut spec, mut all) = (spec.clone(), Vec::new());
    if let Some(newest) = fake.newest_instance() {
        spec.instance = Link::theirs("instance", newest);
    }
    loop {
        let (outcome, events) = drive_with(fake, &spec, options).await;
        all.extend(events);
        let Ok(Outcome::InstanceUsed { instance, .. }) = &outcome else { return (outcome, all) };
        spec.instance = Link::theirs("instance", fake.replace_instance(instance));
    }
}

async fn run(fake: &Fake, spec: &RunSpec) -> Outcome {
    run_with(fake, spec, &options()).await.0.unwrap()
}

async fn observed(fake: &Fake, spec: &RunSpec) -> Observed {
    let (inputs, outputs) = super::observe::objects(fake, spec).await.unwrap();
    let ledger = Kept::of(fake.read_ledger().await.unwrap(), AT).unwrap();
    Observed { inputs, outputs, ledger, unusable: None }
}

async fn is_due(fake: &Fake, spec: &RunSpec, instance: Option<&str>) -> Due {
    due(spec, &observed(fake, spec).await, instance, false, &BTreeSet::new()).unwrap().due
}

/// Drives until that moment, and is killed there.
async fn killed_after(fake: &Fake, spec: &RunSpec, seconds: u64) {
    let options = options();
    let cut = tokio::time::timeout(Duration::from_secs(seconds), run_with(fake, spec, &options)).await;
    assert!(cut.is_err(), "it should have been cut short");
}

#[tokio::test(start_paused = true)]
async fn a_run_succeeds_once_and_is_not_due_again() {
    let (fake, spec) = (Fake::new(), spec());
    let Due::Yes(work) = is_due(&fake, &spec, None).await else { panic!("due") };
    assert_eq!(work.reasons, ["it was never run"]);
    let Outcome::Succeeded(success) = run(&fake, &spec).await else { panic!("success") };
    // pull, then align beside qc, then call: each follows the one before it in less than 2 s.
    let tasks = fake.started.elapsed().as_secs();
    assert!((50..57).contains(&tasks), "{tasks} s");
    assert_eq!(success.outputs[0].written_by.as_deref(), Some("call"));
    assert!(success.notes.is_empty(), "{:?}", success.notes);
    assert_eq!(success.steps.iter().map(|row| (row.exit_code, row.attempts)).collect::<Vec<_>>(), [(Some(0), 1); 4]);
    assert!(fake.ledger().lease.is_none());
    assert!(matches!(is_due(&fake, &spec, None).await, Due::No(_)));
    assert!(matches!(run(&fake, &spec).await, Outcome::AlreadyDone(_)));
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_changed_last_step_says_why_each_step_runs() {
    let (fake, mut spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    spec.steps[3].content.command = Some(vec!["call".to_owned()]);
    let Due::Yes(work) = is_due(&fake, &spec, None).await else { panic!("due") };
    assert_eq!(work.reasons, ["command of step `call` changed"]);
    let why: Vec<_> = work.steps.iter().map(|step| (step.kept, step.changed, step.why.as_str())).collect();
    let gone = (false, false, "its result is gone with the instance");
    assert_eq!(why, [gone, gone, gone, (false, true, "its command changed")]);
    let Due::Yes(work) = is_due(&fake, &spec, Some("i-1")).await else { panic!("due") };
    assert_eq!(work.steps.iter().map(|step| step.kept).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("align"), fake.tasks_of("call")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_carried_with_its_log_and_resumed_when_mended() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.ends("call", vec![(5, exit(3))]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!((failure.step.as_deref(), failure.exit_code), (Some("call"), Some(3)));
    assert_eq!(failure.last_lines, ["/seqstack/g call/main/3"]);
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Failed(_)));
    assert!(matches!(run(&fake, &spec).await, Outcome::FailedBefore(_)));
    // More memory is no other run, and worth another try.
    spec.steps[3].settings = "more memory".to_owned();
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("align"), fake.tasks_of("call")), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn retry_starts_the_same_failure_again() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(5, exit(1))]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert_eq!(failure.not_run, ["call"]);
    assert_eq!(fake.ledger().last_attempt("qc").unwrap().exit_code, Some(0), "what ran beside it is awaited");
    let again = DriveOptions { retry: true, ..options() };
    assert!(matches!(run_with(&fake, &spec, &again).await.0.unwrap(), Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("pull"), fake.tasks_of("qc")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_second_and_driven_again_nothing_runs_twice() {
    for seconds in [1, 15, 21, 25, 31, 33, 38, 42, 47, 51] {
        let (fake, spec) = (Fake::new(), spec());
        killed_after(&fake, &spec, seconds).await;
        assert!(in_progress_in(&fake, AT, |_| false).await.unwrap().is_some(), "the lease or a task is still alive");
        let (outcome, events) = run_with(&fake, &spec, &options()).await;
        assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "killed after {seconds} s: {outcome:?}");
        assert!(events.iter().any(|event| matches!(event, RunEvent::WaitingForLease { .. })));
        assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4, "killed after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_started_for_a_passing_reason_is_tried_again() {
    let never = |reason: &str| TaskEnd {
        stop_code: Some("TaskFailedToStart".to_owned()),
        stopped_reason: Some(reason.to_owned()),
        ..TaskEnd::default()
    };
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("align", vec![(1, never("DockerTimeoutError: timed out")), (1, never("InternalError: x"))]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.ledger().last_attempt("align").unwrap().n, 3);

    let fake = Fake::new();
    fake.ends("align", vec![(1, never("CannotPullContainerError: manifest unknown"))]);
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert!(failure.next.contains("`image`"), "{}", failure.next);
    assert_eq!(fake.tasks_of("align"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_larger_than_the_machine_fails_with_both_sizes() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.steps[0].memory = Some(9000);
    fake.inner.lock().unwrap().refuse = vec!["RESOURCE:MEMORY"];
    let Outcome::Failed(failure) = run(&fake, &spec).await else { panic!("failure") };
    assert!(failure.explanation.contains("9000 MiB") && failure.explanation.contains("4096 MiB"), "{failure}");
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_is_waited_for_under_the_same_token() {
    let (fake, spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().refuse = vec!["AGENT", "AGENT", "RESOURCE:CPU"];
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.ledger().last_attempt("pull").unwrap().n, 1);
}

/// RunTask was asked for an hour long, and somebody else has taken over in that time: it is not asked once more.
/// Its machine's system ends the containers as it goes down, before EC2 tells of it.
#[tokio::test(start_paused = true)]
async fn a_task_that_was_killed_with_its_machine_is_a_lost_host_and_no_failure() {
    for (gone_after, lost) in [(40, true), (400, false)] {
        let (fake, spec, options) = (Fake::new(), spec(), options());
        fake.ends("pull", vec![(20, exit(137))]);
        let goes = async {
            tokio::time::sleep(Duration::from_secs(gone_after)).await;
            fake.inner.lock().unwrap().gone = true;
        };
        let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), goes);
        assert_eq!(matches!(outcome, Ok(Outcome::HostLost { .. })), lost, "{outcome:?}");
        assert_eq!(matches!(outcome, Ok(Outcome::Failed(_))), !lost, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_host_is_noticed_although_ecs_still_says_running() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0))]);
    fake.inner.lock().unwrap().gone = true;
    let outcome = run(&fake, &spec).await;
    assert!(matches!(&outcome, Outcome::HostLost { steps, .. } if *steps == ["pull"]), "{outcome:?}");
    let Due::Yes(work) = is_due(&fake, &spec, None).await else { panic!("due") };
    assert_eq!(work.reasons, ["the last run lost its instance i-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_an_instance_that_is_gone_does_not_hold_a_drive() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0)), (10, exit(0))]);
    killed_after(&fake, &spec, 100).await;
    {
        // Nobody stops what runs on a machine that is no more, and ECS has not noticed.
        let mut inner = fake.inner.lock().unwrap();
        inner.deaf = true;
        inner.gone_instances = vec!["i-1".to_owned()];
    }
    let began = Instant::now();
    let fresh = RunSpec { instance: Link::theirs("instance", "i-2"), ..spec.clone() };
    let outcome = run(&fake, &fresh).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(400), "{:?}, with a lease to wait for", began.elapsed());
    assert_eq!(fake.ledger().steps["pull"].attempts[0].verdict, Some(Verdict::HostLost));
}

#[tokio::test(start_paused = true)]
async fn inputs_changed_under_the_run_leave_it_due() {
    let (fake, spec) = (Fake::new(), spec());
    let options = options();
    let change = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        fake.put("in", "s1_R1.fastq.gz", "b");
    };
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), change);
    let Ok(Outcome::InputsChanged { changes }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(changes, ["input s1_R1.fastq.gz changed"]);
    assert!(matches!(is_due(&fake, &spec, Some("i-1")).await, Due::Yes(_)));
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("pull"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_output_makes_its_writer_due_and_a_changed_one_is_a_note() {
    let (fake, spec) = (Fake::new(), spec());
    run(&fake, &spec).await;
    fake.put("out", "s1.vcf", "edited");
    let assessed = due(&spec, &observed(&fake, &spec).await, None, false, &BTreeSet::new()).unwrap();
    assert!(matches!(assessed.due, Due::No(_)));
    assert!(assessed.notes[0].contains("changed by somebody"), "{:?}", assessed.notes);
    fake.inner.lock().unwrap().objects.remove(&("out".to_owned(), "s1.vcf".to_owned()));
    let Due::Yes(work) = is_due(&fake, &spec, Some("i-1")).await else { panic!("due") };
    assert_eq!(work.reasons, ["output s3://out/s1.vcf is missing"]);
    assert_eq!(work.steps.iter().map(|step| step.kept).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!((fake.tasks_of("align"), fake.tasks_of("call")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn globs_that_match_nothing_are_listed_unless_an_upload_is_to_come() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.inputs[0].keys.push("ref/*.fa".to_owned());
    let observed = observed(&fake, &spec).await;
    let none = due(&spec, &observed, None, false, &BTreeSet::new()).unwrap_err();
    assert_eq!(none, ["s3://in/ref/*.fa"]);
    let pending = BTreeSet::from([("in".to_owned(), "ref/hs37d5.fa".to_owned())]);
    let assessed = due(&spec, &observed, None, false, &pending).unwrap();
    assert!(matches!(assessed.due, Due::KnownAfterUpload { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_bucket_is_not_the_one_that_is_meant() {
    let (fake, mut spec) = (Fake::new(), spec());
    spec.inputs.push(Globs { bucket: "reads".to_owned(), keys: vec!["s1_R1.fastq.gz".to_owned()] });
    let none = due(&spec, &observed(&fake, &spec).await, None, false, &BTreeSet::new()).unwrap_err();
    assert_eq!(none, ["s3://reads/s1_R1.fastq.gz"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_read_once_by_its_literal_key_too_and_a_ledger_never() {
    let (fake, mut spec) = (Fake::new(), spec());
    for key in ["s1[R2.fq", ".seqstack/eu-west-2/g/s1/ledger.json"] {
        fake.put("in", key, "x");
    }
    let globs = ["s1_*.fastq.gz", "s1_R1.fastq.gz", "s1[R2.fq", "**/*.json"];
    spec.inputs[0].keys = globs.map(str::to_owned).to_vec();
    let inputs: Vec<_> = observed(&fake, &spec).await.inputs.into_iter().map(|object| object.key).collect();
    assert_eq!(inputs, ["s1[R2.fq", "s1_R1.fastq.gz"]);
}

#[test]
fn a_ledger_is_read_only_whole_unchanged_in_its_place_and_of_no_newer_schema() {
    let ledger = Ledger { schema: 1, at: AT.to_owned(), nonce: "n".to_owned(), ..Ledger::default() };
    let bytes = ledger.sealed().unwrap();
    assert_eq!(Ledger::read(&bytes, AT).unwrap().nonce, "n");
    let refused = |bytes: &[u8], at| Ledger::read(bytes, at).unwrap_err();
    assert!(matches!(refused(&bytes[..bytes.len() / 2], AT), Unreadable::Json(_)));
    assert!(matches!(refused(b"[]", AT), Unreadable::Json(_)));
    assert!(matches!(refused(&bytes, "s3://out/.seqstack/eu-west-2/g/s2/ledger.json"), Unreadable::Foreign(_)));
    let edited = String::from_utf8(bytes).unwrap().replace("\"n\"", "\"m\"");
    assert!(matches!(refused(edited.as_bytes(), AT), Unreadable::Edited));
    let newer = refused(br#"{"schema": 2, "nonce": ""}"#, AT);
    assert!(matches!(newer, Unreadable::Newer(2)) && !newer.is_replaced());
}

fn object(key: &str, etag: &str) -> Object {
    let (bucket, key, etag) = ("in".to_owned(), key.to_owned(), etag.to_owned());
    Object { bucket, key, size: 1, etag, last_modified: None, shelf: Shelf::AtHand }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keys_hold_what_decides_a_result_and_nothing_else(changed in 0usize..4, memory in 1i64..9999, role in "[a-z]{1,8}") {
        let inputs = [object("a", "1"), object("b", "2")];
        let plain = spec();
        let before = keys(&plain, &inputs);
        let mut same = spec();
        for step in &mut same.steps {
            step.memory = Some(memory);
            step.cpu = None;
            step.log = None;
            step.overrides.memory = Some(memory);
            step.overrides.task_role = Some(Link::theirs("role", role.clone()));
            step.settings.clone_from(&role);
        }
        same.instance = Link::theirs("instance", role);
        prop_assert_eq!(&keys(&same, &inputs), &before);
        let reversed: Vec<_> = inputs.iter().rev().cloned().collect();
        prop_assert_eq!(&keys(&plain, &reversed), &before);

        let mut other = spec();
        other.steps[changed].content.command = Some(vec![memory.to_string()]);
        let after = keys(&other, &inputs);
        prop_assert_ne!(&after.run, &before.run);
        // The changed step and those that follow it, and no other.
        let expected: &[&str] = [&["pull", "align", "qc", "call"][..], &["align", "call"], &["qc"], &["call"]][changed];
        for step in &plain.steps {
            let differs = after.steps[&step.name] != before.steps[&step.name];
            prop_assert_eq!(differs, expected.contains(&step.name.as_str()));
        }
    }

    #[test]
    fn any_change_of_any_input_changes_every_key(which in 0usize..2, etag in "[0-9a-f]{4}") {
        let inputs = vec![object("a", "1"), object("b", "2")];
        let mut other = inputs.clone();
        other[which].etag = etag;
        let (before, after) = (keys(&spec(), &inputs), keys(&spec(), &other));
        prop_assert_ne!(&before.run, &after.run);
        for (step, key) in &before.steps {
            prop_assert_ne!(key, &after.steps[step]);
        }
    }
}
