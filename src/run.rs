//! The run: placeholder until merged.
pub mod spec {
    use serde::{Deserialize, Serialize};
    /// s
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct RunSpec {
        /// s
        pub sample: String,
    }
}
/// s
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub enum RunEvent {
    /// x
    X,
}
