//! Asking for a password.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use quartet_client::Secret;

use crate::failure::Failure;

/// From the terminal without showing it, or the first line of standard input.
pub(crate) fn read() -> Result<Secret, Failure> {
    let typed = if io::stdin().is_terminal() {
        rpassword::prompt_password("Password: ")
    } else {
        first_line()
    };
    let typed = typed.map_err(Failure::local("read the password"))?;
    if typed.is_empty() {
        return Err(Failure::Usage("no password was given".into()));
    }
    Ok(Secret::from(typed))
}

/// A new one: on a terminal asked for twice, since a slip cannot be seen.
pub(crate) fn choose() -> Result<Secret, Failure> {
    let first = read()?;
    if io::stdin().is_terminal() {
        let again = rpassword::prompt_password("Password again: ");
        let again = again.map_err(Failure::local("read the password"))?;
        if again != first.expose() {
            return Err(Failure::Usage("the two passwords differ".into()));
        }
    }
    Ok(first)
}

/// The given address, or one that is asked for.
pub(crate) fn email(given: Option<String>) -> Result<String, Failure> {
    if let Some(email) = given {
        return Ok(email);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "which account? Give its mail address".into(),
        ));
    }
    let read = || {
        io::stderr().write_all(b"Mail address: ")?;
        io::stderr().flush()?;
        first_line()
    };
    let email = read().map_err(Failure::local("read the mail address"))?;
    Ok(email.trim().to_owned())
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    Ok(line)
}
