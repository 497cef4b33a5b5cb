//! The end of an instance that hangs, so that nothing on it writes any more. Ends none but the stack's own.

use aws_sdk_ec2::types::{Instance, InstanceStateName};

use crate::aws::absence::OrAbsent as _;
use crate::aws::{Aws, AwsError, OrAws as _, tags};
use crate::kind::{TAG_ADOPTED, TAG_PROTECT, TAG_REGION, TAG_STACK};

const OPERATION: &str = "ec2:TerminateInstances";

/// Ends it, or goes on with its end; true once EC2 says that it has ended, and it has left the cluster. The stack is its
/// name and region.
///
/// # Errors
/// When AWS refuses, and where the instance is not one that this stack made.
pub(super) async fn end(aws: &Aws, cluster: &str, instance: &str, stack: (&str, &str)) -> Result<bool, AwsError> {
    let gone = |error: &AwsError| error.is(&["InvalidInstanceID.NotFound"]);
    let asked = aws.ec2.describe_instances().instance_ids(instance).send().await;
    let answer = asked.or_aws("ec2:DescribeInstances").or_absent_if(gone)?;
    let found = answer.iter().flat_map(|answer| answer.reservations()).flat_map(|one| one.instances()).next();
    let Some(found) = found else { return deregister(aws, cluster, instance).await };
    if !made_by(found, stack) {
        let text = format!(
            "{instance} hangs, and seqstack may not end it: this stack has not made it, or `protect` or adoption keeps it; terminate it in the EC2 console, then apply again"
        );
        return Err(AwsError::refused(OPERATION, text));
    }
    if found.state().and_then(|state| state.name()) == Some(&InstanceStateName::Terminated) {
        return deregister(aws, cluster, instance).await;
    }
    let sent = aws.ec2.terminate_instances().instance_ids(instance).send().await.or_aws(OPERATION);
    sent.or_absent_if(gone).map(|_| false)
}

/// Whether this stack has made it, and nobody has said that it is to stay.
fn made_by(instance: &Instance, (stack, region): (&str, &str)) -> bool {
    let tags = tags::from_ec2(instance.tags());
    let tag = |key: &str| tags.get(key).map(String::as_str);
    let ours = tag(TAG_STACK) == Some(stack) && tag(TAG_REGION) == Some(region);
    ours && tag(TAG_ADOPTED).is_none() && tag(TAG_PROTECT).is_none()
}

/// Takes an instance that has ended out of its cluster: one whose agent was away does not leave it by itself (ECS API,
/// DeregisterContainerInstance), and would keep the cluster from being deleted. Always true.
async fn deregister(aws: &Aws, cluster: &str, instance: &str) -> Result<bool, AwsError> {
    let list = aws.ecs.list_container_instances().cluster(cluster).filter(format!("ec2InstanceId == {instance}"));
    let listed = list.send().await.or_aws("ecs:ListContainerInstances").or_absent()?;
    for arn in listed.iter().flat_map(|listed| listed.container_instance_arns()) {
        let request = aws.ecs.deregister_container_instance().cluster(cluster).container_instance(arn).force(true);
        let sent = request.send().await.or_aws("ecs:DeregisterContainerInstance");
        // It has left meanwhile.
        sent.or_absent_if(|error| error.is(&["InvalidParameterException"]))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;

    #[test]
    fn none_is_ended_but_those_that_the_stack_has_made_and_may_end() {
        let made = |tags: &[(&str, &str)]| {
            let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
            let instance = Instance::builder().set_tags(Some(tags.iter().map(tag).collect())).build();
            made_by(&instance, ("lab", "eu-west-2"))
        };
        let (stack, region) = ((TAG_STACK, "lab"), (TAG_REGION, "eu-west-2"));
        assert!(made(&[stack, region]));
        assert!(!made(&[]));
        assert!(!made(&[(TAG_STACK, "other"), region]));
        assert!(!made(&[stack, (TAG_REGION, "eu-west-1")]));
        assert!(!made(&[stack, region, (TAG_ADOPTED, "true")]));
        assert!(!made(&[stack, region, (TAG_PROTECT, "true")]));
    }
}
