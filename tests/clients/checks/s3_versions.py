"""S3: versions of objects, and delete markers."""

from . import REFUSAL, check, equal, refused, true
from .buckets import API, CONDITIONAL, ERRORS, bucket, got, keys, put, version


def versions(aws, name, **more):
    """What is listed of a bucket: versions and markers as (key, version id, is latest)."""
    answer = aws.s3.list_object_versions(Bucket=name, **more)
    shown = lambda member: [(one["Key"], one["VersionId"], one["IsLatest"]) for one in answer.get(member, [])]
    return shown("Versions"), shown("DeleteMarkers")


@check("s3", "a bucket has no versioning state until one is set", page=API("PutBucketVersioning"),
       says="""If the versioning state has never been set on a bucket, it has no versioning state; a GetBucketVersioning request
       does not return a versioning state value.""")
def _(aws):
    name = bucket(aws)
    equal(aws.s3.get_bucket_versioning(Bucket=name).get("Status"), None)
    for status in ("Enabled", "Suspended"):
        version(aws, name, status)
        equal(aws.s3.get_bucket_versioning(Bucket=name)["Status"], status)
    equal(put(aws, bucket(aws), "k").get("VersionId"), None, "where there are no versions")


@check("s3", "a versioning state that is none is refused", REFUSAL, page=ERRORS,
       says="""Indicates that the versioning configuration specified in the request is invalid. … The XML you provided was not
       well-formed or did not validate against our published schema.""")
def _(aws):
    name = bucket(aws)
    refused(("IllegalVersioningConfigurationException", "MalformedXML"), version, aws, name, "Sometimes", status=400)
    equal(aws.s3.get_bucket_versioning(Bucket=name).get("Status"), None)


@check("s3", "each write makes a version of its own", page=API("PutObject"),
       says="""If you enable versioning for a bucket, Amazon S3 automatically generates a unique version ID for the object being
       stored. Amazon S3 returns this ID in the response.""")
def _(aws):
    name = bucket(aws, "Enabled")
    ids = [put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"2", b"2")]
    equal(len(set(ids)), 3, f"different ids of {ids}")
    equal(aws.s3.head_object(Bucket=name, Key="k")["VersionId"], ids[2])


@check("s3", "an older version can be had by its id", page=API("GetObject"),
       says="""By default, the GetObject operation returns the current version of an object. To return a different version, use
       the versionId subresource.""")
def _(aws):
    name = bucket(aws, "Enabled")
    first, second = (put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"22"))
    equal(got(aws, name, "k"), b"22")
    equal(got(aws, name, "k", VersionId=first), b"1")
    equal(aws.s3.head_object(Bucket=name, Key="k", VersionId=first)["ContentLength"], 1)
    answer = aws.s3.get_object(Bucket=name, Key="k", VersionId=second)
    equal((answer["Body"].read(), answer["VersionId"]), (b"22", second))


@check("s3", "a version that is gone is told as such", REFUSAL, page=ERRORS,
       says="Indicates that the version ID specified in the request does not match an existing version.")
def _(aws):
    name = bucket(aws, "Enabled")
    gone = put(aws, name, "k", body=b"1")["VersionId"]
    put(aws, name, "k", body=b"2")
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=gone)
    refused("NoSuchVersion", aws.s3.get_object, Bucket=name, Key="k", VersionId=gone, status=404)


@check("s3", "a deletion inserts a marker and keeps the versions", REFUSAL, page=API("DeleteObject"),
       says="""If bucket versioning is enabled, the operation inserts a delete marker, which becomes the current version of the
       object.""")
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
       says="Returns the version ID of the delete marker created as a result of the DELETE operation.")
def _(aws):
    name = bucket(aws, "Enabled")
    marker = aws.s3.delete_object(Bucket=name, Key="never there")["VersionId"]
    equal(versions(aws, name), ([], [("never there", marker, True)]))


@check("s3", "behind a marker an object reads as deleted, and the answer says so", REFUSAL, page=API("GetObject"),
       says="""If the current version of the object is a delete marker, Amazon S3 behaves as if the object was deleted and
       includes x-amz-delete-marker: true in the response.""")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k")
    aws.s3.delete_object(Bucket=name, Key="k")
    for call, codes in ((aws.s3.get_object, "NoSuchKey"), (aws.s3.head_object, "404")):
        answer = refused(codes, call, Bucket=name, Key="k", status=404)
        equal(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker"), "true", "x-amz-delete-marker")


@check("s3", "a marker itself cannot be read", REFUSAL, page=API("GetObject"),
       says="""If the specified version in the request is a delete marker, the response returns a 405 Method Not Allowed error
       and the Last-Modified: timestamp response header.""")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    answer = refused("MethodNotAllowed", aws.s3.get_object, Bucket=name, Key="k", VersionId=marker, status=405)
    true("last-modified" in answer["ResponseMetadata"]["HTTPHeaders"], "a Last-Modified header")


@check("s3", "a deleted marker brings the object back", page=API("DeleteObject"),
       says="""Using this query parameter permanently deletes the version. If the object deleted is a delete marker, Amazon S3
       sets the response header x-amz-delete-marker to true.""")
def _(aws):
    name = bucket(aws, "Enabled")
    put(aws, name, "k", body=b"1")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    answer = aws.s3.delete_object(Bucket=name, Key="k", VersionId=marker)
    equal((answer["DeleteMarker"], answer["VersionId"]), (True, marker))
    equal(got(aws, name, "k"), b"1")


@check("s3", "a version deleted by its id is gone, and the one before is current", page=API("DeleteObject"),
       says="To remove a specific version, you must use the versionId query parameter.")
def _(aws):
    name = bucket(aws, "Enabled")
    first, second = (put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"2"))
    answer = aws.s3.delete_object(Bucket=name, Key="k", VersionId=second)
    equal((answer.get("DeleteMarker"), answer["VersionId"]), (None, second))
    equal(got(aws, name, "k"), b"1")
    equal(versions(aws, name), ([("k", first, True)], []))


@check("s3", "what was there before versioning has the version null", page=API("PutBucketVersioning"),
       says="Suspended—Disables versioning for the objects in the bucket. All objects added to the bucket receive the version ID null.")
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
       says="""If bucket versioning is suspended, the operation removes the object that has a null versionId, if there is one, and
       inserts a delete marker that becomes the current version of the object.""")
def _(aws):
    name = bucket(aws, "Enabled")
    kept = put(aws, name, "k", body=b"1")["VersionId"]
    version(aws, name, "Suspended")
    put(aws, name, "k", body=b"2")
    equal(aws.s3.delete_object(Bucket=name, Key="k")["DeleteMarker"], True)
    equal(versions(aws, name), ([("k", kept, False)], [("k", "null", True)]))
    equal(got(aws, name, "k", VersionId=kept), b"1")


@check("s3", "If-None-Match: * goes by the current version", REFUSAL, page=CONDITIONAL,
       says="""For buckets with versioning enabled, if there's no current object version with the same name, or if the current
       object version is a delete marker, the write operation succeeds. Otherwise, it results in a failed write operation with
       a 412 Precondition Failed response.""")
def _(aws):
    name = bucket(aws, "Enabled")
    etag = put(aws, name, "k", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", IfNoneMatch="*", status=412)
    aws.s3.delete_object(Bucket=name, Key="k")
    refused("NoSuchKey", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", IfMatch=etag, status=404)
    put(aws, name, "k", body=b"3", IfNoneMatch="*")
    equal(got(aws, name, "k"), b"3")


@check("s3", "a bucket with nothing but a marker is not empty", REFUSAL, page=API("DeleteBucket"),
       says="""All objects (including all object versions and delete markers) in the bucket must be deleted before the bucket
       itself can be deleted.""")
def _(aws):
    name = bucket(aws, "Enabled")
    marker = aws.s3.delete_object(Bucket=name, Key="k")["VersionId"]
    equal(keys(aws.s3.list_objects_v2(Bucket=name)), [])
    refused("BucketNotEmpty", aws.s3.delete_bucket, Bucket=name, status=409)
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=marker)
    aws.s3.delete_bucket(Bucket=name)


@check("s3", "versions are listed newest first, and the latest is said", page=API("ObjectVersion"),
       says="Specifies whether the object is (true) or is not (false) the latest version of an object.")
def _(aws):
    name = bucket(aws, "Enabled")
    ids = [put(aws, name, "k", body=body)["VersionId"] for body in (b"1", b"22")]
    other = put(aws, name, "a")["VersionId"]
    equal(versions(aws, name)[0], [("a", other, True), ("k", ids[1], True), ("k", ids[0], False)])
    equal(versions(aws, name, Prefix="a")[0], [("a", other, True)])


@check("s3", "a listing of versions goes on inside a key", page=API("ListObjectVersions"),
       says="""If your results were truncated, you can make a follow-up paginated request by using the NextKeyMarker and
       NextVersionIdMarker response parameters as a starting place in another request to return the rest of the results.""")
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
       says="If the current version is a delete marker, Amazon S3 behaves as if the object was deleted.")
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
       says="""In the XML, you provide the object key names, and optionally, version IDs if you want to delete a specific version
       of the object from a versioning-enabled bucket.""")
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
