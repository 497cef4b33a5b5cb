"""The front door: who is let in, by which signature, and what every answer carries."""

import http.client
import json
import re
import socket
import urllib.parse
from datetime import datetime, timedelta, timezone

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from . import REFUSAL, NotApplicable, Wrong, check, equal, refused, true
from .buckets import ERRORS, bucket, put
from . import throttle  # noqa: F401  (more of the same door)

COMMON = "https://docs.aws.amazon.com/{}/latest/APIReference/CommonErrors.html".format
SIGNATURE = "https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"
EC2_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
HEADERS = "https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class Request:
    """A request to be sent as it is, or with one thing wrong."""

    def __init__(self, aws, service, method="POST", path="/", body=b"", headers=None):
        self.aws, self.service, self.method, self.path = aws, service, method, path
        self.body, self.headers = body, dict(headers or {})
        self.host = urllib.parse.urlsplit(aws.endpoint).netloc

    def sign(self, key=None, secret=None, region=None, minutes=0, host=None):
        """Signs it: as the account's owner, here and now, where nothing else is said."""
        own = self.aws.session.get_credentials().get_frozen_credentials()
        credentials = botocore.credentials.Credentials(key or own.access_key, secret or own.secret_key, own.token)
        kind = botocore.auth.S3SigV4Auth if self.service == "s3" else botocore.auth.SigV4Auth
        auth = kind(credentials, self.service, region or self.aws.region)
        request = botocore.awsrequest.AWSRequest(
            method=self.method, url=f"http://{host or self.host}{self.path}", data=self.body, headers=self.headers)
        with moved_clock(minutes):
            auth.add_auth(request)
        self.headers = dict(request.headers)
        return self

    def send(self):
        """The status, the headers by lower-case name, and the text of the answer."""
        where = urllib.parse.urlsplit(self.aws.endpoint)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.hostname, where.port, timeout=10)
        try:
            connection.request(self.method, self.path, self.body, {"Host": self.host, **self.headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def code(self):
        """The code of its refusal."""
        status, _, text = self.send()
        if status < 400:
            raise Wrong(f"answered {status} {text[:200]}")
        found = re.search(r"<Code>([^<]*)</Code>", text)
        if found:
            return found[1]
        try:
            return json.loads(text)["__type"].rsplit("#")[-1]
        except (ValueError, KeyError):
            return f"{status} {text[:80]}"


class moved_clock:
    """botocore's signer reads the clock by `get_current_datetime`; for a moment it shows another time."""

    def __init__(self, minutes):
        self.at = datetime.now(timezone.utc) + timedelta(minutes=minutes)

    def __enter__(self):
        self.kept = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda remove_tzinfo=True: self.at.replace(tzinfo=None) if remove_tzinfo else self.at

    def __exit__(self, *_):
        botocore.auth.get_current_datetime = self.kept


def make_cluster(aws, name):
    return Request(aws, "ecs", body=json.dumps({"clusterName": name}).encode(), headers={
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.CreateCluster", "Content-Type": "application/x-amz-json-1.1"})


def make_role(aws, name):
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                                                     "Action": "sts:AssumeRole"}]}
    fields = {"Action": "CreateRole", "Version": "2010-05-08", "RoleName": name,
              "AssumeRolePolicyDocument": json.dumps(trust)}
    return Request(aws, "iam", body=urllib.parse.urlencode(fields).encode(), headers={"Content-Type": FORM})


def make_group(aws, name):
    fields = {"Action": "CreateSecurityGroup", "Version": "2016-11-15", "GroupName": name, "GroupDescription": "x"}
    return Request(aws, "ec2", body=urllib.parse.urlencode(fields).encode(), headers={"Content-Type": FORM})


def put_object(aws, name, body=b"x", **headers):
    return Request(aws, "s3", "PUT", f"/{name}/k", body, headers)


def no_cluster(aws, name):
    equal([one["status"] for one in aws.ecs.describe_clusters(clusters=[name])["clusters"]], [], "clusters made")


def no_role(aws, name):
    refused("NoSuchEntity", aws.iam.get_role, RoleName=name)


def no_group(aws, name):
    found = aws.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])
    equal(found["SecurityGroups"], [], "groups made")


def no_object(aws, name):
    equal(aws.s3.list_objects_v2(Bucket=name)["KeyCount"], 0, "objects made")


def cluster(aws):
    name = aws.name("cluster")
    aws.after(aws.ecs.delete_cluster, cluster=name)
    return name


def role(aws):
    name = aws.name("role")
    aws.after(aws.iam.delete_role, RoleName=name)
    return name


def group(aws):
    name = aws.name("group")
    aws.after(aws.ec2.delete_security_group, GroupName=name)
    return name


# Each way to ask for something to be made: how, how one knows that it was not, and the name it would have.
WAYS = {
    "ecs": (make_cluster, no_cluster, cluster),
    "iam": (make_role, no_role, role),
    "ec2": (make_group, no_group, group),
    "s3": (put_object, no_object, bucket),
}


def turned_away(aws, service, codes, spoil):
    """What `spoil` makes of a request is refused with one of the codes, and nothing was made."""
    make, nothing, name = WAYS[service]
    name = name(aws)
    request = make(aws, name)
    found = spoil(request).code()
    nothing(aws, name)
    true(found in codes, f"{service}: refused with {found}, expected {' or '.join(codes)}")


@check("door", "what is asked for with a signature is done", page=COMMON("IAM"),
       says="IAM answers a caller whose request is signed with an access key that it knows.")
def _(aws):
    names = {service: name(aws) for service, (_, _, name) in WAYS.items()}
    for service, (make, _, _) in WAYS.items():
        equal(make(aws, names[service]).sign().send()[0], 200, service)
    equal(aws.ecs.describe_clusters(clusters=[names["ecs"]])["clusters"][0]["status"], "ACTIVE")
    equal(aws.iam.get_role(RoleName=names["iam"])["Role"]["RoleName"], names["iam"])
    equal(aws.s3.list_objects_v2(Bucket=names["s3"])["KeyCount"], 1)
    equal(len(aws.ec2.describe_security_groups(GroupNames=[names["ec2"]])["SecurityGroups"]), 1)


@check("door", "without a signature nothing is done", REFUSAL, page=COMMON("IAM"),
       says="IAM has the code MissingAuthenticationToken for a request that carries no key at all.")
def _(aws):
    turned_away(aws, "iam", ["MissingAuthenticationToken"], lambda request: request)
    turned_away(aws, "ecs", ["MissingAuthenticationToken", "MissingAuthenticationTokenException"], lambda request: request)


@check("door", "without a signature S3 denies", REFUSAL, page=ERRORS,
       says="S3 refuses with AccessDenied what the caller has no right to.")
def _(aws):
    turned_away(aws, "s3", ["AccessDenied"], lambda request: request)


@check("door", "a key that nobody has is refused", REFUSAL, page=COMMON("IAM"),
       says="InvalidClientTokenId is the code for an access key that AWS does not know.")
def _(aws):
    stranger = lambda request: request.sign(key="AKIANOBODYHASTHIS000")
    turned_away(aws, "iam", ["InvalidClientTokenId"], stranger)
    turned_away(aws, "ecs", ["UnrecognizedClientException", "InvalidClientTokenId"], stranger)


@check("door", "a key that nobody has is refused by EC2", REFUSAL, page=EC2_ERRORS,
       says="AuthFailure is EC2's code for credentials that it cannot check.")
def _(aws):
    turned_away(aws, "ec2", ["AuthFailure"], lambda request: request.sign(key="AKIANOBODYHASTHIS000"))
    turned_away(aws, "ec2", ["AuthFailure", "SignatureDoesNotMatch"], lambda request: request.sign(secret="a guess"))


@check("door", "a key that nobody has is refused by S3", REFUSAL, page=ERRORS,
       says="InvalidAccessKeyId is S3's code for an access key that AWS does not know.")
def _(aws):
    turned_away(aws, "s3", ["InvalidAccessKeyId"], lambda request: request.sign(key="AKIANOBODYHASTHIS000"))


@check("door", "a secret that is guessed is refused", REFUSAL, page=ERRORS,
       says="""SignatureDoesNotMatch is the code where the signature that S3 computes is another than the caller's, as by
       another secret.""")
def _(aws):
    guess = lambda request: request.sign(secret="a guess")
    turned_away(aws, "s3", ["SignatureDoesNotMatch"], guess)
    turned_away(aws, "iam", ["SignatureDoesNotMatch"], guess)
    turned_away(aws, "ecs", ["InvalidSignatureException", "SignatureDoesNotMatch"], guess)


@check("door", "a signature that is none is refused", REFUSAL, page=COMMON("IAM"),
       says="IncompleteSignature is the code for a signature in a form that is not AWS's.")
def _(aws):
    def garble(request):
        request.sign()
        request.headers["Authorization"] = "AWS4-HMAC-SHA256 let me in"
        return request
    turned_away(aws, "iam", ["IncompleteSignature"], garble)
    turned_away(aws, "ecs", ["IncompleteSignature", "IncompleteSignatureException"], garble)


@check("door", "another body than the signed one is refused", REFUSAL, page=ERRORS,
       says="What is signed covers the body: with another body the signature that S3 computes is another.")
def _(aws):
    def swap(request):
        request.sign().body = request.body[:-1] + (b"}" if request.service == "ecs" else b"y")
        if request.service == "ecs":
            request.body = request.body[:-2] + b'x"}'
        request.headers.pop("Content-Length", None)
        return request
    turned_away(aws, "s3", ["XAmzContentSHA256Mismatch", "SignatureDoesNotMatch"], swap)
    turned_away(aws, "iam", ["SignatureDoesNotMatch"], swap)
    turned_away(aws, "ecs", ["InvalidSignatureException", "SignatureDoesNotMatch"], swap)


@check("door", "another path than the signed one is refused", REFUSAL, page=ERRORS,
       says="What is signed covers the path: with another path the signature that S3 computes is another.")
def _(aws):
    def elsewhere(request):
        request.sign().path += "2"
        return request
    turned_away(aws, "s3", ["SignatureDoesNotMatch"], elsewhere)


@check("door", "a request of S3's from another time is refused", REFUSAL, page=ERRORS,
       says="RequestTimeTooSkewed is S3's code for a request whose time is too far from the server's.")
def _(aws):
    for minutes in (-20, 20):
        turned_away(aws, "s3", ["RequestTimeTooSkewed"], lambda request: request.sign(minutes=minutes))


@check("door", "a request from another time is refused", REFUSAL, page=COMMON("IAM"),
       says="A request is refused when its date is more than 15 minutes away from the server's, past or future.")
def _(aws):
    codes = ["RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException"]
    for service in ("iam", "ecs", "ec2"):
        for minutes in (-20, 20):
            turned_away(aws, service, codes, lambda request: request.sign(minutes=minutes))


@check("door", "a request signed for another region is refused by S3", REFUSAL, page=ERRORS,
       says="AuthorizationHeaderMalformed is S3's code for an Authorization header that is wrong.")
def _(aws):
    other = "ap-south-1" if aws.region != "ap-south-1" else "eu-north-1"
    turned_away(aws, "s3", ["AuthorizationHeaderMalformed"], lambda request: request.sign(region=other))


@check("door", "a request signed for a region that is not enabled is refused", REFUSAL,
       page="https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html",
       says="Some regions are not enabled from the beginning; an account's keys are not valid there.")
def _(aws):
    for service in ("ecs", "ec2"):
        turned_away(aws, service, ["UnrecognizedClientException", "AuthFailure", "InvalidSignatureException"],
                    lambda request: request.sign(region="me-central-1"))


@check("door", "an x-amz- header that is not signed is refused", REFUSAL, page=SIGNATURE,
       says="Every x-amz-* header that is sent must be among the signed ones.")
def _(aws):
    def add(request):
        request.sign().headers["x-amz-meta-smuggled"] = "1"
        return request
    turned_away(aws, "s3", ["AccessDenied", "SignatureDoesNotMatch"], add)


def any_refusal(aws, service, spoil):
    make, nothing, name = WAYS[service]
    name = name(aws)
    status, _, text = spoil(make(aws, name)).send()
    nothing(aws, name)
    true(status >= 400, f"{service}: answered {status} {text[:100]}")


@check("door", "a request that was signed for another host is refused", REFUSAL, page=SIGNATURE,
       says="The Host header is always among the signed ones.")
def _(aws):
    for service in WAYS:
        any_refusal(aws, service, lambda request: request.sign(host="elsewhere.example:80"))


@check("door", "a web page's form can do nothing", REFUSAL, page=COMMON("IAM"),
       says="A request without a key's signature is not let in, whatever else it carries.")
def _(aws):
    def by_form(request):
        request.headers.update({"Origin": "http://page.example", "Referer": "http://page.example/", "Content-Type": FORM})
        return request

    def rebound(request):
        request = by_form(request)
        request.host = "page.example"  # a name that now leads here
        return request
    for service in WAYS:
        any_refusal(aws, service, by_form)
        any_refusal(aws, service, rebound)


@check("door", "a web page's upload form is denied", REFUSAL, page=ERRORS,
       says="S3 refuses with AccessDenied what the caller has no right to.")
def _(aws):
    name = bucket(aws)
    fields = {"key": "k", "file": "x"}
    parts = [f'--limit\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
    for host in (None, "page.example"):
        request = Request(aws, "s3", "POST", f"/{name}", ("".join(parts) + "--limit--\r\n").encode(), {
            "Origin": "http://page.example", "Content-Type": "multipart/form-data; boundary=limit"})
        request.host = host or request.host
        status, _, text = request.send()
        no_object(aws, name)
        equal(status, 403, text[:100])
    preflight = Request(aws, "s3", "OPTIONS", f"/{name}/k", headers={
        "Origin": "http://page.example", "Access-Control-Request-Method": "PUT"}).send()
    true(preflight[0] >= 400 and "access-control-allow-origin" not in preflight[1], f"a preflight: {preflight}")


# --- what every answer carries

@check("door", "every answer of S3's has its request's id", page=HEADERS,
       says="Each answer of S3's carries x-amz-request-id, another one for each request.")
def _(aws):
    name = bucket(aws)
    ids = [put(aws, name, "k")["ResponseMetadata"]["RequestId"],
           aws.s3.list_objects_v2(Bucket=name)["ResponseMetadata"]["RequestId"],
           refused("NoSuchKey", aws.s3.get_object, Bucket=name, Key="none")["ResponseMetadata"]["RequestId"],
           refused("404", aws.s3.head_object, Bucket=name, Key="none")["ResponseMetadata"]["RequestId"],
           put_object(aws, name).send()[1].get("x-amz-request-id")]
    true(all(ids) and len(set(ids)) == len(ids), ids)


@check("door", "every answer has its request's id", page="https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html",
       says="An answer carries an id of its request, as the page's example shows.")
def _(aws):
    answers = [
        aws.iam.list_roles(MaxItems=1), aws.ecs.list_clusters(maxResults=1), aws.ec2.describe_vpcs(),
        aws.logs.describe_log_groups(limit=1), aws.sts.get_caller_identity(), aws.ssm.get_parameters(Names=["/none"]),
        refused("NoSuchEntity", aws.iam.get_role, RoleName=aws.name("none")),
        refused("ClusterNotFoundException", aws.ecs.list_tasks, cluster=aws.name("none")),
        refused("InvalidGroup.NotFound", aws.ec2.describe_security_groups, GroupIds=["sg-0123456789abcdef0"]),
        refused("ResourceNotFoundException", aws.logs.describe_log_streams, logGroupName=aws.name("none")),
    ]
    ids = [answer["ResponseMetadata"].get("RequestId") for answer in answers]
    true(all(ids) and len(set(ids)) == len(ids), ids)


@check("door", "an operation that is none is refused by its name", REFUSAL, page=COMMON("IAM"),
       says="InvalidAction is the code for an operation that does not exist.")
def _(aws):
    for service, version in (("iam", "2010-05-08"), ("sts", "2011-06-15"), ("ec2", "2016-11-15")):
        body = urllib.parse.urlencode({"Action": "MakeItSo", "Version": version}).encode()
        request = Request(aws, service, body=body, headers={"Content-Type": FORM}).sign()
        equal(request.code(), "InvalidAction", service)
    for service, target in (("ecs", "AmazonEC2ContainerServiceV20141113"), ("logs", "Logs_20140328"), ("ssm", "AmazonSSM")):
        headers = {"X-Amz-Target": f"{target}.MakeItSo", "Content-Type": "application/x-amz-json-1.1"}
        request = Request(aws, service, body=b"{}", headers=headers).sign()
        true(request.code() in ("UnknownOperationException", "InvalidAction"), f"{service}: {request.code()}")


# --- pages

def walked(pages, member, prefix, key=None):
    """All that a listing's pages have of one's own, and how many pages there were."""
    pages = list(pages)
    found = [one[key] if key else one for page in pages for one in page[member]]
    mine = [name for name in found if prefix in name]
    true(len(pages) > 1, f"{len(pages)} pages")
    return mine


@check("door", "IAM's listings come in pages",
       page="https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html",
       says="""A page of IAM's may be smaller than asked; IsTruncated then says that there is more, and Marker is where the
       next call goes on.""")
def _(aws):
    stem = aws.name("page")
    names = [f"{stem}-{n}" for n in range(5)]
    for name in names:
        equal(make_role(aws, name).sign().send()[0], 200)
        aws.after(aws.iam.delete_role, RoleName=name)
    aws.settings(page=2)
    equal(walked(aws.iam.get_paginator("list_roles").paginate(), "Roles", stem, "RoleName"), names)


@check("door", "ECS's listings come in pages",
       page="https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListClusters.html",
       says="With maxResults, ListClusters gives that many at most, and a nextToken for the rest.")
def _(aws):
    stem = aws.name("page")
    for n in range(5):
        aws.ecs.create_cluster(clusterName=f"{stem}-{n}")
        aws.after(aws.ecs.delete_cluster, cluster=f"{stem}-{n}")
    pages = aws.ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2})
    equal(sorted(arn.rsplit("/")[-1] for arn in walked(pages, "clusterArns", stem)), [f"{stem}-{n}" for n in range(5)])
    aws.settings(page=1)
    pages = aws.ecs.get_paginator("list_clusters").paginate()
    equal(len(walked(pages, "clusterArns", stem)), 5)


@check("door", "EC2's listings come in pages",
       page="https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html",
       says="MaxResults limits a page, and the token in the answer brings the next one.")
def _(aws):
    stem = aws.name("page")
    for n in range(7):
        group = aws.ec2.create_security_group(GroupName=f"{stem}-{n}", Description="pages")["GroupId"]
        aws.after(aws.ec2.delete_security_group, GroupId=group)
    pages = aws.ec2.get_paginator("describe_security_groups").paginate(
        Filters=[{"Name": "group-name", "Values": [f"{stem}-*"]}], PaginationConfig={"PageSize": 5})
    equal(len(set(walked(pages, "SecurityGroups", stem, "GroupName"))), 7)


@check("door", "the listings of Logs come in pages",
       page="https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html",
       says="DescribeLogGroups goes on from the nextToken of the answer before.")
def _(aws):
    stem = aws.name("page")
    for n in range(5):
        aws.logs.create_log_group(logGroupName=f"{stem}-{n}")
        aws.after(aws.logs.delete_log_group, logGroupName=f"{stem}-{n}")
    pages = aws.logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix=stem, PaginationConfig={"PageSize": 2})
    equal(walked(pages, "logGroups", stem, "logGroupName"), [f"{stem}-{n}" for n in range(5)])


# --- where it listens

def listeners(port):
    """The addresses that listen on a port of this machine, as Linux shows them."""
    found = []
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        try:
            lines = open(path).read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            address, state = line.split()[1], line.split()[3]
            raw, listening = bytes.fromhex(address.split(":")[0]), state == "0A"
            if listening and int(address.split(":")[1], 16) == port:
                words = b"".join(raw[at:at + 4][::-1] for at in range(0, len(raw), 4))
                found.append(socket.inet_ntop(family, words))
    return found


@check("door", "it listens to this machine only", page="src/sandbox/README.md",
       says="It is served over loopback only, by a process of its own.")
def _(aws):
    where = urllib.parse.urlsplit(aws.endpoint)
    found = listeners(where.port) if where.hostname in ("127.0.0.1", "localhost", "::1") and where.port else []
    if not found:
        raise NotApplicable("the endpoint is not on this machine, or there is no /proc/net")
    true(all(address.startswith("127.") or address == "::1" for address in found), f"it listens on {found}")
