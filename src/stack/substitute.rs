//! `${…}`: puts values in the place of their names, in the tree, before anything is typed.
//!
//! Names are qualified (`vars.x`, `sample.x`, `bucket.x`, `stack.name`), `$${` is a literal `${`. A value that was put
//! in is never looked at again, so nothing can refer to itself.

use std::collections::BTreeMap;
use std::ops::Range;

use super::diagnostic::{Sink, closest};
use super::tree::{Node, Value};

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// This scalar, or this list of strings.
    Is(Value),
    /// It is there, and its fault has been told already.
    Broken,
    /// A sample's value while no sample is picked: the text stays as it is.
    Later,
    /// It is known, but has no value here, for this reason.
    Unset(&'static str),
}

/// Whether a part of the file may depend on the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `[pipeline]`, `[upload]`.
    OfSample,
    /// A sample's own table: its values may use `sample.name`, not each other.
    SampleTable,
    /// Everything else.
    Infrastructure,
}

/// Every name that `${…}` may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    names: BTreeMap<String, Meaning>,
    /// Whether the file has samples at all.
    pub(super) has_samples: bool,
}

impl Scope {
    /// Gives a qualified name its meaning.
    pub(super) fn define(&mut self, name: String, meaning: Meaning) {
        self.names.insert(name, meaning);
    }

    /// Substitutes every string at and below a node. A string with a fault becomes [`Value::Broken`].
    pub(super) fn substitute(&self, node: &mut Node, source: &str, place: Place, sink: &Sink) {
        let mut cursor = node.span.start;
        self.walk(node, &mut cursor, &Pass { source, place, sink });
    }

    /// The words of a string that was split share its span, hence the cursor: each `${x}` in turn is looked for after
    /// the one before it.
    fn walk(&self, node: &mut Node, cursor: &mut usize, pass: &Pass<'_>) {
        match &mut node.value {
            Value::String(text) if text.contains("${") => node.value = self.text(text, &node.span, cursor, pass),
            Value::Array(items) => {
                for mut item in std::mem::take(items) {
                    let (mut own, shared) = (item.span.start, item.span == node.span);
                    let text = item.text().is_some();
                    self.walk(&mut item, if shared { &mut *cursor } else { &mut own }, pass);
                    match item.value {
                        // An item that was only the name of a list is as many items.
                        Value::Array(values) if text => items.extend(values),
                        _ => items.push(item),
                    }
                }
            }
            Value::Table(entries) => {
                for entry in entries {
                    let mut own = entry.node.span.start;
                    self.walk(&mut entry.node, &mut own, pass);
                }
            }
            _ => {}
        }
    }

    fn text(&self, text: &str, span: &Range<usize>, cursor: &mut usize, pass: &Pass<'_>) -> Value {
        let (mut out, mut rest, mut sound) = (String::new(), text, true);
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                pass.find("$${", span, cursor);
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let after = &rest[at + 2..];
            let Some(name) = after.find('}').map(|end| &after[..end]).filter(|name| !name.contains("${")) else {
                let place = pass.find("${", span, cursor);
                pass.sink.tell(&place, "`${` without `}`", Some("write `$${` for a literal `${`".to_owned()));
                return Value::Broken;
            };
            let written = format!("${{{name}}}");
            let place = pass.find(&written, span, cursor);
            match self.meaning(name, pass.place) {
                Ok(Meaning::Is(Value::Array(values))) if written == text => {
                    let at = |value: &Node| Node { span: span.clone(), ..value.clone() };
                    return Value::Array(values.iter().map(at).collect());
                }
                Ok(Meaning::Is(Value::Array(_))) => {
                    sound = false;
                    let hint =
                        format!("`{written}` as a word of its own, or as a whole item of a list, is as many of them");
                    pass.sink.tell(&place, format!("`{name}` is a list, and this is inside a longer text"), Some(hint));
                }
                Ok(Meaning::Is(value)) if written == text && !matches!(value, Value::String(_)) => {
                    let text = value.scalar_text().unwrap_or_default().into_owned();
                    return Value::Typed { text, value: Box::new(value.clone()) };
                }
                Ok(Meaning::Is(value)) => out.push_str(&value.scalar_text().unwrap_or_default()),
                Ok(Meaning::Later) => out.push_str(&written),
                Ok(Meaning::Broken) => sound = false,
                Ok(Meaning::Unset(why)) => {
                    sound = false;
                    pass.sink.tell(&place, format!("`{name}` has no value here"), Some((*why).to_owned()));
                }
                Err((said, hint)) => {
                    sound = false;
                    pass.sink.tell(&place, said, Some(hint));
                }
            }
            rest = &after[name.len() + 1..];
        }
        out.push_str(rest);
        if sound { Value::String(out) } else { Value::Broken }
    }

    fn meaning(&self, name: &str, place: Place) -> Result<&Meaning, (String, String)> {
        if let Some(field) = name.strip_prefix("sample.") {
            match place {
                Place::OfSample if !self.has_samples => {
                    let hint = "add a table [sample.<name>] with the sample's values".to_owned();
                    return Err((format!("`{name}` is not defined: the file has no sample"), hint));
                }
                Place::Infrastructure => {
                    let hint = "only [pipeline] and [upload] may use `sample.*`: infrastructure does not depend on \
                                the sample";
                    return Err((format!("`{name}` cannot be used here"), hint.to_owned()));
                }
                Place::SampleTable if field != "name" => {
                    let hint = "a sample's values may use `sample.name` and `vars.*`, not each other".to_owned();
                    return Err((format!("`{name}` cannot be used here"), hint));
                }
                Place::OfSample | Place::SampleTable => {}
            }
        }
        self.names.get(name).ok_or_else(|| (format!("`{name}` is not defined"), self.hint(name, place)))
    }

    fn hint(&self, name: &str, place: Place) -> String {
        let usable = |known: &&str| place == Place::OfSample || !known.starts_with("sample.");
        let names: Vec<&str> = self.names.keys().map(String::as_str).filter(usable).collect();
        let bare = name.rsplit('.').next().unwrap_or(name);
        let same_end = names.iter().copied().find(|known| known.split_once('.').is_some_and(|(_, end)| end == bare));
        if let Some(meant) = same_end.or_else(|| closest(name, names.iter().copied())) {
            return format!("did you mean `{meant}`?");
        }
        if name.contains(':') {
            return "write `$${` for a literal `${`".to_owned();
        }
        let ends = names.iter().filter_map(|known| known.split_once('.'));
        match closest(bare, ends.map(|(_, end)| end)) {
            Some(end) => {
                let meant = names.iter().find(|known| known.ends_with(&format!(".{end}"))).unwrap_or(&end);
                format!("did you mean `{meant}`?")
            }
            None => format!("defined: {}; write `$${{` for a literal `${{`", names.join(", ")),
        }
    }
}

struct Pass<'a> {
    source: &'a str,
    place: Place,
    sink: &'a Sink,
}

impl Pass<'_> {
    /// The exact place of what is written, which TOML never escapes; the whole string where it cannot be found.
    fn find(&self, written: &str, span: &Range<usize>, cursor: &mut usize) -> Range<usize> {
        let found = self.source.get(*cursor..span.end).and_then(|text| text.find(written));
        found.map_or_else(
            || span.clone(),
            |at| {
                let start = *cursor + at;
                *cursor = start + written.len();
                start..*cursor
            },
        )
    }
}
