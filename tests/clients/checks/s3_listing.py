"""S3: listings, in pages and by prefixes."""

from . import REFUSAL, check, equal, refused, true
from .buckets import API, bucket, keys, put


@check("s3", "keys are listed in order", page=API("ListObjectsV2"),
       says="ListObjectsV2 gives keys in lexicographical order.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "b", "a/2", "a", "é", "a/10", "B")
    answer = aws.s3.list_objects_v2(Bucket=name)
    equal(keys(answer), ["B", "a", "a/10", "a/2", "b", "é"])
    equal((answer["KeyCount"], answer["IsTruncated"]), (6, False))


@check("s3", "a listing's page has no more than was asked for", page=API("ListObjectsV2"),
       says="A page has MaxKeys keys at most, and may have fewer.")
def _(aws):
    name = bucket(aws)
    put(aws, name, *(f"k{n}" for n in range(5)))
    found, more, pages = [], {}, 0
    while True:
        answer = aws.s3.list_objects_v2(Bucket=name, MaxKeys=2, **more)
        true(len(keys(answer)) <= 2 and answer["KeyCount"] == len(keys(answer)), keys(answer))
        found, pages = found + keys(answer), pages + 1
        if not answer["IsTruncated"]:
            break
        more = {"ContinuationToken": answer["NextContinuationToken"]}
    equal(found, [f"k{n}" for n in range(5)])
    true(pages >= 3, f"{pages} pages")


@check("s3", "a listing says whether there is more, and how to go on", page=API("ListObjectsV2"),
       says="IsTruncated says that there is more, and NextContinuationToken is there then.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a", "b")
    first = aws.s3.list_objects_v2(Bucket=name, MaxKeys=1)
    true(first["IsTruncated"] and first["NextContinuationToken"], first)
    last = aws.s3.list_objects_v2(Bucket=name, MaxKeys=1, ContinuationToken=first["NextContinuationToken"])
    equal((keys(last), last["IsTruncated"], last.get("NextContinuationToken")), (["b"], False, None))


@check("s3", "a continuation token that is none is refused", REFUSAL, page=API("Error"),
       says="InvalidArgument is the code for an argument that is wrong, such as a token.")
def _(aws):
    refused("InvalidArgument", aws.s3.list_objects_v2, Bucket=bucket(aws), ContinuationToken="no token", status=400)


@check("s3", "a listing can start after a key", page=API("ListObjectsV2"),
       says="StartAfter may be any key; the listing begins after it.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a", "b", "c")
    answer = aws.s3.list_objects_v2(Bucket=name, StartAfter="a")
    equal((keys(answer), answer["StartAfter"]), (["b", "c"], "a"))


@check("s3", "keys are grouped up to a delimiter", page=API("ListObjectsV2"),
       says="CommonPrefixes are the keys' beginnings, from the prefix to the next delimiter.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "notes/summer/july", "notes/summer/june", "notes/winter/may", "notes/x", "other/y")
    answer = aws.s3.list_objects_v2(Bucket=name, Prefix="notes/", Delimiter="/")
    equal([one["Prefix"] for one in answer["CommonPrefixes"]], ["notes/summer/", "notes/winter/"])
    equal(keys(answer), ["notes/x"])


@check("s3", "a group of keys counts as one", page=API("ListObjectsV2"),
       says="A common prefix counts as one, however many keys it stands for.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a/1", "a/2", "a/3", "b")
    answer = aws.s3.list_objects_v2(Bucket=name, Delimiter="/", MaxKeys=2)
    equal(([one["Prefix"] for one in answer["CommonPrefixes"]], keys(answer), answer["KeyCount"]), (["a/"], ["b"], 2))
    equal(answer["IsTruncated"], False)
    first = aws.s3.list_objects_v2(Bucket=name, Delimiter="/", MaxKeys=1)
    rest = aws.s3.list_objects_v2(Bucket=name, Delimiter="/", ContinuationToken=first["NextContinuationToken"])
    equal((keys(rest), rest.get("CommonPrefixes", [])), (["b"], []), "after the group")


@check("s3", "no groups without a delimiter", page=API("ListObjectsV2"),
       says="Without a delimiter there are no CommonPrefixes.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a/1", "a/2")
    answer = aws.s3.list_objects_v2(Bucket=name, Prefix="a/")
    equal((keys(answer), answer.get("CommonPrefixes")), (["a/1", "a/2"], None))


@check("s3", "keys can be had URL-encoded", page=API("ListObjectsV2"),
       says="EncodingType=url gives test_file(3).png as test_file%283%29.png.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "test_file(3).png", "é ü/x\ny")
    found = keys(aws.s3.list_objects_v2(Bucket=name, EncodingType="url"))
    equal(found[0], "test_file%283%29.png")
    true(found[1] in ("%C3%A9+%C3%BC/x%0Ay", "%C3%A9%20%C3%BC/x%0Ay"), found[1])


@check("s3", "the older listing starts after its marker", page=API("ListObjects"),
       says="Marker may be any key; the older listing begins after it.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a", "b", "c")
    equal(keys(aws.s3.list_objects(Bucket=name, Marker="a")), ["b", "c"])


@check("s3", "the older listing goes on from its last key, or from the marker it gives", page=API("ListObjects"),
       says="NextMarker is there only with a delimiter; without one the last key is the marker of the next page.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a/1", "a/2", "b", "c")
    first = aws.s3.list_objects(Bucket=name, MaxKeys=3)
    equal((first["IsTruncated"], first.get("NextMarker")), (True, None))
    equal(keys(aws.s3.list_objects(Bucket=name, Marker=keys(first)[-1])), ["c"])
    grouped = aws.s3.list_objects(Bucket=name, Delimiter="/", MaxKeys=1)
    equal([one["Prefix"] for one in grouped["CommonPrefixes"]], ["a/"])
    rest = aws.s3.list_objects(Bucket=name, Delimiter="/", Marker=grouped["NextMarker"])
    equal((keys(rest), rest.get("CommonPrefixes", [])), (["b", "c"], []))


@check("s3", "every page of every listing is walked", page=API("ListObjectsV2"),
       says="NextContinuationToken is where the next page begins.")
def _(aws):
    name = bucket(aws, "Enabled")
    wanted = sorted([f"a/{n}" for n in range(5)] + ["b", "c/1", "d"])
    put(aws, name, *wanted, "c/1")
    aws.settings(page=2)
    for listing in ("list_objects", "list_objects_v2", "list_object_versions"):
        for size in ({}, {"PageSize": 3}):
            pages = list(aws.s3.get_paginator(listing).paginate(Bucket=name, PaginationConfig=size))
            member = "Versions" if listing == "list_object_versions" else "Contents"
            found = [one["Key"] for page in pages for one in page.get(member, [])]
            equal(sorted(set(found)), wanted, listing)
            equal(len(found), len(wanted) + (member == "Versions"), f"{listing}: how many")
            true(len(pages) > 2, f"{listing}: {len(pages)} pages")
            groups = aws.s3.get_paginator(listing).paginate(Bucket=name, Delimiter="/", PaginationConfig=size)
            prefixes = [one["Prefix"] for page in groups for one in page.get("CommonPrefixes", [])]
            equal(prefixes, ["a/", "c/"], f"{listing}: groups")
