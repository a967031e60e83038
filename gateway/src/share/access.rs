//! Who may use a share, and as whom: client list, privileged port, read-only, squash. Pure.
//!
//! Owns: the decision. Must not know: how a peer is met (accept, MOUNT, calls) and how a refusal
//! is told to it; the protocol edge does both.
use std::net::{IpAddr, SocketAddr};

use gateway_api::{
    names::ClientSpec,
    settings::{ShareSettings, Squash},
};

use crate::vfs::Credentials;

/// First source port that needs no privilege to bind (Unix `IPPORT_RESERVED`).
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// The access rules of one share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Who may use the share; nobody when empty.
    pub clients: Vec<ClientSpec>,
    /// Refuse every change.
    pub read_only: bool,
    /// Which callers lose their identity.
    pub squash: Squash,
    /// uid of callers without an identity.
    pub anonymous_uid: u32,
    /// gid of callers without an identity.
    pub anonymous_gid: u32,
    /// Serve only callers whose source port is below 1024.
    pub require_privileged_port: bool,
}

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its address is in no entry of the client list.
    #[error("the address is not in the share's client list")]
    NotListed,
    /// Its source port is 1024 or above.
    #[error("the share asks for a source port below 1024")]
    UnprivilegedPort,
}

impl From<&ShareSettings> for AccessPolicy {
    fn from(share: &ShareSettings) -> Self {
        Self {
            clients: share.client_list.clone(),
            read_only: share.read_only,
            squash: share.squash,
            anonymous_uid: share.owner_id,
            anonymous_gid: share.group_id,
            require_privileged_port: share.require_privileged_port,
        }
    }
}

impl AccessPolicy {
    /// Whether calls from `peer` are served.
    ///
    /// # Errors
    /// [`Refusal`], the address being judged first.
    pub fn admit(&self, peer: SocketAddr) -> Result<(), Refusal> {
        if !self.lists(peer.ip()) {
            return Err(Refusal::NotListed);
        }
        if self.require_privileged_port && peer.port() >= FIRST_UNPRIVILEGED_PORT {
            return Err(Refusal::UnprivilegedPort);
        }
        Ok(())
    }

    /// Whether an address is in the client list, whatever its port.
    pub fn lists(&self, address: IpAddr) -> bool {
        self.clients.iter().any(|client| client.contains(address))
    }

    /// The identity of callers who have none (AUTH_NONE) or lose it.
    pub fn anonymous(&self) -> Credentials {
        Credentials { uid: self.anonymous_uid, gid: self.anonymous_gid, groups: Vec::new() }
    }

    /// The identity under which a caller's operations run.
    pub fn squash(&self, caller: Credentials) -> Credentials {
        let of = |id: u32, anonymous: u32| if id == 0 { anonymous } else { id };
        match self.squash {
            Squash::NoSquash => caller,
            Squash::AllSquash => self.anonymous(),
            Squash::RootSquash => Credentials {
                uid: of(caller.uid, self.anonymous_uid),
                gid: of(caller.gid, self.anonymous_gid),
                groups: caller.groups.iter().map(|gid| of(*gid, self.anonymous_gid)).collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(clients: &[&str]) -> AccessPolicy {
        AccessPolicy {
            clients: clients.iter().map(|c| c.parse().unwrap()).collect(),
            read_only: false,
            squash: Squash::RootSquash,
            anonymous_uid: 65534,
            anonymous_gid: 65533,
            require_privileged_port: false,
        }
    }

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn an_empty_client_list_admits_nobody() {
        let refused = policy(&[]).admit("192.0.2.1:700".parse().unwrap());
        assert_eq!(refused, Err(Refusal::NotListed));
    }

    #[test]
    fn listed_networks_are_admitted_others_are_not() {
        let policy = policy(&["192.0.2.0/24", "2001:db8::/32"]);
        for good in ["192.0.2.9:3000", "[2001:db8::1]:3000", "[::ffff:192.0.2.9]:3000"] {
            assert_eq!(policy.admit(good.parse().unwrap()), Ok(()), "{good}");
        }
        for bad in ["192.0.3.9:3000", "[2001:db9::1]:3000"] {
            assert_eq!(policy.admit(bad.parse().unwrap()), Err(Refusal::NotListed), "{bad}");
        }
    }

    #[test]
    fn unprivileged_ports_are_refused_only_when_asked_for() {
        let mut policy = policy(&["192.0.2.0/24"]);
        policy.require_privileged_port = true;
        assert_eq!(policy.admit("192.0.2.9:1023".parse().unwrap()), Ok(()));
        let refused = policy.admit("192.0.2.9:1024".parse().unwrap());
        assert_eq!(refused, Err(Refusal::UnprivilegedPort));
    }

    #[test]
    fn root_squash_takes_root_out_of_every_place() {
        let squashed = policy(&[]).squash(caller(0, 0, &[0, 7]));
        assert_eq!(squashed, caller(65534, 65533, &[65533, 7]));
        assert_eq!(policy(&[]).squash(caller(5, 6, &[7])), caller(5, 6, &[7]));
    }

    #[test]
    fn no_squash_keeps_and_all_squash_drops_identities() {
        let mut policy = policy(&[]);
        policy.squash = Squash::NoSquash;
        assert_eq!(policy.squash(caller(0, 0, &[0])), caller(0, 0, &[0]));
        policy.squash = Squash::AllSquash;
        assert_eq!(policy.squash(caller(5, 6, &[7])), caller(65534, 65533, &[]));
    }
}
