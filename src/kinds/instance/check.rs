//! What an instance cannot be launched with, and what it is seldom meant to be launched with.

use super::{Spec, VolumeType};
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
