//! The NFS client of the tests: a virtual machine with Debian's stock kernel and Debian's own
//! `mount`, in which shell scripts are run from outside.
//!
//! Owns the virtual LAN with its way out, which outlive an appliance whose power is cut.
use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

pub use crate::shell_vm::Answer;
use crate::{
    accel::Accelerator,
    client_image::ClientImage,
    host,
    qemu::Arguments,
    shell_vm::ShellVm,
    switch::Switch,
    uplink::{Guest, Uplink},
};

/// Address of the client on the virtual LAN; outside the range that DHCP gives away.
pub const CLIENT_ADDRESS: &str = "10.0.2.200";
/// An NTP server that gives the client's own clock away, which is this machine's.
const NTP_SERVER: &str = "cat > /tmp/chrony.conf <<'END'
user root
local stratum 8
allow all
cmdport 0
pidfile /run/chronyd.pid
driftfile /run/chrony.drift
END
chronyd -x -f /tmp/chrony.conf";

/// A running client.
#[derive(Debug)]
pub struct ClientVm {
    vm: ShellVm,
    lan: Switch,
    _uplink: Uplink,
}

impl ClientVm {
    /// Boots the client and waits until it takes requests. `outward` is the one machine on the LAN that
    /// reaches the host.
    ///
    /// # Errors
    /// When it does not come up; with its console's last words.
    pub fn start(
        image: &ClientImage,
        folder: &Path,
        accelerator: Accelerator,
        outward: Guest,
    ) -> Result<Self> {
        host::ensure_packages(host::VIRTUAL_LAN)?;
        std::fs::create_dir_all(folder)?;
        let lan = folder.join("lan");
        if lan.exists() {
            std::fs::remove_file(&lan)?;
        }
        let switch = Switch::start(&lan).context("the virtual LAN")?;
        let uplink = Uplink::start(&switch, outward, &folder.join("uplink.log"))?;
        let card = Arguments::new()
            .path("-netdev", "stream,id=card,server=off,addr.type=unix,addr.path=", &lan, "")
            .option("-device", format!("virtio-net-pci,netdev=card,mac={}", Guest::Client.mac()));
        let vm = ShellVm::start(image, folder, accelerator, CLIENT_ADDRESS, card)?;
        Ok(Self { vm, lan: switch, _uplink: uplink })
    }

    /// The Unix socket of the virtual LAN, for a second machine's `stream` network device.
    pub fn lan(&self) -> &Path {
        self.lan.socket()
    }

    /// Runs a shell script (bash) in the client and waits for its end.
    ///
    /// # Errors
    /// As [`ShellVm::run`].
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Answer> {
        self.vm.run(script, limit)
    }

    /// Runs a script that must succeed and returns what it printed.
    ///
    /// # Errors
    /// As [`ShellVm::sh`].
    pub fn sh(&mut self, script: &str, limit: Duration) -> Result<String> {
        self.vm.sh(script, limit)
    }

    /// Makes the client an NTP server, at [`CLIENT_ADDRESS`].
    ///
    /// # Errors
    /// When chronyd does not start.
    pub fn serve_time(&mut self, limit: Duration) -> Result<()> {
        self.sh(NTP_SERVER, limit).map(drop)
    }

    /// Runs a script again and again until it succeeds.
    ///
    /// # Errors
    /// As [`ShellVm::sh_until`].
    pub fn sh_until(&mut self, what: &str, script: &str, limit: Duration) -> Result<String> {
        self.vm.sh_until(what, script, limit)
    }
}
