//! What could not be read for a plan, to why there is none: each cause once, with what to do about it.

use crate::aws::facts::FactError;
use crate::aws::{AwsError, Class};
use crate::command::Problem;
use crate::command::session::Session;
use crate::desired::wanted;
use crate::kind::kind;
use crate::report;
use crate::stack::Stack;

/// What had to be read for a plan and could not be.
#[derive(Default)]
pub(super) struct Unread {
    pub(super) aws: Vec<AwsError>,
    pub(super) other: Vec<String>,
}

impl Unread {
    /// What the stack's resources asked for, each with who did.
    pub(super) fn facts(&mut self, errors: Vec<FactError>, stack: &Stack) {
        let wanted = wanted(stack);
        for error in errors {
            let who: Vec<String> = match &error {
                FactError::Missing { lookup, .. } => wanted
                    .iter()
                    .filter(|(at, spec)| {
                        kind(&at.kind).is_some_and(|kind| kind.lookups(&at.name, spec).contains(lookup))
                    })
                    .map(|(at, _)| at.to_string())
                    .collect(),
                _ => Vec::new(),
            };
            match error {
                FactError::Aws { source, .. } => self.aws.push(source),
                other if who.is_empty() => self.other.push(fact_error(&other)),
                other => self.other.push(format!("{}: {}", who.join(", "), fact_error(&other))),
            }
        }
    }

    /// That there is no plan, and why: each cause once.
    pub(super) fn problem(mut self, session: &Session) -> Problem {
        self.other.sort();
        self.other.dedup();
        let causes: Vec<String> = report::unknown::causes(&self.aws).into_iter().chain(self.other).collect();
        let problem =
            Problem::failed(format!("the live state is not known, so there is no plan:\n  {}", causes.join("\n  ")));
        let any = |class: Class| self.aws.iter().any(|error| error.class == class);
        let what = "what could not be read is not taken for absent";
        if let Some(hint) = self.aws.iter().find_map(|error| error.credentials_hint(&session.aws.region)) {
            return problem.hint(format!("{what}: {hint}; or sign in ({})", session.aws.sign_in()));
        }
        if any(Class::Credentials) {
            problem.hint(format!("{what}: sign in ({}, or new keys), then again", session.aws.sign_in()))
        } else if any(Class::Denied) {
            problem.hint(format!("{what}: ask for the right to read it, then again"))
        } else if any(Class::Passing) || any(Class::Throttled) || any(Class::Unsent) {
            problem.hint(format!("{what}: this passes; try again"))
        } else {
            problem
        }
    }
}

/// A fact that could not be had, with its cause and what to do about it.
pub(super) fn fact_error(error: &FactError) -> String {
    let hint = error.hint().map(|hint| format!("\n    hint: {hint}")).unwrap_or_default();
    format!("{}{hint}", crate::aws::chain(error))
}
