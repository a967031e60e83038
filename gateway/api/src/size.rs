//! Byte counts with their binary units.
use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// A number of bytes, shown as people read it (`1.5 GiB`), serialized as a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = 0;
        let mut divisor = 1_u64;
        while unit < UNITS.len() - 1 && self.0 / divisor >= 1024 {
            divisor <<= 10;
            unit += 1;
        }
        let whole = self.0 / divisor;
        let tenth = (u128::from(self.0 % divisor) * 10) / u128::from(divisor);
        if unit == 0 || whole >= 100 {
            write!(f, "{whole} {}", UNITS[unit])
        } else {
            write!(f, "{whole}.{tenth} {}", UNITS[unit])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (150 * GIB, "150 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
