"""Roles: what is written is read, what is refused."""

import json

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import (API, GUIDE, TRUST, attached, encoded_as, joined, made_policy, made_profile, made_role, pairs, rights,
                   tag_list, unparsed)


@check("iam", "a role is read as it was made", page=API + "GetRole.html",
       says="GetRole gives a role's path, id, ARN and trust policy.")
def _(aws):
    path = f"/{aws.name('Path')}/deep/"
    name = made_role(aws, Path=path, Description="Reads reads; café", MaxSessionDuration=7200, Tags=tag_list(a="b"))
    role = aws.iam.get_role(RoleName=name)["Role"]
    equal((role["RoleName"], role["Path"], role["Description"], role["MaxSessionDuration"]),
          (name, path, "Reads reads; café", 7200))
    equal(role["Arn"], f"arn:aws:iam::{aws.account}:role{path}{name}")
    equal(role["AssumeRolePolicyDocument"], TRUST)
    equal(pairs(role["Tags"]), {"a": "b"})


@check("iam", "what is created is answered", page=API + "CreateRole.html",
       says="CreateRole answers with the new role's details.")
def _(aws):
    name = aws.name("Role")
    aws.after(aws.iam.delete_role, RoleName=name)
    made = aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description="d")["Role"]
    aws.iam.get_waiter("role_exists").wait(RoleName=name)
    read = aws.iam.get_role(RoleName=name)["Role"]
    for member in ("RoleName", "RoleId", "Arn", "Path", "CreateDate", "AssumeRolePolicyDocument"):
        equal(made[member], read[member], member)


@check("iam", "a role's trust policy comes URL-encoded", page=API + "GetRole.html",
       says="GetRole gives the trust policy URL-encoded by RFC 3986.")
def _(aws):
    name = made_role(aws)
    text = unparsed(aws, "get_role", "AssumeRolePolicyDocument", RoleName=name)
    true(encoded_as(text, TRUST), f"not the encoded document: {text}")


@check("iam", "a session lasts an hour by default", page=API + "CreateRole.html",
       says="Without MaxSessionDuration a role's sessions last an hour.")
def _(aws):
    equal(aws.iam.get_role(RoleName=made_role(aws))["Role"]["MaxSessionDuration"], 3600)


@check("iam", "a path is a slash by default", page=API + "CreateRole.html",
       says="Without a Path a role's path is a slash.")
def _(aws):
    name = made_role(aws)
    role = aws.iam.get_role(RoleName=name)["Role"]
    equal((role["Path"], role["Arn"]), ("/", f"arn:aws:iam::{aws.account}:role/{name}"))


@check("iam", "a path begins and ends with a slash", REFUSAL, page=API + "CreateRole.html",
       says="A path is a slash alone, or begins and ends with one.")
def _(aws):
    for path in ("/open", "open/"):
        name = aws.name("Role")
        aws.after(aws.iam.delete_role, RoleName=name)
        refused("ValidationError", aws.iam.create_role, RoleName=name, Path=path,
                AssumeRolePolicyDocument=json.dumps(TRUST), status=400)


@check("iam", "a role's name has no spaces", REFUSAL, page=API + "CreateRole.html",
       says="A role's name has letters, digits and some signs, but no space.")
def _(aws):
    name = aws.name("a role")
    aws.after(aws.iam.delete_role, RoleName=name)
    refused("ValidationError", aws.iam.create_role, RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST), status=400)


@check("iam", "a role's name is taken once", REFUSAL, page=API + "CreateRole.html",
       says="EntityAlreadyExists is the code for a role that is there already.")
def _(aws):
    name = made_role(aws)
    refused("EntityAlreadyExists", aws.iam.create_role, RoleName=name, Path="/elsewhere/",
            AssumeRolePolicyDocument=json.dumps(TRUST), status=409)


@check("iam", "roles' names differ by more than case", REFUSAL, page=API + "CreateRole.html",
       says="A role's name is unique in the account, whatever the case of its letters.")
def _(aws):
    name = made_role(aws)
    aws.after(aws.iam.delete_role, RoleName=name.upper())
    refused("EntityAlreadyExists", aws.iam.create_role, RoleName=name.upper(),
            AssumeRolePolicyDocument=json.dumps(TRUST), status=409)


@check("iam", "a role that is not there", REFUSAL, page=API + "GetRole.html",
       says="NoSuchEntity is the code for a role that does not exist.")
def _(aws):
    name = aws.name("None")
    for call in (aws.iam.get_role, aws.iam.delete_role, aws.iam.list_role_tags, aws.iam.list_role_policies,
                 aws.iam.list_attached_role_policies, aws.iam.list_instance_profiles_for_role):
        refused("NoSuchEntity", call, RoleName=name, status=404)


@check("iam", "a session of 1 to 12 hours", REFUSAL, page=API + "CreateRole.html",
       says="MaxSessionDuration is from 1 to 12 hours.")
def _(aws):
    unchecked = aws.client("iam", parameter_validation=False)
    for seconds in (3599, 43201):
        name = aws.name("Role")
        aws.after(aws.iam.delete_role, RoleName=name)
        refused("ValidationError", unchecked.create_role, RoleName=name, MaxSessionDuration=seconds,
                AssumeRolePolicyDocument=json.dumps(TRUST), status=400)
    longest = made_role(aws, MaxSessionDuration=43200)
    equal(aws.iam.get_role(RoleName=longest)["Role"]["MaxSessionDuration"], 43200)


@check("iam", "a role's description and session change", page=API + "UpdateRole.html",
       says="UpdateRole changes a role's description and the longest session.")
def _(aws):
    name = made_role(aws, Description="old")

    def read():
        role = aws.iam.get_role(RoleName=name)["Role"]
        return role["Description"], role["MaxSessionDuration"]

    aws.iam.update_role(RoleName=name, Description="new", MaxSessionDuration=10800)
    becomes(read, ("new", 10800))


@check("iam", "a role's trust policy is replaced", page=API + "UpdateAssumeRolePolicy.html",
       says="UpdateAssumeRolePolicy replaces the trust policy.")
def _(aws):
    name, other = made_role(aws), json.loads(json.dumps(TRUST).replace("ecs-tasks", "ec2"))
    aws.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(other))
    becomes(lambda: aws.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], other)


@check("iam", "a trust policy that is no JSON", REFUSAL, page=API + "CreateRole.html",
       says="MalformedPolicyDocument is the code for a trust policy that is none.")
def _(aws):
    name, other = made_role(aws), aws.name("Role")
    aws.after(aws.iam.delete_role, RoleName=other)
    refused("MalformedPolicyDocument", aws.iam.create_role, RoleName=other,
            AssumeRolePolicyDocument="{not JSON", status=400)
    refused("MalformedPolicyDocument", aws.iam.update_assume_role_policy, RoleName=name, PolicyDocument="{not JSON",
            status=400)


@check("iam", "a trust policy names its principal", REFUSAL,
       page=GUIDE + "reference_policies_elements_principal.html",
       says="A trust policy, as any policy of a resource, must have a Principal.")
def _(aws):
    document, name = json.loads(json.dumps(TRUST)), aws.name("Role")
    del document["Statement"][0]["Principal"]
    aws.after(aws.iam.delete_role, RoleName=name)
    refused("MalformedPolicyDocument", aws.iam.create_role, RoleName=name,
            AssumeRolePolicyDocument=json.dumps(document), status=400)


@check("iam", "a role in an instance profile is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="DeleteRole fails while the role is in an instance profile.")
def _(aws):
    name, profile = made_role(aws), made_profile(aws)
    joined(aws, profile, name)
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)


@check("iam", "a role with an attached policy is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="DeleteConflict is the code for a role that still has something attached.")
def _(aws):
    name = made_role(aws)
    attached(aws, name, made_policy(aws))
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)


@check("iam", "a role with an inline policy is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="Before a role is deleted its inline policies, attached policies and instance profiles must be taken off.")
def _(aws):
    name = made_role(aws)
    aws.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(rights()))
    aws.after(aws.iam.delete_role_policy, RoleName=name, PolicyName="inline")
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)
    aws.iam.delete_role_policy(RoleName=name, PolicyName="inline")
    aws.iam.delete_role(RoleName=name)


@check("iam", "a deleted role is gone", REFUSAL, page=API + "DeleteRole.html",
       says="DeleteRole deletes the role.")
def _(aws):
    name = made_role(aws)
    aws.iam.delete_role(RoleName=name)
    becomes(lambda: [role["RoleName"] for role in aws.iam.get_paginator("list_roles").paginate().search("Roles")
                     if role["RoleName"] == name], [])
    refused("NoSuchEntity", aws.iam.delete_role, RoleName=name, status=404)


def under(aws, prefix, **more):
    """The names of the roles under a prefix, all pages together, and how many pages there were."""
    pages = list(aws.iam.get_paginator("list_roles").paginate(PathPrefix=prefix, **more))
    return [role["RoleName"] for page in pages for role in page["Roles"]], len(pages)


@check("iam", "roles are listed by path prefix", page=API + "ListRoles.html",
       says="ListRoles takes a path prefix; an empty list where none matches.")
def _(aws):
    root = f"/{aws.name('Path')}/"
    inner, outer = made_role(aws, Path=root + "inner/"), made_role(aws, Path=root)
    becomes(lambda: set(under(aws, root)[0]), {inner, outer})
    equal(under(aws, root + "inner/")[0], [inner])
    equal(under(aws, root + "none/")[0], [])


@check("iam", "a listing of roles has no tags", page=API + "ListRoles.html",
       says="ListRoles leaves out PermissionsBoundary, RoleLastUsed and Tags, which GetRole has.")
def _(aws):
    root, boundary = f"/{aws.name('Path')}/", made_policy(aws)
    made_role(aws, Path=root, Tags=tag_list(a="b"), PermissionsBoundary=boundary)
    becomes(lambda: len(under(aws, root)[0]), 1)
    [role] = aws.iam.list_roles(PathPrefix=root)["Roles"]
    equal(sorted(role.keys() & {"PermissionsBoundary", "RoleLastUsed", "Tags"}), [])
    equal(role["AssumeRolePolicyDocument"], TRUST)


@check("iam", "a listing comes in pages", page=API + "ListRoles.html",
       says="IsTruncated is true where there are more than MaxItems.")
def _(aws):
    root = f"/{aws.name('Path')}/"
    names = {made_role(aws, Path=root) for _ in range(3)}
    becomes(lambda: set(under(aws, root)[0]), names)
    first = aws.iam.list_roles(PathPrefix=root, MaxItems=2)
    true(first["IsTruncated"] and first["Marker"], "the first page is truncated")
    true(len(first["Roles"]) <= 2, "at most two on a page")
    found, _pages = under(aws, root, PaginationConfig={"PageSize": 2})
    equal((len(found), set(found)), (3, names))
    whole = aws.iam.list_roles(PathPrefix=root)
    equal((whole["IsTruncated"], "Marker" in whole), (False, False))


@check("iam", "a page may be smaller than was asked", page=API + "ListRoles.html",
       says="""A page of IAM's may be smaller than asked; IsTruncated then says that there is more, and Marker is where the
       next call goes on.""")
def _(aws):
    aws.settings(page=1)
    root = f"/{aws.name('Path')}/"
    names = {made_role(aws, Path=root) for _ in range(3)}
    found, pages = under(aws, root, PaginationConfig={"PageSize": 100})
    equal((set(found), pages), (names, 3))


@check("iam", "a permissions boundary is read as it was set", page=API + "AttachedPermissionsBoundary.html",
       says="PermissionsBoundaryType has one value only: Policy.")
def _(aws):
    arn = made_policy(aws)
    name = made_role(aws, PermissionsBoundary=arn)
    boundary = aws.iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"]
    equal((boundary["PermissionsBoundaryType"], boundary["PermissionsBoundaryArn"]), ("Policy", arn))


@check("iam", "a boundary's policy counts its roles", page=API + "Policy.html",
       says="PermissionsBoundaryUsageCount is how many users and roles have the policy as their boundary.")
def _(aws):
    arn = made_policy(aws)
    count = lambda: aws.iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"]
    equal(count(), 0)
    made_role(aws, PermissionsBoundary=arn)
    becomes(count, 1)


@check("iam", "ids tell what they are of", page=GUIDE + "reference_identifiers.html",
       says="A unique id begins with letters that tell what it is of.")
def _(aws):
    role = aws.iam.get_role(RoleName=made_role(aws))["Role"]["RoleId"]
    policy = aws.iam.get_policy(PolicyArn=made_policy(aws))["Policy"]["PolicyId"]
    profile = aws.iam.get_instance_profile(InstanceProfileName=made_profile(aws))["InstanceProfile"]["InstanceProfileId"]
    equal((role[:4], policy[:4], profile[:4]), ("AROA", "ANPA", "AIPA"))
