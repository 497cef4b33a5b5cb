"""Log events: how they are put, and how a stream is read from either end."""

from .. import REFUSAL, becomes, check, contains, equal, refused, true
from .made import API, HOUR, made_group, made_stream, now, put, read, texts

DAY = 24 * HOUR


def event(at, message="text"):
    return {"timestamp": at, "message": message}


@check("logs", "events are read as they were put", page=API + "GetLogEvents.html",
       says="GetLogEvents gives the events of one stream.")
def _(aws):
    where, began = made_stream(aws), now()
    times = put(aws, where, "first", "second ✓", "  third\tline\nand more")
    events = aws.logs.get_log_events(**where, startFromHead=True)["events"]
    equal([(one["timestamp"], one["message"]) for one in events],
          list(zip(times, ["first", "second ✓", "  third\tline\nand more"])))
    true(all(abs(one["ingestionTime"] - began) < HOUR for one in events), "they came just now")


@check("logs", "events come in the order of their time", page=API + "GetLogEvents.html",
       says="With startFromHead=true the earliest events come first.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "later", at=now() - HOUR)
    put(aws, where, "earlier", at=now() - 2 * HOUR)
    equal(read(aws, where, startFromHead=True), ["earlier", "later"])


@check("logs", "a batch is in the order of time", REFUSAL, page=API + "PutLogEvents.html",
       says="The events of a batch must be in the order of their timestamps.")
def _(aws):
    where, at = made_stream(aws), now()
    refused("InvalidParameterException", aws.logs.put_log_events, **where, logEvents=[event(at), event(at - 1)],
            status=400)
    equal(read(aws, where), [])


@check("logs", "a batch spans a day at most", REFUSAL, page=API + "PutLogEvents.html",
       says="A batch whose valid events span more than 24 hours fails as a whole.")
def _(aws):
    where, at = made_stream(aws), now()
    refused("InvalidParameterException", aws.logs.put_log_events, **where, status=400,
            logEvents=[event(at - DAY - 60_000), event(at)])
    equal(read(aws, where), [])


@check("logs", "a batch has ten thousand events at most", REFUSAL, page=API + "PutLogEvents.html",
       says="A batch has 10,000 events at most.")
def _(aws):
    refused("InvalidParameterException", aws.logs.put_log_events, **made_stream(aws), status=400,
            logEvents=[event(now())] * 10_001)


@check("logs", "a batch has a size", REFUSAL, page=API + "PutLogEvents.html",
       says="A batch has 1,048,576 bytes at most: the messages in UTF-8, and 26 bytes more for each event.")
def _(aws):
    where, at = made_stream(aws), now()
    whole = [event(at, "x" * (131_072 - 26))] * 8
    refused("InvalidParameterException", aws.logs.put_log_events, **where, status=400, logEvents=[*whole, event(at)])
    aws.logs.put_log_events(**where, logEvents=whole)


@check("logs", "an event of long ago is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="""Events older than 14 days are left out and the others are kept; tooOldLogEventEndIndex is one past the last
       that is too old.""")
def _(aws):
    where, at = made_stream(aws), now()
    answer = aws.logs.put_log_events(**where, logEvents=[event(at - 15 * DAY, "old"), event(at, "new")])
    equal(answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1)
    becomes(lambda: read(aws, where), ["new"])


@check("logs", "an event of the future is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="""Events more than 2 hours ahead are left out and the others are kept; tooNewLogEventStartIndex is the first
       that is too new.""")
def _(aws):
    where, at = made_stream(aws), now()
    answer = aws.logs.put_log_events(**where, logEvents=[event(at, "now"), event(at + HOUR, "soon"),
                                                         event(at + 3 * HOUR, "far")])
    equal(answer["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"], 2)
    becomes(lambda: read(aws, where), ["now", "soon"])


@check("logs", "an event older than the retention is left out", REFUSAL, page=API + "PutLogEvents.html",
       says="Events from before the group's retention period are left out, and the others are kept.")
def _(aws):
    where, at = made_stream(aws), now()
    aws.logs.put_retention_policy(logGroupName=where["logGroupName"], retentionInDays=1)
    answer = aws.logs.put_log_events(**where, logEvents=[event(at - 2 * DAY, "old"), event(at, "new")])
    rejected = answer["rejectedLogEventsInfo"]
    equal([rejected[index] for index in ("expiredLogEventEndIndex", "tooOldLogEventEndIndex") if index in rejected], [1])
    becomes(lambda: read(aws, where), ["new"])


@check("logs", "the sequence token means nothing", page=API + "PutLogEvents.html",
       says="""PutLogEvents takes any sequence token: it no longer gives InvalidSequenceTokenException or
       DataAlreadyAcceptedException.""")
def _(aws):
    where, batch = made_stream(aws), [event(now())]
    for _ in range(2):
        aws.logs.put_log_events(**where, logEvents=batch, sequenceToken="1")
    becomes(lambda: read(aws, where), ["text", "text"])


@check("logs", "a stream that is not there", REFUSAL, page=API + "PutLogEvents.html",
       says="ResourceNotFoundException is the code for a stream that does not exist.")
def _(aws):
    for where in ({"logGroupName": made_group(aws), "logStreamName": "none"},
                  {"logGroupName": aws.name("none"), "logStreamName": "none"}):
        refused("ResourceNotFoundException", aws.logs.put_log_events, **where, logEvents=[event(now())], status=400)
        refused("ResourceNotFoundException", aws.logs.get_log_events, **where, status=400)


@check("logs", "a stream is read from its end by default", page=API + "GetLogEvents.html",
       says="Without startFromHead a stream is read from its latest events.")
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
       says="At the end of the stream nextForwardToken is the token that was passed in.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, *"abcde")
    pages = onwards(aws, where, "nextForwardToken", limit=2, startFromHead=True)
    equal(sum(pages, []), list("abcde"))
    true(max(map(len, pages)) <= 2, f"two a page at most: {pages}")


@check("logs", "the forward token brings what came since", page=API + "GetLogEvents.html",
       says="A token that differs from the one passed in may lead to more events.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "a", at=now() - 2 * HOUR)
    token = aws.logs.get_log_events(**where, startFromHead=True)["nextForwardToken"]
    put(aws, where, "b", at=now() - HOUR)
    answer = aws.logs.get_log_events(**where, startFromHead=True, nextToken=token)
    equal(texts(answer), ["b"])
    true(answer["nextForwardToken"] != token, "another token")


@check("logs", "the backward token leads to the beginning", page=API + "GetLogEvents.html",
       says="nextBackwardToken is never absent; at the beginning of the stream it is the token that was passed in.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, *"abcde")
    pages = onwards(aws, where, "nextBackwardToken", limit=2)
    equal(sum(reversed(pages), []), list("abcde"))
    equal(pages[0], ["d", "e"])


@check("logs", "an empty stream has tokens too", page=API + "GetLogEvents.html",
       says="Both tokens are always there.")
def _(aws):
    answer = aws.logs.get_log_events(**made_stream(aws))
    equal(answer["events"], [])
    true(answer["nextForwardToken"] and answer["nextBackwardToken"], "two tokens")


@check("logs", "a token that was never given", REFUSAL, page=API + "GetLogEvents.html",
       says="InvalidParameterException is the code for a parameter that is wrong.")
def _(aws):
    refused("InvalidParameterException", aws.logs.get_log_events, **made_stream(aws), nextToken="none", status=400)


@check("logs", "a time range has its first millisecond", page=API + "GetLogEvents.html",
       says="startTime is inclusive: an event of that very time is found.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    equal(read(aws, where, startTime=times[1], startFromHead=True), ["b", "c"])


@check("logs", "a time range has not its last millisecond", page=API + "GetLogEvents.html",
       says="endTime is exclusive: an event of that very time is not found.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    equal(read(aws, where, endTime=times[1], startFromHead=True), ["a"])


@check("logs", "a stream is read by its group's ARN", page=API + "GetLogEvents.html",
       says="logGroupIdentifier takes a group's name or its ARN.")
def _(aws):
    where = made_stream(aws)
    put(aws, where, "text")
    arn = f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{where['logGroupName']}"
    contains(texts(aws.logs.get_log_events(logGroupIdentifier=arn, logStreamName="stream")), "text")
