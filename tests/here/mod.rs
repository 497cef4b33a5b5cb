//! What this machine has for the tests; what it has not is said on the terminal.

use std::process::Command;

use seqstack::sandbox::engine::detect::usable;

/// Whether an engine answers here, and runs this image. Bubblewrap runs the host's programs in its place.
pub fn ready(name: &str, image: &str) -> bool {
    let runs = || {
        let trial = ["run", "--rm", "--pull", "never", "--network", "none", image, "true"];
        Command::new(name).args(trial).output().is_ok_and(|done| done.status.success())
    };
    let why = match usable(name) {
        Err(why) => why,
        Ok(()) if name != "bubblewrap" && !runs() => format!("it does not run {image}"),
        Ok(()) => return true,
    };
    println!("skipped: {name}: {why}");
    false
}
