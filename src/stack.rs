//! A stack file, read and checked.
//!
//! Turns text into specs or into every fault that it has, each with its place and a hint, before AWS is asked. Never
//! looks at AWS, nor at any file but the stack file.
//!
#![doc = include_str!("stack/README.md")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::address::Address;
use crate::kind::{KINDS, StackInfo};

mod check;
mod credential;
pub mod diagnostic;
mod head;
pub mod pipeline;
mod protect;
pub mod reference;
mod repair;
mod resources;
pub mod schema;
pub mod shell;
mod steps;
mod substitute;
pub mod tolerant;
mod tree;
mod validate;
pub mod values;
pub mod warning;
mod words;

#[cfg(test)]
mod tests;

pub use credential::Credentials;
pub use diagnostic::{Fault, Faults, Origin};
pub use pipeline::Pipeline;
pub use warning::{Code, Warning, Warnings};

/// What the command line says about how a stack file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// `--sample`: the sample to pick.
    pub sample: Option<&'a str>,
    /// `--set key=value`: each overrides the value of `[vars]` with that key, and keeps its type.
    pub set: &'a [(String, String)],
    /// Whether one of several samples must be picked. Destroying a stack needs none.
    pub needs_sample: bool,
}

/// Why a stack file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file, it cannot be opened, or it is not UTF-8.
    #[error("failed to read {}", path.display())]
    Unreadable {
        /// The stack file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file, or the command line about it, is wrong.
    #[error(transparent)]
    Faulty(#[from] Faults),
}

/// A sound stack file, for one sample where it has any.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The stack file.
    pub file: PathBuf,
    /// SHA-256 of its text, lower-case hexadecimal.
    pub sha256: String,
    /// The folder of the stack file, empty for the current one; local files are relative to it.
    pub folder: PathBuf,
    /// Name, tags, buckets, and what exists for a run only. Its region is empty until the command has settled it.
    pub info: StackInfo,
    /// `[stack] account`: any other is refused.
    pub account: Option<String>,
    /// `[stack] region`.
    pub region: Option<String>,
    /// The samples that the file has, in file order.
    pub samples: Vec<String>,
    /// The one that was picked, or the only one. None where the file has none, or for destroy.
    pub sample: Option<String>,
    /// Specs (as JSON of the kind's `Spec`) by address, without samples in the addresses.
    pub resources: BTreeMap<Address, Value>,
    /// What is somebody else's: `existing = "…"` by address.
    pub existing: BTreeMap<Address, String>,
    /// Which resource refers to which other thing of the stack, without samples in the addresses.
    pub references: BTreeSet<(Address, Address)>,
    /// The pipeline, where there is one; its text is substituted for the picked sample.
    pub pipeline: Option<Pipeline>,
    /// What is sound and seldom meant.
    pub warnings: Warnings,
    /// What of it looks like a credential.
    pub credentials: Credentials,
}

impl Stack {
    /// Reads and checks a stack file.
    ///
    /// # Errors
    /// When the file cannot be read, or with every fault that it has.
    pub fn read(path: &Path, request: &Request<'_>) -> Result<Self, ReadError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ReadError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self::parse(path, &text, request)?)
    }

    /// Checks the text of a stack file; the path is only named, never read.
    ///
    /// # Errors
    /// Every fault that the text, or the request about it, has.
    pub fn parse(path: &Path, text: &str, request: &Request<'_>) -> Result<Self, Faults> {
        check::read(path, text, request, KINDS)
    }
}
