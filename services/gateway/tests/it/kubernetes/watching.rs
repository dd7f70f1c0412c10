//! The way to the API server: lists, watches and their failures, and upstreams of the file.

use serde_json::{Value, json};

use super::{Cluster, INFRA, add_backend, backend_ref, get, prefix, rule, settings, slice};
use crate::support::{ApiServer, Certificates, Gateway, Replica, eventually};

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";

fn to(backend: &str) -> Value {
    json!({ "rules": [rule(json!([prefix("/")]), backend)] })
}

async fn eventually_answers(cluster: &Cluster, expected: &str) {
    eventually(&format!("{expected} answers"), || async {
        (cluster.answer(&get("/", "")).await == expected).then_some(())
    })
    .await;
}

async fn notices(gateway: &Gateway) -> String {
    let ready: Value = gateway.admin("/ready").await.json().await.unwrap();
    ready["notices"]["kubernetes"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_end_go_on_and_lost_versions_are_listed_again() {
    let cluster = Cluster::start().await;
    cluster.route("r", to(V1)).await;
    let lists = cluster.api.lists("httproutes");
    // From the version of the last event: nothing is listed again.
    cluster.api.cut();
    cluster.route("r", to(V2)).await;
    eventually_answers(&cluster, V2).await;
    assert_eq!(cluster.api.lists("httproutes"), lists);
    // The changes since then are gone (410), with a change among them that no stream has named.
    cluster.api.put(
        "httproutes",
        super::route("unseen", json!({ "parentRefs": [] })),
    );
    cluster.api.compact();
    cluster.api.cut();
    eventually("the routes are listed again", || async {
        (cluster.api.lists("httproutes") > lists).then_some(())
    })
    .await;
    cluster.route("r", to(V1)).await;
    eventually_answers(&cluster, V1).await;
    cluster.api.delete("httproutes", INFRA, "r");
    eventually_answers(&cluster, "404").await;
}

/// More objects than a page of a list has; the last of them is served as well.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_in_pages() {
    let cluster = Cluster::with("auth = \"public\"\n", |api| {
        for number in 0..230 {
            let spec = json!({
                "parentRefs": [{ "name": "same-namespace" }],
                "rules": [rule(json!([prefix(&format!("/{number}"))]), V1)],
            });
            api.put("httproutes", super::route(&format!("r{number:03}"), spec));
        }
    })
    .await;
    cluster.has_status("httproutes", INFRA, "r229").await;
    cluster
        .expect(&[get("/0", V1), get("/229/x", V1), get("/230", "404")])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_state_stays_in_force_while_the_api_server_is_away() {
    let cluster = Cluster::start().await;
    cluster.route("r", to(V1)).await;
    cluster.api.refuse("*", 503);
    cluster.api.cut();
    let current = "gateway_kubernetes_current{service=\"gateway\",kind=\"HTTPRoute\"}";
    eventually("the gateway says so", || async {
        let is_named = notices(&cluster.gateway)
            .await
            .contains("HTTPRoute objects cannot be read");
        (is_named && cluster.gateway.count(current).await == 0).then_some(())
    })
    .await;
    let ready = cluster.gateway.admin("/ready").await;
    assert_eq!(ready.status(), 200);
    cluster.expect(&[get("/", V1)]).await;
    // Also over a reload of the file.
    let text = std::fs::read_to_string(cluster.gateway.file()).unwrap();
    cluster
        .gateway
        .reload(&format!(
            "{text}[limits.x]\nrequests = 1\nwindow_seconds = 1\n"
        ))
        .await;
    cluster.expect(&[get("/", V1)]).await;
    let failures =
        "gateway_kubernetes_watch_failures_total{service=\"gateway\",kind=\"HTTPRoute\"}";
    assert!(cluster.gateway.count(failures).await > 0);
    cluster.api.accept("*");
    cluster.api.put("httproutes", {
        let mut spec = to(V2);
        spec["parentRefs"] = json!([{ "name": "same-namespace" }]);
        super::route("r", spec)
    });
    eventually_answers(&cluster, V2).await;
    eventually("all is well again", || async {
        (cluster.gateway.count(current).await == 1).then_some(())
    })
    .await;
}

/// A new gateway that knows no objects yet is not ready, while its own routes are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_ready_before_it_knows_the_objects() {
    let (api, files) = (ApiServer::start().await, tempfile::tempdir().unwrap());
    api.refuse("*", 503);
    let own = "[routes.own]\npaths = [\"/own\"]\nauth = \"public\"\nrespond = { status = 200 }\n";
    let gateway = Gateway::start(&settings(&api, &files, own)).await;
    assert_eq!(gateway.get("/own").await.status(), 200);
    let ready = gateway.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    let body: Value = ready.json().await.unwrap();
    assert!(
        body["checks"]["kubernetes"]
            .to_string()
            .contains("not been read"),
        "{body}"
    );
    api.accept("*");
    eventually("it is ready", || async {
        gateway
            .admin("/ready")
            .await
            .status()
            .is_success()
            .then_some(())
    })
    .await;
}

/// A kind that is not there, or may not be read, keeps the others from nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_kind_is_reported_and_the_others_are_served() {
    let cluster = Cluster::with("auth = \"public\"\n", |api| {
        api.refuse("referencegrants", 404);
        api.refuse("secrets", 403);
    })
    .await;
    cluster.route("r", to(V1)).await;
    cluster.expect(&[get("/", V1)]).await;
    let named = notices(&cluster.gateway).await;
    for kind in ["ReferenceGrant", "Secret"] {
        assert!(
            named.contains(&format!("{kind} objects cannot be read")),
            "{named}"
        );
    }
    cluster.api.accept("referencegrants");
    cluster.api.accept("secrets");
    eventually("they are read", || async {
        (notices(&cluster.gateway).await == "null").then_some(())
    })
    .await;
}

/// A refused status is written again, and keeps nothing from being served.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_cannot_be_written_is_written_later() {
    let cluster = Cluster::start().await;
    cluster.api.refuse("httproutes/status", 403);
    let mut spec = to(V1);
    spec["parentRefs"] = json!([{ "name": "same-namespace" }]);
    cluster.api.put("httproutes", super::route("r", spec));
    eventually_answers(&cluster, V1).await;
    let failed = "gateway_kubernetes_status_writes_total{service=\"gateway\",outcome=\"failed\"}";
    eventually("it was tried", || async {
        (cluster.gateway.count(failed).await > 0).then_some(())
    })
    .await;
    cluster.api.accept("httproutes/status");
    cluster.route_has("r", "Accepted", "True", "Accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_and_too_large_objects_are_ignored_and_reported() {
    let lines = "auth = \"public\"\nmax_object_bytes = 4096\nmax_routes = 2\n";
    let cluster = Cluster::with(lines, |_| {}).await;
    cluster.route("small", to(V1)).await;
    let mut large = to(V2);
    large["parentRefs"] = json!([{ "name": "same-namespace" }]);
    large["hostnames"] = (0..300)
        .map(|n| json!(format!("host-{n}.example.org")))
        .collect();
    cluster.api.put("httproutes", super::route("large", large));
    eventually("it is reported", || async {
        let named = notices(&cluster.gateway).await;
        named.contains("infra/large").then_some(())
    })
    .await;
    let three = json!([prefix("/a"), prefix("/b"), prefix("/c")]);
    cluster
        .route("many", json!({ "rules": [rule(three, V2)] }))
        .await;
    cluster
        .route_has("many", "Accepted", "False", "TooManyRoutes")
        .await;
    cluster.expect(&[get("/", V1), get("/a", V1)]).await;
}

/// `discovery = "kubernetes"`: replicas come and go without a reload, and keep what is known of them.
#[tokio::test(flavor = "multi_thread")]
async fn upstreams_of_the_file_follow_the_endpoints_of_a_service() {
    let replicas = Replica::start_several(3);
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let lines = "[upstreams.u]\ndiscovery = \"kubernetes\"\naddresses = [\"orders.shop:web\"]\n\
                 [routes.r]\npaths = [\"/*\"]\nauth = \"public\"\nupstream = \"u\"\n";
    let cluster = Cluster::with(lines, |api| {
        api.put("services", super::service("shop", "orders"));
        api.put("endpointslices", slice("shop", "orders", &addresses[..2]));
    })
    .await;
    let known = || async {
        let all: Value = cluster
            .gateway
            .admin("/upstreams")
            .await
            .json()
            .await
            .unwrap();
        let upstreams = all["upstreams"].as_array().unwrap().iter();
        let own = upstreams
            .clone()
            .find(|upstream| upstream["name"] == "u")
            .unwrap();
        let replicas = own["replicas"].as_array().unwrap().iter();
        let replicas = replicas.map(|it| (it["address"].to_string(), it["state"].to_string()));
        replicas.collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(known().await.len(), 2);
    let path = format!("/upstreams/u/replicas/{}/drain", addresses[0]);
    let url = format!("http://{}{path}", cluster.gateway.admin);
    let drained = crate::support::client().post(url).send().await.unwrap();
    assert_eq!(drained.status(), 204, "{path}");
    let applied = cluster.gateway.reloads("applied").await;
    cluster
        .api
        .put("endpointslices", slice("shop", "orders", &addresses));
    eventually("the third replica is known", || async {
        (known().await.len() == 3).then_some(())
    })
    .await;
    for _ in 0..8 {
        let response = cluster.gateway.get("/").await;
        assert_eq!(response.status(), 200);
    }
    assert_eq!(
        known().await[&format!("\"{}\"", addresses[0])],
        "\"drained\""
    );
    assert_eq!(replicas[0].served(), 0);
    assert!(replicas[1].served() > 0 && replicas[2].served() > 0);
    assert_eq!(
        cluster.gateway.reloads("applied").await.to_bits(),
        applied.to_bits()
    );
    // None is ready: 503, and not the last ones that were.
    cluster
        .api
        .put("endpointslices", slice("shop", "orders", &[]));
    eventually("none is left", || async {
        (cluster.gateway.get("/").await.status() == 503).then_some(())
    })
    .await;
}

/// The API server has to prove itself with the authority of the kubeconfig, and gets the token.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_with_tls_is_verified() {
    let (certificates, files) = (Certificates::new(), tempfile::tempdir().unwrap());
    let own = "[routes.own]\npaths = [\"/own\"]\nauth = \"public\"\nrespond = { status = 200 }\n";
    let api = ApiServer::start_with_tls(&certificates).await;
    let gateway = Gateway::start(&settings(&api, &files, own)).await;
    eventually("the objects are read", || async {
        gateway
            .admin("/ready")
            .await
            .status()
            .is_success()
            .then_some(())
    })
    .await;
    // Another authority has the same name.
    let other = ApiServer::start_with_tls(&Certificates::new()).await;
    let authority: Value = serde_json::from_str(&other.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&api.kubeconfig()).unwrap();
    let field = "certificate-authority-data";
    config["clusters"][0]["cluster"][field] = authority["clusters"][0]["cluster"][field].clone();
    let lines = settings(&api, &files, own);
    std::fs::write(files.path().join("kubeconfig"), config.to_string()).unwrap();
    let gateway = Gateway::start(&lines).await;
    eventually("it is not trusted", || async {
        let named = notices(&gateway).await;
        (named.contains("cannot be read") && named.contains("ertificate")).then_some(())
    })
    .await;
    assert_eq!(gateway.admin("/ready").await.status(), 503);
}

/// Only what is in the namespaces of the settings is seen.
#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_are_not_watched_are_not_seen() {
    let cluster = Cluster::with("auth = \"public\"\nnamespaces = [\"infra\"]\n", |_| {}).await;
    add_backend(&cluster.api, "web", "web-backend").await;
    let grant = json!({
        "metadata": { "namespace": "web", "name": "grant" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": INFRA }],
            "to": [{ "group": "", "kind": "Service" }],
        },
    });
    cluster.api.put("referencegrants", grant);
    let mut reference = backend_ref("web-backend");
    reference["namespace"] = json!("web");
    cluster
        .route(
            "foreign",
            json!({ "rules": [{ "backendRefs": [reference] }] }),
        )
        .await;
    cluster
        .route_has("foreign", "ResolvedRefs", "False", "RefNotPermitted")
        .await;
    cluster.expect(&[get("/", "500")]).await;
    // The settings change, and with them what is watched.
    let text = std::fs::read_to_string(cluster.gateway.file()).unwrap();
    cluster
        .gateway
        .reload(&text.replace("[\"infra\"]", "[\"infra\", \"web\"]"))
        .await;
    eventually_answers(&cluster, "web-backend").await;
    cluster
        .gateway
        .reload(&text.replace("enabled = true", "enabled = false"))
        .await;
    eventually_answers(&cluster, "404").await;
}
