//! Tests of the release before that today's service is meant to fail: each stands in
//! `services/X/contract.txt` with its reason, until the next release.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub(crate) struct Exception {
    pub(super) test: String,
    pub(super) reason: String,
}

/// Where a service names its exceptions.
pub(crate) fn file(root: &Path, service: &str) -> PathBuf {
    root.join("services").join(service).join("contract.txt")
}

pub(super) fn read(root: &Path, service: &str) -> anyhow::Result<Vec<Exception>> {
    let path = file(root, service);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Lines of `TEST: REASON`; others begin with `#`.
fn parse(text: &str) -> anyhow::Result<Vec<Exception>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (test, reason) = line
                .split_once(": ")
                .with_context(|| format!("`{line}` is not `TEST: REASON`"))?;
            Ok(Exception {
                test: test.to_owned(),
                reason: reason.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_exception_has_a_reason() {
        let text = "# Until the next release.\n\nlimits::a_test: it is 2 now: so be it\n";
        let exceptions = parse(text).unwrap();
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0].test, "limits::a_test");
        assert_eq!(exceptions[0].reason, "it is 2 now: so be it");
        assert!(parse("limits::a_test\n").is_err());
    }
}
