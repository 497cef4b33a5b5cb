//! XML bodies of requests, as a tree of elements with text.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::super::service::ApiError;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Its text without the spaces around it.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text of the first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&str> {
        self.each(name).next().map(|child| child.text.trim())
    }

    /// Its text as it stands, for keys, where spaces count.
    pub(super) fn exactly(&self, name: &str) -> Option<&str> {
        self.each(name).next().map(|child| child.text.as_str())
    }

    /// The children of this name.
    pub(super) fn each(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// `MalformedXML`.
pub(super) fn malformed() -> ApiError {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    ApiError::new("MalformedXML", message)
}

/// Reads a body whose root has this name.
///
/// # Errors
/// `MalformedXML`.
pub(super) fn read(body: &[u8], root: &str) -> Result<Element, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|_| malformed())?;
        let inside = open.last_mut().ok_or_else(malformed)?;
        match event {
            Event::Start(start) => {
                open.push(Element { name: start.local_name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Empty(empty) => {
                let name = empty.local_name().as_ref().to_owned();
                inside.children.push(Element { name, ..Element::default() });
            }
            Event::Text(text) => inside.text.push_str(&text.into_inner()),
            Event::CData(text) => inside.text.push_str(&text.into_inner()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| malformed())? {
                Some(c) => inside.text.push(c),
                None => inside.text.push_str(resolve_predefined_entity(&reference).ok_or_else(malformed)?),
            },
            Event::End(_) => {
                let ended = open.pop().ok_or_else(malformed)?;
                open.last_mut().ok_or_else(malformed)?.children.push(ended);
            }
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            // Entities of one's own could grow without bounds.
            Event::DocType(_) => return Err(malformed()),
        }
    }
    // The reader has checked that ends match starts; only what is above them all is left.
    let document = open.pop().filter(|_| open.is_empty()).ok_or_else(malformed)?;
    document.children.into_iter().next().filter(|found| found.name == root).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn elements_are_read() {
        let body = br#"<?xml version="1.0"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Object><Key>a &amp; b&#x41; </Key></Object><Object><Key/></Object><Quiet> true</Quiet></Delete>"#;
        let root = read(body, "Delete").unwrap();
        let keys: Vec<_> = root.each("Object").map(|object| object.exactly("Key")).collect();
        assert_eq!(keys, [Some("a & bA "), Some("")]);
        assert_eq!(root.child("Quiet"), Some("true"));
        for wrong in
            ["<Other/>", "", "<Delete>", "<Delete></delete>", "<Delete>&nothing;</Delete>", "<!DOCTYPE x><Delete/>"]
        {
            assert_eq!(read(wrong.as_bytes(), "Delete").unwrap_err().code, "MalformedXML", "{wrong}");
        }
    }
}
