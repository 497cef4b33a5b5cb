//! Killed at any call, and applied again: the same account as without the kill, nothing twice, nothing left over.
//!
//! The kill points are the mutating calls that an undisturbed command makes, recorded first, each at three moments. A
//! kill drops the whole client: nothing of it is polled again, and nothing that it left behind gets through.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed; counts are shown")]

use std::sync::{Arc, Mutex};

use seqstack::command::Exit;
use seqstack::sandbox::{Fate, Life, Moment, Passing, Wire};

mod lab;
use lab::scene::{
    Command, DEMO, End, GERMLINE, Scene, change, cold, destroyed, in_parts, run_of_germline, run_of_the_demo,
};
use lab::{Frozen, Lab};

const MOMENTS: [Moment; 3] = [Moment::BeforeSending, Moment::BeforeAnswer, Moment::AfterAnswer];

/// A point at which a client dies: the mutating call by its number, and the moment.
type Point = (usize, Moment);

/// A scene whose command may be killed.
struct Killed(Scene);

/// A command that lived: its mutating calls, and the world right before each.
struct Recorded {
    calls: Vec<Passing>,
    before: Vec<Frozen>,
}

impl Killed {
    /// The command, by a client that dies at that point if it gets there; whether it lived.
    async fn act(&self, lab: &Lab, dies: Option<Point>) -> Option<Exit> {
        let fates = move |passing: &Passing| match dies {
            Some((at, moment)) if passing.mutating == Some(at) => Fate::Dies(moment),
            _ => Fate::Pass,
        };
        let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
        self.0.act(lab, wire).await
    }

    /// The command, by a client that lives.
    async fn record(&self, lab: Lab) -> (Recorded, Arc<Lab>) {
        let lab = Arc::new(lab);
        let noted: Arc<Mutex<Vec<(Passing, Frozen)>>> = Arc::default();
        let (world, notes) = (lab.clone(), noted.clone());
        let fates = move |passing: &Passing| {
            if passing.mutating.is_some() {
                notes.lock().unwrap().push((passing.clone(), world.frozen()));
            }
            Fate::Pass
        };
        let wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: Life::default() };
        assert_eq!(self.0.act(&lab, wire).await, Some(Exit::Done), "{}", self.0.name);
        let (calls, before) = std::mem::take(&mut *noted.lock().unwrap()).into_iter().unzip();
        (Recorded { calls, before }, lab)
    }

    /// The world after a client has died at that point. One that dies before it sends leaves what was there before it would
    /// have sent; else it is let live until then, and dropped.
    async fn killed(&self, from: &Frozen, recorded: &Recorded, (n, moment): Point, what: &str) -> Lab {
        if moment == Moment::BeforeSending {
            return recorded.before[n - 1].lab();
        }
        let lab = from.lab();
        let lived = self.act(&lab, Some((n, moment))).await;
        // After the last answer there may be nothing left to die at.
        assert!(lived.is_none() || moment == Moment::AfterAnswer, "{what}: nobody died");
        lab
    }

    /// Applied again after whatever happened: the same end.
    async fn mends(&self, lab: &Lab, undisturbed: &End, what: &str) {
        assert_eq!(self.act(lab, None).await, Some(Exit::Done), "{what}");
        undisturbed.same(&End::of(lab).await, what);
    }

    async fn leaves_nothing(&self, lab: &Lab, what: &str) {
        if self.0.command == Command::Apply {
            assert_eq!(lab.destroy(&self.0.stack).await, Exit::Done, "{what}");
        }
        assert_eq!(lab.left(), Vec::<String>::new(), "{what}");
    }

    /// Killed at every mutating call of the undisturbed command, at each of the three moments.
    async fn every_point(&self) {
        let start = self.0.set().await.frozen();
        let (recorded, lab) = self.record(start.lab()).await;
        let undisturbed = End::of(&lab).await;
        let all = recorded.calls.len();
        let mut tried = 0;
        for n in 1..=all {
            for moment in MOMENTS {
                let what = format!("{}: {} ({n} of {all}), {moment:?}", self.0.name, recorded.calls[n - 1].name);
                let lab = self.killed(&start, &recorded, (n, moment), &what).await;
                tried += 1;
                self.mends(&lab, &undisturbed, &what).await;
                // The same account is destroyed in the same way: once for each call is enough.
                if moment == Moment::BeforeAnswer {
                    self.leaves_nothing(&lab, &what).await;
                }
            }
        }
        assert_eq!(tried, all * MOMENTS.len());
        println!("{}: {all} mutating calls recorded, {tried} kill points tried", self.0.name);
    }

    /// Killed twice within one resource's life: at a call about it, and when applied again at each call about the same one.
    async fn pairs(&self) {
        let start = self.0.set().await.frozen();
        let (recorded, lab) = self.record(start.lab()).await;
        let undisturbed = End::of(&lab).await;
        let all: Vec<Point> = (1..=recorded.calls.len()).flat_map(|n| PAIRED.map(|moment| (n, moment))).collect();
        let chosen = chosen(all.clone());
        let mut tried = 0;
        for first in &chosen {
            let call = &recorded.calls[first.0 - 1];
            let about = subject(call);
            let what = format!("{}: {about}: {} ({}), {:?}", self.0.name, call.name, first.0, first.1);
            let once = self.killed(&start, &recorded, *first, &what).await.frozen();
            let (next, _) = self.record(once.lab()).await;
            let same = (1..=next.calls.len()).filter(|m| subject(&next.calls[m - 1]) == about).take(LIFE);
            for second in same.flat_map(|m| PAIRED.map(|moment| (m, moment))) {
                let what = format!("{what}; then {} ({}), {:?}", next.calls[second.0 - 1].name, second.0, second.1);
                let lab = self.killed(&once, &next, second, &what).await;
                tried += 1;
                self.mends(&lab, &undisturbed, &what).await;
            }
        }
        assert!(tried > 0);
        println!(
            "{}: {} mutating calls recorded; {tried} pairs of kill points tried, after {} of {} first ones",
            self.0.name,
            recorded.calls.len(),
            chosen.len(),
            all.len()
        );
    }
}

/// The first points whose pairs are tried: some, by a seed; all with `SEQSTACK_PAIRS=all`.
fn chosen(mut all: Vec<Point>) -> Vec<Point> {
    if std::env::var("SEQSTACK_PAIRS").is_ok_and(|which| which == "all") {
        return all;
    }
    let seed = std::env::var("SEQSTACK_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed).shuffle(&mut all);
    all.truncate(SAMPLE);
    all
}

/// How many first points the tests take.
const SAMPLE: usize = 4;
/// The moments of a pair: the third one is, for what comes after, the first one of the next call.
const PAIRED: [Moment; 2] = [Moment::BeforeSending, Moment::BeforeAnswer];
/// How many calls of the second command are paired with the first one's: a pipeline's run is one resource, and its next
/// step's life is over after so many.
const LIFE: usize = 5;

/// What a call is about, by the name that it carries.
fn subject(call: &Passing) -> String {
    let body = String::from_utf8_lossy(&call.body);
    let (service, operation) = call.name.split_once(':').unwrap();
    let parameter = |names: &[&str]| {
        let pairs: Vec<(&str, &str)> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value = names.iter().find_map(|name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| *value));
        // An ARN's last part; a role's policy is called after it.
        value.map(|value| value.rsplit("%2F").next().unwrap().trim_end_matches("_policy").to_owned())
    };
    let json: serde_json::Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let member = |names: &[&str]| {
        let value = names.iter().find_map(|name| json[name].as_str().or(json[name][0].as_str()));
        value.map(|value| value.rsplit('/').next().unwrap().split(':').next().unwrap().to_owned())
    };
    let name = match (service, operation) {
        ("iam", _) => parameter(&["RoleName", "InstanceProfileName", "PolicyName", "PolicyArn"]),
        ("ec2", _) if operation.contains("KeyPair") => Some("key pair".to_owned()),
        ("ec2", _) if operation.contains("SecurityGroup") => Some("security group".to_owned()),
        ("ec2", _) => Some("instance".to_owned()),
        ("ecs", "RunTask" | "StopTask") => Some("run".to_owned()),
        ("ecs", _) => member(&["family", "taskDefinition", "taskDefinitions", "clusterName", "cluster", "resourceArn"]),
        ("logs", _) => member(&["logGroupName", "resourceArn"]),
        _ if call.path.ends_with("ledger.json") => Some("run".to_owned()),
        _ => Some(call.path.clone()),
    };
    name.unwrap_or_else(|| panic!("{}: what is it about? {body}", call.name))
}

#[tokio::test(start_paused = true)]
async fn an_upload_in_parts() {
    Killed(in_parts()).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_the_demo() {
    Killed(cold("demo, cold apply", DEMO)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_germline() {
    Killed(cold("germline, cold apply", GERMLINE)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_the_demo() {
    Killed(change("demo, changed apply", DEMO)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_germline() {
    Killed(change("germline, changed apply", GERMLINE)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_the_demo() {
    Killed(run_of_the_demo()).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_germline() {
    Killed(run_of_germline()).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_the_demo() {
    Killed(destroyed("demo, destroy", DEMO)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_germline() {
    Killed(destroyed("germline, destroy", GERMLINE)).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn pairs_in_an_upload_in_parts() {
    Killed(in_parts()).pairs().await;
}

#[tokio::test(start_paused = true)]
async fn pairs_in_the_demo() {
    Killed(cold("demo, cold apply", DEMO)).pairs().await;
}

#[tokio::test(start_paused = true)]
async fn pairs_in_germline() {
    Killed(cold("germline, cold apply", GERMLINE)).pairs().await;
}

#[tokio::test(start_paused = true)]
async fn pairs_in_a_changed_apply_of_the_demo() {
    Killed(change("demo, changed apply", DEMO)).pairs().await;
}

#[tokio::test(start_paused = true)]
async fn pairs_in_a_destroy_of_the_demo() {
    Killed(destroyed("demo, destroy", DEMO)).pairs().await;
}
