//! Objects that are there and cannot be read: those that S3 has archived.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::ObjectStorageClass;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::ledger::Object;
use crate::aws::trace::branch;
use crate::aws::{Aws, AwsError};

/// Where S3 keeps an object, as far as reading it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shelf {
    /// At hand.
    #[default]
    AtHand,
    /// Archived, in this storage class or tier: it cannot be read before it is restored.
    Archived(String),
    /// Archived in this storage class, with a copy that can be read until then.
    Restored(String, Option<Timestamp>),
    /// In `INTELLIGENT_TIERING`: whether it has come to an archive tier, only HeadObject says.
    Tiered,
}

/// An object comes to an archive tier of `INTELLIGENT_TIERING` when nobody has read it for so long at the least (S3 user
/// guide, "S3 Intelligent-Tiering"); what was written since needs no question.
const TIERED_AFTER: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How many questions about objects are under way at once.
const AT_ONCE: usize = 16;

impl Shelf {
    /// As a listing tells it. `GLACIER_IR` and the classes for what is read seldom are read at once.
    pub(super) fn of(object: &aws_sdk_s3::types::Object) -> Self {
        let class = match object.storage_class() {
            Some(ObjectStorageClass::IntelligentTiering) => return Self::Tiered,
            Some(class @ (ObjectStorageClass::Glacier | ObjectStorageClass::DeepArchive)) => class.as_str().to_owned(),
            _ => return Self::AtHand,
        };
        match object.restore_status() {
            Some(status) if status.is_restore_in_progress() == Some(true) => {
                Self::Archived(format!("{class}, its restoration is under way"))
            }
            Some(status) if status.restore_expiry_date().is_some() => {
                Self::Restored(class, crate::aws::clock::timestamp(status.restore_expiry_date()))
            }
            _ => Self::Archived(class),
        }
    }
}

/// Finds out which of the objects in `INTELLIGENT_TIERING` are archived.
///
/// # Errors
/// When S3 cannot be asked.
pub(super) async fn look_up(aws: &Aws, objects: Vec<Object>) -> Result<Vec<Object>, AwsError> {
    let now = aws.clock.now();
    let asked = |object: &Object| {
        let young = |at: Timestamp| now.duration_since(at) < TIERED_AFTER;
        object.shelf == Shelf::Tiered && !object.last_modified.is_some_and(young)
    };
    stream::iter(objects)
        .map(|mut object| {
            branch(async move {
                if asked(&object) {
                    let head = |s3: &Client| s3.head_object().bucket(&object.bucket).key(&object.key).send();
                    let found = aws.buckets.call(&object.bucket, "s3:HeadObject", head).await?;
                    let restored = found.restore().is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
                    let tier = found.archive_status().filter(|_| !restored).map(|tier| tier.as_str().to_owned());
                    object.shelf = tier.map_or(Shelf::AtHand, Shelf::Archived);
                }
                Ok(object)
            })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Those that cannot be read, each with why: `s3://lab-in/S1.fq (GLACIER)`.
pub fn archived(objects: &[Object]) -> Vec<String> {
    let of = |object: &Object| match &object.shelf {
        Shelf::Archived(class) => Some(format!("s3://{}/{} ({class})", object.bucket, object.key)),
        _ => None,
    };
    objects.iter().filter_map(of).collect()
}

/// Notes on those that can be read for a while only. The AWS CLI takes no notice of a restoration when it copies by
/// listings (aws-cli, `is_glacier_compatible`).
pub fn restored(objects: &[Object]) -> Vec<String> {
    let of = |object: &Object| match &object.shelf {
        Shelf::Restored(class, until) => {
            let until = until.map_or_else(|| "for a while".to_owned(), |until| format!("until {until:.0}"));
            Some(format!(
                "input s3://{}/{} is restored from {class} {until}: `aws s3 sync` and `cp --recursive` skip it without --force-glacier-transfer",
                object.bucket, object.key
            ))
        }
        _ => None,
    };
    objects.iter().filter_map(of).collect()
}
