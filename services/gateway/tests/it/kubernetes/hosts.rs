//! Hosts of listeners and routes, and what leads to a listener.

use quartet_ca::Identity;
use serde_json::{Value, json};

use super::{
    CONTROLLER, Case, Cluster, INFRA, add_backend, backend_ref, class, gateway, get, prefix, rule,
    settings,
};
use crate::support::{ApiServer, Certificates, TlsGateway, eventually};

const V1: &str = "infra-backend-v1";
const V2: &str = "infra-backend-v2";
const V3: &str = "infra-backend-v3";

fn listener(name: &str, hostname: &str) -> Value {
    json!({ "name": name, "port": 80, "protocol": "HTTP", "hostname": hostname })
}

fn at<'c>(host: &'c str, path: &'c str, expected: &'c str) -> Case<'c> {
    get(path, expected).host(host)
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test(flavor = "multi_thread")]
async fn http_route_hostname_intersection() {
    let cluster = Cluster::start().await;
    let listeners = json!([
        listener("listener-1", "very.specific.com"),
        listener("listener-2", "*.wildcard.io"),
        listener("listener-3", "*.anotherwildcard.io"),
    ]);
    cluster
        .api
        .put("gateways", gateway("intersection", listeners));
    let all = json!([{ "name": "listener-1", "port": 80, "protocol": "HTTP" }]);
    cluster.api.put("gateways", gateway("all", all));
    for (name, parent, hostnames, path, backend) in [
        (
            "specific-specific",
            "intersection",
            json!([
                "non.matching.com",
                "*.nonmatchingwildcard.io",
                "very.specific.com"
            ]),
            "/s1",
            V1,
        ),
        (
            "specific-wildcard",
            "intersection",
            json!([
                "non.matching.com",
                "wildcard.io",
                "foo.wildcard.io",
                "bar.wildcard.io",
                "foo.bar.wildcard.io"
            ]),
            "/s2",
            V2,
        ),
        (
            "wildcard-specific",
            "intersection",
            json!(["non.matching.com", "*.specific.com"]),
            "/s3",
            V3,
        ),
        (
            "wildcard-wildcard",
            "intersection",
            json!(["*.anotherwildcard.io"]),
            "/s4",
            V1,
        ),
        (
            "none",
            "intersection",
            json!(["specific.but.wrong.com", "wildcard.io"]),
            "/s5",
            V2,
        ),
        (
            "any-listener",
            "all",
            json!(["first.com", "sub.first.com"]),
            "/",
            V2,
        ),
    ] {
        let spec = json!({
            "parentRefs": [{ "name": parent }],
            "hostnames": hostnames,
            "rules": [rule(json!([prefix(path)]), backend)],
        });
        cluster.route(name, spec).await;
    }
    cluster
        .expect(&[
            at("very.specific.com", "/s1", V1),
            at("non.matching.com", "/s1", "404"),
            at("foo.nonmatchingwildcard.io", "/s1", "404"),
            at("foo.wildcard.io", "/s2", V2),
            at("bar.wildcard.io", "/s2", V2),
            at("foo.bar.wildcard.io", "/s2", V2),
            at("non.matching.com", "/s2", "404"),
            at("wildcard.io", "/s2", "404"),
            at("very.specific.com", "/s3", V3),
            at("foo.specific.com", "/s3", "404"),
            at("foo.anotherwildcard.io", "/s4", V1),
            at("foo.bar.anotherwildcard.io", "/s4", V1),
            at("anotherwildcard.io", "/s4", "404"),
            at("specific.but.wrong.com", "/s5", "404"),
            at("wildcard.io", "/s5", "404"),
            at("first.com", "/", V2),
            at("sub.first.com", "/", V2),
            at("third.com", "/", "404"),
        ])
        .await;
    cluster
        .route_has("none", "Accepted", "False", "NoMatchingListenerHostname")
        .await;
    for (name, attached) in [("listener-1", 2), ("listener-2", 1), ("listener-3", 1)] {
        cluster.has_attached(("intersection", name), attached).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_route_listener_hostname_matching() {
    let cluster = Cluster::start().await;
    let listeners = json!([
        listener("listener-1", "bar.com"),
        listener("listener-2", "foo.bar.com"),
        listener("listener-3", "*.bar.com"),
        listener("listener-4", "*.foo.com"),
    ]);
    cluster.api.put("gateways", gateway("hostnames", listeners));
    for (backend, sections) in [
        (V1, vec!["listener-1"]),
        (V2, vec!["listener-2"]),
        (V3, vec!["listener-3", "listener-4"]),
    ] {
        let parents = sections.iter();
        let parents = parents.map(|section| json!({ "name": "hostnames", "sectionName": section }));
        let parents: Vec<Value> = parents.collect();
        let rules = json!([{ "backendRefs": [backend_ref(backend)] }]);
        cluster
            .route(backend, json!({ "parentRefs": parents, "rules": rules }))
            .await;
    }
    cluster
        .expect(&[
            at("bar.com", "/", V1),
            at("foo.bar.com", "/", V2),
            at("baz.bar.com", "/", V3),
            at("boo.bar.com", "/", V3),
            at("multiple.prefixes.bar.com", "/", V3),
            at("multiple.prefixes.foo.com", "/", V3),
            at("foo.com", "/", "404"),
            at("no.matching.host", "/", "404"),
        ])
        .await;
}

/// A Secret with a certificate for these names.
fn secret(namespace: &str, name: &str, identity: &Identity) -> Value {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    json!({
        "metadata": { "namespace": namespace, "name": name },
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": BASE64_STANDARD.encode(&identity.certificate),
            "tls.key": BASE64_STANDARD.encode(&identity.key),
        },
    })
}

fn https(hostname: &str, secret: Value) -> Value {
    json!({
        "name": "https",
        "port": 443,
        "protocol": "HTTPS",
        "hostname": hostname,
        "tls": { "certificateRefs": [secret] },
    })
}

/// A redirect at the listener without TLS, and a route at the one with it.
fn add_routes_of_both(api: &ApiServer) {
    let parent = |section: &str| json!([{ "name": "both", "sectionName": section }]);
    let redirect = json!([{
        "type": "RequestRedirect",
        "requestRedirect": { "scheme": "https", "statusCode": 301 },
    }]);
    let rules = json!([{ "filters": redirect }]);
    let spec = json!({ "parentRefs": parent("http"), "rules": rules });
    api.put("httproutes", super::route("redirect", spec));
    let rules = json!([{ "backendRefs": [backend_ref(V1)] }]);
    let spec = json!({ "parentRefs": parent("https"), "rules": rules });
    api.put("httproutes", super::route("app", spec));
}

/// Listeners with TLS and without have routes of their own; a certificate that is renewed is served at once.
#[tokio::test(flavor = "multi_thread")]
async fn http_route_https_listener() {
    let (certificates, api) = (Certificates::new(), ApiServer::start().await);
    api.put("gatewayclasses", class("quartet", CONTROLLER));
    add_backend(&api, INFRA, V1).await;
    let first = certificates.issue(&["a.test"]);
    api.put("secrets", secret(INFRA, "cert", &first));
    let plain = json!({ "name": "http", "port": 80, "protocol": "HTTP", "hostname": "a.test" });
    let tls = https("a.test", json!({ "name": "cert" }));
    api.put("gateways", gateway("both", json!([plain, tls])));
    let files = tempfile::tempdir().unwrap();
    let lines = settings(&api, &files, "auth = \"public\"\n");
    let gateway = TlsGateway::start(&lines).await;
    add_routes_of_both(&api);
    let client = certificates.client(&["a.test"], gateway.tls);
    let client = client.pool_max_idle_per_host(0).build().unwrap();
    let url = format!("https://a.test:{}/x?y=z", gateway.tls.port());
    let echoed = eventually("the route is served with TLS", || async {
        let response = client.get(&url).send().await.ok()?;
        let is_served = response.status() == 200;
        is_served.then_some(response)?.json::<Value>().await.ok()
    })
    .await;
    assert_eq!(
        (&echoed["backend"], &echoed["path"]),
        (&json!(V1), &json!("/x?y=z"))
    );
    let plain = format!("http://{}/x?y=z", gateway.plain);
    let request = crate::support::client()
        .get(&plain)
        .header("host", "a.test");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 301);
    assert_eq!(response.headers()["location"], "https://a.test/x?y=z");
    // Another certificate in the Secret.
    let shown = || async {
        let config = certificates.client_config(None);
        let stream = gateway.connect(config, "a.test").await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain[0].to_vec())
    };
    let before = shown().await.unwrap();
    let second = certificates.issue(&["a.test"]);
    api.put("secrets", secret(INFRA, "cert", &second));
    eventually("the new certificate is served", || async {
        (shown().await? != before).then_some(())
    })
    .await;
    // One that is not valid any more is not served, and the listener says so.
    api.delete("secrets", INFRA, "cert");
    eventually("there is no certificate", || async {
        shown().await.is_none().then_some(())
    })
    .await;
    eventually("the listener says so", || async {
        let status = &api.get("gateways", INFRA, "both")["status"]["listeners"][1];
        super::has(
            &status["conditions"],
            "ResolvedRefs",
            "False",
            "InvalidCertificateRef",
        )
        .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_invalid_tls_configuration() {
    let cluster = Cluster::start().await;
    let malformed = json!({
        "metadata": { "namespace": INFRA, "name": "malformed" },
        "type": "kubernetes.io/tls",
        "data": { "tls.crt": "SGVsbG8=", "tls.key": "SGVsbG8=" },
    });
    cluster.api.put("secrets", malformed);
    let identity = Certificates::new().issue(&["b.test"]);
    cluster
        .api
        .put("secrets", secret(INFRA, "other-name", &identity));
    for (name, reference) in [
        ("nonexistent", json!({ "name": "nonexistent" })),
        (
            "unsupported-group",
            json!({ "name": "a", "group": "wrong.group.company.io" }),
        ),
        (
            "unsupported-kind",
            json!({ "name": "a", "kind": "WrongKind" }),
        ),
        ("malformed-secret", json!({ "name": "malformed" })),
        ("other-name", json!({ "name": "other-name" })),
    ] {
        let listeners = json!([https("a.test", reference)]);
        cluster.api.put("gateways", gateway(name, listeners));
        let listener = (name, "https");
        let status = cluster
            .gateway_has(listener, "ResolvedRefs", "False", "InvalidCertificateRef")
            .await;
        assert_eq!(status["supportedKinds"][0]["kind"], "HTTPRoute");
        cluster
            .gateway_has(listener, "Programmed", "False", "Invalid")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_secret_reference_grants() {
    let cluster = Cluster::start().await;
    let identity = Certificates::new().issue(&["a.test"]);
    cluster.api.put("secrets", secret("web", "cert", &identity));
    let reference = json!({ "name": "cert", "namespace": "web" });
    cluster.api.put(
        "gateways",
        gateway("granted", json!([https("a.test", reference)])),
    );
    let listener = ("granted", "https");
    let grant = |from: &str, to: Value| {
        json!({
            "metadata": { "namespace": "web", "name": "grant" },
            "spec": {
                "from": [{ "group": "gateway.networking.k8s.io", "kind": from, "namespace": INFRA }],
                "to": [to],
            },
        })
    };
    let secrets = json!({ "group": "", "kind": "Secret" });
    // Missing, and for others.
    cluster
        .gateway_has(listener, "ResolvedRefs", "False", "RefNotPermitted")
        .await;
    cluster
        .api
        .put("referencegrants", grant("HTTPRoute", secrets.clone()));
    cluster
        .gateway_has(listener, "ResolvedRefs", "False", "RefNotPermitted")
        .await;
    // All in the namespace.
    cluster
        .api
        .put("referencegrants", grant("Gateway", secrets));
    cluster
        .gateway_has(listener, "ResolvedRefs", "True", "ResolvedRefs")
        .await;
    // By another name, and by its own.
    let named = |name: &str| json!({ "group": "", "kind": "Secret", "name": name });
    cluster
        .api
        .put("referencegrants", grant("Gateway", named("other")));
    cluster
        .gateway_has(listener, "ResolvedRefs", "False", "RefNotPermitted")
        .await;
    cluster
        .api
        .put("referencegrants", grant("Gateway", named("cert")));
    cluster
        .gateway_has(listener, "Programmed", "True", "Programmed")
        .await;
}

/// What routes require of tokens is the operator's decision, not that of a namespace.
#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_opens_no_route_that_is_to_be_closed() {
    let lines = "trusted_namespaces = [\"web\"]\nlimit = \"few\"\n\
                 [limits.few]\nrequests = 1000\nwindow_seconds = 60\nkey = \"client_ip\"\n\
                 [limits.one]\nrequests = 1\nwindow_seconds = 3600\nkey = \"client_ip\"\n";
    let cluster = Cluster::with(lines, |_| {}).await;
    let all = json!([{
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": { "namespaces": { "from": "All" } },
    }]);
    cluster.api.put("gateways", gateway("same-namespace", all));
    add_backend(&cluster.api, "web", "web-backend").await;
    let add = |namespace: &str, name: &str, annotations: Value, backend: &str| {
        let path = format!("/{name}");
        let spec = json!({
            "parentRefs": [{ "name": "same-namespace", "namespace": INFRA }],
            "rules": [rule(json!([prefix(&path)]), backend)],
        });
        let mut object = super::route(name, spec);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["annotations"] = annotations;
        cluster.api.put("httproutes", object);
    };
    let public = json!({ "quartet.dev/auth": "public" });
    let limited = json!({ "quartet.dev/auth": "public", "quartet.dev/limit": "one" });
    add(INFRA, "plain", json!({}), V1);
    add(INFRA, "opened", public.clone(), V1);
    add("web", "trusted", public, "web-backend");
    add("web", "limited", limited, "web-backend");
    add(
        "web",
        "unknown",
        json!({ "quartet.dev/limits": "one" }),
        "web-backend",
    );
    add(
        "web",
        "missing",
        json!({ "quartet.dev/limit": "none" }),
        "web-backend",
    );
    for (namespace, name) in [
        (INFRA, "plain"),
        (INFRA, "opened"),
        ("web", "limited"),
        ("web", "missing"),
    ] {
        cluster.has_status("httproutes", namespace, name).await;
    }
    cluster
        .route_has("opened", "Accepted", "False", "UnsupportedValue")
        .await;
    cluster
        .expect(&[
            get("/plain", "401"),
            get("/opened", "401"),
            get("/trusted", "web-backend"),
            get("/limited", "web-backend"),
            get("/limited", "429"),
            get("/unknown", "401"),
            get("/missing", "401"),
        ])
        .await;
    // The operator's own limit holds for all.
    let response = cluster.gateway.get("/trusted").await;
    let policy = response.headers()["ratelimit-policy"].to_str().unwrap();
    assert!(policy.contains("1000"), "{policy}");
}

/// Routes of the configuration file come first, so that no object takes requests from them.
#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_file_come_first() {
    let lines = "auth = \"public\"\n[routes.own]\npaths = [\"/own/*\"]\n\
                 auth = \"public\"\nrespond = { status = 418 }\n";
    let cluster = Cluster::with(lines, |_| {}).await;
    let rules = json!([rule(json!([prefix("/own/part"), prefix("/")]), V1)]);
    let spec = json!({ "hostnames": ["a.test"], "rules": rules });
    cluster.route("greedy", spec).await;
    cluster
        .expect(&[at("a.test", "/own/part/x", "418"), at("a.test", "/x", V1)])
        .await;
}
