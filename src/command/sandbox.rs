//! `seqstack sandbox`

mod ask;
mod show;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::{Sandbox, SandboxFolder, SandboxServe, SandboxSet, SandboxVerb};
use crate::sandbox::process::serve::{ServeArgs, ServeError, serve};
use crate::sandbox::process::{self, Endpoint, StartError};
use crate::sandbox::service::Options;
use crate::sandbox::serving::{RESET, SETTINGS, STATUS, Served};
use ask::ask;

use super::proceed::agree;
use super::{Console, Exit, Problem};

/// Looks after the sandbox of a project.
///
/// # Errors
/// When there is none, or it does not answer.
pub async fn run(args: &Sandbox) -> Result<Exit, Problem> {
    match &args.verb {
        SandboxVerb::Serve(args) => serve_here(args).await?,
        SandboxVerb::Status(args) => status(&folder(&args.folder)?, args.json).await?,
        SandboxVerb::Env(at) => Console::Process.print(&started(&folder(at)?).await?.shell_lines())?,
        SandboxVerb::Set(args) => set(args).await?,
        SandboxVerb::Stop(args) => stop(&folder(&args.folder)?, args.force).await?,
        SandboxVerb::Reset(args) => reset(&folder(&args.folder)?, args.yes).await?,
    }
    Ok(Exit::Done)
}

/// The sandbox's folder of the project that a stack file in that folder would have.
fn folder(at: &SandboxFolder) -> Result<PathBuf, Problem> {
    if !at.project.is_dir() {
        let text = format!("error: there is no folder {}", at.project.display());
        return Err(Problem { text, hint: None, exit: Exit::Usage });
    }
    Ok(super::session::project(&at.project.join("stack.toml")).join(".sandbox"))
}

fn own_file() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| Problem::failed(format!("failed to find this program's own file: {error}")))
}

fn failed(error: StartError) -> Problem {
    Problem::failed(crate::aws::chain(&error))
}

async fn started(folder: &Path) -> Result<Endpoint, Problem> {
    let endpoint = process::connect_or_start(folder, &own_file()?, None).await.map_err(failed)?;
    endpoint.note.iter().for_each(|note| Console::Process.say(&format!("the sandbox: {note}")));
    Ok(endpoint)
}

/// In this process, until it is told to end.
async fn serve_here(args: &SandboxServe) -> Result<(), Problem> {
    let folder = folder(&args.folder)?;
    ask::log_to_stderr();
    let serving =
        ServeArgs { folder: folder.clone(), id: None, port: args.port, engine: args.engine.clone(), foreground: true };
    let exe = own_file()?;
    let served = serve(serving, &exe, Options::default(), |parts| {
        let told = format!("{}\n", parts.endpoint);
        let more = format!(
            "the sandbox of {} runs tasks with {}\nfor the AWS clients of a shell:  eval \"$(seqstack sandbox env --project {})\"\n\
             Ctrl-C ends it; what is in it stays",
            folder.display(),
            parts.engine.name(),
            shell_words::quote(&args.folder.project.to_string_lossy()),
        );
        let served = Served::open(parts)?;
        Console::Process.print(&told).map_err(|problem| problem.text)?;
        Console::Process.say(&more);
        Ok(served)
    });
    served.await.map_err(|error| {
        let problem = Problem::failed(crate::aws::chain(&error));
        match error {
            ServeError::Running(_) => problem.hint(
                "`seqstack sandbox env` points AWS clients at it, `seqstack sandbox stop` ends it (the same account can then be \
                 served here)",
            ),
            _ => problem,
        }
    })
}

async fn status(folder: &Path, json: bool) -> Result<(), Problem> {
    let status = if process::known(folder) {
        ask(&started(folder).await?, Method::GET, STATUS, None).await?
    } else {
        json!({ "exists": null, "calls": {}, "refusals": {}, "set_aside": null })
    };
    Console::Process.print(&if json { format!("{status:#}\n") } else { show::status(&status) })
}

async fn set(args: &SandboxSet) -> Result<(), Problem> {
    let endpoint = started(&folder(&args.folder)?).await?;
    let mut settings = ask(&endpoint, Method::GET, SETTINGS, None).await?;
    if !args.settings.is_empty() {
        let known = settings.as_object().cloned().unwrap_or_default();
        let changes = args.settings.iter().map(|(key, value)| Ok((key.clone(), setting(&known, key, value)?)));
        let changes = changes.collect::<Result<Map<_, _>, Problem>>()?;
        settings = ask(&endpoint, Method::PUT, SETTINGS, Some(&changes.into())).await?;
    }
    Console::Process.print(&show::settings(&settings))
}

/// A setting's new value, in the form of what it is now.
fn setting(known: &Map<String, Value>, key: &str, text: &str) -> Result<Value, Problem> {
    let wrong = |text: String| Problem { text: format!("error: {text}"), hint: None, exit: Exit::Usage };
    match known.get(key) {
        Some(Value::Number(_)) => {
            text.parse::<u32>().map(Value::from).map_err(|_| wrong(format!("{key} takes a whole number, not `{text}`")))
        }
        Some(Value::Bool(_)) => {
            text.parse().map(Value::Bool).map_err(|_| wrong(format!("{key} takes true or false, not `{text}`")))
        }
        Some(_) => Ok(text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()),
        None => {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            Err(wrong(format!("the sandbox has no setting `{key}`: it has {}", all.join(", "))))
        }
    }
}

async fn stop(folder: &Path, force: bool) -> Result<(), Problem> {
    let ended = if force { process::force(folder).await } else { process::stop(folder).await };
    if !ended.map_err(failed)? {
        let text = match process::connect(folder).await.map_err(failed)? {
            Some(endpoint) => show::running(&ask(&endpoint, Method::GET, STATUS, None).await?),
            None => "the sandbox is being asked by somebody".to_owned(),
        };
        return Err(Problem::failed(format!("{text}, so it was not stopped")).hint(
            "destroy the stacks in it first, or empty it with `seqstack sandbox reset`; `stop --force` ends the process all the \
             same, and its tasks go on",
        ));
    }
    Console::Process.say("no sandbox runs here now; what is in its account stays");
    Ok(())
}

async fn reset(folder: &Path, yes: bool) -> Result<(), Problem> {
    if !process::known(folder) {
        Console::Process.say("there was never a sandbox here");
        return Ok(());
    }
    let endpoint = started(folder).await?;
    if !yes {
        Console::Process.say(&show::status(&ask(&endpoint, Method::GET, STATUS, None).await?));
    }
    agree(
        yes,
        "Shall all of this be deleted, and what runs be ended? [y/N] ",
        "look at `seqstack sandbox status`, then add --yes",
    )?;
    ask(&endpoint, Method::POST, RESET, None).await?;
    Console::Process.say("the sandbox is empty");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_the_form_of_what_it_is() {
        let known = json!(Options::default().settings).as_object().cloned().unwrap();
        let read = |key: &str, text: &str| setting(&known, key, text).map_err(|problem| problem.text);
        assert_eq!(read("page", "2"), Ok(json!(2)));
        assert_eq!(read("throttle", "true"), Ok(json!(true)));
        assert_eq!(read("no_capacity", "t3.large, m5.large"), Ok(json!(["t3.large", "m5.large"])));
        assert_eq!(read("no_capacity", ""), Ok(json!([])));
        for (key, text) in [("page", "x"), ("throttle", "1"), ("boot_ms", "-1")] {
            assert!(read(key, text).unwrap_err().contains("takes"), "{key}={text}");
        }
        let unknown = read("pages", "2").unwrap_err();
        assert!(unknown.contains("no setting `pages`") && unknown.contains("no_capacity"), "{unknown}");
    }
}
