//! The right to write a ledger, tried before anything is launched for its run: turns a refusal that would come after the
//! launch into one that comes before. What it writes is the ledger as it is, or an empty one.

use tokio::sync::watch;

use super::lease::{Fresh, LEASE, Patience};
use super::ledger::{Ledger, SCHEMA};
use super::observe::age;
use super::spec::RunSpec;
use super::world::{Live, Only, World};
use super::{DriveOptions, RunError, RunEvent};
use crate::aws::{Aws, AwsError};

/// Writes the ledger of a run, unless somebody holds it, who then writes it anyway.
///
/// # Errors
/// When it cannot be read or written, or we are asked to stop meanwhile.
pub async fn prove(
    aws: &Aws,
    spec: &RunSpec,
    options: &DriveOptions,
    events: &(dyn Fn(RunEvent) + Send + Sync),
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let live = Live { aws, bucket: &spec.ledger_bucket, key: &spec.ledger_key };
    let at = format!("s3://{}/{}", spec.ledger_bucket, spec.ledger_key);
    prove_in(&live, &Patience { events, stop }, options.fresh.as_ref(), &at).await
}

pub(super) async fn prove_in<W: World>(
    world: &W,
    patience: &Patience<'_>,
    fresh: &Fresh,
    at: &str,
) -> Result<(), RunError> {
    let read = patience.ask(|| world.read_ledger()).await?;
    let (mut ledger, only) = match read.object {
        None => (Ledger::default(), Only::IfAbsent),
        Some((body, etag, written)) => match Ledger::read(&body, at) {
            Ok(ledger) => {
                let held = age(written, read.now) < LEASE;
                if held && ledger.lease.is_some() {
                    return Ok(());
                }
                // A lease that has run out must not look alive because of this write.
                (Ledger { lease: None, ..ledger.found(written) }, Only::IfMatch(etag))
            }
            Err(source) if source.is_replaced() => {
                return patience.ask(|| world.set_aside(body.clone(), &etag)).await.map(drop);
            }
            Err(source) => return Err(RunError::Ledger { at: at.to_owned(), source }),
        },
    };
    ledger.schema = SCHEMA;
    ledger.nonce = fresh();
    at.clone_into(&mut ledger.at);
    ledger.written_at = Some(read.now);
    let body = ledger.sealed().map_err(|error| AwsError::refused("s3:PutObject", error.to_string()))?;
    match patience.ask(|| world.write_ledger(body.clone(), &only)).await {
        // Somebody else has written it meanwhile, or this write was heard although its answer was lost.
        Err(RunError::Aws(error)) if matches!(error.status, Some(409 | 412)) => Ok(()),
        other => other.map(drop),
    }
}
