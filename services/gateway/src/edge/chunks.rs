//! Finds the end of a body in chunks (RFC 9112, 7.1), looking at every byte once.
//!
//! It does not judge: what is not a chunk is passed on to its end, and pingora's parser refuses it.

const LONGEST_SIZE: u32 = 16;

/// Where in the body the next byte is.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// In the size of a chunk, after this many digits.
    #[default]
    Start,
    Size {
        size: u64,
        digits: u32,
    },
    /// In the rest of the line with the size.
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// In the line end after the data.
    DataEnd,
    /// In the trailer; `empty` while its line has no byte but a carriage return.
    Trailer {
        empty: bool,
    },
    Ended,
    /// Not a body in chunks: its end is not known.
    Invalid,
}

impl Chunks {
    /// How many of the bytes belong to the body, and whether it has ended.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Ended => return (at, true),
                State::Invalid => return (bytes.len(), false),
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
                    self.state = next(state, bytes[at]);
                    at += 1;
                }
            }
        }
        (at, matches!(self.state, State::Ended))
    }
}

fn next(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Start, _) => digit(0, 0, byte),
        (State::Size { size, .. } | State::Extension { size }, b'\n') => match size {
            0 => State::Trailer { empty: true },
            left => State::Data { left },
        },
        (State::Size { size, .. }, b'\r' | b';' | b' ' | b'\t') => State::Extension { size },
        (State::Size { size, digits }, _) => digit(size, digits, byte),
        (State::DataEnd, b'\n') => State::Start,
        (State::DataEnd, b'\r') => State::DataEnd,
        (State::DataEnd, _) => State::Invalid,
        (State::Trailer { empty: true }, b'\n') => State::Ended,
        (State::Trailer { empty: false }, b'\n') | (State::Trailer { empty: true }, b'\r') => {
            State::Trailer { empty: true }
        }
        (State::Trailer { .. }, _) => State::Trailer { empty: false },
        (state, _) => state,
    }
}

fn digit(size: u64, digits: u32, byte: u8) -> State {
    let value = char::from(byte)
        .to_digit(16)
        .filter(|_| digits < LONGEST_SIZE);
    value.map_or(State::Invalid, |value| State::Size {
        size: size << 4 | u64::from(value),
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
            let (taken, ended) = chunks.take(bytes);
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
        ];
        for (body, ends) in cases {
            let text = format!("{body}{next}");
            for part in [1, 2, 3, 7, text.len()] {
                let expected = ends.then_some(body.len());
                assert_eq!(length(&text, part), expected, "{body:?} in parts of {part}");
            }
        }
    }
}
