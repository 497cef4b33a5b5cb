"""STS: who is asking."""

from . import check, equal, true

PAGE = "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"


@check("sts", "the caller's identity is told", page=PAGE,
       says="Returns details about the IAM user or role whose credentials are used to call the operation.")
def _(aws):
    identity = aws.sts.get_caller_identity()
    equal(len(identity["Account"]), 12, "length of the account's id")
    true(identity["Arn"].startswith(("arn:aws:iam::" + identity["Account"], "arn:aws:sts::" + identity["Account"])),
         identity["Arn"])
    true(identity["UserId"], "a user id")
