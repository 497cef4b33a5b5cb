"""Systems Manager: parameters of the account's own."""

import string

from . import REFUSAL, check, contains, equal, refused, true

API = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_"
NAMES = "https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html"


def put(aws, name=None, value="v", **more):
    """A parameter's name; it is deleted afterwards."""
    name = name or "/" + aws.name("own")
    more.setdefault("Type", "String")
    aws.ssm.put_parameter(Name=name, Value=value, **more)
    aws.after(aws.ssm.delete_parameter, Name=name)
    return name


def value(aws, name, **more):
    return aws.ssm.get_parameter(Name=name, **more)["Parameter"]["Value"]


@check("ssm", "a parameter is kept and read", page=API + "PutParameter.html",
       says="A new parameter is at its first version, in the standard tier.")
def _(aws):
    name = "/" + aws.name("own") + "/ami"
    aws.after(aws.ssm.delete_parameter, Name=name)
    made = aws.ssm.put_parameter(Name=name, Value="ami-0abc", Type="String", Description="of mine")
    equal((made["Version"], made["Tier"]), (1, "Standard"))
    one = aws.ssm.get_parameter(Name=name)["Parameter"]
    equal((one["Value"], one["Type"], one["Version"], one["DataType"]), ("ami-0abc", "String", 1, "text"))
    contains(one["ARN"], f":{aws.account}:parameter{name}")
    equal(value(aws, one["ARN"]), "ami-0abc", "by its ARN")
    equal([found["Value"] for found in aws.ssm.get_parameters(Names=[name])["Parameters"]], ["ami-0abc"])


@check("ssm", "a parameter is overwritten only where that is said", REFUSAL, page=API + "PutParameter.html",
       says="A parameter that is there is kept, unless it is to be overwritten; then it has one version more.")
def _(aws):
    name = put(aws, value="one")
    refused("ParameterAlreadyExists", aws.ssm.put_parameter, Name=name, Value="two", Type="String")
    equal(aws.ssm.put_parameter(Name=name, Value="two", Overwrite=True)["Version"], 2)
    equal((value(aws, name), value(aws, name + ":1")), ("two", "one"))
    refused("ParameterVersionNotFound", aws.ssm.get_parameter, Name=name + ":3")
    refused("HierarchyTypeMismatchException", aws.ssm.put_parameter, Name=name, Value="x", Type="StringList", Overwrite=True)


@check("ssm", "a new parameter has a type", REFUSAL, page=API + "PutParameter.html",
       says="A parameter that is not there yet is made with its type.")
def _(aws):
    refused("ValidationException", aws.ssm.put_parameter, Name="/" + aws.name("own"), Value="v")


@check("ssm", "a list of texts is one value", page=API + "PutParameter.html",
       says="A list is written with commas, and read so.")
def _(aws):
    name = put(aws, value="a,b", Type="StringList")
    one = aws.ssm.get_parameter(Name=name)["Parameter"]
    equal((one["Value"], one["Type"]), ("a,b", "StringList"))


@check("ssm", "a secret is open to who asks for it", page=API + "GetParameter.html",
       says="A secret is told in the clear only where its decryption is asked for.")
def _(aws):
    name = put(aws, value="hidden", Type="SecureString")
    equal(value(aws, name, WithDecryption=True), "hidden")
    true("hidden" not in value(aws, name), "it is not in the clear")
    true("hidden" not in str(aws.ssm.get_parameters(Names=[name])["Parameters"]), "nor in a list")


@check("ssm", "names have a form", REFUSAL, page=NAMES,
       says="A name has letters, numbers and .-_/, begins with neither aws nor ssm, and with a slash where it has levels.")
def _(aws):
    stem = aws.name("own")
    for wrong in ("/aws/" + stem, "ssm" + stem, "AWS" + stem, stem + "/b", "/" + stem + "?", "/" + stem + "/ x"):
        refused(("ValidationException", "AccessDeniedException"), aws.ssm.put_parameter, Name=wrong, Value="v", Type="String")
    levels = "/" + "/".join([stem, *string.ascii_lowercase[:14]])
    put(aws, levels)
    refused("HierarchyLevelLimitExceededException", aws.ssm.put_parameter, Name=levels + "/z", Value="v", Type="String")


@check("ssm", "a standard parameter has four KiB", REFUSAL, page=NAMES,
       says="A value of the standard tier is of 4096 characters at most.")
def _(aws):
    put(aws, value="x" * 4096)
    refused("ValidationException", aws.ssm.put_parameter, Name="/" + aws.name("own"), Value="x" * 4097, Type="String")


@check("ssm", "own parameters are below their paths", page=API + "GetParametersByPath.html",
       says="A path gives what is below it, one level or all.")
def _(aws):
    root = "/" + aws.name("root")
    names = [put(aws, f"{root}/{rest}") for rest in ("a", "b/c", "b/d")]
    below = lambda **more: [one["Name"] for one in aws.ssm.get_parameters_by_path(Path=root, **more)["Parameters"]]
    equal(below(), names[:1])
    equal(below(Recursive=True), names)


@check("ssm", "a label selects a version", page=API + "LabelParameterVersion.html",
       says="A label is of one version at a time, and moves; what may be no label is told.")
def _(aws):
    name = put(aws, value="one")
    aws.ssm.put_parameter(Name=name, Value="two", Overwrite=True)
    equal(aws.ssm.label_parameter_version(Name=name, ParameterVersion=1, Labels=["good", "9bad"])["InvalidLabels"], ["9bad"])
    equal(value(aws, name + ":good"), "one")
    aws.ssm.label_parameter_version(Name=name, Labels=["good"])
    equal(value(aws, name + ":good"), "two")
    history = aws.ssm.get_parameter_history(Name=name)["Parameters"]
    equal([(one["Version"], one["Labels"]) for one in history], [(1, []), (2, ["good"])])
    equal(aws.ssm.unlabel_parameter_version(Name=name, ParameterVersion=2, Labels=["good"])["RemovedLabels"], ["good"])
    refused("ParameterVersionNotFound", aws.ssm.get_parameter, Name=name + ":good")


@check("ssm", "a version has ten labels", REFUSAL, page=API + "LabelParameterVersion.html", says="Ten labels, and no eleventh.")
def _(aws):
    name = put(aws)
    aws.ssm.label_parameter_version(Name=name, Labels=[f"l{n}" for n in range(10)])
    refused("ParameterVersionLabelLimitExceeded", aws.ssm.label_parameter_version, Name=name, Labels=["more"])


@check("ssm", "a hundred versions are kept", REFUSAL, page=API + "PutParameter.html",
       says="The oldest of a hundred versions goes with the next one, unless it has a label.")
def _(aws):
    name = put(aws)
    for n in range(2, 102):
        equal(aws.ssm.put_parameter(Name=name, Value=str(n), Overwrite=True)["Version"], n)
    refused("ParameterVersionNotFound", aws.ssm.get_parameter, Name=name + ":1")
    aws.ssm.label_parameter_version(Name=name, ParameterVersion=2, Labels=["kept"])
    refused("ParameterMaxVersionLimitExceeded", aws.ssm.put_parameter, Name=name, Value="x", Overwrite=True)


@check("ssm", "a parameter that is deleted is gone", page=API + "DeleteParameter.html",
       says="What was deleted cannot be read, nor deleted again.")
def _(aws):
    names = [put(aws), put(aws)]
    aws.ssm.delete_parameter(Name=names[0])
    refused("ParameterNotFound", aws.ssm.get_parameter, Name=names[0])
    refused("ParameterNotFound", aws.ssm.delete_parameter, Name=names[0])
    answer = aws.ssm.delete_parameters(Names=names)
    equal((answer["DeletedParameters"], answer["InvalidParameters"]), (names[1:], names[:1]))


@check("ssm", "own parameters are described without their values", page=API + "DescribeParameters.html",
       says="What a parameter is can be known without what it says.")
def _(aws):
    name = put(aws, value="hidden", Description="of mine")
    named = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
    [one] = aws.ssm.describe_parameters(ParameterFilters=named)["Parameters"]
    equal((one["Name"], one["Type"], one["Description"], one["Version"]), (name, "String", "of mine", 1))
    true("hidden" not in str(one), "no value")
    refused("InvalidFilterKey", aws.ssm.describe_parameters, ParameterFilters=[{"Key": "Sea", "Values": ["x"]}])


@check("ssm", "what a parameter would not be is refused by its name", REFUSAL, page=API + "PutParameter.html",
       says="A member that is not kept is not left out unsaid.")
def _(aws):
    asked = {"Tier": "Advanced", "AllowedPattern": "^a", "Policies": "[]", "KeyId": "alias/mine", "DataType": "aws:ec2:image",
             "Tags": [{"Key": "a", "Value": "b"}]}
    for name, given in asked.items():
        answer = refused("ValidationException", aws.ssm.put_parameter, Name="/" + aws.name("own"), Value="v", Type="String",
                         **{name: given})
        contains(answer["Error"]["Message"], name)
