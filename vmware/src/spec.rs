//! The virtual machine, as data: processors, memory, disks, identifiers.

/// Base name of the files in the OVA.
pub const NAME: &str = "tidegate";
/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// What the descriptor asks the hypervisor for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Capacity of the cache disk in GiB; the user may make it larger at import or later.
    pub cache_gib: u64,
}

impl Default for Spec {
    /// Two processors and 2 GiB: comfortable for a handful of clients. The appliance starts with
    /// less; more memory means more data in flight.
    fn default() -> Self {
        Self { cpus: 2, memory_mib: 2048, cache_gib: 150 }
    }
}

/// A disk file that goes into the OVA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// File name in the OVA.
    pub name: String,
    /// Capacity of the disk that it holds, in bytes.
    pub capacity: u64,
    /// Size of the file, in bytes.
    pub size: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
}
