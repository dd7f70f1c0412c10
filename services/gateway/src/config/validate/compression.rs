//! `compress` and `request_decompression` of a route.

use super::checker::Checker;
use crate::{
    config::model::{Compress, Compression, Route},
    routing::{CompressionSettings, RequestDecompression},
};

const MAX_TYPES: usize = 64;

/// `None`: responses are not compressed.
pub(super) fn check(
    key: &str,
    route: &Route,
    checker: &mut Checker,
) -> Option<CompressionSettings> {
    if route.request_decompression != RequestDecompression::Pass && route.upstream.is_none() {
        let key = format!("{key}.request_decompression");
        checker.error(key, "is only possible with `upstream`");
    }
    let key = format!("{key}.compress");
    let table = match &route.compress {
        Compress::Switch(false) => return None,
        Compress::Switch(true) => Compression::default(),
        Compress::Table(table) => table.clone(),
    };
    if route.upstream.is_none() && route.site.is_none() {
        checker.error(&*key, "is only possible with `upstream` or `site`");
    }
    checker.ranges(
        &key,
        &[
            ("min_size_bytes", table.min_size_bytes, 1, 1 << 30),
            ("level", table.level, 1, 9),
        ],
    );
    if table.algorithms.is_empty() {
        let key = format!("{key}.algorithms");
        checker.error(key, "must have at least one of zstd, br and gzip");
    }
    let types = table.content_types.iter();
    let types = types.map(|text| checker.ok(&format!("{key}.content_types"), media_type(text)));
    let types: Vec<_> = types.collect();
    if types.is_empty() || types.len() > MAX_TYPES {
        let key = format!("{key}.content_types");
        checker.error(key, format!("must have 1 to {MAX_TYPES} media types"));
    }
    Some(CompressionSettings {
        min_size_bytes: table.min_size_bytes,
        content_types: types.into_iter().collect::<Option<_>>()?,
        algorithms: table.algorithms,
        level: u32::try_from(table.level).ok()?,
    })
}

fn media_type(text: &str) -> Result<Box<str>, String> {
    let is_part = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.bytes().all(is_allowed)
    };
    match text.split_once('/') {
        Some((kind, rest)) if is_part(kind) && (rest == "*" || is_part(rest)) => {
            Ok(text.to_ascii_lowercase().into())
        }
        _ => Err(format!(
            "`{text}` is not a media type such as text/html or text/*"
        )),
    }
}
