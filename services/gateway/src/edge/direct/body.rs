//! A response body: read as the upstream frames it, written as the client needs it.
//!
//! A body with a length is passed on as it is. Every other one is sent in chunks of our own, also
//! one that ends with the upstream's connection, so that the client's connection can stay open.

use std::io::Write as _;

use super::{
    buffer::Buffer,
    chunks::{BodyPart, Chunks, InvalidChunks},
};
use crate::edge::response_framing::Framing;

/// Takes the bytes of one body from what the upstream sent.
#[derive(Debug)]
pub(super) enum BodyReader {
    /// What is left.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

impl BodyReader {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next part from the start of `input`.
    pub(super) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<BodyPart<'i>, InvalidChunks> {
        match self {
            Self::Length(0) => Ok(BodyPart::End),
            Self::Chunked(chunks) => chunks.next(input),
            _ if input.is_empty() => Ok(BodyPart::More),
            Self::Length(left) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                let (data, rest) = input.split_at(wanted.min(input.len()));
                *input = rest;
                *left -= data.len() as u64;
                Ok(BodyPart::Data(data))
            }
            Self::UntilClose => Ok(BodyPart::Data(std::mem::take(input))),
        }
    }

    /// The body ends where the connection does.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }
}

/// Frames one body for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyWriter {
    /// The head has its length, or there is none.
    Plain,
    Chunked,
}

impl BodyWriter {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(_) => Self::Plain,
            Framing::Chunked | Framing::UntilClose => Self::Chunked,
        }
    }

    pub(super) fn data(self, data: &[u8], out: &mut Buffer) {
        match self {
            Self::Plain => out.push(data),
            Self::Chunked => {
                // Writing to a buffer cannot fail.
                let _ = write!(out, "{:x}\r\n", data.len());
                out.push(data);
                out.push(b"\r\n");
            }
        }
    }

    pub(super) fn end(self, out: &mut Buffer) {
        if self == Self::Chunked {
            out.push(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client receives of a body, and what is left behind it.
    fn pass(framing: Framing, input: &str) -> (String, String) {
        let (mut reader, writer) = (BodyReader::new(framing), BodyWriter::new(framing));
        let mut rest = input.as_bytes();
        let mut out = Buffer::lend();
        loop {
            match reader.next(&mut rest).unwrap() {
                BodyPart::Data(data) => writer.data(data, &mut out),
                BodyPart::More if reader.ends_with_connection() => break writer.end(&mut out),
                BodyPart::More => break,
                BodyPart::End => break writer.end(&mut out),
            }
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(out.unused()), text(rest))
    }

    #[test]
    fn bodies_are_framed_for_the_client() {
        for (framing, input, output, left) in [
            (Framing::Empty, "next", "", "next"),
            (Framing::Length(3), "abcnext", "abc", "next"),
            (Framing::Length(9), "abc", "abc", ""),
            (Framing::UntilClose, "abc", "3\r\nabc\r\n0\r\n\r\n", ""),
            (
                Framing::Chunked,
                "3;x=y\r\nabc\r\n00\r\nX: y\r\n\r\nnext",
                "3\r\nabc\r\n0\r\n\r\n",
                "next",
            ),
        ] {
            assert_eq!(
                pass(framing, input),
                (output.to_owned(), left.to_owned()),
                "{input}"
            );
        }
    }
}
