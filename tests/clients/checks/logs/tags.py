"""Tags of log groups, by either of the two sets of operations."""

from .. import REFUSAL, becomes, check, equal, refused
from .made import API, described, made_group


def tags(aws, name):
    return aws.logs.list_tags_for_resource(resourceArn=described(aws, name)["logGroupArn"])["tags"]


@check("logs", "a log group is made with tags", page=API + "ListTagsForResource.html",
       says="ListTagsForResource gives the tags of a log group.")
def _(aws):
    name = made_group(aws, tags={"a": "1", "b": ""})
    becomes(lambda: tags(aws, name), {"a": "1", "b": ""})


@check("logs", "a tag's value is replaced", page=API + "TagResource.html",
       says="TagResource with a key that is there already replaces its value.")
def _(aws):
    name = made_group(aws, tags={"kept": "1", "changed": "1"})
    aws.logs.tag_resource(resourceArn=described(aws, name)["logGroupArn"], tags={"changed": "2", "added": "2"})
    becomes(lambda: tags(aws, name), {"kept": "1", "changed": "2", "added": "2"})


@check("logs", "tags are taken away", page=API + "UntagResource.html",
       says="UntagResource removes tags by key.")
def _(aws):
    name = made_group(aws, tags={"a": "1", "b": "2", "c": "3"})
    aws.logs.untag_resource(resourceArn=described(aws, name)["logGroupArn"], tagKeys=["a", "c"])
    becomes(lambda: tags(aws, name), {"b": "2"})


@check("logs", "the older operations see the same tags", page=API + "ListTagsLogGroup.html",
       says="ListTagsLogGroup gives a log group's tags.")
def _(aws):
    name = made_group(aws, tags={"a": "1"})
    becomes(lambda: aws.logs.list_tags_log_group(logGroupName=name)["tags"], {"a": "1"})


@check("logs", "the older operation adds and updates", page=API + "TagLogGroup.html",
       says="TagLogGroup adds tags and changes those that are there.")
def _(aws):
    name = made_group(aws, tags={"kept": "1", "changed": "1"})
    aws.logs.tag_log_group(logGroupName=name, tags={"changed": "2", "added": "2"})
    becomes(lambda: tags(aws, name), {"kept": "1", "changed": "2", "added": "2"})


@check("logs", "the older operation takes away", page=API + "UntagLogGroup.html",
       says="UntagLogGroup takes keys, and removes their tags.")
def _(aws):
    name = made_group(aws, tags={"a": "1", "b": "2"})
    aws.logs.untag_log_group(logGroupName=name, tags=["a"])
    becomes(lambda: tags(aws, name), {"b": "2"})


@check("logs", "fifty tags at most", REFUSAL, page=API + "TagResource.html",
       says="A resource has 50 tags at most.")
def _(aws):
    name = made_group(aws, tags={f"k{number}": "v" for number in range(49)})
    refused("TooManyTagsException", aws.logs.tag_resource, resourceArn=described(aws, name)["logGroupArn"],
            tags={"a": "1", "b": "2"}, status=400)
    equal(len(tags(aws, name)), 49)


@check("logs", "tags of a log group that is not there", REFUSAL, page=API + "TagResource.html",
       says="ResourceNotFoundException is the code for a resource that does not exist.")
def _(aws):
    name = aws.name("none")
    arn = f"arn:aws:logs:{aws.region}:{aws.account}:log-group:{name}"
    refused("ResourceNotFoundException", aws.logs.tag_resource, resourceArn=arn, tags={"a": "1"}, status=400)
    refused("ResourceNotFoundException", aws.logs.untag_resource, resourceArn=arn, tagKeys=["a"], status=400)
    refused("ResourceNotFoundException", aws.logs.list_tags_for_resource, resourceArn=arn, status=400)
    refused("ResourceNotFoundException", aws.logs.tag_log_group, logGroupName=name, tags={"a": "1"}, status=400)
    refused("ResourceNotFoundException", aws.logs.list_tags_log_group, logGroupName=name, status=400)
