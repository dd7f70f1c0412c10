//! Frames: length, checksum, payload. Integers are little-endian.
//!
//! The checksum (CRC-32) covers the length as well, so that a run of zeros, which a power failure
//! can leave at the end of a file, is not a frame.

/// Longer payloads are refused, and a frame that claims to be longer is corrupt.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 4096;
/// The length and the checksum.
pub(super) const HEADER_BYTES: usize = 8;
pub(super) const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// What some bytes start with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    Frame {
        payload: &'a [u8],
        length: usize,
    },
    /// The bytes end before the frame does.
    Incomplete,
    Corrupt,
}

/// Appends the frame around a payload of 1 to [`MAX_PAYLOAD_BYTES`] bytes; returns its length, or
/// `None`, and appends nothing, if the payload does not fit.
pub(super) fn append(payload: &[u8], to: &mut Vec<u8>) -> Option<usize> {
    if payload.is_empty() || payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let length = u32::try_from(payload.len()).ok()?.to_le_bytes();
    to.reserve(HEADER_BYTES + payload.len());
    to.extend_from_slice(&length);
    to.extend_from_slice(&checksum(length, payload).to_le_bytes());
    to.extend_from_slice(payload);
    Some(HEADER_BYTES + payload.len())
}

/// Where the first whole frame begins, if there is one.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&at| matches!(parse(&bytes[at..]), Parsed::Frame { .. }))
}

pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((&length, rest)) = bytes.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let Some((&expected, rest)) = rest.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let payload_bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if payload_bytes == 0 || payload_bytes > MAX_PAYLOAD_BYTES {
        return Parsed::Corrupt;
    }
    let Some(payload) = rest.get(..payload_bytes) else {
        return Parsed::Incomplete;
    };
    if checksum(length, payload) != u32::from_le_bytes(expected) {
        return Parsed::Corrupt;
    }
    Parsed::Frame {
        payload,
        length: HEADER_BYTES + payload_bytes,
    }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(payload: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        append(payload, &mut frame).map(|_| frame)
    }

    proptest! {
        #[test]
        fn frames_round_trip(payload in prop::collection::vec(any::<u8>(), 1..MAX_PAYLOAD_BYTES)) {
            let frame = encode(&payload).unwrap();
            let length = frame.len();
            prop_assert_eq!(parse(&frame), Parsed::Frame { payload: &payload, length });
        }

        #[test]
        fn torn_frame_is_incomplete(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let frame = encode(&payload).unwrap();
            prop_assert_eq!(parse(&frame[..cut.index(frame.len())]), Parsed::Incomplete);
        }

        #[test]
        fn flipped_bit_is_detected(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            position in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut frame = encode(&payload).unwrap();
            let index = position.index(frame.len());
            frame[index] ^= 1 << bit;
            prop_assert!(!matches!(parse(&frame), Parsed::Frame { .. }), "bit {bit} of byte {index}");
        }
    }

    #[test]
    fn zeros_are_corrupt_and_unfit_payloads_are_refused() {
        assert_eq!(parse(&[0; 64]), Parsed::Corrupt);
        assert_eq!(encode(&[]), None);
        assert_eq!(encode(&vec![0; MAX_PAYLOAD_BYTES + 1]), None);
    }
}
