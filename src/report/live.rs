//! What happens while a plan is applied, on a terminal: an independent reader of [`Event`]s. What is worth keeping is
//! printed as ordinary lines, and below them is the live part, drawn anew four times a second: what is being made, and a
//! line a pipeline step. `live/README.md` shows it. Never asks AWS, never decides.

use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;
use indicatif::TermLike;
use jiff::Timestamp;

use crate::event::Event;

pub mod board;
mod frame;
mod painter;
#[cfg(test)]
mod tests;

use board::{Board, Outline};
use painter::Painter;

/// Gives the time.
pub type Clock = dyn Fn() -> Timestamp + Send + Sync;

/// A terminal with a live part.
pub struct Live {
    clock: Box<Clock>,
    verbose: bool,
    shown: Mutex<Shown>,
}

struct Shown {
    painter: Painter,
    /// What is in the live part; none before and after a plan is carried out.
    board: Option<Board>,
}

impl Live {
    /// On this process's stderr, if that is a terminal on which the cursor can be moved.
    pub fn on_stderr(verbose: bool) -> Option<Self> {
        let term = Term::buffered_stderr();
        let able = term.is_term() && !console::is_dumb();
        let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        able.then(|| Self::on(Box::new(term), colour, verbose, Box::new(Timestamp::now)))
    }

    /// On a terminal of one's own; `verbose` keeps lines about calls, too.
    pub fn on(term: Box<dyn TermLike>, colour: bool, verbose: bool, clock: Box<Clock>) -> Self {
        let shown = Mutex::new(Shown { painter: Painter::new(term, colour), board: None });
        Self { clock, verbose, shown }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plan begins to be carried out: the live part appears.
    pub fn begin(&self, outline: Outline) {
        let now = (self.clock)();
        let mut shown = self.shown();
        shown.board = Some(Board::new(outline, self.verbose, now));
        shown.draw(now, &[]);
    }

    /// Shows an event.
    pub fn read(&self, event: &Event) {
        let now = (self.clock)();
        let mut shown = self.shown();
        let kept = match &mut shown.board {
            Some(board) => board.read(event, now),
            None => super::progress::line(event, self.verbose).into_iter().collect(),
        };
        let kept: Vec<String> = kept.iter().map(|line| format!("{} {line}", now.strftime("%H:%M:%SZ"))).collect();
        shown.draw(now, &kept);
    }

    /// Prints ordinary lines, above the live part if there is one.
    pub fn say(&self, text: &str) {
        let now = (self.clock)();
        self.shown().draw(now, &[text.to_owned()]);
    }

    /// Draws the live part anew: time has passed.
    pub fn tick(&self) {
        let now = (self.clock)();
        let mut shown = self.shown();
        if shown.board.is_some() {
            shown.draw(now, &[]);
        }
    }

    /// Lets somebody else write to the terminal, without the live part in their way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        let now = (self.clock)();
        let mut shown = self.shown();
        shown.painter.paint(&[], &[]);
        let written = write();
        shown.draw(now, &[]);
        written
    }

    /// The plan was carried out: the live part goes, and what it came to stays.
    pub fn end(&self) {
        let now = (self.clock)();
        let mut shown = self.shown();
        let left = shown.board.take().map(|board| board.left(now)).unwrap_or_default();
        shown.draw(now, &left);
    }
}

impl Shown {
    fn draw(&mut self, now: Timestamp, kept: &[String]) {
        let (width, height) = self.painter.size();
        let live = self.board.as_ref().map(|board| frame::lines(board, now, width, height)).unwrap_or_default();
        self.painter.paint(kept, &live);
    }
}
