//! `/caches`: what is in them, and removing it.

use std::sync::Arc;

use axum::{Json, extract::State as Extract};
use quartet_common::problem::{FieldError, Problem};
use quartet_http::extract;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cache::Purge,
    request::{RequestTarget, host::Authority, path},
    state::State,
};

/// Body of `POST /caches/purge`: exactly one of what is purged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeRequest {
    /// None: all of them.
    #[serde(default)]
    cache: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn list_caches(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot();
    let caches = snapshot.caches.iter().map(|cache| {
        let (urls, bytes) = cache.size();
        json!({
            "name": &*cache.settings.name,
            "urls": urls,
            "bytes": bytes,
            "max_bytes": cache.settings.max_bytes,
        })
    });
    Json(json!({ "caches": caches.collect::<Vec<_>>() }))
}

/// # Errors
/// 422 when the body names no cache that exists, or not exactly one thing to purge.
pub(super) async fn purge(
    Extract(state): Extract<Arc<State>>,
    extract::Json(request): extract::Json<PurgeRequest>,
) -> Result<Json<Value>, Problem> {
    let snapshot = state.snapshot();
    let chosen = |name: &str| request.cache.as_deref().is_none_or(|chosen| chosen == name);
    let caches = snapshot.caches.iter();
    let caches: Vec<_> = caches
        .filter(|cache| chosen(&cache.settings.name))
        .collect();
    if caches.is_empty() {
        return Err(invalid("/cache", "unknown_cache", "there is no such cache"));
    }
    let purge = what(&request)?;
    let purged: usize = caches.iter().map(|cache| cache.purge(purge.clone())).sum();
    Ok(Json(json!({ "purged": purged })))
}

fn what(request: &PurgeRequest) -> Result<Purge, Problem> {
    let asked = (&request.url, &request.prefix, &request.tag, request.all);
    match asked {
        (Some(text), None, None, false) => Ok(Purge::Url(canonical("/url", text)?.into())),
        (None, Some(text), None, false) => Ok(Purge::Prefix(canonical("/prefix", text)?.into())),
        (None, None, Some(tag), false) => Ok(Purge::Tag(tag.as_str().into())),
        (None, None, None, true) => Ok(Purge::All),
        _ => Err(invalid(
            "",
            "ambiguous_purge",
            "must have exactly one of `url`, `prefix`, `tag` and `all`",
        )),
    }
}

/// The URL in the spelling of the keys.
fn canonical(at: &'static str, text: &str) -> Result<String, Problem> {
    let refused = || {
        invalid(
            at,
            "invalid_url",
            "must be a URL such as https://example.org/a",
        )
    };
    let target = RequestTarget::split(text);
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.filter(|scheme| matches!(*scheme, "http" | "https"));
    let authority = target.authority.and_then(Authority::parse);
    let path = path::path(target.path).ok();
    match (scheme, authority, path) {
        (Some(scheme), Some(authority), Some(path)) => {
            Ok([scheme, "://", &authority.to_text(), &path, target.query].concat())
        }
        _ => Err(refused()),
    }
}

fn invalid(at: &'static str, code: &'static str, message: &'static str) -> Problem {
    Problem::invalid(vec![FieldError::body(at, code, message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_purged_in_any_spelling() {
        for (text, expected) in [
            ("http://a/b?c=d", Some("http://a/b?c=d")),
            ("https://A.B.:8080//x/%41", Some("https://a.b:8080/x/A")),
            ("http://a", Some("http://a/")),
            ("ftp://a/b", None),
            ("/b", None),
            ("http://a/../b", None),
        ] {
            assert_eq!(canonical("/url", text).ok().as_deref(), expected, "{text}");
        }
    }
}
