//! Visits: what the headers of a request for a short link tell about who asks.

use std::{net::IpAddr, sync::LazyLock};

use aho_corasick::AhoCorasick;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, header};
use sha2::Sha256;
use url::Url;

/// Longer user agents are cut before they are looked at.
const MAX_USER_AGENT_BYTES: usize = 512;
const MAX_HOST_BYTES: usize = 253;

/// What crawlers, link previews, monitors and programs call themselves. Lower case.
const BOTS: [&str; 62] = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "scrape",
    "archive",
    "preview",
    "fetch",
    "facebookexternalhit",
    "facebookcatalog",
    "whatsapp",
    "telegram",
    "skypeuripreview",
    "embedly",
    "quora link",
    "outbrain",
    "pinterest/",
    "vkshare",
    "flipboard",
    "tumblr/",
    "bitlybot",
    "iframely",
    "mastodon",
    "pleroma",
    "misskey",
    "curl/",
    "wget",
    "libwww",
    "python",
    "aiohttp",
    "httpx",
    "go-http-client",
    "java/",
    "apache-httpclient",
    "okhttp",
    "axios",
    "node-fetch",
    "undici",
    "got (",
    "reqwest",
    "hyper/",
    "ruby",
    "perl",
    "php/",
    "guzzle",
    "httpclient",
    "http_request",
    "postman",
    "insomnia",
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "lighthouse",
    "pagespeed",
    "gtmetrix",
    "pingdom",
    "uptime",
    "monitor",
    "statuscake",
    "scanner",
];
static BOT_FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(BOTS)
        .expect("the list is constant")
});

/// What kind of machine asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Desktop,
    Mobile,
    Tablet,
    Other,
}

/// Why a visit is not a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BotReason {
    Crawler,
    NoUserAgent,
    Head,
    Prefetch,
}

/// A request for a short link as far as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) device: Device,
    pub(crate) bot: Option<BotReason>,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) visitor: Option<[u8; 16]>,
}

/// What is needed to recognise a visitor within one day and on one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) salt: &'a [u8; 16],
    pub(crate) host: &'a str,
    pub(crate) address: IpAddr,
}

impl Visit {
    /// Reads the headers. Who asks not to be tracked (DNT, GPC) is counted without anything
    /// that could tell who it was.
    pub(crate) fn read(
        headers: &HeaderMap,
        is_head: bool,
        identity: Option<Identity<'_>>,
        country_header: Option<&HeaderName>,
    ) -> Self {
        let user_agent = user_agent(headers);
        let device = device(user_agent);
        let bot = bot(headers, user_agent, is_head);
        if asks_not_to_be_tracked(headers) {
            return Self {
                device,
                bot,
                country: None,
                referrer_host: None,
                visitor: None,
            };
        }
        let visitor = identity
            .filter(|_| bot.is_none())
            .map(|who| who.hash(user_agent));
        let country = country_header.and_then(|name| country(headers.get(name)?.to_str().ok()?));
        Self {
            device,
            bot,
            country,
            referrer_host: referrer_host(headers),
            visitor,
        }
    }
}

impl Identity<'_> {
    /// Cannot be turned back once the salt is deleted, and differs from day to day.
    fn hash(&self, user_agent: &str) -> [u8; 16] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.salt).expect("a key of any length will do");
        for part in [self.host, &self.address.to_string(), user_agent] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let whole = mac.finalize().into_bytes();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }
}

impl Device {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Other => "other",
        }
    }

    pub(crate) fn from_stored(text: &str) -> Self {
        match text {
            "desktop" => Self::Desktop,
            "mobile" => Self::Mobile,
            "tablet" => Self::Tablet,
            _ => Self::Other,
        }
    }
}

impl BotReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Crawler => "crawler",
            Self::NoUserAgent => "no_user_agent",
            Self::Head => "head",
            Self::Prefetch => "prefetch",
        }
    }

    pub(crate) fn from_stored(text: &str) -> Self {
        match text {
            "no_user_agent" => Self::NoUserAgent,
            "head" => Self::Head,
            "prefetch" => Self::Prefetch,
            _ => Self::Crawler,
        }
    }
}

fn user_agent(headers: &HeaderMap) -> &str {
    let text = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default().trim();
    // A header value that is text is ASCII: every place is between characters.
    &text[..text.len().min(MAX_USER_AGENT_BYTES)]
}

fn bot(headers: &HeaderMap, user_agent: &str, is_head: bool) -> Option<BotReason> {
    if is_head {
        Some(BotReason::Head)
    } else if is_prefetch(headers) {
        Some(BotReason::Prefetch)
    } else if user_agent.is_empty() {
        Some(BotReason::NoUserAgent)
    } else {
        calls_itself_bot(user_agent).then_some(BotReason::Crawler)
    }
}

fn calls_itself_bot(user_agent: &str) -> bool {
    // Cubot makes telephones.
    let is_telephone = |start: usize| {
        start >= 2 && user_agent.as_bytes()[start - 2..start].eq_ignore_ascii_case(b"cu")
    };
    BOT_FINDER
        .find_iter(user_agent)
        .any(|found| !is_telephone(found.start()))
}

/// `Sec-Purpose: prefetch;prerender` and what browsers sent before it.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .into_iter()
        .any(|name| {
            let value = headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            value.split([';', ',']).any(|part| {
                ["prefetch", "prerender", "preview"]
                    .contains(&part.trim().to_ascii_lowercase().as_str())
            })
        })
}

fn asks_not_to_be_tracked(headers: &HeaderMap) -> bool {
    ["dnt", "sec-gpc"].into_iter().any(|name| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes() == b"1")
    })
}

fn device(user_agent: &str) -> Device {
    let text = user_agent.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_android_tablet = text.contains("android") && !text.contains("mobile");
    if is_android_tablet || has(&["ipad", "tablet", "kindle", "silk/"]) {
        Device::Tablet
    } else if has(&["mobi", "iphone", "ipod", "android"]) {
        Device::Mobile
    } else if has(&["windows nt", "macintosh", "x11", "cros ", "linux"]) {
        Device::Desktop
    } else {
        Device::Other
    }
}

fn referrer_host(headers: &HeaderMap) -> Option<String> {
    let url = Url::parse(headers.get(header::REFERER)?.to_str().ok()?).ok()?;
    let host = url
        .host_str()
        .filter(|host| !host.is_empty() && host.len() <= MAX_HOST_BYTES)?;
    Some(host.to_ascii_lowercase())
}

/// Two letters; `XX` and `T1` are what CDNs say when they do not know.
fn country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let is_country = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_country && code != "XX").then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
    const TABLET: &str = "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36";
    const CUBOT: &str = "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 Chrome/129.0 Mobile Safari/537.36";
    const SALT: [u8; 16] = [7; 16];

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn read(pairs: &[(&'static str, &str)], is_head: bool) -> Visit {
        let address = "192.0.2.1".parse().unwrap();
        let identity = Identity {
            salt: &SALT,
            host: "go.example",
            address,
        };
        Visit::read(
            &headers(pairs),
            is_head,
            Some(identity),
            Some(&HeaderName::from_static("cf-ipcountry")),
        )
    }

    #[test]
    fn people_and_their_machines_are_recognised() {
        let cases = [
            (FIREFOX, Device::Desktop),
            (IPHONE, Device::Mobile),
            (TABLET, Device::Tablet),
            (CUBOT, Device::Mobile),
            ("Some new browser", Device::Other),
        ];
        for (agent, device) in cases {
            let visit = read(&[("user-agent", agent)], false);
            assert_eq!((visit.device, visit.bot), (device, None), "{agent}");
            assert!(visit.visitor.is_some());
        }
    }

    #[test]
    fn what_is_not_a_person_is_flagged_with_the_reason() {
        let agent = ("user-agent", FIREFOX);
        let cases: [(Pairs<'_>, bool, BotReason); 10] = [
            (&[], false, BotReason::NoUserAgent),
            (&[("user-agent", "curl/8.5.0")], false, BotReason::Crawler),
            (
                &[("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)")],
                false,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "facebookexternalhit/1.1")],
                false,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "Slackbot-LinkExpanding 1.0")],
                false,
                BotReason::Crawler,
            ),
            (
                &[("user-agent", "WhatsApp/2.23")],
                false,
                BotReason::Crawler,
            ),
            (&[agent], true, BotReason::Head),
            (
                &[agent, ("sec-purpose", "prefetch;prerender")],
                false,
                BotReason::Prefetch,
            ),
            (&[agent, ("x-moz", "prefetch")], false, BotReason::Prefetch),
            (&[agent, ("purpose", "Preview")], false, BotReason::Prefetch),
        ];
        for (pairs, is_head, reason) in cases {
            let visit = read(pairs, is_head);
            assert_eq!(
                (visit.bot, visit.visitor),
                (Some(reason), None),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn who_asks_not_to_be_tracked_is_counted_without_identity() {
        for signal in ["dnt", "sec-gpc"] {
            let visit = read(
                &[
                    ("user-agent", FIREFOX),
                    (signal, "1"),
                    ("referer", "https://a.example/x"),
                    ("cf-ipcountry", "DE"),
                ],
                false,
            );
            let expected = Visit {
                device: Device::Desktop,
                bot: None,
                country: None,
                referrer_host: None,
                visitor: None,
            };
            assert_eq!(visit, expected, "{signal}");
        }
        assert!(
            read(&[("user-agent", FIREFOX), ("dnt", "0")], false)
                .visitor
                .is_some()
        );
    }

    #[test]
    fn only_the_referrers_host_and_a_real_country_are_kept() {
        let visit = |referrer: &str, country: &str| {
            let visit = read(
                &[
                    ("user-agent", FIREFOX),
                    ("referer", referrer),
                    ("cf-ipcountry", country),
                ],
                false,
            );
            (visit.referrer_host, visit.country)
        };
        assert_eq!(
            visit("https://News.Example/a?secret=1", "de"),
            (Some("news.example".into()), Some("DE".into()))
        );
        assert_eq!(visit("not an address", "T1"), (None, None));
        assert_eq!(visit("about:blank", "XX"), (None, None));
    }

    #[test]
    fn a_hash_depends_on_every_part_and_only_on_them() {
        let hash = |salt: [u8; 16], host, address: &str, agent| {
            Identity {
                salt: &salt,
                host,
                address: address.parse().unwrap(),
            }
            .hash(agent)
        };
        let base = hash(SALT, "h", "192.0.2.1", "a");
        assert_eq!(base, hash(SALT, "h", "192.0.2.1", "a"));
        assert_ne!(base, hash([8; 16], "h", "192.0.2.1", "a"));
        assert_ne!(base, hash(SALT, "i", "192.0.2.1", "a"));
        assert_ne!(base, hash(SALT, "h", "192.0.2.2", "a"));
        assert_ne!(base, hash(SALT, "h", "192.0.2.1", "b"));
    }
}
