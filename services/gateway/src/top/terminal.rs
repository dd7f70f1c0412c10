//! A terminal as a screen: without echo, and with what it showed before once this has ended.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
    stdio::{stdin, stdout},
    termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};

/// Of a terminal that does not say its size.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// The alternate screen, without cursor.
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l";
const CLOSE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const CONTROL_C: u8 = 3;
/// The page keys move by this number of lines.
const PAGE: usize = 10;

pub(super) struct Terminal {
    /// `None`: keys come from no terminal, so none is read.
    before: Option<Termios>,
    /// Read, and not handed on.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Down(usize),
    Up(usize),
    Other,
}

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        let before = isatty(stdin()).then(|| tcgetattr(stdin())).transpose()?;
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        }
        let bytes = Vec::new();
        let terminal = Self { before, bytes };
        write(OPEN)?;
        Ok(terminal)
    }

    /// Columns and lines, as they are now.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(stdout()).ok();
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        size.filter(|size| size.0 > 0 && size.1 > 0)
            .unwrap_or(USUAL_SIZE)
    }

    /// Shows the first `height` of these lines, in place of those before.
    pub(super) fn draw(lines: &[String], height: usize) -> io::Result<()> {
        let mut text = String::from("\u{1b}[H");
        for (at, line) in lines.iter().take(height).enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        write(&text)
    }

    /// The next key, if there is one within this time.
    pub(super) fn key(&mut self, wait: Duration) -> io::Result<Option<Key>> {
        if self.bytes.is_empty() && !self.read(wait)? {
            return Ok(None);
        }
        let length = Key::length(&self.bytes);
        let key = self.bytes.drain(..length).collect::<Vec<u8>>();
        Ok(Some(Key::of(&key)))
    }

    /// Whether there was something to read.
    fn read(&mut self, wait: Duration) -> io::Result<bool> {
        let input = stdin();
        let mut waiting = [PollFd::new(&input, PollFlags::IN)];
        let watched = if self.before.is_some() {
            &mut waiting[..]
        } else {
            &mut []
        };
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(watched, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 64];
        match read(input, &mut bytes) {
            // The terminal is gone.
            Ok(0) => self.bytes.push(CONTROL_C),
            Ok(length) => self.bytes.extend_from_slice(&bytes[..length]),
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = write(CLOSE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

impl Key {
    /// Of the first key: keys without a character are sequences that begin with an escape.
    fn length(bytes: &[u8]) -> usize {
        match bytes {
            [0x1b, b'[', b'0'..=b'9', b'~', ..] => 4,
            [0x1b, b'[' | b'O', _, ..] => 3,
            _ => 1,
        }
    }

    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [b'q' | b'Q' | CONTROL_C, ..] => Self::Quit,
            [b'j', ..] | b"\x1b[B" | b"\x1bOB" => Self::Down(1),
            [b'k', ..] | b"\x1b[A" | b"\x1bOA" => Self::Up(1),
            [b' ', ..] | b"\x1b[6~" => Self::Down(PAGE),
            b"\x1b[5~" => Self::Up(PAGE),
            [b'g', ..] | b"\x1b[H" => Self::Up(usize::MAX),
            [b'G', ..] | b"\x1b[F" => Self::Down(usize::MAX),
            _ => Self::Other,
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_at_once_are_read_one_by_one() {
        let mut bytes = &b"j\x1b[A\x1b[5~x\x1b[Bq"[..];
        let mut keys = Vec::new();
        while !bytes.is_empty() {
            let (key, rest) = bytes.split_at(Key::length(bytes));
            keys.push(Key::of(key));
            bytes = rest;
        }
        let expected = [
            Key::Down(1),
            Key::Up(1),
            Key::Up(PAGE),
            Key::Other,
            Key::Down(1),
            Key::Quit,
        ];
        assert_eq!(keys, expected);
        assert_eq!(Key::length(b"\x1b"), 1);
    }
}
