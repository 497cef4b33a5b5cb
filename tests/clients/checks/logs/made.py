"""What the checks of CloudWatch Logs make, and how they read it."""

import time

from .. import becomes

API = "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_"
PATTERNS = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html"
HOUR = 3_600_000


def now():
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def made_group(aws, name=None, **more):
    """A log group's name; it is deleted afterwards."""
    name = name or aws.name("group")
    aws.logs.create_log_group(logGroupName=name, **more)
    aws.after(aws.logs.delete_log_group, logGroupName=name)
    return name


def made_stream(aws, group=None, name="stream"):
    """A stream's parameters, in a group of its own unless one is given."""
    where = {"logGroupName": group or made_group(aws), "logStreamName": name}
    aws.logs.create_log_stream(**where)
    return where


def described(aws, group):
    """A log group as it is described."""
    [one] = [one for one in aws.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
             if one["logGroupName"] == group]
    return one


def put(aws, where, *messages, at=None):
    """Puts messages a millisecond apart, from `at` on, and waits until they are all there; their times."""
    at = at or now() - HOUR
    events = [{"timestamp": at + number, "message": message} for number, message in enumerate(messages)]
    aws.logs.put_log_events(**where, logEvents=events)
    becomes(lambda: len(set(messages) - set(read(aws, where, startFromHead=True))), 0, "messages to come")
    return [event["timestamp"] for event in events]


def read(aws, where, **more):
    """The messages that GetLogEvents answers."""
    return texts(aws.logs.get_log_events(**where, **more))


def texts(answer):
    return [event["message"] for event in answer["events"]]
