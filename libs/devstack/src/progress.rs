/// Receives one line of progress at a time, for the person at the terminal.
pub type Say = fn(&str);

/// Discards progress: for tests.
pub fn silent(_line: &str) {}
