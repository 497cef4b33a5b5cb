//! From the text of a sound stack file to every place in it that can be broken.
//!
//! Reads the file with a TOML parser only, not with the tool's reader, which is what is being tested.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    Integer,
    Float,
    Boolean,
    Date,
    List,
    Table,
}

/// A value of the file.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it is by keys, names of the file's own as `*` and items of lists as `[]`: `role.*.read[]`.
    pub path: String,
    /// Its key, where it has one.
    pub key: Option<Range<usize>>,
    /// The value itself; of a table with a header, the header.
    pub value: Range<usize>,
    pub shape: Type,
    /// The value (or header) of the table or list that it is in.
    pub within: Range<usize>,
    /// Whether it is a table with a header of its own, `[x]` or `[[x]]`.
    pub header: bool,
}

/// Whether the keys of a table are the file's own, not the tool's.
pub fn own_names(path: &str) -> bool {
    const OF_ENTRIES: &[&str] = &[
        "upload",
        "role",
        "key_pair",
        "security_group",
        "log_group",
        "cluster",
        "task_definition",
        "instance",
        "bucket",
        "sample",
        "vars",
        "stack.tags",
        "sample.*",
        "pipeline.step[].environment",
        "task_definition.*.environment",
    ];
    OF_ENTRIES.contains(&path) || path.starts_with("role.*.policy")
}

/// Every place of a file.
pub fn of(text: &str) -> Vec<Place> {
    let root = DeTable::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut places = Vec::new();
    entries(text, "", &(0..0), root.get_ref(), &mut places);
    places.sort_by_key(|place| place.value.start);
    places
}

fn entries(text: &str, path: &str, within: &Range<usize>, table: &DeTable<'_>, out: &mut Vec<Place>) {
    for (key, value) in table {
        let name = if own_names(path) { "*" } else { key.get_ref() };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        one(text, &path, Some(key.span()), within, value, out);
    }
}

fn one(
    text: &str,
    path: &str,
    key: Option<Range<usize>>,
    within: &Range<usize>,
    value: &Spanned<DeValue<'_>>,
    out: &mut Vec<Place>,
) {
    let span = value.span();
    let shape = match value.get_ref() {
        DeValue::String(_) => Type::String,
        DeValue::Integer(_) => Type::Integer,
        DeValue::Float(_) => Type::Float,
        DeValue::Boolean(_) => Type::Boolean,
        DeValue::Datetime(_) => Type::Date,
        DeValue::Array(_) => Type::List,
        DeValue::Table(_) => Type::Table,
    };
    let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    // What the parser calls a table without having met its header (`role`, of `[role.x]`) has no place of its own.
    let header = shape == Type::Table && text[line_start..].starts_with('[') && span.start == line_start;
    let inline = text[span.clone()].starts_with(['{', '[']) && !header;
    let scalar = !matches!(shape, Type::List | Type::Table);
    if scalar || header || (inline && key.as_ref().is_none_or(|key| key.end <= span.start)) {
        let (path, value) = (path.to_owned(), span.clone());
        out.push(Place { path, key, value, shape, within: within.clone(), header });
    }
    match value.get_ref() {
        DeValue::Table(table) => entries(text, path, &span, table, out),
        DeValue::Array(items) => items.iter().for_each(|item| one(text, &format!("{path}[]"), None, &span, item, out)),
        _ => {}
    }
}
