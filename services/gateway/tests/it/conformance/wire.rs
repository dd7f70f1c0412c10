//! Frames of HTTP/2 as bytes, and a client that sends any bytes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::Gateway;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Nothing that the gateway does here takes this long; a case that waits for it has failed.
const SILENCE: Duration = Duration::from_secs(3);

// Types of frames (RFC 9113, 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

// Flags.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;
/// A whole request without a body.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

// Codes of errors (RFC 9113, 7).
pub(super) const PROTOCOL: u32 = 1;
pub(super) const FLOW_CONTROL: u32 = 3;
pub(super) const STREAM_CLOSED: u32 = 5;
pub(super) const FRAME_SIZE: u32 = 6;
pub(super) const REFUSED: u32 = 7;
pub(super) const COMPRESSION: u32 = 9;

// Settings.
pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const INITIAL_WINDOW: u16 = 4;
pub(super) const MAX_FRAME: u16 = 5;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let pairs = values.iter();
    let payload: Vec<u8> = pairs
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Dependency and weight of a stream, as in PRIORITY.
pub(super) fn priority(on: u32, weight: u8) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[weight]].concat()
}

/// Header fields, each as a literal that enters no table.
pub(super) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let literal = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127);
        [&[length], text.as_bytes()].concat()
    };
    let each = list.iter();
    each.flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat())
        .collect()
}

/// The fields of a request, and further ones.
pub(super) fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let start = [
        (":method", method),
        (":scheme", "http"),
        (":path", "/a/x"),
        (":authority", "a"),
    ];
    fields(&[&start, more].concat())
}

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &request("GET", &[]))
}

/// The head of a request whose body follows.
pub(super) fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", &[]))
}

/// What the gateway did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    GoAway(u32),
    Reset(u32),
    /// The head of a response.
    Status(u16),
    /// A part of a response, of this many bytes.
    Data(usize),
    /// The end of the response on this stream.
    End(u32),
    Pong,
    Settings,
    SettingsAck,
    Closed,
    Nothing,
}

/// A client of the gateway.
pub(super) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Of a frame that means two things.
    next: Option<Reaction>,
}

impl Peer {
    pub(super) async fn connect(gateway: &Gateway) -> Self {
        Self {
            stream: TcpStream::connect(gateway.public).await.unwrap(),
            buffer: Vec::new(),
            next: None,
        }
    }

    /// The gateway may have closed already, which the next read finds out.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// What happens next.
    pub(super) async fn see(&mut self) -> Reaction {
        if let Some(next) = self.next.take() {
            return next;
        }
        loop {
            let seen = match timeout(SILENCE, self.frame()).await {
                Err(_) => return Reaction::Nothing,
                Ok(None) => return Reaction::Closed,
                Ok(Some(frame)) => self.meaning(&frame),
            };
            if let Some(seen) = seen {
                return seen;
            }
        }
    }

    fn meaning(&mut self, frame: &Frame) -> Option<Reaction> {
        let code = |at: usize| {
            let four = frame.payload.get(at..at + 4).unwrap().try_into();
            u32::from_be_bytes(four.unwrap())
        };
        let acknowledges = frame.flags & ACK != 0;
        let ends = frame.flags & END_STREAM != 0;
        let seen = match frame.kind {
            GOAWAY => Reaction::GoAway(code(4)),
            RST_STREAM => Reaction::Reset(code(0)),
            HEADERS => Reaction::Status(status(&frame.payload)),
            DATA if frame.payload.is_empty() && ends => return Some(Reaction::End(frame.stream)),
            DATA => Reaction::Data(frame.payload.len()),
            PING if acknowledges => Reaction::Pong,
            SETTINGS if acknowledges => Reaction::SettingsAck,
            SETTINGS => Reaction::Settings,
            _ => return None,
        };
        if ends && matches!(frame.kind, HEADERS | DATA) {
            self.next = Some(Reaction::End(frame.stream));
        }
        Some(seen)
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            // A preface that is none gets a problem in HTTP/1.
            if let Some(header) = self.buffer.get(..9)
                && !self.buffer.starts_with(b"HTTP/1.1")
            {
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
                let end = 9 + usize::try_from(length).unwrap();
                let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
                let (kind, flags) = (header[3], header[4]);
                if self.buffer.len() >= end {
                    let payload = self.buffer[9..end].to_vec();
                    self.buffer.drain(..end);
                    return Some(Frame {
                        kind,
                        flags,
                        stream,
                        payload,
                    });
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The status that a head of h2's encoder starts with (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first.
    let sizes = block
        .iter()
        .take_while(|&&byte| byte & 0xe0 == 0x20)
        .count();
    let block = &block[sizes..];
    match block {
        [byte @ 0x88..=0x8e, ..] => INDEXED[usize::from(byte - 0x88)],
        [0x48 | 0x08, length, text @ ..] => {
            let text = &text[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return std::str::from_utf8(text).unwrap().parse().unwrap();
            }
            digits(text)
        }
        _ => panic!("no status: {block:x?}"),
    }
}

/// Three digits in the code of RFC 7541, appendix B: five bits for 0 to 2, six for 3 to 9.
fn digits(text: &[u8]) -> u16 {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let number = |bits: &[u8]| {
        bits.iter()
            .fold(0, |number, bit| number << 1 | u16::from(*bit))
    };
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let (digit, length) = if short <= 2 {
            (short, 5)
        } else {
            (number(&bits[at..at + 6]) - 0x19 + 3, 6)
        };
        status = status * 10 + digit;
        at += length;
    }
    status
}
