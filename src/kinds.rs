//! The kinds, one file each: its table, its normal form, how AWS spells it.

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
