//! Tests of the last release that today's service fails on purpose. Each is listed with its reason
//! in `services/X/contract.txt`, until the next release.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::service::Service;

/// The file of exceptions in a service's directory.
pub(crate) const FILE: &str = "contract.txt";

pub(super) struct Exception {
    pub(super) test: String,
    pub(super) reason: String,
}

pub(super) fn read(root: &Path, service: Service) -> anyhow::Result<Vec<Exception>> {
    let path = root.join(service.file(FILE));
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Lines of `TEST: REASON`; comments begin with `#`.
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
        let text = "# Until the next release.\n\nlimits::a_test: the limit is 2 now: see #7\n";
        let exceptions = parse(text).unwrap();
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0].test, "limits::a_test");
        assert_eq!(exceptions[0].reason, "the limit is 2 now: see #7");
        assert!(parse("limits::a_test\n").is_err());
    }
}
