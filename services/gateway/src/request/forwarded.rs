//! The client behind trusted proxies by `Forwarded` (RFC 7239), read from the right.
//!
//! Every proxy appends an element about its peer. An element counts only if the proxy that appended
//! it is trusted; what is further left may be forged. Quotes are counted from the right too: one that
//! a client has left open hides nothing of what proxies appended.

use std::net::IpAddr;

use http::header;
use quartet_common::net::{TrustedProxies, parse_hop};

use super::headers::Headers;

/// What a trusted proxy says about its client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedElement<'f> {
    /// The address of the client, if it is one.
    client: Option<IpAddr>,
    pub(crate) proto: Option<&'f str>,
    pub(crate) host: Option<&'f str>,
}

/// The rightmost client that is not a trusted proxy, and what is said about its connection. An
/// element that cannot be read, or has no address, ends the search at the proxy that appended it.
pub(crate) fn client_by_forwarded<'f>(
    headers: &'f dyn Headers,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> (IpAddr, ForwardedElement<'f>) {
    let mut client = peer.to_canonical();
    let mut known = ForwardedElement::default();
    if !trusted.contains(client) {
        return (client, known);
    }
    let values: Vec<&[u8]> = headers.all(header::FORWARDED).collect();
    for value in values.into_iter().rev() {
        let Ok(mut rest) = std::str::from_utf8(value) else {
            break;
        };
        loop {
            let (before, last) = split_last(rest);
            let element = parse_element(last);
            let Some((address, element)) = element.and_then(|it| Some((it.client?, it))) else {
                return (client, known);
            };
            (client, known) = (address, element);
            if !trusted.contains(client) {
                return (client, known);
            }
            match before {
                Some(before) => rest = before,
                None => break,
            }
        }
    }
    (client, known)
}

/// What is before the last element, and the last element.
fn split_last(list: &str) -> (Option<&str>, &str) {
    let mut quoted = false;
    for (at, byte) in list.bytes().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return (Some(&list[..at]), &list[at + 1..]),
            _ => {}
        }
    }
    (None, list)
}

/// `for=192.0.2.1;proto=https;host="a.example"`. Parameters of other names are skipped; none may be
/// there twice. Quoted pairs are refused: nothing that proxies have to say needs one.
fn parse_element(text: &str) -> Option<ForwardedElement<'_>> {
    let mut element = ForwardedElement::default();
    let mut seen: [Option<&str>; 4] = [None; 4];
    let mut rest = text.trim_matches([' ', '\t']);
    loop {
        let (name, after) = rest.split_once('=')?;
        let is_token = |name: &str| !name.is_empty() && name.bytes().all(is_token_byte);
        if !is_token(name) {
            return None;
        }
        let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            let (value, after) = quoted.split_once('"')?;
            let value = Some(value).filter(|value| value.bytes().all(is_allowed));
            (value?, after)
        } else {
            let (value, after) = after.split_at(after.find(';').unwrap_or(after.len()));
            (Some(value).filter(|value| is_token(value))?, after)
        };
        if seen
            .iter()
            .flatten()
            .any(|other| other.eq_ignore_ascii_case(name))
        {
            return None;
        }
        // More than the four that exist are not written by a proxy.
        *seen.iter_mut().find(|place| place.is_none())? = Some(name);
        if name.eq_ignore_ascii_case("for") {
            element.client = parse_hop(value);
        } else if name.eq_ignore_ascii_case("proto") {
            element.proto = Some(value);
        } else if name.eq_ignore_ascii_case("host") {
            element.host = Some(value);
        }
        if after.is_empty() {
            return Some(element);
        }
        rest = after.strip_prefix(';')?;
    }
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz;

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()])
    }

    fn read(values: &[&[u8]], peer: &str) -> (String, Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::FORWARDED, HeaderValue::from_bytes(value).unwrap());
        }
        let (client, element) = client_by_forwarded(&headers, peer.parse().unwrap(), &trusted());
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (
            client.to_string(),
            owned(element.proto),
            owned(element.host),
        )
    }

    /// The fields, one a line; the peer; the client, `proto` and `host` that are read.
    const TABLE: [(&str, &str, &str); 25] = [
        ("for=1.1.1.1", "9.9.9.9", "9.9.9.9"),
        ("for=1.1.1.1;proto=https;host=a", INSIDE, "1.1.1.1 https a"),
        ("For=1.1.1.1;PROTO=https", INSIDE, "1.1.1.1 https"),
        ("for=1.1.1.1, for=2.2.2.2", INSIDE, "2.2.2.2"),
        (
            "for=1.1.1.1;proto=https, for=10.0.0.9;proto=http",
            INSIDE,
            "1.1.1.1 https",
        ),
        ("for=1.1.1.1\nfor=2.2.2.2", INSIDE, "2.2.2.2"),
        ("for=\"[2001:db8::1]:4711\"", INSIDE, "2001:db8::1"),
        (
            "for=\"[2001:db8::1]\";proto=http;host=\"a:80\"",
            INSIDE,
            "2001:db8::1 http a:80",
        ),
        ("for=\"1.1.1.1:80\"", INSIDE, "1.1.1.1"),
        ("proto=https;for=1.1.1.1;by=_x", INSIDE, "1.1.1.1 https"),
        // Not an address, or not an element.
        ("for=unknown", INSIDE, INSIDE),
        ("for=_hidden, for=10.0.0.9", INSIDE, "10.0.0.9"),
        ("for=1.1.1.1, proto=https", INSIDE, INSIDE),
        ("for=1.1.1.1;for=2.2.2.2", INSIDE, INSIDE),
        ("for=1.1.1.1;", INSIDE, INSIDE),
        ("for = 1.1.1.1", INSIDE, INSIDE),
        ("for=1.1.1.1:80", INSIDE, INSIDE),
        ("for=[2001:db8::1]", INSIDE, INSIDE),
        ("for=\"1.1.1.1", INSIDE, INSIDE),
        ("for=\"1.1.1\\.1\"", INSIDE, INSIDE),
        ("1.1.1.1", INSIDE, INSIDE),
        ("", INSIDE, INSIDE),
        // What a client leaves open hides nothing.
        ("for=\", for=2.2.2.2", INSIDE, "2.2.2.2"),
        (
            "for=1.1.1.1;x=\"\\\", for=2.2.2.2;proto=http;host=\"a\"",
            INSIDE,
            "2.2.2.2 http a",
        ),
        ("for=\"1.1.1.1, for=10.0.0.9", INSIDE, "10.0.0.9"),
    ];
    const INSIDE: &str = "10.0.0.1";

    #[test]
    fn only_what_trusted_proxies_appended_counts() {
        for (fields, peer, expected) in TABLE {
            let values: Vec<&[u8]> = fields.split('\n').map(str::as_bytes).collect();
            let (client, proto, host) = read(&values, peer);
            let found: Vec<String> = [Some(client), proto, host].into_iter().flatten().collect();
            assert_eq!(found.join(" "), expected, "{fields}");
        }
        assert_eq!(read(&[b"for=\xff, for=10.0.0.9"], INSIDE).0, INSIDE);
        assert_eq!(read(&[], INSIDE).0, INSIDE);
    }

    /// Whatever a client sends, what the proxy appends to it decides: as an element of the same
    /// field, or as a field of its own.
    fn decides_nothing(input: &[u8]) -> Result<(), TestCaseError> {
        let appended: &[u8] = b"for=192.0.2.7;proto=https;host=\"a.example:1\"";
        let joined = [input, b", ", appended].concat();
        if HeaderValue::from_bytes(&joined).is_err() || std::str::from_utf8(&joined).is_err() {
            return Ok(());
        }
        let expected = (
            "192.0.2.7".to_owned(),
            Some("https".to_owned()),
            Some("a.example:1".to_owned()),
        );
        prop_assert_eq!(read(&[&joined], "10.0.0.1"), expected.clone());
        prop_assert_eq!(read(&[input, appended], "10.0.0.1"), expected);
        // It is not read at all from others.
        prop_assert_eq!(read(&[input], "9.9.9.9").0, "9.9.9.9");
        read(&[input], "10.0.0.1");
        Ok(())
    }

    #[test]
    fn fuzz_forwarded() {
        let dictionary = [
            "for=",
            "proto=",
            "host=",
            "by=",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            " ",
            "[2001:db8::1]",
            "10.0.0.9",
            "1.1.1.1",
            ":80",
            "unknown",
            "_hidden",
            "https",
            "a.example",
        ];
        fuzz::run("forwarded", &dictionary, decides_nothing);
    }
}
