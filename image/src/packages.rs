//! Which Debian packages the image is made of, and how their newest versions are found.

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::debs::Debs;
use crate::lock::Package;

/// The package that always depends on the newest kernel of the kind that the image runs: built
/// for virtual machines, so with PVSCSI, VMXNET3, virtio and NVMe but little else.
pub const KERNEL_META: &str = "linux-image-cloud-amd64";

/// Packages by name, without the kernel. Libraries are listed only when a program in the image
/// needs them; a new need shows as an error of [`crate::closure`] that names the library.
pub const PACKAGES: &[&str] = &[
    // Programs of the image: journald and journalctl, chronyd, mkfs.xfs and friends, mke2fs, date,
    // vmtoolsd.
    "chrony",
    "coreutils",
    "e2fsprogs",
    "open-vm-tools",
    "systemd",
    "xfsprogs",
    // Data of the image.
    "ca-certificates",
    "tzdata",
    // Tools that build it: they run on the host through the tree's own loader.
    "grub-common",
    "grub-pc-bin",
    "squashfs-tools",
    "systemd-boot-efi",
    // Libraries of all of these.
    "libacl1",
    "libapparmor1",
    "libatomic1",
    "libattr1",
    "libaudit1",
    "libblkid1",
    "libbsd0",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcom-err2",
    "libcrypt1",
    "libdevmapper1.02.1",
    "libedit2",
    "libext2fs2t64",
    "libffi8",
    "libgcc-s1",
    "libgcrypt20",
    "libglib2.0-0t64",
    "libgmp10",
    "libgnutls30t64",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libhogweed6t64",
    "libidn2-0",
    "libinih1",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "liblz4-1",
    "liblzma5",
    "liblzo2-2",
    "libmd0",
    "libmount1",
    "libnettle8t64",
    "libp11-kit0",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libss2",
    "libssl3t64",
    "libsystemd-shared",
    "libsystemd0",
    "libtasn1-6",
    "libtinfo6",
    "libtirpc3t64",
    "libunistring5",
    "liburcu8t64",
    "libuuid1",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
];

/// The newest version of every package of the image, kernel included.
///
/// # Errors
/// When the mirror does not know one of them.
pub fn resolve_newest(apt: &Apt) -> Result<Vec<Package>> {
    let meta = apt.offers(&[KERNEL_META])?;
    let kernel = meta
        .first()
        .and_then(|offer| {
            offer.depends.split([',', ' ']).find(|word| word.starts_with("linux-image-"))
        })
        .with_context(|| format!("the mirror's {KERNEL_META} names no kernel package"))?;
    let mut names = PACKAGES.to_vec();
    names.push(kernel);
    Debs::newest(apt, &names)
}
