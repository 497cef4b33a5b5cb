//! The wire protocols both ways: queries and chunked bodies into JSON and bytes, JSON answers into XML.
//!
//! Knows the shapes of the protocols, and nothing of any operation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

/// What RFC 3986 leaves as it is; AWS encodes everything else.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Percent-encodes all but RFC 3986's unreserved characters, as IAM does with policy documents.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The same, slashes left, as S3 does with keys where `encoding-type=url` asks for it.
pub fn encode_key(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED_AND_SLASH).to_string()
}

/// Undoes percent-encoding; `None` where the result is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// A query string's or form's pairs, in order.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

#[derive(Default)]
struct Node {
    leaf: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &str, value: String) {
        let mut node = self;
        for part in path.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.leaf = Some(value);
    }

    fn into_value(self) -> Value {
        if self.children.is_empty() {
            return Value::String(self.leaf.unwrap_or_default());
        }
        if self.children.keys().all(|key| key.parse::<u32>().is_ok()) {
            let mut items: Vec<(u32, Self)> =
                self.children.into_iter().filter_map(|(key, node)| key.parse().ok().map(|n| (n, node))).collect();
            items.sort_by_key(|(n, _)| *n);
            return Value::Array(items.into_iter().map(|(_, node)| node.into_value()).collect());
        }
        let mut children = self.children;
        if children.len() == 1
            && let Some(member) = children.remove("member")
        {
            return member.into_value();
        }
        Value::Object(children.into_iter().map(|(key, node)| (key, node.into_value())).collect())
    }
}

/// A query's parameters as nested JSON: `Tags.member.1.Key=a` becomes `{"Tags":[{"Key":"a"}]}`.
pub fn nested(pairs: impl IntoIterator<Item = (String, String)>) -> Value {
    let mut root = Node::default();
    for (name, value) in pairs {
        root.put(&name, value);
    }
    match root.into_value() {
        object @ Value::Object(_) => object,
        _ => Value::Object(Map::new()),
    }
}

/// Writes a value's members as XML; lists' items are called `item`.
pub fn write_xml(out: &mut String, name: &str, value: &Value, item: &str) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            open(out, name);
            write_members(out, members, item);
            close(out, name);
        }
        Value::Array(items) => {
            open(out, name);
            for one in items {
                write_xml(out, item, one, item);
            }
            close(out, name);
        }
        Value::String(text) => element(out, name, text),
        Value::Bool(_) | Value::Number(_) => element(out, name, &value.to_string()),
    }
}

/// The members of an object, one element each.
pub fn write_members(out: &mut String, members: &Map<String, Value>, item: &str) {
    for (name, value) in members {
        write_xml(out, name, value, item);
    }
}

/// One element with text in it.
pub fn element(out: &mut String, name: &str, text: &str) {
    open(out, name);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A bare carriage return would be read back as a line feed.
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
    close(out, name);
}

fn open(out: &mut String, name: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
}

fn close(out: &mut String, name: &str) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Text in a signed chunk that does not add up.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Not what `aws-chunked` looks like.
    #[error("the aws-chunked body is malformed: {0}")]
    Malformed(&'static str),
    /// A chunk's or the trailer's signature is wrong.
    #[error("a chunk's signature does not match")]
    Signature,
}

/// What checks the signatures of chunks; none for unsigned ones.
pub trait ChunkSignatures {
    /// Checks the next chunk.
    fn chunk(&mut self, data: &[u8], signature: &str) -> bool;
    /// Checks the trailer, given as its canonical lines.
    fn trailer(&mut self, canonical: &str, signature: &str) -> bool;
}

/// Trailing headers, in order, names in lower case.
pub type Trailers = Vec<(String, String)>;

/// Decodes an `aws-chunked` body into its content and trailers.
///
/// # Errors
/// Where it is malformed, cut short, or wrongly signed.
pub fn aws_chunked(
    mut body: Bytes,
    mut signatures: Option<&mut dyn ChunkSignatures>,
) -> Result<(Bytes, Trailers), ChunkError> {
    let mut content = BytesMut::new();
    loop {
        let head = line(&mut body).ok_or(ChunkError::Malformed("a chunk has no head"))?;
        let (size, extension) = head.split_once(';').unwrap_or((&head, ""));
        let size = usize::from_str_radix(size.trim(), 16)
            .map_err(|_| ChunkError::Malformed("a chunk's size is no hexadecimal number"))?;
        if size > body.remaining() {
            return Err(ChunkError::Malformed("it ends within a chunk"));
        }
        let data = body.split_to(size);
        if let Some(signatures) = signatures.as_deref_mut() {
            let signature = extension.strip_prefix("chunk-signature=").ok_or(ChunkError::Signature)?;
            if !signatures.chunk(&data, signature) {
                return Err(ChunkError::Signature);
            }
        }
        if size == 0 {
            break;
        }
        content.extend_from_slice(&data);
        if line(&mut body).is_none_or(|rest| !rest.is_empty()) {
            return Err(ChunkError::Malformed("a chunk is longer than it says"));
        }
    }
    let mut trailers = Trailers::new();
    let mut signature = None;
    while let Some(text) = line(&mut body) {
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or(ChunkError::Malformed("a trailer has no colon"))?;
        let (name, value) = (name.trim().to_lowercase(), value.trim().to_owned());
        if name == "x-amz-trailer-signature" {
            signature = Some(value);
        } else {
            trailers.push((name, value));
        }
    }
    if let Some(signatures) = signatures
        && !trailers.is_empty()
    {
        let mut sorted = trailers.clone();
        sorted.sort();
        let canonical: String = sorted.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        if !signatures.trailer(&canonical, signature.as_deref().unwrap_or_default()) {
            return Err(ChunkError::Signature);
        }
    }
    Ok((content.freeze(), trailers))
}

fn line(body: &mut Bytes) -> Option<String> {
    let end = body.windows(2).position(|pair| pair == b"\r\n")?;
    let text = body.split_to(end);
    body.advance(2);
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_nest() {
        let input = nested(pairs("A.member.2=y&A.member.1=x&T.1.Tag.1.Key=a&N=1&E="));
        assert_eq!(input, json!({"A": ["x", "y"], "T": [{"Tag": [{"Key": "a"}]}], "N": "1", "E": ""}));
    }

    #[test]
    fn xml_is_escaped_and_lists_have_items() {
        let mut out = String::new();
        write_xml(&mut out, "R", &json!({"L": ["a<b", 1], "N": null, "E": []}), "member");
        assert_eq!(out, "<R><E></E><L><member>a&lt;b</member><member>1</member></L></R>");
    }

    #[test]
    fn chunks_are_joined() {
        let body = Bytes::from_static(b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n");
        let (content, trailers) = aws_chunked(body, None).unwrap();
        assert_eq!(content, "abcde");
        assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())]);
        assert!(aws_chunked(Bytes::from_static(b"9\r\nabc\r\n"), None).is_err());
    }
}
