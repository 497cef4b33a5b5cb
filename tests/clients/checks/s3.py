"""S3: buckets, objects, conditions, copies and deletions."""

import base64
import hashlib
import threading
import zlib
from datetime import datetime, timedelta, timezone

import botocore.exceptions

from . import REFUSAL, check, contains, equal, refused, true
from .buckets import API, CONDITIONAL, ERRORS, bucket, elsewhere_than, got, keys, place, put
from . import s3_listing, s3_multipart, s3_strict, s3_versions  # noqa: F401  (more of the same service)


@check("s3", "a bucket made again by its owner is refused", REFUSAL, page=ERRORS,
       says="BucketAlreadyOwnedByYou is the code for one's own bucket made again, in every region but N. Virginia.")
def _(aws):
    elsewhere_than(aws, "us-east-1")
    name = bucket(aws)
    refused("BucketAlreadyOwnedByYou", aws.s3.create_bucket, Bucket=name, **place(aws), status=409)


@check("s3", "a bucket's name that is no name is refused", REFUSAL, page=ERRORS,
       says="InvalidBucketName is the code for a name that no bucket may have.")
def _(aws):
    name = aws.name("Not_A_Bucket")
    aws.after(aws.s3.delete_bucket, Bucket=name)
    refused("InvalidBucketName", aws.s3.create_bucket, Bucket=name, **place(aws), status=400)


@check("s3", "a bucket in a region that is none is refused", REFUSAL, page=ERRORS,
       says="InvalidLocationConstraint is S3's code for a location constraint that is no region.")
def _(aws):
    refused(("InvalidLocationConstraint", "IllegalLocationConstraintException"), aws.s3.create_bucket,
            Bucket=aws.name("bucket"), CreateBucketConfiguration={"LocationConstraint": "xx-nowhere-9"}, status=400)


@check("s3", "a bucket's region is told", page=API("GetBucketLocation"),
       says="GetBucketLocation tells the region that the bucket is in.")
def _(aws):
    elsewhere_than(aws, "us-east-1")
    equal(aws.s3.get_bucket_location(Bucket=bucket(aws))["LocationConstraint"], aws.region)


@check("s3", "a bucket that is there is found", page=API("HeadBucket"),
       says="HeadBucket answers 200 where the bucket exists and the caller may access it.")
def _(aws):
    equal(aws.s3.head_bucket(Bucket=bucket(aws))["ResponseMetadata"]["HTTPStatusCode"], 200)


@check("s3", "a bucket that is not there is 404 without a word", REFUSAL, page=API("HeadBucket"),
       says="""HeadBucket has no body: a bucket that is not there, or not for the caller, is told by the status 400, 403 or
       404 alone.""")
def _(aws):
    refused(("404", "403", "400"), aws.s3.head_bucket, Bucket=aws.name("none"))


@check("s3", "every bucket of the owner's is listed", page=API("ListBuckets"),
       says="ListBuckets lists all buckets of the caller's account.")
def _(aws):
    name = bucket(aws)
    contains([one["Name"] for one in aws.s3.list_buckets()["Buckets"]], name)


@check("s3", "a bucket with an object in it cannot be deleted", REFUSAL, page=ERRORS,
       says="BucketNotEmpty is the code for deleting a bucket that has something in it.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    refused("BucketNotEmpty", aws.s3.delete_bucket, Bucket=name, status=409)
    equal(got(aws, name, "k"), b"x", "its object, afterwards")


@check("s3", "a deleted bucket is gone", REFUSAL, page=ERRORS,
       says="NoSuchBucket is the code for a bucket that there is not.")
def _(aws):
    name = bucket(aws)
    aws.s3.delete_bucket(Bucket=name)
    refused("NoSuchBucket", aws.s3.list_objects_v2, Bucket=name, status=404)
    refused("NoSuchBucket", aws.s3.put_object, Bucket=name, Key="k", Body=b"x", status=404)
    refused("NoSuchBucket", aws.s3.delete_bucket, Bucket=name, status=404)


@check("s3", "a missing key is told as such", REFUSAL, page=ERRORS,
       says="NoSuchKey is the code for a key that there is not.")
def _(aws):
    refused("NoSuchKey", aws.s3.get_object, Bucket=bucket(aws), Key="none", status=404)


@check("s3", "HEAD of a missing key is a bare 404", REFUSAL, page=API("HeadObject"),
       says="HeadObject of a missing key is 404 for a caller that may list the bucket.")
def _(aws):
    refused("404", aws.s3.head_object, Bucket=bucket(aws), Key="none", status=404)


@check("s3", "a key may not be longer than 1024 bytes", REFUSAL, page=ERRORS,
       says="KeyTooLongError is the code for a key that is too long.")
def _(aws):
    name = bucket(aws)
    refused("KeyTooLongError", aws.s3.put_object, Bucket=name, Key="k" * 1025, Body=b"x", status=400)
    put(aws, name, "k" * 1024)


@check("s3", "metadata and content type come back with the object", page=API("PutObject"),
       says="Metadata that PutObject is given is kept with the object.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", Metadata={"colour": "blue"}, ContentType="text/x-check", CacheControl="no-store")
    for answer in (aws.s3.head_object(Bucket=name, Key="k"), aws.s3.get_object(Bucket=name, Key="k")):
        equal(answer["Metadata"], {"colour": "blue"})
        equal((answer["ContentType"], answer["CacheControl"]), ("text/x-check", "no-store"))


@check("s3", "more metadata than may be is refused", REFUSAL, page=ERRORS,
       says="MetadataTooLarge is the code for more metadata headers than S3 takes.")
def _(aws):
    refused("MetadataTooLarge", aws.s3.put_object, Bucket=bucket(aws), Key="k", Metadata={"m": "x" * 2500}, status=400)


@check("s3", "an ETag is the MD5 of what was put", page=API("Object"),
       says="The ETag of an object put in one piece, in plain text or under SSE-S3, is its MD5.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k", body=b"ACGT")["ETag"]
    equal(etag, f'"{hashlib.md5(b"ACGT").hexdigest()}"')
    equal(aws.s3.head_object(Bucket=name, Key="k")["ETag"], etag)


@check("s3", "content with another MD5 than was said is not kept", REFUSAL, page=ERRORS,
       says="BadDigest is the code for content that does not have the Content-MD5 that was sent.")
def _(aws):
    name = bucket(aws)
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused("BadDigest", aws.s3.put_object, Bucket=name, Key="k", Body=b"x", ContentMD5=md5, status=400)
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")


@check("s3", "a Content-MD5 that is none is refused", REFUSAL, page=ERRORS,
       says="InvalidDigest is the code for a Content-MD5 that cannot be one.")
def _(aws):
    refused("InvalidDigest", aws.s3.put_object, Bucket=bucket(aws), Key="k", Body=b"x", ContentMD5="short", status=400)


def checksums(body):
    return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}


@check("s3", "a checksum that was sent comes back where it is asked for", page=API("GetObject"),
       says="A checksum comes back only with ChecksumMode enabled.")
def _(aws):
    name = bucket(aws)
    for member, value in checksums(b"ACGT").items():
        put(aws, name, member, body=b"ACGT", **{member: value})
        equal(aws.s3.get_object(Bucket=name, Key=member, ChecksumMode="ENABLED")[member], value)
        equal(aws.s3.head_object(Bucket=name, Key=member, ChecksumMode="ENABLED")[member], value)


@check("s3", "content with another checksum than was said is not kept", REFUSAL, page=API("PutObject"),
       says="A checksum that is sent along is compared with what arrived.")
def _(aws):
    name = bucket(aws)
    for member, value in checksums(b"other").items():
        refused(("BadDigest", "InvalidRequest", "XAmzContentChecksumMismatch"), aws.s3.put_object,
                Bucket=name, Key=member, Body=b"x", **{member: value}, status=400)
        refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key=member)


@check("s3", "a range of bytes can be had", page=API("GetObject"), says="Range brings these bytes of the object only.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"0123456789")
    for wanted, body, said in [("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=8-", b"89", "bytes 8-9/10"),
                               ("bytes=-3", b"789", "bytes 7-9/10"), ("bytes=5-99", b"56789", "bytes 5-9/10")]:
        answer = aws.s3.get_object(Bucket=name, Key="k", Range=wanted)
        equal((answer["Body"].read(), answer["ContentRange"]), (body, said), wanted)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206)


@check("s3", "a range beyond the end is refused", REFUSAL, page=ERRORS,
       says="InvalidRange is the code for a range that the object does not have.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"0123456789")
    refused("InvalidRange", aws.s3.get_object, Bucket=name, Key="k", Range="bytes=10-", status=416)


# --- conditional reads

@check("s3", "If-Match on a read refuses another ETag", REFUSAL, page=API("GetObject"),
       says="If-Match reads the object only if it has this ETag; else 412.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    equal(got(aws, name, "k", IfMatch=etag), b"x")
    refused("PreconditionFailed", aws.s3.get_object, Bucket=name, Key="k", IfMatch='"other"', status=412)


@check("s3", "If-None-Match on a read spares what is known", REFUSAL, page=API("GetObject"),
       says="If-None-Match reads the object only if it has another ETag; else 304.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    equal(got(aws, name, "k", IfNoneMatch='"other"'), b"x")
    refused(("304", "NotModified"), aws.s3.get_object, Bucket=name, Key="k", IfNoneMatch=etag, status=304)
    refused(("304", "NotModified"), aws.s3.head_object, Bucket=name, Key="k", IfNoneMatch=etag, status=304)


@check("s3", "If-Modified-Since on a read spares what is as old", REFUSAL, page=API("GetObject"),
       says="If-Modified-Since reads the object only if it changed since; else 304.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    modified = aws.s3.head_object(Bucket=name, Key="k")["LastModified"]
    equal(got(aws, name, "k", IfModifiedSince=modified - timedelta(hours=1)), b"x")
    refused(("304", "NotModified"), aws.s3.get_object, Bucket=name, Key="k", IfModifiedSince=modified, status=304)


@check("s3", "If-Unmodified-Since on a read refuses what is newer", REFUSAL, page=API("GetObject"),
       says="If-Unmodified-Since reads the object only if it did not change since; else 412.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    earlier = datetime.now(timezone.utc) - timedelta(hours=1)
    refused("PreconditionFailed", aws.s3.get_object, Bucket=name, Key="k", IfUnmodifiedSince=earlier, status=412)


@check("s3", "If-Match goes before If-Unmodified-Since", page=API("GetObject"),
       says="Where If-Match holds and If-Unmodified-Since does not, the answer is 200 with the data.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    earlier = datetime.now(timezone.utc) - timedelta(hours=1)
    equal(got(aws, name, "k", IfMatch=etag, IfUnmodifiedSince=earlier), b"x")


@check("s3", "If-None-Match goes before If-Modified-Since", REFUSAL, page=API("GetObject"),
       says="Where If-None-Match does not hold and If-Modified-Since does, the answer is 304.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    earlier = datetime.now(timezone.utc) - timedelta(hours=1)
    refused(("304", "NotModified"), aws.s3.get_object, Bucket=name, Key="k", IfNoneMatch=etag, IfModifiedSince=earlier,
            status=304)


# --- conditional writes

@check("s3", "If-None-Match: * makes and never replaces", REFUSAL, page=API("PutObject"),
       says="If-None-Match: * writes only where the key is not there yet; else 412.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k", body=b"1", IfNoneMatch="*")
    refused("PreconditionFailed", aws.s3.put_object, Bucket=name, Key="k", Body=b"2", IfNoneMatch="*", status=412)
    equal(got(aws, name, "k"), b"1")


@check("s3", "If-Match replaces only what was read", REFUSAL, page=API("PutObject"),
       says="If-Match writes only over an object with this ETag; else 412.")
def _(aws):
    name = bucket(aws)
    first = put(aws, name, "k", body=b"1")["ETag"]
    put(aws, name, "k", body=b"2", IfMatch=first)
    refused("PreconditionFailed", aws.s3.put_object, Bucket=name, Key="k", Body=b"3", IfMatch=first, status=412)
    equal(got(aws, name, "k"), b"2")


@check("s3", "If-Match on nothing is 404", REFUSAL, page=CONDITIONAL,
       says="If-Match on a key that is not there, or whose current version is a delete marker, is 404.")
def _(aws):
    name = bucket(aws)
    refused("NoSuchKey", aws.s3.put_object, Bucket=name, Key="k", Body=b"1", IfMatch='"x"', status=404)
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")


def race(count, write):
    """What each of so many writers at once met: `None`, or the code of its refusal."""
    met, start = [None] * count, threading.Barrier(count)

    def writer(n):
        start.wait()
        try:
            write(n)
        except botocore.exceptions.ClientError as error:
            met[n] = error.response["Error"]["Code"]
        except Exception as error:
            met[n] = repr(error)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return met


def one_won(met):
    equal(met.count(None), 1, f"winners of {met}")
    others = {code for code in met if code is not None}
    true(others <= {"PreconditionFailed", "ConditionalRequestConflict"}, f"others met {others}")
    return met.index(None)


@check("s3", "of many who make the same object at once exactly one wins", REFUSAL, page=CONDITIONAL,
       says="Of several conditional writes to one name the first to finish succeeds, and the later ones are 412.")
def _(aws):
    name = bucket(aws)
    for turn in range(5):
        key = f"k{turn}"
        won = one_won(race(8, lambda n: aws.s3.put_object(Bucket=name, Key=key, Body=b"%d" % n, IfNoneMatch="*")))
        equal(got(aws, name, key), b"%d" % won, "what the winner wrote")


@check("s3", "of many who replace what they all read exactly one wins", REFUSAL, page=API("PutObject"),
       says="If-Match writes only over an object with this ETag, so only one of several writers with the same ETag can.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k", body=b"start")["ETag"]
    for _ in range(5):
        won = one_won(race(8, lambda n: aws.s3.put_object(Bucket=name, Key="k", Body=b"%s %d" % (etag.encode(), n), IfMatch=etag)))
        equal(got(aws, name, "k"), b"%s %d" % (etag.encode(), won), "what the winner wrote")
        etag = aws.s3.head_object(Bucket=name, Key="k")["ETag"]


@check("s3", "a conditional write that meets another is 409, and may be tried again", REFUSAL, page=API("PutObject"),
       says="409 ConditionalRequestConflict tells of a conflicting operation meanwhile; the upload may be tried again.")
def _(aws):
    name = bucket(aws)
    aws.settings(conflicts=1)
    refused("ConditionalRequestConflict", aws.s3.put_object, Bucket=name, Key="k", Body=b"1", IfNoneMatch="*", status=409)
    put(aws, name, "k", body=b"2", IfNoneMatch="*")
    equal(got(aws, name, "k"), b"2")


@check("s3", "If-Match on a deletion refuses another ETag", REFUSAL, page=API("DeleteObject"),
       says="If-Match deletes only an object with this ETag; else 412.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    refused("PreconditionFailed", aws.s3.delete_object, Bucket=name, Key="k", IfMatch='"other"', status=412)
    equal(got(aws, name, "k"), b"x")
    aws.s3.delete_object(Bucket=name, Key="k", IfMatch=etag)
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")


@check("s3", "If-Match: * deletes whatever is there", page=API("DeleteObject"),
       says="If-Match: * of a deletion stands for any ETag.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k")
    aws.s3.delete_object(Bucket=name, Key="k", IfMatch="*")
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")


# --- copies

@check("s3", "a copy takes the metadata along, or gets its own", page=API("CopyObject"),
       says="A copy has its source's metadata unless it is given its own.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a b/+k", body=b"ACGT", Metadata={"colour": "blue"}, ContentType="text/x-check")
    source = {"Bucket": name, "Key": "a b/+k"}
    copied = aws.s3.copy_object(Bucket=name, Key="same", CopySource=source)["CopyObjectResult"]
    equal(copied["ETag"], f'"{hashlib.md5(b"ACGT").hexdigest()}"')
    same = aws.s3.get_object(Bucket=name, Key="same")
    equal((same["Body"].read(), same["Metadata"], same["ContentType"]), (b"ACGT", {"colour": "blue"}, "text/x-check"))
    aws.s3.copy_object(Bucket=name, Key="own", CopySource=source, MetadataDirective="REPLACE", Metadata={"colour": "red"})
    equal(aws.s3.head_object(Bucket=name, Key="own")["Metadata"], {"colour": "red"})


@check("s3", "a copy's condition on its source", REFUSAL, page=API("CopyObject"),
       says="CopySourceIfMatch copies only a source with this ETag.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    source = {"Bucket": name, "Key": "k"}
    refused("PreconditionFailed", aws.s3.copy_object, Bucket=name, Key="c", CopySource=source, CopySourceIfMatch='"other"',
            status=412)
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="c")
    aws.s3.copy_object(Bucket=name, Key="c", CopySource=source, CopySourceIfMatch=etag)


@check("s3", "a copy's condition that its source is another", REFUSAL, page=API("CopyObject"),
       says="CopySourceIfNoneMatch copies only a source with another ETag.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k")["ETag"]
    source = {"Bucket": name, "Key": "k"}
    refused("PreconditionFailed", aws.s3.copy_object, Bucket=name, Key="c", CopySource=source, CopySourceIfNoneMatch=etag,
            status=412)
    aws.s3.copy_object(Bucket=name, Key="c", CopySource=source, CopySourceIfNoneMatch='"other"')


@check("s3", "a copy can make and never replace", REFUSAL, page=API("CopyObject"),
       says="If-None-Match: * copies only to a key that is not there yet; else 412.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "there", body=b"1")
    put(aws, name, "k", body=b"2")
    source = {"Bucket": name, "Key": "k"}
    refused("PreconditionFailed", aws.s3.copy_object, Bucket=name, Key="there", CopySource=source, IfNoneMatch="*", status=412)
    equal(got(aws, name, "there"), b"1")
    aws.s3.copy_object(Bucket=name, Key="free", CopySource=source, IfNoneMatch="*")


# --- deletions of many

@check("s3", "what is not there is deleted as well", page=API("DeleteObjects"),
       says="DeleteObjects tells a key that was not there as deleted.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a & b", "c", "kept")
    gone = [{"Key": key} for key in ("a & b", "c", "never there")]
    answer = aws.s3.delete_objects(Bucket=name, Delete={"Objects": gone})
    equal(sorted(one["Key"] for one in answer["Deleted"]), ["a & b", "c", "never there"])
    equal(keys(aws.s3.list_objects_v2(Bucket=name)), ["kept"])


@check("s3", "a quiet deletion names only what went wrong", page=API("DeleteObjects"),
       says="With Quiet the answer has only the keys that could not be deleted.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "a")
    answer = aws.s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    equal((answer.get("Deleted", []), answer.get("Errors", [])), ([], []))
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="a")


@check("s3", "no more than 1,000 are deleted in one request", REFUSAL, page=API("DeleteObjects"),
       says="DeleteObjects takes up to 1,000 keys.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "k0")
    objects = [{"Key": f"k{n}"} for n in range(1001)]
    refused("MalformedXML", aws.s3.delete_objects, Bucket=name, Delete={"Objects": objects}, status=400)
    equal(got(aws, name, "k0"), b"x")
    aws.s3.delete_objects(Bucket=name, Delete={"Objects": objects[:1000]})
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k0")
