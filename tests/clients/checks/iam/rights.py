"""What a role may do: its inline policies and what is attached to it."""

import json

from .. import REFUSAL, becomes, check, equal, refused, true
from .made import API, GUIDE, attached, encoded_as, made_policy, made_role, padded, rights, unparsed


def put(aws, role, name, document):
    text = document if isinstance(document, str) else json.dumps(document)
    aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=text)
    aws.after(aws.iam.delete_role_policy, RoleName=role, PolicyName=name)


def names(aws, role):
    return aws.iam.list_role_policies(RoleName=role)["PolicyNames"]


def arns(aws, role, **more):
    return [one["PolicyArn"] for one in aws.iam.list_attached_role_policies(RoleName=role, **more)["AttachedPolicies"]]


@check("iam", "an inline policy is added and replaced", page=API + "PutRolePolicy.html",
       says="PutRolePolicy adds an inline policy to a role, or replaces the one of that name.")
def _(aws):
    role = made_role(aws)
    read = lambda: aws.iam.get_role_policy(RoleName=role, PolicyName="inline")["PolicyDocument"]
    put(aws, role, "inline", rights("s3:GetObject"))
    becomes(lambda: names(aws, role), ["inline"])
    equal(read(), rights("s3:GetObject"))
    put(aws, role, "inline", rights("s3:PutObject"))
    becomes(read, rights("s3:PutObject"))
    equal(names(aws, role), ["inline"])


@check("iam", "an inline policy comes URL-encoded", page=API + "GetRolePolicy.html",
       says="GetRolePolicy gives the document URL-encoded by RFC 3986.")
def _(aws):
    role = made_role(aws)
    put(aws, role, "inline", rights())
    becomes(lambda: names(aws, role), ["inline"])
    text = unparsed(aws, "get_role_policy", "PolicyDocument", RoleName=role, PolicyName="inline")
    true(encoded_as(text, rights()), f"not the encoded document: {text}")


@check("iam", "a role without inline policies", page=API + "ListRolePolicies.html",
       says="ListRolePolicies is an empty list for a role without inline policies.")
def _(aws):
    equal(names(aws, made_role(aws)), [])


@check("iam", "an inline policy that is not there", REFUSAL, page=API + "DeleteRolePolicy.html",
       says="NoSuchEntity is the code for an inline policy that the role does not have.")
def _(aws):
    role = made_role(aws)
    for call in (aws.iam.get_role_policy, aws.iam.delete_role_policy):
        refused("NoSuchEntity", call, RoleName=role, PolicyName="none", status=404)


@check("iam", "a deleted inline policy is gone", page=API + "DeleteRolePolicy.html",
       says="DeleteRolePolicy takes an inline policy away from its role.")
def _(aws):
    role = made_role(aws)
    put(aws, role, "one", rights())
    put(aws, role, "two", rights())
    becomes(lambda: sorted(names(aws, role)), ["one", "two"])
    aws.iam.delete_role_policy(RoleName=role, PolicyName="one")
    becomes(lambda: names(aws, role), ["two"])


@check("iam", "an inline policy that is malformed", REFUSAL, page=API + "PutRolePolicy.html",
       says="MalformedPolicyDocument is the code for a document that is no policy.")
def _(aws):
    role = made_role(aws)
    neither = {"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Action": "s3:GetObject", "Resource": "*"}]}
    for document in ("{", json.dumps(neither)):
        refused("MalformedPolicyDocument", aws.iam.put_role_policy, RoleName=role, PolicyName="inline",
                PolicyDocument=document, status=400)


@check("iam", "a role's inline policies have a size together", REFUSAL, page=GUIDE + "reference_iam-quotas.html",
       says="A role's inline policies have 10,240 characters together at most.")
def _(aws):
    role = made_role(aws)
    put(aws, role, "first", padded(7000))
    refused("LimitExceeded", aws.iam.put_role_policy, RoleName=role, PolicyName="second", PolicyDocument=padded(7000),
            status=409)
    put(aws, role, "first", padded(7000))


@check("iam", "a policy of rights names no principal", REFUSAL,
       page=GUIDE + "reference_policies_elements_principal.html",
       says="A policy that belongs to an identity has no Principal.")
def _(aws):
    document = rights()
    document["Statement"][0]["Principal"] = {"AWS": "*"}
    refused("MalformedPolicyDocument", aws.iam.create_policy, PolicyName=aws.name("Policy"),
            PolicyDocument=json.dumps(document), status=400)


@check("iam", "what is attached is listed, once", page=API + "ListAttachedRolePolicies.html",
       says="ListAttachedRolePolicies gives every managed policy that is attached to a role.")
def _(aws):
    role, arn = made_role(aws), made_policy(aws)
    equal(arns(aws, role), [])
    attached(aws, role, arn)
    attached(aws, role, arn)
    becomes(lambda: arns(aws, role), [arn])
    [one] = aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    equal(one["PolicyName"], arn.rsplit("/", 1)[1])


@check("iam", "what is attached is listed by path prefix", page=API + "ListAttachedRolePolicies.html",
       says="ListAttachedRolePolicies takes a path prefix; an empty list where nothing attached matches.")
def _(aws):
    path = f"/{aws.name('Path')}/"
    role, inner, outer = made_role(aws), made_policy(aws, Path=path), made_policy(aws)
    attached(aws, role, inner)
    attached(aws, role, outer)
    becomes(lambda: set(arns(aws, role)), {inner, outer})
    equal(arns(aws, role, PathPrefix=path), [inner])
    equal(arns(aws, role, PathPrefix="/none/"), [])


@check("iam", "a policy that is not there is not attached", REFUSAL, page=API + "AttachRolePolicy.html",
       says="NoSuchEntity is the code where the policy to attach does not exist.")
def _(aws):
    role = made_role(aws)
    refused("NoSuchEntity", aws.iam.attach_role_policy, RoleName=role,
            PolicyArn=f"arn:aws:iam::{aws.account}:policy/{aws.name('None')}", status=404)
    refused("NoSuchEntity", aws.iam.attach_role_policy, RoleName=aws.name("None"), PolicyArn=made_policy(aws),
            status=404)


@check("iam", "a policy is detached once", REFUSAL, page=API + "DetachRolePolicy.html",
       says="NoSuchEntity is the code where the policy to detach is not attached.")
def _(aws):
    role, arn = made_role(aws), made_policy(aws)
    attached(aws, role, arn)
    aws.iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    becomes(lambda: arns(aws, role), [])
    refused("NoSuchEntity", aws.iam.detach_role_policy, RoleName=role, PolicyArn=arn, status=404)
