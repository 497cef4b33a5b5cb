//! The stack file as a tree of values, each with its place: what every later pass reads and changes.
//!
//! Turns TOML text into [`Node`]s, in file order, and tells every fault of syntax. Never knows what a table means.

use std::borrow::Cow;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Sink;
use super::repair::{Repair, repair};
use super::values::PLACEHOLDER;

/// How deeply values may be nested: far more than any stack needs, and little enough for every recursive pass.
const DEEPEST: usize = 24;

/// The parser nests at most 80 brackets with at most 80 dotted keys in each. Its recursion over, and the drop of, such
/// a tree was measured to need between 4 and 8 MiB in a debug build.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Names the node in the reader's books. A clone (a default merged into several tables) keeps it.
    pub(super) id: usize,
    /// Bytes of the file; of a table with a header, the header.
    pub(super) span: Range<usize>,
    /// The value.
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// What stands in quotes but is only one `${vars.x}` of another type: reads as that type, or as text.
    Typed {
        text: String,
        value: Box<Value>,
    },
    /// Its fault has been told already.
    Broken,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// The entries of a table; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The entries of a table, to change; none of anything else.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.value {
            Value::Table(entries) => entries,
            _ => &mut [],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The entry of a table by key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a table by key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value of a table by key, to change.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries_mut().iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// The keys of a table.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().map(|entry| entry.key.as_str())
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Typed { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl Value {
    /// The type as TOML calls it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Typed { value, .. } => value.type_name(),
            Self::Broken => "nothing",
        }
    }

    /// The text of a scalar, as `${…}` puts it into a string.
    pub(super) fn scalar_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) | Self::Typed { text, .. } => Some(Cow::Borrowed(text)),
            Self::Integer(n) => Some(Cow::Owned(n.to_string())),
            Self::Float(n) => Some(Cow::Owned(n.to_string())),
            Self::Boolean(yes) => Some(Cow::Owned(yes.to_string())),
            Self::Datetime | Self::Array(_) | Self::Table(_) | Self::Broken => None,
        }
    }
}

type Told = (Range<usize>, String, Option<String>);

/// The file's root table. What syntax has spoilt is [`Value::Broken`], all else is there.
pub(super) fn grow(text: &str, sink: &Sink) -> Node {
    let root = std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().name("toml".to_owned()).stack_size(PARSER_STACK_BYTES);
        let grown = parser.spawn_scoped(scope, || parse(text)).map(std::thread::ScopedJoinHandle::join);
        match grown {
            Ok(Ok(grown)) => Ok(grown),
            Ok(Err(_)) => Err("the TOML parser gave up on this file".to_owned()),
            Err(error) => Err(format!("no thread could be started to parse the file: {error}")),
        }
    });
    match root {
        Ok((root, told)) => {
            told.into_iter().for_each(|(span, text, hint)| sink.tell(&span, text, hint));
            root
        }
        Err(text) => {
            sink.tell(&(0..0), text, None);
            Node { id: 0, span: 0..0, value: Value::Table(Vec::new()) }
        }
    }
}

fn parse(text: &str) -> (Node, Vec<Told>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return grown(root, Vec::new(), None);
    }
    let repair = repair(text);
    if repair.told.is_empty() {
        let told = errors.iter().map(|error| syntax_fault(text, error)).collect();
        return grown(root, told, None);
    }
    let (root, errors) = DeTable::parse_recoverable(&repair.text);
    let mut told: Vec<Told> = errors
        .iter()
        .map(|error| {
            let (span, said, hint) = syntax_fault(&repair.text, error);
            (repair.back(&span), said, hint)
        })
        .collect();
    told.extend(repair.told.iter().map(|(span, said, hint)| (span.clone(), said.clone(), Some(hint.clone()))));
    grown(root, told, Some(&repair))
}

fn grown(root: Spanned<DeTable<'_>>, told: Vec<Told>, repair: Option<&Repair>) -> (Node, Vec<Told>) {
    let mut spoilt: Vec<Range<usize>> = told.iter().map(|fault| fault.0.clone()).collect();
    spoilt.sort_by_key(|at| at.start);
    let mut furthest = 0;
    for at in &mut spoilt {
        furthest = furthest.max(at.end);
        at.end = furthest;
    }
    let mut grower = Grower { spoilt, told, next: 0, repair };
    let span = root.span();
    let root = grower.node(Spanned::new(span, DeValue::Table(root.into_inner())), 0);
    (root, grower.told)
}

/// A fault of syntax in words that fit this tool.
fn syntax_fault(text: &str, error: &toml::de::Error) -> Told {
    let span = error.span().unwrap_or(0..0);
    let marked = text.get(span.clone()).unwrap_or_default();
    let (said, hint) = match error.message() {
        "duplicate key" => (format!("`{marked}` is there twice"), Some("keep one of them, or give it another name")),
        message if message.starts_with("string values must be quoted") && marked.is_empty() => {
            ("there is no value here".to_owned(), Some("write one after the `=`"))
        }
        message if message.starts_with("string values must be quoted") => {
            ("a string must be in quotes".to_owned(), Some("write it as \"…\", or as '…' where it has backslashes"))
        }
        message => match message.rsplit_once(", expected ") {
            Some((said, wanted)) => return (span, said.to_owned(), Some(format!("expected {wanted}"))),
            None => (message.to_owned(), None),
        },
    };
    (span, said, hint.map(str::to_owned))
}

struct Grower<'a> {
    /// Places of faults by their start; each reaches as far as any before it.
    spoilt: Vec<Range<usize>>,
    told: Vec<Told>,
    next: usize,
    repair: Option<&'a Repair>,
}

impl Grower<'_> {
    /// A place in the file, of one in the text that was parsed.
    fn place(&self, span: Range<usize>) -> Range<usize> {
        self.repair.map_or_else(|| span.clone(), |repair| repair.back(&span))
    }

    fn node(&mut self, from: Spanned<DeValue<'_>>, depth: usize) -> Node {
        let span = self.place(from.span());
        let id = self.next;
        self.next += 1;
        let value = from.into_inner();
        let scalar = !matches!(value, DeValue::Array(_) | DeValue::Table(_));
        let value = if scalar && self.is_spoilt(&span) { Value::Broken } else { self.value(value, &span, depth) };
        Node { id, span, value }
    }

    /// Whether a fault touches it.
    fn is_spoilt(&self, span: &Range<usize>) -> bool {
        let begun = self.spoilt.partition_point(|at| at.start <= span.end);
        begun.checked_sub(1).and_then(|last| self.spoilt.get(last)).is_some_and(|at| at.end >= span.start)
    }

    fn value(&mut self, value: DeValue<'_>, span: &Range<usize>, depth: usize) -> Value {
        match value {
            DeValue::Array(_) | DeValue::Table(_) if depth >= DEEPEST => {
                self.broken(span, format!("nested more than {DEEPEST} deep"), None)
            }
            DeValue::Array(items) => Value::Array(items.into_iter().map(|item| self.node(item, depth + 1)).collect()),
            DeValue::Table(table) => {
                let mut entries: Vec<Entry> = table
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_span: self.place(key.span()),
                        key: key.into_inner().into_owned(),
                        node: self.node(value, depth + 1),
                    })
                    .collect();
                entries.sort_by_key(|entry| entry.key_span.start);
                Value::Table(entries)
            }
            // The two values that stand for "told already" while a spec is read.
            DeValue::String(text) if text.contains(PLACEHOLDER) => {
                let hint = Some("take it out".to_owned());
                self.broken(span, "a NUL character cannot be part of any name or value".to_owned(), hint)
            }
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(n) if n != i64::MIN => Value::Integer(n),
                _ => self.broken(span, format!("{digits} is out of range"), Some("64 bits, with a sign".to_owned())),
            },
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(n) => Value::Float(n),
                Err(_) => self.broken(span, format!("{digits} is out of range"), None),
            },
            DeValue::Boolean(yes) => Value::Boolean(yes),
            DeValue::Datetime(_) => Value::Datetime,
        }
    }

    fn broken(&mut self, span: &Range<usize>, text: String, hint: Option<String>) -> Value {
        self.told.push((span.clone(), text, hint));
        Value::Broken
    }
}
