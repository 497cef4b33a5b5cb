"""FilterLogEvents and the patterns of terms."""

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import API, HOUR, PATTERNS, made_group, made_stream, now, put, texts

LINES = ["[ERROR 400] BAD REQUEST", "[ERROR 401] UNAUTHORIZED REQUEST", "[ERROR 419] MISSING ARGUMENTS",
         "[ERROR 420] INVALID ARGUMENTS", "[ERROR 500] INTERNAL SERVER ERROR", "[INFO] REQUEST FAILED",
         "[WARN] UNAUTHORIZED REQUEST"]


def found(aws, where, pattern=None, **more):
    """The messages found, all pages together."""
    if pattern is not None:
        more["filterPattern"] = pattern
    pages = aws.logs.get_paginator("filter_log_events").paginate(logGroupName=where["logGroupName"], **more)
    return [message for page in pages for message in texts(page)]


def lines(aws):
    """The page's example, in a stream."""
    where = made_stream(aws)
    put(aws, where, *LINES)
    becomes(lambda: found(aws, where), LINES)
    return where


@check("logs", "without a pattern all is found", page=API + "FilterLogEvents.html",
       says="If not provided, all the events are matched.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where), LINES)
    equal(found(aws, where, ""), LINES)


@check("logs", "a pattern of one term", page=PATTERNS,
       says="The following code snippet shows an example of a single-term filter pattern that returns all log events where "
            "messages contain the word ERROR.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR"), LINES[:5])


@check("logs", "a pattern of several terms", page=PATTERNS,
       says="The following code snippet shows an example of a multiple-term filter pattern that returns all log events where "
            "messages contain the words ERROR and ARGUMENTS.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR ARGUMENTS"), LINES[2:4])


@check("logs", "a pattern of optional terms", page=PATTERNS,
       says="The following code snippet shows an example of a filter pattern that returns all log events where messages "
            "contain the word ERROR or the word ARGUMENTS.")
def _(aws):
    equal(found(aws, lines(aws), "?BAD ?INFO"), [LINES[0], LINES[5]])


@check("logs", "optional terms among others are ignored", page=PATTERNS,
       says="If you combine \"?\" with other filter patterns, all question mark terms will be ignored.")
def _(aws):
    equal(found(aws, lines(aws), "?ERROR ?ARGUMENTS REQUEST"), [LINES[0], LINES[1], LINES[5], LINES[6]])


@check("logs", "a pattern of an exact phrase", page=PATTERNS,
       says="The following code snippet shows an example of a filter pattern that returns log events where messages contain "
            "the exact phrase INTERNAL SERVER ERROR.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where, '"INTERNAL SERVER ERROR"'), [LINES[4]])
    equal(found(aws, where, '"SERVER INTERNAL"'), [])
    equal(found(aws, where, '"[ERROR 400]"'), LINES[:1])


@check("logs", "a pattern that excludes", page=PATTERNS,
       says="The following code snippet shows an example of a filter pattern that returns log events where messages include "
            "the term ERROR and exclude the term ARGUMENTS.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR -ARGUMENTS"), [LINES[0], LINES[1], LINES[4]])


@check("logs", "patterns heed case", page=PATTERNS, says="Filter patterns are case sensitive.")
def _(aws):
    equal(found(aws, lines(aws), "error"), [])


@check("logs", "streams are searched together in the order of time", page=API + "FilterLogEvents.html",
       says="The response from this operation always interleaves events from multiple log streams within a log group.")
def _(aws):
    group, at = made_group(aws), now() - HOUR
    one, two = made_stream(aws, group, "one"), made_stream(aws, group, "two")
    for offset, where in ((0, one), (10, two), (20, one), (30, two)):
        put(aws, where, f"at {offset}", at=at + offset)
    becomes(lambda: found(aws, one), ["at 0", "at 10", "at 20", "at 30"])
    events = aws.logs.filter_log_events(logGroupName=group)["events"]
    equal([event["logStreamName"] for event in events], ["one", "two", "one", "two"])
    equal(len({event["eventId"] for event in events}), 4, "ids")


@check("logs", "an event has the same id in every search", page=API + "FilteredLogEvent.html",
       says="The ID of the event.")
def _(aws):
    where = lines(aws)
    ids = lambda **more: {event["message"]: event["eventId"] for event in
                          aws.logs.filter_log_events(logGroupName=where["logGroupName"], **more)["events"]}
    whole, some = ids(), ids(filterPattern="UNAUTHORIZED")
    equal(some, {line: whole[line] for line in (LINES[1], LINES[6])})


@check("logs", "some streams only", page=API + "FilterLogEvents.html",
       says="Filters the results to only logs from the log streams in this list.")
def _(aws):
    group = made_group(aws)
    for name in ("run/a", "run/b", "other"):
        put(aws, made_stream(aws, group, name), name)
    where = {"logGroupName": group}
    becomes(lambda: sorted(found(aws, where)), ["other", "run/a", "run/b"])
    equal(found(aws, where, logStreamNames=["run/a"]), ["run/a"])
    equal(sorted(found(aws, where, logStreamNames=["run/a", "other"])), ["other", "run/a"])


@check("logs", "streams of a prefix only", page=API + "FilterLogEvents.html",
       says="Filters the results to include only events from log streams that have names starting with this prefix.")
def _(aws):
    group = made_group(aws)
    for name in ("run/a", "run/b", "other"):
        put(aws, made_stream(aws, group, name), name)
    where = {"logGroupName": group}
    becomes(lambda: sorted(found(aws, where)), ["other", "run/a", "run/b"])
    equal(sorted(found(aws, where, logStreamNamePrefix="run/")), ["run/a", "run/b"])


@check("logs", "streams by name or by prefix, not both", REFUSAL, page=API + "FilterLogEvents.html",
       says="If you specify a value for both logStreamNames and logStreamNamePrefix, the action returns an "
            "InvalidParameterException error.")
def _(aws):
    where = made_stream(aws)
    refused("InvalidParameterException", aws.logs.filter_log_events, logGroupName=where["logGroupName"],
            logStreamNames=["stream"], logStreamNamePrefix="str", status=400)


@check("logs", "a search has its last millisecond", page=API + "FilterLogEvents.html",
       says="Events with a timestamp later than this time are not returned.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    becomes(lambda: found(aws, where), list("abc"))
    equal(found(aws, where, endTime=times[1]), ["a", "b"])
    equal(found(aws, where, startTime=times[1]), ["b", "c"])


@check("logs", "a search comes in pages", page=API + "FilterLogEvents.html",
       says="Specifying the limit parameter only guarantees that a single page doesn't return more log events than the "
            "specified limit, but it might return fewer events than the limit.")
def _(aws):
    where = lines(aws)
    pages = aws.logs.get_paginator("filter_log_events").paginate(
        logGroupName=where["logGroupName"], filterPattern="ERROR", PaginationConfig={"PageSize": 2})
    paged = [texts(page) for page in pages]
    equal(sum(paged, []), LINES[:5])
    true(max(map(len, paged)) <= 2, f"two a page at most: {paged}")


@check("logs", "searched streams are no longer told", page=API + "FilterLogEvents.html",
       says="As of May 15, 2020, this parameter is no longer supported. This parameter returns an empty list.")
def _(aws):
    where = lines(aws)
    equal(aws.logs.filter_log_events(logGroupName=where["logGroupName"]).get("searchedLogStreams", []), [])


@check("logs", "a search from the newest", page=API + "FilterLogEvents.html",
       says="If the value is true, the earliest log events are returned first. If the value is false, the latest log events "
            "are returned first. The default value is true. … To return events in descending timestamp order (newest first), "
            "set the startFromHead parameter to false.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where, startFromHead=False, startTime=now() - 2 * HOUR, PaginationConfig={"PageSize": 2}),
          LINES[::-1])


@check("logs", "a search from the newest begins in 2024 or later", REFUSAL, page=API + "FilterLogEvents.html",
       says="A request with startFromHead set to false and a startTime before this date returns an "
            "InvalidParameterException.")
def _(aws):
    where = made_stream(aws)
    refused("InvalidParameterException", aws.logs.filter_log_events, logGroupName=where["logGroupName"],
            startFromHead=False, startTime=1_704_067_200_000 - 1, status=400)
