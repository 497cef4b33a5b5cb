//! Reads a spanned tree into any `Deserialize` type and tells every fault, not just the first.
//!
//! serde stops at the first error, the tree does not. Each error is told with the place of the node that raised it;
//! that node is *muted* (it now answers with a placeholder of whatever type is asked for) and the table is *replayed*,
//! until it reads through. A type that takes no placeholder is read after its neighbours, so that it hides no value's
//! fault (but the keys that are missing beside it). Specs are plain derives; they use neither `flatten` nor `untagged`,
//! which would read past the tree.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeOwned, IntoDeserializer};

use super::diagnostic::{Sink, closest, suggest};
use super::tree::Node;

mod access;
mod node;

use node::At;

/// Faults of one table that are told: each costs a replay, and nobody reads more at once.
const MOST: usize = 200;

/// A reference that was met while reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// The table that it points into.
    pub(super) table: &'static str,
    /// As written.
    pub(super) text: String,
    /// Where, from.
    pub(super) start: usize,
    /// Where, to.
    pub(super) end: usize,
}

/// One table of the stack file, about to be read.
pub struct Table<'a> {
    node: &'a Node,
    sink: &'a Sink,
    partial: bool,
    /// Keys that were taken out of it before, and may be meant by one that is not known.
    beside: &'static [&'static str],
    references: RefCell<BTreeSet<Reference>>,
    /// Keys that are missing because they are there under a wrong name, which is told instead.
    misspelt: RefCell<HashSet<Site>>,
}

impl<'a> Table<'a> {
    /// This table, its faults told to `sink`.
    pub(super) fn new(node: &'a Node, sink: &'a Sink) -> Self {
        Self { node, sink, partial: false, beside: &[], references: RefCell::default(), misspelt: RefCell::default() }
    }

    /// With keys that every such table may have, and that are read elsewhere.
    pub(super) fn beside(self, beside: &'static [&'static str]) -> Self {
        Self { beside, ..self }
    }

    /// A table of defaults: what is missing in it is no fault.
    pub(super) fn partial(node: &'a Node, sink: &'a Sink) -> Self {
        Self { partial: true, ..Self::new(node, sink) }
    }

    /// Every reference that the reading met.
    pub(super) fn into_references(self) -> BTreeSet<Reference> {
        self.references.into_inner()
    }

    /// Reads it; every fault that it has is told to the reader. `None` when nothing sound could be made of it. What is
    /// read may have placeholders in the places of faults.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let mut pass = Pass { table: self, muted: HashSet::new(), last: HashSet::new(), late: HashMap::new() };
        let mut idle = 0;
        for replay in 1.. {
            let stop = match T::deserialize(At::node(self.node, &pass)) {
                Ok(read) => return Some(read),
                Err(stop) => *stop.0,
            };
            let (site, span) = stop.site.unwrap_or((Site::Value(self.node.id), self.node.span.clone()));
            let told = stop.told || (self.partial && stop.missing.is_some()) || self.misspelt.borrow().contains(&site);
            if pass.muted.insert(site) {
                if pass.muted.len() > MOST {
                    let text = format!("more than {MOST} faults in this table, of which the rest is not shown");
                    self.sink.tell(&self.node.span, text, Some("mend these first".to_owned()));
                    break;
                }
                if !told {
                    self.sink.tell(&span, stop.text, stop.hint);
                }
                idle = 0;
                continue;
            }
            idle = if pass.last.insert(site) { 0 } else { idle + 1 };
            if idle > pass.last.len() {
                break; // each of them has been behind all the others
            }
            pass.late.insert(site, replay);
            pass.late.extend(stop.trail.into_iter().map(|around| (around, replay)));
        }
        None
    }
}

/// What can be at fault: a value, a key that should be there, a key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Site {
    Value(usize),
    Missing(usize, &'static str),
    Key(usize),
}

/// One replay.
struct Pass<'a> {
    table: &'a Table<'a>,
    /// These answer with placeholders.
    muted: HashSet<Site>,
    /// Their types take no placeholder: they are read after their neighbours.
    last: HashSet<Site>,
    /// The replay that last stopped at, or inside of, one of these.
    late: HashMap<Site, usize>,
}

impl Pass<'_> {
    /// What stopped a replay most recently is read last.
    fn turn(&self, site: &Site) -> usize {
        self.late.get(site).copied().unwrap_or_default()
    }
}

/// Why a replay stopped, and where.
#[derive(Debug)]
struct Stop(Box<Why>);

#[derive(Debug)]
struct Why {
    text: String,
    hint: Option<String>,
    site: Option<(Site, Range<usize>)>,
    missing: Option<&'static str>,
    /// The place had been told of before.
    told: bool,
    /// The values around the place.
    trail: Vec<Site>,
}

impl Stop {
    fn new(text: impl Into<String>) -> Self {
        let why = Why { text: text.into(), hint: None, site: None, missing: None, told: false, trail: Vec::new() };
        Self(Box::new(why))
    }

    fn hinted(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }

    /// The innermost place wins; the others are remembered as what is around it.
    fn at(mut self, at: &At<'_>) -> Self {
        let why = &mut *self.0;
        if why.site.is_some() {
            why.trail.push(at.site);
            return self;
        }
        let site = match (why.missing, at.site) {
            (Some(field), Site::Value(id)) => Site::Missing(id, field),
            _ => at.site,
        };
        why.told = at.muted();
        why.site = Some((site, at.span.clone()));
        self
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let hint = match found {
            de::Unexpected::Bool(yes) => Some(format!("write it in quotes: \"{yes}\"")),
            de::Unexpected::Signed(n) => Some(format!("write it in quotes: \"{n}\"")),
            de::Unexpected::Unsigned(n) => Some(format!("write it in quotes: \"{n}\"")),
            de::Unexpected::Float(n) => Some(format!("write it in quotes: \"{n}\"")),
            _ => Some("write one of what is expected".to_owned()),
        };
        Self::new(format!("expected {expected}, found {found}")).hinted(hint)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {found}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = closest(variant, expected.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        Self::new(format!("`{variant}` is not one of {}", expected.join(", "))).hinted(hint)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = suggest(field, expected.iter().copied(), "known here");
        Self::new(format!("unknown key `{field}`")).hinted(hint)
    }

    fn missing_field(field: &'static str) -> Self {
        let mut stop = Self::new(format!("`{field}` is missing here")).hinted(Some(format!("add {field} = …")));
        stop.0.missing = Some(field);
        stop
    }
}

impl<'de> IntoDeserializer<'de, Stop> for At<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
