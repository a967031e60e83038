//! The calls of NFSv3 that are made, and how they are handed to libnfs.
use std::ffi::{CStr, c_char, c_int, c_void};

use crate::{
    ffi,
    reply::{self, Handle},
};

/// One call; handles and names are copied before [`send`] returns, data may be read later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    Null,
    Getattr(&'a Handle),
    Lookup(&'a Handle, &'a CStr),
    /// GUARDED, mode 0644.
    Create(&'a Handle, &'a CStr),
    Mkdir(&'a Handle, &'a CStr),
    Remove(&'a Handle, &'a CStr),
    Rename {
        from: (&'a Handle, &'a CStr),
        to: (&'a Handle, &'a CStr),
    },
    Read {
        file: &'a Handle,
        offset: u64,
        count: u32,
    },
    Write {
        file: &'a Handle,
        offset: u64,
        data: &'static [u8],
        stable: bool,
    },
    /// Of the whole file.
    Commit(&'a Handle),
    Readdirplus {
        directory: &'a Handle,
        cookie: u64,
        verifier: [u8; 8],
    },
}

/// Encodes and queues a call; libnfs's answer is 0 when it did.
///
/// # Safety
/// `context` is live, and nothing else uses it meanwhile.
pub(crate) unsafe fn send(context: *mut ffi::RpcContext, token: *mut c_void, call: &Call) -> c_int {
    match *call {
        // SAFETY: the caller's promise (here and below); the callback fits the procedure, the
        // arguments live until the function has encoded them, and data lives for ever.
        Call::Null => unsafe { ffi::rpc_nfs3_null_async(context, reply::done, token) },
        Call::Getattr(object) => {
            let arguments = ffi::GetattrArguments { object: opaque(object) };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_getattr_async(context, reply::attributes, &arguments, token) }
        }
        Call::Lookup(directory, name) => {
            let arguments = place(directory, name);
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_lookup_async(context, reply::looked_up, &arguments, token) }
        }
        Call::Remove(directory, name) => {
            let arguments = place(directory, name);
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_remove_async(context, reply::removed, &arguments, token) }
        }
        Call::Rename { from, to } => {
            let arguments =
                ffi::RenameArguments { from: place(from.0, from.1), to: place(to.0, to.1) };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_rename_async(context, reply::removed, &arguments, token) }
        }
        Call::Create(directory, name) => {
            let arguments = ffi::CreateArguments {
                place: place(directory, name),
                how: 1,
                attributes: mode(0o644),
            };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_create_async(context, reply::created, &arguments, token) }
        }
        Call::Mkdir(directory, name) => {
            let arguments =
                ffi::MkdirArguments { place: place(directory, name), attributes: mode(0o755) };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_mkdir_async(context, reply::created, &arguments, token) }
        }
        Call::Read { file, offset, count } => {
            let arguments = ffi::ReadArguments { file: opaque(file), offset, count };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_read_async(context, reply::read, &arguments, token) }
        }
        Call::Write { file, offset, data, stable } => {
            let data = slice(data);
            let arguments = ffi::WriteArguments {
                file: opaque(file),
                offset,
                count: data.length,
                // UNSTABLE 0, FILE_SYNC 2
                stable: if stable { 2 } else { 0 },
                data,
            };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_write_async(context, reply::written, &arguments, token) }
        }
        Call::Commit(file) => {
            let arguments = ffi::CommitArguments { file: opaque(file), offset: 0, count: 0 };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_commit_async(context, reply::committed, &arguments, token) }
        }
        Call::Readdirplus { directory, cookie, verifier } => {
            // Pages of 256 KiB: what a server may cut to its own limit.
            let arguments = ffi::ReaddirplusArguments {
                directory: opaque(directory),
                cookie,
                verifier,
                directory_count: 64 << 10,
                max_count: 256 << 10,
            };
            // SAFETY: as above.
            unsafe { ffi::rpc_nfs3_readdirplus_async(context, reply::listed, &arguments, token) }
        }
    }
}

/// libnfs's view of bytes that it only reads.
fn slice(bytes: &[u8]) -> ffi::Opaque {
    let length = u32::try_from(bytes.len()).expect("blocks and handles are far below 4 GiB");
    ffi::Opaque { length, bytes: bytes.as_ptr().cast::<c_char>().cast_mut() }
}

fn opaque(handle: &Handle) -> ffi::Opaque {
    slice(handle.bytes())
}

fn place(directory: &Handle, name: &CStr) -> ffi::DirectoryOperation {
    ffi::DirectoryOperation { directory: opaque(directory), name: name.as_ptr() }
}

fn mode(mode: u32) -> ffi::SetAttributes {
    ffi::SetAttributes { mode: ffi::Set { set: 1, value: mode }, ..ffi::SetAttributes::default() }
}
