//! Static sites: swapped directories, large files, and sites among other routes.

use std::{fs, os::unix::fs::symlink};

use axum::{Router, routing::any};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    Gateway, echo, eventually, serve,
    sites::{APP, Files, HTML, ask, get, set_modified, site_route},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_of_the_directory_changes_all_files_at_once() {
    let files = Files::new(&[]);
    for (release, body) in [("r1", "one"), ("r2", "two")] {
        let index = format!("<p>{body}</p>");
        let files_of = [
            ("index.html", &*index),
            ("app.js", body),
            (&*format!("assets/{release}-3f2a9c1b.js"), body),
        ];
        files.write_all(release, &files_of);
    }
    let _ = fs::remove_dir_all(files.path("site"));
    symlink("r1", files.path("site")).unwrap();
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", "check_interval_ms = 20\nkeep_previous_seconds = 600"),
        site_route("app", "/*", ""),
        files.site("bare", "check_interval_ms = 20"),
        site_route("bare", "/bare/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    assert_eq!(get(&gateway, "/", &[]).await.text(), "<p>one</p>");
    assert_eq!(get(&gateway, "/app.js", &[]).await.text(), "one");
    assert_eq!(get(&gateway, "/bare/", &[]).await.text(), "<p>one</p>");
    symlink("r2", files.path("next")).unwrap();
    fs::rename(files.path("next"), files.path("site")).unwrap();
    eventually("the other directory is served", || async {
        let page = get(&gateway, "/", &[]).await;
        (page.text() == "<p>two</p>").then_some(())
    })
    .await;
    // From then on nothing of the first one.
    assert_eq!(get(&gateway, "/app.js", &[]).await.text(), "two");
    assert_eq!(
        get(&gateway, "/assets/r2-3f2a9c1b.js", &[]).await.text(),
        "two"
    );
    // But what a page of the first one still asks for by its hash.
    assert_eq!(
        get(&gateway, "/assets/r1-3f2a9c1b.js", &[]).await.text(),
        "one"
    );
    eventually("the other directory is served", || async {
        let page = get(&gateway, "/bare/", &[]).await;
        (page.text() == "<p>two</p>").then_some(())
    })
    .await;
    let gone = get(&gateway, "/bare/assets/r1-3f2a9c1b.js", &[]).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    // In the middle of a swap by two renames there is none.
    fs::rename(files.path("site"), files.path("away")).unwrap();
    eventually("the gateway has seen it", || async {
        let _ = get(&gateway, "/", &[]).await;
        let seen = |line: &serde_json::Value| line["msg"].to_string().contains("cannot be opened");
        gateway.lines().iter().any(seen).then_some(())
    })
    .await;
    assert_eq!(get(&gateway, "/", &[]).await.text(), "<p>two</p>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_is_seen() {
    let files = Files::new(&[("a.txt", "one")]);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", "check_interval_ms = 20"),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let first = get(&gateway, "/a.txt", &[]).await;
    assert_eq!(first.text(), "one");
    // Of the same length, and dated as before.
    files.write("site/a.new", b"two");
    set_modified(&files.path("site/a.new"), 1_700_000_000);
    fs::rename(files.path("site/a.new"), files.path("site/a.txt")).unwrap();
    eventually("the file is served", || async {
        let known = [("if-none-match", first.header("etag"))];
        let got = get(&gateway, "/a.txt", &known).await;
        (got.status == 200 && got.text() == "two").then_some(())
    })
    .await;
    fs::remove_file(files.path("site/a.txt")).unwrap();
    eventually("the file is gone", || async {
        (get(&gateway, "/a.txt", &[]).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_streamed_and_their_connection_stays() {
    let large: Vec<u8> = (0..12_000_017_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    let files = Files::new(&[("a.txt", "a")]);
    files.write("site/large.bin", &large);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    // With a small buffer, the gateway has to wait for the client again and again.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    let mut stream = socket.connect(gateway.public).await.unwrap();
    for path in ["/large.bin", "/a.txt", "/large.bin"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let wanted = if path == "/a.txt" { &b"a"[..] } else { &large };
        let mut received = Vec::new();
        let head_end = loop {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        while received.len() < head_end + wanted.len() {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
        assert!(received[head_end..] == *wanted, "{path}");
    }
    let range = [("range", "bytes=1000000-2000000")];
    let part = get(&gateway, "/large.bin", &range).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert!(part.body == large[1_000_000..=2_000_000]);
    let head = ask(&gateway, Method::HEAD, "/large.bin", &[]).await;
    assert_eq!(head.header("content-length"), "12000017");
}

/// Half of a large file is not a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_ends_its_connection() {
    let files = Files::new(&[]);
    files.write("site/large.bin", &vec![7; 64 << 20]);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.public)
        .await
        .unwrap();
    let request = b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut first = [0; 1024];
    assert!(stream.read(&mut first).await.unwrap() > 0);
    let file = fs::File::options()
        .write(true)
        .open(files.path("site/large.bin"))
        .unwrap();
    file.set_len(1024).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 64 << 20);
    let line = gateway.access_line("/large.bin").await;
    assert!(line["error"].to_string().contains("file"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_the_route_apply() {
    let files = Files::new(&APP);
    let settings = [
        "shipped_routes = false\n[jwt]\njwks_url = \"\"\n\
         hs256_secret = \"0123456789abcdef0123456789abcdef\"\n\
         [limits.one]\nrequests = 1\nwindow_seconds = 3600\n\
         [cors.page]\norigins = [\"https://page.example\"]\n"
            .to_owned(),
        files.site("app", ""),
        site_route(
            "app",
            "/limited/*",
            "limit = \"one\"\nresponse_headers = { cache-control = \"no-store\", x-a = \"b\" }\ncors = \"page\"",
        ),
        site_route("closed", "/closed/*", "")
            .replace("\"public\"", "\"required\"")
            .replace("site = \"closed\"", "site = \"app\""),
        site_route("maybe", "/maybe/*", "")
            .replace("\"public\"", "\"optional\"")
            .replace("site = \"maybe\"", "site = \"app\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let got = get(&gateway, "/limited/", &[("origin", "https://page.example")]).await;
    assert_eq!(
        (got.status.as_u16(), got.header("cache-control")),
        (200, "no-store")
    );
    assert_eq!(got.header("x-a"), "b");
    assert_eq!(
        got.header("access-control-allow-origin"),
        "https://page.example"
    );
    assert_eq!(get(&gateway, "/limited/", &[]).await.status.as_u16(), 429);
    assert_eq!(get(&gateway, "/closed/", &[]).await.status.as_u16(), 401);
    let maybe = get(&gateway, "/maybe/assets/app.3f2a9c1b.js", &[]).await;
    assert_eq!(
        maybe.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
}

/// A site, an application below it, its API and its WebSocket are one origin: no CORS is needed.
#[tokio::test(flavor = "multi_thread")]
async fn sites_and_an_api_share_a_host() {
    let files = Files::new(&[("index.html", "dashboard")]);
    files.write_all("frequi", &[("index.html", "frequi")]);
    files.write_all("console", &[("index.html", "console")]);
    let sites: String = ["frequi", "console"]
        .map(|name| {
            let directory = files.path(name);
            let directory = directory.to_str().unwrap();
            format!("[sites.{name}]\ndirectory = \"{directory}\"\nfallback = \"index.html\"\n")
        })
        .concat();
    let api = serve(
        echo()
            .route("/hello", any(async || "api"))
            .merge(Router::new()),
    )
    .await;
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("dashboard", "fallback = \"index.html\""),
        sites,
        site_route("dashboard", "/*", "hosts = [\"app.example\"]"),
        site_route("frequi", "/frequi/*", "hosts = [\"app.example\"]"),
        site_route("console", "/console/*", "hosts = [\"app.example\"]"),
        format!("[upstreams.api]\naddresses = [\"{api}\"]\n"),
        "[routes.api]\nhosts = [\"app.example\"]\npaths = [\"/gateway/*\"]\nupstream = \"api\"\n\
         rewrite = \"/*\"\nauth = \"public\"\nupgrade = true\n"
            .to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let host = ("host", "app.example");
    for (path, body) in [
        ("/", "dashboard"),
        ("/trade/5", "dashboard"),
        ("/frequi/", "frequi"),
        ("/frequi/trade/5", "frequi"),
        ("/console/bots", "console"),
        ("/gateway/hello", "api"),
    ] {
        let got = get(&gateway, path, &[host, HTML]).await;
        assert_eq!(got.text(), body, "{path}");
        assert_eq!(got.header("access-control-allow-origin"), "");
    }
    let other = get(&gateway, "/", &[("host", "other.example"), HTML]).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_said_and_others_are_served() {
    let files = Files::new(&[("index.html", "i")]);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/app/*", ""),
        files
            .site("gone", "check_interval_ms = 0")
            .replace("/site\"", "/gone\""),
        site_route("gone", "/gone/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let gone = get(&gateway, "/gone/", &[]).await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gone.header("retry-after"), "1");
    let line = gateway.access_line("/gone/").await;
    assert!(line["error"].to_string().contains("directory"), "{line}");
    assert_eq!(get(&gateway, "/app/", &[]).await.text(), "i");
    files.write("gone/index.html", b"here");
    assert_eq!(get(&gateway, "/gone/", &[]).await.text(), "here");
}
