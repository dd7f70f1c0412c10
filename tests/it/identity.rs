//! Spoofed identity headers, and the ids that connect requests, logs and traces.

use std::net::Ipv4Addr;

use http::Method;
use serde_json::json;

use crate::harness::echo::ReceivedRequest;
use crate::harness::{Echo, Options, Stack, User, eventually, logs, raw};

/// Headers by which a client could claim an identity or another client IP.
const SPOOFED: [(&str, &str); 18] = [
    ("x-user-id", "usr_spoofed"),
    ("X-User-Id", "usr_spoofed"),
    ("X_User_Id", "usr_spoofed"),
    ("x_user_id", "usr_spoofed"),
    ("x-user_id", "usr_spoofed"),
    ("x-user-email", "spoofed@example.org"),
    ("x_user_email", "spoofed@example.org"),
    ("x-session-id", "ses_spoofed"),
    ("X_Session_Id", "ses_spoofed"),
    ("x-quartet-role", "spoofed"),
    ("x_quartet_role", "spoofed"),
    ("x-forwarded-for", "203.0.113.66"),
    ("X_Forwarded_For", "203.0.113.66"),
    ("x-forwarded-proto", "spoofed"),
    ("x-forwarded-host", "spoofed.example"),
    ("X_Forwarded_Host", "spoofed.example"),
    ("forwarded", "for=203.0.113.66;host=spoofed.example"),
    ("x-real-ip", "203.0.113.66"),
];

fn spoofed_request(path: &str, token: Option<&str>) -> String {
    let mut lines = vec![
        format!("GET {path} HTTP/1.1"),
        "host: gateway.example".to_owned(),
    ];
    lines.extend(
        SPOOFED
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.extend(token.map(|token| format!("authorization: Bearer {token}")));
    lines.join("\r\n") + "\r\n\r\n"
}

fn header(seen: &ReceivedRequest, name: &str) -> Option<String> {
    let values: Vec<_> = seen.headers.get_all(name).iter().collect();
    assert!(values.len() <= 1, "{name} is there {} times", values.len());
    values
        .first()
        .map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_identity_headers_are_removed() {
    let echo = Echo::start().await;
    let stack = Stack::start(Options::default().gateway(&echo.settings())).await;
    let ada = User::sign_up(&stack.client()).await;
    let token = Some(ada.client.token());
    let cases = [
        ("/echo/public/a", None, false),
        ("/echo/public/a", token, false),
        ("/echo/optional/a", None, false),
        ("/echo/optional/a", token, true),
        ("/echo/required/a", token, true),
    ];
    for (path, token, identified) in cases {
        let answer = raw::exchange(stack.gateway(), spoofed_request(path, token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = echo.received().pop().unwrap();
        let everything = format!("{:?}", seen.headers);
        for word in ["spoofed", "203.0.113.66"] {
            let left: Vec<_> = seen
                .headers
                .iter()
                .filter(|(_, value)| value.to_str().is_ok_and(|text| text.contains(word)))
                .collect();
            assert!(left.is_empty(), "{path}: {left:?}");
        }
        let (user, session) = (ada.id.clone(), ada.session_id());
        let expected = identified.then_some((user, session)).unzip();
        let given = (header(&seen, "x-user-id"), header(&seen, "x-session-id"));
        assert_eq!(given, expected, "{path}: {everything}");
        assert_eq!(
            header(&seen, "x-forwarded-for").as_deref(),
            Some("127.0.0.1")
        );
        assert_eq!(header(&seen, "x-forwarded-proto").as_deref(), Some("http"));
        assert_eq!(
            header(&seen, "x-forwarded-host").as_deref(),
            Some("gateway.example")
        );
    }
    raw::exchange(stack.gateway(), spoofed_request("/echo/required/a", None))
        .await
        .problem(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_ignore_spoofed_identity_headers() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let eve = User::sign_up(&stack.client()).await;
    for server in [stack.gateway(), stack.replica("core", 1)] {
        let client = eve.client.at(server);
        let mut call = client.call(Method::GET, "/v1/core/users/me");
        for name in ["x-user-id", "X_User_Id", "x-quartet-user-id"] {
            call = call.header(name, &ada.id);
        }
        let me = call
            .header("x-session-id", &ada.session_id())
            .send()
            .await
            .json_of(200);
        assert_eq!(me["id"], json!(eve.id), "at {server}");
        let anonymous = client.anonymous().call(Method::GET, "/v1/core/users/me");
        let answer = anonymous.header("x-user-id", &ada.id).send().await;
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoofed_client_ip_does_not_evade_the_rate_limit() {
    let settings = "[limits.tight]\nrequests = 3\nwindow_seconds = 60\n\
        [routes.tight]\npaths = [\"/tight\"]\nserve = \"health\"\nauth = \"public\"\nlimit = \"tight\"";
    let stack = Stack::start(Options::gateway_only().gateway(settings)).await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let call = stack.client().call(Method::GET, "/tight");
        let client_ip = format!("203.0.113.{number}");
        let call = call
            .header("x-forwarded-for", &client_ip)
            .header("x-real-ip", &client_ip);
        statuses.push(call.send().await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    let neighbor = stack
        .client()
        .with_client_ip(Ipv4Addr::new(127, 0, 0, 9).into());
    neighbor.get("/tight").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_and_trace_ids_appear_in_all_access_logs() {
    let echo = Echo::start().await;
    // Only trusted proxies continue a trace.
    let trusted = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let settings = format!("{}\n{trusted}", echo.settings());
    let stack = Stack::start(Options::default().gateway(&settings)).await;
    let ada = User::sign_up(&stack.client()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    for (path, service, route) in [
        ("/v1/core/users/me", "core", "/v1/core/users/me"),
        ("/v1/media/assets", "media", "/v1/media/assets"),
        ("/s/nothing-here", "links", "/s/{slug}"),
    ] {
        let call = ada
            .client
            .call(Method::GET, path)
            .header("traceparent", &parent);
        let answer = call.send().await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        for (log, name) in [
            (format!("{service}-1"), service),
            ("gateway".into(), "gateway"),
        ] {
            let line = eventually("the request's log line", || async {
                logs::requests(&stack.log(&log), &id).pop()
            })
            .await;
            assert_eq!(line["level"], "info", "{line:#}");
            assert!(
                line["msg"].is_string() && line["duration_ms"].is_number(),
                "{line:#}"
            );
            assert_eq!(line["method"], "GET");
            assert_eq!(line["path"], path);
            assert_eq!(line["status"], answer.status);
            assert_eq!(line["service"], name);
            assert_eq!(line["trace_id"], trace, "{line:#}");
            assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
            assert!(line["route"].is_string(), "{line:#}");
            if name != "gateway" {
                assert_eq!(line["route"], route);
            }
            if service != "links" {
                assert_eq!(line["caller_id"], json!(ada.id), "{line:#}");
            }
            if name == "core" || name == "media" {
                assert_eq!(line["token_kind"], "session", "{line:#}");
                assert_eq!(line["client_id"], "quartet", "{line:#}");
            }
        }
    }
    let call = stack
        .client()
        .call(Method::GET, "/echo/public/a")
        .header("traceparent", &parent);
    let answer = call.send().await.expect(200);
    let seen = echo.received().pop().unwrap();
    let onward = header(&seen, "traceparent").unwrap();
    assert!(onward.starts_with(&format!("00-{trace}-")), "{onward}");
    assert_eq!(
        header(&seen, "x-request-id").as_deref(),
        answer.header("x-request-id")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_generates_request_and_trace_ids() {
    let echo = Echo::start().await;
    let stack = Stack::start(Options::gateway_only().gateway(&echo.settings())).await;
    let mut ids = std::collections::BTreeSet::new();
    for sent in [
        None,
        Some("chosen-by-the-client"),
        Some("bad id with spaces"),
        Some("chosen-by-the-client"),
    ] {
        let mut call = stack.client().call(Method::GET, "/echo/public/a");
        if let Some(sent) = sent {
            call = call
                .header("x-request-id", sent)
                .header("traceparent", "nonsense");
        }
        let answer = call.send().await.expect(200);
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_ne!(
            Some(id.as_str()),
            sent,
            "no proxy is trusted, so its id is ignored"
        );
        let seen = echo.received().pop().unwrap();
        assert_eq!(header(&seen, "x-request-id").as_deref(), Some(id.as_str()));
        let trace = header(&seen, "traceparent").expect("a trace context");
        assert_eq!(
            trace.split('-').map(str::len).collect::<Vec<_>>(),
            [2, 32, 16, 2],
            "{trace}"
        );
        assert!(ids.insert(id), "request ids are unique");
    }
}
