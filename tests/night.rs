//! The long night: reads that fail, credentials that expire, a ledger that is not what it was, a machine that will not
//! keep a file. The real commands against the sandbox, in the paused clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use seqstack::aws::Aws;
use seqstack::choose::Choice;
use seqstack::cli::{Consent, Wish};
use seqstack::command::session::Session;
use seqstack::command::{Exit, Problem, apply, destroy, outlook, prepare};
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::{Fate, Passing, Wire, sdk_config};

mod lab;
use lab::{Lab, STACK, fails, fine, wish, yes};

const DEMO: &str = include_str!("../stacks/demo.toml");

/// A read, whenever it is made: its name, path and body.
type Reading = (String, String, Vec<u8>);

fn reading(passing: &Passing) -> Reading {
    (passing.name.clone(), passing.path.clone(), passing.body.to_vec())
}

/// What makes the text of a plan or of a destroy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Plan,
    Destroy,
}

/// Plans, or destroys, with these fates; gives what was read before the first mutating call, and what came of it.
async fn read_by(
    lab: &mut Lab,
    text: &str,
    verb: Verb,
    fate: impl Fn(&Passing) -> Fate + Send + Sync + 'static,
) -> (BTreeSet<Reading>, Result<(), Problem>) {
    let seen: Arc<Mutex<(BTreeSet<Reading>, bool)>> = Arc::default();
    let noted = seen.clone();
    let fates = move |passing: &Passing| {
        let mut noted = noted.lock().unwrap();
        noted.1 |= passing.mutating.is_some();
        if !noted.1 {
            noted.0.insert(reading(passing));
        }
        fate(passing)
    };
    lab.wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    let session = lab.session(text, None, verb == Verb::Plan);
    let answer = match verb {
        Verb::Plan => Box::pin(prepare::converge(&session, &wish(), "plan")).await.map(drop),
        Verb::Destroy => Box::pin(destroy::destroy(&session, false, &yes())).await.map(drop),
    };
    lab.wire.fates = None;
    let seen = seen.lock().unwrap().0.clone();
    (seen, answer)
}

/// Reads that only tell sooner what AWS would refuse later: who may not make them has a plan that does not know it, and
/// takes nothing for absent.
fn is_foresight((operation, _, body): &Reading) -> bool {
    match operation.as_str() {
        "ec2:DescribeRouteTables" | "ec2:DescribeVpcEndpoints" => true,
        // AWS's own policies are looked up for nothing else.
        "iam:GetPolicy" => String::from_utf8_lossy(body).contains("iam%3A%3Aaws%3Apolicy"),
        _ => false,
    }
}

/// Breaks every read of the plan, or of the destroy, in every way: it must say that it does not know, and change nothing.
/// `twin` gives the account once more, for the undisturbed destroy.
async fn every_broken_read(mut lab: Lab, mut twin: Lab, text: &str, verb: Verb) -> usize {
    let (reads, undisturbed) = read_by(&mut twin, text, verb, |_| Fate::Pass).await;
    undisturbed.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(reads.len() > 10, "{reads:?}");
    let before = lab.mutations();
    let others = [Fate::Throttled, Fate::Failed, Fate::NotSent, Fate::Expired];
    for (broken, other) in reads.iter().zip(others.into_iter().cycle()) {
        for fate in [Fate::Denied, other] {
            let at = broken.clone();
            let hit = Arc::new(AtomicUsize::new(0));
            let hits = hit.clone();
            let break_it = move |passing: &Passing| {
                if reading(passing) != at {
                    return Fate::Pass;
                }
                hits.fetch_add(1, Ordering::SeqCst);
                fate
            };
            let (_, answer) = read_by(&mut lab, text, verb, break_it).await;
            let what = format!("{verb:?}: {fate:?} at {} {}", broken.0, String::from_utf8_lossy(&broken.2));
            assert!(hit.load(Ordering::SeqCst) > 0, "{what}: it was not asked");
            if fate == Fate::Denied && is_foresight(broken) {
                answer.unwrap_or_else(|problem| panic!("{what}: {problem}"));
                assert_eq!(lab.mutations(), before, "{what}");
                continue;
            }
            let problem = answer.err().unwrap_or_else(|| panic!("{what}: there is a plan all the same"));
            assert!(problem.exit == Exit::Failed && problem.to_string().contains("not known"), "{what}: {problem}");
            let operation = broken.0.split_once(':').unwrap().1;
            assert!(problem.to_string().contains(operation), "{what}: {problem}");
            assert_eq!(lab.mutations(), before, "{what}");
        }
    }
    reads.len()
}

async fn applied(text: &str) -> Lab {
    let lab = Lab::of(text);
    assert_eq!(lab.apply(text).await, Exit::Done);
    lab
}

/// A lab whose run has failed, and whose instance was kept.
async fn kept() -> Lab {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    lab
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_never_absence_in_a_plan() {
    every_broken_read(applied(DEMO).await, applied(DEMO).await, DEMO, Verb::Plan).await;
    every_broken_read(kept().await, kept().await, STACK, Verb::Plan).await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_never_absence_in_a_destroy() {
    every_broken_read(applied(DEMO).await, applied(DEMO).await, DEMO, Verb::Destroy).await;
}

#[tokio::test(start_paused = true)]
async fn one_cause_of_many_failures_is_told_once() {
    let mut lab = applied(DEMO).await;
    let (reads, answer) = read_by(&mut lab, DEMO, Verb::Plan, |_| Fate::Expired).await;
    let told = answer.unwrap_err().to_string();
    assert!(told.lines().count() < reads.len() / 2 && told.contains("aws sso login"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_expire_at_any_call_are_waited_for() {
    let mut lab = Lab::of(DEMO);
    let counted = Arc::new(AtomicUsize::new(0));
    let count = counted.clone();
    lab.wire.fates = Some(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Fate::Pass
    }));
    assert_eq!(lab.apply(DEMO).await, Exit::Done);
    let (undisturbed, all) = (lab.portrait().await, counted.load(Ordering::SeqCst));
    // The plan's own reads fail: the user is there. From the first mutating call on, it waits.
    for first in (1..=30).step_by(4) {
        let mut lab = Lab::of(DEMO);
        let (expired, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (begun, refused) = (expired.clone(), told.clone());
        lab.wire.fates = Some(Arc::new(move |passing: &Passing| {
            if passing.mutating.is_some_and(|n| n >= first) {
                begun.store(1, Ordering::SeqCst);
            }
            // For the next thirty calls, whichever they are, the credentials are no good.
            if begun.load(Ordering::SeqCst) == 1 && refused.fetch_add(1, Ordering::SeqCst) < 30 {
                return Fate::Expired;
            }
            Fate::Pass
        }));
        assert_eq!(lab.apply(DEMO).await, Exit::Done, "from the mutating call {first} of {all} calls on");
        assert!(told.load(Ordering::SeqCst) >= 30, "{first}");
        assert_eq!(lab.portrait().await, undisturbed, "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_of_awss_clock_not_of_this_machines() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    // The sandbox's clock began in January 2026; whatever this machine's says is not it.
    let tags = lab.aws().ec2.describe_instances().send().await.unwrap();
    let instance = tags.reservations()[0].instances()[0].clone();
    let tag = instance.tags().iter().find(|tag| tag.key() == Some("seqstack:deadline")).unwrap();
    let deadline: jiff::Timestamp = tag.value().unwrap().parse().unwrap();
    let hours = (deadline.as_second() - instance.launch_time().unwrap().secs()) as f64 / 3600.0;
    assert!((1.9..2.1).contains(&hours), "{hours} h after its launch");
}

/// Credentials one after the other, the last one for good; counts how often it was asked.
#[derive(Clone, Debug)]
struct InTurn(Arc<AtomicUsize>, Vec<Credentials>);

impl ProvideCredentials for InTurn {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        future::ProvideCredentials::ready(Ok(self.1[n.min(self.1.len() - 1)].clone()))
    }
}

fn key(end: Option<&str>) -> Credentials {
    let end = end.map(|end| end.parse::<jiff::Timestamp>().unwrap().into());
    Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, end, "test")
}

fn session_with(lab: &Lab, credentials: Vec<Credentials>) -> (Session, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = SharedCredentialsProvider::new(InTurn(asked.clone(), credentials));
    let config = sdk_config(&lab.sandbox, lab.wire.clone()).into_builder().credentials_provider(provider).build();
    (Session { aws: Aws::new(&config), ..lab.session(STACK, None, true) }, asked)
}

#[tokio::test(start_paused = true)]
async fn credentials_that_aws_refuses_are_asked_for_anew_until_they_are_good() {
    let mut lab = Lab::new();
    let refused = AtomicUsize::new(0);
    lab.wire.fates = Some(Arc::new(move |passing: &Passing| {
        // Once, in mid-apply, those in use have expired.
        match passing.mutating {
            Some(9) if refused.fetch_add(1, Ordering::SeqCst) == 0 => Fate::Expired,
            _ => Fate::Pass,
        }
    }));
    let unknown = Credentials::new("AKIAUNKNOWN", "secret", None, None, "test");
    let (session, asked) = session_with(&lab, vec![key(None), unknown.clone(), unknown, key(None)]);
    let exit = apply::apply(&session, &wish(), &yes()).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((exit, asked.load(Ordering::SeqCst)), (Exit::Done, 4));
}

#[tokio::test(start_paused = true)]
async fn a_plan_warns_of_credentials_that_end_before_the_deadline() {
    let lab = Lab::new();
    for (end, warned) in [("2026-01-02T04:04:05Z", true), ("2999-01-01T00:00:00Z", false)] {
        let (session, _) = session_with(&lab, vec![key(Some(end))]);
        let prepared = prepare::converge(&session, &wish(), "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
        let text = prepared.text(false);
        assert_eq!(text.contains(&format!("these credentials end at {end}")), warned, "{text}");
        let opening = outlook::opening(&prepared.host.unwrap());
        assert!(opening.contains("terminal is closed") && opening.contains("2 h after its launch"), "{opening}");
    }
}

#[tokio::test(start_paused = true)]
async fn less_time_left_than_the_steps_took_before_is_told() {
    let lab = Lab::with(|line| {
        let long = Duration::from_secs(90 * 60);
        if line.starts_with("call") { Outcome { runs_for: long, ..fails(1) } } else { fine() }
    });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    let session = lab.session(STACK, None, true);
    let retry = Wish { retry: true, ..wish() };
    let prepared = prepare::converge(&session, &retry, "plan").await.unwrap_or_else(|problem| panic!("{problem}"));
    let text = prepared.text(false);
    assert!(text.contains("the steps that are left took 1 h 30 min before") && text.contains("in 29 min"), "{text}");
    let left = outlook::left(&session).await;
    assert!(left.contains("so far 1.50 instance-hours; ends itself at 2026-01-02T05:"), "{left}");
}

const LEDGER: &str = ".seqstack/eu-west-2/lab/S1/ledger.json";

fn keys_under(lab: &Lab) -> Vec<String> {
    let all = lab.sandbox.with_account(|account, _| {
        account.s3.bucket("lab-results").unwrap().objects().map(|(key, _, _)| key.to_owned()).collect::<Vec<_>>()
    });
    all.into_iter().filter(|key| key.starts_with(".seqstack/") && key.contains("set-aside")).collect()
}

/// What becomes of a ledger's text.
type Damage = dyn Fn(&str) -> String;

#[tokio::test(start_paused = true)]
async fn a_ledger_that_is_none_is_kept_elsewhere_and_begun_anew() {
    let half = |whole: &str| whole[..whole.len() / 2].to_owned();
    let edited = |whole: &str| whole.replace("\"succeeded\"", "\"host_lost\"");
    let damages: [(&str, &Damage); 3] = [("torn", &half), ("by hand", &edited), ("no ledger", &|_| "[]".to_owned())];
    for (why, damage) in damages {
        let lab = Lab::new();
        assert_eq!(lab.apply(STACK).await, Exit::Done);
        let whole = String::from_utf8(lab.sandbox.get_object("lab-results", LEDGER).unwrap().to_vec()).unwrap();
        let damaged = damage(&whole);
        assert_ne!(damaged, whole, "{why}");
        lab.sandbox.put_object("lab-results", LEDGER, damaged.clone().into()).unwrap();
        let text = lab.plan(STACK).await.text(false);
        assert!(text.contains("cannot be used") && text.contains(why), "{text}");
        // Whose the output is, is not known either.
        let refused = lab.try_apply(STACK, wish()).await.unwrap_err();
        assert!(refused.to_string().contains("--overwrite"), "{refused}");
        let consent = Consent { overwrite: true, ..yes() };
        let exit = apply::apply(&lab.session(STACK, None, true), &wish(), &consent).await;
        assert_eq!(exit.unwrap(), Exit::Done, "{why}");
        assert_eq!(lab.started().len(), 6, "{why}");
        let kept = keys_under(&lab);
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(lab.sandbox.get_object("lab-results", &kept[0]).unwrap(), damaged.as_bytes());
        assert!(lab.plan(STACK).await.plan.is_empty(), "{why}");
        assert_eq!(lab.destroy(STACK).await, Exit::Done);
        assert_eq!(lab.left(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_of_a_newer_version_is_refused() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let newer = r#"{ "schema": 2, "of": "tomorrow" }"#;
    lab.sandbox.put_object("lab-results", LEDGER, newer.into()).unwrap();
    let before = lab.mutations();
    let refused = lab.try_apply(STACK, wish()).await.unwrap_err();
    assert!(refused.to_string().contains("a newer seqstack wrote it"), "{refused}");
    assert_eq!(lab.mutations(), before);
}

/// A lab whose apply was killed while `call` was running for a hundred minutes, and whose ledger is gone.
async fn orphaned() -> Lab {
    let lab = Lab::with(|line| Outcome {
        runs_for: Duration::from_secs(if line.starts_with("call") { 6000 } else { 2 }),
        ..Outcome::default()
    });
    let session = lab.session(STACK, None, true);
    let (wish, consent) = (wish(), yes());
    tokio::select! {
        exit = apply::apply(&session, &wish, &consent) => panic!("{exit:?}"),
        () = async {
            while !lab.started().iter().any(|line| line == "call S1") {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        } => {}
    }
    lab.aws().s3.delete_object().bucket("lab-results").key(LEDGER).send().await.unwrap();
    lab
}

#[tokio::test(start_paused = true)]
async fn a_task_that_no_ledger_knows_of_is_stopped_before_its_step_runs_again() {
    let lab = orphaned().await;
    let text = lab.plan(STACK).await.text(false);
    assert!(text.contains("(step call) is running, and no ledger knows of it"), "{text}");
    let aws = lab.aws();
    let most = AtomicUsize::new(0);
    let watching = async {
        loop {
            let going = aws.ecs.list_tasks().cluster("lab-main").send().await.unwrap().task_arns().len();
            most.fetch_max(going, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    let exit = tokio::select! {
        exit = lab.apply(STACK) => exit,
        () = watching => Exit::Failed,
    };
    let most = most.into_inner();
    assert_eq!((exit, most), (Exit::Done, 1));
    assert_eq!(lab.started(), ["pull S1", "call S1", "pull S1", "call S1", "push S1"]);
}

#[tokio::test(start_paused = true)]
async fn destroy_takes_no_task_down_unasked_that_no_ledger_knows_of() {
    let lab = orphaned().await;
    let session = lab.session(STACK, None, false);
    let before = lab.mutations();
    let refused = destroy::destroy(&session, false, &yes()).await.unwrap_err();
    assert!(refused.to_string().contains("no ledger knows of it"), "{refused}");
    // Neither by a part that has the instance and not the cluster.
    for (targets, excludes) in [("instance.worker", ""), ("", "cluster.main")] {
        let picks = |text: &str| text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let choice = Choice { targets: picks(targets), excludes: picks(excludes) };
        let refused = destroy::destroy_chosen(&session, &choice, false, &yes()).await.unwrap_err();
        assert!(refused.to_string().contains("no ledger knows of it"), "{refused}");
    }
    assert_eq!(lab.mutations(), before);
    let consent = Consent { discard_intermediates: true, ..lab::yes() };
    let done = destroy::destroy(&session, true, &consent).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(done, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_keeps_no_file_loses_nothing() {
    // No lock: nothing is begun.
    let lab = Lab::new();
    std::fs::write(lab.state(), "a file where the folder should be").unwrap();
    let refused = lab.try_apply(STACK, wish()).await.unwrap_err();
    assert!(refused.to_string().contains("nothing was changed") && refused.hint.is_some(), "{refused}");
    assert_eq!(lab.mutations().len(), 0);
    // No journal: all is done.
    std::fs::remove_file(lab.state()).unwrap();
    std::fs::create_dir_all(lab.state().join("lab/journal.jsonl")).unwrap();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    // No private key: its public half is not imported.
    let lab = Lab::new();
    std::fs::create_dir_all(lab.state().join("lab")).unwrap();
    std::fs::write(lab.state().join("lab/keys"), "a file where the folder should be").unwrap();
    match lab.try_apply(STACK, wish()).await {
        Ok(exit) => assert_eq!(exit, Exit::Failed),
        Err(problem) => assert!(problem.to_string().contains("private key"), "{problem}"),
    }
    assert_eq!(lab.mutations().get("ec2:ImportKeyPair"), None);
}
