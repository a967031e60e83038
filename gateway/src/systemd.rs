//! What the supervisor of the process is told and gives: systemd's notify and socket protocols,
//! which PID 1 of the appliance speaks as well.
use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::fd::{FromRawFd, RawFd},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Sockets that the supervisor bound for us (`LISTEN_FDNAMES` `nfs`, `portmap`, `portmap-udp`).
#[derive(Debug, Default)]
pub struct HandedSockets {
    /// TCP: NFS, MOUNT and portmap are answered on each.
    pub tcp: Vec<TcpListener>,
    /// UDP: portmap.
    pub portmap_udp: Vec<UdpSocket>,
}

impl HandedSockets {
    /// Takes over the sockets of `LISTEN_FDS`, if any. To be called once, before threads start.
    ///
    /// # Errors
    /// A name that is not ours, or a socket that cannot be set to non-blocking.
    pub fn take() -> io::Result<Self> {
        let mut sockets = Self::default();
        for (fd, name) in sd_notify::listen_fds_with_names()? {
            match name.as_str() {
                "nfs" | "portmap" => {
                    let listener = owned::<TcpListener>(fd);
                    listener.set_nonblocking(true)?;
                    sockets.tcp.push(listener);
                }
                "portmap-udp" => {
                    let socket = owned::<UdpSocket>(fd);
                    socket.set_nonblocking(true)?;
                    sockets.portmap_udp.push(socket);
                }
                other => {
                    return Err(io::Error::other(format!(
                        "LISTEN_FDNAMES names {other:?}; known are nfs, portmap, portmap-udp"
                    )));
                }
            }
        }
        Ok(sockets)
    }
}

fn owned<T: FromRawFd>(fd: RawFd) -> T {
    // SAFETY: the descriptor was passed to this process for it to own (sd_listen_fds protocol),
    // and `HandedSockets::take` hands each out once.
    unsafe { T::from_raw_fd(fd) }
}

/// Tells the supervisor that shares are being served.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the supervisor that the process is stopping on purpose.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the supervisor why the process ends, in a variable of our own (sd_notify(3): names with `X_`).
/// The appliance's console shows it.
pub fn ends_because(why: &str) {
    let line = why.replace('\n', " ");
    tell(&[NotifyState::Custom(&format!("X_TIDEGATE_END={line}"))]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the supervisor was not told: {error}");
    }
}

/// Sends `WATCHDOG=1` at a third of the supervisor's limit, if it set one, until `stop`. Runs on
/// the async runtime, so that a runtime that is stuck is noticed.
pub async fn keep_watchdog(stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((limit / 3).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            _ = ticks.tick() => tell(&[NotifyState::Watchdog]),
            () = stop.cancelled() => return,
        }
    }
}
