//! AWS's clocks: the age of what AWS keeps, and the time that is left to it, are told by the clock that dates it; a
//! laptop's own may be wrong.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::AwsError;

/// The clock of whoever answers: of one call, or of every call of a client. It takes the answers' `Date` headers.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl Clock {
    fn last(&self) -> Option<(Timestamp, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now: what it last showed, and the time since; this machine's before the first answer.
    pub fn now(&self) -> Timestamp {
        self.last()
            .and_then(|(told, at)| told.checked_add(SignedDuration::try_from(at.elapsed()).ok()?).ok())
            .unwrap_or_else(Timestamp::now)
    }

    /// What it showed in the last answer.
    ///
    /// # Errors
    /// When no answer with a date has come.
    pub fn answered(&self, operation: &'static str) -> Result<Timestamp, AwsError> {
        let told = self.last().map(|(told, _)| told);
        told.ok_or_else(|| AwsError::refused(operation, "the answer has no Date header to tell ages by"))
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "seqstack-clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(http_date);
        if let Some(now) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        }
        Ok(())
    }
}

/// A time as HTTP's headers carry it.
fn http_date(text: &str) -> Option<Timestamp> {
    timestamp(DateTime::from_str(text, Format::HttpDate).ok().as_ref())
}

/// AWS's time as ours.
pub fn timestamp(at: Option<&DateTime>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_what_it_showed_last() {
        let told: Timestamp = "2026-01-05T09:00:00Z".parse().unwrap();
        let clock = Clock(Arc::new(Mutex::new(Some((told, Instant::now())))));
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), "2026-01-05T09:01:30Z".parse::<Timestamp>().unwrap());
    }
}
