use serde_json::{Value, json};

use super::OPERATIONS;
use crate::bench::Bench;
use crate::engine::fake::Outcome;

fn bench() -> Bench {
    Bench::new(|_| Outcome::default())
}

/// Each operation, asked with nothing, with the name of what is not there, and with AWS's own: whatever it refuses, it
/// says so in its list.
#[test]
fn refusals_are_listed() {
    let mut bench = bench();
    let rights = json!({"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}).to_string();
    let whole = |arn: &str, document: &str, tag: &str| -> Value {
        json!({
            "RoleName": "none", "InstanceProfileName": "none", "PolicyName": "p", "PolicyArn": arn, "VersionId": "v2",
            "PolicyDocument": document, "AssumeRolePolicyDocument": document, "Tags": [{"Key": tag, "Value": ""}],
            "PermissionsBoundary": arn, "EntityFilter": tag, "Scope": tag, "Marker": tag, "MaxItems": "0",
        })
    };
    let inputs = [
        json!({}),
        whole("arn:aws:iam::123456789012:policy/none", &rights, "aws:x"),
        whole("arn:aws:iam::aws:policy/AmazonS3FullAccess", &rights, "x"),
        whole("arn:aws:iam::aws:policy/AmazonS3FullAccess", "no JSON", "x"),
    ];
    for (operation, _) in OPERATIONS {
        let refused = inputs.iter().filter(|input| bench.try_iam(operation, (*input).clone()).is_err()).count();
        assert!(refused > 0, "{operation}");
    }
}

#[test]
fn a_roles_tags_are_one_whatever_their_case() {
    let mut bench = bench();
    let tag = |key: &str, value: &str| json!([{"Key": key, "Value": value}]);
    bench.try_iam("TagRole", json!({"RoleName": "s-input", "Tags": tag("Team", "a")})).unwrap();
    bench.try_iam("TagRole", json!({"RoleName": "s-input", "Tags": tag("TEAM", "b")})).unwrap();
    let listed = bench.try_iam("ListRoleTags", json!({"RoleName": "s-input"})).unwrap();
    assert_eq!(listed["Tags"], tag("TEAM", "b"));
    let twice = json!([{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}]);
    let refused = bench.try_iam("TagRole", json!({"RoleName": "s-input", "Tags": twice})).unwrap_err();
    assert_eq!(refused.code, "InvalidInput");
    bench.try_iam("UntagRole", json!({"RoleName": "s-input", "TagKeys": ["team"]})).unwrap();
    assert_eq!(bench.try_iam("ListRoleTags", json!({"RoleName": "s-input"})).unwrap()["Tags"], json!([]));
}
