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

/// Whether a header must not reach the upstream as the client sent it.
///
/// Some servers read `X_User_Id` as `X-User-Id`, so underscores are treated as dashes.
pub(crate) fn is_untrusted(name: &[u8]) -> bool {
    // The first letter decides for nearly all headers.
    let first = name.first().map(u8::to_ascii_lowercase);
    matches!(first, Some(b'x' | b'f' | b't')) && is_untrusted_name(name)
}

fn is_untrusted_name(name: &[u8]) -> bool {
    let is_known = |known: &&str| name.len() == known.len() && has_prefix(name, known);
    UNTRUSTED_NAMES.iter().any(is_known)
        || UNTRUSTED_PREFIXES
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

fn has_prefix(name: &[u8], prefix: &str) -> bool {
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
        for name in UNTRUSTED_NAMES.iter().chain(&UNTRUSTED_PREFIXES) {
            assert!(is_untrusted(format!("{name}a").as_bytes()) || is_untrusted(name.as_bytes()));
        }
    }
}
