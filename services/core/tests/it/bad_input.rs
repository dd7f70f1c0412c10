//! Invalid requests get a problem that names the cause, never 500.

use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{
    ADA, ME, PASSWORD, REFRESH, SESSIONS, TestApp, USERS, credentials, field, header, json_of,
    problem_of,
};

async fn send(app: &TestApp, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Response {
    let request = app.request(Method::POST, path);
    let request = request.header("content-type", kind).body(body.into());
    request.send().await.unwrap()
}

#[tokio::test]
async fn malformed_bodies_are_client_errors() {
    let app = TestApp::start().await;
    for path in [USERS, SESSIONS, REFRESH] {
        for body in ["", "{", "x", "\u{0}", "{\"refresh"] {
            let response = send(&app, path, "application/json", body).await;
            problem_of(response, 400, "malformed_json").await;
        }
        let response = send(&app, path, "application/json", b"{\"email\": \"\xff\"}").await;
        assert_eq!(response.status().as_u16() / 100, 4);
        let response = send(&app, path, "text/plain", "{}").await;
        let found = problem_of(response, 415, "unsupported_media_type").await;
        assert_eq!(found, field("content-type", "unsupported_media_type"));
        let large = format!("\"{}\"", "x".repeat(70_000));
        let response = send(&app, path, "application/json", large).await;
        problem_of(response, 413, "body_too_large").await;
        for body in ["[]", "null", "5", "\"x\"", "{}"] {
            let response = send(&app, path, "application/json", body).await;
            problem_of(response, 422, "invalid_body").await;
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let response = send(&app, path, "application/json", deep).await;
        assert_eq!(response.status().as_u16() / 100, 4);
    }
}

#[tokio::test]
async fn login_names_invalid_fields() {
    let app = TestApp::start().await;
    for (email, password, name, rule) in [
        ("x", PASSWORD, "/email", "invalid_email"),
        (ADA, "", "/password", "empty"),
        (ADA, &"x".repeat(257), "/password", "too_long"),
    ] {
        let response = app.try_log_in(email, password).await;
        let found = problem_of(response, 422, "invalid_body").await;
        assert_eq!(found, field(name, rule));
    }
    let body = json!({"email": ADA, "password": PASSWORD, "totp": "123456"});
    let found = problem_of(app.post(SESSIONS, &body).await, 422, "invalid_body").await;
    assert_eq!(found, field("/totp", "unknown"));
}

#[tokio::test]
async fn every_member_at_fault_is_named() {
    let app = TestApp::start().await;
    let fields = |names: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = |text: &str| text.to_owned();
        names
            .iter()
            .map(|(name, code)| (own(name), own(code)))
            .collect()
    };
    for (body, expected) in [
        (
            json!({}),
            fields(&[("/email", "missing"), ("/password", "missing")]),
        ),
        (
            json!({"email": 1, "password": []}),
            fields(&[("/email", "invalid_value"), ("/password", "invalid_value")]),
        ),
        (
            json!({"foo": 1, "password": ""}),
            fields(&[
                ("/foo", "unknown"),
                ("/email", "missing"),
                ("/password", "empty"),
            ]),
        ),
    ] {
        for path in [USERS, SESSIONS] {
            let response = app.post(path, &body).await;
            let mut found = problem_of(response, 422, "invalid_body").await;
            let mut expected = expected.clone();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{path} {body}");
        }
    }
    let body = json!({"display_name": "", "password": "short", "email": {}});
    let mut found = problem_of(app.post(USERS, &body).await, 422, "invalid_body").await;
    found.sort();
    let expected = [
        ("/display_name", "empty"),
        ("/email", "invalid_value"),
        ("/password", "too_short"),
    ];
    assert_eq!(found, fields(&expected));
    let tokens = app.join(ADA).await;
    let body = json!({"password": null, "current_password": 5, "x": 1, "email": "x"});
    let response = app.patch(tokens.access(), &body).await;
    let found = problem_of(response, 422, "invalid_body").await;
    assert_eq!(found.len(), 4, "{found:?}");
    // Without a body, that the password is needed.
    let response = app.delete(ME, tokens.access()).await;
    let found = problem_of(response, 422, "invalid_body").await;
    assert_eq!(found, field("/current_password", "missing"));
}

#[tokio::test]
async fn limits_are_named() {
    let app = TestApp::start().await;
    let large = format!("\"{}\"", "x".repeat(70_000));
    let response = send(&app, USERS, "application/json", large).await;
    let problem = json_of(response, 413).await;
    assert_eq!(problem["detail"], "must be at most 65536 bytes");
    let tokens = app.join(ADA).await;
    let path = format!("{SESSIONS}?limit=abc&cursor=x&foo=1");
    let problem = json_of(app.get(&path, tokens.access()).await, 400).await;
    let details: Vec<_> = problem["errors"].as_array().unwrap().iter().collect();
    assert_eq!(details[0]["detail"], "must be an integer from 1 to 100");
    assert_eq!(
        details[1]["detail"],
        "must not be present; known are limit and cursor"
    );
}

#[tokio::test]
async fn invalid_values_are_not_echoed() {
    let app = TestApp::start().await;
    for body in [
        json!({"email": {"x": "s3cret"}, "password": "s3cret"}),
        json!({"email": ADA, "password": {"s3cret": 1}}),
        json!({"email": "s3cret", "password": "s3cret"}),
    ] {
        for path in [USERS, SESSIONS] {
            let problem = json_of(app.post(path, &body).await, 422).await;
            assert!(!problem.to_string().contains("s3cret"), "{problem}");
        }
    }
}

#[tokio::test]
async fn malformed_headers_are_handled() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    for tag in ["", "x", "\"", "\"1\", \"2\"", "W/\"1\"", ",,,"] {
        let get = app.request(Method::GET, ME).bearer_auth(tokens.access());
        let response = get.header("if-none-match", tag).send().await.unwrap();
        assert_eq!(response.status(), 200, "{tag}");
        let patch = app.request(Method::PATCH, ME).bearer_auth(tokens.access());
        let patch = patch.header("if-match", tag);
        let response = patch.json(&json!({"display_name": "x"})).send().await;
        problem_of(response.unwrap(), 412, "precondition_failed").await;
    }
    let sign_up = |key: String| {
        let request = app.request(Method::POST, USERS);
        let request = request.header("idempotency-key", key);
        let request = request.json(&credentials("new@example.com", PASSWORD));
        async move { request.send().await.unwrap() }
    };
    for key in [String::new(), "x".repeat(256), "schlüssel".into()] {
        let response = sign_up(key).await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found, field("idempotency-key", "invalid_idempotency_key"));
    }
    for (name, value) in [
        ("x-forwarded-for", "not an IP, 999.1.1.1"),
        ("user-agent", "\u{fc}\u{1f4a9}"),
        ("x-request-id", "two words"),
        ("traceparent", "00-zz-zz-zz"),
    ] {
        let request = app.request(Method::POST, SESSIONS);
        let request = request.header(name, value);
        let response = request.json(&credentials(ADA, PASSWORD)).send().await;
        assert_eq!(response.unwrap().status(), 201, "{name}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = TestApp::start().await;
    let send = |method: Method, path: &str| app.request(method, path).send();
    let response = send(Method::GET, "/v1/core/nothing").await.unwrap();
    problem_of(response, 404, "no_route").await;
    let response = send(Method::PUT, ME).await.unwrap();
    assert!(header(&response, "allow").contains("PATCH"));
    problem_of(response, 405, "method_not_allowed").await;
}
