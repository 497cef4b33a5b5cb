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
       says="The answer has the registered task definition in full.")
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
       says="A container is essential unless the definition says otherwise.")
def _(aws):
    equal(described(aws, full_name(definition(aws)))["containerDefinitions"][0]["essential"], True)


@check("ecs", "an omitted cpu is zero", page=API + "API_Container.html",
       says="A container's cpu is 0 where its definition has none.")
def _(aws):
    equal(definition(aws)["containerDefinitions"][0]["cpu"], 0)


@check("ecs", "an omitted protocol is tcp", page=API + "API_PortMapping.html",
       says="A port's protocol is tcp where none is given.")
def _(aws):
    made = definition(aws, container(portMappings=[{"containerPort": 80}]))
    equal(made["containerDefinitions"][0]["portMappings"][0]["protocol"], "tcp")


@check("ecs", "a task's cpu and memory in words become numbers", page=REGISTER,
       says="A task's cpu and memory in words, such as 1 vCPU, are kept as numbers of units.")
def _(aws):
    made = definition(aws, cpu="1 vCPU", memory="2 GB")
    equal((made["cpu"], made["memory"]), ("1024", "2048"))


@check("ecs", "no compatibility asked for, none shown", page=REGISTER,
       says="Without requiresCompatibilities the answer leaves it out.")
def _(aws):
    true("requiresCompatibilities" not in definition(aws), "requiresCompatibilities is omitted")


@check("ecs", "a definition that does not fit its compatibility", REFUSAL, page=REGISTER,
       says="ClientException is the code for a definition that does not fit the compatibilities that it requires.")
def _(aws):
    no(aws, container(), requiresCompatibilities=["FARGATE"], networkMode="bridge", cpu="256", memory="512")


@check("ecs", "a definition must have containers", REFUSAL, page=REGISTER,
       says="A task definition is a list of containers; it needs one.")
def _(aws):
    no(aws)


@check("ecs", "a definition must have an essential container", REFUSAL, page=CONTAINER,
       says="A task needs at least one essential container.")
def _(aws):
    no(aws, container(essential=False))


@check("ecs", "a container must say how much memory", REFUSAL, page=CONTAINER,
       says="Without a memory for the task each container needs memory or memoryReservation, and not zero.")
def _(aws):
    no(aws, {"name": "main", "image": IMAGE})


@check("ecs", "a container's memory is more than its reservation", REFUSAL, page=CONTAINER,
       says="memory must be greater than memoryReservation where both are given.")
def _(aws):
    no(aws, container(memoryReservation=65))


@check("ecs", "a container has at least six mebibytes", REFUSAL, page=CONTAINER,
       says="Docker since 20.10.0 keeps at least 6 MiB for a container, so a container has no less.")
def _(aws):
    no(aws, container(memory=3))


@check("ecs", "containers together have no more memory than their task", REFUSAL, page=CONTAINER,
       says="The memory of a task's containers together stays within the task's memory.")
def _(aws):
    no(aws, container("a", memory=300), container("b", memory=300), memory="512")


@check("ecs", "a mount is of a volume of the definition", REFUSAL, page=API + "API_MountPoint.html",
       says="A mount's sourceVolume must be the name of one of the definition's volumes.")
def _(aws):
    no(aws, container(mountPoints=[{"sourceVolume": "none", "containerPath": "/data"}]))


@check("ecs", "without a network there are no ports", REFUSAL, page=CONTAINER,
       says="With the network mode none no port mappings may be given.")
def _(aws):
    no(aws, container(portMappings=[{"containerPort": 80}]), networkMode="none")


@check("ecs", "in the host's network a port is one and the same", REFUSAL, page=CONTAINER,
       says="With the network mode host a host port is left out, or equals the container's port.")
def _(aws):
    no(aws, container(portMappings=[{"containerPort": 80, "hostPort": 8080}]), networkMode="host")


@check("ecs", "a network mode is one of four", REFUSAL, page=REGISTER,
       says="A network mode is none, bridge, awsvpc or host.")
def _(aws):
    no(aws, container(), networkMode="overlay")


@check("ecs", "a family's name has an alphabet", REFUSAL, page=REGISTER,
       says="A family has 255 characters at most: letters, digits, - and _.")
def _(aws):
    refused("ClientException", aws.ecs.register_task_definition, family=aws.name("a") + ".b",
            containerDefinitions=[container()])


@check("ecs", "the awslogs driver needs a group", REFUSAL, page=API + "API_LogConfiguration.html",
       says="The driver awslogs requires the option awslogs-group.")
def _(aws):
    no(aws, container(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-region": aws.region}}))


@check("ecs", "a definition has at most ten constraints", REFUSAL, page=REGISTER,
       says="A task has 10 placement constraints at most.")
def _(aws):
    one = {"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}
    refused(("ClientException", "InvalidParameterException"), aws.ecs.register_task_definition, family=aws.name("family"),
            containerDefinitions=[container()], placementConstraints=[one] * 11)


@check("ecs", "revisions count up from one, also where nothing changed", page=SHOWN,
       says="Each registration in a family raises the revision by one.")
def _(aws):
    family = aws.name("family")
    equal([definition(aws, family=family)["revision"] for _ in range(3)], [1, 2, 3])


@check("ecs", "a deregistered revision's number is not used again", page=SHOWN,
       says="A revision's number is not used again after it was deregistered.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    equal(definition(aws, family=made["family"])["revision"], 2)


@check("ecs", "a deleted revision's number is not used again", page=DELETE,
       says="A family's count of revisions is kept when its revisions are deleted; the next one goes on from there.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal(definition(aws, family=made["family"])["revision"], 2)


@check("ecs", "a family stands for its newest active revision", page=DESCRIBE,
       says="A family alone means its latest ACTIVE revision.")
def _(aws):
    family = aws.name("family")
    for _ in range(3):
        definition(aws, family=family)
    equal(described(aws, family)["revision"], 3)
    aws.ecs.deregister_task_definition(taskDefinition=f"{family}:3")
    equal(described(aws, family)["revision"], 2)


@check("ecs", "a family with no active revision stands for none", REFUSAL, page=DESCRIBE,
       says="A definition is named by its family (the latest ACTIVE revision), by family:revision, or by its ARN.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    refused("ClientException", aws.ecs.describe_task_definition, taskDefinition=made["family"])


@check("ecs", "a definition that is not there", REFUSAL, page=DESCRIBE,
       says="ClientException is also the code for an identifier that names nothing.")
def _(aws):
    refused("ClientException", aws.ecs.describe_task_definition, taskDefinition=aws.name("none"))


@check("ecs", "a definition's tags are described on request only", page=DESCRIBE,
       says="Without include=TAGS the answer has no tags.")
def _(aws):
    made = definition(aws, tags=[{"key": "a", "value": "1"}])
    name = full_name(made)
    equal(aws.ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    equal(aws.ecs.describe_task_definition(taskDefinition=name).get("tags", []), [], "without TAGS")


@check("ecs", "a listing's family is the whole name", page=LIST,
       says="familyPrefix of ListTaskDefinitions is a whole family's name.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family + "-and-more")
    equal(listed(aws, familyPrefix=family), [f"{family}:1"])


@check("ecs", "a listing of families goes by the beginning of the name", page=API + "API_ListTaskDefinitionFamilies.html",
       says="familyPrefix of ListTaskDefinitionFamilies is the beginning of a name.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family + "-and-more")
    answer = aws.ecs.list_task_definition_families(familyPrefix=family)
    equal(sorted(answer["families"]), [family, family + "-and-more"])


@check("ecs", "a family of inactive revisions only", page=API + "API_ListTaskDefinitionFamilies.html",
       says="status=INACTIVE lists the families that have no ACTIVE revision.")
def _(aws):
    made = definition(aws)
    families = lambda status: aws.ecs.list_task_definition_families(familyPrefix=made["family"], status=status)["families"]
    equal((families("ACTIVE"), families("INACTIVE")), ([made["family"]], []))
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    equal((families("ACTIVE"), families("INACTIVE"), families("ALL")), ([], [made["family"]], [made["family"]]))


@check("ecs", "the newest revision is listed last", page=LIST,
       says="Definitions are sorted by family, then by revision as a number, so the newest comes last.")
def _(aws):
    family = aws.name("family")
    for _ in range(11):
        definition(aws, family=family)
    equal(listed(aws, familyPrefix=family), [f"{family}:{number}" for number in range(1, 12)])
    equal(listed(aws, familyPrefix=family, sort="DESC"), [f"{family}:{number}" for number in range(11, 0, -1)])


@check("ecs", "only active definitions are listed unless asked for", page=LIST,
       says="Without a status only ACTIVE definitions are listed.")
def _(aws):
    family = aws.name("family")
    definition(aws, family=family)
    definition(aws, family=family)
    aws.ecs.deregister_task_definition(taskDefinition=f"{family}:1")
    equal(listed(aws, familyPrefix=family), [f"{family}:2"])
    equal(listed(aws, familyPrefix=family, status="INACTIVE"), [f"{family}:1"])


@check("ecs", "definitions are listed in pages", page=LIST,
       says="nextToken brings the next page.")
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
       says="A deregistered definition is INACTIVE.")
def _(aws):
    made = definition(aws)
    equal(aws.ecs.deregister_task_definition(taskDefinition=full_name(made))["taskDefinition"]["status"], "INACTIVE")
    shown = described(aws, full_name(made))
    equal((shown["status"], "deregisteredAt" in shown), ("INACTIVE", True))


@check("ecs", "deregistering takes a revision", REFUSAL, page=DEREGISTER,
       says="A definition to deregister is named with its revision.")
def _(aws):
    made = definition(aws)
    refused(("ClientException", "InvalidParameterException"), aws.ecs.deregister_task_definition,
            taskDefinition=made["family"])


@check("ecs", "an inactive definition runs no task", REFUSAL, page=DEREGISTER,
       says="An INACTIVE definition starts no new task and no service.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    host(aws, name)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    refused(("ClientException", "InvalidParameterException"), aws.ecs.run_task, cluster=name,
            taskDefinition=full_name(made))


@check("ecs", "an active definition is not deleted", REFUSAL, page=DELETE,
       says="A revision must be deregistered before it is deleted.")
def _(aws):
    made = definition(aws)
    answer = aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal((len(answer["taskDefinitions"]), len(answer["failures"])), (0, 1))
    equal(described(aws, full_name(made))["status"], "ACTIVE")


@check("ecs", "a deleted definition is at first being deleted", DELAY, page=DELETE,
       says="A deleted revision goes from INACTIVE to DELETE_IN_PROGRESS at once.")
def _(aws):
    made = definition(aws)
    aws.ecs.deregister_task_definition(taskDefinition=full_name(made))
    answer = aws.ecs.delete_task_definitions(taskDefinitions=[full_name(made)])
    equal([one["status"] for one in answer["taskDefinitions"]], ["DELETE_IN_PROGRESS"])


@check("ecs", "a definition in use stays until its tasks are over", DELAY, page=DELETE,
       says="A revision stays in DELETE_IN_PROGRESS until its tasks and services have ended.")
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
       says="DeleteTaskDefinitions takes up to 10 definitions.")
def _(aws):
    family = aws.name("none")
    refused(("InvalidParameterException", "ClientException"), aws.ecs.delete_task_definitions,
            taskDefinitions=[f"{family}:{number}" for number in range(1, 12)])
