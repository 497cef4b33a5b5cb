"""EC2: key pairs, the network, images and types, tags. Groups and instances have files of their own."""

from . import REFUSAL, check, contains, ec2_groups, ec2_instances, ec2_lives, ec2_strict, equal, refused, true  # noqa: F401
from .ec2_made import (ERRORS, FILTERING, GUIDE, by, default_vpc, group, image, page, plain, tagged)

RSA = ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDSPPkKHhxXV01hv2ruiDJvflZrHFTMI6tNq02PMvavv0W2kYasf5rBaf93O6In"
       "Ks0h2uL8p+zCDUfsCXmmytedN3isiWbtIINvrmPoGey5WhcfcxqdnR/E9piOhsLP3Esd//OLSQrju8AL9f9nK66y3KcJKpSwW0O8"
       "AyRFCcxxz7txNOTdWM8IkcXJSj9s95IsWmKn7zX9Uj8EzUe0FVgwVgsi9607+LsHe8yUyHeKbed2ZE3OUfLqNnzr2OD2WaY42Bmy"
       "sB4xSi5TGmuhkvr/q5TwmZzCCq6l7ncVaPU+5kkbZTFiq8J4W0Y5PWSUF1/CFn1Rnt4VZ5Xr+jUcyzbf")
# What the command of the page "verify-keys" prints for it: openssl rsa -pubout -outform DER | openssl md5 -c
RSA_FINGERPRINT = "05:d1:a6:4d:d1:a6:7c:4e:22:c9:37:a9:fd:03:75:56"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPuDQRSBPc06RFA/g0F1ENfjHMhCsoopCfsIuwF4frlA"
# What ssh-keygen -l prints for it.
ED25519_FINGERPRINT = "rSh5ZqXfQv9QTJ3sX456lplNsnMDFWRbF1tpwZAx9AE"


def key_pair(aws, public_key=ED25519, name=None, **more):
    """ImportKeyPair's answer; the key pair is deleted afterwards."""
    name = name or aws.name("key")
    made = aws.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public_key.encode(), **more)
    aws.after(aws.ec2.delete_key_pair, KeyName=name)
    return made


@check("ec2", "an ED25519 key's fingerprint is its SHA-256", page=page("ImportKeyPair"),
       says="An ED25519 key's fingerprint is the SHA-256 of it in base64, as OpenSSH shows it.")
def _(aws):
    equal(key_pair(aws)["KeyFingerprint"].rstrip("="), ED25519_FINGERPRINT)


@check("ec2", "an imported RSA key's fingerprint is the MD5 of its DER form", page=GUIDE + "verify-keys.html",
       says="The fingerprint of an imported RSA key is the MD5 of its public half in DER, as openssl computes it.")
def _(aws):
    equal(key_pair(aws, RSA)["KeyFingerprint"], RSA_FINGERPRINT)


@check("ec2", "a key pair's type is told", page=page("DescribeKeyPairs"), says="DescribeKeyPairs tells a key pair's type.")
def _(aws):
    for public_key, kind in [(RSA, "rsa"), (ED25519, "ed25519")]:
        made = key_pair(aws, public_key)
        equal(aws.ec2.describe_key_pairs(KeyPairIds=[made["KeyPairId"]])["KeyPairs"][0]["KeyType"], kind)


@check("ec2", "a key pair is imported with its tags", page=page("ImportKeyPair"),
       says="ImportKeyPair takes tags for the key pair.")
def _(aws):
    team = aws.name("team")
    made = key_pair(aws, TagSpecifications=tagged("key-pair", Team=team, Empty=""))
    equal(plain(made["Tags"]), {"Team": team, "Empty": ""}, "in the answer")
    found = aws.ec2.describe_key_pairs(Filters=[by("tag:Team", team)])["KeyPairs"]
    equal([plain(one["Tags"]) for one in found], [{"Team": team, "Empty": ""}], "described")


@check("ec2", "key pairs are found by their fingerprint", page=page("DescribeKeyPairs"),
       says="The filter fingerprint finds key pairs by theirs.")
def _(aws):
    made, other = key_pair(aws, RSA), key_pair(aws)
    found = aws.ec2.describe_key_pairs(Filters=[by("fingerprint", made["KeyFingerprint"])])["KeyPairs"]
    ids = [one["KeyPairId"] for one in found]
    contains(ids, made["KeyPairId"])
    true(other["KeyPairId"] not in ids, "a key pair with another fingerprint is found")


@check("ec2", "the public key is shown when it is asked for", page=page("DescribeKeyPairs"),
       says="IncludePublicKey=true adds the public key to the answer; without it there is none.")
def _(aws):
    name = key_pair(aws)["KeyName"]
    shown = aws.ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"][0]
    equal(shown["PublicKey"].split()[:2], ED25519.split()[:2])
    true("PublicKey" not in aws.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"][0], "it is shown unasked")


@check("ec2", "a key pair's name is taken", REFUSAL, page=ERRORS,
       says="InvalidKeyPair.Duplicate is the code for a key pair's name that is taken in the region.")
def _(aws):
    name = key_pair(aws)["KeyName"]
    refused("InvalidKeyPair.Duplicate", aws.ec2.import_key_pair, KeyName=name, PublicKeyMaterial=RSA.encode())
    equal(aws.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"][0]["KeyType"], "ed25519", "the first one's type")


@check("ec2", "what is no public key is not imported", REFUSAL, page=ERRORS,
       says="InvalidKey.Format is the code for a public key that is not in a form that EC2 takes.")
def _(aws):
    for material in [b"no key", b"ssh-rsa AAAA", ED25519.encode()[:40]]:
        refused(("InvalidKey.Format", "InvalidKeyPair.Format"), aws.ec2.import_key_pair, KeyName=aws.name("key"),
                PublicKeyMaterial=material)


@check("ec2", "an unknown key pair is not described", REFUSAL, page=ERRORS,
       says="InvalidKeyPair.NotFound is the code for a key pair's name that there is not.")
def _(aws):
    refused("InvalidKeyPair.NotFound", aws.ec2.describe_key_pairs, KeyNames=[aws.name("none")])


@check("ec2", "a deleted key pair is gone", REFUSAL, page=page("DeleteKeyPair"),
       says="DeleteKeyPair removes the public key from EC2.")
def _(aws):
    name = key_pair(aws)["KeyName"]
    aws.ec2.delete_key_pair(KeyName=name)
    refused("InvalidKeyPair.NotFound", aws.ec2.describe_key_pairs, KeyNames=[name])


@check("ec2", "there is one default VPC", page=page("DescribeVpcs"),
       says="The filter is-default finds the default VPC.")
def _(aws):
    found = aws.ec2.describe_vpcs(Filters=[by("is-default", "true")])["Vpcs"]
    equal([one["IsDefault"] for one in found], [True])
    equal(aws.ec2.describe_vpcs(VpcIds=[found[0]["VpcId"]])["Vpcs"][0]["CidrBlock"], found[0]["CidrBlock"])


@check("ec2", "the default VPC has a default subnet a zone", page=page("DescribeSubnets"),
       says="The filter default-for-az finds the default subnet of each zone.")
def _(aws):
    filters = [by("vpc-id", default_vpc(aws)), by("default-for-az", "true")]
    subnets = aws.ec2.describe_subnets(Filters=filters)["Subnets"]
    true(subnets, "there is none")
    zones = [one["AvailabilityZone"] for one in subnets]
    equal(len(set(zones)), len(zones), "zones with a default subnet")
    known = aws.ec2.describe_availability_zones(ZoneNames=zones)["AvailabilityZones"]
    equal(sorted(one["ZoneName"] for one in known), sorted(zones), "zones that are described")


@check("ec2", "an unknown subnet is not described", REFUSAL, page=ERRORS,
       says="InvalidSubnetID.NotFound is the code for a subnet that there is not.")
def _(aws):
    refused(("InvalidSubnetID.NotFound", "InvalidSubnetId.NotFound"), aws.ec2.describe_subnets,
            SubnetIds=["subnet-0123456789abcdef0"])


@check("ec2", "a subnet's id has a form", REFUSAL, page=ERRORS,
       says="InvalidSubnetID.Malformed is the code for an id that is not subnet- and hexadecimal digits.")
def _(aws):
    refused("InvalidSubnetID.Malformed", aws.ec2.describe_subnets, SubnetIds=["net-1"])


@check("ec2", "an unknown VPC is not described", REFUSAL, page=ERRORS,
       says="InvalidVpcID.NotFound is the code for a VPC that there is not.")
def _(aws):
    refused("InvalidVpcID.NotFound", aws.ec2.describe_vpcs, VpcIds=["vpc-0123456789abcdef0"])


@check("ec2", "an unknown zone is refused", REFUSAL, page=ERRORS,
       says="A zone that there is not, or not for this account, is refused.")
def _(aws):
    refused(("InvalidZone.NotFound", "InvalidParameterValue"), aws.ec2.describe_availability_zones,
            ZoneNames=[aws.region + "y"])


@check("ec2", "a type's processors and memory", page=page("DescribeInstanceTypes"),
       says="SizeInMiB is a type's memory in MiB.")
def _(aws):
    known = {"m5.large": (2, 8192, "x86_64"), "r6i.2xlarge": (8, 65536, "x86_64"), "m6g.xlarge": (4, 16384, "arm64")}
    for one in aws.ec2.describe_instance_types(InstanceTypes=list(known))["InstanceTypes"]:
        found = (one["VCpuInfo"]["DefaultVCpus"], one["MemoryInfo"]["SizeInMiB"])
        vcpus, memory, architecture = known.pop(one["InstanceType"])
        equal(found, (vcpus, memory), one["InstanceType"])
        contains(one["ProcessorInfo"]["SupportedArchitectures"], architecture)
    equal(known, {}, "types that are not described")


@check("ec2", "an unknown type is refused", REFUSAL, page=ERRORS,
       says="InvalidInstanceType is the code for a type that the request cannot have.")
def _(aws):
    refused("InvalidInstanceType", aws.ec2.describe_instance_types, InstanceTypes=["r99.huge"])


@check("ec2", "an image is of one architecture", page=page("DescribeImages"),
       says="DescribeImages tells an image's architecture.")
def _(aws):
    for architecture in ["x86_64", "arm64"]:
        shown = aws.ec2.describe_images(ImageIds=[image(aws, architecture)])["Images"]
        equal([one["Architecture"] for one in shown], [architecture])
        true(shown[0]["RootDeviceName"].startswith("/dev/"), "a root device")


@check("ec2", "images of other owners are left out", page=page("DescribeImages"),
       says="Owners limits DescribeImages to images of these owners.")
def _(aws):
    equal(aws.ec2.describe_images(ImageIds=[image(aws)], Owners=["self"])["Images"], [])


@check("ec2", "an unknown image is not described", REFUSAL, page=ERRORS,
       says="InvalidAMIID.NotFound is the code for an image that there is not.")
def _(aws):
    refused("InvalidAMIID.NotFound", aws.ec2.describe_images, ImageIds=["ami-0123456789abcdef0"])


@check("ec2", "an image's id has a form", REFUSAL, page=ERRORS,
       says="InvalidAMIID.Malformed is the code for an id that is not ami- and hexadecimal digits.")
def _(aws):
    refused("InvalidAMIID.Malformed", aws.ec2.describe_images, ImageIds=["image-1"])


def tags_of(aws, resource):
    return plain(aws.ec2.describe_tags(Filters=[by("resource-id", resource)])["Tags"])


def put(aws, resource, **tags):
    return aws.ec2.create_tags(Resources=[resource], Tags=tagged("", **tags)[0]["Tags"])


@check("ec2", "a tag's value is overwritten", page=page("CreateTags"),
       says="CreateTags with a key that is there already replaces its value.")
def _(aws):
    key = key_pair(aws, TagSpecifications=tagged("key-pair", a="1", b="2"))["KeyPairId"]
    put(aws, key, a="3")
    equal(tags_of(aws, key), {"a": "3", "b": "2"})


@check("ec2", "a resource has fifty tags at most", REFUSAL, page=page("CreateTags"),
       says="A resource has 50 tags at most.")
def _(aws):
    key = key_pair(aws)["KeyPairId"]
    put(aws, key, **{f"k{n}": "v" for n in range(50)})
    refused("TagLimitExceeded", put, aws, key, more="v")
    equal(len(tags_of(aws, key)), 50)
    put(aws, key, k0="again")


@check("ec2", "a tag's key and value may be this long", page=page("CreateTags"),
       says="Keys and values of tags heed case; a value has 256 Unicode characters at most.")
def _(aws):
    key = key_pair(aws)["KeyPairId"]
    put(aws, key, **{"ä" * 127: "ö" * 256})
    equal(tags_of(aws, key), {"ä" * 127: "ö" * 256})


@check("ec2", "a tag's value may be no longer", REFUSAL, page=GUIDE + "Using_Tags.html",
       says="A tag's value has 256 Unicode characters at most.")
def _(aws):
    key = key_pair(aws)["KeyPairId"]
    refused("InvalidParameterValue", put, aws, key, a="v" * 257)
    equal(tags_of(aws, key), {})


@check("ec2", "AWS's own tag keys are refused", REFUSAL, page=ERRORS,
       says="A tag's key may not be empty and may not begin with aws:.")
def _(aws):
    key = key_pair(aws)["KeyPairId"]
    for name in ["aws:mine", ""]:
        refused(("InvalidTagKey.Malformed", "InvalidParameterValue"), put, aws, key, **{name: "x"})
    equal(tags_of(aws, key), {})


@check("ec2", "what is no resource is not tagged", REFUSAL, page=ERRORS,
       says="InvalidID is the code for an id to tag that is no resource's.")
def _(aws):
    refused("InvalidID", put, aws, "resource", a="b")


@check("ec2", "a tag is deleted by its key", page=page("DeleteTags"),
       says="DeleteTags with a key alone deletes its tag, whatever the value.")
def _(aws):
    key = key_pair(aws, TagSpecifications=tagged("key-pair", a="1", b="2"))["KeyPairId"]
    aws.ec2.delete_tags(Resources=[key], Tags=[{"Key": "a"}])
    equal(tags_of(aws, key), {"b": "2"})


@check("ec2", "a tag is deleted if its value is empty", page=page("DeleteTags"),
       says="DeleteTags with a key and an empty value deletes the tag only if its value is empty.")
def _(aws):
    key = key_pair(aws, TagSpecifications=tagged("key-pair", a="", b="2"))["KeyPairId"]
    aws.ec2.delete_tags(Resources=[key], Tags=[{"Key": "a", "Value": ""}, {"Key": "b", "Value": ""}])
    equal(tags_of(aws, key), {"b": "2"})


@check("ec2", "all tags are deleted", page=page("DeleteTags"),
       says="DeleteTags without tags deletes all that users have made.")
def _(aws):
    key = key_pair(aws, TagSpecifications=tagged("key-pair", a="1", b="2"))["KeyPairId"]
    aws.ec2.delete_tags(Resources=[key])
    equal(tags_of(aws, key), {})


@check("ec2", "tags are listed with their resources", page=page("DescribeTags"),
       says="DescribeTags tells the type of each tagged resource.")
def _(aws):
    value = aws.name("value")
    key = key_pair(aws, TagSpecifications=tagged("key-pair", Team=value))["KeyPairId"]
    made = group(aws, TagSpecifications=tagged("security-group", Team=value))
    both = aws.ec2.describe_tags(Filters=[by("key", "Team"), by("value", value)])["Tags"]
    equal({(one["ResourceType"], one["ResourceId"]) for one in both}, {("key-pair", key), ("security-group", made)})
    one = aws.ec2.describe_tags(Filters=[by("value", value), by("resource-type", "security-group")])["Tags"]
    equal([tag["ResourceId"] for tag in one], [made])


def named(aws, *values):
    """Key pairs with these values of the tag `v`, and what finds the values that a filter's values choose."""
    run = aws.name("run")
    for value in values:
        key_pair(aws, TagSpecifications=tagged("key-pair", run=run, v=value))

    def find(*patterns):
        found = aws.ec2.describe_key_pairs(Filters=[by("tag:run", run), by("tag:v", *patterns)])["KeyPairs"]
        return sorted(plain(one["Tags"])["v"] for one in found)

    return find


@check("ec2", "filters' values are joined with OR", page=page("DescribeKeyPairs"),
       says="A filter with several values finds what has any of them.")
def _(aws):
    equal(named(aws, "a", "b", "c")("a", "c", "d"), ["a", "c"])


@check("ec2", "filters' values are case-sensitive", page=page("DescribeKeyPairs"),
       says="The case of a filter's values counts.")
def _(aws):
    equal(named(aws, "prod", "Prod")("Prod"), ["Prod"])


@check("ec2", "wildcards in filters", page=FILTERING,
       says="In a filter * stands for any number of characters, and ? for one or none.")
def _(aws):
    find = named(aws, "prod", "prods", "production")
    equal(find("prod*"), ["prod", "prods", "production"], "prod*")
    equal(find("prod?"), ["prod", "prods"], "prod?")


@check("ec2", "wildcards taken literally", page=FILTERING,
       says="A backslash before * or ? or another backslash makes it stand for itself in a filter.")
def _(aws):
    equal(named(aws, "*amazon?\\", "xamazonx\\")(r"\*amazon\?\\"), ["*amazon?\\"])


@check("ec2", "an unknown filter is refused", REFUSAL, page=ERRORS, says="A filter that there is not is refused.")
def _(aws):
    refused(("InvalidFilter", "InvalidParameterValue"), aws.ec2.describe_key_pairs, Filters=[by("colour", "red")])


@check("ec2", "an action that there is not", REFUSAL, page=ERRORS,
       says="InvalidAction is the code for an action that there is not.")
def _(aws):
    client = aws.client("ec2")
    rename = lambda params, **_: params["body"].update(Action="DescribeUnicorns")
    client.meta.events.register("before-call.ec2.DescribeVpcs", rename)
    refused("InvalidAction", client.describe_vpcs)


# The last one: where the group can be deleted, the checks after this would miss it.
@check("ec2", "the default group stays", REFUSAL, page=ERRORS,
       says="A VPC's group called default cannot be deleted; its rules can be changed.")
def _(aws):
    filters = [by("vpc-id", default_vpc(aws)), by("group-name", "default")]
    default = aws.ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]
    refused("CannotDelete", aws.ec2.delete_security_group, GroupId=default)
