//! Listens to running steps for whoever watches: turns how long ago each wrote its last line, and when the instance ends
//! itself, into events. A run goes on as it would without: what cannot be read is told, and asked again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

use super::RunEvent;
use super::world::World;
use crate::aws::Class;

/// How long between two looks at the logs of running steps: GetLogEvents allows 25 calls a second to a whole account
/// (CloudWatch Logs quotas).
const PAUSE: Duration = Duration::from_secs(12);

/// Log group and stream by running step.
pub(super) type Places = BTreeMap<String, (String, String)>;

/// Listens until it is dropped.
pub(super) async fn listen<W: World>(
    world: &W,
    instance: &str,
    running: &watch::Receiver<Places>,
    events: &(dyn Fn(RunEvent) + Send + Sync),
) -> Infallible {
    let mut end_told = false;
    loop {
        if !end_told && let Ok(Some(life)) = world.life(instance).await {
            events(RunEvent::InstanceEnds { instance: instance.to_owned(), at: life.deadline });
            end_told = true;
        }
        tokio::time::sleep(PAUSE).await;
        let places = running.borrow().clone();
        for (name, place) in places {
            let event = heard(world, &name, &place).await;
            // It may have ended meanwhile, and that was told.
            if running.borrow().get(&name) == Some(&place) {
                events(event);
            }
        }
    }
}

async fn heard<W: World>(world: &W, name: &str, (group, stream): &(String, String)) -> RunEvent {
    let (seconds, unread) = match world.silence(group, stream).await {
        Ok(silence) => (silence.map(|silence| silence.as_secs()), None),
        // A task that has written nothing yet has no stream.
        Err(error) if error.class == Class::NotFound => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    RunEvent::StepHeard { name: name.to_owned(), seconds, unread }
}
