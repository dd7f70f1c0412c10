//! `[revocations]`.

use quartet_auth::signature::Signer;

use super::checker::Checker;
use crate::config::model;

pub(super) fn check(settings: &model::Revocations, checker: &mut Checker) {
    checker.ranges(
        "revocations",
        &[
            ("interval_ms", settings.interval_ms, 100, 4_000),
            ("timeout_ms", settings.timeout_ms, 100, 60_000),
            ("stale_seconds", settings.stale_seconds, 1, 3_600),
            ("max_sessions", settings.max_sessions as u64, 1, 10_000_000),
        ],
    );
    let Some(url) = &settings.url else { return };
    if !matches!(url.scheme(), "http" | "https") {
        let rule = "must begin with http:// or https://";
        checker.error("revocations.url", rule);
    }
    if settings.secret.as_ref().and_then(Signer::new).is_none() {
        let rule = "must be that of core's events.secret: `whsec_` and 24 to 64 bytes in base64";
        checker.error("revocations.secret", rule);
    }
}
