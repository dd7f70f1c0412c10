//! Reloads by the admin listener, and the configuration that it shows.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::support::{Gateway, client, echo, eventually, route, serve, upstream};

const SECRET: &str = "a secret that no one may see, ever";

async fn reload(gateway: &Gateway) -> reqwest::Response {
    let url = format!("http://{}/reload", gateway.admin);
    client().post(url).send().await.unwrap()
}

async fn config(gateway: &Gateway) -> Value {
    gateway.admin("/config").await.json().await.unwrap()
}

async fn hash(gateway: &Gateway) -> String {
    let hash = config(gateway).await["hash"].as_str().unwrap().to_owned();
    // Everywhere the same.
    let info = format!("gateway_config_info{{service=\"gateway\",hash=\"{hash}\"}}");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&info), "{metrics}");
    assert_eq!(metrics.matches("\ngateway_config_info{").count(), 1);
    hash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_says_what_it_has_put_in_force() {
    let base = upstream(&[serve(echo()).await]);
    let gateway = Gateway::start(&base).await;
    let before = config(&gateway).await;
    assert_eq!(before["last_reload"], Value::Null);
    let first = hash(&gateway).await;
    let settings = format!(
        "{base}[jwt]\njwks_url = \"\"\nhs256_secret = \"{SECRET}\"\n[server]\nthreads = 7\n\
         [health]\ntoken = \"{SECRET}\"\n{}",
        route(
            "new",
            "/new",
            &format!("request_headers = {{ \"x-key\" = \"{SECRET}\" }}")
        )
    );
    fs::write(gateway.file(), settings).unwrap();
    let response = reload(&gateway).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    // In force when it is said.
    assert_eq!(gateway.get("/new").await.status(), 200);
    let second = hash(&gateway).await;
    assert_ne!(first, second);
    assert_eq!(answer["hash"], second);
    let applied = &answer["last_reload"];
    assert_eq!(applied["outcome"], "applied");
    assert_eq!(applied["trigger"], "admin");
    let changed = applied["changed"].as_array().unwrap();
    assert!(changed.contains(&json!("routes.new.paths")), "{applied}");
    let shown = config(&gateway).await;
    assert_eq!(shown["last_reload"], *applied);
    assert_eq!(shown["in_force_since"], applied["at"]);
    // The tests set the threads by a variable, which wins.
    assert_eq!(shown["waiting_for_restart"], json!([]));
    let settings = &shown["settings"];
    assert_eq!(settings["routes"]["new"]["paths"], json!(["/new"]));
    assert_eq!(settings["jwt"]["hs256_secret"], "(hidden)");
    assert_eq!(
        settings["routes"]["new"]["request_headers"]["x-key"],
        "(hidden)"
    );
    assert!(!shown.to_string().contains(SECRET), "{shown}");
    let lines = gateway.lines();
    let hashes: Vec<&Value> = lines.iter().map(|line| &line["config_hash"]).collect();
    assert!(hashes.contains(&&json!(first)) && hashes.contains(&&json!(second)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_names_every_error_and_its_place() {
    let settings = upstream(&[serve(echo()).await]) + &route("all", "/*", "");
    let gateway = Gateway::start(&settings).await;
    let before = hash(&gateway).await;
    let file = gateway.file().display().to_string();
    let wrong = format!("{settings}upstreem = \"u\"\n[server]\nthreads = 5000\n");
    let line = settings.lines().count();
    fs::write(gateway.file(), wrong).unwrap();
    let body = problem_body(reload(&gateway).await, 422, "configuration_refused").await;
    let errors = body["errors"].as_array().unwrap();
    let unknown = errors
        .iter()
        .find(|error| error["parameter"] == "routes.all.upstreem");
    let unknown = unknown.unwrap_or_else(|| panic!("{body}"));
    let place = format!("{file}:{}:", line + 1);
    assert!(
        unknown["detail"].as_str().unwrap().contains(&place),
        "{unknown}"
    );
    for (text, code, part) in [
        ("", "invalid_syntax", "is empty"),
        ("shipped_routes = [", "invalid_syntax", &*file),
    ] {
        fs::write(gateway.file(), text).unwrap();
        let body = problem_body(reload(&gateway).await, 422, "configuration_refused").await;
        assert_eq!(body["errors"][0]["code"], code, "{body}");
        assert!(
            body["errors"][0]["detail"].as_str().unwrap().contains(part),
            "{body}"
        );
    }
    fs::remove_file(gateway.file()).unwrap();
    let body = problem_body(reload(&gateway).await, 422, "configuration_refused").await;
    assert_eq!(body["errors"][0]["code"], "unreadable_file", "{body}");
    // Nothing has changed, and the reason is shown.
    assert_eq!(hash(&gateway).await, before);
    let shown = config(&gateway).await;
    assert_eq!(shown["last_reload"]["outcome"], "refused");
    assert!(shown["last_reload"]["errors"][0]["message"].is_string());
    assert!(shown["in_force_since"].as_str() < shown["last_reload"]["at"].as_str());
    assert!(gateway.metric("gateway_config_last_reload_applied").await < 1.0);
    fs::write(gateway.file(), &settings).unwrap();
    assert_eq!(reload(&gateway).await.status(), 200);
    assert_eq!(hash(&gateway).await, before);
    assert!(gateway.metric("gateway_config_last_reload_applied").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_signals_at_the_same_time_share_a_reload() {
    let base = upstream(&[serve(echo()).await]);
    let gateway = Arc::new(Gateway::start(&base).await);
    fs::write(gateway.file(), base + &route("new", "/new", "")).unwrap();
    let asking: Vec<_> = (0..40)
        .map(|at| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move {
                if at % 4 == 0 {
                    gateway.signal("HUP");
                }
                let status = reload(&gateway).await.status();
                (status, gateway.get("/new").await.status())
            })
        })
        .collect();
    for asked in asking {
        let (reloaded, found) = asked.await.unwrap();
        assert_eq!((reloaded.as_u16(), found.as_u16()), (200, 200));
    }
    assert!(gateway.reloads("applied").await < 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_keep_changing_are_not_put_in_force() {
    let base = upstream(&[serve(echo()).await]);
    let gateway = Arc::new(Gateway::start(&base).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        move || {
            // Each version is whole, and in place at once.
            let next = gateway.file().with_extension("next");
            for at in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                fs::write(&next, format!("{base}# {at}\n")).unwrap();
                fs::rename(&next, gateway.file()).unwrap();
            }
        }
    });
    problem_body(reload(&gateway).await, 409, "configuration_changing").await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(reload(&gateway).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_compared_by_their_hash() {
    let base = upstream(&[serve(echo()).await]) + &format!("[health]\ntoken = \"{SECRET}\"\n");
    let [one, other] = [Gateway::start(&base).await, Gateway::start(&base).await];
    assert_eq!(hash(&one).await, hash(&other).await);
    for changed in [
        base.clone() + &route("new", "/new", ""),
        base.replace(SECRET, &SECRET.replace("ever", "never")),
    ] {
        for (gateway, is_last) in [(&one, false), (&other, true)] {
            let before = hash(gateway).await;
            fs::write(gateway.file(), &changed).unwrap();
            assert_eq!(reload(gateway).await.status(), 200);
            assert_ne!(hash(gateway).await, before);
            assert_eq!(hash(&one).await == hash(&other).await, is_last, "{changed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_stay_after_a_reload() {
    let replicas = [serve(echo()).await, serve(echo()).await];
    let base = upstream(&replicas) + &route("all", "/*", "");
    let gateway = Gateway::start(&base).await;
    let address = replicas[0];
    let drain = format!(
        "http://{}/upstreams/u/replicas/{address}/drain",
        gateway.admin
    );
    assert_eq!(client().post(&drain).send().await.unwrap().status(), 204);
    for settings in [
        base.clone(),
        base.replace("[upstreams.u]\n", "[upstreams.u]\nretries = 1\n"),
    ] {
        fs::write(gateway.file(), settings).unwrap();
        assert_eq!(reload(&gateway).await.status(), 200);
        let state = eventually("the replicas are known", || async {
            let shown: Value = gateway.admin("/upstreams").await.json().await.unwrap();
            let replicas = shown["upstreams"][0]["replicas"].as_array()?.clone();
            let found = replicas
                .iter()
                .find(|it| it["address"] == address.to_string());
            found.map(|replica| replica["state"].clone())
        });
        assert_eq!(state.await, "drained");
    }
}

/// The body of a problem of the admin listener, which logs no requests.
pub(crate) async fn problem_body(response: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status);
    let content_type = &response.headers()["content-type"];
    assert_eq!(content_type, "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code, "{body}");
    body
}
