//! `[admin]`, and where its listener may be.

use secrecy::ExposeSecret as _;

use super::{
    checker::Checker,
    upstreams::{check_identity, parse_authorities},
};
use crate::config::{
    admin::{AdminConfig, AdminTls, is_loopback},
    model,
};

/// A shorter one can be guessed.
const MIN_TOKEN_BYTES: usize = 32;
const MAX_TOKEN_BYTES: usize = 512;
/// The old and the new one of a rotation, for a few operators and programs.
const MAX_TOKENS: usize = 16;

pub(super) fn check(model: &model::Model, checker: &mut Checker) -> AdminConfig {
    let admin = &model.admin;
    check_tokens(admin, checker);
    let identity = check_identity(
        ("admin.tls_certificate", admin.tls_certificate.as_deref()),
        ("admin.tls_key", admin.tls_key.as_ref()),
        checker,
    );
    let authorities = admin.tls_client_ca.as_deref().map(parse_authorities);
    let authorities = checker.ok("admin.tls_client_ca", authorities.transpose());
    if admin.tls_client_ca.is_some() && admin.tls_certificate.is_none() {
        checker.error("admin.tls_client_ca", "needs admin.tls_certificate");
    }
    let is_open = admin.tokens.is_empty() && admin.tls_client_ca.is_none();
    if is_open && !is_loopback(model.server.admin_listen) {
        let rule = "must be a loopback address, unless admin.tokens or admin.tls_client_ca is set. \
                    Probes and metrics alone can be at server.probe_listen";
        checker.error("server.admin_listen", rule);
    }
    AdminConfig {
        tokens: admin.tokens.clone(),
        tls: identity.flatten().map(|identity| AdminTls {
            identity,
            client_authorities: authorities.flatten().unwrap_or_default(),
        }),
    }
}

fn check_tokens(admin: &model::Admin, checker: &mut Checker) {
    if admin.tokens.len() > MAX_TOKENS {
        let rule = format!("must be at most {MAX_TOKENS} tokens");
        checker.error("admin.tokens", rule);
    }
    // Those of `Authorization: Bearer` (RFC 6750, 2.1).
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    for (at, token) in admin.tokens.iter().enumerate() {
        let token = token.expose_secret().as_bytes();
        let is_sized = (MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len());
        if !(is_sized && token.iter().copied().all(is_allowed)) {
            let rule = format!(
                "must have {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} bytes: letters, digits and -._~+/="
            );
            checker.error(format!("admin.tokens[{at}]"), rule);
        }
    }
}
