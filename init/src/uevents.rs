//! What the kernel says of hardware that comes and goes (NETLINK_KOBJECT_UEVENT).
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// Largest message: the kernel's buffer is 2 KiB.
const MESSAGE_BYTES_MAX: usize = 8192;
/// Messages taken in one go, so that a storm cannot keep PID 1 from its other duties.
const MESSAGES_MAX: usize = 256;

/// Something about a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uevent {
    pub(crate) action: String,
    pub(crate) subsystem: String,
    pub(crate) device_type: String,
    /// Name of the device's file under /dev, if it has one.
    pub(crate) device: String,
    pub(crate) modalias: Option<String>,
}

/// The socket on which they come.
#[derive(Debug)]
pub(crate) struct Uevents(OwnedFd);

impl Uevents {
    /// Listens from now on.
    pub(crate) fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .context("uevent socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1)).context("uevent socket")?;
        Ok(Self(socket))
    }

    /// What has come since the last call.
    pub(crate) fn take(&self) -> Vec<Uevent> {
        let mut events = Vec::new();
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        while events.len() < MESSAGES_MAX {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) if length > 0 => events.push(Uevent::parse(&buffer[..length])),
                Ok(_) | Err(_) => break,
            }
        }
        events
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Uevent {
    fn parse(message: &[u8]) -> Self {
        let mut event = Self::default();
        for field in message.split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(field);
            match text.split_once('=') {
                Some(("ACTION", value)) => value.clone_into(&mut event.action),
                Some(("SUBSYSTEM", value)) => value.clone_into(&mut event.subsystem),
                Some(("DEVTYPE", value)) => value.clone_into(&mut event.device_type),
                Some(("DEVNAME", value)) => value.clone_into(&mut event.device),
                Some(("MODALIAS", value)) => event.modalias = Some(value.to_owned()),
                Some(_) | None => {}
            }
        }
        event
    }

    /// Whether a whole disk has come, changed its size, or gone.
    pub(crate) fn concerns_disks(&self) -> bool {
        self.subsystem == "block" && self.device_type == "disk"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_fields_after_a_title() {
        let message = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0DEVTYPE=disk\0DEVNAME=sdb\0";
        let event = Uevent::parse(message);
        assert_eq!(event.action, "add");
        assert_eq!(event.device, "sdb");
        assert!(event.concerns_disks());
        assert_eq!(event.modalias, None);
        let pci = Uevent::parse(b"add@/x\0ACTION=add\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0");
        assert_eq!(pci.modalias.as_deref(), Some("pci:v1"));
        assert!(!pci.concerns_disks());
    }
}
