//! Lines to a terminal: ordinary ones that stay, and below them live ones that are drawn over.
//!
//! The cursor rests where the live part begins, not where it ends. So nothing has to be known of how many rows it takes by
//! now: whether the terminal has reflowed them after it was resized, or cut them, all that is below the cursor is the live
//! part. (`indicatif`'s own drawing goes up by the rows that it once drew, and makes rows by filling lines with blanks up
//! to the width: in tmux, made narrower and wider again, it leaves lines behind and deletes ordinary ones.)

use std::fmt::Write as _;

use indicatif::TermLike;

/// Clears the rest of the line, and all that is below the cursor.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

#[derive(Debug)]
pub(super) struct Painter {
    term: Box<dyn TermLike>,
    colour: bool,
    /// Whether there is a live part.
    live: bool,
}

impl Painter {
    pub(super) fn new(term: Box<dyn TermLike>, colour: bool) -> Self {
        Self { term, colour, live: false }
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        (usize::from(self.term.width()), usize::from(self.term.height()))
    }

    /// Prints ordinary lines where the live part was, and the live part below them: in one write, so that nobody sees it
    /// gone. The live lines are no wider than the terminal, and no more than it has rows.
    pub(super) fn paint(&mut self, kept: &[String], live: &[String]) {
        if kept.is_empty() && live.is_empty() && !self.live {
            return;
        }
        let plain = |line: &str| {
            if self.colour { line.to_owned() } else { anstream::adapter::strip_str(line).to_string() }
        };
        let mut out = "\r".to_owned();
        if !kept.is_empty() {
            // These may be longer than a row.
            out.push_str(CLEAR_BELOW);
        }
        for line in kept.iter().flat_map(|text| text.lines()) {
            let _infallible = write!(out, "{}\r\n", plain(line));
        }
        let drawn: Vec<String> = live.iter().map(|line| plain(line)).collect();
        out.push_str(&drawn.join(&format!("{CLEAR_LINE}\r\n")));
        out.push_str(CLEAR_BELOW);
        if live.len() > 1 {
            let _infallible = write!(out, "\x1b[{}A", live.len() - 1);
        }
        out.push('\r');
        self.live = !live.is_empty();
        // A terminal that is gone is nobody looking: what is being done goes on.
        let _nobody_looks = self.term.write_str(&out).and_then(|()| self.term.flush());
    }
}
