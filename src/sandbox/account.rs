//! What the sandbox's account holds: one state a service, kept as JSON between requests.

use serde::{Deserialize, Serialize};

use super::lookups::Principals;
use super::{ec2, ecs, logs};

/// An AWS account in one region.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The twelve-digit id.
    pub id: String,
    /// The region of every regional service.
    pub region: String,
    /// The roles and instance profiles that EC2 and ECS check.
    pub principals: Principals,
    /// EC2's state.
    pub ec2: ec2::State,
    /// ECS's state.
    pub ecs: ecs::State,
    /// CloudWatch Logs' state.
    pub logs: logs::State,
}
