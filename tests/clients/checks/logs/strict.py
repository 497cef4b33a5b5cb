"""CloudWatch Logs: ARNs that are none here, orders that there are not, and what is refused rather than left out."""

from .. import REFUSAL, check, contains, equal, refused, true
from .made import API, described, made_group, made_stream


@check("logs", "the ARN that ends in a star is no ARN for tags", REFUSAL, page=API + "LogGroup.html",
       says="Of the two ARNs that a group is shown with, tags are given by the one without the star.")
def _(aws):
    group = made_group(aws)
    shown = described(aws, group)
    refused("ValidationException", aws.logs.tag_resource, resourceArn=shown["arn"], tags={"a": "b"})
    refused("ValidationException", aws.logs.list_tags_for_resource, resourceArn=shown["arn"])
    refused("ValidationException", aws.logs.untag_resource, resourceArn=shown["arn"], tagKeys=["a"])
    aws.logs.tag_resource(resourceArn=shown["logGroupArn"], tags={"a": "b"})
    equal(aws.logs.list_tags_for_resource(resourceArn=shown["logGroupArn"])["tags"], {"a": "b"})


@check("logs", "the ARN that ends in a star identifies no group", REFUSAL, page=API + "GetLogEvents.html",
       says="An identifier is a name or an ARN, neither of which has a star in it.")
def _(aws):
    where = made_stream(aws)
    shown = described(aws, where["logGroupName"])
    for call, more in ((aws.logs.describe_log_streams, {}), (aws.logs.filter_log_events, {}),
                       (aws.logs.get_log_events, {"logStreamName": where["logStreamName"]})):
        refused("InvalidParameterException", call, logGroupIdentifier=shown["arn"], **more)
        call(logGroupIdentifier=shown["logGroupArn"], **more)


@check("logs", "a group is named by its name or by its identifier", REFUSAL, page=API + "DescribeLogStreams.html",
       says="A request has the group's name or its identifier, and not both.")
def _(aws):
    group = made_group(aws)
    refused("ValidationException", aws.logs.describe_log_streams, logGroupName=group, logGroupIdentifier=group)


@check("logs", "streams are ordered by their names or their last events", REFUSAL, page=API + "DescribeLogStreams.html",
       says="There are two orders of streams, and no third.")
def _(aws):
    group = made_group(aws)
    for wrong in ("", "sth", "LogStreamname"):
        refused("InvalidParameterException", aws.logs.describe_log_streams, logGroupName=group, orderBy=wrong)


@check("logs", "no stream shows an upload's token", page=API + "LogStream.html",
       says="Tokens of uploads are a thing of the past.")
def _(aws):
    where = made_stream(aws)
    [stream] = aws.logs.describe_log_streams(logGroupName=where["logGroupName"])["logStreams"]
    true("uploadSequenceToken" not in stream, str(stream))


@check("logs", "what a group would not be is refused by its name", REFUSAL, page=API + "CreateLogGroup.html",
       says="Each of these members changes what the group is; none may be left out unsaid.")
def _(aws):
    key = f"arn:aws:kms:{aws.region}:123456789012:key/0d2f6a18-5b7c-4e93-a1d0-3c9b8e7f6a54"
    for name, value in {"kmsKeyId": key, "logGroupClass": "INFREQUENT_ACCESS"}.items():
        group = aws.name("group")
        aws.after(aws.logs.delete_log_group, logGroupName=group)
        answer = refused("InvalidParameterException", aws.logs.create_log_group, logGroupName=group, **{name: value})
        contains(answer["Error"]["Message"], name)
