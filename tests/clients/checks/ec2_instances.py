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


@check("ec2", "an unknown image is not launched", REFUSAL, page=ERRORS,
       says="InvalidAMIID.NotFound is the code for an image that there is not.")
def _(aws):
    refuses(aws, "InvalidAMIID.NotFound", ImageId="ami-0123456789abcdef0")


@check("ec2", "what is no image's id is not launched", REFUSAL, page=ERRORS,
       says="InvalidAMIID.Malformed is the code for an id that is not ami- and hexadecimal digits.")
def _(aws):
    refuses(aws, "InvalidAMIID.Malformed", ImageId="image-1")


@check("ec2", "an image is needed", REFUSAL, page=page("RunInstances"),
       says="A launch needs an image, given here or in a launch template.")
def _(aws):
    refused("MissingParameter", aws.ec2.run_instances, InstanceType="t3.micro", MinCount=1, MaxCount=1)


@check("ec2", "a type of another architecture than the image's", REFUSAL, page=ERRORS,
       says="An instance type that the image does not support is refused.")
def _(aws):
    for architecture, kind in [("x86_64", "m6g.large"), ("arm64", "t3.micro")]:
        refuses(aws, ("UnsupportedOperation", "InvalidParameterValue"), ImageId=image(aws, architecture), InstanceType=kind)


@check("ec2", "an unknown type is not launched", REFUSAL, page=ERRORS,
       says="InvalidParameterValue is the code for a value that is wrong or not supported.")
def _(aws):
    refuses(aws, ("InvalidParameterValue", "InvalidInstanceType"), InstanceType="r99.huge")


@check("ec2", "an unknown key pair is not given to an instance", REFUSAL, page=ERRORS,
       says="InvalidKeyPair.NotFound is the code for a key pair that there is not.")
def _(aws):
    refuses(aws, "InvalidKeyPair.NotFound", KeyName=aws.name("none"))


@check("ec2", "an unknown group is not given to an instance", REFUSAL, page=ERRORS,
       says="InvalidGroup.NotFound is the code for a group that there is not.")
def _(aws):
    refuses(aws, "InvalidGroup.NotFound", SecurityGroupIds=["sg-0123456789abcdef0"])


@check("ec2", "nothing is launched in an unknown subnet", REFUSAL, page=ERRORS,
       says="InvalidSubnetID.NotFound is the code for a subnet that there is not.")
def _(aws):
    refuses(aws, ("InvalidSubnetID.NotFound", "InvalidSubnetId.NotFound"), SubnetId="subnet-0123456789abcdef0")


@check("ec2", "nothing is launched in an unknown zone", REFUSAL, page=ERRORS,
       says="InvalidParameterValue is the code for a value that is wrong or not supported.")
def _(aws):
    refuses(aws, ("InvalidParameterValue", "InvalidZone.NotFound", "InvalidAvailabilityZone"),
            Placement={"AvailabilityZone": aws.region + "y"})


@check("ec2", "an unknown instance profile is not given to an instance", REFUSAL, page=ERRORS,
       says="InvalidParameterValue is the code for a value that is wrong or not supported.")
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
       says="DescribeInstances tells which instance profile an instance has.")
def _(aws):
    name = profile(aws)
    wanted = {"IamInstanceProfile": {"Name": name}}
    dry = lambda: code(launch, aws, DryRun=True, **wanted) == "DryRunOperation"
    eventually(dry, "EC2 knows the instance profile", 180)
    instance = start(aws, **wanted)
    contains(described(aws, instance)["IamInstanceProfile"]["Arn"], f":instance-profile/{name}")


@check("ec2", "a new instance profile is not known everywhere at once", DELAY,
       page="https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html",
       says="What IAM changes takes time until it is seen everywhere.")
def _(aws):
    aws.settings(visibility_ms=1500)
    wanted = {"IamInstanceProfile": {"Name": profile(aws)}}
    refused("InvalidParameterValue", launch, aws, **wanted)
    eventually(lambda: code(launch, aws, DryRun=True, **wanted) == "DryRunOperation", "EC2 knows the instance profile")


@check("ec2", "user data is of some size", REFUSAL,
       page=GUIDE + "instancedata-add-user-data.html",
       says="User data has 16 KB at most, before base64.")
def _(aws):
    refused("DryRunOperation", launch, aws, UserData="#" * 16384, DryRun=True)
    refuses(aws, "InvalidParameterValue", UserData="#" * 16385)


@check("ec2", "a client token is of some length", REFUSAL, page=page("RunInstances"),
       says="A client token has 64 ASCII characters at most.")
def _(aws):
    refused("DryRunOperation", launch, aws, ClientToken="t" * 64, DryRun=True)
    refused(("InvalidParameterValue", "InvalidClientToken"), launch, aws, ClientToken="t" * 65)


@check("ec2", "as many as asked are launched", REFUSAL, page=page("RunInstances"),
       says="MaxCount is from 1 to the account's quota for the type in the region.")
def _(aws):
    for least, most in [(0, 0), (2, 1)]:
        refuses(aws, ("InvalidParameterValue", "InvalidParameterCombination"), MinCount=least, MaxCount=most)


@check("ec2", "a dry run launches nothing", REFUSAL, page=page("RunInstances"),
       says="A dry run by who has the rights gets DryRunOperation.")
def _(aws):
    refuses(aws, "DryRunOperation", DryRun=True)


@check("ec2", "a dry run of what would be refused", REFUSAL, page=ERRORS,
       says="DryRunOperation means that the request would have succeeded without DryRun.")
def _(aws):
    refused("InvalidAMIID.NotFound", launch, aws, ImageId="ami-0123456789abcdef0", DryRun=True)


@check("ec2", "there may be no capacity", REFUSAL, page=ERRORS,
       says="InsufficientInstanceCapacity is the code where AWS has no room for the request now.")
def _(aws):
    aws.settings(no_capacity=["m5.large"])
    refused("InsufficientInstanceCapacity", launch, aws, InstanceType="m5.large", status=500)
    refused("DryRunOperation", launch, aws, InstanceType="m5.xlarge", DryRun=True)


@check("ec2", "a network interface has its own subnet", REFUSAL, page=page("RunInstances"),
       says="With a network interface, the subnet stands in the interface and not in the request.")
def _(aws):
    subnet = aws.ec2.describe_subnets(Filters=[by("vpc-id", default_vpc(aws))])["Subnets"][0]["SubnetId"]
    refuses(aws, "InvalidParameterCombination", SubnetId=subnet, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}])


@check("ec2", "tags of what is not launched are refused", REFUSAL, page=page("RunInstances"),
       says="TagSpecifications of a launch are for instances, volumes, Spot requests and network interfaces only.")
def _(aws):
    refuses(aws, "InvalidParameterValue", TagSpecifications=tagged("security-group", a="b"))


@check("ec2", "a volume is no smaller than its snapshot", REFUSAL, page=page("RunInstances"),
       says="A volume is as large as its snapshot or larger.")
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
       says="HttpPutResponseHopLimit is from 1 to 64.")
def _(aws):
    refuses(aws, "InvalidParameterValue", MetadataOptions={"HttpPutResponseHopLimit": 65})


@check("ec2", "a repeated token launches nothing more", page=IDEMPOTENCY,
       says="The same request with the same client token succeeds again and does nothing more.")
def _(aws):
    token = aws.name("token")
    first, second = launch(aws, ClientToken=token), launch(aws, ClientToken=token)
    equal(second["Instances"][0]["InstanceId"], first["Instances"][0]["InstanceId"])
    equal(second["ReservationId"], first["ReservationId"])


@check("ec2", "a token with other parameters", REFUSAL, page=IDEMPOTENCY,
       says="""IdempotentParameterMismatch is the code for a token with other parameters, unless it is the region or zone
       that differs.""")
def _(aws):
    token = aws.name("token")
    launch(aws, ClientToken=token)
    refused("IdempotentParameterMismatch", launch, aws, ClientToken=token, InstanceType="t3.small")


@check("ec2", "a token is of a zone", page=IDEMPOTENCY,
       says="In another zone of the region the same token launches anew.")
def _(aws):
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    zones = sorted(one["AvailabilityZone"] for one in aws.ec2.describe_subnets(Filters=filters)["Subnets"])[:2]
    token = aws.name("token")
    made = [launch(aws, ClientToken=token, Placement={"AvailabilityZone": zone})["Instances"][0] for zone in zones]
    equal([one["Placement"]["AvailabilityZone"] for one in made], zones)
    true(made[0]["InstanceId"] != made[1]["InstanceId"], "it is the same instance")


@check("ec2", "a token without a zone is of the region", page=IDEMPOTENCY,
       says="Without a zone a token launches once in the region.")
def _(aws):
    mark = aws.name("mark")
    wanted = {"ClientToken": aws.name("token"), "TagSpecifications": tagged("instance", mark=mark)}
    first = launch(aws, **wanted)["Instances"][0]
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    zones = {one["AvailabilityZone"] for one in aws.ec2.describe_subnets(Filters=filters)["Subnets"]}
    other = sorted(zones - {first["Placement"]["AvailabilityZone"]})[0]
    # Such a launch fails or does nothing, and AWS leaves open which of the two.
    refusal = code(launch, aws, **wanted, Placement={"AvailabilityZone": other})
    contains([None, "IdempotentParameterMismatch"], refusal)
    eventually(lambda: described(aws, first["InstanceId"]), "the instance can be described", 60)
    equal(ids_of(aws.ec2.describe_instances(Filters=[by("tag:mark", mark)])), {first["InstanceId"]})


@check("ec2", "a terminated instance's token", DELAY, page=ERRORS,
       says="IdempotentInstanceTerminated is the code for the token of an instance that is terminated.")
def _(aws):
    token = aws.name("token")
    instance = start(aws, ClientToken=token)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    refused("IdempotentInstanceTerminated", launch, aws, ClientToken=token)


@check("ec2", "instance and volume are launched with their tags", page=page("RunInstances"),
       says="A launch can tag the instances and their volumes.")
def _(aws):
    specification = tagged("instance", Name="host", a="1") + tagged("volume", a="2")
    instance = start(aws, TagSpecifications=specification)
    equal(plain(described(aws, instance)["Tags"]), {"Name": "host", "a": "1"})
    volumes = eventually(lambda: volumes_of(aws, instance), "the instance has a volume", 60)
    equal([plain(one["Tags"]) for one in volumes], [{"a": "2"}])


def volumes_of(aws, instance):
    return aws.ec2.describe_volumes(Filters=[by("attachment.instance-id", instance)])["Volumes"]


@check("ec2", "volumes are as the mapping says", page=page("RunInstances"),
       says="BlockDeviceMappings says which volumes an instance is launched with.")
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


@check("ec2", "metadata options are as asked", page=page("RunInstances"),
       says="MetadataOptions sets how an instance serves its metadata.")
def _(aws):
    wanted = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled"}
    instance = start(aws, MetadataOptions=wanted)
    options = described(aws, instance)["MetadataOptions"]
    equal({key: options[key] for key in wanted}, wanted)
    equal((options["HttpEndpoint"], options["HttpProtocolIpv6"]), ("enabled", "disabled"), "defaults")


@check("ec2", "keys of tags that metadata shows", REFUSAL, page=GUIDE + "Using_Tags.html",
       says="Where metadata shows tags, a key has no space and no /, and is not ., .. or _index.")
def _(aws):
    for wrong in ["a b", "a/b", "_index"]:
        refuses(aws, "InvalidParameterValue", MetadataOptions={"InstanceMetadataTags": "enabled"},
                TagSpecifications=tagged("instance", **{wrong: "x"}))


@check("ec2", "user data is kept in base64", page=page("DescribeInstanceAttribute"),
       says="DescribeInstanceAttribute gives the user data.")
def _(aws):
    text = "#!/bin/sh\necho 'täglich' > /etc/motd\n"
    instance = start(aws, UserData=text)
    shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    equal(base64.b64decode(shown).decode(), text)


@check("ec2", "an instance that shuts down stops", page=page("RunInstances"),
       says="InstanceInitiatedShutdownBehavior says whether a shutdown from within stops or terminates; without it: stop.")
def _(aws):
    behaviour = lambda instance: aws.ec2.describe_instance_attribute(
        InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior")["InstanceInitiatedShutdownBehavior"]["Value"]
    equal(behaviour(start(aws)), "stop")
    equal(behaviour(start(aws, InstanceInitiatedShutdownBehavior="terminate")), "terminate")


@check("ec2", "an instance without groups has the default one", page=page("RunInstances"),
       says="An instance launched without a group gets the VPC's default one.")
def _(aws):
    equal([one["GroupName"] for one in described(aws, start(aws))["SecurityGroups"]], ["default"])


@check("ec2", "an instance is in the subnet it was launched into", page=page("RunInstances"),
       says="SubnetId is the subnet that an instance is launched into.")
def _(aws):
    subnets = aws.ec2.describe_subnets(Filters=[by("vpc-id", default_vpc(aws))])["Subnets"]
    subnet = max(subnets, key=lambda one: one["AvailabilityZone"])
    made = group(aws)
    shown = described(aws, start(aws, SubnetId=subnet["SubnetId"], SecurityGroupIds=[made]))
    equal((shown["SubnetId"], shown["Placement"]["AvailabilityZone"]), (subnet["SubnetId"], subnet["AvailabilityZone"]))
    equal([one["GroupId"] for one in shown["SecurityGroups"]], [made])


@check("ec2", "instances of one launch are one reservation", page=page("DescribeInstances"),
       says="AmiLaunchIndex tells the instances of one launch apart.")
def _(aws):
    answer = launch(aws, MinCount=2, MaxCount=2)
    ids = [one["InstanceId"] for one in answer["Instances"]]
    for one in ids:
        eventually(lambda: described(aws, one), "the instance can be described", 60)
    found = aws.ec2.describe_instances(InstanceIds=ids)["Reservations"]
    equal([one["ReservationId"] for one in found], [answer["ReservationId"]])
    equal(sorted(one["AmiLaunchIndex"] for one in found[0]["Instances"]), [0, 1])


@check("ec2", "an unknown instance is not described", REFUSAL, page=page("DescribeInstances"),
       says="DescribeInstances of an id that there is not is an error.")
def _(aws):
    refused("InvalidInstanceID.NotFound", aws.ec2.describe_instances, InstanceIds=[UNKNOWN])


@check("ec2", "an instance's id has a form", REFUSAL, page=ERRORS,
       says="InvalidInstanceID.Malformed is the code for an id that is not i- and 8 or 17 hexadecimal digits.")
def _(aws):
    for wrong in ["instance-1", "i-123"]:
        refused("InvalidInstanceID.Malformed", aws.ec2.describe_instances, InstanceIds=[wrong])


@check("ec2", "pages and ids do not go together", REFUSAL, page=page("DescribeInstances"),
       says="MaxResults and InstanceIds exclude each other.")
def _(aws):
    instance = start(aws)
    refused("InvalidParameterCombination", aws.ec2.describe_instances, InstanceIds=[instance], MaxResults=5)


@check("ec2", "instances are found by their client token", page=page("DescribeInstances"),
       says="The filter client-token finds instances by their launch's token.")
def _(aws):
    token = aws.name("token")
    instance = start(aws, ClientToken=token)
    start(aws, ClientToken=aws.name("token"))
    found = aws.ec2.describe_instances(Filters=[by("client-token", token)])
    equal(ids_of(found), {instance})
    equal(found["Reservations"][0]["Instances"][0]["ClientToken"], token)


@check("ec2", "instances are found by tag and state", page=page("DescribeInstances"),
       says="""The filter instance-state-name finds pending, running, shutting-down, terminated, stopping or stopped
       instances.""")
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
       says="The next page begins where the one before ended.")
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
       says="A resource just made may for a while not be found by its id.")
def _(aws):
    aws.settings(visibility_ms=1500)
    token = aws.name("token")
    instance = launch(aws, ClientToken=token)["Instances"][0]["InstanceId"]
    refused("InvalidInstanceID.NotFound", aws.ec2.describe_instances, InstanceIds=[instance])
    equal(ids_of(aws.ec2.describe_instances(Filters=[by("client-token", token)])), set())
    equal(launch(aws, ClientToken=token)["Instances"][0]["InstanceId"], instance, "the token's instance")
    eventually(lambda: described(aws, instance), "the instance can be described")
