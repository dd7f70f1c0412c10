//! What `explain` says is what happens.

use std::process::Output;

use reqwest::Url;
use serde_json::Value;

use crate::support::{Gateway, client, command, echo, route, serve, upstream};

fn settings(address: std::net::SocketAddr) -> String {
    [
        upstream(&[address]),
        "[limits.l]\nrequests = 7\nwindow_seconds = 60\n".to_owned(),
        route("all", "/*", ""),
        route(
            "api",
            "/api/{v}/*",
            "hosts = [\"*.example.org\"]\nrewrite = \"/*\"\nlimit = \"l\"\n\
             request_headers = { x-version = \"{v}\" }",
        ),
        route(
            "beta",
            "/api/{v}/*",
            "query = { beta = true }\nmethods = [\"GET\"]",
        ),
        route("post", "/api/{v}/*", "methods = [\"POST\"]"),
        route(
            "urgent",
            "/api/*",
            "priority = 1\nheaders = { x-urgent = \"1\" }",
        ),
        route("other", "/other", ""),
    ]
    .concat()
}

fn explain(file: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = command();
    command
        .arg("explain")
        .args(arguments)
        .arg("--config")
        .arg(file);
    command.output().unwrap()
}

fn reason<'e>(explanation: &'e Value, name: &str) -> &'e str {
    let others = explanation["others"].as_array().unwrap();
    let other = others.iter().find(|other| other["name"] == name).unwrap();
    other["reason"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_and_the_others_are_explained() {
    let gateway = Gateway::start(&settings(serve(echo()).await)).await;
    let file = gateway.file();
    let url = "https://www.Example.org/api/2/%75sers?beta=1";
    let arguments = [
        "GET",
        url,
        "--header",
        "X-Real-IP: 1.1.1.1",
        "--client-ip",
        "192.0.2.9",
    ];
    let output = explain(&file, &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "GET /api/2/users\n",
        "www.example.org",
        "Route api\n",
        "limit = [{\"name\":\"l\",\"requests\":7,\"window_seconds\":60}]",
        "/users?beta=1\n",
        "x-forwarded-for: 192.0.2.9\n",
        "x-forwarded-proto: https\n",
        "x-forwarded-prefix: /api/2\n",
        "x-version: 2\n",
        "not forwarded as sent: x-real-ip",
        "matches, but `api` has a more specific host",
        "the path differs",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = explain(&file, &[&arguments[..], &["--format", "json"]].concat());
    let explained: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(explained["route"]["name"], "api");
    assert_eq!(explained["route"]["forwarded"]["target"], "/users?beta=1");
    for (name, expected) in [
        ("beta", "more specific host"),
        ("all", "more specific host"),
        ("post", "the method is none of POST"),
        ("urgent", "`x-urgent` is `1`"),
        ("other", "the path differs"),
    ] {
        assert!(
            reason(&explained, name).contains(expected),
            "{name}: {explained}"
        );
    }
    // By the admin listener, with the same words.
    let admin = format!("http://{}/explain", gateway.admin);
    let mut admin = Url::parse(&admin).unwrap();
    admin.query_pairs_mut().extend_pairs([
        ("method", "GET"),
        ("url", url),
        ("header", "X-Real-IP: 1.1.1.1"),
        ("client_ip", "192.0.2.9"),
    ]);
    let request = client().get(admin);
    let served: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(served, explained);
    let refused = gateway.admin("/explain?url=x").await;
    assert_eq!(refused.status(), 400);
}

/// The explanation and the gateway agree, whatever the request.
#[tokio::test(flavor = "multi_thread")]
async fn the_explanation_is_what_happens() {
    let gateway = Gateway::start(&settings(serve(echo()).await)).await;
    for (method, path, host) in [
        ("GET", "/", "a"),
        ("GET", "/api/2/x", "a"),
        ("GET", "/api/2/x?beta", "a"),
        ("POST", "/api/2/x?beta", "a"),
        ("GET", "/api/2//x/", "b.example.org"),
        ("DELETE", "/api", "b.example.org"),
        ("GET", "/other", "example.org"),
        ("GET", "/api/../x", "a"),
        ("GET", "/api/a%2Fb", "a"),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n");
        let response = crate::support::exchange(gateway.public, head.as_bytes()).await;
        let arguments = [
            method,
            path,
            "--header",
            &format!("host: {host}"),
            "--format",
            "json",
        ];
        let json = explain(&gateway.file(), &arguments);
        let explained: Value = serde_json::from_slice(&json.stdout).unwrap();
        if response.status == 200 {
            let echoed: Value = serde_json::from_str(&response.body).unwrap();
            assert_eq!(
                explained["route"]["forwarded"]["target"], echoed["path"],
                "{path}"
            );
            let explained = explained["route"]["forwarded"]["headers"]
                .as_array()
                .unwrap();
            for pair in echoed["headers"].as_array().unwrap() {
                let name = pair[0].as_str().unwrap();
                if !["x-request-id", "traceparent", "content-length"].contains(&name) {
                    assert!(explained.contains(pair), "{path}: {pair}: {explained:?}");
                }
            }
        } else {
            assert_eq!(explained["refused"]["status"], response.status, "{path}");
            assert!(explained["route"].is_null());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused() {
    let gateway = Gateway::start(&settings(serve(echo()).await)).await;
    for arguments in [
        &["get", "/"][..],
        &["GET", "a"],
        &["GET", "/", "--header", "a"],
        &["GET", "/", "--client-ip", "a"],
    ] {
        assert!(
            !explain(&gateway.file(), arguments).status.success(),
            "{arguments:?}"
        );
    }
}
