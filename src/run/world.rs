//! What a run asks of AWS.
//!
//! The trait is the seam between driving a run and AWS: each method is one call, or one listing with its pages.

use jiff::{SignedDuration, Timestamp};

use super::claim::Claim;
use super::ledger::{Object, Request};
use super::observe::Listing;
use super::strays::TaggedTask;
use super::verdict::TaskEnd;
use crate::aws::AwsError;

mod ending;
mod live;
#[cfg(test)]
mod tests;

pub(crate) use live::Live;

/// The ledger as S3 has it.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// Body, ETag and when it was written; none where there is no ledger.
    pub(crate) object: Option<(Vec<u8>, String, Timestamp)>,
    /// S3's clock.
    pub(crate) now: Timestamp,
}

/// On which condition the ledger is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    /// There is none.
    IfAbsent,
    /// It has that ETag.
    IfMatch(String),
}

/// RunTask's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// A task, new or the one that the token had started already.
    Task(String),
    /// It was not placed: reason and detail.
    Refused(String, String),
}

/// A task as ECS reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskNow {
    /// ECS does not know it (any more).
    Missing,
    /// Not stopped yet.
    Going(Going),
    /// Stopped.
    Stopped(TaskEnd),
}

/// A task that has not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Going {
    /// `PENDING`, `RUNNING`, …
    pub(crate) status: String,
    /// When its container started, once it has.
    pub(crate) since: Option<Timestamp>,
}

/// An instance's agent as the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// It has not registered, or not any more.
    Absent,
    /// Registered, but not connected or not active.
    Away {
        /// Its status, and whether it is connected, in words.
        status: String,
        /// Whether it is connected: one that is drained is, and its tasks go on.
        connected: bool,
    },
    /// It takes tasks.
    Ready {
        /// The container instance.
        arn: String,
        /// CPU units and MiB that it registered with.
        registered: (i64, i64),
        /// CPU units and MiB that are free.
        remaining: (i64, i64),
    },
}

/// An instance's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was launched.
    pub(crate) launched: Option<Timestamp>,
    /// When it ends itself.
    pub(crate) deadline: Option<Timestamp>,
    /// EC2 says that something other than its own shutdown ended it.
    pub(crate) ended_by_others: bool,
    /// Whether a stack has made it: only such a one is tagged.
    pub(crate) made_by_a_stack: bool,
    /// Whether a run has claimed its folders.
    pub(crate) claimed: bool,
}

/// What a run asks of AWS.
pub(crate) trait World: Send + Sync {
    /// Reads the ledger.
    fn read_ledger(&self) -> impl Future<Output = Result<Read, AwsError>> + Send;
    /// Writes it, on a condition; gives the new ETag and S3's clock.
    fn write_ledger(
        &self,
        body: Vec<u8>,
        only: &Only,
    ) -> impl Future<Output = Result<(String, Timestamp), AwsError>> + Send;
    /// Keeps what is at the ledger's place and is none that can be used, under a name that is its content's; says where.
    fn set_aside(&self, body: Vec<u8>, etag: &str) -> impl Future<Output = Result<String, AwsError>> + Send;
    /// Reads the ledger at another key of the same bucket.
    fn read_ledger_at(&self, key: &str) -> impl Future<Output = Result<Read, AwsError>> + Send;
    /// The claim on an instance's folders; none where nobody has claimed them.
    fn read_claim(&self, instance: &str) -> impl Future<Output = Result<Option<Claim>, AwsError>> + Send;
    /// Tags an instance as claimed.
    fn tag_claimed(&self, instance: &str) -> impl Future<Output = Result<(), AwsError>> + Send;
    /// Claims an instance's folders; false where they are claimed already.
    fn claim(&self, instance: &str, claim: &Claim) -> impl Future<Output = Result<bool, AwsError>> + Send;
    /// Lists objects.
    fn list(&self, listing: &Listing) -> impl Future<Output = Result<Vec<Object>, AwsError>> + Send;
    /// Starts a task, or finds the one that this token has started.
    fn run_task(&self, request: &Request, token: &str) -> impl Future<Output = Result<Placed, AwsError>> + Send;
    /// Tasks by ARN, in the order asked for.
    fn tasks(&self, cluster: &str, arns: &[String]) -> impl Future<Output = Result<Vec<TaskNow>, AwsError>> + Send;
    /// A task by `startedBy`, running or just stopped.
    fn find_task(
        &self,
        cluster: &str,
        started_by: &str,
    ) -> impl Future<Output = Result<Option<String>, AwsError>> + Send;
    /// The tasks of a stack in a cluster, by their tags.
    fn tagged(
        &self,
        cluster: &str,
        stack: &str,
        region: &str,
    ) -> impl Future<Output = Result<Vec<TaggedTask>, AwsError>> + Send;
    /// Stops a task.
    fn stop_task(&self, cluster: &str, arn: &str, reason: &str) -> impl Future<Output = Result<(), AwsError>> + Send;
    /// The agent of an instance.
    fn agent(&self, cluster: &str, instance: &str) -> impl Future<Output = Result<Agent, AwsError>> + Send;
    /// Whether EC2 says that the instance is gone, or going.
    fn instance_gone(&self, instance: &str) -> impl Future<Output = Result<bool, AwsError>> + Send;
    /// Ends an instance of this stack, made by it; true once EC2 says that it has ended, and it has left the cluster.
    fn end_instance(
        &self,
        cluster: &str,
        instance: &str,
        stack: &str,
        region: &str,
    ) -> impl Future<Output = Result<bool, AwsError>> + Send;
    /// An instance's life, as long as EC2 remembers it.
    fn life(&self, instance: &str) -> impl Future<Output = Result<Option<Life>, AwsError>> + Send;
    /// The last lines of a log stream.
    fn log_tail(
        &self,
        group: &str,
        stream: &str,
        lines: i32,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;
    /// How long ago a log stream's last line was written, by AWS's clock; none if there is none.
    fn silence(
        &self,
        group: &str,
        stream: &str,
    ) -> impl Future<Output = Result<Option<SignedDuration>, AwsError>> + Send;
}
