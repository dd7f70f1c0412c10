//! `[api_keys]`.

use super::checker::Checker;
use crate::config::model;

pub(super) fn check(model: &model::Model, checker: &mut Checker) {
    let settings = &model.api_keys;
    checker.ranges(
        "api_keys",
        &[
            ("timeout_ms", settings.timeout_ms, 100, 60_000),
            ("max_cached", settings.max_cached, 1, 1_000_000),
        ],
    );
    let Some(url) = &settings.url else { return };
    if !matches!(url.scheme(), "http" | "https") {
        checker.error("api_keys.url", "must begin with http:// or https://");
    }
    if model.revocations.url.is_none() {
        let rule = "needs revocations.url: a revoked key would be accepted until its token expires";
        checker.error("api_keys.url", rule);
    }
}
