//! AWS on your own machine: an account that answers the operations this tool uses as AWS does, and refuses all others
//! by name.
//!
//! The real SDK clients talk the real wire protocols to it: in process through an `HttpClient` (tests, in the paused
//! clock), or over loopback to a process of its own (`--sandbox`). It knows nothing of the rest of this crate.

pub mod account;
pub mod ec2;
pub mod ecs;
pub mod engine;
pub mod images;
pub mod input;
pub mod logs;
pub mod lookups;
pub mod service;

#[cfg(test)]
mod bench;
