//! Killed at any call, and applied again: the same account as without the kill, nothing twice, nothing left over.
//!
//! The kill points are the mutating calls that an undisturbed command makes, recorded first, each at three moments. A
//! kill drops the whole client: nothing of it is polled again, and nothing that it left behind gets through.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed; counts are shown")]

use std::sync::{Arc, Mutex};

use seqstack::command::{Exit, apply, destroy};
use seqstack::sandbox::{Fate, Life, Moment, Passing, Wire};

mod lab;
use lab::{Lab, wish, yes};

const MOMENTS: [Moment; 3] = [Moment::BeforeSending, Moment::BeforeAnswer, Moment::AfterAnswer];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Apply,
    Destroy,
}

/// A command in a situation.
struct Scene {
    name: &'static str,
    /// The stack that was applied before.
    before: Option<String>,
    /// What happened since.
    since: fn(&Lab),
    /// What is applied, or destroyed.
    stack: String,
    command: Command,
}

/// A point at which a client dies: the mutating call by its number, and the moment.
type Point = (usize, Moment);

impl Scene {
    async fn set(&self) -> Lab {
        let lab = Lab::of(&self.stack);
        if let Some(stack) = &self.before {
            assert_eq!(lab.apply(stack).await, Exit::Done);
        }
        (self.since)(&lab);
        lab
    }

    /// The command, by a client that dies at that point if it gets there; whether it lived, and the calls that it made.
    async fn act(&self, lab: &mut Lab, dies: Option<Point>) -> (Option<Exit>, Vec<Passing>) {
        let calls: Arc<Mutex<Vec<Passing>>> = Arc::default();
        let noted = calls.clone();
        let fates = move |passing: &Passing| {
            let Some(n) = passing.mutating else { return Fate::Pass };
            noted.lock().unwrap().push(passing.clone());
            match dies {
                Some((at, moment)) if at == n => Fate::Dies(moment),
                _ => Fate::Pass,
            }
        };
        let life = Life::default();
        lab.wire = Wire { latency: lab.wire.latency, fates: Some(Arc::new(fates)), life: life.clone() };
        let session = lab.session(&self.stack, None, self.command == Command::Apply);
        let lived = {
            let command = async {
                match self.command {
                    Command::Apply => apply::apply(&session, &wish(), &yes()).await,
                    Command::Destroy => destroy::destroy(&session, false, &yes()).await,
                }
            };
            tokio::select! {
                biased;
                () = life.ended() => None,
                exit = Box::pin(command) => Some(exit.unwrap_or_else(|problem| panic!("{}: {problem}", self.name))),
            }
        };
        lab.wire.fates = None;
        lab.wire.life = Life::default();
        let calls = calls.lock().unwrap().clone();
        (lived, calls)
    }

    /// The undisturbed command: its mutating calls, and what the account is like after it.
    async fn undisturbed(&self) -> (Vec<Passing>, End) {
        let mut lab = self.set().await;
        let (exit, recorded) = self.act(&mut lab, None).await;
        assert_eq!(exit, Some(Exit::Done), "{}", self.name);
        (recorded, End::of(&lab).await)
    }

    /// Applied again after whatever happened: the same end.
    async fn mends(&self, lab: &mut Lab, undisturbed: &End, what: &str) {
        let (exit, _) = self.act(lab, None).await;
        assert_eq!(exit, Some(Exit::Done), "{what}");
        undisturbed.same(&End::of(lab).await, what);
    }

    async fn leaves_nothing(&self, lab: &Lab, what: &str) {
        if self.command == Command::Apply {
            assert_eq!(lab.destroy(&self.stack).await, Exit::Done, "{what}");
        }
        assert_eq!(lab.left(), Vec::<String>::new(), "{what}");
    }

    /// Killed at every mutating call of the undisturbed command, at each of the three moments.
    async fn every_point(&self) {
        let (recorded, undisturbed) = self.undisturbed().await;
        let mut tried = 0;
        for n in 1..=recorded.len() {
            for moment in MOMENTS {
                let what = format!("{}: {} ({n} of {}), {moment:?}", self.name, recorded[n - 1].name, recorded.len());
                let mut lab = self.set().await;
                let (lived, _) = self.act(&mut lab, Some((n, moment))).await;
                // After the last answer there may be nothing left to die at.
                assert!(lived.is_none() || moment == Moment::AfterAnswer, "{what}: nobody died");
                tried += 1;
                self.mends(&mut lab, &undisturbed, &what).await;
                // The same account is destroyed in the same way: once for each call is enough.
                if moment == Moment::BeforeAnswer {
                    self.leaves_nothing(&lab, &what).await;
                }
            }
        }
        assert_eq!(tried, recorded.len() * MOMENTS.len());
        println!("{}: {} mutating calls recorded, {tried} kill points tried", self.name, recorded.len());
    }

    /// Killed twice within one resource's life: at a call about it, and when applied again at each call about the same one.
    async fn every_pair(&self) {
        let (recorded, undisturbed) = self.undisturbed().await;
        let mut tried = 0;
        for n in 1..=recorded.len() {
            for first in PAIRED {
                let about = subject(&recorded[n - 1]);
                let mut lab = self.set().await;
                self.act(&mut lab, Some((n, first))).await;
                let (_, next) = self.act(&mut lab, None).await;
                let again: Vec<usize> =
                    (1..=next.len()).filter(|n| subject(&next[n - 1]) == about).take(LIFE).collect();
                for (m, second) in again.into_iter().flat_map(|m| PAIRED.map(|second| (m, second))) {
                    let what = format!(
                        "{}: {about}: {} ({n}), {first:?}; then {} ({m}), {second:?}",
                        self.name,
                        recorded[n - 1].name,
                        next[m - 1].name
                    );
                    let mut lab = self.set().await;
                    self.act(&mut lab, Some((n, first))).await;
                    let (lived, _) = self.act(&mut lab, Some((m, second))).await;
                    assert_eq!(lived, None, "{what}: nobody died");
                    tried += 1;
                    self.mends(&mut lab, &undisturbed, &what).await;
                }
            }
        }
        assert!(tried > recorded.len());
        println!("{}: {} mutating calls recorded, {tried} pairs of kill points tried", self.name, recorded.len());
    }
}

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

/// What an account is like after a command.
struct End {
    portrait: Vec<String>,
    started: Vec<String>,
}

impl End {
    async fn of(lab: &Lab) -> Self {
        Self { portrait: lab.portrait().await, started: lab.started_once() }
    }

    /// Is the same; shows only the lines in which they differ.
    fn same(&self, found: &Self, what: &str) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        let (more, less) = (only(&found.portrait, &self.portrait), only(&self.portrait, &found.portrait));
        assert!(more.is_empty() && less.is_empty(), "{what}: only here: {more:#?}, only undisturbed: {less:#?}");
        assert_eq!(found.started, self.started, "{what}: other tasks were started");
    }
}

const DEMO: &str = include_str!("../stacks/demo.toml");
const GERMLINE: &str = include_str!("../stacks/germline.toml");

/// The same stack with much of it changed: rules, a group's description (which replaces it), policies, tags, retention,
/// and the sizes of task definitions.
fn changed(stack: &str) -> String {
    let edits = [
        ("project = \"", "project = \"other-"),
        ("192.0.2.0/24", "198.51.100.0/24"),
        ("203.0.113.0/24\", d", "198.51.100.0/24\", d"),
        ("description = \"ECS instances of the demo\"", "description = \"other instances\""),
        ("description = \"SSH to the instance of the pipeline\"", "description = \"other instances\""),
        ("= [\"reads\"]", "= [\"reads\", \"results\"]"),
        ("retention_days = ", "retention_days = 1 # "),
        ("memory = 512", "memory = 640"),
        ("memory = 1024", "memory = 1280"),
    ];
    let changed = edits.iter().fold(stack.to_owned(), |text, (from, to)| text.replace(from, to));
    assert!(changed.lines().zip(stack.lines()).filter(|(new, old)| new != old).count() >= 6);
    changed
}

fn cold(name: &'static str, stack: &str) -> Scene {
    Scene { name, before: None, since: |_| (), stack: stack.to_owned(), command: Command::Apply }
}

fn change(name: &'static str, stack: &str) -> Scene {
    Scene { before: Some(stack.to_owned()), stack: changed(stack), ..cold(name, stack) }
}

fn destroyed(name: &'static str, stack: &str) -> Scene {
    Scene { before: Some(stack.to_owned()), command: Command::Destroy, ..cold(name, stack) }
}

fn new_reads(name: &'static str, stack: &str, since: fn(&Lab)) -> Scene {
    Scene { before: Some(stack.to_owned()), since, ..cold(name, stack) }
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_the_demo() {
    cold("demo, cold apply", DEMO).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_apply_of_germline() {
    cold("germline, cold apply", GERMLINE).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_the_demo() {
    change("demo, changed apply", DEMO).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_apply_of_germline() {
    change("germline, changed apply", GERMLINE).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_the_demo() {
    let rewrite =
        |lab: &Lab| std::fs::write(lab.folder.path().join("demo/NA12878_R1.fastq.gz"), "other reads").unwrap();
    new_reads("demo, run", DEMO, rewrite).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_germline() {
    let put = |lab: &Lab| {
        lab.sandbox
            .put_object("lab-fastq-in", "OMGL_2005265_U035_S35_L001_R1_001.fastq.gz", "other reads".into())
            .map(drop)
            .unwrap();
    };
    new_reads("germline, run", GERMLINE, put).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_the_demo() {
    destroyed("demo, destroy", DEMO).every_point().await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_of_germline() {
    destroyed("germline, destroy", GERMLINE).every_point().await;
}

#[tokio::test(start_paused = true)]
#[ignore = "minutes: cargo test --test kills -- --ignored"]
async fn pairs_in_the_demo() {
    cold("demo, cold apply", DEMO).every_pair().await;
}

#[tokio::test(start_paused = true)]
#[ignore = "minutes: cargo test --test kills -- --ignored"]
async fn pairs_in_germline() {
    cold("germline, cold apply", GERMLINE).every_pair().await;
}

#[tokio::test(start_paused = true)]
#[ignore = "minutes: cargo test --test kills -- --ignored"]
async fn pairs_in_a_changed_apply_of_the_demo() {
    change("demo, changed apply", DEMO).every_pair().await;
}

#[tokio::test(start_paused = true)]
#[ignore = "minutes: cargo test --test kills -- --ignored"]
async fn pairs_in_a_destroy_of_the_demo() {
    destroyed("demo, destroy", DEMO).every_pair().await;
}
