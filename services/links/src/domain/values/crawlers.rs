//! User agents of crawlers, link previews, monitors and HTTP libraries.
//!
//! The list is maintained elsewhere; `data/crawlers.txt` says where, and under which license. It knows
//! in-app browsers, whose user agents name the app (Facebook, Instagram, Pinterest, Telegram, Line)
//! behind a complete browser: they are people, and a link with a maximum must let them through.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

const PATTERNS: &str = include_str!("../../../data/crawlers.txt");
/// What the list exempts from its patterns by looking ahead or behind, which this engine does not do:
/// it is cut out before the patterns are tried.
const EXEMPT: &str = " cubot|camscan|libhttp| channel/google|google/google|google(?:wv|app| pixel)|newsapphire|java;";

static CRAWLERS: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = PATTERNS.lines().filter(|line| !line.starts_with('#'));
    let all: Vec<String> = patterns.map(|pattern| format!("(?:{pattern})")).collect();
    compile(&all.join("|"))
});
static EXEMPTIONS: LazyLock<Regex> = LazyLock::new(|| compile(EXEMPT));

fn compile(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .unicode(false)
        .build()
        .expect("the patterns are constant")
}

/// Whether a user agent is that of a crawler. Takes some microseconds; see
/// [`UserAgentCache`](crate::domain::replica::user_agents::UserAgentCache).
pub(super) fn is_crawler(user_agent: &str) -> bool {
    let rest = EXEMPTIONS.replace_all(user_agent.as_bytes(), &b""[..]);
    CRAWLERS.is_match(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    const PIXEL: &str = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/129.0.0.0 Mobile Safari/537.36";

    #[test]
    fn people_in_browsers_and_in_apps_are_no_crawlers() {
        let apps = [
            "Mobile/15E148 [FBAN/FBIOS;FBAV/480.0.0.36.109;FBBV/1;FBDV/iPhone15,2;FBMD/iPhone;FBSN/iOS;FBSV/18.0;FBSS/3;FBID/phone;FBLC/de_DE;FBOP/80]",
            "Mobile/15E148 Instagram 340.0.3.27.108 (iPhone15,3; iOS 17_5; de_DE)",
            "Mobile/15E148 [Pinterest/iOS]",
            "Mobile/15E148 Flipboard/4.3.7",
            "Mobile/22A348 LinkedInApp",
            "Mobile/22A348 Safari Line/14.16.1",
            "Mobile/15E148 Twitter for iPhone/10.50",
            "Mobile/15E148 musical_ly_36.1.0 BytedanceWebview/d8a21c6",
            "GSA/337.0.675 Mobile/15E148 Safari/604.1",
        ];
        for app in apps {
            assert!(!is_crawler(&format!("{IPHONE} {app}")), "{app}");
        }
        let apps = [
            "",
            " [FB_IAB/FB4A;FBAV/480.0.0.50.109;]",
            " [Pinterest/Android]",
            " Telegram-Android/11.1.3 (Google Pixel 8; Android 14; SDK 34; HIGH)",
            " GoogleApp/15.44",
        ];
        for app in apps {
            assert!(!is_crawler(&format!("{PIXEL}{app}")), "{app}");
        }
        for agent in [
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.40.0 Chrome/128.0 Electron/32.0 Safari/537.36",
        ] {
            assert!(!is_crawler(agent), "{agent}");
        }
    }

    #[test]
    fn crawlers_previews_and_libraries_are_recognized() {
        for agent in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0 Safari/537.36",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "TelegramBot (like TwitterBot)",
            "WhatsApp/2.23.20.0 A",
            "Twitterbot/1.0",
            "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
            "Pinterest/0.2 (+https://www.pinterest.com/bot.html)",
            "http.rb/5.2.0 (Mastodon/4.3.0; +https://mastodon.social/)",
            "Bluesky Cardyb/1.1; +mailto:support@bsky.app",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/129.0 Safari/537.36",
            "curl/8.5.0",
            "Wget/1.21",
            "python-requests/2.32.3",
            "Go-http-client/2.0",
            "okhttp/4.12.0",
            "axios/1.7.7",
            "Java/17.0.2",
        ] {
            assert!(is_crawler(agent), "{agent}");
        }
    }
}
