//! Names of headers that only the gateway may set.

/// With `_` written as `-`.
const UNTRUSTED_NAMES: [&str; 7] = [
    "x-user-id",
    "x-user-email",
    "x-session-id",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "traceparent",
];
const UNTRUSTED_PREFIXES: [&str; 2] = ["x-quartet-", "x-forwarded-"];

/// In these, other proxies name the caller: oauth2-proxy, Authelia, Kubernetes, Grafana. A route may
/// set them.
const CALLER_NAMES: [&str; 5] = [
    "x-user",
    "x-email",
    "x-groups",
    "x-preferred-username",
    "x-webauth-user",
];
const CALLER_PREFIXES: [&str; 4] = [
    "x-auth-request-",
    "x-remote-",
    "x-authenticated-",
    "remote-",
];

/// Whether a header must not reach the upstream as the client sent it.
///
/// Some servers read `X_User_Id` as `X-User-Id`, so underscores are treated as dashes.
pub(crate) fn is_untrusted(name: &[u8]) -> bool {
    // The first letter decides for nearly all headers.
    let first = name.first().map(u8::to_ascii_lowercase);
    matches!(first, Some(b'x' | b'f' | b't' | b'r'))
        && (is_among(name, &UNTRUSTED_NAMES, &UNTRUSTED_PREFIXES)
            || is_among(name, &CALLER_NAMES, &CALLER_PREFIXES))
}

/// Whether only the gateway itself may set a header of a request.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    is_among(name, &UNTRUSTED_NAMES, &UNTRUSTED_PREFIXES)
}

fn is_among(name: &[u8], names: &[&str], prefixes: &[&str]) -> bool {
    let is_known = |known: &&str| name.len() == known.len() && has_prefix(name, known);
    names.iter().any(is_known) || prefixes.iter().any(|prefix| has_prefix(name, prefix))
}

/// Whether some servers read one name as the other: without case, and with `_` as `-`.
pub(crate) fn is_alias(one: &[u8], other: &[u8]) -> bool {
    let spelled = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(spelled).eq(other.iter().map(spelled))
}

/// Whether a name begins like this, which is in lower case, with `_` as `-`.
pub(crate) fn has_prefix(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix.as_bytes()).all(|(&sent, &known)| {
            sent.to_ascii_lowercase() == known || (sent == b'_' && known == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_with_another_letter() {
        let all = UNTRUSTED_NAMES.iter().chain(&UNTRUSTED_PREFIXES);
        for name in all.chain(&CALLER_NAMES).chain(&CALLER_PREFIXES) {
            assert!(is_untrusted(format!("{name}a").as_bytes()) || is_untrusted(name.as_bytes()));
        }
    }
}
