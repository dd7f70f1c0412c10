//! What the gateway exposes publicly, and what it must not.

use crate::harness::{Client, Options, Stack, raw};

const INTERNAL: [&str; 7] = [
    "/metrics",
    "/ready",
    "/routes",
    "/upstreams",
    "/admin",
    "/config",
    "/internal/events",
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_admin_paths_are_not_public() {
    let stack = Stack::start(Options::gateway_only()).await;
    for path in INTERNAL {
        stack.client().get(path).await.problem(404, "no_route");
    }
    for path in ["/metrics", "/health", "/ready", "/routes", "/upstreams"] {
        let url = format!("http://{}{path}", stack.gateway_admin());
        let status = reqwest::get(url).await.unwrap().status();
        assert_eq!(status, 200, "{path} on the admin port");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_reaches_internal_endpoints() {
    let stack = Stack::small().await;
    let mut targets = Vec::new();
    for inside in ["metrics", "ready", "internal/events"] {
        for prefix in ["", "/v1/core", "/v1/media", "/v1/links", "/s", "/docs"] {
            for up in [
                "..",
                "%2e%2e",
                ".%2E",
                "%2e.",
                "..;",
                "..%2f..",
                "%252e%252e",
            ] {
                targets.push(format!("{prefix}/{up}/{inside}"));
                targets.push(format!("{prefix}/{up}/{up}/{inside}"));
            }
            targets.push(format!("{prefix}//{inside}"));
            targets.push(format!("{prefix}/./{inside}"));
            targets.push(format!("{prefix}/%2f{inside}"));
            targets.push(format!("{prefix}\\..\\{inside}"));
        }
        targets.push(format!("/%{:02x}{}", inside.as_bytes()[0], &inside[1..]));
        targets.push(format!("http://{}/{inside}", stack.gateway_admin()));
        targets.push(format!("http://core:8081/{inside}"));
        targets.push(format!("/{inside}?/v1/core/users"));
        targets.push(format!("/{inside}/"));
    }
    for target in targets {
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        let answer = raw::exchange(stack.gateway(), request).await;
        assert!((400..500).contains(&answer.status), "{target}: {answer:?}");
        assert_ne!(answer.status, 405, "{target} reaches the route of events");
        for word in ["http_server_requests", "\"checks\"", "process_start_time"] {
            assert!(!answer.body.contains(word), "{target}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused() {
    let stack = Stack::start(Options::gateway_only()).await;
    for headers in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length: +5\r\n",
        "host: other\r\n",
    ] {
        let request =
            format!("POST /v1/core/users HTTP/1.1\r\nhost: gateway\r\n{headers}\r\n0\r\n\r\n");
        let answer = raw::exchange(stack.gateway(), request).await;
        assert!(
            (400..500).contains(&answer.status),
            "{headers:?}: {answer:?}"
        );
        let status = answer.status;
        answer.problem(status);
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        raw::exchange(stack.gateway(), head).await.problem(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_refused_unless_the_route_allows_them() {
    let stack = Stack::start(Options::gateway_only()).await;
    let request = "GET /v1/core/users/me HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let answer = raw::exchange(stack.gateway(), request).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

/// A changed file takes effect without a broken connection; an invalid one is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn configuration_reloads_without_failed_requests() {
    use crate::harness::{Load, eventually};
    let stack = Stack::start(Options::gateway_only()).await;
    let file = stack.gateway_file();
    let before = std::fs::read_to_string(&file).unwrap();
    let gateway = stack.client();
    let load = Load::start(4, {
        let gateway = gateway.clone();
        move |_| get(gateway.clone(), "/health")
    });
    load.progress(20).await;
    let route = "\n[routes.added]\npaths = [\"/added\"]\nserve = \"health\"\nauth = \"public\"\n";
    std::fs::write(&file, format!("{before}{route}")).unwrap();
    eventually("the new route responds", || async {
        (gateway.get("/added").await.status == 200).then_some(())
    })
    .await;
    std::fs::write(
        &file,
        format!("{before}{route}\n[routes.added]\npaths = 1\n"),
    )
    .unwrap();
    eventually("the refusal is logged", || async {
        let log = std::fs::read_to_string(stack.log("gateway")).unwrap();
        log.contains("\"level\":\"error\"").then_some(())
    })
    .await;
    gateway.get("/added").await.expect(200);
    load.progress(20).await;
    load.finish().await.expect_no_failure();
}

async fn get(gateway: Client, path: &str) -> Result<(), String> {
    match gateway.call(http::Method::GET, path).try_send().await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
        Err(error) => Err(format!("{error:?}")),
    }
}
