//! Names of headers that only the gateway may set.

/// With `_` written as `-`.
const IDENTITY_HEADERS: [&str; 7] = [
    "x-user-id",
    "x-user-email",
    "x-session-id",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "traceparent",
];
const IDENTITY_PREFIXES: [&str; 2] = ["x-quartet-", "x-forwarded-"];
const LONGEST: usize = 64;

/// Whether a header must not reach the upstream as the client sent it.
///
/// Some servers read `X_User_Id` as `X-User-Id`, so underscores are treated as dashes.
pub(crate) fn is_untrusted(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(is_identity_header)
}

fn is_identity_header(name: &str) -> bool {
    if name.len() > LONGEST {
        // Longer than any exact name: only a prefix can match.
        return IDENTITY_PREFIXES
            .iter()
            .any(|prefix| has_prefix(name, prefix));
    }
    IDENTITY_HEADERS
        .iter()
        .any(|known| name.len() == known.len() && has_prefix(name, known))
        || IDENTITY_PREFIXES
            .iter()
            .any(|prefix| has_prefix(name, prefix))
}

/// Whether some servers read one name as the other: without case, and with `_` as `-`.
pub(crate) fn is_alias(one: &[u8], other: &[u8]) -> bool {
    let spelled = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(spelled).eq(other.iter().map(spelled))
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(sent, known)| {
            sent.to_ascii_lowercase() == known || (sent == b'_' && known == b'-')
        })
}
