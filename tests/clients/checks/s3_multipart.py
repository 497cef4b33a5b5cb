"""S3: multipart uploads."""

from . import REFUSAL, check, equal, refused, true
from .buckets import API, ERRORS, MIB, bucket, got, put


def begin(aws, name, key="k", **more):
    upload = aws.s3.create_multipart_upload(Bucket=name, Key=key, **more)["UploadId"]
    return {"Bucket": name, "Key": key, "UploadId": upload}


def part(aws, upload, number, body):
    etag = aws.s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
    return {"PartNumber": number, "ETag": etag}


def complete(aws, upload, parts, **more):
    return aws.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **more)


def unfinished(aws, upload):
    """The upload is still there, and can be aborted."""
    aws.s3.abort_multipart_upload(**upload)


@check("s3", "parts become one object in the order of their numbers", page=API("CompleteMultipartUpload"),
       says="The parts make one object in ascending order of their numbers.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name, Metadata={"colour": "blue"}, ContentType="text/x-check")
    last = part(aws, upload, 7, b"end")
    first = part(aws, upload, 2, b"a" * (5 * MIB))
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")
    answer = complete(aws, upload, [first, last])
    equal((answer["Bucket"], answer["Key"]), (name, "k"))
    object = aws.s3.get_object(Bucket=name, Key="k")
    body = object["Body"].read()
    equal((len(body), body[:2], body[-5:]), (5 * MIB + 3, b"aa", b"aaend"))
    equal((object["Metadata"], object["ContentType"]), ({"colour": "blue"}, "text/x-check"))
    equal(object["ETag"], answer["ETag"])


@check("s3", "the ETag of parts is no MD5", page=API("CompleteMultipartUpload"),
       says="An ETag that is no MD5 has signs other than hexadecimal digits, or not 32 of them.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    etag = complete(aws, upload, [part(aws, upload, 1, b"one")])["ETag"].strip('"')
    true(len(etag) != 32, etag)


@check("s3", "a part that was never sent is refused", REFUSAL, page=API("CompleteMultipartUpload"),
       says="InvalidPart is the code for a part that was not uploaded, or that has another ETag.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = part(aws, upload, 1, b"one")
    refused("InvalidPart", complete, aws, upload, [{"PartNumber": 2, "ETag": sent["ETag"]}], status=400)
    refused("InvalidPart", complete, aws, upload, [{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}], status=400)
    unfinished(aws, upload)


@check("s3", "parts out of order are refused", REFUSAL, page=API("CompleteMultipartUpload"),
       says="InvalidPartOrder is the code for parts that are not in ascending order.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    parts = [part(aws, upload, n, b"x" * (5 * MIB)) for n in (1, 2)]
    refused("InvalidPartOrder", complete, aws, upload, parts[::-1], status=400)
    unfinished(aws, upload)


@check("s3", "every part but the last has at least 5 MB", REFUSAL, page=API("CompleteMultipartUpload"),
       says="EntityTooSmall is the code for a part under 5 MB that is not the last.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    parts = [part(aws, upload, n, b"small") for n in (1, 2)]
    refused("EntityTooSmall", complete, aws, upload, parts, status=400)
    complete(aws, upload, parts[:1])
    equal(got(aws, name, "k"), b"small")


@check("s3", "an upload that is none is refused", REFUSAL, page=API("UploadPart"),
       says="NoSuchUpload is the code for an upload that there is not.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = part(aws, upload, 1, b"one")
    complete(aws, upload, [sent])
    refused("NoSuchUpload", part, aws, upload, 1, b"two", status=404)
    refused("NoSuchUpload", aws.s3.list_parts, **upload, status=404)


@check("s3", "an aborted upload takes no more parts", REFUSAL, page=API("AbortMultipartUpload"),
       says="An aborted upload's id takes no more parts.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = part(aws, upload, 1, b"one")
    aws.s3.abort_multipart_upload(**upload)
    refused("NoSuchUpload", part, aws, upload, 2, b"two", status=404)
    refused("NoSuchUpload", complete, aws, upload, [sent], status=404)
    equal(aws.s3.list_multipart_uploads(Bucket=name).get("Uploads", []), [])


@check("s3", "a part sent again replaces the one before", page=API("UploadPart"),
       says="A part sent again under the same number replaces the one before.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    old, new = part(aws, upload, 1, b"old"), part(aws, upload, 1, b"new")
    refused("InvalidPart", complete, aws, upload, [old], status=400)
    complete(aws, upload, [new])
    equal(got(aws, name, "k"), b"new")


@check("s3", "a part's number is from 1 to 10,000", REFUSAL, page=API("UploadPart"),
       says="A part's number is from 1 to 10,000.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    for number in (0, 10_001):
        refused("InvalidArgument", part, aws, upload, number, b"x", status=400)
    part(aws, upload, 10_000, b"x")


@check("s3", "the parts so far are listed in pages", page=API("ListParts"),
       says="NextPartNumberMarker is a page's last part, and where the next page begins.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    sent = [part(aws, upload, n, b"x" * n) for n in (1, 2, 5)]
    first = aws.s3.list_parts(**upload, MaxParts=2)
    equal((first["IsTruncated"], first["NextPartNumberMarker"]), (True, 2))
    rest = aws.s3.list_parts(**upload, MaxParts=2, PartNumberMarker=2)
    equal(rest["IsTruncated"], False)
    found = first["Parts"] + rest["Parts"]
    equal([(one["PartNumber"], one["ETag"]) for one in found], [(one["PartNumber"], one["ETag"]) for one in sent])
    equal([one["Size"] for one in found], [1, 2, 5])


@check("s3", "uploads in progress are listed, and no others", page=API("ListMultipartUploads"),
       says="An upload in progress is one that is neither completed nor aborted.")
def _(aws):
    name = bucket(aws)
    done, dropped, open_one = begin(aws, name, "a"), begin(aws, name, "b"), begin(aws, name, "c")
    complete(aws, done, [part(aws, done, 1, b"x")])
    aws.s3.abort_multipart_upload(**dropped)
    found = aws.s3.list_multipart_uploads(Bucket=name)["Uploads"]
    equal([(one["Key"], one["UploadId"]) for one in found], [("c", open_one["UploadId"])])


@check("s3", "uploads in progress are listed in pages", page=API("ListMultipartUploads"),
       says="NextKeyMarker is where the next page of uploads begins.")
def _(aws):
    name = bucket(aws)
    for key in ("a", "b", "b", "c"):
        begin(aws, name, key)
    pages = list(aws.s3.get_paginator("list_multipart_uploads").paginate(Bucket=name, PaginationConfig={"PageSize": 2}))
    found = [(one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", [])]
    equal([key for key, _ in found], ["a", "b", "b", "c"])
    equal(len(set(found)), 4)
    equal([page["IsTruncated"] for page in pages], [True, False])
    prefixed = aws.s3.list_multipart_uploads(Bucket=name, Prefix="c")["Uploads"]
    equal([one["Key"] for one in prefixed], ["c"])


@check("s3", "a part can be a range of another object", page=API("UploadPartCopy"),
       says="CopySourceRange bytes=0-9 copies the first ten bytes of the source.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "source", body=b"0123456789" + b"x" * (5 * MIB))
    upload = begin(aws, name)
    source = {"Bucket": name, "Key": "source"}
    whole = aws.s3.upload_part_copy(**upload, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    ten = aws.s3.upload_part_copy(**upload, PartNumber=2, CopySource=source, CopySourceRange="bytes=0-9")["CopyPartResult"]["ETag"]
    complete(aws, upload, [{"PartNumber": 1, "ETag": whole}, {"PartNumber": 2, "ETag": ten}])
    body = got(aws, name, "k")
    equal((len(body), body[-11:]), (5 * MIB + 20, b"x0123456789"))


@check("s3", "a part copied from nothing, or from beyond the end, is refused", REFUSAL, page=API("UploadPartCopy"),
       says="A range to copy is bytes=first-last, both counted from zero.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "source", body=b"0123456789" + b"x" * (5 * MIB))
    upload = begin(aws, name)
    copy = lambda key, span: aws.s3.upload_part_copy(**upload, PartNumber=1, CopySource={"Bucket": name, "Key": key},
                                                     CopySourceRange=span)
    refused("NoSuchKey", copy, "none", "bytes=0-9", status=404)
    refused("InvalidArgument", copy, "source", "0 to 9", status=400)
    refused(("InvalidArgument", "InvalidRange"), copy, "source", f"bytes=0-{6 * MIB}")
    unfinished(aws, upload)


@check("s3", "the end of an upload can make and never replace", REFUSAL, page=API("CompleteMultipartUpload"),
       says="If-None-Match: * completes only where the key is not there yet; else 412.")
def _(aws):
    name = bucket(aws)
    put(aws, name, "there", body=b"1")
    upload = begin(aws, name, "there")
    refused("PreconditionFailed", complete, aws, upload, [part(aws, upload, 1, b"2")], IfNoneMatch="*", status=412)
    equal(got(aws, name, "there"), b"1")
    upload = begin(aws, name, "free")
    complete(aws, upload, [part(aws, upload, 1, b"2")], IfNoneMatch="*")


@check("s3", "the end of an upload can replace only what was read", REFUSAL, page=API("CompleteMultipartUpload"),
       says="If-Match completes only over an object with this ETag; else 412.")
def _(aws):
    name = bucket(aws)
    etag = put(aws, name, "k", body=b"1")["ETag"]
    upload = begin(aws, name)
    refused("PreconditionFailed", complete, aws, upload, [part(aws, upload, 1, b"2")], IfMatch='"other"', status=412)
    equal(got(aws, name, "k"), b"1")
    upload = begin(aws, name)
    complete(aws, upload, [part(aws, upload, 1, b"2")], IfMatch=etag)
    equal(got(aws, name, "k"), b"2")


@check("s3", "the end of an upload that meets another writer is 409", REFUSAL, page=API("CompleteMultipartUpload"),
       says="After 409 ConditionalRequestConflict the upload must be begun anew, with all its parts.")
def _(aws):
    name = bucket(aws)
    aws.settings(conflicts=1)
    upload = begin(aws, name)
    refused("ConditionalRequestConflict", complete, aws, upload, [part(aws, upload, 1, b"1")], IfNoneMatch="*", status=409)
    refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="k")
    upload = begin(aws, name)
    complete(aws, upload, [part(aws, upload, 1, b"1")], IfNoneMatch="*")


@check("s3", "an upload's end without parts is refused", REFUSAL, page=ERRORS,
       says="MalformedXML is the code for XML that does not follow S3's schema.")
def _(aws):
    name = bucket(aws)
    upload = begin(aws, name)
    refused(("MalformedXML", "InvalidRequest"), complete, aws, upload, [], status=400)
    unfinished(aws, upload)


@check("s3", "an upload makes a version where there are versions", page=API("CompleteMultipartUpload"),
       says="VersionId is the new object's version, where the bucket has versioning.")
def _(aws):
    name = bucket(aws, "Enabled")
    first = put(aws, name, "k", body=b"1")["VersionId"]
    upload = begin(aws, name)
    answer = complete(aws, upload, [part(aws, upload, 1, b"2")])
    true(answer["VersionId"] != first, answer["VersionId"])
    equal((got(aws, name, "k"), got(aws, name, "k", VersionId=first)), (b"2", b"1"))
