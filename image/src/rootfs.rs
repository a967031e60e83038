//! The root file system's tree: what is in it and where. No shell, no interpreter.
//!
//! The tree is staged in a folder; owners and times are set when it is packed. It is mounted
//! read-only: what must change is a link into /run or a mount point.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::closure;
use crate::copyright;
use crate::debs::{hex, remove_dir};
use crate::host::run;
use crate::lock::{self, Package};
use crate::modules::ModuleSet;

/// Programs taken from Debian's packages, by their path in tree and image.
const PROGRAMS: [&str; 11] = [
    "usr/lib/systemd/systemd-journald",
    "usr/bin/journalctl",
    "usr/bin/date",
    "usr/bin/chronyc",
    "usr/sbin/chronyd",
    "usr/sbin/mkfs.xfs",
    "usr/sbin/xfs_repair",
    "usr/sbin/xfs_growfs",
    "usr/sbin/mke2fs",
    "usr/sbin/e2fsck",
    "usr/bin/vmtoolsd",
];

/// Libraries that programs open by name: compression for journald (libsystemd-shared); name look-up by
/// glibc (`files` and `dns` are inside libc itself since 2.34); of VMware's tools what tells the host
/// addresses and name, and what shuts down. Without the others the host can neither run programs here
/// nor reach files.
const OPENED_BY_NAME: [&str; 5] = [
    "usr/lib/x86_64-linux-gnu/libzstd.so.1",
    "usr/lib/x86_64-linux-gnu/liblz4.so.1",
    "usr/lib/x86_64-linux-gnu/liblzma.so.5",
    "usr/lib/x86_64-linux-gnu/open-vm-tools/plugins/vmsvc/libguestInfo.so",
    "usr/lib/x86_64-linux-gnu/open-vm-tools/plugins/vmsvc/libpowerOps.so",
];

/// Folders that exist and are empty: mount points, and what services write below.
const EMPTY_DIRS: [&str; 12] = [
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "var",
    "cache",
    "cache-disks",
    "config",
    "root",
    "mnt",
    // VMware's tools look into it and take its lack for a failure.
    "usr/lib/x86_64-linux-gnu/open-vm-tools/plugins/common",
];

/// Text files of the image.
const TEXTS: [(&str, &str); 11] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         gateway:x:800:800:Tidegate gateway:/:/usr/sbin/nologin\n\
         chrony:x:801:801:time keeping:/:/usr/sbin/nologin\n\
         console:x:802:802:console menu:/:/usr/sbin/nologin\n\
         systemd-journal:x:999:999::/:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    (
        "etc/group",
        "root:x:0:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\ngateway:x:800:\nchrony:x:801:\n\
         console:x:802:\nsystemd-journal:x:999:\nnogroup:x:65534:\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/protocols",
        "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\nipv6-icmp 58 IPv6-ICMP\n",
    ),
    (
        "etc/services",
        "domain 53/tcp\ndomain 53/udp\nsunrpc 111/tcp\nsunrpc 111/udp\nntp 123/udp\n\
         https 443/tcp\nnfs 2049/tcp\n",
    ),
    ("etc/host.conf", "multi on\n"),
    // Empty in the image: init mounts the machine's own identity over it.
    ("etc/machine-id", ""),
    (
        "etc/systemd/journald.conf",
        "[Journal]\nStorage=auto\nSystemMaxUse=16M\nRuntimeMaxUse=16M\nAudit=no\n\
         ReadKMsg=yes\nForwardToConsole=no\nForwardToSyslog=no\nForwardToWall=no\n",
    ),
    // No scripts: the orderly end is init's. Their names are empty, or the defaults would be run.
    (
        "etc/vmware-tools/tools.conf",
        "[logging]\nlog=true\nenableCoreDump=false\nvmsvc.level=warning\nvmsvc.handler=syslog\n\
         [powerops]\npoweron-script=\npoweroff-script=\nsuspend-script=\nresume-script=\n",
    ),
    // Nothing is mounted by it; tools that read it find nothing.
    ("etc/fstab", ""),
];

/// Links, by path and target.
const LINKS: [(&str, &str); 11] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    // init, under the names by which VMware's tools end the machine (`init/src/power.rs`). It is no
    // shell.
    ("usr/sbin/shutdown", "init"),
    ("usr/bin/sh", "../sbin/init"),
    ("etc/localtime", "/run/etc/localtime"),
    ("etc/resolv.conf", "/run/etc/resolv.conf"),
    ("etc/hostname", "/run/etc/hostname"),
    ("etc/os-release", "../usr/lib/os-release"),
    ("etc/mtab", "../proc/self/mounts"),
];

/// What the tree is made from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    /// Unpacked Debian packages.
    pub(crate) tree: &'a Path,
    /// What they are.
    pub(crate) packages: &'a [Package],
    /// Static init.
    pub(crate) init: &'a Path,
    /// The gateway.
    pub(crate) gateway: &'a Path,
    /// Kernel modules.
    pub(crate) modules: &'a ModuleSet,
    /// os-release text.
    pub(crate) os_release: &'a str,
    /// Public keys of whoever may sign updates, as text.
    pub(crate) update_keys: &'a str,
    /// The oldest version that may follow this one.
    pub(crate) oldest: &'a str,
}

/// Stages the tree in `root`, which is emptied first.
pub(crate) fn stage(sources: &Sources<'_>, root: &Path) -> Result<()> {
    remove_dir(root)?;
    for dir in EMPTY_DIRS {
        std::fs::create_dir_all(root.join(dir))?;
    }
    let staging = Staging { tree: sources.tree, root };
    staging.programs(sources)?;
    for (path, content) in TEXTS {
        staging.write(path, content.as_bytes())?;
    }
    for (path, content) in sources.modules.files() {
        staging.write(&path, &content)?;
    }
    staging.write("usr/lib/os-release", sources.os_release.as_bytes())?;
    staging.write("usr/share/tidegate/packages", lock::format(sources.packages).as_bytes())?;
    staging.write("usr/lib/tidegate/update-keys", sources.update_keys.as_bytes())?;
    staging.write("usr/lib/tidegate/oldest-version", sources.oldest.as_bytes())?;
    let mke2fs_conf = "etc/mke2fs.conf";
    staging.copy(&sources.tree.join(mke2fs_conf), mke2fs_conf, 0o644)?;
    staging.certificates()?;
    staging.zones()?;
    for (path, source) in copyright::files(sources.tree, sources.packages)? {
        staging.copy(&source, path, 0o644)?;
    }
    for (path, target) in LINKS {
        let link = root.join(path);
        if let Some(parent) = link.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(target, &link)
            .with_context(|| format!("cannot make the link {path}"))?;
    }
    Ok(())
}

struct Staging<'a> {
    tree: &'a Path,
    root: &'a Path,
}

impl Staging<'_> {
    fn programs(&self, sources: &Sources<'_>) -> Result<()> {
        self.copy(sources.init, "usr/sbin/init", 0o755)?;
        self.copy(sources.gateway, "usr/bin/gateway", 0o755)?;
        // Line tables would triple the binary; function names stay for backtraces.
        run(Command::new("strip").arg("--strip-debug").arg(self.root.join("usr/bin/gateway")))
            .context("cannot strip the gateway's binary")?;
        let mut roots = vec![sources.gateway.to_path_buf()];
        for program in PROGRAMS {
            let source = self.tree.join(program);
            self.copy(&source, program, 0o755)?;
            roots.push(source);
        }
        for library in OPENED_BY_NAME {
            let source = self.tree.join(library);
            self.copy(&source, library, 0o755)?;
            roots.push(source);
        }
        for (path, source) in closure::closure(self.tree, &roots)? {
            self.copy(&source, &path, 0o755)?;
        }
        // The loader's name that is written into every program.
        let loader = "usr/lib64/ld-linux-x86-64.so.2";
        if !self.root.join(loader).exists() {
            self.copy(&self.tree.join(loader), loader, 0o755)?;
        }
        Ok(())
    }

    /// One file of all certificate authorities, as update-ca-certificates makes it.
    fn certificates(&self) -> Result<()> {
        let dir = self.tree.join("usr/share/ca-certificates/mozilla");
        let mut files = list(&dir)?;
        files.sort();
        let mut bundle = Vec::new();
        for file in &files {
            bundle.extend(std::fs::read(file)?);
            if bundle.last() != Some(&b'\n') {
                bundle.push(b'\n');
            }
        }
        if bundle.is_empty() {
            bail!("package ca-certificates holds no certificate in {}", dir.display());
        }
        self.write("etc/ssl/certs/ca-certificates.crt", &bundle)
    }

    /// Every time zone, without the `right/` and `posix/` copies; equal zones become one file with
    /// links, as they are in the package.
    fn zones(&self) -> Result<()> {
        let skipped: BTreeSet<&str> = BTreeSet::from(["right", "posix"]);
        self.copy_tree(Path::new("usr/share/zoneinfo"), &skipped)
    }

    fn copy_tree(&self, below: &Path, skipped: &BTreeSet<&str>) -> Result<()> {
        let mut entries = list(&self.tree.join(below))?;
        entries.sort();
        for source in entries {
            let name = source.file_name().context("a folder entry has a name")?;
            let path = below.join(name);
            let kind = std::fs::symlink_metadata(&source)?.file_type();
            if name.to_str().is_some_and(|name| skipped.contains(name)) {
                continue;
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&source)?;
                let link = self.root.join(&path);
                std::fs::create_dir_all(link.parent().context("the path has a folder")?)?;
                std::os::unix::fs::symlink(target, link)?;
            } else if kind.is_dir() {
                self.copy_tree(&path, &BTreeSet::new())?;
            } else {
                self.copy(&source, &path, 0o644)?;
            }
        }
        Ok(())
    }

    fn copy(&self, source: &Path, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let content =
            std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.write(path.as_ref(), &content)?;
        std::fs::set_permissions(
            self.root.join(path.as_ref()),
            std::fs::Permissions::from_mode(mode),
        )?;
        Ok(())
    }

    fn write(&self, path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        let file = self.root.join(path.as_ref());
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&file, content)
            .with_context(|| format!("cannot write {}", file.display()))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        Ok(())
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        paths.push(entry?.path());
    }
    Ok(paths)
}

/// os-release of a kernel image: the title in the boot menu. It has no version, because systemd-boot
/// would put the highest one first; without it the names decide, which count updates.
pub(crate) fn boot_title(version: &str) -> String {
    format!("NAME=\"Tidegate\"\nID=tidegate\nPRETTY_NAME=\"Tidegate {version}\"\n")
}

/// os-release (freedesktop.org os-release(5)) for a version.
pub(crate) fn os_release(version: &str) -> String {
    format!(
        "NAME=\"Tidegate\"\nID=tidegate\nID_LIKE=debian\nVERSION_ID={version}\n\
         PRETTY_NAME=\"Tidegate {version}\"\n"
    )
}

/// SHA-256 of every regular file below `root`, by path, sorted: the manifest's list.
pub(crate) fn file_hashes(root: &Path) -> Result<Vec<(String, String)>> {
    let mut hashes = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for path in list(&dir)? {
            let kind = std::fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_file() {
                let hash = hex(&<sha2::Sha256 as sha2::Digest>::digest(std::fs::read(&path)?));
                let relative = path.strip_prefix(root).context("it is below the root")?;
                hashes.push((relative.to_string_lossy().into_owned(), hash));
            }
        }
    }
    hashes.sort();
    Ok(hashes)
}
