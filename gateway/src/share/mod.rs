//! File shares: a bucket and prefix under an export path, and who may do what with it.
pub mod access;
