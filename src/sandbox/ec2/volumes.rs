//! EBS volumes: made with an instance, gone with it unless they were told to stay.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tags, filtered, invalid, page_size, paged, required, tag_set, time, well_formed};
use crate::account::Account;
use crate::images::Image;
use crate::input::{flag, list, number, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// What a launch asks a volume to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub(super) device: String,
    size_gib: i64,
    kind: String,
    iops: Option<i64>,
    throughput: Option<i64>,
    encrypted: bool,
    pub(super) delete_on_termination: bool,
    snapshot: Option<String>,
}

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    pub(super) id: String,
    pub(super) disk: Disk,
    pub(super) zone: String,
    pub(super) created: Timestamp,
    pub(super) instance: Option<String>,
    pub(super) tags: Tags,
}

impl Volume {
    fn status(&self) -> &'static str {
        if self.instance.is_some() { "in-use" } else { "available" }
    }
}

/// The disks of a launch: the image's root, as the request changes it, and further ones.
pub(super) fn disks(input: &Value, image: &Image) -> Result<Vec<Disk>, ApiError> {
    let mut disks = vec![Disk {
        device: image.root_device.to_owned(),
        size_gib: image.size_gib,
        kind: "gp3".to_owned(),
        iops: Some(3000),
        throughput: Some(125),
        encrypted: false,
        delete_on_termination: true,
        snapshot: Some(image.snapshot.clone()),
    }];
    for mapping in list(input, "BlockDeviceMapping") {
        let device = required(mapping, "DeviceName")?;
        let Some(ebs) = mapping.get("Ebs") else {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!("the sandbox serves EBS volumes only, not the mapping of {device}"),
            ));
        };
        let root = device == image.root_device;
        let size_gib = match number(ebs, "VolumeSize") {
            Some(size) if root && size < image.size_gib => {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    format!(
                        "Volume of size {size}GB is smaller than  snapshot '{}', expect size >= {}GB",
                        image.snapshot, image.size_gib
                    ),
                ));
            }
            Some(size) if !(1..=65536).contains(&size) => {
                return Err(invalid(format!("Volume of {size}GiB is too small or too large")));
            }
            Some(size) => size,
            None if root => image.size_gib,
            None => {
                return Err(ApiError::new(
                    "MissingParameter",
                    "The request must contain the parameter size or snapshotId",
                ));
            }
        };
        let kind = text(ebs, "VolumeType").unwrap_or("gp3");
        if !["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].contains(&kind) {
            return Err(invalid(format!("Value ({kind}) for parameter volumeType is invalid.")));
        }
        let encrypted = flag(ebs, "Encrypted").unwrap_or(false);
        let gp3 = kind == "gp3";
        let (iops, throughput) = (number(ebs, "Iops"), number(ebs, "Throughput"));
        check_kind(kind, root, iops, throughput, size_gib)?;
        let disk = Disk {
            device: device.to_owned(),
            size_gib,
            kind: kind.to_owned(),
            iops: iops.or(if gp3 { Some(3000) } else { None }),
            throughput: throughput.or(if gp3 { Some(125) } else { None }),
            encrypted,
            delete_on_termination: flag(ebs, "DeleteOnTermination").unwrap_or(true),
            snapshot: root.then(|| image.snapshot.clone()),
        };
        match disks.iter_mut().find(|have| have.device == device) {
            Some(have) if root && have.size_gib == image.size_gib => *have = disk,
            Some(_) => {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    format!("Duplicate device name {device} in the mapping"),
                ));
            }
            None => disks.push(disk),
        }
    }
    Ok(disks)
}

/// What EC2 refuses of a disk's kind, in its own words where they are known (boto3 #3653, runs-on #260, parallelcluster
/// #2301; EC2 API, EbsBlockDevice).
fn check_kind(
    kind: &str,
    root: bool,
    iops: Option<i64>,
    throughput: Option<i64>,
    size_gib: i64,
) -> Result<(), ApiError> {
    let combination = |message: String| Err(ApiError::new("InvalidParameterCombination", message));
    if root && matches!(kind, "st1" | "sc1") {
        return combination(format!("The parameter iops is not supported for {kind} volumes."));
    }
    let bounds = match kind {
        "gp3" => Some((3000, 80_000, 500)),
        "io1" => Some((100, 64_000, 50)),
        "io2" => Some((100, 256_000, 1000)),
        _ => None,
    };
    if let (Some((least, most, ratio)), Some(iops)) = (bounds, iops) {
        if !(least..=most).contains(&iops) {
            let word = if iops < least { ("low", "minimum", least) } else { ("high", "maximum", most) };
            return Err(invalid(format!("Volume iops of {iops} is too {}; {} is {}.", word.0, word.1, word.2)));
        }
        if iops > least && iops > ratio * size_gib {
            return combination(format!("Iops to volume size ratio is too high; maximum is {ratio}"));
        }
    }
    if kind == "gp3" && throughput.is_some_and(|throughput| throughput * 4 > iops.unwrap_or(3000)) {
        return combination(
            "Throughput (MiBps) to iops ratio is too high; maximum is 0.250000 MiBps per iops".to_owned(),
        );
    }
    let most = match kind {
        "gp3" | "io2" => 65_536,
        "standard" => 1024,
        _ => 16_384,
    };
    if size_gib > most {
        return Err(invalid(format!(
            "Volume of {size_gib}GiB is too large for volume type {kind}; maximum is {most}GiB."
        )));
    }
    Ok(())
}

/// DescribeVolumes.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    page_size(input, 1000)?;
    let ids = texts(input, "VolumeId");
    let all = &account.ec2.volumes;
    if let Some(id) = ids.iter().find(|id| !all.iter().any(|volume| volume.id == **id)) {
        return Err(if well_formed(id, "vol") {
            ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
        } else {
            ApiError::new("InvalidVolumeID.Malformed", format!("Invalid id: \"{id}\" (expecting \"vol-...\")"))
        });
    }
    let mut chosen = filtered(
        input,
        all.iter(),
        |volume| &volume.tags,
        &[
            ("volume-id", |volume| vec![volume.id.clone()]),
            ("status", |volume| vec![volume.status().to_owned()]),
            ("size", |volume| vec![volume.disk.size_gib.to_string()]),
            ("volume-type", |volume| vec![volume.disk.kind.clone()]),
            ("encrypted", |volume| vec![volume.disk.encrypted.to_string()]),
            ("availability-zone", |volume| vec![volume.zone.clone()]),
            ("attachment.instance-id", |volume| volume.instance.iter().cloned().collect()),
            ("attachment.device", |volume| vec![volume.disk.device.clone()]),
        ],
    )?;
    chosen.retain(|volume| ids.is_empty() || ids.contains(&volume.id));
    let mut found = Vec::new();
    for volume in chosen {
        let disk = &volume.disk;
        let attachments: Vec<Value> = volume
            .instance
            .iter()
            .map(|instance| {
                json!({
                    "volumeId": volume.id, "instanceId": instance, "device": disk.device, "status": "attached",
                    "attachTime": time(volume.created), "deleteOnTermination": disk.delete_on_termination,
                })
            })
            .collect();
        let mut one = json!({
            "volumeId": volume.id, "size": disk.size_gib, "availabilityZone": volume.zone, "status": volume.status(),
            "availabilityZoneId": super::network::zone_id(&volume.zone),
            "createTime": time(volume.created), "attachmentSet": attachments, "volumeType": disk.kind,
            "encrypted": disk.encrypted, "multiAttachEnabled": false, "tagSet": tag_set(&volume.tags),
            "snapshotId": disk.snapshot.as_deref().unwrap_or_default(),
        });
        if let Some(iops) = disk.iops {
            one["iops"] = json!(iops);
        }
        if let Some(throughput) = disk.throughput {
            one["throughput"] = json!(throughput);
        }
        if disk.encrypted {
            one["kmsKeyId"] = json!(format!(
                "arn:aws:kms:{}:{}:key/0d2f6a18-5b7c-4e93-a1d0-3c9b8e7f6a54",
                account.region, account.id
            ));
        }
        found.push(one);
    }
    paged("volumeSet", found, cx, input)
}
