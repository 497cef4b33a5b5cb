//! Stack files that are broken at one place, at every place and in every way: each break is told on its line, with what to
//! do about it, and on no other; and two breaks together are told as each is alone.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and it shows its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use seqstack::stack::{Fault, Faults, Request, Stack};

#[path = "broken/breaks.rs"]
mod breaks;
#[path = "broken/places.rs"]
mod places;

use breaks::{Break, Sort, line_of};
use places::{Type, own_names};

const EVERY_KEY: &str = include_str!("stacks/every_key.toml");
const SMALL: &str = include_str!("stacks/small.toml");
const GERMLINE: &str = include_str!("../stacks/germline.toml");
const DEMO: &str = include_str!("../stacks/demo.toml");

const REQUEST: Request<'static> = Request { sample: None, set: &[], needs_sample: true };

fn read(text: &str) -> Result<Stack, Faults> {
    Stack::parse(Path::new("stack.toml"), text, &REQUEST)
}

fn faults(text: &str) -> Vec<Fault> {
    read(text).err().map(|faults| faults.iter().cloned().collect()).unwrap_or_default()
}

/// Every break of a file that is sound.
fn all(text: &str) -> Vec<Break> {
    read(text).unwrap_or_else(|faults| panic!("{faults}"));
    let mut all: Vec<Break> = places::of(text).iter().flat_map(|place| breaks::of(text, place)).collect();
    all.extend(breaks::of_two(text));
    all
}

/// The keys that are known where an unknown one is put, by the reader's own hint.
fn known(text: &str, at: usize, unknown: &str) -> BTreeSet<String> {
    let broken = format!("{}{unknown}{}", &text[..at], &text[at..]);
    let told = faults(&broken).into_iter().find(|fault| fault.text.ends_with(" `zzzz`")).unwrap();
    let hint = told.hint.unwrap();
    hint.trim_start_matches("known here: ").split(", ").map(str::to_owned).collect()
}

#[test]
fn the_rich_file_uses_every_key_of_every_kind() {
    let places = places::of(EVERY_KEY);
    let mut unused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    unused.insert(String::new(), known(EVERY_KEY, EVERY_KEY.len(), "[zzzz]\n"));
    for place in &places {
        // What `[task_defaults]` knows is what a definition knows.
        let foreign = own_names(&place.path) || place.path.ends_with("environment.*") || place.path == "task_defaults";
        if place.shape != Type::Table || foreign {
            continue;
        }
        let end = place.value.end;
        let (at, unknown) = if place.header { (end, "\nzzzz = 1") } else { (place.value.start + 1, "zzzz = 1, ") };
        if EVERY_KEY[end..].trim_start().starts_with("existing") {
            continue;
        }
        unused.entry(place.path.clone()).or_insert_with(|| known(EVERY_KEY, at, unknown));
    }
    let asked: usize = unused.values().map(BTreeSet::len).sum();
    for place in &places {
        for (at, _) in place.path.match_indices('.').chain([(place.path.len(), "")]) {
            let (table, key) = place.path[..at].rsplit_once('.').unwrap_or(("", &place.path[..at]));
            if let Some(keys) = unused.get_mut(table) {
                keys.remove(key.trim_end_matches("[]"));
            }
        }
    }
    unused.retain(|_, keys| !keys.is_empty());
    assert!(unused.is_empty(), "tests/stacks/every_key.toml does not use {unused:#?}");
    println!("{asked} keys of {} tables, all of them used", places.len());
}

/// What a break may cause on other lines than its own.
fn causes(one: &Break, told: &Fault) -> bool {
    let text = told.text.as_str();
    let place = one.place.split(' ').next().unwrap_or_default();
    let renames = matches!(one.sort, Sort::NameRefused) || place == "pipeline.step[].name";
    match one.sort {
        // It is missing in its table, where no name is near enough to be meant.
        Sort::KeyMisspelt if text.contains("is missing here") => true,
        Sort::KeyMisspelt if place == "pipeline.instance" => text.contains("has several instances"),
        // Whoever names it finds nothing; what was said of it under its header is another's.
        _ if renames => {
            text.starts_with("there is no") || text.contains("is not defined") || text.contains("is missing here")
        }
        // Each reference of a circle is told.
        Sort::Circle => text.contains(" itself "),
        // What cannot be read is not there for others, and what comes after it may be taken for a part of it.
        Sort::Syntax => true,
        _ => false,
    }
}

fn check_file(name: &str, text: &str) {
    let begun = Instant::now();
    let (mut wrong, mut slowest) = (Vec::new(), 0.0_f64);
    let (mut by_sort, mut elsewhere): (BTreeMap<Sort, usize>, BTreeMap<Sort, usize>) = Default::default();
    for one in all(text) {
        let broken = one.apply(text);
        let started = Instant::now();
        let told = faults(&broken);
        slowest = slowest.max(started.elapsed().as_secs_f64());
        *by_sort.entry(one.sort).or_default() += 1;
        let here = told.iter().filter(|fault| fault.line == one.line).count();
        let unhinted = told.iter().any(|fault| fault.hint.is_none() && !fault.text.contains("one of "));
        let foreign = told.iter().any(|fault| fault.line != one.line && !causes(&one, fault));
        if told.iter().any(|fault| fault.line != one.line) {
            *elsewhere.entry(one.sort).or_default() += 1;
        }
        if here == 0 || unhinted || foreign {
            let line = broken.lines().nth(one.line - 1).unwrap_or_default();
            let told: Vec<String> =
                told.iter().take(4).map(|fault| format!("{}: {} [{:?}]", fault.line, fault.text, fault.hint)).collect();
            wrong.push(format!("{:?} {}: {line}\n    {}", one.sort, one.place, told.join("\n    ")));
        }
    }
    let count: usize = by_sort.values().sum();
    println!(
        "{name}: {count} breaks in {:?}, slowest {slowest:.4} s: {by_sort:?}; with what they cause elsewhere: {elsewhere:?}",
        begun.elapsed()
    );
    assert!(wrong.is_empty(), "{name}: {} of {count} breaks\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_break_of_the_rich_file_is_told_on_its_line() {
    check_file("every_key.toml", EVERY_KEY);
}

#[test]
fn every_break_of_germline_is_told_on_its_line() {
    check_file("germline.toml", GERMLINE);
}

#[test]
fn every_break_of_the_demo_is_told_on_its_line() {
    check_file("demo.toml", DEMO);
}

/// A fault, by where it is in the sound file and by what it says.
type Sourced = (usize, usize, String);

/// Where in the sound file a place in the broken one is, and how far into what was put there.
fn source(one: &Break, at: usize) -> (usize, usize) {
    let put = one.at.start..one.at.start + one.with.len();
    if at < put.start {
        (at, 0)
    } else if at < put.end {
        (put.start, at - put.start)
    } else {
        (one.at.end + at - put.end, 0)
    }
}

/// The line in the file with both breaks.
fn line_in_both(text: &str, both: &str, other: &Break, one: &Break, (at, into): (usize, usize)) -> Option<usize> {
    let _ = text;
    let mut place = at + into;
    for change in [one, other] {
        let inside = change.whole.start <= at && at < change.whole.end;
        if inside && std::ptr::eq(change, other) {
            return None; // what it was told of is not there any more
        }
        if change.at.end <= at && change.at.start < at {
            place = place + change.with.len() - change.at.len();
        }
    }
    Some(line_of(both, place.min(both.len())))
}

struct Alone {
    one: Break,
    told: Vec<Sourced>,
}

/// What a break alone says. Of one of syntax only what it says on its own line: the rest is what it spoils.
fn alone_at(text: &str, one: &Break) -> Alone {
    let told = faults(&one.apply(text)).into_iter().filter(|fault| one.sort != Sort::Syntax || fault.line == one.line);
    let told = told.map(|fault| {
        let (at, into) = source(one, fault.span.start);
        (at, into, fault.text)
    });
    Alone { told: told.collect(), one: one.clone() }
}

fn alone(text: &str) -> Vec<Alone> {
    all(text).iter().map(|one| alone_at(text, one)).collect()
}

/// What one break says that is not said when there is another, too.
fn hidden(text: &str, one: &Alone, other: &Alone) -> Option<Vec<String>> {
    let (first, second) = if one.one.whole.start < other.one.whole.start { (one, other) } else { (other, one) };
    if first.one.whole.end >= second.one.whole.start {
        return None; // one is in the other: no two places
    }
    let both = first.one.apply(&second.one.apply(text));
    let told: BTreeSet<(usize, String)> = faults(&both).into_iter().map(|fault| (fault.line, fault.text)).collect();
    let mut hidden = Vec::new();
    for (this, that) in [(one, other), (other, one)] {
        for (at, into, said) in &this.told {
            let line = line_in_both(text, &both, &that.one, &this.one, (*at, *into));
            // What is on the line of a slip of syntax may be a part of what cannot be read.
            // And what is in a list of which an item is not begun with its brace.
            let list = |one: &Break| one.place.split_once("[]").map(|(list, _)| list.to_owned());
            let beside = list(&that.one).is_some() && list(&that.one) == list(&this.one);
            let here = line_of(text, *at) == line_of(text, that.one.whole.start);
            let spoilt = that.one.sort == Sort::Syntax && (here || beside);
            if let Some(line) = line
                && !spoilt
                && !told.contains(&(line, said.clone()))
            {
                hidden.push(format!(
                    "{:?} {} hides {:?} {}: {line}: {said}",
                    that.one.sort, that.one.place, this.one.sort, this.one.place
                ));
            }
        }
    }
    Some(hidden)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Tries pairs, and says how many.
fn check_pairs(name: &str, text: &str, alone: &[Alone], pairs: impl Iterator<Item = (usize, usize)>) {
    let begun = Instant::now();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (one, other) in pairs {
        if let Some(hidden) = hidden(text, &alone[one], &alone[other]) {
            tried += 1;
            wrong.extend(hidden);
        }
    }
    println!("{name}: {tried} pairs of {} breaks in {:?}", alone.len(), begun.elapsed());
    let shown: Vec<&str> = wrong.iter().take(40).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{name}: {} faults hidden in {tried} pairs\n{}", wrong.len(), shown.join("\n"));
}

/// Pairs of one break of each sort at each place.
#[test]
fn no_break_hides_another_pairs_of_the_small_file() {
    let mut seen = BTreeSet::new();
    let mut alone = alone(SMALL);
    alone.retain(|one| seen.insert((one.one.sort, one.one.place.clone())));
    let pairs = (0..alone.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let all = number("SEQSTACK_PAIRS").is_some();
    // Here one in sixteen; with SEQSTACK_PAIRS=1 all of them.
    let pairs = pairs.filter(|(one, other)| all || (one + other) % 16 == 0);
    check_pairs("small.toml", SMALL, &alone, pairs);
}

#[test]
fn no_break_hides_another_pairs_drawn_of_every_file() {
    let count = number("SEQSTACK_PAIRS").unwrap_or(600);
    for (name, text) in [("every_key.toml", EVERY_KEY), ("germline.toml", GERMLINE), ("demo.toml", DEMO)] {
        let seed = number("SEQSTACK_SEED").unwrap_or(5);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let breaks = all(text);
        let drawn: Vec<Alone> = (0..2 * count).map(|_| alone_at(text, &breaks[rng.usize(..breaks.len())])).collect();
        check_pairs(name, text, &drawn, (0..drawn.len() / 2).map(|n| (2 * n, 2 * n + 1)));
    }
}

/// What a person sees: each place by file and line, what to do, and the exit code; AWS is not asked.
#[test]
fn the_tool_refuses_a_broken_file_with_64_and_shows_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.toml");
    let breaks = all(EVERY_KEY);
    let mut sorts = BTreeSet::new();
    let mut rng = fastrand::Rng::with_seed(3);
    let drawn: Vec<&Break> = std::iter::repeat_with(|| &breaks[rng.usize(..breaks.len())]).take(400).collect();
    for one in drawn.into_iter().filter(|one| sorts.insert(one.sort)) {
        std::fs::write(&path, one.apply(EVERY_KEY)).unwrap();
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_seqstack"));
        tool.arg("plan").arg(&path).env("NO_COLOR", "1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        let output = tool.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{:?} {}: {shown}", one.sort, one.place);
        assert!(shown.contains(&format!("stack.toml:{}:", one.line)), "{:?} {}: {shown}", one.sort, one.place);
        // The help is a line of its own, or the words that may stand there.
        assert!(shown.contains("help: ") || shown.contains("expected one of"), "{shown}");
        assert!(!shown.contains("panicked"), "{shown}");
        assert!(output.stdout.is_empty());
    }
    println!("{} sorts of breaks through the binary", sorts.len());
    assert!(sorts.len() >= 12);
}
