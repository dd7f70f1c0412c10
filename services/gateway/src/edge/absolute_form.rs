//! Request targets in absolute form (RFC 9112, 3.2.2): `GET http://a/b HTTP/1.1`.
//!
//! Such a head is written again in origin form, with the host of its target as `Host`, before
//! anything else sees it. pingora would compare the two byte by byte and refuse `http://A/` with
//! `Host: a` in a bare 400, without a line in the log.

use bytes::{BufMut as _, BytesMut};
use quartet_common::problem::Problem;

use crate::{
    error,
    request::{RequestTarget, reconcile},
};

/// `None`: the target has another form.
///
/// # Errors
/// When the target has no form at all or another scheme, or its host and that of `Host` differ.
pub(super) fn respell(request: &httparse::Request<'_, '_>) -> Result<Option<BytesMut>, Problem> {
    let raw = request.path.unwrap_or_default();
    if raw.starts_with('/') {
        return Ok(None);
    }
    let target = RequestTarget::split(raw);
    let Some(authority) = target.authority else {
        // The asterisk form has no route. What is left is no form at all, or that of CONNECT.
        return if raw == "*" {
            Ok(None)
        } else {
            Err(error::malformed(
                "the request target must be a path or a URL",
            ))
        };
    };
    let scheme = raw.split_once(':').map_or("", |(scheme, _)| scheme);
    if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(error::malformed("the scheme of the target must be http"));
    }
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let mut headers = request.headers.iter();
    let sent = headers.find(|header| is_host(header.name));
    let sent = sent.map(|header| std::str::from_utf8(header.value).unwrap_or("?"));
    let host = (!authority.is_empty()).then(|| reconcile(Some(authority), sent));
    let host = host.flatten().flatten().ok_or_else(|| {
        error::malformed("the host of the target must be one host, and that of the Host header")
    })?;
    let method = request.method.unwrap_or_default();
    let (path, query) = (target.path, target.query);
    let version = request.version.unwrap_or_default();
    let host = host.to_text();
    let mut head = BytesMut::new();
    for part in [method, " ", path, query, " HTTP/1."] {
        head.put_slice(part.as_bytes());
    }
    head.put_u8(b'0' + version);
    let others = request
        .headers
        .iter()
        .filter(|header| !is_host(header.name));
    let others = others.map(|header| (header.name, header.value));
    for (name, value) in others.chain([("Host", host.as_bytes())]) {
        for part in [b"\r\n", name.as_bytes(), b": ", value] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n\r\n");
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respelled(target: &str, host: &str) -> Result<Option<String>, String> {
        let text = format!("GET {target} HTTP/1.1\r\nX: 1\r\n{host}Y: 2\r\n\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(text.as_bytes()).unwrap();
        let head = respell(&request).map_err(|problem| problem.kind.code.to_owned())?;
        Ok(head.map(|head| String::from_utf8(head.to_vec()).unwrap()))
    }

    #[test]
    fn the_absolute_form_becomes_the_origin_form() {
        for (target, host, expected) in [
            ("http://A./b?c", "Host: a\r\n", "/b?c a"),
            ("HTTPS://a:80", "host: A:80\r\n", "/ a:80"),
            ("http://a?b", "", "/?b a"),
        ] {
            let (target_sent, host_sent) = expected.split_once(' ').unwrap();
            let text =
                format!("GET {target_sent} HTTP/1.1\r\nX: 1\r\nY: 2\r\nHost: {host_sent}\r\n\r\n");
            assert_eq!(respelled(target, host), Ok(Some(text)), "{target}");
        }
        for target in ["/a", "*"] {
            assert_eq!(respelled(target, ""), Ok(None), "{target}");
        }
        for (target, host) in [
            ("http://b/", "Host: a\r\n"),
            ("http://a:80/", "Host: a\r\n"),
            ("http:///a", "Host: a\r\n"),
            ("http://u@a/", "Host: a\r\n"),
            ("ftp://a/", "Host: a\r\n"),
            ("a:80", "Host: a\r\n"),
            ("?x", "Host: a\r\n"),
            ("x/http://a/", "Host: a\r\n"),
        ] {
            assert_eq!(
                respelled(target, host),
                Err("malformed_request".to_owned()),
                "{target}"
            );
        }
    }
}
