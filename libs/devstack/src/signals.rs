//! SIGINT, SIGTERM and SIGHUP, which would end the process otherwise, are recorded and end all waiting.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cancel::Cancel;

static CANCEL: LazyLock<Cancel> = LazyLock::new(Cancel::default);
static LAST: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// The body of `main`: records signals, and prints the error of a run that no signal has ended.
pub fn main(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    match install().and_then(|()| run()) {
        Ok(code) => code,
        // Ctrl-C is not an error, but not success either.
        Err(_) if received() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn install() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal)?;
        flag::register_usize(signal, Arc::clone(&LAST), number)
            .and_then(|_| flag::register(signal, CANCEL.flag()))
            .context("install a signal handler")?;
    }
    Ok(())
}

/// The flag that ends all waiting.
pub fn cancel() -> &'static Cancel {
    &CANCEL
}

pub fn received() -> bool {
    CANCEL.is_set()
}

/// Whether it was Ctrl-C, which the terminal sends to child processes too.
pub fn sent_by_terminal() -> bool {
    usize::try_from(SIGINT) == Ok(LAST.load(Ordering::Relaxed))
}
