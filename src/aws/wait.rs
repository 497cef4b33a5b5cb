//! Waiting for AWS: prompt at first, bounded always. A wait that takes long is told, and whoever is told can end it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{AwsError, Class};
use crate::phrase::span;

/// After how long a wait is told.
pub const TOLD: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// Whom the waits of this future are told.
    static WATCHER: Watcher;
}

/// Who is told what is waited for, and can end the waiting.
#[derive(Clone)]
pub struct Watcher {
    /// Tells the user.
    pub say: Arc<dyn Fn(String) + Send + Sync>,
    /// True from the first interrupt on.
    pub stopped: watch::Receiver<bool>,
}

/// Runs a future, whose waits are told to this watcher, and ended by it.
pub async fn watched<F: Future>(watcher: Watcher, inner: F) -> F::Output {
    WATCHER.scope(watcher, inner).await
}

/// Becomes ready with the first interrupt.
pub async fn interrupted(stopped: &watch::Receiver<bool>) {
    if stopped.clone().wait_for(|stop| *stop).await.is_err() {
        // A sender that is gone asks for nothing.
        std::future::pending::<()>().await;
    }
}

/// Runs a future; that it takes long is told, once.
pub async fn told_if_long<F: Future>(watcher: &Watcher, what: &str, inner: F) -> F::Output {
    let mut inner = std::pin::pin!(inner);
    tokio::select! {
        done = &mut inner => return done,
        () = tokio::time::sleep(TOLD) => (watcher.say)(waiting(what, TOLD, None)),
    }
    inner.await
}

/// A wait in words: for what, for how long it has been, and how much longer it may be, where that is known.
pub fn waiting(what: &str, so_far: Duration, at_most: Option<Duration>) -> String {
    let seconds = |time: Duration| span(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let more = at_most.map(|more| format!(", at most {} more", seconds(more))).unwrap_or_default();
    format!("waiting for {what}: {} so far{more}", seconds(so_far))
}

/// A wait: its pauses, of which the watcher is told once they have taken [`TOLD`].
struct Wait<'a> {
    what: &'a str,
    operation: &'static str,
    begun: Instant,
    within: Duration,
    told: bool,
    watcher: Option<Watcher>,
}

impl<'a> Wait<'a> {
    fn new(operation: &'static str, what: &'a str, within: Duration) -> Self {
        let watcher = WATCHER.try_with(Watcher::clone).ok();
        Self { what, operation, begun: Instant::now(), within, told: false, watcher }
    }

    /// Pauses.
    ///
    /// # Errors
    /// As soon as the watcher ends the wait.
    async fn pause(&mut self, pause: Duration) -> Result<(), AwsError> {
        let Some(watcher) = &self.watcher else {
            tokio::time::sleep(pause).await;
            return Ok(());
        };
        if !self.told && self.begun.elapsed() >= TOLD {
            self.told = true;
            let so_far = self.begun.elapsed();
            (watcher.say)(waiting(self.what, so_far, Some(self.within.saturating_sub(so_far))));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = interrupted(&watcher.stopped) => Err(AwsError {
                class: Class::Stopped,
                ..AwsError::refused(self.operation, format!("stopped on request while waiting for {}", self.what))
            }),
        }
    }
}

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
/// The last error, or one that says what was waited for, when the time is up; one of [`Class::Stopped`] when the watcher
/// ends the wait.
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
    let mut wait = Wait::new(operation, what, pace.within);
    let mut pause = pace.first;
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) if passing(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if wait.begun.elapsed() + pause > pace.within {
            let vain =
                || AwsError::refused(operation, format!("waited {} s for {what}, in vain", pace.within.as_secs()));
            return Err(last.unwrap_or_else(vain));
        }
        wait.pause(pause).await?;
        pause = (pause * 3 / 2).min(pace.most);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Waits in vain for a minute, interrupted after so many seconds; gives what was told, the failure, and how long it took.
    async fn in_vain(interrupted_after: Option<u64>) -> (Vec<String>, AwsError, u64) {
        let (stop, stopped) = watch::channel(false);
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tell = told.clone();
        let watcher = Watcher { say: Arc::new(move |text| tell.lock().unwrap().push(text)), stopped };
        let pace = Pace { within: Duration::from_secs(60), ..Pace::SETTLING };
        let begun = Instant::now();
        let wait =
            watched(watcher, until(pace, "ec2:RunInstances", "i-1 to run", |_| false, || async { Ok(None::<()>) }));
        let interrupt = async {
            match interrupted_after {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
            stop.send(true).unwrap();
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            done = wait => done.unwrap_err(),
            () = interrupt => unreachable!(),
        };
        let told = told.lock().unwrap().clone();
        (told, error, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_told_once_it_takes_long_and_ends_when_it_may() {
        let (told, error, took) = in_vain(None).await;
        let [line] = &told[..] else { panic!("{told:?}") };
        assert!(line.starts_with("waiting for i-1 to run: 1") && line.contains(" so far, at most 4"), "{line}");
        assert!(error.class == Class::Refused && error.message.contains("waited 60 s for i-1 to run"), "{error}");
        assert!((50..=60).contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_interrupt_ends_a_wait_at_once() {
        let (told, error, took) = in_vain(Some(5)).await;
        assert_eq!((told, took), (Vec::new(), 5));
        assert!(error.class == Class::Stopped && error.message.contains("waiting for i-1 to run"), "{error}");
    }
}
