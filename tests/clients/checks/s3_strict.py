"""S3: what is checked, kept, or refused by name, and nothing dropped in silence.

The facts are in our own words. Where AWS's pages do not say, the page is a record of what AWS answered.
"""

import base64
import urllib.error
import urllib.request
import zlib
from datetime import datetime, timedelta, timezone

from . import REFUSAL, check, contains, equal, refused, true
from .buckets import API, bucket, got, place, put, version
from .s3_multipart import begin, complete, part

INTEGRITY = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html"
OWNERSHIP = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html"
NAMING = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"
OWNER = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"
RECORD = "https://github.com/localstack/localstack/blob/main/tests/aws/services/s3/{}.snapshot.json".format
STRICT = "https://docs.aws.amazon.com/AmazonS3/latest/API/API_Error.html"


def with_headers(aws, **headers):
    """A client that adds these headers to whatever it sends."""
    client = aws.client("s3", request_checksum_calculation="when_required")
    names = {name.replace("_", "-"): value for name, value in headers.items()}

    def add(request, **_):
        for name, value in names.items():
            del request.headers[name]
            request.headers[name] = value
    client.meta.events.register("before-sign.s3", add)
    return client


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def sums(answer):
    return {name: value for name, value in answer.items() if name.startswith("Checksum")}


def head(aws, name, key="k", **more):
    return aws.s3.head_object(Bucket=name, Key=key, ChecksumMode="ENABLED", **more)


@check("s3", "S3 adds CRC64NVME to what comes without a checksum", page=INTEGRITY,
       says="Content that comes without a checksum is given one by CRC64NVME, of the whole object.")
def _(aws):
    name = bucket(aws)
    plain = aws.client("s3", request_checksum_calculation="when_required")
    answer = plain.put_object(Bucket=name, Key="k", Body=b"123456789")
    equal(sums(answer), {"ChecksumCRC64NVME": "rosUhgp5mIg=", "ChecksumType": "FULL_OBJECT"}, "put")
    equal(sums(head(aws, name)), sums(answer), "head")
    listed = aws.s3.list_objects_v2(Bucket=name)["Contents"][0]
    equal((listed["ChecksumAlgorithm"], listed["ChecksumType"]), (["CRC64NVME"], "FULL_OBJECT"), "listed")


@check("s3", "an upload that declares no checksum is given CRC64NVME of the whole", page=INTEGRITY,
       says="Where the beginning of an upload names no algorithm the object gets CRC64NVME, whatever its parts carried.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = aws.s3.upload_part(**upload, PartNumber=1, Body=b"hello ", ChecksumAlgorithm="CRC32")
    answer = complete(aws, upload, [{"PartNumber": 1, "ETag": sent["ETag"]}])
    true("ChecksumCRC64NVME" in answer and answer["ChecksumType"] == "FULL_OBJECT", sums(answer))
    equal(sums(head(aws, name)), sums(answer))


@check("s3", "an upload that declares nothing takes no checksum of a part at its end", REFUSAL, page=RECORD("test_s3"),
       says="A part's checksum that the upload never declared makes its end fail with InvalidPart; without it it succeeds.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = aws.s3.upload_part(**upload, PartNumber=1, Body=b"one")
    named = {"PartNumber": 1, "ETag": sent["ETag"]}
    refused("InvalidPart", complete, aws, upload, [{**named, "ChecksumCRC32": crc32(b"one")}], status=400)
    refused("InvalidRequest", complete, aws, upload, [named], ChecksumType="FULL_OBJECT", status=400)
    refused("InvalidRequest", complete, aws, upload, [named], MpuObjectSize=4, status=400)
    complete(aws, upload, [named], MpuObjectSize=3)


@check("s3", "an upload by a composite checksum names its parts' own", REFUSAL, page=RECORD("test_s3"),
       says="Every part of a composite upload is named with its checksum, by the upload's algorithm.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name, ChecksumAlgorithm="CRC32")
    refused("InvalidRequest", aws.s3.upload_part, **upload, PartNumber=1, Body=b"one", ChecksumAlgorithm="SHA256",
            status=400)
    sent = aws.s3.upload_part(**upload, PartNumber=1, Body=b"one", ChecksumAlgorithm="CRC32")
    named = {"PartNumber": 1, "ETag": sent["ETag"]}
    refused("InvalidRequest", complete, aws, upload, [named], status=400)
    refused("InvalidPart", complete, aws, upload, [{**named, "ChecksumCRC32": crc32(b"two")}], status=400)
    refused("BadDigest", complete, aws, upload, [{**named, "ChecksumSHA256": "A" * 43 + "="}], status=400)
    answer = complete(aws, upload, [{**named, "ChecksumCRC32": crc32(b"one")}])
    composite = base64.b64encode(zlib.crc32(base64.b64decode(crc32(b"one"))).to_bytes(4, "big")).decode() + "-1"
    equal(sums(answer), {"ChecksumCRC32": composite, "ChecksumType": "COMPOSITE"})
    equal(sums(head(aws, name)), sums(answer))
    copied = aws.s3.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/k")["CopyObjectResult"]
    equal(sums(copied), {"ChecksumCRC32": crc32(b"one"), "ChecksumType": "FULL_OBJECT"}, "copy")


@check("s3", "the checksum of a whole upload is checked at its end", REFUSAL, page=API("CompleteMultipartUpload"),
       says="A checksum of the whole object that comes with the end of an upload must be the object's.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    sent = aws.s3.upload_part(**upload, PartNumber=1, Body=b"one", ChecksumAlgorithm="CRC32")
    named = [{"PartNumber": 1, "ETag": sent["ETag"]}]
    refused("BadDigest", complete, aws, upload, named, ChecksumCRC32=crc32(b"two"), status=400)
    refused("InvalidRequest", complete, aws, upload, named, ChecksumType="COMPOSITE", status=400)
    answer = complete(aws, upload, named, ChecksumCRC32=crc32(b"one"))
    equal(sums(answer), {"ChecksumCRC32": crc32(b"one"), "ChecksumType": "FULL_OBJECT"})


@check("s3", "a checksum that is none is refused", REFUSAL, page=RECORD("test_s3"),
       says="A value that cannot be a checksum by its algorithm is an invalid request rather than a wrong digest.")
def _(aws):
    name = bucket(aws)
    refused("InvalidRequest", aws.s3.put_object, Bucket=name, Key="k", Body=b"x", ChecksumSHA256="nonsense", status=400)
    refused("BadDigest", aws.s3.put_object, Bucket=name, Key="k", Body=b"x", ChecksumCRC32=crc32(b"y"), status=400)


@check("s3", "a copy can be given another algorithm", page=API("CopyObject"),
       says="A copy has its source's algorithm unless the request names one; the checksum is of the whole.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"x", ChecksumAlgorithm="SHA1")
    copy = lambda key, **more: aws.s3.copy_object(Bucket=name, Key=key, CopySource=f"{name}/k", **more)["CopyObjectResult"]
    true("ChecksumSHA1" in copy("same"), "the source's algorithm")
    equal(sums(copy("other", ChecksumAlgorithm="CRC32")), {"ChecksumCRC32": crc32(b"x"), "ChecksumType": "FULL_OBJECT"})
    equal(sums(head(aws, name, "other")), {"ChecksumCRC32": crc32(b"x"), "ChecksumType": "FULL_OBJECT"})


@check("s3", "the end of an upload can be asked for again", page=API("CompleteMultipartUpload"),
       says="Who asks again for the end of an upload that has succeeded is answered alike; the upload itself is gone.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = [part(aws, upload, 1, b"one")]
    first, again = complete(aws, upload, sent), complete(aws, upload, sent)
    equal(*({key: one[key] for key in ("ETag", "Location", "Key", "Bucket")} for one in (again, first)))
    refused("NoSuchUpload", complete, aws, upload, [{"PartNumber": 2, "ETag": sent[0]["ETag"]}], status=404)
    refused("NoSuchUpload", aws.s3.list_parts, **upload, status=404)
    put(aws, name, "k", body=b"two")
    refused("NoSuchUpload", complete, aws, upload, sent, status=404)


@check("s3", "the next page of versions can be asked for after its marker is deleted", page=API("ListObjectVersions"),
       says="A listing of versions goes on behind its marker even where the version that the marker names is deleted.")
def _(aws):
    name = bucket(aws, "Enabled")
    for n in range(3):
        put(aws, name, "a", "b", body=str(n).encode())
    all = [(one["Key"], one["VersionId"]) for one in aws.s3.list_object_versions(Bucket=name)["Versions"]]
    page = aws.s3.list_object_versions(Bucket=name, MaxKeys=2)
    for one in page["Versions"]:
        aws.s3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
    marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    rest = aws.s3.list_object_versions(Bucket=name, **marker)["Versions"]
    equal([(one["Key"], one["VersionId"]) for one in rest], all[2:])
    marker["VersionIdMarker"] = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"
    refused("InvalidArgument", aws.s3.list_object_versions, Bucket=name, **marker, status=400)
    refused("InvalidArgument", aws.s3.list_object_versions, Bucket=name, VersionIdMarker=all[0][1], status=400)


@check("s3", "a condition at an upload's end looks at what happened since its beginning", REFUSAL,
       page=RECORD("test_s3_api"),
       says="A key that was written or deleted since the upload began makes its conditional end fail with 409.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k", body=b"1")["ETag"]
    upload = begin(aws, name)
    sent = [part(aws, upload, 1, b"2")]
    etag = put(aws, name, "k", body=b"1")["ETag"]
    refused("ConditionalRequestConflict", complete, aws, upload, sent, IfMatch=etag, status=409)
    aws.s3.delete_object(Bucket=name, Key="k")
    refused("NoSuchKey", complete, aws, upload, sent, IfMatch=etag, status=404)
    refused("ConditionalRequestConflict", complete, aws, upload, sent, IfNoneMatch="*", status=409)
    complete(aws, upload, sent)


@check("s3", "conditions of writes that S3 does not weigh are refused", REFUSAL, page=RECORD("test_s3_api"),
       says="A write with If-Match: *, or with both conditions, is not implemented; nothing is written.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k", body=b"1")["ETag"]
    write = lambda **more: refused("NotImplemented", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", status=501, **more)
    write(IfMatch="*")
    write(IfMatch=etag, IfNoneMatch="*")
    source = {"Bucket": name, "Key": "k"}
    refused("NotImplemented", aws.s3.copy_object, Bucket=name, Key="k2", CopySource=source, IfMatch="*", status=501)
    equal(got(aws, name, "k"), b"1")


@check("s3", "what is unchanged is still named", page="https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5",
       says="An answer 304 carries the ETag; a time that is yet to come is no condition.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    answer = refused("304", aws.s3.get_object, Bucket=name, Key="k", IfNoneMatch=etag)
    equal(answer["ResponseMetadata"]["HTTPHeaders"].get("etag"), etag)
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    aws.s3.get_object(Bucket=name, Key="k", IfModifiedSince=soon)
    source = {"Bucket": name, "Key": "k"}
    aws.s3.copy_object(Bucket=name, Key="k2", CopySource=source, CopySourceIfModifiedSince=soon)


@check("s3", "a version that never was is a bad argument", REFUSAL, page=RECORD("test_s3_api"),
       says="An id that no version ever had is refused as an argument; one that is deleted is not found.")
def _(aws):
    for versioning in (None, "Enabled"):
        name = bucket(aws, versioning)
        put(aws, name, "k")
        none = {"Bucket": name, "Key": "k", "VersionId": "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"}
        refused("InvalidArgument", aws.s3.get_object, **none, status=400)
        refused("InvalidArgument", aws.s3.delete_object, **none, status=400)
        answer = aws.s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k", "VersionId": none["VersionId"]}]})
        equal([one["Code"] for one in answer["Errors"]], ["NoSuchVersion"])
        equal(got(aws, name, "k", **({} if versioning else {"VersionId": "null"})), b"x")
    gone = put(aws, name, "k")["VersionId"]
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=gone)
    refused("NoSuchVersion", aws.s3.get_object, Bucket=name, Key="k", VersionId=gone, status=404)
    aws.s3.delete_object(Bucket=name, Key="k", VersionId=gone)


@check("s3", "a part can be a range of a small object", page=RECORD("test_s3_api"),
       says="The range of a part's source may be of an object of any size, as long as it is within.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "source", body=b"0123456789")
    upload = begin(aws, name)
    copy = lambda range: dict(**upload, PartNumber=1, CopySource=f"{name}/source", CopySourceRange=range)
    refused("InvalidArgument", aws.s3.upload_part_copy, **copy("bytes=0-10"), status=400)
    refused("InvalidRequest", aws.s3.upload_part_copy, **copy("bytes=10-10"), status=400)
    sent = aws.s3.upload_part_copy(**copy("bytes=2-4"))["CopyPartResult"]
    complete(aws, upload, [{"PartNumber": 1, "ETag": sent["ETag"]}])
    equal(got(aws, name, "k"), b"234")


@check("s3", "names that S3 keeps for itself name no bucket", REFUSAL, page=NAMING,
       says="No bucket is called like an IP address, with two dots together, or with a beginning or end that is reserved.")
def _(aws):
    for name in ("192.168.5.123", "foo..bar", "xn--" + aws.name(), "sthree-" + aws.name(), "amzn-s3-demo-" + aws.name(),
                 aws.name() + "-s3alias", aws.name() + "--ol-s3", aws.name() + ".mrap"):
        refused("InvalidBucketName", aws.s3.create_bucket, Bucket=name, **place(aws), status=400)


@check("s3", "the last no bytes are no range", REFUSAL, page=RECORD("test_s3_api"),
       says="bytes=-0 cannot be satisfied; more bytes than there are is all of them, with the checksum of all.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"0123456789")
    refused("InvalidRange", aws.s3.get_object, Bucket=name, Key="k", Range="bytes=-0", status=416)
    answer = aws.s3.get_object(Bucket=name, Key="k", Range="bytes=-15", ChecksumMode="ENABLED")
    equal((answer["ContentRange"], "ChecksumCRC32" in answer), ("bytes 0-9/10", True))


@check("s3", "a write where versions are suspended names none", page=RECORD("test_s3_api"),
       says="The answer to a write has no version where versions are suspended; that to a deletion has null.")
def _(aws):
    name = bucket(aws, "Enabled")
    version(aws, name, "Suspended")
    equal(put(aws, name, "k").get("VersionId"), None)
    equal(aws.s3.delete_object(Bucket=name, Key="k")["VersionId"], "null")


@check("s3", "what belongs to an object comes back as it was sent", page=API("PutObject"),
       says="The headers that describe the content, and a redirection, are kept letter by letter and given back.")
def _(aws):
    name = bucket(aws)
    kept = {"CacheControl": "no-cache", "ContentDisposition": "attachment", "ContentEncoding": "deflate, gzip",
            "ContentLanguage": "de", "ContentType": "text/x-check", "WebsiteRedirectLocation": "/elsewhere",
            "Metadata": {"colour": "blue"}}
    put(aws, name, "k", Expires=datetime(2030, 1, 1, tzinfo=timezone.utc), **kept)
    found = aws.s3.head_object(Bucket=name, Key="k")
    equal({one: found.get(one) for one in kept}, kept)
    equal(found["ResponseMetadata"]["HTTPHeaders"]["expires"], "Tue, 01 Jan 2030 00:00:00 GMT")
    aws.s3.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/k")
    found = aws.s3.head_object(Bucket=name, Key="copy")
    equal({one: found.get(one) for one in kept}, {**kept, "WebsiteRedirectLocation": None}, "copy")
    found = aws.s3.get_object(Bucket=name, Key="k", ResponseContentType="text/plain", ResponseCacheControl="max-age=1")
    equal((found["ContentType"], found["CacheControl"], found["ContentLanguage"]), ("text/plain", "max-age=1", "de"))


@check("s3", "another owner's bucket is refused", REFUSAL, page=OWNER,
       says="A request that expects another account to own the bucket is denied, the source of a copy as well.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    other, mine = "111122223333", aws.account
    for call, more in ((aws.s3.get_object, {"Key": "k"}), (aws.s3.put_object, {"Key": "k"}), (aws.s3.list_objects_v2, {}),
                       (aws.s3.delete_object, {"Key": "k"}), (aws.s3.delete_bucket, {})):
        refused("AccessDenied", call, Bucket=name, **more, ExpectedBucketOwner=other, status=403)
    copy = {"Bucket": name, "Key": "copy", "CopySource": f"{name}/k"}
    refused("AccessDenied", aws.s3.copy_object, **copy, ExpectedSourceBucketOwner=other, status=403)
    aws.s3.copy_object(**copy, ExpectedSourceBucketOwner=mine, ExpectedBucketOwner=mine)


@check("s3", "ACLs are refused where the bucket's owner is enforced", REFUSAL, page=OWNERSHIP,
       says="A bucket without ACLs takes no ACL but full control of its owner's.")
def _(aws):
    name = bucket(aws)
    for more in ({"ACL": "public-read"}, {"ACL": "private"}, {"GrantRead": 'id="1"'}):
        refused("AccessControlListNotSupported", aws.s3.put_object, Bucket=name, Key="k", status=400, **more)
        refused("AccessControlListNotSupported", aws.s3.create_multipart_upload, Bucket=name, Key="k", status=400, **more)
    put(aws, name, "k", ACL="bucket-owner-full-control")
    refused("InvalidBucketAclWithObjectOwnership", aws.s3.create_bucket, Bucket=aws.name("bucket"), ACL="public-read",
            **place(aws), status=400)


@check("s3", "locks of objects need a bucket that has them", REFUSAL, page=RECORD("test_s3_api"),
       says="Without Object Lock a bucket takes no lock of an object, and no word of passing one by.")
def _(aws):
    name = bucket(aws)
    until = datetime.now(timezone.utc) + timedelta(days=1)
    refused("InvalidRequest", aws.s3.put_object, Bucket=name, Key="k", ObjectLockMode="GOVERNANCE",
            ObjectLockRetainUntilDate=until, ChecksumAlgorithm="CRC32", status=400)
    put(aws, name, "k")
    refused("InvalidArgument", aws.s3.delete_object, Bucket=name, Key="k", BypassGovernanceRetention=True, status=400)
    equal(got(aws, name, "k"), b"x")


@check("s3", "what the sandbox does not keep of a write is refused by its name", REFUSAL, page=STRICT,
       says="A header that implies something that is not there is not implemented, and nothing is written.")
def _(aws):
    name = bucket(aws)
    key = base64.b64encode(b"k" * 32).decode()
    for more in ({"Tagging": "a=b"}, {"SSEKMSEncryptionContext": "e30="}, {"BucketKeyEnabled": True}):
        for call in (aws.s3.put_object, aws.s3.create_multipart_upload):
            answer = refused("NotImplemented", call, Bucket=name, Key="k", status=501, **more)
            contains(answer["Error"]["Message"], "x-amz-")
    for more in ({"x_amz_write_offset_bytes": "3"}, {"x_amz_server_side_encryption_customer_key": key},
                 {"x_amz_no_such_thing": "1"}, {"x_amz_checksum_sha512": "A" * 86 + "=="}):
        answer = refused("NotImplemented", with_headers(aws, **more).put_object, Bucket=name, Key="k", Body=b"x", status=501)
        contains(answer["Error"]["Message"], next(iter(more)).replace("_", "-"))
        true(key not in answer["Error"]["Message"], "a key is not repeated")
    equal(aws.s3.list_objects_v2(Bucket=name)["KeyCount"], 0)


@check("s3", "conditions on deletions that S3 does not weigh delete nothing", REFUSAL, page=RECORD("test_s3_api"),
       says="A deletion by size or by time of change is not implemented for general purpose buckets.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    refused("NotImplemented", aws.s3.delete_object, Bucket=name, Key="k", IfMatchSize=7, status=501)
    refused("NotImplemented", aws.s3.delete_object, Bucket=name, Key="k",
            IfMatchLastModifiedTime=datetime.now(timezone.utc), status=501)
    refused("NotImplemented", aws.s3.delete_object, Bucket=name, Key="k", MFA="1 2", status=501)
    refused("NotImplemented", aws.s3.delete_objects, Bucket=name, Delete={"Objects": [{"Key": "k", "Size": 7}]}, status=501)
    equal(got(aws, name, "k"), b"x")


@check("s3", "what a bucket is not made with is refused by its name", REFUSAL, page=API("CreateBucket"),
       says="Object Lock, ownership by the writer and tags are not there in the sandbox, and no bucket is made as if.")
def _(aws):
    name = aws.name("bucket")
    aws.after(aws.s3.delete_bucket, Bucket=name)
    make = lambda **more: refused("NotImplemented", aws.s3.create_bucket, Bucket=name, status=501, **{**place(aws), **more})
    make(ObjectLockEnabledForBucket=True)
    make(ObjectOwnership="ObjectWriter")
    where = {} if aws.region == "us-east-1" else {"LocationConstraint": aws.region}
    make(CreateBucketConfiguration={**where, "Tags": [{"Key": "a", "Value": "b"}]})
    refused(("404", "NoSuchBucket"), aws.s3.head_bucket, Bucket=name)
    aws.s3.create_bucket(Bucket=name, ObjectOwnership="BucketOwnerEnforced", ACL="private", **place(aws))


@check("s3", "what a bucket is not set to is refused by its name", REFUSAL, page=API("PutBucketVersioning"),
       says="MFA delete and keys of buckets are not there in the sandbox, and no bucket is set as if.")
def _(aws):
    name = bucket(aws)
    set = {"Status": "Enabled", "MFADelete": "Enabled"}
    refused("NotImplemented", aws.s3.put_bucket_versioning, Bucket=name, VersioningConfiguration=set, status=501)
    true("Status" not in aws.s3.get_bucket_versioning(Bucket=name), "nothing is set")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    refused("NotImplemented", aws.s3.put_bucket_encryption, Bucket=name,
            ServerSideEncryptionConfiguration={"Rules": [rule]}, status=501)


@check("s3", "a copy onto itself changes something", REFUSAL, page=API("CopyObject"),
       says="An object can be copied onto itself where the request changes how it is kept, and else not.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    copy = lambda **more: aws.s3.copy_object(Bucket=name, Key="k", CopySource=f"{name}/k", **more)
    refused("InvalidRequest", copy, status=400)
    copy(StorageClass="STANDARD_IA")
    equal(aws.s3.head_object(Bucket=name, Key="k")["StorageClass"], "STANDARD_IA")
    equal(copy(ServerSideEncryption="AES256")["ServerSideEncryption"], "AES256")
    refused("NotImplemented", copy, MetadataDirective="REVERSE", status=501)


@check("s3", "listings say whose objects are", page=API("ListObjectsV2"),
       says="The owner is shown by the first listing, of versions and of uploads; by the second one where it is asked for.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    owner = aws.s3.list_buckets()["Owner"]["ID"]
    equal(aws.s3.list_objects(Bucket=name)["Contents"][0]["Owner"]["ID"], owner)
    true("Owner" not in aws.s3.list_objects_v2(Bucket=name)["Contents"][0], "not asked for")
    equal(aws.s3.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"][0]["Owner"]["ID"], owner)
    equal(aws.s3.list_object_versions(Bucket=name)["Versions"][0]["Owner"]["ID"], owner)
    begin(aws, name, ChecksumAlgorithm="SHA1")
    upload = aws.s3.list_multipart_uploads(Bucket=name)["Uploads"][0]
    equal((upload["Owner"]["ID"], upload["Initiator"]["ID"], upload["ChecksumAlgorithm"]), (owner, owner, "SHA1"))


@check("s3", "errors name what they are about", REFUSAL, page=STRICT,
       says="The name of a bucket or key stands beside the message, which is the same for all.")
def _(aws):
    name = bucket(aws)
    absent = aws.name("absent")
    error = refused("NoSuchBucket", aws.s3.list_objects_v2, Bucket=absent, status=404)["Error"]
    equal((error["BucketName"], error["Message"]), (absent, "The specified bucket does not exist"))
    error = refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k", status=404)["Error"]
    equal((error["Key"], error["Message"]), ("k", "The specified key does not exist."))
    error = refused("InvalidArgument", aws.s3.list_objects_v2, Bucket=name, MaxKeys=-1, status=400)["Error"]
    equal(error["ArgumentName"], "max-keys")


@check("s3", "how a request is signed that is not served is said", REFUSAL, page=STRICT,
       says="An address that is signed in its query, and a request that only Date dates, are refused as not implemented.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    address = aws.s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"})
    for request in (urllib.request.Request(address),
                    urllib.request.Request(f"{aws.endpoint}/{name}/k", headers={"Authorization": "AWS AKIA:c2ln"})):
        try:
            urllib.request.urlopen(request, timeout=10).close()
            true(False, "answered")
        except urllib.error.HTTPError as error:
            equal(error.code, 501)
            contains(error.read().decode(), "NotImplemented")
