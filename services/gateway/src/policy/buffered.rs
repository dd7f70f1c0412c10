//! Bodies that are held until they are whole, within one bound for all of them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Of all bodies together.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A body, as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Buffered {
    bytes: Vec<u8>,
    counted: usize,
}

/// Why a part does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// The body is too large.
    Body,
    /// All of them are.
    Total,
}

impl Buffered {
    /// # Errors
    /// When the body would be larger than `most`, or all would be than `most_in_all`.
    pub(super) fn push(
        &mut self,
        part: &[u8],
        most: usize,
        most_in_all: usize,
    ) -> Result<(), Excess> {
        if self.bytes.len() + part.len() > most {
            return Err(Excess::Body);
        }
        let before = HELD_BYTES.fetch_add(part.len(), Ordering::Relaxed);
        self.counted += part.len();
        if before + part.len() > most_in_all {
            return Err(Excess::Total);
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes; the body begins again.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.bytes);
        self.clear();
        bytes
    }

    pub(super) fn clear(&mut self) {
        HELD_BYTES.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
        self.bytes = Vec::new();
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_a_bound_and_give_it_back() {
        const MOST: usize = 100;
        let (mut one, mut other) = (Buffered::default(), Buffered::default());
        assert_eq!(one.push(&[1; 60], MOST, 150), Ok(()));
        assert_eq!(one.push(&[1; 41], MOST, 150), Err(Excess::Body));
        assert_eq!(other.push(&[1; 91], MOST, 150), Err(Excess::Total));
        drop(other);
        assert_eq!(one.push(&[2; 40], MOST, 150), Ok(()));
        assert_eq!(one.take().len(), 100);
        let mut third = Buffered::default();
        assert_eq!(third.push(&[1; 100], MOST, 150), Ok(()));
        assert_eq!(third.bytes().len(), 100);
    }
}
