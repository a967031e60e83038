//! What a file may hold.
use std::sync::Arc;

/// The bytes of a file that were acknowledged as stable, and the writes since that may have arrived or not:
/// each of their bytes for itself (RFC 1813 §3.3.7, UNSTABLE).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    sure: Arc<Vec<u8>>,
    unsure: Vec<Write>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    at: usize,
    bytes: Arc<Vec<u8>>,
}

impl Write {
    fn end(&self) -> usize {
        self.at + self.bytes.len()
    }

    fn at(&self, place: usize) -> Option<u8> {
        place.checked_sub(self.at).and_then(|offset| self.bytes.get(offset)).copied()
    }
}

impl Content {
    /// Exactly these bytes.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { sure: Arc::new(bytes), unsure: Vec::new() }
    }

    /// A write is on its way.
    pub(super) fn write(&mut self, at: usize, bytes: Vec<u8>) {
        self.unsure.push(Write { at, bytes: Arc::new(bytes) });
    }

    /// COMMIT was acknowledged.
    pub(super) fn commit(&mut self) {
        if !self.unsure.is_empty() {
            *self = Self::of(self.all());
        }
    }

    /// Whether a crash may take something away.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// Its bytes if every write has arrived.
    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = self.sure.to_vec();
        for write in &self.unsure {
            bytes.resize(bytes.len().max(write.end()), 0);
            bytes[write.at..write.end()].copy_from_slice(&write.bytes);
        }
        bytes
    }

    pub(super) fn len(&self) -> usize {
        self.unsure.iter().map(Write::end).fold(self.sure.len(), usize::max)
    }

    /// Whether a file may hold this.
    pub(super) fn allows(&self, found: &[u8]) -> bool {
        if self.unsure.is_empty() {
            return *self.sure == found;
        }
        let end = found.len();
        let is_an_end =
            end == self.sure.len() || self.unsure.iter().any(|write| write.end() == end);
        let is_allowed = |(place, byte): (usize, &u8)| {
            self.sure.get(place).copied().unwrap_or(0) == *byte
                || self.unsure.iter().any(|write| write.at(place) == Some(*byte))
        };
        end >= self.sure.len() && is_an_end && found.iter().enumerate().all(is_allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    #[test]
    fn what_was_committed_is_there_and_what_was_not_may_be() {
        let mut content = Content::of(b"stable".to_vec());
        content.write(4, b"XYZ".to_vec());
        for allowed in [&b"stable"[..], b"stabXYZ", b"stablYZ", b"stabXY\0", b"stabXY"] {
            assert!(content.allows(allowed), "{allowed:?}");
        }
        for lost in [&b"stab"[..], b"stablQZ", b"Stable", b"stabXYZ\0"] {
            assert!(!content.allows(lost), "{lost:?}");
        }
        content.commit();
        assert!(content.allows(b"stabXYZ") && !content.allows(b"stable"));
    }
}
