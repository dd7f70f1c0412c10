//! Headers of requests and responses that a route sets or removes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::checker::Checker;
use crate::{
    config::model,
    request::is_reserved,
    routing::{HeaderEdit, PathPattern, Template},
};

type Edits<T> = Option<Vec<HeaderEdit<T>>>;

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
        check_edits(
            &request,
            &route.request_headers,
            |name| is_own(name) || is_reserved(name.as_bytes()),
            template,
            checker,
        ),
        check_edits(&response, &route.response_headers, is_own, value, checker),
    )
}

/// Headers that frame a message, or that the gateway sets itself.
const NOT_EDITED: [&str; 17] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
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

pub(super) fn is_own(name: &str) -> bool {
    NOT_EDITED.contains(&name) || name.starts_with(NOT_EDITED_PREFIX)
}

/// Several values to add are several edits.
fn check_edits<T>(
    table: &str,
    edits: &BTreeMap<String, model::HeaderEdit>,
    is_refused: impl Fn(&str) -> bool,
    parse: impl Fn(&str) -> Result<T, String>,
    checker: &mut Checker,
) -> Edits<T> {
    let edit = |name: &str, edit: &model::HeaderEdit| {
        let name =
            HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
        if is_refused(name.as_str()) {
            return Err("is a header that the gateway sets itself".to_owned());
        }
        parse_edit(name, edit, &parse)
    };
    let edits: Vec<Option<_>> = edits
        .iter()
        .map(|(name, value)| checker.ok(&format!("{table}.{name}"), edit(name, value)))
        .collect();
    let edits: Option<Vec<_>> = edits.into_iter().collect();
    edits.map(|edits| edits.into_iter().flatten().collect())
}

fn parse_edit<T>(
    name: HeaderName,
    edit: &model::HeaderEdit,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<HeaderEdit<T>>, String> {
    use model::HeaderEdit::{Add, Set, SetMissing};
    Ok(match edit {
        Set(text) if text.is_empty() => vec![HeaderEdit::Remove(name)],
        Set(text) => vec![HeaderEdit::Set(name, parse(text)?)],
        SetMissing(missing) => vec![HeaderEdit::SetMissing(name, parse(&missing.if_absent)?)],
        Add(added) => {
            let values = added.add.iter().map(&parse);
            let values = values.map(|value| Ok(HeaderEdit::Add(name.clone(), value?)));
            values.collect::<Result<_, String>>()?
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    #[test]
    fn headers_that_the_gateway_sets_itself_are_not_edited() {
        let is_accepted = |table: &str, name: &str| {
            let text = format!(
                "[upstreams.u]\naddresses = [\"u:1\"]\n[routes.a]\npaths = [\"/a\"]\n\
                 upstream = \"u\"\n{table} = {{ {name} = \"x\" }}\n"
            );
            Sources::of_test(&text).is_ok()
        };
        for name in ["x-tenant", "server"] {
            assert!(is_accepted("request_headers", name), "{name}");
            assert!(is_accepted("response_headers", name), "{name}");
        }
        for name in ["proxy-authorization", "http2-settings", "x-forwarded-for"] {
            assert!(!is_accepted("request_headers", name), "{name}");
            assert!(!is_accepted("response_headers", name), "{name}");
        }
        for name in ["x-real-ip", "Forwarded", "x_user_id", "x-quartet-role"] {
            assert!(!is_accepted("request_headers", name), "{name}");
        }
    }
}
