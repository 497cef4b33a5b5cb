//! What an answer's absence means: a `NotFound` is one, and nothing else is.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// For a thing just made to be seen by the next call about it: mostly seconds, for IAM at times a minute or two. No
/// longer, since what is not there at all answers alike.
pub const SEEN: Pace =
    Pace { first: Duration::from_millis(250), most: Duration::from_secs(3), within: Duration::from_secs(120) };

/// For a thing to be seen by the call that takes it away. A plan has listed it by then, so that most of [`SEEN`] is over.
const AWAY: Pace = Pace { within: Duration::from_secs(40), ..SEEN };

/// Whether this may be said of a thing that was made a moment ago. S3 alone shows what it was given at once.
pub fn unseen(error: &AwsError) -> bool {
    error.class == Class::NotFound && !error.operation.starts_with("s3:")
}

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

/// Takes something away that was seen a moment ago. "There is none" may also be said of what was made so lately that the
/// call does not see it yet, so it is believed only where it is still said after 40 seconds: `None` then.
///
/// # Errors
/// Every failure that is not `absent`.
pub async fn taken_away<T, F>(
    say: &(dyn Fn(String) + Send + Sync),
    operation: &'static str,
    what: &str,
    absent: impl Fn(&AwsError) -> bool + Send + Sync,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    let told = AtomicBool::new(false);
    let passing = |error: &AwsError| {
        let absent = absent(error);
        if absent && !told.swap(true, Ordering::Relaxed) {
            say(format!("AWS says that {what} is gone already, or does not show it yet: making sure"));
        }
        absent
    };
    // The SDK's futures are large: what is in a box is not on the stack of whoever polls.
    again(AWAY, operation, what, passing, || Box::pin(ask())).await.or_absent_if(|error| absent(error))
}

/// Whether "there is none" is what a failure says.
pub fn none(error: &AwsError) -> bool {
    error.class == Class::NotFound
}

/// Whether a call with this failure may have taken effect all the same.
pub fn unclear(error: &AwsError) -> bool {
    matches!(error.class, Class::Passing | Class::Throttled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_or_throttled_may_have_taken_effect_and_what_was_refused_has_not() {
        let of = |class| unclear(&AwsError { class, ..AwsError::refused("ecs:RegisterTaskDefinition", "no") });
        assert!(of(Class::Passing) && of(Class::Throttled));
        let refused = [Class::Refused, Class::NotFound, Class::Denied, Class::Credentials, Class::Unsent];
        assert!(refused.into_iter().all(|class| !of(class)));
    }
}
