//! `seqstack output`: what of a stack is there, by name, from live AWS alone. Changes nothing, and takes no lock.

use futures_util::future::{join_all, join3};

use crate::address::Address;
use crate::aws::{AwsError, Class};
use crate::cli;
use crate::kind::Owner;
use crate::kinds::task_definition::THEIRS;
use crate::live::{self, Live};
use crate::report;
use crate::report::output::{NoValue, Outputs};
use crate::run::observe::{matches, unmatched, written};
use crate::run::spec::{DEFAULT_SAMPLE, Globs};
use crate::stack::{Request, Stack};

use super::session::Session;
use super::{Exit, Problem, prepare, session};

/// Prints what is there.
///
/// # Errors
/// When the stack file is wrong, something could not be read, or the one value that was asked for is not there.
pub async fn run(args: &cli::Output) -> Result<Exit, Problem> {
    let session = session::open(&args.target, None, false).await?;
    let outputs = Box::pin(read(&session, &args.target.set)).await?;
    let text = match &args.key {
        Some(key) => outputs.value(key).map_err(|why| no_value(&session, key, why))? + "\n",
        None => outputs
            .render(args.format)
            .map_err(|error| Problem::failed(format!("the output has no such form: {error}")))?,
    };
    session.console.print(&text).map(|()| Exit::Done)
}

fn no_value(session: &Session, key: &str, why: NoValue) -> Problem {
    match why {
        NoValue::Absent => Problem::failed(format!("{key} is not there"))
            .hint(format!("`{}` shows what would be made", session.command("plan", &[]))),
        NoValue::Several(members) => Problem {
            text: format!("error: {key} has several values: {}", members.join(", ")),
            hint: Some("name one of them".to_owned()),
            exit: Exit::Usage,
        },
        NoValue::Unknown => Problem {
            text: format!("error: the stack has no `{key}`"),
            hint: Some(format!("`{}` prints all that there is", session.command("output", &[]))),
            exit: Exit::Usage,
        },
    }
}

/// Reads what is there.
///
/// # Errors
/// Whatever could not be read: it is never taken for absent.
pub async fn read(session: &Session, set: &[(String, String)]) -> Result<Outputs, Problem> {
    let samples = of_samples(session, set)?;
    let (facts, live, results) = join3(
        prepare::who_asks(session),
        Box::pin(live::read(&session.aws, &session.stack)),
        join_all(samples.iter().map(|(_, globs)| written(&session.aws, globs))),
    )
    .await;
    let facts = facts?;
    prepare::check_account(session, &facts)?;
    let live = live.map_err(|errors| unknown(&errors))?;
    let info = &session.stack.info;
    let mut out = Outputs {
        stack: info.name.clone(),
        account: facts.account,
        region: info.region.clone(),
        sandbox: session.sandbox.clone(),
        ..Outputs::default()
    };
    for (name, physical) in &info.buckets {
        out.put("bucket", name, "name", physical.clone());
        out.put("bucket", name, "path", format!("s3://{physical}"));
    }
    resources(&mut out, session, &live);
    for ((sample, globs), found) in samples.iter().zip(results) {
        let found = match found {
            Ok(found) => found,
            Err(error) if error.class == Class::NotFound => Vec::new(),
            Err(error) => return Err(unknown(&[error])),
        };
        if found.is_empty() {
            out.absent.push(format!("results.{sample}"));
            continue;
        }
        let there = |bucket: &str, glob: &str| found.iter().any(|one| one.bucket == bucket && matches(glob, &one.key));
        out.absent.extend(unmatched(globs, there));
        let paths = found.iter().map(|object| format!("s3://{}/{}", object.bucket, object.key));
        out.put("results", sample, "objects", paths.collect::<Vec<_>>());
    }
    Ok(out)
}

fn unknown(errors: &[AwsError]) -> Problem {
    let causes = report::unknown::causes(errors);
    Problem::failed(format!("not all of it is known:\n  {}", causes.join("\n  ")))
        .hint("what could not be read is not taken for absent: sign in again, or ask for the right to read it")
}

/// The ids of what is this stack's, or used by it.
fn resources(out: &mut Outputs, session: &Session, live: &Live) {
    let stack = &session.stack;
    for logical in stack.resources.keys() {
        let of_it = live.found.iter().filter(|(at, _)| Address::new(&at.kind, &at.name) == *logical);
        let mut there = false;
        for (at, found) in of_it {
            let ours = found.iter().find(|one| matches!(one.owner, Owner::Ours | Owner::Adopted));
            let Some(found) = ours else { continue };
            there = true;
            put(out, at, &found.ids);
        }
        if logical.kind == "key_pair" {
            private_key(out, session, &logical.name);
        }
        // What is uploaded has no ids: it is in its bucket, under its name.
        if !there && logical.kind != "upload" {
            out.absent.push(logical.to_string());
        }
    }
    for (at, ids) in live.existing.iter().filter(|(at, _)| stack.existing.contains_key(at)) {
        put(out, at, ids);
    }
    out.absent.extend(live.absent.iter().map(|(at, _)| at.to_string()));
}

fn put(out: &mut Outputs, at: &Address, ids: &crate::address::Ids) {
    let name = at.sample.as_ref().map_or_else(|| at.name.clone(), |sample| format!("{}[{sample}]", at.name));
    for (part, id) in ids.iter().filter(|(part, _)| *part != THEIRS) {
        out.put(&at.kind, &name, part, id.clone());
    }
}

/// Where the private half of a key pair is, if it was made on this machine.
fn private_key(out: &mut Outputs, session: &Session, name: &str) {
    let path = session.state_dir.join("keys").join(name);
    if path.is_file() {
        out.put("key_pair", name, "private_key", path.display().to_string());
    } else {
        out.absent.push(format!("key_pair.{name}.private_key"));
    }
}

/// What the pipeline writes, of every sample.
fn of_samples(session: &Session, set: &[(String, String)]) -> Result<Vec<(String, Vec<Globs>)>, Problem> {
    let stack = &session.stack;
    let outputs = |stack: &Stack| -> Vec<Globs> {
        let written = stack.pipeline.iter().flat_map(|pipeline| &pipeline.outputs);
        let bucket = |name: &str| stack.info.buckets.get(name).cloned();
        written
            .filter_map(|objects| Some(Globs { bucket: bucket(&objects.bucket.text)?, keys: objects.keys.clone() }))
            .collect()
    };
    if stack.pipeline.is_none() {
        return Ok(Vec::new());
    }
    if stack.samples.is_empty() {
        return Ok(vec![(DEFAULT_SAMPLE.to_owned(), outputs(stack))]);
    }
    let of = |sample: &String| {
        // The file is read once a sample, since what a pipeline writes is named after it.
        let request = Request { sample: Some(sample), set, needs_sample: true };
        let stack = Stack::read(&stack.file, &request).map_err(session::unread)?;
        Ok((sample.clone(), outputs(&stack)))
    };
    stack.samples.iter().map(of).collect()
}
