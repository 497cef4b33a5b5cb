//! What the tool says about itself for other programs: the stack file's schema, shells' completions, manual pages.

use clap::CommandFactory as _;

use crate::cli::{Cli, Completions, Man};
use crate::stack::schema;

use super::{Console, Exit, Problem};

/// `seqstack schema`: prints the JSON Schema of the stack file.
///
/// # Errors
/// When standard output is full.
pub fn schema() -> Result<Exit, Problem> {
    Console::Process.print(&format!("{:#}\n", schema::stack_file().as_value()))?;
    Ok(Exit::Done)
}

/// `seqstack completions SHELL`: prints the shell's completions.
///
/// # Errors
/// When standard output is full.
pub fn completions(args: &Completions) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "seqstack", &mut script);
    Console::Process.pass(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `seqstack man`: prints the main page, or writes those of all commands into a folder, which is made where it is missing.
///
/// # Errors
/// When the page cannot be printed, or the pages cannot be written.
pub fn man(args: &Man) -> Result<Exit, Problem> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|error| Problem::failed(format!("failed to make the manual page: {error}")))?;
        Console::Process.pass(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder)).map_err(
        |error| Problem::failed(format!("failed to write the manual pages to {}: {error}", folder.display())),
    )?;
    Ok(Exit::Done)
}
