//! Text that TOML's parser cannot follow, made so that it can: brackets, braces and multi-line quotes that are not closed.
//!
//! A parser takes all that comes after such a place for a part of it, so one slip would be told of on every line but
//! its own, and would hide every other fault. Here a line that can only begin something new (`key = …`, `[table]`) ends
//! what was left open before it. Only for text that does not parse: what does is never touched.

use std::ops::Range;

/// The text with what was missing put in, and what is to be said of it.
pub(super) struct Repair {
    /// What the parser is to read.
    pub(super) text: String,
    /// What is wrong, where (in the text as it was), and what to do about it.
    pub(super) told: Vec<(Range<usize>, String, String)>,
    /// What was put in, in order.
    put: Vec<Put>,
}

/// A place where something was put in.
struct Put {
    /// Where it is in the repaired text.
    from: usize,
    /// Its bytes, and those of all before it.
    until_here: usize,
    length: usize,
}

impl Repair {
    /// A span of the repaired text in the text as it was.
    pub(super) fn back(&self, span: &Range<usize>) -> Range<usize> {
        self.back_at(span.start)..self.back_at(span.end)
    }

    fn back_at(&self, at: usize) -> usize {
        let before = self.put.partition_point(|put| put.from < at);
        match before.checked_sub(1).and_then(|last| self.put.get(last)) {
            Some(put) if at < put.from + put.length => put.from + put.length - put.until_here,
            Some(put) => at - put.until_here,
            None => at,
        }
    }
}

/// Closes what is not closed.
pub(super) fn repair(text: &str) -> Repair {
    let mut reader = Reader { text, at: 0, open: Vec::new(), content: 0, told: Vec::new(), put: Vec::new() };
    reader.read();
    let Reader { told, mut put, .. } = reader;
    put.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(text.len() + put.len());
    let (mut from, mut until_here, mut places) = (0, 0, Vec::new());
    for (at, missing) in put {
        out.push_str(text.get(from..at).unwrap_or_default());
        until_here += missing.len();
        places.push(Put { from: out.len(), until_here, length: missing.len() });
        out.push_str(missing);
        from = at;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Repair { text: out, told, put: places }
}

/// A bracket or brace that is open.
struct Open {
    at: usize,
    list: bool,
    /// In braces: a key comes next.
    wants_key: bool,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Open>,
    /// The end of the last thing that is neither blank, comment nor comma.
    content: usize,
    told: Vec<(Range<usize>, String, String)>,
    put: Vec<(usize, &'static str)>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn read(&mut self) {
        self.line_start();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\n' => {
                    self.at += 1;
                    self.line_start();
                    continue;
                }
                '#' => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                    continue;
                }
                '"' | '\'' => {
                    self.string(c);
                    continue;
                }
                '[' | '{' => self.opens(c == '['),
                ']' | '}' => self.closes(c == ']'),
                ',' => self.want_key(true),
                '=' => self.want_key(false),
                _ => {}
            }
            self.at += c.len_utf8();
            if !c.is_whitespace() && c != ',' {
                self.content = self.at;
            }
        }
        self.close_from(0);
    }

    fn want_key(&mut self, wants: bool) {
        if let Some(open) = self.open.last_mut() {
            open.wants_key = wants;
        }
    }

    /// At the start of a line: whatever is open ends before a line that can only begin something new.
    fn line_start(&mut self) {
        let line = self.rest().lines().next().unwrap_or_default();
        if let Some(last) = self.open.last() {
            // In braces a further key may follow a comma.
            let key = is_key(line) && (last.list || !last.wants_key);
            if !(key || is_header(line) || header_lacks(line).is_some()) {
                return;
            }
            self.close_from(0);
        }
        if line.trim_start().starts_with('[') {
            self.header(line);
            self.at += line.len();
            self.content = self.at;
        } else {
            self.key(line);
        }
    }

    /// `key value` lacks its `=`: the parser would read no further.
    fn key(&mut self, line: &str) {
        let key = line.trim_start();
        let from = line.len() - key.len();
        let end = from + key.find(|c| !bare(c)).unwrap_or(key.len());
        let after = line.get(end..).unwrap_or_default().trim_start();
        let quoted = after.starts_with(['"', '\'']);
        let apart = line.get(end..).is_some_and(|rest| rest.starts_with([' ', '\t']));
        // `a."b" = 1` goes on with its key.
        if end > from && !after.starts_with(['=', '.']) && (apart || !quoted) {
            let (from, end) = (self.at + from, self.at + end);
            self.told.push((from..end, "there is no `=` after this key".to_owned(), "write key = value".to_owned()));
            self.put.push((end, " = "));
        }
    }

    /// `[table` and `[[table]` lack their ends.
    fn header(&mut self, line: &str) {
        if let Some(missing) = header_lacks(line) {
            let header = line.split('#').next().unwrap_or_default().trim_end();
            self.missing(self.at..self.at + header.len(), "header", missing);
        }
    }

    /// Ends everything that was opened from this depth on.
    fn close_from(&mut self, depth: usize) {
        while self.open.len() > depth
            && let Some(open) = self.open.pop()
        {
            let (what, missing) = if open.list { ("list", "]") } else { ("table", "}") };
            self.missing(open.at..self.content.max(open.at + 1), what, missing);
        }
    }

    fn opens(&mut self, list: bool) {
        // `{ a = 1, {`: a list's next item, so the one before it is not closed.
        if let [.., before, last] = self.open.as_slice()
            && before.list
            && !last.list
            && last.wants_key
        {
            self.close_from(self.open.len() - 1);
        }
        // Only what comes after a `=`, or is inside of something, is a value.
        self.open.push(Open { at: self.at, list, wants_key: !list });
    }

    fn closes(&mut self, list: bool) {
        if let Some(depth) = self.open.iter().rposition(|open| open.list == list) {
            self.close_from(depth + 1);
            self.open.pop();
        }
    }

    fn string(&mut self, quote: char) {
        let rest = self.rest();
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        if rest.starts_with(triple) {
            self.lines(triple);
        } else {
            let line = rest.lines().next().unwrap_or_default();
            let begun = self.at;
            let missing = if quote == '"' { "\"" } else { "'" };
            let end = end_of(line.get(1..).unwrap_or_default(), quote);
            // In a table's braces, on a line with a quote too few: the next key is no part of this text.
            let in_braces = self.open.last().is_some_and(|open| !open.list);
            let one_too_few = in_braces && line.matches(quote).count() % 2 == 1;
            let cut = next_key(line).filter(|cut| one_too_few && end.is_some_and(|end| *cut < end));
            match end {
                _ if cut.is_some() => {
                    self.at += cut.unwrap_or_default();
                    self.missing(begun..self.at, "text", missing);
                }
                Some(end) => self.at += 1 + end,
                None => {
                    self.at += line.trim_end().len();
                    self.missing(begun..self.at, "text", missing);
                }
            }
        }
        self.content = self.at;
    }

    /// Puts in what is missing here, at the end of what was begun there.
    fn missing(&mut self, begun: Range<usize>, what: &str, missing: &'static str) {
        let hint = format!("add `{missing}` where it ends");
        self.put.push((begun.end, missing));
        self.told.push((begun, format!("this {what} is not closed"), hint));
    }

    /// A string of several lines. One that would end after `key =`, or in a comment, ends in what is no part of it: it is not
    /// closed.
    fn lines(&mut self, quotes: &'static str) {
        let start = self.at + quotes.len();
        let inner = self.text.get(start..).unwrap_or_default();
        let end = closing(inner, quotes);
        let last = inner.get(..end.unwrap_or(inner.len())).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
        let swallowed = last.trim_start().starts_with('#') || is_key(last) && last.trim_end().ends_with('=');
        if let Some(end) = end.filter(|_| !swallowed) {
            self.at = start + end + quotes.len();
            return;
        }
        let mut cut = 0;
        for line in inner.split_inclusive('\n') {
            if cut > 0 && (is_header(line) || is_key(line)) {
                break;
            }
            cut += line.len();
        }
        let kept = inner.get(..cut).unwrap_or_default().trim_end().len();
        let begun = self.at;
        self.at = start + kept;
        self.missing(begun..self.at, "text", quotes);
    }
}

/// Where a string of one line ends, its quote included, if it does.
fn end_of(line: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Where the first comma is that a further `key =` follows, if there is one.
fn next_key(line: &str) -> Option<usize> {
    line.match_indices(',').map(|(at, _)| at).find(|at| is_key(line.get(at + 1..).unwrap_or_default()))
}

/// Where a string of several lines ends, its quotes not included.
fn closing(text: &str, quotes: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(quotes)?;
        let escapes = text.get(..at)?.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if quotes.starts_with('\'') || escapes % 2 == 0 {
            return Some(at);
        }
        from = at + 1;
    }
}

fn bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.".contains(c)
}

/// `key =`, of bare words.
fn is_key(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.find(|c| !bare(c)).unwrap_or(line.len());
    key > 0 && line.get(key..).is_some_and(|after| after.trim_start().starts_with('='))
}

/// What `[table`, `[[table` or `[[table]` lacks.
fn header_lacks(line: &str) -> Option<&'static str> {
    let header = line.split('#').next().unwrap_or_default().trim_end();
    let lacks = |missing: &&&str| is_header(&format!("{header}{missing}"));
    if is_header(header) { None } else { ["]", "]]"].iter().find(lacks).copied() }
}

/// `[table]` or `[[table]]`, and no list of values.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let inner = match line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]")) {
        Some(inner) => inner,
        None => match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(inner) => inner,
            None => return false,
        },
    };
    inner.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "inf", "nan"].contains(&inner)
        && inner.chars().all(|c| bare(c) || c == '"' || c == '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> (String, Vec<usize>) {
        let repair = repair(text);
        let lines = repair.told.iter().map(|(span, ..)| text[..span.start].matches('\n').count() + 1).collect();
        (repair.text, lines)
    }

    #[test]
    fn what_is_left_open_ends_before_what_can_only_be_new() {
        let cases = [
            ("a = [1, 2\nb = 3\n", "a = [1, 2]\nb = 3\n", vec![1]),
            ("a = [\n  1,\n  2, # two\n\n[t]\n", "a = [\n  1,\n  2], # two\n\n[t]\n", vec![1]),
            ("a = { b = 1\nc = 2", "a = { b = 1}\nc = 2", vec![1]),
            ("a = { b = 1,\nc = 2 }\n", "a = { b = 1,\nc = 2 }\n", vec![]),
            ("a = [{ b = 1 , { c = 2 }]", "a = [{ b = 1} , { c = 2 }]", vec![1]),
            ("a = [{ b = [1 }]", "a = [{ b = [1] }]", vec![1]),
            ("a = [\"x, \"y\"]\nb = 1", "a = [\"x, \"y\"]\"]\nb = 1", vec![1, 1]),
            ("a = [{ b = \"x, c = [\"y\"] }]\n", "a = [{ b = \"x\", c = [\"y\"] }]\n", vec![1]),
            ("a = \"x\nb = 'y\n", "a = \"x\"\nb = 'y'\n", vec![1, 2]),
            (
                "a 1\nb \"x\"\nc\nd.\"e\" = 1\nf . g = 1\n",
                "a =  1\nb =  \"x\"\nc = \nd.\"e\" = 1\nf . g = 1\n",
                vec![1, 2, 3],
            ),
            ("[t # u\n[[v]\n[[w\n", "[t] # u\n[[v]]\n[[w]]\n", vec![1, 2, 3]),
            ("a = '''\nx\n[t]\n# not '''\n", "a = '''\nx'''\n[t]\n# not '''\n", vec![1]),
            ("a = [1 # ]\n[[t.u]]", "a = [1] # ]\n[[t.u]]", vec![1]),
            ("a = [[1], [true],\n[2]]\n[\"t\".u]", "a = [[1], [true],\n[2]]\n[\"t\".u]", vec![]),
            ("a = '''\nx\n\nb = '''\ny'''\n", "a = '''\nx'''\n\nb = '''\ny'''\n", vec![1]),
            ("a = '''\nx\n[t]\n", "a = '''\nx'''\n[t]\n", vec![1]),
            ("a = \"\"\"x\\\"\"\"\" # [\nb = \"]\"", "a = \"\"\"x\\\"\"\"\" # [\nb = \"]\"", vec![]),
            ("a = [1,\n[t\n", "a = [1],\n[t]\n", vec![1, 2]),
            ("a = [", "a = []", vec![1]),
        ];
        for (text, expected, lines) in cases {
            assert_eq!(repaired(text), (expected.to_owned(), lines), "{text}");
        }
    }

    #[test]
    fn places_in_the_repaired_text_are_places_in_the_text_as_it_was() {
        let text = "a = [1, 2\nb = [3\nc = 4\n";
        let repair = repair(text);
        for name in ["a", "b", "c"] {
            let at = repair.text.find(name).unwrap();
            assert_eq!(text[repair.back(&(at..at + 1))].to_owned(), name);
        }
        let end = repair.text.len();
        assert_eq!(repair.back(&(end..end)), text.len()..text.len());
    }
}
