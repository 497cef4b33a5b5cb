//! Reads that lag behind writes: every answer of IAM, EC2, ECS and Logs is as from up to so long ago, and the next one from
//! another time. One apply converges all the same, to the very account of an undisturbed one.
//!
//! `SEQSTACK_SEED=n cargo test --test lag` plays one seed again, `SEQSTACK_SEEDS=n` the first n.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed; counts are shown")]

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seqstack::command::Exit;
use seqstack::sandbox::{Fate, Life, Moment, Passing, Wire};

mod lab;
use lab::scene::{Command, DEMO, End, GERMLINE, Scene, change, cold, destroyed, run_of_germline, run_of_the_demo};
use lab::{Frozen, Lab, STACK};

/// How many seeds the tests play.
const SEEDS: u64 = 1;
/// How many calls are killed by a seed.
const KILLS: usize = 8;

/// How far behind answers are.
#[derive(Clone, Copy, Debug)]
enum Lag {
    /// All of them that far.
    All(Duration),
    /// Each another time, up to that far, by a seed.
    Upto(Duration, u64),
}

impl Lag {
    fn most(self) -> Duration {
        match self {
            Self::All(most) | Self::Upto(most, _) => most,
        }
    }

    /// A wire on which answers lag so; the client dies at that mutating call, after it took effect.
    fn wire(self, lab: &Lab, answers: &Arc<AtomicUsize>, dies: Option<usize>) -> Wire {
        let random = Mutex::new(fastrand::Rng::with_seed(match self {
            Self::All(_) => 0,
            Self::Upto(_, seed) => seed,
        }));
        let answers = answers.clone();
        let fates = move |passing: &Passing| {
            if dies.is_some() && passing.mutating == dies {
                return Fate::Dies(Moment::BeforeAnswer);
            }
            let service = passing.name.split(':').next().unwrap();
            if !matches!(service, "iam" | "ec2" | "ecs" | "logs") {
                return Fate::Pass;
            }
            answers.fetch_add(1, Ordering::Relaxed);
            Fate::Behind(match self {
                Self::All(behind) => behind,
                Self::Upto(most, _) => most.mul_f64(random.lock().unwrap().f64()),
            })
        };
        Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() }
    }
}

/// The command under that lag ends as the undisturbed one does; nothing is left to do, and nothing is left over.
async fn same_end(scene: &Scene, start: &Frozen, undisturbed: &End, lag: Lag, answers: &Arc<AtomicUsize>) {
    let what = format!("{}, {lag:?}", scene.name);
    println!("{what}");
    let lab = start.lab();
    lab.sandbox.remember(lag.most() + Duration::from_secs(1));
    let exit = scene.act(&lab, lag.wire(&lab, answers, None)).await;
    assert_eq!(exit, Some(Exit::Done), "{what}");
    undisturbed.same(&End::of(&lab).await, &what);
    if scene.command == Command::Apply {
        let before = lab.mutations();
        assert_eq!(lab.apply(&scene.stack).await, Exit::Done, "{what}");
        assert_eq!(lab.mutations(), before, "{what}: a second apply had something to do");
        assert_eq!(lab.destroy(&scene.stack).await, Exit::Done, "{what}");
    }
    assert_eq!(lab.left(), Vec::<String>::new(), "{what}");
}

fn seeds() -> RangeInclusive<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("SEQSTACK_SEED") {
        Some(only) => only..=only,
        None => 1..=number("SEQSTACK_SEEDS").unwrap_or(SEEDS),
    }
}

async fn converges(scene: Scene) {
    let answers = Arc::default();
    let start = scene.set().await.frozen();
    let calm = start.lab();
    assert_eq!(scene.act(&calm, calm.wire.clone()).await, Some(Exit::Done));
    let undisturbed = End::of(&calm).await;
    for seconds in [5, 30] {
        let most = Duration::from_secs(seconds);
        same_end(&scene, &start, &undisturbed, Lag::All(most), &answers).await;
        for seed in seeds() {
            fastrand::seed(seed);
            same_end(&scene, &start, &undisturbed, Lag::Upto(most, seed), &answers).await;
        }
    }
    println!("{}: {} answers lagged behind", scene.name, answers.load(Ordering::Relaxed));
}

/// Killed at a call that took effect, and applied again while that is not seen yet.
#[tokio::test(start_paused = true)]
async fn killed_and_applied_again_before_it_is_seen() {
    let scene = cold("lab, cold apply", STACK);
    let start = scene.set().await.frozen();
    let calls = {
        let lab = start.lab();
        assert_eq!(lab.apply(STACK).await, Exit::Done);
        lab.mutations().values().sum::<usize>()
    };
    let answers = Arc::default();
    for seed in seeds() {
        println!("seed {seed}");
        fastrand::seed(seed);
        for _ in 0..KILLS {
            let n = fastrand::usize(1..=calls);
            let lag = Lag::Upto(Duration::from_secs(5), seed);
            let what = format!("killed at call {n}, {lag:?}");
            let lab = start.lab();
            lab.sandbox.remember(Duration::from_secs(6));
            scene.act(&lab, lag.wire(&lab, &answers, Some(n))).await;
            assert_eq!(scene.act(&lab, lag.wire(&lab, &answers, None)).await, Some(Exit::Done), "{what}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(lab.apply(STACK).await, Exit::Done, "{what}");
            assert!(lab.plan(STACK).await.plan.is_empty(), "{what}");
            let launched = lab.sandbox.with_account(|account, _| account.ec2.instances.len());
            assert_eq!(launched, 1, "{what}");
            let mut once = lab.started();
            once.dedup();
            assert_eq!(once, lab.started(), "{what}: a step ran twice");
            assert_eq!(lab.destroy(STACK).await, Exit::Done, "{what}");
            assert_eq!(lab.left(), Vec::<String>::new(), "{what}");
        }
    }
}

/// A wire on which these calls are answered as from that long ago, and all else at once.
fn late(lab: &Lab, names: &'static [&'static str], behind: Duration) -> Wire {
    let fates = move |passing: &Passing| match names.contains(&passing.name.as_str()) {
        true => Fate::Behind(behind),
        false => Fate::Pass,
    };
    Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() }
}

/// Applies, and dies at the nth call of that name, once it has taken effect.
async fn dies_at(scene: &Scene, lab: &Lab, name: &'static str, nth: usize) {
    let fates = move |passing: &Passing| match passing.name == name && passing.nth == nth {
        true => Fate::Dies(Moment::BeforeAnswer),
        false => Fate::Pass,
    };
    let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
    assert_eq!(scene.act(lab, wire).await, None);
}

/// Just launched, an instance may be listed before TerminateInstances knows it.
#[tokio::test(start_paused = true)]
async fn what_a_deletion_does_not_see_yet_is_deleted_all_the_same() {
    let scene = cold("lab, cold apply", STACK);
    let calls: &[(&str, &[&str])] = &[
        ("ec2:RunInstances", &["ec2:TerminateInstances"]),
        ("ec2:CreateSecurityGroup", &["ec2:DeleteSecurityGroup"]),
        ("iam:CreateRole", &["iam:DeleteRole", "iam:DetachRolePolicy"]),
        ("ecs:CreateCluster", &["ecs:DeleteCluster"]),
    ];
    for (made, deleted) in calls {
        let lab = scene.set().await;
        lab.sandbox.remember(Duration::from_secs(31));
        dies_at(&scene, &lab, made, 1).await;
        let destroy = Scene { command: Command::Destroy, ..cold("lab, destroy", STACK) };
        assert_eq!(destroy.act(&lab, late(&lab, deleted, Duration::from_secs(30))).await, Some(Exit::Done), "{made}");
        assert_eq!(lab.left(), Vec::<String>::new(), "{made}");
    }
}

/// The attachment is seen, and the policy that is attached is not.
#[tokio::test(start_paused = true)]
async fn a_policy_that_is_not_seen_yet_is_not_detached() {
    let scene = cold("lab, cold apply", STACK);
    let mut attached = 0;
    for nth in 1..=3 {
        let lab = scene.set().await;
        lab.sandbox.remember(Duration::from_secs(31));
        dies_at(&scene, &lab, "iam:AttachRolePolicy", nth).await;
        attached += usize::from(lab.mutations().contains_key("iam:CreatePolicy"));
        let wire = late(&lab, &["iam:GetPolicy", "iam:GetPolicyVersion"], Duration::from_secs(20));
        assert_eq!(scene.act(&lab, wire).await, Some(Exit::Done), "{nth}");
        let calls = lab.mutations();
        assert_eq!((calls["iam:CreatePolicy"], calls.get("iam:DetachRolePolicy")), (1, None), "{nth}");
        assert!(lab.plan(STACK).await.plan.is_empty(), "{nth}");
    }
    assert!(attached > 0, "the policy was never there");
}

/// The answer to a new version is lost, and the policy shows the old one for a while.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_seen_yet_is_not_made_again() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    lab.sandbox.remember(Duration::from_secs(31));
    let stack = lab::edited("read   = [\"reads\"]", "read   = [\"reads\", \"results\"]");
    let fates = |passing: &Passing| match (passing.name.as_str(), passing.nth) {
        ("iam:CreatePolicyVersion", 1) => Fate::AnswerLost,
        ("iam:GetPolicy" | "iam:GetPolicyVersion", _) => Fate::Behind(Duration::from_secs(20)),
        _ => Fate::Pass,
    };
    let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
    let scene = cold("lab, changed apply", &stack);
    assert_eq!(scene.act(&lab, wire).await, Some(Exit::Done));
    assert_eq!(lab.mutations()["iam:CreatePolicyVersion"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_the_demo() {
    converges(cold("demo, cold apply", DEMO)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_germline() {
    converges(cold("germline, cold apply", GERMLINE)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_the_demo() {
    converges(change("demo, changed apply", DEMO)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_germline() {
    converges(change("germline, changed apply", GERMLINE)).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_the_demo() {
    converges(run_of_the_demo()).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_germline() {
    converges(run_of_germline()).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_the_demo() {
    converges(destroyed("demo, destroy", DEMO)).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_germline() {
    converges(destroyed("germline, destroy", GERMLINE)).await;
}
