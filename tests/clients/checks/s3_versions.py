"""S3: versions of objects, and delete markers."""

from . import REFUSAL, check, equal, refused, true
from .buckets import API, CONDITIONAL, ERRORS, bucket, got, keys, put, version


def versions(aws, name, **more):
    """What is listed of a bucket: versions and markers as (key, version id, is latest)."""
    answer = aws.s3.list_object_versions(Bucket=name, **more)
    shown = lambda member: [(one["Key"], one["VersionId"], one["IsLatest"]) for one in answer.get(member, [])]
    return shown("Versions"), shown("DeleteMarkers")


@check("s3", "a bucket has no versioning state until one is set", page=API("PutBucketVersioning"),
       says="GetBucketVersioning gives no status for a bucket that was never given one.")
def _(aws):
    name = bucket(aws)
    equal(aws.s3.get_bucket_versioning(Bucket=name).get("Status"), None)
    for status in ("Enabled", "Suspended"):
        version(aws, name, status)
        equal(aws.s3.get_bucket_versioning(Bucket=name)["Status"], status)
    equal(put(aws, bucket(aws), "k").get("VersionId"), None, "where there are no versions")


@check("s3", "a versioning state that is none is refused", REFUSAL, page=ERRORS,
       says="""A versioning status that is none is IllegalVersioningConfigurationException, or MalformedXML where the schema
       forbids it.""")
def _(aws):
    name = bucket(aws)
    refused(("IllegalVersioningConfigurationException", "MalformedXML"), version, aws, name, "Sometimes", status=400)
    equal(aws.s3.get_bucket_versioning(Bucket=name).get("Status"), None)


@check("s3", "each write makes a version of its own", page=API("PutObject"),
       says="With versioning each write gets a version id of its own, which the answer tells.")
def _(aws):
    name = bucket(aws, "Enabled")
    ids = [put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"2", b"2")]
    equal(len(set(ids)), 3, f"different ids of {ids}")
    equal(aws.s3.head_object(Bucket=name, Key="k")["VersionId"], ids[2])


@check("s3", "an older version can be had by its id", page=API("GetObject"),
       says="Without VersionId the current version is read, with it that one.")
def _(aws):
    name = bucket(aws, "Enabled")
    first, second = (put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"22"))
    equal(got(aws, name, "k"), b"22")
    equal(got(aws, name, "k", VersionId=first), b"1")
    equal(aws.s3.head_object(Bucket=name, Key="k", VersionId=first)["ContentLength"], 1)
    answer = aws.s3.get_object(Bucket=name, Key="k", VersionId=second)
    equal((answer["Body"].read(), answer["VersionId"]), (b"22", second))


@check("s3", "a version that is gone is told as such", REFUSAL, page=ERRORS,
       says="NoSuchVersion is the code for a version that there is not.")
def _(aws):
    name = bucket(aws, "Enabled")
    gone = put(aws, name, "k", body=b"1")["VersionId"]
    put(aws, name, "k", body=b"2")
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=gone)
    refused("NoSuchVersion", aws.s3.get_object, Bucket=name, Key="k", VersionId=gone, status=404)


@check("s3", "a deletion inserts a marker and keeps the versions", REFUSAL, page=API("DeleteObject"),
       says="With versioning a deletion keeps the versions and puts a delete marker before them.")
def _(aws):
    name = bucket(aws, "Enabled")
    kept = put(aws, name, "k", body=b"1")["VersionId"]
    marker = aws.s3.delete_object(Bucket=name, Key="k")
    equal(marker["DeleteMarker"], True)
    equal(versions(aws, name), ([("k", kept, False)], [("k", marker["VersionId"], True)]))
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k", status=404)
    equal(got(aws, name, "k", VersionId=kept), b"1")
    equal(keys(aws.s3.list_objects_v2(Bucket=name)), [])


@check("s3", "a missing key can be deleted where there are versions, which leaves a marker", page=API("DeleteObject"),
       says="The answer to a deletion has the version id of the delete marker that it made.")
def _(aws):
    name = bucket(aws, "Enabled")
    marker = aws.s3.delete_object(Bucket=name, Key="never there")["VersionId"]
    equal(versions(aws, name), ([], [("never there", marker, True)]))


@check("s3", "behind a marker an object reads as deleted, and the answer says so", REFUSAL, page=API("GetObject"),
       says="Where a delete marker is current the object reads as deleted, with x-amz-delete-marker: true.")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k")
    aws.s3.delete_object(Bucket=name, Key="k")
    for call, codes in ((aws.s3.get_object, "NoSuchKey"), (aws.s3.head_object, "404")):
        answer = refused(codes, call, Bucket=name, Key="k", status=404)
        equal(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker"), "true", "x-amz-delete-marker")


@check("s3", "a marker itself cannot be read", REFUSAL, page=API("GetObject"),
       says="Reading a delete marker by its version id is 405, with a Last-Modified header.")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    answer = refused("MethodNotAllowed", aws.s3.get_object, Bucket=name, Key="k", VersionId=marker, status=405)
    true("last-modified" in answer["ResponseMetadata"]["HTTPHeaders"], "a Last-Modified header")


@check("s3", "a deleted marker brings the object back", page=API("DeleteObject"),
       says="VersionId deletes that version for good; where it was a delete marker, x-amz-delete-marker is true.")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k", body=b"1")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    answer = aws.s3.delete_object(Bucket=name, Key="k", VersionId=marker)
    equal((answer["DeleteMarker"], answer["VersionId"]), (True, marker))
    equal(got(aws, name, "k"), b"1")


@check("s3", "a version deleted by its id is gone, and the one before is current", page=API("DeleteObject"),
       says="A version is removed by its version id only.")
def _(aws):
    name = bucket(aws, "Enabled")
    first, second = (put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"2"))
    answer = aws.s3.delete_object(Bucket=name, Key="k", VersionId=second)
    equal((answer.get("DeleteMarker"), answer["VersionId"]), (None, second))
    equal(got(aws, name, "k"), b"1")
    equal(versions(aws, name), ([("k", first, True)], []))


@check("s3", "what was there before versioning has the version null", page=API("PutBucketVersioning"),
       says="With versioning suspended new objects have the version id null.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"0")
    version(aws, name, "Enabled")
    kept = put(aws, name, "k", body=b"1")["VersionId"]
    equal(got(aws, name, "k", VersionId="null"), b"0")
    version(aws, name, "Suspended")
    put(aws, name, "k", body=b"2")
    put(aws, name, "k", body=b"3")
    equal(sorted(versions(aws, name)[0]), sorted([("k", "null", True), ("k", kept, False)]))
    equal((got(aws, name, "k"), got(aws, name, "k", VersionId=kept)), (b"3", b"1"))


@check("s3", "a deletion where versioning is suspended takes only the version null", page=API("DeleteObject"),
       says="""With versioning suspended a deletion removes the null version, if there is one, and leaves a delete marker as
       the current one.""")
def _(aws):
    name = bucket(aws, "Enabled")
    kept = put(aws, name, "k", body=b"1")["VersionId"]
    version(aws, name, "Suspended")
    put(aws, name, "k", body=b"2")
    equal(aws.s3.delete_object(Bucket=name, Key="k")["DeleteMarker"], True)
    equal(versions(aws, name), ([("k", kept, False)], [("k", "null", True)]))
    equal(got(aws, name, "k", VersionId=kept), b"1")


@check("s3", "If-None-Match: * goes by the current version", REFUSAL, page=CONDITIONAL,
       says="""With versioning If-None-Match: * writes where the key has no current version, or a delete marker for one;
       else 412.""")
def _(aws):
    name = bucket(aws, "Enabled")
    etag = put(aws, name, "k", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", IfNoneMatch="*", status=412)
    aws.s3.delete_object(Bucket=name, Key="k")
    refused("NoSuchKey", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", IfMatch=etag, status=404)
    put(aws, name, "k", body=b"3", IfNoneMatch="*")
    equal(got(aws, name, "k"), b"3")


@check("s3", "a bucket with nothing but a marker is not empty", REFUSAL, page=API("DeleteBucket"),
       says="A bucket is deleted only when all versions and delete markers in it are.")
def _(aws):
    name = bucket(aws, "Enabled")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    equal(keys(aws.s3.list_objects_v2(Bucket=name)), [])
    refused("BucketNotEmpty", aws.s3.delete_bucket, Bucket=name, status=409)
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=marker)
    aws.s3.delete_bucket(Bucket=name)


@check("s3", "versions are listed newest first, and the latest is said", page=API("ObjectVersion"),
       says="IsLatest says whether a version is its key's latest.")
def _(aws):
    name = bucket(aws, "Enabled")
    ids = [put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"22")]
    other = put(aws, name, "a")["VersionId"]
    equal(versions(aws, name)[0], [("a", other, True), ("k", ids[1], True), ("k", ids[0], False)])
    equal(versions(aws, name, Prefix="a")[0], [("a", other, True)])


@check("s3", "a listing of versions goes on inside a key", page=API("ListObjectVersions"),
       says="NextKeyMarker and NextVersionIdMarker are where the next page begins.")
def _(aws):
    name = bucket(aws, "Enabled")
    ids = [put(aws, name, "k", body=b"%d" % n)["VersionId"] for n in range(3)]
    put(aws, name, "l")
    first = aws.s3.list_object_versions(Bucket=name, MaxKeys=2)
    equal([one["VersionId"] for one in first["Versions"]], [ids[2], ids[1]])
    equal((first["IsTruncated"], first["NextKeyMarker"], first["NextVersionIdMarker"]), (True, "k", ids[1]))
    rest = aws.s3.list_object_versions(Bucket=name, KeyMarker=first["NextKeyMarker"],
                                       VersionIdMarker=first["NextVersionIdMarker"])
    equal([(one["Key"], one["VersionId"]) for one in rest["Versions"]][0], ("k", ids[0]))
    equal([one["Key"] for one in rest["Versions"]], ["k", "l"])


@check("s3", "an older version can be copied, a deleted object cannot", REFUSAL, page=API("CopyObject"),
       says="A source whose current version is a delete marker counts as deleted.")
def _(aws):
    name = bucket(aws, "Enabled")
    first = put(aws, name, "k", body=b"1")["VersionId"]
    put(aws, name, "k", body=b"2")
    aws.s3.delete_object(Bucket=name, Key="k")
    refused("NoSuchKey", aws.s3.copy_object, Bucket=name, Key="c", CopySource={"Bucket": name, "Key": "k"}, status=404)
    answer = aws.s3.copy_object(Bucket=name, Key="k", CopySource={"Bucket": name, "Key": "k", "VersionId": first})
    equal(answer["CopySourceVersionId"], first)
    equal(got(aws, name, "k"), b"1")


@check("s3", "many versions are deleted by their ids, and many markers made", page=API("DeleteObjects"),
       says="DeleteObjects takes keys, each with a version id where that version is meant.")
def _(aws):
    name = bucket(aws, "Enabled")
    first = put(aws, name, "a", body=b"1")["VersionId"]
    second = put(aws, name, "a", body=b"2")["VersionId"]
    kept = put(aws, name, "b")["VersionId"]
    wanted = [{"Key": "a", "VersionId": first}, {"Key": "b"}]
    deleted = {one["Key"]: one for one in aws.s3.delete_objects(Bucket=name, Delete={"Objects": wanted})["Deleted"]}
    equal(deleted["a"]["VersionId"], first)
    marker = deleted["b"]["DeleteMarkerVersionId"]
    equal(deleted["b"]["DeleteMarker"], True)
    equal(versions(aws, name), ([("a", second, True), ("b", kept, False)], [("b", marker, True)]))
