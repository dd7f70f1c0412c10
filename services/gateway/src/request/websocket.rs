//! Which requests open a WebSocket (RFC 6455, 4.2.1).
//!
//! Only these may become a tunnel, so only these are exempt from the body limit and from the
//! time-outs of ordinary responses. `Upgrade` in any other request is not an error: it is ignored,
//! and not forwarded (RFC 9110, 7.8). A handshake with a body is such a request: the body would have
//! no limit.

use http::{HeaderName, Method, Version, header};

use super::headers::Headers;

/// The only version that was ever published.
const VERSION: &[u8] = b"13";
/// What a handshake consists of, beside `Connection` and `Upgrade`.
const END_TO_END: [&str; 4] = [
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];
/// 16 bytes in Base64.
const KEY_LENGTH: usize = 24;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebSocket {
    /// An ordinary request.
    No,
    Handshake,
    /// A handshake of a version that does not exist.
    OtherVersion,
    /// A handshake whose `Connection` names a header that the upstream needs for it: removed as that
    /// demands, the upstream could not accept.
    Severed,
}

impl WebSocket {
    pub(crate) fn of(method: &Method, version: Version, headers: &dyn Headers) -> Self {
        // The first look decides for nearly all requests.
        if headers.first(&header::UPGRADE).is_none() {
            return Self::No;
        }
        let is_key = |key: &[u8]| {
            let body = key.strip_suffix(b"==").unwrap_or_default();
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
            key.len() == KEY_LENGTH && body.iter().all(is_base64)
        };
        let once = |name: &HeaderName| {
            let value = headers.first(name).map(<[u8]>::trim_ascii);
            value.filter(|_| headers.nth(name, 1).is_none())
        };
        let has_body = headers.first(&header::TRANSFER_ENCODING).is_some()
            || headers
                .all(header::CONTENT_LENGTH)
                .any(|length| length.trim_ascii() != b"0");
        let is_handshake = *method == Method::GET
            && !has_body
            && version == Version::HTTP_11
            && headers.lists(header::CONNECTION, "upgrade")
            && headers.lists(header::UPGRADE, "websocket")
            && once(&header::SEC_WEBSOCKET_KEY).is_some_and(is_key);
        let is_severed = || {
            let mut names = END_TO_END.into_iter();
            names.any(|name| headers.lists(header::CONNECTION, name))
        };
        if is_handshake && is_severed() {
            return Self::Severed;
        }
        match once(&header::SEC_WEBSOCKET_VERSION).filter(|_| is_handshake) {
            None => Self::No,
            Some(VERSION) => Self::Handshake,
            Some(_) => Self::OtherVersion,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn kind(method: Method, version: Version, change: (&'static str, &str)) -> WebSocket {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            change,
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        if change.1 == "-" {
            headers.remove(change.0);
        }
        WebSocket::of(&method, version, &headers)
    }

    #[test]
    fn only_a_whole_handshake_opens_a_websocket() {
        use WebSocket::{Handshake, No, OtherVersion, Severed};
        let one_one = Version::HTTP_11;
        for (change, expected) in [
            (("accept", "*/*"), Handshake),
            (("upgrade", "foo, websocket"), Handshake),
            (("content-length", "0"), Handshake),
            (("content-length", "1"), No),
            (("content-length", ""), No),
            (("transfer-encoding", "chunked"), No),
            (("transfer-encoding", "identity"), No),
            (("upgrade", "websocket2"), No),
            (("upgrade", "-"), No),
            (("connection", "keep-alive"), No),
            (("connection", "-"), No),
            (("sec-websocket-key", "-"), No),
            (("sec-websocket-key", "short=="), No),
            (("sec-websocket-key", "not base64 not base64 =="), No),
            (("sec-websocket-version", "-"), No),
            (("sec-websocket-version", "8"), OtherVersion),
            (("connection", "upgrade, Sec-WebSocket-Key"), Severed),
            (("connection", "sec-websocket-version,upgrade"), Severed),
            (("connection", "upgrade,sec-websocket-protocol"), Severed),
            (("connection", "upgrade,sec-websocket-extensions"), Severed),
            (("connection", "sec-websocket-key"), No),
            (("connection", "upgrade, x-hop"), Handshake),
        ] {
            assert_eq!(kind(Method::GET, one_one, change), expected, "{change:?}");
        }
        let none = ("accept", "*/*");
        assert_eq!(kind(Method::POST, one_one, none), No);
        assert_eq!(kind(Method::GET, Version::HTTP_10, none), No);
        assert_eq!(kind(Method::GET, Version::HTTP_2, none), No);
    }
}
