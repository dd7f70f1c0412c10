//! The logs of the services.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::secrets::Secrets;

/// The JSON lines of a log file. Other lines are skipped.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Access log lines with this request id.
pub(crate) fn requests(path: &Path, request_id: &str) -> Vec<Value> {
    lines(path)
        .into_iter()
        .filter(|line| line["request_id"] == request_id && line.get("status").is_some())
        .collect()
}

/// The last lines of every log, for a failed test.
pub(crate) fn print_tails(logs: &[PathBuf], count: usize) {
    for log in logs {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let name = log.file_stem().unwrap_or_default().to_string_lossy();
        eprintln!("---- last lines of {name}");
        for line in &lines[lines.len().saturating_sub(count)..] {
            eprintln!("{line}");
        }
    }
}

/// Violations of what holds for the logs of every test: no secret, no panic, only JSON.
pub(crate) fn faults(logs: &[PathBuf], secrets: &Secrets) -> Vec<String> {
    let mut faults = Vec::new();
    for log in logs {
        let name = log.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(log).unwrap_or_default();
        for secret in secrets.found_in(&text) {
            faults.push(format!("{name}: the log contains the secret {secret}"));
        }
        if text.contains("panicked at") || text.contains("\"panic: ") {
            faults.push(format!("{name}: panicked"));
        }
        let plain = text
            .lines()
            .find(|line| serde_json::from_str::<Value>(line).is_err());
        if let Some(line) = plain {
            faults.push(format!("{name}: a log line is not JSON: {line}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{Secrets, faults};

    #[test]
    fn leaked_tokens_and_panics_are_found() {
        let secrets = Secrets::default();
        secrets.collect(br#"{"access_token": "not-to-be-shown", "id": "may-be-shown-to-all"}"#);
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "{\"a\":\"may-be-shown-to-all\"}\n").unwrap();
        assert!(faults(&[log.path().to_owned()], &secrets).is_empty());
        std::fs::write(log.path(), "{\"a\":\"Bearer not-to-be-shown\"}\n").unwrap();
        assert_eq!(faults(&[log.path().to_owned()], &secrets).len(), 1);
        std::fs::write(log.path(), "thread 'main' panicked at x.rs\n").unwrap();
        assert_eq!(faults(&[log.path().to_owned()], &secrets).len(), 2);
    }
}
