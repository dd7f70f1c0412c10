//! `[health]`.

use secrecy::{ExposeSecret as _, SecretString};

use super::checker::Checker;
use crate::config::model;

/// A shorter one can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

pub(super) fn check(model: &model::Model, checker: &mut Checker) {
    let health = &model.health;
    let token = health.token.as_ref().map(SecretString::expose_secret);
    if token.is_some_and(|token| token.len() < MIN_TOKEN_BYTES) {
        let rule = format!("must have at least {MIN_TOKEN_BYTES} bytes");
        checker.error("health.token", rule);
    }
    for (at, name) in health.needed.iter().enumerate() {
        if !model.upstreams.contains_key(name) {
            let key = format!("health.needed[{at}]");
            checker.error(key, format!("there is no upstream `{name}`"));
        }
    }
    let is_path = health.path.starts_with('/')
        && health
            .path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        checker.error("health.path", "must be a path that starts with /");
    }
    checker.range("health.timeout_ms", health.timeout_ms, 10, 10_000);
}
