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
mod put_back;
/// Where the ledger of [`spec()`] is.
const AT: &str = "s3://out/.seqstack/eu-west-2/g/s1/ledger.json";

type Ends = Vec<(u64, TaskEnd)>;

const HOUR: Duration = Duration::from_secs(3600);

struct FakeTask {
    token: String,
    request: Request,
    made: Instant,
    ends_at: Instant,
    end: TaskEnd,
    stopped: bool,
}

#[derive(Default)]
struct Inner {
    ledger: Option<(Vec<u8>, u64, Timestamp)>,
    objects: BTreeMap<(String, String), (u64, String, Timestamp)>,
    tasks: Vec<FakeTask>,
    /// What the next tasks of a step do; with nothing left, ten seconds and exit code 0.
    ends: BTreeMap<String, Ends>,
    writes: usize,
    /// The write, from 1, that takes effect and whose answer is lost.
    lose_answer_of: Option<usize>,
    /// RunTask takes effect, and nothing is heard of it, ever: the process is as good as killed there.
    lose_run_task_of: Option<String>,
    /// RunTask of it is never sent: the process is killed there.
    never_ask_for: Option<String>,
    refuse: Vec<&'static str>,
    /// The step for which there is no room until then.
    crowded: Option<(String, Instant)>,
    /// Task definitions that were deregistered.
    inactive: Vec<String>,
    life: Option<Life>,
    gone: bool,
    /// Instances that are gone, where not all are.
    gone_instances: Vec<String>,
    /// For so long a task is not shown.
    unseen_for: Duration,
    /// Until when a call is out of reach.
    out_of_reach: BTreeMap<&'static str, Instant>,
    /// Tasks do not stop when they are told to.
    deaf: bool,
    calls: Vec<String>,
}

impl Inner {
    fn reach(&self, call: &str) -> Result<(), AwsError> {
        match self.out_of_reach.get(call) {
            Some(until) if Instant::now() < *until => Err(failure(None, "cut", Class::Passing)),
            _ => Ok(()),
        }
    }
}

impl FakeTask {
    /// ECS keeps a stopped task for an hour.
    fn is_forgotten(&self) -> bool {
        self.stopped && self.ends_at + HOUR <= Instant::now()
    }

    /// A token is good for a day, or until an hour after its task.
    fn token_is_good(&self) -> bool {
        self.made + 24 * HOUR > Instant::now() && self.ends_at + HOUR > Instant::now()
    }
}

struct Fake {
    started: Instant,
    inner: Mutex<Inner>,
}

fn failure(status: Option<u16>, code: &str, class: Class) -> AwsError {
    AwsError {
        operation: "s3:PutObject",
        code: Some(code.to_owned()),
        message: code.to_owned(),
        status,
        request_id: None,
        class,
    }
}

fn exit(code: i32) -> TaskEnd {
    TaskEnd { stop_code: Some("EssentialContainerExited".to_owned()), exit_code: Some(code), ..TaskEnd::default() }
}

impl Fake {
    fn new() -> Self {
        let fake = Self { started: Instant::now(), inner: Mutex::default() };
        fake.put("in", "s1_R1.fastq.gz", "a");
        fake
    }

    fn now(&self) -> Timestamp {
        let seconds = i64::try_from(self.started.elapsed().as_secs()).unwrap();
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn put(&self, bucket: &str, key: &str, etag: &str) {
        let now = self.now();
        self.inner.lock().unwrap().objects.insert((bucket.to_owned(), key.to_owned()), (1, etag.to_owned(), now));
    }

    fn ends(&self, step: &str, ends: Ends) {
        self.inner.lock().unwrap().ends.insert(step.to_owned(), ends);
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.inner.lock().unwrap().ledger.as_ref().unwrap().0, AT).unwrap()
    }

    fn set_ledger(&self, ledger: &Ledger) {
        let now = self.now();
        let mut inner = self.inner.lock().unwrap();
        let etag = inner.ledger.as_ref().map_or(1, |ledger| ledger.1 + 1);
        let ledger = Ledger { at: AT.to_owned(), ..ledger.clone() };
        inner.ledger = Some((ledger.sealed().unwrap(), etag, now));
    }

    fn tasks_of(&self, step: &str) -> usize {
        let inner = self.inner.lock().unwrap();
        inner.tasks.iter().filter(|task| task.request.tags["seqstack:step"] == step).count()
    }

    fn arn(index: usize) -> String {
        format!("arn:aws:ecs:eu-west-2:1:task/c/{index}")
    }

    /// Tasks whose time is up have stopped; `call` has written the output by then.
    fn settle(&self) {
        let now = self.now();
        let mut inner = self.inner.lock().unwrap();
        let Inner { tasks, objects, .. } = &mut *inner;
        for task in tasks.iter_mut().filter(|task| !task.stopped && task.ends_at <= Instant::now()) {
            task.stopped = true;
            task.end.ended_at = Some(now);
            if task.request.tags["seqstack:step"] == "call" && task.end.exit_code == Some(0) {
                objects.insert(("out".to_owned(), "s1.vcf".to_owned()), (9, format!("vcf{}", task.token), now));
            }
        }
    }
}

impl World for Fake {
    async fn read_ledger(&self) -> Result<Read, AwsError> {
        let object = self.inner.lock().unwrap().ledger.clone();
        Ok(Read { object: object.map(|(body, etag, at)| (body, etag.to_string(), at)), now: self.now() })
    }

    async fn write_ledger(&self, body: Vec<u8>, only: &Only) -> Result<(String, Timestamp), AwsError> {
        let now = self.now();
        let mut inner = self.inner.lock().unwrap();
        inner.reach("PutObject")?;
        let etag = inner.ledger.as_ref().map(|ledger| ledger.1);
        match (only, etag) {
            (Only::IfAbsent, None) => {}
            (Only::IfMatch(_), None) => return Err(failure(Some(404), "NoSuchKey", Class::NotFound)),
            (Only::IfMatch(want), Some(etag)) if *want == etag.to_string() => {}
            _ => return Err(failure(Some(412), "PreconditionFailed", Class::Refused)),
        }
        let next = etag.unwrap_or_default() + 1;
        inner.ledger = Some((body, next, now));
        inner.writes += 1;
        if inner.lose_answer_of == Some(inner.writes) {
            return Err(failure(None, "cut", Class::Passing));
        }
        Ok((next.to_string(), now))
    }

    async fn set_aside(&self, _body: Vec<u8>, etag: &str) -> Result<String, AwsError> {
        Ok(format!("{AT}.{etag}"))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>, AwsError> {
        self.settle();
        let inner = self.inner.lock().unwrap();
        let objects = inner
            .objects
            .iter()
            .filter(|((bucket, key), _)| *bucket == listing.bucket && key.starts_with(&listing.prefix));
        Ok(objects
            .map(|((bucket, key), (size, etag, at))| Object {
                bucket: bucket.clone(),
                key: key.clone(),
                size: *size,
                etag: etag.clone(),
                last_modified: Some(*at),
            })
            .collect())
    }

    async fn run_task(&self, request: &Request, token: &str) -> Result<Placed, AwsError> {
        let now = self.now();
        if self.inner.lock().unwrap().never_ask_for.as_deref() == Some(&request.tags["seqstack:step"]) {
            return std::future::pending().await;
        }
        let lost = {
            let mut inner = self.inner.lock().unwrap();
            inner.reach("RunTask")?;
            let step = request.tags["seqstack:step"].clone();
            inner.calls.push(format!("RunTask {step}"));
            let known = |task: &FakeTask| task.token == token && task.token_is_good();
            if let Some(index) = inner.tasks.iter().position(known) {
                assert_eq!(inner.tasks[index].request, *request, "a token is only ever sent with its own request");
                return Ok(Placed::Task(Self::arn(index)));
            }
            if inner.inactive.contains(&request.task_definition) {
                return Err(AwsError {
                    message: "TaskDefinition is inactive".to_owned(),
                    ..failure(Some(400), "ClientException", Class::Refused)
                });
            }
            if inner.crowded.as_ref().is_some_and(|(crowded, until)| *crowded == step && Instant::now() < *until) {
                return Ok(Placed::Refused("RESOURCE:MEMORY".to_owned(), String::new()));
            }
            if !inner.refuse.is_empty() {
                return Ok(Placed::Refused(inner.refuse.remove(0).to_owned(), String::new()));
            }
            let (seconds, mut end) = match inner.ends.get_mut(&step) {
                Some(ends) if !ends.is_empty() => ends.remove(0),
                _ => (10, exit(0)),
            };
            if end.exit_code.is_some() {
                end.started_at = Some(now);
            }
            let (token, request) = (token.to_owned(), request.clone());
            let ends_at = Instant::now() + Duration::from_secs(seconds);
            inner.tasks.push(FakeTask { token, request, made: Instant::now(), ends_at, end, stopped: false });
            inner.lose_run_task_of.as_deref() == Some(step.as_str())
        };
        if lost {
            std::future::pending::<()>().await;
        }
        Ok(Placed::Task(Self::arn(self.inner.lock().unwrap().tasks.len() - 1)))
    }

    async fn tasks(&self, _cluster: &str, arns: &[String]) -> Result<Vec<TaskNow>, AwsError> {
        self.settle();
        let inner = self.inner.lock().unwrap();
        let now = |arn: &String| {
            let task = inner.tasks.iter().enumerate().find(|(index, _)| Self::arn(*index) == *arn);
            match task {
                None => TaskNow::Missing,
                Some((_, task)) if task.is_forgotten() => TaskNow::Missing,
                Some((_, task)) if task.stopped => TaskNow::Stopped(task.end.clone()),
                Some(_) => TaskNow::Going(Going { status: "RUNNING".to_owned(), since: None }),
            }
        };
        Ok(arns.iter().map(now).collect())
    }

    async fn find_task(&self, _cluster: &str, started_by: &str) -> Result<Option<String>, AwsError> {
        self.settle();
        let inner = self.inner.lock().unwrap();
        let unseen_for = inner.unseen_for;
        let known = |task: &FakeTask| {
            task.request.started_by == started_by && !task.is_forgotten() && task.made.elapsed() >= unseen_for
        };
        Ok(inner.tasks.iter().position(known).map(Self::arn))
    }

    async fn tagged(&self, _cluster: &str, _stack: &str, _region: &str) -> Result<Vec<TaggedTask>, AwsError> {
        self.settle();
        let inner = self.inner.lock().unwrap();
        let shown = |task: &FakeTask| !task.is_forgotten() && task.made.elapsed() >= inner.unseen_for;
        let there = inner.tasks.iter().enumerate().filter(|(_, task)| shown(task));
        let tagged = |(index, task): (usize, &FakeTask)| TaggedTask {
            arn: Self::arn(index),
            sample: task.request.tags["seqstack:sample"].clone(),
            step: task.request.tags["seqstack:step"].clone(),
            started_by: task.request.started_by.clone(),
            made_at: Some(Timestamp::from_second(1_700_000_000).unwrap() + (task.made - self.started)),
            stopped: task.stopped,
        };
        Ok(there.map(tagged).collect())
    }

    async fn stop_task(&self, _cluster: &str, arn: &str, reason: &str) -> Result<(), AwsError> {
        let mut inner = self.inner.lock().unwrap();
        let deaf = inner.deaf;
        for (index, task) in inner.tasks.iter_mut().enumerate() {
            if Self::arn(index) == arn && !task.stopped && !deaf {
                task.stopped = true;
                task.end = TaskEnd {
                    stop_code: Some("UserInitiated".to_owned()),
                    stopped_reason: Some(reason.to_owned()),
                    exit_code: Some(137),
                    ..task.end.clone()
                };
            }
        }
        Ok(())
    }

    async fn agent(&self, _cluster: &str, _instance: &str) -> Result<Agent, AwsError> {
        if self.started.elapsed() < Duration::from_secs(20) {
            return Ok(Agent::Absent);
        }
        Ok(Agent::Ready { registered: (2048, 4096), remaining: (2048, 4096) })
    }

    async fn instance_gone(&self, instance: &str) -> Result<bool, AwsError> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.gone || inner.gone_instances.iter().any(|gone| gone == instance))
    }

    async fn life(&self, _instance: &str) -> Result<Option<Life>, AwsError> {
        Ok(self.inner.lock().unwrap().life.clone())
    }

    async fn log_tail(&self, group: &str, stream: &str, lines: i32) -> Result<Vec<String>, AwsError> {
        assert_eq!(lines, 20);
        Ok(vec![format!("{group} {stream}")])
    }

    async fn silence(&self, _group: &str, _stream: &str) -> Result<Option<SignedDuration>, AwsError> {
        Ok(None)
    }

    async fn container(&self, _task_definition: &str) -> Result<(String, Option<(String, String)>), AwsError> {
        Ok(("main".to_owned(), None))
    }
}

fn step(name: &str, follows: &[&str]) -> StepSpec {
    StepSpec {
        name: name.to_owned(),
        follows: follows.iter().map(|&name| name.to_owned()).collect(),
        task: Link::theirs("task_definition", format!("arn:aws:ecs:eu-west-2:1:task-definition/{name}:1")),
        container: "main".to_owned(),
        content: Content { image: format!("{name}:1"), ..Content::default() },
        overrides: Overrides::default(),
        cpu: Some(1024),
        memory: Some(1024),
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

async fn run_with(fake: &Fake, spec: &RunSpec, options: &DriveOptions) -> (Result<Outcome, RunError>, Vec<RunEvent>) {
    let events = Mutex::new(Vec::new());
    let (_keep, stop) = watch::channel(false);
    let outcome = drive_in(fake, spec, options, &|event| events.lock().unwrap().push(event), stop).await;
    (outcome, events.into_inner().unwrap())
}

async fn run(fake: &Fake, spec: &RunSpec) -> Outcome {
    run_with(fake, spec, &options()).await.0.unwrap()
}

async fn observed(fake: &Fake, spec: &RunSpec) -> Observed {
    let (inputs, outputs) = super::observe::objects(fake, spec).await.unwrap();
    let ledger = super::observe::kept(fake.read_ledger().await.unwrap(), spec).unwrap();
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
async fn an_answer_of_run_task_that_never_came_is_found_by_its_token() {
    let (fake, spec) = (Fake::new(), spec());
    fake.inner.lock().unwrap().lose_run_task_of = Some("align".to_owned());
    killed_after(&fake, &spec, 60).await;
    fake.inner.lock().unwrap().lose_run_task_of = None;
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("align"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_recognised_by_its_nonce() {
    for write in 1..=12 {
        let (fake, spec) = (Fake::new(), spec());
        fake.inner.lock().unwrap().lose_answer_of = Some(write);
        assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)), "write {write}");
        assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_named_to_who_must_wait() {
    let (fake, spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(400, exit(0))]);
    let (first, second) = (options(), DriveOptions { identity: "arn:other".to_owned(), ..options() });
    let ((first, _), (second, _)) = tokio::join!(run_with(&fake, &spec, &first), run_with(&fake, &spec, &second));
    assert!(matches!(first, Ok(Outcome::Succeeded(_))), "{first:?}");
    assert!(matches!(&second, Err(RunError::Held { who, .. }) if who == "arn:me on host"), "{second:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_known_dead_holder_is_not_waited_for() {
    let (fake, spec) = (Fake::new(), spec());
    let mine = DriveOptions { holder: Some("this machine".to_owned()), ..options() };
    let cut = tokio::time::timeout(Duration::from_secs(25), run_with(&fake, &spec, &mine)).await;
    assert!(cut.is_err());
    let (outcome, events) = run_with(&fake, &spec, &mine).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))));
    assert!(!events.iter().any(|event| matches!(event, RunEvent::WaitingForLease { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_starts_nothing_more() {
    let (fake, spec) = (Fake::new(), spec());
    let options = options();
    let theft = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        let mut ledger = fake.ledger();
        ledger.nonce = "theirs".to_owned();
        ledger.lease = Some(Lease { holder: "x".to_owned(), who: "arn:thief".to_owned(), since: fake.now() });
        fake.set_ledger(&ledger);
    };
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), theft);
    assert!(matches!(&outcome, Err(RunError::LeaseLost { by }) if by == "arn:thief"), "{outcome:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stop_run_takes_the_lease_and_stops_the_tasks() {
    let (fake, spec) = (Fake::new(), spec());
    let (driver, stopper) = (options(), options());
    let (_keep, stop) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        stop_run_in(&fake, AT, &stopper, &|_| (), stop).await.unwrap()
    };
    let ((outcome, _), stopped) = tokio::join!(run_with(&fake, &spec, &driver), stopping);
    assert_eq!(stopped.keys().collect::<Vec<_>>(), ["pull"]);
    assert!(matches!(outcome, Err(RunError::LeaseLost { .. }) | Ok(Outcome::Cancelled { .. })), "{outcome:?}");
    assert!(matches!(fake.ledger().run().unwrap().state, RunState::Cancelled { .. }));
    assert!(in_progress_in(&fake, AT, |_| false).await.unwrap().is_none());
    let Due::Yes(work) = is_due(&fake, &spec, Some("i-1")).await else { panic!("due") };
    assert!(work.reasons[0].contains("cancelled by arn:me"));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_leaves_the_task_and_the_next_apply_follows_it() {
    let (fake, spec) = (Fake::new(), spec());
    let (ask, stop) = watch::channel(false);
    let options = options();
    let asking = async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        ask.send(true).unwrap();
    };
    let (outcome, ()) = tokio::join!(drive_in(&fake, &spec, &options, &|_| (), stop), asking);
    let Ok(Outcome::Stopped { running, left }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((running.len(), left.len()), (1, 3));
    assert!(fake.ledger().lease.is_none());
    assert!(matches!(run(&fake, &spec).await, Outcome::Succeeded(_)));
    assert_eq!(fake.tasks_of("pull"), 1);
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
#[tokio::test(start_paused = true)]
async fn who_was_cut_off_makes_sure_of_the_lease_before_asking_again() {
    let (fake, spec, options) = (Fake::new(), spec(), options());
    let now = Instant::now();
    let reach = [("RunTask", now + Duration::from_secs(420)), ("PutObject", now + Duration::from_secs(450))];
    let cut = async {
        // The attempt is in the ledger by then.
        tokio::time::sleep(Duration::from_secs(30)).await;
        fake.inner.lock().unwrap().out_of_reach = BTreeMap::from(reach);
        tokio::time::sleep(Duration::from_secs(360)).await;
        let mut ledger = fake.ledger();
        assert_eq!(ledger.open().count(), 1);
        ledger.nonce = "theirs".to_owned();
        ledger.lease = Some(Lease { holder: "x".to_owned(), who: "arn:other".to_owned(), since: fake.now() });
        fake.set_ledger(&ledger);
    };
    fake.inner.lock().unwrap().out_of_reach = BTreeMap::from([reach[0]]);
    let ((outcome, _), ()) = tokio::join!(run_with(&fake, &spec, &options), cut);
    assert!(matches!(&outcome, Err(RunError::LeaseLost { by }) if by == "arn:other"), "{outcome:?}");
    assert_eq!(fake.inner.lock().unwrap().tasks.len(), 0);
}

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
async fn a_task_that_is_not_shown_yet_is_stopped_before_its_step_runs_otherwise() {
    let (fake, mut spec) = (Fake::new(), spec());
    fake.ends("pull", vec![(36_000, exit(0)), (10, exit(0))]);
    {
        let mut inner = fake.inner.lock().unwrap();
        inner.lose_run_task_of = Some("pull".to_owned());
        inner.unseen_for = Duration::from_secs(20);
    }
    let mine = DriveOptions { holder: Some("this machine".to_owned()), ..options() };
    let cut = tokio::time::timeout(Duration::from_secs(25), run_with(&fake, &spec, &mine)).await;
    assert!(cut.is_err());
    fake.inner.lock().unwrap().lose_run_task_of = None;
    spec.steps[0].content.image = "pull:2".to_owned();
    let (outcome, _) = run_with(&fake, &spec, &mine).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    let inner = fake.inner.lock().unwrap();
    let pulls: Vec<&FakeTask> =
        inner.tasks.iter().filter(|task| task.request.tags["seqstack:step"] == "pull").collect();
    assert_eq!(pulls.len(), 2);
    assert_eq!(pulls[0].end.stop_code.as_deref(), Some("UserInitiated"), "it ran on beside the other one");
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
    Object { bucket: "in".to_owned(), key: key.to_owned(), size: 1, etag: etag.to_owned(), last_modified: None }
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

#[test]
fn a_live_lease_is_shown_in_the_plan_and_an_old_one_is_not() {
    let lease = Lease { holder: "h".to_owned(), who: "arn:a on b".to_owned(), since: Timestamp::UNIX_EPOCH };
    let ledger = Ledger { schema: 1, lease: Some(lease), ..Ledger::default() };
    let at = |seconds| Kept { ledger: ledger.clone(), etag: String::new(), age: Duration::from_secs(seconds) };
    assert!(super::due::holder(&at(299)).is_some());
    assert!(super::due::holder(&at(300)).is_none());
}
