//! A declarative reconciler: one TOML stack file, the live AWS account, and the calls that lead from one to the other.

pub mod address;
pub mod aws;
pub mod cli;
pub mod command;
pub mod desired;
pub mod diff;
pub mod event;
pub mod execute;
pub mod facts;
pub mod kind;
pub mod kinds;
pub mod live;
pub mod plan;
pub mod rehearse;
pub mod report;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod stack;
