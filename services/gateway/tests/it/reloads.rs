//! Reloads put everything in force or nothing, and never open a route.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quartet_common::clock::Clock;
use quartet_testing::Issuer;

use crate::support::{Gateway, client, echo, eventually, problem, route, serve, upstream};

const SECRETS: [&str; 2] = [
    "the first shared secret of the tests",
    "another shared secret of the tests",
];

fn secret_route() -> String {
    route("secret", "/secret/*", "").replace("\"public\"", "\"required\"")
}

fn jwt(secret: &str) -> String {
    format!("[jwt]\njwks_url = \"\"\nhs256_secret = \"{secret}\"\n")
}

async fn status(gateway: &Gateway, path: &str, token: Option<&str>) -> u16 {
    let mut request = client().get(gateway.url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().status().as_u16()
}

/// A gateway with a closed route that reads its secret from this file, at first the first one; and its
/// settings.
async fn start_with_secret_in(file: &Path) -> (Gateway, String) {
    std::fs::write(file, SECRETS[0]).unwrap();
    let settings = [
        upstream(&[serve(echo()).await]),
        "[jwt]\njwks_url = \"\"\n".to_owned(),
        secret_route(),
    ]
    .concat();
    let variable = ("QUARTET_JWT_HS256_SECRET_FILE", file.to_str().unwrap());
    let gateway = Gateway::with_variables(&settings, &[variable]).await;
    (gateway, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_never_opens_a_route_that_requires_tokens() {
    let base = upstream(&[serve(echo()).await]) + &route("open", "/open", "");
    let [first, second] = SECRETS.map(|secret| Issuer::with_secret(Clock::system(), secret));
    let (first, second) = (first.token("usr_1"), second.token("usr_1"));
    // At the start, nothing verifies tokens.
    let gateway = Gateway::start(&[base.clone(), jwt("")].concat()).await;
    assert_eq!(status(&gateway, "/open", None).await, 200);
    let error = gateway
        .refused_reload(&[base.clone(), jwt(""), secret_route()].concat())
        .await;
    assert!(error.contains("jwt.jwks_url"), "{error}");
    assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 404);
    // Routes and verifier are put in force together.
    gateway
        .reload(&[base.clone(), jwt(SECRETS[0]), secret_route()].concat())
        .await;
    let response = client().get(gateway.url("/secret/x")).send().await.unwrap();
    problem(response, 401, "unauthenticated").await;
    assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 200);
    assert_eq!(status(&gateway, "/secret/x", Some(&second)).await, 401);
    // So is another secret, and another audience; verified tokens are forgotten with their secret.
    gateway
        .reload(&[base.clone(), jwt(SECRETS[1]), secret_route()].concat())
        .await;
    assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 401);
    assert_eq!(status(&gateway, "/secret/x", Some(&second)).await, 200);
    let audience = jwt(SECRETS[1]) + "audience = \"another\"\n";
    gateway
        .reload(&[base.clone(), audience, secret_route()].concat())
        .await;
    assert_eq!(status(&gateway, "/secret/x", Some(&second)).await, 401);
    // Nothing left to verify with: refused, and the route stays closed.
    gateway
        .refused_reload(&[base.clone(), jwt("short"), secret_route()].concat())
        .await;
    assert_eq!(status(&gateway, "/secret/x", None).await, 401);
}

/// A program that writes the file in steps, while clients try to get in.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_caught_half_written_is_not_put_in_force() {
    let address = serve(echo()).await;
    // Up to the closed route, the text is a valid configuration that lets everything in.
    let start = upstream(&[address]) + &jwt(SECRETS[0]) + &route("all", "/*", "");
    let texts = ["a", "b"].map(|name| start.clone() + &secret_route() + &route(name, "/x", ""));
    let gateway = Arc::new(Gateway::start(&texts[0]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let intruder = tokio::spawn({
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        async move {
            let mut tries = 0;
            while !stop.load(Ordering::Relaxed) {
                for path in ["/secret/x", "/v1/core/users/me"] {
                    let status = status(&gateway, path, None).await;
                    // The default routes would answer 401 or 503.
                    let expected = if path == "/secret/x" { 401 } else { 200 };
                    assert_eq!(status, expected, "{path}");
                }
                tries += 1;
            }
            tries
        }
    });
    for round in 1..=4 {
        let text = &texts[round % 2];
        for part in ["", &start] {
            std::fs::write(gateway.file(), part).unwrap();
            if round > 2 {
                // Someone asks for a reload in this moment.
                gateway.signal("HUP");
            }
            let written = Instant::now();
            // Shorter than the time between two readings.
            let pause = Duration::from_millis(250);
            eventually("the writer continues", || async {
                (written.elapsed() > pause).then_some(())
            })
            .await;
        }
        let applied = gateway.reloads("applied").await;
        std::fs::write(gateway.file(), text).unwrap();
        eventually("the whole text is in force", || async {
            (gateway.reloads("applied").await > applied).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(intruder.await.unwrap() > 10);
}

/// A program that asks for reloads all the time, while settings and a secret are replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_signals_delays_no_reload() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let (gateway, settings) = start_with_secret_in(&file).await;
    let gateway = Arc::new(gateway);
    let stop = Arc::new(AtomicBool::new(false));
    let storm = std::thread::spawn({
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                gateway.signal("HUP");
                sent += 1;
            }
            sent
        }
    });
    let [first, second] = SECRETS.map(|secret| Issuer::with_secret(Clock::system(), secret));
    for (issuer, secret, path) in [(&second, 1, "/b"), (&first, 0, "/c")] {
        let token = issuer.token("usr_1");
        std::fs::write(&file, SECRETS[secret]).unwrap();
        let text = settings.clone() + &route("new", path, "");
        std::fs::write(gateway.file(), text).unwrap();
        eventually("settings and secret are in force", || async {
            let open = status(&gateway, path, None).await;
            let secret = status(&gateway, "/secret/x", Some(&token)).await;
            (open == 200 && secret == 200).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(storm.join().unwrap() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_never_replaces_one_with_content() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/v1/core/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for empty in ["", "# everything = \"commented out\"\n[routes]\n"] {
        let error = gateway.refused_reload(empty).await;
        assert!(error.contains("is empty"), "{error}");
    }
    // It is not tried again at every check, and another content is.
    assert_eq!(status(&gateway, "/v1/core/users/me", None).await, 200);
    gateway.reload(&settings.concat()).await;
    assert!(gateway.reloads("refused").await < 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_files_are_watched_and_their_last_value_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let (gateway, settings) = start_with_secret_in(&file).await;
    let [first, second] = SECRETS.map(|secret| Issuer::with_secret(Clock::system(), secret));
    let (first, second) = (first.token("usr_1"), second.token("usr_1"));
    assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 200);
    for empty in [true, false] {
        if empty {
            std::fs::write(&file, "").unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
        gateway.reload(&settings).await;
        assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 200);
    }
    eventually("the missing file is reported", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["variables"] == "QUARTET_JWT_HS256_SECRET_FILE")
    })
    .await;
    std::fs::write(&file, SECRETS[1]).unwrap();
    eventually("the new secret is in force", || async {
        (status(&gateway, "/secret/x", Some(&second)).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, "/secret/x", Some(&first)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_wait_for_a_restart_are_named() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/*", ""),
        "[server]\nupstream_pool_size = 7\nmax_connections = 77\n".to_owned(),
        "[telemetry]\ntrace_sample_ratio = 0.5\nlog = \"debug\"\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings[..2].concat()).await;
    gateway.reload(&settings.concat()).await;
    let line = eventually("the settings are named", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["msg"].to_string().contains("after a restart"))
    })
    .await;
    assert_eq!(
        line["settings"],
        "server.upstream_pool_size, telemetry.trace_sample_ratio"
    );
    let log = gateway.admin("/log-level").await.text().await.unwrap();
    assert!(log.contains("debug"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_upstream_has_no_replicas() {
    let address = serve(echo()).await;
    let base = upstream(&[address]) + &route("all", "/*", "");
    let more = format!("[upstreams.old]\naddresses = [\"{address}\"]\n");
    let gateway = Gateway::start(&[&*base, &*more].concat()).await;
    let of = |name: &str| {
        format!("gateway_upstream_replicas{{service=\"gateway\",upstream=\"{name}\"}}")
    };
    eventually("the addresses are known", || async {
        (gateway.count(&of("old")).await == 1).then_some(())
    })
    .await;
    gateway.reload(&base).await;
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&of("u")), "{metrics}");
    assert!(!metrics.contains(&of("old")), "{metrics}");
}
