//! `[upload.…]`: local files brought to a bucket when what is there differs.
//!
//! What an object holds is known by a checksum of our own in its metadata; an object without it is replaced. Never
//! deletes an object. A large file is sent in parts; those that a killed apply has sent are aborted when it is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::address::{Address, Ids};
use crate::aws::absence::OrAbsent;
use crate::aws::buckets;
use crate::aws::trace::branch;
use crate::aws::wait::{Pace, until};
use crate::aws::{Aws, AwsError, Class};
use crate::facts::Lookup;
use crate::kind::{Acting, Context, Found, Kind, Owner, Reading, SpecFault, StackInfo};
use crate::phrase::{counted, size};
use crate::stack::reference::{Bucket, Ref};
use crate::stack::schema;
use crate::stack::values::PLACEHOLDER;

/// The kind.
pub enum Upload {}

/// Our checksum's place in an object's metadata.
const CHECKSUM: &str = "seqstack-sha256";
/// The place of the stack that put it there, as `REGION/STACK`.
const STACK: &str = "seqstack-stack";
/// Files larger than this are sent in parts.
const WHOLE_BYTES: u64 = 8 << 20;
/// The smallest part that is sent.
const PART_BYTES: u64 = 8 << 20;
/// How many parts, or questions about objects, are under way at once.
const AT_ONCE: usize = 8;

/// Local files, brought to a bucket when what is there differs. Objects are never deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The bucket that they go to: the name of a `[bucket.…]`.
    pub bucket: Ref<Bucket>,
    /// Local files, relative to the stack file's folder. A `${…}` that is a list is as many files.
    #[schemars(schema_with = "schema::several")]
    pub files: Vec<String>,
    /// What their keys start with, before the file's own name, e.g. `reads/`; left out, nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// The normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The bucket's physical name.
    pub bucket: String,
    /// SHA-256 by key; of what another stack has put there followed by which ([`is_others`]), [`UNKNOWN`] for an object that
    /// was not put there by us.
    pub objects: BTreeMap<String, String>,
    /// The files that are still to be sent, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, Source>,
}

/// A local file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is on this machine.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// In the place of a checksum, that of an object that was not put there by us.
pub const UNKNOWN: &str = "unknown";

/// Whether what is in the place of a checksum says that this stack did not put the object there.
pub fn is_others(sum: &Value) -> bool {
    sum.as_str().is_some_and(|sum| sum == UNKNOWN || sum.contains(OF))
}

/// Between a checksum and the stack whose object it is.
const OF: &str = " of ";

/// The mutating calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// One file, whole or in parts.
    PutObject {
        /// The bucket's physical name.
        bucket: String,
        /// The object's key.
        key: String,
        /// The file on this machine.
        path: String,
        /// Its size in bytes, as it was planned.
        size: u64,
        /// Its checksum, as it was planned.
        sha256: String,
    },
}

fn key(prefix: &str, file: &str) -> String {
    format!("{prefix}{}", file.rsplit('/').next().unwrap_or(file))
}

impl Kind for Upload {
    const TABLE: &'static str = "upload";
    const FIXED: &'static [&'static str] = &[];
    const MINOR: &'static [&'static str] = &["from"];
    const PARTS: &'static [&'static str] = &[];
    type Spec = Spec;
    type State = State;
    type Call = Call;

    fn check(spec: &Spec) -> Vec<SpecFault> {
        let mut seen = BTreeSet::new();
        if spec.files.is_empty() {
            return vec![SpecFault::new("files", "no files are named here", "name one, or take the upload out")];
        }
        let files = spec.files.iter().filter(|file| *file != PLACEHOLDER);
        let twice = files.map(|file| key(&spec.prefix, file)).filter(|key| !seen.insert(key.clone()));
        let hint = "an object's key is the prefix and the file's own name, without folders";
        let fault = |key| SpecFault::new("files", format!("two files would both become `{key}`"), hint);
        let records = spec.prefix.starts_with(".seqstack/").then(|| {
            SpecFault::new("prefix", "the runs' records are under `.seqstack/`", "take another prefix, e.g. `reads/`")
        });
        twice.map(fault).chain(records).collect()
    }

    fn claims(_name: &str, spec: &Spec) -> Vec<(String, String)> {
        let Spec { bucket, files, prefix } = spec;
        let object = |(at, file): (usize, &String)| {
            (format!("files[{at}]"), format!("{} in {}", key(prefix, file), bucket.text))
        };
        files.iter().enumerate().map(object).collect()
    }

    fn lookups(_name: &str, spec: &Spec) -> Vec<Lookup> {
        spec.files.iter().cloned().map(Lookup::File).collect()
    }

    fn lower(_at: &Address, spec: Spec, cx: &Context<'_>) -> Result<State, String> {
        let bucket = cx.stack.buckets.get(&spec.bucket.text);
        let bucket = bucket.cloned().ok_or_else(|| format!("there is no bucket `{}`", spec.bucket.text))?;
        let (mut objects, mut from) = (BTreeMap::new(), BTreeMap::new());
        for path in &spec.files {
            let file = cx.facts.files.get(path).ok_or_else(|| format!("the file `{path}` could not be read"))?;
            objects.insert(key(&spec.prefix, path), file.sha256.clone());
            from.insert(key(&spec.prefix, path), Source { path: file.path.clone(), size: file.size });
        }
        Ok(State { bucket, objects, from })
    }

    fn keep(want: &mut State, live: &State) -> Vec<String> {
        // Where a file is on this machine is no part of what the bucket holds.
        let State { bucket, objects, from } = want;
        // The same content is the same, whoever has put it there.
        for (key, there) in live.objects.iter().filter(|_| *bucket == live.bucket) {
            if let Some(sum) = objects.get_mut(key)
                && there.split(OF).next() == Some(sum)
            {
                sum.clone_from(there);
            }
        }
        from.retain(|key, _| *bucket != live.bucket || live.objects.get(key) != objects.get(key));
        Vec::new()
    }

    fn made(want: State, _ids: &Ids) -> State {
        State { from: BTreeMap::new(), ..want }
    }

    fn calls(_at: &Address, live: Option<&State>, want: Option<&State>) -> Vec<Call> {
        let Some(want) = want else { return Vec::new() };
        let there =
            |key: &String| live.filter(|live| live.bucket == want.bucket).and_then(|live| live.objects.get(key));
        let differing = want.objects.iter().filter(|(key, sha256)| there(key) != Some(*sha256));
        let calls = differing.filter_map(|(key, sha256)| {
            let Source { path, size } = want.from.get(key)?.clone();
            let (bucket, key, sha256) = (want.bucket.clone(), key.clone(), sha256.clone());
            Some(Call::PutObject { bucket, key, path, size, sha256 })
        });
        calls.collect()
    }

    fn describe(Call::PutObject { bucket, key, size, .. }: &Call) -> String {
        format!("s3:PutObject s3://{bucket}/{key} ({size} bytes)")
    }

    fn gist(state: &State) -> Vec<String> {
        let bytes = state.from.values().map(|source| source.size).sum();
        vec![format!("{} to s3://{}", counted(state.from.len(), "file"), state.bucket), size(bytes)]
    }

    fn phrase(path: &str, value: &Value) -> Option<String> {
        match path.split_once('.')? {
            ("objects", _) => value.as_str().map(|sha| match (sha.get(..12), sha.split_once(OF)) {
                (Some(start), Some((_, stack))) => format!("sha256 {start}…, put there by the stack {stack}"),
                (Some(start), None) => format!("sha256 {start}…"),
                (None, _) => "content that seqstack did not put there".to_owned(),
            }),
            ("from", _) => Some(format!("a file of {}", size(value.get("size")?.as_u64()?))),
            _ => None,
        }
    }

    async fn list(cx: Reading<'_>, wanted: &BTreeMap<Address, Spec>) -> Result<Vec<Found<State>>, AwsError> {
        let each = wanted.iter().filter_map(|(at, spec)| {
            let bucket = cx.stack.buckets.get(&spec.bucket.text)?;
            Some((at.clone(), bucket.clone(), spec.files.iter().map(|file| key(&spec.prefix, file))))
        });
        let questions: Vec<_> =
            each.flat_map(|(at, bucket, keys)| keys.map(move |key| (at.clone(), bucket.clone(), key))).collect();
        let answers: Vec<_> = stream::iter(questions)
            .map(|(at, bucket, key)| {
                branch(async move {
                    let sum = checksum(cx.aws, cx.stack, &bucket, &key).await?;
                    Ok::<_, AwsError>((at, bucket, key, sum))
                })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut out: BTreeMap<Address, Found<State>> = BTreeMap::new();
        for (at, bucket, key, sum) in answers {
            let Some(sum) = sum else { continue };
            let one = out.entry(at.clone()).or_insert_with(|| Found {
                at,
                ids: Ids::new(),
                owner: Owner::Ours,
                state: State { bucket, objects: BTreeMap::new(), from: BTreeMap::new() },
            });
            one.state.objects.insert(key, sum);
        }
        Ok(out.into_values().collect())
    }

    async fn find_existing(_cx: Reading<'_>, _existing: &str) -> Result<Option<Ids>, AwsError> {
        Ok(None)
    }

    async fn perform(cx: Acting, call: Call) -> Result<Ids, AwsError> {
        let Call::PutObject { size, .. } = &call;
        if *size > WHOLE_BYTES { put_in_parts(&cx, call).await } else { put_whole(&cx, call).await }?;
        Ok(Ids::new())
    }
}

/// Our checksum of an object; `unknown` where it has none, `None` where there is no object.
async fn checksum(aws: &Aws, stack: &StackInfo, bucket: &str, key: &str) -> Result<Option<String>, AwsError> {
    let head = |s3: &Client| s3.head_object().bucket(bucket).key(key).send();
    let asked = aws.buckets.call(bucket, "s3:HeadObject", head).await.or_absent()?;
    Ok(asked.map(|object| {
        let metadata = |name: &str| object.metadata().and_then(|metadata| metadata.get(name));
        let by = metadata(STACK).filter(|by| **by != name(stack));
        match (metadata(CHECKSUM), by) {
            (Some(sum), Some(by)) => format!("{sum}{OF}{by}"),
            (Some(sum), None) => sum.clone(),
            (None, _) => UNKNOWN.to_owned(),
        }
    }))
}

fn name(stack: &StackInfo) -> String {
    format!("{}/{}", stack.region, stack.name)
}

fn unreadable(path: &str, error: &dyn std::fmt::Display) -> AwsError {
    AwsError::refused("s3:PutObject", format!("{path}: {error}"))
}

async fn put_whole(cx: &Acting, call: Call) -> Result<(), AwsError> {
    const NAME: &str = "s3:PutObject";
    let Call::PutObject { bucket, key, path, sha256, .. } = call;
    let digest = hex::decode(&sha256).map_err(|error| unreadable(&path, &error))?;
    let content: Bytes = tokio::fs::read(&path).await.map_err(|error| unreadable(&path, &error))?.into();
    let buckets = &cx.aws.buckets;
    let put = |s3: &Client| {
        let request = buckets.put_object(s3, &bucket).key(&key).metadata(CHECKSUM, &sha256);
        let request = request.metadata(STACK, name(&cx.stack));
        // S3 refuses the object if the file has changed since it was planned.
        request.checksum_sha256(BASE64.encode(&digest)).body(content.clone().into()).send()
    };
    buckets.call(&bucket, NAME, put).await.map(|_| ())
}

/// Parts of equal size but the last; S3 takes ten thousand.
fn parts(size: u64) -> impl Iterator<Item = (i32, u64, u64)> {
    let part = PART_BYTES.max(size.div_ceil(10_000));
    (1_i32..)
        .zip((0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX)))
        .map(move |(number, start)| (number, start, part.min(size - start)))
}

async fn put_in_parts(cx: &Acting, call: Call) -> Result<(), AwsError> {
    let Call::PutObject { bucket, key, path, size, sha256 } = call;
    // The checksum of the whole is in the metadata before the first part is sent: what the file holds now must be it.
    let now = crate::aws::facts::hashed(path.as_ref()).await.map_err(|error| unreadable(&path, &error))?;
    if now != (size, sha256.clone()) {
        return Err(AwsError::refused(CREATE, format!("{path} has changed since it was planned; plan again")));
    }
    let send = || InParts::sent(cx, &bucket, &key, &path, (size, &sha256));
    match send().await {
        // Completed by a call whose answer was lost; or aborted by another machine, which completes its own right after.
        Err(error) if error.class == Class::NotFound => {
            let there = || async {
                Ok((checksum(&cx.aws, &cx.stack, &bucket, &key).await?.as_ref() == Some(&sha256)).then_some(()))
            };
            if until(COMPLETED, "s3:HeadObject", &key, |_| false, there).await.is_ok() {
                return Ok(());
            }
            (cx.say)(format!("the upload of s3://{bucket}/{key} was aborted from elsewhere: it is sent once more"));
            send().await
        }
        sent => sent,
    }
}

const CREATE: &str = "s3:CreateMultipartUpload";
/// How long another machine may take to complete the upload for which it has aborted ours.
const COMPLETED: Pace =
    Pace { first: Duration::from_millis(250), most: Duration::from_secs(3), within: Duration::from_secs(30) };

/// An object on its way to a bucket.
struct InParts<'a> {
    cx: &'a Acting,
    bucket: &'a str,
    key: &'a str,
    id: String,
}

impl<'a> InParts<'a> {
    /// The whole file, once.
    async fn sent(
        cx: &'a Acting,
        bucket: &'a str,
        key: &'a str,
        path: &str,
        (size, sha256): (u64, &str),
    ) -> Result<(), AwsError> {
        let buckets = &cx.aws.buckets;
        let create = |s3: &Client| {
            let create = buckets.create_multipart_upload(s3, bucket).key(key).metadata(CHECKSUM, sha256);
            // S3 completes only with checksums of the parts that are by the algorithm declared here.
            let create = create.checksum_algorithm(ChecksumAlgorithm::Sha256);
            create.metadata(STACK, name(&cx.stack)).send()
        };
        let made = buckets.call(bucket, CREATE, create).await?;
        let Some(id) = made.upload_id else { return Err(AwsError::refused(CREATE, "the answer has no upload id")) };
        let upload = Self { cx, bucket, key, id };
        let sent = upload.send(path, size).await;
        if sent.is_err() {
            // The first failure is the one to tell; parts that stay behind are said too, since they cost.
            if let Err(error) = upload.abort(&upload.id).await {
                (cx.say)(format!("parts of s3://{bucket}/{key} stay behind in upload {}: {error}", upload.id));
            }
        }
        sent
    }

    async fn send(&self, path: &str, size: u64) -> Result<(), AwsError> {
        let Self { cx, bucket, key, id } = self;
        let done: Vec<CompletedPart> = stream::iter(parts(size))
            .map(|(number, start, length)| async move {
                if *cx.stopped.borrow() {
                    let text = format!("interrupted before part {number} of {path}: apply again sends the file anew");
                    return Err(AwsError::refused("s3:UploadPart", text));
                }
                let content: Bytes = read(path, start, length).await.map_err(|error| unreadable(path, &error))?.into();
                let sum = buckets::checksum(&content);
                let send = |s3: &Client| {
                    let request = s3.upload_part().bucket(*bucket).key(*key).upload_id(id).part_number(number);
                    request.checksum_sha256(&sum).body(content.clone().into()).send()
                };
                let answer = cx.aws.buckets.call(bucket, "s3:UploadPart", send).await?;
                let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
                Ok::<_, AwsError>(part.checksum_sha256(sum).build())
            })
            .buffered(AT_ONCE / 2)
            .try_collect()
            .await?;
        // Before it is completed: whoever is killed in between sends the object again, and clears again.
        if let Err(error) = self.clear().await {
            (cx.say)(format!("parts of s3://{bucket}/{key} that an earlier apply left may stay behind: {error}"));
        }
        let done = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
        let complete = |s3: &Client| {
            let complete = s3.complete_multipart_upload().bucket(*bucket).key(*key).upload_id(id);
            complete.multipart_upload(done.clone()).send()
        };
        cx.aws.buckets.call(bucket, "s3:CompleteMultipartUpload", complete).await.map(|_| ())
    }

    /// Aborts the earlier uploads of the same object: of applies that were killed, whose parts would be billed for ever. A
    /// later one is of somebody who has begun since: of two at once, one is completed. S3 tells whole seconds.
    async fn clear(&self) -> Result<(), AwsError> {
        // The first page is enough: what has no more than the prefix for a key is listed first, by the thousand.
        let list = |s3: &Client| s3.list_multipart_uploads().bucket(self.bucket).prefix(self.key).send();
        let listed = self.cx.aws.buckets.call(self.bucket, "s3:ListMultipartUploads", list).await?;
        let same = listed.uploads().iter().filter(|upload| upload.key() == Some(self.key));
        let (own, others): (Vec<_>, Vec<_>) = same.partition(|upload| upload.upload_id() == Some(&self.id));
        let Some(begun) = own.first().and_then(|own| own.initiated()) else { return Ok(()) };
        let earlier = others.iter().filter(|other| other.initiated().is_some_and(|at| at <= begun));
        for id in earlier.filter_map(|other| other.upload_id()) {
            self.abort(id).await?;
        }
        Ok(())
    }

    async fn abort(&self, id: &str) -> Result<(), AwsError> {
        let abort = |s3: &Client| s3.abort_multipart_upload().bucket(self.bucket).key(self.key).upload_id(id).send();
        self.cx.aws.buckets.call(self.bucket, "s3:AbortMultipartUpload", abort).await.or_absent().map(drop)
    }
}

async fn read(path: &str, start: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(std::io::SeekFrom::Start(start)).await?;
    let mut content = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact(&mut content).await?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::{Facts, LocalFile};

    fn lowered(sums: [&str; 2]) -> State {
        let stack = StackInfo { buckets: [("reads".to_owned(), "lab-in".to_owned())].into(), ..StackInfo::default() };
        let names = ["fastq/a.gz", "fastq/b.gz"];
        let file = |sum: &str| LocalFile { path: format!("/data/{sum}"), size: 3, sha256: sum.to_owned() };
        let files = names.iter().zip(sums).map(|(name, sum)| ((*name).to_owned(), file(sum))).collect();
        let facts = Facts { files, ..Facts::default() };
        let files = names.map(str::to_owned).to_vec();
        let spec = Spec { bucket: Ref::new("reads"), files, prefix: "in/".to_owned() };
        Upload::lower(&at(), spec, &Context { stack: &stack, facts: &facts, sample: None }).unwrap()
    }

    fn at() -> Address {
        Address::new("upload", "reads")
    }

    #[test]
    fn only_what_differs_is_sent_and_nothing_is_deleted() {
        let want = lowered(["aa", "bb"]);
        assert_eq!(Upload::calls(&at(), None, Some(&want)).len(), 2);
        let mut live = State { from: BTreeMap::new(), ..want.clone() };
        let mut same = want.clone();
        Upload::keep(&mut same, &live);
        assert_eq!(same, live);
        live.objects.insert("in/b.gz".to_owned(), "unknown".to_owned());
        let mut kept = want.clone();
        Upload::keep(&mut kept, &live);
        let calls: Vec<_> = Upload::calls(&at(), Some(&live), Some(&kept)).iter().map(Upload::describe).collect();
        assert_eq!(calls, ["s3:PutObject s3://lab-in/in/b.gz (3 bytes)"]);
        assert!(Upload::calls(&at(), Some(&live), None).is_empty());
    }

    #[test]
    fn nothing_is_put_beside_the_runs_records() {
        let faults = |prefix: &str| {
            let files = vec!["ledger.json".to_owned()];
            Upload::check(&Spec { bucket: Ref::new("reads"), files, prefix: prefix.to_owned() }).len()
        };
        assert_eq!((faults(".seqstack/eu-west-2/lab/S1/"), faults(".seqstack"), faults("reads/")), (1, 0, 0));
    }

    proptest! {
        #[test]
        fn parts_cover_a_file_once(size in WHOLE_BYTES..(1_u64 << 42)) {
            let mut end = 0;
            let mut count = 0;
            for (number, start, length) in parts(size) {
                prop_assert_eq!(start, end);
                prop_assert!(length > 0);
                (end, count) = (start + length, number);
            }
            prop_assert_eq!(end, size);
            prop_assert!(count <= 10_000);
        }
    }
}
