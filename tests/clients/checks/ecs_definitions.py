"""Task definitions: what is read back, revisions, and their life."""

from . import DELAY, REFUSAL, check, equal, refused, true
from .ecs_world import API, IMAGE, cluster, container, definition, ended, full_name, host, run

REGISTER, DESCRIBE = API + "API_RegisterTaskDefinition.html", API + "API_DescribeTaskDefinition.html"
CONTAINER, SHOWN = API + "API_ContainerDefinition.html", API + "API_TaskDefinition.html"
DEREGISTER, DELETE = API + "API_DeregisterTaskDefinition.html", API + "API_DeleteTaskDefinitions.html"
LIST = API + "API_ListTaskDefinitions.html"


def described(aws, name):
    return aws.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]


def listed(aws, **more):
    pages = aws.ecs.get_paginator("list_task_definitions").paginate(**more)
    return [arn.rsplit("/", 1)[-1] for page in pages for arn in page["taskDefinitionArns"]]


def no(aws, *containers, **more):
    """RegisterTaskDefinition refuses this with a ClientException."""
    return refused("ClientException", aws.ecs.register_task_definition, family=aws.name("family"),
                   containerDefinitions=list(containers), **more)


@check("ecs", "a task definition is read back whole", page=API + "API_RegisterTaskDefinition.html",
       says="The full description of the registered task definition.")
def _(aws):
    whole = container(cpu=128, memoryReservation=32, entryPoint=["sh", "-c"], command=["true"], user="1000",
                      workingDirectory="/tmp", environment=[{"name": "A", "value": "1"}],
                      mountPoints=[{"sourceVolume": "data", "containerPath": "/data", "readOnly": True}],
                      portMappings=[{"containerPort": 80, "hostPort": 8080, "protocol": "udp"}],
                      dockerLabels={"label": "x"}, ulimits=[{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
                      logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": aws.region,
                                                                            "awslogs-stream-prefix": "p"}})
    volume = {"name": "data", "host": {"sourcePath": "/var/data"}}
    made = definition(aws, whole, networkMode="bridge", volumes=[volume])
    shown = described(aws, full_name(made))
    equal(shown["networkMode"], "bridge")
    equal([(one["name"], one["host"]) for one in shown["volumes"]], [("data", {"sourcePath": "/var/data"})])
    for member, value in whole.items():
        equal(shown["containerDefinitions"][0][member], value, member)


@check("ecs", "an omitted essential is true", page=CONTAINER,
       says="If this parameter is omitted, a container is assumed to be essential.")
def _(aws):
    equal(described(aws, full_name(definition(aws)))["containerDefinitions"][0]["essential"], True)


@check("ecs", "an omitted cpu is zero", page=API + "API_Container.html",
       says="The value is 0 if no value was specified in the container definition when the task definition was registered.")
def _(aws):
    equal(definition(aws)["containerDefinitions"][0]["cpu"], 0)


@check("ecs", "an omitted protocol is tcp", page=API + "API_PortMapping.html",
       says="The default is tcp.")
def _(aws):
    made = definition(aws, container(portMappings=[{"containerPort": 80}]))
    equal(made["containerDefinitions"][0]["portMappings"][0]["protocol"], "tcp")


@check("ecs", "a task's cpu and memory in words become numbers", page=REGISTER,
       says="String values are converted to an integer indicating the CPU units when the task definition is registered.")
def _(aws):
    made = definition(aws, cpu="1 vCPU", memory="2 GB")
    equal((made["cpu"], made["memory"]), ("1024", "2048"))


@check("ecs", "no compatibility asked for, none shown", page=REGISTER,
       says="If no value is specified, the parameter is omitted from the response.")
def _(aws):
    true("requiresCompatibilities" not in definition(aws), "requiresCompatibilities is omitted")


@check("ecs", "a definition that does not fit its compatibility", REFUSAL, page=REGISTER,
       says="A client exception is returned if the task definition doesn't validate against the compatibilities specified.")
def _(aws):
    no(aws, container(), requiresCompatibilities=["FARGATE"], networkMode="bridge", cpu="256", memory="512")


@check("ecs", "a definition must have containers", REFUSAL, page=REGISTER,
       says="A list of container definitions in JSON format that describe the different containers that make up your task.")
def _(aws):
    no(aws)


@check("ecs", "a definition must have an essential container", REFUSAL, page=CONTAINER,
       says="All tasks must have at least one essential container.")
def _(aws):
    no(aws, container(essential=False))


@check("ecs", "a container must say how much memory", REFUSAL, page=CONTAINER,
       says="If a task-level memory value is not specified, you must specify a non-zero integer for one or both of memory or "
            "memoryReservation in a container definition.")
def _(aws):
    no(aws, {"name": "main", "image": IMAGE})


@check("ecs", "a container's memory is more than its reservation", REFUSAL, page=CONTAINER,
       says="If you specify both a container-level memory and memoryReservation value, memory must be greater than "
            "memoryReservation.")
def _(aws):
    no(aws, container(memoryReservation=65))


@check("ecs", "a container has at least six mebibytes", REFUSAL, page=CONTAINER,
       says="The Docker 20.10.0 or later daemon reserves a minimum of 6 MiB of memory for a container. So, don't specify less "
            "than 6 MiB of memory for your containers.")
def _(aws):
    no(aws, container(memory=3))


@check("ecs", "containers together have no more memory than their task", REFUSAL, page=CONTAINER,
       says="The total amount of memory reserved for all containers within a task must be lower than the task memory value, "
            "if one is specified.")
def _(aws):
    no(aws, container("a", memory=300), container("b", memory=300), memory="512")


@check("ecs", "a mount is of a volume of the definition", REFUSAL, page=API + "API_MountPoint.html",
       says="Must be a volume name referenced in the name parameter of task definition volume.")
def _(aws):
    no(aws, container(mountPoints=[{"sourceVolume": "none", "containerPath": "/data"}]))


@check("ecs", "without a network there are no ports", REFUSAL, page=CONTAINER,
       says="If the network mode of a task definition is set to none, then you can't specify port mappings.")
def _(aws):
    no(aws, container(portMappings=[{"containerPort": 80}]), networkMode="none")


@check("ecs", "in the host's network a port is one and the same", REFUSAL, page=CONTAINER,
       says="If the network mode of a task definition is set to host, then host ports must either be undefined or they must "
            "match the container port in the port mapping.")
def _(aws):
    no(aws, container(portMappings=[{"containerPort": 80, "hostPort": 8080}]), networkMode="host")


@check("ecs", "a network mode is one of four", REFUSAL, page=REGISTER,
       says="The valid values are none, bridge, awsvpc, and host.")
def _(aws):
    no(aws, container(), networkMode="overlay")


@check("ecs", "a family's name has an alphabet", REFUSAL, page=REGISTER,
       says="Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed.")
def _(aws):
    refused("ClientException", aws.ecs.register_task_definition, family=aws.name("a") + ".b",
            containerDefinitions=[container()])


@check("ecs", "the awslogs driver needs a group", REFUSAL, page=API + "API_LogConfiguration.html",
       says="awslogs-group Required: Yes Make sure to specify a log group that the awslogs log driver sends its log streams to.")
def _(aws):
    no(aws, container(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-region": aws.region}}))


@check("ecs", "a definition has at most ten constraints", REFUSAL, page=REGISTER,
       says="You can specify a maximum of 10 constraints for each task.")
def _(aws):
    one = {"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}
    refused(("ClientException", "InvalidParameterException"), aws.ecs.register_task_definition, family=aws.name("family"),
            containerDefinitions=[container()], placementConstraints=[one] * 11)


@check("ecs", "revisions count up from one, also where nothing changed", page=SHOWN,
       says="Each time that you register a new revision of a task definition in the same family, the revision value always "
            "increases by one.")
def _(aws):
    family = aws.name("family")
    equal([definition(aws, family=family)["revision"] for _ in range(3)], [1, 2, 3])


@check("ecs", "a deregistered revision's number is not used again", page=SHOWN,
       says="This is even if you deregistered previous revisions in this family.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    equal(definition(aws, family=made["family"])["revision"], 2)


@check("ecs", "a deleted revision's number is not used again", page=DELETE,
       says="The task definition name is retained by Amazon ECS and the revision is incremented the next time you create a "
            "task definition with that name.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal(definition(aws, family=made["family"])["revision"], 2)


@check("ecs", "a family stands for its newest active revision", page=DESCRIBE,
       says="you can simply specify the family to find the latest ACTIVE revision in that family.")
def _(aws):
    family = aws.name("family")
    for _ in range(3):
        definition(aws, family=family)
    equal(described(aws, family)["revision"], 3)
    aws.ecs.deregister_task_definition(taskDefinition=f"{family}:3")
    equal(described(aws, family)["revision"], 2)


@check("ecs", "a family with no active revision stands for none", REFUSAL, page=DESCRIBE,
       says="The family for the latest ACTIVE revision, family and revision (family:revision) for a specific revision in the "
            "family, or full Amazon Resource Name (ARN) of the task definition to describe.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    refused("ClientException", aws.ecs.describe_task_definition, taskDefinition=made["family"])


@check("ecs", "a definition that is not there", REFUSAL, page=DESCRIBE,
       says="Or, it might be specifying an identifier that isn't valid.")
def _(aws):
    refused("ClientException", aws.ecs.describe_task_definition, taskDefinition=aws.name("none"))


@check("ecs", "a definition's tags are described on request only", page=DESCRIBE,
       says="If this field is omitted, tags aren't included in the response.")
def _(aws):
    made = definition(aws, tags=[{"key": "a", "value": "1"}])
    name = full_name(made)
    equal(aws.ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    equal(aws.ecs.describe_task_definition(taskDefinition=name).get("tags", []), [], "without TAGS")


@check("ecs", "a listing's family is the whole name", page=LIST,
       says="The full family name to filter the ListTaskDefinitions results with.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family + "-and-more")
    equal(listed(aws, familyPrefix=family), [f"{family}:1"])


@check("ecs", "a listing of families goes by the beginning of the name", page=API + "API_ListTaskDefinitionFamilies.html",
       says="If you specify a familyPrefix, only task definition family names that begin with the familyPrefix string are "
            "returned.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family + "-and-more")
    answer = aws.ecs.list_task_definition_families(familyPrefix=family)
    equal(sorted(answer["families"]), [family, family + "-and-more"])


@check("ecs", "a family of inactive revisions only", page=API + "API_ListTaskDefinitionFamilies.html",
       says="If this parameter is set to INACTIVE, only task definition families that do not have any ACTIVE task definition "
            "revisions are returned.")
def _(aws):
    made = definition(aws)
    families = lambda status: aws.ecs.list_task_definition_families(familyPrefix=made["family"], status=status)["families"]
    equal((families("ACTIVE"), families("INACTIVE")), ([made["family"]], []))
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    equal((families("ACTIVE"), families("INACTIVE"), families("ALL")), ([], [made["family"]], [made["family"]]))


@check("ecs", "the newest revision is listed last", page=LIST,
       says="task definitions are listed lexicographically by family name and in ascending numerical order by revision so that "
            "the newest task definitions in a family are listed last.")
def _(aws):
    family = aws.name("family")
    for _ in range(11):
        definition(aws, family=family)
    equal(listed(aws, familyPrefix=family), [f"{family}:{number}" for number in range(1, 12)])
    equal(listed(aws, familyPrefix=family, sort="DESC"), [f"{family}:{number}" for number in range(11, 0, -1)])


@check("ecs", "only active definitions are listed unless asked for", page=LIST,
       says="By default, only ACTIVE task definitions are listed.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family)
    aws.ecs.deregister_task_definition(taskDefinition=f"{family}:1")
    equal(listed(aws, familyPrefix=family), [f"{family}:2"])
    equal(listed(aws, familyPrefix=family, status="INACTIVE"), [f"{family}:1"])


@check("ecs", "definitions are listed in pages", page=LIST,
       says="The remaining results of the initial request can be seen by sending another ListTaskDefinitions request with the "
            "returned nextToken value.")
def _(aws):
    family = aws.name("family")
    for _ in range(3):
        definition(aws, family=family)
    first = aws.ecs.list_task_definitions(familyPrefix=family, maxResults=2)
    equal(len(first["taskDefinitionArns"]), 2)
    second = aws.ecs.list_task_definitions(familyPrefix=family, maxResults=2, nextToken=first["nextToken"])
    equal([arn.rsplit(":", 1)[-1] for arn in first["taskDefinitionArns"] + second["taskDefinitionArns"]], ["1", "2", "3"])
    true("nextToken" not in second, "the last page has no token")


@check("ecs", "deregistering makes a definition inactive", page=DEREGISTER,
       says="Upon deregistration, the task definition is marked as INACTIVE.")
def _(aws):
    made = definition(aws)
    equal(aws.ecs.deregister_task_definition(taskDefinition=full_name(made))["taskDefinition"]["status"], "INACTIVE")
    shown = described(aws, full_name(made))
    equal((shown["status"], "deregisteredAt" in shown), ("INACTIVE", True))


@check("ecs", "deregistering takes a revision", REFUSAL, page=DEREGISTER, says="You must specify a revision.")
def _(aws):
    made = definition(aws)
    refused(("ClientException", "InvalidParameterException"), aws.ecs.deregister_task_definition,
            taskDefinition=made["family"])


@check("ecs", "an inactive definition runs no task", REFUSAL, page=DEREGISTER,
       says="You can't use an INACTIVE task definition to run new tasks or create new services, and you can't update an "
            "existing service to reference an INACTIVE task definition.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    refused(("ClientException", "InvalidParameterException"), aws.ecs.run_task, cluster=name,
            taskDefinition=full_name(made))


@check("ecs", "an active definition is not deleted", REFUSAL, page=DELETE,
       says="You must deregister a task definition revision before you delete it.")
def _(aws):
    made = definition(aws)
    answer = aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal((len(answer["taskDefinitions"]), len(answer["failures"])), (0, 1))
    equal(described(aws, full_name(made))["status"], "ACTIVE")


@check("ecs", "a deleted definition is at first being deleted", DELAY, page=DELETE,
       says="When you delete a task definition revision, it is immediately transitions from the INACTIVE to "
            "DELETE_IN_PROGRESS.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    answer = aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal([one["status"] for one in answer["taskDefinitions"]], ["DELETE_IN_PROGRESS"])


@check("ecs", "a definition in use stays until its tasks are over", DELAY, page=DELETE,
       says="A task definition revision will stay in DELETE_IN_PROGRESS status until all the associated tasks and services "
            "have been terminated.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    task = run(aws, name, made)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal(described(aws, full_name(made))["status"], "DELETE_IN_PROGRESS")
    refused(("ClientException", "InvalidParameterException"), aws.ecs.run_task, cluster=name,
            taskDefinition=full_name(made))
    aws.ecs.stop_task(cluster=name, task=task["taskArn"])
    ended(aws, name, task["taskArn"])


@check("ecs", "at most ten definitions are deleted at once", REFUSAL, page=DELETE,
       says="You can specify up to 10 task definitions as a comma separated list.")
def _(aws):
    family = aws.name("none")
    refused(("InvalidParameterException", "ClientException"), aws.ecs.delete_task_definitions,
            taskDefinitions=[f"{family}:{number}" for number in range(1, 12)])
