//! Decodes the chunked transfer coding (RFC 9112, 7.1) as it arrives.
//!
//! A response is decoded and framed again rather than copied: a chunk size that two readers
//! understand differently would let one response swallow the next. Extensions and trailers are
//! dropped; what is doubtful is an error, which closes the connection.
//!
//! ```text
//!  Size --CR LF--> Data --all bytes--> DataCr --CR LF--> Size
//!   | size 0
//!   v
//!  TrailerStart --CR LF--> Done
//!   |        ^
//!   v        | CR LF
//!  Trailer --+
//! ```

/// Bound of a chunk's size line; a longer one has no use.
const MAX_LINE_BYTES: usize = 4096;
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// So that every size fits 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Behind the size.
    Blanks,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// The coding is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidChunks;

/// What the input holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyPart<'i> {
    /// Bytes of the body; never empty.
    Data(&'i [u8]),
    /// Nothing further yet.
    More,
    /// The body has ended. What is left of the input does not belong to it.
    End,
}

/// The decoder of one body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Of the chunk, or what is left of it.
    size: u64,
    size_digits: u8,
    line_bytes: usize,
    trailer_bytes: usize,
}

impl Chunks {
    /// Takes the next part from the start of `input`.
    pub(super) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<BodyPart<'i>, InvalidChunks> {
        loop {
            match self.state {
                State::Done => return Ok(BodyPart::End),
                State::Data if !input.is_empty() => return Ok(BodyPart::Data(self.data(input))),
                _ => {}
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(BodyPart::More);
            };
            *input = rest;
            self.state = self.after(byte)?;
        }
    }

    fn data<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let wanted = usize::try_from(self.size).unwrap_or(usize::MAX);
        let (data, rest) = input.split_at(wanted.min(input.len()));
        *input = rest;
        self.size -= data.len() as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        data
    }

    fn after(&mut self, byte: u8) -> Result<State, InvalidChunks> {
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.size_digit(byte)?,
            (State::Size | State::Blanks | State::Extension, b'\r') if self.size_digits > 0 => {
                State::SizeLf
            }
            (State::Size | State::Blanks, b';') if self.size_digits > 0 => State::Extension,
            (State::Size | State::Blanks, b' ' | b'\t') if self.size_digits > 0 => {
                self.line_bytes += 1;
                bounded(self.line_bytes, MAX_LINE_BYTES, State::Blanks)?
            }
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.line_bytes += 1;
                bounded(self.line_bytes, MAX_LINE_BYTES, State::Extension)?
            }
            (State::SizeLf, b'\n') => {
                self.size_digits = 0;
                self.line_bytes = 0;
                if self.size == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer_bytes += 1;
                bounded(self.trailer_bytes, MAX_TRAILER_BYTES, State::Trailer)?
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(InvalidChunks),
        })
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, InvalidChunks> {
        let digit = char::from(byte).to_digit(16).ok_or(InvalidChunks)?;
        // The size of the chunk before is 0 by now.
        self.size = (self.size << 4) | u64::from(digit);
        self.size_digits += 1;
        if self.size_digits > MAX_SIZE_DIGITS {
            return Err(InvalidChunks);
        }
        Ok(State::Size)
    }
}

fn bounded(bytes: usize, max: usize, state: State) -> Result<State, InvalidChunks> {
    if bytes > max {
        Err(InvalidChunks)
    } else {
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the input in pieces. The body, and the number of bytes behind its end; `None` if the
    /// coding is invalid or cut off.
    fn decode(input: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        let mut used = 0;
        while used < input.len() {
            let mut part = &input[used..input.len().min(used + piece)];
            used += part.len();
            loop {
                match chunks.next(&mut part).ok()? {
                    BodyPart::Data(data) => body.extend_from_slice(data),
                    BodyPart::More => break,
                    BodyPart::End => return Some((body, input.len() - used + part.len())),
                }
            }
        }
        None
    }

    #[test]
    fn bodies_end_where_the_coding_says() {
        for (input, body, left) in [
            ("0\r\n\r\n", "", 0),
            ("3\r\nabc\r\n0\r\n\r\n", "abc", 0),
            ("3\r\nabc\r\n0\r\n\r\nHTTP/1.1", "abc", 8),
            ("A;x=\"y\"\r\n0123456789\r\n00\r\n\r\n", "0123456789", 0),
            ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", 0),
            ("1 \r\na\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", "a", 0),
        ] {
            for piece in [1, 2, 3, 7, 1000] {
                let decoded = decode(input.as_bytes(), piece);
                assert_eq!(decoded, Some((body.into(), left)), "{input:?} by {piece}");
            }
        }
    }

    #[test]
    fn doubtful_codings_are_errors() {
        for input in [
            "",
            "\r\n",
            "0\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "-1\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3_\r\nabc\r\n0\r\n\r\n",
            ";a\r\n",
            "3 x\r\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "3\rabc",
            "3;\0\r\nabc\r\n0\r\n\r\n",
            "3;a\nabc\r\n0\r\n\r\n",
            "0\r\nX\u{1}: 1\r\n\r\n",
            "0\r\nX: 1\n\r\n",
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(
                    decode(input.as_bytes(), piece),
                    None,
                    "{input:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn size_lines_and_trailers_are_bounded() {
        let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_LINE_BYTES + 1));
        assert_eq!(decode(extension.as_bytes(), 1000), None);
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(MAX_TRAILER_BYTES / 4 + 1));
        assert_eq!(decode(trailers.as_bytes(), 1000), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_in_any_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            piece in 1_usize..50,
        ) {
            let mut input = Vec::new();
            for part in &parts {
                input.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                input.extend_from_slice(part);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\nnext");
            prop_assert_eq!(decode(&input, piece), Some((parts.concat(), 4)));
        }

        #[test]
        fn pieces_change_nothing(input in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b'a'), Just(b';'), any::<u8>()],
            0..60,
        )) {
            let whole = decode(&input, 1000);
            prop_assert_eq!(&decode(&input, 1), &whole);
            prop_assert_eq!(&decode(&input, 3), &whole);
        }
    }
}
