//! Bounded XDR decoding (RFC 4506): a peer's lengths are believed only as far as its bytes reach.
//!
//! nfsserve's codec decodes the fixed-size parts; whatever carries a length goes through here,
//! because that codec allocates what a length claims. Nothing here copies or allocates: opaque
//! data are slices of the record.
use bytes::{Buf, Bytes};
use nfsserve::xdr::XDR;

/// The arguments cannot be what the procedure takes (RFC 5531 GARBAGE_ARGS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends within an item.
    #[error("the record ends within an item")]
    Short,
    /// An item is longer than the protocol allows.
    #[error("an item is longer than the protocol allows")]
    TooLong,
    /// A discriminant or flag has no meaning.
    #[error("a discriminant has no meaning")]
    Unknown,
    /// Bytes follow the last item.
    #[error("bytes follow the last item")]
    Trailing,
}

/// A cursor over one record.
#[derive(Clone, Debug)]
pub struct Decoder(Bytes);

impl Decoder {
    /// Starts at the beginning of `record`.
    pub fn new(record: Bytes) -> Self {
        Self(record)
    }

    /// What is left, undecoded.
    pub fn rest(&self) -> &Bytes {
        &self.0
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.0.try_get_u32().map_err(|_| DecodeError::Short)
    }

    /// An unsigned hyper integer.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64().map_err(|_| DecodeError::Short)
    }

    /// A boolean: 0 or 1 only (RFC 4506 §4.4).
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Unknown`].
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Unknown),
        }
    }

    /// Variable-length opaque data or a string of at most `max` bytes (RFC 4506 §4.10).
    ///
    /// # Errors
    /// [`DecodeError::TooLong`], [`DecodeError::Short`].
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(self.u32()?).map_err(|_| DecodeError::TooLong)?;
        if len > max {
            return Err(DecodeError::TooLong);
        }
        // In this order nothing overflows: `len` is at most what is left before it is rounded up.
        if len > self.0.len() || len.next_multiple_of(4) > self.0.len() {
            return Err(DecodeError::Short);
        }
        let data = self.0.split_to(len);
        self.0.advance(len.next_multiple_of(4) - len);
        Ok(data)
    }

    /// Opaque data of any length that the record really holds; its user judges the length.
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn opaque_unbounded(&mut self) -> Result<Bytes, DecodeError> {
        self.opaque(usize::MAX)
    }

    /// `N` bytes of fixed-length opaque data (`N` a multiple of four).
    ///
    /// # Errors
    /// [`DecodeError::Short`].
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        const { assert!(N.is_multiple_of(4)) };
        let mut bytes = [0; N];
        self.0.try_copy_to_slice(&mut bytes).map_err(|_| DecodeError::Short)?;
        Ok(bytes)
    }

    /// One of nfsserve's types that holds nothing of variable length.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Unknown`].
    pub fn wire<T: XDR + Default>(&mut self) -> Result<T, DecodeError> {
        let mut value = T::default();
        let mut rest: &[u8] = &self.0;
        value.deserialize(&mut rest).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => DecodeError::Short,
            _ => DecodeError::Unknown,
        })?;
        let used = self.0.len() - rest.len();
        self.0.advance(used);
        Ok(value)
    }

    /// Ends the decoding.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if something is left.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use nfsserve::nfs::sattr3;
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    #[test]
    fn an_opaque_of_four_gigabytes_is_refused_without_allocating() {
        let mut decoder = Decoder::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]));
        assert_eq!(decoder.clone().opaque(255), Err(DecodeError::TooLong));
        assert_eq!(decoder.opaque_unbounded(), Err(DecodeError::Short));
    }

    #[test]
    fn padding_must_be_present_and_is_skipped() {
        let mut decoder =
            Decoder::new(Bytes::from_static(&[0, 0, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 9]));
        assert_eq!(&decoder.opaque(8).unwrap()[..], b"x");
        assert_eq!(decoder.u32(), Ok(9));
        assert_eq!(decoder.end(), Ok(()));
        let mut short = Decoder::new(Bytes::from_static(&[0, 0, 0, 1, b'x', 0]));
        assert_eq!(short.opaque(8), Err(DecodeError::Short));
    }

    #[test]
    fn booleans_other_than_zero_and_one_are_refused() {
        assert_eq!(
            Decoder::new(Bytes::from_static(&[0, 0, 0, 2])).bool(),
            Err(DecodeError::Unknown)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1813), ..Default::default() })]

        /// Goal: no input makes the decoder panic or give out more than the input holds. Method:
        /// random bytes, biased to small big-endian lengths, through a random sequence of items.
        #[test]
        fn decoding_random_bytes_never_yields_more_than_they_hold(
            words in proptest::collection::vec(prop_oneof![0u32..40, any::<u32>()], 0..64),
            cut in 0usize..4,
            items in proptest::collection::vec(0u8..7, 0..32),
        ) {
            let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let held = bytes.len();
            let mut decoder = Decoder::new(Bytes::from(bytes));
            let mut given = 0;
            for item in items {
                let before = decoder.rest().len();
                let got = match item {
                    0 => decoder.u32().map(|_| 4),
                    1 => decoder.u64().map(|_| 8),
                    2 => decoder.bool().map(|_| 4),
                    3 => decoder.opaque(64).map(|b| b.len()),
                    4 => decoder.opaque_unbounded().map(|b| b.len()),
                    5 => decoder.fixed::<8>().map(|b| b.len()),
                    _ => decoder.wire::<sattr3>().map(|_| 24),
                };
                match got {
                    Ok(len) => given += len,
                    Err(_) => prop_assert!(decoder.rest().len() <= before),
                }
                prop_assert!(given <= held);
            }
        }
    }
}
