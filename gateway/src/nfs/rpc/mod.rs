//! ONC RPC version 2 (RFC 5531) over TCP, for the programs of this server.
//!
//! Owns: connections, records, credentials, the registry of programs, and every bound on what a
//! peer can make the server hold or wait for ([`limits`]). Must not know: what the programs do.
//!
//! A call goes `listener` → `connection` → `record` → `call` → `program` → `reply`.
pub mod admission;
pub mod auth;
pub mod call;
pub mod connection;
pub mod datagram;
pub mod decode;
pub mod lanes;
pub mod limits;
pub mod listener;
pub mod program;
pub mod record;
pub mod reply;
