//! Waits for conditions with a timeout, never for a fixed time.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(15);
/// Long enough for a debug build on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `attempt` returns a value; fails the test after 30 s.
pub(crate) async fn eventually<T, F, Fut>(what: &str, attempt: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(PATIENCE, what, attempt).await
}

/// The same with another timeout.
pub(crate) async fn within<T, F, Fut>(patience: Duration, what: &str, mut attempt: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            begin.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}
