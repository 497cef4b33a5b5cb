//! A stack file, read and checked.
//!
//! Turns text into specs or into every fault that it has, each with its place and a hint, before AWS is asked. Never
//! looks at AWS, nor at any file but the stack file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::address::Address;
use crate::kind::StackInfo;

pub mod pipeline;
pub mod reference;
pub mod tolerant;
pub mod values;

pub use pipeline::Pipeline;

/// A sound stack file, for one sample where it has any.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The folder of the stack file; local files are relative to it.
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
    /// The pipeline, where there is one; its text is substituted for the picked sample.
    pub pipeline: Option<Pipeline>,
}
