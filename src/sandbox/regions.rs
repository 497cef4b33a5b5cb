//! The regions that an account has from the beginning, each with its zones.
//!
//! Regions that an account must enable first are enabled in no sandbox, and refused like those that do not exist.
//! <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>

use sha2::{Digest, Sha256};

/// The region whose AMIs, subnets and VPC have the ids that this source says; those of other regions are made of them.
const WRITTEN: &str = "eu-west-2";

/// Each region with the letters of its zones.
pub const REGIONS: &[(&str, &str)] = &[
    ("ap-northeast-1", "acd"),
    ("ap-northeast-2", "abcd"),
    ("ap-northeast-3", "abc"),
    ("ap-south-1", "abc"),
    ("ap-southeast-1", "abc"),
    ("ap-southeast-2", "abc"),
    ("ca-central-1", "abd"),
    ("eu-central-1", "abc"),
    ("eu-north-1", "abc"),
    ("eu-west-1", "abc"),
    ("eu-west-2", "abc"),
    ("eu-west-3", "abc"),
    ("sa-east-1", "abc"),
    ("us-east-1", "abcdef"),
    ("us-east-2", "abc"),
    ("us-west-1", "ac"),
    ("us-west-2", "abcd"),
];

/// Whether the account has this region.
pub fn is_enabled(region: &str) -> bool {
    REGIONS.iter().any(|(name, _)| *name == region)
}

/// The letters of a region's zones.
pub fn zone_letters(region: &str) -> impl Iterator<Item = char> {
    REGIONS.iter().find(|(name, _)| *name == region).map_or("", |(_, letters)| letters).chars()
}

/// A region's id for what has this one in the region that the source writes of: `ami-…` of one image, say.
pub fn id_in(region: &str, id: &str) -> String {
    if region == WRITTEN {
        return id.to_owned();
    }
    let (kind, _) = id.rsplit_once('-').unwrap_or((id, ""));
    let digest = hex::encode(Sha256::digest(format!("{region} {id}").as_bytes()));
    format!("{kind}-0{}", &digest[..16])
}
