//! A view as text: groups in the order in which they happen, what is in the way, what is lost, and at the end what it comes
//! to. Signs say what colour says; a word is never broken.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use super::Header;
use super::view::{
    Action, Conflict, Counts, Field, Overwrite, PipelineStep, Resource, Run, Standing, StepAction, View, When,
};
use super::wrap::{Page, Span};
use crate::phrase::{counted, size};

/// How much to show, and where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// What stays as it is, every field of what is made, and the calls, too.
    pub verbose: bool,
    /// Columns of the terminal; none where there is none, and then no line is broken.
    pub width: Option<usize>,
}

/// A line is no longer than this on the widest terminal: eyes find its end.
const WIDEST: usize = 100;
/// An address longer than this has what is said of it on a line of its own.
const LONG: usize = 26;
/// A change that fits in so many columns is told in one line, whatever the terminal: the same plan reads the same everywhere.
const SHORT: usize = 80;

const PLAIN: Style = Style::new();
const ADD: Style = AnsiColor::Green.on_default();
const CHANGE: Style = AnsiColor::Yellow.on_default();
const REMOVE: Style = AnsiColor::Red.on_default();
const RUN: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The whole plan.
pub fn text(view: &View, detail: Detail) -> String {
    let mut writer = Writer {
        page: Page::new(detail.width.map(|width| width.min(WIDEST))),
        verbose: detail.verbose,
        column: column(view),
    };
    writer.header(&view.header);
    writer.resources(view, When::BeforeRun);
    view.run.iter().for_each(|run| writer.run(run, view.header.sample.as_deref()));
    writer.resources(view, When::AfterRun);
    writer.unchanged(view);
    writer.conflicts(&view.conflicts);
    writer.costs(view);
    writer.remarks(view);
    writer.page.gap();
    summary(view).iter().for_each(|line| writer.page.plain(2, line));
    view.cost.iter().for_each(|cost| writer.page.plain(2, &format!("cost: {cost}")));
    writer.page.into_text()
}

fn column(view: &View) -> usize {
    let lengths = view.resources.iter().map(|resource| resource.address.len());
    4 + lengths.filter(|length| *length <= LONG).max().unwrap_or(0) + 2
}

struct Writer {
    page: Page,
    verbose: bool,
    column: usize,
}

fn span(style: Style, text: impl Into<String>) -> Span {
    (style, text.into())
}

impl Writer {
    /// Who asks without the account, which stands beside it.
    fn header(&mut self, header: &Header) {
        let who = header.identity.splitn(6, ':').nth(5).unwrap_or(&header.identity).to_owned();
        let header = Header { identity: who, ..header.clone() };
        header.to_string().lines().for_each(|line| self.page.plain(2, line));
    }

    fn heading(&mut self, text: &str) {
        self.page.gap();
        self.page.line(2, &[span(DIM, text)]);
    }

    fn resources(&mut self, view: &View, when: When) {
        let these: Vec<&Resource> = view.resources.iter().filter(|resource| resource.when == when).collect();
        if these.is_empty() {
            return;
        }
        self.heading(match when {
            When::BeforeRun => "infrastructure",
            When::AfterRun => "after the run",
        });
        these.into_iter().for_each(|resource| self.resource(resource));
    }

    fn resource(&mut self, resource: &Resource) {
        let (sign, style) = match resource.action {
            Action::Create => ("+", ADD),
            Action::Change => ("~", CHANGE),
            Action::Replace => ("-/+", REMOVE),
            Action::Delete => ("-", REMOVE),
            Action::Release => ("o", CHANGE),
        };
        let mut about: Vec<Span> = Vec::new();
        about.extend(resource.id.as_ref().map(|id| span(PLAIN, id)));
        about.extend((!resource.gist.is_empty()).then(|| span(PLAIN, resource.gist.join(", "))));
        let for_the_run = resource.only_for_the_run && resource.action == Action::Create;
        about.extend(for_the_run.then(|| span(DIM, "only for the run")));
        about.extend(resource.because.as_ref().map(|because| span(DIM, because)));
        self.entry(style, sign, &resource.address, &about);
        self.fields(&resource.fields, resource.action == Action::Create);
        if self.verbose {
            resource.calls.iter().for_each(|call| self.page.line(8, &[span(DIM, format!("      calls {call}"))]));
        }
    }

    /// A sign, an address, and what is said of it: beside it, or under it where the address is too long for that.
    fn entry(&mut self, style: Style, sign: &str, address: &str, about: &[Span]) {
        let mut line = vec![span(style, format!("{sign:>3}")), span(PLAIN, " "), span(BOLD, address)];
        if about.is_empty() {
            self.page.line(self.column, &line);
            return;
        }
        let gap = self.column.saturating_sub(4 + address.len());
        let said: usize = about.iter().map(|(_, text)| text.width() + 2).sum();
        let mut hang = self.column;
        if gap < 2 && !self.page.holds(4 + address.len() + said) {
            hang = 8;
            self.page.line(hang, &line);
            line = vec![span(PLAIN, " ".repeat(hang))];
        } else {
            line.push(span(PLAIN, " ".repeat(gap.max(2))));
        }
        for (n, part) in about.iter().enumerate() {
            line.extend((n > 0).then(|| span(PLAIN, ", ")));
            line.push(part.clone());
        }
        self.page.line(hang, &line);
    }

    /// What changes, but for what follows from it; of what is made, the gist was told.
    fn fields(&mut self, fields: &[Field], is_new: bool) {
        let main = |field: &&Field| self.verbose || !(field.minor || is_new);
        let mut these: Vec<&Field> = fields.iter().filter(main).collect();
        if these.is_empty() && !is_new {
            these = fields.iter().collect();
        }
        these.into_iter().for_each(|field| self.field(field, is_new));
    }

    fn field(&mut self, field: &Field, is_new: bool) {
        let of = |sign: char| field.diff.iter().filter(move |line| line.starts_with(sign)).collect::<Vec<_>>();
        let (old, new) = (of('-'), of('+'));
        let side = |lines: &[&String]| lines.first().map_or("none".to_owned(), |line| line[2..].to_owned());
        let path = span(PLAIN, format!("      {}: ", field.path));
        let short = path.1.width() + side(&old).width() + " -> ".len() + side(&new).width() <= SHORT;
        match (old.as_slice(), new.as_slice()) {
            ([], [only]) if is_new && field.diff.len() == 1 => {
                self.page.line(8, &[path, span(PLAIN, &only[2..])]);
            }
            ([] | [_], [] | [_]) if short && field.diff.len() == old.len() + new.len() && !field.diff.is_empty() => {
                let (from, to) = (span(REMOVE, side(&old)), span(ADD, side(&new)));
                self.page.line(8, &[path, from, span(PLAIN, " -> "), to]);
            }
            _ if field.diff.is_empty() => {}
            _ => {
                self.page.plain(8, &format!("      {}", field.path));
                field.diff.iter().for_each(|line| self.diff(line));
            }
        }
    }

    fn diff(&mut self, line: &str) {
        let style = match line.chars().next() {
            Some('-') => REMOVE,
            Some('+') => ADD,
            _ => DIM,
        };
        let inner = line.len() - line[1..].trim_start().len();
        self.page.line(8 + inner, &[span(style, format!("        {line}"))]);
    }

    fn run(&mut self, run: &Run, sample: Option<&str>) {
        if run.steps.is_empty() && run.notes.is_empty() {
            return;
        }
        self.heading(&format!("the run{}", sample.map(|name| format!(" of {name}")).unwrap_or_default()));
        let width = run.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
        for (index, step) in run.steps.iter().enumerate() {
            self.step(index + 1, step, width);
        }
        run.notes.iter().for_each(|note| self.page.plain(6, &format!("    note: {note}")));
    }

    fn step(&mut self, number: usize, step: &PipelineStep, width: usize) {
        let (sign, word, style) = match step.action {
            StepAction::Run => (">", "run ", RUN),
            StepAction::Keep => (" ", "keep", DIM),
            StepAction::KnownAfterUpload => (">", "run?", RUN),
        };
        let line = [
            span(style, format!("{sign:>3}")),
            span(PLAIN, format!(" {number:>2} ")),
            span(BOLD, format!("{:<width$}", step.name)),
            span(style, format!("  {word}")),
            span(DIM, format!("  {}", step.because)),
        ];
        self.page.line(width + 15, &line);
        self.fields(&step.fields, false);
    }

    fn unchanged(&mut self, view: &View) {
        if self.verbose && !view.unchanged.is_empty() {
            self.heading("stays as it is");
            self.page.plain(4, &format!("    {}", view.unchanged.join(", ")));
        }
    }

    fn conflicts(&mut self, conflicts: &[Conflict]) {
        if conflicts.is_empty() {
            return;
        }
        self.heading("in the way");
        for conflict in conflicts {
            let line = [
                span(REMOVE, "  !"),
                span(PLAIN, " "),
                span(BOLD, &conflict.address),
                span(PLAIN, format!("  {}", conflict.why)),
            ];
            self.page.line(6, &line);
            if !conflict.adopting.is_empty() {
                self.page.plain(8, &format!("      --adopt {} would change", conflict.address));
                self.fields(&conflict.adopting, false);
            }
            self.page.plain(12, &format!("      hint: {}", conflict.hint));
        }
    }

    /// What is lost and what is overwritten, with its worth.
    fn costs(&mut self, view: &View) {
        if !view.losses.is_empty() {
            self.heading("will be lost");
            for loss in &view.losses {
                self.page.line(4, &[span(REMOVE, "  ! "), span(PLAIN, loss.to_string())]);
            }
        }
        if !view.overwrites.is_empty() {
            self.heading("will be overwritten");
            let width = view.overwrites.iter().map(|one| one.key.width()).max().unwrap_or(0);
            let mut bucket = None;
            for Overwrite { bucket: of, key, size: bytes, written_at, by_a_run, by } in &view.overwrites {
                if bucket.replace(of) != Some(of) {
                    self.page.plain(4, &format!("  in s3://{of}"));
                }
                let written = written_at.as_ref().map(|at| format!(" of {at}")).unwrap_or_default();
                let whose = match by_a_run {
                    true => "",
                    false if by.starts_with("upload.") => ", and seqstack did not put it there",
                    false => ", and no run wrote it",
                };
                self.page.plain(8, &format!("    {key:<width$}  {}{written}{whose}", size(*bytes)));
            }
        }
    }

    fn remarks(&mut self, view: &View) {
        if view.notes.is_empty() && view.warnings.is_empty() {
            return;
        }
        self.page.gap();
        for note in &view.notes {
            self.page.plain(2, &format!("note: {}: {}", note.address, note.text));
        }
        for warning in &view.warnings {
            self.page.line(2, &[span(CHANGE, "warning"), span(PLAIN, format!(": {warning}"))]);
        }
    }
}

/// What it comes to: a line that counts, and one on the run.
fn summary(view: &View) -> Vec<String> {
    if !view.conflicts.is_empty() {
        let conflicts = counted(view.conflicts.len(), "conflict");
        return vec![format!("{conflicts} in the way: nothing can be applied until that is settled")];
    }
    let counts = |when: When| {
        let counts = Counts::of(view.resources.iter().filter(|resource| resource.when == when));
        let parts = [
            (counts.create, "to create"),
            (counts.change, "to change"),
            (counts.replace, "to replace"),
            (counts.delete, "to delete"),
            (counts.release, "to let go of"),
        ];
        let told = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        told.collect::<Vec<_>>().join(", ")
    };
    let (before, after) = (counts(When::BeforeRun), counts(When::AfterRun));
    let runs = view.run.as_ref().is_some_and(|run| run.will_run);
    let left_out = match view.left_out.len() {
        0 => String::new(),
        1 => "; 1 other change is left out".to_owned(),
        several => format!("; {several} other changes are left out"),
    };
    let counted = match (before.as_str(), after.as_str()) {
        ("", "") if runs => format!("infrastructure: nothing to do ({} as the stack file says)", view.counts.unchanged),
        // What is left out is not as the stack file says.
        ("", "") if !left_out.is_empty() => "nothing to do".to_owned(),
        ("", "") if view.header.verb == "destroy" => "nothing to do: nothing of the stack is there".to_owned(),
        ("", "") => format!("nothing to do: {} as the stack file says", are(view.counts.unchanged)),
        (before, "") => before.to_owned(),
        ("", after) => format!("{after} after the run"),
        (before, after) => format!("{before}; after the run {after}"),
    };
    let run = view.run.as_ref().map(|run| of_run(run, view));
    std::iter::once(counted + &left_out).chain(run).collect()
}

fn are(n: usize) -> String {
    format!("{} {}", counted(n, "resource"), if n == 1 { "is" } else { "are" })
}

fn of_run(run: &Run, view: &View) -> String {
    let because = run.because.join("; ");
    let sample = view.header.sample.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    let is_known = run.steps.iter().all(|step| step.action != StepAction::KnownAfterUpload);
    let steps = match (view.counts.steps_kept, view.counts.steps_run) {
        (0, all) if is_known => format!("all {}", counted(all, "step")),
        (0, _) => "from the first step that the upload changes".to_owned(),
        (kept, run) => format!("{run} of {}", counted(kept + run, "step")),
    };
    match run.standing {
        Standing::Due | Standing::DueAfterUpload => match &run.driver {
            Some(driver) => format!(
                "the pipeline is being run{sample} by {driver}; apply takes it over only if nothing more is heard of them"
            ),
            None => format!("the pipeline runs{sample}, {steps}, because {because}"),
        },
        Standing::Done | Standing::FailedBefore | Standing::InputsMissing => {
            format!("the pipeline does not run{sample}: {because}")
        }
    }
}
