"""STS: who is asking."""

from . import check, equal, true

PAGE = "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"


@check("sts", "the caller's identity is told", page=PAGE,
       says="GetCallerIdentity tells which user or role the caller's credentials belong to.")
def _(aws):
    identity = aws.sts.get_caller_identity()
    true(identity["Account"].isdigit() and len(identity["Account"]) == 12, identity["Account"])
    true(identity["Arn"].startswith(("arn:aws:iam::" + identity["Account"], "arn:aws:sts::" + identity["Account"])),
         identity["Arn"])
    true(identity["UserId"], "a user id")


@check("sts", "the same caller is the same in every region", page=PAGE,
       says="UserId is an id of the caller's own, and nothing in it is of a region.")
def _(aws):
    elsewhere = aws.session.client("sts", region_name="us-east-1", endpoint_url=aws.endpoint)
    ours, theirs = aws.sts.get_caller_identity(), elsewhere.get_caller_identity()
    equal([ours[member] for member in ("Account", "Arn", "UserId")],
          [theirs[member] for member in ("Account", "Arn", "UserId")])
