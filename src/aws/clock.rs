//! AWS's clocks: the age of what AWS keeps is told by the clock that dates it, never by this machine's.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use jiff::Timestamp;

use super::AwsError;

/// Takes the `Date` header of an answer.
#[derive(Clone, Debug, Default)]
pub struct DateHeader(Arc<Mutex<Option<String>>>);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for DateHeader {
    fn name(&self) -> &'static str {
        "seqstack-date"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(date), Ok(mut kept)) = (context.response().headers().get("date"), self.0.lock()) {
            *kept = Some(date.to_owned());
        }
        Ok(())
    }
}

impl DateHeader {
    /// What the service's clock showed when it answered.
    ///
    /// # Errors
    /// When no answer with a date has come.
    pub fn read(&self, operation: &'static str) -> Result<Timestamp, AwsError> {
        let text = self.0.lock().ok().and_then(|kept| kept.clone());
        text.and_then(|text| DateTime::from_str(&text, Format::HttpDate).ok())
            .and_then(|date| timestamp(Some(&date)))
            .ok_or_else(|| AwsError::refused(operation, "the answer has no Date header to tell ages by"))
    }
}

/// AWS's time as ours.
pub fn timestamp(at: Option<&DateTime>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}
