"""Log streams, and the order in which they are described."""

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import API, HOUR, made_group, made_stream, now, put


def names(aws, group, **more):
    return [one["logStreamName"] for one in aws.logs.describe_log_streams(logGroupName=group, **more)["logStreams"]]


@check("logs", "a stream is described", page=API + "LogStream.html",
       says="creationTime is in milliseconds since 1970 began in UTC.")
def _(aws):
    group = made_stream(aws, name="prefix/container/task")["logGroupName"]
    becomes(lambda: names(aws, group), ["prefix/container/task"])
    [stream] = aws.logs.describe_log_streams(logGroupName=group)["logStreams"]
    true(abs(stream["creationTime"] - now()) < HOUR, f"made just now: {stream['creationTime']}")
    equal(stream["arn"], f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{group}:log-stream:prefix/container/task")


@check("logs", "a stream's bytes are not counted", page=API + "LogStream.html",
       says="storedBytes of a stream is always zero since June 17, 2019.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "some text")
    [stream] = aws.logs.describe_log_streams(logGroupName=where["logGroupName"])["logStreams"]
    equal(stream["storedBytes"], 0)


@check("logs", "a stream tells its first and last events", page=API + "LogStream.html",
       says="firstEventTimestamp is the first event's time, in milliseconds since 1970 began in UTC.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, "a", "b", "c")

    def told():
        [stream] = aws.logs.describe_log_streams(logGroupName=where["logGroupName"])["logStreams"]
        return stream.get("firstEventTimestamp"), stream.get("lastEventTimestamp")

    becomes(told, (times[0], times[-1]))


@check("logs", "a stream's name is taken once in its group", REFUSAL, page=API + "CreateLogStream.html",
       says="A stream's name is unique in its group.")
def _(aws):
    where = made_stream(aws)
    refused("ResourceAlreadyExistsException", aws.logs.create_log_stream, **where, status=400)
    made_stream(aws, made_group(aws), where["logStreamName"])


@check("logs", "a stream's name has no colon and no asterisk", REFUSAL, page=API + "CreateLogStream.html",
       says="A stream's name has no : and no *.")
def _(aws):
    group = made_group(aws)
    for name in ("a:b", "a*b"):
        refused("InvalidParameterException", aws.logs.create_log_stream, logGroupName=group, logStreamName=name,
                status=400)


@check("logs", "a stream's name is 512 characters long at most", REFUSAL, page=API + "CreateLogStream.html",
       says="A stream's name is from 1 to 512 characters long.")
def _(aws):
    group = made_group(aws)
    refused("InvalidParameterException", aws.logs.create_log_stream, logGroupName=group, logStreamName="x" * 513,
            status=400)
    made_stream(aws, group, "x" * 512)


@check("logs", "a stream needs its group", REFUSAL, page=API + "CreateLogStream.html",
       says="ResourceNotFoundException is the code where the stream's group does not exist.")
def _(aws):
    refused("ResourceNotFoundException", aws.logs.create_log_stream, logGroupName=aws.name("none"), logStreamName="s",
            status=400)


@check("logs", "streams are ordered by name", page=API + "DescribeLogStreams.html",
       says="Without orderBy streams are ordered by name.")
def _(aws):
    group = made_group(aws)
    for name in ("b", "c", "a"):
        made_stream(aws, group, name)
    becomes(lambda: names(aws, group), ["a", "b", "c"])
    equal(names(aws, group, orderBy="LogStreamName"), ["a", "b", "c"])


@check("logs", "streams are ordered downwards", page=API + "DescribeLogStreams.html",
       says="descending=true turns the order round; false is ascending.")
def _(aws):
    group = made_group(aws)
    for name in ("b", "c", "a"):
        made_stream(aws, group, name)
    becomes(lambda: names(aws, group, descending=True), ["c", "b", "a"])


@check("logs", "streams are ordered by their last event", page=API + "DescribeLogStreams.html",
       says="orderBy=LastEventTime orders streams by the time of their events.")
def _(aws):
    group = made_group(aws)
    for name, ago in (("a", 1), ("b", 3), ("c", 2)):
        put(aws, made_stream(aws, group, name), "text", at=now() - ago * HOUR)
    becomes(lambda: names(aws, group, orderBy="LastEventTime"), ["b", "c", "a"])
    equal(names(aws, group, orderBy="LastEventTime", descending=True), ["a", "c", "b"])


@check("logs", "streams are found by prefix", page=API + "DescribeLogStreams.html",
       says="DescribeLogStreams takes a prefix of the streams' names.")
def _(aws):
    group = made_group(aws)
    for name in ("run/a", "run/b", "other"):
        made_stream(aws, group, name)
    becomes(lambda: names(aws, group, logStreamNamePrefix="run/"), ["run/a", "run/b"])


@check("logs", "a prefix, or the order of events", REFUSAL, page=API + "DescribeLogStreams.html",
       says="orderBy=LastEventTime and logStreamNamePrefix exclude each other.")
def _(aws):
    refused("InvalidParameterException", aws.logs.describe_log_streams, logGroupName=made_group(aws),
            orderBy="LastEventTime", logStreamNamePrefix="a", status=400)


@check("logs", "streams come in pages", page=API + "DescribeLogStreams.html",
       says="nextToken brings the next page.")
def _(aws):
    group = made_group(aws)
    made = [made_stream(aws, group, f"s{number}")["logStreamName"] for number in range(5)]
    pages = aws.logs.get_paginator("describe_log_streams")
    paged = lambda: [[one["logStreamName"] for one in page["logStreams"]] for page in
                     pages.paginate(logGroupName=group, PaginationConfig={"PageSize": 2})]
    becomes(lambda: sum(paged(), []), made)
    equal(max(map(len, paged())), 2, "on a page")


@check("logs", "a group is named by its ARN as well", page=API + "DescribeLogStreams.html",
       says="logGroupIdentifier takes a group's name or its ARN.")
def _(aws):
    group = made_stream(aws)["logGroupName"]
    for given in (group, f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{group}"):
        becomes(lambda: [one["logStreamName"] for one in
                         aws.logs.describe_log_streams(logGroupIdentifier=given)["logStreams"]], ["stream"])


@check("logs", "a group is named once", REFUSAL, page=API + "DescribeLogStreams.html",
       says="A group is named by logGroupName or by logGroupIdentifier: one of the two, and not both.")
def _(aws):
    where = made_stream(aws)
    both = {"logGroupName": where["logGroupName"], "logGroupIdentifier": where["logGroupName"]}
    for call, more in ((aws.logs.describe_log_streams, {}), (aws.logs.filter_log_events, {}),
                       (aws.logs.get_log_events, {"logStreamName": "stream"})):
        refused(("InvalidParameterException", "ValidationException"), call, **both, **more, status=400)
        refused("InvalidParameterException", call, **more, status=400)
