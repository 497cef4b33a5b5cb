//! From the command line to a stack, clients, and the folder for what this machine keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aws::clients::{self, Access};
use crate::aws::wait::Watcher;
use crate::aws::{Aws, OrAws};
use crate::cli::Target;
use crate::stack::{ReadError, Request, Stack};

use super::{Console, Exit, Problem, saved};

/// Everything that a verb works with.
pub struct Session {
    /// The stack, its region settled.
    pub stack: Stack,
    /// The clients.
    pub aws: Aws,
    /// `SANDBOX (docker)`, where it is the sandbox.
    pub sandbox: Option<String>,
    /// The options that led here, for commands that a person may type next: `--profile lab`, `--set reference=hs37d5`.
    pub options: Vec<String>,
    /// The folder with journal and keys of this stack.
    pub state_dir: PathBuf,
    /// Tell more.
    pub verbose: bool,
    /// Whom to tell.
    pub console: Console,
}

impl Session {
    /// The bucket with the ledgers of the pipeline's runs.
    pub fn ledger_bucket(&self) -> Option<&str> {
        let first = self.stack.pipeline.as_ref()?.outputs.first()?;
        self.stack.info.buckets.get(&first.bucket.text).map(String::as_str)
    }

    /// Tells what is sound in the stack file and seldom meant.
    pub fn warn(&self) {
        if !self.stack.warnings.is_empty() {
            self.console.say(&format!("{}\n", self.stack.warnings.render(color())));
        }
    }

    /// Who is told of the waits of a reading. An interrupt ends the whole process then.
    pub fn watcher(&self) -> Watcher {
        let console = self.console;
        let (_nobody, stopped) = tokio::sync::watch::channel(false);
        Watcher { say: Arc::new(move |text| console.say(&text)), stopped }
    }

    /// Another command about this stack, and its sample where there are several, for a person to type: `seqstack logs
    /// germline.toml align --sample S1`.
    pub fn command(&self, verb: &str, words: &[&str]) -> String {
        let stack = &self.stack;
        let file = stack.file.display().to_string();
        let mut line = vec!["seqstack", verb, &file];
        line.extend(words);
        // What is taken down is every sample's.
        if let (Some(sample), [_, _, ..], true) = (&stack.sample, stack.samples.as_slice(), verb != "destroy") {
            line.extend(["--sample", sample]);
        }
        line.extend(self.options.iter().map(String::as_str));
        shell_words::join(line)
    }
}

/// Reads the stack file and connects.
///
/// # Errors
/// The stack file's faults (exit code 64), or why there is no connection.
pub async fn open(target: &Target, sample: Option<&str>, needs_sample: bool) -> Result<Session, Problem> {
    saved::refuse(&target.stack)?;
    let request = Request { sample, set: &target.set, needs_sample };
    let mut stack = Stack::read(&target.stack, &request).map_err(unread)?;
    let project = project(&target.stack);
    let state_dir = project.join("state").join(&stack.info.name);
    let (aws, sandbox) = connect(target, &mut stack, &project).await?;
    stack.info.region = aws.region.clone();
    let aws = Aws { buckets: aws.buckets.encrypted(stack.info.encryptions.clone()), ..aws };
    // A command that a person may copy out of a log is no place for a credential.
    let set = target.set.iter().map(|(key, value)| (key.clone(), stack.credentials.text(value)));
    let options = options(&Target { set: set.collect(), ..target.clone() });
    Ok(Session { stack, aws, sandbox, options, state_dir, verbose: target.verbose, console: Console::Process })
}

/// A stack file that is wrong, or cannot be read.
pub(super) fn unread(error: ReadError) -> Problem {
    let text = match error {
        ReadError::Faulty(faults) => faults.render(color()),
        error @ ReadError::Unreadable { .. } => format!("error: {}", crate::aws::chain(&error)),
    };
    Problem { text, hint: None, exit: Exit::Usage }
}

/// The options that name a place and a request, for a command that a person may type.
pub(super) fn options(target: &Target) -> Vec<String> {
    let mut out = Vec::new();
    #[cfg(feature = "sandbox")]
    out.extend(target.sandbox.then(|| "--sandbox".to_owned()));
    let set = target.set.iter().map(|(key, value)| ("--set", Some(format!("{key}={value}"))));
    let place = [
        ("--profile", target.profile.clone()),
        ("--region", target.region.clone()),
        ("--endpoint-url", target.endpoint_url.clone()),
    ];
    for (option, value) in set.chain(place) {
        out.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    out
}

/// Whether stderr takes colour.
pub fn color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// The project that a stack file belongs to: the nearest folder above it with a `.git` or a `.sandbox`, else its own. Not
/// one with a `state`: that may be deleted at any time, and nothing may move then.
pub fn project(stack: &Path) -> PathBuf {
    let file = std::path::absolute(stack).unwrap_or_else(|_| stack.to_owned());
    let own = file.parent().unwrap_or(Path::new(".")).to_owned();
    let marked = |above: &&Path| above.join(".git").exists() || above.join(".sandbox").is_dir();
    own.ancestors().find(marked).map_or(own.clone(), Path::to_owned)
}

async fn connect(target: &Target, stack: &mut Stack, project: &Path) -> Result<(Aws, Option<String>), Problem> {
    #[cfg(feature = "sandbox")]
    if target.sandbox {
        return sandboxed(target, stack, project).await;
    }
    #[cfg(not(feature = "sandbox"))]
    let _unused = project;
    let access = Access {
        profile: target.profile.clone(),
        region: target.region.clone().or_else(|| stack.region.clone()),
        endpoint_url: target.endpoint_url.clone(),
    };
    let connected = clients::connect(&access).await;
    let aws = connected.map_err(|error| Problem::failed(crate::aws::chain(&error)).hint(error.hint()))?;
    Ok((aws, None))
}

#[cfg(feature = "sandbox")]
async fn sandboxed(target: &Target, stack: &Stack, project: &Path) -> Result<(Aws, Option<String>), Problem> {
    use crate::sandbox::process;

    if target.endpoint_url.is_some() || target.profile.is_some() {
        return Err(Problem {
            text: "error: --sandbox goes with neither --endpoint-url nor --profile".to_owned(),
            hint: None,
            exit: Exit::Usage,
        });
    }
    let exe = std::env::current_exe()
        .map_err(|error| Problem::failed(format!("failed to find this program's own file: {error}")))?;
    let region = target.region.clone().or_else(|| stack.region.clone());
    let endpoint = process::connect_or_start(&project.join(".sandbox"), &exe, None)
        .await
        .map_err(|error| Problem::failed(format!("failed to start the sandbox: {}", crate::aws::chain(&error))))?;
    endpoint.note.iter().for_each(|note| Console::Process.say(&format!("the sandbox: {note}")));
    let region = region.unwrap_or_else(|| endpoint.region.clone());
    if !crate::sandbox::regions::is_enabled(&region) {
        let names: Vec<&str> = crate::sandbox::regions::REGIONS.iter().map(|(name, _)| *name).collect();
        return Err(Problem::failed(format!("the sandbox has no region {region}"))
            .hint(format!("name one that every AWS account has: {}", names.join(", "))));
    }
    let aws = clients::connect_to_sandbox(&endpoint.url, &region, &endpoint.key_id, &endpoint.secret);
    for name in stack.info.buckets.values() {
        make_bucket(&aws, name, &region).await?;
    }
    Ok((aws, Some(format!("SANDBOX ({})", endpoint.engine))))
}

/// On AWS a person makes the buckets; in the sandbox they are made as a stack names them.
#[cfg(feature = "sandbox")]
async fn make_bucket(aws: &Aws, name: &str, region: &str) -> Result<(), Problem> {
    use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

    let failed = |error: crate::aws::AwsError| Problem::failed(error.to_string());
    let head = |s3: &aws_sdk_s3::Client| s3.head_bucket().bucket(name).send();
    match aws.buckets.call(name, "s3:HeadBucket", head).await {
        Ok(_) => return Ok(()),
        Err(error) if error.class == crate::aws::Class::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let place =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build();
    aws.s3
        .create_bucket()
        .bucket(name)
        // S3 wants no place named where it is us-east-1.
        .set_create_bucket_configuration((region != "us-east-1").then_some(place))
        .send()
        .await
        .or_aws("s3:CreateBucket")
        .map(|_| ())
        .or_else(|error| if error.is(&["BucketAlreadyOwnedByYou"]) { Ok(()) } else { Err(failed(error)) })?;
    Console::Process.say(&format!("made the bucket {name} in the sandbox"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::options;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_next_command_goes_to_the_same_place() {
        let given = ["--set", "regions=FH 2.bed", "--profile", "lab", "--region", "eu-west-2"];
        let line = ["seqstack", "plan", "lab.toml"].into_iter().chain(given);
        let Ok(Cli { command: Command::Plan(plan) }) = Cli::try_parse_from(line) else {
            panic!("it is a command line for plan");
        };
        assert_eq!(options(&plan.target), given);
    }
}
