"""RunTask: what it refuses, what it cannot place, and its client tokens."""

from . import REFUSAL, Wrong, check, equal, refused, true
from .ecs_world import (API, cluster, container, definition, described, full_name, host, placed_nowhere, resource, run, shell,
                        until)

RUN = API + "API_RunTask.html"
FAILURES = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html"


def not_run(aws, name, registered_definition, codes=("InvalidParameterException", "ClientException"), **more):
    return refused(codes, aws.ecs.run_task, cluster=name, taskDefinition=full_name(registered_definition), **more)


def tried(aws, name, registered_definition, **more):
    return aws.ecs.run_task(cluster=name, taskDefinition=full_name(registered_definition), **more)


@check("ecs", "a cluster that is not there runs nothing", REFUSAL, page=RUN,
       says="ClusterNotFoundException is the code for a cluster that there is not.")
def _(aws):
    not_run(aws, aws.name("none"), definition(aws), "ClusterNotFoundException")


@check("ecs", "a cluster without an instance runs nothing", REFUSAL, page=RUN,
       says="InvalidParameterException is the code for a parameter that is not valid.")
def _(aws):
    # The message is as aws/amazon-ecs-cli#1122 has it.
    not_run(aws, cluster(aws), definition(aws), "InvalidParameterException", says="No Container Instances")


@check("ecs", "a definition that is not there runs nothing", REFUSAL, page=RUN,
       says="ClientException is also the code for an identifier that names nothing.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    refused("ClientException", aws.ecs.run_task, cluster=name, taskDefinition=aws.name("none"))


@check("ecs", "more memory than is left", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html",
       says="A task that asks for 8192 MiB is not placed where no instance has as much left.")
def _(aws):
    name = cluster(aws)
    host(aws, name, "m5.large")
    placed_nowhere(tried(aws, name, definition(aws, container(memory=8192))), "RESOURCE:MEMORY")


@check("ecs", "more processor than is left", REFUSAL, page=FAILURES,
       says="RESOURCE:… is the reason in failures where an instance has not enough left of it.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    units = resource(described(aws, name, arn), "CPU")
    answer = tried(aws, name, definition(aws, container(cpu=units + 1)))
    placed_nowhere(answer, "RESOURCE:CPU")
    equal([one["arn"] for one in answer["failures"]], [arn], "the instance that the failure is of")


@check("ecs", "of several tasks those that find room are run", REFUSAL, page=RUN,
       says="tasks has those that found a place, the others are failures.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    made = definition(aws, container(cpu=resource(described(aws, name, arn), "CPU") // 2 + 1))
    answer = tried(aws, name, made, count=2, overrides=shell("sleep 60"))
    for task in answer["tasks"]:
        aws.after(aws.ecs.stop_task, cluster=name, task=task["taskArn"])
    equal(len(answer["tasks"]), 1, "tasks")
    true(answer["failures"], "failures say why the other was not placed")


@check("ecs", "a disconnected instance is given no task", REFUSAL, page=FAILURES,
       says="AGENT is the reason in failures where an instance's agent is disconnected.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    instance, _ = host(aws, name)
    aws.ec2.stop_instances(InstanceIds=[instance])
    until(aws, instance, "stopped")
    placed_nowhere(tried(aws, name, made), "AGENT")


@check("ecs", "an instance lacks what the definition requires", REFUSAL, page=FAILURES,
       says="ATTRIBUTE is the reason in failures where no instance has an attribute that the definition needs.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    driver = "com.amazonaws.ecs.capability.logging-driver.splunk"
    if driver in [one["name"] for one in described(aws, name, arn)["attributes"]]:
        raise Wrong("the instance has the log driver that no agent has unless it is told so")
    log = {"logDriver": "splunk", "options": {"splunk-token": "token", "splunk-url": "https://splunk.example"}}
    made = definition(aws, container(logConfiguration=log))
    true(driver in [one["name"] for one in made["requiresAttributes"]], "the definition requires the log driver")
    placed_nowhere(tried(aws, name, made), "ATTRIBUTE")


@check("ecs", "a constraint places the task on the instance that it names", page=API + "API_PlacementConstraint.html",
       says="A constraint of the type memberOf lets only instances that meet its expression be chosen.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    second, arn = host(aws, name)
    for _ in range(2):
        task = run(aws, name, made, placementConstraints=[{"type": "memberOf", "expression": f"ec2InstanceId == {second}"}])
        equal(task["containerInstanceArn"], arn)


@check("ecs", "a constraint that no instance meets", REFUSAL, page=API + "API_PlacementConstraint.html",
       says="A constraint of the type memberOf lets only instances that meet its expression be chosen.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    answer = tried(aws, name, made, placementConstraints=[
        {"type": "memberOf", "expression": "ec2InstanceId == i-00000000000000000"}])
    equal(answer["tasks"], [], "tasks")
    true(answer["failures"], "failures say why")


@check("ecs", "a definition's own constraint holds too", REFUSAL, page=API + "API_TaskDefinitionPlacementConstraint.html",
       says="A task definition has placement constraints of its own.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    made = definition(aws, placementConstraints=[
        {"type": "memberOf", "expression": "attribute:ecs.instance-type == none.large"}])
    answer = tried(aws, name, made)
    equal(answer["tasks"], [], "tasks")
    true(answer["failures"], "failures say why")


@check("ecs", "an expression has at most 2,000 characters", REFUSAL, page=API + "API_PlacementConstraint.html",
       says="An expression has 2000 characters at most.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    long = " or ".join(["ec2InstanceId == i-00000000000000000"] * 60)
    not_run(aws, name, made, placementConstraints=[{"type": "memberOf", "expression": long}])


@check("ecs", "at most ten constraints", REFUSAL, page=RUN,
       says="A task has 10 constraints at most, those of its definition included.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    one = {"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}
    not_run(aws, name, definition(aws, placementConstraints=[one] * 6), placementConstraints=[one] * 5)


@check("ecs", "at most ten tasks at once", REFUSAL, page=RUN, says="RunTask's count is 10 at most.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), count=11)


@check("ecs", "tags are not propagated from a service where there is none", REFUSAL, page=RUN,
       says="propagateTags=SERVICE is an error for RunTask.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), propagateTags="SERVICE")


@check("ecs", "startedBy has an alphabet", REFUSAL, page=RUN,
       says="startedBy has 128 characters at most: letters, digits, -, / and _.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    not_run(aws, name, made, startedBy="a b")
    not_run(aws, name, made, startedBy="a" * 129)
    equal(run(aws, name, made, startedBy="aZ09-_/" + "a" * 121)["startedBy"], "aZ09-_/" + "a" * 121)


@check("ecs", "an override is of a container of the definition", REFUSAL, page=API + "API_ContainerOverride.html",
       says="A container's override is for the container of that name.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), overrides=shell("true", name="another"))


@check("ecs", "an override names its container", REFUSAL, page=API + "API_ContainerOverride.html",
       says="An override that says something must name its container.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), overrides={"containerOverrides": [{"command": ["true"]}]})


@check("ecs", "overrides have at most 8,192 characters", REFUSAL, page=RUN,
       says="Overrides have 8192 characters at most, the JSON's own signs included.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), overrides=shell("true " + "x" * 8192))


@check("ecs", "a task needs no network configuration outside awsvpc", REFUSAL, page=RUN,
       says="networkConfiguration is required with awsvpc and refused with any other network mode.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws, networkMode="bridge"), networkConfiguration={
        "awsvpcConfiguration": {"subnets": ["subnet-00000000000000000"]}})


@check("ecs", "a client token has at most 64 characters", REFUSAL, page=RUN,
       says="A client token has 64 characters at most.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), clientToken="a" * 65)


@check("ecs", "a client token has no space", REFUSAL, page=RUN,
       says="A client token's characters are those from 33 to 126.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    not_run(aws, name, definition(aws), clientToken="a b")


TOKENS = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html"


@check("ecs", "the same token runs no second task", page=TOKENS,
       says="The same request with the same client token succeeds again and does nothing more.")
def _(aws):
    name, made, token = cluster(aws), definition(aws), aws.name("token")
    host(aws, name)
    tasks = [run(aws, name, made, clientToken=token)["taskArn"] for _ in range(2)]
    equal(tasks[0], tasks[1])
    equal(aws.ecs.list_tasks(cluster=name)["taskArns"], tasks[:1])


@check("ecs", "a token with another request is a conflict that names the tasks", REFUSAL, page=RUN,
       says="""ConflictException is the code for a token with another request; resourceIds are the ARNs of the tasks that it
       started.""")
def _(aws):
    name, made, token = cluster(aws), definition(aws), aws.name("token")
    host(aws, name)
    task = run(aws, name, made, clientToken=token)
    conflict = not_run(aws, name, made, "ConflictException", clientToken=token, overrides=shell("sleep 61"))
    equal(conflict.get("resourceIds"), [task["taskArn"]])


@check("ecs", "a token is of one cluster", page=TOKENS,
       says="A client token holds within its cluster.")
def _(aws):
    made, token = definition(aws), aws.name("token")
    tasks = []
    for name in (cluster(aws), cluster(aws)):
        host(aws, name)
        tasks.append(run(aws, name, made, clientToken=token)["taskArn"])
    true(tasks[0] != tasks[1], "each cluster ran its own")


@check("ecs", "a token is case sensitive", page=RUN, says="A client token heeds case.")
def _(aws):
    name, made, token = cluster(aws), definition(aws), aws.name("token")
    host(aws, name)
    tasks = {run(aws, name, made, clientToken=text)["taskArn"] for text in (token, token.upper())}
    equal(len(tasks), 2, "tasks")
