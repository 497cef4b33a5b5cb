//! A declarative reconciler: one TOML stack file, the live AWS account, and the calls that lead from one to the other.
//!
//! The way of the data is one way:
//!
//! ```text
//! stack file --stack--> specs --lookups--> facts (aws::facts) --desired--> desired states --+
//!                         |                                                                 +-- diff --> differences
//!                         +----list (kinds)--> live states (live) --------------------------+       |
//!                         +----run::observe--> ledger, inputs, outputs --run::due--> is the run due |
//!                                                                                                   v
//!            AWS <--perform (kinds), run::drive-- execute <-- plan: converge, run, settle <-- plan, rehearse
//! ```
//!
//! - [`stack`] turns text into checked specs, or into every fault at once.
//! - [`kind`] is what a kind of resource is; [`kinds`] are the eight there are, a file each. Typed at their edges, JSON in
//!   the core.
//! - [`desired`], [`diff`], [`plan`], [`rehearse`] and [`execute`] are the core: pure, synchronous (but for the executor,
//!   which needs no particular runtime), with no word of AWS. `tests/properties.rs` holds them to their promises.
//! - [`choose`] takes out of a plan what `--target` and `--exclude` leave out; [`protect`] refuses what `protect = true` forbids.
//! - [`aws`] is the edge: clients, one error type with its class, a trace of calls and of how deep they waited.
//! - [`run`] is the pipeline's run as a resource: key, ledger, lease, verdict, driving.
//! - [`saved`] keeps a plan in a file, and says what has moved since.
//! - [`graph`] is what comes before what, in a stack or in a plan.
//! - [`command`] has a file a verb; [`report`] turns plans and events into text; [`cli`] is the command line.
//! - `sandbox` is AWS on the user's own machine, a package of its own behind a default feature. It knows nothing of the rest.
//!
//! `aws_sdk_*` is imported only under [`aws`], [`kinds`], [`run`] and, to make buckets in the sandbox, by
//! [`command::session`].

pub mod address;
pub mod aws;
pub mod choose;
pub mod cli;
pub mod command;
pub mod desired;
pub mod diff;
pub mod encryption;
pub mod event;
pub mod execute;
pub mod facts;
pub mod graph;
pub mod kind;
pub mod kinds;
pub mod live;
pub mod phrase;
pub mod plan;
pub mod protect;
pub mod rehearse;
pub mod report;
pub mod run;
pub mod saved;
pub mod stack;

#[cfg(feature = "sandbox")]
pub use seqstack_sandbox as sandbox;
