//! What routes lead to: Services of their namespace and of others, and what is none.

use serde_json::{Value, json};

use crate::support::eventually;

use super::{Cluster, INFRA, add_backend, backend_ref, gateway, get, prefix, route, rule};

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";
const WEB: &str = "web-backend";

/// A reference to the Service of the namespace `web`.
fn to_web() -> Value {
    json!({ "name": WEB, "namespace": "web", "port": 8080 })
}

/// Permits that `HTTPRoute`s of a namespace lead to these.
fn grant(from: &str, to: Value) -> Value {
    json!({
        "metadata": { "namespace": "web", "name": "grant" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from }],
            "to": [to],
        },
    })
}

async fn leads_to(cluster: &Cluster, name: &str, reference: Value) {
    let rules = json!([{ "backendRefs": [reference] }]);
    cluster.route(name, json!({ "rules": rules })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_reference_grant() {
    let cluster = Cluster::start().await;
    add_backend(&cluster.api, "web", WEB).await;
    leads_to(&cluster, "granted", to_web()).await;
    let service = |name: &str| json!({ "group": "", "kind": "Service", "name": name });
    let refused = ("ResolvedRefs", "False", "RefNotPermitted");
    // HTTPRouteInvalidCrossNamespaceBackendRef, and HTTPRouteInvalidReferenceGrant.
    for (namespace, other) in [
        ("", Value::Null),
        ("other", service(WEB)),
        (INFRA, service("other")),
        (INFRA, json!({ "group": "", "kind": "Secret", "name": WEB })),
        (
            INFRA,
            json!({ "group": "other", "kind": "Service", "name": WEB }),
        ),
    ] {
        if !namespace.is_empty() {
            cluster.api.put("referencegrants", grant(namespace, other));
        }
        cluster
            .route_has("granted", refused.0, refused.1, refused.2)
            .await;
        cluster
            .route_has("granted", "Accepted", "True", "Accepted")
            .await;
        cluster.expect(&[get("/", "500")]).await;
    }
    cluster
        .api
        .put("referencegrants", grant(INFRA, service(WEB)));
    cluster
        .route_has("granted", "ResolvedRefs", "True", "ResolvedRefs")
        .await;
    cluster.expect(&[get("/", WEB)]).await;
    cluster.api.delete("referencegrants", "web", "grant");
    cluster
        .route_has("granted", refused.0, refused.1, refused.2)
        .await;
    cluster.expect(&[get("/", "500")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_invalid_backend_refs() {
    let cluster = Cluster::start().await;
    let external = json!({
        "metadata": { "namespace": INFRA, "name": "external" },
        "spec": { "type": "ExternalName", "externalName": "a.test", "ports": [{ "port": 8080 }] },
    });
    cluster.api.put("services", external);
    let other = json!({
        "metadata": { "namespace": INFRA, "name": "other-protocol" },
        "spec": { "ports": [{ "port": 8080, "appProtocol": "example.org/own" }] },
    });
    cluster.api.put("services", other);
    for (name, reference, reason) in [
        (
            "unknown-kind",
            json!({ "name": V1, "kind": "NonExistent", "port": 8080 }),
            "InvalidKind",
        ),
        (
            "unknown-group",
            json!({ "name": V1, "group": "a.test", "port": 8080 }),
            "InvalidKind",
        ),
        ("nonexistent", backend_ref("nonexistent"), "BackendNotFound"),
        (
            "other-port",
            json!({ "name": V1, "port": 8081 }),
            "BackendNotFound",
        ),
        ("no-port", json!({ "name": V1 }), "BackendNotFound"),
        ("external", backend_ref("external"), "BackendNotFound"),
        (
            "protocol",
            backend_ref("other-protocol"),
            "UnsupportedProtocol",
        ),
    ] {
        leads_to(&cluster, "invalid", reference).await;
        cluster
            .route_has("invalid", "ResolvedRefs", "False", reason)
            .await;
        cluster
            .route_has("invalid", "Accepted", "True", "Accepted")
            .await;
        let problem = cluster.gateway.get("/").await;
        assert_eq!(problem.status(), 500, "{name}");
        let problem: Value = problem.json().await.unwrap();
        assert_eq!(problem["code"], "no_backend");
    }
    // HTTPRouteOmittedBackendRefs.
    cluster
        .route(
            "invalid",
            json!({ "rules": [{ "matches": [prefix("/")] }] }),
        )
        .await;
    cluster.expect(&[get("/", "500")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_partially_invalid_via_invalid_reference_grant() {
    let cluster = Cluster::start().await;
    add_backend(&cluster.api, "web", WEB).await;
    let mut refused = rule(json!([prefix("/v2")]), V1);
    refused["backendRefs"] = json!([to_web()]);
    let rules = json!([rule(json!([prefix("/")]), V1), refused]);
    cluster.route("partly", json!({ "rules": rules })).await;
    cluster
        .route_has("partly", "ResolvedRefs", "False", "RefNotPermitted")
        .await;
    cluster.expect(&[get("/v2", "500"), get("/", V1)]).await;
    // Of the shares of one rule, only that one is refused.
    let rules = json!([{ "backendRefs": [backend_ref(V1), to_web()] }]);
    cluster.route("partly", json!({ "rules": rules })).await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..10 {
        *counts
            .entry(cluster.answer(&get("/", "")).await)
            .or_insert(0) += 1;
    }
    assert_eq!(counts, [("500".to_owned(), 5), (V1.to_owned(), 5)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_cross_namespace() {
    let cluster = Cluster::start().await;
    add_backend(&cluster.api, "web", WEB).await;
    let listener = |rule: Value| {
        let namespaces = json!({ "namespaces": rule });
        json!([{ "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": namespaces }])
    };
    let spec = json!({
        "parentRefs": [{ "name": "namespaces", "namespace": INFRA }],
        "rules": [{ "backendRefs": [backend_ref(WEB)] }],
    });
    let mut object = route("foreign", spec);
    object["metadata"]["namespace"] = json!("web");
    cluster.api.put("httproutes", object);
    let labeled = |value: &str| {
        let labels = json!({ "kubernetes.io/metadata.name": value });
        json!({ "from": "Selector", "selector": { "matchLabels": labels } })
    };
    for (rule, expected) in [
        (json!({ "from": "Same" }), "404"),
        (json!({ "from": "All" }), WEB),
        (labeled("other"), "404"),
        (labeled("web"), WEB),
        (json!({ "from": "None" }), "404"),
    ] {
        cluster
            .api
            .put("gateways", gateway("namespaces", listener(rule.clone())));
        cluster.has_status("gateways", INFRA, "namespaces").await;
        cluster.expect(&[get("/", expected)]).await;
        let (wanted, reason) = match expected {
            WEB => ("True", "Accepted"),
            _ => ("False", "NotAllowedByListeners"),
        };
        eventually(&format!("the route has {reason}: {rule}"), || async {
            let object = cluster.api.get("httproutes", "web", "foreign");
            let parent = &object["status"]["parents"][0];
            super::has(&parent["conditions"], "Accepted", wanted, reason).then_some(())
        })
        .await;
    }
}

/// A Service without ready endpoints is known, but away: 503, not 500.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_ready_endpoints_is_unavailable() {
    let cluster = Cluster::start().await;
    cluster.api.put("services", super::service(INFRA, "empty"));
    leads_to(&cluster, "empty", backend_ref("empty")).await;
    cluster
        .route_has("empty", "ResolvedRefs", "True", "ResolvedRefs")
        .await;
    cluster.expect(&[get("/", "503")]).await;
}

/// Endpoints that are set by hand, and those of a Service without an address, in both families.
#[tokio::test(flavor = "multi_thread")]
async fn http_route_service_types() {
    let cluster = Cluster::start().await;
    let headless = json!({
        "metadata": { "namespace": INFRA, "name": "headless" },
        "spec": { "clusterIP": "None", "ports": [{ "name": "web", "port": 8080 }] },
    });
    cluster.api.put("services", headless);
    let known = cluster.api.get("endpointslices", INFRA, &format!("{V2}-1"));
    let mut manual = known.clone();
    manual["metadata"]["name"] = json!("headless-ip4");
    manual["metadata"]["labels"] = json!({ "kubernetes.io/service-name": "headless" });
    cluster.api.put("endpointslices", manual.clone());
    manual["metadata"]["name"] = json!("headless-ip6");
    manual["addressType"] = json!("IPv6");
    manual["endpoints"] = json!([{ "addresses": ["::1"], "conditions": { "ready": false } }]);
    cluster.api.put("endpointslices", manual);
    leads_to(&cluster, "types", backend_ref("headless")).await;
    cluster.expect(&[get("/", V2)]).await;
}
