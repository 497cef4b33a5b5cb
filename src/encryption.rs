//! How what is written to buckets is encrypted, as the stack file says it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How S3 is told to encrypt what is written to a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// With S3's own keys.
    Aes256,
    /// With a key of KMS.
    Kms {
        /// Its ARN; none is the account's own key for S3, which asks for no rights.
        key: Option<String>,
    },
}

/// The encryption of the buckets that say one, by physical name.
pub type Encryptions = BTreeMap<String, Encryption>;

/// The ARNs of the KMS keys of these buckets.
pub fn keys(encryptions: &Encryptions, buckets: &[String]) -> BTreeSet<String> {
    let key = |bucket| match encryptions.get(bucket)? {
        Encryption::Kms { key } => key.clone(),
        Encryption::Aes256 => None,
    };
    buckets.iter().filter_map(key).collect()
}
