"""FilterLogEvents and the patterns of terms."""

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import API, HOUR, PATTERNS, made_group, made_stream, now, put, texts

LINES = ["[ERROR 1] EMPTY SAMPLE", "[ERROR 2] UNPAIRED SAMPLE", "[ERROR 3] MISSING READS", "[ERROR 4] SHORT READS",
         "[ERROR 5] OUT OF MEMORY", "[INFO] SAMPLE FAILED", "[WARN] UNPAIRED SAMPLE"]


def found(aws, where, pattern=None, **more):
    """The messages found, all pages together."""
    if pattern is not None:
        more["filterPattern"] = pattern
    pages = aws.logs.get_paginator("filter_log_events").paginate(logGroupName=where["logGroupName"], **more)
    return [message for page in pages for message in texts(page)]


def lines(aws):
    """A few messages, in a stream."""
    where = made_stream(aws)
    put(aws, where, *LINES)
    becomes(lambda: found(aws, where), LINES)
    return where


@check("logs", "without a pattern all is found", page=API + "FilterLogEvents.html",
       says="Without a filterPattern every event matches.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where), LINES)
    equal(found(aws, where, ""), LINES)


@check("logs", "a pattern of one term", page=PATTERNS,
       says="A pattern of one word finds the messages that have it.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR"), LINES[:5])


@check("logs", "a pattern of several terms", page=PATTERNS,
       says="A pattern of several words finds the messages that have all of them.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR READS"), LINES[2:4])


@check("logs", "a pattern of optional terms", page=PATTERNS,
       says="Words with a question mark before them: a message needs one of them only.")
def _(aws):
    equal(found(aws, lines(aws), "?EMPTY ?INFO"), [LINES[0], LINES[5]])


@check("logs", "optional terms among others are ignored", page=PATTERNS,
       says="Beside other terms, terms with a question mark are ignored.")
def _(aws):
    equal(found(aws, lines(aws), "?ERROR ?READS SAMPLE"), [LINES[0], LINES[1], LINES[5], LINES[6]])


@check("logs", "a pattern of an exact phrase", page=PATTERNS,
       says="Words in double quotes are looked for as one phrase.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where, '"OUT OF MEMORY"'), [LINES[4]])
    equal(found(aws, where, '"MEMORY OUT"'), [])
    equal(found(aws, where, '"[ERROR 1]"'), LINES[:1])


@check("logs", "a pattern that excludes", page=PATTERNS,
       says="A word after a minus must not be in the message.")
def _(aws):
    equal(found(aws, lines(aws), "ERROR -READS"), [LINES[0], LINES[1], LINES[4]])


@check("logs", "patterns heed case", page=PATTERNS, says="A pattern heeds case.")
def _(aws):
    equal(found(aws, lines(aws), "error"), [])


@check("logs", "streams are searched together in the order of time", page=API + "FilterLogEvents.html",
       says="Events of several streams come mixed, whatever interleaved asks for.")
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
       says="eventId is an event's id.")
def _(aws):
    where = lines(aws)
    ids = lambda **more: {event["message"]: event["eventId"] for event in
                          aws.logs.filter_log_events(logGroupName=where["logGroupName"], **more)["events"]}
    whole, some = ids(), ids(filterPattern="UNPAIRED")
    equal(some, {line: whole[line] for line in (LINES[1], LINES[6])})


@check("logs", "some streams only", page=API + "FilterLogEvents.html",
       says="logStreamNames limits a search to these streams.")
def _(aws):
    group = made_group(aws)
    for name in ("run/a", "run/b", "other"):
        put(aws, made_stream(aws, group, name), name)
    where = {"logGroupName": group}
    becomes(lambda: sorted(found(aws, where)), ["other", "run/a", "run/b"])
    equal(found(aws, where, logStreamNames=["run/a"]), ["run/a"])
    equal(sorted(found(aws, where, logStreamNames=["run/a", "other"])), ["other", "run/a"])


@check("logs", "streams of a prefix only", page=API + "FilterLogEvents.html",
       says="logStreamNamePrefix limits a search to streams whose name begins so.")
def _(aws):
    group = made_group(aws)
    for name in ("run/a", "run/b", "other"):
        put(aws, made_stream(aws, group, name), name)
    where = {"logGroupName": group}
    becomes(lambda: sorted(found(aws, where)), ["other", "run/a", "run/b"])
    equal(sorted(found(aws, where, logStreamNamePrefix="run/")), ["run/a", "run/b"])


@check("logs", "streams by name or by prefix, not both", REFUSAL, page=API + "FilterLogEvents.html",
       says="logStreamNames together with logStreamNamePrefix is an InvalidParameterException.")
def _(aws):
    where = made_stream(aws)
    refused("InvalidParameterException", aws.logs.filter_log_events, logGroupName=where["logGroupName"],
            logStreamNames=["stream"], logStreamNamePrefix="str", status=400)


@check("logs", "a search has its last millisecond", page=API + "FilterLogEvents.html",
       says="endTime is inclusive here: only later events are left out.")
def _(aws):
    where = made_stream(aws)
    times = put(aws, where, *"abc")
    becomes(lambda: found(aws, where), list("abc"))
    equal(found(aws, where, endTime=times[1]), ["a", "b"])
    equal(found(aws, where, startTime=times[1]), ["b", "c"])


@check("logs", "a search comes in pages", page=API + "FilterLogEvents.html",
       says="limit is the most that a page has; a page may have fewer.")
def _(aws):
    where = lines(aws)
    pages = aws.logs.get_paginator("filter_log_events").paginate(
        logGroupName=where["logGroupName"], filterPattern="ERROR", PaginationConfig={"PageSize": 2})
    paged = [texts(page) for page in pages]
    equal(sum(paged, []), LINES[:5])
    true(max(map(len, paged)) <= 2, f"two a page at most: {paged}")


@check("logs", "searched streams are no longer told", page=API + "FilterLogEvents.html",
       says="searchedLogStreams is an empty list since May 15, 2020.")
def _(aws):
    where = lines(aws)
    equal(aws.logs.filter_log_events(logGroupName=where["logGroupName"]).get("searchedLogStreams", []), [])


@check("logs", "a search from the newest", page=API + "FilterLogEvents.html",
       says="startFromHead=false gives the newest events first, by their timestamps.")
def _(aws):
    where = lines(aws)
    equal(found(aws, where, startFromHead=False, startTime=now() - 2 * HOUR, PaginationConfig={"PageSize": 2}),
          LINES[::-1])


@check("logs", "a search from the newest begins in 2024 or later", REFUSAL, page=API + "FilterLogEvents.html",
       says="With startFromHead=false a startTime before 2024 is an InvalidParameterException.")
def _(aws):
    where = made_stream(aws)
    refused("InvalidParameterException", aws.logs.filter_log_events, logGroupName=where["logGroupName"],
            startFromHead=False, startTime=1_704_067_200_000 - 1, status=400)
