//! The network service, as it is shipped, in network namespaces: real links, addresses and routes of
//! the kernel's, a DHCP server and a router of our own, and no machine.
//!
//! Each test starts itself again in namespaces of its own. Where the kernel allows no user namespaces,
//! it says so and is skipped.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod dhcp_server;
mod lab;
mod router;

mod conflict;
mod dhcp;
mod fixed;
mod ipv6;
mod switch_off;
