//! The reader under bytes that nobody meant: never a panic, never a hang, never a place outside of the file.
//!
//! Each input is drawn from a seed that is printed when it fails; `SEQSTACK_SEED=n` reads that one again, `SEQSTACK_FUZZ=n`
//! draws so many, `SEQSTACK_FUZZ_SECONDS=n` goes on for so long.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use seqstack::stack::{Request, Stack};

const GOOD: [&str; 4] = [
    include_str!("stacks/every_key.toml"),
    include_str!("stacks/small.toml"),
    include_str!("../stacks/germline.toml"),
    include_str!("../stacks/demo.toml"),
];

/// What is likely to mean something to the reader, or to break it.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\0",
    "\u{1}",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u0000",
    "\\uD800",
    "\\U0010FFFF",
    "#",
    "${",
    "$${",
    "}",
    "${vars.",
    "${sample.name}",
    "${vars.threads}",
    "existing = ",
    "name = ",
    "needs = [",
    "[vars]\n",
    "[role.x]\n",
    "[[pipeline.step]]\n",
    "[task_defaults]\n",
    "policy = ",
    "true",
    "inf",
    "-nan",
    "0x",
    "1_0",
    "1e999",
    "-9223372036854775808",
    "9223372036854775807",
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "ä",
    "\u{202e}",
    "\u{feff}",
    "e\u{301}",
    "👩‍🔬",
    "日本",
    "\u{2028}",
    "a.b.c.d",
    "\"\" = 1\n",
    "{ a = 1 }",
    "[[[[",
    "{ a = { a = ",
];

/// A file of this seed.
fn drawn(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut text: Vec<u8> = rng.choice(GOOD).unwrap().as_bytes().to_vec();
    for _ in 0..rng.usize(1..12) {
        let (from, to) = range(&mut rng, text.len());
        match rng.u8(0..10) {
            0 => drop(text.drain(from..to)),
            1 => {
                let again = text[from..to].to_vec();
                text.splice(to..to, again);
            }
            2 => {
                let other = rng.choice(GOOD).unwrap().as_bytes();
                let (start, end) = range(&mut rng, other.len());
                text.splice(from..to, other[start..end].iter().copied());
            }
            3 => (0..rng.usize(1..16)).for_each(|_| text.insert(rng.usize(..=from), rng.u8(..))),
            4 => {
                let line = lines(&text, &mut rng);
                text.drain(line);
            }
            5 => {
                let (one, other) = (lines(&text, &mut rng), lines(&text, &mut rng));
                let copy = text[one].to_vec();
                text.splice(other, copy);
            }
            6 => {
                let piece = rng.choice(PIECES).unwrap().repeat(if rng.u8(0..20) == 0 { rng.usize(1..3000) } else { 1 });
                text.splice(from..from, piece.into_bytes());
            }
            _ => {
                let piece = rng.choice(PIECES).unwrap().as_bytes().to_vec();
                text.splice(from..from, piece);
            }
        }
        if text.is_empty() {
            text.push(b'\n');
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A range, short more often than long.
fn range(rng: &mut Rng, length: usize) -> (usize, usize) {
    let from = rng.usize(..=length);
    let most = if rng.u8(0..4) == 0 { 2000 } else { 12 };
    (from, (from + rng.usize(0..most)).min(length))
}

/// A line, its end included.
fn lines(text: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let at = rng.usize(..text.len().max(1)).min(text.len());
    let start = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| at + end + 1);
    start..end
}

/// Reads it, and holds what is said of it to what can be shown. Whether it was sound, and how long that took.
fn read(text: &str, shown: bool) -> (bool, Duration) {
    let request = Request { sample: None, set: &[], needs_sample: true };
    let begun = Instant::now();
    let read = Stack::parse(Path::new("stack.toml"), text, &request);
    let took = begun.elapsed();
    if let Err(faults) = &read {
        assert!(faults.len() > 0);
        let lines = text.matches('\n').count() + 1;
        for fault in faults {
            assert!(text.get(fault.span.clone()).is_some(), "{:?} is no place in the file", fault.span);
            assert!((1..=lines).contains(&fault.line) && fault.column >= 1 && !fault.text.is_empty());
            assert!(!fault.text.contains(char::is_control) && !fault.text.contains('\0'));
        }
        if shown {
            assert!(!faults.render(false).is_empty());
        }
    }
    (read.is_ok(), took)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The most memory that this process ever held, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024
}

#[test]
fn nothing_that_is_drawn_panics_or_hangs() {
    let first = number("SEQSTACK_SEED").unwrap_or(0);
    let once = number("SEQSTACK_SEED").is_some() && number("SEQSTACK_FUZZ").is_none();
    let until = number("SEQSTACK_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let count = if once { 1 } else { number("SEQSTACK_FUZZ").unwrap_or(1500) };
    let (mut seed, mut sound, mut slowest) = (first, 0, (Duration::ZERO, 0));
    while until.map_or(seed < first + count, |until| Instant::now() < until) {
        let text = drawn(seed);
        let done = std::panic::catch_unwind(|| read(&text, seed % 16 == 0));
        let (fine, took) = done.unwrap_or_else(|_| panic!("SEQSTACK_SEED={seed}:\n{text}"));
        sound += u64::from(fine);
        slowest = slowest.max((took, seed));
        seed += 1;
    }
    println!(
        "{} inputs (seeds {first} to {}), {sound} of them sound; slowest {:?} (seed {}); peak memory {} MiB",
        seed - first,
        seed - 1,
        slowest.0,
        slowest.1,
        peak_mib()
    );
    assert!(slowest.0 < Duration::from_secs(30), "seed {} took {:?}", slowest.1, slowest.0);
}

/// What grows without end: each of these is read, and within a bound that only what is quadratic would break.
#[test]
fn what_is_very_large_is_read_in_time() {
    const MANY: usize = 10_000;
    let each = |line: &dyn Fn(usize) -> String| (0..MANY).map(line).collect::<String>();
    let head = "[stack]\nname = \"x\"\n";
    let cases = [
        ("tables", format!("{head}{}", each(&|n| format!("[role.r{n}]\ntrusts = \"ecs-tasks.amazonaws.com\"\n")))),
        ("unknown tables", each(&|n| format!("[t{n}]\nx = {n}\n"))),
        ("unknown keys", format!("{head}[cluster.c]\n{}", each(&|n| format!("k{n} = 1\n")))),
        ("doubled keys", format!("{head}[cluster.c]\n{}", each(&|_| "name = \"x\"\n".to_owned()))),
        (
            "wrong values",
            format!(
                "{head}[bucket.b]\nname = \"bbb\"\n[role.r]\ntrusts = \"x.amazonaws.com\"\nread = [{}]\n",
                each(&|n| format!("{n},"))
            ),
        ),
        (
            "dangling references",
            format!(
                "{head}[bucket.b]\nname = \"bbb\"\n[role.r]\ntrusts = \"x.amazonaws.com\"\nread = [{}]\n",
                each(&|n| format!("\"b{n}\",\n"))
            ),
        ),
        (
            "dangling among many",
            format!(
                "{head}{}[upload.u]\nfiles = [\"x\"]\nbucket = \"zzzz\"\n",
                each(&|n| format!("[bucket.b{n}]\nname = \"bucket-{n}\"\n"))
            ),
        ),
        ("unknown names", format!("{head}[cluster.c]\nname = \"{}\"\n", each(&|n| format!("${{vars.v{n}}}")))),
        ("samples", format!("{head}{}", each(&|n| format!("[sample.S{n}]\nr = \"${{sample.name}}\"\n")))),
        (
            "steps",
            format!(
                "{head}[pipeline]\ncluster = \"c\"\noutputs = []\n{}",
                each(&|n| format!("[[pipeline.step]]\nname = \"s{n}\"\ntask = \"t\"\n"))
            ),
        ),
        (
            "needs",
            format!(
                "{head}[pipeline]\n{}",
                each(&|n| format!(
                    "[[pipeline.step]]\nname = \"s{n}\"\ntask = \"t\"\nneeds = [\"s{}\"]\n",
                    (n + 1) % MANY
                ))
            ),
        ),
        (
            "groups in a row",
            format!(
                "{head}{}",
                each(&|n| format!(
                    "[security_group.g{n}]\ningress = [{{ protocol = \"all\", security_group = \"g{}\" }}]\n",
                    (n + 1) % MANY
                ))
            ),
        ),
        ("open brackets", format!("{head}{}", each(&|n| format!("k{n} = [1\n")))),
        ("open quotes", format!("{head}{}", each(&|n| format!("k{n} = \"x\n")))),
        ("no `=`", format!("{head}{}", each(&|n| format!("k{n} 1\n")))),
        ("brackets", "[".repeat(100_000)),
        ("braces", format!("a = {}", "{ a = ".repeat(20_000))),
        ("a long string", format!("{head}[cluster.c]\nname = \"{}\"\n", "é${".repeat(400_000))),
        ("a long line of quotes", "'".repeat(200_001)),
        ("long lines of quotes", "\"\"\"\\\"".repeat(50_000)),
        ("a long number", format!("{head}x = {}\n", "9".repeat(1_000_000))),
        ("a long key", format!("{} = 1\n", "k".repeat(1_000_000))),
    ];
    let mut slow = Vec::new();
    for (name, text) in cases {
        let (_, took) = read(&text, false);
        println!("{name}: {} KiB in {took:?}", text.len() / 1024);
        slow.extend((took > Duration::from_secs(20)).then_some(name));
    }
    println!("peak memory {} MiB", peak_mib());
    assert!(slow.is_empty(), "{slow:?}");
}
