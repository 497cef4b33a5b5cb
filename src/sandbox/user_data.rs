//! What an instance's user data does when it boots, as far as the sandbox needs to know it: read from the script's text,
//! since nothing runs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::engine::Folder;

/// A script that was decoded.
#[derive(Debug, Default)]
pub struct UserData(String);

impl UserData {
    /// From what RunInstances was given; empty where there is none, or it is not text.
    pub fn of(encoded: Option<&str>) -> Self {
        let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
        Self(decoded.and_then(|decoded| String::from_utf8(decoded).ok()).unwrap_or_default())
    }

    /// The letters after the first `name`, as long as they are such.
    fn after(&self, name: &str, such: impl Fn(char) -> bool) -> Option<&str> {
        let (_, rest) = self.0.split_once(name)?;
        let rest = rest.trim_start_matches(['"', '\'']);
        let value = rest.split(|letter| !such(letter)).next()?;
        (!value.is_empty()).then_some(value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.after(name, |letter| letter.is_ascii_digit())?.parse().ok()
    }

    /// The cluster that it tells the agent to register in.
    pub fn cluster(&self) -> Option<&str> {
        self.after("ECS_CLUSTER=", |letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    }

    /// The MiB of this many that it tells the agent to keep from tasks (`ECS_RESERVED_MEMORY`): a number, or the script's
    /// own share of the machine's.
    pub fn reserved_mib(&self, total: u64) -> u64 {
        let share = || {
            self.0.contains("ECS_RESERVED_MEMORY=").then_some(())?;
            let (percent, least) = (self.number("reserved_percent=")?, self.number("reserved_least=")?);
            Some((total * percent / 100).max(least))
        };
        self.number("ECS_RESERVED_MEMORY=").or_else(share).unwrap_or(0)
    }

    /// After how many seconds it ends the machine where it never reads a deadline in the metadata.
    pub fn fallback_seconds(&self) -> Option<i64> {
        i64::try_from(self.number("\nfallback=")?).ok().filter(|seconds| *seconds > 0)
    }

    /// The folders that it makes.
    pub fn folders(&self) -> Vec<Folder> {
        let lines = self.0.lines().filter_map(|line| shell_words::split(line).ok());
        let folder = |words: Vec<String>| match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["install", "-d", "-o", uid, "-g", gid, "-m", mode, path] => Some(Folder {
                path: (*path).to_owned(),
                owner: (uid.parse().ok()?, gid.parse().ok()?),
                mode: u32::from_str_radix(mode, 8).ok()?,
            }),
            _ => None,
        };
        lines.filter_map(folder).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> UserData {
        UserData::of(Some(&STANDARD.encode(text)))
    }

    #[test]
    fn the_cluster_in_user_data() {
        let named = |text: &str| of(text).cluster().map(str::to_owned);
        assert_eq!(named("#!/bin/sh\necho ECS_CLUSTER=a-b_1 >> /etc/ecs/ecs.config").as_deref(), Some("a-b_1"));
        assert_eq!(named("ECS_CLUSTER='main'\n").as_deref(), Some("main"));
        assert_eq!(named("#!/bin/sh\ntrue"), None);
        assert_eq!(UserData::of(None).cluster(), None);
    }

    #[test]
    fn what_is_reserved_is_a_number_or_a_share() {
        assert_eq!(of("ECS_RESERVED_MEMORY=256\n").reserved_mib(8000), 256);
        let share = "reserved_percent=4\nreserved_least=512\nECS_RESERVED_MEMORY=$reserved\n";
        assert_eq!(of(share).reserved_mib(8000), 512);
        assert_eq!(of(share).reserved_mib(64_000), 2560);
        assert_eq!(of("true").reserved_mib(8000), 0);
    }

    #[test]
    fn the_folders_that_it_makes() {
        let folders = of("#!/bin/bash\ninstall -d -o 7 -g 8 -m 0755 '/a b'\nmkdir /c\n").folders();
        assert_eq!(folders, [Folder { path: "/a b".to_owned(), owner: (7, 8), mode: 0o755 }]);
    }
}
