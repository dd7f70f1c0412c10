//! Echo of the terminal.

use std::{fs::File, io};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal does not show what is typed, until this is dropped.
pub(crate) struct EchoOff {
    terminal: File,
    before: Termios,
}

impl EchoOff {
    pub(crate) fn new() -> io::Result<Self> {
        // As rpassword does, which also reads from it.
        let terminal = File::open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // The terminal is gone, then.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
