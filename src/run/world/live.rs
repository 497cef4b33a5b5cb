//! The one place that knows how ECS, S3 and Logs spell what a run asks. Decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::operation::get_log_events::builders::GetLogEventsFluentBuilder;
use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::types as ecs;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{EncodingType, OptionalObjectAttributes};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Agent, Going, Life, Only, Placed, Read, TaskNow, World, ending};
use crate::aws::absence::{OrAbsent, SEEN, again};
use crate::aws::buckets::{checksum, decoded};
use crate::aws::clock::{Clock, timestamp};
use crate::aws::wait::Pace;
use crate::aws::{Aws, AwsError, Class, OrAws};
use crate::kinds::instance::TAG_CLAIMED;
use crate::run::archive::Shelf;
use crate::run::claim::Claim;
use crate::run::drive::VISIBLE;
use crate::run::ledger::{Object, Request};
use crate::run::observe::Listing;
use crate::run::strays::{TaggedTask, tasks_of};
use crate::run::verdict::{ContainerEnd, TaskEnd};

/// After how long an unanswered write of the ledger is made anew, with a date of its own: well within the lease.
const WRITTEN: Duration = Duration::from_secs(20);
/// The slowest line, bytes a second, on which a large ledger still arrives in time.
const SLOWEST: usize = 64 << 10;
/// The longest that a write may take: another renewal must fit into the lease after it.
const WRITTEN_AT_MOST: Duration = Duration::from_secs(100);
/// After how long an unanswered RunTask is made again.
const STARTED: Duration = Duration::from_secs(60);

/// No attempts by the SDK itself: before each the lease is looked at, and the ledger dated.
fn once() -> RetryConfig {
    RetryConfig::disabled()
}

fn within(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(attempt).build()
}

/// How long a write of the ledger may take, by its size.
pub(super) fn written_within(bytes: usize) -> Duration {
    let sending = u64::try_from(bytes / SLOWEST).unwrap_or(u64::MAX);
    (WRITTEN + Duration::from_secs(sending)).min(WRITTEN_AT_MOST)
}

/// AWS itself, for one ledger.
#[derive(Clone, Debug)]
pub(crate) struct Live<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

impl World for Live<'_> {
    async fn read_ledger(&self) -> Result<Read, AwsError> {
        self.read_ledger_at(self.key).await
    }

    async fn read_ledger_at(&self, key: &str) -> Result<Read, AwsError> {
        const OPERATION: &str = "s3:GetObject";
        let clock = Clock::default();
        let get = |s3: &Client| {
            let get = s3.get_object().bucket(self.bucket).key(key);
            get.customize().interceptor(clock.clone()).send()
        };
        let answer = match self.aws.buckets.call(self.bucket, OPERATION, get).await {
            Ok(answer) => answer,
            Err(error) if error.is(&["NoSuchKey"]) => {
                return Ok(Read { object: None, now: clock.answered(OPERATION)? });
            }
            Err(error) if error.is(&["InvalidObjectState"]) => {
                let message = format!(
                    "{}: a lifecycle rule has archived the ledger s3://{bucket}/{key}, without which nothing is known of its runs. Restore it (`aws s3api restore-object --bucket {bucket} --key {key} --restore-request Days=7`), copy it onto itself with the storage class STANDARD, and leave .seqstack/ out of the bucket's lifecycle rules",
                    error.message,
                    bucket = self.bucket,
                    key = self.key,
                );
                return Err(AwsError { message, ..error });
            }
            Err(error) => return Err(error),
        };
        let now = clock.answered(OPERATION)?;
        let written = timestamp(answer.last_modified()).unwrap_or(now);
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        let body = answer.body.collect().await.map_err(|error| AwsError {
            operation: OPERATION,
            code: None,
            message: error.to_string(),
            status: None,
            request_id: None,
            class: Class::Passing,
        })?;
        Ok(Read { object: Some((body.to_vec(), etag, written)), now })
    }

    async fn write_ledger(&self, body: Vec<u8>, only: &Only) -> Result<(String, Timestamp), AwsError> {
        const OPERATION: &str = "s3:PutObject";
        let clock = Clock::default();
        let (body, buckets) = (Bytes::from(body), &self.aws.buckets);
        let (time, sum) = (written_within(body.len()), checksum(&body));
        let put = |s3: &Client| {
            let put = buckets.put_object(s3, self.bucket).key(self.key).content_type("application/json");
            let put = match only {
                Only::IfAbsent => put.if_none_match("*"),
                Only::IfMatch(etag) => put.if_match(etag),
            };
            let once = aws_sdk_s3::config::Config::builder().retry_config(once()).timeout_config(within(time));
            let put = put.checksum_sha256(&sum).body(body.clone().into());
            put.customize().interceptor(clock.clone()).config_override(once).send()
        };
        let answer = buckets.call(self.bucket, OPERATION, put).await?;
        Ok((answer.e_tag().unwrap_or_default().to_owned(), clock.answered(OPERATION)?))
    }

    async fn set_aside(&self, body: Vec<u8>, etag: &str) -> Result<String, AwsError> {
        let content: String = etag.chars().filter(char::is_ascii_alphanumeric).collect();
        let folder = self.key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let key = format!("{folder}/ledger.set-aside-{content}.json");
        let (body, buckets) = (Bytes::from(body), &self.aws.buckets);
        let put = |s3: &Client| {
            let put = buckets.put_object(s3, self.bucket).key(&key).content_type("application/json");
            put.if_none_match("*").checksum_sha256(checksum(&body)).body(body.clone().into()).send()
        };
        match buckets.call(self.bucket, "s3:PutObject", put).await {
            // The name is the content's: whoever was here before has kept the same.
            Err(error) if error.status != Some(412) => Err(error),
            _ => Ok(format!("s3://{}/{key}", self.bucket)),
        }
    }

    async fn read_claim(&self, instance: &str) -> Result<Option<Claim>, AwsError> {
        let read = self.read_ledger_at(&self.claim_key(instance)).await?;
        let Some((body, ..)) = read.object else { return Ok(None) };
        // A claim that cannot be read still counts as somebody else's.
        let unreadable = || Claim { sample: String::new(), token: String::new() };
        Ok(Some(serde_json::from_slice(&body).unwrap_or_else(|_| unreadable())))
    }

    async fn tag_claimed(&self, instance: &str) -> Result<(), AwsError> {
        let claimed = BTreeMap::from([(TAG_CLAIMED.to_owned(), "true".to_owned())]);
        crate::aws::tags::set_ec2(self.aws, instance, &claimed).await
    }

    async fn claim(&self, instance: &str, claim: &Claim) -> Result<bool, AwsError> {
        let body = serde_json::to_vec(claim).map_err(|error| AwsError::refused("s3:PutObject", error.to_string()))?;
        let body = Bytes::from(body);
        let put = |s3: &Client| {
            let put = self.aws.buckets.put_object(s3, self.bucket).key(self.claim_key(instance));
            put.content_type("application/json").if_none_match("*").body(body.clone().into()).send()
        };
        match self.aws.buckets.call(self.bucket, "s3:PutObject", put).await {
            Ok(_) => Ok(true),
            // 409 is another conditional write at the same moment: which of them won, the next look tells.
            Err(error) if matches!(error.status, Some(409 | 412)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>, AwsError> {
        let mut out = Vec::new();
        let mut token = None;
        loop {
            let list = |s3: &Client| {
                s3.list_objects_v2()
                    .bucket(&listing.bucket)
                    .prefix(&listing.prefix)
                    .set_max_keys(listing.exact.then_some(1))
                    .set_continuation_token(token.clone())
                    .optional_object_attributes(OptionalObjectAttributes::RestoreStatus)
                    .encoding_type(EncodingType::Url)
                    .send()
            };
            let page = self.aws.buckets.call(&listing.bucket, "s3:ListObjectsV2", list).await?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            out.extend(page.contents().iter().filter_map(|object| {
                Some(Object {
                    bucket: listing.bucket.clone(),
                    key: if encoded { decoded(object.key()?) } else { object.key()?.to_owned() },
                    size: u64::try_from(object.size().unwrap_or_default()).unwrap_or_default(),
                    etag: object.e_tag().unwrap_or_default().to_owned(),
                    last_modified: timestamp(object.last_modified()),
                    shelf: Shelf::of(object),
                })
            }));
            token = page.next_continuation_token().map(str::to_owned);
            // A key comes first among the keys that it is a prefix of: for an exact key, the first is enough.
            if token.is_none() || listing.exact {
                return Ok(out);
            }
        }
    }

    async fn run_task(&self, request: &Request, token: &str) -> Result<Placed, AwsError> {
        let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
        let environment: Vec<_> = request
            .environment
            .iter()
            .map(|(name, value)| ecs::KeyValuePair::builder().name(name).value(value).build())
            .collect();
        let container = ecs::ContainerOverride::builder()
            .name(&request.container)
            .set_command(request.command.clone())
            .set_environment((!environment.is_empty()).then_some(environment))
            .set_cpu(request.cpu.map(small))
            .set_memory(request.memory.map(small))
            .build();
        let overrides = ecs::TaskOverride::builder()
            .container_overrides(container)
            .set_cpu(request.cpu.map(|cpu| cpu.to_string()))
            .set_memory(request.memory.map(|memory| memory.to_string()))
            .set_task_role_arn(request.task_role.clone())
            .build();
        let pinned = ecs::PlacementConstraint::builder()
            .r#type(ecs::PlacementConstraintType::MemberOf)
            .expression(format!("ec2InstanceId == {}", request.instance))
            .build();
        let tags = request.tags.iter().map(|(key, value)| ecs::Tag::builder().key(key).value(value).build()).collect();
        let answer = self
            .aws
            .ecs
            .run_task()
            .cluster(&request.cluster)
            .task_definition(&request.task_definition)
            .launch_type(ecs::LaunchType::Ec2)
            .count(1)
            .client_token(token)
            .started_by(&request.started_by)
            .placement_constraints(pinned)
            .overrides(overrides)
            .set_tags(Some(tags))
            .customize()
            .config_override(
                aws_sdk_ecs::config::Config::builder().retry_config(once()).timeout_config(within(STARTED)),
            )
            .send()
            .await;
        if let Err(SdkError::ServiceError(error)) = &answer
            && let aws_sdk_ecs::operation::run_task::RunTaskError::ConflictException(conflict) = error.err()
            && let Some(arn) = conflict.resource_ids().first()
        {
            // The token has started a task already, by a request that ECS takes for another: it is ours all the same.
            return Ok(Placed::Task(arn.clone()));
        }
        let answer = answer.or_aws("ecs:RunTask")?;
        if let Some(arn) = answer.tasks().first().and_then(|task| task.task_arn()) {
            return Ok(Placed::Task(arn.to_owned()));
        }
        // One for each instance of the cluster; of those that the request is not for it says that a constraint keeps it off.
        let about_others = |failure: &&ecs::Failure| {
            let reason = failure.reason().unwrap_or_default();
            (!reason.starts_with("RESOURCE"), reason.starts_with("MemberOf"))
        };
        let failure = answer.failures().iter().min_by_key(about_others);
        Ok(Placed::Refused(
            failure.and_then(|failure| failure.reason()).unwrap_or("no reason given").to_owned(),
            failure.and_then(|failure| failure.detail()).unwrap_or_default().to_owned(),
        ))
    }

    async fn tasks(&self, cluster: &str, arns: &[String]) -> Result<Vec<TaskNow>, AwsError> {
        let mut out = Vec::with_capacity(arns.len());
        for some in arns.chunks(100) {
            let answer = self
                .aws
                .ecs
                .describe_tasks()
                .cluster(cluster)
                .set_tasks(Some(some.to_vec()))
                .send()
                .await
                .or_aws("ecs:DescribeTasks")?;
            for arn in some {
                let task = answer.tasks().iter().find(|task| task.task_arn() == Some(arn));
                // Only a failure that says so is absence: a fresh task may be in neither list for a moment.
                let missing = answer.failures().iter().any(|failure| {
                    failure.reason() == Some("MISSING") && failure.arn().is_none_or(|failed| failed == arn)
                });
                out.push(match task {
                    Some(task) if task.last_status() == Some("STOPPED") => TaskNow::Stopped(task_end(task)),
                    Some(task) => TaskNow::Going(Going {
                        status: task.last_status().unwrap_or("UNKNOWN").to_owned(),
                        since: timestamp(task.started_at()),
                    }),
                    None if missing => TaskNow::Missing,
                    None => TaskNow::Going(Going { status: "UNKNOWN".to_owned(), since: None }),
                });
            }
        }
        Ok(out)
    }

    async fn find_task(&self, cluster: &str, started_by: &str) -> Result<Option<String>, AwsError> {
        // The default lists what is to run; what has just stopped is in the other list.
        for status in [ecs::DesiredStatus::Running, ecs::DesiredStatus::Stopped] {
            let answer = self
                .aws
                .ecs
                .list_tasks()
                .cluster(cluster)
                .started_by(started_by)
                .desired_status(status)
                .send()
                .await
                .or_aws("ecs:ListTasks")?;
            if let Some(arn) = answer.task_arns().first() {
                return Ok(Some(arn.clone()));
            }
        }
        Ok(None)
    }

    async fn tagged(&self, cluster: &str, stack: &str, region: &str) -> Result<Vec<TaggedTask>, AwsError> {
        tasks_of(self.aws, cluster, stack, region).await
    }

    async fn stop_task(&self, cluster: &str, arn: &str, reason: &str) -> Result<(), AwsError> {
        // Asked again only by who makes sure of the lease before.
        let once = aws_sdk_ecs::config::Config::builder().retry_config(once());
        let stop = self.aws.ecs.stop_task().cluster(cluster).task(arn).reason(reason).customize();
        stop.config_override(once).send().await.or_aws("ecs:StopTask").map(drop)
    }

    async fn agent(&self, cluster: &str, instance: &str) -> Result<Agent, AwsError> {
        let listed = self
            .aws
            .ecs
            .list_container_instances()
            .cluster(cluster)
            .filter(format!("ec2InstanceId == {instance}"))
            .send()
            .await
            .or_aws("ecs:ListContainerInstances")?;
        let arns = listed.container_instance_arns();
        if arns.is_empty() {
            return Ok(Agent::Absent);
        }
        let answer = self
            .aws
            .ecs
            .describe_container_instances()
            .cluster(cluster)
            .set_container_instances(Some(arns.to_vec()))
            .send()
            .await
            .or_aws("ecs:DescribeContainerInstances")?;
        let mut away = None;
        for found in answer.container_instances() {
            let status = found.status().unwrap_or("UNKNOWN");
            if found.agent_connected() && status == "ACTIVE" {
                return Ok(Agent::Ready {
                    arn: found.container_instance_arn().unwrap_or_default().to_owned(),
                    registered: cpu_and_memory(found.registered_resources()),
                    remaining: cpu_and_memory(found.remaining_resources()),
                });
            }
            let connected = found.agent_connected();
            let status = format!("{status}, agent {}connected", if connected { "" } else { "not " });
            away = Some(Agent::Away { status, connected });
        }
        Ok(away.unwrap_or(Agent::Absent))
    }

    async fn instance_gone(&self, instance: &str) -> Result<bool, AwsError> {
        const OPERATION: &str = "ec2:DescribeInstances";
        // Also what EC2 says of an instance that is seconds old, and of one that is gone not until an hour after its end.
        let unseen = |error: &AwsError| error.is(&["InvalidInstanceID.NotFound"]);
        let pace = Pace { within: VISIBLE, ..SEEN };
        let asked = again(pace, OPERATION, "the instance to be seen", unseen, || async move {
            self.aws.ec2.describe_instances().instance_ids(instance).send().await.or_aws(OPERATION)
        });
        let Some(answer) = asked.await.or_absent_if(unseen)? else { return Ok(true) };
        let states: Vec<_> = answer
            .reservations()
            .iter()
            .flat_map(|reservation| reservation.instances())
            .filter_map(|instance| instance.state().and_then(|state| state.name()).map(|name| name.as_str().to_owned()))
            .collect();
        Ok(!states.is_empty()
            && states
                .iter()
                .all(|state| matches!(state.as_str(), "shutting-down" | "terminated" | "stopping" | "stopped")))
    }

    async fn end_instance(&self, cluster: &str, instance: &str, stack: &str, region: &str) -> Result<bool, AwsError> {
        ending::end(self.aws, cluster, instance, (stack, region)).await
    }

    async fn life(&self, instance: &str) -> Result<Option<Life>, AwsError> {
        /// EC2's code for an instance whose own operating system was shut down (EC2 API, `StateReason`).
        const ITSELF: &str = "Client.InstanceInitiatedShutdown";
        let answer =
            self.aws.ec2.describe_instances().instance_ids(instance).send().await.or_aws("ec2:DescribeInstances");
        let answer = match answer {
            Err(error) if error.is(&["InvalidInstanceID.NotFound"]) => return Ok(None),
            other => other?,
        };
        let found = answer.reservations().iter().flat_map(|reservation| reservation.instances()).next();
        Ok(found.map(|instance| Life {
            launched: timestamp(instance.launch_time()),
            deadline: crate::kinds::instance::deadline_tag(instance.tags()),
            ended_by_others: instance
                .state_reason()
                .and_then(|reason| reason.code())
                .is_some_and(|code| code != ITSELF),
            made_by_a_stack: instance.tags().iter().any(|tag| tag.key() == Some(crate::kind::TAG_STACK)),
            claimed: instance.tags().iter().any(|tag| tag.key() == Some(TAG_CLAIMED)),
        }))
    }

    async fn log_tail(&self, group: &str, stream: &str, lines: i32) -> Result<Vec<String>, AwsError> {
        let answer = self.newest(group, stream, lines).send().await.or_aws("logs:GetLogEvents")?;
        Ok(answer.events().iter().filter_map(|event| event.message()).map(|line| line.trim_end().to_owned()).collect())
    }

    async fn silence(&self, group: &str, stream: &str) -> Result<Option<SignedDuration>, AwsError> {
        const OPERATION: &str = "logs:GetLogEvents";
        let clock = Clock::default();
        // Not DescribeLogStreams: its `lastEventTimestamp` may be an hour late (Logs API, LogStream).
        let request = self.newest(group, stream, 1).customize().interceptor(clock.clone());
        let answer = request.send().await.or_aws(OPERATION)?;
        let now = clock.answered(OPERATION)?;
        let last = answer.events().last().and_then(|event| Timestamp::from_millisecond(event.timestamp()?).ok());
        // The line's time is the instance's: it may be ahead of the service's by a little.
        Ok(last.map(|last| now.duration_since(last).max(SignedDuration::ZERO)))
    }
}

impl Live<'_> {
    /// Where the claim on an instance's folders is, beside the ledgers of the stack's samples.
    fn claim_key(&self, instance: &str) -> String {
        let stack = self.key.rsplitn(3, '/').last().unwrap_or_default();
        format!("{stack}/instances/{instance}.json")
    }

    /// A stream's newest lines.
    fn newest(&self, group: &str, stream: &str, lines: i32) -> GetLogEventsFluentBuilder {
        let request = self.aws.logs.get_log_events().log_group_name(group).log_stream_name(stream);
        request.start_from_head(false).limit(lines)
    }

    /// The id of a task's container where it runs: its log stream's name where the log driver has no prefix (ECS developer
    /// guide, "awslogs-stream-prefix"). None where the task, or that, is not known.
    pub(in crate::run) async fn runtime_id(
        &self,
        cluster: &str,
        arn: &str,
        container: &str,
    ) -> Result<Option<String>, AwsError> {
        let asked = self.aws.ecs.describe_tasks().cluster(cluster).tasks(arn).send().await.or_aws("ecs:DescribeTasks");
        let answer = asked.or_absent()?;
        let mut containers = answer.iter().flat_map(|answer| answer.tasks()).flat_map(|task| task.containers());
        let found = containers.find(|one| one.name() == Some(container));
        Ok(found.and_then(|one| one.runtime_id()).map(str::to_owned))
    }

    /// One page of a log stream from its beginning, or from where a token left off: its lines, and the token for what
    /// comes after. At the end the token repeats (Logs API, GetLogEvents).
    pub(in crate::run) async fn log_page(
        &self,
        group: &str,
        stream: &str,
        token: Option<String>,
    ) -> Result<Option<(Vec<String>, Option<String>)>, AwsError> {
        let asked = self
            .aws
            .logs
            .get_log_events()
            .log_group_name(group)
            .log_stream_name(stream)
            .start_from_head(true)
            .set_next_token(token)
            .send()
            .await
            .or_aws("logs:GetLogEvents");
        let Some(answer) = asked.or_absent()? else { return Ok(None) };
        let token = answer.next_forward_token;
        let events = answer.events.unwrap_or_default();
        Ok(Some((events.into_iter().map(|event| event.message.unwrap_or_default()).collect(), token)))
    }

    /// Whether a log group has this stream; none where there is no such group.
    pub(in crate::run) async fn has_stream(&self, group: &str, stream: &str) -> Result<Option<bool>, AwsError> {
        let asked = self
            .aws
            .logs
            .describe_log_streams()
            .log_group_name(group)
            .log_stream_name_prefix(stream)
            .send()
            .await
            .or_aws("logs:DescribeLogStreams");
        let found = asked.or_absent()?;
        Ok(found.map(|found| found.log_streams().iter().any(|one| one.log_stream_name() == Some(stream))))
    }
}

fn task_end(task: &ecs::Task) -> TaskEnd {
    let filled = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let container = |one: &ecs::Container| ContainerEnd {
        name: one.name().unwrap_or_default().to_owned(),
        exit_code: one.exit_code(),
        reason: filled(one.reason()),
        image_digest: filled(one.image_digest()),
        runtime_id: filled(one.runtime_id()),
    };
    let containers: Vec<ContainerEnd> = task.containers().iter().map(container).collect();
    let first = containers.first().cloned().unwrap_or_default();
    TaskEnd {
        stop_code: task.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: task.stopped_reason().map(str::to_owned),
        container_reason: containers.iter().find_map(|one| one.reason.clone()),
        exit_code: first.exit_code,
        started_at: timestamp(task.started_at()),
        ended_at: timestamp(task.execution_stopped_at()).or_else(|| timestamp(task.stopped_at())),
        image_digest: first.image_digest,
        log_stream: first.runtime_id,
        other: None,
        containers,
    }
}

fn cpu_and_memory(resources: &[ecs::Resource]) -> (i64, i64) {
    let amount = |name: &str| {
        resources
            .iter()
            .find(|resource| resource.name() == Some(name))
            .map(|resource| i64::from(resource.integer_value()))
            .unwrap_or_default()
    };
    (amount("CPU"), amount("MEMORY"))
}
