//! Frames: length, checksum, payload. Integers are little-endian.
//!
//! The checksum (CRC-32) covers the length too, so a run of zeros, which is what a
//! power cut leaves at the end of a file, is not a frame.

/// Longer payloads are refused, and a longer length means that the frame is broken.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 4096;
/// The length and the checksum.
const HEAD_BYTES: usize = 8;
/// The longest frame that there is.
pub(super) const MAX_FRAME_BYTES: usize = HEAD_BYTES + MAX_PAYLOAD_BYTES;

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    Frame {
        payload: &'a [u8],
        length: usize,
    },
    /// The bytes end before the frame does.
    Incomplete,
    Broken,
}

/// The frame around a payload of 1 to [`MAX_PAYLOAD_BYTES`] bytes, or `None`.
pub(super) fn encode(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.is_empty() || payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let length = u32::try_from(payload.len()).ok()?.to_le_bytes();
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&checksum(length, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    Some(frame)
}

pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((&length, rest)) = bytes.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let Some((&expected, rest)) = rest.split_first_chunk::<4>() else {
        return Parsed::Incomplete;
    };
    let wanted = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if wanted == 0 || wanted > MAX_PAYLOAD_BYTES {
        return Parsed::Broken;
    }
    let Some(payload) = rest.get(..wanted) else {
        return Parsed::Incomplete;
    };
    if checksum(length, payload) != u32::from_le_bytes(expected) {
        return Parsed::Broken;
    }
    Parsed::Frame {
        payload,
        length: HEAD_BYTES + wanted,
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

    proptest! {
        #[test]
        fn what_goes_in_comes_out(payload in prop::collection::vec(any::<u8>(), 1..MAX_PAYLOAD_BYTES)) {
            let frame = encode(&payload).unwrap();
            let length = frame.len();
            prop_assert_eq!(parse(&frame), Parsed::Frame { payload: &payload, length });
        }

        #[test]
        fn a_torn_frame_is_incomplete(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let frame = encode(&payload).unwrap();
            prop_assert_eq!(parse(&frame[..cut.index(frame.len())]), Parsed::Incomplete);
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_frame(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut frame = encode(&payload).unwrap();
            let index = place.index(frame.len());
            frame[index] ^= 1 << bit;
            prop_assert!(!matches!(parse(&frame), Parsed::Frame { .. }), "bit {bit} of byte {index}");
        }
    }

    #[test]
    fn zeros_and_unfit_payloads_are_no_frames() {
        assert_eq!(parse(&[0; 64]), Parsed::Broken);
        assert_eq!(encode(&[]), None);
        assert_eq!(encode(&vec![0; MAX_PAYLOAD_BYTES + 1]), None);
    }
}
