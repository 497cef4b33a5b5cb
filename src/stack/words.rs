//! Commands: a list of words, or a string that is split by the shell's rules for words. Never run by a shell.
//!
//! Splitting comes before substitution, so a value with a space in it stays one word.

use super::diagnostic::Sink;
use super::tree::{Node, Value};

/// The keys whose value is a command.
const KEYS: [&str; 2] = ["command", "entry_point"];

/// Every command in the file.
fn for_each(root: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    let mut tables: Vec<&mut Node> = Vec::new();
    for entry in root.entries_mut() {
        match entry.key.as_str() {
            "task_defaults" => tables.push(&mut entry.node),
            "task_definition" => tables.extend(entry.node.entries_mut().iter_mut().map(|entry| &mut entry.node)),
            "pipeline" => {
                if let Some(Node { value: Value::Array(steps), .. }) = entry.node.get_mut("step") {
                    tables.extend(steps);
                }
            }
            _ => {}
        }
    }
    for table in tables {
        for entry in table.entries_mut().iter_mut().filter(|entry| KEYS.contains(&entry.key.as_str())) {
            change(&mut entry.node);
        }
    }
}

/// Makes a list of every command that is a string.
pub(super) fn split(root: &mut Node, sink: &Sink) {
    for_each(root, &mut |node| {
        let Value::String(text) = &node.value else { return };
        // A file with Windows line ends means the same.
        let Ok(words) = shell_words::split(&text.replace("\r\n", "\n")) else {
            let hint = "close the quote, or write the command as a list of words".to_owned();
            sink.tell(&node.span, "a quote in this command is not closed", Some(hint));
            node.value = Value::Broken;
            return;
        };
        if words.is_empty() {
            let hint = "leave it out to run what the image itself says".to_owned();
            sink.tell(&node.span, "this command has no words", Some(hint));
            node.value = Value::Broken;
            return;
        }
        let word = |text| Node { id: node.id, span: node.span.clone(), value: Value::String(text) };
        node.value = Value::Array(words.into_iter().map(word).collect());
    });
}

/// Tells of control characters in the words of commands, once they are substituted.
pub(super) fn check(root: &mut Node, sink: &Sink) {
    for_each(root, &mut |node| {
        let Value::Array(words) = &mut node.value else { return };
        for word in words {
            let Some(control) = word.text().and_then(|text| text.chars().find(|c| c.is_control())) else { continue };
            let name = match control {
                '\t' => "a real TAB".to_owned(),
                '\n' => "a line break".to_owned(),
                other => format!("the control character {}", other.escape_unicode()),
            };
            let hint = match control {
                '\t' => "bwa's -R wants a backslash and a `t`: in single quotes ('…') `\\t` stays as it is",
                _ => "a word of a command is one line of plain text",
            };
            sink.tell(&word.span, format!("{name} in a word of this command"), Some(hint.to_owned()));
            word.value = Value::Broken;
        }
    });
}
