//! Which rule handles a request.

use serde_json::{Value, json};

use super::{Cluster, INFRA, backend_ref, exact, get, prefix, rule};

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";
const V3: &str = "infra-backend-v3";

/// A match by one header.
fn header(name: &str, value: &str) -> Value {
    json!({ "headers": [{ "name": name, "value": value }] })
}

fn query(name: &str, value: &str) -> Value {
    json!({ "queryParams": [{ "name": name, "value": value }] })
}

fn method(name: &str) -> Value {
    json!({ "method": name })
}

/// All fields of both.
fn and(one: Value, other: Value) -> Value {
    let mut both = one;
    for (name, value) in other.as_object().unwrap() {
        both[name] = value.clone();
    }
    both
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_simple_same_namespace() {
    let cluster = Cluster::start().await;
    let rules = json!([{ "backendRefs": [backend_ref(V1)] }]);
    cluster.route("simple", json!({ "rules": rules })).await;
    cluster
        .route_has("simple", "Accepted", "True", "Accepted")
        .await;
    cluster
        .route_has("simple", "ResolvedRefs", "True", "ResolvedRefs")
        .await;
    cluster
        .expect(&[get("/", V1), get("/any/path?x=y", V1)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_matching() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule(json!([prefix("/"), header("version", "one")]), V1),
        rule(json!([prefix("/v2"), header("version", "two")]), V2),
    ]);
    cluster.route("matching", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/", V1),
            get("/example", V1),
            get("/", V1).headers(&[("version", "one")]),
            get("/v2", V2),
            get("/v2/example", V2),
            get("/", V2).headers(&[("version", "two")]),
            get("/v2/", V2),
            get("/v2example", V1),
            get("/foo/v2/example", V1),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_matching_across_routes() {
    let cluster = Cluster::start().await;
    let first = json!([rule(json!([prefix("/"), header("version", "one")]), V1)]);
    let second = json!([rule(json!([prefix("/v2"), header("version", "two")]), V2)]);
    let hosts = json!(["example.com", "example.net"]);
    cluster
        .route("part1", json!({ "hostnames": hosts, "rules": first }))
        .await;
    let hosts = json!(["example.com"]);
    cluster
        .route("part2", json!({ "hostnames": hosts, "rules": second }))
        .await;
    let two = [("version", "two")];
    cluster
        .expect(&[
            get("/", V1).host("example.com"),
            get("/example", V1).host("example.com"),
            get("/example", V1).host("example.net"),
            get("/example", V1)
                .host("example.com")
                .headers(&[("version", "one")]),
            get("/v2", V2).host("example.com"),
            get("/v2", V1).host("example.net"),
            get("/v2/example", V2).host("example.com"),
            get("/", V2).host("example.com").headers(&two),
            get("/", "404").host("example.org"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_header_matching() {
    let cluster = Cluster::start().await;
    let both = json!([
        { "name": "version", "value": "two" },
        { "name": "color", "value": "orange" },
    ]);
    let rules = json!([
        rule(json!([header("version", "one")]), V1),
        rule(json!([header("version", "two")]), V2),
        rule(json!([{ "headers": both }]), V1),
        rule(
            json!([header("color", "blue"), header("color", "green")]),
            V1
        ),
        rule(
            json!([header("color", "red"), header("color", "yellow")]),
            V2
        ),
    ]);
    cluster.route("headers", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/", V1).headers(&[("version", "one")]),
            get("/", V2).headers(&[("version", "two")]),
            get("/", V1).headers(&[("version", "two"), ("color", "orange")]),
            get("/", V2).headers(&[("version", "two"), ("color", "blue")]),
            get("/", "404").headers(&[("color", "orange")]),
            get("/", "404").headers(&[("some-other-header", "one")]),
            get("/", V1).headers(&[("color", "blue")]),
            get("/", V1).headers(&[("color", "green")]),
            get("/", V2).headers(&[("color", "red")]),
            get("/", V2).headers(&[("color", "yellow")]),
            get("/", "404").headers(&[("color", "purple")]),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_query_param_matching() {
    let cluster = Cluster::start().await;
    let both = json!([
        { "name": "animal", "value": "dolphin" },
        { "name": "color", "value": "blue" },
    ]);
    let whale = || query("animal", "whale");
    let rules = json!([
        rule(json!([whale()]), V1),
        rule(json!([query("animal", "dolphin")]), V2),
        rule(
            json!([{ "queryParams": both }, query("ANIMAL", "Whale")]),
            V3
        ),
        rule(json!([and(prefix("/path1"), whale())]), V1),
        rule(json!([and(header("version", "one"), whale())]), V2),
        rule(
            json!([and(
                and(prefix("/path2"), header("version", "two")),
                whale()
            )]),
            V3
        ),
        rule(
            json!([
                and(prefix("/path3"), query("animal", "shark")),
                and(
                    and(prefix("/path4"), header("version", "three")),
                    query("animal", "kraken")
                ),
            ]),
            V1
        ),
        rule(json!([prefix("/path5")]), V1),
        rule(json!([query("animal", "hydra")]), V2),
        rule(json!([header("version", "four")]), V3),
    ]);
    cluster.route("query", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/?animal=whale", V1),
            get("/?animal=dolphin", V2),
            get("/?animal=dolphin&color=blue", V3),
            get("/?ANIMAL=Whale", V3),
            get("/?animal=whale&otherparam=irrelevant", V1),
            get("/?animal=dolphin&color=yellow", V2),
            get("/?color=blue", "404"),
            get("/?animal=dog", "404"),
            get("/?animal=whaledolphin", "404"),
            get("/", "404"),
            get("/path1?animal=whale", V1),
            get("/?animal=whale", V2).headers(&[("version", "one")]),
            get("/path2?animal=whale", V3).headers(&[("version", "two")]),
            get("/path3?animal=shark", V1),
            get("/path4?animal=kraken", V1).headers(&[("version", "three")]),
            get("/?animal=shark", "404"),
            get("/path4?animal=kraken", "404"),
            get("/path5?animal=hydra", V1),
            get("/?animal=hydra", V3).headers(&[("version", "four")]),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_method_matching() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule(json!([method("POST")]), V1),
        rule(json!([method("GET")]), V2),
        rule(json!([and(prefix("/path1"), method("GET"))]), V1),
        rule(json!([and(header("version", "one"), method("PUT"))]), V2),
        rule(
            json!([and(
                and(prefix("/path2"), header("version", "two")),
                method("POST")
            )]),
            V3
        ),
        rule(
            json!([
                and(prefix("/path3"), method("PATCH")),
                and(
                    and(prefix("/path4"), header("version", "three")),
                    method("DELETE")
                ),
            ]),
            V1
        ),
        rule(json!([prefix("/path5")]), V1),
        rule(json!([method("PATCH")]), V2),
        rule(json!([header("version", "four")]), V3),
    ]);
    cluster.route("methods", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/", V1).method("POST"),
            get("/", V2),
            get("/", "404").method("HEAD"),
            get("/path1", V1),
            get("/", V2).method("PUT").headers(&[("version", "one")]),
            get("/path2", V3)
                .method("POST")
                .headers(&[("version", "two")]),
            get("/path3", V1).method("PATCH"),
            get("/path4", V1)
                .method("DELETE")
                .headers(&[("version", "three")]),
            get("/", "404").method("PUT"),
            get("/path4", "404").method("DELETE"),
            get("/path5", V1).method("PATCH"),
            get("/", V2).method("PATCH").headers(&[("version", "four")]),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_path_match_order() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule(json!([exact("/match")]), V1),
        rule(json!([exact("/match/exact")]), V2),
        rule(json!([exact("/match/exact/one")]), V3),
        rule(json!([prefix("/match/")]), V3),
        rule(json!([prefix("/match/prefix/")]), V1),
        rule(json!([prefix("/match/prefix/one")]), V2),
    ]);
    cluster.route("order", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/match/exact/one", V3),
            get("/match/exact", V2),
            get("/match", V1),
            get("/match/prefix/one/any", V2),
            get("/match/prefix/any", V1),
            get("/match/any", V3),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_exact_path_matching() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule(json!([exact("/one")]), V1),
        rule(json!([exact("/two")]), V2)
    ]);
    cluster.route("exact", json!({ "rules": rules })).await;
    cluster
        .expect(&[
            get("/one", V1),
            get("/two", V2),
            get("/", "404"),
            get("/one/example", "404"),
            get("/two/", "404"),
            get("/Two", "404"),
        ])
        .await;
}

/// Of equal matches, the oldest route counts, and then the first name.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_route_wins() {
    let cluster = Cluster::start().await;
    let add = |name: &str, created: &str, backend: &str| {
        let spec = json!({
            "parentRefs": [{ "name": "same-namespace" }],
            "rules": [rule(json!([prefix("/")]), backend)],
        });
        let mut object = super::route(name, spec);
        object["metadata"]["creationTimestamp"] = json!(created);
        cluster.api.put("httproutes", object);
    };
    add("b", "2026-02-01T00:00:00Z", V2);
    add("a", "2026-02-01T00:00:00Z", V1);
    cluster.has_status("httproutes", INFRA, "a").await;
    cluster.has_status("httproutes", INFRA, "b").await;
    cluster.expect(&[get("/", V1)]).await;
    add("c", "2026-01-31T00:00:00Z", V3);
    cluster.has_status("httproutes", INFRA, "c").await;
    cluster.expect(&[get("/", V3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_weight() {
    let cluster = Cluster::start().await;
    let weighted =
        |name: &str, weight: u32| json!({ "name": name, "port": 8080, "weight": weight });
    let backends = json!([weighted(V1, 70), weighted(V2, 30), weighted(V3, 0)]);
    cluster
        .route("weights", json!({ "rules": [{ "backendRefs": backends }] }))
        .await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..50 {
        *counts
            .entry(cluster.answer(&get("/", "")).await)
            .or_insert(0) += 1;
    }
    // Not on average: exactly.
    assert_eq!(counts, [(V1.to_owned(), 35), (V2.to_owned(), 15)].into());
}

/// What the specification has, and the gateway cannot do, is refused with a reason, and not served in part.
#[expect(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_refused() {
    let cluster = Cluster::start().await;
    let to_v1 = |matched: Value| json!({ "rules": [rule(json!([matched]), V1)] });
    let with = |field: &str, value: Value| {
        let mut rule = rule(json!([prefix("/")]), V1);
        rule[field] = value;
        json!({ "rules": [rule] })
    };
    let mirror = |share: Value| {
        let mut settings = json!({ "backendRef": backend_ref(V2) });
        settings["fraction"] = share;
        json!([{ "type": "RequestMirror", "requestMirror": settings }])
    };
    let set = |name: &str, value: &str| {
        let set = json!({ "set": [{ "name": name, "value": value }] });
        json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier": set }])
    };
    let mut filtered = backend_ref(V1);
    filtered["filters"] = set("x-a", "b");
    let mut heavy = backend_ref(V1);
    heavy["weight"] = json!(100_001);
    let unread = [
        "Exact and PathPrefix",
        "Exact only",
        "braces",
        "empty segments",
        "x-user-id",
        "retry",
        "sessionPersistence",
    ];
    for (at, (spec, words)) in [
        (
            to_v1(json!({ "path": { "type": "RegularExpression", "value": "/a.+" } })),
            "Exact and PathPrefix",
        ),
        (
            to_v1(
                json!({ "headers": [{ "type": "RegularExpression", "name": "a", "value": "b" }] }),
            ),
            "Exact only",
        ),
        (to_v1(prefix("/a/{b}")), "braces"),
        (to_v1(prefix("/a//b")), "empty segments"),
        (to_v1(header("x-user-id", "1")), "x-user-id"),
        (with("retry", json!({ "attempts": 1 })), "retry"),
        (with("sessionPersistence", json!({})), "sessionPersistence"),
        (
            with("filters", json!([{ "type": "CORS", "cors": {} }])),
            "CORS",
        ),
        (
            with(
                "filters",
                json!([{ "type": "ExtensionRef", "extensionRef": {} }]),
            ),
            "ExtensionRef",
        ),
        (
            with(
                "filters",
                mirror(json!({ "numerator": 1, "denominator": 3 })),
            ),
            "percent",
        ),
        (with("filters", set("x-forwarded-for", "a")), "sets itself"),
        (with("filters", set("x-a", "{b}")), "no segment"),
        (with("timeouts", json!({ "request": "1 hour" })), "duration"),
        (
            with("backendRefs", json!([filtered])),
            "filters of backendRefs",
        ),
        (
            with("backendRefs", json!([heavy, backend_ref(V2)])),
            "weights",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("refused-{at}");
        cluster.route(&name, spec.clone()).await;
        cluster
            .route_has(&name, "Accepted", "False", "UnsupportedValue")
            .await;
        let object = cluster.api.get("httproutes", INFRA, &name);
        let message = object["status"]["parents"][0]["conditions"][0]["message"].to_string();
        assert!(message.contains(words), "{spec}: {message}");
        // Where its match can be read, nothing else answers.
        let is_unread = unread.contains(&words);
        let answer = if is_unread { "404" } else { "500" };
        cluster.expect(&[get("/", answer)]).await;
        cluster.api.delete("httproutes", INFRA, &name);
    }
    // A route that is corrected is served.
    cluster
        .route(
            "refused-0",
            with("timeouts", json!({ "request": "1 hour" })),
        )
        .await;
    cluster.expect(&[get("/", "500")]).await;
    cluster.route("refused-0", to_v1(prefix("/"))).await;
    cluster
        .route_has("refused-0", "Accepted", "True", "Accepted")
        .await;
    cluster.expect(&[get("/", V1)]).await;
}
