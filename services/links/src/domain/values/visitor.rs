//! The visitor behind a click: what is recorded of the client that follows a link.
//!
//! A visitor is known only by a hash: `HMAC-SHA256(salt of the day, host, client IP, user agent)`,
//! cut to 16 bytes. It recognizes the same visitor within one UTC day. Once the salt is deleted (see
//! [`crate::domain::replica::salts`]) the hash cannot be reversed, not even by trying every IP address.
//!
//! Bots have no hash, because they are never counted as unique. Clients that opt out of tracking
//! (DNT, GPC) are counted as people, but nothing that could identify them is recorded.

use std::{borrow::Cow, io::Write as _, net::IpAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::crawlers;

/// The longest text of an IP address.
const MAX_IP_BYTES: usize = 45;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Desktop,
    Mobile,
    Tablet,
    Other,
}

/// Why a click does not count as a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BotReason {
    Crawler,
    NoUserAgent,
    Head,
    Prefetch,
}

/// What a request reveals about its client, as the API has read it from the headers.
#[derive(Clone, Debug)]
pub(crate) struct Signals<'a> {
    pub(crate) client_ip: IpAddr,
    /// Empty when the client sent none.
    pub(crate) user_agent: Cow<'a, str>,
    pub(crate) is_head: bool,
    pub(crate) is_prefetch: bool,
    pub(crate) opts_out: bool,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
}

/// What is recorded of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) device: Device,
    pub(crate) bot: Option<BotReason>,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) hash: Option<[u8; 16]>,
}

/// What a user agent alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserAgent {
    pub(crate) device: Device,
    pub(crate) is_crawler: bool,
}

/// What visitor hashes are keyed with: the state of the hash after the salt and the host.
#[derive(Clone, Debug)]
pub(crate) struct VisitorKey(Hmac<Sha256>);

impl UserAgent {
    pub(crate) fn of(user_agent: &str) -> Self {
        Self {
            device: Device::of(user_agent),
            is_crawler: crawlers::is_crawler(user_agent),
        }
    }
}

impl Visitor {
    /// Without a key the visitor is counted, but cannot be unique.
    pub(crate) fn new(signals: &Signals<'_>, agent: UserAgent, key: Option<VisitorKey>) -> Self {
        let device = agent.device;
        let bot = BotReason::of(signals, agent);
        if signals.opts_out {
            return Self {
                device,
                bot,
                country: None,
                referrer_host: None,
                hash: None,
            };
        }
        Self {
            device,
            bot,
            country: signals.country.clone(),
            referrer_host: signals.referrer_host.clone(),
            hash: key
                .filter(|_| bot.is_none())
                .map(|key| key.hash(signals.client_ip, &signals.user_agent)),
        }
    }
}

impl VisitorKey {
    pub(crate) fn new(salt: &[u8; 16], host: &str) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(salt).expect("any key length is valid");
        let mut key = Self(mac);
        key.update(host.as_bytes());
        key
    }

    fn hash(mut self, client_ip: IpAddr, user_agent: &str) -> [u8; 16] {
        let mut buffer = [0; MAX_IP_BYTES];
        let mut rest = &mut buffer[..];
        // An address always fits.
        let _ = write!(rest, "{client_ip}");
        let length = MAX_IP_BYTES - rest.len();
        self.update(&buffer[..length]);
        self.update(user_agent.as_bytes());
        let whole = self.0.finalize().into_bytes();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }

    /// Lengths keep "ab" + "c" and "a" + "bc" apart.
    fn update(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
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

    fn of(user_agent: &str) -> Self {
        let text = user_agent.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let is_android_tablet = text.contains("android") && !text.contains("mobile");
        if is_android_tablet || has(&["ipad", "tablet", "kindle", "silk/"]) {
            Self::Tablet
        } else if has(&["mobi", "iphone", "ipod", "android"]) {
            Self::Mobile
        } else if has(&["windows nt", "macintosh", "x11", "cros ", "linux"]) {
            Self::Desktop
        } else {
            Self::Other
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

    fn of(signals: &Signals<'_>, agent: UserAgent) -> Option<Self> {
        if signals.is_head {
            Some(Self::Head)
        } else if signals.is_prefetch {
            Some(Self::Prefetch)
        } else if signals.user_agent.is_empty() {
            Some(Self::NoUserAgent)
        } else {
            agent.is_crawler.then_some(Self::Crawler)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_salt_host_client_ip_and_user_agent() {
        let hash = |salt: [u8; 16], host, client_ip: &str, agent| {
            VisitorKey::new(&salt, host).hash(client_ip.parse().unwrap(), agent)
        };
        let salt = [7; 16];
        let base = hash(salt, "h", "192.0.2.1", "a");
        assert_eq!(base, hash(salt, "h", "192.0.2.1", "a"));
        assert_ne!(base, hash([8; 16], "h", "192.0.2.1", "a"));
        assert_ne!(base, hash(salt, "i", "192.0.2.1", "a"));
        assert_ne!(base, hash(salt, "h", "192.0.2.2", "a"));
        assert_ne!(base, hash(salt, "h", "192.0.2.1", "b"));
    }
}
