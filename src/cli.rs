//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::choose::Choice;
use crate::report::graph::Format as GraphFormat;
use crate::report::output::Format as OutputFormat;

/// Brings an AWS account to the state that one stack file describes; the pipeline's run is the last thing to converge.
#[derive(Debug, Parser)]
#[command(name = "seqstack", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what apply would change, and change nothing
    Plan(Plan),
    /// Converge: show the plan, ask, change what differs, run the pipeline if its run is due
    ///
    /// In the place of the stack file, a plan that `plan --out FILE` has saved: then exactly that is done, without asking, or
    /// nothing if anything has moved since.
    Apply(Apply),
    /// Take the stack down; buckets, their objects and the ledger stay
    Destroy(Destroy),
    /// Show where the runs are and what is billed, from any machine; changes nothing
    Status(Status),
    /// Print ids, ARNs, names and paths of what is there, for people and scripts; changes nothing
    Output(Output),
    /// Show a pipeline step's log, whole and in order, from any machine
    Logs(Logs),
    /// Draw the stack's dependencies, or a saved plan's order; asks AWS nothing
    Graph(Graph),
    /// Check stack files without asking AWS: every fault and warning, each on its line
    Validate(Validate),
    /// Print the JSON Schema of the stack file, for editors and checkers
    Schema,
    /// Print the completions of a shell, for it to read
    Completions(Completions),
    /// Print the manual page, or write those of all commands
    Man(Man),
    /// Look after the sandbox that --sandbox talks to
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
}

/// Which stack, where.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The stack file
    pub stack: PathBuf,
    /// Work on an AWS of this machine's own instead of the real one: no account, no cost
    #[cfg(feature = "sandbox")]
    #[arg(long)]
    pub sandbox: bool,
    /// Set a key of [vars], e.g. --set regions=FH.bed
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// The AWS profile [default: the SDK's own rules]
    #[arg(long)]
    pub profile: Option<String>,
    /// The AWS region [default: the stack file's, then the profile's]
    #[arg(long)]
    pub region: Option<String>,
    /// Another endpoint for every AWS service, e.g. an emulator's
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub endpoint_url: Option<String>,
    /// Also show what stays as it is, the calls of each step, and how many round trips the plan took
    #[arg(short, long)]
    pub verbose: bool,
}

/// What both plan and apply need. A saved plan keeps it whole.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct Wish {
    /// The sample to run, where the stack file has several
    #[arg(long)]
    pub sample: Option<String>,
    /// Take over what exists under this address's name and is not seqstack's
    #[arg(long, value_name = "ADDRESS")]
    pub adopt: Vec<Address>,
    /// Run again although the same run failed before and nothing has changed
    #[arg(long)]
    pub retry: bool,
    /// Which part of it.
    #[command(flatten)]
    pub choice: Choice,
}

/// `seqstack plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// What to plan for.
    #[command(flatten)]
    pub wish: Wish,
    /// Exit with 2 when there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Also save the plan in this file, for apply to do exactly that or refuse
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What is agreed to before anybody is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct Consent {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Agree to losing the intermediate files on an instance that would end (--yes alone does not)
    #[arg(long)]
    pub discard_intermediates: bool,
    /// Agree to overwriting objects that neither a run nor an upload of this stack has written; destroy overwrites nothing.
    #[arg(skip)]
    pub overwrite: bool,
}

/// `seqstack apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// What to converge to.
    #[command(flatten)]
    pub wish: Wish,
    /// Whether to ask.
    #[command(flatten)]
    pub consent: Consent,
    /// Agree to overwriting objects that neither a run nor an upload of this stack has written (--yes alone does not)
    #[arg(long)]
    pub overwrite: bool,
    /// Tell what happens as JSON on stdout, a line an event; --yes is needed where it would ask
    #[arg(long)]
    pub json: bool,
}

/// `seqstack destroy`
#[derive(Debug, Args)]
pub struct Destroy {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// Stop a run that is going on, instead of refusing
    #[arg(long)]
    pub stop_run: bool,
    /// Which part of it.
    #[command(flatten)]
    pub choice: Choice,
    /// Whether to ask.
    #[command(flatten)]
    pub consent: Consent,
    /// Tell what happens as JSON on stdout, a line an event; --yes is needed where it would ask
    #[arg(long)]
    pub json: bool,
}

/// `seqstack status`
#[derive(Debug, Args)]
pub struct Status {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// Only this sample's run [default: those of all samples]
    #[arg(long)]
    pub sample: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `seqstack output`
#[derive(Debug, Args)]
pub struct Output {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// Print one value only, e.g. role.input.arn, key_pair.ecs_key.private_key; of a resource its ARN, else its
    /// path, its name or its id
    pub key: Option<String>,
    /// In which form
    #[arg(long, value_enum, default_value_t, conflicts_with = "key")]
    pub format: OutputFormat,
}

/// `seqstack graph`
#[derive(Debug, Args)]
pub struct Graph {
    /// The stack file, or a plan that `plan --out` has saved
    pub file: PathBuf,
    /// In which language
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

/// `seqstack logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Which stack, where.
    #[command(flatten)]
    pub target: Target,
    /// Which log.
    #[command(flatten)]
    pub log: Log,
    /// The sample, where the stack file has several
    #[arg(long)]
    pub sample: Option<String>,
}

/// Which log of a stack and sample.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// The pipeline step
    pub step: String,
    /// Go on until the step's task has stopped and its last lines have come; wait for it where the run has yet to come to it
    #[arg(short, long)]
    pub follow: bool,
    /// The attempt at the step [default: the last one]
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
}

/// `seqstack validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// The stack files
    #[arg(value_name = "STACK", required = true)]
    pub stacks: Vec<PathBuf>,
    /// Set a key of [vars], e.g. --set regions=FH.bed
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Exit with 64 for warnings too
    #[arg(long)]
    pub deny_warnings: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `seqstack completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// `seqstack man`
#[derive(Debug, Args)]
pub struct Man {
    /// A folder for the pages of all commands, instead of printing the main one
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `seqstack sandbox`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct Sandbox {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: SandboxVerb,
}

/// What can be done with the sandbox.
#[cfg(feature = "sandbox")]
#[derive(Debug, Subcommand)]
pub enum SandboxVerb {
    /// Serve it here, in the foreground, for any AWS client: until Ctrl-C
    Serve(SandboxServe),
    /// List what exists in it, and how often each operation was called and refused (of its process, which this starts where
    /// there is an account and none runs)
    Status(SandboxStatus),
    /// Print the variables that point other AWS clients at it, for a shell to evaluate
    Env(SandboxFolder),
    /// Show how it is set, or set it otherwise until its process ends: no capacity, throttling, small pages, slow starts
    Set(SandboxSet),
    /// Stop its process; what is in it stays
    Stop(SandboxStop),
    /// Empty it: end what runs, delete everything in its account, buckets too
    Reset(SandboxReset),
}

/// Which sandbox.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxFolder {
    /// The project, by a folder of it: the sandbox is in .sandbox beside its .git
    #[arg(long, default_value = ".")]
    pub project: PathBuf,
}

/// `seqstack sandbox serve`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxServe {
    /// Which sandbox.
    #[command(flatten)]
    pub folder: SandboxFolder,
    /// The port on loopback [default: the last one, or any free one]
    #[arg(long)]
    pub port: Option<u16>,
    /// docker, podman or bubblewrap [default: the first that works]
    #[arg(long)]
    pub engine: Option<String>,
}

/// `seqstack sandbox status`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxStatus {
    /// Which sandbox.
    #[command(flatten)]
    pub folder: SandboxFolder,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `seqstack sandbox set`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxSet {
    /// What to change, e.g. no_capacity=t3.large,m5.large or throttle=true
    #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
    pub settings: Vec<(String, String)>,
    /// Which sandbox.
    #[command(flatten)]
    pub folder: SandboxFolder,
}

/// `seqstack sandbox stop`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxStop {
    /// Which sandbox.
    #[command(flatten)]
    pub folder: SandboxFolder,
    /// Although something runs in it, or it does not answer; tasks go on, and the next process finds them
    #[arg(long)]
    pub force: bool,
}

/// `seqstack sandbox reset`
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct SandboxReset {
    /// Which sandbox.
    #[command(flatten)]
    pub folder: SandboxFolder,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// An endpoint, or nothing, of which the connection tells by its name.
fn endpoint(text: &str) -> Result<String, String> {
    let url = text.parse::<http::Uri>().ok();
    let sound = url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    if sound || text.is_empty() { Ok(text.to_owned()) } else { Err("not of the form http://HOST:PORT".to_owned()) }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| format!("`{text}` is not of the form KEY=VALUE"))
}
