//! The account as it was: for some time after a change, AWS may answer a read from before it, and the next one not (IAM,
//! "eventual consistency"; EC2 API and ECS API, the same). Turns the age that a test wishes an answer to have into the
//! account of that age. S3 is strongly consistent; STS and SSM have nothing that changes: of these no past is kept.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::account::{Account, Whole};
use super::connector::mutates;
use super::engine::{Engine, Launch, Process};
use super::front::dispatch;
use super::service::{Answer, ApiError, Caller, Cx};

/// What happens by itself (a task ends) is kept at least so often, as far as anybody asks.
const OFTEN: Duration = Duration::from_millis(250);

/// A request that is to be answered as from that long ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind(pub(super) Duration);

/// Copies of an account, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    within: Duration,
    copies: VecDeque<(Timestamp, Whole)>,
}

impl Past {
    /// Keeps copies for so long from now on.
    pub(super) fn keep(&mut self, within: Duration) {
        self.within = within;
    }

    /// Before the first call: what there was until then.
    pub(super) fn begin(&mut self, whole: &Whole, now: Timestamp) {
        if !self.within.is_zero() && self.copies.is_empty() {
            self.copies.push_back((now, whole.copy()));
        }
    }

    /// After a call of this name, `service:Operation`.
    pub(super) fn note(&mut self, whole: &Whole, now: Timestamp, name: &str) {
        let Some((last, _)) = self.copies.back() else { return };
        if !mutates(name) && *last + OFTEN > now {
            return;
        }
        self.copies.push_back((now, whole.copy()));
        // The last one of before the window is what there was at its beginning.
        while self.copies.get(1).is_some_and(|(at, _)| *at + self.within < now) {
            self.copies.pop_front();
        }
    }

    /// The account as it was that long ago, or as far back as is known; none where no past is kept of a service.
    pub(super) fn at(&self, service: &str, now: Timestamp, behind: Behind) -> Option<Whole> {
        if !matches!(service, "iam" | "ec2" | "ecs" | "logs") {
            return None;
        }
        let then = |(at, _): &&(Timestamp, Whole)| *at + behind.0 <= now;
        self.copies.iter().rev().find(then).or(self.copies.front()).map(|(_, whole)| whole.copy())
    }
}

/// What is answered to a change where it is asked for in the past, since what it is about was not there yet:
/// `InvalidGroup.NotFound` right after CreateSecurityGroup, say, or that a rule which is to be revoked is not known.
pub(super) fn unheard(
    past: &mut Account<'_>,
    cx: &Cx,
    caller: &Caller,
    (service, operation): (&str, &str),
    input: &serde_json::Value,
) -> Option<Answer> {
    let cx = Cx { engine: std::sync::Arc::new(Nowhere), ..cx.clone() };
    let unseen = |error: &ApiError| {
        error.code.contains("NotFound")
            || error.code.starts_with("NoSuch")
            || ["not found", "IAM Instance Profile"].iter().any(|text| error.message.contains(text))
    };
    let answer = dispatch(past, &cx, caller, service, operation, input.clone());
    let unknown = |answer: &serde_json::Value| answer.get("unknownIpPermissionSet").is_some();
    Some(answer).filter(|answer| answer.as_ref().map_or_else(unseen, unknown))
}

/// Runs nothing: what is done in the past has no effect.
#[derive(Debug)]
struct Nowhere;

impl Engine for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn start(&self, _launch: &Launch, _now: Timestamp) {}

    fn process(&self, _task: &str, _now: Timestamp) -> Option<Process> {
        None
    }

    fn log(&self, _task: &str, _now: Timestamp) -> Vec<(Timestamp, String)> {
        Vec::new()
    }

    fn stop(&self, _task: &str, _now: Timestamp) {}

    fn end_instance(&self, _instance: &str, _now: Timestamp) {}
}
