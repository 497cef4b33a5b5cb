"""What the checks share: the register, the clients, and how a check says what it expects.

A check is a function with one parameter, the endpoint under test (`Aws`), registered with the fact that it tests, in our
own words, and the page of AWS's documentation that has it:

    @check("ecs", "a missing cluster is a failure, not an error", REFUSAL,
           page="https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeClusters.html",
           says="MISSING is the reason in failures for a cluster that there is not.")
    def _(aws):
        answer = aws.ecs.describe_clusters(clusters=[aws.name("none")])
        equal([f["reason"] for f in answer["failures"]], ["MISSING"])

It makes what it needs under names of its own, and hands its undoing to `aws.after`, so that checks need no order and an
account may be used for several runs.
"""

import argparse
import importlib
import itertools
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Callable

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.exceptions

SERVICES = ["iam", "ec2", "ecs", "logs", "s3", "ssm", "sts", "door"]

ANSWER = "answer"    # what an operation answers
REFUSAL = "refusal"  # what it refuses, and with which error
DELAY = "delay"      # what is not so at once, or not so for ever


@dataclass
class Check:
    service: str
    name: str
    kind: str
    page: str
    says: str
    run: Callable


CHECKS: list[Check] = []


def check(service, name, kind=ANSWER, *, page, says):
    """Registers a check. `says` is what the page says, in our own words: each number, code and name as it has them."""
    assert service in SERVICES and kind in (ANSWER, REFUSAL, DELAY), (service, kind)
    assert not any(one.service == service and one.name == name for one in CHECKS), name

    def register(run):
        CHECKS.append(Check(service, name, kind, page, " ".join(says.split()), run))
        return run

    return register


class NotApplicable(Exception):
    """The endpoint has no way to bring about what is checked (its settings, say)."""


class Wrong(AssertionError):
    """The endpoint does otherwise."""


class Aws:
    """The endpoint under test: a boto3 client a service (`aws.ecs`, `aws.ec2`, …) and what checks share."""

    def __init__(self, endpoint, region):
        self.endpoint, self.region = endpoint, region
        self.session = boto3.session.Session(region_name=region)
        self._clients, self._undo, self._count = {}, [], itertools.count()
        self._run = uuid.uuid4().hex[:8]

    def client(self, service, **config):
        """A client of one's own: other retries, other time-outs, other credentials."""
        credentials = {key: config.pop(key) for key in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
                       if key in config}
        settings = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 20,
                    "s3": {"addressing_style": "path"}, **config}
        return self.session.client(service, endpoint_url=self.endpoint,
                                   config=botocore.config.Config(**settings), **credentials)

    def __getattr__(self, service):
        if service not in SERVICES:
            raise AttributeError(service)
        return self._clients.setdefault(service, self.client(service))

    def name(self, stem="x"):
        """A name that nothing else has."""
        return f"{stem}-{self._run}-{next(self._count)}"

    def after(self, undo, *args, **kwargs):
        """Done when the check has ended, last first; an error in it is no fault of the check."""
        self._undo.append((undo, args, kwargs))

    def clean(self):
        while self._undo:
            undo, args, kwargs = self._undo.pop()
            try:
                undo(*args, **kwargs)
            except Exception:  # what is gone already is as good
                pass

    @property
    def account(self):
        return self.sts.get_caller_identity()["Account"]

    def settings(self, **changes):
        """Changes the sandbox's settings until the check has ended (see its `/_seqstack/settings`).

        On an endpoint that has none the check does not apply.
        """
        before = self._own("GET")
        if before is None:
            raise NotApplicable("the endpoint has no settings")
        self.after(self._own, "PUT", {name: before[name] for name in changes})
        self._own("PUT", changes)

    def _own(self, method, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.endpoint}/_seqstack/settings"
        request = botocore.awsrequest.AWSRequest(method=method, url=url, data=data)
        credentials = self.session.get_credentials()
        botocore.auth.SigV4Auth(credentials, "sts", self.region).add_auth(request)
        prepared = urllib.request.Request(url, data=data, headers=dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(prepared, timeout=10) as response:
                return json.load(response)
        except (urllib.error.HTTPError, json.JSONDecodeError):
            return None


def equal(found, expected, what=""):
    if found != expected:
        raise Wrong(f"{what + ': ' if what else ''}found {found!r}, expected {expected!r}")


def true(condition, what):
    if not condition:
        raise Wrong(what)


def contains(whole, part, what=""):
    if part not in whole:
        raise Wrong(f"{what + ': ' if what else ''}{part!r} is not in {whole!r}")


def refused(codes, call, *args, status=None, says=None, **kwargs):
    """The call is refused with one of these codes (a string, or a tuple where AWS's pages name several); its response."""
    codes = (codes,) if isinstance(codes, str) else codes
    try:
        answer = call(*args, **kwargs)
    except botocore.exceptions.ClientError as error:
        code, response = error.response["Error"]["Code"], error.response
        if code not in codes:
            raise Wrong(f"refused with {code} ({response['Error'].get('Message')}), expected {' or '.join(codes)}") from None
        if status is not None:
            equal(response["ResponseMetadata"]["HTTPStatusCode"], status, "HTTP status")
        if says is not None:
            contains(response["Error"].get("Message", ""), says, "message")
        return response
    answer.pop("ResponseMetadata", None)
    raise Wrong(f"answered {str(answer)[:200]}, expected the refusal {' or '.join(codes)}")


def eventually(probe, what, seconds=20):
    """Asks until `probe()` gives something true; what it gave."""
    until = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > until:
            raise Wrong(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def becomes(read, expected, what="", seconds=10):
    """Reads until it is `expected`: what was written may not be read at once."""
    until = time.monotonic() + seconds
    while (found := read()) != expected and time.monotonic() < until:
        time.sleep(0.05)
    equal(found, expected, what)


def load():
    for service in SERVICES:
        importlib.import_module(f"checks.{service}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL"))
    parser.add_argument("--only", action="append", choices=SERVICES)
    parser.add_argument("--match", default="")
    parser.add_argument("--part", default="1/1", help="2/3: of those, the second of every three")
    parser.add_argument("--json")
    parser.add_argument("--quiet", action="store_true", help="only what fails, and the totals")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    load()
    chosen = [one for one in CHECKS if (not args.only or one.service in args.only) and args.match in one.name]
    part, parts = map(int, args.part.split("/"))
    chosen = chosen[part - 1::parts]
    if args.list:
        for one in chosen:
            print(f"{one.service}: {one.name} ({one.kind})\n    {one.says}\n    {one.page}")
        return 0
    if not args.endpoint:
        parser.error("--endpoint, or AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "eu-west-2"
    os.environ.update(AWS_DEFAULT_REGION=region, AWS_EC2_METADATA_DISABLED="true")
    try:
        urllib.request.urlopen(args.endpoint, timeout=10).close()
    except urllib.error.HTTPError:
        pass  # an answer
    except OSError as error:
        print(f"{args.endpoint}: {error}", file=sys.stderr)
        return 2
    aws, results = Aws(args.endpoint, region), []
    for one in chosen:
        began = time.monotonic()
        outcome, detail = "pass", ""
        try:
            one.run(aws)
        except NotApplicable as why:
            outcome, detail = "n/a", str(why)
        except Wrong as wrong:
            outcome, detail = "FAIL", str(wrong)
        except botocore.exceptions.ClientError as error:
            outcome, detail = "FAIL", f"refused unexpectedly: {error}"
        except Exception:  # an answer that boto3 or the check cannot read is the endpoint's fault, and shown whole
            outcome, detail = "FAIL", traceback.format_exc(limit=-3).strip()
        finally:
            aws.clean()
        results.append({"service": one.service, "name": one.name, "kind": one.kind, "page": one.page, "says": one.says,
                        "outcome": outcome, "detail": detail, "seconds": round(time.monotonic() - began, 3)})
        if not args.quiet or outcome == "FAIL":
            print(f"{outcome:4} {one.service}: {one.name}" + (f"\n       {detail}" if detail else ""), flush=True)
        if outcome == "FAIL":
            print(f"       {one.says}\n       {one.page}", flush=True)
    print(f"\n{'service':8} {'checks':>6} {'pass':>5} {'fail':>5} {'n/a':>5}   refusals and delays")
    for service in [*SERVICES, "all"]:
        mine = [one for one in results if service in (one["service"], "all")]
        if mine:
            count = lambda outcome: sum(one["outcome"] == outcome for one in mine)
            hard = sum(one["kind"] != ANSWER for one in mine)
            print(f"{service:8} {len(mine):6} {count('pass'):5} {count('FAIL'):5} {count('n/a'):5}   {hard}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
    return 1 if any(one["outcome"] == "FAIL" for one in results) else 0
