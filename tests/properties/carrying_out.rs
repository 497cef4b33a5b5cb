//! What is begun, what is not, and what is told of it, where one step fails or somebody presses Ctrl-C.

use std::sync::atomic::Ordering;

use seqstack::address::Link;
use seqstack::execute::Outcome;
use seqstack::stack::pipeline::OnFailure;

use super::*;

/// Three groups, each of which lets in the one before it: one is made after the other.
const CHAIN: &str = "[stack]\nname = \"s\"\nregion = \"eu-west-2\"\n\
                     [security_group.a]\ningress = [{ protocol = \"tcp\", port = 22, cidr = \"203.0.113.0/24\" }]\n\
                     [security_group.b]\ningress = [{ protocol = \"all\", security_group = \"a\" }]\n\
                     [security_group.c]\ningress = [{ protocol = \"all\", security_group = \"b\" }]\n";

/// One that counts the calls, and does something at one of them.
struct Counting<'a> {
    calls: RefCell<Vec<String>>,
    /// The call, from 1, that fails.
    fails: usize,
    /// The call, from 1, during which somebody interrupts.
    interrupts: usize,
    interrupted: &'a AtomicBool,
}

impl Performer for Counting<'_> {
    async fn call(&self, at: &Address, _: Value) -> Result<Ids, Failure> {
        self.calls.borrow_mut().push(at.name.clone());
        let nth = self.calls.borrow().len();
        self.interrupted.fetch_or(nth == self.interrupts, Ordering::SeqCst);
        if nth == self.fails {
            return Err(Failure {
                call: String::new(),
                error: "injected".into(),
                left: String::new(),
                hint: None,
                ended: false,
            });
        }
        Ok([("id".to_owned(), format!("sg-{at}"))].into())
    }
    fn describe(&self, _: &Address, call: &Value) -> String {
        call.to_string()
    }
    async fn run(&self, _: RunSpec) -> Result<(), Failure> {
        unreachable!("no pipeline in this stack")
    }
}

/// The chain is made: who was called for, how it came out, and why steps were not begun.
fn made(fails: usize, interrupts: usize) -> (Vec<String>, Outcome, Vec<String>) {
    let (plan, _) = planned(&desired(CHAIN), &Live::default());
    let interrupted = AtomicBool::new(false);
    let counting = Counting { calls: RefCell::default(), fails, interrupts, interrupted: &interrupted };
    let reasons = RefCell::new(Vec::new());
    let tell = |event| {
        if let Event::Skipped { because, .. } = event {
            reasons.borrow_mut().push(because);
        }
    };
    let outcome = futures_util::FutureExt::now_or_never(execute(&plan, &counting, &tell, &interrupted));
    (counting.calls.into_inner(), outcome.expect("nothing here waits"), reasons.into_inner())
}

fn names<'a>(ids: impl IntoIterator<Item = &'a StepId>) -> Vec<&'a str> {
    ids.into_iter().map(|id| id.at.name.as_str()).collect()
}

#[test]
fn all_of_it_is_made_in_order() {
    let (calls, outcome, _) = made(0, 0);
    assert_eq!(calls, ["a", "a", "b", "b", "c", "c"]);
    assert!(outcome.clean());
    assert_eq!(names(&outcome.done), ["a", "b", "c"]);
}

#[test]
fn what_waits_for_a_failed_step_is_not_begun_and_neither_is_what_waits_for_that() {
    let (calls, outcome, reasons) = made(1, 0);
    assert_eq!(calls, ["a"]);
    assert_eq!(outcome.failed[0].1.left, "nothing was changed");
    assert_eq!((names(&outcome.skipped), outcome.done.len()), (vec!["b", "c"], 0));
    assert_eq!(reasons, ["create security_group.a failed", "create security_group.b was not done"]);
}

#[test]
fn how_much_of_a_failed_step_took_effect_is_told() {
    let (calls, outcome, _) = made(4, 0);
    assert_eq!(calls, ["a", "a", "b", "b"]);
    assert_eq!(outcome.failed[0].1.left, "1 of its 2 calls took effect");
    assert_eq!((names(&outcome.done), names(&outcome.skipped)), (vec!["a"], vec!["c"]));
    assert!(outcome.ids.contains_key(&Address::new("security_group", "b")), "what it has made is known all the same");
}

#[test]
fn after_an_interrupt_what_was_begun_is_finished_and_nothing_else_is_begun() {
    let (calls, outcome, reasons) = made(0, 1);
    assert_eq!(calls, ["a", "a"]);
    assert_eq!((names(&outcome.done), names(&outcome.skipped)), (vec!["a"], vec!["b", "c"]));
    assert_eq!(reasons, ["interrupted", "interrupted"]);
}

/// One whose run fails.
struct Failing {
    /// Whether the run is over, and not only out of sight.
    ended: bool,
}

impl Performer for Failing {
    async fn call(&self, _: &Address, _: Value) -> Result<Ids, Failure> {
        Ok(Ids::new())
    }
    fn describe(&self, _: &Address, call: &Value) -> String {
        call.to_string()
    }
    async fn run(&self, _: RunSpec) -> Result<(), Failure> {
        let (call, error, left) = ("run".to_owned(), "injected".to_owned(), String::new());
        Err(Failure { call, error, left, hint: None, ended: self.ended })
    }
}

#[test]
fn what_goes_after_the_run_goes_after_a_failed_one_only_where_that_is_over_and_the_file_says_so() {
    let link = |kind: &str| Link::theirs(kind, "x");
    let spec = RunSpec {
        stack: "s".to_owned(),
        region: "eu-west-2".to_owned(),
        account: "123456789012".to_owned(),
        sample: "S1".to_owned(),
        tags: BTreeMap::new(),
        cluster: link("cluster"),
        instance: link("instance"),
        instance_at: Address::new("instance", "w"),
        machine: String::new(),
        ledger_bucket: "results".to_owned(),
        ledger_key: "key".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        on_failure: OnFailure::Keep,
        steps: Vec::new(),
    };
    let over = diff(&Desired::default(), &applied(CHAIN).live, &Scope::default()).unwrap();
    for (settle_always, ended) in [(false, false), (false, true), (true, false), (true, true)] {
        let settle = plan(Phase::Settle, over.clone(), &|_| Why::RunOver);
        let run = seqstack::plan::Run { spec: spec.clone(), settle_always };
        let plan = seqstack::plan::with_run(Plan::default(), run, Vec::new(), settle);
        let (failing, never) = (Failing { ended }, AtomicBool::new(false));
        let outcome = execute(&plan, &failing, &|_| (), &never);
        let outcome = futures_util::FutureExt::now_or_never(outcome).expect("nothing here waits");
        let done = if settle_always && ended { 3 } else { 0 };
        assert_eq!((outcome.done.len(), outcome.skipped.len()), (done, 3 - done), "{settle_always} {ended}");
    }
}
