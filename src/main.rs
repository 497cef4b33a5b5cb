//! The binary: parses, calls, exits.

use std::process::ExitCode;

use clap::Parser as _;
use seqstack::cli::{Cli, Command};
use seqstack::command::{Console, Exit, Problem, apply, destroy, graph, logs, output, plan, status, validate, words};

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
                Err(failed) if failed.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(Exit::Failed as u8),
                _ => ExitCode::from(code),
            };
        }
    };
    // Whole commands are large futures, in unoptimised builds larger than a main thread's stack may be.
    let run = std::thread::Builder::new().stack_size(STACK).spawn(move || run(&cli));
    let exit = run.map_err(|error| Problem::failed(format!("failed to start: {error}"))).and_then(|running| {
        running.join().unwrap_or_else(|_| Err(Problem::failed("seqstack broke down: please report what it said above")))
    });
    let exit = exit.unwrap_or_else(|problem| {
        Console::Process.say(&problem.to_string());
        problem.exit
    });
    ExitCode::from(exit as u8)
}

/// Bytes of stack for the thread that runs a command; what is not used costs nothing.
const STACK: usize = 64 * 1024 * 1024;

fn run(cli: &Cli) -> Result<Exit, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::failed(format!("failed to start: {error}")))?;
    runtime.block_on(async {
        match &cli.command {
            Command::Plan(args) => plan::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Destroy(args) => destroy::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Output(args) => output::run(args).await,
            Command::Graph(args) => graph::run(args),
            Command::Logs(args) => logs::run(args).await,
            Command::Validate(args) => validate::run(args),
            Command::Schema => words::schema(),
            Command::Completions(args) => words::completions(args),
            Command::Man(args) => words::man(args),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => seqstack::command::sandbox::run(args).await,
        }
    })
}
