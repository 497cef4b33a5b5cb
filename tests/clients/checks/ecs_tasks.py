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
       says="Some tasks are meant to run as batch jobs that naturally progress through from PENDING to RUNNING to STOPPED.")
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
       says="More specifically, it's for the time when the task transitioned from the PENDING state to the RUNNING state.")
def _(aws):
    name, made = world(aws)
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    times = [task["createdAt"], task["startedAt"], task["stoppedAt"]]
    equal(times, sorted(times))


@check("ecs", "a task that ends has its container's exit code", DELAY, page=API + "API_Container.html",
       says="The exit code returned from the container.")
def _(aws):
    name, made = world(aws)
    for code in (0, 3):
        task = ended(aws, name, run(aws, name, made, f"exit {code}")["taskArn"])
        equal([(one["lastStatus"], one["exitCode"]) for one in task["containers"]], [("STOPPED", code)])


@check("ecs", "an essential container that exits stops its task", DELAY, page=STOPPED,
       says="If a container marked as essential in task definitions exits or dies, that can cause a task to stop.")
def _(aws):
    name, made = world(aws)
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal((task["stopCode"], task["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))


@check("ecs", "an image that cannot be pulled fails the start", DELAY,
       page="https://docs.aws.amazon.com/AmazonECS/latest/userguide/stopped-task-error-codes.html",
       says="This error occurs when the agent is unable to pull the container image specified in the task definition.")
def _(aws):
    name, made = world(aws, {**container(), "image": "127.0.0.1:1/seqstack-check/none:1"})
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal(task["stopCode"], "TaskFailedToStart")
    contains(task["containers"][0]["reason"], "CannotPullContainerError")
    true("exitCode" not in task["containers"][0], "there is no exit code")


@check("ecs", "a log group that is not there fails the start", DELAY, page=API + "API_LogConfiguration.html",
       says="If this option isn't specified, it defaults to false.")
def _(aws):
    group = aws.name("/check/none")
    name, made = world(aws, container(logConfiguration=logged(group=group, region=aws.region, **{"stream-prefix": "run"})))
    task = ended(aws, name, run(aws, name, made, "true")["taskArn"])
    equal(task["stopCode"], "TaskFailedToStart")
    equal(aws.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"], [])


@check("ecs", "a task's log has a stream of its own name", DELAY, page=API + "API_LogConfiguration.html",
       says="If you specify a prefix with this option, then the log stream takes the format "
            "prefix-name/container-name/ecs-task-id.")
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
       says="You can add new environment variables, which are added to the container at launch, or you can override the "
            "existing environment variables from the Docker image or the task definition.")
def _(aws):
    name, made = world(aws, container(environment=[{"name": "KEPT", "value": "1"}, {"name": "REPLACED", "value": "2"}]))
    script = 'test "$KEPT$REPLACED$ADDED" = 134'
    added = [{"name": "REPLACED", "value": "3"}, {"name": "ADDED", "value": "4"}]
    arn = run(aws, name, made, overrides=shell(script, environment=added))["taskArn"]
    equal(ended(aws, name, arn)["containers"][0]["exitCode"], 0)


@check("ecs", "a task shows its overrides", page=SHOWN, says="One or more container overrides.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, overrides={**shell("sleep 60", memory=96), "cpu": "256", "memory": "128"})["taskArn"]
    task = task_now(aws, name, arn)
    override = task["overrides"]["containerOverrides"][0]
    equal((override["name"], override["command"], override["memory"]), ("main", ["sh", "-c", "sleep 60"], 96))
    equal((task["overrides"]["cpu"], task["overrides"]["memory"]), ("256", "128"))


@check("ecs", "a task's group is its family unless given", page=RUN,
       says="The default value is the family name of the task definition (for example, family:my-family-name).")
def _(aws):
    name, made = world(aws)
    equal(run(aws, name, made)["group"], f"family:{made['family']}")
    equal(run(aws, name, made, group="mine")["group"], "mine")


@check("ecs", "an essential container that exits stops the others", DELAY, page=API + "API_ContainerDefinition.html",
       says="If the essential parameter of a container is marked as true, and that container fails or stops for any reason, all "
            "other containers that are part of the task are stopped.")
def _(aws):
    name, made = world(aws, container("main"), container("side", essential=False))
    commands = [{"name": "main", "command": ["sh", "-c", "exit 4"]}, {"name": "side", "command": ["sh", "-c", "sleep 300"]}]
    task = ended(aws, name, run(aws, name, made, overrides={"containerOverrides": commands})["taskArn"])
    containers = {one["name"]: one for one in task["containers"]}
    equal({one: shown["lastStatus"] for one, shown in containers.items()}, {"main": "STOPPED", "side": "STOPPED"})
    equal(containers["main"]["exitCode"], 4)
    true(containers["side"].get("exitCode") != 0, "the other did not end by itself")


@check("ecs", "a container that is not essential may end before the others", DELAY, page=API + "API_ContainerDefinition.html",
       says="If the essential parameter of a container is marked as false, its failure doesn't affect the rest of the containers "
            "in a task.")
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
       says="the message appears in subsequent DescribeTasks> API operations on this task.")
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
       says="If the container handles the SIGTERM value gracefully and exits within 30 seconds from receiving it, no SIGKILL "
            "value is sent.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, "trap 'exit 7' TERM; while true; do sleep 0.1; done")["taskArn"]
    running(aws, name, arn)
    aws.ecs.stop_task(cluster=name, task=arn)
    equal(ended(aws, name, arn)["containers"][0]["exitCode"], 7)


@check("ecs", "a task that is told to stop is stopping until it has", DELAY, page=SHOWN,
       says="More specifically, it's for the time when the task transitions from the RUNNING state to STOPPING.")
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


@check("ecs", "stopping a stopped task changes nothing", page=SHOWN, says="The reason that the task was stopped.")
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
       says="Any tags associated with the task will be deleted.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, tags=[{"key": "a", "value": "1"}])["taskArn"]
    equal(task_now(aws, name, arn, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    aws.ecs.stop_task(cluster=name, task=arn)
    ended(aws, name, arn)
    eventually(lambda: not task_now(aws, name, arn, include=["TAGS"]).get("tags"), "the tags are deleted")


@check("ecs", "a task that is not there cannot be stopped", REFUSAL, page=STOP,
       says="The specified parameter isn't valid. Review the available parameters for the API request.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.stop_task, cluster=cluster(aws), task="0" * 32)


@check("ecs", "a task's tags are described on request only", page=DESCRIBE,
       says="If TAGS is specified, the tags are included in the response. If this field is omitted, tags aren't included in the "
            "response.")
def _(aws):
    name, made = world(aws)
    arn = run(aws, name, made, tags=[{"key": "a", "value": "1"}])["taskArn"]
    equal(task_now(aws, name, arn, include=["TAGS"])["tags"], [{"key": "a", "value": "1"}])
    equal(task_now(aws, name, arn).get("tags", []), [], "without TAGS")


@check("ecs", "a definition's tags become the task's on request", page=RUN,
       says="Specifies whether to propagate the tags from the task definition to the task. If no value is specified, the tags "
            "aren't propagated.")
def _(aws):
    name, made = world(aws, tags=[{"key": "a", "value": "1"}])
    tags = lambda **more: task_now(aws, name, run(aws, name, made, **more)["taskArn"], include=["TAGS"]).get("tags", [])
    equal((tags(), tags(propagateTags="TASK_DEFINITION")), ([], [{"key": "a", "value": "1"}]))


@check("ecs", "a task that is not there is a failure of the description", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="The task you are trying to describe does not exist.")
def _(aws):
    answer = aws.ecs.describe_tasks(cluster=cluster(aws), tasks=["0" * 32])
    equal((answer["tasks"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "a task is of one cluster", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="Perhaps the wrong cluster or region has been specified, or the task ARN or ID is misspelled.")
def _(aws):
    name, made = world(aws)
    task = run(aws, name, made)["taskArn"].rsplit("/", 1)[-1]
    equal(len(aws.ecs.describe_tasks(cluster=name, tasks=[task])["tasks"]), 1)
    answer = aws.ecs.describe_tasks(cluster=cluster(aws), tasks=[task])
    equal((answer["tasks"], [one["reason"] for one in answer["failures"]]), ([], ["MISSING"]))


@check("ecs", "at most a hundred tasks are described at once", REFUSAL, page=DESCRIBE,
       says="A list of up to 100 task IDs or full ARN entries.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.describe_tasks, cluster=cluster(aws),
            tasks=[f"{number:032x}" for number in range(101)])


@check("ecs", "tasks of a cluster that is not there", REFUSAL, page=DESCRIBE,
       says="The specified cluster wasn't found. You can view your available clusters with ListClusters.")
def _(aws):
    missing = aws.name("none")
    refused("ClusterNotFoundException", aws.ecs.describe_tasks, cluster=missing, tasks=["0" * 32])
    refused("ClusterNotFoundException", aws.ecs.list_tasks, cluster=missing)


@check("ecs", "tasks that are to run are listed unless others are asked for", DELAY, page=LIST,
       says="The default status filter is RUNNING, which shows tasks that Amazon ECS has set the desired status to RUNNING.")
def _(aws):
    name, made = world(aws)
    over, going = run(aws, name, made, "true")["taskArn"], run(aws, name, made)["taskArn"]
    ended(aws, name, over)
    equal(aws.ecs.list_tasks(cluster=name)["taskArns"], [going])
    equal(aws.ecs.list_tasks(cluster=name, desiredStatus="STOPPED")["taskArns"], [over])


@check("ecs", "no task's desired status is pending", page=LIST,
       says="Although you can filter results based on a desired status of PENDING, this doesn't return any results.")
def _(aws):
    name, made = world(aws)
    run(aws, name, made)
    equal(aws.ecs.list_tasks(cluster=name, desiredStatus="PENDING")["taskArns"], [])


@check("ecs", "tasks are listed by who started them", page=LIST,
       says="Specifying a startedBy value limits the results to tasks that were started with that value.")
def _(aws):
    name, made = world(aws)
    mine = run(aws, name, made, startedBy="mine")["taskArn"]
    run(aws, name, made, startedBy="mine-too")
    equal(aws.ecs.list_tasks(cluster=name, startedBy="mine")["taskArns"], [mine])


@check("ecs", "startedBy goes with no other filter", REFUSAL, page=LIST,
       says="When you specify startedBy as the filter, it must be the only filter that you use.")
def _(aws):
    name, made = world(aws)
    run(aws, name, made, startedBy="mine")
    refused(("InvalidParameterException", "ClientException"), aws.ecs.list_tasks, cluster=name, startedBy="mine",
            family=made["family"])


@check("ecs", "tasks are listed by family and by instance", page=LIST,
       says="Specifying a containerInstance limits the results to tasks that belong to that container instance.")
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
       says="When this parameter is used, ListTasks only returns maxResults results in a single page along with a nextToken "
            "response element.")
def _(aws):
    name, made = world(aws)
    tasks = [run(aws, name, made)["taskArn"] for _ in range(3)]
    pages = list(aws.ecs.get_paginator("list_tasks").paginate(cluster=name, PaginationConfig={"PageSize": 2}))
    equal([len(page["taskArns"]) for page in pages], [2, 1])
    equal(sorted(arn for page in pages for arn in page["taskArns"]), sorted(tasks))


@check("ecs", "tagged tasks outlive their cluster, but not its name's next use", DELAY, page=DESCRIBE,
       says="If you have tasks with tags, and then delete the cluster, the tagged tasks are returned in the response. If you "
            "create a new cluster with the same name as the deleted cluster, the tagged tasks are not included in the response.")
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
