//! Statuses of objects: conditions, generations, attached routes.

use serde_json::{Value, json};

use super::{CONTROLLER, Cluster, INFRA, backend_ref, class, gateway, get, has, prefix, rule};
use crate::support::eventually;

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";

fn http(name: &str) -> Value {
    json!({ "name": name, "port": 80, "protocol": "HTTP" })
}

fn with(mut listener: Value, field: &str, value: Value) -> Value {
    listener[field] = value;
    listener
}

fn simple(parent: Value) -> Value {
    json!({ "parentRefs": [parent], "rules": [rule(json!([prefix("/")]), V1)] })
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_class_observed_generation_bump() {
    let cluster = Cluster::start().await;
    cluster
        .api
        .put("gatewayclasses", class("other", "example.org/other"));
    cluster.has_status("gatewayclasses", "", "quartet").await;
    let mut changed = class("quartet", CONTROLLER);
    changed["spec"]["description"] = json!("new");
    cluster.api.put("gatewayclasses", changed);
    cluster.has_status("gatewayclasses", "", "quartet").await;
    let known = cluster.api.get("gatewayclasses", "", "quartet");
    assert_eq!(known["status"]["conditions"][0]["observedGeneration"], 2);
    assert!(has(
        &known["status"]["conditions"],
        "Accepted",
        "True",
        "Accepted"
    ));
    // That of another controller is none of our business.
    let other = cluster.api.get("gatewayclasses", "", "other");
    assert!(other["status"].is_null(), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_observed_generation_bump_and_addresses() {
    let cluster = Cluster::start().await;
    cluster
        .has_status("gateways", INFRA, "same-namespace")
        .await;
    let both = json!([
        http("http"),
        with(http("alternate"), "hostname", json!("a.test"))
    ]);
    cluster.api.put("gateways", gateway("same-namespace", both));
    cluster
        .has_status("gateways", INFRA, "same-namespace")
        .await;
    let known = cluster.api.get("gateways", INFRA, "same-namespace");
    let status = &known["status"];
    for condition in ["Accepted", "Programmed"] {
        assert!(
            has(&status["conditions"], condition, "True", condition),
            "{status}"
        );
    }
    assert_eq!(status["conditions"][0]["observedGeneration"], 2);
    assert_eq!(status["listeners"].as_array().unwrap().len(), 2);
    let expected = json!([{ "type": "IPAddress", "value": "192.0.2.1" }]);
    assert_eq!(status["addresses"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_invalid_route_kind() {
    let cluster = Cluster::start().await;
    let kinds = |kinds: Value| with(http("http"), "allowedRoutes", json!({ "kinds": kinds }));
    let (invalid, valid) = (
        json!({ "kind": "InvalidRoute" }),
        json!({ "kind": "HTTPRoute" }),
    );
    let only = json!([kinds(json!([invalid]))]);
    cluster.api.put("gateways", gateway("only-invalid", only));
    let listener = ("only-invalid", "http");
    let status = cluster
        .gateway_has(listener, "ResolvedRefs", "False", "InvalidRouteKinds")
        .await;
    assert_eq!(status["supportedKinds"], json!([]));
    let both = json!([kinds(json!([valid, invalid]))]);
    cluster.api.put("gateways", gateway("both", both));
    let listener = ("both", "http");
    let status = cluster
        .gateway_has(listener, "ResolvedRefs", "False", "InvalidRouteKinds")
        .await;
    assert_eq!(status["supportedKinds"][0]["kind"], "HTTPRoute");
}

/// `HTTPRouteDisallowedKind`.
#[tokio::test(flavor = "multi_thread")]
async fn http_route_disallowed_kind() {
    let cluster = Cluster::start().await;
    let kinds = json!({ "kinds": [{ "kind": "TLSRoute" }] });
    let listeners = json!([with(http("tls"), "allowedRoutes", kinds)]);
    cluster
        .api
        .put("gateways", gateway("tlsroutes-only", listeners));
    cluster
        .route("disallowed", simple(json!({ "name": "tlsroutes-only" })))
        .await;
    cluster
        .route_has("disallowed", "Accepted", "False", "NotAllowedByListeners")
        .await;
    cluster.has_attached(("tlsroutes-only", "tls"), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_invalid_listeners() {
    let cluster = Cluster::start().await;
    let tcp = json!({ "name": "invalid", "port": 80, "protocol": "TCP" });
    cluster.api.put("gateways", gateway("only", json!([tcp])));
    cluster
        .gateway_has(("only", ""), "Accepted", "False", "ListenersNotValid")
        .await;
    let found = cluster
        .gateway_has(
            ("only", "invalid"),
            "Accepted",
            "False",
            "UnsupportedProtocol",
        )
        .await;
    assert_eq!(found["supportedKinds"], json!([]));
    cluster
        .api
        .put("gateways", gateway("both", json!([http("http"), tcp])));
    cluster
        .gateway_has(("both", ""), "Accepted", "True", "ListenersNotValid")
        .await;
    cluster
        .gateway_has(("both", "http"), "Accepted", "True", "Accepted")
        .await;
    let tls = |mode: &str| {
        let tls = json!({ "mode": mode });
        json!({ "name": "l", "port": 443, "protocol": "HTTPS", "tls": tls })
    };
    for (name, listeners, reason) in [
        (
            "port",
            json!([with(http("l"), "port", json!(8080))]),
            "PortUnavailable",
        ),
        (
            "passthrough",
            json!([tls("Passthrough")]),
            "UnsupportedValue",
        ),
        (
            "unknown",
            json!([with(http("l"), "other", json!({}))]),
            "UnsupportedValue",
        ),
        (
            "conflict",
            json!([http("l"), http("m")]),
            "HostnameConflict",
        ),
    ] {
        cluster.api.put("gateways", gateway(name, listeners));
        cluster
            .gateway_has((name, "l"), "Accepted", "False", reason)
            .await;
    }
    cluster
        .gateway_has(("conflict", "m"), "Conflicted", "True", "HostnameConflict")
        .await;
    // A client certificate that is asked for in vain would be an open door.
    let mut validated = gateway("validated", json!([http("l")]));
    validated["spec"]["tls"] = json!({ "frontend": {} });
    cluster.api.put("gateways", validated);
    cluster
        .gateway_has(("validated", ""), "Accepted", "False", "Invalid")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_modify_listeners() {
    let cluster = Cluster::start().await;
    let first = with(http("first"), "hostname", json!("a.test"));
    let second = with(http("second"), "hostname", json!("b.test"));
    cluster
        .api
        .put("gateways", gateway("modified", json!([first])));
    cluster
        .route("at-both", simple(json!({ "name": "modified" })))
        .await;
    let at = |host: &'static str, expected: &'static str| get("/", expected).host(host);
    cluster
        .expect(&[at("a.test", V1), at("b.test", "404")])
        .await;
    cluster
        .api
        .put("gateways", gateway("modified", json!([first, second])));
    let found = cluster
        .gateway_has(("modified", "second"), "Programmed", "True", "Programmed")
        .await;
    assert_eq!(found["attachedRoutes"], 1);
    cluster.expect(&[at("a.test", V1), at("b.test", V1)]).await;
    cluster
        .api
        .put("gateways", gateway("modified", json!([second])));
    cluster.has_status("gateways", INFRA, "modified").await;
    cluster
        .expect(&[at("a.test", "404"), at("b.test", V1)])
        .await;
    cluster.api.delete("gateways", INFRA, "modified");
    eventually("the route is gone", || async {
        (cluster.answer(&at("b.test", "")).await == "404").then_some(())
    })
    .await;
    eventually("the route says so", || async {
        let known = cluster.api.get("httproutes", INFRA, "at-both");
        (known["status"]["parents"] == json!([])).then_some(())
    })
    .await;
}

/// `HTTPRouteInvalidParentRefNotMatchingSectionName`, `...NotMatchingListenerPort` and
/// `...SectionNameNotMatchingPort`.
#[tokio::test(flavor = "multi_thread")]
async fn http_route_invalid_parent_refs() {
    let cluster = Cluster::start().await;
    for (name, parent) in [
        (
            "section",
            json!({ "name": "same-namespace", "sectionName": "other" }),
        ),
        ("port", json!({ "name": "same-namespace", "port": 81 })),
        (
            "both",
            json!({ "name": "same-namespace", "sectionName": "http", "port": 81 }),
        ),
    ] {
        cluster.route(name, simple(parent)).await;
        cluster
            .route_has(name, "Accepted", "False", "NoMatchingParent")
            .await;
        cluster.expect(&[get("/", "404")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_observed_generation_bump() {
    let cluster = Cluster::start().await;
    cluster
        .route("bumped", simple(json!({ "name": "same-namespace" })))
        .await;
    cluster.expect(&[get("/", V1)]).await;
    let rules = json!([{ "backendRefs": [backend_ref(V2)] }]);
    cluster.route("bumped", json!({ "rules": rules })).await;
    cluster.expect(&[get("/", V2)]).await;
    let known = cluster.api.get("httproutes", INFRA, "bumped");
    let parent = &known["status"]["parents"][0];
    assert_eq!(parent["controllerName"], CONTROLLER);
    assert_eq!(parent["parentRef"]["name"], "same-namespace");
    assert_eq!(parent["conditions"][0]["observedGeneration"], 2);
}

/// A status is written once, by one of several gateways, and what other controllers have said stays.
#[tokio::test(flavor = "multi_thread")]
async fn statuses_settle() {
    let cluster = Cluster::start().await;
    let second = crate::support::Gateway::start(&super::settings(
        &cluster.api,
        &cluster.files,
        "auth = \"public\"\n",
    ))
    .await;
    let foreign =
        json!({ "controllerName": "example.org/other", "parentRef": { "name": "theirs" } });
    let mut object = super::route("shared", simple(json!({ "name": "same-namespace" })));
    object["status"] = json!({ "parents": [foreign] });
    cluster.api.put("httproutes", object);
    eventually("both gateways serve the route", || async {
        let first = cluster.gateway.get("/").await.status() == 200;
        (first && second.get("/").await.status() == 200).then_some(())
    })
    .await;
    let parents = eventually("the status is written", || async {
        let known = cluster.api.get("httproutes", INFRA, "shared");
        let parents = known["status"]["parents"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        (parents.len() == 2).then_some(parents)
    })
    .await;
    assert_eq!(parents[0], foreign);
    let written = cluster.api.status_writes();
    // A change that means nothing to the status, which both gateways have seen.
    let labels = json!({ "kubernetes.io/metadata.name": "web", "changed": "yes" });
    let applied = "gateway_kubernetes_applied_total{service=\"gateway\",outcome=\"applied\"}";
    let counts = || async {
        (
            cluster.gateway.count(applied).await,
            second.count(applied).await,
        )
    };
    let before = counts().await;
    let metadata = json!({ "name": "web", "labels": labels });
    cluster
        .api
        .put("namespaces", json!({ "metadata": metadata }));
    eventually("both gateways have seen the change", || async {
        let now = counts().await;
        (now.0 > before.0 && now.1 > before.1).then_some(())
    })
    .await;
    assert_eq!(cluster.api.status_writes(), written);
}
