//! What caches may keep, by the name of a file.
//!
//! A file is immutable if its name has a hash of its contents, as bundlers write it: a part of the
//! name, separated by `.`, `-` or `_`, or its last 8 characters behind one of these, of at least 8
//! characters, in which a letter follows a digit and a digit a letter, and that is
//!
//! - hexadecimal in lower case (`main.3f2a9c1b.js`), or
//! - upper case and digits (`chunk-QX2K7ABC.js`), or
//! - mixed, with upper case behind its first character (`index-D4tRk2xQ.js`).
//!
//! Words, versions and dates are not (`jquery-3.7.1.min.js`, `report-20260101.pdf`), nor are some
//! hashes that could be words: such a file is revalidated, which is slower and never wrong. What the
//! bundler puts into a directory of its own can be named with `immutable_paths`. A page (HTML) is never
//! immutable.

use http::HeaderValue;

use super::settings::SiteSettings;

const MIN_HASH: usize = 8;

/// What `Cache-Control` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheRule {
    Revalidate,
    MaxAge(u64),
    Immutable,
}

pub(super) fn of(name: &str, settings: &SiteSettings) -> CacheRule {
    let file = name.rsplit('/').next().unwrap_or(name);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    let is_page = extension
        .is_some_and(|it| it.eq_ignore_ascii_case("html") || it.eq_ignore_ascii_case("htm"));
    let is_named = settings.immutable_names && has_hash(file);
    let mut paths = settings.immutable_paths.iter();
    if is_page {
        CacheRule::Revalidate
    } else if is_named || paths.any(|rule| rule.matches(name)) {
        CacheRule::Immutable
    } else if settings.max_age_seconds == 0 {
        CacheRule::Revalidate
    } else {
        CacheRule::MaxAge(settings.max_age_seconds)
    }
}

impl CacheRule {
    /// `is_private`: not for caches that several users share.
    pub(super) fn value(self, is_private: bool) -> HeaderValue {
        let text = match (self, is_private) {
            (Self::Revalidate, false) => "no-cache",
            (Self::Revalidate, true) => "private, no-cache",
            (Self::Immutable, false) => "public, max-age=31536000, immutable",
            (Self::Immutable, true) => "private, max-age=31536000, immutable",
            (Self::MaxAge(seconds), is_private) => {
                let shared = if is_private { "private" } else { "public" };
                let text = format!("{shared}, max-age={seconds}");
                return HeaderValue::try_from(text)
                    .unwrap_or_else(|_| HeaderValue::from_static("no-cache"));
            }
        };
        HeaderValue::from_static(text)
    }
}

/// Whether the name of a file contains a hash.
fn has_hash(file: &str) -> bool {
    let Some((stem, _)) = file.split_once('.') else {
        return false;
    };
    let all = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    // A hash in base64 may contain the separators.
    let last = |text: &str| {
        let at = text.len().checked_sub(MIN_HASH + 1)?;
        let (separator, hash) = text.get(at..)?.split_at_checked(1)?;
        (matches!(separator, "." | "-" | "_") && is_hash(hash)).then_some(())
    };
    last(stem).is_some() || last(all).is_some() || all.split(['.', '-', '_']).any(is_hash)
}

fn is_hash(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    if bytes.len() < MIN_HASH || !bytes.iter().all(is_word) {
        return false;
    }
    let is_change = |it: &&[u8]| {
        (it[0].is_ascii_digit() && it[1].is_ascii_alphabetic())
            || (it[0].is_ascii_alphabetic() && it[1].is_ascii_digit())
    };
    let changes = bytes.windows(2).filter(is_change).count();
    let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_upper = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let has_lower = bytes.iter().any(u8::is_ascii_lowercase);
    let is_mixed = has_lower && bytes[1..].iter().any(u8::is_ascii_uppercase);
    // A word with a number in it, such as `iPhone15Pro`, has two.
    changes >= 3 && (bytes.iter().all(is_lower_hex) || bytes.iter().all(is_upper) || is_mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash_are_recognized() {
        for name in [
            "main.3f2a9c1b.js",
            "main.3f2a9c1b.chunk.css",
            "main.3f2a9c1b.js.map",
            "index-D4tRk2xQ.js",
            "index-b3X-9k_d.js",
            "chunk-QX2K7ABC.js",
            "webpack-8fa1640cc84ba8fe.js",
            "inter_0f3a9b21c4.woff2",
            "3f2a9c1b0d.png",
        ] {
            assert!(has_hash(name), "{name}");
        }
        for name in [
            "iPhone15Pro.png",
            "IPHONE15PRO.png",
            "index.html",
            "app.js",
            "jquery-3.7.1.min.js",
            "jquery-slimmenu.js",
            "report-20260101.pdf",
            "app-component12.js",
            "app-Section12.js",
            "DataTable2.js",
            "polyfills-legacy.js",
            "favicon-32x32.png",
            "android-chrome-512x512.png",
            "bootstrap-5.3.0-alpha1.css",
            "3f2a9c1b",
            "",
            ".",
        ] {
            assert!(!has_hash(name), "{name}");
        }
    }
}
