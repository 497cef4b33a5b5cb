//! From a place of a sound stack file to the ways in which it can be broken, each with the line that must be told.

use std::ops::Range;

use super::places::{Place, Type};

/// What sort of break it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    KeyMisspelt,
    KeyUnknown,
    KeyMissing,
    KeyDoubled,
    TableDoubled,
    NameRefused,
    WrongType,
    OutOfRange,
    Refused,
    StepRenamed,
    Dangling,
    Misspelt,
    UnknownName,
    Unclosed,
    Sampled,
    Circle,
    Nul,
    Control,
    Syntax,
}

/// One break: what is put in the place of which bytes.
#[derive(Clone, Debug)]
pub struct Break {
    pub sort: Sort,
    pub at: Range<usize>,
    pub with: String,
    /// The key and value that it is in; of a table, its header.
    pub whole: Range<usize>,
    /// The line, from 1, that must be told of.
    pub line: usize,
    /// The place, for people.
    pub place: String,
}

impl Break {
    /// The file, broken.
    pub fn apply(&self, text: &str) -> String {
        format!("{}{}{}", &text[..self.at.start], self.with, &text[self.at.end..])
    }
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Strings that the check of their place refuses.
const REFUSED: &[(&str, &str)] = &[
    ("stack.name", "a--b"),
    ("stack.account", "12"),
    ("stack.region", "London"),
    ("stack.tags.*", "a*b"),
    ("bucket.*.name", "Lab"),
    ("role.*.trusts", "someone"),
    ("role.*.existing", " "),
    ("task_definition.*.existing", ""),
    ("key_pair.*.public_key", "ssh-rsa x"),
    ("security_group.*.description", "ä"),
    ("security_group.*.vpc", "net"),
    ("security_group.*.ingress[].description", "ä"),
    ("security_group.*.ingress[].cidr", "10.0.0.0/33"),
    ("security_group.*.ingress[].cidr", "10.0.0.1/8"),
    ("security_group.*.ingress[].protocol", "tpc"),
    ("security_group.*.egress[].cidr", "everywhere"),
    ("cluster.*.lifetime", "runs"),
    ("instance.*.lifetime", "ever"),
    ("instance.*.ami", "amy"),
    ("instance.*.subnet", "net"),
    ("instance.*.volume.type", "gp9"),
    ("task_definition.*.mounts[].host", "data"),
    ("task_definition.*.mounts[].container", "data"),
    ("task_definition.*.environment.*.secret", "vault"),
    ("task_definition.*.command", "'open"),
    ("task_definition.*.command", " "),
    ("pipeline.on_failure", "kep"),
    ("pipeline.step[].name", "a b"),
    ("pipeline.step[].command", "\\\"open"),
    ("pipeline.step[].command", "a '\\t'"),
    ("pipeline.step[].command[]", "a\\tb"),
    ("pipeline.inputs[].keys[]", "[a"),
    ("pipeline.inputs[].keys[]", ""),
    ("pipeline.outputs[].keys[]", "/a"),
    ("pipeline.outputs[].keys[]", ".seqstack/a"),
];

/// Values that name something of the file.
const REFERENCES: &[&str] = &[
    "upload.*.bucket",
    "role.*.read[]",
    "role.*.write[]",
    "security_group.*.ingress[].security_group",
    "task_definition.*.execution_role",
    "task_definition.*.task_role",
    "task_definition.*.log_group",
    "task_defaults.execution_role",
    "task_defaults.log_group",
    "instance.*.cluster",
    "instance.*.role",
    "instance.*.key_pair",
    "instance.*.security_groups[]",
    "pipeline.cluster",
    "pipeline.instance",
    "pipeline.inputs[].bucket",
    "pipeline.outputs[].bucket",
    "pipeline.step[].task",
    "pipeline.step[].task_role",
    "pipeline.step[].needs[]",
];

/// Keys without which there is no such thing.
const REQUIRED: &[&str] = &[
    "stack.name",
    "bucket.*.name",
    "upload.*.bucket",
    "upload.*.files",
    "role.*.trusts",
    "security_group.*.ingress[].protocol",
    "security_group.*.egress[].protocol",
    "instance.*.cluster",
    "instance.*.type",
    "instance.*.ami",
    "instance.*.role",
    "instance.*.volume.size_gib",
    "task_definition.*.image",
    "task_definition.*.mounts[].host",
    "task_definition.*.mounts[].container",
    "pipeline.cluster",
    "pipeline.outputs",
    "pipeline.inputs[].bucket",
    "pipeline.inputs[].keys",
    "pipeline.outputs[].bucket",
    "pipeline.outputs[].keys",
    "pipeline.step[].name",
    "pipeline.step[].task",
];

/// Whether a place takes a value of that type, too.
fn takes(path: &str, shape: Type) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    match path {
        "vars.*" => !matches!(shape, Type::Date | Type::List | Type::Table),
        "role.*.policy" => matches!(shape, Type::String | Type::Table),
        _ if path.starts_with("role.*.policy") => shape != Type::Date,
        "task_definition.*.environment.*" => matches!(shape, Type::String | Type::Table),
        _ => match last {
            "command" | "entry_point" => matches!(shape, Type::String | Type::List),
            // `"${vars.encrypted}"` is a boolean there.
            "encrypted" => shape == Type::Boolean,
            "memory_factor" | "price_per_hour" => matches!(shape, Type::Integer | Type::Float),
            _ => false,
        },
    }
}

/// Every way to break a place.
pub fn of(text: &str, place: &Place) -> Vec<Break> {
    let mut out = Vec::new();
    let key = place.key.as_ref().filter(|_| !place.header);
    let whole = key.map_or(place.value.start, |key| key.start)..place.value.end;
    let mut add = |sort, at: Range<usize>, with: String, told_at: usize| {
        // What is put in a line of its own, and what it doubles, are told of on the line after.
        let after = matches!(sort, Sort::KeyUnknown | Sort::KeyDoubled | Sort::TableDoubled);
        let line = line_of(text, told_at) + usize::from(after);
        let whole = whole.start.min(at.start)..whole.end.max(at.end);
        out.push(Break { sort, at, with, whole, line, place: format!("{} at line {line}", place.path) });
    };
    keys(text, place, &mut add);
    if place.header {
        headers(text, place, &mut add);
    } else {
        values(text, place, &mut add);
        if place.shape == Type::String {
            strings(text, place, &mut add);
        }
        syntax(text, place, &mut add);
    }
    out
}

type Add<'a> = dyn FnMut(Sort, Range<usize>, String, usize) + 'a;

fn keys(text: &str, place: &Place, add: &mut Add<'_>) {
    let Some(key) = &place.key else { return };
    let (from, name) = (key.start, &text[key.clone()]);
    let tools_own = !place.path.ends_with('*') && !place.path.starts_with("role.*.policy.");
    if place.header {
        return;
    }
    if tools_own && !place.path.ends_with(".existing") {
        // The last letter twice: no key of ours is another with that.
        let twice = format!("{name}{}", &name[name.len() - 1..]);
        add(Sort::KeyMisspelt, key.clone(), twice, from);
        add(Sort::KeyMisspelt, key.clone(), format!("zz{from}"), from);
    }
    if REQUIRED.contains(&place.path.as_str()) {
        let entry = key.start..place.value.end;
        let after = &text[entry.end..];
        // In braces the comma goes, too.
        let comma = if after.starts_with(", ") { 2 } else { 0 };
        let before = if comma == 0 && text[..entry.start].ends_with(", ") { 2 } else { 0 };
        add(Sort::KeyMissing, entry.start - before..entry.end + comma, String::new(), place.within.start);
    }
    if text[..from].ends_with('\n') && !text[place.value.clone()].contains('\n') {
        let end = place.value.end + text[place.value.end..].find('\n').unwrap_or(0);
        let again = format!("\n{}", &text[from..place.value.end]);
        add(Sort::KeyDoubled, end..end, again, from);
    }
}

fn headers(text: &str, place: &Place, add: &mut Add<'_>) {
    let line = place.value.start;
    let header = &text[place.value.clone()];
    let end = line + text[line..].find('\n').unwrap_or(text.len() - line);
    let mayown = place.path.ends_with(".*.policy") || place.path.starts_with("role.*.policy");
    if !mayown && !place.path.ends_with("environment") && place.path != "vars" && place.path != "sample.*" {
        add(Sort::KeyUnknown, end..end, format!("\nzz{end} = 1"), line);
    }
    if !header.starts_with("[[") {
        add(Sort::TableDoubled, line..line, format!("{header}\n"), end);
        let closing = place.value.end - 1;
        add(Sort::Syntax, closing..closing + 1, String::new(), line);
    }
    if place.path.ends_with(".*") && place.path != "sample.*" {
        let name = place.key.clone().unwrap_or(place.value.clone());
        add(Sort::NameRefused, name, "\"a b\"".to_owned(), line);
    }
}

fn values(_text: &str, place: &Place, add: &mut Add<'_>) {
    let (at, from) = (place.value.clone(), place.value.start);
    const OTHERS: &[(Type, &str)] = &[
        (Type::String, "\"zzzz\""),
        (Type::Integer, "7"),
        (Type::Float, "7.5"),
        (Type::Boolean, "true"),
        (Type::Date, "1979-05-27"),
        (Type::List, "[7]"),
        (Type::Table, "{ zzzz = 7 }"),
    ];
    for (shape, with) in OTHERS {
        let same = *shape == place.shape && !matches!(shape, Type::List | Type::Table);
        if !same && !takes(&place.path, *shape) {
            add(Sort::WrongType, at.clone(), (*with).to_owned(), from);
        }
    }
    let free = place.path == "vars.*" || place.path.starts_with("role.*.policy");
    let numbers: &[&str] = match place.shape {
        Type::Integer if free => &["99999999999999999999"],
        // Of a limit, -1 is none.
        Type::Integer if place.path.contains(".ulimits[]") => &["-2", "9999999999", "99999999999999999999"],
        Type::Integer => &["-1", "9999999999", "99999999999999999999"],
        Type::Float if !free => &["-0.5", "1e300", "nan", "-inf"],
        _ => &[],
    };
    for number in numbers {
        add(Sort::OutOfRange, at.clone(), (*number).to_owned(), from);
    }
}

fn strings(text: &str, place: &Place, add: &mut Add<'_>) {
    let (at, from) = (place.value.clone(), place.value.start);
    let quoted = &text[at.clone()];
    let quotes = if quoted.starts_with("'''") { 3 } else { 1 };
    let inner = at.start + quotes;
    for (_, refused) in REFUSED.iter().filter(|(path, _)| *path == place.path) {
        let sort = if place.path == "pipeline.step[].name" { Sort::StepRenamed } else { Sort::Refused };
        add(sort, at.clone(), format!("\"{refused}\""), from);
    }
    if REFERENCES.contains(&place.path.as_str()) {
        add(Sort::Dangling, at.clone(), "\"zzzz\"".to_owned(), from);
        let name = &text[at.start + 1..at.end - 1];
        add(Sort::Misspelt, at.clone(), format!("\"{name}{}\"", &name[name.len() - 1..]), from);
    }
    let first_line = text[inner..].find(|c: char| c != '\n' && c != ' ').map_or(inner, |skip| inner + skip);
    for (sort, with) in [
        (Sort::UnknownName, "${vars.zzzz}"),
        (Sort::UnknownName, "${zzzz}"),
        (Sort::Unclosed, "${vars.reference "),
        (Sort::Sampled, "${sample.zzzz}"),
    ] {
        add(sort, first_line..first_line, with.to_owned(), first_line);
    }
    if quotes == 1 && quoted.starts_with('"') {
        add(Sort::Nul, inner..inner, "\\u0000".to_owned(), from);
    }
    add(Sort::Control, first_line..first_line, "\u{1}".to_owned(), first_line);
}

fn syntax(text: &str, place: &Place, add: &mut Add<'_>) {
    let (at, from) = (place.value.clone(), place.value.start);
    let value = &text[at.clone()];
    if text[at.clone()].starts_with("'''") {
        add(Sort::Syntax, at.end - 3..at.end, String::new(), from);
    }
    if value.contains('\n') {
        if matches!(place.shape, Type::List | Type::Table) {
            add(Sort::Syntax, at.end - 1..at.end, String::new(), from);
        }
        return;
    }
    if place.shape == Type::String {
        add(Sort::Syntax, at.start..at.start + 1, String::new(), from);
        add(Sort::Syntax, at.end - 1..at.end, String::new(), from);
    }
    if matches!(place.shape, Type::List | Type::Table) {
        add(Sort::Syntax, at.end - 1..at.end, String::new(), from);
        add(Sort::Syntax, at.start..at.start + 1, String::new(), from);
    }
    add(Sort::Syntax, at.end..at.end, " zzzz".to_owned(), from);
    if let Some(key) = &place.key {
        add(Sort::Syntax, at.clone(), String::new(), from);
        let equals = key.end + text[key.end..].find('=').unwrap_or(0);
        add(Sort::Syntax, equals..equals + 1, String::new(), key.start);
    }
}

/// What takes two places: steps that wait for a later one or for themselves, groups that let each other in, equal rules.
pub fn of_two(text: &str) -> Vec<Break> {
    let cases = [
        (
            "{ protocol = \"icmp\", cidr = \"203.0.113.0/24\" }",
            "{ protocol = \"tcp\", port = 22, cidr = \"203.0.113.0/24\", description = \"again\" }",
        ),
        ("needs         = [\"pull\"]", "needs         = [\"push\"]"),
        ("needs         = [\"pull\"]", "needs         = [\"align\"]"),
        ("needs = [\"align\"]", "needs = [\"call\"]"),
        ("{ protocol = \"all\", security_group = \"ecs\" }", "{ protocol = \"all\", security_group = \"desk\" }"),
    ];
    let mut out = Vec::new();
    for (from, to) in cases {
        if let Some(at) = text.find(from) {
            let line = line_of(text, at);
            let place = format!("{to} at line {line}");
            let at = at..at + from.len();
            out.push(Break { sort: Sort::Circle, at: at.clone(), with: to.to_owned(), whole: at, line, place });
        }
    }
    out
}
