//! What a container cannot be started with, and what it is seldom meant to be started with.

use serde_json::json;

use super::{Mount, Spec, Variable};
use crate::kind::SpecFault;
use crate::kinds::instance::folders;
use crate::kinds::is_match;
use crate::stack::values::PLACEHOLDER;
use crate::stack::warning::{Code, SpecWarning};

/// An image's name (ECS API, ContainerDefinition: at most 255 letters, digits and `- _ : . / #`), with a digest or without.
pub(super) const IMAGE: &str = "^[A-Za-z0-9][A-Za-z0-9_:./#@-]{0,254}$";
/// `user` or `user:group`, each a name or a number (ECS API, ContainerDefinition).
pub(super) const USER: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$";

/// What can be limited (ECS API, Ulimit).
pub(super) const ULIMIT: &str =
    "^(core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending|stack)$";

/// What a container's limits and its folders in memory cannot be.
fn check_linux(spec: &Spec) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    for (at, limit) in spec.ulimits.iter().enumerate() {
        let key = |part: &str| format!("ulimits[{at}]{part}");
        let range = -1..=i64::from(i32::MAX);
        if limit.name != PLACEHOLDER && !is_match(ULIMIT, &limit.name) {
            let hint = "such as `nofile` (open files), `nproc`, `memlock`, `stack`, `core`";
            faults.push(SpecFault::new(key(".name"), format!("there is no limit `{}`", limit.name), hint));
        }
        if spec.ulimits[..at].iter().any(|other| other.name == limit.name && limit.name != PLACEHOLDER) {
            faults.push(SpecFault::new(key(""), format!("`{}` is limited twice", limit.name), "keep one of them"));
        }
        for (part, value) in [(".soft", limit.soft), (".hard", limit.hard)] {
            if value != i64::MIN && !range.contains(&value) {
                let told = format!("{value} is out of range: -1 to {}", i32::MAX);
                faults.push(SpecFault::new(key(part), told, "-1 is no limit"));
            }
        }
        if range.contains(&limit.soft)
            && range.contains(&limit.hard)
            && limit.hard != -1
            && (limit.soft > limit.hard || limit.soft == -1)
        {
            faults.push(SpecFault::new(
                key(".soft"),
                "the soft limit is above the hard one",
                "`soft` is at most `hard`",
            ));
        }
    }
    for (at, folder) in spec.tmpfs.iter().enumerate() {
        let (key, path) = (format!("tmpfs[{at}].container"), folder.container.as_str());
        let taken = spec.mounts.iter().map(|mount| &mount.container);
        let mut taken = taken.chain(spec.tmpfs[..at].iter().map(|folder| &folder.container));
        if path != PLACEHOLDER && (!path.starts_with('/') || path.chars().all(|c| c == '/')) {
            faults.push(SpecFault::new(key, format!("`{path}` is no folder of the container"), "such as `/scratch`"));
        } else if path != PLACEHOLDER && taken.any(|other| other == path) {
            faults.push(SpecFault::new(key, format!("`{path}` is mounted twice"), "keep one of them"));
        }
        if folder.size_mib != i64::MIN && !(1..=1_000_000).contains(&folder.size_mib) {
            let told = format!("{} is out of range: 1 to 1000000", folder.size_mib);
            faults.push(SpecFault::new(format!("tmpfs[{at}].size_mib"), told, "MiB, less than the `memory`"));
        }
    }
    faults
}

pub(super) fn check(spec: &Spec) -> Vec<SpecFault> {
    let mut faults = check_linux(spec);
    faults.extend(too_large(spec));
    if spec.image != PLACEHOLDER && !is_match(IMAGE, &spec.image) {
        let hint = "such as `biocontainers/bwa:v0.7.17_cv1`: letters, digits and - _ : . / # @, at most 255";
        faults.push(SpecFault::new("image", format!("`{}` is no image", spec.image), hint));
    }
    if let Some(user) = spec.user.as_ref().filter(|user| *user != PLACEHOLDER && !is_match(USER, user)) {
        faults.push(SpecFault::new(
            "user",
            format!("`{user}` is no user"),
            "`1000`, `1000:1000`, or names in their place",
        ));
    }
    if let Some(folder) = spec.working_dir.as_ref().filter(|path| *path != PLACEHOLDER && !path.starts_with('/')) {
        faults.push(SpecFault::new("working_dir", format!("`{folder}` is not absolute"), "start it with `/`"));
    }
    for (at, Mount { host, container, .. }) in spec.mounts.iter().enumerate() {
        for (side, path) in [("host", host), ("container", container)] {
            if path != PLACEHOLDER && !path.starts_with('/') {
                let key = format!("mounts.{at}.{side}");
                faults.push(SpecFault::new(&key, format!("`{path}` is not absolute"), "start it with `/`"));
            }
        }
        if container.starts_with('/') && container.chars().all(|c| c == '/') {
            let hint = "mount it on a folder of its own, such as `/data`";
            faults.push(SpecFault::new(
                format!("mounts.{at}.container"),
                "a mount on `/` hides the image itself",
                hint,
            ));
        }
    }
    faults
}

/// The largest task definition that ECS registers, bytes of its JSON (ECS developer guide, service quotas).
const LARGEST: usize = 65_536;

/// That ECS would not register a definition of this size.
fn too_large(spec: &Spec) -> Option<SpecFault> {
    let mut environment = Vec::new();
    let mut secrets = Vec::new();
    for (name, variable) in &spec.environment {
        match variable {
            Variable::Plain(value) => environment.push(json!({ "name": name, "value": value })),
            Variable::Secret(from) => secrets.push(json!({ "name": name, "valueFrom": from })),
        }
    }
    let mounts =
        spec.mounts.iter().map(|mount| json!({ "sourceVolume": "volume-1", "containerPath": mount.container }));
    let volumes = spec.mounts.iter().map(|mount| json!({ "name": "volume-1", "host": { "sourcePath": mount.host } }));
    let container = json!({
        "image": spec.image, "entryPoint": spec.entry_point, "command": spec.command, "environment": environment,
        "secrets": secrets, "mountPoints": mounts.collect::<Vec<_>>(), "user": spec.user,
        "workingDirectory": spec.working_dir,
    });
    let body = json!({ "containerDefinitions": [container], "volumes": volumes.collect::<Vec<_>>() });
    let length = body.to_string().len();
    (length > LARGEST).then(|| {
        let sizes = [json!(spec.environment).to_string().len(), json!(spec.command).to_string().len()];
        let key = if sizes[0] >= sizes[1] { "environment" } else { "command" };
        let hint = "put what is long into a file in the image, or into one that an earlier step brings";
        SpecFault::new(key, format!("this definition has {length} bytes, and ECS takes {LARGEST}"), hint)
    })
}

pub(super) fn warn(spec: &Spec) -> Vec<SpecWarning> {
    let image = spec.image.as_str();
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    let message = match tag {
        _ if image.contains('@') => None,
        None => Some(format!("`{image}` has no tag, and so means `latest`")),
        Some("latest") => Some(format!("`{image}` is another program next month")),
        Some(_) => None,
    };
    let hint = "name a version (`:v0.7.17_cv1`), or pin it with `@sha256:…`: the same run then gives the same result";
    let latest = message.map(|message| SpecWarning::new(Code::LatestImage, "image", message, hint));
    latest.into_iter().chain(system_folders(spec)).collect()
}

/// User data makes every folder that is mounted but the system's own, where only root may write.
fn system_folders(spec: &Spec) -> Vec<SpecWarning> {
    let Some(user) = spec.user.as_ref().filter(|user| *user != PLACEHOLDER && !folders::is_root(user)) else {
        return Vec::new();
    };
    let hint = "mount a folder of your own, such as `/scratch` (it is made for this user when the instance boots), or say \
                `read_only = true`";
    let mounts = spec.mounts.iter().enumerate().filter(|(_, mount)| {
        let known = mount.host != PLACEHOLDER && mount.host.starts_with('/');
        known && !mount.read_only && !folders::is_made(&mount.host) && !folders::is_open(&mount.host)
    });
    let warning = |(at, mount): (usize, &Mount)| {
        let message = format!("`{}` is a folder of the instance's system, where user {user} may not write", mount.host);
        SpecWarning::new(Code::HostFolder, format!("mounts.{at}.host"), message, hint)
    };
    mounts.map(warning).collect()
}
