//! Headers of requests and responses that a route sets or removes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::checker::Checker;
use crate::{
    config::model,
    routing::{PathPattern, Template},
};

/// Headers with the value to set; without one, they are removed.
type Edits<T> = Option<Vec<(HeaderName, Option<T>)>>;

/// The edits of requests and of responses.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    paths: &[PathPattern],
    checker: &mut Checker,
) -> (Edits<Template>, Edits<HeaderValue>) {
    let template = |text: &str| Template::parse(text, paths);
    let value = |text: &str| {
        HeaderValue::try_from(text).map_err(|_| "is not a valid header value".to_owned())
    };
    let request = format!("{key}.request_headers");
    let response = format!("{key}.response_headers");
    (
        check_edits(&request, &route.request_headers, template, checker),
        check_edits(&response, &route.response_headers, value, checker),
    )
}

/// Headers that frame a message, or that the gateway sets itself.
const NOT_EDITED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "x-session-id",
    "x-user-id",
];
const NOT_EDITED_PREFIX: &str = "x-forwarded-";

/// Headers to set; an empty value removes one.
fn check_edits<T>(
    table: &str,
    edits: &BTreeMap<String, String>,
    parse: impl Fn(&str) -> Result<T, String>,
    checker: &mut Checker,
) -> Edits<T> {
    let edit = |name: &str, value: &str| {
        let name =
            HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
        let text = name.as_str();
        if NOT_EDITED.contains(&text) || text.starts_with(NOT_EDITED_PREFIX) {
            return Err("is a header that the gateway sets itself".to_owned());
        }
        let value = Some(value).filter(|value| !value.is_empty());
        Ok((name, value.map(&parse).transpose()?))
    };
    let edits: Vec<Option<_>> = edits
        .iter()
        .map(|(name, value)| checker.ok(&format!("{table}.{name}"), edit(name, value)))
        .collect();
    edits.into_iter().collect()
}
