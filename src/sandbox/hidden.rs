//! The commands that the sandbox runs of our own binary and nobody types: relay, supervisor, removal.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::engine::relay::{RelayArgs, relay_main, remove_main};
use super::engine::supervisor::supervise_main;

/// Runs a hidden command, if the arguments (the program's name first) name one. To be called before anything else, as
/// these start no runtime and read no settings.
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let command = arguments.next()?;
    match command.to_str()? {
        "sandbox-relay" => Some(match RelayArgs::parse(arguments) {
            Ok(args) => relay_main(args),
            Err(fault) => complain(&fault),
        }),
        "sandbox-supervise" => Some(supervise_main(arguments)),
        "sandbox-remove" => {
            Some(arguments.next().map_or_else(|| complain("no folder"), |path| remove_main(Path::new(&path))))
        }
        _ => None,
    }
}

fn complain(fault: &str) -> ExitCode {
    match writeln!(io::stderr(), "seqstack: {fault}") {
        Ok(()) | Err(_) => ExitCode::from(64),
    }
}
