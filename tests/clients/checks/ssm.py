"""Systems Manager: the public parameters that hold AMIs' ids."""

import json

from . import REFUSAL, check, contains, equal, refused, ssm_own, true  # noqa: F401

API = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_"
RETRIEVE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html"
X86 = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended"
ARM = "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended"


def value(aws, name):
    [parameter] = aws.ssm.get_parameters(Names=[name])["Parameters"]
    equal((parameter["Name"], parameter["Type"]), (name, "String"))
    return parameter["Value"]


@check("ssm", "the image's id for x86-64", page=RETRIEVE,
       says="The parameter image_id below the recommended Amazon Linux 2023 parameter is the AMI's id alone.")
def _(aws):
    true(value(aws, X86 + "/image_id").startswith("ami-"), "an AMI's id")


@check("ssm", "the image's id for arm64 is another", page=RETRIEVE,
       says="Images for arm64 have parameters of their own, with arm64 in the path.")
def _(aws):
    arm = value(aws, ARM + "/image_id")
    true(arm.startswith("ami-") and arm != value(aws, X86 + "/image_id"), arm)


@check("ssm", "the images' metadata are JSON", page=RETRIEVE,
       says="""The parameter of an ECS-optimized image has its AMI id, name, operating system, agent version, source image
       and runtime version.""")
def _(aws):
    for name in (X86, ARM):
        whole = json.loads(value(aws, name))
        equal(whole["image_id"], value(aws, name + "/image_id"))
        for part in ("image_name", "os", "ecs_agent_version", "ecs_runtime_version"):
            true(whole[part], f"{name} says its {part}")
            equal(value(aws, f"{name}/{part}"), whole[part], part)


@check("ssm", "EC2 knows the images", page=RETRIEVE,
       says="The ids that Parameter Store gives for ECS-optimized images are of AMIs that there are.")
def _(aws):
    ids = {value(aws, X86 + "/image_id"): "x86_64", value(aws, ARM + "/image_id"): "arm64"}
    images = aws.ec2.describe_images(ImageIds=list(ids))["Images"]
    equal({image["ImageId"]: image["Architecture"] for image in images}, ids)


@check("ssm", "names that there are not are told apart", page=API + "GetParameters.html",
       says="GetParameters puts the names that it cannot give into InvalidParameters.")
def _(aws):
    answer = aws.ssm.get_parameters(Names=[X86 + "/image_id", "/none/such"])
    equal([one["Name"] for one in answer["Parameters"]], [X86 + "/image_id"])
    equal(answer["InvalidParameters"], ["/none/such"])


@check("ssm", "parameters come in the alphabet's order", page=API + "GetParameters.html",
       says="GetParameters answers in alphabetical order.")
def _(aws):
    names = [X86 + "/image_id", ARM + "/image_id", X86]
    equal([one["Name"] for one in aws.ssm.get_parameters(Names=names)["Parameters"]], sorted(names))


@check("ssm", "a version is asked by its number", page=API + "GetParameters.html",
       says="A name followed by a colon and a number asks for that version.")
def _(aws):
    now = aws.ssm.get_parameter(Name=X86 + "/image_id")["Parameter"]
    one = aws.ssm.get_parameter(Name=f"{X86}/image_id:{now['Version']}")["Parameter"]
    equal((one["Name"], one["Value"], one["Version"]), (now["Name"], now["Value"], now["Version"]))


@check("ssm", "a version that there is not", REFUSAL, page=API + "GetParameter.html",
       says="ParameterVersionNotFound is the code for a version that the parameter does not have.")
def _(aws):
    refused("ParameterVersionNotFound", aws.ssm.get_parameter, Name=X86 + "/image_id:999999", status=400)


@check("ssm", "one parameter", page=API + "GetParameter.html",
       says="GetParameter gives one parameter by its name.")
def _(aws):
    one = aws.ssm.get_parameter(Name=X86 + "/image_id")["Parameter"]
    equal((one["Name"], one["Type"], one["Value"]), (X86 + "/image_id", "String", value(aws, X86 + "/image_id")))
    contains(one["ARN"], f"parameter{X86}/image_id")
    true(one["Version"] >= 1 and one["LastModifiedDate"], "a version and its date")


@check("ssm", "a parameter that there is not", REFUSAL, page=API + "GetParameter.html",
       says="ParameterNotFound is the code for a name that no parameter has.")
def _(aws):
    refused("ParameterNotFound", aws.ssm.get_parameter, Name="/none/such", status=400)


@check("ssm", "spaces about a name are removed", page=API + "GetParameter.html",
       says="Spaces before and after a parameter's name do not count.")
def _(aws):
    equal(aws.ssm.get_parameter(Name=f" {X86}/image_id ")["Parameter"]["Name"], X86 + "/image_id")


@check("ssm", "no spaces in a name", REFUSAL, page=API + "GetParameter.html",
       says="A space inside a parameter's name is a ValidationException.")
def _(aws):
    refused("ValidationException", aws.ssm.get_parameter, Name="/none/such thing", status=400)
    refused("ValidationException", aws.ssm.get_parameters, Names=["/none/such thing"], status=400)


def below(aws, path, **more):
    pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=path, **more)
    return [one["Name"] for page in pages for one in page["Parameters"]]


@check("ssm", "parameters below a path", page=API + "GetParametersByPath.html",
       says="GetParametersByPath gives the parameters below a level of the hierarchy.")
def _(aws):
    for path in (X86, X86 + "/"):
        found = below(aws, path)
        contains(found, X86 + "/image_id")
        true(all(name.startswith(X86 + "/") for name in found), f"only what is below: {found}")
        true(X86 not in found, "not the path itself")


@check("ssm", "one level, or the whole hierarchy", page=API + "GetParametersByPath.html",
       says="Recursive brings all levels below the path, not the first one alone.")
def _(aws):
    root = X86.removesuffix("/recommended")
    level, whole = below(aws, root), below(aws, root, Recursive=True)
    equal([name for name in level if name.count("/") != root.count("/") + 1], [])
    contains(level, X86)
    for name in (X86, X86 + "/image_id", ARM, ARM + "/image_id"):
        contains(whole, name)


@check("ssm", "parameters below a path come in pages", page=API + "GetParametersByPath.html",
       says="With MaxResults a page has no more than that many.")
def _(aws):
    first = aws.ssm.get_parameters_by_path(Path=X86, MaxResults=2)
    true(len(first["Parameters"]) <= 2 and first["NextToken"], "two at most, and a token")
    found = below(aws, X86, PaginationConfig={"PageSize": 2})
    equal(sorted(found), sorted(below(aws, X86)))
    equal(len(found), len(set(found)), "none twice")


@check("ssm", "a path begins with a slash", REFUSAL, page=API + "GetParametersByPath.html",
       says="A path of the hierarchy begins with a slash.")
def _(aws):
    refused("ValidationException", aws.ssm.get_parameters_by_path, Path="aws/service", status=400)


@check("ssm", "a token that was never given", REFUSAL, page=API + "GetParametersByPath.html",
       says="InvalidNextToken is the code for a token that the service did not give.")
def _(aws):
    refused(("InvalidNextToken", "ValidationException"), aws.ssm.get_parameters_by_path, Path=X86, NextToken="none",
            status=400)
