//! `[sites.*]`, and the `site` of a route.

use std::{collections::BTreeMap, path::Path, time::Duration};

use http::HeaderValue;

use super::{
    checker::{Checker, DAY_SECONDS},
    references::References,
    values::{check_list, resolve},
};
use crate::{
    config::model,
    site::{PathRule, SiteSettings, is_served},
};

const YEAR_SECONDS: u64 = 365 * DAY_SECONDS;
const MAX_CACHE_BYTES: u64 = 1 << 40;
/// Of a file that is kept: it is read at once.
const MAX_CACHED_FILE_BYTES: u64 = 16 << 20;
/// Paths or types of one list.
const MAX_ENTRIES: usize = 64;

pub(super) fn check(name: &str, site: &model::Site, checker: &mut Checker) -> Option<SiteSettings> {
    let key = format!("sites.{name}");
    checker.name(&key, name);
    let directory = Path::new(&site.directory);
    if !directory.is_absolute() {
        checker.error(format!("{key}.directory"), "must be an absolute path");
    }
    if !is_served(&site.index) || site.index.contains('/') {
        checker.error(
            format!("{key}.index"),
            "must be the name of a file, without / and not hidden",
        );
    }
    for (field, page) in [("fallback", &site.fallback), ("not_found", &site.not_found)] {
        if page.as_ref().is_some_and(|page| !is_served(page)) {
            checker.error(
                format!("{key}.{field}"),
                "must be a file within the directory, such as index.html",
            );
        }
    }
    check_numbers(&key, site, checker);
    check_codings(&key, site, checker);
    let immutable_paths = check_list(
        &key,
        "immutable_paths",
        &site.immutable_paths,
        PathRule::parse,
        checker,
    );
    if site.immutable_paths.len() > MAX_ENTRIES {
        let message = format!("must have at most {MAX_ENTRIES} paths");
        checker.error(format!("{key}.immutable_paths"), message);
    }
    let content_types = check_types(&key, &site.content_types, checker);
    Some(SiteSettings {
        name: name.into(),
        directory: directory.to_owned(),
        index: site.index.as_str().into(),
        fallback: site.fallback.as_deref().map(Into::into),
        not_found: site.not_found.as_deref().map(Into::into),
        clean_urls: site.clean_urls,
        precompressed: site.precompressed.clone(),
        immutable_names: site.immutable_names,
        immutable_paths: immutable_paths?,
        max_age_seconds: site.max_age_seconds,
        check_interval: Duration::from_millis(site.check_interval_ms),
        keep_previous: Duration::from_secs(site.keep_previous_seconds),
        max_cache_bytes: site.max_cache_bytes,
        max_cached_file_bytes: site.max_cached_file_bytes,
        content_types: content_types?,
    })
}

fn check_numbers(key: &str, site: &model::Site, checker: &mut Checker) {
    checker.ranges(
        key,
        &[
            ("max_age_seconds", site.max_age_seconds, 0, YEAR_SECONDS),
            ("check_interval_ms", site.check_interval_ms, 0, 60_000),
            (
                "keep_previous_seconds",
                site.keep_previous_seconds,
                0,
                30 * DAY_SECONDS,
            ),
            ("max_cache_bytes", site.max_cache_bytes, 0, MAX_CACHE_BYTES),
            (
                "max_cached_file_bytes",
                site.max_cached_file_bytes,
                0,
                MAX_CACHED_FILE_BYTES,
            ),
        ],
    );
}

fn check_codings(key: &str, site: &model::Site, checker: &mut Checker) {
    let codings = &site.precompressed;
    let is_twice = |at: usize| codings[..at].contains(&codings[at]);
    if (0..codings.len()).any(is_twice) {
        checker.error(
            format!("{key}.precompressed"),
            "must have each of br, zstd and gzip at most once",
        );
    }
}

fn check_types(
    key: &str,
    types: &BTreeMap<String, String>,
    checker: &mut Checker,
) -> Option<BTreeMap<Box<str>, HeaderValue>> {
    if types.len() > MAX_ENTRIES {
        let message = format!("must have at most {MAX_ENTRIES} types");
        checker.error(format!("{key}.content_types"), message);
    }
    let parsed = types.iter().map(|(extension, text)| {
        let key = format!("{key}.content_types.{extension}");
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if extension.is_empty() || !extension.bytes().all(is_plain) {
            checker.error(
                &*key,
                "must be an extension of lower-case letters and digits",
            );
        }
        let value = HeaderValue::try_from(text.as_str()).ok();
        let value = value.filter(|_| text.contains('/'));
        let value = value.ok_or_else(|| "must be a media type such as text/html".to_owned());
        Some((extension.as_str().into(), checker.ok(&key, value)?))
    });
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

/// `None`: the route has no site, or a violation was found.
pub(super) fn check_route(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<usize> {
    let name = route.site.as_deref()?;
    if route.raw_path {
        let message = "is not possible with `site`: an encoded slash is none in the name of a file";
        checker.error(format!("{key}.raw_path"), message);
    }
    resolve(key, "site", name, &references.sites, checker)
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    fn check(site: &str, route: &str) -> Result<(), String> {
        let text = format!(
            "shipped_routes = false\n[sites.s]\n{site}\n\
             [routes.r]\npaths = [\"/s/*\"]\nauth = \"public\"\n{route}\n"
        );
        let config = Sources::of_test(&text);
        config.map(|_| ()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn violations_name_the_setting_and_its_rule() {
        let (good, site) = ("directory = \"/srv/s\"\n", "site = \"s\"");
        check(good, site).unwrap();
        let error = check("directory = \"s\"", site).unwrap_err();
        assert!(
            error.contains("sites.s.directory") && error.contains("absolute"),
            "{error}"
        );
        for (settings, expected) in [
            ("index = \"a/b\"", "index: must be the name of a file"),
            ("index = \".env\"", "index: must be the name of a file"),
            ("fallback = \"../x\"", "fallback: must be a file within"),
            ("not_found = \"/x\"", "not_found: must be a file within"),
            (
                "immutable_paths = [\"a\"]",
                "immutable_paths[0]: must be a path",
            ),
            (
                "precompressed = [\"br\", \"br\"]",
                "precompressed: must have each",
            ),
            ("check_interval_ms = 60001", "must be between 0 and 60000"),
            (
                "content_types = { x = \"y\" }",
                "content_types.x: must be a media",
            ),
            (
                "content_types = { X = \"a/b\" }",
                "content_types.X: must be an ext",
            ),
        ] {
            let error = check(&format!("{good}{settings}"), site).unwrap_err();
            let mut parts = expected.split(": ");
            assert!(
                parts.all(|part| error.contains(part)),
                "{settings}: {error}"
            );
        }
        for (route, expected) in [
            (
                "site = \"t\"",
                "routes.r.site: there is no site `t` among s",
            ),
            (
                "site = \"s\"\nraw_path = true",
                "routes.r.raw_path: is not possible",
            ),
            (
                "site = \"s\"\nserve = \"health\"",
                "cannot be combined with",
            ),
            (
                "site = \"s\"\nrewrite = \"/*\"",
                "routes.r.rewrite: needs an upstream",
            ),
        ] {
            let error = check(good, route).unwrap_err();
            let mut parts = expected.split(": ");
            assert!(parts.all(|part| error.contains(part)), "{route}: {error}");
        }
    }
}
