//! What could not be read, as people read it: each cause once, whichever and however many calls met it.

use std::collections::BTreeMap;

use crate::aws::AwsError;

/// How many calls are named for one cause.
const NAMED: usize = 3;

/// One line a cause, sorted.
pub fn causes(errors: &[AwsError]) -> Vec<String> {
    let mut by_cause: BTreeMap<(Option<&str>, &str), Vec<&AwsError>> = BTreeMap::new();
    for error in errors {
        by_cause.entry((error.code.as_deref(), &error.message)).or_default().push(error);
    }
    let line = |((code, message), errors): ((Option<&str>, &str), Vec<&AwsError>)| {
        let mut names: Vec<&str> = errors.iter().map(|error| error.operation).collect();
        names.sort_unstable();
        names.dedup();
        if let [_] = names.as_slice() {
            return errors[0].to_string();
        }
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.truncate(NAMED);
        let code = code.map(|code| format!("{code}: ")).unwrap_or_default();
        format!("{}{more}: {code}{message}", names.join(", "))
    };
    let mut lines: Vec<String> = by_cause.into_iter().map(line).collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_no_call_is_left_out_of_the_count() {
        let of = |operation, message: &str| AwsError::refused(operation, message);
        let errors = [
            of("iam:ListRoles", "no credentials"),
            of("ec2:DescribeVpcs", "no credentials"),
            of("ec2:DescribeVpcs", "no credentials"),
            of("ecs:ListTasks", "no credentials"),
            of("sts:GetCallerIdentity", "no credentials"),
            of("s3:ListObjectsV2", "Access Denied"),
        ];
        assert_eq!(
            causes(&errors),
            [
                "ec2:DescribeVpcs, ecs:ListTasks, iam:ListRoles and 1 more: no credentials",
                "s3:ListObjectsV2: Access Denied",
            ]
        );
    }
}
