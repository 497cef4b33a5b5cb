//! How often each operation may be called, where throttling is asked for: token buckets, as AWS documents them.
//!
//! A bucket starts full and fills at its rate up to its capacity, on the sandbox's clock; a call takes a token, and is
//! refused where there is none. What AWS publishes no number for (IAM, STS, most of Logs) is not throttled.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::input::{list, number};
use super::s3;
use super::service::{ApiError, Cx};

/// Operations that share a bucket, how many tokens it holds, and how many it gains a second.
type Shared = (&'static [&'static str], f64, f64);

/// All operations of a category share one bucket.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>
const ECS: &[Shared] = &[
    (&["CreateCluster", "DeleteCluster"], 20.0, 1.0),
    (&["DescribeClusters", "ListClusters"], 50.0, 20.0),
    (&["RegisterTaskDefinition", "DeregisterTaskDefinition"], 20.0, 1.0),
    (&["DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"], 50.0, 20.0),
    (&["DeleteTaskDefinitions"], 5.0, 1.0),
    (&["TagResource", "UntagResource"], 20.0, 10.0),
    (&["ListTagsForResource"], 50.0, 20.0),
    (&["RunTask", "StopTask", "DeregisterContainerInstance", "UpdateContainerInstancesState"], 100.0, 40.0),
    (
        &["DescribeTasks", "ListTasks", "DescribeContainerInstances", "ListContainerInstances", "ListAttributes"],
        100.0,
        20.0,
    ),
];

/// CreateLogStream passes 50 times a second, DescribeLogStreams 25 times.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html> and
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html>
const LOGS: &[Shared] = &[(&["CreateLogStream"], 50.0, 50.0), (&["DescribeLogStreams"], 25.0, 25.0)];

/// Parameter Store's default throughput, 40 a second, which the operations that get parameters share.
/// <https://docs.aws.amazon.com/general/latest/gr/ssm.html>
const SSM: &[Shared] = &[(&["GetParameters"], 40.0, 40.0)];

/// Each operation has a bucket of its own, as large as its category says.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
fn ec2(operation: &str, input: &Value) -> (f64, f64) {
    const UNFILTERED: [&str; 4] =
        ["DescribeInstances", "DescribeInstanceStatus", "DescribeSecurityGroups", "DescribeVolumes"];
    match operation {
        "RunInstances" | "StartInstances" => (5.0, 2.0),
        "TerminateInstances" | "ModifyInstanceMetadataOptions" => (100.0, 5.0),
        "CreateTags" | "DeleteTags" => (100.0, 10.0),
        _ if unfiltered(operation, input, &UNFILTERED) => (50.0, 10.0),
        _ if operation.starts_with("Describe") => (100.0, 20.0),
        // Mutating operations, resource-intensive ones among them.
        _ => (50.0, 5.0),
    }
}

/// Neither filtered nor in pages: some operations then have a second, smaller bucket.
fn unfiltered(operation: &str, input: &Value, operations: &[&str]) -> bool {
    let none = |name: &str| input.get(name).is_none();
    operations.contains(&operation) && none("Filter") && none("MaxResults") && none("NextToken")
}

/// The same page's resource buckets: how many tokens an operation takes for its instances, and from which bucket.
fn ec2_resources(operation: &str, input: &Value) -> Option<(f64, f64, f64)> {
    let named = || f64::from(u32::try_from(list(input, "InstanceId").len()).unwrap_or(u32::MAX));
    // What is no number is EC2's to refuse.
    let wanted = || f64::from(number(input, "MaxCount").and_then(|n| u32::try_from(n).ok()).unwrap_or(1));
    Some(match operation {
        "RunInstances" => (wanted(), 1000.0, 2.0),
        "StartInstances" => (named(), 1000.0, 2.0),
        "TerminateInstances" | "StopInstances" => (named(), 1000.0, 20.0),
        _ => return None,
    })
}

/// At least 3,500 writes or 5,500 reads a second for each prefix; a prefix is taken to be all up to a key's last slash.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
const S3_WRITES: f64 = 3500.0;
const S3_READS: f64 = 5500.0;

/// The buckets that were taken from, by name.
#[derive(Clone, Debug, Default)]
pub struct Buckets(BTreeMap<String, Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// What a call takes from a bucket.
struct Take {
    bucket: String,
    tokens: f64,
    capacity: f64,
    rate: f64,
}

impl Buckets {
    /// Takes all that a call needs, or nothing.
    fn take(&mut self, now: Timestamp, takes: &[Take]) -> bool {
        let mut after = Vec::new();
        for take in takes {
            let tokens = match self.0.get(&take.bucket) {
                None => take.capacity,
                Some(bucket) => {
                    let gained = now.duration_since(bucket.at).as_secs_f64() * take.rate;
                    (bucket.tokens + gained).min(take.capacity)
                }
            };
            if tokens < take.tokens {
                return false;
            }
            after.push((take.bucket.clone(), Bucket { tokens: tokens - take.tokens, at: now }));
        }
        self.0.extend(after);
        true
    }
}

/// The refusal of a call for its rate, as its service says that.
pub(super) fn refusal(service: &str) -> ApiError {
    match service {
        "ec2" => ApiError::new("RequestLimitExceeded", "Request limit exceeded.").status(503),
        "iam" | "sts" => ApiError::new("Throttling", "Rate exceeded"),
        "s3" => ApiError::new("SlowDown", "Please reduce your request rate.").status(503),
        _ => ApiError::new("ThrottlingException", "Rate exceeded"),
    }
}

/// Counts a call of any service but S3.
///
/// # Errors
/// `ThrottlingException`, or EC2's `RequestLimitExceeded`, where there are too many.
pub(super) fn call(
    buckets: &mut Buckets,
    cx: &Cx,
    service: &str,
    operation: &str,
    input: &Value,
) -> Result<(), ApiError> {
    if !cx.options.settings.throttle {
        return Ok(());
    }
    let takes = match service {
        "ec2" => ec2_takes(operation, input),
        "ecs" => shared(service, ECS, operation),
        "logs" => shared(service, LOGS, operation),
        "ssm" => shared(service, SSM, operation),
        _ => Vec::new(),
    };
    if buckets.take(cx.now, &takes) {
        return Ok(());
    }
    Err(refusal(service))
}

fn ec2_takes(operation: &str, input: &Value) -> Vec<Take> {
    let (capacity, rate) = ec2(operation, input);
    // The smaller bucket of an operation is another than its larger one.
    let mut takes = vec![Take { bucket: format!("ec2:{operation} {capacity}"), tokens: 1.0, capacity, rate }];
    if let Some((tokens, capacity, rate)) = ec2_resources(operation, input) {
        takes.push(Take { bucket: format!("ec2:{operation} resources"), tokens, capacity, rate });
    }
    takes
}

fn shared(service: &str, table: &[Shared], operation: &str) -> Vec<Take> {
    let found = table.iter().find(|(operations, ..)| operations.contains(&operation));
    found
        .map(|(operations, capacity, rate)| Take {
            bucket: format!("{service}:{}", operations[0]),
            tokens: 1.0,
            capacity: *capacity,
            rate: *rate,
        })
        .into_iter()
        .collect()
}

/// Counts a call to S3.
///
/// # Errors
/// `SlowDown` where there are too many under one prefix.
pub(super) fn s3(buckets: &mut Buckets, cx: &Cx, call: &s3::Call) -> Result<(), ApiError> {
    if !cx.options.settings.throttle {
        return Ok(());
    }
    let (kind, capacity) = if call.reads() { ("reads", S3_READS) } else { ("writes", S3_WRITES) };
    let take = Take { bucket: format!("s3:{kind} {}", call.prefix()), tokens: 1.0, capacity, rate: capacity };
    if buckets.take(cx.now, &[take]) {
        return Ok(());
    }
    Err(refusal("s3"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::bench::Bench;
    use super::super::service::{Options, Settings};
    use super::*;

    fn bench() -> Bench {
        let mut bench = Bench::new(|_| unreachable!());
        let settings = Settings { throttle: true, ..Settings::default() };
        bench.cx.options = Arc::new(Options { settings, ..Options::default() });
        bench
    }

    /// How many calls in a row pass before one is refused, and with what.
    fn burst(bench: &mut Bench, service: &str, operations: &[&str], input: &Value) -> (usize, ApiError) {
        for (n, operation) in operations.iter().cycle().enumerate() {
            if let Err(error) = call(
                bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(),
                &bench.cx,
                service,
                operation,
                input,
            ) {
                return (n, error);
            }
        }
        unreachable!()
    }

    #[test]
    fn bursts_end_and_buckets_fill_again() {
        let all = json!({});
        let few = json!({ "Filter": [] });
        type Case<'a> = (&'a str, &'a [&'a str], &'a Value, usize, usize, &'a str);
        let cases: [Case<'_>; 17] = [
            ("ecs", &["RunTask", "StopTask"], &all, 100, 40, "ThrottlingException"),
            (
                "ecs",
                &["DescribeTasks", "ListTasks", "DescribeContainerInstances"],
                &all,
                100,
                20,
                "ThrottlingException",
            ),
            ("ecs", &["RegisterTaskDefinition", "DeregisterTaskDefinition"], &all, 20, 1, "ThrottlingException"),
            ("ecs", &["DescribeTaskDefinition"], &all, 50, 20, "ThrottlingException"),
            ("ecs", &["CreateCluster", "DeleteCluster"], &all, 20, 1, "ThrottlingException"),
            ("ecs", &["DeleteTaskDefinitions"], &all, 5, 1, "ThrottlingException"),
            ("ecs", &["TagResource"], &all, 20, 10, "ThrottlingException"),
            ("logs", &["DescribeLogStreams"], &all, 25, 25, "ThrottlingException"),
            ("logs", &["CreateLogStream"], &all, 50, 50, "ThrottlingException"),
            ("ssm", &["GetParameters"], &all, 40, 40, "ThrottlingException"),
            ("ec2", &["DescribeInstances"], &few, 100, 20, "RequestLimitExceeded"),
            ("ec2", &["DescribeInstances"], &all, 50, 10, "RequestLimitExceeded"),
            ("ec2", &["DescribeVpcs"], &all, 100, 20, "RequestLimitExceeded"),
            ("ec2", &["AuthorizeSecurityGroupIngress"], &all, 50, 5, "RequestLimitExceeded"),
            ("ec2", &["CreateTags"], &all, 100, 10, "RequestLimitExceeded"),
            ("ec2", &["RunInstances"], &all, 5, 2, "RequestLimitExceeded"),
            ("ec2", &["TerminateInstances"], &all, 100, 5, "RequestLimitExceeded"),
        ];
        for (service, operations, input, capacity, rate, code) in cases {
            let mut bench = bench();
            let (passed, refusal) = burst(&mut bench, service, operations, input);
            assert_eq!((passed, refusal.code), (capacity, code), "{service}:{operations:?}");
            assert_eq!(refusal.status, if service == "ec2" { 503 } else { 400 });
            bench.wait(1);
            assert_eq!(
                burst(&mut bench, service, operations, input).0,
                rate,
                "{service}:{operations:?} after a second"
            );
            bench.wait(3600);
            assert_eq!(burst(&mut bench, service, operations, input).0, capacity, "{service}:{operations:?} when full");
        }
    }

    #[test]
    fn every_operation_of_ecs_has_one_bucket() {
        for (operation, _) in super::super::operations("ecs") {
            let buckets = ECS.iter().filter(|(operations, ..)| operations.contains(operation)).count();
            assert_eq!(buckets, 1, "{operation}");
        }
    }

    #[test]
    fn ec2_counts_operations_apart_and_instances_together() {
        let mut bench = bench();
        let many = json!({ "MaxCount": "600" });
        assert_eq!(burst(&mut bench, "ec2", &["RunInstances"], &many).0, 1, "1000 instances at once");
        let one = json!({ "MaxCount": "1" });
        assert!(
            call(
                bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(),
                &bench.cx,
                "ec2",
                "RunInstances",
                &one
            )
            .is_ok(),
            "a refused call takes nothing"
        );
        assert!(
            call(
                bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(),
                &bench.cx,
                "ec2",
                "StopInstances",
                &json!({"InstanceId": ["i-1"]})
            )
            .is_ok()
        );
        bench.wait(100);
        assert_eq!(burst(&mut bench, "ec2", &["RunInstances"], &many).0, 0, "200 more in 100 s are not enough");
    }

    #[test]
    fn nothing_is_throttled_unasked_nor_where_aws_names_no_number() {
        let mut bench = bench();
        for _ in 0..2000 {
            call(
                bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(),
                &bench.cx,
                "iam",
                "CreateRole",
                &json!({}),
            )
            .unwrap();
        }
        bench.cx.options = Arc::new(Options::default());
        for _ in 0..200 {
            call(
                bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(),
                &bench.cx,
                "ecs",
                "DeleteTaskDefinitions",
                &json!({}),
            )
            .unwrap();
        }
    }

    #[test]
    fn s3_counts_by_prefix() {
        let mut bench = bench();
        let get = |key: &str| s3::Call::example("GET", "b", key);
        let put = |key: &str| s3::Call::example("PUT", "b", key);
        let mut burst = |call: &s3::Call| {
            (0..)
                .find(|_| {
                    s3(bench.whole.throttle.entry("eu-west-2".to_owned()).or_default(), &bench.cx, call)
                        .is_err_and(|error| error.code == "SlowDown")
                })
                .unwrap()
        };
        assert_eq!(burst(&put("a/1")), 3500);
        assert_eq!(burst(&put("a/2")), 0, "the same prefix");
        assert_eq!(burst(&get("a/1")), 5500);
        assert_eq!(burst(&put("b/1")), 3500);
    }
}
