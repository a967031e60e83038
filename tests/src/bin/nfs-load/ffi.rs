//! The part of libnfs's raw C interface that this program calls: declarations made by hand after the
//! headers of libnfs 4.0 and 5.0 (`nfsc/libnfs-raw.h`, `nfsc/libnfs-raw-nfs.h`), and nothing else.
//!
//! Names of fields are RFC 1813's; a union with one interesting arm is that arm.
use std::ffi::{c_char, c_int, c_void};

/// libnfs's state of one connection; only its address is known here.
#[repr(C)]
pub(crate) struct RpcContext {
    _private: [u8; 0],
}

/// `rpc_cb`: called from within [`rpc_service`].
pub(crate) type Callback = unsafe extern "C" fn(*mut RpcContext, c_int, *mut c_void, *mut c_void);

/// Variable-length opaque: a file handle, or the data of READ and WRITE.
#[repr(C)]
pub(crate) struct Opaque {
    pub(crate) length: u32,
    pub(crate) bytes: *mut c_char,
}

#[repr(C)]
pub(crate) struct DirectoryOperation {
    pub(crate) directory: Opaque,
    pub(crate) name: *const c_char,
}

#[repr(C)]
pub(crate) struct RenameArguments {
    pub(crate) from: DirectoryOperation,
    pub(crate) to: DirectoryOperation,
}

#[repr(C)]
pub(crate) struct Time {
    seconds: u32,
    nanoseconds: u32,
}

/// `fattr3`
#[repr(C)]
pub(crate) struct Attributes {
    pub(crate) kind: u32,
    mode: u32,
    links: u32,
    owner: u32,
    group: u32,
    pub(crate) size: u64,
    used: u64,
    device: [u32; 2],
    filesystem: u64,
    file_id: u64,
    accessed: Time,
    modified: Time,
    changed: Time,
}

#[repr(C)]
pub(crate) struct PostOpAttributes {
    pub(crate) follow: u32,
    pub(crate) attributes: Attributes,
}

#[repr(C)]
pub(crate) struct PreOpAttributes {
    follow: u32,
    size: u64,
    modified: Time,
    changed: Time,
}

/// `wcc_data`
#[repr(C)]
pub(crate) struct WeakCacheConsistency {
    before: PreOpAttributes,
    after: PostOpAttributes,
}

#[repr(C)]
pub(crate) struct PostOpHandle {
    pub(crate) follows: u32,
    pub(crate) handle: Opaque,
}

/// What most replies are: a status, and more where that is NFS3_OK (0).
#[repr(C)]
pub(crate) struct Reply<T> {
    pub(crate) status: u32,
    pub(crate) ok: T,
}

#[repr(C)]
pub(crate) struct MountOk {
    pub(crate) handle: Opaque,
    flavors_length: u32,
    flavors: *mut c_int,
}

#[repr(C)]
pub(crate) struct GetattrArguments {
    pub(crate) object: Opaque,
}

#[repr(C)]
pub(crate) struct LookupOk {
    pub(crate) object: Opaque,
    object_attributes: PostOpAttributes,
    directory_attributes: PostOpAttributes,
}

#[repr(C)]
pub(crate) struct ReadArguments {
    pub(crate) file: Opaque,
    pub(crate) offset: u64,
    pub(crate) count: u32,
}

#[repr(C)]
pub(crate) struct ReadOk {
    attributes: PostOpAttributes,
    pub(crate) count: u32,
    pub(crate) eof: u32,
    pub(crate) data: Opaque,
}

#[repr(C)]
pub(crate) struct WriteArguments {
    pub(crate) file: Opaque,
    pub(crate) offset: u64,
    pub(crate) count: u32,
    /// `stable_how`
    pub(crate) stable: u32,
    pub(crate) data: Opaque,
}

#[repr(C)]
pub(crate) struct WriteOk {
    consistency: WeakCacheConsistency,
    pub(crate) count: u32,
    pub(crate) committed: u32,
    pub(crate) verifier: [u8; 8],
}

#[repr(C)]
pub(crate) struct CommitArguments {
    pub(crate) file: Opaque,
    pub(crate) offset: u64,
    pub(crate) count: u32,
}

#[repr(C)]
pub(crate) struct CommitOk {
    consistency: WeakCacheConsistency,
    pub(crate) verifier: [u8; 8],
}

/// A `set_it` and its value: `set_mode3`, `set_uid3`, `set_gid3`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Set<T> {
    pub(crate) set: u32,
    pub(crate) value: T,
}

/// `sattr3`
#[repr(C)]
#[derive(Default)]
pub(crate) struct SetAttributes {
    pub(crate) mode: Set<u32>,
    pub(crate) owner: Set<u32>,
    pub(crate) group: Set<u32>,
    pub(crate) size: Set<u64>,
    pub(crate) accessed: Set<[u32; 2]>,
    pub(crate) modified: Set<[u32; 2]>,
}

#[repr(C)]
pub(crate) struct CreateArguments {
    pub(crate) place: DirectoryOperation,
    /// `createmode3`
    pub(crate) how: u32,
    pub(crate) attributes: SetAttributes,
}

#[repr(C)]
pub(crate) struct MkdirArguments {
    pub(crate) place: DirectoryOperation,
    pub(crate) attributes: SetAttributes,
}

/// The reply of CREATE and of MKDIR.
#[repr(C)]
pub(crate) struct CreateOk {
    pub(crate) object: PostOpHandle,
    attributes: PostOpAttributes,
    consistency: WeakCacheConsistency,
}

#[repr(C)]
pub(crate) struct ReaddirplusArguments {
    pub(crate) directory: Opaque,
    pub(crate) cookie: u64,
    pub(crate) verifier: [u8; 8],
    pub(crate) directory_count: u32,
    pub(crate) max_count: u32,
}

#[repr(C)]
pub(crate) struct Entry {
    file_id: u64,
    pub(crate) name: *mut c_char,
    pub(crate) cookie: u64,
    pub(crate) attributes: PostOpAttributes,
    pub(crate) handle: PostOpHandle,
    pub(crate) next: *mut Entry,
}

#[repr(C)]
pub(crate) struct ReaddirplusOk {
    attributes: PostOpAttributes,
    pub(crate) verifier: [u8; 8],
    pub(crate) entries: *mut Entry,
    pub(crate) eof: u32,
}

/// Declares functions `(context, callback, arguments, private data)`; they encode their arguments
/// before they return, and return 0 when the call is queued.
macro_rules! calls {
    ($($name:ident($arguments:ty);)*) => {
        #[link(name = "nfs")]
        unsafe extern "C" {
            $(pub(crate) fn $name(
                context: *mut RpcContext,
                callback: Callback,
                arguments: $arguments,
                private: *mut c_void,
            ) -> c_int;)*
        }
    };
}

calls! {
    rpc_mount3_mnt_async(*const c_char);
    rpc_nfs3_getattr_async(*const GetattrArguments);
    rpc_nfs3_lookup_async(*const DirectoryOperation);
    rpc_nfs3_read_async(*const ReadArguments);
    rpc_nfs3_write_async(*const WriteArguments);
    rpc_nfs3_commit_async(*const CommitArguments);
    rpc_nfs3_create_async(*const CreateArguments);
    rpc_nfs3_mkdir_async(*const MkdirArguments);
    rpc_nfs3_remove_async(*const DirectoryOperation);
    rpc_nfs3_rename_async(*const RenameArguments);
    rpc_nfs3_readdirplus_async(*const ReaddirplusArguments);
}

#[link(name = "nfs")]
unsafe extern "C" {
    pub(crate) fn rpc_init_context() -> *mut RpcContext;
    pub(crate) fn rpc_destroy_context(context: *mut RpcContext);
    pub(crate) fn rpc_get_fd(context: *mut RpcContext) -> c_int;
    pub(crate) fn rpc_which_events(context: *mut RpcContext) -> c_int;
    pub(crate) fn rpc_service(context: *mut RpcContext, events: c_int) -> c_int;
    pub(crate) fn rpc_get_error(context: *mut RpcContext) -> *const c_char;
    pub(crate) fn rpc_connect_port_async(
        context: *mut RpcContext,
        server: *const c_char,
        port: c_int,
        program: c_int,
        version: c_int,
        callback: Callback,
        private: *mut c_void,
    ) -> c_int;
    pub(crate) fn rpc_nfs3_null_async(
        context: *mut RpcContext,
        callback: Callback,
        private: *mut c_void,
    ) -> c_int;
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Sizes and offsets as a C compiler has them on x86-64.
    #[test]
    fn structs_are_laid_out_as_in_c() {
        assert_eq!(size_of::<Reply<MountOk>>(), 40);
        assert_eq!(size_of::<Reply<Attributes>>(), 96);
        assert_eq!(size_of::<Reply<LookupOk>>(), 216);
        assert_eq!(size_of::<Reply<ReadOk>>(), 128);
        assert_eq!(size_of::<Reply<WriteOk>>(), 152);
        assert_eq!(size_of::<Reply<CommitOk>>(), 144);
        assert_eq!(size_of::<Reply<CreateOk>>(), 256);
        assert_eq!(size_of::<Reply<ReaddirplusOk>>(), 128);
        assert_eq!(size_of::<RenameArguments>(), 48);
        assert_eq!(size_of::<ReadArguments>(), 32);
        assert_eq!(size_of::<WriteArguments>(), 48);
        assert_eq!(size_of::<CreateArguments>(), 96);
        assert_eq!(size_of::<MkdirArguments>(), 88);
        assert_eq!(size_of::<ReaddirplusArguments>(), 40);
        assert_eq!(size_of::<Entry>(), 152);
        assert_eq!(offset_of!(Entry, next), 144);
        assert_eq!(offset_of!(Reply<WriteOk>, ok.verifier), 144);
        assert_eq!(offset_of!(Reply<ReaddirplusOk>, ok.eof), 120);
    }
}
