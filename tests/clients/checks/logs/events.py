"""Log events: how they are put, and how a stream is read from either end."""

from .. import REFUSAL, becomes, check, contains, equal, refused, true
from .made import API, HOUR, made_group, made_stream, now, put, read, texts

DAY = 24 * HOUR


def event(at, message="text"):
    return {"timestamp": at, "message": message}


@check("logs", "events are read as they were put", page=API + "GetLogEvents.html",
       says="Lists log events from the specified log stream.")
def _(aws):
    where, began = made_stream(aws), now()
    times = put(aws, where, "first", "second ✓", "  third\tline\nand more")
    events = aws.logs.get_log_events(**where, startFromHead=True)["events"]
    equal([(one["timestamp"], one["message"]) for one in events],
          list(zip(times, ["first", "second ✓", "  third\tline\nand more"])))
    true(all(abs(one["ingestionTime"] - began) < HOUR for one in events), "they came just now")


@check("logs", "events come in the order of their time", page=API + "GetLogEvents.html",
       says="If the value is true, the earliest log events are returned first.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "later", at=now() - HOUR)
    put(aws, where, "earlier", at=now() - 2 * HOUR)
    equal(read(aws, where, startFromHead=True), ["earlier", "later"])


@check("logs", "a batch is in the order of time", REFUSAL, page=API + "PutLogEvents.html",
       says="The log events in the batch must be in chronological order by their timestamp.")
def _(aws):
    where, at = made_stream(aws), now()
    refused("InvalidParameterException", aws.logs.put_log_events, **where, logEvents=[event(at), event(at - 1)],
            status=400)
    equal(read(aws, where), [])


@check("logs", "a batch spans a day at most", REFUSAL, page=API + "PutLogEvents.html",
       says="For valid events (within 14 days in the past to 2 hours in future), the time span in a single batch cannot "
            "exceed 24 hours. Otherwise, the operation fails.")
def _(aws):
    where, at = made_stream(aws), now()
    refused("InvalidParameterException", aws.logs.put_log_events, **where, status=400,
            logEvents=[event(at - DAY - 60_000), event(at)])
    equal(read(aws, where), [])


@check("logs", "a batch has ten thousand events at most", REFUSAL, page=API + "PutLogEvents.html",
       says="The maximum number of log events in a batch is 10,000.")
def _(aws):
    refused("InvalidParameterException", aws.logs.put_log_events, **made_stream(aws), status=400,
            logEvents=[event(now())] * 10_001)


@check("logs", "a batch has a size", REFUSAL, page=API + "PutLogEvents.html",
       says="The maximum batch size is 1,048,576 bytes. This size is calculated as the sum of all event messages in UTF-8, "
            "plus 26 bytes for each log event.")
def _(aws):
    where, at = made_stream(aws), now()
    whole = [event(at, "x" * (131_072 - 26))] * 8
    refused("InvalidParameterException", aws.logs.put_log_events, **where, status=400, logEvents=[*whole, event(at)])
    aws.logs.put_log_events(**where, logEvents=whole)


@check("logs", "an event of long ago is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="Events older than 14 days or preceding the log group's retention period are rejected while processing "
            "remaining valid events. … The index of the last log event that is too old. This field is exclusive.")
def _(aws):
    where, at = made_stream(aws), now()
    answer = aws.logs.put_log_events(**where, logEvents=[event(at - 15 * DAY, "old"), event(at, "new")])
    equal(answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1)
    becomes(lambda: read(aws, where), ["new"])


@check("logs", "an event of the future is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="Events more than 2 hours in the future are rejected while processing remaining valid events. … The index of "
            "the first log event that is too new. This field is inclusive.")
def _(aws):
    where, at = made_stream(aws), now()
    answer = aws.logs.put_log_events(**where, logEvents=[event(at, "now"), event(at + HOUR, "soon"),
                                                         event(at + 3 * HOUR, "far")])
    equal(answer["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"], 2)
    becomes(lambda: read(aws, where), ["now", "soon"])


@check("logs", "an event older than the retention is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="Events older than 14 days or preceding the log group's retention period are rejected while processing "
            "remaining valid events. The log events in the batch must be in chronological order by their timestamp.")
def _(aws):
    where, at = made_stream(aws), now()
    aws.logs.put_retention_policy(logGroupName=where["logGroupName"], retentionInDays=1)
    answer = aws.logs.put_log_events(**where, logEvents=[event(at - 2 * DAY, "old"), event(at, "new")])
    rejected = answer["rejectedLogEventsInfo"]
    equal([rejected[index] for index in ("expiredLogEventEndIndex", "tooOldLogEventEndIndex") if index in rejected], [1])
    becomes(lambda: read(aws, where), ["new"])


@check("logs", "the sequence token means nothing", page=API + "PutLogEvents.html",
       says="PutLogEvents actions are always accepted and never return InvalidSequenceTokenException or "
            "DataAlreadyAcceptedException even if the sequence token is not valid.")
def _(aws):
    where, batch = made_stream(aws), [event(now())]
    for _ in range(2):
        aws.logs.put_log_events(**where, logEvents=batch, sequenceToken="1")
    becomes(lambda: read(aws, where), ["text", "text"])


@check("logs", "a stream that is not there", REFUSAL, page=API + "PutLogEvents.html",
       says="The specified resource does not exist.")
def _(aws):
    for where in ({"logGroupName": made_group(aws), "logStreamName": "none"},
                  {"logGroupName": aws.name("none"), "logStreamName": "none"}):
        refused("ResourceNotFoundException", aws.logs.put_log_events, **where, logEvents=[event(now())], status=400)
        refused("ResourceNotFoundException", aws.logs.get_log_events, **where, status=400)


@check("logs", "a stream is read from its end by default", page=API + "GetLogEvents.html",
       says="If the value is true, the earliest log events are returned first. If the value is false, the latest log events "
            "are returned first. The default value is false.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, *"abcde")
    equal(read(aws, where, limit=2), ["d", "e"])
    equal(read(aws, where, limit=2, startFromHead=False), ["d", "e"])
    equal(read(aws, where, limit=2, startFromHead=True), ["a", "b"])


def onwards(aws, where, which, **more):
    """The messages page by page, until the token repeats."""
    answer = aws.logs.get_log_events(**where, **more)
    pages = [texts(answer)]
    for _ in range(20):
        token = answer[which]
        answer = aws.logs.get_log_events(**where, **{**more, "nextToken": token})
        pages.append(texts(answer))
        if answer[which] == token:
            return pages
    raise AssertionError(f"the token never repeats: {pages}")


@check("logs", "the forward token repeats at the end", page=API + "GetLogEvents.html",
       says="The token for the next set of items in the forward direction. The token expires after 24 hours. If you have "
            "reached the end of the stream, it returns the same token you passed in.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, *"abcde")
    pages = onwards(aws, where, "nextForwardToken", limit=2, startFromHead=True)
    equal(sum(pages, []), list("abcde"))
    true(max(map(len, pages)) <= 2, f"two a page at most: {pages}")


@check("logs", "the forward token brings what came since", page=API + "GetLogEvents.html",
       says="As long as the nextBackwardToken or nextForwardToken returned is NOT equal to the nextToken that you passed "
            "into the API call, there might be more log events available.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "a", at=now() - 2 * HOUR)
    token = aws.logs.get_log_events(**where, startFromHead=True)["nextForwardToken"]
    put(aws, where, "b", at=now() - HOUR)
    answer = aws.logs.get_log_events(**where, startFromHead=True, nextToken=token)
    equal(texts(answer), ["b"])
    true(answer["nextForwardToken"] != token, "another token")


@check("logs", "the backward token leads to the beginning", page=API + "GetLogEvents.html",
       says="The token for the next set of items in the backward direction. The token expires after 24 hours. This token is "
            "not null. If you have reached the end of the stream, it returns the same token you passed in.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, *"abcde")
    pages = onwards(aws, where, "nextBackwardToken", limit=2)
    equal(sum(reversed(pages), []), list("abcde"))
    equal(pages[0], ["d", "e"])


@check("logs", "an empty stream has tokens too", page=API + "GetLogEvents.html",
       says="The returned tokens are never null.")
def _(aws):
    answer = aws.logs.get_log_events(**made_stream(aws))
    equal(answer["events"], [])
    true(answer["nextForwardToken"] and answer["nextBackwardToken"], "two tokens")


@check("logs", "a token that was never given", REFUSAL, page=API + "GetLogEvents.html",
       says="A parameter is specified incorrectly.")
def _(aws):
    refused("InvalidParameterException", aws.logs.get_log_events, **made_stream(aws), nextToken="none", status=400)


@check("logs", "a time range has its first millisecond", page=API + "GetLogEvents.html",
       says="Events with a timestamp equal to this time or later than this time are included.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    equal(read(aws, where, startTime=times[1], startFromHead=True), ["b", "c"])


@check("logs", "a time range has not its last millisecond", page=API + "GetLogEvents.html",
       says="Events with a timestamp equal to or later than this time are not included.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    equal(read(aws, where, endTime=times[1], startFromHead=True), ["a"])


@check("logs", "a stream is read by its group's ARN", page=API + "GetLogEvents.html",
       says="Specify either the name or ARN of the log group to view events from.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "text")
    arn = f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{where['logGroupName']}"
    contains(texts(aws.logs.get_log_events(logGroupIdentifier=arn, logStreamName="stream")), "text")
