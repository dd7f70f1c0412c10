//! Prompts for credentials.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use quartet_client::Secret;

#[cfg(unix)]
use crate::echo::EchoOff;
use crate::failure::Failure;

/// Reads a password from the terminal without echo, or from the first line of standard input.
pub(crate) fn read() -> Result<Secret, Failure> {
    let typed = if io::stdin().is_terminal() {
        prompt("Password: ")
    } else {
        first_line()
    };
    let typed = typed.map_err(Failure::local("read the password"))?;
    if typed.is_empty() {
        return Err(Failure::Usage("the password is empty".into()));
    }
    Ok(Secret::from(typed))
}

/// Reads a new password; twice on a terminal, where a typo cannot be seen.
pub(crate) fn choose() -> Result<Secret, Failure> {
    let first = read()?;
    if io::stdin().is_terminal() {
        let repeated = prompt("Repeat password: ");
        let repeated = repeated.map_err(Failure::local("read the password"))?;
        if repeated != first.expose() {
            return Err(Failure::Usage("the two passwords differ".into()));
        }
    }
    Ok(first)
}

/// rpassword disables echo after it has written the prompt: what is pasted at the sight of it would be shown.
fn prompt(text: &str) -> io::Result<String> {
    #[cfg(unix)]
    let _off = EchoOff::new()?;
    rpassword::prompt_password(text)
}

/// The given email, or one that is prompted for.
pub(crate) fn email(given: Option<String>) -> Result<String, Failure> {
    if let Some(email) = given {
        return Ok(email);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "the email of the account is required".into(),
        ));
    }
    let read = || {
        io::stderr().write_all(b"Email: ")?;
        io::stderr().flush()?;
        first_line()
    };
    let email = read().map_err(Failure::local("read the email"))?;
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
