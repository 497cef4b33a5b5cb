//! Reads facts: identity, AMIs, the default VPC, subnets, instance types; local keys and files beside them.
//!
//! Everything is asked at once, and an AMI behind a parameter in a second wave. Every fault is told, not the first one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use aws_sdk_ec2::types as ec2;
use futures_util::future::{join, join_all, join5};
use sha2::{Digest as _, Sha256};

mod identities;
mod network;

pub use network::default_vpc;

use super::absence::OrAbsent as _;
use super::trace::branch;
use super::{Aws, AwsError, OrAws};
use crate::facts::{Facts, Image, InstanceType, LocalFile, Lookup};
use crate::kinds::key_pair::public_half;

/// Something that had to be known and is not.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// AWS did not answer.
    #[error("failed to look up {what}")]
    Aws {
        /// What was asked for.
        what: String,
        /// Why.
        source: AwsError,
    },
    /// There is no such thing.
    #[error("{what}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        hint: String,
        /// The lookup that asked.
        lookup: Lookup,
    },
    /// A local file cannot be read.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A private key on this machine is none.
    #[error("failed to read the private key of `{name}`")]
    Key {
        /// The key pair's logical name.
        name: String,
        /// Why.
        source: crate::kinds::key_pair::KeyError,
    },
}

impl FactError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Missing { hint, .. } => Some(hint),
            Self::Key { .. } => {
                Some("put the right file back, or move this one away: the key pair in AWS stays as it is without it")
            }
            _ => None,
        }
    }
}

type Read<T> = Result<T, Vec<FactError>>;

fn failed(what: impl Into<String>) -> impl FnOnce(AwsError) -> Vec<FactError> {
    let what = what.into();
    move |source| vec![FactError::Aws { what, source }]
}

fn missing(lookup: &Lookup, what: String, hint: impl Into<String>) -> FactError {
    FactError::Missing { what, hint: hint.into(), lookup: lookup.clone() }
}

/// Looks up everything that is asked for. `folder` is the stack file's, `keys_dir` where private keys are kept.
///
/// # Errors
/// Every fault that was found.
pub async fn read(
    aws: &Aws,
    lookups: &BTreeSet<Lookup>,
    folder: &Path,
    keys_dir: &Path,
) -> Result<Facts, Vec<FactError>> {
    let (mut images, mut types, mut keys, mut files) =
        <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    let (mut wanted, mut named) = (network::Wanted::default(), identities::Wanted::default());
    for lookup in lookups {
        match lookup {
            Lookup::Image(text) => drop(images.insert(text.clone())),
            Lookup::Subnet(id) => drop(wanted.subnets.insert(id.clone())),
            Lookup::Vpc(id) => drop(wanted.vpcs.insert(id.clone())),
            Lookup::SecurityGroup(id) => drop(wanted.groups.insert(id.clone())),
            Lookup::Policy(arn) => drop(named.policies.insert(arn.clone())),
            Lookup::Role(arn) => drop(named.roles.insert(arn.clone())),
            Lookup::Profile(role) => drop(named.profiles.insert(role.clone())),
            Lookup::InstanceType(name) => drop(types.insert(name.clone())),
            Lookup::Key(name) => drop(keys.insert(name.clone())),
            Lookup::File(path) => drop(files.insert(path.clone())),
            Lookup::DefaultVpc => wanted.default_vpc = true,
        }
    }
    let remote = join5(
        branch(identity(aws)),
        branch(self::images(aws, images)),
        branch(network::read(aws, wanted)),
        branch(instance_types(aws, types)),
        branch(identities::read(aws, named)),
    );
    let local = join(local_keys(keys, keys_dir), local_files(files, folder));
    let ((identity, images, network, types, named), (keys, files)) = join(remote, local).await;

    let mut faults = Vec::new();
    let mut facts = Facts { region: aws.region.clone(), ..Facts::default() };
    take(identity, &mut faults, |(account, partition, identity)| {
        (facts.account, facts.partition, facts.identity) = (account, partition, identity);
    });
    take(images, &mut faults, |images| facts.images = images);
    take(network, &mut faults, |found| {
        (facts.default_vpc, facts.subnets, facts.groups) = (found.default_vpc, found.subnets, found.groups);
    });
    let mut unknown = Vec::new();
    take(named, &mut faults, |found| (facts.profiles, unknown) = (found.profiles, found.unknown));
    // What is another account's cannot be looked up from this one.
    faults.extend(
        unknown.into_iter().filter(|one| one.account == facts.account || one.account == "aws").map(|one| one.fault),
    );
    take(types, &mut faults, |types| facts.instance_types = types);
    take(keys, &mut faults, |keys| facts.keys = keys);
    take(files, &mut faults, |files| facts.files = files);
    (facts.now, facts.credentials_end) = (aws.clock.now(), aws.credentials.end().await);
    if faults.is_empty() { Ok(facts) } else { Err(faults) }
}

fn take<T>(read: Read<T>, faults: &mut Vec<FactError>, put: impl FnOnce(T)) {
    match read {
        Ok(value) => put(value),
        Err(more) => faults.extend(more),
    }
}

/// All of the parts, or all of their faults.
fn all<K: Ord, V>(parts: Vec<Read<Option<(K, V)>>>) -> Read<BTreeMap<K, V>> {
    let mut out = BTreeMap::new();
    let mut faults = Vec::new();
    for part in parts {
        take(part, &mut faults, |found| out.extend(found));
    }
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

/// Account, partition and who we are.
async fn identity(aws: &Aws) -> Read<(String, String, String)> {
    let answer = aws.sts.get_caller_identity().send().await.or_aws("sts:GetCallerIdentity");
    let answer = answer.map_err(failed("who is asking"))?;
    let arn = answer.arn.unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
    Ok((answer.account.unwrap_or_default(), partition, arn))
}

async fn images(aws: &Aws, wanted: BTreeSet<String>) -> Read<BTreeMap<String, Image>> {
    let (behind, direct): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|text| text.starts_with("ssm:"));
    let direct = async {
        let ids = direct.iter().map(|id| (id.clone(), id.clone())).collect();
        described_images(aws, ids).await
    };
    let behind = async {
        let ids = parameters(aws, behind).await;
        // An AMI behind a parameter that is there is looked at even where another parameter is not.
        let (ids, mut faults) = ids;
        match described_images(aws, ids).await {
            Ok(images) if faults.is_empty() => Ok(images),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    };
    let (direct, behind) = join(branch(direct), branch(behind)).await;
    all(vec![direct, behind]
        .into_iter()
        .flat_map(|images| match images {
            Ok(images) => images.into_iter().map(|image| Ok(Some(image))).collect(),
            Err(faults) => vec![Err(faults)],
        })
        .collect())
}

/// The values of public parameters by how the stack file writes them.
async fn parameters(aws: &Aws, wanted: Vec<String>) -> (BTreeMap<String, String>, Vec<FactError>) {
    let (mut out, mut faults) = (BTreeMap::new(), Vec::new());
    let chunks = wanted.chunks(10).map(|chunk| {
        branch(async move {
            let names = chunk.iter().map(|text| text.trim_start_matches("ssm:").to_owned()).collect();
            aws.ssm.get_parameters().set_names(Some(names)).send().await.or_aws("ssm:GetParameters")
        })
    });
    let mut found = BTreeMap::new();
    for answer in join_all(chunks).await {
        match answer {
            Ok(answer) => found.extend(
                answer
                    .parameters
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|parameter| Some((parameter.name?, parameter.value?))),
            ),
            Err(source) => {
                faults.push(FactError::Aws { what: "the AMIs behind parameters".to_owned(), source });
                return (out, faults);
            }
        }
    }
    for text in wanted {
        match found.get(text.trim_start_matches("ssm:")) {
            Some(value) => drop(out.insert(text, value.clone())),
            None => {
                let what = format!("there is no parameter {} in {}", text.trim_start_matches("ssm:"), aws.region);
                let hint = "for x86-64: ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id";
                faults.push(missing(&Lookup::Image(text), what, hint));
            }
        }
    }
    (out, faults)
}

/// AMIs by how the stack file writes them, given their ids. Asked by filter, so that one that is missing does not make
/// the others unknown.
async fn described_images(aws: &Aws, ids: BTreeMap<String, String>) -> Read<BTreeMap<String, Image>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = ec2::Filter::builder().name("image-id").set_values(Some(ids.values().cloned().collect())).build();
    // A pinned AMI may be deprecated and still be launched.
    let mut pages = aws.ec2.describe_images().filters(filter).include_deprecated(true).into_paginator().send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.or_aws("ec2:DescribeImages").map_err(failed("AMIs"))?;
        found.extend(page.images().iter().filter_map(|image| {
            let id = image.image_id()?.to_owned();
            let architecture = image.architecture().map(|name| name.as_str().to_owned())?;
            let root_device = image.root_device_name().unwrap_or("/dev/xvda").to_owned();
            let root = image.block_device_mappings().iter().find(|one| one.device_name() == Some(&root_device));
            let size_gib = root.and_then(|root| root.ebs()?.volume_size()).map(i64::from);
            Some((id.clone(), Image { id, architecture, root_device, size_gib }))
        }));
    }
    all(ids
        .into_iter()
        .map(|(text, id)| match found.get(&id) {
            Some(image) => Ok(Some((text, image.clone()))),
            None => {
                let what = format!("there is no AMI {id} in {} that this account can see", aws.region);
                let hint = "AMI ids differ from region to region; `ssm:/aws/service/ecs/…` is right in every one";
                Err(vec![missing(&Lookup::Image(text), what, hint)])
            }
        })
        .collect())
}

async fn instance_types(aws: &Aws, wanted: BTreeSet<String>) -> Read<BTreeMap<String, InstanceType>> {
    let each = wanted.into_iter().map(|name| {
        branch(async move {
            // One call a type: several in one call fail together.
            let request = aws.ec2.describe_instance_types().instance_types(name.as_str().into()).send().await;
            let unknown = |error: &AwsError| error.is(&["InvalidInstanceType", "InvalidParameterValue"]);
            let answer = request.or_aws("ec2:DescribeInstanceTypes").or_absent_if(unknown);
            let answer = answer.map_err(failed(format!("the instance type {name}")))?;
            match answer.as_ref().and_then(|answer| answer.instance_types().first()) {
                Some(found) => {
                    let found = instance_type(found);
                    Ok(Some((name, found)))
                }
                None => {
                    let what = format!("there is no instance type {name} in {}", aws.region);
                    let hint = "such as r6i.2xlarge (x86-64) or r6g.2xlarge (arm64)";
                    Err(vec![missing(&Lookup::InstanceType(name), what, hint)])
                }
            }
        })
    });
    all(join_all(each).await)
}

fn instance_type(found: &ec2::InstanceTypeInfo) -> InstanceType {
    let architectures = found.processor_info().map(|cpu| cpu.supported_architectures()).unwrap_or_default();
    let vcpus = found.v_cpu_info().and_then(|cpu| cpu.default_v_cpus()).unwrap_or_default();
    let memory = found.memory_info().and_then(|memory| memory.size_in_mib()).unwrap_or_default();
    let gpus = found.gpu_info().map(|gpu| gpu.gpus()).unwrap_or_default().iter().filter_map(|gpu| gpu.count());
    InstanceType {
        gpus: gpus.filter_map(|count| u32::try_from(count).ok()).sum(),
        architectures: architectures.iter().map(|name| name.as_str().to_owned()).collect(),
        vcpus: u32::try_from(vcpus).unwrap_or_default(),
        memory_mib: u64::try_from(memory).unwrap_or_default(),
    }
}

async fn local_keys(names: BTreeSet<String>, folder: &Path) -> Read<BTreeMap<String, String>> {
    let each = names.into_iter().map(|name| {
        let path = folder.join(&name);
        async move {
            let read = blocking(move || public_half(&path)).await;
            match read {
                Ok(Ok(half)) => Ok(half.map(|half| (name, half))),
                Ok(Err(source)) => Err(vec![FactError::Key { name, source }]),
                Err(source) => Err(vec![FactError::File { path: name, source }]),
            }
        }
    });
    all(join_all(each).await)
}

async fn local_files(paths: BTreeSet<String>, folder: &Path) -> Read<BTreeMap<String, LocalFile>> {
    let each = paths.into_iter().map(|path| {
        let file = folder.join(&path);
        async move {
            match hashed(&file).await {
                Ok((size, sha256)) => {
                    let found = LocalFile { path: file.display().to_string(), size, sha256 };
                    Ok(Some((path, found)))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let what = format!("there is no file {}", file.display());
                    let hint = "paths are relative to the stack file's folder";
                    Err(vec![missing(&Lookup::File(path), what, hint)])
                }
                Err(source) => Err(vec![FactError::File { path: file.display().to_string(), source }]),
            }
        }
    });
    all(join_all(each).await)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

/// Size and SHA-256 (lower-case hexadecimal) of a file, read on a thread of its own.
///
/// # Errors
/// The file system's.
pub async fn hashed(path: &Path) -> std::io::Result<(u64, String)> {
    let path = path.to_owned();
    blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((size, hex::encode(hash.finalize()))),
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    size += u64::try_from(count).map_err(std::io::Error::other)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_faults_are_told_all_at_once() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a"), "abc").unwrap();
        let (size, sha256) = hashed(&home.path().join("a")).await.unwrap();
        assert_eq!(size, 3);
        assert!(sha256.starts_with("ba7816bf"));
        let files = ["a", "b", "c"].map(str::to_owned).into();
        let faults = local_files(files, home.path()).await.unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults.iter().all(|fault| fault.hint().is_some()));
        let keys = local_keys(["none".to_owned()].into(), home.path()).await.unwrap();
        assert!(keys.is_empty());
    }
}
