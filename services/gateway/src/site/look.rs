//! What waits for the file system, a bounded number at a time.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use quartet_common::problem::Problem;
use tokio::sync::Semaphore;

use crate::error;

/// Looks into the file system that are under way at once, of all sites. Others wait.
const MAX_LOOKS: usize = 64;
/// How long one of them may wait for its turn.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a file is looked at again that changes at the very moment.
pub(super) const TRIES: usize = 3;

static LOOKS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKS)));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    #[error("the directory of the site cannot be opened: {0}")]
    Directory(std::io::Error),
    #[error("a file of the site cannot be read: {0}")]
    File(std::io::Error),
    #[error("the file system did not answer in time")]
    Slow,
    #[error("the file changes all the time")]
    Changing,
    #[error("too many files are open")]
    TooManyOpen,
}

impl From<SiteError> for Problem {
    fn from(error: SiteError) -> Self {
        error::site_unavailable(error)
    }
}

/// Runs what waits for the file system, once it is its turn.
pub(super) async fn look<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SiteError> {
    let looked = async {
        let permit = Arc::clone(&LOOKS).acquire_owned().await;
        let permit = permit.map_err(|_| SiteError::Slow)?;
        let work = move || {
            // Held until the file system has answered, though no request may wait for it any more.
            let _permit = permit;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| SiteError::Slow)
    };
    let looked = tokio::time::timeout(LOOK_TIMEOUT, looked).await;
    looked.unwrap_or(Err(SiteError::Slow))
}
