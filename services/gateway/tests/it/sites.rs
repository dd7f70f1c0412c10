//! Static sites: what files, conditions, ranges and codings lead to.

use std::{fs, os::unix::fs::symlink};

use http::{Method, StatusCode};

use crate::support::{
    Gateway, eventually, exchange,
    sites::{APP, Files, HTML, ask, get, set_modified, site_route},
};

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_with_what_browsers_need() {
    let files = Files::new(&APP);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", "fallback = \"index.html\""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    // The second time from memory.
    for _ in 0..2 {
        let page = get(&gateway, "/", &[HTML]).await;
        assert_eq!((page.status, page.text()), (StatusCode::OK, "<p>app</p>"));
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-cache");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("accept-ranges"), "bytes");
        assert_eq!(page.header("content-length"), "10");
        assert!(page.header("etag").starts_with('"'), "{:?}", page.headers);
        assert!(page.header("last-modified").ends_with(" GMT"));
        assert!(!page.header("x-request-id").is_empty());
        let script = get(&gateway, "/assets/app.3f2a9c1b.js", &[]).await;
        assert_eq!(script.text(), "app()");
        assert_eq!(
            script.header("content-type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(
            script.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        let style = get(&gateway, "/app.css?v=1", &[]).await;
        assert_eq!(
            (style.text(), style.header("cache-control")),
            ("p {}", "no-cache")
        );
        let head = ask(&gateway, Method::HEAD, "/app.css", &[]).await;
        assert_eq!((head.header("content-length"), head.body.len()), ("4", 0));
        assert_eq!(head.header("etag"), style.header("etag"));
        let known = get(&gateway, "/.well-known/security.txt", &[]).await;
        assert_eq!(known.text(), "Contact: x");
    }
    let post = ask(&gateway, Method::POST, "/", &[]).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.header("allow"), "GET, HEAD");
    // Of two requests in a row for one path, the line of the second may be written first: this one had no HEAD.
    let line = gateway.access_line("/.well-known/security.txt").await;
    assert_eq!(
        (line["status"].as_u64(), line["bytes"].as_u64()),
        (Some(200), Some(10))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_navigations_fall_back_to_the_page() {
    let files = Files::new(&APP);
    files.write("site/404.html", b"<p>none</p>");
    fs::create_dir(files.path("site/empty")).unwrap();
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", "fallback = \"index.html\"\nclean_urls = true"),
        site_route("app", "/app/*", ""),
        files.site("pages", "not_found = \"404.html\""),
        site_route("pages", "/pages/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let navigate = ("sec-fetch-mode", "navigate");
    for (path, headers, status, body) in [
        ("/app/trade/5", &[HTML][..], 200, "<p>app</p>"),
        ("/app/trade/BTC.USD", &[navigate], 200, "<p>app</p>"),
        ("/app/trade/5", &[("accept", "*/*")], 404, ""),
        ("/app/trade/5", &[HTML, ("sec-fetch-mode", "cors")], 404, ""),
        ("/app/assets/gone.js", &[HTML, navigate], 404, ""),
        ("/app/assets/gone.js", &[("accept", "*/*")], 404, ""),
        ("/app/empty/", &[HTML], 200, "<p>app</p>"),
        ("/app/empty", &[HTML], 200, "<p>app</p>"),
        ("/app/about", &[], 200, "<p>about</p>"),
        ("/app/.env", &[HTML], 404, ""),
        ("/app/.git/config", &[], 404, ""),
        ("/app/app.css/", &[], 404, ""),
        ("/pages/gone", &[HTML], 404, "<p>none</p>"),
        ("/pages/gone", &[], 404, ""),
        ("/pages/gone.js", &[HTML], 404, "<p>none</p>"),
    ] {
        let got = get(&gateway, path, headers).await;
        assert_eq!(got.status, status, "{path} {headers:?}");
        if body.is_empty() {
            assert_eq!(
                got.header("content-type"),
                "application/problem+json",
                "{path}"
            );
        } else {
            assert_eq!(got.text(), body, "{path} {headers:?}");
            assert_eq!(got.header("cache-control"), "no-cache");
        }
    }
    let page = get(&gateway, "/pages/gone", &[HTML, ("range", "bytes=0-1")]).await;
    assert_eq!((page.status.as_u16(), page.header("etag")), (404, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_get_their_slash() {
    let files = Files::new(&APP);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("frequi", ""),
        site_route("frequi", "/frequi/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, location) in [
        ("/frequi", "/frequi/"),
        ("/frequi?a=b", "/frequi/?a=b"),
        ("/frequi/docs?x", "/frequi/docs/?x"),
    ] {
        let got = get(&gateway, path, &[]).await;
        assert_eq!(
            (got.status.as_u16(), got.header("location")),
            (301, location),
            "{path}"
        );
    }
    for (path, body) in [("/frequi/", "<p>app</p>"), ("/frequi/docs/", "<p>docs</p>")] {
        assert_eq!(get(&gateway, path, &[]).await.text(), body, "{path}");
    }
}

/// When the file was modified, and a second before.
const AT: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const EARLY: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_ranges_are_those_of_the_standard() {
    let files = Files::new(&[("a.txt", "0123456789")]);
    set_modified(&files.path("site/a.txt"), 1_700_000_000);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("small", ""),
        site_route("small", "/small/*", ""),
        // The same file, read while it is sent.
        files.site("large", "max_cached_file_bytes = 0"),
        site_route("large", "/large/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for path in ["/small/a.txt", "/large/a.txt"] {
        // A file that has just been written has a weak validator.
        let etag = eventually("the validator is strong", || async {
            let got = get(&gateway, path, &[]).await;
            assert_eq!(got.header("last-modified"), AT);
            let etag = got.header("etag").to_owned();
            (!etag.starts_with("W/")).then_some(etag)
        })
        .await;
        let weak = format!("W/{etag}");
        for (headers, status, body, range) in [
            (&[("if-none-match", &*etag)][..], 304, "", ""),
            (&[("if-none-match", &*weak)], 304, "", ""),
            (&[("if-none-match", "\"x\"")], 200, "0123456789", ""),
            (&[("if-none-match", "*")], 304, "", ""),
            (&[("if-modified-since", AT)], 304, "", ""),
            (&[("if-modified-since", EARLY)], 200, "0123456789", ""),
            (&[("if-match", "\"x\"")], 412, "", ""),
            (&[("if-match", &*etag)], 200, "0123456789", ""),
            (&[("if-unmodified-since", EARLY)], 412, "", ""),
            (&[("range", "bytes=2-4")], 206, "234", "bytes 2-4/10"),
            (&[("range", "bytes=-3")], 206, "789", "bytes 7-9/10"),
            (&[("range", "bytes=8-99")], 206, "89", "bytes 8-9/10"),
            (&[("range", "bytes=10-")], 416, "", "bytes */10"),
            (&[("range", "bytes=0-1,4-5")], 200, "0123456789", ""),
            (&[("range", "items=0-1")], 200, "0123456789", ""),
            (
                &[("range", "bytes=0-1"), ("if-range", &*etag)],
                206,
                "01",
                "bytes 0-1/10",
            ),
            (
                &[("range", "bytes=0-1"), ("if-range", &*weak)],
                200,
                "0123456789",
                "",
            ),
            (
                &[("range", "bytes=0-1"), ("if-range", AT)],
                206,
                "01",
                "bytes 0-1/10",
            ),
            (
                &[("range", "bytes=0-1"), ("if-range", EARLY)],
                200,
                "0123456789",
                "",
            ),
            (
                &[("range", "bytes=0-1"), ("if-none-match", &*etag)],
                304,
                "",
                "",
            ),
        ] {
            let got = get(&gateway, path, headers).await;
            assert_eq!(got.status, status, "{path} {headers:?}");
            assert_eq!(got.text(), body, "{path} {headers:?}");
            assert_eq!(got.header("content-range"), range, "{path} {headers:?}");
            if status == 304 {
                assert_eq!(got.header("etag"), etag);
                assert_eq!(got.header("cache-control"), "no-cache");
                assert_eq!(got.header("content-type"), "");
            }
        }
        let head = ask(&gateway, Method::HEAD, path, &[("range", "bytes=0-1")]).await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, "10")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_are_chosen_by_what_the_client_accepts() {
    let files = Files::new(&[
        ("app.js", "plain"),
        ("app.js.br", "brotli"),
        ("app.js.gz", "gzip"),
        ("old.js", "new"),
        ("old.js.gz", "of the file before"),
        ("alone.js", "alone"),
    ]);
    set_modified(&files.path("site/old.js.gz"), 1_700_000_000);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut tags = std::collections::BTreeSet::new();
    for (accepted, coding, body) in [
        ("", "", "plain"),
        ("gzip, br", "br", "brotli"),
        ("gzip;q=1, br;q=0.5", "gzip", "gzip"),
        ("br;q=0, gzip;q=0.1", "gzip", "gzip"),
        ("zstd", "", "plain"),
        ("*", "br", "brotli"),
        ("identity;q=1, *;q=0.5", "", "plain"),
        ("*;q=0", "", "plain"),
    ] {
        let got = get(&gateway, "/app.js", &[("accept-encoding", accepted)]).await;
        assert_eq!(got.header("content-encoding"), coding, "{accepted}");
        assert_eq!(got.text(), body, "{accepted}");
        assert_eq!(got.header("vary"), "accept-encoding");
        assert_eq!(got.header("content-type"), "text/javascript; charset=utf-8");
        tags.insert(got.header("etag").to_owned());
        // A range and a validator are of the form that is sent.
        let range = [
            ("accept-encoding", accepted),
            ("range", "bytes=0-2"),
            ("if-range", got.header("etag")),
        ];
        let part = get(&gateway, "/app.js", &range).await;
        assert_eq!((part.status.as_u16(), part.text()), (206, &body[..3]));
        let known = [
            ("accept-encoding", accepted),
            ("if-none-match", got.header("etag")),
        ];
        let known = get(&gateway, "/app.js", &known).await;
        assert_eq!(
            (known.status.as_u16(), known.header("vary")),
            (304, "accept-encoding")
        );
    }
    assert_eq!(tags.len(), 3);
    let old = get(&gateway, "/old.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!((old.text(), old.header("vary")), ("new", ""));
    let alone = get(&gateway, "/alone.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!((alone.text(), alone.header("vary")), ("alone", ""));
    // The sibling itself is a file, too.
    assert_eq!(get(&gateway, "/app.js.br", &[]).await.text(), "brotli");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compressed_where_the_route_wants_it() {
    let text = "compressible text, again and again. ".repeat(200);
    let files = Files::new(&[("a.txt", &*text), ("short.txt", "short"), ("a.png", &*text)]);
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/*", "compress = true"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..2 {
        let got = get(&gateway, "/a.txt", &[("accept-encoding", "gzip")]).await;
        assert_eq!(got.header("content-encoding"), "gzip");
        assert_eq!(got.header("vary"), "accept-encoding");
        assert!(got.body.len() < text.len() / 4);
        let mut decoded = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&*got.body);
        std::io::Read::read_to_string(&mut decoder, &mut decoded).unwrap();
        assert_eq!(decoded, text);
        let plain = get(&gateway, "/a.txt", &[]).await;
        assert_eq!(
            (plain.text(), plain.header("vary")),
            (&*text, "accept-encoding")
        );
        assert_ne!(plain.header("etag"), got.header("etag"));
    }
    for path in ["/short.txt", "/a.png"] {
        let got = get(&gateway, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(
            (got.header("content-encoding"), got.header("vary")),
            ("", ""),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_the_directory_is_served() {
    let files = Files::new(&[("index.html", "i"), ("a/file.txt", "inside")]);
    files.write("secret.txt", b"secret");
    symlink("../secret.txt", files.path("site/up.txt")).unwrap();
    symlink(files.path("secret.txt"), files.path("site/absolute.txt")).unwrap();
    symlink("a/file.txt", files.path("site/link.txt")).unwrap();
    symlink(files.0.path(), files.path("site/tree")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, files.path("site/pipe"), 0o600.into()).unwrap();
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.site("app", "fallback = \"index.html\""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    assert_eq!(get(&gateway, "/link.txt", &[]).await.text(), "inside");
    for path in [
        "/up.txt",
        "/absolute.txt",
        "/tree/secret.txt",
        "/pipe",
        "/a",
        "/a/..%2F..%2Fsecret.txt",
        "/..%5csecret.txt",
        "/%2e%2e/secret.txt",
        "/../secret.txt",
        "/a/../../secret.txt",
        "/%00",
        "/a/file.txt%00.js",
        "//secret.txt",
        "/....//secret.txt",
        "/.%2e/secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert!(
            [400, 404].contains(&response.status),
            "{path}: {response:?}"
        );
        assert!(!response.body.contains("secret\""), "{path}");
        assert_ne!(response.body, "secret", "{path}");
    }
}
