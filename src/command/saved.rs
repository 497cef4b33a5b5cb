//! Saved plans on the way to and from their files: `plan --out FILE`, `apply FILE`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use crate::choose::Choice;
use crate::cli::{Target, Wish};
use crate::diff::changes;
use crate::kind::json;
use crate::report::moved;
use crate::run::Due;
use crate::run::ledger::Object;
use crate::saved::{self, Request, RunBasis, Saved, StackFile, Unusable, is_json, is_saved, sha256};
use crate::stack::Credentials;

use super::prepare::Prepared;
use super::session::{self, Session};
use super::{Exit, Problem};

/// What the command line of a plan asks for.
pub fn request(target: &Target, wish: &Wish) -> Request {
    Request { set: target.set.clone(), region: target.region.clone(), wish: wish.clone() }
}

/// A plan as it is saved.
pub fn of(session: &Session, request: &Request, prepared: &Prepared) -> Saved {
    let stack = &session.stack;
    Saved {
        account: prepared.header.account.clone(),
        region: stack.info.region.clone(),
        sandbox: session.sandbox.is_some(),
        stack: StackFile {
            name: stack.info.name.clone(),
            path: stack.file.display().to_string(),
            sha256: stack.sha256.clone(),
        },
        request: request.clone(),
        run: prepared.plan.run.is_some().then(|| basis(prepared)),
        plan: saved::kept(&prepared.plan, &prepared.credentials),
    }
}

fn basis(prepared: &Prepared) -> RunBasis {
    let told = |objects: &[Object]| -> BTreeMap<String, String> {
        let told = |object: &Object| {
            (format!("s3://{}/{}", object.bucket, object.key), format!("{} {} bytes", object.etag, object.size))
        };
        objects.iter().map(told).collect()
    };
    let steps = match &prepared.due {
        Some(Due::Yes(work)) => work.steps.as_slice(),
        _ => &[],
    };
    let verb = |kept: bool| if kept { "keep" } else { "run" }.to_owned();
    RunBasis {
        inputs: told(&prepared.inputs),
        outputs: told(&prepared.outputs),
        steps: steps.iter().map(|step| (step.name.clone(), verb(step.kept))).collect(),
    }
}

/// Refuses to keep what a saved plan would need whole to be made again, and must not have.
///
/// # Errors
/// When the value of a `--set` looks like a credential, or comes to stand where one does.
pub fn can_keep(set: &[(String, String)], credentials: &Credentials) -> Result<(), Problem> {
    match set.iter().find(|(_, value)| credentials.text(value) != *value) {
        Some((key, _)) => Err(Problem {
            text: format!("error: --set {key}: what looks like a credential is not saved with a plan"),
            hint: Some(
                "have ECS fetch it: environment = { NAME = { secret = \"ssm:/…\" } }; or leave out --out".to_owned(),
            ),
            exit: Exit::Usage,
        }),
        None => Ok(()),
    }
}

/// Writes a plan to its file: whole or not at all, and for its owner's eyes only.
///
/// # Errors
/// When the plan cannot be applied, when something is there that is neither a saved plan nor an empty file (a link to one is
/// neither), or when it cannot be written.
pub fn write(path: &Path, saved: &Saved) -> Result<(), Problem> {
    if !saved.plan.conflicts.is_empty() {
        return Err(Problem::failed(format!(
            "{} was not written: a plan with conflicts cannot be applied",
            path.display()
        )));
    }
    let failed = |error: std::io::Error| {
        Problem::failed(format!("failed to save the plan in {}: {error}; nothing was changed", path.display()))
    };
    let spare = match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => match std::fs::read(path).map_err(failed)? {
            there if there.is_empty() || is_saved(&there) => None,
            _ => Some("is no saved plan"),
        },
        Ok(there) if there.is_symlink() => Some("is a symbolic link"),
        Ok(_) => Some("is no regular file"),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if let Some(what) = spare {
        let told = format!("{} is there and {what}: it was left as it is", path.display());
        return Err(Problem::failed(told).hint("give --out another name"));
    }
    let text = saved.to_text().map_err(|error| Problem::failed(format!("the plan has no JSON form: {error}")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A temporary file is made for its owner alone (0600), and stays so under its own name.
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    draft.write_all(text.as_bytes()).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    draft.persist(path).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// The command that applies a plan from this file, for a person to type.
pub fn command(path: &Path, target: &Target) -> String {
    let place = Target { set: Vec::new(), region: None, ..target.clone() };
    let path = path.display().to_string();
    let words = ["seqstack", "apply", &path].map(str::to_owned).into_iter().chain(session::options(&place));
    shell_words::join(words)
}

/// The saved plan in this file; none where it is something else, such as a stack file.
///
/// # Errors
/// When it is one that cannot be used.
pub fn read(path: &Path) -> Result<Option<Saved>, Problem> {
    // What cannot be read is told by whoever takes it for a stack file.
    let Some(text) = std::fs::read(path).ok().filter(|text| is_json(text)) else { return Ok(None) };
    Saved::from_text(&text).map(Some).map_err(|error| {
        let hint = match &error {
            Unusable::Other => {
                "`seqstack plan STACK --out FILE` saves one; what `plan --json` prints is to be read only"
            }
            Unusable::Damaged(_) => "make the plan anew: seqstack plan STACK --out FILE",
            Unusable::Version { .. } => "make the plan anew with this version, or apply it with that one",
        };
        Problem::failed(format!("{} {error}; nothing was changed", path.display())).hint(hint)
    })
}

/// Refuses a saved plan where a stack file is wanted.
///
/// # Errors
/// When it is one.
pub(super) fn refuse(path: &Path) -> Result<(), Problem> {
    // What cannot be read is told by whoever reads it next.
    match std::fs::read(path) {
        Ok(text) if is_saved(&text) => Err(Problem {
            text: format!("error: {} is a saved plan, and this takes a stack file", path.display()),
            hint: Some(format!("`seqstack apply {0}` applies it, `seqstack graph {0}` draws it", path.display())),
            exit: Exit::Usage,
        }),
        _ => Ok(()),
    }
}

/// Opens the session that a saved plan is to be applied in.
///
/// # Errors
/// When the command line asks for anything that the plan has decided, or the stack file, the region or the sandbox is
/// not the plan's.
pub async fn open(target: &Target, wish: &Wish, saved: &Saved) -> Result<Session, Problem> {
    let file = target.stack.display();
    let mut options: Vec<String> = changes(&json(&Wish::default()), &json(wish))
        .iter()
        .map(|change| format!("--{}", change.path.rsplit('.').next().unwrap_or_default().replace('_', "-")))
        .collect();
    options.extend((!target.set.is_empty()).then(|| "--set".to_owned()));
    options.extend(target.region.is_some().then(|| "--region".to_owned()));
    if !options.is_empty() {
        return Err(Problem {
            text: format!("error: {} cannot be given with a saved plan: {file} has decided that", options.join(", ")),
            hint: Some("make another plan: seqstack plan STACK --out FILE".to_owned()),
            exit: Exit::Usage,
        });
    }
    #[cfg(feature = "sandbox")]
    let sandbox = target.sandbox;
    #[cfg(not(feature = "sandbox"))]
    let sandbox = false;
    if sandbox != saved.sandbox {
        let (made, hint) = if saved.sandbox { ("the sandbox", "add") } else { ("AWS itself", "leave out") };
        return Err(Problem::failed(format!("{file} is a plan for {made}; nothing was changed"))
            .hint(format!("{hint} --sandbox, or make a plan for where you want it applied")));
    }
    let stack = Path::new(&saved.stack.path);
    let again = || "look at what it would do now, and make the plan anew: seqstack plan STACK --out FILE";
    match std::fs::read(stack) {
        Err(error) => {
            return Err(Problem::failed(format!(
                "{file} is a plan of the stack file {}, which cannot be read ({error}); nothing was changed",
                saved.stack.path
            ))
            .hint("run this in the folder in which the plan was made"));
        }
        Ok(content) if sha256(&content) != saved.stack.sha256 => {
            return Err(Problem::failed(format!(
                "the stack file {} has changed since the plan in {file} was made; nothing was changed on AWS",
                saved.stack.path
            ))
            .hint(again()));
        }
        Ok(_) => {}
    }
    let target = Target {
        stack: stack.to_owned(),
        set: saved.request.set.clone(),
        region: Some(saved.region.clone()),
        ..target.clone()
    };
    let session = session::open(&target, saved.request.wish.sample.as_deref(), true).await?;
    // What a person may type next is what was typed for the plan.
    let options = session::options(&Target { region: saved.request.region.clone(), ..target });
    Ok(Session { options, ..session })
}

/// Refuses a saved plan that is not what would be done now.
///
/// # Errors
/// When anything has moved since, and what.
pub fn still(session: &Session, saved: &Saved, prepared: &Prepared) -> Result<(), Problem> {
    if prepared.header.account != saved.account {
        return Err(Problem::failed(format!(
            "the plan is for account {}, and these credentials are of {}; nothing was changed",
            saved.account, prepared.header.account
        ))
        .hint("sign in to the plan's account, or pick its profile with --profile"));
    }
    let now = of(session, &saved.request, prepared);
    let moved = saved::moved(saved, &now);
    if moved.is_empty() {
        return Ok(());
    }
    let told = moved::render(&moved);
    Err(Problem::failed(format!(
        "this is not any more what has to be done, so nothing was changed\n{}",
        told.trim_end()
    ))
    .hint(format!("make the plan anew: {}", anew(session, &saved.request.wish))))
}

/// The command that plans for this wish and no more; sample and place are the session's.
fn anew(session: &Session, wish: &Wish) -> String {
    let Wish { sample: _, adopt, retry, choice: Choice { targets, excludes } } = wish;
    let each = |option: &'static str, all: Vec<String>| all.into_iter().flat_map(move |one| [option.to_owned(), one]);
    let words: Vec<String> = each("--target", targets.iter().map(ToString::to_string).collect())
        .chain(each("--exclude", excludes.iter().map(ToString::to_string).collect()))
        .chain(each("--adopt", adopt.iter().map(ToString::to_string).collect()))
        .chain(retry.then(|| "--retry".to_owned()))
        .chain(["--out", "FILE"].map(str::to_owned))
        .collect();
    session.command("plan", &words.iter().map(String::as_str).collect::<Vec<_>>())
}
