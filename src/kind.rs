//! What a kind of resource is, and the registry of all kinds.
//!
//! A kind is typed at its edges (what a person writes, the normal form, its mutating calls) and plain JSON in the
//! core: the generic diff, the walk for links and the plan need no kind's help. A kind's pure half ([`Kind::lower`],
//! [`Kind::calls`]) never asks AWS; its other half ([`Kind::list`], [`Kind::perform`]) is all of it that does.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::pin::Pin;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Address, Ids};
use crate::aws::{Aws, AwsError};
use crate::encryption::Encryptions;
use crate::facts::{Facts, Lookup};
use crate::kinds;
use crate::stack::warning::SpecWarning;

/// The tag that says which stack a thing belongs to.
pub const TAG_STACK: &str = "seqstack:stack";
/// The tag that says which region's stack of that name (IAM is global).
pub const TAG_REGION: &str = "seqstack:region";
/// The tag with the address inside the stack, without the sample: `role.execution`.
pub const TAG_ADDRESS: &str = "seqstack:address";
/// The tag with the sample whose run a resource belongs to.
pub const TAG_SAMPLE: &str = "seqstack:sample";
/// The tag of what was there before and taken over with `--adopt`: never replaced, and only let go of at the end.
pub const TAG_ADOPTED: &str = "seqstack:adopted";

/// The tag of what must not be deleted or replaced (`protect = true`), so that it still holds once the table is gone.
pub const TAG_PROTECT: &str = "seqstack:protect";

/// The tag that says which of the other tags are ours, by a digest of each key: what others tag is theirs, and stays.
pub const TAG_KEYS: &str = "seqstack:tags";

/// Tags by key, without AWS's own (`aws:…`).
pub type Tags = BTreeMap<String, String>;

/// How long a resource is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// From the first apply until destroy.
    #[default]
    Always,
    /// Exactly while its sample's run is due.
    Run,
}

/// The order in which a replacement happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// The old one goes first, since both cannot exist at once.
    DeleteFirst,
    /// The new one comes first, holders are moved to it, and the old one goes last.
    CreateFirst,
}

/// A fault that only a kind can see in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecFault {
    /// Dotted path of the key inside the resource's table; empty for the table itself.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SpecFault {
    /// A fault that has a hint.
    pub fn new(key: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: Some(hint.into()) }
    }
}

/// The stack, as far as lowering needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackInfo {
    /// `[stack] name`.
    pub name: String,
    /// The region that the stack is in.
    pub region: String,
    /// `[stack] tags`.
    pub tags: Tags,
    /// Physical bucket names by logical name.
    pub buckets: BTreeMap<String, String>,
    /// How what is written to them is encrypted, where the stack file says that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encryptions: Encryptions,
    /// Addresses that exist for a sample's run only, without the sample.
    pub per_run: std::collections::BTreeSet<Address>,
    /// What the tables say of `protect`, by address; what says nothing is not in it.
    pub protect: BTreeMap<Address, bool>,
    /// Folders of an instance that the stack's task definitions mount, each with who it is for (`1000:1000 0755`).
    pub folders: BTreeMap<String, String>,
}

/// What lowering may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The stack.
    pub stack: &'a StackInfo,
    /// What was looked up.
    pub facts: &'a Facts,
    /// The sample that this plan is for, where there is one.
    pub sample: Option<&'a str>,
}

impl Context<'_> {
    /// The default physical name: `<stack>-<name>`, with the sample for what belongs to one run.
    pub fn physical_name(&self, at: &Address) -> String {
        self.stack.physical_name(at)
    }

    /// The address that a logical name stands for: one sample's where the target exists for a run only.
    pub fn target(&self, kind: &str, name: &str) -> Address {
        let at = Address::new(kind, name);
        if self.stack.per_run.contains(&at) { at.of(self.sample) } else { at }
    }

    /// The tags of a resource: the stack's, those that make it ours, and the one that protects it.
    pub fn tags(&self, at: &Address) -> Tags {
        let mut tags = self.stack.tags.clone();
        let keys: String = tags.keys().map(|key| key_digest(key)).collect();
        tags.extend((!keys.is_empty()).then(|| (TAG_KEYS.to_owned(), keys)));
        tags.extend(self.stack.identity_tags(at));
        if self.stack.protect.get(at) == Some(&true) {
            tags.insert(TAG_PROTECT.to_owned(), "true".to_owned());
        }
        tags
    }
}

/// Five letters for a tag's key: fifty of them, all that AWS takes, fit into one tag's value, which takes no comma.
fn key_digest(key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(&Sha256::digest(key)[..3])[..5].to_owned()
}

/// Whether a tag of a live resource was set by us, as far as its tags tell.
pub fn is_our_tag(live: &serde_json::Map<String, Value>, key: &str) -> bool {
    let listed = live.get(TAG_KEYS).and_then(Value::as_str).unwrap_or_default().as_bytes();
    key.starts_with("seqstack:") || listed.chunks(5).any(|one| one == key_digest(key).as_bytes())
}

impl StackInfo {
    /// The default physical name: `<stack>-<name>`, with the sample for what belongs to one run.
    pub fn physical_name(&self, at: &Address) -> String {
        match &at.sample {
            Some(sample) => format!("{}-{}-{sample}", self.name, at.name),
            None => format!("{}-{}", self.name, at.name),
        }
    }

    /// The tags that say whose a resource is.
    pub fn identity_tags(&self, at: &Address) -> Tags {
        let mut tags = Tags::from([
            (TAG_STACK.to_owned(), self.name.clone()),
            (TAG_REGION.to_owned(), self.region.clone()),
            (TAG_ADDRESS.to_owned(), format!("{}.{}", at.kind, at.name)),
        ]);
        tags.extend(at.sample.as_ref().map(|sample| (TAG_SAMPLE.to_owned(), sample.clone())));
        tags
    }

    /// The path of everything IAM that the stack makes.
    pub fn iam_path(&self) -> String {
        format!("/seqstack/{}/{}/", self.region, self.name)
    }

    /// Whose a thing with these tags is, and its address if the tags say one.
    pub fn owner(&self, tags: &Tags) -> (Owner, Option<Address>) {
        let get = |key: &str| tags.get(key).map(String::as_str);
        let address = get(TAG_ADDRESS).and_then(|at| at.parse::<Address>().ok()).map(|at| at.of(get(TAG_SAMPLE)));
        let owner = match (get(TAG_STACK), get(TAG_REGION)) {
            (None, _) => Owner::Nobody,
            (Some(stack), region) if stack == self.name && region.is_none_or(|region| region == self.region) => {
                if tags.contains_key(TAG_ADOPTED) { Owner::Adopted } else { Owner::Ours }
            }
            (Some(stack), region) => {
                Owner::Stack(region.map_or_else(|| stack.to_owned(), |region| format!("{stack} in {region}")))
            }
        };
        (owner, address)
    }
}

/// Whose a live thing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Made by this stack.
    Ours,
    /// Taken over by this stack.
    Adopted,
    /// It has no tag of ours.
    Nobody,
    /// Another stack's.
    Stack(String),
    /// Left over from one of ours whose deletion was cut short: nothing to build upon, but to be cleared away.
    Remains,
}

/// A live resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found<S> {
    /// Where it belongs in the stack.
    pub at: Address,
    /// Its physical ids by part.
    pub ids: Ids,
    /// Whose it is.
    pub owner: Owner,
    /// What it is, in normal form; every link in it is [`crate::address::Link::Theirs`].
    pub state: S,
}

/// What the reading half of a kind may use.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The clients.
    pub aws: &'a Aws,
    /// The stack.
    pub stack: &'a StackInfo,
    /// The sample that this plan is for.
    pub sample: Option<&'a str>,
}

/// What the performing half of a kind may use.
#[derive(Clone)]
pub struct Acting {
    /// The clients.
    pub aws: Aws,
    /// The stack.
    pub stack: StackInfo,
    /// The folder for journal and keys (`state/<stack>`); keys are in its `keys` folder.
    pub state_dir: PathBuf,
    /// Tells the user what is being waited for, e.g. `waiting for the agent of i-0abc to register`.
    pub say: std::sync::Arc<dyn Fn(String) + Send + Sync>,
    /// True from the first interrupt on: what takes long begins nothing more.
    pub stopped: tokio::sync::watch::Receiver<bool>,
}

/// One kind of resource: the only place that knows how AWS spells it.
pub trait Kind: 'static {
    /// The table in the stack file, e.g. `role`.
    const TABLE: &'static str;
    /// Dotted paths in the state that AWS cannot change in place.
    const FIXED: &'static [&'static str];
    /// Dotted paths in the state that follow from others, or say how rather than what: a plan shows them only when asked for
    /// everything.
    const MINOR: &'static [&'static str] = &[];
    /// The parts that others may link to, and that [`Kind::perform`] of a create gives.
    const PARTS: &'static [&'static str];
    /// Tables whose resources, where they are made anew, replace one of these that names them although nothing of it differs.
    const DIES_WITH: &'static [&'static str] = &[];
    /// What one of ours must say to be referred to: our key, its table, and the key that must be true there.
    const NEEDS: &'static [(&'static str, &'static str, &'static str)] = &[];
    /// How one is replaced.
    const REPLACE: Replace = Replace::DeleteFirst;
    /// What a person writes. Its docs are what an editor shows: the type's for the table, a field's for the key.
    type Spec: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// The normal form of both sides; it has a `tags` field of type [`Tags`], unless AWS keeps no tags for it.
    type State: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug + Send + Sync;
    /// One variant a mutating call, named after the AWS operation.
    type Call: Serialize + DeserializeOwned + Clone + fmt::Debug + Send;

    /// Faults that types cannot catch.
    fn check(_spec: &Self::Spec) -> Vec<SpecFault> {
        Vec::new()
    }

    /// What in AWS a spec makes its own, by the key that says so: no other of the kind may claim the same. Left out, its `name`.
    fn claims(_name: &str, spec: &Self::Spec) -> Vec<(String, String)> {
        let name = json(spec).get("name").and_then(Value::as_str).map(str::to_owned);
        name.map(|name| ("name".to_owned(), name)).into_iter().collect()
    }

    /// What is sound, and seldom meant.
    fn warn(_spec: &Self::Spec) -> Vec<SpecWarning> {
        Vec::new()
    }

    /// How long it is wanted.
    fn lifetime(_spec: &Self::Spec) -> Lifetime {
        Lifetime::Always
    }

    /// What must be known before lowering.
    fn lookups(_name: &str, _spec: &Self::Spec) -> Vec<Lookup> {
        Vec::new()
    }

    /// The state that a spec asks for.
    ///
    /// # Errors
    /// A sentence for the user when the facts make it impossible (no default VPC, an AMI for another architecture).
    fn lower(at: &Address, spec: Self::Spec, cx: &Context<'_>) -> Result<Self::State, String>;

    /// Fills in what the desired state leaves to whatever is there (an adopted role's path, the subnet that was
    /// picked), and says as notes what differs without being worth a change.
    fn keep(_want: &mut Self::State, _live: &Self::State) -> Vec<String> {
        Vec::new()
    }

    /// The state as AWS will report it once it is as wanted and has these ids: without what is only wanted, with what is
    /// only known.
    fn made(want: Self::State, _ids: &Ids) -> Self::State {
        want
    }

    /// The ids that are known of one that is yet to be made: those that are its name.
    fn named(_want: &Self::State) -> Ids {
        Ids::new()
    }

    /// The mutating calls that lead from `live` to `want`: `None` to `Some` creates, `Some` to `None` deletes. A create
    /// cut short anywhere is later found and goes on as an update. A resource's own ids are links to `at`.
    fn calls(at: &Address, live: Option<&Self::State>, want: Option<&Self::State>) -> Vec<Self::Call>;

    /// The call as a person reads it: `iam:CreateRole germline-execution`.
    fn describe(call: &Self::Call) -> String;

    /// What a scientist or a reviewer wants to see of one that is made, a few words each: `r6i.2xlarge`, `30 days`.
    fn gist(_state: &Self::State) -> Vec<String> {
        Vec::new()
    }

    /// A value at a dotted path of the state (an item, where there is a list) in words, where its JSON is not what a person
    /// would say.
    fn phrase(_path: &str, _value: &Value) -> Option<String> {
        None
    }

    /// Everything of this kind that the stack owns, and everything under a name that the stack wants. Reads in as few
    /// dependent waves as there can be (three at the most).
    fn list(
        cx: Reading<'_>,
        wanted: &BTreeMap<Address, Self::Spec>,
    ) -> impl Future<Output = Result<Vec<Found<Self::State>>, AwsError>> + Send;

    /// The ids of one that is not ours (`existing = "…"`), by name, id or ARN; `None` if there is none.
    fn find_existing(cx: Reading<'_>, existing: &str) -> impl Future<Output = Result<Option<Ids>, AwsError>> + Send;

    /// Makes one call, every link in it settled, waits until its effect can be relied on, and gives the ids that
    /// became known.
    fn perform(cx: Acting, call: Self::Call) -> impl Future<Output = Result<Ids, AwsError>> + Send;
}

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind with its types erased to JSON.
pub trait ErasedKind: Sync {
    /// See [`Kind::TABLE`].
    fn table(&self) -> &'static str;
    /// See [`Kind::FIXED`].
    fn fixed(&self) -> &'static [&'static str];
    /// See [`Kind::MINOR`].
    fn minor(&self) -> &'static [&'static str];
    /// See [`Kind::PARTS`].
    fn parts(&self) -> &'static [&'static str];
    /// See [`Kind::NEEDS`].
    fn needs(&self) -> &'static [(&'static str, &'static str, &'static str)];
    /// See [`Kind::DIES_WITH`].
    fn dies_with(&self) -> &'static [&'static str];
    /// See [`Kind::REPLACE`].
    fn replace(&self) -> Replace;
    /// The JSON Schema of a table in the stack file.
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
    /// Reads a table of the stack file into the spec, as JSON. Faults go to the reader.
    fn read(&self, node: &crate::stack::tolerant::Table<'_>) -> Option<Value>;
    /// See [`Kind::check`].
    fn check(&self, spec: &Value) -> Vec<SpecFault>;
    /// See [`Kind::claims`].
    fn claims(&self, name: &str, spec: &Value) -> Vec<(String, String)>;
    /// See [`Kind::warn`].
    fn warn(&self, spec: &Value) -> Vec<SpecWarning>;
    /// See [`Kind::lifetime`].
    fn lifetime(&self, spec: &Value) -> Lifetime;
    /// See [`Kind::lookups`].
    fn lookups(&self, name: &str, spec: &Value) -> Vec<Lookup>;
    /// See [`Kind::lower`].
    ///
    /// # Errors
    /// See [`Kind::lower`].
    fn lower(&self, at: &Address, spec: &Value, cx: &Context<'_>) -> Result<Value, String>;
    /// See [`Kind::keep`].
    fn keep(&self, want: &mut Value, live: &Value) -> Vec<String>;
    /// See [`Kind::made`].
    fn made(&self, want: &Value, ids: &Ids) -> Value;
    /// See [`Kind::named`].
    fn named(&self, want: &Value) -> Ids;
    /// The state in its one spelling: sets sorted again after links were settled.
    fn normal(&self, state: Value) -> Value;
    /// See [`Kind::calls`].
    fn calls(&self, at: &Address, live: Option<&Value>, want: Option<&Value>) -> Vec<Value>;
    /// See [`Kind::describe`].
    fn describe(&self, call: &Value) -> String;
    /// See [`Kind::gist`].
    fn gist(&self, state: &Value) -> Vec<String>;
    /// See [`Kind::phrase`].
    fn phrase(&self, path: &str, value: &Value) -> Option<String>;
    /// See [`Kind::list`].
    fn list<'a>(
        &self,
        cx: Reading<'a>,
        wanted: &'a BTreeMap<Address, Value>,
    ) -> Later<'a, Result<Vec<Found<Value>>, AwsError>>;
    /// See [`Kind::find_existing`].
    fn find_existing<'a>(&self, cx: Reading<'a>, existing: &'a str) -> Later<'a, Result<Option<Ids>, AwsError>>;
    /// See [`Kind::perform`].
    fn perform(&self, cx: Acting, call: Value) -> Later<'static, Result<Ids, AwsError>>;
}

/// The erasure of one kind.
pub struct Of<K>(PhantomData<fn() -> K>);

impl<K> Of<K> {
    /// The erasure of `K`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K> Default for Of<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// JSON that this crate made itself, back as the type it was made of.
#[expect(clippy::panic, reason = "a state that its own type cannot read is a fault of this tool, not of any input")]
fn typed<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_else(|error| panic!("{} from {value}: {error}", type_name::<T>()))
}

/// Plain data as JSON.
#[expect(clippy::panic, reason = "states and calls are plain data with string keys")]
pub fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{} as JSON: {error}", type_name::<T>()))
}

impl<K: Kind> ErasedKind for Of<K> {
    fn table(&self) -> &'static str {
        K::TABLE
    }

    fn fixed(&self) -> &'static [&'static str] {
        K::FIXED
    }

    fn minor(&self) -> &'static [&'static str] {
        K::MINOR
    }

    fn parts(&self) -> &'static [&'static str] {
        K::PARTS
    }

    fn needs(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        K::NEEDS
    }

    fn dies_with(&self) -> &'static [&'static str] {
        K::DIES_WITH
    }

    fn replace(&self) -> Replace {
        K::REPLACE
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        K::Spec::json_schema(generator)
    }

    fn read(&self, node: &crate::stack::tolerant::Table<'_>) -> Option<Value> {
        node.read::<K::Spec>().as_ref().map(json)
    }

    fn check(&self, spec: &Value) -> Vec<SpecFault> {
        K::check(&typed(spec))
    }

    fn claims(&self, name: &str, spec: &Value) -> Vec<(String, String)> {
        K::claims(name, &typed(spec))
    }

    fn warn(&self, spec: &Value) -> Vec<SpecWarning> {
        K::warn(&typed(spec))
    }

    fn lifetime(&self, spec: &Value) -> Lifetime {
        K::lifetime(&typed(spec))
    }

    fn lookups(&self, name: &str, spec: &Value) -> Vec<Lookup> {
        K::lookups(name, &typed(spec))
    }

    fn lower(&self, at: &Address, spec: &Value, cx: &Context<'_>) -> Result<Value, String> {
        K::lower(at, typed(spec), cx).as_ref().map(json).map_err(Clone::clone)
    }

    fn keep(&self, want: &mut Value, live: &Value) -> Vec<String> {
        let mut state: K::State = typed(want);
        let notes = K::keep(&mut state, &typed(live));
        *want = json(&state);
        notes
    }

    fn made(&self, want: &Value, ids: &Ids) -> Value {
        json(&K::made(typed(want), ids))
    }

    fn named(&self, want: &Value) -> Ids {
        K::named(&typed(want))
    }

    fn normal(&self, state: Value) -> Value {
        json(&typed::<K::State>(&state))
    }

    fn calls(&self, at: &Address, live: Option<&Value>, want: Option<&Value>) -> Vec<Value> {
        let (live, want) = (live.map(typed::<K::State>), want.map(typed::<K::State>));
        K::calls(at, live.as_ref(), want.as_ref()).iter().map(json).collect()
    }

    fn describe(&self, call: &Value) -> String {
        K::describe(&typed(call))
    }

    fn gist(&self, state: &Value) -> Vec<String> {
        K::gist(&typed(state))
    }

    fn phrase(&self, path: &str, value: &Value) -> Option<String> {
        K::phrase(path, value)
    }

    fn list<'a>(
        &self,
        cx: Reading<'a>,
        wanted: &'a BTreeMap<Address, Value>,
    ) -> Later<'a, Result<Vec<Found<Value>>, AwsError>> {
        Box::pin(async move {
            let wanted = wanted.iter().map(|(at, spec)| (at.clone(), typed(spec))).collect();
            let found = K::list(cx, &wanted).await?;
            Ok(found
                .into_iter()
                .map(|one| Found { at: one.at, ids: one.ids, owner: one.owner, state: json(&one.state) })
                .collect())
        })
    }

    fn find_existing<'a>(&self, cx: Reading<'a>, existing: &'a str) -> Later<'a, Result<Option<Ids>, AwsError>> {
        Box::pin(K::find_existing(cx, existing))
    }

    fn perform(&self, cx: Acting, call: Value) -> Later<'static, Result<Ids, AwsError>> {
        Box::pin(async move { K::perform(cx, typed(&call)).await })
    }
}

/// Every kind, in the order in which a stack is read aloud.
pub static KINDS: &[&dyn ErasedKind] = &[
    &Of::<kinds::upload::Upload>::new(),
    &Of::<kinds::role::Role>::new(),
    &Of::<kinds::key_pair::KeyPair>::new(),
    &Of::<kinds::security_group::SecurityGroup>::new(),
    &Of::<kinds::log_group::LogGroup>::new(),
    &Of::<kinds::cluster::Cluster>::new(),
    &Of::<kinds::task_definition::TaskDefinition>::new(),
    &Of::<kinds::instance::Instance>::new(),
];

/// The kind with this table.
pub fn kind(table: &str) -> Option<&'static dyn ErasedKind> {
    KINDS.iter().copied().find(|kind| kind.table() == table)
}
