"""Throttling, where the endpoint can be asked for it: a burst, the refusal, and that it passes."""

import time

import botocore.exceptions

from . import DELAY, REFUSAL, Wrong, check, equal, eventually, true

ECS = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html"
EC2 = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"


def met(call):
    """Whether the call is throttled: the error if so, `None` where it is answered or refused for another reason."""
    try:
        call()
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("ThrottlingException", "RequestLimitExceeded", "Throttling", "SlowDown"):
            return error.response
    return None


def burst(calls, most):
    """How many calls passed before one was throttled, how many seconds that took, and the refusal."""
    began = time.monotonic()
    for n, call in enumerate(calls):
        refusal = met(call)
        if refusal:
            return n, time.monotonic() - began, refusal
        if n == most:
            break
    raise Wrong(f"{n + 1} calls, none throttled")


def forever(*calls):
    while True:
        yield from calls


def bucket(aws, calls, capacity, rate, code, status):
    """The calls share a bucket of this capacity, which fills at this rate a second; it is full again in a while."""
    aws.settings(throttle=True)
    passed, seconds, refusal = burst(forever(*calls), most=20 * capacity)
    true(capacity <= passed <= capacity + rate * seconds + 1, f"{passed} calls passed in {seconds:.1f} s")
    equal(refusal["Error"]["Code"], code)
    equal(refusal["ResponseMetadata"]["HTTPStatusCode"], status)


@check("door", "ECS throttles what is called too often", REFUSAL, page=ECS,
       says="ECS answers ThrottlingException once a quota of calls is used up.")
def _(aws):
    call = lambda: aws.ecs.delete_task_definitions(taskDefinitions=[aws.name("none") + ":1"])
    bucket(aws, [call], 5, 1, "ThrottlingException", 400)


@check("door", "ECS throttles a category of operations together", REFUSAL, page=ECS,
       says="Operations of one category draw on one token bucket.")
def _(aws):
    name = aws.name("cluster")
    aws.after(aws.ecs.delete_cluster, cluster=name)
    calls = [lambda: aws.ecs.create_cluster(clusterName=name), lambda: aws.ecs.delete_cluster(cluster=name)]
    bucket(aws, calls, 20, 1, "ThrottlingException", 400)
    aws.ecs.describe_clusters(clusters=[name])


@check("door", "ECS lets calls pass again after a while", DELAY, page=ECS,
       says="The bucket fills while time passes: one token is enough for the next call, it need not be full.")
def _(aws):
    call = lambda: aws.ecs.delete_task_definitions(taskDefinitions=[aws.name("none") + ":1"])
    aws.settings(throttle=True)
    burst(forever(call), most=100)
    eventually(lambda: met(call) is None, "the call passes again")


@check("door", "EC2 throttles what is called too often", REFUSAL, page=EC2,
       says="EC2 answers RequestLimitExceeded once a limit of calls is reached.")
def _(aws):
    call = lambda: aws.ec2.start_instances(InstanceIds=["i-0123456789abcdef0"])
    bucket(aws, [call], 5, 2, "RequestLimitExceeded", 503)


@check("door", "EC2 throttles each operation by itself", REFUSAL, page=EC2,
       says="EC2 counts requests for each operation by itself.")
def _(aws):
    aws.settings(throttle=True)
    burst(forever(lambda: aws.ec2.start_instances(InstanceIds=["i-0123456789abcdef0"])), most=100)
    equal(met(lambda: aws.ec2.stop_instances(InstanceIds=["i-0123456789abcdef0"])), None, "another operation")
    equal(met(aws.ec2.describe_vpcs), None, "another operation")


@check("door", "EC2 lets calls pass again after a while", DELAY, page=EC2,
       says="A token can be used as soon as it is back in the bucket.")
def _(aws):
    call = lambda: aws.ec2.start_instances(InstanceIds=["i-0123456789abcdef0"])
    aws.settings(throttle=True)
    burst(forever(call), most=100)
    eventually(lambda: met(call) is None, "the call passes again")


@check("door", "without being asked for, nothing is throttled", page=ECS,
       says="""AWS limits calls by token buckets (50 calls for reads of clusters such as DescribeClusters); the sandbox does
       so when told to.""")
def _(aws):
    aws.settings(throttle=False)
    for _ in range(12):
        equal(met(lambda: aws.ecs.delete_task_definitions(taskDefinitions=[aws.name("none") + ":1"])), None)
