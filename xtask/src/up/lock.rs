use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, test_kill_process};

use crate::signals::Signals;

const POLL: Duration = Duration::from_millis(100);
const STOPPING_TIMEOUT: Duration = Duration::from_mins(1);

/// Allows one `up` per source tree. The lifelines of its children hold it too, so that after a kill
/// the next run waits until they have ended.
#[derive(Debug)]
pub(crate) struct Lock(Arc<File>);

impl Lock {
    /// Fails with one message when another run holds it.
    pub(crate) fn take(root: &Path, signals: &Signals) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        let path = root.join("up.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        wait_for(&mut file, root, signals)?;
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Self(Arc::new(file)))
    }

    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.0)
    }
}

fn wait_for(file: &mut File, root: &Path, signals: &Signals) -> anyhow::Result<()> {
    let deadline = Instant::now() + STOPPING_TIMEOUT;
    let mut announced = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error).context("lock up.lock"),
            Err(TryLockError::WouldBlock) => {}
        }
        if let Some(holder) = living_holder(file)? {
            bail!(
                "`cargo xtask up` or `db` already runs in this source tree (process {holder}); \
                 stop it with Ctrl-C there, or by `kill {holder}`"
            );
        }
        if signals.received() || Instant::now() >= deadline {
            bail!("processes of an earlier run still use {}", root.display());
        }
        if !announced {
            println!("An earlier run was killed; waiting until its processes have stopped");
            announced = true;
        }
        sleep(POLL);
    }
}

/// The process that took the lock, if it still runs.
fn living_holder(file: &mut File) -> anyhow::Result<Option<i32>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .filter(|&process| test_kill_process(process).is_ok())
        .map(|process| process.as_raw_nonzero().get()))
}
