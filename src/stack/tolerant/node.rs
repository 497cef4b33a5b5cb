//! One node of the tree as a serde `Deserializer`.

use std::ops::Range;

use serde::de::{self, Visitor};

use super::access::{Entries, Items, Variant};
use super::{Pass, Reference, Site, Stop};
use crate::stack::diagnostic::closest;
use crate::stack::tree::{Node, Value};
use crate::stack::values::{PLACEHOLDER, TEXT_OR_TABLE};

/// What a document may hold.
const ANYTHING: &str = "a string, number, list or table";

/// A node in one replay; without one it is a phantom, which answers for what is missing or lies in a muted node.
#[derive(Clone)]
pub(super) struct At<'a> {
    node: Option<&'a Node>,
    pub(super) site: Site,
    pub(super) span: Range<usize>,
    pub(super) pass: &'a Pass<'a>,
}

impl<'a> At<'a> {
    pub(super) fn node(node: &'a Node, pass: &'a Pass<'a>) -> Self {
        Self { node: Some(node), site: Site::Value(node.id), span: node.span.clone(), pass }
    }

    fn phantom(&self, site: Site) -> Self {
        Self { node: None, site, span: self.span.clone(), pass: self.pass }
    }

    /// Whether its fault has been told already.
    pub(super) fn muted(&self) -> bool {
        self.value().is_none()
    }

    /// The value, unless a placeholder answers for it.
    fn value(&self) -> Option<&'a Value> {
        match &self.node?.value {
            Value::Broken => None,
            value => (!self.pass.muted.contains(&self.site)).then_some(value),
        }
    }

    /// Whether even a placeholder was refused.
    fn is_last(&self) -> bool {
        self.pass.last.contains(&self.site)
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, Stop> {
        let value = self.value();
        let found = value.map_or("nothing", Value::type_name);
        let hint = match (wanted, value) {
            ("a string", Some(value)) => match value.scalar_text() {
                Some(text) => Some(format!("write it in quotes: \"{text}\"")),
                None => Some("text in quotes: \"…\"".to_owned()),
            },
            ("an integer", Some(Value::String(text))) if text.parse::<i64>().is_ok() => {
                Some(format!("write it without quotes: {text}"))
            }
            ("true or false", Some(Value::String(text))) if matches!(text.as_str(), "true" | "false") => {
                Some(format!("write it without quotes: {text}"))
            }
            ("a list", Some(Value::String(text))) => Some(format!("write it as a list: [\"{text}\"]")),
            ("an integer", _) => Some("a whole number, without quotes and without a unit".to_owned()),
            ("a number", _) => Some("such as 1.5, without quotes".to_owned()),
            ("true or false", _) => Some("without quotes".to_owned()),
            ("a list", Some(Value::Table(_))) => {
                Some("where each has a header of its own, in double brackets: [[…]]".to_owned())
            }
            ("a list", _) => Some("values in brackets: […]".to_owned()),
            ("a table", _) => Some("keys and values in braces: { key = … }, or under a header of its own".to_owned()),
            (ANYTHING, _) => Some("write it in quotes".to_owned()),
            _ => None,
        };
        Err(Stop::new(format!("expected {wanted}, found {found}")).hinted(hint).at(self))
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V, lo: i64, hi: i64) -> Result<V::Value, Stop> {
        let n = match self.value() {
            None => lo.min(0),
            Some(Value::Integer(n)) => *n,
            Some(Value::Typed { value, .. }) => match **value {
                Value::Integer(n) => n,
                _ => return self.wrong("an integer"),
            },
            Some(_) => return self.wrong("an integer"),
        };
        if n < lo || n > hi {
            return Err(Stop::new(format!("{n} is out of range: {lo} to {hi}")).at(&self));
        }
        visitor.visit_i64(n).map_err(|stop: Stop| stop.at(&self))
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        #[expect(clippy::cast_precision_loss, reason = "a person's whole number in the place of a fraction")]
        let n = match self.value() {
            None => f64::MIN,
            Some(Value::Float(n)) => *n,
            Some(Value::Integer(n)) => *n as f64,
            Some(Value::Typed { value, .. }) => match **value {
                Value::Float(n) => n,
                Value::Integer(n) => n as f64,
                _ => return self.wrong("a number"),
            },
            Some(_) => return self.wrong("a number"),
        };
        visitor.visit_f64(n).map_err(|stop: Stop| stop.at(&self))
    }

    /// A table, as a struct with these fields or as a map.
    fn fields<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let mut todo: Vec<(&str, At<'a>, Range<usize>)> = Vec::new();
        match self.value() {
            None if self.is_last() => {}
            None => {
                let phantoms = fields.unwrap_or_default().iter();
                todo.extend(phantoms.map(|field| (*field, self.phantom(self.site), self.span.clone())));
            }
            Some(Value::Table(entries)) => {
                for entry in entries {
                    if let Some(fields) = fields
                        && !fields.contains(&entry.key.as_str())
                    {
                        let table = self.pass.table;
                        let is_whole = self.site == Site::Value(table.node.id);
                        let fields = || fields.iter().chain(table.beside.iter().filter(|_| is_whole)).copied();
                        let unused = fields().filter(|field| entries.iter().all(|own| own.key != *field));
                        if let (Some(meant), Site::Value(id)) = (closest(&entry.key, unused), self.site) {
                            table.misspelt.borrow_mut().insert(Site::Missing(id, meant));
                            let hint = format!("did you mean `{meant}`?");
                            table.sink.tell(&entry.key_span, format!("unknown key `{}`", entry.key), Some(hint));
                        } else {
                            let hint = format!("known here: {}", fields().collect::<Vec<_>>().join(", "));
                            table.sink.tell(&entry.key_span, format!("unknown key `{}`", entry.key), Some(hint));
                        }
                        continue;
                    }
                    if self.pass.muted.contains(&Site::Key(entry.node.id)) {
                        continue;
                    }
                    todo.push((&entry.key, At::node(&entry.node, self.pass), entry.key_span.clone()));
                }
                if let Site::Value(id) = self.site {
                    for site in &self.pass.muted {
                        if let Site::Missing(of, field) = site
                            && *of == id
                            && !self.pass.last.contains(site)
                        {
                            todo.push((field, self.phantom(*site), self.span.clone()));
                        }
                    }
                }
                todo.sort_by_key(|(_, at, _)| self.pass.turn(&at.site));
            }
            Some(_) => return self.wrong("a table"),
        }
        visitor.visit_map(Entries::new(todo)).map_err(|stop| stop.at(&self))
    }

    fn list<'de, V: Visitor<'de>>(self, phantoms: usize, visitor: V) -> Result<V::Value, Stop> {
        let mut items: Vec<At<'a>> = Vec::new();
        match self.value() {
            None => items.extend((0..phantoms).map(|_| self.phantom(self.site))),
            Some(Value::Array(nodes)) => {
                items.extend(nodes.iter().map(|node| At::node(node, self.pass)));
                items.sort_by_key(|at| self.pass.turn(&at.site));
            }
            Some(_) => return self.wrong("a list"),
        }
        visitor.visit_seq(Items(items.into_iter())).map_err(|stop| stop.at(&self))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let text = match self.value() {
            None => PLACEHOLDER,
            Some(Value::String(text) | Value::Typed { text, .. }) => text,
            Some(_) => return self.wrong("a string"),
        };
        visitor.visit_str(text).map_err(|stop: Stop| stop.at(&self))
    }

    fn boolean<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let yes = match self.value() {
            None => false,
            Some(Value::Boolean(yes)) => *yes,
            Some(Value::Typed { value, .. }) => match **value {
                Value::Boolean(yes) => yes,
                _ => return self.wrong("true or false"),
            },
            Some(_) => return self.wrong("true or false"),
        };
        visitor.visit_bool(yes).map_err(|stop: Stop| stop.at(&self))
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let hi = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
            self.integer(visitor, i64::try_from(<$type>::MIN).unwrap_or(i64::MIN), hi)
        }
    )* };
}

impl<'de> de::Deserializer<'de> for At<'_> {
    type Error = Stop;

    integers!(
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64, deserialize_u128 u128,
        deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64, deserialize_i128 i128
    );

    /// For types that are one thing or another, by a visitor of their own, and for documents that take anything.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = match self.value() {
            Some(Value::Typed { value, .. }) => Some(&**value),
            value => value,
        };
        match value {
            None if self.is_last() => visitor.visit_unit().map_err(|stop: Stop| stop.at(&self)),
            None | Some(Value::String(_)) => self.text(visitor),
            Some(Value::Integer(_)) => self.deserialize_i64(visitor),
            Some(Value::Float(_)) => self.float(visitor),
            Some(Value::Boolean(_)) => self.boolean(visitor),
            Some(Value::Array(_)) => self.list(0, visitor),
            Some(Value::Table(_)) => self.fields(None, visitor),
            Some(Value::Datetime | Value::Typed { .. } | Value::Broken) => self.wrong(ANYTHING),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.boolean(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.float(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.muted() && self.is_last() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        if let (Some(table), Some(Value::String(text) | Value::Typed { text, .. })) =
            (name.strip_prefix("ref:"), self.value())
        {
            let Range { start, end } = self.span;
            let reference = Reference { table, text: text.clone(), start, end };
            self.pass.table.references.borrow_mut().insert(reference);
        }
        // Text or a table: what `${vars.x}` stands for is text there, whatever its type.
        if let (TEXT_OR_TABLE, Some(Value::Typed { text, .. })) = (name, self.value()) {
            return visitor.visit_str(text).map_err(|stop: Stop| stop.at(&self));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.list(0, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        self.list(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.list(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.fields(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if serde_spanned::de::is_spanned(name) {
            let span = self.span.clone();
            return visitor.visit_map(serde_spanned::de::SpannedDeserializer::new(self, span));
        }
        self.fields(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let variant = match self.value() {
            None => {
                Variant { name: variants.first().copied().unwrap_or_default(), content: Some(self.phantom(self.site)) }
            }
            Some(Value::String(word) | Value::Typed { text: word, .. }) => Variant { name: word, content: None },
            Some(Value::Table(entries)) if entries.len() == 1 => {
                Variant { name: &entries[0].key, content: Some(At::node(&entries[0].node, self.pass)) }
            }
            Some(_) => return self.wrong(&format!("one of {}", variants.join(", "))),
        };
        visitor.visit_enum(variant).map_err(|stop: Stop| stop.at(&self))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.muted() { visitor.visit_unit() } else { self.wrong("nothing") }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.text(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }
}
