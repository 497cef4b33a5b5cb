//! The rights in `src/aws/permissions.json` are those that the tool's calls need: no more, no fewer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;

/// The text of every source file of the tool itself, without its tests and the sandbox.
fn sources(folder: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if name.starts_with("sandbox") || name.starts_with("tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, out);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(path).unwrap();
            out.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
}

/// The right that an operation needs, where it has another name (Service Authorization Reference).
fn action(operation: &str) -> &str {
    match operation {
        "s3:HeadObject" => "s3:GetObject",
        "s3:HeadBucket" | "s3:ListObjectsV2" => "s3:ListBucket",
        "s3:CreateMultipartUpload" | "s3:UploadPart" | "s3:CompleteMultipartUpload" => "s3:PutObject",
        "s3:ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        other => other,
    }
}

#[test]
fn the_rights_are_those_of_the_calls() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    sources(&root.join("src"), &mut texts);
    let quoted = texts.iter().flat_map(|text| text.split('"'));
    let operations = quoted.filter(|text| {
        let parts = text.split_once(':');
        parts.is_some_and(|(service, name)| {
            ["iam", "ec2", "ecs", "s3", "logs", "ssm"].contains(&service)
                && name.len() > 1
                && name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.chars().all(|letter| letter.is_ascii_alphanumeric())
        })
    });
    // Buckets are made in a sandbox only.
    let mut needed: BTreeSet<&str> = operations.filter(|name| *name != "s3:CreateBucket").map(action).collect();
    assert!(needed.len() > 80, "{needed:?}");
    // What AWS asks for beyond the call itself: roles are given to instances and tasks, and an account's first cluster
    // makes ECS's own role.
    needed.extend(["iam:PassRole", "iam:CreateServiceLinkedRole"]);
    let policy = std::fs::read_to_string(root.join("src/aws/permissions.json")).unwrap();
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    let given: BTreeSet<&str> = actions.map(|action| action.as_str().unwrap()).collect();
    assert_eq!(given, needed);
    // IAM counts no white space (IAM user guide, "IAM and AWS STS quotas").
    let size = policy.to_string().len();
    assert!(size <= 6144, "{size}");
}
