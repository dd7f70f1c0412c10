//! `validate`: requests, and responses, beside the OpenAPI document of their upstream.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    middleware::{Next, from_fn},
    routing::{any, get},
};
use http::{Method, StatusCode, header};
use reqwest::Body;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Gateway, client, echo, eventually, exchange, free_address, problem, route, serve, upstream,
};

/// Every kind of parameter, and of body.
fn document() -> Value {
    let query = |name: &str, schema: Value| json!({"name": name, "in": "query", "schema": schema});
    let with = |mut parameter: Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        parameter.as_object_mut().unwrap().extend(more);
        parameter
    };
    let path = |name: &str, schema: Value| {
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    let integers = json!({"type": "array", "items": {"type": "integer"}, "maxItems": 3});
    let point = json!({"type": "object", "required": ["x"], "additionalProperties": false,
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "maximum": 9}}});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://example.org/v1/"}, {"url": "/"}],
        "paths": {
            "/query": {"get": {"operationId": "query", "parameters": [
                query("limit", json!({"type": "integer", "minimum": 1, "maximum": 100})),
                query("status", json!({"$ref": "#/components/schemas/Status"})),
                query("ratio", json!({"type": "number", "exclusiveMaximum": 1})),
                query("all", json!({"type": "boolean"})),
                query("either", json!({"type": ["integer", "string"], "maxLength": 3})),
                query("ids", integers.clone()),
                with(query("commas", integers.clone()), json!({"explode": false})),
                with(query("pipes", integers.clone()), json!({"style": "pipeDelimited", "explode": false})),
                with(query("spaces", integers.clone()), json!({"style": "spaceDelimited", "explode": false})),
                with(query("deep", point.clone()), json!({"style": "deepObject"})),
                with(query("flat", point.clone()), json!({"explode": false})),
                with(query("empty", json!({"type": "integer"})), json!({"allowEmptyValue": true})),
                {"name": "json", "in": "query", "content": {"application/json": {"schema": point}}},
                query("name", json!({"type": "string", "minLength": 2, "pattern": "^[a-z é]+$"})),
            ]}},
            "/object": {"get": {"operationId": "object", "parameters": [query("point", point.clone())]}},
            "/needed": {"get": {"operationId": "needed", "parameters": [
                with(query("q", json!({"type": "string"})), json!({"required": true})),
                {"name": "X-Count", "in": "header", "required": true, "schema": {"type": "integer"}},
                {"name": "X-List", "in": "header", "schema": integers},
                {"name": "theme", "in": "cookie", "schema": {"enum": ["dark", "light"]}},
                {"name": "Accept", "in": "header", "required": true, "schema": {"enum": ["never"]}},
            ]}},
            "/things/{id}": {
                "parameters": [path("id", json!({"type": "integer", "minimum": 1}))],
                "get": {"operationId": "get_thing"},
                "delete": {"operationId": "delete_thing", "parameters": [path("id", json!({"const": 7}))]},
            },
            "/things/mine": {"get": {"operationId": "mine"}},
            "/files/{name}.{ext}": {"get": {"operationId": "file", "parameters": [
                path("name", json!({"type": "string"})), path("ext", json!({"enum": ["txt", "png"]})),
            ]}},
            "/label/{ids}": {"get": {"operationId": "label", "parameters": [
                with(path("ids", json!({"type": "array", "items": {"type": "integer"}})), json!({"style": "label", "explode": true})),
            ]}},
            "/simple/{ids}": {"get": {"operationId": "simple", "parameters": [
                path("ids", json!({"type": "array", "items": {"type": "integer"}})),
            ]}},
            "/body": {
                "post": {"operationId": "post_body", "requestBody": {"$ref": "#/components/requestBodies/Order"}},
                "put": {"operationId": "put_body", "requestBody": {"content": {
                    "text/*": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
                }}},
                "patch": {"operationId": "patch_body"},
            },
        },
        "components": {
            "requestBodies": {"Order": {"required": true, "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
            }}},
            "schemas": {
                "Status": {"type": "string", "enum": ["open", "done"]},
                "Order": {
                    "type": "object",
                    "required": ["id", "email", "items"],
                    "additionalProperties": false,
                    "properties": {
                        "id": {"type": "string", "readOnly": true},
                        "email": {"type": "string", "maxLength": 20, "format": "email"},
                        "note": {"type": ["string", "null"]},
                        "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Item"}},
                        "next": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Item"}]},
                        "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
                    },
                },
                "Item": {"type": "object", "required": ["count"], "properties": {
                    "count": {"type": "integer", "minimum": 1}, "status": {"$ref": "#/components/schemas/Status"},
                }},
            },
        },
    })
}

fn given(document: &Value) -> String {
    format!("document = '''{document}'''\n")
}

/// Counts what it is sent.
async fn counted(router: Router) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let layer = from_fn(move |request: Request, next: Next| {
        counter.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    });
    (serve(router.layer(layer)).await, count)
}

async fn blocking(document: &Value, more: &str) -> (Gateway, Arc<AtomicUsize>) {
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[address]),
        given(document),
        route("all", "/*", "validate = \"block\""),
        more.to_owned(),
    ];
    (Gateway::start(&settings.concat()).await, count)
}

/// The first error of a problem: parameter or pointer, and code.
fn first_error(problem: &Value) -> (String, String) {
    let error = &problem["errors"][0];
    let named = error["parameter"].as_str().or(error["pointer"].as_str());
    let code = error["code"].as_str().unwrap_or_default();
    (named.unwrap_or_default().to_owned(), code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_as_the_document_says() {
    let (gateway, count) = blocking(&document(), "").await;
    let mut forwarded = 0;
    // (path and query, the parameter at fault and its code, or nothing)
    for (target, fault) in [
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
        ("/query?deep%5Bx%5D=1&deep%5By%5D=10", Some(("deep", "too_large"))),
        ("/query?deep%5Bx%5D=1&deep%5Bz%5D=1", Some(("deep", "unknown"))),
        ("/query?flat=x,1,y,2", None),
        ("/query?flat=x,1,y,z", Some(("flat", "invalid_value"))),
        ("/query?empty=", None),
        ("/query?empty=x", Some(("empty", "invalid_value"))),
        ("/query?json=%7B%22x%22:1%7D", None),
        ("/query?json=%7B%22y%22:1%7D", Some(("json", "missing"))),
        ("/query?json=%7B%22x%22:1,%22x%22:2%7D", Some(("json", "duplicate"))),
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
    ] {
        let response = gateway.get(target).await;
        match fault {
            None => {
                assert_eq!(response.status(), 200, "{target}");
                forwarded += 1;
            }
            Some((name, code)) => {
                let body = problem(response, 400, "invalid_parameter").await;
                assert_eq!(first_error(&body), (name.into(), code.into()), "{target}: {body}");
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
            &[("x-count", "1"), ("x-list", "1"), ("x-list", "2,3"), ("x-list", "4")],
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
            .map(|it| (it["parameter"].as_str().unwrap(), it["code"].as_str().unwrap()))
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
    let allowed = refused.headers()[header::ALLOW].to_str().unwrap().to_owned();
    let mut allowed: Vec<_> = allowed.split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
    problem(refused, 405, "method_not_allowed").await;
    assert_eq!(count.load(Ordering::Relaxed), 0);
    // The parameter of the operation replaces that of its path.
    problem(ask("DELETE", "/things/1", &[]).await, 400, "invalid_parameter").await;
    assert_eq!(ask("DELETE", "/things/7", &[]).await.status(), 200);
    // HEAD is GET, with its parameters; a preflight is none of the document's.
    assert_eq!(ask("HEAD", "/things/1", &[]).await.status(), 200);
    assert_eq!(ask("HEAD", "/things/x", &[]).await.status(), 400);
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];
    assert_eq!(ask("OPTIONS", "/things/1", &preflight).await.status(), 200);
    problem(ask("OPTIONS", "/things/1", &[]).await, 405, "method_not_allowed").await;
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
        assert_eq!(first_error(&body), (name.into(), "unknown_parameter".into()), "{target}");
    }
    let order = json!({"email": "nobody", "items": [{"count": 1}]});
    let sent = client().post(gateway.url("/body")).json(&order).send().await.unwrap();
    let body = problem(sent, 422, "invalid_body").await;
    assert_eq!(first_error(&body), ("/email".into(), "invalid_value".into()));
}

/// Status and code of a problem, the pointer of its first error and its code.
type Fault = (u16, &'static str, &'static str, &'static str);

fn bodies() -> Vec<(String, Option<Fault>)> {
    let order = |more: &str| format!("{{\"email\": \"a@b.c\", \"items\": [{{\"count\": 1}}]{more}}}");
    let long = "x".repeat(LONG);
    vec![
        (order(""), None),
        (order(", \"note\": null, \"next\": null"), None),
        (order(", \"next\": {\"count\": 2, \"more\": 1}"), None),
        (order(", \"labels\": {\"a\": 1}"), None),
        (order(&format!(", \"note\": \"{long}\"")), None),
        (order(", \"note\": 1"), Some((422, "invalid_body", "/note", "invalid_value"))),
        (
            order(&format!(", \"note\": \"{long}\", \"x\": 1")),
            Some((422, "invalid_body", "/x", "unknown")),
        ),
        (order(", \"email\": \"d@e.f\""), Some((422, "invalid_body", "/email", "duplicate"))),
        (order(", \"next\": {\"count\": 0}"), Some((422, "invalid_body", "/next/count", "too_small"))),
        (order(", \"labels\": {\"a\": \"b\"}"), Some((422, "invalid_body", "/labels/a", "invalid_value"))),
        ("{}".into(), Some((422, "invalid_body", "/email", "missing"))),
        (
            "{\"email\": \"a@b.c\", \"items\": []}".into(),
            Some((422, "invalid_body", "/items", "too_short")),
        ),
        (
            "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}, {\"count\": 1, \"status\": \"x\"}]}".into(),
            Some((422, "invalid_body", "/items/1/status", "invalid_value")),
        ),
        ("[]".into(), Some((422, "invalid_body", "", "invalid_value"))),
        ("{".into(), Some((400, "malformed_json", "", ""))),
        (order("") + "x", Some((400, "malformed_json", "", ""))),
        ("\u{feff}{}".into(), Some((400, "malformed_json", "", ""))),
        ("[".repeat(1_000), Some((400, "malformed_json", "", ""))),
        (String::new(), Some((422, "invalid_body", "", "missing"))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_as_the_document_says() {
    let (gateway, count) = blocking(&document(), "").await;
    let mut forwarded = 0;
    let (short, long): (Vec<_>, Vec<_>) = bodies().into_iter().partition(|(body, _)| body.len() < LONG);
    for (body, fault) in short.into_iter().chain(long) {
        let (is_short, start) = (body.len() < 60_000, &body[..body.len().min(80)]);
        let response = post(&gateway, body.clone().into()).await;
        is_answered(response, &body, fault).await;
        if is_short {
            // Of a body that was read ahead and is not valid, the upstream sees nothing.
            forwarded += usize::from(fault.is_none());
            assert_eq!(count.load(Ordering::Relaxed), forwarded, "{start}");
        }
    }
}

const LONG: usize = 100_000;

/// Larger ones, and those in chunks, are held back while they arrive.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_parts_are_as_the_document_says() {
    let (gateway, _) = blocking(&document(), "").await;
    for (body, fault) in bodies() {
        let parts: Vec<_> = body.as_bytes().chunks(7_000).map(Bytes::copy_from_slice).collect();
        let parts = parts.into_iter().map(Ok::<_, std::io::Error>);
        let sent = Body::wrap_stream(futures_util::stream::iter(parts));
        let response = post(&gateway, sent).await;
        is_answered(response, &body, fault).await;
    }
}

async fn post(gateway: &Gateway, body: Body) -> reqwest::Response {
    let request = client().post(gateway.url("/body")).body(body);
    let request = request.header("content-type", "application/json; charset=utf-8");
    request.send().await.unwrap()
}

async fn is_answered(response: reqwest::Response, body: &str, fault: Option<Fault>) {
    let start = &body[..body.len().min(80)];
    let Some((status, code, field, rule)) = fault else {
        assert_eq!(response.status(), 200, "{start}");
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], body.len(), "{start}");
        return;
    };
    let found = problem(response, status, code).await;
    assert_eq!(first_error(&found), (field.into(), rule.into()), "{start}: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_sizes_and_codings_have_rules() {
    let more = "[validation]\nmax_body_bytes = 1024\nmax_buffered_bytes = 1024\n";
    let (gateway, _) = blocking(&document(), more).await;
    let send = async |method: &str, headers: &[(&str, &str)], body: String| {
        let method: Method = method.parse().unwrap();
        let mut request = client().request(method, gateway.url("/body")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    const JSON: (&str, &str) = ("content-type", "Application/JSON;x=y");
    let order = || "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}".to_owned();
    assert_eq!(send("POST", &[JSON], order()).await.status(), 200);
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "x")]] {
        let refused = send("POST", headers, order()).await;
        let body = problem(refused, 415, "unsupported_media_type").await;
        assert_eq!(
            first_error(&body),
            ("content-type".into(), "unsupported_media_type".into())
        );
    }
    // Not looked into; larger than JSON may be.
    let text = [("content-type", "text/plain")];
    assert_eq!(send("PUT", &text, "x".repeat(5_000)).await.status(), 200);
    assert_eq!(send("PUT", &[], String::new()).await.status(), 200);
    problem(send("PUT", &[JSON], "{}".into()).await, 422, "invalid_body").await;
    // The document says nothing of this body.
    assert_eq!(send("PATCH", &text, "x".into()).await.status(), 200);
    let large = format!("{}{}", order(), " ".repeat(2_000));
    problem(send("POST", &[JSON], large).await, 413, "body_too_large").await;
    let refused = send("POST", &[JSON, ("content-encoding", "gzip")], order()).await;
    assert_eq!(refused.headers()[header::ACCEPT_ENCODING], "identity");
    problem(refused, 415, "unsupported_coding").await;
    let identity = [JSON, ("content-encoding", "identity")];
    assert_eq!(send("POST", &identity, order()).await.status(), 200);
}

/// A compressed body is looked into where it is decoded.
#[tokio::test(flavor = "multi_thread")]
async fn decoded_bodies_are_compared() {
    let (address, _) = counted(echo()).await;
    let more = "validate = \"block\"\nrequest_decompression = \"decode\"";
    let settings = [upstream(&[address]), given(&document()), route("all", "/*", more)];
    let gateway = Gateway::start(&settings.concat()).await;
    let send = async |plain: &str| {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(plain.as_bytes()).unwrap();
        let request = client().post(gateway.url("/body")).body(encoder.finish().unwrap());
        let request = request.header("content-type", "application/json");
        request.header("content-encoding", "gzip").send().await.unwrap()
    };
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    let passed: Value = send(order).await.json().await.unwrap();
    assert_eq!(passed["body_bytes"], order.len());
    problem(send("{}").await, 422, "invalid_body").await;
}

/// The head alone is no reason to wait for: a body that does not come is a time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_given_up() {
    let (address, count) = counted(echo()).await;
    let more = "validate = \"block\"\nbody_timeout_seconds = 1";
    let settings = [upstream(&[address]), given(&document()), route("all", "/*", more)];
    let gateway = Gateway::start(&settings.concat()).await;
    let request = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    let response = exchange(gateway.public, request.as_bytes()).await;
    assert_eq!(response.status, 408);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

/// A service with a document that can change, or be missing.
struct Documented {
    document: Arc<Mutex<Option<Value>>>,
}

impl Documented {
    fn router(document: Option<Value>) -> (Self, Router) {
        let document = Arc::new(Mutex::new(document));
        let served = Arc::clone(&document);
        let router = Router::new()
            .route(
                "/openapi.json",
                get(move || {
                    let document = served.lock().unwrap().clone();
                    async move { document.map(|it| it.to_string()).ok_or(StatusCode::NOT_FOUND) }
                }),
            )
            .fallback(any(|| async { "ok" }));
        (Self { document }, router)
    }

    fn change(&self, document: Option<Value>) {
        *self.document.lock().unwrap() = document;
    }
}

fn paths(names: &[&str]) -> Value {
    let paths = names.iter().map(|name| ((*name).to_owned(), json!({"get": {"operationId": name}})));
    json!({"openapi": "3.0.3", "paths": paths.collect::<serde_json::Map<_, _>>()})
}

async fn fetched(validate: &str, keep: u32, router: Router) -> Gateway {
    let address = serve(router).await;
    let settings = [
        format!("[documents]\nrefresh_seconds = 0\n[validation]\nprevious_document_seconds = {keep}\n"),
        upstream(&[address]).replacen("shipped_routes = false\n", "", 1),
        "openapi = \"/openapi.json\"\n".to_owned(),
        route("all", "/*", &format!("validate = \"{validate}\"")),
    ];
    Gateway::start(&format!("shipped_routes = false\n{}", settings.concat())).await
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.get(path).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_document_nothing_passes() {
    let (service, router) = Documented::router(None);
    let gateway = fetched("block", 0, router).await;
    let refused = gateway.get("/a").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 503, "unavailable").await;
    let ready = gateway.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert!(ready.to_string().contains("the OpenAPI document of u is not known"), "{ready}");
    service.change(Some(paths(&["/a"])));
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, "/b").await, 404);
    assert_eq!(gateway.admin("/ready").await.status(), 200);
    // It stays in force while there is none, or one that cannot be read.
    for broken in [None, Some(json!({"swagger": "2.0"}))] {
        let is_refusal = broken.is_some();
        service.change(broken);
        let fetched_again = || async {
            let lines = gateway.lines();
            let message = if is_refusal { "refused" } else { "cannot fetch" };
            lines.iter().any(|it| it["msg"].to_string().contains(message)).then_some(())
        };
        eventually("the document was asked for again", fetched_again).await;
        assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (200, 404));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_document_takes_effect() {
    let (service, router) = Documented::router(Some(paths(&["/a", "/b"])));
    let gateway = fetched("block", 0, router).await;
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    service.change(Some(paths(&["/b", "/c"])));
    eventually("the other document is in force", || async {
        (status(&gateway, "/c").await == 200).then_some(())
    })
    .await;
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (404, 200));
}

/// What either version of a service allows passes, while both run.
#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_a_document_count_during_a_rollout() {
    let (service, router) = Documented::router(Some(paths(&["/a", "/b"])));
    let gateway = fetched("block", 3_600, router).await;
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    service.change(Some(paths(&["/b", "/c"])));
    eventually("the other document is in force", || async {
        (status(&gateway, "/c").await == 200).then_some(())
    })
    .await;
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (200, 200));
    assert_eq!(status(&gateway, "/d").await, 404);
    // A reload keeps both.
    let settings = std::fs::read_to_string(gateway.file()).unwrap();
    gateway.reload(&settings.replace("\"block\"", "\"block\"\nlimit = []")).await;
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/c").await), (200, 200));
}

/// An operation whose schemas lead elsewhere is refused, and nothing is asked for them.
#[tokio::test(flavor = "multi_thread")]
async fn references_are_never_fetched() {
    let (elsewhere, asked) = counted(echo()).await;
    let mut document = paths(&["/a", "/b"]);
    let schema = json!({"$ref": format!("http://{elsewhere}/schema.json")});
    document["paths"]["/b"]["get"]["parameters"] =
        json!([{"name": "q", "in": "query", "schema": schema}]);
    let (_, router) = Documented::router(Some(document));
    let gateway = fetched("block", 0, router).await;
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    problem(gateway.get("/b").await, 503, "unavailable").await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// In shadow, everything passes, and is counted by what the document calls it.
#[tokio::test(flavor = "multi_thread")]
async fn shadow_counts_and_refuses_nothing() {
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[address]),
        given(&document()),
        route("all", "/*", "validate = \"shadow\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for target in ["/query?limit=0&secret=s3cret", "/query?limit=0", "/nothing/s3cret"] {
        assert_eq!(status(&gateway, target).await, 200);
    }
    let order = json!({"email": "a@b.c", "items": [{"count": "s3cret"}], "s3cret": 1});
    for chunked in [false, true] {
        let body = order.to_string();
        let body = if chunked {
            Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(body)]))
        } else {
            Body::from(body)
        };
        let request = client().post(gateway.url("/body")).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], order.to_string().len());
    }
    assert_eq!(count.load(Ordering::Relaxed), 5);
    let violations = async |operation: &str, field: &str, kind: &str| {
        let labels = format!("service=\"gateway\",subject=\"request\",operation=\"{operation}\",field=\"{field}\",kind=\"{kind}\"");
        let name = format!("gateway_validation_violations_total{{{labels}}}");
        gateway.count(&name).await
    };
    assert_eq!(violations("query", "query.limit", "too_small").await, 2);
    assert_eq!(violations("unknown", "path", "unknown").await, 1);
    assert_eq!(violations("post_body", "/items/*/count", "invalid_value").await, 2);
    assert_eq!(violations("post_body", "/*", "unknown").await, 2);
    let invalid = "gateway_validation_checks_total{service=\"gateway\",subject=\"request\",outcome=\"invalid\"}";
    assert_eq!(gateway.count(invalid).await, 5);
    assert!(!gateway.metrics().await.contains("s3cret"));
    let line = gateway.access_line("/query").await;
    assert_eq!(line["violation"], "request query.limit too_small");
}

/// Responses are counted by what the document says of them, and are passed on as they are.
#[tokio::test(flavor = "multi_thread")]
async fn responses_are_counted_and_passed_on() {
    let response = json!({"description": "d", "content": {"application/json": {"schema":
        {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}},
        "headers": {"X-Needed": {"required": true}}});
    let mut document = paths(&["/a"]);
    document["paths"]["/a"]["get"]["responses"] = json!({"200": response, "4XX": {}});
    let replies = [
        (200, "application/json", "{\"id\": 1}", true),
        (200, "application/json", "{\"id\": \"x\"}", true),
        (200, "application/json", "{", true),
        (200, "text/plain", "ok", true),
        (200, "application/json", "{\"id\": 1}", false),
        (404, "text/plain", "none", true),
        (500, "text/plain", "broken", true),
    ];
    let router = Router::new().fallback(any(move |request: Request| async move {
        let at: usize = request.uri().query().unwrap().parse().unwrap();
        let (status, kind, body, has_header) = replies[at];
        let response = http::Response::builder().status(status).header("content-type", kind);
        let response = if has_header { response.header("x-needed", "1") } else { response };
        response.body(axum::body::Body::from(body)).unwrap()
    }));
    let address = serve(router).await;
    let settings = [
        upstream(&[address]),
        given(&document),
        route("all", "/*", "validate = \"block\""),
        "[validation]\nresponse_percent = 100\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (at, (status, _, body, _)) in replies.into_iter().enumerate() {
        let response = gateway.get(&format!("/a?{at}")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.unwrap(), body);
    }
    let count = async |outcome: &str| {
        let labels = format!("service=\"gateway\",subject=\"response\",outcome=\"{outcome}\"");
        gateway.count(&format!("gateway_validation_checks_total{{{labels}}}")).await
    };
    eventually("all are counted", || async {
        ((count("valid").await, count("invalid").await) == (2, 5)).then_some(())
    })
    .await;
    for (field, kind) in [
        ("/id", "invalid_value"),
        ("body", "malformed"),
        ("content-type", "unsupported_media_type"),
        ("X-Needed", "missing"),
        ("status", "unknown"),
    ] {
        let labels = format!("service=\"gateway\",subject=\"response\",operation=\"/a\",field=\"{field}\",kind=\"{kind}\"");
        let name = format!("gateway_validation_violations_total{{{labels}}}");
        assert_eq!(gateway.count(&name).await, 1, "{field}");
    }
}

/// Of a share of the responses, exactly that share is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_responses_is_compared() {
    let mut document = paths(&["/a"]);
    document["paths"]["/a"]["get"]["responses"] = json!({"201": {}});
    let settings = [
        upstream(&[serve(echo()).await]),
        given(&document),
        route("all", "/*", "validate = \"shadow\""),
        "[validation]\nresponse_percent = 25\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..100 {
        assert_eq!(status(&gateway, "/a").await, 200);
    }
    let invalid = "gateway_validation_checks_total{service=\"gateway\",subject=\"response\",outcome=\"invalid\"}";
    assert_eq!(gateway.count(invalid).await, 25);
}

/// The path is that which the upstream gets, and its own document counts for each part of a split.
#[tokio::test(flavor = "multi_thread")]
async fn each_upstream_has_its_document() {
    let (first, second) = (serve(echo()).await, serve(echo()).await);
    let settings = format!(
        "{}{}[upstreams.v]\naddresses = [\"{second}\"]\n{}\
         [routes.prefix]\npaths = [\"/api/*\"]\nupstream = \"u\"\nauth = \"public\"\nrewrite = \"/*\"\nvalidate = \"block\"\n\
         [routes.split]\npaths = [\"/*\"]\nauth = \"public\"\nvalidate = \"block\"\n\
         split = [{{ upstream = \"u\", weight = 1 }}, {{ upstream = \"v\", weight = 1 }}]\n",
        upstream(&[first]),
        given(&paths(&["/a"])),
        given(&paths(&["/b"])),
    );
    let gateway = Gateway::start(&settings).await;
    assert_eq!(status(&gateway, "/api/a").await, 200);
    problem(gateway.get("/api/b").await, 404, "no_route").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(status(&gateway, "/a").await);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 404, 404]);
}

/// Who is refused before learns nothing, and what is refused here has been counted.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_limits_come_first() {
    let (address, _) = counted(echo()).await;
    let settings = [
        "[jwt]\njwks_url = \"\"\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\n".to_owned(),
        "[limits.two]\nrequests = 2\nwindow_seconds = 3600\n".to_owned(),
        upstream(&[address]).replacen("shipped_routes = false\n", "", 1),
        given(&document()),
        route("open", "/v1/*", "validate = \"block\"\nlimit = \"two\""),
        "[routes.closed]\npaths = [\"/*\"]\nupstream = \"u\"\nvalidate = \"block\"\n".to_owned(),
    ];
    let gateway = Gateway::start(&format!("shipped_routes = false\n{}", settings.concat())).await;
    problem(gateway.get("/query?limit=0").await, 401, "unauthenticated").await;
    problem(gateway.get("/v1/query?limit=0").await, 400, "invalid_parameter").await;
    problem(gateway.get("/v1/query?limit=0").await, 400, "invalid_parameter").await;
    problem(gateway.get("/v1/query?limit=0").await, 429, "rate_limited").await;
}

/// A document in the configuration is refused with its reason, and changes with a reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_document_is_checked_and_reloaded() {
    let address = serve(echo()).await;
    let settings = |document: &str| {
        let route = route("all", "/*", "validate = \"block\"");
        format!("{}document = '''{document}'''\n{route}", upstream(&[address]))
    };
    let gateway = Gateway::start(&settings(&paths(&["/a"]).to_string())).await;
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (200, 404));
    for (document, expected) in [
        ("{", "upstreams.u.document"),
        ("{\"openapi\": \"2.0\"}", "version 3.0 or 3.1"),
        ("{\"openapi\": \"3.1.0\"}", "must have `paths`"),
    ] {
        let error = gateway.refused_reload(&settings(document)).await;
        assert!(error.contains(expected), "{document}: {error}");
    }
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (200, 404));
    gateway.reload(&settings(&paths(&["/b"]).to_string())).await;
    assert_eq!((status(&gateway, "/a").await, status(&gateway, "/b").await), (404, 200));
}

/// Over HTTP/2 a body may have no length, and it may turn out later that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_http2_are_compared() {
    let (gateway, count) = blocking(&document(), "[server]\nhttp2 = true\n").await;
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    let cases: [(Option<&str>, bool, u16); 7] = [
        (Some(order), true, 200),
        (Some(order), false, 200),
        (Some("{}"), true, 422),
        (Some("{}"), false, 422),
        (Some(""), true, 422),
        (Some(""), false, 422),
        (None, false, 422),
    ];
    for (body, has_length, expected) in cases {
        let mut request = http::Request::post("http://gateway.test/body");
        if let Some(body) = body {
            request = request.header("content-type", "application/json");
            if has_length {
                request = request.header("content-length", body.len());
            }
        }
        let status = over_http2(&gateway, request.body(()).unwrap(), body).await;
        assert_eq!(status, expected, "{body:?} {has_length}");
    }
    let get = http::Request::get("http://gateway.test/query?limit=0").body(()).unwrap();
    assert_eq!(over_http2(&gateway, get, None).await, 400);
    assert!(count.load(Ordering::Relaxed) >= 2);
}

/// The status of the response.
async fn over_http2(gateway: &Gateway, request: http::Request<()>, body: Option<&str>) -> u16 {
    let stream = tokio::net::TcpStream::connect(gateway.public).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let (response, mut sending) = send.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        sending.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    }
    let status = tokio::time::timeout(DEADLINE, response).await.unwrap().unwrap().status();
    connection.abort();
    status.as_u16()
}

/// A replica that fails does not make a body valid: it is sent again as it was found.
#[tokio::test(flavor = "multi_thread")]
async fn a_checked_body_can_be_sent_again() {
    let dead = free_address();
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[dead, address]),
        given(&document()),
        route("all", "/*", "validate = \"block\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    for _ in 0..4 {
        let request = client().put(gateway.url("/body")).body(order);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], order.len());
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
}
