//! Which file a path means.
//!
//! Paths come in their one spelling (`request::path`): without `.`, `..`, `//`, backslashes and control
//! characters. The names made of them are checked again here, since what is decoded is new text.

use http::Method;
use percent_encoding::percent_decode_str;
use quartet_common::problem::Problem;

use super::{answer, asked::Asked, names::is_served};
use crate::{error, reply::Reply};

/// Missing ones are never pages of an application, whatever asks for them.
const ASSETS: [&str; 38] = [
    "avif",
    "bmp",
    "br",
    "cjs",
    "css",
    "csv",
    "eot",
    "gif",
    "gz",
    "ico",
    "jpeg",
    "jpg",
    "js",
    "json",
    "jsx",
    "map",
    "mjs",
    "mp3",
    "mp4",
    "ogg",
    "otf",
    "pdf",
    "png",
    "svg",
    "ts",
    "tsx",
    "ttf",
    "txt",
    "wasm",
    "wav",
    "webm",
    "webmanifest",
    "webp",
    "woff",
    "woff2",
    "xml",
    "zip",
    "zst",
];

/// A place in a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Without slashes at its ends. Empty: the top.
    pub(super) name: String,
    pub(super) wanted: PathKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    File,
    /// Its index.
    Directory,
    /// No file may have this name.
    Nothing,
}

/// # Errors
/// The answer, if it does not depend on files.
pub(super) fn place(asked: &Asked<'_>) -> Result<Place, Result<Reply, Problem>> {
    if !matches!(*asked.method, Method::GET | Method::HEAD) {
        return Err(Err(error::method_not_allowed(&[Method::GET])));
    }
    // Relative links of the index need the slash.
    if asked.rest.is_empty() {
        return Err(Ok(answer::redirect(asked)));
    }
    Ok(of_path(asked.rest))
}

fn of_path(path: &str) -> Place {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let nothing = Place {
        name: String::new(),
        wanted: PathKind::Nothing,
    };
    let Ok(decoded) = percent_decode_str(inner).decode_utf8() else {
        return nothing;
    };
    let (name, wanted) = match decoded.strip_suffix('/') {
        Some(name) => (name, PathKind::Directory),
        None if decoded.is_empty() => ("", PathKind::Directory),
        None => (&*decoded, PathKind::File),
    };
    if !name.is_empty() && !is_served(name) {
        return nothing;
    }
    // A slash that was encoded would make another name of it.
    if decoded.matches('/').count() != inner.matches('/').count() {
        return nothing;
    }
    Place {
        name: name.to_owned(),
        wanted,
    }
}

impl Place {
    pub(super) fn join(&self, file: &str) -> String {
        if self.name.is_empty() {
            file.to_owned()
        } else {
            format!("{}/{file}", self.name)
        }
    }

    /// Whether a page of an application may have this path. `/trade/BTC.USD` may, `/assets/x.js` not.
    pub(super) fn may_fall_back(&self) -> bool {
        let last = self.name.rsplit('/').next().unwrap_or_default();
        let extension = last.rsplit_once('.').map(|(_, extension)| extension);
        let is_asset = extension.is_some_and(|extension| {
            ASSETS
                .iter()
                .any(|asset| asset.eq_ignore_ascii_case(extension))
        });
        self.wanted != PathKind::Nothing && !is_asset
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{fuzz, request::path, site::names::WELL_KNOWN};

    #[test]
    fn paths_mean_files() {
        let file = |name: &str| (name.to_owned(), PathKind::File);
        let directory = |name: &str| (name.to_owned(), PathKind::Directory);
        let nothing = (String::new(), PathKind::Nothing);
        for (path, expected) in [
            ("/", directory("")),
            ("/a.js", file("a.js")),
            ("/a/b", file("a/b")),
            ("/a/", directory("a")),
            ("/a%20b/%C3%A9", file("a b/\u{e9}")),
            ("/%ff", nothing.clone()),
            ("/a%2Fb", nothing.clone()),
            ("/%2E%2E/b", nothing.clone()),
            ("/a/../b", nothing.clone()),
            ("/a//b", nothing.clone()),
            ("/a%00", nothing.clone()),
            ("/a%5Cb", nothing.clone()),
            ("/.env", nothing.clone()),
            ("/.git/config", nothing.clone()),
            ("/a/.htpasswd", nothing.clone()),
            ("/a/.well-known/x", nothing.clone()),
            ("/.well-known/.x", nothing.clone()),
            ("/.well-known2", nothing.clone()),
            (
                "/.well-known/security.txt",
                file(".well-known/security.txt"),
            ),
        ] {
            let place = of_path(path);
            assert_eq!((place.name, place.wanted), expected, "{path}");
        }
    }

    #[test]
    fn parts_of_pages_have_no_fallback() {
        for (path, expected) in [
            ("/trade/5", true),
            ("/trade/BTC.USD", true),
            ("/users/john.doe/", true),
            ("/page.html", true),
            ("/assets/x.js", false),
            ("/assets/x.JS", false),
            ("/logo.png", false),
            ("/.env", false),
        ] {
            assert_eq!(of_path(path).may_fall_back(), expected, "{path}");
        }
    }

    /// Whatever a client sends, the name that is opened is plain.
    fn is_plain(input: &[u8]) -> Result<(), TestCaseError> {
        let text = String::from_utf8_lossy(input);
        // With the check of paths before it, and as if that had failed.
        let spelled = path::path(&text).map(std::borrow::Cow::into_owned);
        for path in spelled.ok().as_deref().into_iter().chain([&*text]) {
            let place = of_path(path);
            if place.wanted == PathKind::Nothing {
                prop_assert_eq!(place.name.as_str(), "");
                continue;
            }
            for (at, part) in place.name.split('/').enumerate() {
                let is_hidden = part.starts_with('.') && !(at == 0 && part == WELL_KNOWN);
                prop_assert!(!is_hidden && part != ".." && !part.contains('\0'), "{path}");
                prop_assert!(!part.is_empty() || place.name.is_empty(), "{path}");
            }
        }
        Ok(())
    }

    #[test]
    fn fuzz_site_paths() {
        let dictionary = [
            "/",
            "//",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            "%2f",
            "%5c",
            "\\",
            "%00",
            "%",
            "%c0%ae",
            ".git",
            ".env",
            ".well-known",
            "index.html",
            "\u{e9}",
            "%ff",
        ];
        fuzz::run("site_paths", &dictionary, is_plain);
    }
}
