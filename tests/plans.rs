//! What plans look like: the page with a dozen situations is what the real planner says of them, in the sandbox in process,
//! and the JSON is what its schema says.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; what this machine has not is said"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use seqstack::report::plan::{Detail, schema, text};
use seqstack::sandbox::engine::fake::Outcome;
use serde_json::Value;

mod lab;
mod served;
#[path = "plans/situations.rs"]
mod situations;

use situations::{Situation, all};

const BEGIN: &str = "<!-- situations -->\n";
const END: &str = "<!-- end of situations -->";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with what is in the repository, or renews that.
fn kept(path: &str, found: &str, now: &str, renewed: &str) {
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(file(path), renewed).unwrap();
    } else {
        assert!(
            found == now,
            "{path} is stale; look at what UPDATE_PLANS=1 cargo test --test plans makes of it:\n{now}"
        );
    }
}

fn without_colour(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn screen(situation: &Situation) -> String {
    numbered(&without_colour(&text(&situation.view, Detail { verbose: false, width: Some(80) })))
}

/// With ids that do not depend on which of two calls side by side came first.
fn numbered(text: &str) -> String {
    let id = regex::Regex::new(r"\b(i|key|sg)-0[0-9a-f]{16}\b").unwrap();
    let mut seen: Vec<String> = Vec::new();
    let number = |found: &regex::Captures<'_>| {
        let at = seen.iter().position(|one| *one == found[0]).unwrap_or_else(|| {
            seen.push(found[0].to_owned());
            seen.len() - 1
        });
        format!("{}-0abc{:013x}", &found[1], at + 1)
    };
    id.replace_all(text, number).into_owned()
}

fn page(situations: &[Situation]) -> String {
    let mut out = String::new();
    for situation in situations {
        let Situation { title, how, .. } = situation;
        let _infallible = write!(out, "## {title}\n\n{how}\n\n```text\n{}```\n\n", screen(situation));
    }
    out
}

fn json(situation: &Situation) -> Value {
    serde_json::to_value(&situation.view).unwrap()
}

fn of<'a>(situations: &'a [Situation], title: &str) -> &'a Situation {
    situations.iter().find(|situation| situation.title.starts_with(title)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_what_the_planner_says() {
    let situations = Box::pin(all()).await;
    let path = "src/report/README.md";
    let readme = std::fs::read_to_string(file(path)).unwrap();
    let (head, rest) = readme.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let now = page(&situations);
    kept(path, found, &now, &format!("{head}{BEGIN}{now}{END}{tail}"));

    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let path = "src/report/plan.schema.json";
    kept(path, &std::fs::read_to_string(file(path)).unwrap(), &current, &current);

    for situation in &situations {
        fits(situation);
        one_text(situation);
    }
    validates(&situations);
    answers(&situations, &readme);
}

/// On a screen of 80 columns and 40 lines; where all is new, two more.
fn fits(situation: &Situation) {
    let text = screen(situation);
    let most = if situation.title.starts_with("The first apply") { 42 } else { 40 };
    assert!(text.lines().count() <= most, "{}: {} lines", situation.title, text.lines().count());
    for line in text.lines() {
        // A word that is longer than the screen stays whole.
        let is_one_word = line.split_whitespace().count() <= 2;
        assert!(line.chars().count() <= 80 || is_one_word, "{}: {line}", situation.title);
        assert_eq!(line, line.trim_end(), "{}: {line:?}", situation.title);
    }
}

/// The same words, however wide the terminal and whether there is one; and no control character but those of colour.
fn one_text(situation: &Situation) {
    let words = |width| {
        let text = text(&situation.view, Detail { verbose: false, width });
        let plain = without_colour(&text);
        assert!(!plain.contains(|c: char| c.is_control() && c != '\n'), "{}", situation.title);
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let piped = words(None);
    for width in [40, 80, 100, 200] {
        assert_eq!(words(Some(width)), piped, "{} at {width}", situation.title);
    }
}

fn validates(situations: &[Situation]) {
    let validator = jsonschema::validator_for(&serde_json::to_value(schema()).unwrap()).unwrap();
    for situation in situations {
        let json = json(situation);
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", situation.title);
        let mut broken = json.clone();
        broken["resources"] = "none".into();
        assert!(!validator.is_valid(&broken), "the schema says what resources are");
    }
}

/// The two questions of the page, put to jq as they stand there.
fn answers(situations: &[Situation], readme: &str) {
    if Command::new("jq").arg("--version").output().is_err() {
        println!("skipped: there is no jq");
        return;
    }
    let programs: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("seqstack plan STACK --json | jq -r '")?.strip_suffix('\''))
        .collect();
    let [deleted, runs] = programs[..] else { panic!("the page has two lines for jq: {programs:?}") };
    let ask = |program: &str, title: &str| {
        let mut jq =
            Command::new("jq").args(["-r", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        jq.stdin.take().unwrap().write_all(json(of(situations, title)).to_string().as_bytes()).unwrap();
        let done = jq.wait_with_output().unwrap();
        assert!(done.status.success(), "{program}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(ask(deleted, "Nothing to do"), "");
    assert_eq!(ask(deleted, "Something removed"), "key_pair.ecs_key\n");
    assert_eq!(ask(deleted, "Work that would be lost"), "instance.worker[NA12878]\ninstance.worker[NA12878]\n");
    assert_eq!(ask(runs, "The first apply of the demo"), "true: it was never run\n");
    assert_eq!(ask(runs, "A new input"), "true: input q.dict is new\n");
    assert!(ask(runs, "A failed run").starts_with("false: the same run failed before"));
}

/// What stands on the page for a situation.
fn on_the_page(title: &str) -> String {
    let readme = std::fs::read_to_string(file("src/report/README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("## {title}\n")).unwrap();
    let (_, rest) = rest.split_once("```text\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A plan without its header: who asks, and for which account, is another thing here.
fn body(text: &str) -> &str {
    text.split_once("\n\n").unwrap().1
}

fn in_words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn the_binary_says_the_same_in_a_terminal_and_in_a_pipe() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, _stop) = runtime.block_on(served::served(|_| Outcome::default()));
    for bucket in ["lab-fastq-in", "lab-results-out"] {
        sandbox.create_bucket(bucket);
    }
    let reads = ["R1", "R2"].map(|read| format!("OMGL_2005265_U035_S35_L001_{read}_001.fastq.gz"));
    for key in reads.iter().map(String::as_str).chain(["hs37d5.fa", "hs37d5.fa.fai", "hs37d5.dict", "FH.bed"]) {
        sandbox.put_object("lab-fastq-in", key, "x".into()).unwrap();
    }
    let run = |mut command: Command| {
        let done = command.env_remove("NO_COLOR").output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let plan = ["plan", "stacks/germline.toml"];
    let seqstack = |more: &[&str]| run(served::command_to(&sandbox, &[&plan[..], more].concat()));
    let page = on_the_page("The first apply of the germline stack");

    let (code, piped, told) = seqstack(&[]);
    assert_eq!((code, told.as_str()), (Some(0), ""), "{piped}");
    assert!(!piped.contains('\u{1b}'), "no colour into a pipe");
    assert_eq!(in_words(body(&piped)), in_words(body(&page)));
    assert_eq!(seqstack(&[]).1, piped, "byte for byte the same");

    let (code, json, told) = seqstack(&["--json", "--detailed-exitcode"]);
    assert_eq!((code, told.as_str()), (Some(2), ""), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["schema"], &json["tool"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(json["run"]["will_run"], true);

    let (_, verbose, _) = seqstack(&["-v"]);
    assert!(verbose.contains("calls ecs:CreateCluster germline-main"), "{verbose}");

    // A terminal of 80 columns.
    let terminal = |set: &str| {
        let line = format!("stty cols 80 rows 50; {set} TERM=xterm exec \"$0\" {}", plan.join(" "));
        let shell = format!("sh -c '{line}' '{}'", env!("CARGO_BIN_EXE_seqstack"));
        let mut command = served::command_to(&sandbox, &[]);
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command = Command::new("script");
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).args(["-qec", &shell, "/dev/null"]);
        run(command).1.replace("\r\n", "\n")
    };
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no `script` to make a terminal with");
        return;
    }
    let plain = terminal("NO_COLOR=1");
    assert!(!plain.contains('\u{1b}'), "no colour with NO_COLOR");
    assert_eq!(body(&plain), body(&page));
    let coloured = terminal("");
    assert!(coloured.contains('\u{1b}'), "colour on a terminal");
    assert_eq!(without_colour(&coloured), plain);
}
