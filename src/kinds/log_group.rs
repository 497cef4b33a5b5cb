//! `[log_group.…]`: a CloudWatch Logs group and how long it keeps what it gets.

use std::collections::BTreeMap;

use aws_sdk_cloudwatchlogs::types as logs;
use futures_util::future::{try_join, try_join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_name;
use super::key_pair::settled;
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{OrAbsent, SEEN, none, taken_away};
use crate::aws::trace::branch;
use crate::aws::wait::until;
use crate::aws::{Aws, AwsError, OrAws, tags};
use crate::kind::{Acting, Context, Found, Kind, Owner, Reading, SpecFault, StackInfo, Tags};

/// The kind.
pub enum LogGroup {}

/// The retentions that CloudWatch Logs knows, in days (API reference, PutRetentionPolicy).
const RETENTIONS: &[i64] =
    &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// A CloudWatch log group, and how long it keeps what the tasks print.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The group's name, instead of `/seqstack/<stack>/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME))]
    pub name: Option<String>,
    /// How many days events are kept; left out, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = RETENTIONS))]
    pub retention_days: Option<i64>,
}

/// What CloudWatch Logs takes for a name (API, CreateLogGroup).
const NAME: &str = "^[A-Za-z0-9_/.#-]{1,512}$";

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The group's name.
    pub name: String,
    /// How long events are kept; None is for ever.
    pub retention_days: Option<i64>,
    /// Its tags.
    pub tags: Tags,
}

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters"
)]
pub enum Call {
    CreateLogGroup { at: Address, name: String, tags: Tags },
    PutRetentionPolicy { name: String, days: i64 },
    DeleteRetentionPolicy { name: String },
    TagResource { name: String, arn: Link, tags: Tags },
    UntagResource { name: String, arn: Link, keys: Vec<String> },
    DeleteLogGroup { name: String },
}

fn name(spec: &Spec, at: &Address, stack: &StackInfo) -> String {
    let default = || match &at.sample {
        Some(sample) => format!("/seqstack/{}/{}/{sample}", stack.name, at.name),
        None => format!("/seqstack/{}/{}", stack.name, at.name),
    };
    spec.name.clone().unwrap_or_else(default)
}

/// The name in a group's ARN: `arn:aws:logs:eu-west-2:123456789012:log-group:NAME`, with or without `:*`.
pub fn name_of(arn: &str) -> &str {
    let name = arn.split_once(":log-group:").map_or(arn, |(_, name)| name);
    name.strip_suffix(":*").unwrap_or(name)
}

impl Kind for LogGroup {
    const TABLE: &'static str = "log_group";
    const FIXED: &'static [&'static str] = &["name"];
    const PARTS: &'static [&'static str] = &["name", "arn"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        let wrong = spec.retention_days.filter(|days| *days != i64::MIN && !RETENTIONS.contains(days));
        let fault = wrong.map(|days| {
            let known: Vec<_> = RETENTIONS.iter().map(ToString::to_string).collect();
            let hint = format!("one of {}, or leave it out to keep events for ever", known.join(", "));
            SpecFault::new("retention_days", format!("CloudWatch Logs has no retention of {days} days"), hint)
        });
        let told = "1 to 512 letters, digits and _ - / . #";
        fault.into_iter().chain(check_name(spec.name.as_ref(), NAME, told)).collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        Ok(State { name: name(&spec, at, cx.stack), retention_days: spec.retention_days, tags: cx.tags(at) })
    }

    fn named(want: &State) -> Ids {
        Ids::from([("name".to_owned(), want.name.clone())])
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        let Some(want) = want else {
            return live.map(|live| Call::DeleteLogGroup { name: live.name.clone() }).into_iter().collect();
        };
        let mut calls = Vec::new();
        let name = || want.name.clone();
        if live.is_none() {
            calls.push(Call::CreateLogGroup { at: at.clone(), name: name(), tags: want.tags.clone() });
        }
        match (live.and_then(|live| live.retention_days), want.retention_days) {
            (old, new) if old == new => {}
            (_, Some(days)) => calls.push(Call::PutRetentionPolicy { name: name(), days }),
            (_, None) => calls.push(Call::DeleteRetentionPolicy { name: name() }),
        }
        if let Some(live) = live {
            let arn = || Link::ours(at.clone(), "arn");
            let (tags, keys) = tags::change(&live.tags, &want.tags);
            calls.extend((!tags.is_empty()).then(|| Call::TagResource { name: name(), arn: arn(), tags }));
            calls.extend((!keys.is_empty()).then(|| Call::UntagResource { name: name(), arn: arn(), keys }));
        }
        calls
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::CreateLogGroup { name, .. } => format!("logs:CreateLogGroup {name}"),
            Call::PutRetentionPolicy { name, days } => format!("logs:PutRetentionPolicy {name} {days} days"),
            Call::DeleteRetentionPolicy { name } => format!("logs:DeleteRetentionPolicy {name}"),
            Call::TagResource { name, tags, .. } => format!("logs:TagResource {name} {}", tags::keys(tags)),
            Call::UntagResource { name, keys, .. } => format!("logs:UntagResource {name} {}", keys.join(" ")),
            Call::DeleteLogGroup { name } => format!("logs:DeleteLogGroup {name}"),
        }
    }

    fn gist(state: &State) -> Vec<String> {
        let kept = state.retention_days.map_or("kept for ever".to_owned(), |days| format!("kept {days} days"));
        vec![state.name.clone(), kept]
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        let prefix = format!("/seqstack/{}/", cx.stack.name);
        let names: BTreeMap<String, &Address> =
            wanted.iter().map(|(at, spec)| (name(spec, at, cx.stack), at)).collect();
        let elsewhere = names.keys().filter(|name| !name.starts_with(&prefix)).map(|name| {
            branch(async move {
                let mut same = groups(cx.aws, name).await?;
                same.retain(|group| group.log_group_name() == Some(name));
                Ok::<_, AwsError>(same)
            })
        });
        let (here, elsewhere) = try_join(branch(groups(cx.aws, &prefix)), branch(try_join_all(elsewhere))).await?;
        let each = here.into_iter().chain(elsewhere.into_iter().flatten()).map(|group| {
            let names = &names;
            branch(async move {
                let (Some(name), Some(arn)) = (group.log_group_name(), arn(&group)) else { return Ok(None) };
                let asked = cx.aws.logs.list_tags_for_resource().resource_arn(arn).send().await;
                let Some(tags) = asked.or_aws("logs:ListTagsForResource").or_absent()? else { return Ok(None) };
                let tags = tags::from_map(tags.tags());
                let (owner, tagged) = cx.stack.owner(&tags);
                let wanted = names.get(name).map(|at| (*at).clone());
                if wanted.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
                    return Ok(None);
                }
                let state =
                    State { name: name.to_owned(), retention_days: group.retention_in_days().map(i64::from), tags };
                Ok::<_, AwsError>(wanted.or(tagged).map(|at| Found { at, ids: ids(name, arn), owner, state }))
            })
        });
        Ok(branch(try_join_all(each)).await?.into_iter().flatten().collect())
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        let name = name_of(existing);
        let found = groups(cx.aws, name).await?;
        let same = found.iter().find(|group| group.log_group_name() == Some(name));
        Ok(same.and_then(arn).map(|arn| ids(name, arn)))
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        let logs = &cx.aws.logs;
        match call {
            Call::CreateLogGroup { at, name, tags } => return create(&cx, &at, &name, &tags).await,
            Call::PutRetentionPolicy { name, days } => {
                let days = i32::try_from(days).unwrap_or(i32::MAX);
                let request = logs.put_retention_policy().log_group_name(name).retention_in_days(days);
                request.send().await.or_aws("logs:PutRetentionPolicy").map(|_| ())
            }
            Call::DeleteRetentionPolicy { name } => {
                let request = logs.delete_retention_policy().log_group_name(name);
                request.send().await.or_aws("logs:DeleteRetentionPolicy").map(|_| ())
            }
            Call::TagResource { name, arn, tags } => {
                let arn = settled("logs:TagResource", &name, &arn)?;
                let request = logs.tag_resource().resource_arn(arn).set_tags(Some(tags.into_iter().collect()));
                request.send().await.or_aws("logs:TagResource").map(|_| ())
            }
            Call::UntagResource { name, arn, keys } => {
                let arn = settled("logs:UntagResource", &name, &arn)?;
                let request = logs.untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
                request.send().await.or_aws("logs:UntagResource").map(|_| ())
            }
            Call::DeleteLogGroup { name } => {
                const NAME: &str = "logs:DeleteLogGroup";
                let sent = taken_away(&*cx.say, NAME, &name, none, || {
                    let request = logs.delete_log_group().log_group_name(&name);
                    async move { request.send().await.or_aws(NAME) }
                });
                sent.await.map(|_| ())
            }
        }
        .map(|()| Ids::new())
    }
}

fn ids(name: &str, arn: &str) -> Ids {
    Ids::from([("name".to_owned(), name.to_owned()), ("arn".to_owned(), arn.to_owned())])
}

/// The ARN without the `:*` that tagging refuses.
fn arn(group: &logs::LogGroup) -> Option<&str> {
    group.log_group_arn().or_else(|| group.arn()).map(|arn| arn.strip_suffix(":*").unwrap_or(arn))
}

async fn groups(aws: &Aws, prefix: &str) -> Result<Vec<logs::LogGroup>, AwsError> {
    let mut pages = aws.logs.describe_log_groups().log_group_name_prefix(prefix).into_paginator().send();
    let mut out = Vec::new();
    while let Some(page) = pages.next().await {
        out.extend(page.or_aws("logs:DescribeLogGroups")?.log_groups.unwrap_or_default());
    }
    Ok(out)
}

async fn create(cx: &Acting, at: &Address, name: &str, tags: &Tags) -> Result<Ids, AwsError> {
    const NAME: &str = "logs:CreateLogGroup";
    let request = cx.aws.logs.create_log_group().log_group_name(name);
    let sent = request.set_tags(Some(tags.clone().into_iter().collect())).send().await.or_aws(NAME);
    let made = sent.or_absent_if(|error| error.is(&["ResourceAlreadyExistsException"]))?;
    // The answer has no ARN, and a group just made may not be listed yet.
    let found = until(
        SEEN,
        NAME,
        "the log group to be listed",
        |_| false,
        || async move {
            let groups = groups(&cx.aws, name).await?;
            let same = groups.iter().find(|group| group.log_group_name() == Some(name));
            Ok(same.and_then(arn).map(str::to_owned))
        },
    )
    .await?;
    if made.is_none() {
        let asked = cx.aws.logs.list_tags_for_resource().resource_arn(&found).send().await;
        let tags = tags::from_map(asked.or_aws("logs:ListTagsForResource")?.tags());
        let (owner, tagged) = cx.stack.owner(&tags);
        if !matches!(owner, Owner::Ours | Owner::Adopted) || tagged.as_ref() != Some(at) {
            let message = format!("{name} exists meanwhile and is not this resource's; plan again");
            return Err(AwsError::refused(NAME, message));
        }
    }
    Ok(ids(name, &found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(retention_days: Option<i64>) -> State {
        State { name: "/seqstack/germline/pipeline".to_owned(), retention_days, tags: Tags::new() }
    }

    fn described(live: Option<&State>, want: Option<&State>) -> Vec<String> {
        LogGroup::calls(&Address::new("log_group", "pipeline"), live, want).iter().map(LogGroup::describe).collect()
    }

    #[test]
    fn a_create_cut_short_goes_on_with_the_retention() {
        let want = state(Some(90));
        let all = described(None, Some(&want));
        assert_eq!(all[1..], described(Some(&state(None)), Some(&want)));
        assert_eq!(all[1], "logs:PutRetentionPolicy /seqstack/germline/pipeline 90 days");
        assert!(described(Some(&want), Some(&want)).is_empty());
        assert_eq!(described(Some(&want), Some(&state(None))).len(), 1);
    }

    #[test]
    fn a_retention_that_aws_does_not_have_is_a_fault() {
        let faults = |days| LogGroup::check(&Spec { name: None, retention_days: Some(days) }).len();
        assert_eq!((faults(90), faults(91), faults(i64::MIN)), (0, 1, 0));
    }

    #[test]
    fn a_group_is_named_alike_in_every_spelling_of_its_arn() {
        assert_eq!(name_of("arn:aws:logs:eu-west-2:123456789012:log-group:/a/b:*"), "/a/b");
        assert_eq!(name_of("arn:aws:logs:eu-west-2:123456789012:log-group:/a/b"), "/a/b");
        assert_eq!(name_of("/a/b"), "/a/b");
    }
}
