//! Who drives a run on the instance that a plan would end: turns that into patience. One that is dead is given up when its
//! lease has run out, without a person; one that gives a sign of life keeps its instance. Changes nothing.

use std::time::Duration;

use crate::aws::chain;
use crate::run::due::holder;
use crate::run::lease::LEASE;
use crate::run::{Holder, RunSpec, read_ledger};

use super::Problem;
use super::session::Session;

/// How often the ledger is looked at.
const GLANCE: Duration = Duration::from_secs(5);

/// Somebody who drives a run, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Who.
    pub holder: Holder,
    bucket: String,
    key: String,
    nonce: String,
}

impl Driver {
    pub(super) fn of(spec: &RunSpec, holder: Holder, nonce: &str) -> Self {
        let (bucket, key) = (spec.ledger_bucket.clone(), spec.ledger_key.clone());
        Self { holder, bucket, key, nonce: nonce.to_owned() }
    }

    /// Waits until its lease has run out, or it has let go of it; false as soon as it is seen to be alive.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn is_gone(&self, session: &Session) -> Result<bool, Problem> {
        let Holder { who, since, seen_seconds_ago, .. } = &self.holder;
        session.console.say(&format!(
            "waiting for {who}, who drives a run on the instance since {since}; it is given up in {} s if nothing is heard of it",
            LEASE.as_secs().saturating_sub(*seen_seconds_ago)
        ));
        loop {
            let read = Box::pin(read_ledger(&session.aws, &self.bucket, &self.key)).await;
            let kept =
                read.map_err(|error| Problem::failed(format!("who drives the run is not known: {}", chain(&error))))?;
            let Some((kept, _)) = kept.as_ref().and_then(|kept| Some((kept, holder(kept)?))) else { return Ok(true) };
            if kept.ledger.nonce != self.nonce {
                return Ok(false);
            }
            tokio::time::sleep((LEASE.saturating_sub(kept.age)).clamp(Duration::from_secs(1), GLANCE)).await;
        }
    }
}
