//! Wrong REST requests, each with the answer that it has to get.

use http::Method;
use serde_json::{Value, json};

use super::{Case, get, no_bodies, post};
use crate::harness::files;

pub(super) fn core() -> Vec<Case> {
    const USERS: &str = "/v1/core/users";
    const SESSIONS: &str = "/v1/core/sessions";
    let good = "a long enough password 1";
    let mut cases = no_bodies(USERS);
    cases.extend(no_bodies(SESSIONS));
    cases.extend([
        post(USERS, &json!({}), "email"),
        post(USERS, &json!({ "email": "a@example.org" }), "password"),
        post(
            USERS,
            &json!({ "email": "a@example.org", "password": "short" }),
            "/password",
        ),
        post(
            USERS,
            &json!({ "email": "a@example.org", "password": "x".repeat(5000) }),
            "/password",
        ),
        post(
            USERS,
            &json!({ "email": "a@example.org", "password": 7 }),
            "/password",
        ),
        post(USERS, &json!({ "email": null, "password": good }), "/email"),
        post(
            USERS,
            &json!({ "email": "a@example.org", "password": good, "admin": true }),
            "admin",
        ),
        post(SESSIONS, &json!({}), "email"),
        post(
            SESSIONS,
            &json!({ "email": "a@example.org", "password": ["x"] }),
            "/password",
        ),
        post("/v1/core/sessions/refresh", &json!({}), "refresh_token"),
        post(
            "/v1/core/sessions/refresh",
            &json!({ "refresh_token": 1 }),
            "/refresh_token",
        ),
    ]);
    for email in [
        "",
        "a",
        "a@",
        "@b",
        "a b@example.org",
        "a@b@c",
        "a\r\nb@example.org",
        "\u{0}@x.y",
    ] {
        cases.push(post(
            USERS,
            &json!({ "email": email, "password": good }),
            "/email",
        ));
    }
    let long = format!("{}@example.org", "a".repeat(300));
    cases.push(post(
        USERS,
        &json!({ "email": long, "password": good }),
        "/email",
    ));
    for id in [
        "x",
        "ses_",
        "ast_01h455vb4pex5vsknk084sn02q",
        "ses_01H455VB4PEX5VSKNK084SN02Q",
        "%00",
    ] {
        cases.push(get(&format!("/v1/core/sessions/{id}"), "id").by(Method::DELETE));
    }
    for query in ["limit=x", "limit=-1", "limit=1.5", "limit=99999999999"] {
        cases.push(get(&format!("/v1/core/sessions?{query}"), "limit"));
    }
    let patch = |body: &Value, names| post("/v1/core/users/me", body, names).by(Method::PATCH);
    cases.extend([
        patch(&json!({ "id": "usr_other" }), "id"),
        patch(&json!({ "display_name": 7 }), "/display_name"),
        patch(
            &json!({ "display_name": "x".repeat(10_000) }),
            "/display_name",
        ),
        patch(
            &json!({ "display_name": "line\nbreak\u{0}" }),
            "/display_name",
        ),
    ]);
    cases
}

pub(super) fn media() -> Vec<Case> {
    const PRESIGN: &str = "/v1/media/presign";
    let with = |name: &str, value: Value| {
        let mut body = files::presign_body("public");
        body[name] = value;
        body
    };
    let mut cases = no_bodies(PRESIGN);
    cases.extend([
        post(PRESIGN, &json!({}), "file_name"),
        post(PRESIGN, &with("size_bytes", json!(0)), "/size_bytes"),
        post(PRESIGN, &with("size_bytes", json!(-1)), "/size_bytes"),
        post(PRESIGN, &with("size_bytes", json!(1.5)), "/size_bytes"),
        post(PRESIGN, &with("size_bytes", json!("7")), "/size_bytes"),
        post(PRESIGN, &with("size_bytes", json!(u64::MAX)), "/size_bytes"),
        post(PRESIGN, &with("content_type", json!("")), "/content_type"),
        post(
            PRESIGN,
            &with("content_type", json!("image/png\r\nx: y")),
            "/content_type",
        ),
        post(
            PRESIGN,
            &with("content_type", json!("application/x-unheard-of")),
            "/content_type",
        ),
        post(PRESIGN, &with("visibility", json!("secret")), "/visibility"),
        post(PRESIGN, &with("file_name", json!("")), "/file_name"),
        post(
            PRESIGN,
            &with("file_name", json!("x".repeat(5000))),
            "/file_name",
        ),
        post(PRESIGN, &with("file_name", json!("a\u{0}b")), "/file_name"),
        post(PRESIGN, &with("owner", json!("usr_other")), "owner"),
    ]);
    for id in [
        "x",
        "ast_",
        "ses_01h455vb4pex5vsknk084sn02q",
        "ast_01h455vb4pex5vsknk084sn02u",
        "%F0%9F",
    ] {
        cases.push(get(&format!("/v1/media/assets/{id}"), "id"));
        cases.push(get(&format!("/v1/media/assets/{id}"), "id").by(Method::DELETE));
        cases.push(get(&format!("/v1/media/assets/{id}/download"), "id"));
    }
    let of_another_list = "WyJvdGhlciIsIjEiXQ";
    for cursor in [
        "x",
        "%20",
        "AAAA",
        "bnVsbA",
        of_another_list,
        &"A".repeat(3000),
    ] {
        cases.push(get(&format!("/v1/media/assets?cursor={cursor}"), "cursor"));
    }
    for query in ["limit=x", "limit=-1", "limit=", "limit=99999999999999"] {
        cases.push(get(&format!("/v1/media/assets?{query}"), "limit"));
    }
    cases.push(get("/v1/media/assets?colour=red", "colour"));
    cases
}
