//! Builds kernel and initramfs of the test's NFS client from Debian packages: the same kernel
//! package as the appliance's, `mount` and `mount.nfs`, a shell, the core utilities and a small C compiler.
//!
//! Nothing in it is ours but `guest/init.sh`. Packages are pinned in `client-packages.lock`.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use image::{
    apt::Apt,
    closure::closure,
    debs::{Debs, Policy, unpack},
    initramfs::Tree,
    lock::{self, Package},
    modules::KernelModules,
};
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;

/// Where the packages are unpacked, in their cache.
const TREE: &str = "client-tree";
const INIT: &str = include_str!("guest/init.sh");
const PINS: &str = include_str!("../client-packages.lock");

/// Packages by name, without the kernel.
const PACKAGES: &[&str] = &[
    "bash",
    "chrony",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "iproute2",
    "kmod",
    "mount",
    "netbase",
    "nfs-common",
    "sed",
    "tar",
    "tcc",
    "util-linux",
    // Libraries of these programs.
    "libacl1",
    "libattr1",
    "libblkid1",
    "libbpf1",
    "libc6",
    "libcap2",
    "libcom-err2",
    "libelf1t64",
    "libgmp10",
    "libgssapi-krb5-2",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "liblzma5",
    "libmnl0",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "libssl3t64",
    "libsystemd0",
    "libtinfo6",
    "libtirpc-common",
    "libtirpc3t64",
    "libudev1",
    "libuuid1",
    "libxtables12",
    "libzstd1",
    "zlib1g",
    // chrony's.
    "libbsd0",
    "libedit2",
    "libffi8",
    "libgnutls30t64",
    "libhogweed6t64",
    "libidn2-0",
    "libmd0",
    "libnettle8t64",
    "libp11-kit0",
    "libseccomp2",
    "libtasn1-6",
    "libunistring5",
];

/// Programs of the client, by their path in the packages.
const PROGRAMS: &[&str] = &[
    "bash",
    "dash",
    "cmp",
    "diff",
    "find",
    "grep",
    "sed",
    "kmod",
    "mount",
    "umount",
    "flock",
    "base64",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "readlink",
    "rm",
    "rmdir",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "tcc",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "uname",
    "wc",
];

/// The same in `/usr/sbin`.
const SYSTEM_PROGRAMS: &[&str] = &["chronyd", "ip", "mount.nfs", "showmount"];

const USERS: &str = "root:x:0:0::/root:/bin/sh
tests:x:1000:1000::/:/bin/sh
nobody:x:65534:65534::/:/bin/sh
";
const GROUPS: &str = "root:x:0:
tests:x:1000:
nogroup:x:65534:
";

const MODULES: &[&str] = &["virtio_net", "nfs", "nfsv3", "virtio_rng"];

/// Kernel and initramfs, ready for QEMU.
#[derive(Clone, Debug)]
pub struct ClientImage {
    /// Debian's kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

impl ClientImage {
    /// Builds it in `out/client`, or finds it there. Packages come from the cache that the image's
    /// build uses.
    ///
    /// # Errors
    /// When a package cannot be had.
    pub fn build(workspace: &Workspace, progress: &mut dyn image::Progress) -> Result<Self> {
        let _building = workspace.building()?;
        let (folder, package_cache) = (workspace.out().join("client"), workspace.package_cache());
        let pins = lock::parse(PINS)?;
        let debs = Debs::open(&package_cache, None)?.obtain(
            &pins,
            Policy::NewestIfGone,
            &newest,
            progress,
        )?;
        let built = Self {
            kernel: folder.join("client.vmlinuz"),
            initramfs: folder.join("client.initramfs"),
        };
        let taken: Vec<Package> = debs.iter().map(|deb| deb.package.clone()).collect();
        let listed = [PROGRAMS, SYSTEM_PROGRAMS, MODULES].concat().join(" ");
        let stamp = fingerprint(&[&lock::format(&taken), INIT, &listed, USERS, GROUPS]);
        let stamp_file = folder.join("client.stamp");
        if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
            return Ok(built);
        }
        let tree = package_cache.join(TREE);
        unpack(&debs, &tree, progress)?;
        progress.step("client: building the initramfs of the NFS client");
        let modules = KernelModules::open(&tree)?;
        fs::create_dir_all(&folder)?;
        let kernel = tree.join("boot").join(format!("vmlinuz-{}", modules.release()));
        fs::copy(&kernel, &built.kernel)?;
        fs::write(&built.initramfs, contents(&tree, &modules)?.to_initramfs(0)?)?;
        fs::write(stamp_file, stamp)?;
        Ok(built)
    }

    /// This image with more programs in `/usr/bin`: static ones, as their libraries stay behind. Its
    /// initramfs is written to `file`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn with_programs(&self, programs: &[PathBuf], file: &Path) -> Result<Self> {
        let mut more = Tree::new();
        for program in programs {
            let name = program.file_name().and_then(|name| name.to_str()).context("its name")?;
            let content = fs::read(program).with_context(|| program.display().to_string())?;
            more.file(&format!("usr/bin/{name}"), 0o755, content);
        }
        self.with_files(&more, file)
    }

    /// This image with more files, or others under the same names. Its initramfs is written to `file`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn with_files(&self, more: &Tree, file: &Path) -> Result<Self> {
        // Linux unpacks one archive after the other; each begins at a multiple of four bytes.
        let mut initramfs = fs::read(&self.initramfs)?;
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        initramfs.extend(more.to_initramfs(0)?);
        fs::write(file, initramfs)?;
        Ok(Self { kernel: self.kernel.clone(), initramfs: file.to_owned() })
    }

    /// Adds drivers of the client's kernel to `files`, to be loaded at the boot with the client's own.
    ///
    /// # Errors
    /// When the kernel has none of such a name, or no client was built here.
    pub fn add_modules(workspace: &Workspace, names: &[&str], files: &mut Tree) -> Result<()> {
        let modules = KernelModules::open(&workspace.package_cache().join(TREE))?;
        add_modules(files, &modules, &[MODULES, names].concat())
    }
}

/// The newest versions of the client's packages, with the kernel that the image would take.
///
/// # Errors
/// When the mirror lacks one.
pub fn newest(apt: &Apt) -> Result<Vec<Package>> {
    let kernel = image::resolve_newest(apt)?
        .into_iter()
        .find(|package| package.name.starts_with("linux-image-"))
        .context("the image's packages hold no kernel")?;
    let mut packages = Debs::newest(apt, PACKAGES)?;
    packages.push(kernel);
    Ok(packages)
}

fn contents(tree: &Path, modules: &KernelModules) -> Result<Tree> {
    let mut files = Tree::new();
    for name in ["bin", "sbin", "lib", "lib64"] {
        files.dir(&format!("usr/{name}"));
        files.symlink(name, &format!("usr/{name}"));
    }
    for folder in ["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var"] {
        files.dir(folder);
    }
    let mut programs: Vec<String> = PROGRAMS.iter().map(|name| format!("usr/bin/{name}")).collect();
    programs.extend(SYSTEM_PROGRAMS.iter().map(|name| format!("usr/sbin/{name}")));
    let mut roots = Vec::new();
    for program in &programs {
        let file = tree.join(program);
        let content = fs::read(&file).with_context(|| format!("{program} is in no package"))?;
        files.file(program, 0o755, content);
        roots.push(file);
    }
    for (path, source) in closure(tree, &roots)? {
        let path = path.to_str().context("a library's path is text")?;
        files.file(path, 0o755, fs::read(source)?);
    }
    // The loader's name in every program.
    files.symlink("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    files.symlink("usr/bin/sh", "dash");
    for tool in ["insmod", "modprobe", "lsmod"] {
        files.symlink(&format!("usr/sbin/{tool}"), "../bin/kmod");
    }
    for table in ["etc/netconfig", "etc/protocols", "etc/services"] {
        files.file(table, 0o644, fs::read(tree.join(table)).context(table)?);
    }
    for (file, text) in [("etc/passwd", USERS), ("etc/group", GROUPS)] {
        files.file(file, 0o644, text.as_bytes().to_vec());
    }
    add_modules(&mut files, modules, MODULES)?;
    files.file("init", 0o755, INIT.as_bytes().to_vec());
    Ok(files)
}

fn add_modules(files: &mut Tree, modules: &KernelModules, names: &[&str]) -> Result<()> {
    let modules = modules.closure(names)?.files();
    files.file("modules.list", 0o644, load_order(&modules, names)?.into_bytes());
    for (path, content) in modules {
        files.file(&path, 0o644, content);
    }
    Ok(())
}

/// The paths of `names` and of what they need, one per line, in the order in which they can be
/// loaded: Debian's modprobe reads binary indices only, which depmod would have to make.
fn load_order(files: &BTreeMap<String, Vec<u8>>, names: &[&str]) -> Result<String> {
    let (path, text) = files
        .iter()
        .find(|(path, _)| path.ends_with("/modules.dep"))
        .context("a set of modules has its modules.dep")?;
    let folder = path.trim_end_matches("modules.dep");
    let text = std::str::from_utf8(text)?;
    let mut order: Vec<String> = Vec::new();
    for name in names {
        // kernel/fs/nfs/nfs.ko: kernel/fs/lockd/lockd.ko ..., to be loaded from the last to the first.
        let line = text.lines().find_map(|line| {
            let (module, needs) = line.split_once(':')?;
            let file = module.rsplit('/').next()?.replace('-', "_");
            (file == format!("{name}.ko")).then_some((module, needs))
        });
        // What has no line is built into the kernel.
        let Some((module, needs)) = line else { continue };
        for needed in needs.split_whitespace().rev().chain([module]) {
            let file = format!("/{folder}{needed}\n");
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    Ok(order.concat())
}

fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let dep = "kernel/nfs.ko: kernel/lockd.ko kernel/sunrpc.ko\nkernel/lockd.ko: kernel/sunrpc.ko\n\
                   kernel/sunrpc.ko:\n";
        let files = BTreeMap::from([("lib/6/modules.dep".to_owned(), dep.as_bytes().to_vec())]);
        let order = load_order(&files, &["builtin", "lockd", "nfs"]).unwrap();
        assert_eq!(
            order,
            "/lib/6/kernel/sunrpc.ko\n/lib/6/kernel/lockd.ko\n/lib/6/kernel/nfs.ko\n"
        );
    }

    #[test]
    fn every_package_is_pinned_and_the_kernel_is_the_appliances() {
        let pins = lock::parse(PINS).unwrap();
        for name in PACKAGES {
            assert!(pins.iter().any(|pin| pin.name == *name), "{name} is not pinned");
        }
        let kernel = |pins: &[Package]| {
            pins.iter().find(|pin| pin.name.starts_with("linux-image-")).cloned().unwrap()
        };
        assert_eq!(kernel(&pins), kernel(&lock::shipped().unwrap()));
    }
}
