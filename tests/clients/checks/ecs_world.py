"""What the checks of ECS need around them: a cluster, a task definition, an instance in a cluster, a task and its end."""

import json
import os
import time

import botocore.exceptions

from . import Wrong, contains, equal, eventually, true

API = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/"

# An image that the endpoint can run, with a shell in it.
IMAGE = os.environ.get("SEQSTACK_CHECK_IMAGE", "seqstack-demo/samtools:1.16.1")
# How long an instance may take to boot and register (on AWS: some minutes).
BOOT_SECONDS = float(os.environ.get("SEQSTACK_CHECK_BOOT_SECONDS", "15"))

# Every state of a task, in the order in which it can pass through them.
LIFE = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]

LINUX = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"


def cluster(aws, **more):
    """A new cluster's name."""
    name = aws.name("cluster")
    aws.ecs.create_cluster(clusterName=name, **more)
    aws.after(aws.ecs.delete_cluster, cluster=name)
    return name


def container(name="main", **more):
    return {"name": name, "image": IMAGE, "memory": 64, **more}


def definition(aws, *containers, family=None, **more):
    """A new task definition as RegisterTaskDefinition answers it; one small container unless told otherwise."""
    answer = aws.ecs.register_task_definition(family=family or aws.name("family"),
                                              containerDefinitions=list(containers) or [container()], **more)
    registered = answer["taskDefinition"]
    aws.after(aws.ecs.delete_task_definitions, taskDefinitions=[registered["taskDefinitionArn"]])
    aws.after(aws.ecs.deregister_task_definition, taskDefinition=registered["taskDefinitionArn"])
    return registered


def full_name(registered):
    return f"{registered['family']}:{registered['revision']}"


def image(aws):
    """An image that the endpoint knows; ECS's own where it has it."""
    found = aws.ssm.get_parameters(Names=[LINUX])["Parameters"]
    return found[0]["Value"] if found else aws.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]


def profile(aws):
    """An instance profile with which an agent may speak."""
    name = aws.name("instance")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
                                                     "Action": "sts:AssumeRole"}]}
    aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    aws.after(aws.iam.delete_role, RoleName=name)
    may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
        "ecs:*", "logs:CreateLogStream", "logs:PutLogEvents"]}]}
    aws.iam.put_role_policy(RoleName=name, PolicyName="agent", PolicyDocument=json.dumps(may))
    aws.after(aws.iam.delete_role_policy, RoleName=name, PolicyName="agent")
    aws.iam.create_instance_profile(InstanceProfileName=name)
    aws.after(aws.iam.delete_instance_profile, InstanceProfileName=name)
    aws.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    aws.after(aws.iam.remove_role_from_instance_profile, InstanceProfileName=name, RoleName=name)
    return name


def launched(aws, name, instance_type="m5.large"):
    """An EC2 instance whose user data names the cluster."""
    with_profile = profile(aws)

    def run():
        try:
            return aws.ec2.run_instances(
                ImageId=image(aws), InstanceType=instance_type, MinCount=1, MaxCount=1,
                IamInstanceProfile={"Name": with_profile},
                UserData=f"#!/bin/bash\necho \"ECS_CLUSTER={name}\" >> /etc/ecs/ecs.config\n")
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "InvalidParameterValue":
                return None  # a new profile is not known to EC2 at once
            raise

    instance = eventually(run, "the new instance profile can be used")["Instances"][0]["InstanceId"]
    aws.after(gone, aws, instance)
    return instance


def gone(aws, instance):
    """Terminates an instance and waits until it is."""
    aws.ec2.terminate_instances(InstanceIds=[instance])
    until(aws, instance, "terminated")


def until(aws, instance, state):
    def now():
        found = aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return found["State"]["Name"] == state
    eventually(now, f"{instance} is {state}", max(BOOT_SECONDS, 20))


def registered(aws, name, instance):
    """The container instance of an EC2 instance, as it is described; None while it has not registered."""
    for arn in aws.ecs.list_container_instances(cluster=name)["containerInstanceArns"]:
        for one in aws.ecs.describe_container_instances(cluster=name, containerInstances=[arn])["containerInstances"]:
            if one["ec2InstanceId"] == instance:
                return one
    return None


def host(aws, name, instance_type="m5.large"):
    """An instance in the cluster: (the EC2 instance's id, the container instance's ARN).

    Where no agent registers by itself within BOOT_SECONDS, the check registers the instance in its place, and does so at
    once from then on.
    """
    instance = launched(aws, name, instance_type)
    seconds = BOOT_SECONDS if getattr(host, "agents", True) else 0
    until_when = time.monotonic() + seconds
    while True:
        found = registered(aws, name, instance)
        if found or time.monotonic() >= until_when:
            break
        time.sleep(0.05)
    if not found:
        host.agents = False
        found = aws.ecs.register_container_instance(
            cluster=name, instanceIdentityDocument=json.dumps({"instanceId": instance}))["containerInstance"]
    arn = found["containerInstanceArn"]
    aws.after(aws.ecs.deregister_container_instance, cluster=name, containerInstance=arn, force=True)
    return instance, arn


def described(aws, name, arn):
    return aws.ecs.describe_container_instances(cluster=name, containerInstances=[arn])["containerInstances"][0]


def resource(described_instance, name, which="registeredResources"):
    return next(one["integerValue"] for one in described_instance[which] if one["name"] == name)


def shell(script, name="main", **more):
    """The override by which a container runs a shell script."""
    return {"containerOverrides": [{"name": name, "command": ["sh", "-c", script], **more}]}


def run(aws, name, registered_definition, script="sleep 60", **more):
    """Runs one task of a shell script, which must be placed; the task as RunTask answers it."""
    more.setdefault("overrides", shell(script))
    answer = aws.ecs.run_task(cluster=name, taskDefinition=full_name(registered_definition), **more)
    equal(answer["failures"], [], "failures")
    equal(len(answer["tasks"]), 1, "tasks")
    task = answer["tasks"][0]
    aws.after(ended, aws, name, task["taskArn"])
    aws.after(aws.ecs.stop_task, cluster=name, task=task["taskArn"])
    return task


def task_now(aws, name, arn, **more):
    answer = aws.ecs.describe_tasks(cluster=name, tasks=[arn], **more)
    true(answer["tasks"], f"the task is there: {answer['failures']}")
    return answer["tasks"][0]


def running(aws, name, arn):
    def now():
        task = task_now(aws, name, arn)
        if task["lastStatus"] == "STOPPED":
            raise Wrong(f"the task stopped: {task.get('stoppedReason')}, {task['containers']}")
        return task["lastStatus"] == "RUNNING" and task
    return eventually(now, "the task runs", 120)


def ended(aws, name, arn):
    """The task when it has stopped."""
    def now():
        task = task_now(aws, name, arn)
        return task["lastStatus"] == "STOPPED" and task
    return eventually(now, "the task stopped", 120)


def placed_nowhere(answer, reason):
    """RunTask answered that the task could not be placed, for this reason."""
    equal(answer["tasks"], [], "tasks")
    true(answer["failures"], "failures say why")
    for failure in answer["failures"]:
        contains(failure["reason"], reason, "reason")
