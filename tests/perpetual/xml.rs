//! The XML of an answer as a tree, to be changed and written again.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

/// An element.
#[derive(Clone, Debug, Default)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), children: Vec::new() }
    }

    pub fn of(name: &str, children: Vec<Element>) -> Self {
        Self { name: name.to_owned(), text: String::new(), children }
    }

    pub fn read(text: &str) -> Self {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => open.push(Self::new(start.local_name().as_ref(), "")),
                Event::Empty(empty) => {
                    open.last_mut().unwrap().children.push(Self::new(empty.local_name().as_ref(), ""));
                }
                Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.into_inner()),
                Event::CData(text) => open.last_mut().unwrap().text.push_str(&text.into_inner()),
                Event::GeneralRef(reference) => {
                    let text = &mut open.last_mut().unwrap().text;
                    match reference.resolve_char_ref().unwrap() {
                        Some(c) => text.push(c),
                        None => text.push_str(resolve_predefined_entity(&reference).unwrap()),
                    }
                }
                Event::End(_) => {
                    let ended = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(ended);
                }
                Event::Eof => return open.pop().unwrap().children.pop().unwrap_or_default(),
                _ => {}
            }
        }
    }

    pub fn write(&self) -> String {
        let inner = match self.children.as_slice() {
            [] => escape(&self.text).into_owned(),
            children => children.iter().map(Self::write).collect(),
        };
        format!("<{0}>{inner}</{0}>", self.name)
    }

    /// Everything of this name, at any depth.
    pub fn each(&mut self, name: &str, change: &mut dyn FnMut(&mut Element)) {
        for child in &mut self.children {
            if child.name == name {
                change(child);
            }
            child.each(name, change);
        }
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}
