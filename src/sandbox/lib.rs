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
pub mod regions;
pub mod s3;
pub mod service;
pub mod serving;
pub mod sigv4;
pub mod ssm;
mod sts;
pub mod table;
pub mod throttle;
pub mod user_data;
pub mod wire;

pub use account::Account;
use account::Whole;
pub use connector::{Fate, Life, Moment, Passing, Wire, http_client, sdk_config, sdk_config_as};
use engine::Engine;
pub use front::operations;
use persist::Keeper;
use s3::store::Store;
use service::{ApiError, Cx, Options, Settings};
use table::{One, Stored};

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
    keeper: Option<Keeper>,
    /// Why the account could not be loaded or kept, if so; nothing is served meanwhile.
    fault: Mutex<Option<String>>,
    store: Store,
    set_aside: Option<String>,
    requests: AtomicU64,
    asked: Mutex<Instant>,
}

/// The account, under one lock.
#[derive(Debug)]
struct Kept {
    whole: One<Whole>,
    /// It could not be loaded: nothing may be written over it.
    closed: bool,
    /// It takes the place of all that was kept.
    new: bool,
    /// The tasks that the engine keeps something of.
    tasks: BTreeSet<String>,
    /// What there was, for answers that lag behind.
    past: past::Past,
}

impl Kept {
    /// The tasks that were there and are no more.
    fn gone_tasks(&mut self) -> Vec<String> {
        let there: BTreeSet<String> = self.whole.task_ids().cloned().collect();
        let gone = self.tasks.difference(&there).cloned().collect();
        self.tasks = there;
        gone
    }
}

impl Sandbox {
    /// Opens the account of the setup's folder, or a new one. Where that fails, [`Sandbox::fault`] says why and every
    /// request is answered `ServiceUnavailable`.
    pub fn new(setup: Setup) -> Arc<Self> {
        let mut set_aside = None;
        let (mut keeper, mut fault) = (None, None);
        let mut kept = Kept {
            whole: One::new(Whole::new(&setup.options)),
            closed: false,
            new: false,
            tasks: BTreeSet::new(),
            past: past::Past::default(),
        };
        let mut store = Store::memory();
        if let Some(folder) = &setup.folder {
            let opened = Keeper::open(folder, &setup.options)
                .and_then(|opened| Ok((Store::folder(opened.0.content())?, opened)));
            match opened {
                Ok((objects, (opened, whole, aside))) => {
                    // After a crash there may be content that no object names, and tasks that no call was told of.
                    objects.sweep(&whole.s3);
                    kept.tasks = whole.task_ids().cloned().collect();
                    if !opened.has_aside() {
                        let instances = whole.instance_ids().cloned().collect();
                        setup.engine.keep_only(&kept.tasks, &instances, setup.clock_start);
                    }
                    set_aside = aside;
                    store = objects;
                    kept.whole = whole;
                    keeper = Some(opened);
                }
                Err(error) => {
                    fault = Some(format!("the account in {} cannot be opened: {error}", folder.display()));
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
            keeper,
            fault: Mutex::new(fault),
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
            copied.whole = kept.whole.clone();
            copied.tasks.clone_from(&kept.tasks);
        }
        Some(Arc::new(copy))
    }

    /// Why the account could not be loaded or kept, if so.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// The account as it is now in its first region, settled; what is changed is kept. Must not be called from inside an
    /// engine's call.
    pub fn with_account<T>(&self, f: impl FnOnce(&mut Account<'_>, &Cx) -> T) -> T {
        self.with_whole(|whole, cx| f(&mut whole.at(&cx.options.region), cx))
    }

    fn with_whole<T>(&self, f: impl FnOnce(&mut One<Whole>, &Cx) -> T) -> T {
        let cx = self.cx();
        let mut kept = self.lock();
        kept.whole.settle(&cx);
        let out = f(&mut kept.whole, &cx);
        // A failure is kept as the fault, which the next request reports.
        let _fault = self.keep(kept);
        out
    }

    /// Puts what somebody makes of the JSON of [`Sandbox::portrait`] in the place of IAM and of the first region: for states
    /// that no request leads to.
    ///
    /// # Errors
    /// JSON of another shape.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut all = self.portrait().map_err(|error| error.to_string())?;
        change(&mut all);
        self.with_account(|account, _| account.set(&mut all))
    }

    /// The account as JSON, the first region's EC2, ECS and Logs beside IAM and S3.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub fn portrait(&self) -> serde_json::Result<Value> {
        let region = self.options().region.clone();
        let mut all = self.with_whole(|whole, _| whole.json())?;
        let here = all["regions"][&region].take();
        for service in ["ec2", "ecs", "logs"] {
            all[service] = here[service].clone();
        }
        if let Value::Object(members) = &mut all {
            members.remove("regions");
        }
        Ok(all)
    }

    /// How often each operation was called, by `service:Operation`, e.g. `iam:CreateRole`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.lock().whole.counts.clone()
    }

    /// How often each operation was refused and with what, by `service:Operation Code`.
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        self.lock().whole.refusals.clone()
    }

    /// How the sandbox is set.
    pub fn options(&self) -> Arc<Options> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether anything runs in it.
    pub fn busy(&self) -> bool {
        self.with_whole(|whole, _| whole.busy())
    }

    /// Sets it otherwise from now on.
    pub fn set(&self, settings: Settings) {
        self.with_whole(|whole, _| {
            whole.s3.conflicts = settings.conflicts;
            // Whoever asks for throttling starts with full buckets.
            whole.throttle.clear();
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
        kept.whole.instance_ids().for_each(|instance| self.engine.end_instance(instance, cx.now));
        kept.whole = One::new(Whole::new(&cx.options));
        kept.whole.s3.conflicts = cx.options.settings.conflicts;
        kept.new = true;
        self.keep(kept)?;
        self.store.sweep(&s3::State::default());
        let removed = self.keeper.as_ref().map_or(Ok(()), Keeper::remove_aside);
        removed.map_err(|error| front::unavailable(&format!("what was set aside cannot be removed: {error}")))
    }

    /// What exists in the account, by service and kind.
    pub fn status(&self) -> Value {
        self.with_whole(|whole, _| whole.status())
    }

    /// Makes a bucket, or finds that it is there.
    pub fn create_bucket(&self, name: &str) {
        self.with_account(|account, cx| account.s3.create_bucket(name, &cx.options.region, cx.now));
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

    /// Keeps what changed, and only then lets go of content that nothing names any more. Others may have the account
    /// meanwhile, but whoever sees the change waits until it is durable too.
    fn keep(&self, mut kept: MutexGuard<'_, Kept>) -> Result<(), ApiError> {
        if kept.closed {
            return Err(front::unavailable(&self.fault().unwrap_or_default()));
        }
        let number = match &self.keeper {
            Some(keeper) => {
                let new = std::mem::take(&mut kept.new);
                keeper.enter(&mut kept.whole, new)
            }
            None => kept.whole.drain(&[], &mut None).map(|()| 0).map_err(Into::into),
        };
        let mut garbage = std::mem::take(&mut kept.whole.s3.garbage);
        let gone = kept.gone_tasks();
        drop(kept);
        let done = number.and_then(|number| {
            let settled = self.keeper.as_ref().map_or(Ok(Vec::new()), |keeper| keeper.settle(number))?;
            garbage.extend(settled);
            Ok(())
        });
        let fault = done.err().map(|error| format!("the account cannot be kept: {error}"));
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&fault);
        if let Some(fault) = fault {
            // Whoever keeps it next lets go of them.
            self.lock().tasks.extend(gone);
            return Err(front::unavailable(&fault));
        }
        garbage.into_iter().for_each(|blob| self.store.remove(blob));
        gone.iter().for_each(|task| self.engine.forget(task));
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
