//! Pings on idle `WebSockets` (RFC 6455, 5.5.2).
//!
//! Middleboxes drop connections that are idle for minutes, and a client that is gone without a word
//! looks like one that is silent. A ping of the gateway keeps the former from it, and a client that
//! does not answer with a pong is silent for `stream_timeout`. The upstream gets the pong: one that
//! nothing was asked by is allowed, and has no meaning (5.5.3).
//!
//! A ping may stand between two frames only, so the ends of the upstream's frames are followed. Nothing is
//! sent after a frame that closes the WebSocket (5.5.1).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// An unmasked ping without content.
pub(super) const PING: [u8; 2] = [0x89, 0];

const AGREED: &[u8] = b"HTTP/1.1 101";
const HEAD_END: &[u8] = b"\r\n\r\n";
const CLOSE: u8 = 8;
const MAX_HEADER_BYTES: usize = 14;

/// Of one WebSocket.
#[derive(Debug)]
pub(super) struct Pings {
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    head: Head,
    frames: Frames,
}

impl Pings {
    /// For a connection on which the response has been read.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            timer: Box::pin(sleep(interval)),
            head: Head::Read,
            frames: Frames::default(),
        }
    }

    /// For one on which it has not.
    pub(super) fn before_response(interval: Duration) -> Self {
        Self {
            head: Head::Status(0),
            ..Self::new(interval)
        }
    }

    /// What comes from the upstream, byte by byte.
    pub(super) fn passed(&mut self, bytes: &[u8]) {
        let frames = self.head.skip(bytes);
        self.frames.pass(frames);
        self.timer.as_mut().reset(Instant::now() + self.interval);
    }

    /// Ready when a ping is due.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.head, Head::Read) || !self.frames.is_between() {
            // More bytes are to come, which wake the task.
            return Poll::Pending;
        }
        ready!(self.timer.as_mut().poll(context));
        self.timer.as_mut().reset(Instant::now() + self.interval);
        Poll::Ready(())
    }
}

/// The head of the response.
#[derive(Debug)]
enum Head {
    /// The number of bytes of `AGREED` that were seen.
    Status(usize),
    /// The same of `HEAD_END`.
    Fields(usize),
    Read,
    /// It does not agree to a WebSocket.
    Other,
}

impl Head {
    /// What follows the head.
    fn skip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            match self {
                Self::Read => return rest,
                Self::Other => return &[],
                Self::Status(seen) if AGREED[*seen] != *byte => *self = Self::Other,
                Self::Status(seen) if *seen + 1 == AGREED.len() => *self = Self::Fields(0),
                Self::Fields(seen) if HEAD_END[*seen] != *byte => {
                    *seen = usize::from(*byte == HEAD_END[0]);
                }
                Self::Fields(seen) if *seen + 1 == HEAD_END.len() => *self = Self::Read,
                Self::Status(seen) | Self::Fields(seen) => *seen += 1,
            }
            rest = after;
        }
        rest
    }
}

/// Where the frames of one direction end (RFC 6455, 5.2).
#[derive(Debug, Default)]
struct Frames {
    header: [u8; MAX_HEADER_BYTES],
    /// Of the header of a frame.
    filled: usize,
    payload_left: u64,
    /// A frame has closed the WebSocket, or is not one.
    ended: bool,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.filled == 0 && self.payload_left == 0 && !self.ended
    }

    fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let skipped = skipped.min(rest.len());
                self.payload_left -= skipped as u64;
                rest = &rest[skipped..];
                continue;
            }
            self.header[self.filled] = rest[0];
            self.filled += 1;
            rest = &rest[1..];
            if let Some(length) = self.payload() {
                self.ended = self.header[0] & 0x0f == CLOSE || length > u64::MAX / 2;
                (self.filled, self.payload_left) = (0, length);
            }
        }
    }

    /// The length of the payload, if the header is complete.
    fn payload(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.header;
        if self.filled < 2 {
            return None;
        }
        let (short, mask) = (second & 0x7f, if second & 0x80 == 0 { 0 } else { 4 });
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.filled < 2 + extended + mask {
            return None;
        }
        let bytes = rest[..extended].iter();
        let long = bytes.fold(0, |length, byte| (length << 8) | u64::from(*byte));
        Some(if extended == 0 { short.into() } else { long })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).unwrap()),
            126..=0xffff => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0x89; 4].iter().take(if is_masked { 4 } else { 0 }));
        // Looks like frames itself.
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    proptest! {
        /// Whatever the frames, and however they are cut, exactly their ends are between two frames.
        #[test]
        fn ends_of_frames_are_found(
            lengths in prop::collection::vec((0_usize..70_000, any::<bool>()), 1..4),
            part in 1_usize..5_000,
        ) {
            let mut frames = Frames::default();
            prop_assert!(frames.is_between());
            for (length, is_masked) in lengths {
                let frame = frame(2, length, is_masked);
                let mut parts = frame.chunks(part).peekable();
                while let Some(bytes) = parts.next() {
                    frames.pass(bytes);
                    prop_assert_eq!(frames.is_between(), parts.peek().is_none());
                }
            }
            frames.pass(&frame(CLOSE, 2, false));
            prop_assert!(!frames.is_between());
        }
    }

    #[test]
    fn pings_begin_after_a_head_that_agrees() {
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nA: b\r\r\n\r\n";
        let frame = frame(1, 3, false);
        for part in 1..agreed.len() + frame.len() {
            let bytes = [agreed.as_bytes(), &frame].concat();
            let (mut head, mut frames) = (Head::Status(0), Frames::default());
            for bytes in bytes.chunks(part) {
                let rest = head.skip(bytes);
                frames.pass(rest);
            }
            assert!(matches!(head, Head::Read) && frames.is_between(), "{part}");
        }
        for other in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 101 \r\n\r\n", "x"] {
            let mut head = Head::Status(0);
            assert_eq!(head.skip(other.as_bytes()), b"");
            assert!(matches!(head, Head::Other), "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_is_due_after_an_interval_of_silence() {
        let second = Duration::from_secs(1);
        let mut pings = Pings::new(10 * second);
        let started = Instant::now();
        std::future::poll_fn(|context| pings.poll(context)).await;
        assert!(started.elapsed() >= 10 * second);
        tokio::time::sleep(9 * second).await;
        pings.passed(&frame(1, 1, false));
        let passed = Instant::now();
        std::future::poll_fn(|context| pings.poll(context)).await;
        assert!(passed.elapsed() >= 10 * second);
        pings.passed(&frame(1, 1, false)[..1]);
        let due = std::future::poll_fn(|context| pings.poll(context));
        assert!(tokio::time::timeout(100 * second, due).await.is_err());
    }
}
