//! The response cache beside what else a route may have.

use std::sync::atomic::Ordering;

use crate::support::{Gateway, Origin, REPLY, client, free_address, problem, route, upstream};

const CACHE: &str = "[caches.c]\nmax_bytes = 1000000\nmax_object_bytes = 100000\n";
const STORED: &str = "cache-control: max-age=60";

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = client().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'r>(response: &'r reqwest::Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_rewritten_to_one_share_no_response() {
    let origin = Origin::default();
    let more = "cache = \"c\"\nrewrite = \"/page\"\nrequest_headers = { x-user = \"{user}\" }";
    let settings = [
        upstream(&[origin.serve().await]),
        CACHE.to_owned(),
        route("pages", "/users/{user}", more),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (user, body) in [("a", "1"), ("b", "2"), ("a", "1"), ("b", "2")] {
        let path = format!("/users/{user}");
        let response = get(&gateway, &path, &[(REPLY, STORED)]).await;
        assert_eq!(response.text().await.unwrap(), body, "{user}");
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    for (request, user) in seen.iter().zip(["a", "b"]) {
        assert_eq!(
            (&*request.url, &request.headers["x-user"]),
            ("/page", &user.parse().unwrap())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_what_is_rewritten_removes_what_is_stored() {
    let origin = Origin::default();
    let read = "cache = \"c\"\nmethods = [\"GET\"]\nrewrite = \"/v2/*\"";
    let write = "methods = [\"PUT\"]\nrewrite = \"/v2/*\"";
    let settings = [
        upstream(&[origin.serve().await]),
        CACHE.to_owned(),
        route("read", "/read/*", read),
        route("write", "/write/*", write),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let body = async || {
        let response = get(&gateway, "/read/a", &[(REPLY, STORED)]).await;
        response.text().await.unwrap()
    };
    assert_eq!(
        (body().await, body().await),
        ("1".to_owned(), "1".to_owned())
    );
    let put = client().put(gateway.url("/write/a")).send().await.unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(body().await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_say_in_a_response_is_of_this_request() {
    let origin = Origin::default();
    let settings = [
        upstream(&[origin.serve().await]),
        CACHE.to_owned(),
        "[cors.pages]\norigins = [\"https://*.pages.example\"]\ncredentials = true\n\
         [limits.l]\nrequests = 10\nwindow_seconds = 3600\n"
            .to_owned(),
        route(
            "r",
            "/*",
            "cache = \"c\"\ncors = \"pages\"\nlimit = \"l\"\nsecurity_headers = true",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (place, page) in ["https://a.pages.example", "https://b.pages.example"]
        .into_iter()
        .enumerate()
    {
        let response = get(&gateway, "/", &[(REPLY, STORED), ("origin", page)]).await;
        let hit = header(&response, "cache-status").starts_with("quartet; hit");
        assert_eq!(hit, place == 1, "{response:?}");
        assert_eq!(header(&response, "access-control-allow-origin"), page);
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        let left = format!("\"l\";r={};", 9 - place);
        assert!(
            header(&response, "ratelimit").starts_with(&left),
            "{response:?}"
        );
        for name in [
            "access-control-allow-origin",
            "x-content-type-options",
            "ratelimit",
        ] {
            assert_eq!(response.headers().get_all(name).iter().count(), 1, "{name}");
        }
    }
    let response = get(
        &gateway,
        "/",
        &[(REPLY, STORED), ("origin", "https://c.example")],
    )
    .await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
    assert_eq!(origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_another_attempt_replaces_is_not_for_the_cache() {
    let (first, second) = (Origin::default(), Origin::default());
    let settings = [
        upstream(&[first.serve().await, second.serve().await]),
        "balance = \"round_robin\"\nretry_on = [\"503\"]\n".to_owned(),
        CACHE.to_owned(),
        route("r", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let reply = "cache-control: max-age=0, stale-if-error=60|etag: \"a\"";
    assert_eq!(get(&gateway, "/", &[(REPLY, reply)]).await.status(), 200);
    // With a stale response at hand, the other replica is asked first.
    for (failing, working) in [(&first, &second), (&second, &first)] {
        failing.fails.store(true, Ordering::Relaxed);
        working.fails.store(false, Ordering::Relaxed);
        for _ in 0..2 {
            let before = working.count();
            let response = get(&gateway, "/", &[(REPLY, reply)]).await;
            assert_eq!(response.status(), 200);
            let status = header(&response, "cache-status");
            assert!(
                status.starts_with("quartet; fwd=stale; fwd-status=304"),
                "{response:?}"
            );
            assert_eq!(working.count(), before + 1);
        }
    }
    // Without one that works, it is the answer.
    first.fails.store(true, Ordering::Relaxed);
    second.fails.store(true, Ordering::Relaxed);
    let response = get(&gateway, "/", &[(REPLY, reply)]).await;
    assert_eq!(response.status(), 200);
    assert!(
        !header(&response, "cache-status").contains("304"),
        "{response:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_no_request_is_replaced_by_a_stale_response() {
    let origin = Origin::default();
    let settings = [
        upstream(&[origin.serve().await]),
        CACHE.to_owned(),
        route("r", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let reply = "cache-control: max-age=0, stale-if-error=60|etag: \"a\"";
    assert_eq!(get(&gateway, "/", &[(REPLY, reply)]).await.status(), 200);
    let gone = [
        upstream(&[free_address()]),
        CACHE.to_owned(),
        route("r", "/*", "cache = \"c\""),
    ];
    gateway.reload(&gone.concat()).await;
    let response = get(&gateway, "/", &[(REPLY, reply)]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "1");
    let refused = get(&gateway, "/other", &[(REPLY, reply)]).await;
    problem(refused, 503, "upstream_unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_with_several_upstreams_have_no_cache() {
    let origin = Origin::default();
    let upstreams = upstream(&[origin.serve().await]);
    let gateway = Gateway::start(&[&*upstreams, &route("r", "/*", "")].concat()).await;
    let split = "[routes.s]\npaths = [\"/s\"]\nauth = \"public\"\ncache = \"c\"\n\
                 split = [{ upstream = \"u\", weight = 1 }, { upstream = \"u2\", weight = 1 }]\n";
    let second = upstreams.replace("shipped_routes = false\n[upstreams.u]", "[upstreams.u2]");
    let refused = gateway
        .refused_reload(&[&*upstreams, &second, CACHE, split].concat())
        .await;
    assert!(
        refused.contains("routes.s.cache`") && refused.contains("is only possible with `upstream`"),
        "{refused}"
    );
}
