//! The display on a terminal in memory.

use std::io;
use std::sync::{Arc, Mutex};

use indicatif::{InMemoryTerm, TermLike};
use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};

use super::Live;
use super::board::Outline;
use crate::address::Address;
use crate::event::{Event, Failure};
use crate::plan::{Phase, StepId, Verb, run_address};
use crate::run::{RunEvent, Verdict};

/// A terminal in memory that can be resized as those do that reflow (tmux, VTE): what is longer than a row goes on in the
/// next one, and the cursor stays on the character that it was on.
#[derive(Clone, Debug)]
struct Glass(Arc<Mutex<(InMemoryTerm, u16, usize)>>);

impl Glass {
    fn new(rows: u16, columns: u16) -> Self {
        Self(Arc::new(Mutex::new((InMemoryTerm::new(rows, columns), rows, 0))))
    }

    fn resize(&self, columns: u16, live_part: &str) {
        let mut inner = self.0.lock().unwrap();
        let text = inner.0.contents();
        let (above, live) = text.split_at(text.find(live_part).unwrap());
        let next = InMemoryTerm::new(inner.1, columns);
        let write = |text: &str| next.write_str(&text.replace('\n', "\r\n")).unwrap();
        write(above);
        // Saved here, and gone back to.
        write("\x1b7");
        write(live);
        write("\x1b8");
        inner.0 = next;
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().0.contents()
    }

    fn with<T>(&self, act: impl FnOnce(&InMemoryTerm) -> T) -> T {
        act(&self.0.lock().unwrap().0)
    }
}

impl TermLike for Glass {
    fn width(&self) -> u16 {
        self.with(TermLike::width)
    }
    fn height(&self) -> u16 {
        self.with(TermLike::height)
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.with(|term| term.move_cursor_up(n))
    }
    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.with(|term| term.move_cursor_down(n))
    }
    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.with(|term| term.move_cursor_right(n))
    }
    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.with(|term| term.move_cursor_left(n))
    }
    fn write_line(&self, s: &str) -> io::Result<()> {
        self.with(|term| term.write_line(s))
    }
    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.lock().unwrap().2 += 1;
        self.with(|term| term.write_str(s))
    }
    fn clear_line(&self) -> io::Result<()> {
        self.with(TermLike::clear_line)
    }
    fn flush(&self) -> io::Result<()> {
        self.with(TermLike::flush)
    }
}

/// Somebody looking at an apply, with a clock that goes when it is told to.
struct Desk {
    glass: Glass,
    live: Live,
    now: Arc<Mutex<Timestamp>>,
}

impl Desk {
    fn new(rows: u16, columns: u16) -> Self {
        Self::coloured(rows, columns, false)
    }

    fn coloured(rows: u16, columns: u16, colour: bool) -> Self {
        let (glass, now) = (Glass::new(rows, columns), Arc::new(Mutex::new("2026-01-02T03:04:05Z".parse().unwrap())));
        let clock = now.clone();
        let live = Live::on(Box::new(glass.clone()), colour, false, Box::new(move || *clock.lock().unwrap()));
        glass.write_str("$ seqstack apply germline.toml\r\n").unwrap();
        Self { glass, live, now }
    }

    fn begin(&self, converge: usize, steps: &[&str], settle: usize) {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        self.live.begin(Outline { converge, run: Some(("NA12878".to_owned(), steps)), settle });
    }

    /// So many seconds go by, and the live part is drawn anew.
    fn after(&self, seconds: i64) -> &Self {
        *self.now.lock().unwrap() += SignedDuration::from_secs(seconds);
        self.live.tick();
        self
    }

    fn tell(&self, event: Event) -> &Self {
        self.live.read(&event);
        self
    }

    fn run(&self, event: RunEvent) -> &Self {
        self.tell(Event::Run(event))
    }

    fn done(&self, step: &StepId) -> &Self {
        self.tell(Event::Started { step: step.clone() }).tell(Event::Done { step: step.clone() })
    }

    fn running(&self, name: &str) -> &Self {
        let name = name.to_owned();
        self.run(RunEvent::StepStarting { name: name.clone(), attempt: 1 });
        self.run(RunEvent::StepStarted { name, attempt: 1, task_arn: "arn:aws:ecs:eu-west-2:1:task/c/1".to_owned() })
    }

    fn ended(&self, name: &str, verdict: Verdict, seconds: i64) -> &Self {
        self.run(RunEvent::StepEnded {
            name: name.to_owned(),
            attempt: 1,
            explanation: verdict.to_string(),
            exit_code: Some(i32::from(verdict != Verdict::Succeeded)),
            verdict,
            seconds: Some(seconds),
        })
    }
}

fn step(phase: Phase, verb: Verb, kind: &str, name: &str) -> StepId {
    StepId { phase, at: Address::new(kind, name), verb, deposed: None }
}

fn create(kind: &str, name: &str) -> StepId {
    step(Phase::Converge, Verb::Create, kind, name)
}

fn the_run() -> StepId {
    StepId { phase: Phase::Run, at: run_address("NA12878"), verb: Verb::Run, deposed: None }
}

fn worker(phase: Phase, verb: Verb) -> StepId {
    StepId { phase, at: Address::new("instance", "worker").of(Some("NA12878")), verb, deposed: None }
}

const STEPS: [&str; 4] = ["pull", "align", "mark_duplicates", "push"];
const INSTANCE: &str = "i-0abc0000000000001";

/// As far as the instance's launch, which is waited for.
fn infrastructure(desk: &Desk) {
    desk.begin(4, &STEPS, 1);
    desk.done(&create("role", "instance")).done(&step(Phase::Converge, Verb::Update, "security_group", "ecs"));
    desk.tell(Event::Started { step: create("cluster", "main") });
    desk.after(1).tell(Event::Started { step: worker(Phase::Converge, Verb::Create) });
    let text = "waiting for the instance profile to be known to EC2".to_owned();
    desk.after(3).tell(Event::Waiting { at: worker(Phase::Converge, Verb::Create).at, text });
}

/// As far as the middle of the second step.
fn half_way(desk: &Desk) {
    infrastructure(desk);
    desk.tell(Event::Done { step: create("cluster", "main") });
    desk.after(8).tell(Event::Done { step: worker(Phase::Converge, Verb::Create) });
    desk.tell(Event::Started { step: the_run() });
    desk.run(RunEvent::InstanceEnds {
        instance: INSTANCE.to_owned(),
        at: Some("2026-01-02T15:04:15Z".parse().unwrap()),
    });
    desk.run(RunEvent::WaitingForAgent { instance: INSTANCE.to_owned(), at_most_seconds: 900 });
    desk.after(40).running("pull").after(95).ended("pull", Verdict::Succeeded, 92);
    desk.running("align").after(4000);
    desk.run(RunEvent::StepHeard { name: "align".to_owned(), seconds: Some(12), unread: None }).after(3);
}

#[test]
fn infrastructure_is_a_line_each_while_it_lasts() {
    let desk = Desk::new(24, 80);
    infrastructure(&desk);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
      infrastructure: 2 of 4 done, 4 s
      | create cluster.main, 4 s
      | create instance.worker[NA12878], 3 s: waiting for the instance profile t...
    ");
}

#[test]
fn a_run_is_a_line_a_step_at_80_columns_and_at_200() {
    let desk = Desk::new(24, 80);
    half_way(&desk);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to registe
    r, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
      run of NA12878: 1 h 8 min
      i-0abc0000000000001 ends itself at 2026-01-02T15:04:15Z, in 10 h 51 min
        pull             succeeded  1 min 32 s
      | align            running    1 h 6 min    last line 15 s ago
        mark_duplicates  waiting
        push             waiting
    ");
    let desk = Desk::new(24, 200);
    half_way(&desk);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to register, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
      run of NA12878: 1 h 8 min
      i-0abc0000000000001 ends itself at 2026-01-02T15:04:15Z, in 10 h 51 min
        pull             succeeded  1 min 32 s
      | align            running    1 h 6 min    last line 15 s ago
        mark_duplicates  waiting
        push             waiting
    ");
}

#[test]
fn what_it_came_to_stays_when_it_is_done() {
    let desk = Desk::new(24, 80);
    half_way(&desk);
    desk.ended("align", Verdict::Succeeded, 4003).running("mark_duplicates").after(7);
    desk.ended("mark_duplicates", Verdict::Succeeded, 6).running("push").after(2).ended("push", Verdict::Succeeded, 1);
    desk.run(RunEvent::RunSucceeded { seconds: 4151 }).tell(Event::Done { step: the_run() });
    desk.tell(Event::Started { step: worker(Phase::Settle, Verb::Delete) });
    desk.after(2);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to registe
    r, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
    04:13:15Z step align: succeeded after 1 h 6 min
    04:13:22Z step mark_duplicates: succeeded after 6 s
    04:13:24Z step push: succeeded after 1 s
    04:13:24Z run: succeeded in 1 h 9 min
      after the run: 0 of 1 done, 2 s
      | delete instance.worker[NA12878], 2 s
    ");
    desk.after(20).tell(Event::Done { step: worker(Phase::Settle, Verb::Delete) });
    desk.live.end();
    desk.live.say("applied: the stack is as its file says");
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to registe
    r, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
    04:13:15Z step align: succeeded after 1 h 6 min
    04:13:22Z step mark_duplicates: succeeded after 6 s
    04:13:24Z step push: succeeded after 1 s
    04:13:24Z run: succeeded in 1 h 9 min
    04:13:46Z after the run: 1 deleted in 22 s
    applied: the stack is as its file says
    ");
}

#[test]
fn a_failure_stays_in_full_and_what_was_not_begun_is_counted() {
    let desk = Desk::new(24, 80);
    desk.begin(3, &STEPS, 1);
    desk.done(&create("role", "instance")).tell(Event::Started { step: create("cluster", "main") });
    let failure = Failure {
        call: "ecs:CreateCluster germline-main".to_owned(),
        error: "AccessDeniedException: not allowed".to_owned(),
        left: "nothing of it is there".to_owned(),
        hint: Some("ask for the right to make this call, then apply again".to_owned()),
        ended: true,
    };
    desk.after(2).tell(Event::Failed { step: create("cluster", "main"), failure });
    let because = "create cluster.main failed".to_owned();
    desk.tell(Event::Skipped { step: worker(Phase::Converge, Verb::Create), because: because.clone() });
    desk.tell(Event::Skipped { step: the_run(), because: because.clone() });
    desk.tell(Event::Skipped { step: worker(Phase::Settle, Verb::Delete), because });
    desk.live.end();
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:07Z error: failed to create cluster.main
      ecs:CreateCluster germline-main: AccessDeniedException: not allowed
      nothing of it is there
      hint: ask for the right to make this call, then apply again
    03:04:07Z skipped: create instance.worker[NA12878], because create cluster.main
    failed
    03:04:07Z infrastructure: 1 created, 1 failed, 1 not begun in 2 s
    03:04:07Z skipped: run pipeline.run[NA12878], because create cluster.main failed
    ");
}

#[test]
fn a_step_that_fails_and_is_tried_again_and_what_is_waited_for_are_shown() {
    let desk = Desk::new(24, 80);
    half_way(&desk);
    desk.ended("align", Verdict::OutOfMemory { exit: Some(137) }, 4003);
    let because = "ran out of memory".to_owned();
    desk.run(RunEvent::StepAgain { name: "align".to_owned(), attempt: 2, of: 3, memory: Some(28672), because });
    desk.run(RunEvent::StepStarting { name: "align".to_owned(), attempt: 2 });
    let reason = "RESOURCE:MEMORY".to_owned();
    desk.run(RunEvent::StepWaiting { name: "align".to_owned(), reason, at_most_seconds: Some(60) }).after(5);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to registe
    r, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
    04:13:15Z step align: ran out of memory after 1 h 6 min
    04:13:15Z step align: tried again, 2 of 3 with 28672 MiB: the last attempt ran o
    ut of memory
    04:13:15Z step align: waiting: RESOURCE:MEMORY; at most 1 min 0 s
      run of NA12878: 1 h 9 min
      i-0abc0000000000001 ends itself at 2026-01-02T15:04:15Z, in 10 h 50 min
        pull             succeeded  1 min 32 s
      | align            starting   5 s          RESOURCE:MEMORY
        mark_duplicates  waiting
        push             waiting
    ");
    let task_arn = "arn".to_owned();
    desk.run(RunEvent::StepStarted { name: "align".to_owned(), attempt: 2, task_arn }).after(12);
    let unread = Some("logs:GetLogEvents: AccessDeniedException: no identity-based policy allows it".to_owned());
    desk.run(RunEvent::StepHeard { name: "align".to_owned(), seconds: None, unread });
    desk.run(RunEvent::WaitingForCredentials { message: "ExpiredToken".to_owned() }).after(5);
    desk.live.say("interrupted: nothing new is begun, and calls in flight are finished");
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance profile to be known
     to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000000000001 to registe
    r, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
    04:13:15Z step align: ran out of memory after 1 h 6 min
    04:13:15Z step align: tried again, 2 of 3 with 28672 MiB: the last attempt ran o
    ut of memory
    04:13:15Z step align: waiting: RESOURCE:MEMORY; at most 1 min 0 s
    04:13:32Z run: waiting for credentials: sign in again in another terminal, with
    the same profile, and it goes on; tasks run meanwhile (ExpiredToken)
    interrupted: nothing new is begun, and calls in flight are finished
      run of NA12878: 1 h 9 min
      i-0abc0000000000001 ends itself at 2026-01-02T15:04:15Z, in 10 h 50 min
      | waiting for credentials: sign in again in another terminal
        pull             succeeded  1 min 32 s
      | align            running    17 s         attempt 2, its log cannot be re...
        mark_duplicates  waiting
        push             waiting
    ");
}

#[test]
fn a_run_that_goes_on_is_as_old_as_it_is() {
    let desk = Desk::new(24, 80);
    desk.begin(0, &STEPS, 0);
    desk.tell(Event::Started { step: the_run() }).run(RunEvent::RunBegun { seconds: 7200 });
    desk.run(RunEvent::StepKept { name: "pull".to_owned() });
    desk.run(RunEvent::StepFound { name: "align".to_owned(), attempt: 1, seconds: Some(7000) }).after(60);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:05Z step align: attempt 1 is under way; following it
      run of NA12878: 2 h 1 min
        pull             kept
      | align            running    1 h 57 min
        mark_duplicates  waiting
        push             waiting
    ");
}

#[test]
fn a_terminal_that_is_resized_keeps_its_lines_and_gets_no_others() {
    let desk = Desk::new(24, 120);
    half_way(&desk);
    let before = desk.glass.text();
    desk.glass.resize(60, "  run of");
    desk.after(1);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:09Z instance.worker[NA12878]: waiting for the instance
     profile to be known to EC2
    03:04:17Z infrastructure: 3 created, 1 changed in 12 s
    03:04:17Z run: waiting for the container agent of i-0abc0000
    000000001 to register, at most 15 min 0 s
    03:06:32Z step pull: succeeded after 1 min 32 s
      run of NA12878: 1 h 8 min
      i-0abc0000000000001 ends itself at 2026-01-02T15:04:15...
        pull             succeeded  1 min 32 s
      | align            running    1 h 6 min    last line 1...
        mark_duplicates  waiting
        push             waiting
    ");
    desk.glass.resize(120, "  run of");
    desk.after(-1);
    // But for where ordinary lines go on in the next row.
    assert_eq!(desk.glass.text().replace('\n', ""), before.replace('\n', ""));
}

#[test]
fn more_steps_than_rows_are_counted() {
    let names: Vec<String> = (1..=30).map(|n| format!("step_{n}")).collect();
    let desk = Desk::new(10, 80);
    desk.begin(0, &names.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    desk.tell(Event::Started { step: the_run() });
    desk.running("step_1").after(3).ended("step_1", Verdict::Succeeded, 3).running("step_2").running("step_3").after(2);
    assert_snapshot!(desk.glass.text(), @r"
    $ seqstack apply germline.toml
    03:04:08Z step step_1: succeeded after 3 s
      run of NA12878: 5 s
        1 of 30 steps over
      | step_2   running    2 s
      | step_3   running    2 s
        27 steps waiting
    ");
    // All of them at once.
    for name in &names {
        desk.running(name);
    }
    desk.after(1);
    assert_snapshot!(desk.glass.text(), @r"
    03:04:08Z step step_1: succeeded after 3 s
      run of NA12878: 6 s
        0 of 30 steps over
      | step_1   running    1 s
      | step_2   running    1 s
      | step_3   running    1 s
      | step_4   running    1 s
      | step_5   running    1 s
      | step_6   running    1 s
      and 25 more
    ");
}

#[test]
fn each_frame_is_one_write_and_colour_is_only_where_it_is_wanted() {
    let desk = Desk::coloured(24, 80, true);
    half_way(&desk);
    let writes = desk.glass.0.lock().unwrap().2;
    desk.after(1).after(1);
    assert_eq!(desk.glass.0.lock().unwrap().2, writes + 2);
    let coloured = |desk: &Desk| String::from_utf8(desk.glass.with(InMemoryTerm::contents_formatted)).unwrap();
    assert!(coloured(&desk).contains("\x1b[32msucceeded"), "{}", coloured(&desk));
    let plain = Desk::new(24, 80);
    half_way(&plain);
    assert!(!coloured(&plain).contains("\x1b[3"), "{}", coloured(&plain));
    plain.after(2);
    assert_eq!(plain.glass.text(), desk.glass.text());
}

#[test]
fn somebody_else_writes_above_the_live_part() {
    let desk = Desk::new(24, 80);
    half_way(&desk);
    let glass = desk.glass.clone();
    desk.live.aside(|| glass.write_str("a table\r\n").unwrap());
    let text = desk.glass.text();
    assert!(text.contains("\na table\n  run of NA12878"), "{text}");
}
