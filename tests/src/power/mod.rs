//! Power cuts of a cache disk, block by block: the disk's writes are logged while the gateway works on it in a
//! virtual machine, and the log is played again up to any moment, without what a disk may lose that moment.
//!
//! [`log`] reads QEMU's `blklogwrites`, [`replay`] makes the disks, [`machine`] is the virtual machine in which
//! the gateway writes them and Linux finds out what is on them, [`files`] brings that out. Nothing here knows what the gateway promises.
pub mod files;
pub mod log;
pub mod machine;
pub mod replay;
