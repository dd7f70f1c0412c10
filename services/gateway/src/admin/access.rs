//! Who may send a request to the admin listener.
//!
//! Without a token or client certificates in the configuration, anyone who can connect to loopback is an
//! operator, except for pages in the operator's browser: a page of another site may send requests to
//! 127.0.0.1, and one whose name has been made to resolve to 127.0.0.1 may read the responses. So
//! `Sec-Fetch-Site`, `Origin` and `Host` are checked. Programs send neither of the first two.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use quartet_common::problem::Problem;
use quartet_http::{layers::Peer, tls::ClientCertificate};

use crate::{admin_access::AdminAccess, error, state::State};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SCHEME: &[u8] = b"Bearer ";
/// They report nothing that an operator would hide: whether the process lives and is ready.
const PROBES: [&str; 2] = ["/health", "/ready"];
/// The page asks for the token, and has no data of its own.
const PAGE: &str = "/";

/// What decides about requests of one listener.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) state: Arc<State>,
    /// Only this machine reaches the listener, whatever the configuration in force says.
    pub(super) is_loopback: bool,
}

/// # Errors
/// 401 without a valid token or client certificate, 403 for pages of other sites.
pub(super) async fn check(
    Extract(gate): Extract<Gate>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let snapshot = gate.state.snapshot();
    if let Err(problem) = decide(&snapshot.admin, gate.is_loopback, &head) {
        report(&gate.state, &head, &problem);
        return Err(problem);
    }
    drop(snapshot);
    Ok(next.run(Request::from_parts(head, body)).await)
}

fn decide(access: &AdminAccess, is_loopback: bool, head: &Parts) -> Result<(), Problem> {
    let path = head.uri.path();
    if PROBES.contains(&path) && [Method::GET, Method::HEAD].contains(&head.method) {
        return Ok(());
    }
    if is_cross_site(&head.method, &head.headers) {
        let detail = "a page of another site must not use the admin listener";
        return Err(Problem::new(&error::CROSS_SITE_REQUEST).detail(detail));
    }
    if access.has_credentials() {
        if path == PAGE || is_operator(access, head) {
            return Ok(());
        }
        // The next request of a client whose certificate is no longer accepted needs a new handshake.
        let close = HeaderValue::from_static("close");
        let detail = "a token of admin.tokens, or a client certificate, is needed";
        return Err(Problem::unauthenticated(detail).header(header::CONNECTION, close));
    }
    // The configuration was checked for a listen address that takes effect after a restart.
    if !is_loopback {
        let detail = "this address needs admin.tokens or admin.tls_client_ca";
        return Err(Problem::new(&error::NETWORK_NOT_ALLOWED).detail(detail));
    }
    if !names_this_machine(head) {
        let detail = "Host must be an IP address or localhost";
        return Err(Problem::new(&error::CROSS_SITE_REQUEST).detail(detail));
    }
    Ok(())
}

fn is_operator(access: &AdminAccess, head: &Parts) -> bool {
    let certificate = head.extensions.get::<ClientCertificate>();
    // Of the authorities that are in force now: a connection may be older.
    let is_verified = certificate.is_some_and(|certificate| {
        let tls = access.tls();
        tls.is_some_and(|tls| Arc::ptr_eq(tls, &certificate.verified_by))
    });
    if is_verified {
        return true;
    }
    let sent = head.headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|sent| sent.as_bytes().split_at_checked(SCHEME.len()));
    sent.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case(SCHEME) && access.is_token(token)
    })
}

/// Whether a browser says that a page of another site sends the request. A link from elsewhere may be
/// followed: the page that it opens cannot be read by the one that has the link.
fn is_cross_site(method: &Method, headers: &HeaderMap) -> bool {
    let is_safe = [Method::GET, Method::HEAD].contains(method);
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        let is_link = is_safe
            && headers
                .get(SEC_FETCH_MODE)
                .is_some_and(|mode| mode == "navigate");
        return site != "same-origin" && site != "none" && !is_link;
    }
    // An older browser, or an address that it takes for insecure.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// Whether no name server had to be asked for the address that the client has connected to.
fn names_this_machine(head: &Parts) -> bool {
    let host = head.headers.get(header::HOST);
    let host = host.map(|host| host.to_str().unwrap_or("?"));
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    host.into_iter().chain(authority).all(is_this_machine)
}

fn is_this_machine(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let ip = rest.split(']').next().unwrap_or_default();
        return ip.parse::<Ipv6Addr>().is_ok();
    }
    let host = authority.split(':').next().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

/// Refused requests may be many, so their lines are limited as those of the public listeners are.
fn report(state: &State, head: &Parts, problem: &Problem) {
    let lines = state
        .snapshot()
        .config
        .model
        .server
        .refused_log_lines_per_second;
    if state.refusals.may_log(lines) {
        let peer = head.extensions.get::<Peer>().map(|peer| peer.0.to_string());
        tracing::warn!(target: "quartet", code = problem.kind.code, peer,
            method = head.method.as_str(), path = head.uri.path(), "admin request refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::admin::AdminConfig;

    #[test]
    fn only_addresses_and_localhost_need_no_name_server() {
        for (host, expected) in [
            ("127.0.0.1:9080", true),
            ("10.0.0.7", true),
            ("[::1]:9080", true),
            ("localhost:9080", true),
            ("LOCALHOST.", true),
            ("gateway.localhost", true),
            ("", false),
            ("example.org:9080", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("xlocalhost", false),
            ("[::1", true),
            ("[example.org]", false),
        ] {
            assert_eq!(is_this_machine(host), expected, "{host}");
        }
    }

    #[test]
    fn browsers_say_where_a_request_comes_from() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:9080");
        for (method, headers, expected) in [
            (Method::POST, &[HOST][..], false),
            (
                Method::POST,
                &[HOST, ("origin", "http://127.0.0.1:9080")],
                false,
            ),
            (
                Method::POST,
                &[HOST, ("origin", "http://127.0.0.1:9081")],
                true,
            ),
            (Method::POST, &[HOST, ("origin", "null")], true),
            (
                Method::POST,
                &[HOST, ("origin", "https://example.org")],
                true,
            ),
            (
                Method::GET,
                &[HOST, ("origin", "https://example.org")],
                true,
            ),
            (
                Method::POST,
                &[HOST, ("sec-fetch-site", "same-origin")],
                false,
            ),
            (Method::POST, &[HOST, ("sec-fetch-site", "none")], false),
            (
                Method::POST,
                &[HOST, ("sec-fetch-site", "cross-site")],
                true,
            ),
            (Method::POST, &[HOST, ("sec-fetch-site", "same-site")], true),
            (Method::GET, &[HOST, ("sec-fetch-site", "cross-site")], true),
            (
                Method::GET,
                &[
                    HOST,
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                false,
            ),
            (
                Method::POST,
                &[
                    HOST,
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                true,
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(
                is_cross_site(&method, &map),
                expected,
                "{method} {headers:?}"
            );
        }
    }

    /// A reload may have removed the tokens together with the listen address, which stays until a restart.
    #[test]
    fn without_credentials_another_address_than_loopback_has_probes_only() {
        let access = AdminAccess::build(&AdminConfig::default(), None).unwrap();
        for (path, is_loopback, expected) in [
            ("/config", true, None),
            ("/config", false, Some("network_not_allowed")),
            ("/metrics", false, Some("network_not_allowed")),
            ("/", false, Some("network_not_allowed")),
            ("/health", false, None),
            ("/ready", false, None),
        ] {
            let request = http::Request::get(path).header("host", "10.0.0.1").body(());
            let (head, ()) = request.unwrap().into_parts();
            let code = decide(&access, is_loopback, &head).err();
            assert_eq!(code.map(|problem| problem.kind.code), expected, "{path}");
        }
    }
}
