"""Tasks: their life, how they end, and how they are found."""

from . import DELAY, REFUSAL, check, contains, equal, eventually, refused, true
from .ecs_world import API, LIFE, cluster, container, definition, ended, host, run, running, shell, task_now

RUN, STOP, LIST = API + "API_RunTask.html", API + "API_StopTask.html", API + "API_ListTasks.html"
DESCRIBE, SHOWN = API + "API_DescribeTasks.html", API + "API_Task.html"
CYCLE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle.html"
STOPPED = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html"


def world(aws, *containers, **more):
    """A cluster with an instance, and a definition."""
    name = cluster(aws)
    host(aws, name)
    return name, definition(aws, *containers, **more)


def logged(**options):
    return {"logDriver": "awslogs", "options": {f"awslogs-{name}": value for name, value in options.items()}}


@check("ecs", "a task passes its states in their order", DELAY, page=CYCLE,
       says="A batch job's task goes from PENDING to RUNNING to STOPPED by itself.")
def _(aws):
    name, made = world(aws)
    task = run(aws, name, made, "sleep 1")
    seen = [task["lastStatus"]]

    def now():
        seen.append(task_now(aws, name, task["taskArn"])["lastStatus"])
        return seen[-1] == "STOPPED"
    eventually(now, "the task stopped", 120)
    places = [LIFE.index(status) for status in seen]
    equal(places, sorted(places), f"the order of {seen}")
    true(places[0] < LIFE.index("RUNNING"), f"it is not yet running at first: {seen[0]}")
    true("RUNNING" in seen, f"it runs: {sorted(set(seen))}")


@check("ecs", "a task's times follow each other", DELAY, page=SHOWN,
       says="startedAt is when a task went from PENDING to RUNNING.")
def _(aws):
    name, made = world(aws)
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    times = [task["createdAt"], task["startedAt"], task["stoppedAt"]]
    equal(times, sorted(times))


@check("ecs", "a task that ends has its container's exit code", DELAY, page=API + "API_Container.html",
       says="exitCode is what the container ended with.")
def _(aws):
    name, made = world(aws)
    for code in (0, 3):
        task = ended(aws, name, run(aws, name, made, f"exit {code}")["taskArn"])
        equal([(one["lastStatus"], one["exitCode"]) for one in task["containers"]], [("STOPPED", code)])


@check("ecs", "an essential container that exits stops its task", DELAY, page=STOPPED,
       says="A task stops when an essential container ends.")
def _(aws):
    name, made = world(aws)
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal((task["stopCode"], task["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))


@check("ecs", "an image that cannot be pulled fails the start", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/userguide/stopped-task-error-codes.html",
       says="CannotPullContainerError is in the reason where the image cannot be pulled.")
def _(aws):
    name, made = world(aws, {**container(), "image": "127.0.0.1:1/seqstack-check/none:1"})
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal(task["stopCode"], "TaskFailedToStart")
    contains(task["containers"][0]["reason"], "CannotPullContainerError")
    true("exitCode" not in task["containers"][0], "there is no exit code")


@check("ecs", "a log group that is not there fails the start", DELAY, page=API + "API_LogConfiguration.html",
       says="awslogs-create-group is false unless it is set: the group must be there.")
def _(aws):
    group = aws.name("/check/none")
    name, made = world(aws, container(logConfiguration=logged(group=group, region=aws.region, **{"stream-prefix": "run"})))
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal(task["stopCode"], "TaskFailedToStart")
    equal(aws.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"], [])


@check("ecs", "a task's log has a stream of its own name", DELAY, page=API + "API_LogConfiguration.html",
       says="With awslogs-stream-prefix a stream's name is prefix/container/task-id.")
def _(aws):
    group = aws.name("/check/log")
    aws.logs.create_log_group(logGroupName=group)
    aws.after(aws.logs.delete_log_group, logGroupName=group)
    name, made = world(aws, container(logConfiguration=logged(group=group, region=aws.region, **{"stream-prefix": "run"})))
    arn = run(aws, name, made, "echo from the task")["taskArn"]
    ended(aws, name, arn)
    stream = f"run/main/{arn.rsplit('/', 1)[-1]}"
    equal([one["logStreamName"] for one in aws.logs.describe_log_streams(logGroupName=group)["logStreams"]], [stream])

    def lines():
        events = aws.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
        return [one["message"] for one in events]
    eventually(lambda: "from the task" in lines(), "the line is there")


@check("ecs", "an override adds to the environment and replaces in it", DELAY, page=API + "API_ContainerOverride.html",
       says="An override adds environment variables, and replaces those of the definition or the image.")
def _(aws):
    name, made = world(aws, container(environment=[{"name": "KEPT", "value": "1"}, {"name": "REPLACED", "value": "2"}]))
    script = 'test "$KEPT$REPLACED$ADDED" = 134'
    added = [{"name": "REPLACED", "value": "3"}, {"name": "ADDED", "value": "4"}]
    arn = run(aws, name, made, overrides=shell(script, environment=added))["taskArn"]
    equal(ended(aws, name, arn)["containers"][0]["exitCode"], 0)


@check("ecs", "a task shows its overrides", page=SHOWN, says="A task shows the overrides of its containers.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, overrides={**shell("sleep 60", memory=96), "cpu": "256", "memory": "128"})["taskArn"]
    task = task_now(aws, name, arn)
    override = task["overrides"]["containerOverrides"][0]
    equal((override["name"], override["command"], override["memory"]), ("main", ["sh", "-c", "sleep 60"], 96))
    equal((task["overrides"]["cpu"], task["overrides"]["memory"]), ("256", "128"))


@check("ecs", "a task's group is its family unless given", page=RUN,
       says="group is family: and the definition's family where none is given.")
def _(aws):
    name, made = world(aws)
    equal(run(aws, name, made)["group"], f"family:{made['family']}")
    equal(run(aws, name, made, group="mine")["group"], "mine")


@check("ecs", "an essential container that exits stops the others", DELAY, page=API + "API_ContainerDefinition.html",
       says="Where an essential container ends, for whatever reason, the task's other containers are stopped.")
def _(aws):
    name, made = world(aws, container("main"), container("side", essential=False))
    commands = [{"name": "main", "command": ["sh", "-c", "exit 4"]}, {"name": "side", "command": ["sh", "-c", "sleep 300"]}]
    task = ended(aws, name, run(aws, name, made, overrides={"containerOverrides": commands})["taskArn"])
    containers = {one["name"]: one for one in task["containers"]}
    equal({one: shown["lastStatus"] for one, shown in containers.items()}, {"main": "STOPPED", "side": "STOPPED"})
    equal(containers["main"]["exitCode"], 4)
    true(containers["side"].get("exitCode") != 0, "the other did not end by itself")


@check("ecs", "a container that is not essential may end before the others", DELAY, page=API + "API_ContainerDefinition.html",
       says="A container that is not essential may fail while the others run on.")
def _(aws):
    name, made = world(aws, container("main"), container("side", essential=False))
    commands = [{"name": "main", "command": ["sh", "-c", "sleep 60"]}, {"name": "side", "command": ["sh", "-c", "exit 5"]}]
    arn = run(aws, name, made, overrides={"containerOverrides": commands})["taskArn"]

    def side():
        task = task_now(aws, name, arn)
        one = next(one for one in task["containers"] if one["name"] == "side")
        return one["lastStatus"] == "STOPPED" and (task["lastStatus"], one["exitCode"])
    equal(eventually(side, "the other container ended", 60), ("RUNNING", 5))


@check("ecs", "a stopped task says who stopped it and why", DELAY, page=STOP,
       says="The reason given to StopTask is shown by DescribeTasks.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made)["taskArn"]
    running(aws, name, arn)
    answer = aws.ecs.stop_task(cluster=name, task=arn, reason="no longer wanted")["task"]
    equal((answer["taskArn"], answer["desiredStatus"]), (arn, "STOPPED"))
    task = ended(aws, name, arn)
    equal((task["stopCode"], task["stoppedReason"]), ("UserInitiated", "no longer wanted"))
    true(task["stoppingAt"] <= task["stoppedAt"], "it was stopping before it stopped")


@check("ecs", "a task is stopped by a signal that it can handle", DELAY, page=STOP,
       says="A container that ends within 30 seconds of SIGTERM gets no SIGKILL.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, "trap 'exit 7' TERM; while true; do sleep 0.1; done")["taskArn"]
    running(aws, name, arn)
    aws.ecs.stop_task(cluster=name, task=arn)
    equal(ended(aws, name, arn)["containers"][0]["exitCode"], 7)


@check("ecs", "a task that is told to stop is stopping until it has", DELAY, page=SHOWN,
       says="stoppingAt is when a task went from RUNNING towards stopping.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, "trap 'sleep 2; exit 0' TERM; while true; do sleep 0.1; done")["taskArn"]
    running(aws, name, arn)
    aws.ecs.stop_task(cluster=name, task=arn)
    task = task_now(aws, name, arn)
    # Which of the states of the way the agent has reached is its own affair; without a stoppingAt it is still running.
    true("stoppingAt" not in task or LIFE.index(task["lastStatus"]) > LIFE.index("RUNNING"),
         f"since {task.get('stoppingAt')} it is stopping: {task['lastStatus']}")
    true("exitCode" not in task["containers"][0] or task["lastStatus"] == "STOPPED", "it has no exit code before it ended")
    ended(aws, name, arn)


@check("ecs", "stopping a stopped task changes nothing", page=SHOWN, says="stoppedReason is why the task was stopped.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, "exit 3")["taskArn"]
    before = ended(aws, name, arn)
    aws.ecs.stop_task(cluster=name, task=arn, reason="too late")
    after = task_now(aws, name, arn)
    for member in ("stopCode", "stoppedReason", "stoppedAt"):
        equal(after[member], before[member], member)
    equal(after["containers"][0]["exitCode"], 3)


@check("ecs", "stopping deletes the task's tags", DELAY, page=STOP,
       says="StopTask deletes the task's tags.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, tags=[{"key": "a", "value": "1"}])["taskArn"]
    equal(task_now(aws, name, arn, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    aws.ecs.stop_task(cluster=name, task=arn)
    ended(aws, name, arn)
    eventually(lambda: not task_now(aws, name, arn, include=["TAGS"]).get("tags"), "the tags are deleted")


@check("ecs", "a task that is not there cannot be stopped", REFUSAL, page=STOP,
       says="InvalidParameterException is the code for a task that there is not.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.stop_task, cluster=cluster(aws), task="0" * 32)


@check("ecs", "a task's tags are described on request only", page=DESCRIBE,
       says="include=TAGS adds a task's tags, which are left out otherwise.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, tags=[{"key": "a", "value": "1"}])["taskArn"]
    equal(task_now(aws, name, arn, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    equal(task_now(aws, name, arn).get("tags", []), [], "without TAGS")


@check("ecs", "a definition's tags become the task's on request", page=RUN,
       says="propagateTags=TASK_DEFINITION gives the task its definition's tags; otherwise it gets none of them.")
def _(aws):
    name, made = world(aws, tags=[{"key": "a", "value": "1"}])
    tags = lambda **more: task_now(aws, name, run(aws, name, made, **more)["taskArn"], include=["TAGS"]).get("tags", [])
    equal((tags(), tags(propagateTags="TASK_DEFINITION")), ([], [{"key": "a", "value": "1"}]))


@check("ecs", "a task that is not there is a failure of the description", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="MISSING is the reason in failures for a task that there is not.")
def _(aws):
    answer = aws.ecs.describe_tasks(cluster=cluster(aws), tasks=["0" * 32])
    equal((answer["tasks"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "a task is of one cluster", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="A task of another cluster or region is MISSING too.")
def _(aws):
    name, made = world(aws)
    task = run(aws, name, made)["taskArn"].rsplit("/", 1)[-1]
    equal(len(aws.ecs.describe_tasks(cluster=name, tasks=[task])["tasks"]), 1)
    answer = aws.ecs.describe_tasks(cluster=cluster(aws), tasks=[task])
    equal((answer["tasks"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "at most a hundred tasks are described at once", REFUSAL, page=DESCRIBE,
       says="DescribeTasks takes up to 100 tasks.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.describe_tasks, cluster=cluster(aws),
            tasks=[f"{number:032x}" for number in range(101)])


@check("ecs", "tasks of a cluster that is not there", REFUSAL, page=DESCRIBE,
       says="ClusterNotFoundException is the code for a cluster that there is not.")
def _(aws):
    missing = aws.name("none")
    refused("ClusterNotFoundException", aws.ecs.describe_tasks, cluster=missing, tasks=["0" * 32])
    refused("ClusterNotFoundException", aws.ecs.list_tasks, cluster=missing)


@check("ecs", "tasks that are to run are listed unless others are asked for", DELAY, page=LIST,
       says="Without desiredStatus, tasks are listed whose desired status is RUNNING.")
def _(aws):
    name, made = world(aws)
    over, going = run(aws, name, made, "true")["taskArn"], run(aws, name, made)["taskArn"]
    ended(aws, name, over)
    equal(aws.ecs.list_tasks(cluster=name)["taskArns"], [going])
    equal(aws.ecs.list_tasks(cluster=name, desiredStatus="STOPPED")["taskArns"], [over])


@check("ecs", "no task's desired status is pending", page=LIST,
       says="desiredStatus=PENDING is taken and finds nothing.")
def _(aws):
    name, made = world(aws)
    run(aws, name, made)
    equal(aws.ecs.list_tasks(cluster=name, desiredStatus="PENDING")["taskArns"], [])


@check("ecs", "tasks are listed by who started them", page=LIST,
       says="startedBy lists the tasks that were started with that value.")
def _(aws):
    name, made = world(aws)
    mine = run(aws, name, made, startedBy="mine")["taskArn"]
    run(aws, name, made, startedBy="mine-too")
    equal(aws.ecs.list_tasks(cluster=name, startedBy="mine")["taskArns"], [mine])


@check("ecs", "startedBy goes with no other filter", REFUSAL, page=LIST,
       says="startedBy must be the only filter.")
def _(aws):
    name, made = world(aws)
    run(aws, name, made, startedBy="mine")
    refused(("InvalidParameterException", "ClientException"), aws.ecs.list_tasks, cluster=name, startedBy="mine",
            family=made["family"])


@check("ecs", "tasks are listed by family and by instance", page=LIST,
       says="containerInstance lists the tasks of that instance.")
def _(aws):
    name, made = world(aws)
    other = definition(aws)
    task, another = run(aws, name, made), run(aws, name, other)
    equal(aws.ecs.list_tasks(cluster=name, family=made["family"])["taskArns"], [task["taskArn"]])
    on_it = aws.ecs.list_tasks(cluster=name, containerInstance=task["containerInstanceArn"])["taskArns"]
    equal(sorted(on_it), sorted([task["taskArn"], another["taskArn"]]))
    _, second = host(aws, name)
    equal(aws.ecs.list_tasks(cluster=name, containerInstance=second)["taskArns"], [])


@check("ecs", "tasks are listed in pages", page=LIST,
       says="With maxResults, ListTasks gives that many at most, and a nextToken for the rest.")
def _(aws):
    name, made = world(aws)
    tasks = [run(aws, name, made)["taskArn"] for _ in range(3)]
    pages = list(aws.ecs.get_paginator("list_tasks").paginate(cluster=name, PaginationConfig={"PageSize": 2}))
    equal([len(page["taskArns"]) for page in pages], [2, 1])
    equal(sorted(arn for page in pages for arn in page["taskArns"]), sorted(tasks))


@check("ecs", "tagged tasks outlive their cluster, but not its name's next use", DELAY, page=DESCRIBE,
       says="A deleted cluster's tasks are still described if they have tags, but not once a new cluster has its name.")
def _(aws):
    name = cluster(aws)
    _, host_arn = host(aws, name)
    arn = run(aws, name, definition(aws), "true", tags=[{"key": "a", "value": "1"}])["taskArn"]
    ended(aws, name, arn)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=host_arn, force=True)
    aws.ecs.delete_cluster(cluster=name)
    equal([one["taskArn"] for one in aws.ecs.describe_tasks(cluster=name, tasks=[arn])["tasks"]], [arn])
    aws.ecs.create_cluster(clusterName=name)
    equal(aws.ecs.describe_tasks(cluster=name, tasks=[arn])["tasks"], [])
