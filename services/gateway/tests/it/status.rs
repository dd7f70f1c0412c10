//! The status page, the report behind it, and the same in a terminal.

use std::{io::Write as _, process::Stdio};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::support::{Browser, Gateway, command, eventually, route, serve, upstream};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Answers with what the path says.
fn service() -> Router {
    Router::new()
        .route("/a/fine", get(async || "fine"))
        .route("/a/missing", get(async || StatusCode::NOT_FOUND))
        .route("/a/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
}

/// A gateway that has answered 7, 3 and 2 requests by the status that the upstream sent, refused one by a
/// limit, and found no route for one.
async fn gateway(more: &str) -> Gateway {
    let address = serve(service()).await;
    let settings = [
        upstream(&[address]),
        "[limits.one]\nrequests = 1\nwindow_seconds = 3600\n[caches.pages]\nttl_seconds = 60\n"
            .to_owned(),
        route("a", "/a/*", "hosts = [\"127.0.0.1\"]\nmethods = [\"GET\"]"),
        route("limited", "/limited", "limit = \"one\"")
            .replace("upstream = \"u\"", "respond = { status = 200 }"),
        route("unused", "/unused", "cache = \"pages\""),
        more.to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, count) in [
        ("/a/fine", 7),
        ("/a/missing", 3),
        ("/a/broken", 2),
        ("/limited", 2),
        ("/nothing", 1),
    ] {
        for _ in 0..count {
            gateway.get(path).await.bytes().await.unwrap();
        }
    }
    gateway
}

fn path<'s>(status: &'s Value, path: &str) -> &'s Value {
    let mut traffic = status["traffic"].as_array().unwrap().iter();
    traffic.find(|traffic| traffic["path"] == path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_exact_counts() {
    let gateway = gateway("").await;
    // A report is kept for a moment, and requests are counted once they have been answered.
    let status = eventually("all requests are counted", || async {
        let status: Value = gateway.admin("/status").await.json().await.unwrap();
        let counts = ["/a/*", "/limited"].map(|of| path(&status, of)["requests"].clone());
        (counts == [json!(12), json!(2)]).then_some(status)
    })
    .await;
    let a = path(&status, "/a/*");
    assert_eq!(
        (&a["client_errors"], &a["server_errors"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(a["routes"], json!(["a"]));
    let durations: Vec<u64> = serde_json::from_value(a["durations"].clone()).unwrap();
    let bounds = status["duration_bounds_seconds"].as_array().unwrap();
    assert_eq!(
        (durations.iter().sum::<u64>(), durations.len()),
        (12, bounds.len() + 1)
    );
    assert!(a["duration_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(path(&status, "/limited")["client_errors"], 1);
    let unused = path(&status, "/unused");
    assert_eq!(
        (&unused["requests"], &unused["durations"]),
        (&json!(0), &json!([]))
    );
    let limits = json!([{ "name": "one", "requests": 1, "window_seconds": 3600, "refused": 1 }]);
    assert_eq!(status["limits"], limits);
    let upstream = &status["upstreams"][0];
    assert_eq!(
        (&upstream["name"], &upstream["retries"]),
        (&json!("u"), &json!(0))
    );
    assert_eq!(upstream["replicas"][0]["state"], "healthy");
    let cache = &status["caches"][0];
    assert_eq!(
        (&cache["name"], &cache["requests"]["hit"]),
        (&json!("pages"), &json!(0))
    );
    assert_eq!(status["routes"][0]["destination"], "upstream u");
    assert_eq!(
        (&status["state"], &status["omitted"]),
        (&json!("ready"), &json!(0))
    );
    let config: Value = gateway.admin("/config").await.json().await.unwrap();
    assert_eq!(status["config"]["hash"], config["hash"]);
}

/// `top` for this gateway, with further arguments.
fn top(gateway: &Gateway, arguments: &[&str]) -> std::process::Command {
    let mut command = command();
    command
        .args(["top", "--interval", "1", "--config"])
        .arg(gateway.file())
        .args(arguments)
        .env("QUARTET_SERVER_ADMIN_LISTEN", gateway.admin.to_string())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn top_prints_the_same_once() {
    let gateway = gateway(&format!("[admin]\ntokens = [\"{TOKEN}\"]\n")).await;
    let output = top(&gateway, &["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let line = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start}: {text}"));
        line.split_whitespace().collect::<Vec<_>>()
    };
    let a = line("/a/*");
    assert_eq!(
        (&a[1..4], &a[a.len() - 3..]),
        (&["a", "upstream", "u"][..], &["12", "2", "3"][..])
    );
    assert_eq!(line("one ")[..4], ["one", "1", "in", "1"]);
    assert!(line("u ").contains(&"healthy"));
    assert!(line("quartet-gateway").contains(&"ready,"));
    // By URL, with a token from a file; and refused without.
    let url = format!("http://{}", gateway.admin);
    let file = gateway.file().with_extension("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.to_str().unwrap();
    let by_url = top(&gateway, &["--once", "--url", &url, "--token-file", file]).output();
    assert!(by_url.unwrap().status.success());
    let refused = top(&gateway, &["--once", "--url", &url]).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && error.contains("needs a token"),
        "{error}"
    );
}

/// On a terminal, until a key or a signal; then the terminal is as before.
#[tokio::test(flavor = "multi_thread")]
async fn top_leaves_the_terminal_as_it_was() {
    let gateway = gateway("").await;
    let command = top(&gateway, &[]);
    let program = command.get_program().to_str().unwrap().to_owned();
    let arguments: Vec<_> = command.get_args().map(|it| it.to_str().unwrap()).collect();
    let line = format!(
        "stty rows 12 cols 60; timeout --foreground 30 {program} {}; stty -a",
        arguments.join(" ")
    );
    for key in [&b"q"[..], b"jjk\x1b[B\x1b[A q", b"\x03"] {
        let mut script = std::process::Command::new("script");
        let mut child = script
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("QUARTET_SERVER_ADMIN_LISTEN", gateway.admin.to_string())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let text = tokio::task::spawn_blocking(move || {
            use std::io::Read as _;
            let mut text = Vec::new();
            let mut part = [0; 4096];
            // The key comes once the screen is shown.
            let mut is_sent = false;
            loop {
                let read = output.read(&mut part).unwrap();
                if read == 0 {
                    return String::from_utf8_lossy(&text).into_owned();
                }
                text.extend_from_slice(&part[..read]);
                if !is_sent && text.windows(4).any(|part| part == b"PATH") {
                    input.write_all(key).unwrap();
                    input.flush().unwrap();
                    is_sent = true;
                }
            }
        });
        let text = text.await.unwrap();
        assert!(child.wait().unwrap().success(), "{text}");
        let (shown, after) = text.split_once("\u{1b}[?1049l").unwrap();
        assert!(shown.contains("\u{1b}[?1049h"), "{text}");
        assert!(
            after.contains(" echo ") && after.contains(" icanon"),
            "{after}"
        );
        // Nothing is wider or higher than the terminal.
        let screen = shown.rsplit("\u{1b}[H").next().unwrap();
        assert!(screen.lines().count() <= 12, "{screen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_the_token_and_shows_the_report() {
    let gateway = gateway(&format!("[admin]\ntokens = [\"{TOKEN}\"]\n")).await;
    let page = gateway.admin("/").await;
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    for text in ["src=", "innerHTML", "@import", "://", " style=", " onclick"] {
        assert!(!html.contains(text), "{text}");
    }
    let Some(browser) = Browser::open(&format!("http://{}/", gateway.admin)) else {
        return;
    };
    let enter = |token: &str| {
        format!(
            "(() => {{ if (document.querySelector('#login').hidden) return false; \
             document.querySelector('#token').value = '{token}'; \
             document.querySelector('#login').requestSubmit(); return true; }})()"
        )
    };
    let wrong = TOKEN.replace('0', "1");
    browser.until(&enter(&wrong)).await;
    browser
        .until("document.querySelector('#error').textContent.includes('not accepted')")
        .await;
    browser.until(&enter(TOKEN)).await;
    let cells = |row: &str| {
        format!(
            "(() => {{ const rows = [...document.querySelectorAll('tbody tr')]; \
             const row = rows.find((row) => row.cells[0].textContent === '{row}'); \
             return row && [...row.cells].map((cell) => cell.textContent); }})()"
        )
    };
    // The second report makes rates of them; these requests were before the first.
    let shown = format!(
        "(({}) ?? [])[1] === '0' && {}",
        cells("/a/*"),
        cells("/a/*")
    );
    let row = browser.until(&shown).await;
    let expected = json!([
        "/a/*",
        "0",
        "0",
        "0",
        "–",
        "–",
        "–",
        "12",
        "2",
        "3",
        "a (127.0.0.1) GET",
        "upstream u",
    ]);
    assert_eq!(row, expected);
    let limit = browser.until(&cells("one")).await;
    assert_eq!(limit[3], "1");
    assert_eq!(browser.until(&cells("u")).await[2], "healthy");
    browser
        .until("document.querySelector('#error').hidden && document.title.endsWith('ready')")
        .await;
    assert_eq!(
        browser
            .until("String(document.querySelector('#login').hidden)")
            .await,
        "true"
    );
    // It fits on a telephone: only tables scroll sideways.
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    browser.until(fits).await;
}
