"""Managed policies and their versions."""

import json

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import (API, GUIDE, attached, encoded_as, made_policy, made_role, padded, pairs, rights, tag_list, unparsed)

AWS_POLICIES = "https://docs.aws.amazon.com/aws-managed-policy/latest/reference/"


@check("iam", "a policy is read as it was made", page=API + "GetPolicy.html",
       says="GetPolicy tells a policy's default version and to how many users, groups and roles it is attached.")
def _(aws):
    path, name = f"/{aws.name('Path')}/", aws.name("Policy")
    arn = made_policy(aws, PolicyName=name, Path=path, Description="Some rights.", Tags=tag_list(a="b"))
    equal(arn, f"arn:aws:iam::{aws.account}:policy{path}{name}")
    policy = aws.iam.get_policy(PolicyArn=arn)["Policy"]
    equal((policy["PolicyName"], policy["Path"], policy["Description"]), (name, path, "Some rights."))
    equal((policy["DefaultVersionId"], policy["AttachmentCount"], policy["IsAttachable"]), ("v1", 0, True))
    equal(pairs(policy["Tags"]), {"a": "b"})
    attached(aws, made_role(aws), arn)
    becomes(lambda: aws.iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"], 1)


@check("iam", "a policy begins with v1", page=API + "CreatePolicy.html",
       says="CreatePolicy makes the version v1, which is the default.")
def _(aws):
    arn = made_policy(aws)
    [version] = aws.iam.list_policy_versions(PolicyArn=arn)["Versions"]
    equal((version["VersionId"], version["IsDefaultVersion"]), ("v1", True))


@check("iam", "a policy's name is taken once", REFUSAL, page=API + "CreatePolicy.html",
       says="A policy's name is unique in the account, whatever the case of its letters.")
def _(aws):
    name = made_policy(aws).rsplit("/", 1)[1]
    for again in (name, name.upper()):
        aws.after(aws.iam.delete_policy, PolicyArn=f"arn:aws:iam::{aws.account}:policy/{again}")
        refused("EntityAlreadyExists", aws.iam.create_policy, PolicyName=again, PolicyDocument=json.dumps(rights()),
                status=409)


@check("iam", "a policy that is not there", REFUSAL, page=API + "GetPolicy.html",
       says="NoSuchEntity is the code for a policy that does not exist.")
def _(aws):
    arn = f"arn:aws:iam::{aws.account}:policy/{aws.name('None')}"
    for call in (aws.iam.get_policy, aws.iam.delete_policy, aws.iam.list_policy_versions,
                 aws.iam.list_entities_for_policy):
        refused("NoSuchEntity", call, PolicyArn=arn, status=404)
    refused("NoSuchEntity", aws.iam.create_policy_version, PolicyArn=arn, PolicyDocument=json.dumps(rights()),
            status=404)


@check("iam", "a policy that is malformed", REFUSAL, page=API + "CreatePolicy.html",
       says="MalformedPolicyDocument is the code for a document that is no policy.")
def _(aws):
    arn, no_action = made_policy(aws), rights()
    del no_action["Statement"][0]["Action"]
    for document in ("no JSON", json.dumps(no_action)):
        refused("MalformedPolicyDocument", aws.iam.create_policy, PolicyName=aws.name("Policy"),
                PolicyDocument=document, status=400)
        refused("MalformedPolicyDocument", aws.iam.create_policy_version, PolicyArn=arn, PolicyDocument=document,
                status=400)


@check("iam", "a policy has a size", REFUSAL, page=GUIDE + "reference_iam-quotas.html",
       says="A managed policy has 6,144 characters at most.")
def _(aws):
    refused("LimitExceeded", aws.iam.create_policy, PolicyName=aws.name("Policy"), PolicyDocument=padded(6500),
            status=409)


@check("iam", "white space does not count", page=GUIDE + "reference_iam-quotas.html",
       says="White space in a policy is not counted towards its size.")
def _(aws):
    made_policy(aws, PolicyDocument=json.dumps(rights()) + " " * 7000)


@check("iam", "a policy's description is not listed", page=API + "Policy.html",
       says="A policy's description comes from GetPolicy, and ListPolicies leaves it out.")
def _(aws):
    path = f"/{aws.name('Path')}/"
    made_policy(aws, Path=path, Description="Some rights.", Tags=tag_list(a="b"))
    listed = lambda: aws.iam.list_policies(PathPrefix=path, Scope="Local")["Policies"]
    becomes(lambda: len(listed()), 1)
    equal(sorted(listed()[0].keys() & {"Description", "Tags"}), [])


@check("iam", "one's own policies are listed apart", page=API + "ListPolicies.html",
       says="Scope=Local lists the customer's own managed policies only.")
def _(aws):
    arn = made_policy(aws)
    pages = aws.iam.get_paginator("list_policies")
    found = lambda scope: {one["Arn"] for one in pages.paginate(Scope=scope).search("Policies")}
    becomes(lambda: arn in found("Local"), True)
    true(not any(one.startswith("arn:aws:iam::aws:") for one in found("Local")), "AWS's are not among one's own")
    true(all(one.startswith("arn:aws:iam::aws:") for one in found("AWS")), "one's own are not among AWS's")


@check("iam", "attached policies are listed apart", page=API + "ListPolicies.html",
       says="OnlyAttached leaves out policies that are attached to nothing.")
def _(aws):
    path = f"/{aws.name('Path')}/"
    held, _loose = made_policy(aws, Path=path), made_policy(aws, Path=path)
    attached(aws, made_role(aws), held)
    becomes(lambda: [one["Arn"] for one in
                     aws.iam.list_policies(PathPrefix=path, Scope="Local", OnlyAttached=True)["Policies"]], [held])


@check("iam", "who holds a policy is listed by kind", page=API + "ListEntitiesForPolicy.html",
       says="EntityFilter=Role lists only the roles that a policy is attached to.")
def _(aws):
    arn, role = made_policy(aws), made_role(aws)
    attached(aws, role, arn)
    roles = lambda **more: [one["RoleName"] for one in
                            aws.iam.list_entities_for_policy(PolicyArn=arn, **more).get("PolicyRoles", [])]
    becomes(roles, [role])
    equal(roles(EntityFilter="Role"), [role])
    equal(roles(EntityFilter="User"), [])


@check("iam", "who holds a policy comes in pages", page=API + "ListEntitiesForPolicy.html",
       says="ListEntitiesForPolicy takes MaxItems and Marker for pages.")
def _(aws):
    arn, held = made_policy(aws), [made_role(aws) for _ in range(3)]
    for role in held:
        attached(aws, role, arn)
    pages = aws.iam.get_paginator("list_entities_for_policy")
    found = lambda: [one["RoleName"] for page in pages.paginate(PolicyArn=arn, PaginationConfig={"PageSize": 2})
                     for one in page["PolicyRoles"]]
    becomes(lambda: sorted(found()), sorted(held))
    true(aws.iam.list_entities_for_policy(PolicyArn=arn, MaxItems=2)["IsTruncated"], "the first page is truncated")


@check("iam", "five versions of a policy", REFUSAL, page=API + "CreatePolicyVersion.html",
       says="A managed policy has five versions at most: to make a sixth, delete one first.")
def _(aws):
    arn = made_policy(aws)
    make = lambda: aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights()))
    made = [make()["PolicyVersion"]["VersionId"] for _ in range(4)]
    equal(made, ["v2", "v3", "v4", "v5"])
    refused("LimitExceeded", make, status=409)
    aws.iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    becomes(lambda: len(aws.iam.list_policy_versions(PolicyArn=arn)["Versions"]), 4)
    equal(make()["PolicyVersion"]["VersionId"], "v6")


@check("iam", "a new version may be the default at once", page=API + "CreatePolicyVersion.html",
       says="SetAsDefault makes the new version the one that is in force.")
def _(aws):
    arn = made_policy(aws)
    read = lambda: aws.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    quiet = aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights()))["PolicyVersion"]
    equal((quiet["VersionId"], quiet["IsDefaultVersion"], read()), ("v2", False, "v1"))
    loud = aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights()), SetAsDefault=True)
    equal((loud["PolicyVersion"]["VersionId"], loud["PolicyVersion"]["IsDefaultVersion"]), ("v3", True))
    becomes(read, "v3")


@check("iam", "another version becomes the default", page=API + "SetDefaultPolicyVersion.html",
       says="SetDefaultPolicyVersion chooses the version that is in force.")
def _(aws):
    arn = made_policy(aws)
    aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights("s3:PutObject")), SetAsDefault=True)
    aws.iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    becomes(lambda: {one["VersionId"]: one["IsDefaultVersion"]
                     for one in aws.iam.list_policy_versions(PolicyArn=arn)["Versions"]}, {"v1": True, "v2": False})


@check("iam", "each version keeps its document", page=API + "GetPolicyVersion.html",
       says="GetPolicyVersion gives the document of that version, URL-encoded by RFC 3986.")
def _(aws):
    arn = made_policy(aws, PolicyDocument=json.dumps(rights("s3:GetObject")))
    aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights("s3:PutObject")))
    for version, action in (("v1", "s3:GetObject"), ("v2", "s3:PutObject")):
        text = unparsed(aws, "get_policy_version", "Document", PolicyArn=arn, VersionId=version)
        true(encoded_as(text, rights(action)), f"{version} is not the encoded document: {text}")


@check("iam", "a version's document is not listed", page=API + "PolicyVersion.html",
       says="""A version's document comes from GetPolicyVersion, but not from CreatePolicyVersion nor from
       ListPolicyVersions.""")
def _(aws):
    arn = made_policy(aws)
    made = aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights()))["PolicyVersion"]
    listed = aws.iam.list_policy_versions(PolicyArn=arn)["Versions"]
    equal([one["VersionId"] for one in [made, *listed] if "Document" in one], [])


@check("iam", "a version that is not there", REFUSAL, page=API + "GetPolicyVersion.html",
       says="NoSuchEntity is the code for a version that does not exist.")
def _(aws):
    arn = made_policy(aws)
    for call in (aws.iam.get_policy_version, aws.iam.delete_policy_version, aws.iam.set_default_policy_version):
        refused("NoSuchEntity", call, PolicyArn=arn, VersionId="v9", status=404)


@check("iam", "the default version is not deleted", REFUSAL, page=API + "DeletePolicyVersion.html",
       says="DeletePolicyVersion does not delete the default version.")
def _(aws):
    refused("DeleteConflict", aws.iam.delete_policy_version, PolicyArn=made_policy(aws), VersionId="v1", status=409)


@check("iam", "a policy with other versions is not deleted", REFUSAL, page=API + "DeletePolicy.html",
       says="A policy is deleted only when its other versions are gone.")
def _(aws):
    arn = made_policy(aws)
    aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(rights()))
    refused("DeleteConflict", aws.iam.delete_policy, PolicyArn=arn, status=409)


@check("iam", "an attached policy is not deleted", REFUSAL, page=API + "DeletePolicy.html",
       says="A policy is deleted only when it is detached from every user, group and role.")
def _(aws):
    arn = made_policy(aws)
    attached(aws, made_role(aws), arn)
    refused("DeleteConflict", aws.iam.delete_policy, PolicyArn=arn, status=409)


@check("iam", "a policy goes with its default version", page=API + "DeletePolicy.html",
       says="DeletePolicy deletes the default version along with the policy.")
def _(aws):
    arn = made_policy(aws)
    aws.iam.delete_policy(PolicyArn=arn)
    becomes(lambda: [one["Arn"] for one in aws.iam.get_paginator("list_policies").paginate(Scope="Local")
                     .search("Policies") if one["Arn"] == arn], [])
    refused("NoSuchEntity", aws.iam.get_policy_version, PolicyArn=arn, VersionId="v1", status=404)


@check("iam", "AWS's policy for container instances is there", page=AWS_POLICIES + "AmazonEC2ContainerServiceforEC2Role.html",
       says="AWS has a managed policy AmazonEC2ContainerServiceforEC2Role.")
def _(aws):
    arn = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
    policy = aws.iam.get_policy(PolicyArn=arn)["Policy"]
    equal((policy["PolicyName"], policy["Path"]), ("AmazonEC2ContainerServiceforEC2Role", "/service-role/"))
    document = aws.iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]["Document"]
    true("ecs:RegisterContainerInstance" in json.dumps(document), "it allows an instance to register")
    role = made_role(aws)
    attached(aws, role, arn)
    becomes(lambda: [one["PolicyArn"] for one in
                     aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]], [arn])


@check("iam", "AWS's policy for task execution is there",
       page="https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html",
       says="AWS has a managed policy AmazonECSTaskExecutionRolePolicy with the rights that task execution commonly needs.")
def _(aws):
    arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
    policy = aws.iam.get_policy(PolicyArn=arn)["Policy"]
    document = aws.iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]["Document"]
    for action in ("ecr:BatchGetImage", "logs:PutLogEvents", "logs:CreateLogStream"):
        true(action in json.dumps(document), f"it allows {action}")
