//! What the headers of a request reveal about its client.

use std::{borrow::Cow, convert::Infallible, net::IpAddr};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, Method, header, request::Parts};
use quartet_http::layers::ClientIp;
use url::Url;

use crate::{domain::values::visitor::Signals, state::AppState};

/// Longer user agents are truncated before anything is derived from them.
const MAX_USER_AGENT_BYTES: usize = 512;
const MAX_HOST_BYTES: usize = 253;
/// A URL needs no more for its scheme, user information, host and port. The rest is not parsed.
const MAX_REFERRER_BYTES: usize = 1024;

/// A request that follows a short link.
pub(super) struct Visit {
    pub(super) headers: HeaderMap,
    method: Method,
    client_ip: IpAddr,
    country_header: Option<HeaderName>,
}

impl Visit {
    pub(super) fn signals(&self) -> Signals<'_> {
        let country_header = self.country_header.as_ref();
        read(&self.method, &self.headers, self.client_ip, country_header)
    }
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let ClientIp(client_ip) = ClientIp::from_request_parts(parts, state).await?;
        Ok(Self {
            headers: parts.headers.clone(),
            method: parts.method.clone(),
            client_ip,
            country_header: state.ctx.config.clicks.country_header.clone(),
        })
    }
}

/// Reads the headers. `country_header` is one that a trusted proxy sets.
pub(super) fn read<'a>(
    method: &Method,
    headers: &'a HeaderMap,
    client_ip: IpAddr,
    country_header: Option<&HeaderName>,
) -> Signals<'a> {
    Signals {
        client_ip,
        user_agent: user_agent(headers),
        is_head: method == Method::HEAD,
        is_prefetch: is_prefetch(headers),
        opts_out: opts_out(headers),
        country: country_header.and_then(|name| country(text(headers, name)?)),
        referrer_host: referrer_host(headers),
    }
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// As text, whatever its bytes: browsers on old phones send device names in local encodings.
fn user_agent(headers: &HeaderMap) -> Cow<'_, str> {
    let Some(value) = headers.get(header::USER_AGENT) else {
        return Cow::default();
    };
    let bytes = value.as_bytes().trim_ascii();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_USER_AGENT_BYTES)]);
    match text {
        // Replacement characters are longer than what they replace.
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(MAX_USER_AGENT_BYTES));
            Cow::Owned(text)
        }
        text @ Cow::Borrowed(_) => text,
    }
}

/// `Sec-Purpose: prefetch;prerender`, and the headers that browsers sent before it existed.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .into_iter()
        .filter_map(|name| text(headers, name))
        .flat_map(|value| value.split([';', ',']))
        .any(|part| {
            ["prefetch", "prerender", "preview"]
                .iter()
                .any(|purpose| part.trim().eq_ignore_ascii_case(purpose))
        })
}

/// Do Not Track, and Global Privacy Control.
fn opts_out(headers: &HeaderMap) -> bool {
    ["dnt", "sec-gpc"].into_iter().any(|name| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes() == b"1")
    })
}

fn referrer_host(headers: &HeaderMap) -> Option<String> {
    let referrer = text(headers, header::REFERER)?;
    let url = Url::parse(&referrer[..referrer.len().min(MAX_REFERRER_BYTES)]).ok()?;
    let host = url
        .host_str()
        .filter(|host| !host.is_empty() && host.len() <= MAX_HOST_BYTES)?;
    Some(host.to_ascii_lowercase())
}

/// Two letters. CDNs send `XX` for unknown countries and `T1` for Tor.
fn country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let is_country = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_country && code != "XX").then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::values::visitor::{BotReason, Device, UserAgent, Visitor, VisitorKey};

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
    const TABLET: &str = "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36";
    const CUBOT: &str = "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 Chrome/129.0 Mobile Safari/537.36";

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn visitor(pairs: &[(&'static str, &str)], method: &Method) -> Visitor {
        let headers = headers(pairs);
        let client_ip = "192.0.2.1".parse().unwrap();
        let country_header = HeaderName::from_static("cf-ipcountry");
        let key = VisitorKey::new(&[7; 16], "go.example");
        let signals = read(method, &headers, client_ip, Some(&country_header));
        let agent = UserAgent::of(&signals.user_agent);
        Visitor::new(&signals, agent, Some(key))
    }

    #[test]
    fn browsers_are_people_and_their_device_is_recognized() {
        let cases = [
            (FIREFOX, Device::Desktop),
            (IPHONE, Device::Mobile),
            (TABLET, Device::Tablet),
            (CUBOT, Device::Mobile),
            (
                "Mozilla/5.0 (Fuchsia; 64) Some/1.2 (new; browser)",
                Device::Other,
            ),
        ];
        for (agent, device) in cases {
            let visitor = visitor(&[("user-agent", agent)], &Method::GET);
            assert_eq!((visitor.device, visitor.bot), (device, None), "{agent}");
            assert!(visitor.hash.is_some());
        }
    }

    #[test]
    fn user_agents_of_any_bytes_are_bounded_text() {
        let read = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                "user-agent",
                header::HeaderValue::from_bytes(bytes).unwrap(),
            );
            user_agent(&headers).into_owned()
        };
        assert_eq!(read("Gerät/1".as_bytes()), "Gerät/1");
        assert_eq!(read(b"Ger\xE4t/1"), "Ger\u{fffd}t/1");
        assert_eq!(read(&[0xE4; 4000]).len(), 510);
        assert_eq!(read(&[b'x'; 4000]).len(), 512);
        // Cut in the middle of a character.
        let long = format!("{}ä", "x".repeat(511));
        assert!(read(long.as_bytes()).len() <= 512);
        let visitor = |agent: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                "user-agent",
                header::HeaderValue::from_bytes(agent).unwrap(),
            );
            let signals = read_signals(&headers);
            Visitor::new(&signals, UserAgent::of(&signals.user_agent), None).bot
        };
        let phone = b"Mozilla/5.0 (Linux; Android 9; T\xE9l\xE9phone Build/1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36";
        assert_eq!(visitor(phone), None);
    }

    fn read_signals(headers: &HeaderMap) -> Signals<'_> {
        read(&Method::GET, headers, [192, 0, 2, 1].into(), None)
    }

    #[test]
    fn a_long_referrer_is_cut_before_it_is_parsed() {
        let host = |referrer: String| referrer_host(&headers(&[("referer", &referrer)]));
        let path = "a".repeat(60_000);
        assert_eq!(
            host(format!("https://a.example/{path}")),
            Some("a.example".into())
        );
        assert_eq!(host(format!("https://{path}.example/")), None);
    }

    #[test]
    fn bots_are_recognized_with_a_reason_and_have_no_hash() {
        let agent = ("user-agent", FIREFOX);
        let cases: [(Pairs<'_>, Method, BotReason); 10] = [
            (&[], Method::GET, BotReason::NoUserAgent),
            (
                &[("user-agent", "curl/8.5.0")],
                Method::GET,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)")],
                Method::GET,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "facebookexternalhit/1.1")],
                Method::GET,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "Slackbot-LinkExpanding 1.0")],
                Method::GET,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "WhatsApp/2.23")],
                Method::GET,
                BotReason::Crawler,
            ),
            (&[agent], Method::HEAD, BotReason::Head),
            (
                &[agent, ("sec-purpose", "prefetch;prerender")],
                Method::GET,
                BotReason::Prefetch,
            ),
            (
                &[agent, ("x-moz", "prefetch")],
                Method::GET,
                BotReason::Prefetch,
            ),
            (
                &[agent, ("purpose", "Preview")],
                Method::GET,
                BotReason::Prefetch,
            ),
        ];
        for (pairs, method, reason) in cases {
            let visitor = visitor(pairs, &method);
            assert_eq!(
                (visitor.bot, visitor.hash),
                (Some(reason), None),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn opting_out_of_tracking_removes_everything_identifying() {
        for signal in ["dnt", "sec-gpc"] {
            let visitor = visitor(
                &[
                    ("user-agent", FIREFOX),
                    (signal, "1"),
                    ("referer", "https://a.example/x"),
                    ("cf-ipcountry", "DE"),
                ],
                &Method::GET,
            );
            let expected = Visitor {
                device: Device::Desktop,
                bot: None,
                country: None,
                referrer_host: None,
                hash: None,
            };
            assert_eq!(visitor, expected, "{signal}");
        }
        assert!(
            visitor(&[("user-agent", FIREFOX), ("dnt", "0")], &Method::GET)
                .hash
                .is_some()
        );
    }

    #[test]
    fn only_the_referrer_host_and_a_valid_country_are_recorded() {
        let recorded = |referrer: &str, country: &str| {
            let visitor = visitor(
                &[
                    ("user-agent", FIREFOX),
                    ("referer", referrer),
                    ("cf-ipcountry", country),
                ],
                &Method::GET,
            );
            (visitor.referrer_host, visitor.country)
        };
        assert_eq!(
            recorded("https://News.Example/a?secret=1", "de"),
            (Some("news.example".into()), Some("DE".into()))
        );
        assert_eq!(recorded("not a URL", "T1"), (None, None));
        assert_eq!(recorded("about:blank", "XX"), (None, None));
    }
}
