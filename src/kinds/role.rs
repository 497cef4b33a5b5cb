//! `[role.…]`: an IAM role with its attachments, its own policy and its instance profile.
//!
//! Four AWS objects are one state here: a role whose making was cut short is a state that lacks some of them. Documents
//! are compared by meaning ([`document`]). Never touches an AWS-managed policy, nor a profile or policy that is neither
//! tagged as ours nor asked for.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Address, Ids};
use crate::aws::{Aws, AwsError, tags};
use crate::encryption;
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Reading, SpecFault, TAG_ADOPTED, TAG_STACK, Tags};
use crate::phrase::span;
use crate::stack::reference::{Bucket, Ref};
use crate::stack::values::Int;
use crate::stack::warning::SpecWarning;

mod act;
mod check;
pub mod document;
mod live;
mod wildcard;

/// The kind.
pub enum Role {}

/// An IAM role: what a task, an instance or ECS itself may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The role's name in IAM, instead of `<stack>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = check::NAME))]
    pub name: Option<String>,
    /// The service that may take it on, e.g. `ecs-tasks.amazonaws.com`, or an ARN.
    #[schemars(regex(pattern = r"\.amazonaws\.com|^arn:"))]
    pub trusts: String,
    /// A description, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The longest session in seconds; left out, AWS's hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_seconds: Option<Int<3600, 43200>>,
    /// Managed policies: ARNs, or AWS's own by name such as `service-role/AmazonECSTaskExecutionRolePolicy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<String>,
    /// Buckets that it may list and read: names of `[bucket.…]`. The least policy for it is made for you.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Ref<Bucket>>,
    /// Buckets that it may list and write to: names of `[bucket.…]`. The least policy for it is made for you.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<Ref<Bucket>>,
    /// A whole policy document instead of `read` and `write`: a table, or JSON in a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "document::schema")]
    pub policy: Option<Value>,
    /// Whether instances can be given it, by an instance profile of the same name.
    #[serde(default)]
    pub instance_profile: bool,
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The role's name; the profile's too.
    pub name: String,
    /// Its path, which cannot be changed.
    pub path: String,
    /// Whether the role itself is there; false where only a policy or profile of it was left.
    pub made: bool,
    /// Who may take it on: a canonical document.
    pub trust: Value,
    /// For people.
    pub description: String,
    /// The longest session.
    pub session_seconds: i64,
    /// ARNs of managed policies, without its own.
    pub attached: BTreeSet<String>,
    /// Names of inline policies, of which we make none.
    pub inline: BTreeSet<String>,
    /// Its own customer-managed policy.
    pub policy: Option<Policy>,
    /// Its instance profile.
    pub profile: Option<Profile>,
    /// The role's tags.
    pub tags: Tags,
}

/// A role's own customer-managed policy, `<role>_policy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its ARN.
    pub arn: String,
    /// The default version, as a canonical document.
    pub document: Value,
    /// Whether the role has it.
    pub attached: bool,
    /// Its tags.
    pub tags: Tags,
    /// Versions that are not the default, oldest first; there can be four. Not wanted, only known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spare_versions: Vec<String>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its path, which cannot be changed.
    pub path: String,
    /// The role that it holds.
    pub role: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// The mutating calls. `role`, `profile` are names; `policy` is an ARN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "each variant is the AWS operation of its name, its fields that operation's parameters"
)]
pub enum Call {
    CreateRole {
        at: Address,
        role: String,
        path: String,
        trust: Value,
        description: String,
        session_seconds: i64,
        tags: Tags,
    },
    UpdateAssumeRolePolicy {
        role: String,
        trust: Value,
    },
    UpdateRole {
        role: String,
        description: String,
        session_seconds: i64,
    },
    TagRole {
        role: String,
        tags: Tags,
    },
    UntagRole {
        role: String,
        keys: Vec<String>,
    },
    AttachRolePolicy {
        role: String,
        policy: String,
    },
    DetachRolePolicy {
        role: String,
        policy: String,
    },
    DeleteRolePolicy {
        role: String,
        name: String,
    },
    CreatePolicy {
        policy: String,
        document: Value,
        tags: Tags,
    },
    CreatePolicyVersion {
        policy: String,
        document: Value,
    },
    DeletePolicyVersion {
        policy: String,
        version: String,
    },
    TagPolicy {
        policy: String,
        tags: Tags,
    },
    UntagPolicy {
        policy: String,
        keys: Vec<String>,
    },
    DeletePolicy {
        policy: String,
    },
    CreateInstanceProfile {
        profile: String,
        path: String,
        tags: Tags,
    },
    AddRoleToInstanceProfile {
        profile: String,
        role: String,
    },
    RemoveRoleFromInstanceProfile {
        profile: String,
        role: String,
    },
    TagInstanceProfile {
        profile: String,
        tags: Tags,
    },
    UntagInstanceProfile {
        profile: String,
        keys: Vec<String>,
    },
    DeleteInstanceProfile {
        profile: String,
    },
    DeleteRole {
        role: String,
    },
}

/// The name of a role's own policy.
pub fn policy_name(role: &str) -> String {
    format!("{role}_policy")
}

/// The last part of an ARN or path: `x` of `arn:aws:iam::123456789012:role/team/x`, and of `x` itself.
pub fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Whether a role, by name or ARN, has the policy that Session Manager needs of an instance's role. What cannot be read has
/// not.
pub async fn has_session_manager(aws: &Aws, role: &str) -> bool {
    let attached = live::attached(aws, last_part(role)).await.unwrap_or_default();
    attached.iter().any(|policy| last_part(policy) == "AmazonSSMManagedInstanceCore")
}

impl Kind for Role {
    const TABLE: &'static str = "role";
    const FIXED: &'static [&'static str] = &["name"];
    const PARTS: &'static [&'static str] = &["name", "arn", "profile", "profile_arn"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        check::check(spec)
    }

    /// Names of roles are not told apart by case (IAM API, CreateRole).
    fn claims(name: &str, spec: &Spec) -> Vec<(String, String)> {
        let own = spec.name.as_deref().map(str::to_lowercase);
        vec![("name".to_owned(), own.unwrap_or_else(|| format!("<stack>-{}", name.to_lowercase())))]
    }

    fn warn(spec: &Spec) -> Vec<SpecWarning> {
        let mut warnings = wildcard::warn(spec);
        let own = usize::from(spec.policy.is_some() || !(spec.read.is_empty() && spec.write.is_empty()));
        let many = Some(spec.attach.len() + own).filter(|many| *many > 10);
        warnings
            .extend(many.map(|many| SpecWarning::over_quota("attach", &format!("{many} policies on one role"), 10)));
        warnings
    }

    fn lookups(_name: &str, spec: &Spec) -> Vec<Lookup> {
        spec.attach.iter().cloned().map(Lookup::Policy).collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let name = spec.name.clone().unwrap_or_else(|| cx.physical_name(at));
        if name.len() > 64 {
            return Err(format!("the role name `{name}` is longer than IAM's 64 characters; shorten it with `name`"));
        }
        let Context { stack, facts, .. } = cx;
        let (path, tags) = (stack.iam_path(), cx.tags(at));
        let document = policy(&spec, cx)?;
        if let Some(length) = document.clone().map(check::length).filter(|length| *length > check::LONGEST_POLICY) {
            let longest = check::LONGEST_POLICY;
            return Err(format!("its policy has {length} characters without white space, and IAM takes {longest}"));
        }
        let policy = document.map(|document| Policy {
            arn: format!("arn:{}:iam::{}:policy{path}{}", facts.partition, facts.account, policy_name(&name)),
            document: document::canonical(document),
            attached: true,
            tags: tags.clone(),
            spare_versions: Vec::new(),
        });
        let managed = |policy: String| match policy.starts_with("arn:") {
            true => policy,
            false => format!("arn:{}:iam::aws:policy/{policy}", facts.partition),
        };
        let profile = Profile { path: path.clone(), role: Some(name.clone()), tags: tags.clone() };
        Ok(State {
            name,
            path,
            made: true,
            trust: document::trust(&spec.trusts),
            description: spec.description.unwrap_or_default(),
            session_seconds: spec.session_seconds.map_or(3600, |seconds| seconds.0),
            attached: spec.attach.into_iter().map(managed).collect(),
            inline: BTreeSet::new(),
            policy,
            profile: spec.instance_profile.then_some(profile),
            tags,
        })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        let mut notes = Vec::new();
        want.path.clone_from(&live.path);
        if let (Some(want), Some(live)) = (&mut want.policy, &live.policy) {
            want.arn.clone_from(&live.arn);
            want.spare_versions.clone_from(&live.spare_versions);
        }
        if let (Some(want), Some(live)) = (&mut want.profile, &live.profile) {
            want.path.clone_from(&live.path);
        }
        // What we did not make has inline policies that no stack file could give back.
        let taken_over = live.tags.contains_key(TAG_ADOPTED) || !live.tags.contains_key(TAG_STACK);
        if taken_over && !live.inline.is_empty() {
            want.inline.clone_from(&live.inline);
            let names: Vec<_> = live.inline.iter().map(String::as_str).collect();
            notes.push(format!("its inline policies stay: {}", names.join(", ")));
        }
        notes
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        match (live, want) {
            (live, Some(want)) => converge(at, live.unwrap_or(&nothing(want)), want),
            (Some(live), None) => delete(live),
            (None, None) => Vec::new(),
        }
    }

    fn describe(call: &Call) -> String {
        act::describe(call)
    }

    fn gist(state: &State) -> Vec<String> {
        let attached = state.attached.iter().map(|arn| last_part(arn).to_owned());
        let own = state.policy.iter().flat_map(|policy| document::gist(&policy.document));
        let can: Vec<String> = attached.chain(own).collect();
        vec![format!("{}: {}", document::gist(&state.trust).join(" and "), can.join(", "))]
    }

    fn phrase(path: &str, value: &Value) -> Option<String> {
        let told = |statement: &Value| document::sentences(statement).join("\n");
        match path {
            "policy.document.Statement" | "trust.Statement" => Some(told(value)).filter(|text| !text.is_empty()),
            "policy" => Some(document::whole(value.get("document")?).join("\n")),
            "session_seconds" => Some(span(value.as_i64()?)),
            _ => None,
        }
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        live::list(cx, wanted).await
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        live::find_existing(cx, existing).await
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        act::perform(cx, call).await
    }
}

/// The role's own policy document, if it is to have one.
fn policy(spec: &Spec, cx: &Context<'_>) -> Result<Option<Value>, String> {
    let partition = &cx.facts.partition;
    let named = |buckets: &[Ref<Bucket>]| -> Result<Vec<String>, String> {
        let physical = |bucket: &Ref<Bucket>| cx.stack.buckets.get(&bucket.text).cloned();
        let named = |bucket| physical(bucket).ok_or_else(|| format!("there is no bucket `{}`", bucket.text));
        buckets.iter().map(named).collect()
    };
    let document = match &spec.policy {
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| format!("its policy is not JSON: {error}"))?
        }
        Some(document) => document.clone(),
        None if spec.read.is_empty() && spec.write.is_empty() => return Ok(None),
        None => {
            let (read, write) = (named(&spec.read)?, named(&spec.write)?);
            let keys = |buckets: &[String]| encryption::keys(&cx.stack.encryptions, buckets);
            document::with_keys(document::least(partition, &read, &write), &keys(&read), &keys(&write))
        }
    };
    // A task must not be able to forge the record of its own run.
    Ok(Some(if spec.trusts.starts_with("ecs-tasks.") {
        document::without_ledgers(document, partition, cx.stack.buckets.values())
    } else {
        document
    }))
}

/// The same role before anything of it was made.
fn nothing(want: &State) -> State {
    State {
        made: false,
        attached: BTreeSet::new(),
        inline: BTreeSet::new(),
        policy: None,
        profile: None,
        tags: Tags::new(),
        ..want.clone()
    }
}

fn converge(at: &Address, old: &State, new: &State) -> Vec<Call> {
    let role = || new.name.clone();
    let mut calls = Vec::new();
    if old.made {
        if old.trust != new.trust {
            calls.push(Call::UpdateAssumeRolePolicy { role: role(), trust: new.trust.clone() });
        }
        if (&old.description, old.session_seconds) != (&new.description, new.session_seconds) {
            let (description, session_seconds) = (new.description.clone(), new.session_seconds);
            calls.push(Call::UpdateRole { role: role(), description, session_seconds });
        }
        let (tags, keys) = tags::change(&old.tags, &new.tags);
        // IAM does not tell keys apart by case: to remove `project` after setting `Project` would remove both.
        calls.extend((!keys.is_empty()).then(|| Call::UntagRole { role: role(), keys }));
        calls.extend((!tags.is_empty()).then(|| Call::TagRole { role: role(), tags }));
    } else {
        calls.push(Call::CreateRole {
            at: at.clone(),
            role: role(),
            path: new.path.clone(),
            trust: new.trust.clone(),
            description: new.description.clone(),
            session_seconds: new.session_seconds,
            tags: new.tags.clone(),
        });
    }
    let attach = |policy: &String| Call::AttachRolePolicy { role: role(), policy: policy.clone() };
    let detach = |policy: &String| Call::DetachRolePolicy { role: role(), policy: policy.clone() };
    calls.extend(new.attached.difference(&old.attached).map(attach));
    match (&old.policy, &new.policy) {
        (None, Some(new)) => {
            let (policy, document, tags) = (new.arn.clone(), new.document.clone(), new.tags.clone());
            calls.extend([Call::CreatePolicy { policy, document, tags }, attach(&new.arn)]);
        }
        (Some(old), Some(want)) => {
            converge_policy(&mut calls, old, want, &nested(&new.tags, &old.tags, &want.tags));
            calls.extend((!old.attached).then(|| attach(&want.arn)));
        }
        (Some(old), None) => delete_policy(&mut calls, &new.name, old),
        (None, None) => {}
    }
    // Its own policy is not to go, even where only its attachment was seen.
    let own = new.policy.as_ref().map(|policy| &policy.arn);
    let others = old.attached.difference(&new.attached).filter(|policy| Some(*policy) != own);
    calls.extend(others.map(detach));
    let lost = old.inline.difference(&new.inline);
    calls.extend(lost.map(|name| Call::DeleteRolePolicy { role: role(), name: name.clone() }));
    converge_profile(&mut calls, old, new);
    calls
}

/// The tags of a role's policy or profile: when the role is let go of, so is this.
fn nested(role: &Tags, live: &Tags, want: &Tags) -> Tags {
    if role.contains_key(TAG_STACK) {
        return want.clone();
    }
    live.iter()
        .filter(|(key, _)| !key.starts_with("seqstack:"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn converge_policy(calls: &mut Vec<Call>, old: &Policy, new: &Policy, want_tags: &Tags) {
    let policy = || new.arn.clone();
    if old.document != new.document {
        // A policy has at most five versions.
        if let [oldest, _, _, _, ..] = old.spare_versions.as_slice() {
            calls.push(Call::DeletePolicyVersion { policy: policy(), version: oldest.clone() });
        }
        calls.push(Call::CreatePolicyVersion { policy: policy(), document: new.document.clone() });
    }
    let (tags, keys) = tags::change(&old.tags, want_tags);
    calls.extend((!keys.is_empty()).then(|| Call::UntagPolicy { policy: policy(), keys }));
    calls.extend((!tags.is_empty()).then(|| Call::TagPolicy { policy: policy(), tags }));
}

fn delete_policy(calls: &mut Vec<Call>, role: &str, old: &Policy) {
    let policy = || old.arn.clone();
    calls.extend(old.attached.then(|| Call::DetachRolePolicy { role: role.to_owned(), policy: policy() }));
    let version = |version: &String| Call::DeletePolicyVersion { policy: policy(), version: version.clone() };
    calls.extend(old.spare_versions.iter().map(version));
    calls.push(Call::DeletePolicy { policy: policy() });
}

fn converge_profile(calls: &mut Vec<Call>, old: &State, new: &State) {
    let profile = || new.name.clone();
    let held = old.profile.as_ref().and_then(|profile| profile.role.clone());
    match (&old.profile, &new.profile) {
        (None, Some(want)) => {
            let (path, tags) = (want.path.clone(), want.tags.clone());
            calls.push(Call::CreateInstanceProfile { profile: profile(), path, tags });
        }
        (Some(live), Some(want)) => {
            let (tags, keys) = tags::change(&live.tags, &nested(&new.tags, &live.tags, &want.tags));
            calls.extend((!keys.is_empty()).then(|| Call::UntagInstanceProfile { profile: profile(), keys }));
            calls.extend((!tags.is_empty()).then(|| Call::TagInstanceProfile { profile: profile(), tags }));
        }
        (Some(_), None) | (None, None) => {}
    }
    let wanted = new.profile.as_ref().and_then(|profile| profile.role.clone());
    if held != wanted {
        calls.extend(held.map(|role| Call::RemoveRoleFromInstanceProfile { profile: profile(), role }));
        calls.extend(wanted.map(|role| Call::AddRoleToInstanceProfile { profile: profile(), role }));
    }
    if old.profile.is_some() && new.profile.is_none() {
        calls.push(Call::DeleteInstanceProfile { profile: profile() });
    }
}

/// In IAM's order: out of the profile, every policy off, and the role last, so that what is left of a deletion cut short
/// is still found by the role.
fn delete(live: &State) -> Vec<Call> {
    let role = || live.name.clone();
    let mut calls = Vec::new();
    let bare = State { profile: None, ..live.clone() };
    converge_profile(&mut calls, live, &bare);
    let detach = |policy: &String| Call::DetachRolePolicy { role: role(), policy: policy.clone() };
    calls.extend(live.attached.iter().map(detach));
    calls.extend(live.inline.iter().map(|name| Call::DeleteRolePolicy { role: role(), name: name.clone() }));
    if let Some(policy) = &live.policy {
        delete_policy(&mut calls, &live.name, policy);
    }
    calls.extend(live.made.then(|| Call::DeleteRole { role: role() }));
    calls
}

#[cfg(test)]
mod tests;
