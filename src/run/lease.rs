//! The lease and the ledger's writing: every change is one conditional write with a nonce of its own, and only the
//! holder of the lease makes any.
//!
//! The age of a lease is told by S3's clock (`Date` less `Last-Modified`). A holder that may have lost it by its own
//! clocks signs nothing but one more conditional write, which fails if anybody has taken over since.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::ledger::{Lease, Ledger, SCHEMA};
use super::observe::age;
use super::world::{Only, World};
use super::{RunError, RunEvent};
use crate::aws::absence::{SEEN, unseen};
use crate::aws::wait::{TOLD, interrupted};
use crate::aws::{AwsError, Class};

/// How long a lease is good for without a write.
pub const LEASE: Duration = Duration::from_secs(300);
/// How often its holder renews it.
pub const RENEWAL: Duration = Duration::from_secs(60);
/// After how long without a write its holder counts it as lost, until a write says otherwise.
const DOUBTFUL: Duration = Duration::from_secs(240);
/// How long AWS may be out of reach in mid-run before we let go: the tasks run on without us.
const OUTAGE: Duration = Duration::from_secs(3600);
/// For how long after an interrupt the answer to a call in flight is waited for.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Makes a random text: tokens, nonces and holders' ids. Tests give one that counts.
pub type Fresh = dyn Fn() -> String + Send + Sync;

/// Patience with AWS: what passes is tried again, expired credentials are waited for, and Ctrl-C ends either.
pub(super) struct Patience<'a> {
    pub(super) events: &'a (dyn Fn(RunEvent) + Send + Sync),
    pub(super) stop: watch::Receiver<bool>,
}

impl Patience<'_> {
    /// Whether we were asked to stop.
    pub(super) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits.
    ///
    /// # Errors
    /// [`RunError::Stopped`] as soon as we are asked to stop.
    pub(super) async fn sleep(&self, pause: Duration) -> Result<(), RunError> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = interrupted(&self.stop) => Err(RunError::Stopped),
        }
    }

    /// A wait that is told once it takes long.
    pub(super) fn wait(&self, what: impl Into<String>, within: Duration) -> Waiting<'_> {
        Waiting { patience: self, what: what.into(), begun: Instant::now(), within, told: false }
    }

    /// One answer. That AWS is silent is told, and after an interrupt that is not waited for.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<T, AwsError>>,
    ) -> Result<Result<T, AwsError>, RunError> {
        let unheeded = async {
            interrupted(&self.stop).await;
            tokio::time::sleep(UNANSWERED).await;
        };
        let told = async {
            tokio::time::sleep(TOLD).await;
            let what = "AWS to answer".to_owned();
            (self.events)(RunEvent::Waiting { what, seconds: TOLD.as_secs(), at_most_seconds: None });
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // The SDK's futures are large: what is in a box is not on the stack of whoever polls.
            answer = Box::pin(call) => Ok(answer),
            () = unheeded => Err(RunError::Stopped),
            () = told => Err(RunError::Stopped),
        }
    }

    /// Asks until there is an answer or an error that does not pass.
    ///
    /// # Errors
    /// That error; or [`RunError::Stopped`].
    pub(super) async fn ask<T, F>(&self, call: impl FnMut() -> F) -> Result<T, RunError>
    where
        F: Future<Output = Result<T, AwsError>>,
    {
        self.ask_while(|| std::future::ready(Ok(())), call).await
    }

    /// The same, for what only the lease's holder may do: it is made sure of before each time but the first.
    ///
    /// # Errors
    /// Those of [`Self::ask`], and what `holds` says against another time.
    pub(super) async fn ask_while<T, F, H>(
        &self,
        holds: impl Fn() -> H,
        mut call: impl FnMut() -> F,
    ) -> Result<T, RunError>
    where
        F: Future<Output = Result<T, AwsError>>,
        H: Future<Output = Result<(), RunError>>,
    {
        let mut since = None;
        let mut told = None;
        let mut pause = Duration::from_millis(500);
        loop {
            let error = match self.answer(call()).await? {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.class {
                Class::Credentials => {}
                Class::Stopped => return Err(RunError::Stopped),
                // A cluster that was made a moment ago, say.
                Class::NotFound if unseen(&error) && since.get_or_insert_with(Instant::now).elapsed() < SEEN.within => {
                }
                Class::Passing | Class::Throttled | Class::Unsent
                    if since.get_or_insert_with(Instant::now).elapsed() < OUTAGE => {}
                _ => return Err(error.into()),
            }
            if told != Some(error.class) {
                told = Some(error.class);
                (self.events)(if error.class == Class::Credentials {
                    RunEvent::WaitingForCredentials { message: error.to_string() }
                } else {
                    RunEvent::WaitingForAws { message: error.to_string() }
                });
            }
            self.sleep(pause).await?;
            pause = (pause * 2).min(Duration::from_secs(15));
            holds().await?;
        }
    }
}

/// Something that is waited for, in pauses.
pub(super) struct Waiting<'a> {
    patience: &'a Patience<'a>,
    what: String,
    begun: Instant,
    within: Duration,
    told: bool,
}

impl Waiting<'_> {
    /// Whether its time is up.
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.within
    }

    /// Pauses, and tells the wait once it has taken long.
    ///
    /// # Errors
    /// [`RunError::Stopped`] as soon as we are asked to stop.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), RunError> {
        if !self.told && self.begun.elapsed() >= TOLD {
            self.told = true;
            let (what, so_far) = (self.what.clone(), self.begun.elapsed());
            let left = self.within.saturating_sub(so_far).as_secs();
            let told = RunEvent::Waiting { what, seconds: so_far.as_secs(), at_most_seconds: Some(left) };
            (self.patience.events)(told);
        }
        self.patience.sleep(pause).await
    }
}

/// A moment by both of this machine's clocks: the monotonic one stands still while a laptop sleeps, the other does not.
#[derive(Clone, Copy, Debug)]
struct Moment(Instant, SystemTime);

impl Moment {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// The ledger in its holder's hands.
pub(super) struct Book<'a, W> {
    world: &'a W,
    patience: &'a Patience<'a>,
    fresh: &'a Fresh,
    holder: String,
    at: String,
    inner: Mutex<Inner>,
}

struct Inner {
    ledger: Ledger,
    etag: Option<String>,
    /// When the last write that succeeded was begun.
    confirmed: Moment,
    /// S3's clock at the last answer.
    now: Timestamp,
    /// The nonce of a write that was begun and whose answer was never seen.
    unanswered: Option<String>,
}

/// Who wants the lease.
pub(super) struct Wants<'a> {
    pub(super) holder: &'a str,
    pub(super) who: &'a str,
    /// Takes it from whoever has it.
    pub(super) by_force: bool,
    /// Where the ledger is, as `s3://bucket/key`.
    pub(super) at: &'a str,
}

impl<'a, W: World> Book<'a, W> {
    /// Takes the lease: at once where nobody holds it, and after [`LEASE`] without a sign of life from who does.
    ///
    /// # Errors
    /// [`RunError::Held`] once the holder is seen to be alive.
    pub(super) async fn take(
        world: &'a W,
        patience: &'a Patience<'a>,
        fresh: &'a Fresh,
        wants: &Wants<'_>,
    ) -> Result<Self, RunError> {
        let mut seen: Option<(String, Lease)> = None;
        loop {
            let begun = Moment::now();
            let read = patience.ask(|| world.read_ledger()).await?;
            let (mut ledger, etag, written) = match read.object {
                None => (Ledger { schema: SCHEMA, ..Ledger::default() }, None, read.now),
                Some((body, etag, written)) => match Ledger::read(&body, wants.at) {
                    Ok(ledger) => (ledger.found(written), Some(etag), written),
                    Err(source) if source.is_replaced() => {
                        let kept_as = patience.ask(|| world.set_aside(body.clone(), &etag)).await?;
                        (patience.events)(RunEvent::LedgerSetAside { why: source.to_string(), kept_as });
                        (Ledger { schema: SCHEMA, ..Ledger::default() }, Some(etag), read.now)
                    }
                    Err(source) => return Err(RunError::Ledger { at: wants.at.to_owned(), source }),
                },
            };
            let old = age(written, read.now);
            if let Some(lease) = &ledger.lease
                && lease.holder != wants.holder
                && !wants.by_force
                && old < LEASE
            {
                if let Some((nonce, _)) = &seen
                    && *nonce != ledger.nonce
                {
                    return Err(RunError::Held { who: lease.who.clone(), since: lease.since });
                }
                if seen.is_none() {
                    (patience.events)(RunEvent::WaitingForLease {
                        holder: lease.who.clone(),
                        since: lease.since,
                        at_most_seconds: (LEASE - old).as_secs(),
                    });
                    seen = Some((ledger.nonce.clone(), lease.clone()));
                }
                patience.sleep((LEASE - old).clamp(Duration::from_secs(1), Duration::from_secs(5))).await?;
                continue;
            }
            let before = ledger.lease.take();
            ledger.lease = Some(match before.clone() {
                Some(lease) if lease.holder == wants.holder => lease,
                _ => Lease { holder: wants.holder.to_owned(), who: wants.who.to_owned(), since: read.now },
            });
            let inner = Inner { ledger: Ledger::default(), etag, confirmed: begun, now: read.now, unanswered: None };
            let (holder, at) = (wants.holder.to_owned(), wants.at.to_owned());
            let book = Self { world, patience, fresh, holder, at, inner: Mutex::new(inner) };
            match book.replace(ledger).await {
                Ok(()) => {
                    (patience.events)(RunEvent::LeaseTaken {
                        from: before.filter(|lease| lease.holder != wants.holder).map(|lease| lease.who),
                    });
                    return Ok(book);
                }
                // Somebody else was quicker: look again who it is.
                Err(RunError::LeaseLost { .. } | RunError::LedgerGone) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The ledger as last written.
    pub(super) async fn ledger(&self) -> Ledger {
        self.inner.lock().await.ledger.clone()
    }

    /// S3's clock at its last answer.
    pub(super) async fn now(&self) -> Timestamp {
        self.inner.lock().await.now
    }

    /// Changes the ledger by one conditional write.
    ///
    /// # Errors
    /// [`RunError::LeaseLost`] when somebody else has written it since.
    pub(super) async fn update<R>(&self, change: impl FnOnce(&mut Ledger, Timestamp) -> R) -> Result<R, RunError> {
        let mut inner = self.inner.lock().await;
        let mut next = inner.ledger.clone();
        let out = change(&mut next, inner.now);
        self.write(&mut inner, next).await?;
        Ok(out)
    }

    async fn replace(&self, next: Ledger) -> Result<(), RunError> {
        let mut inner = self.inner.lock().await;
        self.write(&mut inner, next).await
    }

    async fn write(&self, inner: &mut Inner, mut next: Ledger) -> Result<(), RunError> {
        next.schema = SCHEMA;
        next.nonce = (self.fresh)();
        next.at.clone_from(&self.at);
        let (inner_now, confirmed) = (inner.now, inner.confirmed);
        let dated = || {
            // Dated anew for each attempt: one that arrives late is no older version put back.
            let now = inner_now + confirmed.elapsed();
            let dated = Ledger { written_at: Some(now), ..next.clone() };
            dated.sealed().map_err(|error| AwsError::refused("s3:PutObject", error.to_string()))
        };
        let only = inner.etag.clone().map_or(Only::IfAbsent, Only::IfMatch);
        let before = inner.unanswered.replace(next.nonce.clone());
        let mut only = only;
        let mut conflicts = 0u32;
        loop {
            let begun = Moment::now();
            // Asked again after a passing failure, the same write meets 412 if the first one took effect after all.
            let only_if = &only;
            let write = || {
                let body = dated();
                async move { self.world.write_ledger(body?, only_if).await }
            };
            let written = self.patience.ask(write).await;
            match written {
                Ok((etag, now)) => {
                    *inner = Inner { ledger: next, etag: Some(etag), confirmed: begun, now, unanswered: None };
                    return Ok(());
                }
                Err(RunError::Aws(error)) if error.status == Some(412) || error.is(&["PreconditionFailed"]) => {
                    let read = self.patience.ask(|| self.world.read_ledger()).await?;
                    let Some((body, etag, _)) = read.object else { return Err(RunError::LedgerGone) };
                    let found = Ledger::read(&body, &self.at).ok();
                    if found.as_ref().is_some_and(|found| found.nonce == next.nonce) {
                        let (etag, now) = (Some(etag), read.now);
                        *inner = Inner { ledger: next, etag, confirmed: begun, now, unanswered: None };
                        return Ok(());
                    }
                    // An earlier write of ours, given up before its answer came, took effect: this one follows it.
                    if before.is_some() && found.as_ref().map(|found| &found.nonce) == before.as_ref() {
                        only = Only::IfMatch(etag);
                        continue;
                    }
                    let by = found.and_then(|found| found.lease).map(|lease| lease.who);
                    return Err(RunError::LeaseLost {
                        by: by.unwrap_or_else(|| "somebody who has let go since".to_owned()),
                    });
                }
                // Two conditional writes met; neither need have won.
                Err(RunError::Aws(error)) if error.status == Some(409) && conflicts < 20 => {
                    conflicts += 1;
                    self.patience.sleep(Duration::from_millis(50 * u64::from(conflicts))).await?;
                }
                Err(RunError::Aws(error)) if error.class == Class::NotFound && error.is(&["NoSuchKey"]) => {
                    return Err(RunError::LedgerGone);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes sure of the lease before something is done that only its holder may do.
    ///
    /// # Errors
    /// [`RunError::LeaseLost`].
    pub(super) async fn hold(&self) -> Result<(), RunError> {
        let doubtful = self.inner.lock().await.confirmed.elapsed() >= DOUBTFUL;
        if doubtful { self.update(|_, _| ()).await } else { Ok(()) }
    }

    /// Renews the lease for as long as it is polled. Only ever ends with an error.
    pub(super) async fn renew(&self) -> RunError {
        loop {
            let (old, released) = {
                let inner = self.inner.lock().await;
                (inner.confirmed.elapsed(), inner.ledger.lease.is_none())
            };
            if released {
                std::future::pending::<()>().await;
            }
            if old < RENEWAL {
                tokio::time::sleep((RENEWAL - old).max(Duration::from_millis(100))).await;
                continue;
            }
            if let Err(error) = self.update(|_, _| ()).await {
                if matches!(error, RunError::Stopped) {
                    // The one who drives sees that too, and lets go in good order.
                    std::future::pending::<()>().await;
                }
                return error;
            }
        }
    }

    /// Changes the ledger for the last time and lets go of the lease.
    pub(super) async fn release<R>(&self, change: impl FnOnce(&mut Ledger, Timestamp) -> R) -> Result<R, RunError> {
        self.update(|ledger, now| {
            let out = change(ledger, now);
            if ledger.lease.as_ref().is_some_and(|lease| lease.holder == self.holder) {
                ledger.lease = None;
            }
            out
        })
        .await
    }
}
