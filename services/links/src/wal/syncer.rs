//! Syncs files a while after they were written, on a thread of its own.

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    pending: Arc<Mutex<Option<Arc<File>>>>,
    wake: mpsc::SyncSender<()>,
}

impl Syncer {
    pub(super) fn start(interval: Duration) -> io::Result<Self> {
        let pending: Arc<Mutex<Option<Arc<File>>>> = Arc::default();
        let (wake, woken) = mpsc::sync_channel(1);
        let shared = Arc::clone(&pending);
        thread::Builder::new()
            .name("click-log-sync".into())
            .spawn(move || {
                while woken.recv().is_ok() {
                    thread::sleep(interval);
                    let file = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(Err(error)) = file.map(|file| file.sync_data()) {
                        tracing::error!(%error, "the click log could not be synced to disk");
                    }
                }
            })?;
        Ok(Self { pending, wake })
    }

    /// Syncs the file within the interval.
    pub(super) fn schedule(&self, file: &Arc<File>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.is_none() {
            // A full channel means that the thread is already awake.
            let _ = self.wake.try_send(());
            *pending = Some(Arc::clone(file));
        } else if !pending.as_ref().is_some_and(|it| Arc::ptr_eq(it, file)) {
            // The segment before was synced when it was sealed.
            *pending = Some(Arc::clone(file));
        }
    }
}
