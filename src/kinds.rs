//! The kinds, one file each: its table, its normal form, how AWS spells it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use regex::Regex;

use crate::kind::SpecFault;
use crate::stack::values::PLACEHOLDER;

pub mod cluster;
pub mod instance;
pub mod key_pair;
pub mod log_group;
pub mod role;
pub mod security_group;
pub mod task_definition;
pub mod upload;

#[cfg(test)]
mod tests;

/// What ECS takes for the name of a cluster or a family (ECS API, CreateCluster and RegisterTaskDefinition).
const ECS_NAME: &str = "^[A-Za-z0-9_-]{1,255}$";
/// That in words.
const ECS_NAME_TOLD: &str = "1 to 255 letters, digits, `_` and `-`";

/// A `name` that AWS would refuse when everything before it has been made.
fn check_name(name: Option<&String>, pattern: &'static str, told: &str) -> Option<SpecFault> {
    let wrong = name.filter(|name| *name != PLACEHOLDER && !is_match(pattern, name))?;
    Some(SpecFault::new("name", format!("AWS takes no such name here: `{wrong}`"), told))
}

/// Whether a text is as a pattern of ours says, which is compiled once.
fn is_match(pattern: &'static str, text: &str) -> bool {
    static COMPILED: Mutex<BTreeMap<&str, Option<Regex>>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let pattern = compiled.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}
