"""Buckets of a check's own, for the S3 checks."""

from . import NotApplicable

API = "https://docs.aws.amazon.com/AmazonS3/latest/API/API_{}.html".format
ERRORS = API("Error")
CONDITIONAL = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"
MIB = 1024 * 1024


def place(aws):
    """CreateBucket's parameters for the endpoint's region."""
    return {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}


def bucket(aws, versioning=None):
    """A bucket that is emptied and deleted when the check has ended."""
    name = aws.name("bucket")
    aws.s3.create_bucket(Bucket=name, **place(aws))
    aws.after(remove, aws, name)
    if versioning:
        version(aws, name, versioning)
    return name


def version(aws, name, status):
    return aws.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})


def remove(aws, name):
    uploads = aws.s3.list_multipart_uploads(Bucket=name).get("Uploads", [])
    for one in uploads:
        aws.s3.abort_multipart_upload(Bucket=name, Key=one["Key"], UploadId=one["UploadId"])
    for page in list(aws.s3.get_paginator("list_object_versions").paginate(Bucket=name)):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            aws.s3.delete_object(Bucket=name, Key=one["Key"], VersionId=one["VersionId"])
    aws.s3.delete_bucket(Bucket=name)


def put(aws, name, *keys, body=b"x", **more):
    """Puts the same content at every key; the last answer."""
    for key in keys:
        answer = aws.s3.put_object(Bucket=name, Key=key, Body=body, **more)
    return answer


def got(aws, name, key, **more):
    """An object's content."""
    return aws.s3.get_object(Bucket=name, Key=key, **more)["Body"].read()


def keys(answer):
    return [one["Key"] for one in answer.get("Contents", [])]


def elsewhere_than(aws, region):
    if aws.region == region:
        raise NotApplicable(f"{region} is the exception")
