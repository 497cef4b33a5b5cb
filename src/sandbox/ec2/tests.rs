use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::engine::fake::Outcome;
use crate::images;

fn bench() -> Bench {
    Bench::new(|_| Outcome::default())
}

fn with(mut input: Value, key: &str, value: Value) -> Value {
    input[key] = value;
    input
}

fn group(bench: &mut Bench, name: &str) -> String {
    let answer = bench.ec2("CreateSecurityGroup", json!({"GroupName": name, "GroupDescription": "d"}));
    answer["groupId"].as_str().unwrap().to_owned()
}

#[test]
fn an_instance_lives_in_time() {
    let mut bench = bench();
    let id = bench.run_instance("t");
    assert_eq!(bench.ec2_refuses("DescribeInstances", json!({"InstanceId": [id]})), "InvalidInstanceID.NotFound");
    let none = bench.ec2("DescribeInstances", json!({}));
    assert_eq!(none["reservationSet"], json!([]));
    bench.wait(1);
    assert_eq!(bench.instance_state(&id), "pending");
    bench.wait(9);
    assert_eq!(bench.instance_state(&id), "running");
    let volumes = bench.ec2("DescribeVolumes", json!({"Filter": [{"Name": "attachment.instance-id", "Value": [id]}]}));
    assert_eq!(volumes["volumeSet"][0]["size"], 50);
    assert_eq!(volumes["volumeSet"][0]["encrypted"], true);
    assert_eq!(volumes["volumeSet"][0]["tagSet"][0]["key"], "seqstack:stack");
    bench.ec2("TerminateInstances", json!({"InstanceId": [id]}));
    assert_eq!(bench.instance_state(&id), "shutting-down");
    bench.wait(30);
    assert_eq!(bench.instance_state(&id), "terminated");
    assert_eq!(bench.ec2("DescribeVolumes", json!({}))["volumeSet"], json!([]));
    bench.wait(3599);
    assert_eq!(bench.instance_state(&id), "terminated");
    bench.wait(1);
    assert_eq!(bench.ec2_refuses("DescribeInstances", json!({"InstanceId": [id]})), "InvalidInstanceID.NotFound");
}

#[test]
fn client_tokens_are_of_a_zone_and_outlive_their_instance() {
    let mut bench = bench();
    let id = bench.run_instance("t");
    assert_eq!(bench.run_instance("t"), id);
    let other_type = with(Bench::launch("t"), "InstanceType", json!("r6i.xlarge"));
    assert_eq!(bench.ec2_refuses("RunInstances", other_type), "IdempotentParameterMismatch");
    let in_zone = |token: &str, zone: &str| with(Bench::launch(token), "Placement", json!({"AvailabilityZone": zone}));
    assert_eq!(bench.ec2_refuses("RunInstances", in_zone("t", "eu-west-2b")), "IdempotentParameterMismatch");
    let one = bench.ec2("RunInstances", in_zone("z", "eu-west-2a"));
    let two = bench.ec2("RunInstances", in_zone("z", "eu-west-2b"));
    assert_ne!(one["instancesSet"][0]["instanceId"], two["instancesSet"][0]["instanceId"]);
    bench.wait(10);
    bench.ec2("TerminateInstances", json!({"InstanceId": [id]}));
    let dying = bench.ec2("RunInstances", Bench::launch("t"));
    assert_eq!(dying["instancesSet"][0]["instanceState"]["name"], "shutting-down");
    bench.wait(30);
    assert_eq!(bench.ec2_refuses("RunInstances", Bench::launch("t")), "IdempotentInstanceTerminated");
    bench.wait(7200);
    assert_eq!(bench.ec2_refuses("RunInstances", Bench::launch("t")), "IdempotentInstanceTerminated");
    bench.wait(24 * 3600);
    assert_ne!(bench.run_instance("t"), id);
}

#[test]
fn a_launch_refused_for_capacity_leaves_its_token_with_what_it_asked_for() {
    let mut bench = bench();
    let asked =
        |more: (&str, Value)| with(with(Bench::launch("t"), "InstanceType", json!("m5.4xlarge")), more.0, more.1);
    let same = || asked(("DisableApiTermination", json!("true")));
    assert_eq!(bench.ec2_refuses("RunInstances", same()), "InsufficientInstanceCapacity");
    assert_eq!(bench.ec2_refuses("RunInstances", same()), "InsufficientInstanceCapacity");
    let other = asked(("DisableApiTermination", json!("false")));
    assert_eq!(bench.ec2_refuses("RunInstances", other.clone()), "IdempotentParameterMismatch");
    assert_eq!(bench.ec2_refuses("RunInstances", Bench::launch("t")), "IdempotentParameterMismatch");
    bench.wait(24 * 3600 + 1);
    assert_eq!(bench.ec2_refuses("RunInstances", other), "InsufficientInstanceCapacity");
}

#[test]
fn launches_are_checked() {
    let mut bench = bench();
    let cases = [
        ("ImageId", json!("ami-0000000000000000f"), "InvalidAMIID.NotFound"),
        ("ImageId", json!("ami-x"), "InvalidAMIID.Malformed"),
        ("ImageId", json!(images::of("eu-west-2")[1].id), "InvalidParameterValue"),
        ("InstanceType", json!("r9.huge"), "InvalidParameterValue"),
        ("InstanceType", json!("m5.4xlarge"), "InsufficientInstanceCapacity"),
        ("KeyName", json!("nobody"), "InvalidKeyPair.NotFound"),
        ("SecurityGroupId", json!(["sg-0000000000000000f"]), "InvalidGroup.NotFound"),
        ("SubnetId", json!("subnet-0000000000000000f"), "InvalidSubnetID.NotFound"),
        ("IamInstanceProfile", json!({"Name": "nobody"}), "InvalidParameterValue"),
        (
            "BlockDeviceMapping",
            json!([{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": "8"}}]),
            "InvalidBlockDeviceMapping",
        ),
        ("DryRun", json!("true"), "DryRunOperation"),
    ];
    for (key, value, code) in cases {
        assert_eq!(bench.ec2_refuses("RunInstances", with(Bench::launch(code), key, value)), code);
    }
    let error = bench.try_ec2("RunInstances", with(Bench::launch("t"), "IamInstanceProfile", json!({"Name": "x"})));
    assert!(error.unwrap_err().message.contains("Invalid IAM Instance Profile name"));
    assert!(bench.account().ec2.instances.is_empty());
    bench.account().iam.profiles.get_mut("s-instance").unwrap().created = bench.cx.now;
    assert_eq!(bench.ec2_refuses("RunInstances", Bench::launch("t")), "InvalidParameterValue");
    bench.wait(1);
    bench.run_instance("t");
}

#[test]
fn an_instance_ends_itself_at_its_deadline_wherever_it_was_moved() {
    let mut bench = bench();
    let id = bench.run_instance("t");
    bench.wait(60);
    let tag = |at: &str| json!({"ResourceId": [id], "Tag": [{"Key": "seqstack:deadline", "Value": at}]});
    bench.ec2("CreateTags", tag("2026-01-02T03:10:00Z"));
    bench.ec2("CreateTags", tag("2026-01-02T04:00:00Z"));
    bench.wait(600);
    assert_eq!(bench.instance_state(&id), "running");
    bench.wait(3600);
    let shown = bench.ec2("DescribeInstances", json!({"InstanceId": [id]}));
    let shown = &shown["reservationSet"][0]["instancesSet"][0];
    assert_eq!(shown["instanceState"]["name"], "terminated");
    assert_eq!(shown["stateReason"]["code"], "Client.InstanceInitiatedShutdown");
}

#[test]
fn an_instance_that_never_read_a_deadline_ends_itself_after_the_hours_of_its_user_data() {
    let launch = |token: &str, tags: &str| {
        let script = STANDARD.encode("#!/bin/bash\nfallback=3600\n");
        let launch = with(Bench::launch(token), "UserData", json!(script));
        with(launch, "MetadataOptions", json!({"InstanceMetadataTags": tags}))
    };
    let mut bench = bench();
    let mut run = |token: &str, tags: &str| {
        let answer = bench.ec2("RunInstances", launch(token, tags));
        answer["instancesSet"][0]["instanceId"].as_str().unwrap().to_owned()
    };
    let (hidden, seen) = (run("hidden", "disabled"), run("seen", "enabled"));
    bench.wait(20);
    let deadline = json!([{"Key": "seqstack:deadline", "Value": "2027-01-02T04:00:00Z"}]);
    bench.ec2("CreateTags", json!({"ResourceId": [hidden, seen], "Tag": deadline}));
    bench.wait(60);
    bench.ec2("DeleteTags", json!({"ResourceId": [seen], "Tag": [{"Key": "seqstack:deadline"}]}));
    bench.wait(3600);
    bench.wait(30);
    assert_eq!(bench.instance_state(&hidden), "terminated");
    assert_eq!(bench.instance_state(&seen), "running");
}

#[test]
fn a_group_in_use_stays() {
    let mut bench = bench();
    let (one, two) = (group(&mut bench, "one"), group(&mut bench, "two"));
    assert_eq!(
        bench.ec2_refuses("CreateSecurityGroup", json!({"GroupName": "one", "GroupDescription": "d"})),
        "InvalidGroup.Duplicate"
    );
    let peer = json!({"GroupId": two, "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": "22", "ToPort": "22", "Groups": [{"GroupId": one}]}]});
    bench.ec2("AuthorizeSecurityGroupIngress", peer.clone());
    assert_eq!(bench.ec2_refuses("DeleteSecurityGroup", json!({"GroupId": one})), "DependencyViolation");
    bench.ec2("RevokeSecurityGroupIngress", peer);
    let launched = bench.ec2("RunInstances", with(Bench::launch("t"), "SecurityGroupId", json!([one])));
    let id = launched["instancesSet"][0]["instanceId"].clone();
    bench.wait(10);
    assert_eq!(bench.ec2_refuses("DeleteSecurityGroup", json!({"GroupId": one})), "DependencyViolation");
    bench.ec2("TerminateInstances", json!({"InstanceId": [id]}));
    assert_eq!(bench.ec2_refuses("DeleteSecurityGroup", json!({"GroupId": one})), "DependencyViolation");
    bench.wait(30);
    bench.ec2("DeleteSecurityGroup", json!({"GroupId": one}));
    assert_eq!(bench.ec2_refuses("DeleteSecurityGroup", json!({"GroupId": one})), "InvalidGroup.NotFound");
}

#[test]
fn rules_are_a_set_and_a_description_can_change_alone() {
    let mut bench = bench();
    let id = group(&mut bench, "ecs");
    let ssh = |description: &str| {
        json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "6", "FromPort": "22", "ToPort": "22",
            "IpRanges": [{"CidrIp": "203.0.113.7/24", "Description": description}]}]})
    };
    let made = bench.ec2("AuthorizeSecurityGroupIngress", ssh("SSH"));
    assert_eq!(made["securityGroupRuleSet"][0]["cidrIpv4"], "203.0.113.0/24");
    assert_eq!(bench.ec2_refuses("AuthorizeSecurityGroupIngress", ssh("other")), "InvalidPermission.Duplicate");
    bench.ec2("UpdateSecurityGroupRuleDescriptionsIngress", ssh("SSH access"));
    let shown = bench.ec2("DescribeSecurityGroups", json!({"Filter": [{"Name": "group-name", "Value": ["ecs"]}]}));
    let shown = &shown["securityGroupInfo"][0];
    assert_eq!(
        shown["ipPermissions"],
        json!([{
            "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "groups": [], "ipv6Ranges": [], "prefixListIds": [],
            "ipRanges": [{"cidrIp": "203.0.113.0/24", "description": "SSH access"}],
        }])
    );
    assert_eq!(shown["ipPermissionsEgress"][0]["ipRanges"][0]["cidrIp"], "0.0.0.0/0");
    let rules = bench.ec2("DescribeSecurityGroupRules", json!({"Filter": [{"Name": "group-id", "Value": [id]}]}));
    let rules = rules["securityGroupRuleSet"].as_array().unwrap().clone();
    assert_eq!(rules.len(), 2);
    let egress = rules.iter().find(|rule| rule["isEgress"] == true).unwrap()["securityGroupRuleId"].clone();
    bench.ec2("RevokeSecurityGroupEgress", json!({"GroupId": id, "SecurityGroupRuleId": [egress]}));
    bench.ec2("RevokeSecurityGroupIngress", ssh(""));
    let again = bench.ec2("RevokeSecurityGroupIngress", ssh(""));
    assert_eq!(again["unknownIpPermissionSet"][0]["ipRanges"][0]["cidrIp"], "203.0.113.0/24");
    assert_eq!(bench.ec2_refuses("UpdateSecurityGroupRuleDescriptionsIngress", ssh("")), "InvalidPermission.NotFound");
}

#[test]
fn key_pairs_have_openssh_fingerprints() {
    use base64::Engine as _;
    let mut bench = bench();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBubN1iHe2HZpFQTJDgcsLqLIeg0ydh1y8xrkFaFRBnV";
    let parsed: ssh_key::PublicKey = key.parse().unwrap();
    let material = base64::engine::general_purpose::STANDARD.encode(key);
    let input = json!({"KeyName": "k", "PublicKeyMaterial": material,
        "TagSpecification": [{"ResourceType": "key-pair", "Tag": [{"Key": "a", "Value": "b"}]}]});
    let made = bench.ec2("ImportKeyPair", input.clone());
    let fingerprint = parsed.fingerprint(ssh_key::HashAlg::Sha256).to_string();
    assert_eq!(format!("SHA256:{}", made["keyFingerprint"].as_str().unwrap().trim_end_matches('=')), fingerprint);
    assert_eq!(bench.ec2_refuses("ImportKeyPair", input), "InvalidKeyPair.Duplicate");
    let listed = bench
        .ec2("DescribeKeyPairs", json!({"IncludePublicKey": "true", "Filter": [{"Name": "tag:a", "Value": ["b"]}]}));
    assert_eq!(listed["keySet"][0]["publicKey"], key);
    bench.ec2("DeleteKeyPair", json!({"KeyName": "k"}));
    bench.ec2("DeleteKeyPair", json!({"KeyName": "k"}));
    assert_eq!(bench.ec2_refuses("DescribeKeyPairs", json!({"KeyName": ["k"]})), "InvalidKeyPair.NotFound");
}

#[test]
fn the_default_network_and_the_tables() {
    let mut bench = bench();
    let vpcs = bench.ec2("DescribeVpcs", json!({"Filter": [{"Name": "isDefault", "Value": ["true"]}]}));
    let vpc = vpcs["vpcSet"][0]["vpcId"].clone();
    let subnets = bench.ec2("DescribeSubnets", json!({"Filter": [{"Name": "vpc-id", "Value": [vpc]}]}));
    assert_eq!(subnets["subnetSet"].as_array().unwrap().len(), 3);
    let types = bench.ec2("DescribeInstanceTypes", json!({"InstanceType": ["r6i.2xlarge"]}));
    assert_eq!(types["instanceTypeSet"][0]["memoryInfo"]["sizeInMiB"], 65536);
    assert_eq!(bench.ec2_refuses("DescribeInstanceTypes", json!({"InstanceType": ["x"]})), "InvalidInstanceType");
    assert_eq!(
        bench.ec2_refuses("DescribeVpcs", json!({"Filter": [{"Name": "x", "Value": ["y"]}]})),
        "InvalidParameterValue"
    );
    let refused = bench.try_ec2("CreateVpc", json!({})).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), ("InvalidAction", "the sandbox does not serve CreateVpc"));
}

#[test]
fn attributes_and_metadata() {
    let mut bench = bench();
    let id = bench.run_instance("t");
    bench.wait(10);
    let options = json!({"InstanceId": id, "HttpPutResponseHopLimit": "1", "InstanceMetadataTags": "enabled"});
    let answer = bench.ec2("ModifyInstanceMetadataOptions", options);
    assert_eq!(answer["instanceMetadataOptions"]["httpPutResponseHopLimit"], 1);
    let slash = json!({"ResourceId": [id], "Tag": [{"Key": "a/b", "Value": ""}]});
    assert_eq!(bench.ec2_refuses("CreateTags", slash), "InvalidParameterValue");
    bench.ec2("ModifyInstanceAttribute", json!({"InstanceId": id, "DisableApiTermination": {"Value": "true"}}));
    assert_eq!(bench.ec2_refuses("TerminateInstances", json!({"InstanceId": [id]})), "OperationNotPermitted");
    let data = bench.ec2("DescribeInstanceAttribute", json!({"InstanceId": id, "Attribute": "userData"}));
    assert_eq!(data["userData"]["value"], Bench::launch("t")["UserData"]);
}
