//! What an instance does when it boots: join its cluster, make the data folder, and arm its own end.
//!
//! It starts nothing that waits for cloud-init (`ecs.service` starts after its final stage by itself). Turns on no agent
//! feature that ecs-init turns on: task roles, awslogs and the execution role are.

use sha2::{Digest as _, Sha256};

/// What stands for the cluster and the fallback while only the meaning counts.
const UNKNOWN: &str = "?";

/// The script for this cluster. `fallback_hours`: when to end if the deadline's tag can never be read; None is never.
pub(super) fn script(cluster: &str, fallback_hours: Option<i64>) -> String {
    let seconds = fallback_hours.map_or(0, |hours| hours.saturating_mul(3600));
    filled(cluster, &seconds.to_string())
}

/// A digest of everything about a launch that DescribeInstances does not tell. The cluster and the deadline are tags of
/// their own.
pub(super) fn digest() -> String {
    let parameters = "http-tokens=required hop-limit=1 metadata-tags=enabled shutdown=terminate";
    hex::encode(&Sha256::digest(format!("{parameters}\n{}", filled(UNKNOWN, UNKNOWN)))[..16])
}

fn filled(cluster: &str, fallback_seconds: &str) -> String {
    SCRIPT.replace("@CLUSTER@", cluster).replace("@FALLBACK@", fallback_seconds)
}

/// `shutdown +N` is forgotten on reboot and can act at once where logind does not answer (systemd #17575): hence a timer
/// that asks every minute. The tag is asked first, so that the deadline can be moved; what it last said is kept for when
/// metadata does not answer; a tag that is gone is no deadline.
const SCRIPT: &str = r#"#!/bin/bash
set -u
mkdir -p /etc/ecs /var/lib/seqstack
cat >> /etc/ecs/ecs.config <<'CONFIG'
ECS_CLUSTER=@CLUSTER@
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
CONFIG
install -d -o 1000 -g 1000 -m 0755 /var/lib/seqstack/data

cat > /usr/local/sbin/seqstack-deadline <<'SCRIPT'
#!/bin/bash
set -u
kept=/var/lib/seqstack/deadline
fallback=@FALLBACK@
base=http://169.254.169.254/latest
token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/api/token")
answer=$(curl -s -m 5 -w '\n%{http_code}' -H "X-aws-ec2-metadata-token: $token" "$base/meta-data/tags/instance/seqstack:deadline")
case "${answer##*$'\n'}" in
  200) printf '%s\n' "${answer%$'\n'*}" > "$kept.new" && mv "$kept.new" "$kept" ;;
  404) rm -f "$kept"; exit 0 ;;
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
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_and_no_service_is_waited_for() {
        let script = script("germline-main", Some(12));
        assert!(script.contains("ECS_CLUSTER=germline-main\n"));
        assert!(script.contains("fallback=43200\n"));
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
}
