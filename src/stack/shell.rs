//! Commands that are plainly written for a shell: finds what only a shell heeds in the words of a command that none runs.
//!
//! What stands in quotes, or behind a backslash, is for the program itself. A command that begins a shell with `-c` hands
//! its script to that shell, so only the words around the script are looked at. Looks at the words as they are written,
//! before any value is put into them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::tree::{Entry, Node, Value};
use super::warning::{Code, Seen, Sightings, of_table};
use super::words::KEYS;
use crate::address::Address;

/// Shells that run the word after `-c`.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish"];
/// Programs whose own patterns have characters such as `>` and `$`.
const PATTERNS: [&str; 14] =
    ["grep", "egrep", "fgrep", "zgrep", "rg", "sed", "awk", "gawk", "mawk", "tr", "cut", "expr", "perl", "jq"];
/// Programs that take globs as they are: aws's `--include *`, find's `-name *.bam`. (`s3`: an image may have `aws` itself
/// as its entry point.)
const GLOBBING: [&str; 13] =
    ["aws", "s3", "s3api", "find", "rsync", "rclone", "s5cmd", "gsutil", "gcloud", "unzip", "zip", "tar", "git"];
/// Programs that work on the files that are named to them, and take no pattern.
const FILES: [&str; 18] = [
    "ls",
    "cat",
    "zcat",
    "rm",
    "cp",
    "mv",
    "ln",
    "gzip",
    "gunzip",
    "bgzip",
    "wc",
    "head",
    "tail",
    "md5sum",
    "sha256sum",
    "chmod",
    "chown",
    "touch",
];
/// Options whose value is a character such as `|`.
const DELIMITERS: [&str; 6] = ["-d", "-F", "-t", "-s", "--delimiter", "--sep"];

/// In the place of a `$` and of a backquote in double quotes, or in a list's word.
const SOFT_DOLLAR: char = '\u{1}';
const SOFT_BACKQUOTE: char = '\u{2}';

/// The place of the script among the words of a command: the one after `-c` of a shell.
///
/// `entry_point` is the definition's own, whose words come before the command's. The place is counted in `words`.
pub(super) fn script(entry_point: &[String], words: &[&str]) -> Option<usize> {
    let all: Vec<&str> = entry_point.iter().map(String::as_str).chain(words.iter().copied()).collect();
    let shell = all.iter().position(|word| SHELLS.contains(&base(word)))?;
    let bundle = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let option = |word: &str| word.starts_with(['-', '+']) || ["pipefail", "errexit", "nounset"].contains(&word);
    let options = all[shell + 1..].iter().take_while(|word| option(word));
    let dash_c = options.enumerate().find(|(_, word)| bundle(word)).map(|(at, _)| shell + 1 + at)?;
    (dash_c + 1).checked_sub(entry_point.len())
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The words of each task definition's entry point, by its name; of `[task_defaults]` by `""`.
pub(super) fn entry_points(root: &Node) -> BTreeMap<String, Vec<String>> {
    let default = root.get("task_defaults").and_then(|defaults| defaults.get("entry_point"));
    let of = |node: Option<&Node>| words(node).into_iter().map(|word| word.text).collect();
    let own = |entry: &Entry| (entry.key.clone(), of(entry.node.get("entry_point").or(default)));
    let definitions = root.get("task_definition").map(Node::entries).unwrap_or_default();
    definitions.iter().map(own).chain([(String::new(), of(default))]).collect()
}

/// Sees every command of the file that is plainly written for a shell.
pub(super) fn look(root: &Node, source: &str, seen: &mut Sightings) {
    let entry_points = entry_points(root);
    let mut look = |table: &Node, definition: Option<&str>, at: Address| {
        let before = definition.and_then(|name| entry_points.get(name)).map(Vec::as_slice).unwrap_or_default();
        for key in KEYS {
            let before = if key == "entry_point" { &[] } else { before };
            let found = table.get(key).and_then(|command| told(key, command, before, source));
            seen.extend(found.map(|found| (found, at.clone())));
        }
    };
    if let Some(defaults) = root.get("task_defaults") {
        look(defaults, Some(""), of_table("task_defaults"));
    }
    for entry in root.get("task_definition").map(Node::entries).unwrap_or_default() {
        look(&entry.node, Some(&entry.key), Address::new("task_definition", &entry.key));
    }
    for step in root.get("pipeline").and_then(|node| node.get("step")).map(Node::items).unwrap_or_default() {
        look(step, step.get("task").and_then(Node::text), of_table("pipeline"));
    }
}

fn told(key: &str, command: &Node, entry_point: &[String], source: &str) -> Option<Seen> {
    let words = words(Some(command));
    let found = heeded(entry_point, &words);
    let Range { start, end } = place(command, &words[found.first()?.0], source);
    let mut marks: Vec<&str> = Vec::new();
    for (_, mark) in &found {
        if !marks.contains(&mark.as_str()) {
            marks.push(mark);
        }
    }
    let are = if marks.len() == 1 { "is" } else { "are" };
    let text = format!("`{}` {are} for a shell, and no shell runs this command", marks.join("`, `"));
    let hint = format!(
        "{key} = [\"bash\", \"-c\", \"set -o pipefail; …\"] hands it to one (`sh` where the image has no bash); quotes \
         around it in a string leave it to the program itself; allow = [\"{}\"] says that it is meant",
        Code::ShellCommand.name()
    );
    Some(Seen { start, end, code: Code::ShellCommand, text, hint })
}

/// The hint for a step that failed, where its words are for a shell after all: allowed, or put in by a value.
pub fn hint(entry_point: &[String], command: &[String]) -> Option<String> {
    let words: Vec<Word> = command.iter().map(|word| listed(word)).collect();
    let (_, mark) = heeded(entry_point, &words).into_iter().next()?;
    Some(format!("`{mark}` in its command is for a shell, and no shell runs it: [\"bash\", \"-c\", \"…\"] does"))
}

/// A word of a command.
struct Word {
    text: String,
    /// The same with `_` for each byte that no shell would heed.
    bare: String,
    /// Where it is in the text that was split; 0 in a list.
    start: usize,
    /// Whether it is a list's: each is then as if in quotes, but for what nobody would want in one.
    listed: bool,
    node: Option<Range<usize>>,
}

fn listed(text: &str) -> Word {
    let bare = match text.contains(char::is_whitespace) {
        // A program of its own: awk's, or a script that some entry point hands to a shell.
        true => "_".repeat(text.len()),
        false => own(text).replace('$', &SOFT_DOLLAR.to_string()).replace('`', &SOFT_BACKQUOTE.to_string()),
    };
    Word { text: text.to_owned(), bare, start: 0, listed: true, node: None }
}

fn words(command: Option<&Node>) -> Vec<Word> {
    match command.map(|node| &node.value) {
        Some(Value::String(text)) => {
            let bare = unquoted(text);
            let mut words = Vec::new();
            let mut start = 0;
            for part in bare.split([' ', '\t', '\n', '\r']) {
                if !part.is_empty() {
                    let text = text.get(start..start + part.len()).unwrap_or_default().to_owned();
                    words.push(Word { text, bare: part.to_owned(), start, listed: false, node: None });
                }
                start += part.len() + 1;
            }
            words
        }
        Some(Value::Array(items)) => {
            let word = |item: &Node| Some(Word { node: Some(item.span.clone()), ..listed(item.text()?) });
            items.iter().filter_map(word).collect()
        }
        _ => Vec::new(),
    }
}

/// A word's place in the file: a string's words are looked for in it.
fn place(command: &Node, word: &Word, source: &str) -> Range<usize> {
    if let Some(span) = &word.node {
        return span.clone();
    }
    let Value::String(text) = &command.value else { return command.span.clone() };
    let nth = text.get(..word.start).unwrap_or_default().matches(&word.text).count();
    let shown = source.get(command.span.clone()).unwrap_or_default();
    let found = shown.match_indices(&word.text).nth(nth).map(|(at, _)| command.span.start + at);
    found.map_or_else(|| command.span.clone(), |at| at..at + word.text.len())
}

/// The text with `_` for our own `${…}`, byte for byte as long. A `$${` stays a `$` for a shell.
fn own(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let escaped = rest[..at].ends_with('$');
        let end = if escaped { at + 2 } else { rest[at..].find('}').map_or(rest.len(), |end| at + end + 1) };
        out.push_str(&rest[..at]);
        // Of `$${` the first `$` is out already.
        out.push_str(&if escaped { "_{".to_owned() } else { "_".repeat(end - at) });
        rest = &rest[end..];
    }
    out + rest
}

/// The text of a command with `_` for what stands in quotes or behind a backslash, and blanks for comments: byte for byte
/// as long, and split at blanks it has the words that a shell would see.
fn unquoted(text: &str) -> String {
    let text = own(text);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let keep = |out: &mut String, c: char| out.push_str(&"_".repeat(c.len_utf8()));
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                out.push('_');
                chars.by_ref().take_while(|c| *c != '\'').for_each(|c| keep(&mut out, c));
                out.push('_');
            }
            '"' => {
                let mut section = String::new();
                let mut a_program = false;
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    a_program |= c.is_whitespace();
                    match c {
                        '\\' => {
                            section.push('_');
                            chars.next().into_iter().for_each(|next| keep(&mut section, next));
                        }
                        '$' => section.push(SOFT_DOLLAR),
                        '`' => section.push(SOFT_BACKQUOTE),
                        c if c.is_ascii_alphanumeric() || c == '(' || c == '{' => section.push(c),
                        c => keep(&mut section, c),
                    }
                }
                out.push('_');
                out.push_str(&if a_program { "_".repeat(section.len()) } else { section });
                out.push('_');
            }
            '\\' => match chars.next() {
                Some('\n') => {
                    out.push_str(if out.is_empty() || out.ends_with([' ', '\t', '\n']) { "  " } else { "__" })
                }
                Some(next) => {
                    out.push('_');
                    keep(&mut out, next);
                }
                None => out.push('_'),
            },
            '#' if out.is_empty() || out.ends_with([' ', '\t', '\n']) => {
                out.push(' ');
                chars.by_ref().take_while(|c| *c != '\n').for_each(|c| out.push_str(&" ".repeat(c.len_utf8())));
                out.push('\n');
            }
            c => out.push(c),
        }
    }
    out.truncate(text.len());
    out
}

/// The words that a shell would heed, each with what it would heed in it.
fn heeded(entry_point: &[String], words: &[Word]) -> Vec<(usize, String)> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let script = script(entry_point, &texts);
    let programs =
        [entry_point.first().map(String::as_str), texts.first().copied()].map(|word| base(word.unwrap_or("")));
    let is = |known: &[&str]| programs.iter().any(|program| known.contains(program));
    let (patterns, globbing, files) = (is(&PATTERNS), is(&GLOBBING), is(&FILES));
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate().filter(|(at, _)| Some(*at) != script) {
        let before = at.checked_sub(1).map(|before| texts[before]);
        let option = before.is_some_and(|before| before.starts_with('-'));
        let exec = texts[..at].iter().any(|text| ["-exec", "-execdir", "-ok"].contains(text));
        let mark = if let Some(mark) = operator(&word.bare) {
            let value = word.listed
                && (before.is_some_and(|before| DELIMITERS.contains(&before)) || patterns && (option || at == 1));
            Some(mark.to_owned()).filter(|mark| !(value || exec && mark == ";"))
        } else if let Some(mark) = variable(&word.bare, patterns) {
            Some(mark.to_owned())
        } else if word.bare.starts_with("~/") {
            Some("~/".to_owned())
        } else {
            let long = before.is_some_and(|before| before.starts_with("--"));
            let meant = !globbing && !patterns && !word.bare.starts_with('-') && (files || !long);
            glob(&word.bare, files).filter(|_| meant).map(str::to_owned)
        };
        found.extend(mark.map(|mark| (at, mark)));
    }
    found
}

/// A redirection that a word begins with, or an operator that it is, begins or ends with.
fn operator(bare: &str) -> Option<&str> {
    let after = bare.trim_start_matches(|c: char| c.is_ascii_digit());
    let redirect = after.strip_prefix('&').filter(|rest| rest.starts_with('>')).unwrap_or(after);
    if redirect.starts_with(['>', '<']) {
        let sign = redirect.trim_start_matches(['>', '<']);
        let target = if sign.starts_with('&') { sign.trim_start_matches(['&', '-']) } else { sign };
        let target =
            if sign.starts_with('&') { target.trim_start_matches(|c: char| c.is_ascii_digit()) } else { target };
        return Some(&bare[..bare.len() - target.len()]);
    }
    if let Some(sign) = ["&&", "||", "|&", "|"].into_iter().find(|sign| bare.starts_with(sign) || bare.ends_with(sign))
    {
        return Some(sign);
    }
    if bare.ends_with(';') { Some(";") } else { (bare == "&").then_some("&") }
}

/// A variable or a command whose output a shell would put in.
fn variable(bare: &str, patterns: bool) -> Option<&'static str> {
    let soft = |c: char| c == SOFT_DOLLAR || c == SOFT_BACKQUOTE;
    for (at, c) in bare.char_indices().filter(|(_, c)| ['$', '`', SOFT_DOLLAR, SOFT_BACKQUOTE].contains(c)) {
        // R's `table$column`, and the programs of awk and perl.
        if soft(c) && (patterns || bare[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == ')')) {
            continue;
        }
        if c == '`' || c == SOFT_BACKQUOTE {
            return Some("`…`");
        }
        let rest = &bare[at + 1..];
        if rest.starts_with('(') {
            return Some("$(…)");
        }
        // `${` that is not ours was written `$${`.
        let name = rest.strip_prefix("_{").unwrap_or(rest);
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Some("$NAME");
        }
    }
    None
}

/// A glob of files. Of a program that is not known it must look like the path of some: most programs have patterns of
/// their own, such as `A*01:01`.
fn glob(bare: &str, files: bool) -> Option<&'static str> {
    let braces = bare
        .find('{')
        .is_some_and(|open| bare[open..].find('}').is_some_and(|end| bare[open..open + end].contains(',')));
    let mark = match bare {
        _ if bare.contains('*') => "*",
        _ if bare.contains('?') => "?",
        _ if braces => "{…,…}",
        _ if files && bare.contains('[') && bare.contains(']') => "[…]",
        _ => return None,
    };
    let path = |c: char| c.is_ascii_alphanumeric() || "_-./*?[]{},".contains(c);
    let like_a_path = bare.chars().all(path) && (bare == "*" || bare.contains(['.', '/'])) && !bare.starts_with(".*");
    (files || like_a_path).then_some(mark)
}
