//! What is going on to the lines of the live part, each cut to the terminal's width. Pure.

use anstyle::{AnsiColor, Style};
use console::truncate_str;
use jiff::Timestamp;

use super::board::{Board, Log, Run, State, Step, Works, since};
use crate::report::span;
use crate::run::Verdict;

/// Moves four times a second. Without a dash: that is a plan's sign for what is deleted.
const SPINNER: [char; 4] = ['|', '/', '|', '\\'];
/// Wide enough for `59 min 59 s`.
const TIME: usize = 11;
/// Wide enough for every state.
const STATE: usize = 9;

/// The lines: none where nothing goes on, and fewer than the terminal has rows.
pub(super) fn lines(board: &Board, now: Timestamp, width: usize, height: usize) -> Vec<String> {
    let mut out = works(&board.converge, now);
    if let Some(run) = board.run.as_ref().filter(|run| run.is_on()) {
        // Beside the steps: two headlines, what it waits for, and what stands above.
        out.extend(run_lines(run, now, height.saturating_sub(4)));
    }
    out.extend(works(&board.settle, now));
    if out.len() >= height {
        let rows = height.saturating_sub(2);
        let more = out.len() - rows;
        out.truncate(rows);
        out.push(format!("  and {more} more"));
    }
    // One column is left free: in the last one, terminals differ in what comes next.
    let columns = width.saturating_sub(1);
    out.iter().map(|line| truncate_str(&one_line(line), columns, "...").into_owned()).collect()
}

/// What AWS says may have any number of lines.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r', '\t']).collect::<Vec<_>>().join(" ")
}

fn works(works: &Works, now: Timestamp) -> Vec<String> {
    let Some(headline) = works.headline(now) else { return Vec::new() };
    let mut out = vec![format!("  {headline}")];
    out.extend(works.doing.iter().map(|(step, (begun, waits))| {
        let waits = waits.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        format!("  {} {step}, {}{waits}", spinner(now), since(*begun, now))
    }));
    out
}

fn run_lines(run: &Run, now: Timestamp, height: usize) -> Vec<String> {
    let took = run.begun.map(|begun| since(begun, now)).unwrap_or_default();
    let mut out = vec![format!("  run of {}: {took}", run.sample)];
    out.extend(run.instance.as_ref().map(|(id, end)| match end {
        Some(at) => {
            let left = at.duration_since(now).as_secs().max(0);
            format!("  {id} ends itself at {at:.0}, in {}", span(left))
        }
        None => format!("  {id} never ends itself"),
    }));
    out.extend(run.waits.as_ref().map(|what| format!("  {} waiting for {what}", spinner(now))));
    let width = run.steps.iter().map(|step| console::measure_text_width(&step.name)).max().unwrap_or(0);
    let rows = |steps: &[&Step]| steps.iter().map(|step| row(step, now, width)).collect::<Vec<_>>();
    if run.steps.len() <= height {
        out.extend(rows(&run.steps.iter().collect::<Vec<_>>()));
        return out;
    }
    // Too many for the terminal: those that go on, and how many the others are.
    let waits = |step: &&Step| matches!(step.state, State::Waiting(_));
    let goes_on = |step: &&Step| matches!(step.state, State::Starting { .. } | State::Running { .. });
    let waiting = run.steps.iter().filter(waits).count();
    let going: Vec<&Step> = run.steps.iter().filter(goes_on).collect();
    out.push(format!("    {} of {} steps over", run.steps.len() - waiting - going.len(), run.steps.len()));
    out.extend(rows(&going));
    out.push(format!("    {waiting} steps waiting"));
    out
}

fn row(step: &Step, now: Timestamp, width: usize) -> String {
    let (word, style) = state(&step.state);
    let (time, more) = match &step.state {
        State::Waiting(why) => (String::new(), why.clone()),
        State::Kept => (String::new(), None),
        State::Starting { since: begun, why } => (since(*begun, now), why.clone()),
        State::Running { since: begun, attempt, log } => {
            let again = (*attempt > 1).then(|| format!("attempt {attempt}"));
            let log = match log {
                Log::NotAsked => None,
                Log::Silent => Some("no line in its log yet".to_owned()),
                Log::Last(at) => Some(format!("last line {} ago", since(*at, now))),
                Log::Unread(why) => Some(format!("its log cannot be read: {why}")),
            };
            (since(*begun, now), Some(again.into_iter().chain(log).collect::<Vec<_>>().join(", ")))
        }
        State::Ended { seconds, .. } => (seconds.map(span).unwrap_or_default(), None),
    };
    let mark = if matches!(step.state, State::Starting { .. } | State::Running { .. }) { spinner(now) } else { ' ' };
    let name = console::pad_str(&step.name, width, console::Alignment::Left, None);
    let more = more.unwrap_or_default();
    format!("  {mark} {name}  {style}{word:<STATE$}{style:#}  {time:<TIME$}  {more}").trim_end().to_owned()
}

fn state(state: &State) -> (&'static str, Style) {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match state {
        State::Waiting(_) => ("waiting", Style::new().dimmed()),
        State::Kept => ("kept", Style::new().dimmed()),
        State::Starting { .. } => ("starting", colour(AnsiColor::Cyan)),
        State::Running { .. } => ("running", colour(AnsiColor::Cyan)),
        State::Ended { verdict, .. } => match verdict {
            Verdict::Succeeded => ("succeeded", colour(AnsiColor::Green)),
            Verdict::Cancelled => ("cancelled", colour(AnsiColor::Yellow)),
            _ => ("failed", colour(AnsiColor::Red)),
        },
    }
}

fn spinner(now: Timestamp) -> char {
    let quarter = usize::try_from(now.as_millisecond() / 250).unwrap_or_default();
    SPINNER.get(quarter % SPINNER.len()).copied().unwrap_or(' ')
}
