//! A container's log by `docker logs`: one reader for each stream, as the awslogs driver has.
//!
//! Docker keeps the log until the container is removed, so after this process was killed it is read again from its
//! beginning, and nothing is lost or there twice.

use std::io::{self, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::super::book::Line;
use super::super::lines::read_docker;
use super::Inner;

/// Lines of the two streams that come within this time are put into the order of their times before they are shown.
const BATCH: Duration = Duration::from_millis(50);

impl Inner {
    /// Adds what is beyond the `known` events of each stream (stdout, stderr), and returns how many are known now. Whoever
    /// follows leaves a last line without a line break to the one who reads when all is over.
    pub(super) fn copy_log(&self, task: &str, name: &str, follow: bool, known: [usize; 2]) -> [usize; 2] {
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            let streams = [(true, known[0]), (false, known[1])].map(|(stdout, known)| {
                let sender = sender.clone();
                scope.spawn(move || self.copy_stream(name, follow, stdout, known, &sender))
            });
            drop(sender);
            self.enter_lines(task, &receiver);
            streams.map(|stream| stream.join().unwrap_or_default())
        })
    }

    fn copy_stream(&self, name: &str, follow: bool, stdout: bool, known: usize, to: &Sender<Line>) -> usize {
        let mut seen = 0;
        let mut read = || -> io::Result<()> {
            let (reader, writer) = io::pipe()?;
            let mut command = self.cli.command();
            command.args(["logs", "--timestamps"]).args(follow.then_some("--follow")).arg(name);
            if stdout {
                command.stdout(writer).stderr(Stdio::null());
            } else {
                command.stdout(Stdio::null()).stderr(writer);
            }
            let mut child = command.spawn()?;
            // It holds the writing end, and the pipe does not end before the last of them is closed.
            drop(command);
            read_docker(BufReader::new(reader), !follow, |line| {
                seen += 1;
                if seen > known && to.send(line).is_err() {
                    tracing::warn!(name, "nobody takes the lines of a container's log");
                }
            })?;
            child.wait().map(drop)
        };
        if let Err(error) = read() {
            tracing::warn!(%error, name, "the log of a container could not be read");
        }
        seen.max(known)
    }

    fn enter_lines(&self, task: &str, from: &Receiver<Line>) {
        while let Ok(first) = from.recv() {
            thread::sleep(BATCH);
            let mut lines = vec![first];
            lines.extend(from.try_iter());
            lines.sort_by_key(|line| line.0);
            lines.into_iter().for_each(|line| self.book.write_line(task, line));
        }
    }
}
