//! What looks like a credential: found in the strings of a stack file, and masked wherever text is shown.
//!
//! Warnings look at the text as it stands in the file, before anything is substituted: `${…}` is no literal. What a plan is
//! masked by is looked for in what the strings have become. Guesses by shape, so it may be wrong both ways.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value as Json;

use super::tree::{Node, Value};
use super::warning::{Code, Seen, Sightings, of_table};
use crate::address::{Address, as_link};
use crate::diff::Change;

/// One shape of a credential.
struct Shape {
    /// What it is, with its article.
    what: &'static str,
    /// The last group that took part is the credential itself.
    pattern: Regex,
    /// What else must hold of it.
    holds: fn(&str) -> bool,
}

/// A name that says that its value is a credential.
const NAMED: &str = r"[A-Za-z0-9_-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key)";

/// How a masked credential begins.
const MASK: &str = "(credential";

/// A credential that is shorter is masked where it is all of a string, and not within others: it may be any word.
const WORD: usize = 8;

/// A value, in quotes to their end.
const VALUE: &str = r#"(?:\\?["']+([^"'\\\n]+)|([^\s"',;\\-][^\s"',;\\]*))"#;

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    // Of unsound patterns there are none, as the tests see; one would only be left out.
    let shape = |what, pattern: &str, holds| Some(Shape { what, pattern: Regex::new(pattern).ok()?, holds });
    let shapes = [
        shape("a private key", r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\z)", |_| true),
        shape("an AWS access key id", r"\b((?:AKIA|ASIA)[A-Z0-9]{16})\b", |text| !text.ends_with("EXAMPLE")),
        shape("an AWS secret access key", r"([A-Za-z0-9/+]{40,}=*)", random),
        shape(
            "a token",
            r"\b(gh[opusr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|dckr_pat_[\w-]{20,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+)",
            |_| true,
        ),
        shape("a password in a URL", r#"[a-z][a-z0-9+.-]*://[^\s/:@"']+:([^\s/@"']+)@"#, literal),
        shape("a password", &format!(r#"(?i){NAMED}(?:["']?\s*=\s*|\\?["']\s*:\s*){VALUE}"#), literal),
        shape("a password", &format!(r#"(?i)(?:^|[\s"'])--?{NAMED}["']?,?\s+{VALUE}"#), literal),
    ];
    shapes.into_iter().flatten().collect()
});

/// The name alone: a key, or a command's word.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&format!("(?i)^{NAMED}$")).ok());

/// Forty characters as AWS draws them: not hexadecimal, not a path, not words. Two in three neighbours of what is drawn are
/// of different sorts (upper, lower, digit, other), of words in CamelCase one in three.
fn random(text: &str) -> bool {
    let sort = |b: u8| (b.is_ascii_uppercase(), b.is_ascii_lowercase(), b.is_ascii_digit());
    let changes = text.as_bytes().windows(2).filter(|pair| sort(pair[0]) != sort(pair[1])).count();
    let has = |of: fn(&u8) -> bool| text.bytes().any(|b| of(&b));
    text.len() == 40
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit)
        && changes >= 17
        && !text.contains("EXAMPLE")
}

/// Whether a value stands there itself, and not a reference to where it is.
fn literal(value: &str) -> bool {
    let elsewhere = ["$", "ssm:", "arn:", "/", "file:", "{", "[", "<", "%", MASK];
    value.len() >= 4
        && !elsewhere.iter().any(|start| value.starts_with(start))
        && !value.contains("${")
        && !value.contains("EXAMPLE")
        && !["true", "false", "none", "null"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Where in a text there is what, by place, no two overlapping.
fn find(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let own = |captures: &Captures<'_>| {
        captures.iter().flatten().last().map(|found| (found.range(), found.as_str().to_owned()))
    };
    let mut found: Vec<(Range<usize>, &str)> = Vec::new();
    for shape in SHAPES.iter() {
        for (range, credential) in shape.pattern.captures_iter(text).filter_map(|captures| own(&captures)) {
            let free = found.iter().all(|(other, _)| other.end <= range.start || other.start >= range.end);
            if free && (shape.holds)(&credential) {
                found.push((range, shape.what));
            }
        }
    }
    found.sort_by_key(|(range, _)| range.start);
    found
}

/// Where in a text there is one, given the key that it stands under or the word that it follows; `""` for none.
fn inside(beside: &str, text: &str) -> Vec<Range<usize>> {
    let is_named = NAME.as_ref().is_some_and(|name| name.is_match(beside)) && literal(text);
    if is_named {
        std::iter::once(0..text.len()).collect()
    } else {
        find(text).into_iter().map(|found| found.0).collect()
    }
}

/// What looks like a credential in a stack as it was read, `--set` and all: to be masked in what is told of the stack.
#[derive(Clone, Default)]
pub struct Credentials(BTreeSet<String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} credentials", self.0.len())
    }
}

impl Credentials {
    pub(super) fn of(root: &Node, set: &[(String, String)]) -> Self {
        let mut found = Self::default();
        set.iter().for_each(|(key, value)| found.keep(key, value));
        found.gather("", root);
        found
    }

    fn gather(&mut self, beside: &str, node: &Node) {
        match &node.value {
            Value::Table(entries) => entries.iter().for_each(|entry| self.gather(&entry.key, &entry.node)),
            Value::Array(items) => {
                let words = std::iter::once("").chain(items.iter().map(|item| option(item.text())));
                words.zip(items).for_each(|(before, item)| self.gather(before, item));
            }
            _ => node.text().into_iter().for_each(|text| self.keep(beside, text)),
        }
    }

    fn keep(&mut self, beside: &str, text: &str) {
        self.0.extend(inside(beside, text).into_iter().filter_map(|range| text.get(range)).map(str::to_owned));
    }

    /// A text with a digest in the place of every credential, so that another one is another text.
    pub fn text(&self, text: &str) -> String {
        self.masked("", text)
    }

    fn masked(&self, beside: &str, text: &str) -> String {
        let known = self.0.iter().filter(|known| known.len() >= WORD || *known == text);
        let known = known.flat_map(|known| text.match_indices(known.as_str()).map(|(at, found)| at..at + found.len()));
        let mut ranges: Vec<Range<usize>> = inside(beside, text).into_iter().chain(known).collect();
        ranges.sort_by_key(|range| range.start);
        // Those that overlap are told as one.
        ranges.dedup_by(|next, before| {
            let overlap = next.start < before.end;
            before.end = if overlap { before.end.max(next.end) } else { before.end };
            overlap
        });
        let (mut out, mut end) = (String::new(), 0);
        for Range { start, end: to } in ranges {
            out = out + &text[end..start] + &digest(&text[start..to]);
            end = to;
        }
        out + &text[end..]
    }

    /// The same of every string in a value that stands under this key.
    pub fn value(&self, beside: &str, value: &Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.masked(beside, text)),
            Json::Array(items) => {
                let words = std::iter::once("").chain(items.iter().map(|item| option(item.as_str())));
                words.zip(items).map(|(before, item)| self.value(before, item)).collect()
            }
            Json::Object(fields) if as_link(value).is_none() => {
                fields.iter().map(|(key, inner)| (key.clone(), self.value(key, inner))).collect()
            }
            other => other.clone(),
        }
    }

    /// These, and what such a change tells of: one that is to be another stands elsewhere too.
    #[must_use]
    pub fn and_of<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Self {
        let mut all = self.clone();
        for change in changes {
            let Change { from, to, .. } = self.change(change);
            let sides = [(&change.from, from), (&change.to, to)];
            let whole = sides.into_iter().filter_map(|(own, shown)| own.as_str().filter(|own| shown == digest(own)));
            all.0.extend(whole.map(str::to_owned));
        }
        all
    }

    /// A change with both its sides masked; where all of one is a credential, all of the other was, or will be.
    pub fn change(&self, change: &Change) -> Change {
        let own = change.path.rsplit('.').next().unwrap_or(&change.path);
        let side = |value: &Json, other: &Json| match (value.as_str(), other.as_str()) {
            (Some(text), Some(other)) if literal(text) && self.masked(own, other) == digest(other) => {
                digest(text).into()
            }
            _ => self.value(own, value),
        };
        let Change { path, from, to } = change;
        Change { path: path.clone(), from: side(from, to), to: side(to, from) }
    }
}

/// What stands in the place of a credential.
fn digest(credential: &str) -> String {
    format!("{MASK}, sha256 {})", &crate::saved::sha256(credential.as_bytes())[..8])
}

/// A word that says what the next one is.
fn option(word: Option<&str>) -> &str {
    word.filter(|word| word.starts_with('-')).unwrap_or_default()
}

/// The text with every credential masked, byte for byte as long as it was.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let inside = |at: usize| found.iter().any(|(range, _)| range.contains(&at));
    let mask = |(at, c): (usize, char)| {
        if inside(at) && !matches!(c, '\n' | '\r') { "*".repeat(c.len_utf8()) } else { c.to_string() }
    };
    text.char_indices().map(mask).collect::<String>().into()
}

/// The credentials that a text holds, to be masked in other texts about it.
pub(super) struct Masks(Vec<String>);

impl Masks {
    pub(super) fn of(text: &str) -> Self {
        let found = find(text).into_iter().filter_map(|(range, _)| text.get(range));
        Self(found.map(str::to_owned).collect())
    }

    /// A text without them, and without what looks like a credential by itself.
    pub(super) fn mask(&self, text: &str) -> String {
        let known = self.0.iter().fold(text.to_owned(), |text, own| text.replace(own, &"*".repeat(own.len())));
        masked(&known).into_owned()
    }
}

/// Every credential in the strings of the file.
pub(super) fn look(root: &Node, source: &str, seen: &mut Sightings) {
    // Nearly every file: looked through at once.
    if find(source).is_empty() {
        return;
    }
    for table in root.entries() {
        let named = ["stack", "vars", "pipeline", "task_defaults"].iter().all(|name| *name != table.key);
        if named {
            for entry in table.node.entries() {
                walk(&entry.node, None, &Address::new(&table.key, &entry.key), source, seen);
            }
        } else {
            walk(&table.node, None, &of_table(&table.key), source, seen);
        }
    }
}

/// `key` is where the key of this value begins.
fn walk(node: &Node, key: Option<usize>, at: &Address, source: &str, seen: &mut Sightings) {
    match &node.value {
        Value::Table(entries) => {
            for entry in entries {
                walk(&entry.node, Some(entry.key_span.start), at, source, seen);
            }
        }
        Value::Array(items) => {
            // The words of a command tell of one another: "--password", "…".
            let words = items.iter().all(|item| matches!(item.value, Value::String(_)));
            match items.as_slice() {
                [first, .., last] if words => report(first.span.start..last.span.end, at, source, seen),
                _ => items.iter().for_each(|item| walk(item, None, at, source, seen)),
            }
        }
        Value::String(_) => {
            let from = key.filter(|start| *start < node.span.start).unwrap_or(node.span.start);
            report(from..node.span.end, at, source, seen);
        }
        _ => {}
    }
}

fn report(place: Range<usize>, at: &Address, source: &str, seen: &mut Sightings) {
    let from = place.start;
    for (range, what) in source.get(place).map(find).unwrap_or_default() {
        let hint = "take it out, and change it where it was issued; a task gets its rights by `task_role`, and secrets by \
                    { secret = \"ssm:/…\" }";
        let (start, end) = (from + range.start, from + range.end);
        let text = format!("what looks like {what} is in this file");
        seen.insert((Seen { start, end, code: Code::Credential, text, hint: hint.to_owned() }, at.clone()));
    }
}
