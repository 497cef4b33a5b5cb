//! What a run finds: reads the ledger, the inputs and the outputs as they are now, in one wave. Never writes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use globset::{GlobBuilder, GlobMatcher};

use super::RunError;
use super::archive;
use super::ledger::{Ledger, Object, Unreadable};
use super::spec::{Globs, RunSpec};
use super::world::{Live, Read, World};
use crate::aws::{Aws, AwsError, trace};

/// A sample's run as it is in S3.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The objects that the input globs match, by bucket and key.
    pub inputs: Vec<Object>,
    /// The objects that the output globs match.
    pub outputs: Vec<Object>,
    /// The ledger, where there is one.
    pub ledger: Option<Kept>,
    /// Why what is at the ledger's place is none that can be used: then a run keeps it elsewhere and begins anew.
    pub unusable: Option<String>,
}

/// A ledger that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The ledger.
    pub ledger: Ledger,
    /// Its ETag.
    pub etag: String,
    /// How long ago it was last written, by S3's clock.
    pub age: Duration,
}

impl Kept {
    /// What was read at that place; none where there is nothing.
    pub(super) fn of(read: Read, at: &str) -> Result<Option<Self>, Unreadable> {
        let Some((body, etag, written)) = read.object else { return Ok(None) };
        let ledger = Ledger::read(&body, at)?.found(written);
        Ok(Some(Self { ledger, etag, age: age(written, read.now) }))
    }

    /// It without its lease, if the holder is known to be dead.
    #[must_use]
    pub fn bury(mut self, is_dead: impl Fn(&str) -> bool) -> Self {
        self.ledger.lease = self.ledger.lease.filter(|lease| !is_dead(&lease.holder));
        self
    }
}

/// One listing of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listing {
    /// The bucket.
    pub(crate) bucket: String,
    /// The prefix of its keys.
    pub(crate) prefix: String,
    /// Whether the prefix is a whole key, and only that key is asked for.
    pub(crate) exact: bool,
}

/// Reads them side by side: one round trip deep, pages aside.
///
/// # Errors
/// When AWS cannot be asked, or the ledger cannot be read.
pub async fn observe(aws: &Aws, spec: &RunSpec) -> Result<Observed, RunError> {
    let live = Live { aws, bucket: &spec.ledger_bucket, key: &spec.ledger_key };
    let ((inputs, outputs), read) = tokio::try_join!(objects(&live, spec), trace::branch(live.read_ledger()))?;
    let inputs = archive::look_up(aws, inputs).await?;
    let at = format!("s3://{}/{}", spec.ledger_bucket, spec.ledger_key);
    let (ledger, unusable) = match Kept::of(read, &at) {
        Ok(ledger) => (ledger, None),
        Err(source) if source.is_replaced() => (None, Some(source.to_string())),
        Err(source) => return Err(RunError::Ledger { at, source }),
    };
    Ok(Observed { inputs, outputs, ledger, unusable })
}

/// The inputs and the outputs as they are now.
pub(super) async fn objects<W: World>(world: &W, spec: &RunSpec) -> Result<(Vec<Object>, Vec<Object>), AwsError> {
    tokio::try_join!(matching(world, &spec.inputs), matching(world, &spec.outputs))
}

/// What of these is in S3 now.
///
/// # Errors
/// When S3 cannot be asked.
pub async fn written(aws: &Aws, globs: &[Globs]) -> Result<Vec<Object>, AwsError> {
    // Listing needs no ledger.
    matching(&Live { aws, bucket: "", key: "" }, globs).await
}

/// How old a thing is by the clock that dates it.
pub(super) fn age(written: jiff::Timestamp, now: jiff::Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(now.as_second() - written.as_second()).unwrap_or(0))
}

async fn matching<W: World>(world: &W, globs: &[Globs]) -> Result<Vec<Object>, AwsError> {
    let listings: BTreeSet<Listing> =
        globs.iter().flat_map(|globs| globs.keys.iter().map(|key| listing(&globs.bucket, key))).collect();
    let found = try_join_all(listings.iter().map(|listing| trace::branch(world.list(listing)))).await?;
    let matchers: Vec<(&str, GlobMatcher)> = globs
        .iter()
        .flat_map(|globs| globs.keys.iter().filter_map(|key| Some((globs.bucket.as_str(), matcher(key)?))))
        .collect();
    let literal: BTreeSet<(&str, &str)> =
        globs.iter().flat_map(|globs| globs.keys.iter().map(|key| (globs.bucket.as_str(), key.as_str()))).collect();
    let mut objects: Vec<Object> = found
        .into_iter()
        .flatten()
        .filter(|object| {
            literal.contains(&(object.bucket.as_str(), object.key.as_str()))
                || matchers.iter().any(|(bucket, glob)| *bucket == object.bucket && glob.is_match(&object.key))
        })
        // The ledger is no input and no output, whatever a glob says.
        .filter(|object| !object.key.starts_with(".seqstack/"))
        .collect();
    objects.sort_by(|a, b| (&a.bucket, &a.key).cmp(&(&b.bucket, &b.key)));
    objects.dedup_by(|a, b| a.bucket == b.bucket && a.key == b.key);
    Ok(objects)
}

/// What to list for a glob: as little as its literal start allows.
fn listing(bucket: &str, glob: &str) -> Listing {
    let literal = glob.find(['*', '?', '[', '{', '\\']);
    Listing {
        bucket: bucket.to_owned(),
        prefix: glob[..literal.unwrap_or(glob.len())].to_owned(),
        exact: literal.is_none(),
    }
}

/// A glob as it matches keys; none if it is malformed, and then only the literal key matches.
fn matcher(glob: &str) -> Option<GlobMatcher> {
    GlobBuilder::new(glob).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

/// Whether a glob matches a key.
pub(crate) fn matches(glob: &str, key: &str) -> bool {
    glob == key || matcher(glob).is_some_and(|glob| glob.is_match(key))
}

/// The globs that match none of these keys, as `s3://bucket/glob`.
pub(crate) fn unmatched<'a>(globs: &[Globs], has: impl Fn(&str, &str) -> bool + 'a) -> Vec<String> {
    globs
        .iter()
        .flat_map(|globs| globs.keys.iter().map(move |key| (&globs.bucket, key)))
        .filter(|(bucket, key)| !has(bucket, key))
        .map(|(bucket, key)| format!("s3://{bucket}/{key}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_in_its_folder_and_two_do_not() {
        assert!(matches("ref/*.fa", "ref/hs37d5.fa"));
        assert!(!matches("ref/*.fa", "ref/old/hs37d5.fa"));
        assert!(matches("ref/**/*.fa", "ref/old/hs37d5.fa"));
        assert!(matches("**", "a/b/c"));
        assert!(matches("a[1.fq", "a[1.fq"), "a malformed glob is a literal key");
    }

    #[test]
    fn a_listing_asks_for_as_little_as_it_can() {
        let of = |glob: &str| listing("b", glob);
        assert_eq!(of("ref/hs37d5.*").prefix, "ref/hs37d5.");
        assert!(!of("ref/hs37d5.*").exact);
        assert!(of("ref/hs37d5.fa").exact);
        assert_eq!(of("**/x").prefix, "");
        assert_eq!((of("{a,b}.fq").prefix.as_str(), of("a[1.fq").prefix.as_str()), ("", "a"));
        assert!(!of("a[1.fq").exact);
    }
}
