//! What is inside a table, a list or an enum, one part after another.

use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::node::At;
use super::{Site, Stop};

/// The entries of a table.
pub(super) struct Entries<'a> {
    rest: std::vec::IntoIter<(&'a str, At<'a>, Range<usize>)>,
    now: Option<At<'a>>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(entries: Vec<(&'a str, At<'a>, Range<usize>)>) -> Self {
        Self { rest: entries.into_iter(), now: None }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((key, at, key_span)) = self.rest.next() else { return Ok(None) };
        let read = seed.deserialize(Key(key)).map_err(|mut stop| {
            if let Site::Value(id) = at.site {
                stop.0.site = Some((Site::Key(id), key_span));
            }
            stop.at(&at)
        });
        self.now = Some(at);
        read.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let at = self.now.take().ok_or_else(|| Stop::new("a value was asked for before its key"))?;
        seed.deserialize(at.clone()).map_err(|stop| stop.at(&at))
    }
}

/// The items of a list.
pub(super) struct Items<'a>(pub(super) std::vec::IntoIter<At<'a>>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(at) = self.0.next() else { return Ok(None) };
        seed.deserialize(at.clone()).map(Some).map_err(|stop| stop.at(&at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A key, which may be any type that reads itself from text.
pub(super) struct Key<'a>(pub(super) &'a str);

impl<'de> de::Deserializer<'de> for Key<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// A variant, with its content where it is `{ variant = content }`.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) content: Option<At<'a>>,
}

impl Variant<'_> {
    fn wants<T>(&self, what: &str) -> Result<T, Stop> {
        Err(Stop::new(format!("`{}` needs {what}: {{ {} = … }}", self.name, self.name)))
    }
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Stop;
    type Variant = Variant<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'a>), Stop> {
        let name: StrDeserializer<'_, Stop> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        match self.content {
            Some(at) if !at.muted() => Err(Stop::new(format!("`{}` takes no value", self.name)).at(&at)),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        match self.content {
            Some(at) => seed.deserialize(at.clone()).map_err(|stop| stop.at(&at)),
            None => self.wants("a value"),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        match self.content {
            Some(at) => de::Deserializer::deserialize_tuple(at, length, visitor),
            None => self.wants("a list"),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        match self.content {
            Some(at) => de::Deserializer::deserialize_struct(at, "", fields, visitor),
            None => self.wants("a table"),
        }
    }
}
