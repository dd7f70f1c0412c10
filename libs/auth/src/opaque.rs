//! Opaque tokens: secrets that their issuer looks up.
//!
//! ```text
//! qrt_ref_3q2-7wAA...A1b2c3d4e
//! `prefix `secret in  `CRC-32 of that text, 8 hexadecimal digits
//!          base64url
//! ```
//!
//! The prefix lets scanners for leaked secrets recognize the token. The checksum detects a mistyped or
//! guessed one without a query; it proves nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

/// Begins an API key.
pub const API_KEY_PREFIX: &str = "qrt_pat_";
/// The secret of an API key.
pub const API_KEY_BYTES: usize = 32;

const CHECKSUM_CHARS: usize = 8;

/// The token with this secret.
#[must_use]
pub fn encode(prefix: &str, secret: &[u8]) -> SecretString {
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let checksum = checksum(&secret);
    format!("{prefix}{secret}{checksum}").into()
}

/// The secret of a token; `None` if it is not one.
#[must_use]
pub fn decode<const BYTES: usize>(prefix: &str, token: &str) -> Option<[u8; BYTES]> {
    let text = token.strip_prefix(prefix)?;
    let secret_chars = (BYTES * 4).div_ceil(3);
    if text.len() != secret_chars + CHECKSUM_CHARS || !text.is_ascii() {
        return None;
    }
    let (secret, found) = text.split_at(secret_chars);
    if found != checksum(secret) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()
}

fn checksum(secret: &str) -> String {
    format!("{:08x}", crc32fast::hash(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn tokens_round_trip_and_damaged_ones_are_none() {
        let token = encode("qrt_pat_", &[7; 32]);
        let token = token.expose_secret();
        assert_eq!(token.len(), 8 + 43 + 8);
        assert_eq!(decode::<32>("qrt_pat_", token), Some([7; 32]));
        assert_eq!(decode::<32>("qrt_ref_", token), None);
        assert_eq!(decode::<31>("qrt_pat_", token), None);
        for length in 0..token.len() {
            assert_eq!(decode::<32>("qrt_pat_", &token[..length]), None);
        }
        for at in 0..token.len() {
            for byte in [b'A', b'0', b'-', 0x80] {
                let mut damaged = token.as_bytes().to_vec();
                damaged[at] = byte;
                let Ok(damaged) = String::from_utf8(damaged) else {
                    continue;
                };
                let found = decode::<32>("qrt_pat_", &damaged);
                assert_eq!(found.is_some(), damaged == token, "{damaged}");
            }
        }
    }
}
