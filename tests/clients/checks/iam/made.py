"""What the checks of IAM make, and how they read it."""

import json
import re
import urllib.parse

API = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_"
GUIDE = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"

TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


def rights(*actions, sid=""):
    """A policy that allows these actions on one bucket."""
    return {"Version": "2012-10-17", "Statement": [
        {"Sid": sid, "Effect": "Allow", "Action": list(actions) or ["s3:GetObject"],
         "Resource": "arn:aws:s3:::bucket/key"}]}


def padded(length):
    """A policy of about this many characters and no white space, well formed but for its length."""
    resources = [f"arn:aws:s3:::bucket/{number:05}-{'x' * 60}" for number in range(length // 89)]
    document = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": resources}]}
    return json.dumps(document, separators=(",", ":"))


def made_role(aws, **more):
    """A role's name, once it can be read; it is deleted afterwards."""
    name = more.pop("RoleName", None) or aws.name("Role")
    more.setdefault("AssumeRolePolicyDocument", json.dumps(TRUST))
    aws.iam.create_role(RoleName=name, **more)
    aws.after(aws.iam.delete_role, RoleName=name)
    aws.iam.get_waiter("role_exists").wait(RoleName=name)
    return name


def made_policy(aws, **more):
    """A managed policy's ARN, once it can be read; it is deleted afterwards, with its versions."""
    name = more.pop("PolicyName", None) or aws.name("Policy")
    more.setdefault("PolicyDocument", json.dumps(rights()))
    arn = aws.iam.create_policy(PolicyName=name, **more)["Policy"]["Arn"]
    aws.after(aws.iam.delete_policy, PolicyArn=arn)
    aws.after(delete_versions, aws, arn)
    aws.iam.get_waiter("policy_exists").wait(PolicyArn=arn)
    return arn


def delete_versions(aws, arn):
    for version in aws.iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            aws.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])


def made_profile(aws, **more):
    """An instance profile's name, once it can be read; it is deleted afterwards."""
    name = more.pop("InstanceProfileName", None) or aws.name("Profile")
    aws.iam.create_instance_profile(InstanceProfileName=name, **more)
    aws.after(aws.iam.delete_instance_profile, InstanceProfileName=name)
    aws.iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=name)
    return name


def attached(aws, role, arn):
    """Attaches a policy to a role; it is detached afterwards."""
    aws.iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    aws.after(aws.iam.detach_role_policy, RoleName=role, PolicyArn=arn)


def joined(aws, profile, role):
    """Adds a role to an instance profile; it is removed afterwards."""
    aws.iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)
    aws.after(aws.iam.remove_role_from_instance_profile, InstanceProfileName=profile, RoleName=role)


def pairs(tags):
    """Tags as a dictionary."""
    return {tag["Key"]: tag["Value"] for tag in tags}


def tag_list(**tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def unparsed(aws, operation, element, **parameters):
    """The text of an XML element of the answer: boto3 itself decodes policies before anybody sees them."""
    seen = []
    client = aws.client("iam")
    name = client.meta.method_to_api_mapping[operation]
    client.meta.events.register(f"response-received.iam.{name}",
                                lambda response_dict, **_: seen.append(response_dict["body"].decode()))
    getattr(client, operation)(**parameters)
    return re.search(f"<{element}>(.*?)</{element}>", seen[-1], re.DOTALL).group(1)


def encoded_as(text, document):
    """Whether a text is this document, and no character stands bare in it that a URI never has bare."""
    bare = set(text) & set(' "{}[]\n')
    return not bare and json.loads(urllib.parse.unquote(text)) == document
