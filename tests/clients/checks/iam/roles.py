"""Roles: what is written is read, what is refused."""

import json

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import (API, GUIDE, TRUST, attached, encoded_as, joined, made_policy, made_profile, made_role, pairs, rights,
                   tag_list, unparsed)


@check("iam", "a role is read as it was made", page=API + "GetRole.html",
       says="Retrieves information about the specified role, including the role's path, GUID, ARN, and the role's trust "
            "policy that grants permission to assume the role.")
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
       says="A structure containing details about the new role.")
def _(aws):
    name = aws.name("Role")
    aws.after(aws.iam.delete_role, RoleName=name)
    made = aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description="d")["Role"]
    aws.iam.get_waiter("role_exists").wait(RoleName=name)
    read = aws.iam.get_role(RoleName=name)["Role"]
    for member in ("RoleName", "RoleId", "Arn", "Path", "CreateDate", "AssumeRolePolicyDocument"):
        equal(made[member], read[member], member)


@check("iam", "a role's trust policy comes URL-encoded", page=API + "GetRole.html",
       says="Policies returned by this operation are URL-encoded compliant with RFC 3986.")
def _(aws):
    name = made_role(aws)
    text = unparsed(aws, "get_role", "AssumeRolePolicyDocument", RoleName=name)
    true(encoded_as(text, TRUST), f"not the encoded document: {text}")


@check("iam", "a session lasts an hour by default", page=API + "CreateRole.html",
       says="If you do not specify a value for this setting, the default value of one hour is applied.")
def _(aws):
    equal(aws.iam.get_role(RoleName=made_role(aws))["Role"]["MaxSessionDuration"], 3600)


@check("iam", "a path is a slash by default", page=API + "CreateRole.html",
       says="This parameter is optional. If it is not included, it defaults to a slash (/).")
def _(aws):
    name = made_role(aws)
    role = aws.iam.get_role(RoleName=name)["Role"]
    equal((role["Path"], role["Arn"]), ("/", f"arn:aws:iam::{aws.account}:role/{name}"))


@check("iam", "a path begins and ends with a slash", REFUSAL, page=API + "CreateRole.html",
       says="This parameter allows (through its regex pattern) a string of characters consisting of either a forward "
            "slash (/) by itself or a string that must begin and end with forward slashes.")
def _(aws):
    for path in ("/open", "open/"):
        name = aws.name("Role")
        aws.after(aws.iam.delete_role, RoleName=name)
        refused("ValidationError", aws.iam.create_role, RoleName=name, Path=path,
                AssumeRolePolicyDocument=json.dumps(TRUST), status=400)


@check("iam", "a role's name has no spaces", REFUSAL, page=API + "CreateRole.html",
       says="This parameter allows (through its regex pattern) a string of characters consisting of upper and lowercase "
            "alphanumeric characters with no spaces.")
def _(aws):
    name = aws.name("a role")
    aws.after(aws.iam.delete_role, RoleName=name)
    refused("ValidationError", aws.iam.create_role, RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST), status=400)


@check("iam", "a role's name is taken once", REFUSAL, page=API + "CreateRole.html",
       says="The request was rejected because it attempted to create a resource that already exists.")
def _(aws):
    name = made_role(aws)
    refused("EntityAlreadyExists", aws.iam.create_role, RoleName=name, Path="/elsewhere/",
            AssumeRolePolicyDocument=json.dumps(TRUST), status=409)


@check("iam", "roles' names differ by more than case", REFUSAL, page=API + "CreateRole.html",
       says="IAM user, group, role, and policy names must be unique within the account. Names are not distinguished by "
            "case.")
def _(aws):
    name = made_role(aws)
    aws.after(aws.iam.delete_role, RoleName=name.upper())
    refused("EntityAlreadyExists", aws.iam.create_role, RoleName=name.upper(),
            AssumeRolePolicyDocument=json.dumps(TRUST), status=409)


@check("iam", "a role that is not there", REFUSAL, page=API + "GetRole.html",
       says="The request was rejected because it referenced a resource entity that does not exist.")
def _(aws):
    name = aws.name("None")
    for call in (aws.iam.get_role, aws.iam.delete_role, aws.iam.list_role_tags, aws.iam.list_role_policies,
                 aws.iam.list_attached_role_policies, aws.iam.list_instance_profiles_for_role):
        refused("NoSuchEntity", call, RoleName=name, status=404)


@check("iam", "a session of 1 to 12 hours", REFUSAL, page=API + "CreateRole.html",
       says="This setting can have a value from 1 hour to 12 hours.")
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
       says="Updates the description or maximum session duration setting of a role.")
def _(aws):
    name = made_role(aws, Description="old")

    def read():
        role = aws.iam.get_role(RoleName=name)["Role"]
        return role["Description"], role["MaxSessionDuration"]

    aws.iam.update_role(RoleName=name, Description="new", MaxSessionDuration=10800)
    becomes(read, ("new", 10800))


@check("iam", "a role's trust policy is replaced", page=API + "UpdateAssumeRolePolicy.html",
       says="Updates the policy that grants an IAM entity permission to assume a role.")
def _(aws):
    name, other = made_role(aws), json.loads(json.dumps(TRUST).replace("ecs-tasks", "ec2"))
    aws.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(other))
    becomes(lambda: aws.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], other)


@check("iam", "a trust policy that is no JSON", REFUSAL, page=API + "CreateRole.html",
       says="The request was rejected because the policy document was malformed.")
def _(aws):
    name, other = made_role(aws), aws.name("Role")
    aws.after(aws.iam.delete_role, RoleName=other)
    refused("MalformedPolicyDocument", aws.iam.create_role, RoleName=other,
            AssumeRolePolicyDocument="{not JSON", status=400)
    refused("MalformedPolicyDocument", aws.iam.update_assume_role_policy, RoleName=name, PolicyDocument="{not JSON",
            status=400)


@check("iam", "a trust policy names its principal", REFUSAL,
       page=GUIDE + "reference_policies_elements_principal.html",
       says="You must use the Principal element in resource-based policies.")
def _(aws):
    document, name = json.loads(json.dumps(TRUST)), aws.name("Role")
    del document["Statement"][0]["Principal"]
    aws.after(aws.iam.delete_role, RoleName=name)
    refused("MalformedPolicyDocument", aws.iam.create_role, RoleName=name,
            AssumeRolePolicyDocument=json.dumps(document), status=400)


@check("iam", "a role in an instance profile is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="when you delete a role programmatically, you must delete the items attached to the role manually, or the "
            "deletion fails.")
def _(aws):
    name, profile = made_role(aws), made_profile(aws)
    joined(aws, profile, name)
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)


@check("iam", "a role with an attached policy is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="The request was rejected because it attempted to delete a resource that has attached subordinate entities.")
def _(aws):
    name = made_role(aws)
    attached(aws, name, made_policy(aws))
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)


@check("iam", "a role with an inline policy is not deleted", REFUSAL, page=API + "DeleteRole.html",
       says="Before attempting to delete a role, remove the following attached items: Inline policies (DeleteRolePolicy) "
            "Attached managed policies (DetachRolePolicy) Instance profile (RemoveRoleFromInstanceProfile)")
def _(aws):
    name = made_role(aws)
    aws.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(rights()))
    aws.after(aws.iam.delete_role_policy, RoleName=name, PolicyName="inline")
    refused("DeleteConflict", aws.iam.delete_role, RoleName=name, status=409)
    aws.iam.delete_role_policy(RoleName=name, PolicyName="inline")
    aws.iam.delete_role(RoleName=name)


@check("iam", "a deleted role is gone", REFUSAL, page=API + "DeleteRole.html",
       says="Deletes the specified role.")
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
       says="Lists the IAM roles that have the specified path prefix. If there are none, the operation returns an empty "
            "list.")
def _(aws):
    root = f"/{aws.name('Path')}/"
    inner, outer = made_role(aws, Path=root + "inner/"), made_role(aws, Path=root)
    becomes(lambda: set(under(aws, root)[0]), {inner, outer})
    equal(under(aws, root + "inner/")[0], [inner])
    equal(under(aws, root + "none/")[0], [])


@check("iam", "a listing of roles has no tags", page=API + "ListRoles.html",
       says="This operation does not return the following attributes, even though they are an attribute of the returned "
            "object: PermissionsBoundary RoleLastUsed Tags To view all of the information for a role, see GetRole.")
def _(aws):
    root, boundary = f"/{aws.name('Path')}/", made_policy(aws)
    made_role(aws, Path=root, Tags=tag_list(a="b"), PermissionsBoundary=boundary)
    becomes(lambda: len(under(aws, root)[0]), 1)
    [role] = aws.iam.list_roles(PathPrefix=root)["Roles"]
    equal(sorted(role.keys() & {"PermissionsBoundary", "RoleLastUsed", "Tags"}), [])
    equal(role["AssumeRolePolicyDocument"], TRUST)


@check("iam", "a listing comes in pages", page=API + "ListRoles.html",
       says="If additional items exist beyond the maximum you specify, the IsTruncated response element is true.")
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
       says="Note that IAM might return fewer results, even when there are more results available. In that case, the "
            "IsTruncated response element returns true, and Marker contains a value to include in the subsequent call "
            "that tells the service where to continue from.")
def _(aws):
    aws.settings(page=1)
    root = f"/{aws.name('Path')}/"
    names = {made_role(aws, Path=root) for _ in range(3)}
    found, pages = under(aws, root, PaginationConfig={"PageSize": 100})
    equal((set(found), pages), (names, 3))


@check("iam", "a permissions boundary is read as it was set", page=API + "AttachedPermissionsBoundary.html",
       says="The permissions boundary usage type that indicates what type of IAM resource is used as the permissions "
            "boundary for an entity. This data type can only have a value of Policy.")
def _(aws):
    arn = made_policy(aws)
    name = made_role(aws, PermissionsBoundary=arn)
    boundary = aws.iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"]
    equal((boundary["PermissionsBoundaryType"], boundary["PermissionsBoundaryArn"]), ("Policy", arn))


@check("iam", "a boundary's policy counts its roles", page=API + "Policy.html",
       says="The number of entities (users and roles) for which the policy is used to set the permissions boundary.")
def _(aws):
    arn = made_policy(aws)
    count = lambda: aws.iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"]
    equal(count(), 0)
    made_role(aws, PermissionsBoundary=arn)
    becomes(count, 1)


@check("iam", "ids tell what they are of", page=GUIDE + "reference_identifiers.html",
       says="IAM uses the following prefixes to indicate what type of resource each unique ID applies to.")
def _(aws):
    role = aws.iam.get_role(RoleName=made_role(aws))["Role"]["RoleId"]
    policy = aws.iam.get_policy(PolicyArn=made_policy(aws))["Policy"]["PolicyId"]
    profile = aws.iam.get_instance_profile(InstanceProfileName=made_profile(aws))["InstanceProfile"]["InstanceProfileId"]
    equal((role[:4], policy[:4], profile[:4]), ("AROA", "ANPA", "AIPA"))
