//! Invalid REST requests, each with its expected error.

use http::Method;
use serde_json::{Value, json};

use super::{Case, get, invalid_bodies, post};
use crate::harness::files;

pub(super) fn core() -> Vec<Case> {
    [sign_up(), sessions(), profile()]
        .into_iter()
        .flatten()
        .collect()
}

fn sign_up() -> Vec<Case> {
    const PATH: &str = "/v1/core/users";
    let case = |body: &Value, names| post(PATH, body, names);
    let (email, good) = ("a@example.org", "a long enough password 1");
    let mut cases = invalid_bodies(PATH);
    cases.extend([
        case(&json!({}), "email"),
        case(&json!(["a@example.org", "a long enough password 1"]), ""),
        case(&json!({ "email": email }), "password"),
        case(&json!({ "email": email, "password": "short" }), "/password"),
        case(
            &json!({ "email": email, "password": "x".repeat(5000) }),
            "/password",
        ),
        case(&json!({ "email": email, "password": 7 }), "/password"),
        case(&json!({ "email": null, "password": good }), "/email"),
        case(
            &json!({ "email": email, "password": good, "admin": true }),
            "admin",
        ),
    ]);
    let long = format!("{}@example.org", "a".repeat(300));
    let wrong = [
        "",
        "a",
        "a@",
        "@b",
        "a b@example.org",
        "a@b@c",
        "a\r\nb@c.org",
        "\u{0}@x.y",
        &long,
    ];
    cases.extend(wrong.map(|email| case(&json!({ "email": email, "password": good }), "/email")));
    cases
}

fn sessions() -> Vec<Case> {
    const PATH: &str = "/v1/core/sessions";
    const REFRESH: &str = "/v1/core/sessions/refresh";
    let mut cases = invalid_bodies(PATH);
    cases.extend([
        post(PATH, &json!({}), "email"),
        post(
            PATH,
            &json!({ "email": "a@b.org", "password": ["x"] }),
            "/password",
        ),
        post(REFRESH, &json!({}), "refresh_token"),
        post(REFRESH, &json!({ "refresh_token": 1 }), "/refresh_token"),
    ]);
    let wrong_case = "ses_01H455VB4PEX5VSKNK084SN02Q";
    let ids = ["x", "ses_", "ast_01h455vb4pex5vsknk084sn02q", wrong_case];
    cases.extend(ids.map(|id| get(&format!("{PATH}/{id}"), "id").by(Method::DELETE)));
    // Refused by the gateway, before the service.
    cases.push(get(&format!("{PATH}/%00"), "path").by(Method::DELETE));
    let queries = ["limit=x", "limit=1.5", "limit=99999999999"];
    cases.extend(queries.map(|query| get(&format!("{PATH}?{query}"), "limit")));
    cases
}

fn profile() -> Vec<Case> {
    let patch = |body: &Value, names| post("/v1/core/users/me", body, names).by(Method::PATCH);
    vec![
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
    ]
}

pub(super) fn media() -> Vec<Case> {
    [presign(), assets()].into_iter().flatten().collect()
}

fn presign() -> Vec<Case> {
    const PATH: &str = "/v1/media/presign";
    let wrong = |field: &'static str, value: Value| {
        let mut body = files::presign_body("public");
        body[field] = value;
        post(PATH, &body, field)
    };
    let mut cases = invalid_bodies(PATH);
    cases.push(post(PATH, &json!({}), "file_name"));
    let sizes = [
        json!(0),
        json!(-1),
        json!(1.5),
        json!("7"),
        json!(u64::MAX),
        json!(null),
    ];
    cases.extend(sizes.map(|size| wrong("size_bytes", size)));
    let types = ["", "image", "image/png\r\nx: y", "application/x-unheard-of"];
    cases.extend(types.map(|kind| wrong("content_type", json!(kind))));
    let long = "x".repeat(5000);
    let names = ["", "a\u{0}b", &long];
    cases.extend(names.map(|name| wrong("file_name", json!(name))));
    cases.push(wrong("visibility", json!("secret")));
    cases.push(wrong("owner", json!("usr_other")));
    cases
}

fn assets() -> Vec<Case> {
    const PATH: &str = "/v1/media/assets";
    let mut cases = Vec::new();
    let not_base32 = "ast_01h455vb4pex5vsknk084sn02u";
    for id in [
        "x",
        "ast_",
        "ses_01h455vb4pex5vsknk084sn02q",
        not_base32,
        "%F0%9F",
    ] {
        cases.push(get(&format!("{PATH}/{id}"), "id"));
        cases.push(get(&format!("{PATH}/{id}"), "id").by(Method::DELETE));
        cases.push(get(&format!("{PATH}/{id}/download"), "id"));
    }
    let of_another_list = "WyJvdGhlciIsIjEiXQ";
    let long = "A".repeat(3000);
    let cursors = ["x", "%20", "AAAA", "bnVsbA", of_another_list, &long];
    cases.extend(cursors.map(|cursor| get(&format!("{PATH}?cursor={cursor}"), "cursor")));
    let queries = ["limit=x", "limit=", "limit=99999999999999"];
    cases.extend(queries.map(|query| get(&format!("{PATH}?{query}"), "limit")));
    cases.push(get(&format!("{PATH}?color=red"), "color"));
    cases
}
