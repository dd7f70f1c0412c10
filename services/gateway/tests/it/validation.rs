//! `validate`: operations and parameters of requests beside the OpenAPI document.

use std::sync::atomic::Ordering;

use http::{Method, header};
use serde_json::json;

use crate::support::{blocking, client, document, first_error, problem};

/// Path and query, and the parameter at fault with its code, if any is.
const PARAMETERS: [(&str, Option<(&str, &str)>); 63] = [
    ("/query", None),
    ("/query?limit=1&status=open&ratio=0.5&all=true", None),
    ("/v1/query?limit=1", None),
    ("/v1/query?limit=0", Some(("limit", "too_small"))),
    ("/query?limit=101", Some(("limit", "too_large"))),
    ("/query?limit=007", None),
    ("/query?limit=%31%30", None),
    ("/query?limit=1.5", Some(("limit", "invalid_value"))),
    ("/query?limit=ten", Some(("limit", "invalid_value"))),
    ("/query?limit=", Some(("limit", "invalid_value"))),
    ("/query?limit", Some(("limit", "invalid_value"))),
    ("/query?limit=1&limit=2", Some(("limit", "duplicate"))),
    ("/query?l%69mit=0", Some(("limit", "too_small"))),
    ("/query?LIMIT=0", None),
    ("/query?status=closed", Some(("status", "invalid_value"))),
    ("/query?ratio=1", Some(("ratio", "too_large"))),
    ("/query?ratio=1e-3", None),
    ("/query?all=1", Some(("all", "invalid_value"))),
    ("/query?either=12345&limit=1", None),
    ("/query?either=abcd", Some(("either", "too_long"))),
    ("/query?ids=1&ids=2", None),
    ("/query?ids=1", None),
    ("/query?ids=1&ids=x", Some(("ids", "invalid_value"))),
    ("/query?ids=1&ids=2&ids=3&ids=4", Some(("ids", "too_long"))),
    ("/query?commas=1,2,3", None),
    ("/query?commas=1,2,3,4", Some(("commas", "too_long"))),
    ("/query?commas=1,x", Some(("commas", "invalid_value"))),
    ("/query?pipes=1%7C2", None),
    ("/query?pipes=1%7Cx", Some(("pipes", "invalid_value"))),
    ("/query?spaces=1%202+3", None),
    ("/query?spaces=1+x", Some(("spaces", "invalid_value"))),
    ("/query?deep%5Bx%5D=1&deep%5By%5D=2", None),
    ("/query?deep%5By%5D=2", Some(("deep", "missing"))),
    (
        "/query?deep%5Bx%5D=1&deep%5By%5D=10",
        Some(("deep", "too_large")),
    ),
    (
        "/query?deep%5Bx%5D=1&deep%5Bz%5D=1",
        Some(("deep", "unknown")),
    ),
    (
        "/query?deep%5Bx%5D%5Bz%5D=1",
        Some(("deep", "invalid_value")),
    ),
    ("/query?flat=x,1,y,2", None),
    ("/query?flat=x,1,y,z", Some(("flat", "invalid_value"))),
    ("/query?empty=", None),
    ("/query?empty=x", Some(("empty", "invalid_value"))),
    ("/query?json=%7B%22x%22:1%7D", None),
    ("/query?json=%7B%22y%22:1%7D", Some(("json", "missing"))),
    (
        "/query?json=%7B%22x%22:1,%22x%22:2%7D",
        Some(("json", "duplicate")),
    ),
    ("/query?json=x", Some(("json", "malformed"))),
    ("/query?name=a+b%C3%A9", None),
    ("/query?name=AB", Some(("name", "invalid_characters"))),
    ("/query?other=1&more=2", None),
    ("/object?x=1&y=2&other=3", None),
    ("/object?y=2", Some(("point", "missing"))),
    ("/object?x=1&y=10", Some(("point", "too_large"))),
    ("/things/1", None),
    ("/things/1/", None),
    ("/things/0", Some(("id", "too_small"))),
    ("/things/x", Some(("id", "invalid_value"))),
    ("/v1/things/x", Some(("id", "invalid_value"))),
    ("/things/mine", None),
    ("/files/a.b.png", None),
    ("/files/a.gif", Some(("ext", "invalid_value"))),
    ("/label/.1.2", None),
    ("/label/1.2", Some(("ids", "invalid_value"))),
    ("/label/.1.x", Some(("ids", "invalid_value"))),
    ("/simple/1,2", None),
    ("/simple/1,x", Some(("ids", "invalid_value"))),
];

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_as_the_document_says() {
    let (gateway, count) = blocking(&document(), "").await;
    let mut forwarded = 0;
    for (target, fault) in PARAMETERS {
        let response = gateway.get(target).await;
        match fault {
            None => {
                assert_eq!(response.status(), 200, "{target}");
                forwarded += 1;
            }
            Some((name, code)) => {
                let body = problem(response, 400, "invalid_parameter").await;
                assert_eq!(
                    first_error(&body),
                    (name.into(), code.into()),
                    "{target}: {body}"
                );
            }
        }
        assert_eq!(count.load(Ordering::Relaxed), forwarded, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_cookies_are_parameters() {
    let (gateway, count) = blocking(&document(), "").await;
    for (headers, expected) in [
        (&[("x-count", "1")][..], &[][..]),
        (&[], &[("X-Count", "missing")]),
        (&[("x-count", "x")], &[("X-Count", "invalid_value")]),
        (&[("x-count", "1"), ("x-list", "1, 2")], &[]),
        (
            &[
                ("x-count", "1"),
                ("x-list", "1"),
                ("x-list", "2,3"),
                ("x-list", "4"),
            ],
            &[("X-List", "too_long")],
        ),
        (&[("x-count", "1"), ("cookie", "a=b; theme=dark")], &[]),
        (
            &[("x-list", "y"), ("cookie", "theme=red")],
            &[
                ("X-Count", "missing"),
                ("X-List", "invalid_value"),
                ("theme", "invalid_value"),
            ],
        ),
    ] {
        let mut request = client().get(gateway.url("/needed?q="));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        if expected.is_empty() {
            assert_eq!(response.status(), 200, "{headers:?}");
            continue;
        }
        let body = problem(response, 400, "invalid_parameter").await;
        let mut found: Vec<_> = body["errors"].as_array().unwrap().iter().collect();
        found.sort_by_key(|error| error["parameter"].to_string());
        let found: Vec<_> = found
            .into_iter()
            .map(|it| {
                (
                    it["parameter"].as_str().unwrap(),
                    it["code"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expected, "{headers:?}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
    let body = problem(gateway.get("/needed").await, 400, "invalid_parameter").await;
    assert_eq!(body["errors"].as_array().unwrap().len(), 2, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_those_of_the_document() {
    let (gateway, count) = blocking(&document(), "").await;
    problem(gateway.get("/nothing").await, 404, "no_route").await;
    problem(gateway.get("/things").await, 404, "no_route").await;
    problem(gateway.get("/v2/query").await, 404, "no_route").await;
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let method: Method = method.parse().unwrap();
        let mut request = client().request(method, gateway.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let refused = ask("PUT", "/things/1", &[]).await;
    let allowed = refused.headers()[header::ALLOW]
        .to_str()
        .unwrap()
        .to_owned();
    let mut allowed: Vec<_> = allowed.split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
    problem(refused, 405, "method_not_allowed").await;
    assert_eq!(count.load(Ordering::Relaxed), 0);
    // The parameter of the operation replaces that of its path.
    problem(
        ask("DELETE", "/things/1", &[]).await,
        400,
        "invalid_parameter",
    )
    .await;
    assert_eq!(ask("DELETE", "/things/7", &[]).await.status(), 200);
    // HEAD is GET, with its parameters; a preflight is none of the document's.
    assert_eq!(ask("HEAD", "/things/1", &[]).await.status(), 200);
    assert_eq!(ask("HEAD", "/things/x", &[]).await.status(), 400);
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "PUT"),
    ];
    assert_eq!(ask("OPTIONS", "/things/1", &preflight).await.status(), 200);
    problem(
        ask("OPTIONS", "/things/1", &[]).await,
        405,
        "method_not_allowed",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_what_is_unknown() {
    let more = "[validation]\nunknown_operations = \"pass\"\nrefuse_unknown_query = true\nformats = [\"email\"]\n";
    let (gateway, _) = blocking(&document(), more).await;
    assert_eq!(gateway.get("/nothing").await.status(), 200);
    assert_eq!(gateway.get("/query?limit=1").await.status(), 200);
    for (target, name) in [
        ("/query?limit=1&other=2", "other"),
        ("/things/1?x", "x"),
        ("/query?deep%5Bx%5D=1&de=1", "de"),
    ] {
        let body = problem(gateway.get(target).await, 400, "invalid_parameter").await;
        assert_eq!(
            first_error(&body),
            (name.into(), "unknown_parameter".into()),
            "{target}"
        );
    }
    let order = json!({"email": "no email", "items": [{"count": 1}]});
    let sent = client()
        .post(gateway.url("/body"))
        .json(&order)
        .send()
        .await
        .unwrap();
    let body = problem(sent, 422, "invalid_body").await;
    assert_eq!(
        first_error(&body),
        ("/email".into(), "invalid_value".into())
    );
}
