//! The machine images that the sandbox knows: the ECS-optimised ones, by their public parameter and by their id.

/// An AMI, and the SSM public parameter that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The public parameter whose value is the id.
    pub parameter: &'static str,
    /// `ami-…`
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// The device name of its root volume.
    pub root_device: &'static str,
    /// The snapshot that its root volume is made from.
    pub snapshot: &'static str,
    /// The size of that snapshot, GiB: no root volume is smaller.
    pub size_gib: i64,
    /// When it was made.
    pub created: &'static str,
}

/// Amazon's account for the ECS-optimised images.
pub const OWNER: &str = "591542846629";

/// All of them.
pub const IMAGES: &[Image] = &[
    Image {
        parameter: "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
        id: "ami-0e5c1b7d9a3f82460",
        name: "al2023-ami-ecs-hvm-2023.0.20250610-kernel-6.1-x86_64",
        architecture: "x86_64",
        root_device: "/dev/xvda",
        snapshot: "snap-0b4f6d1c8e2a97351",
        size_gib: 30,
        created: "2025-06-10T00:52:11.000Z",
    },
    Image {
        parameter: "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
        id: "ami-07d2a9c4f6b1e8035",
        name: "al2023-ami-ecs-hvm-2023.0.20250610-kernel-6.1-arm64",
        architecture: "arm64",
        root_device: "/dev/xvda",
        snapshot: "snap-04c8e1f7a3d592b60",
        size_gib: 30,
        created: "2025-06-10T00:52:13.000Z",
    },
];

/// The image of this id.
pub fn by_id(id: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.id == id)
}

/// The image that this public parameter names.
pub fn by_parameter(name: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.parameter == name)
}
