//! Commands: a list of words, or a string that is split by the shell's rules for words. Never run by a shell.
//!
//! Splitting comes before substitution, so a value with a space in it stays one word.

use super::diagnostic::Sink;
use super::shell;
use super::tree::{Node, Value};

/// The keys whose value is a command.
pub(super) const KEYS: [&str; 2] = ["command", "entry_point"];

/// Every command in the file, with the words of the definition's entry point that come before it.
fn for_each(root: &mut Node, change: &mut dyn FnMut(&str, &mut Node, &[String])) {
    let entry_points = shell::entry_points(root);
    let mut tables: Vec<(Option<String>, &mut Node)> = Vec::new();
    for entry in root.entries_mut() {
        match entry.key.as_str() {
            "task_defaults" => tables.push((Some(String::new()), &mut entry.node)),
            "task_definition" => {
                tables.extend(
                    entry.node.entries_mut().iter_mut().map(|entry| (Some(entry.key.clone()), &mut entry.node)),
                );
            }
            "pipeline" => {
                if let Some(Node { value: Value::Array(steps), .. }) = entry.node.get_mut("step") {
                    let task = |step: &Node| step.get("task").and_then(Node::text).map(str::to_owned);
                    tables.extend(steps.iter_mut().map(|step| (task(step), step)));
                }
            }
            _ => {}
        }
    }
    for (definition, table) in tables {
        let before = definition.and_then(|name| entry_points.get(&name)).map(Vec::as_slice).unwrap_or_default();
        for entry in table.entries_mut().iter_mut().filter(|entry| KEYS.contains(&entry.key.as_str())) {
            change(&entry.key, &mut entry.node, if entry.key == "entry_point" { &[] } else { before });
        }
    }
}

/// Makes a list of every command that is a string. One without words is a fault: ECS would run what the image says.
pub(super) fn split(root: &mut Node, sink: &Sink) {
    for_each(root, &mut |key, node, _| {
        let words = match &node.value {
            // A file with Windows line ends means the same.
            Value::String(text) => shell_words::split(&text.replace("\r\n", "\n")),
            Value::Array(words) if words.is_empty() => Ok(Vec::new()),
            _ => return,
        };
        let (fault, hint) = match words {
            Ok(words) if !words.is_empty() => {
                let word = |text| Node { id: node.id, span: node.span.clone(), value: Value::String(text) };
                node.value = Value::Array(words.into_iter().map(word).collect());
                return;
            }
            Ok(_) if key == "entry_point" => (
                "an entry point without words does not clear the image's own",
                "ECS leaves the image's own in its place: write what is to run, such as [\"sh\", \"-c\"], or leave it out",
            ),
            Ok(_) => ("this command has no words", "leave it out to run what the image itself says"),
            Err(_) => {
                ("a quote in this command is not closed", "close the quote, or write the command as a list of words")
            }
        };
        sink.tell(&node.span, fault, Some(hint.to_owned()));
        node.value = Value::Broken;
    });
}

/// Makes a list of every string that is only one `${…}` where objects or files are named: its value may be a list.
pub(super) fn lists(root: &mut Node) {
    let mut wrap = |node: &mut Node| {
        if matches!(&node.value, Value::String(text) if text.starts_with("${") && text.find('}') == Some(text.len() - 1))
        {
            node.value = Value::Array(vec![node.clone()]);
        }
    };
    for upload in root.get_mut("upload").map(Node::entries_mut).unwrap_or_default() {
        upload.node.get_mut("files").into_iter().for_each(&mut wrap);
    }
    let Some(pipeline) = root.get_mut("pipeline") else { return };
    for entry in pipeline.entries_mut().iter_mut().filter(|entry| ["inputs", "outputs"].contains(&entry.key.as_str())) {
        if let Value::Array(objects) = &mut entry.node.value {
            objects.iter_mut().filter_map(|objects| objects.get_mut("keys")).for_each(&mut wrap);
        }
    }
}

/// Tells of control characters in the words of commands, once they are substituted. A script that a shell is handed may
/// have several lines.
pub(super) fn check(root: &mut Node, sink: &Sink) {
    for_each(root, &mut |_, node, entry_point| {
        let Value::Array(words) = &mut node.value else { return };
        let texts: Vec<&str> = words.iter().map(|word| word.text().unwrap_or_default()).collect();
        let script = shell::script(entry_point, &texts);
        for (at, word) in words.iter_mut().enumerate() {
            if Some(at) == script
                && let Value::String(text) = &mut word.value
            {
                // To a shell the line ends of Windows are part of its words.
                *text = text.replace("\r\n", "\n");
            }
            let wrong = |c: &char| c.is_control() && !(Some(at) == script && matches!(c, '\n' | '\t'));
            let Some(control) = word.text().and_then(|text| text.chars().find(wrong)) else { continue };
            let name = match control {
                '\t' => "a real TAB".to_owned(),
                '\n' => "a line break".to_owned(),
                other => format!("the control character {}", other.escape_unicode()),
            };
            let hint = match control {
                '\t' => "bwa's -R wants a backslash and a `t`: in single quotes ('…') `\\t` stays as it is",
                '\n' => {
                    "a script of several lines is for a shell: command = [\"bash\", \"-c\", '''…''']; any other word is one line"
                }
                _ => "a word of a command is one line of plain text",
            };
            sink.tell(&word.span, format!("{name} in a word of this command"), Some(hint.to_owned()));
            word.value = Value::Broken;
        }
    });
}
