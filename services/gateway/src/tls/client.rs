//! The certificates with which clients prove themselves.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::parse_x509_certificate;

use crate::request::ClientCertificate;

/// A longer one is not sent: some upstreams would refuse the request, and cut off it might be another one.
const MAX_SUBJECT_BYTES: usize = 1024;

/// A certificate that was verified in a handshake. `None`: it cannot be read, which no verified one is.
pub(crate) fn describe_client(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    Some(ClientCertificate {
        subject: visible(&certificate.subject().to_string()),
        fingerprint: hex::encode(Sha256::digest(der)),
        der: der.to_vec(),
    })
}

/// Percent-encodes what is not visible ASCII or a space, and percent signs.
fn visible(text: &str) -> String {
    let mut visible = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => visible.push(char::from(byte)),
            _ => {
                visible.push('%');
                visible.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    if visible.len() > MAX_SUBJECT_BYTES {
        visible.clear();
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_values_of_headers() {
        for (subject, expected) in [
            ("CN=a, O=b c", "CN=a, O=b c"),
            ("CN=M\u{fc}ller", "CN=M%C3%BCller"),
            ("CN=100%\r\nX: y", "CN=100%25%0D%0AX: y"),
        ] {
            assert_eq!(visible(subject), expected);
        }
        assert_eq!(
            visible(&"a".repeat(MAX_SUBJECT_BYTES)).len(),
            MAX_SUBJECT_BYTES
        );
        assert_eq!(visible(&"a".repeat(MAX_SUBJECT_BYTES + 1)), "");
    }
}
