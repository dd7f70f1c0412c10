//! `Content-Type` by the extension of a name.

use std::collections::BTreeMap;

use http::HeaderValue;

static UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `own`: the site's, by the extension in lower case. Texts are in UTF-8.
pub(super) fn of(name: &str, own: &BTreeMap<Box<str>, HeaderValue>) -> HeaderValue {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some((_, extension)) = file.rsplit_once('.') else {
        return UNKNOWN.clone();
    };
    let extension = extension.to_ascii_lowercase();
    if let Some(value) = own.get(&*extension) {
        return value.clone();
    }
    let known = match &*extension {
        // The table has none or an older one.
        "map" => "application/json",
        "js" | "mjs" | "cjs" => "text/javascript",
        "webmanifest" => "application/manifest+json",
        _ => mime_guess::from_ext(&extension)
            .first_raw()
            .unwrap_or("application/octet-stream"),
    };
    let text = if known.starts_with("text/") {
        format!("{known}; charset=utf-8")
    } else {
        known.to_owned()
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| UNKNOWN.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_that_browsers_run() {
        let own = BTreeMap::from([("xyz".into(), HeaderValue::from_static("a/b"))]);
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.JS", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.js.map", "application/json"),
            ("a.wasm", "application/wasm"),
            ("a.svg", "image/svg+xml"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.woff2", "font/woff2"),
            ("a.ico", "image/x-icon"),
            ("a.webmanifest", "application/manifest+json"),
            ("a.xyz", "a/b"),
            ("a.unknown-one", "application/octet-stream"),
            ("a.d/LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(of(name, &own), expected, "{name}");
        }
    }
}
