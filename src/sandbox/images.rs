//! The AMIs that the sandbox knows, shared by SSM's public parameters and EC2's DescribeImages.

/// An AMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ami {
    /// The public parameter that holds its id.
    pub parameter: &'static str,
    /// `ami-…`
    pub id: &'static str,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The device of its root volume.
    pub root_device: &'static str,
    /// When it was published.
    pub created: &'static str,
    /// Its root volume, GiB.
    pub root_gib: u32,
}

/// All of them.
pub const AMIS: &[Ami] = &[
    Ami {
        parameter: "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
        id: "ami-0ec52023000000086",
        architecture: "x86_64",
        name: "al2023-ami-ecs-hvm-2023.0.20260101-kernel-6.1-x86_64",
        root_device: "/dev/xvda",
        created: "2026-01-01T00:00:00.000Z",
        root_gib: 30,
    },
    Ami {
        parameter: "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
        id: "ami-0ec52023000000064",
        architecture: "arm64",
        name: "al2023-ami-ecs-hvm-2023.0.20260101-kernel-6.1-arm64",
        root_device: "/dev/xvda",
        created: "2026-01-01T00:00:00.000Z",
        root_gib: 30,
    },
];

/// The AMI of this id.
pub fn by_id(id: &str) -> Option<&'static Ami> {
    AMIS.iter().find(|ami| ami.id == id)
}
