"""Container instances: how they come, are described, drain and go."""

from . import DELAY, REFUSAL, check, equal, eventually, refused, true
from .ecs_world import (API, BOOT_SECONDS, cluster, definition, described, ended, gone, host, launched, registered,
                        resource, run, task_now, until)

DEREGISTER = API + "API_DeregisterContainerInstance.html"
UPDATE = API + "API_UpdateContainerInstancesState.html"
LIST, SHOWN = API + "API_ListContainerInstances.html", API + "API_ContainerInstance.html"
LIFE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ECS_instances.html"


def listed(aws, name, **more):
    return aws.ecs.list_container_instances(cluster=name, **more)["containerInstanceArns"]


def told(aws, name, arns, status):
    return aws.ecs.update_container_instances_state(cluster=name, containerInstances=arns, status=status)


@check("ecs", "an instance whose user data names the cluster registers by itself", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ECS_instances.html",
       says="The agent registers its EC2 instance in the cluster that it is set to.")
def _(aws):
    name = cluster(aws)
    instance = launched(aws, name)
    found = eventually(lambda: registered(aws, name, instance), "the instance registers", BOOT_SECONDS)
    equal((found["status"], found["agentConnected"]), ("ACTIVE", True))


@check("ecs", "a registered instance is active and connected", page=LIFE,
       says="A registered instance has the status ACTIVE and agentConnected true.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    shown = described(aws, name, arn)
    equal((shown["ec2InstanceId"], shown["status"], shown["agentConnected"]), (instance, "ACTIVE", True))


@check("ecs", "an instance registers less memory than it is sold with",
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html",
       says="The memory that an instance registers is less than what its type is sold with, as the system takes some.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    memory = resource(described(aws, name, arn), "MEMORY")
    true(7000 < memory < 8192, f"of 8192 MiB, {memory} are registered")


@check("ecs", "an instance has 1,024 units for each virtual processor", page=API + "API_ContainerDefinition.html",
       says="An instance has 1,024 CPU units for each vCPU.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    equal(resource(described(aws, name, arn), "CPU"), 2048)


@check("ecs", "what a task takes is not remaining, until it has ended", DELAY, page=SHOWN,
       says="remainingResources is the CPU and memory that no task has.")
def _(aws):
    name, made = cluster(aws), definition(aws, cpu="256", memory="512")
    _, arn = host(aws, name)
    left = lambda: tuple(resource(described(aws, name, arn), which, "remainingResources") for which in ("CPU", "MEMORY"))
    cpu, memory = left()
    task = run(aws, name, made)
    equal(left(), (cpu - 256, memory - 512), "while the task runs")
    aws.ecs.stop_task(cluster=name, task=task["taskArn"])
    ended(aws, name, task["taskArn"])
    eventually(lambda: left() == (cpu, memory), "all is there again")


@check("ecs", "ECS knows an instance's own attributes",
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html",
       says="ECS gives container instances some attributes by itself, such as ecs.instance-type.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    values = {one["name"]: one.get("value") for one in described(aws, name, arn)["attributes"]}
    equal([values.get(f"ecs.{which}") for which in ("instance-type", "os-type", "cpu-architecture")],
          ["m5.large", "linux", "x86_64"])
    for which in ("ami-id", "availability-zone", "vpc-id", "subnet-id"):
        true(values.get(f"ecs.{which}"), f"ecs.{which} has a value")


@check("ecs", "instances are listed by an expression", page=LIST,
       says="ListContainerInstances takes an expression in the cluster query language.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    equal(listed(aws, name, filter=f"ec2InstanceId == {instance}"), [arn])
    equal(listed(aws, name, filter=f"ec2InstanceId in ['{instance}', 'i-00000000000000000']"), [arn])
    equal(listed(aws, name, filter="ec2InstanceId == i-00000000000000000"), [])


@check("ecs", "an instance that is not there is a failure of the description", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="MISSING is the reason in failures for a container instance that there is not.")
def _(aws):
    name, absent = cluster(aws), "0" * 32
    answer = aws.ecs.describe_container_instances(cluster=name, containerInstances=[absent])
    equal((answer["containerInstances"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "a cluster that is not there has no instances to list", REFUSAL, page=LIST,
       says="ClusterNotFoundException is the code for a cluster that there is not.")
def _(aws):
    refused("ClusterNotFoundException", aws.ecs.list_container_instances, cluster=aws.name("none"))


@check("ecs", "an instance can be told to drain", page=LIST,
       says="status=DRAINING lists the instances that UpdateContainerInstancesState has set so.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    equal((listed(aws, name, status="ACTIVE"), listed(aws, name, status="DRAINING")), ([arn], []))
    answer = told(aws, name, [arn], "DRAINING")
    equal([one["status"] for one in answer["containerInstances"]], ["DRAINING"])
    equal((listed(aws, name, status="ACTIVE"), listed(aws, name, status="DRAINING")), ([], [arn]))
    equal(listed(aws, name), [arn], "without a status, all but the inactive ones")


@check("ecs", "a draining instance is given no task", REFUSAL, page=UPDATE,
       says="A DRAINING instance gets no new task.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    told(aws, name, [arn], "DRAINING")
    try:
        tasks = aws.ecs.run_task(cluster=name, taskDefinition=made["family"])["tasks"]
    except aws.ecs.exceptions.InvalidParameterException:
        tasks = []  # no page says whether this is an error or a failure
    equal(tasks, [])


@check("ecs", "a task of its own goes on where the instance drains", page=UPDATE,
       says="Tasks that no service started go on while their instance drains, until they end or are stopped.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    task = run(aws, name, made)
    told(aws, name, [arn], "DRAINING")
    equal(task_now(aws, name, task["taskArn"])["desiredStatus"], "RUNNING")


@check("ecs", "a drained instance can be active again", page=UPDATE,
       says="An instance can be set from DRAINING to ACTIVE again, and then gets tasks again.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    for status in ("DRAINING", "ACTIVE"):
        told(aws, name, [arn], status)
    equal(run(aws, name, made)["containerInstanceArn"], arn)


@check("ecs", "an instance is told active or draining only", REFUSAL, page=UPDATE,
       says="UpdateContainerInstancesState takes ACTIVE and DRAINING only.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    refused(("InvalidParameterException", "ClientException"), told, aws, name, [arn], "DEREGISTERING")


@check("ecs", "at most ten instances are told at once", REFUSAL, page=UPDATE,
       says="UpdateContainerInstancesState takes up to 10 instances.")
def _(aws):
    name = cluster(aws)
    many = [f"{number:032x}" for number in range(11)]
    refused(("InvalidParameterException", "ClientException"), told, aws, name, many, "DRAINING")


@check("ecs", "a deregistered instance is listed no more, but still described", page=LIFE,
       says="A deregistered instance is INACTIVE at once and listed no more; it can be described for an hour.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    equal(aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn)["containerInstance"]["status"],
          "INACTIVE")
    equal(listed(aws, name), [])
    equal(described(aws, name, arn)["status"], "INACTIVE")


@check("ecs", "deregistering leaves the EC2 instance running", page=DEREGISTER,
       says="Deregistering takes an instance out of the cluster and does not terminate it in EC2.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn)
    until(aws, instance, "running")
    equal(listed(aws, name), [], "it does not come back by itself")


@check("ecs", "an instance with tasks is deregistered by force only", REFUSAL, page=DEREGISTER,
       says="Tasks on an instance deregistered by force run on, and ECS no longer counts them.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    task = run(aws, name, made)
    refused(("InvalidParameterException", "ClientException"), aws.ecs.deregister_container_instance, cluster=name,
            containerInstance=arn)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    equal(task_now(aws, name, task["taskArn"])["containers"][0].get("exitCode"), None, "the exit code that nobody saw")


@check("ecs", "tasks of an instance deregistered by force say so", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html",
       says="Tasks of an instance deregistered by force have a stopped reason that says so.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    task = run(aws, name, made)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    equal(ended(aws, name, task["taskArn"])["stoppedReason"], "Container instance deregistration forced by user")


@check("ecs", "an instance that is not there cannot be deregistered", REFUSAL, page=DEREGISTER,
       says="InvalidParameterException is the code for a container instance that there is not.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.deregister_container_instance, cluster=cluster(aws),
            containerInstance="0" * 32)


@check("ecs", "a terminated instance deregisters by itself", DELAY, page=DEREGISTER,
       says="ECS deregisters an instance that is terminated while it runs.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    gone(aws, instance)
    eventually(lambda: listed(aws, name) == [], "it is listed no more")
    equal((described(aws, name, arn)["status"], described(aws, name, arn)["agentConnected"]), ("INACTIVE", False))


@check("ecs", "a stopped instance stays registered, disconnected", DELAY, page=LIFE,
       says="An instance stopped in EC2 stays ACTIVE, and agentConnected becomes false within minutes.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    aws.ec2.stop_instances(InstanceIds=[instance])
    eventually(lambda: not described(aws, name, arn)["agentConnected"], "the agent is disconnected", max(BOOT_SECONDS, 20))
    equal(described(aws, name, arn)["status"], "ACTIVE")


@check("ecs", "a stopped instance that is terminated stays registered", DELAY, page=DEREGISTER,
       says="An instance that was stopped, or whose agent was disconnected, is not deregistered when it is terminated.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    aws.ec2.stop_instances(InstanceIds=[instance])
    until(aws, instance, "stopped")
    gone(aws, instance)
    equal((listed(aws, name), described(aws, name, arn)["status"]), ([arn], "ACTIVE"))
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    equal(listed(aws, name), [])


@check("ecs", "a started instance connects again", DELAY, page=LIFE,
       says="A started instance's agent connects again, and tasks can be run on it again.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, arn = host(aws, name)
    aws.ec2.stop_instances(InstanceIds=[instance])
    until(aws, instance, "stopped")
    aws.ec2.start_instances(InstanceIds=[instance])
    eventually(lambda: described(aws, name, arn)["agentConnected"], "the agent is connected", max(BOOT_SECONDS, 20))
    equal(listed(aws, name), [arn], "it is the same container instance")
    equal(run(aws, name, made)["containerInstanceArn"], arn)


@check("ecs", "tasks of a stopped instance stop with it", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html",
       says="Tasks of an instance that is stopped or terminated have a stopped reason that says so.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, _ = host(aws, name)
    task = run(aws, name, made)
    aws.ec2.stop_instances(InstanceIds=[instance])
    reason = ended(aws, name, task["taskArn"])["stoppedReason"]
    true(reason.startswith(f"Host EC2 (instance {instance})"), reason)


@check("ecs", "tasks of a terminated instance stop with it, without an exit code", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html",
       says="Tasks of an instance that is stopped or terminated have a stopped reason that says so.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, _ = host(aws, name)
    task = run(aws, name, made)
    gone(aws, instance)
    reason = ended(aws, name, task["taskArn"])["stoppedReason"]
    true(reason.startswith(f"Host EC2 (instance {instance})"), reason)
