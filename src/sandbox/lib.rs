#![doc = include_str!("README.md")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

pub mod account;
mod answers;
pub mod connector;
pub mod ec2;
pub mod ecs;
pub mod engine;
mod front;
pub mod hidden;
pub mod iam;
pub mod images;
pub mod input;
pub mod listen;
pub mod logs;
mod lookups;
pub mod members;
mod past;
pub mod persist;
pub mod policy;
pub mod process;
pub mod s3;
pub mod service;
pub mod serving;
pub mod sigv4;
pub mod ssm;
mod sts;
pub mod throttle;
pub mod user_data;
pub mod wire;

pub use account::Account;
pub use connector::{Fate, Life, Moment, Passing, Wire, http_client, sdk_config, sdk_config_as};
use engine::Engine;
pub use front::operations;
use persist::Keeper;
use s3::store::Store;
use service::{ApiError, Cx, Options, Settings};

/// An access key that may do everything.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The access key's id.
    pub id: String,
    /// The secret.
    pub secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The account, its region, and how quickly things happen.
    pub options: Options,
    /// What runs tasks.
    pub engine: Arc<dyn Engine>,
    /// The keys of the account's owner.
    pub keys: Vec<Key>,
    /// Where it is reached, e.g. `http://127.0.0.1:4566`; the `Host` of every request must be this one's authority.
    pub endpoint: String,
    /// Where the account is kept; all in memory where there is none.
    pub folder: Option<PathBuf>,
    /// What time it is now.
    pub clock_start: Timestamp,
}

/// The sandbox's clock: a start, and tokio's time since then, so that the paused clock of tests moves it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Timestamp,
    began: Instant,
}

impl Clock {
    /// A clock that shows `start` now.
    pub fn starting(start: Timestamp) -> Self {
        Self { start, began: Instant::now() }
    }

    /// What it shows now.
    pub fn now(&self) -> Timestamp {
        self.start + self.began.elapsed()
    }
}

/// An AWS account on this machine.
#[derive(Debug)]
pub struct Sandbox {
    options: Mutex<Arc<Options>>,
    engine: Arc<dyn Engine>,
    keys: Vec<Key>,
    endpoint: String,
    clock: Clock,
    state: Mutex<Kept>,
    store: Store,
    set_aside: Option<String>,
    requests: AtomicU64,
    asked: Mutex<Instant>,
}

/// The account and where it is kept, under one lock.
#[derive(Debug)]
struct Kept {
    account: Account,
    keeper: Option<Keeper>,
    /// Why the account could not be loaded or kept; nothing is served meanwhile.
    fault: Option<String>,
    /// The fault is that it could not be loaded: nothing may be written over it.
    closed: bool,
    /// The tasks that the engine keeps something of.
    tasks: BTreeSet<String>,
    /// What there was, for answers that lag behind.
    past: past::Past,
}

impl Kept {
    fn keep(&mut self) -> Result<(), String> {
        if self.closed {
            return Err(self.fault.clone().unwrap_or_default());
        }
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        self.fault = keeper.keep(&self.account).err().map(|error| format!("the account cannot be kept: {error}"));
        self.fault.clone().map_or(Ok(()), Err)
    }
}

impl Sandbox {
    /// Opens the account of the setup's folder, or a new one. Where that fails, [`Sandbox::fault`] says why and every
    /// request is answered `ServiceUnavailable`.
    pub fn new(setup: Setup) -> Arc<Self> {
        let mut set_aside = None;
        let mut kept = Kept {
            account: Account::new(&setup.options),
            keeper: None,
            fault: None,
            closed: false,
            tasks: BTreeSet::new(),
            past: past::Past::default(),
        };
        let mut store = Store::memory();
        if let Some(folder) = &setup.folder {
            let opened = Keeper::open(folder, &setup.options)
                .and_then(|opened| Ok((Store::folder(opened.0.content())?, opened)));
            match opened {
                Ok((objects, (keeper, account, aside))) => {
                    // After a crash there may be content that no object names, and tasks that no call was told of.
                    objects.sweep(&account.s3);
                    kept.tasks = account.ecs.task_ids().cloned().collect();
                    if !keeper.has_aside() {
                        let there = account.ec2.instances.iter().filter(|instance| !instance.gone());
                        let instances = there.map(|instance| instance.id.clone()).collect();
                        setup.engine.keep_only(&kept.tasks, &instances, setup.clock_start);
                    }
                    set_aside = aside;
                    store = objects;
                    kept.account = account;
                    kept.keeper = Some(keeper);
                }
                Err(error) => {
                    kept.fault = Some(format!("the account in {} cannot be opened: {error}", folder.display()));
                    kept.closed = true;
                }
            }
        }
        if let Some(message) = &set_aside {
            tracing::warn!("{message}");
        }
        Arc::new(Self {
            options: Mutex::new(Arc::new(setup.options)),
            engine: setup.engine,
            keys: setup.keys,
            endpoint: setup.endpoint,
            clock: Clock::starting(setup.clock_start),
            state: Mutex::new(kept),
            store,
            set_aside,
            requests: AtomicU64::new(0),
            asked: Mutex::new(Instant::now()),
        })
    }

    /// Another sandbox with the same account, whose clock shows that time now; none of one that is kept on disk. The engine
    /// has to know its tasks.
    pub fn copied(&self, engine: Arc<dyn Engine>, clock_start: Timestamp) -> Option<Arc<Self>> {
        let store = self.store.copied()?;
        let options = self.options();
        let setup = Setup {
            options: Options::clone(&options),
            engine,
            keys: self.keys.clone(),
            endpoint: self.endpoint.clone(),
            folder: None,
            clock_start,
        };
        let mut copy = Arc::into_inner(Self::new(setup))?;
        copy.store = store;
        {
            let (kept, mut copied) = (self.lock(), copy.lock());
            copied.account = kept.account.clone();
            copied.tasks.clone_from(&kept.tasks);
        }
        Some(Arc::new(copy))
    }

    /// Why the account could not be loaded or kept, if so.
    pub fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// What was set aside when the account was opened, if anything.
    pub fn set_aside(&self) -> Option<&str> {
        self.set_aside.as_deref()
    }

    /// The sandbox's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Where it is reached.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The first of the owner's keys.
    pub fn key(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// For how long nobody has asked anything with a valid signature.
    pub fn idle(&self) -> Duration {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The account as it is now, settled; what is changed is kept. Must not be called from inside an engine's call.
    pub fn with_account<T>(&self, f: impl FnOnce(&mut Account, &Cx) -> T) -> T {
        let cx = self.cx();
        let mut kept = self.lock();
        kept.account.settle(&cx);
        let out = f(&mut kept.account, &cx);
        // A failure is kept as the fault, which the next request reports.
        let _fault = self.keep(&mut kept);
        out
    }

    /// How often each operation was called, by `service:Operation`, e.g. `iam:CreateRole`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.lock().account.counts.clone()
    }

    /// How often each operation was refused and with what, by `service:Operation Code`.
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        self.lock().account.refusals.clone()
    }

    /// How the sandbox is set.
    pub fn options(&self) -> Arc<Options> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it otherwise from now on.
    pub fn set(&self, settings: Settings) {
        self.with_account(|account, _| {
            account.s3.conflicts = settings.conflicts;
            // Whoever asks for throttling starts with full buckets.
            account.throttle = throttle::Buckets::default();
        });
        let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut options).settings = settings;
    }

    /// Remembers from now on what there was, for so long, so that answers can lag behind ([`Fate::Behind`]).
    pub fn remember(&self, within: Duration) {
        self.lock().past.keep(within);
    }

    /// Ends what runs, and empties the account: its buckets, and what was set aside, too. How it is set stays.
    ///
    /// # Errors
    /// Where that cannot be kept on disk.
    pub fn reset(&self) -> Result<(), ApiError> {
        let cx = self.cx();
        let mut kept = self.lock();
        for instance in kept.account.ec2.instances.iter().filter(|instance| !instance.gone()) {
            self.engine.end_instance(&instance.id, cx.now);
        }
        kept.account = Account::new(&cx.options);
        kept.account.s3.conflicts = cx.options.settings.conflicts;
        self.keep(&mut kept)?;
        self.store.sweep(&kept.account.s3);
        let removed = kept.keeper.as_ref().map_or(Ok(()), Keeper::remove_aside);
        removed.map_err(|error| front::unavailable(&format!("what was set aside cannot be removed: {error}")))
    }

    /// What exists in the account, by service and kind.
    pub fn status(&self) -> Value {
        self.with_account(|account, _| account.status())
    }

    /// Makes a bucket, or finds that it is there.
    pub fn create_bucket(&self, name: &str) {
        self.with_account(|account, cx| account.s3.create_bucket(name, cx.now));
    }

    /// Puts an object as its owner would, without a request.
    ///
    /// # Errors
    /// `NoSuchBucket`, or where it cannot be stored.
    pub fn put_object(&self, bucket: &str, key: &str, content: bytes::Bytes) -> Result<String, ApiError> {
        let staged = self.store.stage(&content)?;
        self.with_account(|account, cx| account.s3.put(&self.store, bucket, key, staged, cx.now))
    }

    /// Gets an object's content without a request.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, or where it cannot be read.
    pub fn get_object(&self, bucket: &str, key: &str) -> Result<bytes::Bytes, ApiError> {
        let opened = self.with_account(|account, _| {
            let (_, object) = account.s3.bucket(bucket)?.read(key, None)?;
            self.store.open(object.blob, object.size)
        })?;
        opened.read(None)
    }

    fn cx(&self) -> Cx {
        Cx {
            now: self.clock.now(),
            options: self.options(),
            engine: self.engine.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what changed, and only then lets go of content that nothing names any more.
    fn keep(&self, kept: &mut Kept) -> Result<(), ApiError> {
        kept.keep().map_err(|fault| front::unavailable(&fault))?;
        for blob in std::mem::take(&mut kept.account.s3.garbage) {
            self.store.remove(blob);
        }
        let Kept { account, tasks, .. } = kept;
        let there = account.ecs.task_ids().cloned().collect();
        tasks.difference(&there).for_each(|task| self.engine.forget(task));
        *tasks = there;
        Ok(())
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn note_asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tests;
