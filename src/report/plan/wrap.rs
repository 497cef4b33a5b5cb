//! Lines of styled words, broken at spaces where a terminal is narrow. A word is never broken: an id or a path stays whole.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

/// Text in one style.
pub(super) type Span = (Style, String);

/// Lines that grow.
pub(super) struct Page {
    /// Columns; none for no end.
    width: Option<usize>,
    text: String,
}

impl Page {
    pub(super) fn new(width: Option<usize>) -> Self {
        Self { width, text: String::new() }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Whether a line can be so long.
    pub(super) fn holds(&self, columns: usize) -> bool {
        self.width.is_none_or(|most| columns <= most)
    }

    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A line; what does not fit goes on in the next ones, `hang` columns in.
    pub(super) fn line(&mut self, hang: usize, spans: &[Span]) {
        let mut column = 0;
        for word in words(spans) {
            let width: usize = word.pieces.iter().map(|(_, text)| text.width()).sum();
            let breaks = column > hang && self.width.is_some_and(|most| column + word.spaces + width > most);
            if breaks {
                self.text.push('\n');
                self.spaces(hang);
                column = hang;
            } else {
                self.spaces(word.spaces);
                column += word.spaces;
            }
            for (style, text) in word.pieces {
                self.text.push_str(&format!("{style}{text}{style:#}"));
            }
            column += width;
        }
        self.text.push('\n');
    }

    /// The same in no style.
    pub(super) fn plain(&mut self, hang: usize, text: &str) {
        self.line(hang, &[(Style::new(), text.to_owned())]);
    }

    fn spaces(&mut self, n: usize) {
        self.text.extend(std::iter::repeat_n(' ', n));
    }
}

/// A word with the spaces before it.
#[derive(Default)]
struct Word {
    spaces: usize,
    pieces: Vec<Span>,
}

impl Word {
    fn is_number(&self) -> bool {
        let digits = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
        !self.pieces.is_empty() && self.pieces.iter().all(|(_, text)| digits(text))
    }
}

fn words(spans: &[Span]) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let mut next = Word::default();
    for (style, text) in spans {
        for (n, part) in text.split(' ').enumerate() {
            if n > 0 {
                if next.is_number() {
                    // A number stays with what it counts.
                    next.pieces.push((*style, " ".to_owned()));
                    next.pieces.push((*style, part.to_owned()));
                    continue;
                }
                if !next.pieces.is_empty() {
                    out.push(std::mem::take(&mut next));
                }
                next.spaces += 1;
            }
            if !part.is_empty() {
                next.pieces.push((*style, part.to_owned()));
            }
        }
    }
    out.extend((!next.pieces.is_empty()).then_some(next));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(width: Option<usize>, hang: usize, text: &str) -> String {
        let mut page = Page::new(width);
        page.plain(hang, text);
        page.into_text()
    }

    #[test]
    fn words_are_never_broken_and_without_a_width_nothing_is() {
        let text = "  + role.input  arn:aws:iam::123456789012:role/lab-input and more";
        assert_eq!(wrapped(None, 4, text), format!("{text}\n"));
        insta::assert_snapshot!(wrapped(Some(24), 4, text), @"
        + role.input
          arn:aws:iam::123456789012:role/lab-input
          and more
        ");
    }

    #[test]
    fn style_ends_with_its_word() {
        let bold = Style::new().bold();
        let mut page = Page::new(Some(7));
        page.line(2, &[(bold, "one two".to_owned()), (Style::new(), "!".to_owned())]);
        assert_eq!(page.into_text(), format!("{bold}one{bold:#}\n  {bold}two{bold:#}!\n"));
    }
}
