//! Static sites, asked by strangers: methods, paths, ranges and readers that no browser has.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::join_all;
use http::{Method, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    DEADLINE, Gateway, eventually, exchange,
    sites::{APP, Files, HTML, ask, get, set_modified, site_route},
};

async fn gateway(files: &Files, site: &str) -> Gateway {
    let settings = [
        "shipped_routes = false\n[server]\nhttp2 = true\n".to_owned(),
        files.site("app", site),
        site_route("app", "/*", ""),
    ];
    Gateway::start(&settings.concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_change_something_are_refused() {
    let files = Files::new(&APP);
    let gateway = gateway(&files, "fallback = \"index.html\"").await;
    for method in [
        "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "QUERY",
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in ["/app.css", "/none", "/docs"] {
            let got = ask(&gateway, method.clone(), path, &[HTML]).await;
            assert_eq!(
                (got.status.as_u16(), got.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
        }
    }
    // A body is neither read as the next request nor in the way of it.
    let request = b"GET /app.css HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /about.html HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut received = Vec::new();
    let all = stream.read_to_end(&mut received);
    timeout(DEADLINE, all).await.unwrap().unwrap();
    let text = String::from_utf8(received).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), 2, "{text}");
    assert!(text.contains("p {}HTTP/1.1 200") && text.ends_with("<p>about</p>"));
}

/// The slash of a directory leads nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_stay_on_their_host() {
    let files = Files::new(&[
        ("evil.example/index.html", "e"),
        ("a b/index.html", "e"),
        ("a%0d%0aset-cookie: b/index.html", "e"),
    ]);
    let gateway = gateway(&files, "").await;
    for path in [
        "/evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/%5Cevil.example",
        "/%2Fevil.example",
        "/%2F%2Fevil.example",
        "/.//evil.example",
        "/./evil.example",
        "/a/..//evil.example",
        "//evil.example?//b",
        "/a%20b",
        "/a%0d%0aset-cookie:%20b",
        "/a%250d%250aset-cookie:%20b",
        "http://evil.example//evil.example",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let got = exchange(gateway.public, request.as_bytes()).await;
        let head = got.head.to_ascii_lowercase();
        assert!(!head.contains("\r\nset-cookie"), "{path}: {head}");
        let location = head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        if let Some(location) = location {
            assert_eq!(got.status, 301, "{path}");
            assert!(
                location.starts_with('/') && !location.starts_with("//"),
                "{path}: {location}"
            );
            assert!(!location.contains('\\'), "{path}: {location}");
        } else {
            assert!([400, 404].contains(&got.status), "{path}: {got:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_missing() {
    let files = Files::new(&APP);
    symlink("loop", files.path("site/loop")).unwrap();
    symlink("/dev/zero", files.path("site/zero.bin")).unwrap();
    symlink("/proc/self/environ", files.path("site/environ.txt")).unwrap();
    let _socket = UnixListener::bind(files.path("site/socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, files.path("site/app.css.gz"), 0o600.into()).unwrap();
    fs::create_dir(files.path("site/about.html.gz")).unwrap();
    let gateway = gateway(&files, "").await;
    let (long, deep) = ("a".repeat(300), "a/".repeat(3000));
    for path in [
        "loop",
        "loop/a",
        "zero.bin",
        "environ.txt",
        "socket",
        "app.css.gz",
        "about.html.gz",
        "app.css/a",
        "app.css%0A",
        "%E2%80%AE",
        "~root",
        "index.html::$DATA",
        "index.html.",
        &long,
        &deep,
    ] {
        let got = get(&gateway, &format!("/{path}"), &[]).await;
        // Control characters are refused with any path.
        assert!([400, 404].contains(&got.status.as_u16()), "{path}");
    }
    // Siblings that are no files are none.
    for path in ["/app.css", "/about.html"] {
        let got = get(&gateway, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(
            (got.status.as_u16(), got.header("content-encoding")),
            (200, ""),
            "{path}"
        );
    }
    assert_eq!(get(&gateway, "/", &[]).await.text(), "<p>app</p>");
}

const AT: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const LATER: &str = "Wed, 15 Nov 2023 22:13:20 GMT";

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test(flavor = "multi_thread")]
async fn odd_conditions_and_ranges_get_an_answer() {
    let files = Files::new(&[("a.txt", "0123456789"), ("empty.txt", "")]);
    set_modified(&files.path("site/a.txt"), 1_700_000_000);
    let gateway = gateway(&files, "").await;
    let known = get(&gateway, "/a.txt", &[]).await;
    let etag = known.header("etag").to_owned();
    let (listed, weak) = (format!("\"x,y\" , W/{etag}"), format!("W/{etag}"));
    let many = format!("bytes={}", ["0-"; 1000].join(","));
    for (headers, status, body) in [
        (&[("if-none-match", &*listed)][..], 304, ""),
        (
            &[("if-none-match", "\"x\""), ("if-none-match", &*etag)],
            304,
            "",
        ),
        // The list decides, and not the time.
        (
            &[("if-none-match", "\"x\""), ("if-modified-since", LATER)],
            200,
            "0123456789",
        ),
        (&[("if-modified-since", LATER)], 304, ""),
        (
            &[("if-modified-since", "Tuesday, 14-Nov-23 22:13:20 GMT")],
            304,
            "",
        ),
        (&[("if-modified-since", "yesterday")], 200, "0123456789"),
        (&[("if-none-match", "")], 200, "0123456789"),
        (&[("if-none-match", "\"")], 200, "0123456789"),
        (&[("if-match", &*weak)], 412, ""),
        (&[("if-match", "*"), ("range", "bytes=0-0")], 206, "0"),
        (&[("if-unmodified-since", LATER)], 200, "0123456789"),
        (&[("range", &*many)], 200, "0123456789"),
        (&[("range", "bytes=0-0,-1,5-")], 200, "0123456789"),
        (&[("range", "bytes=5-2")], 200, "0123456789"),
        (&[("range", "bytes=-")], 200, "0123456789"),
        (&[("range", "bytes=")], 200, "0123456789"),
        (&[("range", "bytes=+1-2")], 200, "0123456789"),
        (&[("range", "bytes=0x1-2")], 200, "0123456789"),
        (&[("range", "bytes=-0")], 416, ""),
        (
            &[("range", "bytes=-99999999999999999999")],
            206,
            "0123456789",
        ),
        (&[("range", "bytes=99999999999999999999-")], 416, ""),
        (&[("range", "bytes=18446744073709551615-")], 416, ""),
        (&[("range", "bytes=9-18446744073709551615")], 206, "9"),
        (
            &[("range", "bytes=-18446744073709551615")],
            206,
            "0123456789",
        ),
        (&[("range", "BYTES=1-1")], 206, "1"),
        (
            &[("range", "bytes=1-1"), ("if-range", "")],
            200,
            "0123456789",
        ),
        (
            &[("range", "bytes=1-1"), ("if-range", LATER)],
            200,
            "0123456789",
        ),
        (&[("range", "bytes=1-1"), ("if-range", AT)], 206, "1"),
        (&[("accept-encoding", "identity;q=0")], 200, "0123456789"),
        (
            &[("accept-encoding", "gzip;q=1.5, br;q=, ;q=1")],
            200,
            "0123456789",
        ),
    ] {
        let got = get(&gateway, "/a.txt", headers).await;
        assert_eq!(
            (got.status.as_u16(), got.text()),
            (status, body),
            "{headers:?}"
        );
        assert_eq!(got.header("content-encoding"), "", "{headers:?}");
    }
    for (range, status) in [("bytes=0-", 416), ("bytes=-1", 416), ("bytes=0-0,1-1", 200)] {
        let got = get(&gateway, "/empty.txt", &[("range", range)]).await;
        assert_eq!(got.status.as_u16(), status, "{range}");
    }
}

/// A directory is swapped, and files in it are replaced, while they are read. No response is a
/// mixture, and no validator is of two contents.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_while_files_are_read_mixes_nothing() {
    let files = Files::new(&[]);
    let contents = [("r1", "1".repeat(300_000)), ("r2", "2".repeat(500_000))];
    for (release, text) in &contents {
        files.write_all(release, &[("large.txt", text), ("small.txt", &text[..10])]);
    }
    let _ = fs::remove_dir_all(files.path("site"));
    symlink("r1", files.path("site")).unwrap();
    let gateway = gateway(
        &files,
        "check_interval_ms = 0\nmax_cached_file_bytes = 1000",
    )
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let swaps = {
        let (done, root) = (Arc::clone(&done), files.0.path().to_owned());
        let small = contents.map(|(_, text)| text[..20].to_owned());
        std::thread::spawn(move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                symlink(["r1", "r2"][count % 2], root.join("next")).unwrap();
                fs::rename(root.join("next"), root.join("site")).unwrap();
                fs::write(root.join("new.txt"), &small[count % 2][..10 + count % 2]).unwrap();
                fs::rename(root.join("new.txt"), root.join("r1/other.txt")).unwrap();
            }
            count
        })
    };
    let read = async |path: &str| {
        let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for _ in 0..200 {
            let got = get(&gateway, path, &[]).await;
            if got.status == 200 {
                let first = got.body[0];
                assert!(got.body.iter().all(|byte| *byte == first), "{path}");
                let length = got.body.len();
                assert!(
                    [10, 11, 300_000, 500_000].contains(&length),
                    "{path}: {length}"
                );
                let etag = got.header("etag");
                if !etag.starts_with("W/") {
                    let known = seen.entry(etag.to_owned());
                    assert!(*known.or_insert(got.body.clone()) == got.body, "{path}");
                }
            } else {
                // The other release has no such file, or it was another one three times in a row.
                assert!([404, 503].contains(&got.status.as_u16()), "{path}");
            }
        }
    };
    let readers = ["/large.txt", "/small.txt", "/other.txt", "/large.txt"].map(read);
    join_all(readers).await;
    done.store(true, Ordering::Relaxed);
    assert!(swaps.join().unwrap() > 10);
    let got = get(&gateway, "/small.txt", &[]).await;
    assert_eq!((got.status.as_u16(), got.body.len()), (200, 10));
}

/// Clients that do not read hold a part of their file each, and lose their connection.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_fill_no_memory() {
    let files = Files::new(&[("a.txt", "a")]);
    files.write("site/large.bin", b"");
    let large = fs::File::options()
        .write(true)
        .open(files.path("site/large.bin"))
        .unwrap();
    large.set_len(1 << 30).unwrap();
    let settings = [
        "shipped_routes = false\n[server]\nwrite_timeout_seconds = 2\n".to_owned(),
        files.site("app", ""),
        site_route("app", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    assert_eq!(get(&gateway, "/a.txt", &[]).await.text(), "a");
    let memory = || async { gateway.metric("process_resident_memory_bytes{").await };
    let before = memory().await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        let request = b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut first = [0; 100];
        assert!(
            timeout(DEADLINE, stream.read(&mut first))
                .await
                .unwrap()
                .unwrap()
                > 0
        );
        streams.push(stream);
    }
    let grown = memory().await - before;
    assert!(grown < 100e6, "{grown} bytes for 40 clients");
    eventually("their connections are closed", || async {
        let lines = gateway.lines();
        let cut = lines
            .iter()
            .filter(|line| line["path"] == "/large.bin" && !line["error"].is_null());
        (cut.count() == 40).then_some(())
    })
    .await;
    assert_eq!(get(&gateway, "/a.txt", &[]).await.text(), "a");
}

/// The half of a file that has become shorter is no whole one, over HTTP/2 either.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_resets_its_stream() {
    let files = Files::new(&[("a.txt", "a")]);
    files.write("site/large.bin", &vec![7; 8 << 20]);
    let gateway = gateway(&files, "").await;
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("http://a{path}");
        Request::get(uri).body(()).unwrap()
    };
    let mut send = send.ready().await.unwrap();
    let (response, _) = send.send_request(request("/large.bin"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let first = body.data().await.unwrap().unwrap();
    let file = fs::File::options()
        .write(true)
        .open(files.path("site/large.bin"))
        .unwrap();
    file.set_len(1024).unwrap();
    body.flow_control().release_capacity(first.len()).unwrap();
    let ended = async {
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
        }
        Ok::<_, h2::Error>(())
    };
    let ended = timeout(DEADLINE, ended).await.expect("an end in time");
    assert!(ended.unwrap_err().is_reset());
    // Others of the connection are not touched.
    let mut send = send.ready().await.unwrap();
    let (response, _) = send.send_request(request("/a.txt"), true).unwrap();
    assert_eq!(
        timeout(DEADLINE, response).await.unwrap().unwrap().status(),
        200
    );
}
