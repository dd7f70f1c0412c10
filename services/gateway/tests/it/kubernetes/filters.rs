//! What is changed on the way, and answers that need no backend.

use serde_json::{Value, json};

use super::{Case, Cluster, INFRA, backend_ref, get, prefix, received, rule};
use crate::support::eventually;

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";

/// A rule with these filters that leads to the first backend.
fn filtered(path: &str, filters: Value) -> Value {
    let mut rule = rule(json!([prefix(path)]), V1);
    rule["filters"] = filters;
    rule
}

fn redirecting(path: &str, settings: Value) -> Value {
    let filter = json!({ "type": "RequestRedirect", "requestRedirect": settings });
    json!({ "matches": [prefix(path)], "filters": [filter] })
}

fn rewriting(settings: Value) -> Value {
    json!({ "type": "URLRewrite", "urlRewrite": settings })
}

fn modifying(name: &str, settings: Value) -> Value {
    let mut field = name.to_owned();
    field[..1].make_ascii_lowercase();
    let mut filter = json!({ "type": name });
    filter[field] = settings;
    filter
}

fn changes() -> Value {
    json!({
        "set": [{ "name": "X-Header-Set", "value": "set-overwrites-values" }],
        "add": [
            { "name": "X-Header-Add", "value": "header-val-1" },
            { "name": "X-Header-Add-Append", "value": "header-val-2" },
        ],
        "remove": ["X-Header-Remove"],
    })
}

/// `HTTPRouteRedirectHostAndStatus`, `HTTPRouteRedirectPath`, `HTTPRouteRedirectPort`, `HTTPRouteRedirectScheme`,
/// `HTTPRouteRedirectPortAndScheme` at port 80, and `HTTPRoute303Redirect`, `307` and `308`.
#[expect(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test(flavor = "multi_thread")]
async fn http_route_redirects() {
    let cluster = Cluster::start().await;
    let replace = |to: &str| json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": to });
    let full = |to: &str| json!({ "type": "ReplaceFullPath", "replaceFullPath": to });
    let org = "example.org";
    let cases: Vec<(&str, Value, &str, u16, &str)> = vec![
        (
            "/host",
            json!({ "hostname": org }),
            "/host",
            302,
            "http://example.org/host",
        ),
        (
            "/host-status",
            json!({ "hostname": org, "statusCode": 301 }),
            "/host-status",
            301,
            "http://example.org/host-status",
        ),
        (
            "/303",
            json!({ "statusCode": 303, "path": full("/x") }),
            "/303",
            303,
            "http://a.test/x",
        ),
        (
            "/307",
            json!({ "statusCode": 307, "path": full("/x") }),
            "/307",
            307,
            "http://a.test/x",
        ),
        (
            "/308",
            json!({ "statusCode": 308, "path": full("/x") }),
            "/308",
            308,
            "http://a.test/x",
        ),
        (
            "/original-prefix",
            json!({ "path": replace("/replacement-prefix") }),
            "/original-prefix/lemon",
            302,
            "http://a.test/replacement-prefix/lemon",
        ),
        (
            "/full",
            json!({ "path": full("/full-path-replacement") }),
            "/full/path/original",
            302,
            "http://a.test/full-path-replacement",
        ),
        (
            "/path-and-host",
            json!({ "hostname": org, "path": replace("/replacement-prefix") }),
            "/path-and-host",
            302,
            "http://example.org/replacement-prefix",
        ),
        (
            "/full-path-and-status",
            json!({ "path": full("/replacement-full"), "statusCode": 301 }),
            "/full-path-and-status",
            301,
            "http://a.test/replacement-full",
        ),
        (
            "/port",
            json!({ "port": 8083 }),
            "/port",
            302,
            "http://a.test:8083/port",
        ),
        (
            "/port-and-host",
            json!({ "port": 8083, "hostname": org }),
            "/port-and-host",
            302,
            "http://example.org:8083/port-and-host",
        ),
        (
            "/scheme",
            json!({ "scheme": "https" }),
            "/scheme?q=1",
            302,
            "https://a.test/scheme?q=1",
        ),
        (
            "/port-80",
            json!({ "port": 80, "hostname": org }),
            "/port-80",
            302,
            "http://example.org/port-80",
        ),
        (
            "/https-443",
            json!({ "scheme": "https", "port": 443, "hostname": org }),
            "/https-443",
            302,
            "https://example.org/https-443",
        ),
        (
            "/https-8443",
            json!({ "scheme": "https", "port": 8443, "hostname": org }),
            "/https-8443",
            302,
            "https://example.org:8443/https-8443",
        ),
    ];
    let rules: Vec<Value> = cases
        .iter()
        .map(|it| redirecting(it.0, it.1.clone()))
        .collect();
    cluster.route("redirects", json!({ "rules": rules })).await;
    for (_, settings, path, status, location) in &cases {
        let response = cluster.send(&get(path, "").host("a.test")).await;
        assert_eq!(response.status(), *status, "{settings}");
        assert_eq!(response.headers()["location"], *location, "{settings}");
    }
    for (name, filters) in [(
        "both",
        json!([
            redirecting("/", json!({}))["filters"][0],
            rewriting(json!({ "hostname": org })),
        ]),
    )] {
        let rules = json!([{ "filters": filters }]);
        cluster.route(name, json!({ "rules": rules })).await;
        cluster
            .route_has(name, "Accepted", "False", "IncompatibleFilters")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_rewrite_path() {
    let cluster = Cluster::start().await;
    let replace =
        |to: &str| json!({ "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": to } });
    let full = |to: &str| json!({ "path": { "type": "ReplaceFullPath", "replaceFullPath": to } });
    let modified = |settings: Value| {
        json!([
            rewriting(settings),
            modifying("RequestHeaderModifier", changes())
        ])
    };
    let rules = json!([
        filtered("/prefix/one", json!([rewriting(replace("/one"))])),
        filtered("/strip-prefix", json!([rewriting(replace("/"))])),
        filtered("/full/one", json!([rewriting(full("/one"))])),
        filtered(
            "/full/rewrite-path-and-modify-headers",
            modified(full("/test"))
        ),
        filtered(
            "/prefix/rewrite-path-and-modify-headers",
            modified(replace("/prefix"))
        ),
        filtered("/no", json!([])),
    ]);
    cluster.route("rewrites", json!({ "rules": rules })).await;
    for (path, expected) in [
        ("/prefix/one/two", "/one/two"),
        ("/prefix/one", "/one"),
        ("/prefix/one/", "/one/"),
        ("/strip-prefix/three", "/three"),
        ("/strip-prefix", "/"),
        ("/full/one/two?a=b", "/one?a=b"),
        ("/no/rewrite", "/no/rewrite"),
    ] {
        let echoed = cluster.echoed(&get(path, "")).await;
        assert_eq!(echoed["path"], expected, "{path}");
    }
    let sent = [
        ("x-header-remove", "remove-val"),
        ("x-header-add-append", "append-val-1"),
        ("x-header-set", "set-val"),
    ];
    for (path, expected) in [
        ("/full/rewrite-path-and-modify-headers/test", "/test"),
        ("/prefix/rewrite-path-and-modify-headers/one", "/prefix/one"),
    ] {
        let echoed = cluster.echoed(&get(path, "").headers(&sent)).await;
        assert_eq!(echoed["path"], expected, "{path}");
        is_changed(&echoed);
    }
}

fn is_changed(echoed: &Value) {
    for (name, expected) in [
        ("x-header-add", "header-val-1"),
        ("x-header-add-append", "append-val-1,header-val-2"),
        ("x-header-set", "set-overwrites-values"),
        ("x-header-remove", ""),
    ] {
        assert_eq!(received(echoed, name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_rewrite_host() {
    let cluster = Cluster::start().await;
    let host = |name: &str| rewriting(json!({ "hostname": name }));
    let changed = json!([
        host("test.example.org"),
        modifying("RequestHeaderModifier", changes())
    ]);
    let rules = json!([
        filtered("/one", json!([host("one.example.org")])),
        filtered("/", json!([host("example.org")])),
        filtered("/rewrite-host-and-modify-headers", changed),
    ]);
    cluster
        .route(
            "hosts",
            json!({ "hostnames": ["rewrite.example"], "rules": rules }),
        )
        .await;
    let at = |path: &'static str| get(path, "").host("rewrite.example");
    for (path, expected) in [("/one", "one.example.org"), ("/two", "example.org")] {
        let echoed = cluster.echoed(&at(path)).await;
        assert_eq!(received(&echoed, "host"), expected, "{path}");
    }
    let sent = [
        ("x-header-remove", "remove-val"),
        ("x-header-add-append", "append-val-1"),
    ];
    let echoed = cluster
        .echoed(&at("/rewrite-host-and-modify-headers").headers(&sent))
        .await;
    assert_eq!(received(&echoed, "host"), "test.example.org");
    is_changed(&echoed);
}

/// Names of headers with values.
type Pairs = &'static [(&'static str, &'static str)];

fn several(prefix: &str) -> Value {
    let header = |number: u8, value: &str| json!({ "name": format!("X-Header-{prefix}-{number}"), "value": value });
    json!([header(1, "1"), header(2, "2")])
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_request_header_modifier() {
    let cluster = Cluster::start().await;
    let one = |settings: Value| json!([modifying("RequestHeaderModifier", settings)]);
    let multiple = json!({
        "set": several("Set"),
        "add": several("Add"),
        "remove": ["X-Header-Remove-1", "X-Header-Remove-2"],
    });
    let rules = json!([
        filtered(
            "/set",
            one(json!({ "set": [{ "name": "X-Header-Set", "value": "new" }] }))
        ),
        filtered(
            "/add",
            one(json!({ "add": [{ "name": "X-Header-Add", "value": "new" }] }))
        ),
        filtered("/remove", one(json!({ "remove": ["X-Header-Remove"] }))),
        filtered("/multiple", one(multiple)),
    ]);
    cluster.route("modified", json!({ "rules": rules })).await;
    let cases: [(&str, Pairs, Pairs); 6] = [
        (
            "/set",
            &[("some-other-header", "val")],
            &[("x-header-set", "new"), ("some-other-header", "val")],
        ),
        (
            "/set",
            &[("x-header-set", "old")],
            &[("x-header-set", "new")],
        ),
        ("/add", &[], &[("x-header-add", "new")]),
        (
            "/add",
            &[("x-header-add", "old")],
            &[("x-header-add", "old,new")],
        ),
        (
            "/remove",
            &[("x-header-remove", "val")],
            &[("x-header-remove", "")],
        ),
        (
            "/multiple",
            &[
                ("x-header-set-2", "old"),
                ("x-header-add-2", "old"),
                ("x-header-remove-2", "old"),
                ("another", "val"),
            ],
            &[
                ("x-header-set-1", "1"),
                ("x-header-set-2", "2"),
                ("x-header-add-1", "1"),
                ("x-header-add-2", "old,2"),
                ("x-header-remove-2", ""),
                ("another", "val"),
            ],
        ),
    ];
    for (path, sent, expected) in cases {
        let echoed = cluster.echoed(&get(path, "").headers(sent)).await;
        for (name, value) in expected {
            assert_eq!(received(&echoed, name), *value, "{path} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_response_header_modifier() {
    let cluster = Cluster::start().await;
    let settings = json!({
        "set": several("Set"),
        "add": several("Add"),
        "remove": ["X-Header-Remove"],
    });
    let both = json!([
        modifying("ResponseHeaderModifier", settings),
        modifying("RequestHeaderModifier", changes()),
    ]);
    cluster
        .route("modified", json!({ "rules": [filtered("/", both)] }))
        .await;
    let sent = [
        (
            "x-echo-set-header",
            "x-header-set-1:old,x-header-add-2:old,x-header-remove:old,other:val",
        ),
        ("x-header-remove", "remove-val"),
        ("x-header-add-append", "append-val-1"),
    ];
    let response = cluster.send(&get("/", "").headers(&sent)).await;
    let headers = response.headers().clone();
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(",")
    };
    for (name, expected) in [
        ("x-header-set-1", "1"),
        ("x-header-set-2", "2"),
        ("x-header-add-1", "1"),
        ("x-header-add-2", "old,2"),
        ("x-header-remove", ""),
        ("other", "val"),
    ] {
        assert_eq!(all(name), expected, "{name}");
    }
    is_changed(&response.json().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_request_mirror() {
    let cluster = Cluster::start().await;
    let mirror =
        json!({ "type": "RequestMirror", "requestMirror": { "backendRef": backend_ref(V2) } });
    let missing =
        json!({ "type": "RequestMirror", "requestMirror": { "backendRef": backend_ref("none") } });
    let rules = json!([
        filtered("/mirror", json!([mirror])),
        filtered("/broken", json!([missing]))
    ]);
    cluster.route("mirrored", json!({ "rules": rules })).await;
    cluster
        .expect(&[get("/mirror", V1), get("/broken", V1)])
        .await;
    let labels = format!("service=\"gateway\",upstream=\"kubernetes/{INFRA}/{V2}:8080\"");
    let sent = format!("gateway_mirrored_requests_total{{{labels},outcome=\"sent\"}}");
    eventually("the copy is sent", || async {
        (cluster.gateway.count(&sent).await == 1).then_some(())
    })
    .await;
    cluster
        .route_has("mirrored", "ResolvedRefs", "False", "BackendNotFound")
        .await;
}

/// `HTTPRouteTimeoutRequest` and `HTTPRouteTimeoutBackendRequest`.
#[tokio::test(flavor = "multi_thread")]
async fn http_route_timeouts() {
    let cluster = Cluster::start().await;
    let limited = |path: &str, timeouts: Value| {
        let mut rule = rule(json!([prefix(path)]), V1);
        rule["timeouts"] = timeouts;
        rule
    };
    let rules = json!([
        limited("/request", json!({ "request": "200ms" })),
        limited("/no-request", json!({ "request": "0s" })),
        limited("/backend", json!({ "backendRequest": "200ms" })),
        limited("/no-backend", json!({ "backendRequest": "0s" })),
    ]);
    cluster.route("timeouts", json!({ "rules": rules })).await;
    let case =
        |path: &'static str, expected: &'static str| -> Case<'static> { get(path, expected) };
    cluster
        .expect(&[
            case("/request", V1),
            case("/request?delay_ms=2000", "504"),
            case("/no-request?delay_ms=400", V1),
            case("/backend", V1),
            case("/backend?delay_ms=2000", "504"),
            case("/no-backend?delay_ms=400", V1),
        ])
        .await;
}
