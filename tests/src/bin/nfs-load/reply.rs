//! Replies, copied out of libnfs's memory by its callbacks into a queue of this thread, so that
//! nothing else runs inside a callback.
use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_int, c_void},
    slice,
};

use crate::ffi;

/// A file handle (RFC 1813 §2.6: at most 64 bytes).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    length: u8,
    bytes: [u8; 64],
}

impl Handle {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What a call brought.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Success, of which nothing needs to be known.
    Done,
    /// GETATTR.
    Size(u64),
    /// MNT, LOOKUP, CREATE, MKDIR.
    Handle(Handle),
    /// READ: bytes, and the eight first and last of them.
    Read { count: u32, ends: Option<[u64; 2]> },
    /// WRITE.
    Written { count: u32, stable: bool, verifier: [u8; 8] },
    /// COMMIT.
    Committed { verifier: [u8; 8] },
    /// READDIRPLUS.
    Page(Page),
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Entries other than `.` and `..`.
    pub(crate) entries: u64,
    /// The names of those without attributes or handle.
    pub(crate) bare: Vec<CString>,
    /// Where the next page begins.
    pub(crate) cookie: u64,
    /// To be given back with the cookie.
    pub(crate) verifier: [u8; 8],
    /// The last page.
    pub(crate) end: bool,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server's `nfsstat3` or `mountstat3`.
    Status(u32),
    /// No answer, or none that could be understood.
    Rpc(String),
}

/// The answer to one call.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// As given with the call.
    pub(crate) token: usize,
    /// What it brought.
    pub(crate) result: Result<Reply, Failure>,
}

thread_local! {
    static ARRIVED: RefCell<Vec<Outcome>> = const { RefCell::new(Vec::new()) };
}

/// Moves what has arrived since the last time into `outcomes`.
pub(crate) fn take_arrived(outcomes: &mut Vec<Outcome>) {
    ARRIVED.with_borrow_mut(|arrived| outcomes.append(arrived));
}

fn arrive(token: *mut c_void, result: Result<Reply, Failure>) {
    ARRIVED.with_borrow_mut(|arrived| arrived.push(Outcome { token: token.addr(), result }));
}

/// Queues the outcome of a call whose successful reply is at `data`.
///
/// # Safety
/// As libnfs calls its callbacks: with status 0, `data` is null or points to a `T`.
unsafe fn settle<T>(
    status: c_int,
    data: *mut c_void,
    token: *mut c_void,
    read: impl FnOnce(&T) -> Result<Reply, Failure>,
) {
    let result = if status != 0 {
        Err(Failure::Rpc(format!("libnfs status {status}")))
    } else {
        // SAFETY: the caller's promise; libnfs frees it only after the callback has returned.
        match unsafe { data.cast::<T>().as_ref() } {
            Some(reply) => read(reply),
            None => Err(Failure::Rpc("a reply without a body".to_owned())),
        }
    };
    arrive(token, result);
}

/// Defines a callback: what a reply of type `ffi::Reply<T>` with status 0 is turned into.
macro_rules! callbacks {
    ($($(#[$doc:meta])* $name:ident: $ok:ty => $convert:expr;)*) => {
        $($(#[$doc])*
        pub(crate) unsafe extern "C" fn $name(
            _context: *mut ffi::RpcContext,
            status: c_int,
            data: *mut c_void,
            token: *mut c_void,
        ) {
            let read = |reply: &ffi::Reply<$ok>| match reply.status {
                0 => $convert(&reply.ok),
                other => Err(Failure::Status(other)),
            };
            // SAFETY: each callback is given to the one function whose replies are of its type.
            unsafe { settle::<ffi::Reply<$ok>>(status, data, token, read) }
        })*
    };
}

callbacks! {
    /// MNT
    mounted: ffi::MountOk => |ok: &ffi::MountOk| handle(&ok.handle);
    /// GETATTR
    attributes: ffi::Attributes => |ok: &ffi::Attributes| Ok(Reply::Size(ok.size));
    /// LOOKUP
    looked_up: ffi::LookupOk => |ok: &ffi::LookupOk| handle(&ok.object);
    /// CREATE and MKDIR
    created: ffi::CreateOk => |ok: &ffi::CreateOk| match ok.object.follows {
        0 => Err(Failure::Rpc("the server made an object and gave no handle".to_owned())),
        _ => handle(&ok.object.handle),
    };
    /// WRITE
    written: ffi::WriteOk => |ok: &ffi::WriteOk| Ok(Reply::Written {
        count: ok.count,
        stable: ok.committed != 0,
        verifier: ok.verifier,
    });
    /// COMMIT
    committed: ffi::CommitOk => |ok: &ffi::CommitOk| Ok(Reply::Committed { verifier: ok.verifier });
    /// READ
    read: ffi::ReadOk => read_reply;
    /// REMOVE and RENAME
    removed: () => |_: &()| Ok(Reply::Done);
    /// READDIRPLUS
    listed: ffi::ReaddirplusOk => page;
}

/// NULL and the connection itself, which have no body.
pub(crate) unsafe extern "C" fn done(
    _context: *mut ffi::RpcContext,
    status: c_int,
    _data: *mut c_void,
    token: *mut c_void,
) {
    let failed = || Err(Failure::Rpc(format!("libnfs status {status}")));
    arrive(token, if status == 0 { Ok(Reply::Done) } else { failed() });
}

fn bytes(opaque: &ffi::Opaque) -> &[u8] {
    if opaque.length == 0 || opaque.bytes.is_null() {
        return &[];
    }
    // SAFETY: libnfs has decoded `length` bytes there, and frees them after the callback only.
    unsafe { slice::from_raw_parts(opaque.bytes.cast(), opaque.length as usize) }
}

fn handle(opaque: &ffi::Opaque) -> Result<Reply, Failure> {
    let from = bytes(opaque);
    let mut handle = Handle { length: 0, bytes: [0; 64] };
    match (handle.bytes.get_mut(..from.len()), u8::try_from(from.len())) {
        (Some(to), Ok(length)) => {
            to.copy_from_slice(from);
            handle.length = length;
            Ok(Reply::Handle(handle))
        }
        _ => Err(Failure::Rpc(format!("a file handle of {} bytes", from.len()))),
    }
}

fn read_reply(ok: &ffi::ReadOk) -> Result<Reply, Failure> {
    let data = bytes(&ok.data);
    if data.len() != ok.count as usize {
        let (count, length) = (ok.count, data.len());
        return Err(Failure::Rpc(format!("READ says {count} bytes and brings {length}")));
    }
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let ends = data.first_chunk().zip(data.last_chunk());
    Ok(Reply::Read { count: ok.count, ends: ends.map(|(first, last)| [word(first), word(last)]) })
}

fn page(ok: &ffi::ReaddirplusOk) -> Result<Reply, Failure> {
    let mut page = Page { verifier: ok.verifier, end: ok.eof != 0, ..Page::default() };
    // SAFETY: libnfs has decoded a list there, which ends in a null pointer.
    let mut next = unsafe { ok.entries.as_ref() };
    while let Some(entry) = next {
        page.cookie = entry.cookie;
        if !is_dot(entry.name) {
            page.entries += 1;
            let complete = entry.attributes.follow != 0 && entry.handle.follows != 0;
            if !complete {
                page.bare.push(text(entry.name));
            }
        }
        // SAFETY: as above.
        next = unsafe { entry.next.as_ref() };
    }
    Ok(Reply::Page(page))
}

fn text(name: *const c_char) -> CString {
    if name.is_null() {
        return CString::default();
    }
    // SAFETY: libnfs's decoder leaves a string that ends in a zero byte.
    unsafe { CStr::from_ptr(name) }.to_owned()
}

fn is_dot(name: *const c_char) -> bool {
    // SAFETY: libnfs's decoder leaves a string that ends in a zero byte.
    !name.is_null() && matches!(unsafe { CStr::from_ptr(name) }.to_bytes(), b"." | b"..")
}
