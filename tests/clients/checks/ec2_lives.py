"""EC2: the states of an instance, and what is changed in them."""

from . import DELAY, REFUSAL, check, contains, equal, eventually, refused, true
from .ec2_made import (ERRORS, GUIDE, by, code, default_vpc, described, group, ids_of, image, launch, page, start, tagged,
                       until)

LIFECYCLE = GUIDE + "ec2-instance-lifecycle.html"


def changes(answer, name):
    return [(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in answer[name]]


@check("ec2", "an instance is pending, then running", DELAY, page=LIFECYCLE,
       says="A launched instance is at first pending.")
def _(aws):
    launched = launch(aws)["Instances"][0]
    equal(launched["State"], {"Code": 0, "Name": "pending"})
    running = until(aws, launched["InstanceId"], "running")
    equal(running["State"]["Code"], 16)
    true(running["PrivateIpAddress"] and running["LaunchTime"], "an address and a time")


@check("ec2", "an instance ends in two steps, and is shown for a while", DELAY, page=page("TerminateInstances"),
       says="A terminated instance is shown for about an hour more.")
def _(aws):
    instance = start(aws)
    until(aws, instance, "running")
    answer = aws.ec2.terminate_instances(InstanceIds=[instance])
    equal(changes(answer, "TerminatingInstances"), [("running", "shutting-down")])
    ended = until(aws, instance, "terminated")
    equal(ended["State"]["Code"], 48)
    equal(ended["StateReason"]["Code"], "Client.UserInitiatedShutdown")


@check("ec2", "terminating is idempotent", page=page("TerminateInstances"),
       says="An instance that is terminated already can be terminated again without an error.")
def _(aws):
    instance = start(aws)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    answer = aws.ec2.terminate_instances(InstanceIds=[instance])
    equal(changes(answer, "TerminatingInstances"), [("terminated", "terminated")])


@check("ec2", "one wrong id terminates nothing", REFUSAL, page=page("TerminateInstances"),
       says="Where one id of several is wrong, none of the instances is terminated.")
def _(aws):
    instance = start(aws)
    refused("InvalidInstanceID.NotFound", aws.ec2.terminate_instances, InstanceIds=[instance, "i-0123456789abcdef0"])
    until(aws, instance, "running")


def protect(aws, instance, wanted=True):
    aws.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": wanted})


@check("ec2", "a protected instance is not terminated", REFUSAL, page=page("ModifyInstanceAttribute"),
       says="DisableApiTermination=true keeps an instance from being terminated by the API.")
def _(aws):
    instance = start(aws)
    protect(aws, instance)
    refused("OperationNotPermitted", aws.ec2.terminate_instances, InstanceIds=[instance])
    shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
    equal(shown["DisableApiTermination"]["Value"], True)
    protect(aws, instance, False)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")


@check("ec2", "an instance is protected from its launch on", REFUSAL, page=page("RunInstances"),
       says="Termination protection can be set at the launch, and while an instance runs or is stopped.")
def _(aws):
    refused("OperationNotPermitted", aws.ec2.terminate_instances, InstanceIds=[start(aws, DisableApiTermination=True)])


@check("ec2", "a protected instance spares its own zone only", REFUSAL, page=page("TerminateInstances"),
       says="""Where one instance is protected, the others of its zone stay, and those of zones without a protected one are
       terminated.""")
def _(aws):
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    zones = sorted(one["AvailabilityZone"] for one in aws.ec2.describe_subnets(Filters=filters)["Subnets"])[:2]
    here, spared, there = [start(aws, Placement={"AvailabilityZone": zone}) for zone in [zones[0], zones[0], zones[1]]]
    protect(aws, here)
    refused("OperationNotPermitted", aws.ec2.terminate_instances, InstanceIds=[here, spared, there])
    ends = lambda: described(aws, there)["State"]["Name"] in ("shutting-down", "terminated")
    eventually(ends, "the instance in the other zone ends")
    until(aws, spared, "running")


@check("ec2", "volumes go with their instance, or stay", DELAY, page=page("TerminateInstances"),
       says="A volume with DeleteOnTermination=true is deleted with its instance.")
def _(aws):
    chosen = image(aws)
    root = aws.ec2.describe_images(ImageIds=[chosen])["Images"][0]["RootDeviceName"]
    instance = start(aws, ImageId=chosen, BlockDeviceMappings=[
        {"DeviceName": root, "Ebs": {"VolumeSize": 40, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 7, "DeleteOnTermination": False}}])
    until(aws, instance, "running")
    attached = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in described(aws, instance)["BlockDeviceMappings"]}
    equal(set(attached), {root, "/dev/sdf"})
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    gone = lambda: code(aws.ec2.describe_volumes, VolumeIds=[attached[root]]) == "InvalidVolume.NotFound"
    eventually(gone, "the root volume is gone", 60)
    kept = lambda: aws.ec2.describe_volumes(VolumeIds=[attached["/dev/sdf"]])["Volumes"][0]["State"] == "available"
    eventually(kept, "the other one is available", 60)


@check("ec2", "an unknown volume is not described", REFUSAL, page=ERRORS,
       says="InvalidVolume.NotFound is the code for a volume that there is not.")
def _(aws):
    refused("InvalidVolume.NotFound", aws.ec2.describe_volumes, VolumeIds=["vol-0123456789abcdef0"])


@check("ec2", "a volume's id has a form", REFUSAL, page=ERRORS,
       says="InvalidVolumeID.Malformed is the code for an id that is no volume's.")
def _(aws):
    refused(("InvalidVolumeID.Malformed", "InvalidParameterValue"), aws.ec2.describe_volumes, VolumeIds=["disk-1"])


@check("ec2", "a group of a live instance is not deleted", DELAY, page=page("DeleteSecurityGroup"),
       says="DependencyViolation is the code for deleting a group that an instance or a network interface has.")
def _(aws):
    made = group(aws)
    instance = start(aws, SecurityGroupIds=[made])
    refused("DependencyViolation", aws.ec2.delete_security_group, GroupId=made)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    eventually(lambda: code(aws.ec2.delete_security_group, GroupId=made) is None, "the group is deleted", 60)


@check("ec2", "an instance stops and starts", DELAY, page=LIFECYCLE,
       says="A stopped instance is stopping first, then stopped.")
def _(aws):
    instance = start(aws)
    address = until(aws, instance, "running")["PrivateIpAddress"]
    equal(changes(aws.ec2.stop_instances(InstanceIds=[instance]), "StoppingInstances"), [("running", "stopping")])
    equal(until(aws, instance, "stopped")["State"]["Code"], 80)
    equal(changes(aws.ec2.start_instances(InstanceIds=[instance]), "StartingInstances"), [("stopped", "pending")])
    equal(until(aws, instance, "running")["PrivateIpAddress"], address, "its address")


@check("ec2", "a terminated instance is not started", REFUSAL, page=LIFECYCLE,
       says="A terminated instance is deleted for good and cannot be started.")
def _(aws):
    instance = start(aws)
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")
    refused("IncorrectInstanceState", aws.ec2.start_instances, InstanceIds=[instance])


@check("ec2", "user data changes while stopped only", DELAY, page=ERRORS,
       says="IncorrectInstanceState is the code for changing user data of an instance that is not stopped.")
def _(aws):
    instance = start(aws, UserData="one")
    until(aws, instance, "running")
    change = lambda: aws.ec2.modify_instance_attribute(InstanceId=instance, UserData={"Value": b"two"})
    refused("IncorrectInstanceState", change)
    aws.ec2.stop_instances(InstanceIds=[instance])
    until(aws, instance, "stopped")
    change()
    shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    contains(["dHdv", "ZEhkdg=="], shown)  # a client may encode what is encoded already


@check("ec2", "an instance's groups are replaced", page=page("ModifyInstanceAttribute"),
       says="Groups replaces all security groups of the instance.")
def _(aws):
    one, two = group(aws), group(aws)
    instance = start(aws, SecurityGroupIds=[one])
    aws.ec2.modify_instance_attribute(InstanceId=instance, Groups=[two])
    shown = lambda: [found["GroupId"] for found in described(aws, instance)["SecurityGroups"]] == [two]
    eventually(shown, "the instance has the other group", 60)
    aws.ec2.delete_security_group(GroupId=one)


@check("ec2", "an instance's groups are known ones", REFUSAL, page=ERRORS,
       says="InvalidGroup.NotFound is the code for a group that there is not.")
def _(aws):
    refused("InvalidGroup.NotFound", aws.ec2.modify_instance_attribute, InstanceId=start(aws),
            Groups=["sg-0123456789abcdef0"])


@check("ec2", "what an instance does at its shutdown is changed", page=page("ModifyInstanceAttribute"),
       says="InstanceInitiatedShutdownBehavior says whether a shutdown from within stops or terminates.")
def _(aws):
    instance = start(aws)
    aws.ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior")
    equal(shown["InstanceInitiatedShutdownBehavior"]["Value"], "terminate")


@check("ec2", "a shutdown stops or terminates", REFUSAL, page=ERRORS,
       says="InvalidParameterValue is the code for a value that is wrong or not supported.")
def _(aws):
    refused(("InvalidParameterValue", "InvalidInstanceAttributeValue"), aws.ec2.modify_instance_attribute,
            InstanceId=start(aws), InstanceInitiatedShutdownBehavior={"Value": "explode"})


@check("ec2", "one attribute at a time", REFUSAL, page=page("ModifyInstanceAttribute"),
       says="One call changes one attribute.")
def _(aws):
    instance = start(aws)
    refused("InvalidParameterCombination", aws.ec2.modify_instance_attribute, InstanceId=instance,
            DisableApiTermination={"Value": True}, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    aws.ec2.terminate_instances(InstanceIds=[instance])


@check("ec2", "an unknown instance's attributes", REFUSAL, page=ERRORS,
       says="InvalidInstanceID.NotFound is the code for an instance that there is not.")
def _(aws):
    unknown = {"InstanceId": "i-0123456789abcdef0"}
    refused("InvalidInstanceID.NotFound", aws.ec2.modify_instance_attribute, **unknown, DisableApiTermination={"Value": True})
    refused("InvalidInstanceID.NotFound", aws.ec2.describe_instance_attribute, **unknown, Attribute="userData")


@check("ec2", "metadata options change in two steps", DELAY, page=page("ModifyInstanceMetadataOptions"),
       says="While an instance runs, changed metadata options are at first pending.")
def _(aws):
    instance = start(aws)
    until(aws, instance, "running")
    answer = aws.ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=3)
    options = answer["InstanceMetadataOptions"]
    equal((options["State"], options["HttpPutResponseHopLimit"]), ("pending", 3))
    applied = lambda: described(aws, instance)["MetadataOptions"]["State"] == "applied"
    eventually(applied, "they are applied", 60)
    equal(described(aws, instance)["MetadataOptions"]["HttpPutResponseHopLimit"], 3)


@check("ec2", "metadata options that are not named stay", page=page("ModifyInstanceMetadataOptions"),
       says="Metadata options that a call does not name stay as they are.")
def _(aws):
    instance = start(aws, MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 4})
    until(aws, instance, "running")
    aws.ec2.modify_instance_metadata_options(InstanceId=instance, HttpEndpoint="disabled")
    options = described(aws, instance)["MetadataOptions"]
    equal((options["HttpPutResponseHopLimit"], options["HttpTokens"], options["HttpEndpoint"]), (4, "required", "disabled"))


@check("ec2", "statuses are of running instances", page=page("DescribeInstanceStatus"),
       says="DescribeInstanceStatus gives running instances only, unless IncludeAllInstances asks for the others.")
def _(aws):
    running, other = start(aws), start(aws)
    until(aws, running, "running")
    until(aws, other, "running")
    aws.ec2.terminate_instances(InstanceIds=[other])
    until(aws, other, "terminated")
    status = lambda **more: {one["InstanceId"]: one["InstanceState"]["Name"] for one in aws.ec2.describe_instance_status(
        InstanceIds=[running, other], **more)["InstanceStatuses"]}
    equal(status(), {running: "running"})
    equal(status(IncludeAllInstances=True), {running: "running", other: "terminated"})


@check("ec2", "an instance's tags are changed while it lives", page=page("CreateTags"),
       says="CreateTags adds or replaces the named tags and leaves the others.")
def _(aws):
    old, new = aws.name("stage"), aws.name("stage")
    instance = start(aws, TagSpecifications=tagged("instance", stage=old, kept="yes"))
    aws.ec2.create_tags(Resources=[instance], Tags=[{"Key": "stage", "Value": new}])
    find = lambda value: ids_of(aws.ec2.describe_instances(Filters=[by("tag:stage", value), by("tag:kept", "yes")]))
    eventually(lambda: find(new) == {instance}, "it is found by its new tag", 60)
    equal(find(old), set())


@check("ec2", "an unknown instance is not tagged", REFUSAL, page=ERRORS,
       says="InvalidInstanceID.NotFound is the code for an instance that there is not.")
def _(aws):
    refused("InvalidInstanceID.NotFound", aws.ec2.create_tags, Resources=["i-0123456789abcdef0"],
            Tags=[{"Key": "a", "Value": "b"}])
