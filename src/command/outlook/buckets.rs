//! What a run should know of its buckets before it starts: where they are, what they demand of its steps, and what can be
//! read in them for a while only.

use std::collections::BTreeMap;

use crate::encryption::{Encryption, Encryptions};
use crate::run::archive::restored;
use crate::run::{Observed, RunSpec};

/// Notes on a run's buckets; `elsewhere` are those in another region than the stack's.
pub(super) fn notes(
    spec: &RunSpec,
    observed: &Observed,
    elsewhere: &BTreeMap<String, String>,
    encryptions: &Encryptions,
) -> Vec<String> {
    let used = |bucket: &String| spec.inputs.iter().chain(&spec.outputs).any(|globs| globs.bucket == *bucket);
    let far = elsewhere.iter().filter(|(bucket, _)| used(bucket)).map(|(bucket, region)| {
        let home = &spec.region;
        format!("the bucket {bucket} is in {region}, and the stack in {home}: AWS bills what is sent between regions")
    });
    let steps = spec.steps.iter().filter_map(|step| {
        let (bucket, encryption) = unsaid(step.content.command.as_deref()?, encryptions)?;
        let option = match encryption {
            Encryption::Aes256 => "--sse AES256".to_owned(),
            Encryption::Kms { key: None } => "--sse aws:kms".to_owned(),
            Encryption::Kms { key: Some(key) } => format!("--sse aws:kms --sse-kms-key-id {key}"),
        };
        Some(format!(
            "step {} writes to s3://{bucket} without {option}: a bucket that demands the `encryption` of its [bucket.…] refuses that",
            step.name
        ))
    });
    restored(&observed.inputs).into_iter().chain(far).chain(steps).collect()
}

/// The bucket that an `aws s3` command writes to without saying the encryption that the stack file gives the bucket.
fn unsaid<'a>(command: &'a [String], encryptions: &'a Encryptions) -> Option<(&'a str, &'a Encryption)> {
    let verb = command.windows(2).position(|two| two[0] == "s3" && matches!(two[1].as_str(), "cp" | "mv" | "sync"))?;
    let mut places = command[verb + 2..].iter().filter(|word| !word.starts_with("--"));
    let to = places.nth(1)?.strip_prefix("s3://")?;
    let bucket = to.split('/').next().unwrap_or(to);
    let says = command.iter().any(|word| word == "--sse" || word.starts_with("--sse="));
    let encryption = encryptions.get(bucket).filter(|_| !says)?;
    Some((bucket, encryption))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_writes_says_the_encryption_too() {
        let encryptions = Encryptions::from([("out".to_owned(), Encryption::Aes256)]);
        let finds = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            unsaid(&words, &encryptions).map(|(bucket, _)| bucket.to_owned())
        };
        assert_eq!(finds("s3 cp --recursive /data s3://out/S1 --exclude *"), Some("out".to_owned()));
        assert_eq!(finds("aws s3 sync /data s3://out"), Some("out".to_owned()));
        for fine in [
            "s3 cp /data s3://out/S1 --sse AES256",
            "s3 sync s3://out /data",
            "s3 cp s3://out/a s3://other/a",
            "s3 ls s3://out",
            "bwa mem s3://out",
        ] {
            assert_eq!(finds(fine), None, "{fine}");
        }
    }
}
