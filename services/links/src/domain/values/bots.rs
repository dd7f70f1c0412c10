//! User agents of crawlers, link previews, monitors and HTTP libraries.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Lower-case substrings of their user agents.
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
static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(BOTS)
        .expect("the list is constant")
});

/// Whether a user agent names itself a bot.
pub(super) fn is_bot(user_agent: &str) -> bool {
    // "Cubot" is a phone manufacturer.
    let is_cubot = |start: usize| {
        start >= 2 && user_agent.as_bytes()[start - 2..start].eq_ignore_ascii_case(b"cu")
    };
    FINDER
        .find_iter(user_agent)
        .any(|found| !is_cubot(found.start()))
}
