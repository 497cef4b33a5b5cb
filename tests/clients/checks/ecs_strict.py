"""ECS: what is refused rather than left out, host ports, GPUs, and what an instance's role may do."""

import json

from . import REFUSAL, check, contains, equal, eventually, refused, true
from .ecs_world import (API, BOOT_SECONDS, cluster, container, definition, described, full_name, host, launched, placed_nowhere,
                        registered, run, shell)

REGISTER = API + "API_RegisterTaskDefinition.html"
ROLE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html"
PORTS = API + "API_PortMapping.html"


def not_registered(aws, name, containers, **more):
    answer = refused(("ClientException", "InvalidParameterException"), aws.ecs.register_task_definition,
                     family=aws.name("family"), containerDefinitions=containers, **more)
    contains(answer["Error"]["Message"], name)


@check("ecs", "what a container would not have is refused by its name", REFUSAL, page=REGISTER,
       says="Each of these members changes what the container is or does; none may be left out unsaid.")
def _(aws):
    asked = {
        "healthCheck": {"command": ["CMD", "true"]}, "dependsOn": [{"containerName": "x", "condition": "START"}],
        "links": ["x"], "volumesFrom": [{"sourceContainer": "x"}], "startTimeout": 10, "restartPolicy": {"enabled": True},
        "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/x.env"}],
        "repositoryCredentials": {"credentialsParameter": "arn:aws:secretsmanager:eu-west-2:123456789012:secret:x"},
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}],
        "hostname": "x", "dnsServers": ["203.0.113.1"], "dockerSecurityOptions": ["no-new-privileges"],
        "interactive": True, "pseudoTerminal": True, "disableNetworking": True,
        "firelensConfiguration": {"type": "fluentbit"},
    }
    for name, value in asked.items():
        not_registered(aws, name, [container(**{name: value})])
    for name, value in {"devices": [{"hostPath": "/dev/fuse"}], "maxSwap": 0, "swappiness": 0}.items():
        not_registered(aws, name, [container(linuxParameters={name: value})])


@check("ecs", "what logs would not be is refused by its name", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LogConfiguration.html",
       says="An option of the log driver changes where lines go, or what a line is.")
def _(aws):
    options = {"awslogs-group": "g", "awslogs-region": aws.region, "awslogs-stream-prefix": "p"}
    definition(aws, container(logConfiguration={"logDriver": "awslogs", "options": options}))
    for name in ("awslogs-multiline-pattern", "awslogs-datetime-format", "awslogs-endpoint"):
        log = {"logDriver": "awslogs", "options": {**options, name: "x"}}
        not_registered(aws, name, [container(logConfiguration=log)])
    for driver in ("syslog", "journald", "fluentd", "awsfirelens", "none"):
        not_registered(aws, f"logDriver={driver}", [container(logConfiguration={"logDriver": driver})])


@check("ecs", "a file system of elsewhere is refused by its name", REFUSAL, page=REGISTER,
       says="A volume is a folder of its host; another kind of volume is not an empty folder.")
def _(aws):
    for name, value in {"efsVolumeConfiguration": {"fileSystemId": "fs-0123456789abcdef0"},
                        "dockerVolumeConfiguration": {"scope": "task"}}.items():
        not_registered(aws, name, [container()], volumes=[{"name": "share", name: value}])


@check("ecs", "what a task would not have is refused by its name", REFUSAL, page=API + "API_RunTask.html",
       says="Each of these members changes how the task is placed or run.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    asked = {
        "launchType": "FARGATE", "enableExecuteCommand": True, "enableECSManagedTags": True, "platformVersion": "LATEST",
        "placementStrategy": [{"type": "spread", "field": "instanceId"}],
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
        "overrides": {"ephemeralStorage": {"sizeInGiB": 30}},
    }
    for member, value in asked.items():
        answer = refused(("InvalidParameterException", "ClientException"), aws.ecs.run_task, cluster=name,
                         taskDefinition=full_name(made), **{member: value})
        contains(answer["Error"]["Message"], member)


@check("ecs", "what a cluster would not have is refused by its name", REFUSAL, page=API + "API_CreateCluster.html",
       says="Each of these members changes what the cluster is.")
def _(aws):
    asked = {"capacityProviders": ["FARGATE"], "serviceConnectDefaults": {"namespace": "n"},
             "configuration": {"executeCommandConfiguration": {"logging": "NONE"}}}
    for member, value in asked.items():
        name = aws.name("cluster")
        aws.after(aws.ecs.delete_cluster, cluster=name)
        answer = refused(("InvalidParameterException", "ClientException"), aws.ecs.create_cluster, clusterName=name,
                         **{member: value})
        contains(answer["Error"]["Message"], member)


@check("ecs", "a GPU is not on a machine without one", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="A task that needs more GPUs than its machine has free is not placed.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    made = definition(aws, container(resourceRequirements=[{"type": "GPU", "value": "1"}]))
    placed_nowhere(aws.ecs.run_task(cluster=name, taskDefinition=full_name(made)), "RESOURCE:GPU")


def ports(aws, name, arn, which="PORTS"):
    resources = {one["name"]: one for one in described(aws, name, arn)["remainingResources"]}
    return set(resources[which]["stringSetValue"])


# Ends at once when it is told to; a plain `sleep` is killed after 30 s.
HEEDS_TERM = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@check("ecs", "a host's port is one task's", REFUSAL, page=PORTS,
       says="A port of the host that a task was given is held while the task runs, and shown among what is left.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    made = definition(aws, container(portMappings=[{"containerPort": 80, "hostPort": 8080}]), networkMode="bridge")
    run(aws, name, made, HEEDS_TERM)
    true("8080" in ports(aws, name, arn), "the port is among those that are taken")
    placed_nowhere(aws.ecs.run_task(cluster=name, taskDefinition=full_name(made), overrides=shell("true")), "RESOURCE:PORTS")
    udp = [{"containerPort": 80, "hostPort": 8080, "protocol": "udp"}]
    run(aws, name, definition(aws, container(portMappings=udp), networkMode="bridge"), HEEDS_TERM)
    equal(ports(aws, name, arn, "PORTS_UDP"), {"8080"})
    free = definition(aws, container(portMappings=[{"containerPort": 80}]), networkMode="bridge")
    run(aws, name, free, HEEDS_TERM)
    run(aws, name, free, HEEDS_TERM)


@check("ecs", "the machine's own ports are taken", REFUSAL, page=PORTS,
       says="SSH's, Docker's and the agent's ports are reserved from the beginning.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    true({"22", "2375", "2376", "51678", "51679", "51680"} <= ports(aws, name, arn), "the reserved ports")
    made = definition(aws, container(portMappings=[{"containerPort": 22, "hostPort": 22}]), networkMode="bridge")
    placed_nowhere(aws.ecs.run_task(cluster=name, taskDefinition=full_name(made)), "RESOURCE:PORTS")


@check("ecs", "an agent registers where its role lets it", REFUSAL, page=ROLE,
       says="The agent calls ECS with the rights of the role in the instance's profile.")
def _(aws):
    name = cluster(aws)
    instance = launched(aws, name)
    profile = aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["IamInstanceProfile"]
    role = profile["Arn"].rsplit("/", 1)[1]
    eventually(lambda: registered(aws, name, instance), "it registers", BOOT_SECONDS)
    aws.iam.delete_role_policy(RoleName=role, PolicyName="agent")
    eventually(lambda: not registered(aws, name, instance)["agentConnected"], "it is not heard any more", BOOT_SECONDS)
    other = cluster(aws)
    aws.iam.put_role_policy(RoleName=role, PolicyName="agent", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
            "ecs:DiscoverPollEndpoint", "ecs:Poll", "ecs:SubmitTaskStateChange", "ecs:SubmitContainerStateChange"]}]}))
    eventually(lambda: registered(aws, name, instance)["agentConnected"], "it is heard again", BOOT_SECONDS)
    shy = aws.ec2.run_instances(
        ImageId=aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["ImageId"],
        InstanceType="m5.large", MinCount=1, MaxCount=1, IamInstanceProfile={"Name": role},
        UserData=f"#!/bin/bash\necho ECS_CLUSTER={other} >> /etc/ecs/ecs.config\n")["Instances"][0]["InstanceId"]
    aws.after(aws.ec2.terminate_instances, InstanceIds=[shy])
    running = lambda: aws.ec2.describe_instances(InstanceIds=[shy])["Reservations"][0]["Instances"][0]["State"]["Name"]
    eventually(lambda: running() == "running", "it runs", BOOT_SECONDS)
    try:
        eventually(lambda: registered(aws, other, shy), "", 2)
    except AssertionError:
        return
    raise AssertionError("an agent registered without the right to")


@check("ecs", "a family without a revision is no task definition to delete", page=API + "API_DeleteTaskDefinitions.html",
       says="A task definition is deleted by its family and revision, or its ARN.")
def _(aws):
    made = definition(aws)
    answer = aws.ecs.delete_task_definitions(taskDefinitions=[made["family"]])
    contains(answer["failures"][0]["reason"], "identifier is invalid")
