"""Instance profiles."""

from .. import REFUSAL, becomes, check, equal, refused
from .made import API, GUIDE, joined, made_profile, made_role, pairs, tag_list


def roles(aws, profile):
    found = aws.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
    return [role["RoleName"] for role in found]


@check("iam", "an instance profile is read as it was made", page=API + "GetInstanceProfile.html",
       says="GetInstanceProfile gives an instance profile's path, id, ARN and role.")
def _(aws):
    path, role = f"/{aws.name('Path')}/", made_role(aws)
    name = made_profile(aws, Path=path, Tags=tag_list(a="b"))
    profile = aws.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    equal((profile["InstanceProfileName"], profile["Path"], profile["Roles"]), (name, path, []))
    equal(profile["Arn"], f"arn:aws:iam::{aws.account}:instance-profile{path}{name}")
    equal(pairs(profile["Tags"]), {"a": "b"})
    joined(aws, name, role)
    becomes(lambda: roles(aws, name), [role])


@check("iam", "instance profiles' names differ by more than case", REFUSAL, page=GUIDE + "reference_iam-quotas.html",
       says="Names of instance profiles are unique in the account, whatever the case of their letters.")
def _(aws):
    name = made_profile(aws)
    for again in (name, name.upper()):
        aws.after(aws.iam.delete_instance_profile, InstanceProfileName=again)
        refused("EntityAlreadyExists", aws.iam.create_instance_profile, InstanceProfileName=again, status=409)


@check("iam", "an instance profile that is not there", REFUSAL, page=API + "GetInstanceProfile.html",
       says="NoSuchEntity is the code for an instance profile that does not exist.")
def _(aws):
    name, role = aws.name("None"), made_role(aws)
    for call in (aws.iam.get_instance_profile, aws.iam.delete_instance_profile):
        refused("NoSuchEntity", call, InstanceProfileName=name, status=404)
    refused("NoSuchEntity", aws.iam.add_role_to_instance_profile, InstanceProfileName=name, RoleName=role, status=404)
    refused("NoSuchEntity", aws.iam.add_role_to_instance_profile, InstanceProfileName=made_profile(aws),
            RoleName=aws.name("None"), status=404)


@check("iam", "an instance profile holds one role", REFUSAL, page=API + "AddRoleToInstanceProfile.html",
       says="An instance profile holds one role, and no quota raises that.")
def _(aws):
    profile, first, second = made_profile(aws), made_role(aws), made_role(aws)
    joined(aws, profile, first)
    refused("LimitExceeded", aws.iam.add_role_to_instance_profile, InstanceProfileName=profile, RoleName=second,
            status=409)
    equal(roles(aws, profile), [first])


@check("iam", "an instance profile's role is exchanged", page=API + "AddRoleToInstanceProfile.html",
       says="Once its role is removed an instance profile can be given another.")
def _(aws):
    profile, first, second = made_profile(aws), made_role(aws), made_role(aws)
    joined(aws, profile, first)
    aws.iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=first)
    becomes(lambda: roles(aws, profile), [])
    joined(aws, profile, second)
    becomes(lambda: roles(aws, profile), [second])


@check("iam", "a role that an instance profile has not is not removed", REFUSAL,
       page=API + "RemoveRoleFromInstanceProfile.html",
       says="NoSuchEntity is the code for a role that the instance profile does not hold.")
def _(aws):
    refused("NoSuchEntity", aws.iam.remove_role_from_instance_profile, InstanceProfileName=made_profile(aws),
            RoleName=made_role(aws), status=404)


@check("iam", "an instance profile with a role is not deleted", REFUSAL, page=API + "DeleteInstanceProfile.html",
       says="An instance profile is deleted only without a role in it.")
def _(aws):
    profile = made_profile(aws)
    joined(aws, profile, made_role(aws))
    refused("DeleteConflict", aws.iam.delete_instance_profile, InstanceProfileName=profile, status=409)


@check("iam", "instance profiles are listed by their role", page=API + "ListInstanceProfilesForRole.html",
       says="ListInstanceProfilesForRole gives the profiles that hold a role; an empty list where there is none.")
def _(aws):
    role, other, mine = made_role(aws), made_role(aws), {made_profile(aws), made_profile(aws)}
    for profile in mine:
        joined(aws, profile, role)
    found = lambda name: {one["InstanceProfileName"] for one in
                          aws.iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]}
    becomes(lambda: found(role), mine)
    equal(found(other), set())


@check("iam", "instance profiles are listed by path prefix", page=API + "ListInstanceProfiles.html",
       says="ListInstanceProfiles takes a path prefix; an empty list where none matches.")
def _(aws):
    root = f"/{aws.name('Path')}/"
    inner, outer = made_profile(aws, Path=root + "inner/"), made_profile(aws, Path=root)
    found = lambda prefix: {one["InstanceProfileName"] for one in
                            aws.iam.list_instance_profiles(PathPrefix=prefix)["InstanceProfiles"]}
    becomes(lambda: found(root), {inner, outer})
    equal((found(root + "inner/"), found(root + "none/")), ({inner}, set()))


@check("iam", "a listing of instance profiles has no tags", page=API + "ListInstanceProfiles.html",
       says="ListInstanceProfiles leaves out tags, which GetInstanceProfile has.")
def _(aws):
    root = f"/{aws.name('Path')}/"
    made_profile(aws, Path=root, Tags=tag_list(a="b"))
    listed = lambda: aws.iam.list_instance_profiles(PathPrefix=root)["InstanceProfiles"]
    becomes(lambda: len(listed()), 1)
    equal("Tags" in listed()[0], False)
