//! Who drives a run on the instance that a plan would end: turns that into patience. One that is dead is given up when its
//! lease has run out, without a person, and at once where that is seen on this machine; one that gives a sign of life keeps
//! its instance. Changes nothing.

use std::time::Duration;

use crate::aws::chain;
use crate::run::due::holder;
use crate::run::lease::LEASE;
use crate::run::{Holder, RunSpec, read_ledger};

use super::session::Session;
use super::{Problem, seat};

/// How often the ledger is looked at.
const GLANCE: Duration = Duration::from_secs(5);

/// Somebody who drives a run, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Who.
    pub holder: Holder,
    sample: String,
    bucket: String,
    key: String,
    nonce: String,
}

impl Driver {
    pub(super) fn of(spec: &RunSpec, holder: Holder, nonce: &str) -> Self {
        Self {
            holder,
            sample: spec.sample.clone(),
            bucket: spec.ledger_bucket.clone(),
            key: spec.ledger_key.clone(),
            nonce: nonce.to_owned(),
        }
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
            let is_dead = |holder: &str| seat::is_dead(&session.state_dir, &self.sample, holder);
            let kept = kept.map(|kept| kept.bury(is_dead));
            let Some(kept) = kept.filter(|kept| holder(kept).is_some()) else { return Ok(true) };
            if kept.ledger.nonce != self.nonce {
                return Ok(false);
            }
            tokio::time::sleep((LEASE.saturating_sub(kept.age)).clamp(Duration::from_secs(1), GLANCE)).await;
        }
    }
}
