//! Updates: the next version is written beside the running one, tried, and kept only when it serves.
//!
//! `manifest.rs`, `signature.rs` and `stream.rs` read an update file, of which nothing is believed before
//! its signature; `esp.rs` knows the boot loaders' files, `install.rs` changes them in an order in which
//! every cut of the power leaves a machine that boots; `port.rs` is the disk. `write.rs` is the confined
//! process that does it, `attend.rs` the errand around it. `note.rs` is what is kept over reboots,
//! `health.rs` how PID 1 decides whether a version on trial stays. See `docs/update.md`.
mod attend;
mod esp;
mod health;
mod install;
mod manifest;
mod note;
mod port;
mod signature;
mod stream;
mod write;

#[cfg(test)]
mod cuts;
#[cfg(test)]
mod made;

pub(crate) use self::{
    attend::{Wanted, attend, is_on_trial, keep_version},
    health::{Facts, Health, Verdict},
    note::{NOTE, Note, Stage, Standing},
    write::run as write,
};
