//! Waiting for AWS: prompt at first, bounded always.

use std::time::Duration;

use super::{AwsError, Class};

/// How long to wait, and how often to look: from `first` on, half as long again each time, never longer than `most`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// When to give up.
    pub within: Duration,
}

impl Pace {
    /// For what AWS settles in seconds, at times in minutes: a role, a profile, a just-launched instance.
    pub const SETTLING: Self =
        Self { first: Duration::from_millis(250), most: Duration::from_secs(5), within: Duration::from_secs(300) };
    /// For a machine to boot, register, or go away.
    pub const MACHINE: Self =
        Self { first: Duration::from_millis(500), most: Duration::from_secs(5), within: Duration::from_secs(900) };
}

/// Asks until there is an answer: `Ok(Some(_))` ends it, `Ok(None)` and errors that `passing` lets pass go on.
///
/// # Errors
/// The last error, or one that says what was waited for, when the time is up.
pub async fn until<T, F>(
    pace: Pace,
    operation: &'static str,
    what: &str,
    passing: impl Fn(&AwsError) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, AwsError>
where
    F: Future<Output = Result<Option<T>, AwsError>>,
{
    let end = tokio::time::Instant::now() + pace.within;
    let mut pause = pace.first;
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) if passing(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if tokio::time::Instant::now() + pause > end {
            return Err(last.unwrap_or_else(|| AwsError {
                operation,
                code: None,
                message: format!("{what} did not happen within {} s", pace.within.as_secs()),
                status: None,
                request_id: None,
                class: Class::Refused,
            }));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(pace.most);
    }
}
