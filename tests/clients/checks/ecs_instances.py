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
       says="The container agent is able to register the instance into one of your clusters.")
def _(aws):
    name = cluster(aws)
    instance = launched(aws, name)
    found = eventually(lambda: registered(aws, name, instance), "the instance registers", BOOT_SECONDS)
    equal((found["status"], found["agentConnected"]), ("ACTIVE", True))


@check("ecs", "a registered instance is active and connected", page=LIFE,
       says="When the Amazon ECS container agent registers an Amazon EC2 instance into your cluster, the Amazon EC2 instance "
            "reports its status as ACTIVE and its agent connection status as TRUE.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    shown = described(aws, name, arn)
    equal((shown["ec2InstanceId"], shown["status"], shown["agentConnected"]), (instance, "ACTIVE", True))


@check("ecs", "an instance registers less memory than it is sold with",
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html",
       says="Because of platform memory overhead and memory occupied by the system kernel, this number is different than the "
            "installed memory amount that is advertised for Amazon EC2 instances.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    memory = resource(described(aws, name, arn), "MEMORY")
    true(7000 < memory < 8192, f"of 8192 MiB, {memory} are registered")


@check("ecs", "an instance has 1,024 units for each virtual processor", page=API + "API_ContainerDefinition.html",
       says="You can determine the number of CPU units that are available per EC2 instance type by multiplying the vCPUs "
            "listed for that instance type on the Amazon EC2 Instances detail page by 1,024.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    equal(resource(described(aws, name, arn), "CPU"), 2048)


@check("ecs", "what a task takes is not remaining, until it has ended", DELAY, page=SHOWN,
       says="For CPU and memory resource types, this parameter describes the remaining CPU and memory that wasn't already "
            "allocated to tasks and is therefore available for new tasks.")
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
       says="Amazon ECS automatically applies the following attributes to your container instances.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name, "m5.large")
    values = {one["name"]: one.get("value") for one in described(aws, name, arn)["attributes"]}
    equal([values.get(f"ecs.{which}") for which in ("instance-type", "os-type", "cpu-architecture")],
          ["m5.large", "linux", "x86_64"])
    for which in ("ami-id", "availability-zone", "vpc-id", "subnet-id"):
        true(values.get(f"ecs.{which}"), f"ecs.{which} has a value")


@check("ecs", "instances are listed by an expression", page=LIST,
       says="You can filter the results of a ListContainerInstances operation with cluster query language statements.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    equal(listed(aws, name, filter=f"ec2InstanceId == {instance}"), [arn])
    equal(listed(aws, name, filter=f"ec2InstanceId in ['{instance}', 'i-00000000000000000']"), [arn])
    equal(listed(aws, name, filter="ec2InstanceId == i-00000000000000000"), [])


@check("ecs", "an instance that is not there is a failure of the description", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="The container instance you are attempting to describe does not exist.")
def _(aws):
    name, absent = cluster(aws), "0" * 32
    answer = aws.ecs.describe_container_instances(cluster=name, containerInstances=[absent])
    equal((answer["containerInstances"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "a cluster that is not there has no instances to list", REFUSAL, page=LIST,
       says="The specified cluster wasn't found. You can view your available clusters with ListClusters.")
def _(aws):
    refused("ClusterNotFoundException", aws.ecs.list_container_instances, cluster=aws.name("none"))


@check("ecs", "an instance can be told to drain", page=LIST,
       says="For example, if you specify the DRAINING status, the results include only container instances that have been set "
            "to DRAINING using UpdateContainerInstancesState.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    equal((listed(aws, name, status="ACTIVE"), listed(aws, name, status="DRAINING")), ([arn], []))
    answer = told(aws, name, [arn], "DRAINING")
    equal([one["status"] for one in answer["containerInstances"]], ["DRAINING"])
    equal((listed(aws, name, status="ACTIVE"), listed(aws, name, status="DRAINING")), ([], [arn]))
    equal(listed(aws, name), [arn], "without a status, all but the inactive ones")


@check("ecs", "a draining instance is given no task", REFUSAL, page=UPDATE,
       says="When you set a container instance to DRAINING, Amazon ECS prevents new tasks from being scheduled for placement on "
            "the container instance")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    told(aws, name, [arn], "DRAINING")
    try:
        tasks = aws.ecs.run_task(cluster=name, taskDefinition=made["family"])["tasks"]
    except aws.ecs.exceptions.InvalidParameterException:
        tasks = []  # no sentence says whether this is an error or a failure
    equal(tasks, [])


@check("ecs", "a task of its own goes on where the instance drains", page=UPDATE,
       says="Any PENDING or RUNNING tasks that do not belong to a service aren't affected. You must wait for them to finish or "
            "stop them manually.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    task = run(aws, name, made)
    told(aws, name, [arn], "DRAINING")
    equal(task_now(aws, name, task["taskArn"])["desiredStatus"], "RUNNING")


@check("ecs", "a drained instance can be active again", page=UPDATE,
       says="When a container instance has been drained, you can set a container instance to ACTIVE status and once it has "
            "reached that status the Amazon ECS scheduler can begin scheduling tasks on the instance again.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    for status in ("DRAINING", "ACTIVE"):
        told(aws, name, [arn], status)
    equal(run(aws, name, made)["containerInstanceArn"], arn)


@check("ecs", "an instance is told active or draining only", REFUSAL, page=UPDATE,
       says="The only valid values for this action are ACTIVE and DRAINING.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    refused(("InvalidParameterException", "ClientException"), told, aws, name, [arn], "DEREGISTERING")


@check("ecs", "at most ten instances are told at once", REFUSAL, page=UPDATE,
       says="A list of up to 10 container instance IDs or full ARN entries.")
def _(aws):
    name = cluster(aws)
    many = [f"{number:032x}" for number in range(11)]
    refused(("InvalidParameterException", "ClientException"), told, aws, name, many, "DRAINING")


@check("ecs", "a deregistered instance is listed no more, but still described", page=LIFE,
       says="If you deregister or terminate a container instance, the container instance status changes to INACTIVE "
            "immediately, and the container instance is no longer reported when you list your container instances. However, "
            "you can still describe the container instance for one hour following termination.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    equal(aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn)["containerInstance"]["status"],
          "INACTIVE")
    equal(listed(aws, name), [])
    equal(described(aws, name, arn)["status"], "INACTIVE")


@check("ecs", "deregistering leaves the EC2 instance running", page=DEREGISTER,
       says="Deregistering a container instance removes the instance from a cluster, but it doesn't terminate the EC2 instance.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn)
    until(aws, instance, "running")
    equal(listed(aws, name), [], "it does not come back by itself")


@check("ecs", "an instance with tasks is deregistered by force only", REFUSAL, page=DEREGISTER,
       says="If you have tasks running on the container instance when you deregister it with the force option, these tasks "
            "remain running until you terminate the instance or the tasks stop through some other means, but they're orphaned "
            "(no longer monitored or accounted for by Amazon ECS).")
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
       says="If you force the deregistration of a container instance with running tasks, then the tasks are given this stopped "
            "reason.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    _, arn = host(aws, name)
    task = run(aws, name, made)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    equal(ended(aws, name, task["taskArn"])["stoppedReason"], "Container instance deregistration forced by user")


@check("ecs", "an instance that is not there cannot be deregistered", REFUSAL, page=DEREGISTER,
       says="The specified parameter isn't valid. Review the available parameters for the API request.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.deregister_container_instance, cluster=cluster(aws),
            containerInstance="0" * 32)


@check("ecs", "a terminated instance deregisters by itself", DELAY, page=DEREGISTER,
       says="If you terminate a running container instance, Amazon ECS automatically deregisters the instance from your "
            "cluster")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    gone(aws, instance)
    eventually(lambda: listed(aws, name) == [], "it is listed no more")
    equal((described(aws, name, arn)["status"], described(aws, name, arn)["agentConnected"]), ("INACTIVE", False))


@check("ecs", "a stopped instance stays registered, disconnected", DELAY, page=LIFE,
       says="If you stop (not terminate) an Amazon ECS container instance, the status remains ACTIVE, but the agent connection "
            "status transitions to FALSE within a few minutes.")
def _(aws):
    name = cluster(aws)
    instance, arn = host(aws, name)
    aws.ec2.stop_instances(InstanceIds=[instance])
    eventually(lambda: not described(aws, name, arn)["agentConnected"], "the agent is disconnected", max(BOOT_SECONDS, 20))
    equal(described(aws, name, arn)["status"], "ACTIVE")


@check("ecs", "a stopped instance that is terminated stays registered", DELAY, page=DEREGISTER,
       says="(stopped container instances or instances with disconnected agents aren't automatically deregistered when "
            "terminated).")
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
       says="If you start the container instance again, the container agent reconnects with the Amazon ECS service, and you are "
            "able to run tasks on the instance again.")
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
       says="If you stop or terminate a container instance with running tasks, then the tasks are given this stopped reason.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, _ = host(aws, name)
    task = run(aws, name, made)
    aws.ec2.stop_instances(InstanceIds=[instance])
    reason = ended(aws, name, task["taskArn"])["stoppedReason"]
    true(reason.startswith(f"Host EC2 (instance {instance})"), reason)


@check("ecs", "tasks of a terminated instance stop with it, without an exit code", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html",
       says="If you stop or terminate a container instance with running tasks, then the tasks are given this stopped reason.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, _ = host(aws, name)
    task = run(aws, name, made)
    gone(aws, instance)
    reason = ended(aws, name, task["taskArn"])["stoppedReason"]
    true(reason.startswith(f"Host EC2 (instance {instance})"), reason)
