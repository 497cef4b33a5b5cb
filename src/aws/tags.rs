//! Tags between our map and each service's own type. AWS's own tags (`aws:…`) are never seen nor sent.

use aws_smithy_types::error::operation::BuildError;

use super::{AwsError, Class};
use crate::kind::Tags;

fn clean(pairs: impl Iterator<Item = (String, String)>) -> Tags {
    pairs.filter(|(key, _)| !key.starts_with("aws:")).collect()
}

/// IAM's tags as ours.
pub fn from_iam(tags: &[aws_sdk_iam::types::Tag]) -> Tags {
    clean(tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())))
}

/// Our tags as IAM's.
///
/// # Errors
/// Never for tags with keys and values, which ours have.
pub fn to_iam(operation: &'static str, tags: &Tags) -> Result<Option<Vec<aws_sdk_iam::types::Tag>>, AwsError> {
    let tags = tags.iter().map(|(key, value)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build());
    tags.collect::<Result<_, _>>().map(Some).map_err(|error| unbuilt(operation, &error))
}

/// EC2's tags as ours.
pub fn from_ec2(tags: &[aws_sdk_ec2::types::Tag]) -> Tags {
    clean(tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))))
}

/// Our tags as EC2's.
pub fn to_ec2(tags: &Tags) -> Option<Vec<aws_sdk_ec2::types::Tag>> {
    Some(tags.iter().map(|(key, value)| aws_sdk_ec2::types::Tag::builder().key(key).value(value).build()).collect())
}

/// Our tags on a thing that an EC2 call is about to create.
pub fn on_creation(kind: aws_sdk_ec2::types::ResourceType, tags: &Tags) -> aws_sdk_ec2::types::TagSpecification {
    aws_sdk_ec2::types::TagSpecification::builder().resource_type(kind).set_tags(to_ec2(tags)).build()
}

/// ECS's tags as ours.
pub fn from_ecs(tags: &[aws_sdk_ecs::types::Tag]) -> Tags {
    clean(tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))))
}

/// Our tags as ECS's.
pub fn to_ecs(tags: &Tags) -> Option<Vec<aws_sdk_ecs::types::Tag>> {
    Some(tags.iter().map(|(key, value)| aws_sdk_ecs::types::Tag::builder().key(key).value(value).build()).collect())
}

/// A plain map of tags (CloudWatch Logs) as ours.
pub fn from_map(tags: Option<&std::collections::HashMap<String, String>>) -> Tags {
    clean(tags.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())))
}

/// What leads from one set of tags to another: those to set, and the keys to remove.
pub fn change(live: &Tags, want: &Tags) -> (Tags, Vec<String>) {
    let set = want.iter().filter(|(key, value)| live.get(*key) != Some(*value));
    let set = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let gone = live.keys().filter(|key| !want.contains_key(*key)).cloned().collect();
    (set, gone)
}

/// A request that lacks a required member: a fault of this tool, told as one that was never sent.
pub fn unbuilt(operation: &'static str, error: &BuildError) -> AwsError {
    AwsError {
        operation,
        code: None,
        message: super::chain(error),
        status: None,
        request_id: None,
        class: Class::Unsent,
    }
}

/// Sets tags on an EC2 resource.
///
/// # Errors
/// The call's.
pub async fn set_ec2(aws: &super::Aws, id: &str, tags: &Tags) -> Result<(), AwsError> {
    use super::OrAws;
    let request = aws.ec2.create_tags().resources(id).set_tags(to_ec2(tags));
    request.send().await.or_aws("ec2:CreateTags").map(|_| ())
}

/// Removes tags from an EC2 resource.
///
/// # Errors
/// The call's.
pub async fn remove_ec2(aws: &super::Aws, id: &str, keys: &[String]) -> Result<(), AwsError> {
    use super::OrAws;
    let tags = keys.iter().map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build()).collect();
    aws.ec2.delete_tags().resources(id).set_tags(Some(tags)).send().await.or_aws("ec2:DeleteTags").map(|_| ())
}

/// Sets tags on an ECS resource.
///
/// # Errors
/// The call's.
pub async fn set_ecs(aws: &super::Aws, arn: &str, tags: &Tags) -> Result<(), AwsError> {
    use super::OrAws;
    let request = aws.ecs.tag_resource().resource_arn(arn).set_tags(to_ecs(tags));
    request.send().await.or_aws("ecs:TagResource").map(|_| ())
}

/// Removes tags from an ECS resource.
///
/// # Errors
/// The call's.
pub async fn remove_ecs(aws: &super::Aws, arn: &str, keys: Vec<String>) -> Result<(), AwsError> {
    use super::OrAws;
    let request = aws.ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
    request.send().await.or_aws("ecs:UntagResource").map(|_| ())
}

/// The keys of tags, as calls are described with them.
pub fn keys(tags: &Tags) -> String {
    tags.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awss_own_tags_are_never_seen() {
        let tag = |key: &str| aws_sdk_ec2::types::Tag::builder().key(key).value("x").build();
        let seen = from_ec2(&[tag("aws:cloudformation:stack-name"), tag("project"), tag("awsome")]);
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), ["awsome", "project"]);
    }
}
