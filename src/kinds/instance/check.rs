//! What an instance cannot be launched with, and what it is seldom meant to be launched with.

use super::{Spec, VolumeSpec, VolumeType};
use crate::kind::{Lifetime, SpecFault};
use crate::kinds::is_match;
use crate::stack::values::PLACEHOLDER;
use crate::stack::warning::{Code, SpecWarning};

/// An instance type: its family and its size.
const TYPE: &str = r"^[a-z0-9-]+\.[a-z0-9-]+$";

pub(super) fn check(spec: &Spec) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    if spec.subnet.is_some() && !spec.zones.is_empty() {
        let hint = "a subnet is in one zone; name zones without it for subnets of the default VPC";
        faults.push(SpecFault::new("zones", "`subnet` and `zones` exclude each other", hint));
    }
    let types = std::iter::once(("type".to_owned(), &spec.r#type));
    let others = spec.types.iter().enumerate().map(|(at, name)| (format!("types[{at}]"), name));
    for (key, name) in types.chain(others).filter(|(_, name)| *name != PLACEHOLDER && !is_match(TYPE, name)) {
        faults.push(SpecFault::new(key, format!("`{name}` is no instance type"), "such as `r6i.2xlarge`"));
    }
    let ami = &spec.ami;
    if ami != PLACEHOLDER && !(ami.starts_with("ami-") || ami.starts_with("ssm:/")) {
        let hint = "`ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id`, or `ami-…`";
        faults.push(SpecFault::new("ami", format!("`{ami}` is no AMI"), hint));
    }
    if let Some(subnet) = spec.subnet.as_ref().filter(|id| *id != PLACEHOLDER && !id.starts_with("subnet-")) {
        faults.push(SpecFault::new("subnet", format!("`{subnet}` is no subnet id"), "`subnet-…`"));
    }
    if let Some(volume) = &spec.volume {
        faults.extend(bounds(volume));
        let kind = volume.r#type;
        let faster = matches!(kind, VolumeType::Gp3 | VolumeType::Io1 | VolumeType::Io2);
        if volume.iops.is_some() && !faster {
            let message = format!("the operations of a {} volume cannot be chosen", kind.name());
            faults.push(SpecFault::new("volume.iops", message, "gp3, io1 and io2 take `iops`"));
        }
        if volume.iops.is_none() && matches!(kind, VolumeType::Io1 | VolumeType::Io2) {
            let message = format!("a {} volume needs `iops`", kind.name());
            faults.push(SpecFault::new("volume", message, "or use gp3"));
        }
        if volume.throughput.is_some() && kind != VolumeType::Gp3 {
            let message = format!("the throughput of a {} volume cannot be chosen", kind.name());
            faults.push(SpecFault::new("volume.throughput", message, "gp3 takes `throughput`"));
        }
    }
    faults
}

/// What EC2 refuses at the launch only, once all else is made (EC2 API, EbsBlockDevice; EBS user guide, "Volume types").
fn bounds(volume: &VolumeSpec) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    let (kind, size) = (volume.r#type, volume.size_gib.0);
    let name = kind.name();
    if matches!(kind, VolumeType::St1 | VolumeType::Sc1) {
        let message = format!("an instance cannot boot from a {name} volume, and `volume` is its boot disk");
        faults.push(SpecFault::new("volume.type", message, "use `gp3`"));
    }
    let most = match kind {
        VolumeType::Gp3 | VolumeType::Io2 => 65_536,
        VolumeType::Standard => 1024,
        _ => 16_384,
    };
    if size > most {
        let message = format!("a {name} volume has {most} GiB at the most");
        faults.push(SpecFault::new("volume.size_gib", message, "gp3 and io2 have up to 65536"));
    }
    let (least, most, each) = match kind {
        VolumeType::Gp3 => (3000, 80_000, 500),
        VolumeType::Io1 => (100, 64_000, 50),
        VolumeType::Io2 => (100, 256_000, 1000),
        _ => return faults,
    };
    let iops = volume.iops.map_or(least, |iops| iops.0);
    if !(least..=most).contains(&iops) {
        let message = format!("a {name} volume does {least} to {most} operations a second");
        faults.push(SpecFault::new("volume.iops", message, "leave `iops` out of gp3 for 3000"));
    } else if iops > least && iops > size.saturating_mul(each) {
        let message = format!("a {name} volume of {size} GiB does {} operations a second at the most", size * each);
        faults.push(SpecFault::new("volume.iops", message, "take a larger volume, or fewer operations"));
    }
    let throughput = volume.throughput.filter(|_| kind == VolumeType::Gp3);
    if let Some(throughput) = throughput.filter(|throughput| throughput.0 * 4 > iops) {
        let message = format!("{} MiB a second need {} operations a second", throughput.0, throughput.0 * 4);
        faults.push(SpecFault::new("volume.throughput", message, "say more `iops`, or less `throughput`"));
    }
    faults
}

pub(super) fn warn(spec: &Spec) -> Vec<SpecWarning> {
    let plain = spec.volume.as_ref().is_some_and(|volume| !volume.encrypted).then(|| {
        let hint = "leave `encrypted` out: it costs nothing, and reads of patients are on this disk";
        SpecWarning::new(Code::UnencryptedDisk, "volume.encrypted", "this disk is not encrypted", hint)
    });
    let endless = (spec.lifetime == Lifetime::Always && spec.max_hours.is_none()).then(|| {
        let hint = "say max_hours = 12, or lifetime = \"run\" for an instance that exists for a run only";
        SpecWarning::new(Code::NoMaxHours, "", "this instance is billed until somebody ends it", hint)
    });
    plain.into_iter().chain(endless).collect()
}
