//! An instance becomes what DescribeInstances and RunInstances show of it.

use serde_json::{Value, json};

use super::instances::{Instance, Life};
use super::{network, tag_set, time};
use crate::account::Account;
use crate::images;

/// The instance as DescribeInstances shows it.
pub(super) fn shown(account: &Account, instance: &Instance) -> Value {
    let state = &account.ec2;
    let private_name = format!("ip-{}.{}.compute.internal", instance.private_ip.replace('.', "-"), account.region);
    let mut one = json!({
        "instanceId": instance.id, "imageId": instance.image, "instanceState": instance.life.shown(),
        "privateDnsName": "", "dnsName": "", "amiLaunchIndex": instance.index, "productCodes": [],
        "instanceType": instance.instance_type, "launchTime": time(instance.launched),
        "placement": {
            "availabilityZone": instance.zone, "availabilityZoneId": network::zone_id(&instance.zone),
            "groupName": "", "tenancy": "default",
        },
        "monitoring": {"state": "disabled"}, "architecture": instance.architecture,
        "rootDeviceType": "ebs", "virtualizationType": "hvm", "hypervisor": "xen", "enaSupport": true,
        "ebsOptimized": instance.ebs_optimized, "sourceDestCheck": true, "clientToken": instance.client_token,
        "tagSet": tag_set(&instance.tags), "metadataOptions": instance.metadata.shown(if instance.life == Life::Pending { "pending" } else { "applied" }),
        "rootDeviceName": images::by_id(&account.region, &instance.image).map_or("/dev/xvda", |image| image.root_device),
        "cpuOptions": {"coreCount": (instance.vcpus / 2).max(1), "threadsPerCore": 2.min(instance.vcpus)},
        "platformDetails": "Linux/UNIX", "usageOperation": "RunInstances", "currentInstanceBootMode": "legacy-bios",
    });
    if let Some(key) = &instance.key_name {
        one["keyName"] = json!(key);
    }
    if let Some((arn, id)) = &instance.profile {
        one["iamInstanceProfile"] = json!({"arn": arn, "id": id});
    }
    one["reason"] = json!("");
    if let Some((code, message)) = &instance.reason {
        one["stateReason"] = json!({"code": code, "message": message});
        one["reason"] = json!(format!(
            "{} ({})",
            if code == "Client.UserInitiatedShutdown" { "User initiated" } else { code },
            instance.since.strftime("%Y-%m-%d %H:%M:%S GMT")
        ));
    }
    if instance.gone() {
        one["groupSet"] = json!([]);
        one["networkInterfaceSet"] = json!([]);
        one["blockDeviceMapping"] = json!([]);
        return one;
    }
    let groups: Value = instance
        .groups
        .iter()
        .map(|id| json!({"groupId": id, "groupName": state.group(id).map_or("", |group| group.name.as_str())}))
        .collect();
    let disks: Vec<Value> = state
        .volumes
        .iter()
        .filter(|volume| volume.instance.as_ref() == Some(&instance.id))
        .map(|volume| {
            json!({
                "deviceName": volume.disk.device,
                "ebs": {
                    "volumeId": volume.id, "status": "attached", "attachTime": time(volume.created),
                    "deleteOnTermination": volume.disk.delete_on_termination,
                },
            })
        })
        .collect();
    let vpc = &instance.vpc;
    one["subnetId"] = json!(instance.subnet);
    one["vpcId"] = json!(vpc);
    one["privateIpAddress"] = json!(instance.private_ip);
    one["privateDnsName"] = json!(private_name);
    one["groupSet"] = groups.clone();
    one["blockDeviceMapping"] = Value::Array(disks);
    let mut interface = json!({
        "networkInterfaceId": instance.interface, "subnetId": instance.subnet, "vpcId": vpc, "ownerId": account.id,
        "status": "in-use", "description": "", "macAddress": instance.mac, "sourceDestCheck": true,
        "privateIpAddress": instance.private_ip, "privateDnsName": private_name, "groupSet": groups,
        "interfaceType": "interface", "ipv6AddressesSet": [],
        "attachment": {
            "attachmentId": instance.interface.replacen("eni", "eni-attach", 1), "deviceIndex": 0,
            "status": "attached", "attachTime": time(instance.launched), "deleteOnTermination": true,
        },
    });
    if let (Life::Running, Some(ip)) = (instance.life, &instance.public_ip) {
        let public_name = format!("ec2-{}.{}.compute.amazonaws.com", ip.replace('.', "-"), account.region);
        one["ipAddress"] = json!(ip);
        one["dnsName"] = json!(public_name);
        interface["association"] = json!({"publicIp": ip, "publicDnsName": public_name, "ipOwnerId": "amazon"});
    }
    let mut address = json!({"privateIpAddress": instance.private_ip, "privateDnsName": private_name, "primary": true});
    if let Some(association) = interface.get("association") {
        address["association"] = association.clone();
    }
    interface["privateIpAddressesSet"] = json!([address]);
    one["networkInterfaceSet"] = json!([interface]);
    one
}
