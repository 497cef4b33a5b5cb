//! A command in a situation, and what the account is like after it: for tests that disturb the command and want the same
//! end.

use seqstack::command::{Console, Exit, apply, destroy};
use seqstack::sandbox::Wire;

use super::{Lab, wish, yes};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    Apply,
    Destroy,
}

/// A command in a situation.
pub struct Scene {
    pub name: &'static str,
    /// The stack that was applied before.
    pub before: Option<String>,
    /// What happened since.
    pub since: fn(&Lab),
    /// What is applied, or destroyed.
    pub stack: String,
    pub command: Command,
}

impl Scene {
    pub async fn set(&self) -> Lab {
        let lab = Lab::of(&self.stack);
        if let Some(stack) = &self.before {
            assert_eq!(lab.apply(stack).await, Exit::Done);
        }
        (self.since)(&lab);
        lab
    }

    /// The command over this wire; how it ended, unless the client died.
    pub async fn act(&self, lab: &Lab, wire: Wire) -> Option<Exit> {
        let life = wire.life.clone();
        let mut session = lab.session_over(wire, &self.stack, None, self.command == Command::Apply);
        // One that is played again says what it does.
        if std::env::var_os("SEQSTACK_SEED").is_some() {
            session.console = Console::Process;
        }
        let command = async {
            match self.command {
                Command::Apply => apply::apply(&session, &wish(), &yes()).await,
                Command::Destroy => destroy::destroy(&session, false, &yes()).await,
            }
        };
        tokio::select! {
            biased;
            () = life.ended() => None,
            exit = Box::pin(command) => Some(exit.unwrap_or_else(|problem| panic!("{}: {problem}", self.name))),
        }
    }
}

/// What an account is like after a command.
pub struct End {
    portrait: Vec<String>,
    started: Vec<String>,
}

impl End {
    pub async fn of(lab: &Lab) -> Self {
        Self { portrait: lab.portrait().await, started: lab.started_once() }
    }

    /// Is the same; shows only the lines in which they differ.
    pub fn same(&self, found: &Self, what: &str) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        let (more, less) = (only(&found.portrait, &self.portrait), only(&self.portrait, &found.portrait));
        assert!(more.is_empty() && less.is_empty(), "{what}: only here: {more:#?}, only undisturbed: {less:#?}");
        assert_eq!(found.started, self.started, "{what}: other tasks were started");
    }
}

pub const DEMO: &str = include_str!("../../stacks/demo.toml");
pub const GERMLINE: &str = include_str!("../../stacks/germline.toml");

/// The same stack with much of it changed: rules, a group's description (which replaces it), policies, tags, retention,
/// and the sizes of task definitions.
fn changed(stack: &str) -> String {
    let edits = [
        ("project = \"", "project = \"other-"),
        ("192.0.2.0/24", "198.51.100.0/24"),
        ("203.0.113.0/24\", d", "198.51.100.0/24\", d"),
        ("description = \"ECS instances of the demo\"", "description = \"other instances\""),
        ("description = \"SSH to the instance of the pipeline\"", "description = \"other instances\""),
        ("= [\"reads\"]", "= [\"reads\", \"results\"]"),
        ("retention_days = ", "retention_days = 1 # "),
        ("memory = 512", "memory = 640"),
        ("memory = 1024", "memory = 1280"),
    ];
    let changed = edits.iter().fold(stack.to_owned(), |text, (from, to)| text.replace(from, to));
    assert!(changed.lines().zip(stack.lines()).filter(|(new, old)| new != old).count() >= 6);
    changed
}

pub fn cold(name: &'static str, stack: &str) -> Scene {
    Scene { name, before: None, since: |_| (), stack: stack.to_owned(), command: Command::Apply }
}

pub fn change(name: &'static str, stack: &str) -> Scene {
    Scene { before: Some(stack.to_owned()), stack: changed(stack), ..cold(name, stack) }
}

pub fn destroyed(name: &'static str, stack: &str) -> Scene {
    Scene { before: Some(stack.to_owned()), command: Command::Destroy, ..cold(name, stack) }
}

fn new_reads(name: &'static str, stack: &str, since: fn(&Lab)) -> Scene {
    Scene { before: Some(stack.to_owned()), since, ..cold(name, stack) }
}

/// A run of the demo with other reads.
pub fn run_of_the_demo() -> Scene {
    let rewrite =
        |lab: &Lab| std::fs::write(lab.folder.path().join("demo/NA12878_R1.fastq.gz"), "other reads").unwrap();
    new_reads("demo, run", DEMO, rewrite)
}

/// A run of germline with other reads.
pub fn run_of_germline() -> Scene {
    let put = |lab: &Lab| {
        lab.sandbox
            .put_object("lab-fastq-in", "OMGL_2005265_U035_S35_L001_R1_001.fastq.gz", "other reads".into())
            .map(drop)
            .unwrap();
    };
    new_reads("germline, run", GERMLINE, put)
}

/// A file that is sent in parts, and nothing else.
pub fn in_parts() -> Scene {
    const STACK: &str = "[stack]\nname = \"parts\"\nregion = \"eu-west-2\"\n[bucket.reads]\nname = \"lab-reads\"\n\
                         [upload.reads]\nbucket = \"reads\"\nfiles = [\"S1.fq\"]\n";
    let grow = |lab: &Lab| std::fs::write(lab.folder.path().join("S1.fq"), vec![b'A'; 9 << 20]).unwrap();
    Scene { since: grow, ..cold("an upload in parts", STACK) }
}
