"""Clusters, and the tags of what ECS keeps."""

from . import DELAY, REFUSAL, check, equal, eventually, refused, true
from .ecs_world import API, cluster, definition, host, run

CREATE, DESCRIBE, DELETE = API + "API_CreateCluster.html", API + "API_DescribeClusters.html", API + "API_DeleteCluster.html"
LIST, SHOWN = API + "API_ListClusters.html", API + "API_Cluster.html"


def described(aws, name, **more):
    return aws.ecs.describe_clusters(clusters=[name], **more)["clusters"][0]


@check("ecs", "a new cluster is active and empty", page=SHOWN,
       says="A cluster that is ACTIVE takes tasks, and container instances can register in it.")
def _(aws):
    name = cluster(aws)
    shown = described(aws, name)
    equal((shown["clusterName"], shown["status"]), (name, "ACTIVE"))
    true(shown["clusterArn"].endswith(f":cluster/{name}"), shown["clusterArn"])
    equal([shown[count] for count in ("registeredContainerInstancesCount", "runningTasksCount", "pendingTasksCount",
                                      "activeServicesCount")], [0, 0, 0, 0])


@check("ecs", "a cluster's name has a limit of length", REFUSAL, page=CREATE,
       says="A cluster's name has 255 characters at most.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.create_cluster, clusterName="a" * 256)


@check("ecs", "a cluster's name has an alphabet", REFUSAL, page=CREATE,
       says="A cluster's name has letters, digits, - and _ only.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.create_cluster, clusterName=aws.name("a") + ".b c")


@check("ecs", "creating a cluster that is there makes no second one", page=CREATE,
       says="A cluster's name is unique: to create it again makes no second one.")
def _(aws):
    name = cluster(aws)
    again = aws.ecs.create_cluster(clusterName=name)["cluster"]
    equal((again["clusterName"], again["status"]), (name, "ACTIVE"))
    pages = aws.ecs.get_paginator("list_clusters").paginate()
    equal(sum(arn.endswith("/" + name) for page in pages for arn in page["clusterArns"]), 1, "clusters of that name")


@check("ecs", "a cluster that is not there is a failure of the description", REFUSAL,
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html",
       says="MISSING is the reason in failures for a cluster that there is not.")
def _(aws):
    name, missing = cluster(aws), aws.name("none")
    answer = aws.ecs.describe_clusters(clusters=[name, missing])
    equal([one["clusterName"] for one in answer["clusters"]], [name])
    equal([(one["arn"].rsplit("/", 1)[-1], one["reason"]) for one in answer["failures"]], [(missing, "MISSING")])


@check("ecs", "a cluster is described by its ARN too", page=DESCRIBE,
       says="DescribeClusters takes up to 100 names or ARNs.")
def _(aws):
    name = cluster(aws)
    equal(described(aws, described(aws, name)["clusterArn"])["clusterName"], name)


@check("ecs", "a cluster's tags are described on request only", page=DESCRIBE,
       says="include=TAGS adds a cluster's tags.")
def _(aws):
    name = cluster(aws, tags=[{"key": "team", "value": "reads"}])
    equal(described(aws, name, include=["TAGS"])["tags"], [{"key": "team", "value": "reads"}])
    equal(described(aws, name).get("tags", []), [], "without TAGS")


@check("ecs", "a cluster's settings are described on request only", page=DESCRIBE,
       says="include=SETTINGS adds a cluster's settings.")
def _(aws):
    name = cluster(aws, settings=[{"name": "containerInsights", "value": "enabled"}])
    equal(described(aws, name, include=["SETTINGS"])["settings"], [{"name": "containerInsights", "value": "enabled"}])
    equal(described(aws, name).get("settings", []), [], "without SETTINGS")


@check("ecs", "clusters are listed in pages", page=LIST,
       says="With maxResults, ListClusters gives that many at most, and a nextToken for the rest.")
def _(aws):
    mine = {cluster(aws) for _ in range(3)}
    pages = list(aws.ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 1}))
    true(all(len(page["clusterArns"]) <= 1 for page in pages), "no page has more than one")
    listed = [arn.rsplit("/", 1)[-1] for page in pages for arn in page["clusterArns"]]
    equal({name for name in listed if name in mine}, mine)
    equal(len(listed), len(set(listed)), "nothing twice")


@check("ecs", "a page has at most a hundred", REFUSAL, page=LIST, says="maxResults is from 1 to 100.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.list_clusters, maxResults=101)


@check("ecs", "a listing's token is none of the caller's making", REFUSAL, page=LIST,
       says="nextToken is opaque: only one that ListClusters gave means anything.")
def _(aws):
    refused(("InvalidParameterException", "ClientException"), aws.ecs.list_clusters, nextToken="no such token")


@check("ecs", "a deleted cluster is inactive", page=DELETE, says="A deleted cluster becomes INACTIVE.")
def _(aws):
    name = cluster(aws)
    equal(aws.ecs.delete_cluster(cluster=name)["cluster"]["status"], "INACTIVE")
    answer = aws.ecs.describe_clusters(clusters=[name])
    found = [one["status"] for one in answer["clusters"]] or [one["reason"] for one in answer["failures"]]
    true(found in (["INACTIVE"], ["MISSING"]), f"inactive, or forgotten: {found}")


@check("ecs", "a deleted cluster runs nothing", REFUSAL, page=API + "API_RunTask.html",
       says="ClusterNotFoundException is the code for a cluster that there is not.")
def _(aws):
    name, made = cluster(aws), definition(aws)
    aws.ecs.delete_cluster(cluster=name)
    refused("ClusterNotFoundException", aws.ecs.run_task, cluster=name, taskDefinition=made["family"])
    true(not any(arn.endswith("/" + name) for page in aws.ecs.get_paginator("list_clusters").paginate()
                 for arn in page["clusterArns"]), "it is not listed")


@check("ecs", "a deleted cluster's name can be used again", page=DELETE,
       says="An INACTIVE cluster may go on being shown for a while; its name is free.")
def _(aws):
    name = cluster(aws, tags=[{"key": "first", "value": "yes"}])
    aws.ecs.delete_cluster(cluster=name)
    aws.ecs.create_cluster(clusterName=name)
    shown = described(aws, name, include=["TAGS"])
    equal((shown["status"], shown["tags"]), ("ACTIVE", []))


@check("ecs", "a cluster that is not there cannot be deleted", REFUSAL, page=DELETE,
       says="ClusterNotFoundException is the code for a cluster that there is not.")
def _(aws):
    refused("ClusterNotFoundException", aws.ecs.delete_cluster, cluster=aws.name("none"))


@check("ecs", "a cluster with instances cannot be deleted", REFUSAL, page=DELETE,
       says="A cluster is deleted only after its container instances are deregistered.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    refused("ClusterContainsContainerInstancesException", aws.ecs.delete_cluster, cluster=name)
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    equal(aws.ecs.delete_cluster(cluster=name)["cluster"]["status"], "INACTIVE")


@check("ecs", "a cluster with tasks cannot be deleted", REFUSAL, page=DELETE,
       says="A cluster with active tasks is not deleted.")
def _(aws):
    name = cluster(aws)
    host(aws, name)
    run(aws, name, definition(aws))
    # Its instance is in the way too, and no page says which of the two is named first.
    refused(("ClusterContainsTasksException", "ClusterContainsContainerInstancesException"),
            aws.ecs.delete_cluster, cluster=name)


@check("ecs", "a cluster counts the instances registered in it", DELAY, page=SHOWN,
       says="registeredContainerInstancesCount counts ACTIVE and DRAINING instances.")
def _(aws):
    name = cluster(aws)
    _, arn = host(aws, name)
    count = lambda: described(aws, name)["registeredContainerInstancesCount"]
    eventually(lambda: count() == 1, "one is registered")
    aws.ecs.update_container_instances_state(cluster=name, containerInstances=[arn], status="DRAINING")
    equal(count(), 1, "while it is draining")
    aws.ecs.deregister_container_instance(cluster=name, containerInstance=arn, force=True)
    eventually(lambda: count() == 0, "none is registered")


TAG = API + "API_TagResource.html"


def tags(aws, arn):
    return {one["key"]: one["value"] for one in aws.ecs.list_tags_for_resource(resourceArn=arn)["tags"]}


@check("ecs", "tagging leaves the other tags as they are", page=TAG,
       says="TagResource leaves tags that it does not name.")
def _(aws):
    arn = described(aws, cluster(aws, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]))["clusterArn"]
    aws.ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "3"}, {"key": "c", "value": "4"}])
    equal(tags(aws, arn), {"a": "1", "b": "3", "c": "4"})


@check("ecs", "tags are removed by their keys", page=API + "API_UntagResource.html",
       says="UntagResource takes keys, and removes their tags.")
def _(aws):
    made = definition(aws, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    aws.ecs.untag_resource(resourceArn=made["taskDefinitionArn"], tagKeys=["a", "none"])
    equal(tags(aws, made["taskDefinitionArn"]), {"b": "2"})


@check("ecs", "a resource has at most fifty tags", REFUSAL, page=TAG, says="A resource has 50 tags at most.")
def _(aws):
    arn = described(aws, cluster(aws))["clusterArn"]
    many = [{"key": f"k{number}", "value": "v"} for number in range(30)]
    aws.ecs.tag_resource(resourceArn=arn, tags=many)
    more = [{"key": f"more{number}", "value": "v"} for number in range(30)]
    refused(("InvalidParameterException", "LimitExceededException"), aws.ecs.tag_resource, resourceArn=arn, tags=more)
    equal(len(tags(aws, arn)), 30, "nothing was added")


@check("ecs", "a tag's key is not AWS's own", REFUSAL, page=TAG,
       says="No tag's key or value begins with aws:, in whatever case; that is AWS's own.")
def _(aws):
    arn = described(aws, cluster(aws))["clusterArn"]
    refused(("InvalidParameterException", "ClientException"), aws.ecs.tag_resource, resourceArn=arn,
            tags=[{"key": "Aws:x", "value": "v"}])


@check("ecs", "what is not there cannot be tagged", REFUSAL, page=TAG, says="A resource to tag must exist.")
def _(aws):
    arn = definition(aws)["taskDefinitionArn"].rsplit("/", 1)[0] + "/" + aws.name("none") + ":1"
    refused(("ResourceNotFoundException", "InvalidParameterException", "ClientException"), aws.ecs.tag_resource,
            resourceArn=arn, tags=[{"key": "a", "value": "1"}])
