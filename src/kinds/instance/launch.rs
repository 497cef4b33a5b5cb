//! Launching exactly one instance.
//!
//! The client token is a function of the address, the type, the subnet, the deadline and a generation, so that a launch
//! whose answer was lost is found, by tag and token, and never repeated; and that of two commands at once that ask for
//! different things (an edited stack file) the second one is refused, where a token of all parameters would launch both.
//! EC2 remembers the token of a launch that it refused for capacity, too, and refuses it with other parameters (ubicloud
//! #5898): the deadline, which varies from one command to the next, is rounded up to full five minutes. Where the tokens
//! of two commands differ, who sees another's instance launches none, and of two launched at once the younger is ended
//! again by who launched it. Only a definitive refusal leads to another type or zone, since EC2's idempotency is per zone;
//! only an instance that is gone leads to the next generation.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_ec2::types as ec2;
use base64::Engine as _;
use jiff::{Timestamp, TimestampRound, Unit};
use sha2::{Digest as _, Sha256};

use super::end::terminate;
use super::live::{filter, instances, is_there, state_of};
use super::{
    Call, Choice, State, TAG_ASKED, TAG_CLUSTER, TAG_DEADLINE, TAG_FOLDER, TAG_LAUNCH, TAG_MAX_HOURS, TAG_PUBLIC_IP,
    deadline, user_data,
};
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{SEEN, again};
use crate::aws::wait::{Pace, until};
use crate::aws::{AwsError, Class, OrAws, tags};
use crate::kind::{Acting, TAG_ADDRESS, TAG_SAMPLE, TAG_STACK, Tags, json};
use crate::kinds::key_pair::settled;

const RUN: &str = "ec2:RunInstances";

/// How many instances of the same launch may have come and gone before somebody should look.
const GENERATIONS: u32 = 100;

/// How finely the deadline is cut, in minutes: within this time a repeated launch says the same, and has the same token.
const DEADLINE_MINUTES: i64 = 5;

/// One launch: what is asked for, and what all its attempts share.
struct Launch<'a> {
    cx: &'a Acting,
    at: &'a Address,
    want: &'a State,
    /// When the instance ends itself.
    deadline: Option<Timestamp>,
    /// Until when an instance that an earlier command has launched is waited for, in all attempts together.
    seen_by: tokio::time::Instant,
}

impl Launch<'_> {
    fn token(&self, choice: &Choice, generation: u32) -> String {
        let stack = (self.cx.stack.region.as_str(), self.cx.stack.name.as_str());
        token(stack, self.at, choice, self.deadline, generation)
    }
}

/// The token of one attempt. EC2 keeps tokens by account and region, so the account is not in it.
pub(super) fn token(
    stack: (&str, &str),
    at: &Address,
    choice: &Choice,
    deadline: Option<Timestamp>,
    generation: u32,
) -> String {
    let (region, name) = stack;
    digest(&serde_json::json!([region, name, at, json(choice), deadline, generation]))
}

/// When an instance that is launched now ends itself: so many hours later, rounded up to full five minutes.
pub(super) fn deadline_of(now: Timestamp, hours: i64) -> Timestamp {
    let exact = deadline(now, hours);
    let up = TimestampRound::new().smallest(Unit::Minute).increment(DEADLINE_MINUTES).mode(jiff::RoundMode::Ceil);
    exact.round(up).unwrap_or(exact)
}

/// A digest of all that a launch asks for; which other choices there were is no parameter of it.
fn asked(want: &State) -> String {
    let asked = State { choices: Vec::new(), ami_behind: None, ..want.clone() };
    digest(&json(&asked))[..32].to_owned()
}

fn digest(value: &serde_json::Value) -> String {
    hex::encode(Sha256::digest(value.to_string()))
}

/// Whether an instance is what this launch asks for.
fn is_asked(want: &State, instance: &ec2::Instance) -> bool {
    let told = instance.tags().iter().find(|tag| tag.key() == Some(TAG_ASKED)).and_then(|tag| tag.value());
    told == Some(asked(want).as_str())
}

/// The id of an instance that is there, if it is what this launch asks for.
fn same(at: &Address, want: &State, instance: &ec2::Instance) -> Result<String, AwsError> {
    let id = instance.instance_id().unwrap_or_default();
    if is_asked(want, instance) {
        return Ok(id.to_owned());
    }
    let message = format!("another command has launched {id} for {at} meanwhile, with other parameters: apply again");
    Err(AwsError::refused(RUN, message))
}

pub(super) async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
    match call {
        Call::RunInstances { at, want } => {
            let id = launch(&cx, &at, &want).await?;
            Ok(Ids::from([("id".to_owned(), id)]))
        }
        Call::ModifyInstanceAttribute { instance, security_groups } => {
            const NAME: &str = "ec2:ModifyInstanceAttribute";
            let id = settled(NAME, "the instance", &instance)?;
            let groups: Result<Vec<_>, _> =
                security_groups.iter().map(|group| settled(NAME, "a security group", group)).collect();
            let request = cx.aws.ec2.modify_instance_attribute().instance_id(id).set_groups(Some(groups?));
            request.send().await.or_aws(NAME).map(|_| Ids::new())
        }
        Call::CreateTags { instance, tags } => {
            let id = settled("ec2:CreateTags", "the instance", &instance)?;
            tags::set_ec2(&cx.aws, &id, &tags).await.map(|()| Ids::new())
        }
        Call::DeleteTags { instance, keys } => {
            let id = settled("ec2:DeleteTags", "the instance", &instance)?;
            tags::remove_ec2(&cx.aws, &id, &keys).await.map(|()| Ids::new())
        }
        Call::TerminateInstances { instance, cluster } => {
            terminate(&cx, &instance, &cluster).await.map(|()| Ids::new())
        }
    }
}

/// What came of one attempt.
enum Attempt {
    /// The instance of this token.
    Launched(String),
    /// The instance of this token is gone.
    Gone,
    /// Not here, and not now.
    Refused(AwsError),
}

async fn launch(cx: &Acting, at: &Address, want: &State) -> Result<String, AwsError> {
    let only = [Choice { r#type: want.r#type.clone(), subnet: want.subnet.clone() }];
    let choices = if want.choices.is_empty() { only.as_slice() } else { &want.choices };

    // An earlier attempt of any choice may have been heard.
    let earlier = of_address(cx, at).await?;
    let deadline = want.max_hours.map(|hours| deadline_of(cx.aws.clock.now(), hours));
    let this = Launch { cx, at, want, deadline, seen_by: tokio::time::Instant::now() + SEEN.within };
    let tried = choices.iter().flat_map(|choice| (0..GENERATIONS).map(move |generation| (choice, generation)));
    let has_token = |one: &ec2::Instance| {
        tried.clone().any(|(choice, generation)| one.client_token() == Some(&this.token(choice, generation)))
    };
    if let Some(there) = earlier.iter().find(|one| is_there(one) && (is_asked(want, one) || has_token(one))) {
        return running(cx, &same(at, want, there)?).await;
    }
    let mut ended = BTreeSet::new();
    if let Some(other) = Box::pin(others(cx, at, None, &mut ended)).await?.first() {
        let id = other.instance_id().unwrap_or_default();
        let message = format!("another command has launched {id} for {at}, with other parameters: apply again");
        return Err(AwsError::refused(RUN, message));
    }
    let mut last = None;
    for choice in choices {
        let gone = |token: &str| earlier.iter().any(|one| one.client_token() == Some(token));
        for generation in 0..GENERATIONS {
            let token = this.token(choice, generation);
            if gone(&token) {
                continue;
            }
            match this.attempt(choice, &token).await? {
                Attempt::Launched(id) => {
                    let id = running(cx, &id).await?;
                    return Box::pin(alone(cx, at, want, id, &mut ended)).await;
                }
                Attempt::Gone => {}
                Attempt::Refused(error) => {
                    (cx.say)(format!("no {} in {}: {}", choice.r#type, choice.subnet, error.message));
                    last = Some(error);
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        AwsError::refused(RUN, format!("{GENERATIONS} instances of {at} came and went; look why before launching more"))
    }))
}

/// The living instances of this address but `own`, if they stay: one that was ended just before may be shown as living
/// for a while. What was once seen to have ended is in `ended`.
async fn others(
    cx: &Acting,
    at: &Address,
    own: Option<&str>,
    ended: &mut BTreeSet<String>,
) -> Result<Vec<ec2::Instance>, AwsError> {
    let end = tokio::time::Instant::now() + SEEN.within;
    let (mut pause, mut told) = (SEEN.first, false);
    loop {
        let mut there = of_address(cx, at).await?;
        let id = |one: &ec2::Instance| one.instance_id().unwrap_or_default().to_owned();
        ended.extend(there.iter().filter(|one| !is_there(one)).map(id));
        there.retain(|one| one.instance_id() != own && !ended.contains(&id(one)));
        let Some(first) = there.first() else { return Ok(there) };
        if tokio::time::Instant::now() + pause > end {
            return Ok(there);
        }
        if !told {
            (cx.say)(format!("waiting for {}, which is of {at} too, to be gone", id(first)));
            told = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(SEEN.most);
    }
}

/// That no other command has launched an instance for this address at the same time, whose token was another one: of two,
/// the younger is ended by who launched it.
async fn alone(
    cx: &Acting,
    at: &Address,
    want: &State,
    id: String,
    ended: &mut BTreeSet<String>,
) -> Result<String, AwsError> {
    let others = others(cx, at, Some(&id), ended).await?;
    if others.is_empty() {
        return Ok(id);
    }
    let all = of_address(cx, at).await?;
    let age = |one: &ec2::Instance| {
        (one.launch_time().map(|at| (at.secs(), at.subsec_nanos())), one.instance_id().map(str::to_owned))
    };
    let own = all.iter().find(|one| one.instance_id() == Some(id.as_str())).map(age);
    let Some(older) = others.iter().find(|one| own.as_ref().is_none_or(|own| age(one) < *own)) else {
        return Ok(id);
    };
    let older = older.instance_id().unwrap_or_default();
    let message = format!("another command has launched {older} for {at} meanwhile, with other parameters");
    match terminate(cx, &Link::theirs("instance", id.clone()), &want.cluster).await {
        Ok(()) => Err(AwsError::refused(RUN, format!("{message}: {id}, launched here, was terminated; apply again"))),
        Err(error) => {
            let message = format!("{message}: {id}, launched here, is to be terminated, which failed: {error}");
            Err(AwsError::refused(RUN, message))
        }
    }
}

/// Every instance that was ever launched for this address and is still described.
async fn of_address(cx: &Acting, at: &Address) -> Result<Vec<ec2::Instance>, AwsError> {
    let (stack, address) = (format!("tag:{TAG_STACK}"), format!("tag:{TAG_ADDRESS}"));
    let name = format!("{}.{}", at.kind, at.name);
    let mut filters = vec![filter(&stack, &[&cx.stack.name]), filter(&address, &[&name])];
    if let Some(sample) = &at.sample {
        filters.push(filter(&format!("tag:{TAG_SAMPLE}"), &[sample]));
    }
    let mut found = instances(&cx.aws, filters).await?;
    found.retain(|one| cx.stack.owner(&tags::from_ec2(one.tags())).1.as_ref() == Some(at));
    Ok(found)
}

impl Launch<'_> {
    async fn attempt(&self, choice: &Choice, token: &str) -> Result<Attempt, AwsError> {
        let Self { cx, at, .. } = *self;
        let request = self.request(choice)?.client_token(token);
        // A new instance profile is not usable for seconds, at times minutes; GetInstanceProfile proves nothing
        // (terraform-aws #2012, packer #12303).
        let told = AtomicBool::new(false);
        let unseen = |error: &AwsError| {
            let profile = error.is(&["InvalidParameterValue"]) && error.message.contains("IAM Instance Profile");
            let unseen = profile || error.is(&["InvalidGroup.NotFound", "InvalidKeyPair.NotFound"]);
            if unseen && !told.swap(true, Ordering::Relaxed) {
                let what = if profile { "instance profile" } else { "security groups and the key pair" };
                let minutes = Pace::SETTLING.within.as_secs() / 60;
                (cx.say)(format!("waiting for EC2 to see the {what} of {at}, for {minutes} min at the most"));
            }
            unseen
        };
        let sent = again(Pace::SETTLING, RUN, "the instance profile to be usable", unseen, || {
            let request = request.clone();
            async move { request.send().await.or_aws(RUN) }
        })
        .await;
        match sent {
            Ok(answer) => {
                let Some(instance) = answer.instances().first() else {
                    return Err(AwsError::refused(RUN, "the answer has no instance"));
                };
                // Older behaviour: the token of a dead instance gives the dead instance (boto3 #4406).
                match instance.instance_id() {
                    Some(id) if is_there(instance) || state_of(instance).is_none() => {
                        Ok(Attempt::Launched(id.to_owned()))
                    }
                    _ => Ok(Attempt::Gone),
                }
            }
            Err(error) if error.is(&["IdempotentInstanceTerminated"]) => Ok(Attempt::Gone),
            Err(error) if error.is(&["IdempotentParameterMismatch"]) => self.heard_before(token).await,
            Err(error) if error.is(REFUSED) => Ok(Attempt::Refused(error)),
            Err(error) => Err(error),
        }
    }

    /// A launch with this token was heard before and said something else (an edited stack file): its instance is there, or
    /// was, or was refused. All that are waited for in one launch share one window.
    async fn heard_before(&self, token: &str) -> Result<Attempt, AwsError> {
        let Self { cx, at, .. } = *self;
        let left = self.seen_by.saturating_duration_since(tokio::time::Instant::now());
        let what = format!("the instance of an earlier launch of {at}, if there is one, to be seen");
        let pace = Pace { within: left, ..SEEN };
        let found = until(
            pace,
            RUN,
            &what,
            |_| false,
            || async move {
                let found = instances(&cx.aws, vec![filter("client-token", &[token])]).await?;
                Ok(found.into_iter().next())
            },
        );
        match found.await {
            Ok(instance) if is_there(&instance) => same(at, self.want, &instance).map(Attempt::Launched),
            Ok(_) => Ok(Attempt::Gone),
            // It was refused, or is not described any more: over an hour terminated.
            // Our own word that nothing was seen; a call that failed says nothing of the kind.
            Err(unseen) if unseen.class == Class::Refused && unseen.code.is_none() => Ok(Attempt::Gone),
            Err(other) => Err(other),
        }
    }
}

/// EC2's last word on a type in a zone; another may be had.
const REFUSED: &[&str] = &[
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "Unsupported",
    "InsufficientFreeAddressesInSubnet",
];

type Request = aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;

impl Launch<'_> {
    /// The instance's tags, with those that say what the launch was.
    fn tags(&self, cluster: &str) -> Tags {
        let Self { want, deadline, .. } = *self;
        let mut tags = want.tags.clone();
        tags.insert(TAG_LAUNCH.to_owned(), want.launch.clone());
        tags.insert(TAG_ASKED.to_owned(), asked(want));
        tags.insert(TAG_CLUSTER.to_owned(), cluster.to_owned());
        tags.extend(want.public_ip.map(|public| (TAG_PUBLIC_IP.to_owned(), public.to_string())));
        let folders = (1..).zip(&want.folders);
        tags.extend(
            folders.map(|(n, (path, owner)): (u32, _)| (format!("{TAG_FOLDER}{n}"), format!("{owner} {path}"))),
        );
        if let (Some(hours), Some(deadline)) = (want.max_hours, deadline) {
            tags.insert(TAG_MAX_HOURS.to_owned(), hours.to_string());
            tags.insert(TAG_DEADLINE.to_owned(), deadline.to_string());
        }
        tags
    }

    fn request(&self, choice: &Choice) -> Result<Request, AwsError> {
        let Self { cx, at, want, .. } = *self;
        let what = at.to_string();
        let cluster = settled(RUN, &what, &want.cluster)?;
        let profile = settled(RUN, &what, &want.profile)?;
        let key = want.key_pair.as_ref().map(|key| settled(RUN, &what, key)).transpose()?;
        let groups: Result<Vec<_>, _> = want.security_groups.iter().map(|group| settled(RUN, &what, group)).collect();
        let groups = Some(groups?).filter(|groups| !groups.is_empty());

        let script = user_data::script(&cluster, want.max_hours, &want.folders);
        let metadata = ec2::InstanceMetadataOptionsRequest::builder()
            .http_tokens(ec2::HttpTokensState::Required)
            .http_endpoint(ec2::InstanceMetadataEndpointState::Enabled)
            // A task without a role must not reach the instance's; task roles need no hop.
            .http_put_response_hop_limit(1)
            .instance_metadata_tags(ec2::InstanceMetadataTagsState::Enabled)
            .build();
        let request = cx.aws.ec2.run_instances();
        let request = match want.public_ip {
            None => request.subnet_id(&choice.subnet).set_security_group_ids(groups),
            // With an interface of its own, subnet and groups are said there (EC2 API, RunInstances).
            Some(public) => {
                let interface = ec2::InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .subnet_id(&choice.subnet)
                    .set_groups(groups)
                    .associate_public_ip_address(public)
                    .delete_on_termination(true);
                request.network_interfaces(interface.build())
            }
        };
        Ok(request
            .image_id(&want.ami)
            .instance_type(choice.r#type.as_str().into())
            .min_count(1)
            .max_count(1)
            .iam_instance_profile(ec2::IamInstanceProfileSpecification::builder().name(profile).build())
            .set_key_name(key)
            .set_block_device_mappings(root_volume(want).map(|mapping| vec![mapping]))
            .metadata_options(metadata)
            .instance_initiated_shutdown_behavior(ec2::ShutdownBehavior::Terminate)
            .user_data(base64::engine::general_purpose::STANDARD.encode(script))
            .tag_specifications(tags::on_creation(ec2::ResourceType::Instance, &self.tags(&cluster)))
            .tag_specifications(tags::on_creation(ec2::ResourceType::Volume, &want.tags)))
    }
}

fn root_volume(want: &State) -> Option<ec2::BlockDeviceMapping> {
    let volume = want.volume.as_ref()?;
    let number = |number: i64| i32::try_from(number).ok();
    let disk = ec2::EbsBlockDevice::builder()
        .set_volume_size(number(volume.size_gib))
        .volume_type(volume.r#type.as_str().into())
        .encrypted(volume.encrypted)
        .set_iops(volume.iops.and_then(number))
        .set_throughput(volume.throughput.and_then(number))
        .delete_on_termination(true);
    Some(ec2::BlockDeviceMapping::builder().device_name(&want.root_device).ebs(disk.build()).build())
}

/// Waits until the instance runs. Just launched, it may not be describable for a moment (skypilot #4443).
async fn running(cx: &Acting, id: &str) -> Result<String, AwsError> {
    (cx.say)(format!("waiting for {id} to run"));
    let passing = |error: &AwsError| error.is(&["InvalidInstanceID.NotFound"]);
    until(Pace::MACHINE, RUN, &format!("{id} to run"), passing, || async move {
        let answer = cx.aws.ec2.describe_instances().instance_ids(id).send().await.or_aws("ec2:DescribeInstances")?;
        let Some(instance) = answer.reservations().iter().flat_map(|one| one.instances()).next() else {
            return Ok(None);
        };
        match state_of(instance) {
            Some("running") => Ok(Some(id.to_owned())),
            Some("shutting-down" | "terminated" | "stopping" | "stopped") => {
                let why = instance.state_reason().and_then(|reason| reason.message()).unwrap_or("no reason given");
                Err(AwsError::refused(RUN, format!("{id} ended while it was starting: {why}")))
            }
            _ => Ok(None),
        }
    })
    .await
}
