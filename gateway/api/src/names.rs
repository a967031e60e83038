//! Names that come from outside: parsed once here, trusted everywhere else.
use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a name was refused. The message says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A file share's name.
    #[error(
        "share name {0:?} is not usable: use 1 to 255 of the characters A-Z a-z 0-9 . _ - and do not begin with a dot"
    )]
    Share(String),
    /// A bucket's name.
    #[error(
        "bucket {0:?} is not an S3 bucket name: 3 to 255 of the characters A-Z a-z 0-9 . _ -, or an access point's alias or ARN (arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME)"
    )]
    Bucket(String),
    /// A key prefix.
    #[error("prefix {0:?} is not usable: {1}")]
    Prefix(String, &'static str),
    /// A client list entry.
    #[error(
        "client {0:?} is not an address or a network: write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32"
    )]
    Client(String),
}

macro_rules! string_newtype {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

/// A file share's name; its export path is `/NAME` (AWS FileShareName: `[A-Za-z0-9-._]`, ≤ 255).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShareName(String);
string_newtype!(ShareName);

impl FromStr for ShareName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.bytes().all(plain)
        {
            return Err(NameError::Share(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A bucket's name, or the alias or ARN of an access point to one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);
string_newtype!(BucketName);

impl BucketName {
    /// Whether this is the ARN of an access point.
    pub fn is_arn(&self) -> bool {
        self.0.starts_with("arn:")
    }
}

/// `arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME`, or with a colon before the name (S3 User
/// Guide, Access points).
fn is_access_point_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let name = resource
        .strip_prefix("accesspoint/")
        .or_else(|| resource.strip_prefix("accesspoint:"))
        .unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    arn == "arn"
        && matches!(partition, "aws" | "aws-cn" | "aws-us-gov")
        && service == "s3"
        && !region.is_empty()
        && region.bytes().all(plain)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && (3..=50).contains(&name.len())
        && name.bytes().all(plain)
}

impl FromStr for BucketName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_access_point_arn(text) {
            return Ok(Self(text.to_owned()));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(3..=255).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(NameError::Bucket(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The part of the bucket that a share shows: empty (the whole bucket) or ending in `/`.
/// `sales/2026` is read as `sales/2026/`. At most 512 bytes, so that keys (≤ 1024) have room.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix(String);
string_newtype!(KeyPrefix);

impl FromStr for KeyPrefix {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError::Prefix(text.to_owned(), why));
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > 512 {
            return refuse("at most 512 bytes");
        }
        if text.starts_with('/') {
            return refuse("S3 keys do not begin with a slash; leave it out");
        }
        if text.contains("//") || text.split('/').any(|part| part == "." || part == "..") {
            return refuse("no empty, '.' or '..' parts");
        }
        if text.chars().any(char::is_control) {
            return refuse("no control characters");
        }
        let mut owned = text.to_owned();
        if !owned.ends_with('/') {
            owned.push('/');
        }
        Ok(Self(owned))
    }
}

/// One entry of a share's client list: an address or a network (CIDR), IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientSpec {
    network: IpAddr,
    prefix_bits: u8,
}

impl ClientSpec {
    /// Whether `peer` is in this network. An IPv4 address in IPv6 form (`::ffff:a.b.c.d`) counts as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.network, peer.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(peer)) => {
                let shift = 32 - u32::from(self.prefix_bits);
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                net.to_bits() & mask == peer.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(peer)) => {
                let shift = 128 - u32::from(self.prefix_bits);
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                net.to_bits() & mask == peer.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Everyone, over IPv4 and IPv6.
    pub fn everyone() -> Vec<Self> {
        let any = |network| Self { network, prefix_bits: 0 };
        vec![
            any(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            any(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        ]
    }
}

impl FromStr for ClientSpec {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Client(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| refuse())?;
        let most: u8 = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|n| *n <= most).ok_or_else(refuse)?,
        };
        Ok(Self { network, prefix_bits })
    }
}

impl fmt::Display for ClientSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

impl TryFrom<String> for ClientSpec {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ClientSpec> for String {
    fn from(spec: ClientSpec) -> String {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_names_are_safe_as_export_paths() {
        for good in ["sales", "Sales-2026_q1.bak", "a"] {
            assert_eq!(good.parse::<ShareName>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", ".", "..", ".hidden", "naïve", "a b", &"x".repeat(256)] {
            assert!(bad.parse::<ShareName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn buckets_are_names_aliases_or_arns_of_access_points() {
        let arn = "arn:aws:s3:ap-northeast-2:111122223333:accesspoint/onprem";
        for (good, is_arn) in [
            ("sales-backup", false),
            ("My.Old_Bucket", false),
            ("onprem-abcdefghijklmnopqrstuvwxyz123456-s3alias", false),
            (arn, true),
            ("arn:aws-cn:s3:cn-north-1:111122223333:accesspoint:onprem", true),
        ] {
            assert_eq!(good.parse::<BucketName>().unwrap().is_arn(), is_arn, "{good}");
        }
        for bad in [
            "ab",
            "a/b",
            "arn:aws:s3:::bucket",
            "arn:aws:s3:ap-northeast-2:1111:accesspoint/onprem",
            "arn:aws:s3:ap-northeast-2:111122223333:accesspoint/on/prem",
            "arn:aws:s3-outposts:ap-northeast-2:111122223333:outpost/o/accesspoint/a",
            "arn:aws:iam::111122223333:role/x",
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_end_in_exactly_one_slash() {
        assert_eq!("sales/2026".parse::<KeyPrefix>().unwrap().as_str(), "sales/2026/");
        assert_eq!("sales/".parse::<KeyPrefix>().unwrap().as_str(), "sales/");
        assert_eq!("".parse::<KeyPrefix>().unwrap().as_str(), "");
        for bad in ["/sales", "a//b", "a/../b", "./a", "a\nb", &"x".repeat(600)] {
            assert!(bad.parse::<KeyPrefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn client_networks_contain_their_addresses_only() {
        let net: ClientSpec = "192.0.2.0/24".parse().unwrap();
        assert!(net.contains("192.0.2.255".parse().unwrap()));
        assert!(net.contains("::ffff:192.0.2.9".parse().unwrap()), "mapped IPv4");
        assert!(!net.contains("192.0.3.0".parse().unwrap()));
        let host: ClientSpec = "2001:db8::1".parse().unwrap();
        assert!(host.contains("2001:db8::1".parse().unwrap()));
        assert!(!host.contains("2001:db8::2".parse().unwrap()));
        assert!(ClientSpec::everyone().iter().any(|c| c.contains("203.0.113.9".parse().unwrap())));
        for bad in ["", "10.0.0.0/33", "::/129", "host.example", "1.2.3.4/", "1.2.3.4/-1"] {
            assert!(bad.parse::<ClientSpec>().is_err(), "{bad:?}");
        }
    }
}
