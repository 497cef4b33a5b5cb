//! `[key_pair.…]`: an EC2 key pair of which AWS has the public half only.
//!
//! The private half is made on this machine ([`private`]) and never leaves it. One that is gone from here, or is another one
//! since a second machine has made the pair, changes no plan: whatever public key AWS has is then what is wanted.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, KeyPairInfo, ResourceType};
use futures_util::future::try_join;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_name;
use crate::address::{Address, Ids, Link};
use crate::aws::absence::{OrAbsent, SEEN, none, taken_away};
use crate::aws::trace::branch;
use crate::aws::wait::until;
use crate::aws::{Aws, AwsError, Class, OrAws, tags};
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Owner, Reading, SpecFault, TAG_STACK, Tags};
use crate::stack::values::PLACEHOLDER;

mod private;

pub use private::{KeyError, public_half};

/// The kind.
pub enum KeyPair {}

/// An EC2 key pair. The private half is made on your machine and never leaves it; only the public half goes to AWS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The key pair's name in EC2, instead of `<stack>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME))]
    pub name: Option<String>,
    /// A public key to import, instead of making a pair here: `ssh-ed25519 AAAA…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// What EC2 takes for a name (API, ImportKeyPair).
const NAME: &str = "^[!-~]([ -~]{0,253}[!-~])?$";

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its name in EC2.
    pub name: String,
    /// Type and key, without comment. None: whatever there is, or one that is made on apply.
    pub public_key: Option<String>,
    /// The public half of the private key that is on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
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
    ImportKeyPair { at: Address, name: String, public_key: Option<String>, tags: Tags },
    CreateTags { name: String, id: Link, tags: Tags },
    DeleteTags { name: String, id: Link, keys: Vec<String> },
    DeleteKeyPair { name: String },
}

/// Type and key of an OpenSSH public key, without its comment.
pub fn without_comment(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

impl Kind for KeyPair {
    const TABLE: &'static str = "key_pair";
    const FIXED: &'static [&'static str] = &["name", "public_key"];
    const MINOR: &'static [&'static str] = &["here"];
    const PARTS: &'static [&'static str] = &["name", "id"];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        let given = spec.public_key.iter().filter(|key| *key != PLACEHOLDER);
        let faults = given.filter_map(|key| {
            let message = match ssh_key::PublicKey::from_openssh(key) {
                Err(error) => format!("not an OpenSSH public key: {error}"),
                Ok(key) if key.algorithm().is_ed25519() || key.algorithm().is_rsa() => return None,
                Ok(key) => format!("EC2 takes ED25519 and RSA keys, not {}", key.algorithm()),
            };
            let hint = "the line of a .pub file; leave it out to have a pair made here";
            Some(SpecFault::new("public_key", message, hint))
        });
        let told = "1 to 255 ASCII characters, no space first or last";
        faults.chain(check_name(spec.name.as_ref(), NAME, told)).collect()
    }

    fn lookups(name: &str, spec: &Spec) -> Vec<Lookup> {
        spec.public_key.is_none().then(|| Lookup::Key(name.to_owned())).into_iter().collect()
    }

    fn lower(at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let here = cx.facts.keys.get(&at.name).filter(|_| spec.public_key.is_none());
        Ok(State {
            name: spec.name.unwrap_or_else(|| cx.physical_name(at)),
            public_key: spec.public_key.as_deref().map(without_comment),
            here: here.map(|key| without_comment(key)),
            tags: cx.tags(at),
        })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        let here = want.here.take();
        if want.public_key.is_some() || live.public_key.is_none() {
            return Vec::new();
        }
        want.public_key.clone_from(&live.public_key);
        match here {
            Some(_) if here == live.public_key => Vec::new(),
            Some(_) => {
                vec![format!("the private key on this machine is not that of {}: another one made it", live.name)]
            }
            None => vec![format!("the private key of {} is not on this machine", live.name)],
        }
    }

    fn made(want: State, _ids: &Ids) -> State {
        State { here: None, ..want }
    }

    fn calls(at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        match (live, want) {
            (None, Some(State { name, public_key, tags, .. })) => vec![Call::ImportKeyPair {
                at: at.clone(),
                name: name.clone(),
                public_key: public_key.clone(),
                tags: tags.clone(),
            }],
            (Some(live), None) => vec![Call::DeleteKeyPair { name: live.name.clone() }],
            (Some(live), Some(want)) => {
                let (tags, keys) = tags::change(&live.tags, &want.tags);
                let (name, id) = (|| live.name.clone(), || Link::ours(at.clone(), "id"));
                let set = (!tags.is_empty()).then(|| Call::CreateTags { name: name(), id: id(), tags });
                let gone = (!keys.is_empty()).then(|| Call::DeleteTags { name: name(), id: id(), keys });
                set.into_iter().chain(gone).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    fn describe(call: &Call) -> String {
        match call {
            Call::ImportKeyPair { name, public_key: None, .. } => format!("ec2:ImportKeyPair {name} (made here)"),
            Call::ImportKeyPair { name, .. } => format!("ec2:ImportKeyPair {name}"),
            Call::CreateTags { name, tags, .. } => format!("ec2:CreateTags {name} {}", tags::keys(tags)),
            Call::DeleteTags { name, keys, .. } => format!("ec2:DeleteTags {name} {}", keys.join(" ")),
            Call::DeleteKeyPair { name } => format!("ec2:DeleteKeyPair {name}"),
        }
    }

    fn gist(state: &State) -> Vec<String> {
        let made = match (&state.public_key, &state.here) {
            (Some(_), _) => "the public key is given",
            (None, Some(_)) => "its private key is on this machine",
            (None, None) => "made on this machine",
        };
        vec![state.name.clone(), made.to_owned()]
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        let names: BTreeMap<String, &Address> = wanted
            .iter()
            .map(|(at, spec)| (spec.name.clone().unwrap_or_else(|| cx.stack.physical_name(at)), at))
            .collect();
        let by_tag = format!("tag:{TAG_STACK}");
        let tagged = found(cx.aws, &by_tag, vec![cx.stack.name.clone()]);
        let named = async {
            match names.is_empty() {
                true => Ok(Vec::new()),
                false => found(cx.aws, "key-name", names.keys().cloned().collect()).await,
            }
        };
        let (tagged, named) = try_join(branch(tagged), branch(named)).await?;
        let mut out: BTreeMap<String, Found<State>> = BTreeMap::new();
        for pair in tagged.iter().chain(&named) {
            let name = pair.key_name().unwrap_or_default();
            let tags = tags::from_ec2(pair.tags());
            let (owner, at) = cx.stack.owner(&tags);
            let wanted = names.get(name).map(|at| (*at).clone());
            if wanted.is_none() && !matches!(owner, Owner::Ours | Owner::Adopted) {
                continue;
            }
            let Some(at) = wanted.or(at) else { continue };
            let public_key = pair.public_key().map(without_comment);
            let state = State { name: name.to_owned(), public_key, here: None, tags };
            out.insert(name.to_owned(), Found { at, ids: ids(pair), owner, state });
        }
        Ok(out.into_values().collect())
    }

    async fn find_existing(cx: Reading<'_>, existing: &str) -> Result<Option<Ids>, AwsError> {
        let by = if existing.starts_with("key-") { "key-pair-id" } else { "key-name" };
        let found = found(cx.aws, by, vec![existing.to_owned()]).await?;
        Ok(found.first().map(ids))
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        match call {
            Call::ImportKeyPair { at, name, public_key, tags } => import(&cx, &at, &name, public_key, &tags).await,
            Call::CreateTags { name, id, tags } => {
                let id = settled("ec2:CreateTags", &name, &id)?;
                tags::set_ec2(&cx.aws, &id, &tags).await.map(|()| Ids::new())
            }
            Call::DeleteTags { name, id, keys } => {
                let id = settled("ec2:DeleteTags", &name, &id)?;
                tags::remove_ec2(&cx.aws, &id, &keys).await.map(|()| Ids::new())
            }
            Call::DeleteKeyPair { name } => {
                // EC2 says yes to the deletion of a key pair that is not there.
                const NAME: &str = "ec2:DeleteKeyPair";
                let sent = taken_away(&*cx.say, NAME, &name, none, || {
                    let request = cx.aws.ec2.delete_key_pair().key_name(&name);
                    async move { request.send().await.or_aws(NAME) }
                });
                sent.await.map(|_| Ids::new())
            }
        }
    }
}

/// The id of a link that the executor has settled.
///
/// # Errors
/// When it has not.
pub(super) fn settled(operation: &'static str, what: &str, link: &Link) -> Result<String, AwsError> {
    link.id().map(str::to_owned).map_err(|error| AwsError::refused(operation, format!("{what}: {error}")))
}

/// A private key that this machine will not keep: then its public half is not imported either.
fn not_kept(error: &KeyError) -> AwsError {
    let message = format!(
        "{}: nothing was imported, since the key would be lost; make room, or a folder there that you may write to",
        crate::aws::chain(error)
    );
    AwsError { class: Class::Unsent, ..AwsError::refused("ec2:ImportKeyPair", message) }
}

fn ids(pair: &KeyPairInfo) -> Ids {
    let parts = [("name", pair.key_name()), ("id", pair.key_pair_id())];
    parts.into_iter().filter_map(|(part, id)| Some((part.to_owned(), id?.to_owned()))).collect()
}

async fn found(aws: &Aws, by: &str, values: Vec<String>) -> Result<Vec<KeyPairInfo>, AwsError> {
    let filter = Filter::builder().name(by).set_values(Some(values)).build();
    let asked = aws.ec2.describe_key_pairs().filters(filter).include_public_key(true).send().await;
    // Asked by filter, what is not there is simply not in the answer.
    Ok(asked.or_aws("ec2:DescribeKeyPairs")?.key_pairs.unwrap_or_default())
}

async fn import(
    cx: &Acting,
    at: &Address,
    name: &str,
    public_key: Option<String>,
    tags: &Tags,
) -> Result<Ids, AwsError> {
    const NAME: &str = "ec2:ImportKeyPair";
    let made_here = public_key.is_none();
    let public_key = match public_key {
        Some(key) => key,
        None => {
            let made = private::made(&cx.state_dir.join("keys"), &at.name).await;
            made.map_err(|error| not_kept(&error))?
        }
    };
    let sent = cx
        .aws
        .ec2
        .import_key_pair()
        .key_name(name)
        .public_key_material(aws_sdk_ec2::primitives::Blob::new(public_key.as_bytes()))
        .tag_specifications(tags::on_creation(ResourceType::KeyPair, tags))
        .send()
        .await
        .or_aws(NAME);
    if let Some(made) = sent.or_absent_if(|error| error.is(&["InvalidKeyPair.Duplicate"]))? {
        let id = made.key_pair_id.unwrap_or_default();
        return Ok(Ids::from([("name".to_owned(), name.to_owned()), ("id".to_owned(), id)]));
    }
    // It exists meanwhile: our own call that was lost, or another machine's that was quicker. So it will be seen.
    let there = until(
        SEEN,
        NAME,
        &format!("{name}, which exists, to be seen"),
        |_| false,
        || async { Ok(found(&cx.aws, "key-name", vec![name.to_owned()]).await?.into_iter().next()) },
    )
    .await?;
    let owned = Some(&there).filter(|pair| {
        let (owner, tagged) = cx.stack.owner(&tags::from_ec2(pair.tags()));
        matches!(owner, Owner::Ours | Owner::Adopted) && tagged.as_ref() == Some(at)
    });
    let Some(pair) = owned else {
        return Err(AwsError::refused(NAME, format!("{name} exists meanwhile and is not this resource's; plan again")));
    };
    let same = pair.public_key().is_some_and(|key| without_comment(key) == without_comment(&public_key));
    if !same && made_here {
        let aside = private::set_aside(&cx.state_dir.join("keys"), &at.name).await;
        let aside = aside.map_err(|error| AwsError::refused(NAME, crate::aws::chain(&error)))?;
        (cx.say)(format!("another machine made {name} first; the key made here is now {}", aside.display()));
    } else if !same {
        return Err(AwsError::refused(NAME, format!("{name} exists meanwhile with another public key; plan again")));
    }
    Ok(ids(pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::kind::StackInfo;

    fn lowered(public_key: Option<&str>, here: Option<&str>) -> State {
        let stack = StackInfo { name: "germline".to_owned(), ..StackInfo::default() };
        let keys = here.map(|key| ("ecs".to_owned(), key.to_owned())).into_iter().collect();
        let facts = Facts { keys, ..Facts::default() };
        let spec = Spec { name: None, public_key: public_key.map(str::to_owned) };
        KeyPair::lower(&Address::new("key_pair", "ecs"), spec, &Context { stack: &stack, facts: &facts, sample: None })
            .unwrap()
    }

    #[test]
    fn the_given_key_wins_over_the_one_here_and_comments_are_nothing() {
        assert_eq!(lowered(Some("ssh-rsa A me@here"), Some("ssh-ed25519 B")).public_key.unwrap(), "ssh-rsa A");
        let made_here = lowered(None, Some("ssh-ed25519 B me@here"));
        assert_eq!((made_here.public_key, made_here.here.unwrap().as_str()), (None, "ssh-ed25519 B"));
    }

    #[test]
    fn a_pair_that_another_machine_made_stays() {
        let live = lowered(Some("ssh-ed25519 A"), None);
        for (here, notes) in [("ssh-ed25519 A", 0), ("ssh-ed25519 B", 1)] {
            let mut want = lowered(None, Some(here));
            assert_eq!(KeyPair::keep(&mut want, &live).len(), notes);
            assert_eq!(want, live);
        }
    }

    #[test]
    fn a_private_key_that_is_gone_changes_no_plan() {
        let at = Address::new("key_pair", "ecs");
        let live = lowered(Some("ssh-ed25519 A"), None);
        let mut want = lowered(None, None);
        assert_eq!(KeyPair::keep(&mut want, &live).len(), 1);
        assert!(KeyPair::calls(&at, Some(&live), Some(&want)).is_empty());
        assert_eq!(want, live);
    }
}
