//! What an instance does when it boots: join its cluster, make the folders that tasks mount, and arm its own end.
//!
//! It starts nothing that waits for cloud-init (`ecs.service` starts after its final stage by itself). Turns on no agent
//! feature that ecs-init turns on: task roles, awslogs and the execution role are.

use sha2::{Digest as _, Sha256};

use super::folders::{Folders, commands};

/// What stands for the cluster, the fallback and the folders while only the meaning counts.
const UNKNOWN: &str = "?";

/// The script for this cluster. `fallback_hours`: when to end if the deadline's tag can never be read; None is never.
pub(super) fn script(cluster: &str, fallback_hours: Option<i64>, folders: &Folders) -> String {
    let seconds = fallback_hours.map_or(0, |hours| hours.saturating_mul(3600));
    filled(cluster, &seconds.to_string(), &commands(folders))
}

/// A digest of everything about a launch that DescribeInstances does not tell. The cluster, the folders and the deadline
/// are tags of their own.
pub(super) fn digest() -> String {
    let parameters = "http-tokens=required hop-limit=1 metadata-tags=enabled shutdown=terminate";
    hex::encode(&Sha256::digest(format!("{parameters}\n{}", filled(UNKNOWN, UNKNOWN, UNKNOWN)))[..16])
}

fn filled(cluster: &str, fallback_seconds: &str, folders: &str) -> String {
    SCRIPT.replace("@FOLDERS@\n", folders).replace("@CLUSTER@", cluster).replace("@FALLBACK@", fallback_seconds)
}

/// By default the agent offers all of the memory to tasks (amazon-ecs-agent README, `ECS_RESERVED_MEMORY`), and a machine
/// without swap then stands still rather than end a task: 4 % of it, and 512 MiB at least, stay the system's own.
///
/// `shutdown +N` is forgotten on reboot and can act at once where logind does not answer (systemd #17575): hence a timer
/// that asks every minute. The tag is asked first, so that the deadline can be moved; what it last said is kept for when
/// metadata does not answer. A tag that was seen and is gone is no deadline; one that was never seen, where somebody has
/// switched off tags in metadata, leaves the hours since the machine's start.
const SCRIPT: &str = r#"#!/bin/bash
set -u
mkdir -p /etc/ecs /var/lib/seqstack
reserved_percent=4
reserved_least=512
while read -r name kib _; do
  if [ "$name" = MemTotal: ]; then reserved=$((kib * reserved_percent / 100 / 1024)); fi
done < /proc/meminfo
if [ "${reserved:-0}" -lt "$reserved_least" ]; then reserved=$reserved_least; fi
cat >> /etc/ecs/ecs.config <<CONFIG
ECS_CLUSTER=@CLUSTER@
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_RESERVED_MEMORY=$reserved
CONFIG
@FOLDERS@

cat > /usr/local/sbin/seqstack-deadline <<'SCRIPT'
#!/bin/bash
set -u
kept=/var/lib/seqstack/deadline
fallback=@FALLBACK@
base=http://169.254.169.254/latest
token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/api/token")
answer=$(curl -s -m 5 -w '\n%{http_code}' -H "X-aws-ec2-metadata-token: $token" "$base/meta-data/tags/instance/seqstack:deadline")
case "${answer##*$'\n'}" in
  200) printf '%s\n' "${answer%$'\n'*}" > "$kept.new" && mv "$kept.new" "$kept" && : > "$kept.seen" ;;
  404) if [ -e "$kept.seen" ]; then rm -f "$kept"; exit 0; fi ;;
esac
if [ -s "$kept" ] && deadline=$(date -d "$(cat "$kept")" +%s); then
  [ "$(date +%s)" -ge "$deadline" ] && exec systemctl poweroff
elif [ "$fallback" -gt 0 ]; then
  read -r up _ < /proc/uptime
  [ "${up%.*}" -ge "$fallback" ] && exec systemctl poweroff
fi
exit 0
SCRIPT
chmod 0755 /usr/local/sbin/seqstack-deadline

cat > /etc/systemd/system/seqstack-deadline.service <<'UNIT'
[Unit]
Description=Ends this instance when its deadline has passed
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/seqstack-deadline
UNIT
cat > /etc/systemd/system/seqstack-deadline.timer <<'UNIT'
[Unit]
Description=Looks every minute whether this instance's deadline has passed
[Timer]
OnBootSec=60
OnUnitActiveSec=60
AccuracySec=5
[Install]
WantedBy=timers.target
UNIT
systemctl daemon-reload
systemctl enable --now seqstack-deadline.timer
"#;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn folders() -> Folders {
        [("/var/lib/seqstack/data".to_owned(), "1000:1000 0755".to_owned())].into()
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_no_service_is_waited_for() {
        let script = script("germline-main", Some(12), &folders());
        assert!(script.contains("ECS_CLUSTER=germline-main\n"));
        assert!(script.contains("fallback=43200\n"));
        assert!(script.contains("\ninstall -d -o 1000 -g 1000 -m 0755 /var/lib/seqstack/data\n"));
        assert!(!script.contains('@'), "{script}");
        assert!(!script.contains("ecs.service"));
        // EC2 takes 16 KiB before base64.
        assert!(script.len() < 16 << 10);
    }

    #[test]
    fn the_digest_is_the_scripts_and_not_the_clusters() {
        assert_eq!(digest(), digest());
        assert_eq!(digest().len(), 32);
    }

    fn program(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the script of the timer where metadata answers so; whether it has ended the machine.
    fn ends(home: &Path, fallback: &str, status: u32, deadline: &str) -> bool {
        let whole = filled("main", fallback, "");
        let script = whole.split("<<'SCRIPT'\n").nth(1).unwrap().split("\nSCRIPT\n").next().unwrap();
        let script = script.replace("/var/lib/seqstack", &home.to_string_lossy());
        program(home, "script", &script);
        program(home, "curl", &format!("printf '%s\\n%s' '{deadline}' {status}"));
        program(home, "systemctl", &format!("touch '{}/off'", home.display()));
        let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
        assert!(Command::new("bash").arg(home.join("script")).env("PATH", path).status().unwrap().success());
        std::fs::remove_file(home.join("off")).is_ok()
    }

    #[test]
    fn the_machine_ends_at_its_deadline_or_after_its_hours_where_no_deadline_was_ever_seen() {
        let home = || tempfile::tempdir().unwrap();
        let (past, future) = ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
        // It is moved, and what it last said holds while metadata does not answer.
        let one = home();
        assert!(!ends(one.path(), "1", 200, future));
        assert!(!ends(one.path(), "1", 0, ""));
        assert!(ends(one.path(), "1", 200, past));
        assert!(ends(one.path(), "1", 0, ""));
        // It was taken away: that is no deadline, not even the hours.
        assert!(!ends(one.path(), "1", 404, ""));
        assert!(!ends(one.path(), "1", 404, ""));
        // It was never seen (tags in metadata are switched off): the hours hold.
        let other = home();
        assert!(ends(other.path(), "1", 404, ""));
        assert!(!ends(other.path(), "999999999", 404, ""));
        assert!(!ends(other.path(), "0", 404, ""));
    }
}
