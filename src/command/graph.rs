//! `seqstack graph`: a stack's dependencies, or a saved plan's order. Asks AWS nothing.

use crate::cli;
use crate::graph::{of_plan, of_stack};
use crate::report::graph::render;
use crate::stack::{Request, Stack};

use super::{Console, Exit, Problem, saved, session};

/// Draws it.
///
/// # Errors
/// When the file is wrong.
pub fn run(args: &cli::Graph) -> Result<Exit, Problem> {
    let graph = match saved::read(&args.file)? {
        Some(saved) => of_plan(&saved.stack.name, &saved.plan),
        None => {
            let request = Request { sample: None, set: &[], needs_sample: false };
            of_stack(&Stack::read(&args.file, &request).map_err(session::unread)?)
        }
    };
    Console::Process.print(&render(&graph, args.format)).map(|()| Exit::Done)
}
