//! Work that is done although its client disconnects.

use quartet_telemetry::{REQUEST, current_request};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Runs `work` in a task of its own, with the span and the context of the current request. A service
/// that stops waits for what `running` tracks.
pub fn detached<T: Send + 'static>(
    running: &TaskTracker,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let work = work.instrument(tracing::Span::current());
    match current_request() {
        Some(request) => running.spawn(REQUEST.scope(request, work)),
        None => running.spawn(work),
    }
}
