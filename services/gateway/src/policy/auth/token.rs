//! Where a token is read from.

use std::str;

use http::{HeaderName, Method, header};
use quartet_auth::jwt::JwtError;
use quartet_common::problem::Problem;

use crate::{
    api_keys::is_api_key,
    error,
    request::{Headers, RequestFacts, WebSocket, is_visible},
    routing::{TokenCookie, TokenSource},
};

/// Another place for API keys.
pub(super) static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a route reads tokens from.
#[derive(Debug)]
pub(super) struct TokenSources {
    header: bool,
    /// API keys are accepted, where tokens in the header are.
    api_keys: bool,
    cookies: Box<[TokenCookie]>,
}

/// A token as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presented<'r> {
    pub(super) token: &'r str,
    /// No header has it.
    pub(super) only_in_cookie: bool,
}

impl TokenSources {
    pub(super) fn new(sources: &[TokenSource], api_keys: bool) -> Self {
        let cookies = sources.iter().filter_map(|source| match source {
            TokenSource::Header => None,
            TokenSource::Cookie(cookie) => Some(cookie.clone()),
        });
        let header = sources.contains(&TokenSource::Header);
        Self {
            header,
            api_keys: header && api_keys,
            cookies: cookies.collect(),
        }
    }

    /// The one token of the request. Two different ones are refused, wherever they are: a service
    /// that reads the other one would see another caller.
    ///
    /// A browser adds a cookie to requests that other sites make. One that may change something, or that
    /// opens a WebSocket, counts only if it comes from the same origin.
    ///
    /// # Errors
    /// The problem that is the response.
    pub(super) fn read<'r>(
        &self,
        facts: &RequestFacts<'r>,
    ) -> Result<Option<Presented<'r>>, Problem> {
        let mut token = None;
        if self.header {
            token = bearer(facts.headers)?;
        }
        if self.api_keys {
            token = one_of(token, api_key(facts.headers)?)?;
        }
        let only_in_cookie = token.is_none();
        for source in &self.cookies {
            token = one_of(token, cookie(facts.headers, &source.name)?)?;
        }
        let Some(token) = token else { return Ok(None) };
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(facts.method)
            && facts.websocket == WebSocket::No;
        if only_in_cookie && !is_safe && !is_same_origin(facts) {
            return Err(error::cross_site_request());
        }
        Ok(Some(Presented {
            token,
            only_in_cookie,
        }))
    }
}

impl Presented<'_> {
    /// In a cookie, an API key counts as little as any text: no browser has one.
    pub(super) fn is_api_key(&self) -> bool {
        !self.only_in_cookie && is_api_key(self.token)
    }
}

/// # Errors
/// When there are two different ones.
fn one_of<'r>(known: Option<&'r str>, found: Option<&'r str>) -> Result<Option<&'r str>, Problem> {
    match (known, found) {
        (Some(known), Some(found)) if known != found => {
            let detail = "the request has two different access tokens";
            Err(invalid_token(detail))
        }
        _ => Ok(known.or(found)),
    }
}

/// The key in `X-API-Key`. What has another form is the upstream's business.
fn api_key(headers: &dyn Headers) -> Result<Option<&str>, Problem> {
    let values = (0..).map_while(|index| headers.nth(&API_KEY, index));
    let mut keys = values.filter_map(text).filter(|text| is_api_key(text));
    let key = keys.next();
    if keys.next().is_some() {
        return Err(invalid_token("the request has two API keys"));
    }
    Ok(key)
}

/// The token of `Authorization: Bearer`. A second such header is refused, because another server
/// might read that one instead.
pub(super) fn bearer(headers: &dyn Headers) -> Result<Option<&str>, JwtError> {
    let Some(value) = headers.first(&header::AUTHORIZATION) else {
        return Ok(None);
    };
    if headers.nth(&header::AUTHORIZATION, 1).is_some() {
        return Err(JwtError::NoBearer);
    }
    let (scheme, token) = text(value)
        .and_then(|text| text.split_once(' '))
        .ok_or(JwtError::NoBearer)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(JwtError::NoBearer);
    }
    Ok(Some(token))
}

/// A header as text; `None` if only a part of all servers would read it as that.
fn text(value: &[u8]) -> Option<&str> {
    let is_text = is_visible(value) && memchr::memchr(b'\t', value).is_none();
    str::from_utf8(value).ok().filter(|_| is_text)
}

/// The value of a cookie. An empty one is none: that is how servers remove a cookie.
fn cookie<'r>(headers: &'r dyn Headers, name: &str) -> Result<Option<&'r str>, Problem> {
    let mut found = None;
    for value in (0..).map_while(|index| headers.nth(&header::COOKIE, index)) {
        let named = pairs(value).filter(|pair| pair.0 == name.as_bytes());
        for (_, value) in named {
            if found.is_some() {
                return Err(invalid_token(
                    "the cookie of the access token is there twice",
                ));
            }
            let value = text(value).ok_or_else(|| Problem::from(JwtError::Malformed))?;
            found = Some(value);
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

/// Names and values of a `Cookie` header (RFC 6265, 5.4).
pub(super) fn pairs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|&byte| byte == b';').map(|pair| {
        let pair = pair.trim_ascii();
        match memchr::memchr(b'=', pair) {
            Some(at) => (
                pair[..at].trim_ascii_end(),
                pair[at + 1..].trim_ascii_start(),
            ),
            None => (pair, &pair[pair.len()..]),
        }
    })
}

fn invalid_token(detail: &str) -> Problem {
    error::invalid_token(detail)
}

/// What the browser says, if it is one that says it, and otherwise the origin of the page. A request
/// without either is refused: no browser of today leaves out both.
fn is_same_origin(facts: &RequestFacts<'_>) -> bool {
    let headers = facts.headers;
    if let Some(site) = headers.first(&FETCH_SITE) {
        return site == b"same-origin" && headers.nth(&FETCH_SITE, 1).is_none();
    }
    let origin = headers.first(&header::ORIGIN).and_then(text);
    let is_only = headers.nth(&header::ORIGIN, 1).is_none();
    is_only && origin.is_some_and(|origin| facts.is_of_same_host(origin))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::routing::CookieForward;

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
                .map(|token| token.map(str::to_owned))
                .map_err(|e| e.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["bEaReR  abc "]), Ok(Some("abc".to_owned())));
        assert!(read(&["Basic abc"]).is_err());
        assert!(read(&["abc"]).is_err());
        assert!(read(&["Bearer a", "Bearer b"]).is_err());
    }

    fn read(sources: &[&str], method: &Method, lines: &[(&str, &str)]) -> Result<String, u16> {
        read_behind(sources, method, lines, (false, None))
    }

    /// `proxy`: what a trusted one says of the connection, and of the host.
    fn read_behind(
        sources: &[&str],
        method: &Method,
        lines: &[(&str, &str)],
        proxy: (bool, Option<&str>),
    ) -> Result<String, u16> {
        let sources: Vec<TokenSource> = sources
            .iter()
            .map(|name| match *name {
                "header" => TokenSource::Header,
                name => TokenSource::Cookie(TokenCookie {
                    name: name.to_owned(),
                    forward: CookieForward::None,
                }),
            })
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let facts = RequestFacts {
            method,
            is_secure: proxy.0,
            reported_host: proxy.1,
            ..RequestFacts::of_test(&headers)
        };
        match TokenSources::new(&sources, true).read(&facts) {
            Ok(None) => Ok(String::new()),
            Ok(Some(presented)) => Ok(presented.token.to_owned()),
            Err(problem) => Err(problem.kind.status.as_u16()),
        }
    }

    #[test]
    fn a_request_has_one_token() {
        let both = &["header", "t"][..];
        for (sources, lines, expected) in [
            (both, &[][..], Ok("")),
            (both, &[("cookie", "t=a")], Ok("a")),
            (both, &[("cookie", "x=1; t=a;y=2")], Ok("a")),
            (both, &[("cookie", "x=1"), ("cookie", " t = a ")], Ok("a")),
            (both, &[("cookie", "t=a.b=c==")], Ok("a.b=c==")),
            (both, &[("cookie", "T=a; tt=b; t")], Ok("")),
            (both, &[("cookie", "t=")], Ok("")),
            (
                both,
                &[("authorization", "Bearer a"), ("cookie", "t=a")],
                Ok("a"),
            ),
            (
                both,
                &[("authorization", "Bearer a"), ("cookie", "t=")],
                Ok("a"),
            ),
            (
                both,
                &[("authorization", "Bearer a"), ("cookie", "t=b")],
                Err(401),
            ),
            (
                both,
                &[("authorization", "Basic a"), ("cookie", "t=b")],
                Err(401),
            ),
            (both, &[("cookie", "t=a; t=a")], Err(401)),
            (both, &[("cookie", "t=a"), ("cookie", "t=b")], Err(401)),
            (both, &[("cookie", "t=; t=a")], Err(401)),
            (both, &[("cookie", "t=a\tb")], Err(401)),
            (&["t"], &[("authorization", "Bearer a")], Ok("")),
            (&["t", "u"], &[("cookie", "u=a; t=a")], Ok("a")),
            (&["t", "u"], &[("cookie", "u=b; t=a")], Err(401)),
            (&["header"], &[("cookie", "t=a")], Ok("")),
        ] {
            let result = read(sources, &Method::GET, lines);
            assert_eq!(result, expected.map(str::to_owned), "{lines:?}");
        }
    }

    #[test]
    fn an_api_key_has_one_of_two_headers() {
        let (key, other) = ("qrt_pat_a", "qrt_pat_b");
        let header = &["header"][..];
        for (sources, lines, expected) in [
            (header, &[("x-api-key", key)][..], Ok(key)),
            (header, &[("authorization", "Bearer qrt_pat_a")], Ok(key)),
            (
                header,
                &[("authorization", "Bearer qrt_pat_a"), ("x-api-key", key)],
                Ok(key),
            ),
            (
                header,
                &[("authorization", "Bearer t"), ("x-api-key", key)],
                Err(401),
            ),
            (
                header,
                &[("authorization", "Bearer t"), ("x-api-key", "theirs")],
                Ok("t"),
            ),
            (
                header,
                &[("x-api-key", key), ("x-api-key", other)],
                Err(401),
            ),
            (header, &[("x-api-key", key), ("x-api-key", key)], Err(401)),
            (
                header,
                &[("x-api-key", "theirs"), ("x-api-key", key)],
                Ok(key),
            ),
            (header, &[("x-api-key", "theirs")], Ok("")),
            (&["t"], &[("x-api-key", key)], Ok("")),
        ] {
            let result = read(sources, &Method::POST, lines);
            assert_eq!(result, expected.map(str::to_owned), "{lines:?}");
        }
    }

    /// The origin is that of the page in the browser, so it is compared with what the browser asked for.
    #[test]
    fn a_cookie_counts_for_the_origin_before_the_proxy() {
        let encrypted = (true, Some("a.example"));
        for (origin, proxy, expected) in [
            ("https://a.example", encrypted, Ok("a")),
            ("http://a.example", encrypted, Err(403)),
            ("https://inner.example", encrypted, Err(403)),
            ("https://inner.example", (true, None), Ok("a")),
        ] {
            let lines = [
                ("host", "inner.example"),
                ("origin", origin),
                ("cookie", "t=a"),
            ];
            let result = read_behind(&["t"], &Method::POST, &lines, proxy);
            assert_eq!(result, expected.map(str::to_owned), "{origin} {proxy:?}");
        }
    }

    #[test]
    fn a_cookie_counts_for_the_same_origin() {
        let host = ("host", "a.example");
        for (lines, expected) in [
            (&[][..], Err(403)),
            (&[("sec-fetch-site", "same-origin")], Ok("a")),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "https://a.example"),
                ],
                Err(403),
            ),
            (&[("sec-fetch-site", "cross-site")], Err(403)),
            (&[("sec-fetch-site", "none")], Err(403)),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "cross-site"),
                ],
                Err(403),
            ),
            (&[("origin", "https://a.example")], Ok("a")),
            (&[("origin", "http://a.example")], Ok("a")),
            (&[("origin", "https://a.example:443")], Err(403)),
            (&[("origin", "http://A.example")], Err(403)),
            (&[("origin", "https://a.example:8443")], Err(403)),
            (&[("origin", "https://a.example.evil.example")], Err(403)),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("origin", "https://a.example"),
                ],
                Err(403),
            ),
            (&[("origin", "null")], Err(403)),
            (&[("origin", "a.example")], Err(403)),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .chain([&host, &("cookie", "t=a")])
                .copied()
                .collect();
            let result = read(&["header", "t"], &Method::POST, &lines);
            assert_eq!(result, expected.map(str::to_owned), "{lines:?}");
            assert_eq!(
                read(&["t"], &Method::GET, &lines),
                Ok("a".to_owned()),
                "{lines:?}"
            );
            let with_header: Vec<_> = lines
                .iter()
                .chain([&("authorization", "Bearer a")])
                .copied()
                .collect();
            assert_eq!(
                read(&["header", "t"], &Method::POST, &with_header),
                Ok("a".to_owned())
            );
        }
    }
}
