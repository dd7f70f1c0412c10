//! Keys that encrypt what is stored.

use quartet_auth::master_key::KEY_BYTES;
use secrecy::{ExposeSecret as _, SecretString};

use super::checker::Checker;

/// The keys of a table, the current one first; none, if it has none. `None`: a rule is broken.
pub(super) fn check_keys(
    table: &str,
    current: Option<&SecretString>,
    previous: Option<&SecretString>,
    checker: &mut Checker,
) -> Option<Vec<[u8; KEY_BYTES]>> {
    if previous.is_some() && current.is_none() {
        let key = format!("{table}.previous_encryption_key");
        checker.error(key, "needs encryption_key");
    }
    let keys = [
        ("encryption_key", current),
        ("previous_encryption_key", previous),
    ];
    let parsed = keys.into_iter().filter_map(|(name, key)| {
        let parsed = parse_key(key?);
        if parsed.is_none() {
            let rule = "must be 64 hexadecimal digits; generate it with `openssl rand -hex 32`";
            checker.error(format!("{table}.{name}"), rule);
        }
        Some(parsed)
    });
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

fn parse_key(key: &SecretString) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(key.expose_secret().trim(), &mut bytes).ok()?;
    Some(bytes)
}
