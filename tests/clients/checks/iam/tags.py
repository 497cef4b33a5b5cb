"""Tags of roles, policies and instance profiles."""

import json

from .. import REFUSAL, becomes, check, equal, refused
from .made import API, GUIDE, TRUST, made_policy, made_profile, made_role, pairs, tag_list


def role_tags(aws, name):
    return pairs(aws.iam.list_role_tags(RoleName=name)["Tags"])


@check("iam", "a tag is overwritten", page=API + "TagRole.html",
       says="A tag with a key that is there already gets the new value.")
def _(aws):
    name = made_role(aws, Tags=tag_list(kept="1", changed="1"))
    aws.iam.tag_role(RoleName=name, Tags=tag_list(changed="2", added="2"))
    becomes(lambda: role_tags(aws, name), {"kept": "1", "changed": "2", "added": "2"})
    equal(pairs(aws.iam.get_role(RoleName=name)["Role"]["Tags"]), {"kept": "1", "changed": "2", "added": "2"})


@check("iam", "tags are taken away by key", page=API + "UntagRole.html",
       says="UntagRole takes keys, and removes their tags.")
def _(aws):
    name = made_role(aws, Tags=tag_list(a="1", b="2", c="3"))
    aws.iam.untag_role(RoleName=name, TagKeys=["a", "c"])
    becomes(lambda: role_tags(aws, name), {"b": "2"})


@check("iam", "tags are listed by their keys' order", page=API + "ListRoleTags.html",
       says="ListRoleTags sorts by key.")
def _(aws):
    name = made_role(aws, Tags=tag_list(cc="1", aa="2", bb="3"))
    equal([tag["Key"] for tag in aws.iam.list_role_tags(RoleName=name)["Tags"]], ["aa", "bb", "cc"])


@check("iam", "tags come in pages", page=API + "ListRoleTags.html",
       says="IsTruncated is true where there are more tags than MaxItems.")
def _(aws):
    name = made_role(aws, Tags=tag_list(a="1", b="2", c="3"))
    first = aws.iam.list_role_tags(RoleName=name, MaxItems=2)
    equal(first["IsTruncated"], True)
    rest = aws.iam.list_role_tags(RoleName=name, Marker=first["Marker"])
    equal((pairs(first["Tags"] + rest["Tags"]), rest["IsTruncated"]), ({"a": "1", "b": "2", "c": "3"}, False))


@check("iam", "keys of a role's tags differ by more than case", page=GUIDE + "id_tags.html",
       says="A role's tag keys do not differ by case alone: a tag in other case replaces the one that is there.")
def _(aws):
    name = made_role(aws, Tags=tag_list(Department="finance"))
    aws.iam.tag_role(RoleName=name, Tags=tag_list(department="hr"))
    becomes(lambda: [(key.lower(), value) for key, value in role_tags(aws, name).items()], [("department", "hr")])


@check("iam", "keys of other tags differ by case", page=GUIDE + "id_tags.html",
       says="Tag keys of IAM's other resources do differ by case: Costcenter and costcenter can both be there.")
def _(aws):
    arn, profile = made_policy(aws, Tags=tag_list(Costcenter="1234")), made_profile(aws, Tags=tag_list(Costcenter="1234"))
    aws.iam.tag_policy(PolicyArn=arn, Tags=tag_list(costcenter="5678"))
    aws.iam.tag_instance_profile(InstanceProfileName=profile, Tags=tag_list(costcenter="5678"))
    both = {"Costcenter": "1234", "costcenter": "5678"}
    becomes(lambda: pairs(aws.iam.list_policy_tags(PolicyArn=arn)["Tags"]), both)
    becomes(lambda: pairs(aws.iam.list_instance_profile_tags(InstanceProfileName=profile)["Tags"]), both)


@check("iam", "a policy's tags are taken away", page=API + "UntagPolicy.html",
       says="UntagPolicy removes tags from a policy of the customer's own.")
def _(aws):
    arn = made_policy(aws, Tags=tag_list(a="1", b="2"))
    aws.iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    becomes(lambda: pairs(aws.iam.list_policy_tags(PolicyArn=arn)["Tags"]), {"b": "2"})


@check("iam", "an instance profile's tags are taken away", page=API + "UntagInstanceProfile.html",
       says="UntagInstanceProfile removes tags from an instance profile.")
def _(aws):
    profile = made_profile(aws, Tags=tag_list(a="1", b="2"))
    aws.iam.untag_instance_profile(InstanceProfileName=profile, TagKeys=["a"])
    becomes(lambda: pairs(aws.iam.list_instance_profile_tags(InstanceProfileName=profile)["Tags"]), {"b": "2"})


@check("iam", "the prefix aws: is AWS's", REFUSAL, page=GUIDE + "id_tags.html",
       says="A tag whose key or value begins with aws: is AWS's own and cannot be made.")
def _(aws):
    name = made_role(aws)
    for key, value in (("aws:mine", "x"), ("mine", "aws:x")):
        refused(("InvalidInput", "ValidationError"), aws.iam.tag_role, RoleName=name,
                Tags=[{"Key": key, "Value": value}], status=400)
    equal(role_tags(aws, name), {})


@check("iam", "tags have some characters only", REFUSAL, page=GUIDE + "id_tags.html",
       says="Keys and values have letters, digits, spaces and _ . : / = + - @ only.")
def _(aws):
    name = made_role(aws)
    for key, value in (("no!", "x"), ("no", "x#")):
        refused(("InvalidInput", "ValidationError"), aws.iam.tag_role, RoleName=name,
                Tags=[{"Key": key, "Value": value}], status=400)
    aws.iam.tag_role(RoleName=name, Tags=tag_list(**{"a_b.c:d/e=f+g-h@i 9": "é _.:/=+-@"}))
    becomes(lambda: role_tags(aws, name), {"a_b.c:d/e=f+g-h@i 9": "é _.:/=+-@"})


@check("iam", "a tag may be empty", page=GUIDE + "id_tags.html",
       says="A tag's value may be empty.")
def _(aws):
    equal(role_tags(aws, made_role(aws, Tags=tag_list(phoneNumber=""))), {"phoneNumber": ""})


@check("iam", "a tag's key is not empty", REFUSAL, page=GUIDE + "id_tags.html",
       says="A tag's key may not be empty.")
def _(aws):
    name, unchecked = made_role(aws), aws.client("iam", parameter_validation=False)
    refused(("InvalidInput", "ValidationError"), unchecked.tag_role, RoleName=name, Tags=[{"Key": "", "Value": "x"}],
            status=400)


@check("iam", "too many tags change nothing", REFUSAL, page=API + "TagRole.html",
       says="One invalid tag, or one too many, fails the whole request.")
def _(aws):
    name = made_role(aws, Tags=[{"Key": f"k{number}", "Value": "v"} for number in range(49)])
    refused("LimitExceeded", aws.iam.tag_role, RoleName=name, Tags=tag_list(a="1", b="2"), status=409)
    equal(len(role_tags(aws, name)), 49)


@check("iam", "a role with an invalid tag is not created", REFUSAL, page=API + "CreateRole.html",
       says="With one invalid tag CreateRole makes nothing.")
def _(aws):
    name = aws.name("Role")
    refused(("InvalidInput", "ValidationError"), aws.iam.create_role, RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST), Tags=[{"Key": "k" * 129, "Value": "v"}], status=400)
    refused("NoSuchEntity", aws.iam.get_role, RoleName=name, status=404)
