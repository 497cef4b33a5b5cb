#![doc = include_str!("report/README.md")]

pub mod cost;
pub mod events;
pub mod graph;
pub mod live;
pub mod moved;
pub mod output;
pub mod plan;
pub mod progress;
pub mod run;
pub mod status;
pub mod unknown;

pub use crate::phrase::span;
