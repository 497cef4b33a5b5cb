//! Warnings about a sound stack file: what AWS takes, and a lab seldom means.
//!
//! Collects what the kinds and the search for credentials found, leaves out what the file allows by an `allow`, and shows
//! the rest in the form of the faults. Never keeps anybody from planning.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use annotate_snippets::{Level, Renderer};

use super::diagnostic::{Sink, Source, suggest};
use super::tree::{Node, Value};
use crate::address::Address;

/// The key of the codes that a table allows.
pub(super) const ALLOW: &str = "allow";

/// What a warning is about. Its name is stable: files silence it by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Port 22 is open to the world.
    OpenSsh,
    /// Another port that gives a shell, a desktop or code execution is open to the world.
    OpenAdminPort,
    /// Every port is open to the world.
    OpenAllPorts,
    /// An image by `latest` or without a tag.
    LatestImage,
    /// A volume without encryption.
    UnencryptedDisk,
    /// An instance that never ends itself.
    NoMaxHours,
    /// A folder of the machine's system that a task cannot write to.
    HostFolder,
    /// Every action of a service, or of all.
    WildcardAction,
    /// Actions on every resource of the account.
    WildcardResource,
    /// A command that is plainly written for a shell: a fault, unless it is allowed.
    ShellCommand,
    /// More of something than AWS's default quota takes, which AWS raises on request.
    DefaultQuota,
    /// What looks like a credential.
    Credential,
    /// An `allow` that silences nothing.
    UnusedAllow,
}

impl Code {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::OpenSsh,
        Self::OpenAdminPort,
        Self::OpenAllPorts,
        Self::LatestImage,
        Self::UnencryptedDisk,
        Self::NoMaxHours,
        Self::HostFolder,
        Self::WildcardAction,
        Self::WildcardResource,
        Self::ShellCommand,
        Self::DefaultQuota,
        Self::Credential,
        Self::UnusedAllow,
    ];

    /// Those that an `allow` can silence.
    pub const ALLOWABLE: [Self; 12] = {
        let [silent @ .., _unused] = Self::ALL;
        silent
    };

    /// Whether it is a fault where it is not allowed.
    pub fn refuses(self) -> bool {
        self == Self::ShellCommand
    }

    /// The code as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsh => "open-ssh",
            Self::OpenAdminPort => "open-admin-port",
            Self::OpenAllPorts => "open-all-ports",
            Self::LatestImage => "latest-image",
            Self::UnencryptedDisk => "unencrypted-disk",
            Self::NoMaxHours => "no-max-hours",
            Self::HostFolder => "host-folder",
            Self::WildcardAction => "wildcard-action",
            Self::WildcardResource => "wildcard-resource",
            Self::ShellCommand => "shell-command",
            Self::DefaultQuota => "default-quota",
            Self::Credential => "credential",
            Self::UnusedAllow => "unused-allow",
        }
    }

    /// When it is told, in one sentence of Markdown.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::OpenSsh => "an ingress rule lets `0.0.0.0/0` or `::/0` connect to port 22",
            Self::OpenAdminPort => {
                "the same for a port behind which a shell, a desktop or a program runner listens: telnet 23, Docker \
                 2375 and 2376, RDP 3389, VNC 5900, WinRM 5985 and 5986, RStudio 8787, Jupyter 8888"
            }
            Self::OpenAllPorts => "the same for every port",
            Self::LatestImage => "an image has the tag `latest`, or neither tag nor digest: another program next month",
            Self::UnencryptedDisk => "a volume has `encrypted = false`",
            Self::NoMaxHours => {
                "an instance with `lifetime = \"always\"` has no `max_hours`: it is billed until somebody ends it \
                 (with `lifetime = \"run\"` it ends itself after 24 hours)"
            }
            Self::HostFolder => {
                "a task definition whose `user` is not root mounts a folder of the instance's own system (`/etc`, `/usr`, \
                 `/var/lib`) to write to; the folder of every other mount is made for its user when the instance boots"
            }
            Self::WildcardAction => {
                "a policy allows `*`, every action of a service (`s3:*`) or all but some (`NotAction`), or an AWS policy \
                 of that reach is attached (`AdministratorAccess`, `PowerUserAccess`, `…FullAccess`)"
            }
            Self::WildcardResource => {
                "a policy allows something on `*` or on all but some (`NotResource`), without a condition; not told of \
                 actions that know no narrower resource (`Describe…`, `List…`, `ecr:GetAuthorizationToken`, \
                 `sts:GetCallerIdentity`)"
            }
            Self::ShellCommand => {
                "**a fault unless it is allowed**: a command has what only a shell heeds, and no shell runs it: `\\|`, \
                 `&&`, `;`, `>`, `2>&1`, `$NAME`, `$(…)`, backquotes, `~/`, a glob of files such as `*.bam`; what is in \
                 quotes is left out, and what a shell is handed by `-c`"
            }
            Self::DefaultQuota => {
                "more of something than a new AWS account takes, until AWS raises its quota on request: 10 policies on a \
                 role, 60 ingress or 60 egress rules in a security group, 5 security groups on an instance"
            }
            Self::Credential => {
                "a string holds what looks like an AWS access key, a private key, a token or a password; AWS's \
                 documented examples (`AKIAIOSFODNN7EXAMPLE`) are left out"
            }
            Self::UnusedAllow => "an entry of an `allow` silences nothing; it cannot be silenced itself",
        }
    }
}

/// A warning that a kind gives about a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecWarning {
    /// What it is about.
    pub code: Code,
    /// Dotted path of the key inside the resource's table; empty for the table itself.
    pub key: String,
    /// What is there: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl SpecWarning {
    /// A warning.
    pub fn new(code: Code, key: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, key: key.into(), message: message.into(), hint: hint.into() }
    }

    /// That something is more than AWS's default quota takes.
    pub fn over_quota(key: &str, what: &str, quota: usize) -> Self {
        let hint = "make do with fewer, or have AWS raise the quota (Service Quotas) before you apply";
        Self::new(Code::DefaultQuota, key, format!("{what}: AWS's default quota is {quota}"), hint)
    }
}

/// A warning in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) code: Code,
    pub(super) text: String,
    pub(super) hint: String,
}

/// Warnings with the table that each is in: of resources their address, of other tables their name alone.
pub(super) type Sightings = BTreeSet<(Seen, Address)>;

/// The table of the top level that is not a resource's.
pub(super) fn of_table(table: &str) -> Address {
    Address::new(table, "")
}

/// Every `allow` of a file, by the table that it is in.
#[derive(Debug, Default)]
pub(super) struct Allowed(BTreeMap<Address, Vec<(Code, Range<usize>)>>);

/// Takes every `allow` out of the tables that may have one; an unknown code in it is a fault.
pub(super) fn take_allowed(root: &mut Node, kinds: &[&str], sink: &Sink) -> Allowed {
    let mut allowed = Allowed::default();
    for entry in root.entries_mut() {
        match entry.key.as_str() {
            "stack" | "pipeline" | "task_defaults" => allowed.take(of_table(&entry.key), &mut entry.node, sink),
            kind if kinds.contains(&kind) => {
                let kind = kind.to_owned();
                for resource in entry.node.entries_mut() {
                    // Nothing can be said beside `existing`.
                    if resource.node.get("existing").is_none() {
                        allowed.take(Address::new(&kind, &resource.key), &mut resource.node, sink);
                    }
                }
            }
            _ => {}
        }
    }
    allowed
}

impl Allowed {
    fn take(&mut self, at: Address, table: &mut Node, sink: &Sink) {
        let Value::Table(entries) = &mut table.value else { return };
        let Some(place) = entries.iter().position(|entry| entry.key == ALLOW) else { return };
        let list = entries.remove(place).node;
        if !matches!(list.value, Value::Array(_) | Value::Broken) {
            let text = format!("expected a list, found {}", list.value.type_name());
            let example = Code::OpenSsh.name();
            sink.tell(&list.span, text, Some(format!("the codes of warnings: allow = [\"{example}\"]")));
        }
        let codes = list.items().iter().filter_map(|item| Some((code(item, sink)?, item.span.clone())));
        self.0.insert(at, codes.collect());
    }

    /// Tells as faults what was seen of the codes that are faults unless they are allowed.
    pub(super) fn refuse(&self, seen: &Sightings, sink: &Sink) {
        for (fault, at) in seen.iter().filter(|(fault, _)| fault.code.refuses()) {
            if self.entry(at, fault.code).is_none() {
                sink.tell(&(fault.start..fault.end), fault.text.clone(), Some(fault.hint.clone()));
            }
        }
    }

    /// The entry that silences this code in this table: the table's own, else the stack's.
    fn entry(&self, at: &Address, code: Code) -> Option<&Range<usize>> {
        // A definition's own key replaces the default whole.
        let defaults = (at.kind == "task_definition").then(|| self.0.get(&of_table("task_defaults"))).flatten();
        let own = self.0.get(at).or(defaults);
        let lists = [own, self.0.get(&of_table("stack"))];
        lists.into_iter().flatten().flatten().find(|(allowed, _)| *allowed == code).map(|(_, span)| span)
    }

    /// The warnings that stay, and those about what silences nothing.
    pub(super) fn silence(self, seen: Sightings, path: String, source: &str) -> Warnings {
        let mut used: Vec<Range<usize>> = Vec::new();
        let mut left = BTreeSet::new();
        for (warning, at) in seen {
            match self.entry(&at, warning.code) {
                Some(entry) => used.push(entry.clone()),
                None => drop(left.insert(warning)),
            }
        }
        let unused = self.0.into_values().flatten().filter(|(_, span)| !used.contains(span));
        left.extend(unused.map(|(code, Range { start, end })| Seen {
            start,
            end,
            code: Code::UnusedAllow,
            text: format!("nothing here to allow: there is no `{}`", code.name()),
            hint: "take it out, or it hides the next one".to_owned(),
        }));
        // One that nothing will be shown of needs no masks.
        let source = Source::new(path, if left.is_empty() { "" } else { source });
        let place = |seen: Seen| {
            let (span, line, column) = source.place(seen.start..seen.end);
            Warning { code: seen.code, span, line, column, text: seen.text, hint: seen.hint }
        };
        Warnings { list: left.into_iter().map(place).collect(), source }
    }
}

fn code(item: &Node, sink: &Sink) -> Option<Code> {
    let Some(text) = item.text() else {
        if !matches!(item.value, Value::Broken) {
            let hint = format!("the code of a warning, in quotes: \"{}\"", Code::OpenSsh.name());
            sink.tell(&item.span, format!("expected a string, found {}", item.value.type_name()), Some(hint));
        }
        return None;
    };
    let found = Code::ALLOWABLE.into_iter().find(|code| code.name() == text);
    if found.is_none() {
        let hint = suggest(text, Code::ALLOWABLE.iter().map(|code| code.name()), "there are");
        sink.tell(&item.span, format!("there is no warning `{text}` that can be silenced"), hint);
    }
    found
}

/// A warning about a stack file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub code: Code,
    /// Bytes of the file.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is there: lower case, no full stop.
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

/// Every warning about one sound stack file, by place. There may be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warnings {
    source: Source,
    list: Vec<Warning>,
}

impl Warnings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// They, by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Warning> {
        self.list.iter()
    }

    /// All of them for a person: each with its code, file, line, column, the marked text and a hint.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let shown = self.list.iter().map(|warning| {
            let title = Level::WARNING.primary_title(warning.text.as_str()).id(warning.code.name());
            self.source.snippet(&renderer, title, Some(&warning.span), Some(&warning.hint))
        });
        shown.collect::<Vec<_>>().join("\n\n")
    }
}

impl<'a> IntoIterator for &'a Warnings {
    type Item = &'a Warning;
    type IntoIter = std::slice::Iter<'a, Warning>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
