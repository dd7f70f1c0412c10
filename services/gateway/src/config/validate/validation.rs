//! `[validation]`, `validate` of a route, and the document of an upstream.

use std::sync::Arc;

use serde_json::Value;

use super::{
    checker::{Checker, DAY_SECONDS},
    references::References,
};
use crate::config::model;

/// Those that the validator knows.
const FORMATS: [&str; 13] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "json-pointer",
    "regex",
    "time",
    "uri",
    "uri-reference",
    "uuid",
];
const MAX_BYTES: u64 = 64 << 20;
const MAX_BUFFERED_BYTES: u64 = 16 << 30;

pub(super) fn check(validation: &model::Validation, checker: &mut Checker) {
    checker.ranges(
        "validation",
        &[
            (
                "max_body_bytes",
                validation.max_body_bytes,
                1_024,
                MAX_BYTES,
            ),
            (
                "max_response_bytes",
                validation.max_response_bytes,
                1_024,
                MAX_BYTES,
            ),
            (
                "response_percent",
                validation.response_percent.into(),
                0,
                100,
            ),
            (
                "max_buffered_bytes",
                validation.max_buffered_bytes,
                validation.max_body_bytes,
                MAX_BUFFERED_BYTES,
            ),
            (
                "previous_document_seconds",
                validation.previous_document_seconds,
                0,
                DAY_SECONDS,
            ),
        ],
    );
    for (at, format) in validation.formats.iter().enumerate() {
        if !FORMATS.contains(&format.as_str()) {
            let message = format!("must be one of {}", FORMATS.join(", "));
            checker.error(format!("validation.formats[{at}]"), message);
        }
    }
}

/// Every upstream of the route must have a document.
pub(super) fn check_route(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) {
    if !route.validate.is_on() {
        return;
    }
    let key = format!("{key}.validate");
    let parts = route.split.iter().flatten().map(|part| &part.upstream);
    let names: Vec<&String> = route.upstream.iter().chain(parts).collect();
    if names.is_empty() {
        checker.error(&*key, "is only possible with `upstream` or `split`");
    }
    for name in names {
        let index = references.upstreams.get(name.as_str());
        // Another error says so, if there is none of this name.
        if index.is_some_and(|&index| !references.is_documented[index]) {
            let message = format!("needs `openapi` or `document` of the upstream `{name}`");
            checker.error(&*key, message);
        }
    }
}

/// The outer `None`: a violation was found.
pub(super) fn check_document(
    key: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<Option<Arc<Value>>> {
    let Some(text) = &upstream.document else {
        return Some(None);
    };
    let key = format!("{key}.document");
    if upstream.openapi.is_some() {
        checker.error(&*key, "cannot be combined with `openapi`");
    }
    let parsed = serde_json::from_str::<Value>(text);
    let parsed = parsed.map_err(|error| format!("must be an OpenAPI document in JSON: {error}"));
    let parsed = parsed.and_then(|value| {
        let is_document = value.get("openapi").is_some_and(Value::is_string);
        let message = "must be an OpenAPI document of version 3.0 or 3.1";
        is_document
            .then_some(value)
            .ok_or_else(|| message.to_owned())
    });
    checker.ok(&key, parsed).map(|value| Some(Arc::new(value)))
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    fn errors(tables: &str, upstream: &str, route: &str) -> String {
        let text = format!(
            "{tables}\n[upstreams.u]\naddresses = [\"u:1\"]\n{upstream}\n\
             [upstreams.v]\naddresses = [\"v:1\"]\n[routes.r]\npaths = [\"/r\"]\n{route}\n"
        );
        let checked = Sources::of_test(&text);
        checked
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn a_route_is_validated_against_a_document() {
        const OPENAPI: &str = "openapi = \"/o\"";
        const DOCUMENT: &str = "document = '{\"openapi\": \"3.1.0\", \"paths\": {}}'";
        for (upstream, route, expected) in [
            (OPENAPI, "upstream = \"u\"\nvalidate = \"shadow\"", ""),
            (DOCUMENT, "upstream = \"u\"\nvalidate = \"block\"", ""),
            (
                "document = \"\"",
                "upstream = \"u\"\nvalidate = \"off\"",
                "",
            ),
            (OPENAPI, "upstream = \"v\"\nvalidate = \"off\"", ""),
            (
                OPENAPI,
                "upstream = \"v\"\nvalidate = \"block\"",
                "needs `openapi` or `document` of the upstream `v`",
            ),
            (
                OPENAPI,
                "split = [{ upstream = \"u\", weight = 1 }, { upstream = \"v\", weight = 1 }]\nvalidate = \"shadow\"",
                "needs `openapi` or `document` of the upstream `v`",
            ),
            (
                OPENAPI,
                "redirect = \"/x\"\nvalidate = \"block\"",
                "only possible with `upstream` or `split`",
            ),
            (
                OPENAPI,
                "respond = { status = 200 }\nvalidate = \"shadow\"",
                "only possible with `upstream` or `split`",
            ),
            (
                OPENAPI,
                "serve = \"health\"\nvalidate = \"block\"",
                "only possible with `upstream` or `split`",
            ),
            (
                OPENAPI,
                "upstream = \"u\"\nvalidate = \"on\"",
                "must be off, shadow or block",
            ),
            (
                &format!("{OPENAPI}\n{DOCUMENT}"),
                "upstream = \"u\"",
                "cannot be combined with `openapi`",
            ),
            ("document = \"{\"", "upstream = \"u\"", "in JSON"),
            (
                "document = \"{}\"",
                "upstream = \"u\"",
                "must be an OpenAPI document",
            ),
        ] {
            let errors = errors("", upstream, route);
            assert!(
                errors.contains(expected) && errors.is_empty() == expected.is_empty(),
                "{upstream} {route}: {errors}"
            );
        }
    }

    #[test]
    fn bounds_and_formats_are_checked() {
        for (line, expected) in [
            ("formats = [\"uuid\", \"date-time\"]", ""),
            ("formats = [\"int32\"]", "validation.formats[0]"),
            ("response_percent = 101", "between 0 and 100"),
            ("max_body_bytes = 10", "between 1024"),
            ("max_buffered_bytes = 1000000", "between 1048576"),
            ("unknown_operations = \"x\"", "unknown_operations"),
        ] {
            let errors = errors(&format!("[validation]\n{line}"), "", "upstream = \"u\"");
            assert!(
                errors.contains(expected) && errors.is_empty() == expected.is_empty(),
                "{line}: {errors}"
            );
        }
    }
}
