//! Errors that EC2 words as its own failure (HTTP 500) and that are its last word: the SDK does not repeat them.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};

use super::DEFINITIVE;

/// Forbids another attempt after such an error. Without it the SDK asks for half a minute and more in each zone before the
/// next zone or type is tried (terraform-provider-aws #21293).
#[derive(Clone, Copy, Debug)]
pub(super) struct LastWord;

impl ClassifyRetry for LastWord {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(response) = context.response().filter(|response| response.status().as_u16() >= 400) else {
            return RetryAction::NoActionIndicated;
        };
        let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
        match DEFINITIVE.iter().any(|code| body.contains(&format!("<Code>{code}</Code>"))) {
            true => RetryAction::RetryForbidden,
            false => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "last word"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
