//! A response on its way into the store.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};

/// Bytes of all bodies that are being recorded in one cache.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicUsize,
    most: usize,
}

/// A body, as far as it has arrived.
#[derive(Debug)]
pub(crate) struct Recording {
    body: BytesMut,
    /// Its length, if the head has it.
    announced: Option<usize>,
    most: usize,
    reserved: usize,
    room: Arc<Room>,
}

impl Room {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            most,
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= self.most)
            });
        taken.is_ok()
    }
}

impl Recording {
    /// `None`: the body is too large, or too many are being recorded.
    pub(super) fn new(announced: Option<usize>, most: usize, room: &Arc<Room>) -> Option<Self> {
        let expected = announced.unwrap_or(0);
        if expected > most || !room.take(expected) {
            return None;
        }
        Some(Self {
            body: BytesMut::with_capacity(expected),
            announced,
            most,
            reserved: expected,
            room: Arc::clone(room),
        })
    }

    /// False: the body is too large, and nothing is recorded any more.
    pub(crate) fn push(&mut self, part: &[u8]) -> bool {
        let length = self.body.len() + part.len();
        if length > self.announced.unwrap_or(self.most) {
            return false;
        }
        if length > self.reserved {
            // What the buffer takes when it grows.
            let wanted = (length * 2).min(self.most);
            if !self.room.take(wanted - self.reserved) {
                return false;
            }
            self.reserved = wanted;
            self.body.reserve(wanted - self.body.len());
        }
        self.body.extend_from_slice(part);
        true
    }

    /// The body. `None`: it is not complete.
    pub(super) fn finish(mut self) -> Option<Bytes> {
        let whole = self
            .announced
            .is_none_or(|length| length == self.body.len());
        let body = std::mem::take(&mut self.body);
        // Not the buffer, which may be twice as large.
        let is_tight = body.capacity() <= body.len() + body.len() / 8;
        whole.then(|| {
            if is_tight {
                body.freeze()
            } else {
                Bytes::copy_from_slice(&body)
            }
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_bodies_within_the_bounds_are_recorded() {
        let room = Room::new(100);
        let record = |announced, parts: &[&str]| {
            let mut recording = Recording::new(announced, 10, &room)?;
            let fits = parts.iter().all(|part| recording.push(part.as_bytes()));
            recording.finish().filter(|_| fits)
        };
        assert_eq!(record(None, &["ab", "cd"]).unwrap(), "abcd");
        assert_eq!(record(Some(4), &["ab", "cd"]).unwrap(), "abcd");
        assert_eq!(record(Some(0), &[]).unwrap(), "");
        assert_eq!(record(Some(5), &["ab", "cd"]), None, "too short");
        assert_eq!(record(Some(3), &["ab", "cd"]), None, "too long");
        assert_eq!(record(Some(11), &[]), None);
        assert_eq!(record(None, &["0123456789", "a"]), None);
        assert_eq!(
            room.used.load(Ordering::Relaxed),
            0,
            "all of it was given back"
        );
    }

    #[test]
    fn all_recordings_share_a_bound() {
        let room = Room::new(15);
        let first = Recording::new(Some(10), 10, &room).unwrap();
        assert!(Recording::new(Some(10), 10, &room).is_none());
        let mut second = Recording::new(None, 10, &room).unwrap();
        assert!(second.push(b"ab") && !second.push(b"cdef"));
        drop(first);
        assert!(Recording::new(Some(10), 10, &room).is_some());
    }
}
