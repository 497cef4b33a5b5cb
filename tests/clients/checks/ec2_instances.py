"""EC2: what RunInstances takes and refuses, and how instances are found."""

import base64
import json

from . import DELAY, REFUSAL, check, contains, equal, eventually, NotApplicable, refused, true
from .ec2_made import (ERRORS, GUIDE, IDEMPOTENCY, by, code, default_vpc, described, group, ids_of, image, launch, page,
                       plain, start, tagged, until)

UNKNOWN = "i-0123456789abcdef0"


def refuses(aws, codes, **more):
    """RunInstances refuses these parameters, and launches nothing."""
    mark = aws.name("mark")
    refused(codes, launch, aws, **{"TagSpecifications": tagged("instance", mark=mark), **more})
    equal(ids_of(aws.ec2.describe_instances(Filters=[by("tag:mark", mark)])), set(), "instances that were launched")


@check("ec2", "an unknown image is not launched", REFUSAL, page=ERRORS, says="The specified AMI doesn't exist.")
def _(aws):
    refuses(aws, "InvalidAMIID.NotFound", ImageId="ami-0123456789abcdef0")


@check("ec2", "what is no image's id is not launched", REFUSAL, page=ERRORS,
       says="Ensure that you provide the full AMI ID, in the form ami-xxxxxxxxxxxxxxxxx.")
def _(aws):
    refuses(aws, "InvalidAMIID.Malformed", ImageId="image-1")


@check("ec2", "an image is needed", REFUSAL, page=page("RunInstances"),
       says="An AMI ID is required to launch an instance and must be specified here or in a launch template.")
def _(aws):
    refused("MissingParameter", aws.ec2.run_instances, InstanceType="t3.micro", MinCount=1, MaxCount=1)


@check("ec2", "a type of another architecture than the image's", REFUSAL, page=ERRORS,
       says="Or you might be trying to launch an instance type that is not supported by the specified AMI.")
def _(aws):
    for architecture, kind in [("x86_64", "m6g.large"), ("arm64", "t3.micro")]:
        refuses(aws, ("UnsupportedOperation", "InvalidParameterValue"), ImageId=image(aws, architecture), InstanceType=kind)


@check("ec2", "an unknown type is not launched", REFUSAL, page=ERRORS,
       says="A value specified in a parameter is not valid, is unsupported, or cannot be used.")
def _(aws):
    refuses(aws, ("InvalidParameterValue", "InvalidInstanceType"), InstanceType="r99.huge")


@check("ec2", "an unknown key pair is not given to an instance", REFUSAL, page=ERRORS,
       says="The specified key pair name does not exist.")
def _(aws):
    refuses(aws, "InvalidKeyPair.NotFound", KeyName=aws.name("none"))


@check("ec2", "an unknown group is not given to an instance", REFUSAL, page=ERRORS,
       says="The specified security group does not exist.")
def _(aws):
    refuses(aws, "InvalidGroup.NotFound", SecurityGroupIds=["sg-0123456789abcdef0"])


@check("ec2", "nothing is launched in an unknown subnet", REFUSAL, page=ERRORS, says="The specified subnet does not exist.")
def _(aws):
    refuses(aws, ("InvalidSubnetID.NotFound", "InvalidSubnetId.NotFound"), SubnetId="subnet-0123456789abcdef0")


@check("ec2", "nothing is launched in an unknown zone", REFUSAL, page=ERRORS,
       says="A value specified in a parameter is not valid, is unsupported, or cannot be used.")
def _(aws):
    refuses(aws, ("InvalidParameterValue", "InvalidZone.NotFound", "InvalidAvailabilityZone"),
            Placement={"AvailabilityZone": aws.region + "y"})


@check("ec2", "an unknown instance profile is not given to an instance", REFUSAL, page=ERRORS,
       says="A value specified in a parameter is not valid, is unsupported, or cannot be used.")
def _(aws):
    refuses(aws, "InvalidParameterValue", IamInstanceProfile={"Name": aws.name("none")})


def profile(aws):
    """The name of a new instance profile with a role."""
    name = aws.name("profile")
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    aws.after(aws.iam.delete_role, RoleName=name)
    aws.iam.create_instance_profile(InstanceProfileName=name)
    aws.after(aws.iam.delete_instance_profile, InstanceProfileName=name)
    aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    aws.after(aws.iam.remove_role_from_instance_profile, InstanceProfileName=name, RoleName=name)
    return name


@check("ec2", "an instance has the profile it was given", DELAY, page=page("DescribeInstances"),
       says="The IAM instance profile associated with the instance, if applicable.")
def _(aws):
    name = profile(aws)
    wanted = {"IamInstanceProfile": {"Name": name}}
    dry = lambda: code(launch, aws, DryRun=True, **wanted) == "DryRunOperation"
    eventually(dry, "EC2 knows the instance profile", 180)
    instance = start(aws, **wanted)
    contains(described(aws, instance)["IamInstanceProfile"]["Arn"], f":instance-profile/{name}")


@check("ec2", "a new instance profile is not known everywhere at once", DELAY,
       page="https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html",
       says="Any change that you make in IAM … takes time to become visible from all possible endpoints.")
def _(aws):
    aws.settings(visibility_ms=1500)
    wanted = {"IamInstanceProfile": {"Name": profile(aws)}}
    refused("InvalidParameterValue", launch, aws, **wanted)
    eventually(lambda: code(launch, aws, DryRun=True, **wanted) == "DryRunOperation", "EC2 knows the instance profile")


@check("ec2", "user data is of some size", REFUSAL,
       page=GUIDE + "instancedata-add-user-data.html",
       says="User data is limited to 16 KB, in raw form, before it is base64-encoded.")
def _(aws):
    refused("DryRunOperation", launch, aws, UserData="#" * 16384, DryRun=True)
    refuses(aws, "InvalidParameterValue", UserData="#" * 16385)


@check("ec2", "a client token is of some length", REFUSAL, page=page("RunInstances"),
       says="Constraints: Maximum 64 ASCII characters")
def _(aws):
    refused("DryRunOperation", launch, aws, ClientToken="t" * 64, DryRun=True)
    refused(("InvalidParameterValue", "InvalidClientToken"), launch, aws, ClientToken="t" * 65)


@check("ec2", "as many as asked are launched", REFUSAL, page=page("RunInstances"),
       says="Constraints: Between 1 and the quota for the specified instance type for your account for this Region.")
def _(aws):
    for least, most in [(0, 0), (2, 1)]:
        refuses(aws, ("InvalidParameterValue", "InvalidParameterCombination"), MinCount=least, MaxCount=most)


@check("ec2", "a dry run launches nothing", REFUSAL, page=page("RunInstances"),
       says="If you have the required permissions, the error response is DryRunOperation.")
def _(aws):
    refuses(aws, "DryRunOperation", DryRun=True)


@check("ec2", "a dry run of what would be refused", REFUSAL, page=ERRORS,
       says="The user has the required permissions, so the request would have succeeded, but the DryRun parameter was used.")
def _(aws):
    refused("InvalidAMIID.NotFound", launch, aws, ImageId="ami-0123456789abcdef0", DryRun=True)


@check("ec2", "there may be no capacity", REFUSAL, page=ERRORS, says="There is not enough capacity to fulfill your request.")
def _(aws):
    aws.settings(no_capacity=["m5.large"])
    refused("InsufficientInstanceCapacity", launch, aws, InstanceType="m5.large", status=500)
    refused("DryRunOperation", launch, aws, InstanceType="m5.xlarge", DryRun=True)


@check("ec2", "a network interface has its own subnet", REFUSAL, page=page("RunInstances"),
       says="If you specify a network interface, you must specify any subnets as part of the network interface instead of "
            "using this parameter.")
def _(aws):
    subnet = aws.ec2.describe_subnets(Filters=[by("vpc-id", default_vpc(aws))])["Subnets"][0]["SubnetId"]
    refuses(aws, "InvalidParameterCombination", SubnetId=subnet, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}])


@check("ec2", "tags of what is not launched are refused", REFUSAL, page=page("RunInstances"),
       says="You can specify tags for the following resources only: Instances Volumes Spot Instance requests Network interfaces")
def _(aws):
    refuses(aws, "InvalidParameterValue", TagSpecifications=tagged("security-group", a="b"))


@check("ec2", "a volume is no smaller than its snapshot", REFUSAL, page=page("RunInstances"),
       says="You can specify a volume size that is equal to or larger than the snapshot size.")
def _(aws):
    chosen = image(aws)
    shown = aws.ec2.describe_images(ImageIds=[chosen])["Images"][0]
    root = shown["RootDeviceName"]
    sizes = [one["Ebs"].get("VolumeSize", 1) for one in shown["BlockDeviceMappings"] if one["DeviceName"] == root]
    if not sizes or sizes[0] < 2:
        raise NotApplicable("the image's snapshot has no size")
    refuses(aws, ("InvalidBlockDeviceMapping", "InvalidParameterValue"), ImageId=chosen,
            BlockDeviceMappings=[{"DeviceName": root, "Ebs": {"VolumeSize": sizes[0] - 1}}])


@check("ec2", "a metadata hop limit has bounds", REFUSAL, page=page("RunInstances"),
       says="Possible values: Integers from 1 to 64")
def _(aws):
    refuses(aws, "InvalidParameterValue", MetadataOptions={"HttpPutResponseHopLimit": 65})


@check("ec2", "a repeated token launches nothing more", page=IDEMPOTENCY,
       says="If you retry a request that completed successfully using the same client token and the same parameters, the retry "
            "succeeds without performing any further actions.")
def _(aws):
    token = aws.name("token")
    first, second = launch(aws, ClientToken=token), launch(aws, ClientToken=token)
    equal(second["Instances"][0]["InstanceId"], first["Instances"][0]["InstanceId"])
    equal(second["ReservationId"], first["ReservationId"])


@check("ec2", "a token with other parameters", REFUSAL, page=IDEMPOTENCY,
       says="If you retry a successful request using the same client token, but one or more of the parameters are different, "
            "other than the Region or Availability Zone, the retry fails with an IdempotentParameterMismatch error.")
def _(aws):
    token = aws.name("token")
    launch(aws, ClientToken=token)
    refused("IdempotentParameterMismatch", launch, aws, ClientToken=token, InstanceType="t3.small")


@check("ec2", "a token is of a zone", page=IDEMPOTENCY,
       says="However, the same client token can be used to launch instances in other Availability Zones in the Region.")
def _(aws):
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    zones = sorted(one["AvailabilityZone"] for one in aws.ec2.describe_subnets(Filters=filters)["Subnets"])[:2]
    token = aws.name("token")
    made = [launch(aws, ClientToken=token, Placement={"AvailabilityZone": zone})["Instances"][0] for zone in zones]
    equal([one["Placement"]["AvailabilityZone"] for one in made], zones)
    true(made[0]["InstanceId"] != made[1]["InstanceId"], "it is the same instance")


@check("ec2", "a token without a zone is of the region", page=IDEMPOTENCY,
       says="This ensures that a request with the same client token can complete only once within a Region.")
def _(aws):
    mark = aws.name("mark")
    wanted = {"ClientToken": aws.name("token"), "TagSpecifications": tagged("instance", mark=mark)}
    first = launch(aws, **wanted)["Instances"][0]
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    zones = {one["AvailabilityZone"] for one in aws.ec2.describe_subnets(Filters=filters)["Subnets"]}
    other = sorted(zones - {first["Placement"]["AvailabilityZone"]})[0]
    # "… either return successfully without performing any further actions or fail with an IdempotentParameterMismatch"
    refusal = code(launch, aws, **wanted, Placement={"AvailabilityZone": other})
    contains([None, "IdempotentParameterMismatch"], refusal)
    eventually(lambda: described(aws, first["InstanceId"]), "the instance can be described", 60)
    equal(ids_of(aws.ec2.describe_instances(Filters=[by("tag:mark", mark)])), {first["InstanceId"]})


@check("ec2", "a terminated instance's token", DELAY, page=ERRORS,
       says="The request to launch an instance uses the same client token as a previous request for which the instance has "
            "been terminated.")
def _(aws):
    token = aws.name("token")
    instance = start(aws, ClientToken=token)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    refused("IdempotentInstanceTerminated", launch, aws, ClientToken=token)


@check("ec2", "instance and volume are launched with their tags", page=page("RunInstances"),
       says="You can tag instances and EBS volumes during launch, after launch, or both.")
def _(aws):
    specification = tagged("instance", Name="host", a="1") + tagged("volume", a="2")
    instance = start(aws, TagSpecifications=specification)
    equal(plain(described(aws, instance)["Tags"]), {"Name": "host", "a": "1"})
    volumes = eventually(lambda: volumes_of(aws, instance), "the instance has a volume", 60)
    equal([plain(one["Tags"]) for one in volumes], [{"a": "2"}])


def volumes_of(aws, instance):
    return aws.ec2.describe_volumes(Filters=[by("attachment.instance-id", instance)])["Volumes"]


@check("ec2", "volumes are as the mapping says", page=page("RunInstances"),
       says="The block device mapping, which defines the EBS volumes and instance store volumes to attach to the instance at "
            "launch.")
def _(aws):
    chosen = image(aws)
    root = aws.ec2.describe_images(ImageIds=[chosen])["Images"][0]["RootDeviceName"]
    instance = start(aws, ImageId=chosen, BlockDeviceMappings=[
        {"DeviceName": root, "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 7, "VolumeType": "gp2", "DeleteOnTermination": True}}])
    volumes = eventually(lambda: volumes_of(aws, instance), "the instance has volumes", 60)
    equal({one["Attachments"][0]["Device"]: (one["Size"], one["VolumeType"]) for one in volumes},
          {root: (50, "gp3"), "/dev/sdf": (7, "gp2")})
    encrypted = {one["Attachments"][0]["Device"]: one["Encrypted"] for one in volumes}
    equal(encrypted[root], True)
    devices = {one["DeviceName"] for one in described(aws, instance)["BlockDeviceMappings"]}
    equal(devices, {root, "/dev/sdf"})


@check("ec2", "metadata options are as asked", page=page("RunInstances"), says="The metadata options for the instance.")
def _(aws):
    wanted = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled"}
    instance = start(aws, MetadataOptions=wanted)
    options = described(aws, instance)["MetadataOptions"]
    equal({key: options[key] for key in wanted}, wanted)
    equal((options["HttpEndpoint"], options["HttpProtocolIpv6"]), ("enabled", "disabled"), "defaults")


@check("ec2", "keys of tags that metadata shows", REFUSAL, page=GUIDE + "Using_Tags.html",
       says="Instance tag keys can't contain spaces or /, and can't comprise only . (one period), .. (two periods), or _index.")
def _(aws):
    for wrong in ["a b", "a/b", "_index"]:
        refuses(aws, "InvalidParameterValue", MetadataOptions={"InstanceMetadataTags": "enabled"},
                TagSpecifications=tagged("instance", **{wrong: "x"}))


@check("ec2", "user data is kept in base64", page=page("DescribeInstanceAttribute"), says="The user data.")
def _(aws):
    text = "#!/bin/sh\necho 'täglich' > /etc/motd\n"
    instance = start(aws, UserData=text)
    shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    equal(base64.b64decode(shown).decode(), text)


@check("ec2", "an instance that shuts down stops", page=page("RunInstances"),
       says="Indicates whether an instance stops or terminates when you initiate shutdown from the instance (using the "
            "operating system command for system shutdown). Default: stop")
def _(aws):
    behaviour = lambda instance: aws.ec2.describe_instance_attribute(
        InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior")["InstanceInitiatedShutdownBehavior"]["Value"]
    equal(behaviour(start(aws)), "stop")
    equal(behaviour(start(aws, InstanceInitiatedShutdownBehavior="terminate")), "terminate")


@check("ec2", "an instance without groups has the default one", page=page("RunInstances"),
       says="If you don't specify a security group ID, we use the default security group for the VPC.")
def _(aws):
    equal([one["GroupName"] for one in described(aws, start(aws))["SecurityGroups"]], ["default"])


@check("ec2", "an instance is in the subnet it was launched into", page=page("RunInstances"),
       says="The ID of the subnet to launch the instance into.")
def _(aws):
    subnets = aws.ec2.describe_subnets(Filters=[by("vpc-id", default_vpc(aws))])["Subnets"]
    subnet = max(subnets, key=lambda one: one["AvailabilityZone"])
    made = group(aws)
    shown = described(aws, start(aws, SubnetId=subnet["SubnetId"], SecurityGroupIds=[made]))
    equal((shown["SubnetId"], shown["Placement"]["AvailabilityZone"]), (subnet["SubnetId"], subnet["AvailabilityZone"]))
    equal([one["GroupId"] for one in shown["SecurityGroups"]], [made])


@check("ec2", "instances of one launch are one reservation", page=page("DescribeInstances"),
       says="The AMI launch index, which can be used to find this instance in the launch group.")
def _(aws):
    answer = launch(aws, MinCount=2, MaxCount=2)
    ids = [one["InstanceId"] for one in answer["Instances"]]
    for one in ids:
        eventually(lambda: described(aws, one), "the instance can be described", 60)
    found = aws.ec2.describe_instances(InstanceIds=ids)["Reservations"]
    equal([one["ReservationId"] for one in found], [answer["ReservationId"]])
    equal(sorted(one["AmiLaunchIndex"] for one in found[0]["Instances"]), [0, 1])


@check("ec2", "an unknown instance is not described", REFUSAL, page=page("DescribeInstances"),
       says="If you specify an instance ID that is not valid, an error is returned.")
def _(aws):
    refused("InvalidInstanceID.NotFound", aws.ec2.describe_instances, InstanceIds=[UNKNOWN])


@check("ec2", "an instance's id has a form", REFUSAL, page=ERRORS,
       says="The specified instance ID is malformed. Ensure that you provide the full instance ID in the request, in the form "
            "i-xxxxxxxx or i-xxxxxxxxxxxxxxxxx.")
def _(aws):
    for wrong in ["instance-1", "i-123"]:
        refused("InvalidInstanceID.Malformed", aws.ec2.describe_instances, InstanceIds=[wrong])


@check("ec2", "pages and ids do not go together", REFUSAL, page=page("DescribeInstances"),
       says="You cannot specify this parameter and the instance IDs parameter in the same request.")
def _(aws):
    instance = start(aws)
    refused("InvalidParameterCombination", aws.ec2.describe_instances, InstanceIds=[instance], MaxResults=5)


@check("ec2", "instances are found by their client token", page=page("DescribeInstances"),
       says="client-token - The idempotency token you provided when you launched the instance.")
def _(aws):
    token = aws.name("token")
    instance = start(aws, ClientToken=token)
    start(aws, ClientToken=aws.name("token"))
    found = aws.ec2.describe_instances(Filters=[by("client-token", token)])
    equal(ids_of(found), {instance})
    equal(found["Reservations"][0]["Instances"][0]["ClientToken"], token)


@check("ec2", "instances are found by tag and state", page=page("DescribeInstances"),
       says="instance-state-name - The state of the instance (pending | running | shutting-down | terminated | stopping | "
            "stopped).")
def _(aws):
    team = aws.name("team")
    one, two = [start(aws, TagSpecifications=tagged("instance", Team=team)) for _ in range(2)]
    until(aws, one, "running")
    until(aws, two, "running")
    aws.ec2.terminate_instances(InstanceIds=[two])
    until(aws, two, "terminated")
    find = lambda *states: ids_of(aws.ec2.describe_instances(
        Filters=[by("tag:Team", team), by("instance-state-name", *states)]))
    equal(find("pending", "running"), {one})
    true(find("terminated") <= {two}, "another one is terminated")
    equal(find("stopped"), set())


@check("ec2", "small pages show every instance once", page=page("DescribeInstances"),
       says="Pagination continues from the end of the items returned by the previous request.")
def _(aws):
    team = aws.name("team")
    made = launch(aws, MinCount=3, MaxCount=3, TagSpecifications=tagged("instance", Team=team))["Instances"]
    aws.settings(page=2)
    pages = list(aws.ec2.get_paginator("describe_instances").paginate(Filters=[by("tag:Team", team)]))
    found = [ids_of(one) for one in pages]
    equal([len(one) for one in found], [2, 1])
    equal(set().union(*found), {one["InstanceId"] for one in made})


@check("ec2", "a new instance is not known everywhere at once", DELAY,
       page="https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html",
       says="This means that if you run a command to modify or describe the resource that you just created, its ID might not "
            "have propagated throughout the system, and you will get an error responding that the resource does not exist.")
def _(aws):
    aws.settings(visibility_ms=1500)
    token = aws.name("token")
    instance = launch(aws, ClientToken=token)["Instances"][0]["InstanceId"]
    refused("InvalidInstanceID.NotFound", aws.ec2.describe_instances, InstanceIds=[instance])
    equal(ids_of(aws.ec2.describe_instances(Filters=[by("client-token", token)])), set())
    equal(launch(aws, ClientToken=token)["Instances"][0]["InstanceId"], instance, "the token's instance")
    eventually(lambda: described(aws, instance), "the instance can be described")
