//! The reader, over specs of its own.

use std::path::Path;

use super::*;

mod faults;
mod kinds;
mod refused;
mod schema;
mod shell;
mod sound;
mod warnings;

const GERMLINE: &str = include_str!("../../stacks/germline.toml");

const NEEDS_SAMPLE: Request<'static> = Request { sample: None, set: &[], needs_sample: true };

fn read_with(text: &str, request: &Request<'_>) -> Result<Stack, Faults> {
    check::read(Path::new("lab/stack.toml"), text, request, kinds::KINDS)
}

fn read(text: &str) -> Stack {
    read_with(text, &NEEDS_SAMPLE).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a text, as `line: text`, each once.
fn faults(text: &str) -> Vec<String> {
    faults_with(text, &NEEDS_SAMPLE)
}

fn faults_with(text: &str, request: &Request<'_>) -> Vec<String> {
    match read_with(text, request) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| format!("{}: {}", fault.line, fault.text)).collect(),
    }
}

/// The sound file with other characters in some places: where, how many go, and what comes.
fn corrupted(cuts: &[(proptest::sample::Index, usize, String)]) -> String {
    let mut text: Vec<char> = GERMLINE.chars().collect();
    for (at, length, instead) in cuts {
        let start = at.index(text.len() + 1);
        let end = (start + length).min(text.len());
        text.splice(start..end, instead.chars());
    }
    text.into_iter().collect()
}

/// The sound file with each `from` replaced, once, by its `to`.
fn germline(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GERMLINE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the file");
        text.replacen(from, to, 1)
    })
}
