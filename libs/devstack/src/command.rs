//! What every child process needs: an environment of its own, and its output in the error.

use std::env;
use std::process::{Command, Output};

use crate::error::{Error, Result};

/// Removes the caller's settings, which must not change what is started here:
/// libpq's variables, and ours too where a service is started.
pub(crate) fn remove_settings(command: &mut Command, prefixes: &[&str]) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// Standard output, if the program succeeded; otherwise an error with all of its output.
pub(crate) fn stdout_of(program: &str, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Error::Program {
        program: program.to_owned(),
        status: output.status,
        output: String::from_utf8_lossy(&text).trim_end().to_owned(),
    })
}
