use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::signals;
use rustix::process::{Pid, test_kill_process};

const POLL: Duration = Duration::from_millis(100);
const STOPPING_TIMEOUT: Duration = Duration::from_mins(1);

/// Allows one `up` per source tree; fails with one message when another run holds the lock. The
/// lifelines of its children hold it too, so that after a kill the next run waits until they have
/// ended.
pub(crate) fn take(root: &Path) -> anyhow::Result<Arc<File>> {
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(root.join("up.lock")).context("open up.lock")?;
    let deadline = Instant::now() + STOPPING_TIMEOUT;
    let mut announced = false;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(error) = error {
            return Err(error).context("lock up.lock");
        }
        if let Some(holder) = living_holder(&mut file)? {
            bail!(
                "`cargo xtask up` or `db` already runs in this source tree (process {holder}); \
                 stop it with Ctrl-C there, or by `kill {holder}`"
            );
        }
        ensure!(
            !signals::received() && Instant::now() < deadline,
            "processes of an earlier run still use {}",
            root.display()
        );
        if !announced {
            println!("An earlier run was killed; waiting until its processes have stopped");
            announced = true;
        }
        sleep(POLL);
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(Arc::new(file))
}

/// The process that took the lock, if it still runs.
fn living_holder(file: &mut File) -> anyhow::Result<Option<i32>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let holder = text.trim().parse().ok().and_then(Pid::from_raw);
    let holder = holder.filter(|&process| test_kill_process(process).is_ok());
    Ok(holder.map(|process| process.as_raw_nonzero().get()))
}
