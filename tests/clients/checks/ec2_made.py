"""What the checks of EC2 make, and how they wait for it."""

import botocore.exceptions

from . import NotApplicable, eventually

REFERENCE = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/"
GUIDE = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/"
ERRORS = REFERENCE + "errors-overview.html"
IDEMPOTENCY = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"
FILTERING = GUIDE + "Using_Filtering.html"

PARAMETERS = {
    "x86_64": "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
    "arm64": "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
}


def page(operation):
    return f"{REFERENCE}API_{operation}.html"


def code(call, *args, **kwargs):
    """The code that the call is refused with, or None."""
    try:
        call(*args, **kwargs)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


def by(name, *values):
    """A filter."""
    return {"Name": name, "Values": list(values)}


def tagged(kind, **tags):
    """Tags for what a call makes."""
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def plain(tags):
    return {tag["Key"]: tag["Value"] for tag in tags}


def image(aws, architecture="x86_64"):
    """An AMI of this architecture: the ECS-optimised one, or where that is not known any of Amazon's."""
    parameters = aws.ssm.get_parameters(Names=[PARAMETERS[architecture]])["Parameters"]
    if parameters and code(aws.ec2.describe_images, ImageIds=[parameters[0]["Value"]]) is None:
        return parameters[0]["Value"]
    filters = [by("architecture", architecture), by("state", "available"), by("virtualization-type", "hvm"),
               by("root-device-type", "ebs")]
    found = [one["ImageId"] for one in aws.ec2.describe_images(Filters=filters)["Images"] if not one.get("Platform")]
    if not found:
        raise NotApplicable(f"the endpoint has no {architecture} image")
    return found[0]


def launch(aws, **more):
    """What RunInstances answers; the instances are terminated afterwards."""
    request = {"ImageId": image(aws), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    answer = aws.ec2.run_instances(**request)
    ids = [one["InstanceId"] for one in answer["Instances"]]
    aws.after(end, aws, ids)
    return answer


def start(aws, **more):
    """The id of a launched instance that can be described."""
    instance = launch(aws, **more)["Instances"][0]["InstanceId"]
    eventually(lambda: described(aws, instance), "the instance can be described", 60)
    return instance


def end(aws, ids):
    for one in ids:
        if code(aws.ec2.terminate_instances, InstanceIds=[one]) == "OperationNotPermitted":
            aws.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
            aws.ec2.terminate_instances(InstanceIds=[one])


def described(aws, instance):
    """The instance, or None where it is not seen yet."""
    try:
        reservations = aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "InvalidInstanceID.NotFound":
            return None
        raise
    return reservations[0]["Instances"][0]


def until(aws, instance, state):
    """Waits for the state; the instance in it."""

    def probe():
        one = described(aws, instance)
        return one if one and one["State"]["Name"] == state else None

    return eventually(probe, f"{instance} is {state}", 300)


def ids_of(answer):
    """The instances' ids in an answer of DescribeInstances."""
    return {one["InstanceId"] for reservation in answer["Reservations"] for one in reservation["Instances"]}


def default_vpc(aws):
    return aws.ec2.describe_vpcs(Filters=[by("is-default", "true")])["Vpcs"][0]["VpcId"]


def create_group(aws, name=None, description="a check", **more):
    """What CreateSecurityGroup answers; the group is deleted afterwards, once no instance has it."""
    name = name or aws.name("group")
    made = aws.ec2.create_security_group(GroupName=name, Description=description, VpcId=default_vpc(aws), **more)
    delete = lambda: code(aws.ec2.delete_security_group, GroupId=made["GroupId"]) != "DependencyViolation"
    aws.after(eventually, delete, "the group is not in use", 300)
    return made


def group(aws, *args, **kwargs):
    """The id of a new group."""
    return create_group(aws, *args, **kwargs)["GroupId"]


def group_shown(aws, group_id):
    return aws.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]


def tcp(port, *cidrs, description=None):
    """A permission for a TCP port."""
    more = {"Description": description} if description else {}
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr, **more} for cidr in cidrs]}


def rules_of(aws, group_id, egress=False):
    found = aws.ec2.describe_security_group_rules(Filters=[by("group-id", group_id)])["SecurityGroupRules"]
    return [rule for rule in found if rule["IsEgress"] == egress]
