//! `seqstack validate`: what the reader says of stack files, without AWS, credentials, or any other file.

use serde_json::{Value, json};

use crate::cli::Validate;
use crate::phrase::counted;
use crate::stack::{Fault, Faults, Origin, ReadError, Stack, Warning, Warnings};

use super::{Console, Exit, Problem, session};

/// The number under which the names and meanings of the JSON stay as they are; fields may be added.
const SCHEMA: u32 = 1;

/// Checks every file, and tells all faults and warnings of all of them.
///
/// # Errors
/// When standard output is full.
pub fn run(args: &Validate) -> Result<Exit, Problem> {
    let console = Console::Process;
    let (mut findings, mut exit) = (Vec::new(), Exit::Done);
    for path in &args.stacks {
        let file = path.display().to_string();
        let read = Stack::validate(path, &args.set);
        let sound = read.as_ref().is_ok_and(|warnings| warnings.is_empty() || !args.deny_warnings);
        if !sound {
            exit = Exit::Usage;
        }
        if args.json {
            findings.extend(listed(&file, read));
            continue;
        }
        let verdict = match read {
            Ok(warnings) if warnings.is_empty() => "sound".to_owned(),
            Ok(warnings) => {
                console.say(&format!("{}\n", warnings.render(session::color())));
                format!("sound, {}", counted(warnings.iter().len(), "warning"))
            }
            Err(ReadError::Faulty(faults)) => {
                console.say(&format!("{}\n", faults.render(session::color())));
                counted(faults.len(), "fault")
            }
            Err(error @ ReadError::Unreadable { .. }) => {
                console.say(&format!("error: {}", crate::aws::chain(&error)));
                "not read".to_owned()
            }
        };
        console.print(&format!("{file}: {verdict}\n"))?;
    }
    if args.json {
        console.print(&format!("{:#}\n", json!({ "schema": SCHEMA, "findings": findings })))?;
    }
    Ok(exit)
}

/// The findings of one file as JSON: `file`, `severity`, `line`, `column`, `code`, `message`, `hint`. A finding about the
/// command line or the file as a whole has neither line nor column, a fault no code.
fn listed(file: &str, read: Result<Warnings, ReadError>) -> Vec<Value> {
    match read {
        Ok(warnings) => warnings.iter().map(|warning| of_warning(file, warning)).collect(),
        Err(ReadError::Faulty(faults)) => of_faults(file, &faults),
        Err(error @ ReadError::Unreadable { .. }) => {
            vec![json!({ "file": file, "severity": "error", "message": crate::aws::chain(&error) })]
        }
    }
}

fn of_warning(file: &str, Warning { code, line, column, text, hint, .. }: &Warning) -> Value {
    json!({
        "file": file, "severity": "warning", "line": line, "column": column, "code": code.name(), "message": text, "hint": hint,
    })
}

fn of_faults(file: &str, faults: &Faults) -> Vec<Value> {
    let one = |Fault { origin, line, column, text, hint, .. }: &Fault| {
        let mut finding = json!({ "file": file, "severity": "error", "message": text });
        if *origin == Origin::File {
            finding["line"] = json!(line);
            finding["column"] = json!(column);
        }
        if let Some(hint) = hint {
            finding["hint"] = json!(hint);
        }
        finding
    };
    faults.iter().map(one).collect()
}
