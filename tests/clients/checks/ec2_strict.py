"""EC2: what is refused rather than left out, key pairs that EC2 makes, and members that answers have."""

import base64
import hashlib
import re

from . import REFUSAL, check, contains, equal, refused, true
from .ec2_made import ERRORS, group, image, page, plain, rules_of, tagged, tcp

KEYS = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-key-pairs.html"
QUOTAS = "https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html"
ZONES = "https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html"
NOT_DONE = ("UnsupportedOperation", "UnknownParameter")


def launched(aws, **more):
    [made] = aws.ec2.run_instances(ImageId=image(aws), InstanceType="t3.micro", MinCount=1, MaxCount=1, **more)["Instances"]
    aws.after(aws.ec2.terminate_instances, InstanceIds=[made["InstanceId"]])
    return made


@check("ec2", "what a launch would not have is refused by its name", REFUSAL, page=page("RunInstances"),
       says="Each of these members changes what the instance is or does; none may be left out unsaid.")
def _(aws):
    subnet = aws.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    asked = {
        "Monitoring": {"Enabled": True}, "HibernationOptions": {"Configured": True}, "PrivateIpAddress": "172.31.0.9",
        "Placement": {"HostId": "h-0123456789abcdef0"}, "EnclaveOptions": {"Enabled": True}, "DisableApiStop": True,
        "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1}, "CreditSpecification": {"CpuCredits": "standard"},
        "InstanceMarketOptions": {"MarketType": "spot"}, "LaunchTemplate": {"LaunchTemplateName": "none"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet, "PrivateIpAddress": "172.31.0.9"}],
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvdb", "VirtualName": "ephemeral0"}],
    }
    for name, value in asked.items():
        answer = refused(NOT_DONE, aws.ec2.run_instances, ImageId=image(aws), InstanceType="t3.micro", MinCount=1, MaxCount=1,
                         **{name: value})
        contains(answer["Error"]["Message"], name.removesuffix("s"))


@check("ec2", "what every launch has anyway may be said", page=page("RunInstances"),
       says="A member with the value that AWS would take for granted changes nothing.")
def _(aws):
    made = launched(aws, Monitoring={"Enabled": False}, HibernationOptions={"Configured": False}, EbsOptimized=True,
                    Placement={"Tenancy": "default"})
    equal((made["EbsOptimized"], made["Monitoring"]["State"]), (True, "disabled"))


@check("ec2", "a second network interface is refused", REFUSAL, page=page("RunInstances"),
       says="An instance has as many network interfaces as its launch names, each at a device index of its own.")
def _(aws):
    subnet = aws.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    refused((*NOT_DONE, "InvalidParameterValue", "InvalidInterface.IncompatibleDeviceIndex"), aws.ec2.run_instances,
            ImageId=image(aws), InstanceType="t3.micro", MinCount=1, MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}, {"DeviceIndex": 0, "SubnetId": subnet}])


@check("ec2", "a network interface has the tags of its launch", page=page("RunInstances"),
       says="Tags can be given at the launch to the instance, its volumes and its network interfaces.")
def _(aws):
    made = launched(aws, TagSpecifications=tagged("network-interface", a="b"))
    interface = made["NetworkInterfaces"][0]["NetworkInterfaceId"]
    found = aws.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [interface]}])["Tags"]
    equal([(one["ResourceType"], one["Key"], one["Value"]) for one in found], [("network-interface", "a", "b")])


@check("ec2", "an instance says its zone's id and its addresses", page=ZONES,
       says="A zone has an id besides its name, the same for every account.")
def _(aws):
    made = launched(aws)
    zones = {one["ZoneName"]: one["ZoneId"] for one in aws.ec2.describe_availability_zones()["AvailabilityZones"]}
    zone, zone_id = made["Placement"]["AvailabilityZone"], made["Placement"]["AvailabilityZoneId"]
    equal(zone_id, zones[zone])
    true(re.fullmatch(r"[a-z]{3,5}\d-az\d", zone_id), zone_id)
    subnets = {one["AvailabilityZone"]: one["AvailabilityZoneId"] for one in aws.ec2.describe_subnets()["Subnets"]}
    equal(subnets[zone], zone_id)
    [found] = aws.ec2.describe_availability_zones(ZoneIds=[zone_id])["AvailabilityZones"]
    equal(found["ZoneName"], zone)
    [interface] = made["NetworkInterfaces"]
    equal([(one["PrivateIpAddress"], one["Primary"]) for one in interface["PrivateIpAddresses"]],
          [(made["PrivateIpAddress"], True)])


@check("ec2", "no instances are too few", REFUSAL, page="https://github.com/gruntwork-io/cloud-nuke/issues/731",
       says="Terminating, stopping or starting nothing is refused, and not quietly done.")
def _(aws):
    for call in (aws.ec2.terminate_instances, aws.ec2.stop_instances, aws.ec2.start_instances):
        refused("InvalidParameterCombination", call, InstanceIds=[])


@check("ec2", "a rule is modified with its protocol", REFUSAL, page=page("ModifySecurityGroupRules"),
       says="A rule is replaced whole, its protocol among what must be given anew.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    [rule] = rules_of(aws, made)
    new = {"SecurityGroupRuleId": rule["SecurityGroupRuleId"],
           "SecurityGroupRule": {"FromPort": 22, "ToPort": 22, "CidrIpv4": "198.51.100.0/24"}}
    refused("InvalidParameterValue", aws.ec2.modify_security_group_rules, GroupId=made, SecurityGroupRules=[new])


@check("ec2", "rules are looked for in what is a group's id", REFUSAL, page=page("DescribeSecurityGroupRules"),
       says="A filter by a group takes the id of a group.")
def _(aws):
    refused("InvalidGroupId.Malformed", aws.ec2.describe_security_group_rules,
            Filters=[{"Name": "group-id", "Values": ["foobar"]}])


@check("ec2", "a group has sixty rules each way", REFUSAL, page=QUOTAS,
       says="Sixty inbound and sixty outbound rules are a group's quota, IPv4 and IPv6 counted apart.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(port, "203.0.113.0/24") for port in range(1, 61)])
    refused("RulesPerSecurityGroupLimitExceeded", aws.ec2.authorize_security_group_ingress, GroupId=made,
            IpPermissions=[tcp(61, "203.0.113.0/24")])
    six = {"IpProtocol": "tcp", "FromPort": 61, "ToPort": 61, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[six])
    equal(len(rules_of(aws, made)), 61)


@check("ec2", "a rule's group is of this account", REFUSAL, page=page("AuthorizeSecurityGroupIngress"),
       says="A peer group is named with its owner; another account's is another group.")
def _(aws):
    made = group(aws)
    for owner in (aws.account, "999999999999"):
        permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                      "UserIdGroupPairs": [{"GroupId": made, "UserId": owner}]}
        if owner == aws.account:
            aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[permission])
        else:
            refused("InvalidGroup.NotFound", aws.ec2.authorize_security_group_ingress, GroupId=made, IpPermissions=[permission])


@check("ec2", "a public key may be in RFC 4716's form", page=page("ImportKeyPair"),
       says="OpenSSH's form and the file of RFC 4716 are both taken, and are the same key.")
def _(aws):
    from .ec2 import RSA, RSA_FINGERPRINT
    blob = RSA.split()[1]
    lines = [blob[at:at + 64] for at in range(0, len(blob), 64)]
    written = "\n".join(["---- BEGIN SSH2 PUBLIC KEY ----", 'Comment: "of \\', 'two lines"', *lines,
                         "---- END SSH2 PUBLIC KEY ----", ""])
    name = aws.name("key")
    aws.after(aws.ec2.delete_key_pair, KeyName=name)
    equal(aws.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=written.encode())["KeyFingerprint"], RSA_FINGERPRINT)


def created(aws, **more):
    name = aws.name("key")
    aws.after(aws.ec2.delete_key_pair, KeyName=name)
    made = aws.ec2.create_key_pair(KeyName=name, **more)
    [shown] = aws.ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"]
    equal((shown["KeyPairId"], shown["KeyFingerprint"]), (made["KeyPairId"], made["KeyFingerprint"]))
    true("KeyMaterial" not in shown, "the private key is told once")
    return made, shown


@check("ec2", "EC2 makes an ED25519 key", page=KEYS,
       says="EC2 makes the key pair, tells the private key once, and keeps the public one.")
def _(aws):
    made, shown = created(aws, KeyType="ed25519", TagSpecifications=tagged("key-pair", a="b"))
    equal((shown["KeyType"], plain(made["Tags"])), ("ed25519", {"a": "b"}))
    true(made["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----"), "an OpenSSH private key")
    public = base64.b64decode(shown["PublicKey"].split()[1])
    private = base64.b64decode("".join(made["KeyMaterial"].strip().splitlines()[1:-1]))
    true(public[-32:] in private, "the halves belong together")
    equal(len(base64.b64decode(made["KeyFingerprint"] + "=" * (-len(made["KeyFingerprint"]) % 4))), 32)


@check("ec2", "EC2 makes an RSA key where no kind is named", page="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html",
       says="The fingerprint of an RSA key that EC2 made is the SHA-1 of its private key, as DER of PKCS #8.")
def _(aws):
    made, shown = created(aws)
    equal(shown["KeyType"], "rsa")
    lines = made["KeyMaterial"].strip().splitlines()
    equal(lines[0], "-----BEGIN RSA PRIVATE KEY-----")
    private = base64.b64decode("".join(lines[1:-1]))
    true(base64.b64decode(shown["PublicKey"].split()[1])[-256:] in private, "the halves belong together")
    # PKCS #8 puts the version 0 and the algorithm rsaEncryption before the key, which is an octet string in it.
    head = bytes.fromhex("020100300d06092a864886f70d0101010500")
    inner = head + b"\x04\x82" + len(private).to_bytes(2, "big") + private
    whole = b"\x30\x82" + len(inner).to_bytes(2, "big") + inner
    equal(made["KeyFingerprint"].replace(":", ""), hashlib.sha1(whole).hexdigest())


@check("ec2", "a key pair is of a kind that there is, and in PEM", REFUSAL, page=page("CreateKeyPair"),
       says="The kinds of keys are rsa and ed25519; the form is pem, or ppk, which is refused by its name.")
def _(aws):
    refused("InvalidParameterValue", aws.ec2.create_key_pair, KeyName=aws.name("key"), KeyType="dsa")
    refused(NOT_DONE, aws.ec2.create_key_pair, KeyName=aws.name("key"), KeyType="ed25519", KeyFormat="ppk")


@check("ec2", "a key pair's name is taken, whoever made it", REFUSAL, page=ERRORS,
       says="A region has one key pair of a name.")
def _(aws):
    made, _ = created(aws, KeyType="ed25519")
    refused("InvalidKeyPair.Duplicate", aws.ec2.create_key_pair, KeyName=made["KeyName"], KeyType="ed25519")


@check("ec2", "a launch that was refused for capacity keeps its token", REFUSAL,
       page="https://github.com/ubicloud/ubicloud/pull/5898",
       says="The same client token with other parameters is refused, though nothing was launched with it.")
def _(aws):
    aws.settings(no_capacity=["m5.large"])
    asked = {"ImageId": image(aws), "MinCount": 1, "MaxCount": 1, "ClientToken": aws.name("token")}
    refused("InsufficientInstanceCapacity", aws.ec2.run_instances, InstanceType="m5.large", **asked)
    refused("IdempotentParameterMismatch", aws.ec2.run_instances, InstanceType="t3.micro", **asked)
