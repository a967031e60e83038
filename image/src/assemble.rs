//! The build from inputs to disk image, step by step, and the stamp that skips it when nothing
//! has changed.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::cmdline::cmdline;
use crate::debs::{self, Debs, Policy, hex, remove_dir, sha256_file};
use crate::grub::{self, Grub};
use crate::initramfs::{Entry, Tree};
use crate::kernel::{Kernel, ROOT_MODULES, STAGE1_MODULES};
use crate::lock;
use crate::manifest::Manifest;
use crate::packages::resolve_newest;
use crate::plan::{self, Role, Slot};
use crate::progress::{Progress, human};
use crate::update::{self, UpdateParts};
use crate::{esp, gpt, rootfs, squashfs, uki, verity};

/// Times in the image when `SOURCE_DATE_EPOCH` is not set: 2025-01-01.
const DEFAULT_EPOCH: u32 = 1_735_689_600;
/// Zero blocks of this size are left out of the sparse image.
const SPARSE_BLOCK_BYTES: usize = 1 << 16;
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The oldest version that may take this one's place, and that this one reads the settings of: raised by
/// a version that mends a hole, or that writes what older ones do not read.
pub const OLDEST: &str = "0.1.0";
/// Public keys of whoever may sign updates, where a build names no others.
const UPDATE_KEYS: &str = include_str!("../update-keys");
/// A root file system beyond this size leaves too little of its slot for the next versions.
const ROOT_BYTES_MAX: u64 = 60 << 20;

/// What to build from, and where to.
#[derive(Debug, Clone)]
pub struct BuildInputs {
    /// The gateway's binary, linked against glibc (at most Debian 13's).
    pub gateway: PathBuf,
    /// init's binary, static.
    pub init: PathBuf,
    /// The image to write, for example `out/tidegate.img`.
    pub out: PathBuf,
    /// Where packages and intermediate files are kept between builds.
    pub cache_dir: PathBuf,
    /// URI of a Debian mirror (see [`crate::mirror::Mirror::find`]); without it the machine's own.
    pub mirror: Option<String>,
    /// Fail when a pinned package has gone from the mirror, instead of taking a newer one.
    pub locked: bool,
    /// What to call the version; the product's own without it.
    pub version: Option<String>,
    /// A file of public keys, as `image/update-keys`, which counts without it.
    pub update_keys: Option<PathBuf>,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// The disk image (raw, sparse).
    pub image: PathBuf,
    /// The manifest, beside it.
    pub manifest: PathBuf,
    /// The update to this version, beside it; unsigned.
    pub update: PathBuf,
    /// SHA-256 of the image, hex.
    pub sha256: String,
    /// Whether the image was there already and nothing had changed.
    pub was_current: bool,
}

/// Builds the image, or finds it current.
///
/// The image appears under its name only when complete.
///
/// # Errors
/// When an input is missing, a package cannot be had, or the disk is full; messages say which.
pub fn build(inputs: &BuildInputs, progress: &mut dyn Progress) -> Result<BuildReport> {
    let epoch = source_date_epoch()?;
    let store = Debs::open(&inputs.cache_dir, inputs.mirror.clone())?;
    // One build at a time in a cache; the lock goes with the file.
    let lock = File::create(inputs.cache_dir.join("build.lock"))?;
    lock.lock().context("cannot lock the cache folder")?;
    let policy = if inputs.locked { Policy::Locked } else { Policy::NewestIfGone };
    let debs = store.obtain(&lock::shipped()?, policy, &resolve_newest, progress)?;
    let packages: Vec<lock::Package> = debs.iter().map(|deb| deb.package.clone()).collect();

    let version = inputs.version.as_deref().unwrap_or(VERSION);
    let update_keys = match &inputs.update_keys {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        None => UPDATE_KEYS.to_owned(),
    };
    update::check_keys(&update_keys)?;
    let stamp = stamp(inputs, &packages, epoch, version, &update_keys)?;
    let stamp_file = inputs.out.with_extension("img.stamp");
    let manifest_file = inputs.out.with_extension("manifest.json");
    let update_file = inputs.out.with_extension("update");
    if let Some(report) = current(inputs, &stamp, &stamp_file, &manifest_file, &update_file) {
        progress.step(&format!("image: {} is current", inputs.out.display()));
        return Ok(report);
    }

    let tree = inputs.cache_dir.join("debian");
    debs::unpack(&debs, &tree, progress)?;
    let work = inputs.cache_dir.join("work");
    remove_dir(&work)?;
    std::fs::create_dir_all(&work)?;
    if let Some(folder) = inputs.out.parent() {
        std::fs::create_dir_all(folder)?;
    }

    progress.step("image: staging the root file system");
    let kernel = Kernel::open(&tree)?;
    let root = work.join("root");
    let os_release = rootfs::os_release(version);
    let modules = kernel.modules.closure(ROOT_MODULES)?;
    rootfs::stage(
        &rootfs::Sources {
            tree: &tree,
            packages: &packages,
            init: &inputs.init,
            gateway: &inputs.gateway,
            modules: &modules,
            os_release: &os_release,
            update_keys: &update_keys,
            oldest: OLDEST,
        },
        &root,
    )?;
    let files = rootfs::file_hashes(&root)?;
    progress.note(&format!("{} files, {} kernel modules", files.len(), modules.len()));

    progress.step("image: packing it (squashfs, zstd)");
    let root_image = squashfs::pack(&tree, &root, &work.join("root.squashfs"), epoch)?;
    let verity = verity::tree(&root_image)?;
    progress.note(&format!(
        "root {} + hash tree {}, root hash {}",
        human(size(&root_image)),
        human(size(&verity.hashes)),
        verity.root_hash_hex()
    ));

    ensure!(
        size(&root_image) + size(&verity.hashes) <= ROOT_BYTES_MAX,
        "the root file system has {}, and {} are what its slot has room for",
        human(size(&root_image) + size(&verity.hashes)),
        human(ROOT_BYTES_MAX)
    );

    progress.step("image: initramfs and kernel");
    let initramfs = initramfs(&kernel, inputs, version, epoch)?;
    let slot = Slot::A;
    let cmdline = cmdline(&verity);
    let boot = tree.join("usr/lib/systemd/boot/efi");
    let stub = read(&boot.join("linuxx64.efi.stub"))?;
    let unified = uki::build(&uki::Parts {
        stub: &stub,
        os_release: &rootfs::boot_title(version),
        cmdline: &cmdline,
        uname: kernel.modules.release(),
        initrd: &initramfs,
        linux: &kernel.image,
    })?;
    progress.note(&format!(
        "kernel {} {}, initramfs {}, unified kernel image {}",
        kernel.modules.release(),
        human(size(&kernel.image)),
        human(size(&initramfs)),
        human(size(&unified.bytes))
    ));

    progress.step("image: boot loaders and partitions");
    let grub = Grub::build(&tree, &work)?;
    let letter = slot.letter();
    let mut esp_files = vec![
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), read(&boot.join("systemd-bootx64.efi"))?),
        (format!("EFI/Linux/tidegate_0_{letter}.efi"), unified.bytes.clone()),
        ("loader/loader.conf".to_owned(), b"timeout 0\neditor no\nconsole-mode keep\n".to_vec()),
        (format!("vmlinuz-{letter}"), kernel.image.clone()),
        (format!("initrd-{letter}"), initramfs),
    ];
    esp_files.extend(grub::esp_files(slot, &cmdline));
    let esp = esp::build(plan::partition(Role::Esp).size(), &esp_files)?;

    let partial = inputs.out.with_extension("img.partial");
    write_disk(
        &partial,
        grub.boot_code,
        &[
            (Role::BiosBoot, &[&grub.core]),
            (Role::Esp, &[&esp]),
            (Role::Root(slot), &[&root_image, &verity.hashes]),
        ],
    )?;
    let sha256 = sha256_file(&partial)?;
    let manifest = Manifest {
        version: version.to_owned(),
        image_sha256: sha256.clone(),
        source_date_epoch: epoch,
        kernel: kernel.modules.release().to_owned(),
        cmdline: cmdline.clone(),
        root_hash: verity.root_hash_hex(),
        packages,
        files,
    };
    if stamp_file.exists() {
        std::fs::remove_file(&stamp_file)?;
    }
    std::fs::write(&manifest_file, manifest.to_json()?)?;
    update::write(
        &update_file,
        &UpdateParts {
            version,
            oldest: OLDEST,
            root: &[root_image.as_slice(), verity.hashes.as_slice()].concat(),
            efi: &unified.bytes,
            kernel: unified.linux,
            initrd: unified.initrd,
            cmdline: &cmdline,
        },
        epoch,
    )?;
    std::fs::rename(&partial, &inputs.out)?;
    std::fs::write(&stamp_file, format!("{stamp} {sha256}\n"))?;
    progress.note(&format!(
        "{}: {}, SHA-256 {sha256}",
        inputs.out.display(),
        human(plan::disk_bytes())
    ));
    let image = inputs.out.clone();
    let (manifest, update) = (manifest_file, update_file);
    Ok(BuildReport { image, manifest, update, sha256, was_current: false })
}

fn initramfs(kernel: &Kernel, inputs: &BuildInputs, version: &str, epoch: u32) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for dir in ["dev", "proc", "sys", "run", "newroot"] {
        tree.dir(dir);
    }
    tree.add("dev/console", Entry::CharDevice { mode: 0o600, major: 5, minor: 1 });
    tree.symlink("lib", "usr/lib");
    // Tells init that it is in stage 1 (os-release(5), initrd-release).
    tree.file("etc/initrd-release", 0o644, rootfs::os_release(version).into_bytes());
    tree.file("init", 0o755, read(&inputs.init)?);
    for (path, content) in kernel.modules.closure(STAGE1_MODULES)?.files() {
        tree.file(&path, 0o644, content);
    }
    tree.to_initramfs(epoch)
}

fn write_disk(path: &Path, boot_code: [u8; 440], contents: &[(Role, &[&Vec<u8>])]) -> Result<()> {
    let mut disk = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    disk.set_len(plan::disk_bytes())?;
    gpt::write(&mut disk, boot_code)?;
    for (role, parts) in contents {
        let partition = plan::partition(*role);
        let total: u64 = parts.iter().map(|part| size(part)).sum();
        ensure!(
            total <= partition.size(),
            "{} needs {} but its partition has {}",
            partition.name,
            human(total),
            human(partition.size())
        );
        let mut position = partition.start;
        for part in *parts {
            for block in part.chunks(SPARSE_BLOCK_BYTES) {
                if block.iter().any(|byte| *byte != 0) {
                    disk.seek(SeekFrom::Start(position))?;
                    disk.write_all(block)?;
                }
                position += size(block);
            }
        }
    }
    disk.sync_all()?;
    Ok(())
}

/// A hash of everything that decides the image's bytes.
fn stamp(
    inputs: &BuildInputs,
    packages: &[lock::Package],
    epoch: u32,
    version: &str,
    update_keys: &str,
) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(env!("IMAGE_RECIPE_SHA256"));
    for text in [version, update_keys] {
        hash.update(size(text.as_bytes()).to_le_bytes());
        hash.update(text);
    }
    hash.update(epoch.to_le_bytes());
    hash.update(lock::format(packages));
    for binary in [&inputs.gateway, &inputs.init] {
        hash.update(sha256_file(binary)?);
    }
    Ok(hex(&hash.finalize()))
}

fn current(
    inputs: &BuildInputs,
    stamp: &str,
    stamp_file: &Path,
    manifest: &Path,
    update: &Path,
) -> Option<BuildReport> {
    let text = std::fs::read_to_string(stamp_file).ok()?;
    let (built_from, sha256) = text.trim().split_once(' ')?;
    let is_whole = std::fs::metadata(&inputs.out).ok()?.len() == plan::disk_bytes();
    (built_from == stamp && is_whole && manifest.exists() && update.exists()).then(|| BuildReport {
        image: inputs.out.clone(),
        manifest: manifest.to_path_buf(),
        update: update.to_path_buf(),
        sha256: sha256.to_owned(),
        was_current: true,
    })
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org), or a fixed time.
fn source_date_epoch() -> Result<u32> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {text}, not seconds since 1970")),
        Err(_) => Ok(DEFAULT_EPOCH),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a usize has at most 64 bits here")
}
