//! A record of the calls that were made: their names, and how many had to wait for one another.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Layer, Storable, StoreReplace};

tokio::task_local! {
    /// How many round trips this branch of the reading has waited for.
    static DEPTH: Cell<usize>;
}

/// What was called.
#[derive(Debug, Default)]
pub struct Trace {
    calls: Mutex<BTreeMap<String, usize>>,
    deepest: AtomicUsize,
}

impl Trace {
    /// How often each operation was called, by name (`ECS:RunTask`).
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.calls.lock().map(|calls| calls.clone()).unwrap_or_default()
    }

    /// The longest chain of round trips that had to wait for one another inside [`branch`]es.
    pub fn depth(&self) -> usize {
        self.deepest.load(Ordering::Relaxed)
    }
}

/// Runs a future as a branch of the reading: its calls come after those that its parent has already waited for, and
/// beside those of its siblings.
pub async fn branch<F: Future>(inner: F) -> F::Output {
    let before = DEPTH.try_with(Cell::get).unwrap_or(0);
    let (out, after) = DEPTH
        .scope(Cell::new(before), async {
            let out = inner.await;
            (out, DEPTH.with(Cell::get))
        })
        .await;
    let _outermost = DEPTH.try_with(|depth| depth.set(depth.get().max(after)));
    out
}

/// The interceptor that keeps a [`Trace`].
#[derive(Clone, Debug)]
pub(super) struct Noted(pub(super) std::sync::Arc<Trace>);

#[derive(Clone, Copy, Debug)]
struct Level(usize);

impl Storable for Level {
    type Storer = StoreReplace<Self>;
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Noted {
    fn name(&self) -> &'static str {
        "seqstack-trace"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let level = DEPTH.try_with(Cell::get).unwrap_or(0) + 1;
        self.0.deepest.fetch_max(level, Ordering::Relaxed);
        let mut layer = Layer::new("seqstack-trace");
        layer.store_put(Level(level));
        config.push_layer(layer);
        Ok(())
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Not earlier: a client's interceptors are first asked before the operation is known.
        if let Some(operation) = config.load::<Metadata>() {
            let name = format!("{}:{}", operation.service(), operation.name());
            if let Ok(mut calls) = self.0.calls.lock() {
                *calls.entry(name).or_default() += 1;
            }
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        _context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Level(level)) = config.load::<Level>().copied() {
            let _outside = DEPTH.try_with(|depth| depth.set(depth.get().max(level)));
        }
        Ok(())
    }
}
