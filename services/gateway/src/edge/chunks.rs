//! Finds the end of a body in chunks (RFC 9112, 7.1), looking at every byte once.
//!
//! What a parser behind this one, or a proxy before it, could read otherwise is refused: bare line
//! feeds, sizes without digits or beyond any body, control characters in extensions and trailers.
//! Otherwise one of the two could see the end of the body, and the next request, elsewhere. The only
//! tolerance is space after a size, which old clients pad it with.

const LONGEST_SIZE: u32 = 16;
/// No body may be larger.
const LARGEST: u64 = 1 << 40;
/// Of all extensions and trailers of a body, which are not counted otherwise.
const EXTRA_BYTES: u32 = 16 * 1024;

/// Where in the body the next byte is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Bytes of extensions and trailers so far.
    extra: u32,
}

/// Not a body in chunks: where it ends is in doubt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidChunks;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Start,
    /// In the size of a chunk, after this many digits.
    Size {
        size: u64,
        digits: u32,
    },
    /// In the space after the size.
    Space {
        size: u64,
    },
    /// In the rest of the line with the size.
    Extension {
        size: u64,
    },
    /// After the carriage return of that line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// After the data.
    DataEnd,
    /// After the carriage return that follows the data.
    DataLineEnd,
    /// In the trailers; `empty`: at the start of a line.
    Trailer {
        empty: bool,
    },
    /// After the carriage return of such a line.
    TrailerEnd {
        empty: bool,
    },
    Ended,
}

impl Chunks {
    /// How many of the bytes belong to the body, and whether it has ended.
    ///
    /// # Errors
    /// When they do not continue the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), InvalidChunks> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Ended => return Ok((at, true)),
                State::Data { left } => {
                    let skipped = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len() - at);
                    at += skipped;
                    let left = left - skipped as u64;
                    self.state = if left == 0 {
                        State::DataEnd
                    } else {
                        State::Data { left }
                    };
                }
                state => {
                    self.state = next(state, bytes[at]).ok_or(InvalidChunks)?;
                    at += 1;
                    if matches!(
                        state,
                        State::Space { .. } | State::Extension { .. } | State::Trailer { .. }
                    ) {
                        self.extra += 1;
                    }
                    if self.extra > EXTRA_BYTES {
                        return Err(InvalidChunks);
                    }
                }
            }
        }
        Ok((at, matches!(self.state, State::Ended)))
    }
}

/// `None`: this byte cannot follow.
fn next(state: State, byte: u8) -> Option<State> {
    Some(match (state, byte) {
        (State::Start, _) => digit(0, 0, byte)?,
        (State::Size { size, .. } | State::Space { size } | State::Extension { size }, b'\r') => {
            State::SizeEnd { size }
        }
        (State::Size { size, .. } | State::Space { size }, b';') => State::Extension { size },
        (State::Size { size, .. } | State::Space { size }, b' ' | b'\t') => State::Space { size },
        (State::Size { size, digits }, _) => digit(size, digits, byte)?,
        (State::Extension { size }, _) if is_text(byte) => State::Extension { size },
        (State::SizeEnd { size: 0 } | State::TrailerEnd { empty: false }, b'\n') => {
            State::Trailer { empty: true }
        }
        (State::SizeEnd { size }, b'\n') => State::Data { left: size },
        (State::DataEnd, b'\r') => State::DataLineEnd,
        (State::DataLineEnd, b'\n') => State::Start,
        (State::Trailer { empty }, b'\r') => State::TrailerEnd { empty },
        (State::Trailer { .. }, _) if is_text(byte) => State::Trailer { empty: false },
        (State::TrailerEnd { empty: true }, b'\n') => State::Ended,
        _ => return None,
    })
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

fn digit(size: u64, digits: u32, byte: u8) -> Option<State> {
    let value = char::from(byte).to_digit(16)?;
    let size = size.checked_mul(16)? + u64::from(value);
    (digits < LONGEST_SIZE && size <= LARGEST).then_some(State::Size {
        size,
        digits: digits + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the body, however it is split; `None`: no end was found.
    fn length(text: &str, part: usize) -> Option<usize> {
        let mut chunks = Chunks::default();
        let mut length = 0;
        for bytes in text.as_bytes().chunks(part) {
            let Ok((taken, ended)) = chunks.take(bytes) else {
                return None;
            };
            length += taken;
            if ended {
                return Some(length);
            }
            assert_eq!(taken, bytes.len());
        }
        None
    }

    #[test]
    fn the_end_is_found_however_the_body_is_split() {
        let next = "GET / HTTP/1.1\r\n";
        let cases = [
            ("0\r\n\r\n", true),
            ("5\r\nabcde\r\n0\r\n\r\n", true),
            ("A;name=\"v\"\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n", true),
            ("1\r\nx\r\n000\r\ntrailer: 1\r\nother: 2\r\n\r\n", true),
            ("ffffffffffffffff\r\nx", false),
            ("1\r\nxy\r\n0\r\n\r\n", false),
            ("zz\r\n0\r\n\r\n", false),
            ("00000000000000000\r\n\r\n", false),
            ("\r\n0\r\n\r\n", false),
            ("4 \r\nabcd\r\n0\r\n\r\n", true),
            ("4 \t;a\r\nabcd\r\n0\r\n\r\n", true),
            ("4 a\r\nabcd\r\n0\r\n\r\n", false),
            ("4;a\nb\r\nabcd\r\n0\r\n\r\n", false),
            ("4;a\rb\r\nabcd\r\n0\r\n\r\n", false),
            ("4\nabcd\r\n0\r\n\r\n", false),
            ("4\r\nabcd\n0\r\n\r\n", false),
            ("4\r\nabcd\r\n0\n\r\n", false),
            ("0\r\na: 1\n\r\n", false),
            ("0\r\na: 1\rb\r\n\r\n", false),
            ("0\r\na: 1\r\n\n", false),
            ("10000000001\r\n", false),
            ("8000000000000000\r\n", false),
        ];
        for (body, ends) in cases {
            let text = format!("{body}{next}");
            for part in [1, 2, 3, 7, text.len()] {
                let expected = ends.then_some(body.len());
                assert_eq!(length(&text, part), expected, "{body:?} in parts of {part}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = "x".repeat(9_000);
        let chunk = format!("1;{long}\r\na\r\n");
        assert!(Chunks::default().take(chunk.as_bytes()).is_ok());
        assert_eq!(length(&format!("{chunk}{chunk}0\r\n\r\n"), 100), None);
        assert_eq!(length(&format!("0\r\n{long}\r\n{long}\r\n\r\n"), 100), None);
    }
}
