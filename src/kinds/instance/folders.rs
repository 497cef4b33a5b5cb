//! The folders of an instance that the stack's task definitions mount, and for whom user data makes them. Pure.
//!
//! Docker makes a folder that is not there for root alone (0755), and a task of another user then fails at its first write.
//! A folder can be made only while an instance boots: one that an instance lacks is a difference that replaces it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::address::Address;

/// Folders by path, each as `uid:gid mode`, e.g. `1000:1000 0755`.
pub type Folders = BTreeMap<String, String>;

/// The folder that every instance has.
pub const DATA: &str = "/var/lib/seqstack/data";
/// The most folders that one instance can be given: each is a tag of it, and AWS takes 50 tags.
pub(super) const MOST: usize = 20;
/// The longest path, so that it fits into a tag's 256 characters.
pub(super) const LONGEST: usize = 200;

/// Folders of the system, with all that is in them: what a task mounts of these is there already, or is not ours to make.
const WHOLE: &[&str] = &["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "usr"];
/// Folders of the system by themselves; one inside them may be made.
const ALONE: &[&str] = &["", "home", "tmp", "var", "var/lib", "var/log", "var/tmp"];
/// Folders of programs that run on the instance.
const TAKEN: &[&str] = &["var/run", "var/lib/docker", "var/lib/ecs", "var/lib/cloud"];

/// The path in its one spelling, without a slash at its end; none where it leads upwards.
fn plain(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

/// Whether user data makes this folder; the system's own stay as they are.
pub fn is_made(path: &str) -> bool {
    let Some(plain) = plain(path) else { return false };
    let inner = plain.trim_start_matches('/');
    let under = |one: &&str| inner.strip_prefix(*one).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !WHOLE.iter().chain(TAKEN).any(under) && !ALONE.contains(&inner)
}

/// Whether anybody may write to it although user data does not make it.
pub fn is_open(path: &str) -> bool {
    matches!(plain(path).as_deref(), Some("/tmp" | "/var/tmp" | "/dev/shm"))
}

/// Whether this user of a task definition is the container's root, who may write anywhere.
pub fn is_root(user: &str) -> bool {
    matches!(user.split(':').next(), Some("0" | "root"))
}

/// The folders that task definitions (specs by address) mount to write to. One user by number has a folder to itself; where
/// several write, or one that this machine cannot know (by name, or the image's own), everybody may.
pub fn of(specs: &BTreeMap<Address, Value>) -> Folders {
    let mut writers: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    for (_, spec) in specs.iter().filter(|(at, _)| at.kind == "task_definition") {
        let user = spec.get("user").and_then(Value::as_str);
        for mount in spec.get("mounts").and_then(Value::as_array).into_iter().flatten() {
            let reads = mount.get("read_only").and_then(Value::as_bool) == Some(true);
            let host = mount.get("host").and_then(Value::as_str).filter(|host| !reads && is_made(host));
            if let Some(path) = host.and_then(plain) {
                writers.entry(path).or_default().insert(user.map(str::to_owned));
            }
        }
    }
    let mut out: Folders = writers.into_iter().map(|(path, users)| (path, owner(&users))).collect();
    out.entry(DATA.to_owned()).or_insert_with(|| "1000:1000 0755".to_owned());
    out
}

fn owner(users: &BTreeSet<Option<String>>) -> String {
    let others = users.iter().filter(|user| !user.as_deref().is_some_and(is_root));
    let known: BTreeSet<Option<(u32, u32)>> = others.map(|user| numbers(user.as_deref()?)).collect();
    match known.iter().collect::<Vec<_>>().as_slice() {
        [] => "0:0 0755".to_owned(),
        [Some((uid, gid))] => format!("{uid}:{gid} 0755"),
        _ => "0:0 0777".to_owned(),
    }
}

fn numbers(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Whether an instance with these folders serves whoever wants those.
pub(super) fn serve(there: &Folders, wanted: &Folders) -> bool {
    let same = |path: &String, owner: &String| {
        there.get(path).is_some_and(|have| have == owner || have.ends_with(" 0777") || owner == "0:0 0755")
    };
    wanted.iter().all(|(path, owner)| same(path, owner))
}

/// The commands of user data that make them, outer ones first.
pub(super) fn commands(folders: &Folders) -> String {
    let lines = folders.iter().filter_map(|(path, owner)| {
        let (ids, mode) = owner.split_once(' ')?;
        let (uid, gid) = ids.split_once(':')?;
        Some(format!("install -d -o {uid} -g {gid} -m {mode} {}\n", quoted(path)))
    });
    lines.collect()
}

/// A path as one word of a shell.
fn quoted(path: &str) -> String {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(definitions: &[Value]) -> Folders {
        let named = (0..).map(|n: u32| Address::new("task_definition", n.to_string()));
        of(&named.zip(definitions.iter().cloned()).collect())
    }

    fn mounting(host: &str, user: &str) -> Value {
        json!({ "user": user, "mounts": [{ "host": host, "container": "/x" }] })
    }

    #[test]
    fn a_folder_is_its_one_users_and_everybodys_where_the_user_is_not_known_or_one_of_several() {
        let of = |definitions: &[Value], path: &str| made(definitions).get(path).cloned();
        assert_eq!(of(&[], DATA).as_deref(), Some("1000:1000 0755"));
        assert_eq!(of(&[mounting("/scratch", "1001:7")], "/scratch").as_deref(), Some("1001:7 0755"));
        assert_eq!(of(&[mounting("//scratch/", "1001")], "/scratch").as_deref(), Some("1001:1001 0755"));
        let both = [mounting("/scratch", "1001"), mounting("/scratch", "1000")];
        assert_eq!(of(&both, "/scratch").as_deref(), Some("0:0 0777"));
        let with_root = [mounting("/scratch", "1001"), mounting("/scratch", "root")];
        assert_eq!(of(&with_root, "/scratch").as_deref(), Some("1001:1001 0755"));
        assert_eq!(of(&[mounting("/scratch", "0")], "/scratch").as_deref(), Some("0:0 0755"));
        assert_eq!(of(&[mounting("/scratch", "biodocker")], "/scratch").as_deref(), Some("0:0 0777"));
        let own = json!({ "mounts": [{ "host": "/scratch", "container": "/x" }] });
        assert_eq!(of(&[own], "/scratch").as_deref(), Some("0:0 0777"));
        let reads = json!({ "user": "1", "mounts": [{ "host": "/ref", "container": "/x", "read_only": true }] });
        assert_eq!(of(&[reads], "/ref"), None);
    }

    #[test]
    fn the_systems_own_folders_stay_as_they_are() {
        let system = ["/", "/etc", "/etc/x", "/usr/share/x", "/var/lib/docker/x", "/tmp", "/var/lib", "/data/../etc"];
        for path in system {
            assert!(!is_made(path), "{path}");
            assert_eq!(made(&[mounting(path, "1000")]).len(), 1, "{path}");
        }
        for path in ["/mnt", "/mnt/x", "/scratch", "/var/lib/mine", "/home/x", "/tmp/x", "/etcetera", DATA] {
            assert!(is_made(path), "{path}");
        }
    }

    #[test]
    fn an_instance_serves_who_wants_no_more_folders_than_it_has() {
        let folders = |all: &[(&str, &str)]| -> Folders {
            all.iter().map(|(path, owner)| ((*path).to_owned(), (*owner).to_owned())).collect()
        };
        let there = folders(&[("/a", "1000:1000 0755"), ("/b", "0:0 0777")]);
        assert!(serve(&there, &folders(&[("/a", "1000:1000 0755")])));
        assert!(serve(&there, &folders(&[("/b", "1001:1001 0755"), ("/a", "0:0 0755")])));
        assert!(!serve(&there, &folders(&[("/a", "1001:1001 0755")])));
        assert!(!serve(&there, &folders(&[("/c", "0:0 0755")])));
    }

    #[test]
    fn commands_are_words_of_a_shell() {
        let of = |path: &str| commands(&[(path.to_owned(), "7:8 0755".to_owned())].into());
        assert_eq!(of("/a/b"), "install -d -o 7 -g 8 -m 0755 /a/b\n");
        assert_eq!(of("/a b'$(c)"), "install -d -o 7 -g 8 -m 0755 '/a b'\\''$(c)'\n");
    }
}
