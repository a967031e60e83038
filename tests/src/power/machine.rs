//! The virtual machine of the power cuts: Linux, XFS and the gateway as the appliance has them, a disk whose writes
//! are logged, and disks on which it is looked what a cut has left.
//!
//! Owns the machine and the files behind its disks. The gateway's port is one of this machine; its S3 store and
//! its clients are on the outside.
use std::{
    fmt::Write,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use image::{PrintProgress, closure::closure, debs, initramfs::Tree, lock};
use serde_json::json;

use super::{
    files,
    log::{SECTOR, WriteLog},
    replay::Disk,
};
use crate::{
    artifacts, client_image::ClientImage, host, lab::choose_accelerator, net, qemu::Arguments,
    seed::HOST_FROM_GUEST, shell_vm::ShellVm, workspace::Workspace,
};

/// Of every disk: the least that mkfs.xfs takes, and the least that a cache of a few files needs.
const DISK_BYTES: u64 = 320 << 20;
/// Of what is handed out: sparse, so that it may be larger than it ever gets.
const OUT_BYTES: u64 = 1 << 30;
/// Disks that are looked at with one request.
pub const LOOKS: usize = 8;
const ADDRESS: &str = "10.0.2.15";
const SCRIPT_LIMIT: Duration = Duration::from_secs(300);
/// As `init` mounts a cache disk.
const MOUNT: &str = "mount -t xfs -o noatime,nodev,nosuid,noexec";
const TREE: &str = "debian";
const MKFS: &str = "usr/sbin/mkfs.xfs";

/// A running machine.
#[derive(Debug)]
pub struct PowerVm {
    vm: ShellVm,
    folder: PathBuf,
    /// The gateway's port here.
    pub port: u16,
    program: PathBuf,
}

/// What of a log was written between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The log's length before.
    pub begin: u64,
    /// And after.
    pub end: u64,
}

impl PowerVm {
    /// Builds what it takes and boots, with everything in `folder`. `look` is the program `power-look`.
    ///
    /// # Errors
    /// When a package cannot be had or the machine does not come up.
    pub fn start(workspace: &Workspace, folder: &Path, look: &Path) -> Result<Self> {
        host::ensure_packages(&[host::QEMU, host::COMPILER, &host::for_image()].concat())?;
        let client = ClientImage::build(workspace, &mut PrintProgress::new())?;
        let program = artifacts::gateway(workspace)?;
        let files =
            appliance_files(workspace, folder, [("gateway", &program), ("power-look", look)])?;
        let image = client.with_files(&files, &folder.join("power.initramfs"))?;
        let port = net::free_port(0)?;
        let accelerator = choose_accelerator(workspace, &image.kernel)?;
        let mut devices = Arguments::new()
            .option("-netdev", format!("user,id=card,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:2049"))
            .option("-device", "virtio-net-pci,netdev=card");
        for name in ["work", "again"] {
            devices = devices.and(logged_disk(folder, name)?);
        }
        for number in 0..LOOKS {
            devices = devices.and(plain_disk(folder, &format!("look{number}"), DISK_BYTES)?);
            devices = devices.and(plain_disk(folder, &format!("out{number}"), OUT_BYTES)?);
        }
        let mut vm = ShellVm::start(&image, folder, accelerator, ADDRESS, devices)?;
        vm.sh(
            "mkdir -p /run/disk /cache && for disk in /sys/block/vd*; do \
             ln -s /dev/${disk##*/} /run/disk/$(cat $disk/serial); done",
            SCRIPT_LIMIT,
        )?;
        Ok(Self { vm, folder: folder.to_owned(), port, program })
    }

    /// The folder of everything that belongs to the machine.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The gateway's binary, which also runs in the machine.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The log of the disk that the gateway works on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn work_log(&self) -> Result<WriteLog> {
        WriteLog::open(&self.folder.join("work.log"))
    }

    /// The log of the disk on which recoveries are cut.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn again_log(&self) -> Result<WriteLog> {
        WriteLog::open(&self.folder.join("again.log"))
    }

    /// Makes a file system on the logged disk, as `init` does, and starts a gateway that knows nothing yet; its
    /// store listens on `s3_port` of this machine. `environment` is what `env` takes.
    ///
    /// # Errors
    /// When any of that fails.
    pub fn serve(&mut self, settings: &str, environment: &str) -> Result<()> {
        let room = DISK_BYTES - SECTOR * 16;
        self.vm.sh(
            &format!(
                "set -e\nrm -rf /run/state\n\
                 mkfs.xfs -q -f -K -L cache -d size={room} /run/disk/work\n\
                 {MOUNT} /run/disk/work /cache\n\
                 cat > /run/settings.toml <<'END'\n{settings}\nEND\n{}",
                start("/run/settings.toml", "/run/state", environment)
            ),
            SCRIPT_LIMIT,
        )?;
        Ok(())
    }

    /// Kills the gateway and takes its disk away. What it had not written may be written now: the log up to
    /// here was taken before.
    ///
    /// # Errors
    /// When the disk is still in use.
    pub fn end(&mut self) -> Result<()> {
        self.vm.sh(
            "kill -9 $(cat /run/gateway.pid) && while ! umount /cache; do sleep 0.05; done",
            SCRIPT_LIMIT,
        )?;
        Ok(())
    }

    /// The gateway's state directory, copied to `folder`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn state(&mut self, folder: &Path) -> Result<()> {
        let archive = self.folder.join("out0.img");
        self.vm.sh("tar -C /run/state --exclude=admin.sock -cf /run/disk/out0 .", SCRIPT_LIMIT)?;
        fs::create_dir_all(folder)?;
        host::run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder))
    }

    /// What Linux finds on each of `disks` after it has recovered the file system: copied to the folder beside
    /// it, or why it cannot be mounted.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn look(&mut self, disks: &[(Disk, PathBuf)]) -> Result<Vec<Result<(), String>>> {
        ensure!(disks.len() <= LOOKS, "{} disks at once", disks.len());
        let mut script = "power-look".to_owned();
        for (number, (disk, _)) in disks.iter().enumerate() {
            self.put(&format!("look{number}"), disk)?;
            write!(script, " /run/disk/look{number} /run/disk/out{number}")?;
        }
        let said = self.vm.sh(&script, SCRIPT_LIMIT)?;
        let said: Vec<&str> = said.lines().collect();
        ensure!(said.len() == disks.len(), "{said:?} of {} disks", disks.len());
        let mut found = Vec::with_capacity(disks.len());
        for (number, (said, (_, folder))) in said.into_iter().zip(disks).enumerate() {
            found.push(match said {
                "good" => {
                    self.unpack(number, folder)?;
                    Ok(())
                }
                why => Err(why.to_owned()),
            });
        }
        Ok(found)
    }

    /// Starts the gateway on `disk` and kills it when it serves: what it wrote in between is in the second
    /// log. `settings` are what it is started with; its state is the one of the recording.
    ///
    /// # Errors
    /// When it does not come that far, or the file system cannot be mounted.
    pub fn recover(&mut self, disk: &Disk, settings: &str) -> Result<Span> {
        self.put("again", disk)?;
        let log = self.again_log()?;
        let begin = log.len()?;
        self.vm.sh(
            &format!(
                "set -e\nrm -rf /run/again && cp -r /run/state /run/again && rm -f /run/again/admin.sock\n\
                 {MOUNT} /run/disk/again /cache\n\
                 cat > /run/again.toml <<'END'\n{settings}\nEND\n{}\n\
                 kill -9 $(cat /run/gateway.pid)",
                start("/run/again.toml", "/run/again", "")
            ),
            SCRIPT_LIMIT,
        )?;
        let end = log.len()?;
        self.vm.sh("while ! umount /cache; do sleep 0.05; done", SCRIPT_LIMIT)?;
        Ok(Span { begin: begin.max(SECTOR), end })
    }

    fn put(&self, name: &str, disk: &Disk) -> Result<()> {
        let file = self.folder.join(format!("{name}.img"));
        disk.write_to(&File::options().write(true).open(file)?, DISK_BYTES)
    }

    fn unpack(&self, number: usize, folder: &Path) -> Result<()> {
        let file = self.folder.join(format!("out{number}.img"));
        files::unpack(File::open(&file)?, folder).with_context(|| folder.display().to_string())
    }
}

/// Shell words that start the gateway and wait until it serves.
fn start(settings: &str, state: &str, environment: &str) -> String {
    format!(
        "rm -f /run/gateway.out\n\
         env {environment} gateway serve --settings {settings} --state {state} --cache /cache \
         --listen 0.0.0.0:2049 > /run/gateway.out 2> /run/gateway.err < /dev/null &\n\
         echo $! > /run/gateway.pid\n\
         until grep -q . /run/gateway.out; do\n\
         kill -0 $! || {{ cat /run/gateway.err; exit 1; }}\nsleep 0.05\ndone"
    )
}

/// Programs of ours and mkfs.xfs with the appliance's own libraries, and the drivers.
fn appliance_files(
    workspace: &Workspace,
    folder: &Path,
    programs: [(&str, &Path); 2],
) -> Result<Tree> {
    let progress = &mut PrintProgress::new();
    let cache = workspace.package_cache();
    let tree = cache.join(TREE);
    let packages = debs::Debs::open(&cache, None)?.obtain(
        &lock::shipped()?,
        debs::Policy::NewestIfGone,
        &image::resolve_newest,
        progress,
    )?;
    debs::unpack(&packages, &tree, progress)?;
    let mut roots = vec![tree.join(MKFS)];
    let mut files = Tree::new();
    let read = |file: &Path| fs::read(file).with_context(|| file.display().to_string());
    files.file(MKFS, 0o755, read(&roots[0])?);
    for (name, program) in programs {
        let stripped = folder.join(name);
        host::run(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
        files.file(&format!("usr/bin/{name}"), 0o755, read(&stripped)?);
        roots.push(stripped);
    }
    for (path, source) in closure(&tree, &roots)? {
        files.file(path.to_str().context("a library's path")?, 0o755, fs::read(source)?);
    }
    ClientImage::add_modules(workspace, &["virtio_blk", "xfs"], &mut files)?;
    Ok(files)
}

fn new_file(folder: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let file = folder.join(name);
    File::create(&file).and_then(|file| file.set_len(bytes)).context(name.to_owned())?;
    Ok(file)
}

/// A disk that forgets nothing by itself. It is asked neither to discard nor to write zeros, which old QEMU logs
/// wrongly; and requests are not merged: one of 1024 pieces (IOV_MAX) has no room for its own entry in the log,
/// and is missing there.
fn disk_device(name: &str) -> String {
    format!(
        "virtio-blk-pci,drive={name},serial={name},write-cache=on,discard=off,write-zeroes=off,\
         request-merging=off"
    )
}

fn plain_disk(folder: &Path, name: &str, bytes: u64) -> Result<Arguments> {
    let file = new_file(folder, &format!("{name}.img"), bytes)?;
    let node = json!({ "driver": "raw", "node-name": name, "file": in_memory(&file) });
    Ok(Arguments::new().option("-blockdev", node.to_string()).option("-device", disk_device(name)))
}

fn logged_disk(folder: &Path, name: &str) -> Result<Arguments> {
    let disk = new_file(folder, &format!("{name}.img"), DISK_BYTES)?;
    let log = new_file(folder, &format!("{name}.log"), 0)?;
    let node = json!({
        "driver": "blklogwrites",
        "node-name": name,
        "file": { "driver": "raw", "file": in_memory(&disk) },
        "log": { "driver": "raw", "file": in_memory(&log) },
        "log-sector-size": SECTOR,
    });
    Ok(Arguments::new().option("-blockdev", node.to_string()).option("-device", disk_device(name)))
}

/// A file of which only this machine's kernel must know: it need not survive a power cut of our own.
fn in_memory(file: &Path) -> serde_json::Value {
    json!({
        "driver": "file",
        "filename": file.display().to_string(),
        "cache": { "no-flush": true },
    })
}

/// The address by which the machine reaches ports of this one.
pub const HOST: &str = HOST_FROM_GUEST;
