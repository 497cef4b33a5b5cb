//! Instance types and machine images: tables, the same in every account.

use serde_json::{Value, json};

use super::{Tags, paged, pass, well_formed};
use crate::sandbox::images::{self, IMAGES, Image, OWNER};
use crate::sandbox::input::texts;
use crate::sandbox::service::{Answer, ApiError, Cx};

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

/// Every type that there is.
pub fn all_types() -> Vec<InstanceType> {
    let burstable = BURSTABLE.iter().map(|(size, vcpus, memory_mib)| InstanceType {
        name: format!("t3.{size}"),
        architecture: "x86_64",
        vcpus: *vcpus,
        memory_mib: *memory_mib,
    });
    let fixed = FAMILIES.iter().flat_map(|(family, architecture, gib)| {
        SIZES.iter().map(move |(size, vcpus)| InstanceType {
            name: format!("{family}.{size}"),
            architecture,
            vcpus: *vcpus,
            memory_mib: vcpus * gib * 1024,
        })
    });
    burstable.chain(fixed).collect()
}

/// The type of this name.
pub fn by_name(name: &str) -> Option<InstanceType> {
    all_types().into_iter().find(|one| one.name == name)
}

/// DescribeInstanceTypes.
pub(super) fn instance_types(cx: &Cx, input: &Value) -> Answer {
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
    let mut found = Vec::new();
    for one in all {
        let shown = pass(input, &Tags::new(), |filter| match filter {
            "instance-type" => Some(vec![one.name.clone()]),
            "processor-info.supported-architecture" => Some(vec![one.architecture.to_owned()]),
            "vcpu-info.default-vcpus" => Some(vec![one.vcpus.to_string()]),
            "memory-info.size-in-mib" => Some(vec![one.memory_mib.to_string()]),
            "current-generation" => Some(vec!["true".to_owned()]),
            "bare-metal" => Some(vec!["false".to_owned()]),
            _ => None,
        })?;
        if shown && (names.is_empty() || names.contains(&one.name)) {
            let threads = if one.architecture == "arm64" { 1 } else { 2 };
            found.push(json!({
                "instanceType": one.name, "currentGeneration": true, "freeTierEligible": one.name == "t3.micro",
                "supportedUsageClasses": ["on-demand", "spot"], "supportedRootDeviceTypes": ["ebs"],
                "supportedVirtualizationTypes": ["hvm"], "bareMetal": false, "hypervisor": "nitro",
                "processorInfo": {"supportedArchitectures": [one.architecture]},
                "vCpuInfo": {
                    "defaultVCpus": one.vcpus, "defaultCores": one.vcpus / threads, "defaultThreadsPerCore": threads,
                },
                "memoryInfo": {"sizeInMiB": one.memory_mib}, "instanceStorageSupported": false,
                "burstablePerformanceSupported": one.name.starts_with("t3."),
            }));
        }
    }
    paged("instanceTypeSet", found, cx, input)
}

/// The image of this id, or the refusal that EC2 gives.
pub(super) fn image(id: &str) -> Result<&'static Image, ApiError> {
    images::by_id(id).ok_or_else(|| {
        if well_formed(id, "ami") {
            ApiError::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
        } else {
            ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\" (expecting \"ami-...\")"))
        }
    })
}

/// DescribeImages.
pub(super) fn images(cx: &Cx, input: &Value) -> Answer {
    let ids = texts(input, "ImageId");
    for id in &ids {
        image(id)?;
    }
    let owners = texts(input, "Owner");
    let mut found = Vec::new();
    for one in IMAGES {
        let shown = pass(input, &Tags::new(), |filter| match filter {
            "image-id" => Some(vec![one.id.to_owned()]),
            "name" => Some(vec![one.name.to_owned()]),
            "architecture" => Some(vec![one.architecture.to_owned()]),
            "state" => Some(vec!["available".to_owned()]),
            "owner-id" => Some(vec![OWNER.to_owned()]),
            "owner-alias" => Some(vec!["amazon".to_owned()]),
            "root-device-type" => Some(vec!["ebs".to_owned()]),
            "virtualization-type" => Some(vec!["hvm".to_owned()]),
            "is-public" => Some(vec!["true".to_owned()]),
            _ => None,
        })?;
        let owned = owners.is_empty() || owners.iter().any(|owner| owner == "amazon" || owner == OWNER);
        if shown && owned && (ids.is_empty() || ids.iter().any(|id| id == one.id)) {
            found.push(json!({
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
            }));
        }
    }
    paged("imagesSet", found, cx, input)
}
