//! The binary: parses, calls, exits.

use std::process::ExitCode;

use clap::Parser as _;
use seqstack::cli::{Cli, Command};
use seqstack::command::{Exit, apply, destroy, plan, say};

fn main() -> ExitCode {
    // The sandbox starts this same program for what must outlive it: itself, supervisors and relays.
    #[cfg(feature = "sandbox")]
    if let Some(code) = seqstack::sandbox::hidden::dispatch(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() { Exit::Usage as u8 } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(Exit::Failed as u8),
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: failed to start: {error}"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let result = runtime.block_on(async {
        match &cli.command {
            Command::Plan(args) => plan::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Destroy(args) => destroy::run(args).await,
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => seqstack::command::sandbox::run(args).await,
        }
    });
    let exit = result.unwrap_or_else(|problem| {
        say(&problem.to_string());
        problem.exit
    });
    ExitCode::from(exit as u8)
}
