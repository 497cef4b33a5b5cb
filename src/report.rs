//! Plans and events to text. Never asks AWS, never decides.

pub mod plan;
pub mod progress;
pub mod run;
pub mod status;
pub mod unknown;

/// A time span as people say it: `4 h 12 min`, `9 s`.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
