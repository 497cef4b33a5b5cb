//! What an answer's absence means: a `NotFound` is one, and nothing else is.

use std::time::Duration;

use super::wait::{Pace, until};
use super::{AwsError, Class};

/// Turns "there is none" into `None`. A refusal to tell (denied, throttled, cut off) stays an error.
pub trait OrAbsent<T> {
    /// `None` when AWS said that there is no such thing.
    ///
    /// # Errors
    /// Every other failure.
    fn or_absent(self) -> Result<Option<T>, AwsError>;
    /// `None` when AWS gave one of these codes.
    ///
    /// # Errors
    /// Every other failure.
    fn or_absent_if(self, absent: impl FnOnce(&AwsError) -> bool) -> Result<Option<T>, AwsError>;
}

impl<T> OrAbsent<T> for Result<T, AwsError> {
    fn or_absent(self) -> Result<Option<T>, AwsError> {
        self.or_absent_if(|error| error.class == Class::NotFound)
    }

    fn or_absent_if(self, absent: impl FnOnce(&AwsError) -> bool) -> Result<Option<T>, AwsError> {
        match self {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// For a thing just made to be seen by the next call about it: seconds, never minutes, since what is not there at all
/// answers alike.
pub const SEEN: Pace =
    Pace { first: Duration::from_millis(250), most: Duration::from_secs(3), within: Duration::from_secs(30) };

/// Asks again while `passing` lets the failure pass, within the pace's time.
///
/// # Errors
/// The last failure.
pub async fn again<T, F>(
    pace: Pace,
    operation: &'static str,
    what: &str,
    passing: impl Fn(&AwsError) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    until(pace, operation, what, passing, || {
        let asked = ask();
        async move { asked.await.map(Some) }
    })
    .await
}

/// Whether a call with this failure may have taken effect all the same.
pub fn unclear(error: &AwsError) -> bool {
    matches!(error.class, Class::Passing | Class::Throttled)
}
