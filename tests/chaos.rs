//! Long random lives: each seed draws stacks, drift, faults on the wire, deaths, suspended laptops and up to three commands
//! at once, and after every act the account is looked at.
//!
//! A seed is played again by `SEQSTACK_SEED=n cargo test --test chaos`; `SEQSTACK_SEEDS=n` plays the first n.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed; counts are shown")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use seqstack::cli::{Consent, Wish};
use seqstack::command::{Console, Exit, Problem, apply, destroy};
use seqstack::sandbox::{Fate, Life, Moment, Passing, Wire};
use serde_json::Value;

mod lab;
use lab::{Lab, STACK, fails, fine};

/// How many seeds CI plays.
const SEEDS: u64 = 30;

#[test]
fn random_lives_keep_every_promise() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SEQSTACK_SEED") {
        Some(only) => only..=only,
        None => number("SEQSTACK_FROM").unwrap_or(1)..=number("SEQSTACK_SEEDS").unwrap_or(SEEDS),
    };
    let (next, last) = (AtomicU64::new(*seeds.start()), *seeds.end());
    let sums: Mutex<Counts> = Mutex::default();
    let lives = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                break;
            }
            let told = Told(seed);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            // The SDK's own jitter is drawn from here too.
            fastrand::seed(seed);
            for (what, times) in runtime.block_on(live(seed)) {
                *sums.lock().unwrap().entry(what).or_default() += times;
            }
            drop(told);
        }
    };
    // Each life has a world of its own, so one a core.
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            threads.spawn(lives);
        }
    });
    let sums = sums.into_inner().unwrap();
    let count = seeds.count() as u64;
    println!("{count} seeds: {sums:?}");
    assert!(count < SEEDS || sums.len() == 17, "of all that may happen to a life, some did not");
}

/// Tells the seed of a life that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} failed; once more: SEQSTACK_SEED={0} cargo test --test chaos", self.0);
        }
    }
}

/// What was done to a life, by kind.
type Counts = BTreeMap<&'static str, usize>;

/// A life, and what was done to it.
struct Lived {
    lab: Lab,
    random: Rc<RefCell<fastrand::Rng>>,
    counts: Arc<Mutex<Counts>>,
    /// When something happened after which a step may rightly run again.
    turns: RefCell<Vec<(Timestamp, Timestamp)>>,
    /// The stack that was last applied.
    last: Cell<usize>,
    seed: u64,
}

/// One random life from an empty account to an empty account.
async fn live(seed: u64) -> Counts {
    let mut random = fastrand::Rng::with_seed(seed);
    // Some steps fail now and then, each command's first so many times.
    let fails_first = random.usize(0..3);
    let failed: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let lab = Lab::with(move |line| {
        let mut failed = failed.lock().unwrap();
        let times = failed.entry(line.to_owned()).or_default();
        *times += 1;
        if *times <= fails_first && line.starts_with("call") { fails(1) } else { fine() }
    });
    lab.sandbox.remember(Duration::from_secs(31));
    let life = Lived {
        lab,
        random: Rc::new(RefCell::new(random)),
        counts: Arc::default(),
        turns: RefCell::default(),
        last: Cell::new(usize::MAX),
        seed,
    };
    let stacks = [life.stack(), life.stack()];
    for act in 0..life.below(5) + 2 {
        let what = format!("seed {seed}, act {act}");
        if life.below(3) == 0 {
            life.drift().await;
        }
        let began = life.lab.sandbox.clock().now();
        let commands: Vec<_> = (0..[1, 1, 2, 3][life.below(4)]).map(|_| life.command(&stacks)).collect();
        let several = commands.len() > 1;
        futures_util::future::join_all(commands).await;
        if several {
            // They may have been of two stacks, each with steps of its own.
            life.turns.borrow_mut().push((began, life.lab.sandbox.clock().now()));
        }
        life.check(&what);
    }
    life.settle(&stacks[1]).await;
    life.counts.lock().unwrap().clone()
}

impl Lived {
    fn below(&self, most: usize) -> usize {
        self.random.borrow_mut().usize(0..most)
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn turn(&self) {
        let now = self.lab.sandbox.clock().now();
        self.turns.borrow_mut().push((now, now));
    }

    /// The lab's stack with some of it changed.
    fn stack(&self) -> String {
        let edits = [
            ("retention_days = 7", "retention_days = 14"),
            ("203.0.113.0/24", "198.51.100.0/24"),
            ("description = \"ECS instances\"", "description = \"other instances\""),
            ("project = \"ngs\"", "project = \"other\""),
            ("image = \"tool:1\"", "image = \"tool:2\""),
            ("read   = [\"reads\"]", "read   = [\"reads\", \"results\"]"),
            ("memory         = 1024", "memory         = 2048"),
            ("command = \"call ${sample.name}\"", "command = \"call ${sample.name} --more\""),
            ("on_failure = \"keep\"", "on_failure = \"release\""),
            ("[cluster.main]\n", "[cluster.main]\n[cluster.spare]\n"),
        ];
        let chosen = edits.iter().filter(|_| self.below(3) == 0);
        chosen.fold(STACK.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        })
    }

    /// One command by a client with troubles of its own, on this machine or another one.
    fn command<'a>(&'a self, stacks: &'a [String; 2]) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let (which, machine) = (self.below(2), self.below(2));
        let stack = &stacks[which];
        let destroys = self.below(6) == 0;
        let trouble = [0, 20, 60][self.below(3)];
        // Some commands meet an AWS that shows what was changed late, now and then even very late.
        let lag = Duration::from_secs([0, 0, 5, 30][self.below(4)]);
        let suspends = self.below(4) == 0;
        Box::pin(async move {
            let life = Life::default();
            let mut random = fastrand::Rng::with_seed(self.random.borrow_mut().u64(..));
            let counts = self.counts.clone();
            let wires = Mutex::new(fastrand::Rng::with_seed(random.u64(..)));
            let fates = move |passing: &Passing| {
                let mut random = wires.lock().unwrap();
                if random.usize(0..1000) >= trouble {
                    if lag.is_zero() || ["s3:", "sts:", "ssm:"].iter().any(|name| passing.name.starts_with(name)) {
                        return Fate::Pass;
                    }
                    *counts.lock().unwrap().entry("answers that lag behind").or_default() += 1;
                    return Fate::Behind(lag.mul_f64(random.f64()));
                }
                let (what, fate) = match random.usize(0..11) {
                    0 => ("not sent", Fate::NotSent),
                    1 => ("answer lost", Fate::AnswerLost),
                    2 | 3 => ("throttled", Fate::Throttled),
                    4 => ("503 before", Fate::Failed),
                    5 => ("503 after", Fate::FailedAfter),
                    6 => ("never answered, not done", Fate::Silent),
                    7 => ("never answered, done", Fate::Unanswered),
                    8 => ("delivered twice", Fate::Twice),
                    9 => ("killed before sending", Fate::Dies(Moment::BeforeSending)),
                    _ => ("killed before the answer", Fate::Dies(Moment::BeforeAnswer)),
                };
                *counts.lock().unwrap().entry(what).or_default() += 1;
                fate
            };
            let wire = Wire {
                latency: Duration::from_millis(random.u64(1..60)),
                fates: Some(Arc::new(fates)),
                life: life.clone(),
            };
            let mut session = self.lab.session_over(wire, stack, None, !destroys);
            session.state_dir = self.lab.folder.path().join(format!("machine-{machine}")).join("lab");
            let wish = Wish { retry: random.bool(), ..Wish::default() };
            let consent = Consent { discard_intermediates: true, ..lab::yes() };
            if destroys || self.last.replace(which) != which {
                self.turn();
            }
            let command = async {
                if destroys {
                    self.count("destroys");
                    destroy::destroy(&session, random.bool(), &consent).await
                } else {
                    self.count("applies");
                    apply::apply(&session, &wish, &consent).await
                }
            };
            let command = Suspended {
                command: Box::pin(command),
                random: fastrand::Rng::with_seed(self.random.borrow_mut().u64(..)),
                asleep: None,
                left: usize::from(suspends),
            };
            // Nobody waits longer than a night for a command.
            let ended: Option<Result<Exit, Problem>> = tokio::select! {
                biased;
                () = life.ended() => None,
                () = tokio::time::sleep(Duration::from_secs(8 * 3600)) => None,
                ended = command => Some(ended),
            };
            self.count(match ended {
                None => "cut short",
                Some(Ok(Exit::Done)) => "done",
                Some(_) => "failed",
            });
        })
    }

    /// Somebody else changes something.
    async fn drift(&self) {
        let aws = self.lab.aws();
        self.turn();
        self.count("drifts");
        match self.below(6) {
            0 => drop(aws.logs.delete_log_group().log_group_name("/seqstack/lab/pipeline").send().await),
            1 => {
                let reservations = aws.ec2.describe_instances().send().await.unwrap();
                for instance in reservations.reservations().iter().flat_map(|one| one.instances()) {
                    let id = instance.instance_id().unwrap();
                    drop(aws.ec2.terminate_instances().instance_ids(id).send().await);
                }
            }
            2 => drop(aws.s3.delete_object().bucket("lab-results").key("S1/S1.vcf").send().await),
            3 => drop(self.lab.sandbox.put_object("lab-reads", "S1.fq", format!("reads {}", self.seed).into())),
            4 => {
                let policy = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";
                drop(aws.iam.detach_role_policy().role_name("lab-execution").policy_arn(policy).send().await);
            }
            _ => {
                let machine = self.lab.folder.path().join(format!("machine-{}", self.below(2)));
                drop(std::fs::remove_dir_all(machine));
            }
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }

    /// What must hold after every act.
    fn check(&self, what: &str) {
        let account = self.lab.sandbox.portrait().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // Never two instances for one.
        let mut living: BTreeMap<(String, String), usize> = BTreeMap::new();
        for instance in account["ec2"]["instances"].as_array().unwrap() {
            if !matches!(instance["life"].as_str(), Some("terminated" | "shutting-down")) {
                let tags = &instance["tags"];
                *living.entry((text(&tags["seqstack:address"]), text(&tags["seqstack:sample"]))).or_default() += 1;
            }
        }
        assert!(living.values().all(|count| *count <= 1), "{what}: {living:?}");
        // Never two tasks for one step at a time.
        let mut spans: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for task in account["ecs"]["tasks"].as_array().unwrap() {
            let end = task["stopped"].as_str().unwrap_or("9999");
            spans
                .entry(text(&task["tags"]["seqstack:step"]))
                .or_default()
                .push((text(&task["created"]), end.to_owned()));
        }
        for (step, spans) in &mut spans {
            spans.sort();
            let apart = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
            assert!(apart, "{what}: two tasks of step {step} at once: {spans:?}");
        }
        // A step that has succeeded is not run again for nothing.
        let mut succeeded: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for task in account["ecs"]["tasks"].as_array().unwrap().iter().filter(|task| task["exit_code"] == 0) {
            let same = format!("{} {} {}", task["instance"], task["definition"], task["overrides"]);
            succeeded.entry(same).or_default().push(text(&task["created"]).parse().unwrap());
        }
        let turns = self.turns.borrow();
        for (task, mut times) in succeeded {
            times.sort();
            let due = |pair: &[Timestamp]| turns.iter().any(|(from, to)| pair[0] <= *to && *from <= pair[1]);
            assert!(
                times.windows(2).all(due),
                "{what}: ran again after it had succeeded: {task} at {times:?}, turns {turns:?}"
            );
        }
        // No secret where none belongs.
        for entry in walk(self.lab.folder.path()) {
            let content = std::fs::read_to_string(&entry).unwrap_or_default();
            let is_key = entry.components().any(|part| part.as_os_str() == "keys");
            assert!(is_key || !content.contains("PRIVATE KEY"), "{what}: {}", entry.display());
            assert!(!content.contains("wJalrXUtnFEMI"), "{what}: {}", entry.display());
        }
        assert!(!account.to_string().contains("PRIVATE KEY"), "{what}");
    }

    /// With the wire mended: converges, stays so, and goes away whole.
    async fn settle(&self, stack: &str) {
        let seed = self.seed;
        let consent = Consent { discard_intermediates: true, ..lab::yes() };
        let wish = Wish { retry: true, ..Wish::default() };
        let mut tries = Vec::new();
        loop {
            let mut session = self.lab.session(stack, None, true);
            // One life that is played again says how it ends.
            if std::env::var_os("SEQSTACK_SEED").is_some() {
                session.console = Console::Process;
            }
            session.state_dir = self.lab.folder.path().join("machine-0").join("lab");
            let exit = apply::apply(&session, &wish, &consent).await;
            if matches!(exit, Ok(Exit::Done)) {
                break;
            }
            tries.push(match exit {
                Ok(exit) => format!("{exit:?}"),
                Err(problem) => problem.to_string(),
            });
            // A step fails up to twice, a host may just be going away, and a driver that died is given up after five minutes.
            assert!(tries.len() < 8, "seed {seed}: does not converge: {tries:#?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        self.check(&format!("seed {seed}, settled"));
        let plan = self.lab.plan(stack).await;
        assert!(plan.plan.is_empty(), "seed {seed}: {}", plan.text(false));
        let mut session = self.lab.session(stack, None, false);
        session.state_dir = self.lab.folder.path().join("machine-1").join("lab");
        let exit = destroy::destroy(&session, true, &consent).await;
        assert!(
            matches!(exit, Ok(Exit::Done)),
            "seed {seed}: destroy: {:?}",
            exit.map_err(|problem| problem.to_string())
        );
        assert_eq!(self.lab.left(), Vec::<String>::new(), "seed {seed}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            out.extend(walk(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out
}

/// A command on a laptop whose lid is shut for ten minutes at some moment.
struct Suspended<F> {
    command: Pin<Box<F>>,
    random: fastrand::Rng,
    asleep: Option<Pin<Box<tokio::time::Sleep>>>,
    left: usize,
}

impl<F: Future> Future for Suspended<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(asleep) = &mut self.asleep {
            if asleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.asleep = None;
        }
        if self.left > 0 && self.random.usize(0..400) == 0 {
            self.left -= 1;
            let mut asleep = Box::pin(tokio::time::sleep(Duration::from_secs(600)));
            let _just_begun = asleep.as_mut().poll(cx);
            self.asleep = Some(asleep);
            return Poll::Pending;
        }
        self.command.as_mut().poll(cx)
    }
}
