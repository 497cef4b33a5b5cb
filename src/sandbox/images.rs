//! The machine images that the sandbox knows: the ECS-optimised ones, by their public parameter and by their id.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::regions::{REGIONS, id_in};

/// An AMI, and the SSM public parameter that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The public parameter whose value is the id.
    pub parameter: &'static str,
    /// `ami-…`.
    pub id: String,
    /// Its name.
    pub name: &'static str,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// The device name of its root volume.
    pub root_device: &'static str,
    /// The snapshot that its root volume is made from.
    pub snapshot: String,
    /// The size of that snapshot, GiB: no root volume is smaller.
    pub size_gib: i64,
    /// When it was made.
    pub created: &'static str,
}

/// Amazon's account for the ECS-optimised images.
pub const OWNER: &str = "591542846629";

/// The public parameter, the id and the snapshot as they are in `eu-west-2`, the name, the architecture, and when it was made.
const KINDS: [[&str; 6]; 2] = [
    [
        "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
        "ami-0e5c1b7d9a3f82460",
        "snap-0b4f6d1c8e2a97351",
        "al2023-ami-ecs-hvm-2023.0.20250610-kernel-6.1-x86_64",
        "x86_64",
        "2025-06-10T00:52:11.000Z",
    ],
    [
        "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
        "ami-07d2a9c4f6b1e8035",
        "snap-04c8e1f7a3d592b60",
        "al2023-ami-ecs-hvm-2023.0.20250610-kernel-6.1-arm64",
        "arm64",
        "2025-06-10T00:52:13.000Z",
    ],
];

static IMAGES: LazyLock<BTreeMap<&'static str, Vec<Image>>> = LazyLock::new(|| {
    REGIONS.iter().map(|(region, _)| (*region, KINDS.iter().map(|kind| made(region, kind)).collect())).collect()
});

fn made(region: &str, [parameter, id, snapshot, name, architecture, created]: &[&'static str; 6]) -> Image {
    Image {
        parameter,
        id: id_in(region, id),
        name,
        architecture,
        root_device: "/dev/xvda",
        snapshot: id_in(region, snapshot),
        size_gib: 30,
        created,
    }
}

/// The images of a region.
pub fn of(region: &str) -> &'static [Image] {
    IMAGES.get(region).map_or(&[], Vec::as_slice)
}

/// The image of this id in a region.
pub fn by_id(region: &str, id: &str) -> Option<&'static Image> {
    of(region).iter().find(|image| image.id == id)
}

/// The image that this public parameter names in a region.
pub fn by_parameter(region: &str, name: &str) -> Option<&'static Image> {
    of(region).iter().find(|image| image.parameter == name)
}
