//! Instance types and machine images: tables, the same in every account.

use serde_json::{Value, json};

use super::{filtered, no_tags, page_size, paged, well_formed};
use crate::account::Account;
use crate::images::{self, Image, OWNER};
use crate::input::texts;
use crate::service::{Answer, ApiError, Cx};

/// An instance type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// E.g. `r6i.2xlarge`.
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Nominal memory, MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: u64,
}

const SIZES: &[(&str, u64)] = &[("large", 2), ("xlarge", 4), ("2xlarge", 8), ("4xlarge", 16)];
/// Family, architecture, GiB a virtual CPU.
const FAMILIES: &[(&str, &str, u64)] = &[
    ("m5", "x86_64", 4),
    ("m6i", "x86_64", 4),
    ("r5", "x86_64", 8),
    ("r6i", "x86_64", 8),
    ("c6i", "x86_64", 2),
    ("m6g", "arm64", 4),
    ("r6g", "arm64", 8),
    ("c6g", "arm64", 2),
];
/// Burstable sizes: virtual CPUs, MiB.
const BURSTABLE: &[(&str, u64, u64)] =
    &[("micro", 2, 1024), ("small", 2, 2048), ("medium", 2, 4096), ("large", 2, 8192), ("xlarge", 4, 16384)];

/// With one GPU: name, virtual CPUs, MiB.
const WITH_GPU: &[(&str, u64, u64)] = &[("g4dn.xlarge", 4, 16384), ("g5.xlarge", 4, 16384), ("g5.2xlarge", 8, 32768)];

/// Every type that there is.
pub fn all_types() -> Vec<InstanceType> {
    let burstable = BURSTABLE.iter().map(|(size, vcpus, memory_mib)| InstanceType {
        name: format!("t3.{size}"),
        architecture: "x86_64",
        vcpus: *vcpus,
        memory_mib: *memory_mib,
        gpus: 0,
    });
    let with_gpu = WITH_GPU.iter().map(|(name, vcpus, memory_mib)| InstanceType {
        name: (*name).to_owned(),
        architecture: "x86_64",
        vcpus: *vcpus,
        memory_mib: *memory_mib,
        gpus: 1,
    });
    let fixed = FAMILIES.iter().flat_map(|(family, architecture, gib)| {
        SIZES.iter().map(move |(size, vcpus)| InstanceType {
            name: format!("{family}.{size}"),
            architecture,
            vcpus: *vcpus,
            memory_mib: vcpus * gib * 1024,
            gpus: 0,
        })
    });
    burstable.chain(fixed).chain(with_gpu).collect()
}

/// The type of this name.
pub fn by_name(name: &str) -> Option<InstanceType> {
    all_types().into_iter().find(|one| one.name == name)
}

/// DescribeInstanceTypes.
pub(super) fn instance_types(cx: &Cx, input: &Value) -> Answer {
    page_size(input, 100)?;
    let names = texts(input, "InstanceType");
    let all = all_types();
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !all.iter().any(|one| one.name == *name)).collect();
    if !unknown.is_empty() {
        return Err(ApiError::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
        ));
    }
    let mut found = filtered(
        input,
        all,
        no_tags,
        &[
            ("instance-type", |one| vec![one.name.clone()]),
            ("processor-info.supported-architecture", |one| vec![one.architecture.to_owned()]),
            ("vcpu-info.default-vcpus", |one| vec![one.vcpus.to_string()]),
            ("memory-info.size-in-mib", |one| vec![one.memory_mib.to_string()]),
            ("current-generation", |_| vec!["true".to_owned()]),
            ("bare-metal", |_| vec!["false".to_owned()]),
        ],
    )?;
    found.retain(|one| names.is_empty() || names.contains(&one.name));
    let shown = |one: InstanceType| {
        let threads = if one.architecture == "arm64" { 1 } else { 2 };
        let mut shown = json!({
            "instanceType": one.name, "currentGeneration": true, "freeTierEligible": one.name == "t3.micro",
            "supportedUsageClasses": ["on-demand", "spot"], "supportedRootDeviceTypes": ["ebs"],
            "supportedVirtualizationTypes": ["hvm"], "bareMetal": false, "hypervisor": "nitro",
            "processorInfo": {"supportedArchitectures": [one.architecture]},
            "vCpuInfo": {
                "defaultVCpus": one.vcpus, "defaultCores": one.vcpus / threads, "defaultThreadsPerCore": threads,
            },
            "memoryInfo": {"sizeInMiB": one.memory_mib}, "instanceStorageSupported": false,
            "burstablePerformanceSupported": one.name.starts_with("t3."),
        });
        if one.gpus > 0 {
            let gpu =
                json!({"name": "T4", "manufacturer": "NVIDIA", "count": one.gpus, "memoryInfo": {"sizeInMiB": 16384}});
            shown["gpuInfo"] = json!({"gpus": [gpu], "totalGpuMemoryInMiB": 16384 * one.gpus});
        }
        shown
    };
    paged("instanceTypeSet", found.into_iter().map(shown).collect(), cx, input)
}

/// The image of this id, or the refusal that EC2 gives.
pub(super) fn image(region: &str, id: &str) -> Result<&'static Image, ApiError> {
    images::by_id(region, id).ok_or_else(|| {
        if well_formed(id, "ami") {
            ApiError::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
        } else {
            ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\" (expecting \"ami-...\")"))
        }
    })
}

/// DescribeImages.
pub(super) fn images(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let ids = texts(input, "ImageId");
    for id in &ids {
        image(&account.region, id)?;
    }
    let owners = texts(input, "Owner");
    let mut found = filtered(
        input,
        images::of(&account.region),
        no_tags,
        &[
            ("image-id", |one| vec![one.id.clone()]),
            ("name", |one| vec![one.name.to_owned()]),
            ("architecture", |one| vec![one.architecture.to_owned()]),
            ("state", |_| vec!["available".to_owned()]),
            ("owner-id", |_| vec![OWNER.to_owned()]),
            ("owner-alias", |_| vec!["amazon".to_owned()]),
            ("root-device-type", |_| vec!["ebs".to_owned()]),
            ("virtualization-type", |_| vec!["hvm".to_owned()]),
            ("is-public", |_| vec!["true".to_owned()]),
        ],
    )?;
    let owned = owners.is_empty() || owners.iter().any(|owner| owner == "amazon" || owner == OWNER);
    found.retain(|one| owned && (ids.is_empty() || ids.contains(&one.id)));
    let shown = |one: &Image| {
        json!({
            "imageId": one.id, "imageLocation": format!("amazon/{}", one.name), "imageState": "available",
            "imageOwnerId": OWNER, "imageOwnerAlias": "amazon", "name": one.name, "creationDate": one.created,
            "isPublic": true, "architecture": one.architecture, "imageType": "machine",
            "platformDetails": "Linux/UNIX", "usageOperation": "RunInstances", "enaSupport": true,
            "hypervisor": "xen", "rootDeviceName": one.root_device, "rootDeviceType": "ebs",
            "virtualizationType": "hvm", "imdsSupport": "v2.0", "tagSet": [],
            "blockDeviceMapping": [{
                "deviceName": one.root_device,
                "ebs": {
                    "deleteOnTermination": true, "snapshotId": one.snapshot, "volumeSize": one.size_gib,
                    "volumeType": "gp3", "iops": 3000, "throughput": 125, "encrypted": false,
                },
            }],
        })
    };
    paged("imagesSet", found.into_iter().map(shown).collect(), cx, input)
}
