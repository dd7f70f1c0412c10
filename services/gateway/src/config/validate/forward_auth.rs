//! `forward_auth` of a route.

use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::{checker::Checker, values::check_list};
use crate::{config::model, request::is_reserved, routing::ForwardAuth};

/// Names of one list.
const MAX_NAMES: usize = 32;
/// They are about one connection or body, and not about the caller.
const OF_MESSAGES: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// What the service learns from the gateway, beside the reserved names.
const OF_QUESTION: [&str; 2] = ["x-original-method", "x-original-url"];

/// The outer `None`: a violation was found.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    checker: &mut Checker,
) -> Option<Option<ForwardAuth>> {
    let Some(auth) = &route.forward_auth else {
        return Some(None);
    };
    if route.cache.is_some() {
        checker.error(
            format!("{key}.cache"),
            "cannot be combined with `forward_auth`: a stored response may be of another caller",
        );
    }
    let key = format!("{key}.forward_auth");
    let in_flight = auth.max_in_flight as u64;
    checker.ranges(
        &key,
        &[
            ("timeout_ms", auth.timeout_ms, 10, 60_000),
            ("max_body_bytes", auth.max_body_bytes as u64, 0, 1_048_576),
            ("max_in_flight", in_flight, 1, 10_000),
        ],
    );
    let url = checker.ok(&format!("{key}.url"), check_url(&auth.url));
    let login_url = auth.login_url.as_deref().map(check_login_url).transpose();
    let login_url = checker.ok(&format!("{key}.login_url"), login_url);
    let mut names = |field: &str, list: &[String], sent: bool| {
        if list.len() > MAX_NAMES {
            let message = format!("must have at most {MAX_NAMES} names");
            checker.error(format!("{key}.{field}"), message);
        }
        let parse = |name: &str| parse_name(name, sent);
        check_list(&key, field, list, parse, checker)
    };
    let request_headers = names("copy_request_headers", &auth.copy_request_headers, true);
    let response_headers = names("copy_response_headers", &auth.copy_response_headers, true);
    let client_headers = names("copy_client_headers", &auth.copy_client_headers, false);
    Some(Some(ForwardAuth {
        url: url?,
        login_url: login_url?,
        timeout: Duration::from_millis(auth.timeout_ms),
        request_headers: request_headers?,
        response_headers: response_headers?,
        client_headers: client_headers?,
        max_body_bytes: auth.max_body_bytes,
        max_in_flight: auth.max_in_flight,
    }))
}

fn check_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|url| url.username().is_empty() && url.fragment().is_none());
    url.map(String::from)
        .ok_or_else(|| "must be an http or https URL without user name and fragment".to_owned())
}

/// With the place of the page's URL, which takes any value.
fn check_login_url(text: &str) -> Result<String, String> {
    let filled = text.replace("{url}", "x");
    let is_path = filled.starts_with('/') && !filled.starts_with("//");
    let is_text = filled.bytes().all(|byte| byte.is_ascii_graphic()) && !filled.contains('\\');
    if is_text && (is_path || check_url(&filled).is_ok()) {
        return Ok(text.to_owned());
    }
    Err(
        "must be an http or https URL, or a path of the same host, with `{url}` for the page"
            .to_owned(),
    )
}

/// `sent`: to the service or the upstream, for which the gateway keeps some names.
fn parse_name(name: &str, sent: bool) -> Result<HeaderName, String> {
    let parsed = HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
    if OF_MESSAGES.contains(&parsed.as_str()) {
        return Err(format!(
            "must not be `{parsed}`, which is about one message"
        ));
    }
    let of_gateway =
        is_reserved(parsed.as_str().as_bytes()) || OF_QUESTION.contains(&parsed.as_str());
    if sent && of_gateway {
        return Err(format!("must not be `{parsed}`, which the gateway sets"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn violations_name_the_setting_and_its_rule() {
        let check = |auth: &str, more: &str| {
            let text = format!(
                "shipped_routes = false\n[caches.c]\n[upstreams.u]\naddresses = [\"u:1\"]\n\
                 [routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nauth = \"public\"\n{more}\n\
                 forward_auth = {{ {auth} }}\n"
            );
            let config = Sources::of_test(&text);
            config.map(|_| ()).map_err(|errors| errors.to_string())
        };
        let url = "url = \"http://auth:9091/verify?rd=x\"";
        check(url, "").unwrap();
        for login_url in ["/oauth2/sign_in?rd={url}", "https://sso.example/"] {
            check(&format!("{url}, login_url = \"{login_url}\""), "").unwrap();
        }
        check(
            &format!("{url}, copy_response_headers = [\"Remote-User\"]"),
            "",
        )
        .unwrap();
        for (auth, more, expected) in [
            (
                "url = \"auth:9091\"",
                "",
                "forward_auth.url: must be an http",
            ),
            ("url = \"ftp://a\"", "", "forward_auth.url: must be an http"),
            (
                "url = \"http://u:p@a\"",
                "",
                "forward_auth.url: must be an http",
            ),
            (
                "timeout_ms = 1",
                "",
                "forward_auth.timeout_ms: must be between 10",
            ),
            (
                "copy_request_headers = [\"host\"]",
                "",
                "must not be `host`",
            ),
            (
                "copy_request_headers = [\"Forwarded\"]",
                "",
                "must not be `forwarded`, which the gateway sets",
            ),
            (
                "copy_request_headers = [\"X-Original-URL\"]",
                "",
                "must not be `x-original-url`, which the gateway sets",
            ),
            (
                "copy_response_headers = [\"x-user-id\"]",
                "",
                "must not be `x-user-id`",
            ),
            (
                "copy_response_headers = [\"a b\"]",
                "",
                "is not a valid header name",
            ),
            (
                "login_url = \"sso.example/?rd={url}\"",
                "",
                "forward_auth.login_url: must be an http",
            ),
            (
                "login_url = \"//sso.example\"",
                "",
                "forward_auth.login_url: must be an http",
            ),
            ("max_in_flight = 0", "", "must be between 1 and 10000"),
            ("", "cache = \"c\"", "routes.r.cache: cannot be combined"),
        ] {
            let prefix = if auth.starts_with("url") { "" } else { url };
            let auth = [prefix, auth].into_iter().filter(|it| !it.is_empty());
            let auth = auth.collect::<Vec<_>>().join(", ");
            let error = check(&auth, more).unwrap_err();
            let mut parts = expected.split(": ");
            assert!(parts.all(|part| error.contains(part)), "{auth}: {error}");
        }
    }
}
