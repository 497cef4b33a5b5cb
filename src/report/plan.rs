//! A plan as people and machines read it. One way: [`of`] turns a plan into a [`View`], and both [`text()`] and `plan --json`
//! are made from that and from nothing else. Never asks AWS, never decides.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

mod lines;
mod of;
mod reason;
pub mod run;
mod text;
pub mod view;
mod wrap;

pub use lines::short;
pub use of::{Read, of};
pub use text::{Detail, text};
pub use view::View;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Header {
    /// `plan`, `apply` or `destroy`.
    pub verb: String,
    /// The stack's name.
    pub stack: String,
    /// The sample, where there is one.
    pub sample: Option<String>,
    /// `SANDBOX (docker)`, where it is the sandbox.
    pub sandbox: Option<String>,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// Who is asking.
    pub identity: String,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.stack)?;
        if let Some(sample) = &self.sample {
            write!(f, " · sample {sample}")?;
        }
        writeln!(f)?;
        if let Some(sandbox) = &self.sandbox {
            write!(f, "{sandbox} · ")?;
        }
        write!(f, "account {} · {} · as {}", self.account, self.region, self.identity)
    }
}

/// The JSON Schema of `plan --json`, from the types that it is made of.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(View)
}
