//! The other side: nfs-ganesha as Debian ships it, with its VFS back end on a local directory.
use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    disk::{self, Names},
    server::{Process, Server},
};
use crate::{host::Need, net, wait::poll_until};

/// What it takes.
pub const PACKAGES: &[Need] = &[
    Need {
        package: "nfs-ganesha",
        why: "is the NFS server that the gateway is compared with",
        file: "/usr/bin/ganesha.nfsd",
    },
    Need {
        package: "nfs-ganesha-vfs",
        why: "lets it export a local directory",
        file: "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
    },
    Need { package: "rpcbind", why: "must run when nfs-ganesha starts", file: "/usr/sbin/rpcbind" },
];

const NFS_PORT: u16 = 2049;
const MOUNT_PORT: u16 = 20048;
/// Where rpcbind listens (RFC 1833 §1).
const RPCBIND_PORT: u16 = 111;
const PORTMAPPER: (u32, u32) = (100_000, 2);
/// The directory in the export that is as mkdir made it.
pub const PLAIN: &str = "plain";
/// The directory in the export whose changes reach the disk before they are acknowledged, as RFC 1813 §4.7
/// asks for and nfs-ganesha's VFS back end does not do by itself: a file system of its own.
pub const SYNCHRONOUS: &str = "synchronous";

/// Starts it on `folder`/export, a new file system, of which [`PLAIN`] and [`SYNCHRONOUS`] are
/// directories.
///
/// # Errors
/// When it does not come up.
pub fn start(folder: &Path) -> Result<Server> {
    let file = |name: &str| folder.join(name);
    let export = file("export");
    fs::create_dir_all(folder)?;
    disk::mount_new(&file("plain.xfs"), &export, Names::Later)?;
    fs::create_dir(export.join(PLAIN))?;
    disk::mount_new(&file("synchronous.xfs"), &export.join(SYNCHRONOUS), Names::AtOnce)?;
    let export = export.to_str().context("a path that is not UTF-8")?.to_owned();
    launch("nfs-ganesha", folder, export)
}

/// Starts it on the directory `export`, with what it keeps in `folder`.
///
/// # Errors
/// When it does not come up.
pub fn launch(name: &'static str, folder: &Path, export: String) -> Result<Server> {
    let file = |name: &str| folder.join(name);
    fs::write(file("ganesha.conf"), configuration(&export))?;

    // 4.3 refuses to start when it cannot register its ports, although no client here asks for them.
    let mut rpcbind =
        Process::start(Command::new("/usr/sbin/rpcbind").arg("-f"), &file("rpcbind.log"))?;
    let address = (std::net::Ipv4Addr::LOCALHOST, RPCBIND_PORT).into();
    poll_until("rpcbind", Duration::from_secs(20), || {
        ensure!(rpcbind.child().try_wait()?.is_none(), "rpcbind ended; see its log");
        let (program, version) = PORTMAPPER;
        Ok(net::rpc_null(address, program, version, Duration::from_secs(1)).ok())
    })?;

    let mut command = Command::new("/usr/bin/ganesha.nfsd");
    command.arg("-F").stdout(File::create(file("ganesha.out"))?);
    for (option, name) in [("-f", "ganesha.conf"), ("-L", "ganesha.log"), ("-p", "ganesha.pid")] {
        command.arg(option).arg(file(name));
    }
    let process = Process::start(&mut command, &file("ganesha.err"))?;
    let mut server = Server { name, nfs_port: NFS_PORT, mount_port: MOUNT_PORT, export, process };
    server.wait_until_ready()?;
    Ok(server)
}

fn configuration(export: &str) -> String {
    format!(
        "NFS_Core_Param {{ Protocols = 3; NFS_Port = {NFS_PORT}; MNT_Port = {MOUNT_PORT};\n\
         \x20 Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false; }}\n\
         NFSv4 {{ Graceless = true; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{export}\"; Pseudo = /bench; Access_Type = RW;\n\
         \x20 Squash = No_Root_Squash; Protocols = 3; Transports = TCP; SecType = sys;\n\
         \x20 FSAL {{ Name = VFS; }} }}\n\
         LOG {{ Default_Log_Level = EVENT; }}\n"
    )
}

/// Unmounts what [`start`] has mounted, after the server has ended.
///
/// # Errors
/// When something still uses it.
pub fn unmount(folder: &Path) -> Result<()> {
    let export = folder.join("export");
    disk::unmount(&export.join(SYNCHRONOUS))?;
    disk::unmount(&export)
}

/// The version that is installed.
pub fn version() -> String {
    let output =
        Command::new("dpkg-query").args(["-W", "-f", "${Version}", "nfs-ganesha"]).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_balanced_braces_and_the_path() {
        let text = configuration("/a b/export");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(text.contains("Path = \"/a b/export\";"));
        assert!(!text.contains('\\'));
    }
}
