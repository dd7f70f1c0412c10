use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory of one test, removed at its end.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("quartet-devstack-")
        // As root, the server's user has to reach it.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap()
}

/// Waits until the condition holds; fails the test after 20 s.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Whether a process with this id runs. A zombie does not.
pub(crate) fn runs(process: u32) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", &process.to_string()])
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&output.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
