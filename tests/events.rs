//! What `apply` and `destroy` tell while they go on, through the binary: JSON for scripts, and lines with times for people.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use seqstack::sandbox::Sandbox;
use seqstack::sandbox::engine::fake::Outcome;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

mod lab;
mod served;
use served::{command_to, served};

/// A served sandbox with what the lab's stack reads, and that stack in a folder of its own.
struct Bench {
    sandbox: Arc<Sandbox>,
    stack: PathBuf,
    folder: tempfile::TempDir,
    _serving: (watch::Sender<bool>, Runtime),
}

impl Bench {
    /// `call` ends with this exit code. The result is there already: nothing here writes one.
    fn new(code: i32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sandbox, stop) = runtime.block_on(served(move |launch| {
            let calls = launch.command.iter().flatten().any(|word| word == "call");
            Outcome { runs_for: Duration::from_millis(50), code: if calls { code } else { 0 }, ..Outcome::default() }
        }));
        for bucket in ["lab-reads", "lab-results"] {
            sandbox.create_bucket(bucket);
        }
        for (bucket, key) in [("lab-reads", "S1.fq"), ("lab-reads", "ref.fa"), ("lab-results", "S1/S1.vcf")] {
            sandbox.put_object(bucket, key, "x".into()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let stack = folder.path().join("lab.toml");
        std::fs::write(&stack, lab::STACK).unwrap();
        Self { sandbox, stack, folder, _serving: (stop, runtime) }
    }

    fn seqstack(&self, verb: &str, options: &[&str]) -> Output {
        let stack = self.stack.display().to_string();
        let overwrite: &[&str] = if verb == "apply" { &["--overwrite"] } else { &[] };
        command_to(&self.sandbox, &[&[verb, &stack], options, overwrite].concat()).output().unwrap()
    }

    /// The events, each as the schema has it, with the exit code that the last one names.
    fn events(&self, verb: &str, options: &[&str]) -> (Vec<Value>, i32) {
        let output = self.seqstack(verb, &[options, &["--json"]].concat());
        let told = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let schema: Value = serde_json::from_str(include_str!("../src/report/events/schema.json")).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        for event in &events {
            assert!(schema.is_valid(event), "{event}: {:?}", schema.iter_errors(event).collect::<Vec<_>>());
            assert_eq!(event["schema"], 1);
            event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        }
        let last = events.last().unwrap_or_else(|| panic!("{errors}"));
        let code = output.status.code().unwrap();
        assert_eq!((&last["event"], &last["exit_code"]), (&json!("end"), &json!(code)), "{told}\n{errors}");
        assert_eq!(events.iter().filter(|event| event["event"] == "end").count(), 1, "{told}");
        (events, code)
    }
}

/// The events of one name.
fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn a_life_in_events() {
    let bench = Bench::new(0);
    let (events, code) = bench.events("apply", &["--yes"]);
    assert_eq!(code, 0, "{events:#?}");
    let plan = &events[0];
    assert_eq!((&plan["event"], &plan["verb"], &plan["stack"]), (&json!("plan"), &json!("apply"), &json!("lab")));
    assert_eq!((&plan["region"], &plan["sample"]), (&json!("eu-west-2"), &json!("S1")));
    assert_eq!(plan["account"].as_str().unwrap().len(), 12);
    // Each step of the plan was begun and done, and nothing else.
    let of = |name: &str| {
        let mut steps: Vec<String> = named(&events, name).iter().map(|event| event["step"].to_string()).collect();
        steps.sort();
        steps
    };
    let mut planned: Vec<String> = plan["steps"].as_array().unwrap().iter().map(ToString::to_string).collect();
    planned.sort();
    assert!(planned.len() > 10);
    assert_eq!((of("started"), of("done")), (planned.clone(), planned));
    let ended: Vec<&Value> = named(&events, "step_ended").iter().map(|event| &event["name"]).collect();
    assert_eq!(ended, ["pull", "call", "push"]);
    assert_eq!(named(&events, "run_succeeded").len(), 1);
    assert_eq!(events.last().unwrap()["outcome"], "done");
    // The journal has the same lines, but for those of the command itself.
    let journal = std::fs::read_to_string(bench.folder.path().join("state/lab/journal.jsonl")).unwrap();
    let keep = |event: &Value| !matches!(event["event"].as_str(), Some("plan" | "message" | "end"));
    let untimed = |mut event: Value| {
        event.as_object_mut().unwrap().remove("time");
        event
    };
    let journal: Vec<Value> = journal.lines().map(|line| untimed(serde_json::from_str(line).unwrap())).collect();
    assert_eq!(journal, events.into_iter().filter(keep).map(untimed).collect::<Vec<_>>());

    let (events, code) = bench.events("apply", &[]);
    assert_eq!(
        (code, &events[0]["steps"], events.len()),
        (0, &json!([]), 2),
        "nothing to do needs no --yes: {events:#?}"
    );

    let (events, code) = bench.events("destroy", &["--yes"]);
    assert_eq!((code, &events[0]["verb"]), (0, &json!("destroy")), "{events:#?}");
    let done = named(&events, "done");
    assert_eq!(done.len(), events[0]["steps"].as_array().unwrap().len());
    assert!(done.iter().all(|event| event["step"]["verb"] == "delete"), "{done:#?}");
}

#[test]
fn a_plan_tells_what_the_stack_file_is_warned_of_and_what_is_overwritten_or_left_out() {
    let bench = Bench::new(0);
    std::fs::write(&bench.stack, lab::edited("203.0.113.0/24", "0.0.0.0/0")).unwrap();
    let line = 1 + lab::STACK.lines().position(|line| line.contains("203.0.113.0/24")).unwrap();
    let warned = |plan: &Value| {
        let [warning] = &plan["stack_warnings"].as_array().unwrap()[..] else { panic!("{plan}") };
        assert_eq!((&warning["code"], &warning["line"]), (&json!("open-ssh"), &json!(line)));
        assert!(warning["message"].as_str().unwrap().contains("22"), "{warning}");
    };
    let shown = bench.seqstack("plan", &["--json"]);
    let plan: Value = serde_json::from_slice(&shown.stdout).unwrap();
    warned(&plan);
    assert_eq!(plan["warnings"], json!([]));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("open-ssh"), "people are told as ever");

    let (events, _) = bench.events("apply", &["--exclude", "role.input"]);
    assert_eq!(events[0]["event"], "message");
    let plan = named(&events, "plan")[0];
    warned(plan);
    assert!(plan["left_out"].as_array().unwrap().contains(&json!("pipeline.run[S1]")), "{plan}");
    assert_eq!(plan["overwrites"], json!([]));
    let (events, _) = bench.events("apply", &[]);
    let overwritten = &named(&events, "plan")[0]["overwrites"][0];
    assert_eq!((&overwritten["key"], &overwritten["by_a_run"]), (&json!("S1/S1.vcf"), &json!(false)));
}

#[test]
fn errors_are_events_too() {
    let bench = Bench::new(1);
    let (events, code) = bench.events("apply", &[]);
    assert_eq!((code, events.len()), (1, 3), "nobody is asked: {events:#?}");
    assert_eq!(events[1]["event"], "error");
    assert!(events[1]["hint"].as_str().unwrap().contains("--yes"), "{events:#?}");
    let made: usize = bench.sandbox.counts().iter().filter(|(name, _)| name.contains(":Create")).map(|(_, n)| n).sum();
    assert_eq!(made, 0);

    let (events, code) = bench.events("apply", &["--yes"]);
    assert_eq!((code, &events.last().unwrap()["outcome"]), (3, &json!("run_failed")), "{events:#?}");
    let failed = named(&events, "run_failed");
    assert_eq!((failed.len(), &failed[0]["step"]), (1, &json!("call")));
    let verdicts: Vec<&Value> = named(&events, "step_ended").iter().map(|event| &event["verdict"]).collect();
    assert_eq!(verdicts, [&json!("succeeded"), &json!({ "failed": { "exit": 1 } })]);

    // That is a failure too: nothing was begun.
    let (events, code) = bench.events("apply", &["--yes"]);
    assert_eq!((code, named(&events, "started").len()), (3, 0), "{events:#?}");

    std::fs::write(&bench.stack, "[stack]\nname = 7\n").unwrap();
    let (events, code) = bench.events("destroy", &["--yes"]);
    assert_eq!((code, events.len(), &events[1]["outcome"]), (64, 2, &json!("usage")), "{events:#?}");
    let error = events[0]["error"].as_str().unwrap();
    assert!(error.contains("lab.toml:2:") && !error.contains('\x1b'), "{error}");
}

#[test]
fn a_full_stdout_is_told_and_stops_nothing() {
    let bench = Bench::new(0);
    let stack = bench.stack.display().to_string();
    let mut command = command_to(&bench.sandbox, &["apply", &stack, "--yes", "--overwrite", "--json"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("applied: the stack is as its file says"), "{errors}");
    assert!(errors.contains("error: failed to write to standard output"), "{errors}");
}

#[test]
fn off_a_terminal_each_line_begins_with_its_time() {
    let bench = Bench::new(0);
    let output = bench.seqstack("apply", &["--yes"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.contains('\x1b') && !told.contains('\r'), "{told:?}");
    let timed = |line: &str| {
        let (time, text) = line.split_once(' ')?;
        (time.len() == 20 && time.parse::<jiff::Timestamp>().is_ok()).then(|| text.to_owned())
    };
    let lines: Vec<String> = told.lines().filter_map(timed).collect();
    for line in ["created role.execution", "created instance.worker[S1]", "step call: succeeded after 0 s"] {
        assert!(lines.iter().any(|one| one == line), "{line}: {told}");
    }
    let untimed: Vec<&str> = told.lines().filter(|line| timed(line).is_none()).collect();
    // What is no event: what may happen, and how it ended.
    assert!(untimed.iter().all(|line| !line.starts_with("step ") && !line.starts_with("created ")), "{told}");
}
