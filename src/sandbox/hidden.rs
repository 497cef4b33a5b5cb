//! The commands that the sandbox runs of our own binary and nobody types: the sandbox itself, relay, supervisor,
//! removal.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use super::engine::relay::{RelayArgs, relay_main, remove_main};
use super::engine::supervisor::supervise_main;
use super::process::serve::{ServeArgs, ServeError, serve};
use super::service::Options;
use super::serving::{REQUESTS, Served};

/// Runs a hidden command, if the arguments (the program's name first) name one. To be called before anything else, as
/// most of these start no runtime and none reads settings.
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
        "sandbox-serve" => Some(serve_main(arguments)),
        _ => None,
    }
}

fn serve_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match ServeArgs::try_parse_from(std::iter::once(OsString::from("sandbox-serve")).chain(arguments)) {
        Ok(args) => args,
        Err(fault) => return complain(&fault.to_string()),
    };
    // Nobody reads along: no line a request.
    let filter = EnvFilter::new(format!("info,{REQUESTS}=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let served = std::env::current_exe().map_err(ServeError::Process).and_then(|exe| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Process)?;
        runtime.block_on(serve(args, &exe, Options::default(), Served::open))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&chain(&error)),
    }
}

fn complain(fault: &str) -> ExitCode {
    match writeln!(io::stderr(), "seqstack: {fault}") {
        Ok(()) | Err(_) => ExitCode::from(64),
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}
