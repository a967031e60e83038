//! NFSv3 calls over one or more TCP connections of libnfs, any number of them in flight.
use std::{
    ffi::{CStr, CString, c_int},
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt::TcpNoDelay},
};

use crate::{
    call::{Call, send},
    ffi,
    reply::{self, Failure, Handle, Outcome, Reply},
};

const MOUNT_PROGRAM: c_int = 100_005;
const NFS_PROGRAM: c_int = 100_003;
const VERSION: c_int = 3;
/// Longest silence while calls are in flight.
const SILENCE_MS: u16 = 60_000;
/// NFS3ERR_NOENT
pub(crate) const NOT_FOUND: u32 = 2;

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Port of NFS at 127.0.0.1.
    pub(crate) nfs_port: u16,
    /// Port of MOUNT there.
    pub(crate) mount_port: u16,
    /// What is mounted.
    pub(crate) export: CString,
}

/// One TCP connection.
struct Connection {
    context: NonNull<ffi::RpcContext>,
}

impl Connection {
    fn open(port: u16, program: c_int) -> Result<Self> {
        // SAFETY: takes nothing; a new context is owned by this connection alone.
        let context = NonNull::new(unsafe { ffi::rpc_init_context() }).context("libnfs: memory")?;
        let mut connection = Self { context };
        // SAFETY: a live context, and a string that libnfs copies.
        let queued = unsafe {
            ffi::rpc_connect_port_async(
                context.as_ptr(),
                c"127.0.0.1".as_ptr(),
                port.into(),
                program,
                VERSION,
                reply::done,
                ptr::null_mut(),
            )
        };
        ensure!(queued == 0, "cannot connect to port {port}: {}", connection.error());
        connection.wait_for_one().with_context(|| format!("cannot connect to port {port}"))?;
        setsockopt(&connection.descriptor(), TcpNoDelay, &true)?;
        Ok(connection)
    }

    fn error(&self) -> String {
        // SAFETY: a live context; the string is the context's and is copied here.
        let text = unsafe { ffi::rpc_get_error(self.context.as_ptr()) };
        if text.is_null() {
            return "libnfs gives no reason".to_owned();
        }
        // SAFETY: not null, and ends in a zero byte.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: a live context, whose socket is open until it is destroyed, after this borrow.
        unsafe { BorrowedFd::borrow_raw(ffi::rpc_get_fd(self.context.as_ptr())) }
    }

    fn events(&self) -> PollFlags {
        // SAFETY: a live context.
        let events = unsafe { ffi::rpc_which_events(self.context.as_ptr()) };
        PollFlags::from_bits_truncate(i16::try_from(events).unwrap_or_default())
    }

    fn service(&mut self, events: PollFlags) -> Result<()> {
        // SAFETY: a live context; callbacks only push to a queue of this thread.
        let outcome = unsafe { ffi::rpc_service(self.context.as_ptr(), events.bits().into()) };
        ensure!(outcome >= 0, "connection: {}", self.error());
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<Reply> {
        let mut outcomes = Vec::new();
        while outcomes.is_empty() {
            wait(std::slice::from_mut(self), &mut outcomes)?;
        }
        let outcome = outcomes.pop().context("an outcome")?;
        outcome.result.map_err(|failure| anyhow::anyhow!("{failure:?}"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the context is live and nobody else's; callbacks of calls in flight are told of
        // their end and only push to a queue.
        unsafe { ffi::rpc_destroy_context(self.context.as_ptr()) }
    }
}

/// Waits for something to arrive and appends it to `outcomes`.
fn wait(connections: &mut [Connection], outcomes: &mut Vec<Outcome>) -> Result<()> {
    let mut polled: Vec<PollFd> =
        connections.iter().map(|c| PollFd::new(c.descriptor(), c.events())).collect();
    let ready = poll(&mut polled, PollTimeout::from(SILENCE_MS))?;
    ensure!(ready > 0, "the server has been silent for {} s", SILENCE_MS / 1000);
    let events: Vec<PollFlags> =
        polled.iter().map(|p| p.revents().unwrap_or(PollFlags::POLLERR)).collect();
    for (connection, events) in connections.iter_mut().zip(events) {
        if !events.is_empty() {
            connection.service(events)?;
        }
    }
    reply::take_arrived(outcomes);
    Ok(())
}

/// A mounted export.
pub(crate) struct Client {
    connections: Vec<Connection>,
    /// The export's root.
    pub(crate) root: Handle,
}

impl Client {
    /// Mounts the export and opens `connections` for NFS.
    pub(crate) fn mount(target: &Target, connections: usize) -> Result<Self> {
        let mut mount = Connection::open(target.mount_port, MOUNT_PROGRAM)?;
        // SAFETY: a live context, and a string that outlives the encoding of the call.
        let queued = unsafe {
            ffi::rpc_mount3_mnt_async(
                mount.context.as_ptr(),
                reply::mounted,
                target.export.as_ptr(),
                ptr::null_mut(),
            )
        };
        ensure!(queued == 0, "cannot ask for the export: {}", mount.error());
        let Reply::Handle(root) = mount.wait_for_one().context("MNT")? else {
            bail!("MNT brought no handle");
        };
        let connections = (0..connections)
            .map(|_| Connection::open(target.nfs_port, NFS_PROGRAM))
            .collect::<Result<_>>()?;
        Ok(Self { connections, root })
    }

    /// Queues a call on a connection (counted on, modulo their number).
    pub(crate) fn send(&mut self, connection: usize, token: usize, call: &Call) -> Result<()> {
        let count = self.connections.len();
        let connection = &mut self.connections[connection % count];
        let token = ptr::without_provenance_mut(token);
        // SAFETY: a live context, which is borrowed for this call alone.
        let queued = unsafe { send(connection.context.as_ptr(), token, call) };
        ensure!(queued == 0, "cannot send: {}", connection.error());
        Ok(())
    }

    /// Waits for replies and appends them to `outcomes`.
    pub(crate) fn wait(&mut self, outcomes: &mut Vec<Outcome>) -> Result<()> {
        wait(&mut self.connections, outcomes)
    }

    /// Makes one call while no other is in flight.
    pub(crate) fn call(&mut self, call: &Call) -> Result<Result<Reply, Failure>> {
        self.send(0, 0, call)?;
        let mut outcomes = Vec::new();
        while outcomes.is_empty() {
            self.wait(&mut outcomes)?;
        }
        Ok(outcomes.remove(0).result)
    }

    /// The directory at `path`, made where it is missing.
    pub(crate) fn directory(&mut self, path: &str) -> Result<Handle> {
        let mut directory = self.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let name = CString::new(part)?;
            let mut found = self.call(&Call::Lookup(&directory, &name))?;
            if matches!(found, Err(Failure::Status(NOT_FOUND))) {
                found = self.call(&Call::Mkdir(&directory, &name))?;
            }
            match found {
                Ok(Reply::Handle(handle)) => directory = handle,
                other => bail!("directory {path}, at {part}: {other:?}"),
            }
        }
        Ok(directory)
    }
}
