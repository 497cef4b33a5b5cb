//! Faults of a stack file: collected while it is read, then shown to a person, each at its place with a hint.
//!
//! Turns spans of bytes into lines and marked text. Never decides what a fault is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, Title};

use super::credential::{Masks, masked};
use super::tree::{Node, Value};

/// Where a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// On the command line (`--sample`, `--set`): its span is empty, its line and column are 1.
    Request,
    /// In the stack file.
    File,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether it is in the file at all.
    pub origin: Origin,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The text that findings are shown in, what looks like a credential masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    path: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(path: String, text: &str) -> Self {
        let text = masked(text).into_owned();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, lines }
    }

    /// A span that is sound in this text, with its line and column.
    pub(super) fn place(&self, span: Range<usize>) -> (Range<usize>, usize, usize) {
        let text = self.text.as_str();
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let span = boundary(span.start)..boundary(span.end);
        let line = self.lines.partition_point(|start| *start <= span.start);
        let line_start = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = text[line_start..span.start].chars().count() + 1;
        (span, line, column)
    }

    /// A finding for a person: its title, the marked text, the hint.
    pub(super) fn snippet<'a>(
        &'a self,
        renderer: &Renderer,
        title: Title<'a>,
        span: Option<&Range<usize>>,
        hint: Option<&'a str>,
    ) -> String {
        let mut group = Group::with_title(title);
        if let Some(span) = span {
            let mark = AnnotationKind::Primary.span(self.marked(span));
            group = group.element(Snippet::source(self.text.as_str()).path(&self.path).annotation(mark));
        }
        if let Some(hint) = hint {
            group = group.element(Level::HELP.message(hint));
        }
        renderer.render(&[group])
    }

    /// What of a span is marked: its first line only, so that a long string does not fill the screen.
    fn marked(&self, span: &Range<usize>) -> Range<usize> {
        let text = self.text.get(span.clone()).unwrap_or_default();
        let first = text.find(['\n', '\r']).unwrap_or(text.len());
        span.start..span.start + first
    }
}

/// Every fault of one stack file, by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    source: Source,
    faults: Vec<Fault>,
}

impl Faults {
    /// The faults of several readings of one file, of so many samples: what is not a fault of them all names its samples.
    pub(super) fn of_samples(readings: Vec<(&str, Self)>, samples: usize) -> Self {
        let mut source = None;
        let mut whose: BTreeMap<(usize, usize, String), (Fault, Vec<&str>)> = BTreeMap::new();
        for (sample, faults) in readings {
            source = Some(faults.source);
            for fault in faults.faults {
                let key = (fault.span.start, fault.span.end, fault.text.clone());
                whose.entry(key).or_insert_with(|| (fault, Vec::new())).1.push(sample);
            }
        }
        let told = whose.into_values().map(|(fault, own)| {
            let text =
                if own.len() == samples { fault.text } else { format!("{} (sample {})", fault.text, own.join(", ")) };
            Fault { text, ..fault }
        });
        Self { faults: told.collect(), source: source.unwrap_or_else(|| Source::new(String::new(), "")) }
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there are no faults without a fault")]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// They, by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// All of them for a person: each with file, line, column, the marked text and a hint.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let shown = self.faults.iter().map(|fault| {
            let title = Level::ERROR.primary_title(fault.text.as_str());
            let span = (fault.origin == Origin::File).then_some(&fault.span);
            self.source.snippet(&renderer, title, span, fault.hint.as_deref())
        });
        shown.collect::<Vec<_>>().join("\n\n")
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    origin: Origin,
    start: usize,
    end: usize,
    text: String,
    hint: Option<String>,
}

/// Collects faults; one told twice is one fault.
#[derive(Debug, Default)]
pub(super) struct Sink {
    told: RefCell<BTreeSet<Told>>,
}

/// What is wrong, and what to do about it. Values that check themselves have but one text for both: `wrong: right`.
fn parted(text: &str, hint: Option<&str>) -> (String, Option<String>) {
    match (hint, text.split_once(": ")) {
        (None, Some((wrong, right))) => (shown(wrong), Some(shown(right))),
        _ => (shown(text), hint.map(shown)),
    }
}

impl Sink {
    /// Tells of a fault in the file.
    pub(super) fn tell(&self, span: &Range<usize>, text: impl AsRef<str>, hint: Option<String>) {
        let (start, end) = (span.start, span.end.max(span.start));
        let (text, hint) = parted(text.as_ref(), hint.as_deref());
        self.told.borrow_mut().insert(Told { origin: Origin::File, start, end, text, hint });
    }

    /// Tells of a fault on the command line.
    pub(super) fn tell_request(&self, text: impl AsRef<str>, hint: Option<String>) {
        let (text, hint) = parted(text.as_ref(), hint.as_deref());
        self.told.borrow_mut().insert(Told { origin: Origin::Request, start: 0, end: 0, text, hint });
    }

    /// Whether a fault was told inside this span.
    pub(super) fn touches(&self, span: &Range<usize>) -> bool {
        let inside = |told: &Told| told.origin == Origin::File && told.start >= span.start && told.end <= span.end;
        self.told.borrow().iter().any(inside)
    }

    /// Whether a fault was told anywhere in this value.
    pub(super) fn at_fault(&self, node: &Node) -> bool {
        self.touches(&node.span)
            || match &node.value {
                Value::Broken => true,
                Value::Array(items) => items.iter().any(|item| self.at_fault(item)),
                Value::Table(entries) => {
                    entries.iter().any(|entry| self.touches(&entry.key_span) || self.at_fault(&entry.node))
                }
                _ => false,
            }
    }

    /// Whether nothing was told.
    pub(super) fn is_empty(&self) -> bool {
        self.told.borrow().is_empty()
    }

    /// The faults, placed in their source.
    pub(super) fn into_faults(self, path: String, source: &str) -> Faults {
        let (masks, source) = (Masks::of(source), Source::new(path, source));
        let mask = |text: String| masks.mask(&text);
        let faults = self.told.into_inner().into_iter().map(|told| {
            let (span, line, column) = source.place(told.start..told.end);
            let (text, hint) = (mask(told.text), told.hint.map(mask));
            Fault { origin: told.origin, line, column, span, text, hint }
        });
        Faults { faults: faults.collect(), source }
    }
}

/// Text of the user's inside a message: control characters are shown, never obeyed.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Circles that are told: whoever breaks one may break them all.
pub(super) const MOST_CIRCLES: usize = 20;

/// A way round, in words; of a long one, its beginning and its end.
pub(super) fn round(names: &[String], joint: &str) -> String {
    match names {
        [first @ .., last] if names.len() > 12 => {
            let first = first.get(..8).unwrap_or_default().join(joint);
            format!("they go round: {first}{joint}… ({} more){joint}{last}", names.len() - 9)
        }
        all => format!("they go round: {}", all.join(joint)),
    }
}

/// The name that a misspelt one was probably meant to be.
pub(super) fn closest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Nobody slips in a name as long as that, and likeness takes the square of its length.
    if word.len() > 200 {
        return None;
    }
    let lower = word.to_lowercase();
    names
        .into_iter()
        .map(|name| (likeness(&lower, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

/// From 0 to 1. One slip of the finger counts for much in a short word, where Jaro and Winkler see little in common.
fn likeness(word: &str, name: &str) -> f64 {
    let slip = word.len() > 1 && strsim::osa_distance(word, name) == 1;
    strsim::jaro_winkler(word, name).max(if slip { 0.9 } else { 0.0 })
}

/// The hint for a name that does not exist: the closest, else all of them after `known`; none where there are none.
pub fn suggest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>, known: &str) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    match closest(word, names.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if names.is_empty() => None,
        None => Some(format!("{known}: {}", names.join(", "))),
    }
}
