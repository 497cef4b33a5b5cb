"""Log groups and their retention."""

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import API, HOUR, described, made_group, now

ALLOWED = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]


@check("logs", "a log group is described", page=API + "LogGroup.html",
       says="creationTime is in milliseconds since 1970 began in UTC.")
def _(aws):
    name = made_group(aws)
    becomes(lambda: described(aws, name)["logGroupName"], name)
    group = described(aws, name)
    true(abs(group["creationTime"] - now()) < HOUR, f"made just now: {group['creationTime']}")
    equal(group["storedBytes"], 0)


@check("logs", "a log group's two ARNs", page=API + "LogGroup.html",
       says="logGroupArn is the group's ARN without the :* at the end, which arn has.")
def _(aws):
    name = made_group(aws)
    arn = f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{name}"
    group = described(aws, name)
    equal((group["logGroupArn"], group["arn"]), (arn, arn + ":*"))


@check("logs", "a log group is of the standard class", page=API + "CreateLogGroup.html",
       says="A log group's class is STANDARD where none is given.")
def _(aws):
    equal(described(aws, made_group(aws))["logGroupClass"], "STANDARD")


@check("logs", "events do not expire by default", page=API + "CreateLogGroup.html",
       says="A log group made without a retention keeps its events for ever.")
def _(aws):
    equal("retentionInDays" in described(aws, made_group(aws)), False)


@check("logs", "a log group's name is taken once", REFUSAL, page=API + "CreateLogGroup.html",
       says="A log group's name is unique in its account and region.")
def _(aws):
    name = made_group(aws)
    refused("ResourceAlreadyExistsException", aws.logs.create_log_group, logGroupName=name, status=400)
    made_group(aws, name.upper())


@check("logs", "a log group's name has some characters only", REFUSAL, page=API + "CreateLogGroup.html",
       says="A log group's name has letters a-z and A-Z, digits and _ - / . # only.")
def _(aws):
    for wrong in (" ", ":", "*", "é"):
        name = aws.name("g") + wrong
        aws.after(aws.logs.delete_log_group, logGroupName=name)
        refused("InvalidParameterException", aws.logs.create_log_group, logGroupName=name, status=400)
    made_group(aws, "/" + aws.name("A_z-0.9#"))


@check("logs", "a log group's name is 512 characters long at most", REFUSAL, page=API + "CreateLogGroup.html",
       says="A log group's name is from 1 to 512 characters long.")
def _(aws):
    longest = aws.name("g").ljust(512, "x")
    refused("InvalidParameterException", aws.logs.create_log_group, logGroupName=longest + "x", status=400)
    made_group(aws, longest)


@check("logs", "a log group's name does not begin as AWS's do", REFUSAL, page=API + "CreateLogGroup.html",
       says="A log group's name does not begin with aws/.")
def _(aws):
    name = "aws/" + aws.name("g")
    aws.after(aws.logs.delete_log_group, logGroupName=name)
    refused("InvalidParameterException", aws.logs.create_log_group, logGroupName=name, status=400)


@check("logs", "log groups are sorted by name", page=API + "DescribeLogGroups.html",
       says="DescribeLogGroups sorts by name, in the order of ASCII.")
def _(aws):
    root = aws.name("sorted")
    for end in ("b", "B", "a", "-"):
        made_group(aws, root + end)
    becomes(lambda: [one["logGroupName"] for one in aws.logs.describe_log_groups(logGroupNamePrefix=root)["logGroups"]],
            [root + "-", root + "B", root + "a", root + "b"])
    equal(aws.logs.describe_log_groups(logGroupNamePrefix=root + "/none")["logGroups"], [])


@check("logs", "a pattern is a part of the name", page=API + "DescribeLogGroups.html",
       says="logGroupNamePattern finds groups with the text anywhere in their name, and heeds case.")
def _(aws):
    part = aws.name("Part")
    made_group(aws, "/before/" + part)
    made_group(aws, part + "/after")
    made_group(aws, part.lower())
    becomes(lambda: [one["logGroupName"] for one in aws.logs.describe_log_groups(logGroupNamePattern=part)["logGroups"]],
            ["/before/" + part, part + "/after"])


@check("logs", "a pattern brings less", page=API + "DescribeLogGroups.html",
       says="With logGroupNamePattern a group has arn, creationTime and logGroupName only.")
def _(aws):
    name = made_group(aws)
    aws.logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    found = lambda: aws.logs.describe_log_groups(logGroupNamePattern=name)["logGroups"]
    becomes(lambda: [sorted(one) for one in found()], [["arn", "creationTime", "logGroupName"]])


@check("logs", "a prefix or a pattern, not both", REFUSAL, page=API + "DescribeLogGroups.html",
       says="logGroupNamePattern and logGroupNamePrefix exclude each other.")
def _(aws):
    refused("InvalidParameterException", aws.logs.describe_log_groups, logGroupNamePrefix="a", logGroupNamePattern="b",
            status=400)


@check("logs", "log groups come in pages", page=API + "DescribeLogGroups.html",
       says="DescribeLogGroups goes on from the nextToken of the answer before.")
def _(aws):
    root = aws.name("paged")
    names = sorted(made_group(aws, f"{root}/{number}") for number in range(5))
    pages = aws.logs.get_paginator("describe_log_groups")
    paged = lambda: [[one["logGroupName"] for one in page["logGroups"]] for page in
                     pages.paginate(logGroupNamePrefix=root, PaginationConfig={"PageSize": 2})]
    becomes(lambda: sum(paged(), []), names)
    equal(max(map(len, paged())), 2, "on a page")


@check("logs", "a page of log groups may be small", page=API + "DescribeLogGroups.html",
       says="A page of DescribeLogGroups has 50 groups at most unless limit says otherwise.")
def _(aws):
    aws.settings(page=1)
    root = aws.name("paged")
    names = sorted(made_group(aws, f"{root}/{number}") for number in range(3))
    pages = list(aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=root))
    equal([one["logGroupName"] for page in pages for one in page["logGroups"]], names)
    equal(len(pages), 3)


@check("logs", "retention is set", page=API + "PutRetentionPolicy.html",
       says="PutRetentionPolicy sets for how many days a group keeps its events.")
def _(aws):
    name = made_group(aws)
    for days in ALLOWED:
        aws.logs.put_retention_policy(logGroupName=name, retentionInDays=days)
        becomes(lambda: described(aws, name).get("retentionInDays"), days)


@check("logs", "retention has some values only", REFUSAL, page=API + "PutRetentionPolicy.html",
       says="""retentionInDays is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192,
       2557, 2922, 3288, 3653.""")
def _(aws):
    name = made_group(aws)
    for days in (0, 2, 91, 3654):
        refused("InvalidParameterException", aws.logs.put_retention_policy, logGroupName=name, retentionInDays=days,
                status=400)
    equal("retentionInDays" in described(aws, name), False)


@check("logs", "retention is taken away", page=API + "DeleteRetentionPolicy.html",
       says="DeleteRetentionPolicy takes the retention away; events then do not expire.")
def _(aws):
    name = made_group(aws)
    aws.logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    aws.logs.delete_retention_policy(logGroupName=name)
    becomes(lambda: "retentionInDays" in described(aws, name), False)


@check("logs", "a log group that is not there", REFUSAL, page=API + "PutRetentionPolicy.html",
       says="ResourceNotFoundException is the code for a log group that does not exist.")
def _(aws):
    name = aws.name("none")
    refused("ResourceNotFoundException", aws.logs.put_retention_policy, logGroupName=name, retentionInDays=7, status=400)
    refused("ResourceNotFoundException", aws.logs.delete_retention_policy, logGroupName=name, status=400)
    refused("ResourceNotFoundException", aws.logs.delete_log_group, logGroupName=name, status=400)
    refused("ResourceNotFoundException", aws.logs.describe_log_streams, logGroupName=name, status=400)


@check("logs", "a deleted log group is gone with its events", REFUSAL, page=API + "DeleteLogGroup.html",
       says="DeleteLogGroup deletes a group with all events in it, for good.")
def _(aws):
    name = made_group(aws)
    aws.logs.create_log_stream(logGroupName=name, logStreamName="stream")
    aws.logs.delete_log_group(logGroupName=name)
    becomes(lambda: aws.logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"], [])
    refused("ResourceNotFoundException", aws.logs.get_log_events, logGroupName=name, logStreamName="stream", status=400)
