//! Sends clients without TLS to the same URL with it.
//!
//! Responses to ACME challenges are exempt: authorities fetch them over plain HTTP.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::context::Flow;
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::{RequestFacts, RequestTarget, host::Authority},
    tls::is_challenge,
};

const HTTPS: u16 = 443;

#[derive(Debug)]
pub(super) struct HttpsRedirect {
    port: u16,
}

impl HttpsRedirect {
    pub(super) fn new(port: u16) -> Self {
        Self { port }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        if facts.is_secure || is_challenge(facts.path) {
            return Flow::Continue;
        }
        let host = facts.reported_host.map(str::as_bytes).or(facts.host);
        Flow::Reply(Box::new(redirect(host, facts.sent_target, self.port)))
    }
}

/// The redirect of a request for `host`, with its port or without. `sent`: the target in any form.
pub(crate) fn redirect(host: Option<&[u8]>, sent: &[u8], port: u16) -> GatewayResponse {
    let target = std::str::from_utf8(sent).map(RequestTarget::split).ok();
    let host = host.and_then(|host| std::str::from_utf8(host).ok());
    let host = host.and_then(Authority::parse);
    let location = host.zip(target).and_then(|(host, target)| {
        let port = match port {
            HTTPS => String::new(),
            port => format!(":{port}"),
        };
        let (host, path, query) = (host.host, target.path, target.query);
        let location = format!("https://{host}{port}{path}{query}");
        let location = HeaderValue::try_from(location).ok();
        location.filter(|_| path.starts_with('/'))
    });
    let Some(location) = location else {
        let problem = error::malformed("the request has no host and path to redirect to");
        return GatewayResponse::Problem(problem);
    };
    // With 301, clients may repeat a POST as GET.
    let reply = Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new())
        .status(StatusCode::PERMANENT_REDIRECT)
        .header(header::LOCATION, location);
    GatewayResponse::Reply(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_the_same_host_and_target() {
        for (host, target, port, expected) in [
            ("a.example", "/", 443, Some("https://a.example/")),
            (
                "A.example.:80",
                "/x?y=z",
                443,
                Some("https://a.example/x?y=z"),
            ),
            ("a.example:8080", "/", 8443, Some("https://a.example:8443/")),
            ("[::1]:80", "/", 443, Some("https://[::1]/")),
            (
                "a.example",
                "//evil.example/",
                443,
                Some("https://a.example//evil.example/"),
            ),
            ("a.example", "*", 443, None),
            (
                "a.example",
                "http://a.example?x",
                443,
                Some("https://a.example/?x"),
            ),
            ("a.example", "x", 443, None),
            ("a.example/x", "/", 443, None),
            ("a@evil.example", "/", 443, None),
            ("", "/", 443, None),
        ] {
            let response = redirect(Some(host.as_bytes()), target.as_bytes(), port);
            let location = match &response {
                GatewayResponse::Reply(reply) => {
                    assert_eq!(reply.status, StatusCode::PERMANENT_REDIRECT);
                    let mut headers = reply.headers.iter();
                    let found = headers.find(|(name, _)| *name == header::LOCATION);
                    found.map(|(_, value)| value.to_str().unwrap().to_owned())
                }
                GatewayResponse::Problem(_) => None,
            };
            assert_eq!(location.as_deref(), expected, "{host} {target}");
        }
    }
}
