//! The API documentation, with a login. It loads nothing from other origins.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;

use crate::{error, reply::Reply};

const ROOT: &str = "/docs";
/// Scripts come from this origin only and none is inline, so that injected script cannot read a
/// token. Swagger UI draws its icons from `data:` URLs.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
    style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Files of the page around Swagger UI: name, media type, content.
const PAGE: [(&str, &str, &str); 3] = [
    (
        "index.html",
        "text/html; charset=utf-8",
        include_str!("index.html"),
    ),
    (
        "docs.css",
        "text/css; charset=utf-8",
        include_str!("docs.css"),
    ),
    (
        "docs.js",
        "text/javascript; charset=utf-8",
        include_str!("docs.js"),
    ),
];
/// The files of Swagger UI that the page uses; the others are not served.
const SWAGGER_UI: [&str; 3] = [
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "favicon-32x32.png",
];

/// The files of the page, unpacked once: responses share them.
static FILES: LazyLock<BTreeMap<&'static str, File>> = LazyLock::new(|| {
    let page = PAGE.iter().map(|(name, content_type, text)| {
        let file = File {
            content_type: HeaderValue::from_static(content_type),
            content: Bytes::from_static(text.as_bytes()),
            // All files must be of one release.
            cache: "no-cache",
            is_gzip: false,
        };
        (*name, file)
    });
    let library = SWAGGER_UI
        .iter()
        .filter_map(|name| Some((*name, library_file(name)?)));
    page.chain(library).collect()
});

struct File {
    content_type: HeaderValue,
    content: Bytes,
    cache: &'static str,
    is_gzip: bool,
}

fn library_file(name: &str) -> Option<File> {
    let file = utoipa_swagger_ui::serve(name, Arc::default()).ok()??;
    Some(File {
        content_type: HeaderValue::from_str(&file.content_type).ok()?,
        content: match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        },
        cache: "public, max-age=3600",
        is_gzip: file.gzpipped,
    })
}

pub(super) fn render(path: &str) -> Result<Reply, Problem> {
    match path.strip_prefix(ROOT).unwrap_or_default() {
        // The page refers to its files by relative URLs.
        "" => Ok(redirect_to_directory()),
        "/" => file("index.html"),
        rest => file(rest.trim_start_matches('/')),
    }
}

fn redirect_to_directory() -> Reply {
    Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new())
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, HeaderValue::from_static("/docs/"))
}

fn file(name: &str) -> Result<Reply, Problem> {
    let file = FILES.get(name).ok_or_else(error::no_route)?;
    let reply = Reply::ok(file.content_type.clone(), file.content.clone());
    let reply = secure(reply, file.cache);
    Ok(if file.is_gzip {
        reply.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    } else {
        reply
    })
}

fn secure(reply: Reply, cache: &'static str) -> Reply {
    [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, cache),
    ]
    .into_iter()
    .fold(reply, |reply, (name, value)| {
        reply.header(name, HeaderValue::from_static(value))
    })
}
