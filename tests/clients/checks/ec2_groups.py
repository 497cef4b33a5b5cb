"""EC2: security groups and their rules."""

from . import REFUSAL, check, contains, equal, refused, true
from .ec2_made import ERRORS, by, create_group, default_vpc, group, group_shown, page, plain, rules_of, tagged, tcp

GROUP_RULES = "https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html"
NOBODY = "sg-0123456789abcdef0"


@check("ec2", "a group is made with its name, description and tags", page=page("CreateSecurityGroup"),
       says="A security group is made with a name that its owner chooses.")
def _(aws):
    name = aws.name("group")
    made = group_shown(aws, group(aws, name, "Hosts of a pipeline (1)", TagSpecifications=tagged("security-group", a="b")))
    equal((made["GroupName"], made["Description"]), (name, "Hosts of a pipeline (1)"))
    equal((made["VpcId"], made["OwnerId"]), (default_vpc(aws), aws.account))
    equal(plain(made["Tags"]), {"a": "b"})


@check("ec2", "a new group lets everything out and nothing in", page=GROUP_RULES,
       says="A new group has no inbound rules.")
def _(aws):
    made = group_shown(aws, group(aws))
    equal(made["IpPermissions"], [])
    equal([(one["IpProtocol"], [ip["CidrIp"] for ip in one["IpRanges"]]) for one in made["IpPermissionsEgress"]],
          [("-1", ["0.0.0.0/0"])])


@check("ec2", "a group's name is taken", REFUSAL, page=page("CreateSecurityGroup"),
       says="Two groups of one VPC cannot have the same name.")
def _(aws):
    name = aws.name("group")
    group(aws, name)
    refused("InvalidGroup.Duplicate", create_group, aws, name)


@check("ec2", "groups' names are case-insensitive", REFUSAL, page=page("CreateSecurityGroup"),
       says="A group's name is unique in its VPC, whatever the case of its letters.")
def _(aws):
    name = aws.name("group")
    group(aws, name)
    refused("InvalidGroup.Duplicate", create_group, aws, name.upper())


@check("ec2", "a group's name is not like an id", REFUSAL, page=page("CreateSecurityGroup"),
       says="A group's name does not begin with sg-.")
def _(aws):
    refused("InvalidParameterValue", create_group, aws, "sg-" + aws.name())


@check("ec2", "no group is called default", REFUSAL, page=ERRORS,
       says="InvalidGroup.Reserved is the code for a new group that would be called default.")
def _(aws):
    refused(("InvalidGroup.Reserved", "InvalidParameterValue"), create_group, aws, "default")


@check("ec2", "a group's description has certain letters", REFUSAL, page=page("CreateSecurityGroup"),
       says="A group's description has 255 characters at most: a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=&;{}!$*")
def _(aws):
    group(aws, description="a" * 210 + " AZ09._-:/()#,@[]+=&;{}!$*")
    for wrong in ["a" * 256, "hôte", "a < b"]:
        refused("InvalidParameterValue", create_group, aws, description=wrong)


@check("ec2", "a group in an unknown VPC is refused", REFUSAL, page=ERRORS,
       says="InvalidVpcID.NotFound is the code for a VPC that there is not.")
def _(aws):
    refused("InvalidVpcID.NotFound", aws.ec2.create_security_group, GroupName=aws.name(), Description="a check",
            VpcId="vpc-0123456789abcdef0")


@check("ec2", "an unknown group is not described", REFUSAL, page=ERRORS,
       says="InvalidGroup.NotFound is the code for a group that there is not.")
def _(aws):
    refused("InvalidGroup.NotFound", aws.ec2.describe_security_groups, GroupIds=[NOBODY])


@check("ec2", "a group's id has a form", REFUSAL, page=ERRORS,
       says="InvalidGroupId.Malformed is the code for an id that is not sg- and hexadecimal digits.")
def _(aws):
    refused(("InvalidGroupId.Malformed", "InvalidSecurityGroupId.Malformed"), aws.ec2.describe_security_groups,
            GroupIds=["group-1"])


@check("ec2", "groups are found by name, VPC and tag", page=page("DescribeSecurityGroups"),
       says="The filter group-name finds groups by name.")
def _(aws):
    stem, team = aws.name("group"), aws.name("team")
    one, two = group(aws, stem + "-a"), group(aws, stem + "-b", TagSpecifications=tagged("security-group", Team=team))
    find = lambda *filters: {found["GroupId"] for found in aws.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]}
    equal(find(by("group-name", stem + "-a")), {one})
    equal(find(by("group-name", stem + "*"), by("vpc-id", default_vpc(aws))), {one, two})
    equal(find(by("group-name", stem + "*"), by("tag:Team", team)), {two})
    equal(find(by("group-name", stem + "*"), by("vpc-id", "vpc-0123456789abcdef0")), set())


@check("ec2", "groups are found by their rules", page=page("DescribeSecurityGroups"),
       says="The filter ip-permission.from-port finds groups by the first port of an inbound rule (of ICMP: the type).")
def _(aws):
    stem = aws.name("group")
    one, two = group(aws, stem + "-a"), group(aws, stem + "-b")
    aws.ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[tcp(2222, "203.0.113.0/24")])
    aws.ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=[tcp(3333, "203.0.113.0/24")])
    filters = [by("group-name", stem + "*"), by("ip-permission.from-port", "2222")]
    equal([found["GroupId"] for found in aws.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]], [one])


@check("ec2", "groups come in pages", page=page("DescribeSecurityGroups"),
       says="The token in an answer brings the next page.")
def _(aws):
    stem = aws.name("group")
    made = {group(aws, f"{stem}-{n}") for n in range(7)}
    request = {"Filters": [by("group-name", stem + "*")], "MaxResults": 5}
    first = aws.ec2.describe_security_groups(**request)
    second = aws.ec2.describe_security_groups(**request, NextToken=first["NextToken"])
    equal((len(first["SecurityGroups"]), len(second["SecurityGroups"])), (5, 2))
    equal({one["GroupId"] for one in first["SecurityGroups"] + second["SecurityGroups"]}, made)
    true(not second.get("NextToken"), "the last page has a token")


@check("ec2", "small pages lose nothing", page=page("DescribeSecurityGroupRules"),
       says="On the last page NextToken is absent.")
def _(aws):
    made = group(aws)
    permissions = [tcp(port, "203.0.113.0/24") for port in range(8000, 8005)]
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions)
    aws.settings(page=2)
    pages = list(aws.ec2.get_paginator("describe_security_group_rules").paginate(Filters=[by("group-id", made)]))
    equal([len(one["SecurityGroupRules"]) for one in pages], [2, 2, 2])
    ids = {rule["SecurityGroupRuleId"] for one in pages for rule in one["SecurityGroupRules"]}
    equal(len(ids), 6, "different rules")


@check("ec2", "a page has a size", REFUSAL, page=page("DescribeSecurityGroups"), says="MaxResults is from 5 to 1000.")
def _(aws):
    client = aws.client("ec2", parameter_validation=False)
    for wrong in [4, 1001]:
        refused(("InvalidParameterValue", "InvalidMaxResults"), client.describe_security_groups, MaxResults=wrong)


@check("ec2", "a page's token is one that was given", REFUSAL, page=ERRORS,
       says="A NextToken that EC2 did not give is refused.")
def _(aws):
    refused(("InvalidNextToken", "InvalidPaginationToken", "InvalidParameterValue"), aws.ec2.describe_security_groups,
            NextToken="no token")


@check("ec2", "a deleted group is gone", REFUSAL, page=page("DeleteSecurityGroup"),
       says="DeleteSecurityGroup deletes a security group.")
def _(aws):
    made = group(aws)
    aws.ec2.delete_security_group(GroupId=made)
    refused("InvalidGroup.NotFound", aws.ec2.describe_security_groups, GroupIds=[made])
    refused("InvalidGroup.NotFound", aws.ec2.delete_security_group, GroupId=made)


@check("ec2", "a group that another group's rule names is not deleted", REFUSAL, page=page("DeleteSecurityGroup"),
       says="DependencyViolation is the code where a group to be deleted is named in a rule of another group in its VPC.")
def _(aws):
    one, two = group(aws), group(aws)
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": one}]}
    aws.ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=[permission])
    refused("DependencyViolation", aws.ec2.delete_security_group, GroupId=one)
    aws.ec2.revoke_security_group_ingress(GroupId=two, IpPermissions=[permission])
    aws.ec2.delete_security_group(GroupId=one)


@check("ec2", "a group that names itself is deleted", page=page("DeleteSecurityGroup"),
       says="A rule of another group keeps a group from being deleted, one of its own does not.")
def _(aws):
    made = group(aws)
    permission = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": made}]}
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[permission])
    aws.ec2.delete_security_group(GroupId=made)
    refused("InvalidGroup.NotFound", aws.ec2.describe_security_groups, GroupIds=[made])


@check("ec2", "rules are told with their ids", page=page("AuthorizeSecurityGroupIngress"),
       says="The answer has the rules that were added, with their ids.")
def _(aws):
    made = group(aws)
    permissions = [tcp(22, "203.0.113.0/24", "198.51.100.7/32", description="SSH")]
    answer = aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions,
                                                      TagSpecifications=tagged("security-group-rule", a="b"))
    rules = answer["SecurityGroupRules"]
    equal({rule["CidrIpv4"] for rule in rules}, {"203.0.113.0/24", "198.51.100.7/32"})
    for rule in rules:
        true(rule["SecurityGroupRuleId"].startswith("sgr-"), rule["SecurityGroupRuleId"])
        equal((rule["GroupId"], rule["IsEgress"], rule["IpProtocol"]), (made, False, "tcp"))
        equal((rule["FromPort"], rule["ToPort"], rule["Description"]), (22, 22, "SSH"))
        equal(plain(rule["Tags"]), {"a": "b"})
    known = {rule["SecurityGroupRuleId"] for rule in rules_of(aws, made)}
    equal(known, {rule["SecurityGroupRuleId"] for rule in rules}, "described ids")


@check("ec2", "a range is made canonical", page=page("AuthorizeSecurityGroupIngress"),
       says="A range is kept with its host bits zero: 100.68.0.18/18 becomes 100.68.0.0/18.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "100.68.0.18/18")])
    equal([ip["CidrIp"] for ip in group_shown(aws, made)["IpPermissions"][0]["IpRanges"]], ["100.68.0.0/18"])
    equal([rule["CidrIpv4"] for rule in rules_of(aws, made)], ["100.68.0.0/18"])


@check("ec2", "a rule in another form is there already", REFUSAL, page=page("AuthorizeSecurityGroupIngress"),
       says="A range with other host bits is the same rule: with 100.68.0.0/18 there, 100.68.0.18/18 is a duplicate.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "100.68.0.0/18")])
    refused("InvalidPermission.Duplicate", aws.ec2.authorize_security_group_ingress, GroupId=made,
            IpPermissions=[tcp(22, "100.68.0.18/18")])


@check("ec2", "a rule is there already, whatever its description", REFUSAL, page=ERRORS,
       says="InvalidPermission.Duplicate is the code for a rule that the group has already.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24", description="a")])
    refused("InvalidPermission.Duplicate", aws.ec2.authorize_security_group_ingress, GroupId=made,
            IpPermissions=[tcp(22, "203.0.113.0/24", description="b")])
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    refused("InvalidPermission.Duplicate", aws.ec2.authorize_security_group_egress, GroupId=made, IpPermissions=[everything])


@check("ec2", "one rule that is there already keeps out the others", REFUSAL, page=ERRORS,
       says="InvalidPermission.Duplicate is the code for a rule that the group has already.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    refused("InvalidPermission.Duplicate", aws.ec2.authorize_security_group_ingress, GroupId=made,
            IpPermissions=[tcp(80, "203.0.113.0/24"), tcp(22, "203.0.113.0/24")])
    equal([rule["FromPort"] for rule in rules_of(aws, made)], [22])


@check("ec2", "TCP needs ports", REFUSAL, page=page("AuthorizeSecurityGroupIngress"),
       says="A rule of TCP or UDP needs a port or a range of ports.")
def _(aws):
    permission = {"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}
    refused(("InvalidParameterValue", "MissingParameter", "InvalidPermission.Malformed"),
            aws.ec2.authorize_security_group_ingress, GroupId=group(aws), IpPermissions=[permission])


@check("ec2", "a range has a form", REFUSAL, page=ERRORS,
       says="A range of addresses is written as CIDR: 203.0.113.0/24.")
def _(aws):
    made = group(aws)
    for wrong in ["203.0.113.0/33", "anywhere"]:
        refused(("InvalidPermission.Malformed", "InvalidParameterValue"), aws.ec2.authorize_security_group_ingress,
                GroupId=made, IpPermissions=[tcp(22, wrong)])
    equal(rules_of(aws, made), [])


@check("ec2", "all protocols are all ports", page=page("AuthorizeSecurityGroupIngress"),
       says="""A rule of -1, or of a protocol other than tcp, udp, icmp and icmpv6, is for all ports, whatever ports it
       names.""")
def _(aws):
    made = group(aws)
    permission = {"IpProtocol": "-1", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[permission])
    equal([(rule["FromPort"], rule["ToPort"]) for rule in rules_of(aws, made)], [(-1, -1)])
    true("FromPort" not in group_shown(aws, made)["IpPermissions"][0], "a permission of all protocols has a port")


@check("ec2", "a rule from an unknown group is refused", REFUSAL, page=ERRORS,
       says="InvalidGroup.NotFound is the code for a source group that there is not.")
def _(aws):
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": NOBODY}]}
    refused("InvalidGroup.NotFound", aws.ec2.authorize_security_group_ingress, GroupId=group(aws), IpPermissions=[permission])


@check("ec2", "a rule of an unknown group is refused", REFUSAL, page=ERRORS,
       says="InvalidGroup.NotFound is the code for a group that there is not.")
def _(aws):
    refused("InvalidGroup.NotFound", aws.ec2.authorize_security_group_ingress, GroupId=NOBODY,
            IpPermissions=[tcp(22, "203.0.113.0/24")])


@check("ec2", "a rule is revoked by its id", page=page("RevokeSecurityGroupIngress"),
       says="A rule to revoke is named by its id or by its properties.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24"), tcp(80, "203.0.113.0/24")])
    ids = {rule["FromPort"]: rule["SecurityGroupRuleId"] for rule in rules_of(aws, made)}
    answer = aws.ec2.revoke_security_group_ingress(GroupId=made, SecurityGroupRuleIds=[ids[22]])
    equal(answer["Return"], True)
    equal([rule["FromPort"] for rule in rules_of(aws, made)], [80])


@check("ec2", "a rule is revoked without its description", page=page("RevokeSecurityGroupIngress"),
       says="A rule is revoked without naming its description.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24", description="SSH")])
    aws.ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    equal(rules_of(aws, made), [])


@check("ec2", "revoking tells what was revoked", page=page("RevokeSecurityGroupIngress"),
       says="The answer tells which rules were revoked.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    known = rules_of(aws, made)[0]["SecurityGroupRuleId"]
    answer = aws.ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    told = [(one["SecurityGroupRuleId"], one["GroupId"], one["CidrIpv4"]) for one in answer["RevokedSecurityGroupRules"]]
    equal(told, [(known, made, "203.0.113.0/24")])


@check("ec2", "revoking what is not there is no error in the default VPC", page=page("RevokeSecurityGroupIngress"),
       says="In a default VPC revoking a rule that there is not is no error; the answer names it as unknown.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    answer = aws.ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=[tcp(23, "203.0.113.0/24")])
    equal([(one["FromPort"], [ip["CidrIp"] for ip in one["IpRanges"]]) for one in answer["UnknownIpPermissions"]],
          [(23, ["203.0.113.0/24"])])
    equal(len(rules_of(aws, made)), 1)


@check("ec2", "an unknown rule's id is refused", REFUSAL, page=ERRORS,
       says="InvalidSecurityGroupRuleId.NotFound is the code for a rule that there is not.")
def _(aws):
    refused("InvalidSecurityGroupRuleId.NotFound", aws.ec2.revoke_security_group_ingress, GroupId=group(aws),
            SecurityGroupRuleIds=["sgr-0123456789abcdef0"])


@check("ec2", "an unknown rule is not described", REFUSAL, page=ERRORS,
       says="InvalidSecurityGroupRuleId.NotFound is the code for a rule that there is not.")
def _(aws):
    refused("InvalidSecurityGroupRuleId.NotFound", aws.ec2.describe_security_group_rules,
            SecurityGroupRuleIds=["sgr-0123456789abcdef0"])


@check("ec2", "outbound rules are apart", page=page("DescribeSecurityGroupRules"),
       says="IsEgress tells an outbound rule.")
def _(aws):
    made = group(aws)
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    aws.ec2.revoke_security_group_egress(GroupId=made, IpPermissions=[everything])
    aws.ec2.authorize_security_group_egress(GroupId=made, IpPermissions=[tcp(443, "203.0.113.0/24")])
    equal([rule["FromPort"] for rule in rules_of(aws, made, egress=True)], [443])
    equal(rules_of(aws, made), [], "inbound")


@check("ec2", "a rule's description alone is replaced", page=page("UpdateSecurityGroupRuleDescriptionsIngress"),
       says="A rule's description can be replaced, or given to a rule without one.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24", description="a"),
                                                                          tcp(80, "203.0.113.0/24")])
    before = {rule["SecurityGroupRuleId"] for rule in rules_of(aws, made)}
    for port in [22, 80]:
        aws.ec2.update_security_group_rule_descriptions_ingress(
            GroupId=made, IpPermissions=[tcp(port, "203.0.113.0/24", description=f"port {port}")])
    rules = rules_of(aws, made)
    equal({rule["FromPort"]: rule.get("Description") for rule in rules}, {22: "port 22", 80: "port 80"})
    equal({rule["SecurityGroupRuleId"] for rule in rules}, before, "ids")


@check("ec2", "a rule's description is taken away", page=page("UpdateSecurityGroupRuleDescriptionsIngress"),
       says="Updating a rule without a description takes its description away.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24", description="a")])
    aws.ec2.update_security_group_rule_descriptions_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    equal([rule.get("Description") for rule in rules_of(aws, made)], [None])


@check("ec2", "a rule is modified under its id", page=page("ModifySecurityGroupRules"),
       says="ModifySecurityGroupRules changes rules that a group has.")
def _(aws):
    made = group(aws)
    aws.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[tcp(22, "203.0.113.0/24")])
    known = rules_of(aws, made)[0]["SecurityGroupRuleId"]
    new = {"IpProtocol": "tcp", "FromPort": 2222, "ToPort": 2223, "CidrIpv4": "198.51.100.0/24", "Description": "moved"}
    aws.ec2.modify_security_group_rules(
        GroupId=made, SecurityGroupRules=[{"SecurityGroupRuleId": known, "SecurityGroupRule": new}])
    rule = rules_of(aws, made)[0]
    equal(rule["SecurityGroupRuleId"], known)
    equal({key: rule[key] for key in new}, new)


@check("ec2", "a rule names a group", page=page("AuthorizeSecurityGroupIngress"),
       says="A rule has exactly one source: a range of IPv4 or IPv6 addresses, a prefix list, or a security group.")
def _(aws):
    one, two = group(aws), group(aws)
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": one}]}
    aws.ec2.authorize_security_group_ingress(GroupId=two, IpPermissions=[permission])
    equal([rule["ReferencedGroupInfo"]["GroupId"] for rule in rules_of(aws, two)], [one])
    contains([pair["GroupId"] for pair in group_shown(aws, two)["IpPermissions"][0]["UserIdGroupPairs"]], one)
