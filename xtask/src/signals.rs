//! SIGINT, SIGTERM and SIGHUP, which would end the process otherwise, are recorded and end all waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use quartet_devstack::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static CANCEL: LazyLock<Cancel> = LazyLock::new(Cancel::default);
static LAST: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

pub(crate) fn install() -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal)?;
        flag::register_usize(signal, Arc::clone(&LAST), number)
            .and_then(|_| flag::register(signal, CANCEL.flag()))
            .context("install a signal handler")?;
    }
    Ok(())
}

/// The flag that ends all waiting.
pub(crate) fn cancel() -> &'static Cancel {
    &CANCEL
}

pub(crate) fn received() -> bool {
    CANCEL.is_set()
}

/// Whether it was Ctrl-C, which the terminal sends to child processes too.
pub(crate) fn sent_by_terminal() -> bool {
    usize::try_from(SIGINT) == Ok(LAST.load(Ordering::Relaxed))
}
