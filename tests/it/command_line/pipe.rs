//! In a pipe: no colors, no progress bars, exit codes, JSON.

use std::process::Stdio;

use serde_json::json;

use super::Shell;
use crate::harness::user::text;
use crate::harness::{Options, Stack, eventually, files, ports};

#[tokio::test(flavor = "multi_thread")]
async fn files_are_uploaded_and_downloaded() {
    let stack = Stack::small().await;
    let ada = Shell::signed_up(&stack);
    let me = ada.run(&["--json", "whoami"]).json();
    assert_eq!(me["user"]["email"], json!(ada.email));

    std::fs::write(ada.home.path().join("one.txt"), "the first").unwrap();
    std::fs::write(ada.home.path().join("two.txt"), "the second one").unwrap();
    let done = ada
        .run(&["upload", "--public", "one.txt", "two.txt"])
        .expect(0);
    assert_eq!(done.stderr, "", "no progress bar in a pipe");
    assert!(
        done.stdout.contains("one.txt") && done.stdout.contains("14 B"),
        "{done:?}"
    );
    let listed = ada
        .run(&["--json", "assets", "list", "--visibility", "public"])
        .json();
    assert_eq!(listed[0]["file_name"], "two.txt", "the newest first");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let (status, body) = files::fetch(&text(&listed, "/1/url")).await;
    assert_eq!((status, body.as_slice()), (200, b"the first".as_slice()));

    let id = text(&listed, "/0/id");
    ada.run(&["assets", "get", &id]).expect(0);
    let exists = ada.run(&["assets", "download", &id]).expect(2);
    assert!(exists.stderr.contains("--force"), "{exists:?}");
    ada.run(&["assets", "download", &id, "-o", "copy.txt"])
        .expect(0);
    let copy = std::fs::read_to_string(ada.home.path().join("copy.txt")).unwrap();
    assert_eq!(copy, "the second one");
    let out = ada.run(&["assets", "download", &id, "-o", "-"]).expect(0);
    assert_eq!(out.stdout, "the second one");
    ada.run(&["assets", "delete", &id]).expect(0);
    let gone = ada.run(&["assets", "get", &id]).expect(1);
    assert!(gone.stderr.contains("code not_found, request "), "{gone:?}");

    // A failure does not stop the others.
    let some = ada.run(&["upload", "none.txt", "one.txt"]).expect(2);
    assert!(some.stderr.contains("none.txt"), "{some:?}");
    assert!(some.stdout.contains("one.txt"), "{some:?}");
    ada.expect_no_secrets();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_created_changed_and_deleted() {
    let stack = Stack::small().await;
    let ada = Shell::signed_up(&stack);
    let made = ada
        .run(&[
            "--json",
            "links",
            "create",
            "https://example.org/a",
            "--title",
            "A title",
        ])
        .json();
    let (id, slug) = (text(&made, "/id"), text(&made, "/slug"));
    let table = ada
        .run(&["links", "list", "--search", "EXAMPLE.ORG"])
        .expect(0)
        .stdout;
    let (head, row) = table.split_once('\n').unwrap();
    assert!(
        head.trim().starts_with("ID") && row.contains(&slug),
        "{table}"
    );
    assert_eq!(
        ada.run(&["--json", "links", "list", "--search", "nothing"])
            .json(),
        json!([])
    );

    let change = [
        "--json",
        "links",
        "edit",
        &slug,
        "--no-title",
        "--max-clicks",
        "3",
        "--disable",
    ];
    let changed = ada.run(&change).json();
    let now = [
        &changed["title"],
        &changed["max_clicks"],
        &changed["enabled"],
    ];
    assert_eq!(now, [&json!(null), &json!(3), &json!(false)]);
    let same = ada.run(&["--json", "links", "get", &id]).json();
    assert_eq!(same["slug"], json!(slug));

    let code = ada.run(&["links", "qr", &slug]).expect(0).stdout;
    assert!(
        code.contains('█') && code.contains(&text(&made, "/short_url")),
        "{code}"
    );
    let other = ada
        .run(&["links", "qr", "https://example.org"])
        .expect(0)
        .stdout;
    assert_ne!(code.lines().next(), other.lines().next());

    let wrong = ada.run(&["links", "create", "nonsense"]).expect(1);
    for part in ["/input/url", "(invalid_url)", "request "] {
        assert!(wrong.stderr.contains(part), "{part}: {wrong:?}");
    }
    let wrong = ada
        .run(&["--json", "links", "create", "nonsense"])
        .expect(1);
    let error: serde_json::Value = serde_json::from_str(&wrong.stderr).unwrap();
    assert_eq!(error["error"]["errors"][0]["pointer"], "/input/url");
    ada.run(&["links", "delete", &slug]).expect(0);
    ada.run(&["links", "get", &slug]).expect(1);
    ada.expect_no_secrets();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_stored_renewed_and_ended() {
    let stack = Stack::start(Options::short_tokens()).await;
    let ada = Shell::new(&stack);
    let logged_out = ada.run(&["whoami"]).expect(1);
    assert!(
        logged_out.stderr.contains("not logged in"),
        "{logged_out:?}"
    );
    ada.run_with(&["signup", &ada.email], &ada.password)
        .expect(0);

    let kept = || std::fs::read_to_string(ada.session_file()).unwrap();
    let first = kept();
    eventually("a later command renews the session", || async {
        ada.run(&["whoami"]).expect(0);
        (kept() != first).then_some(())
    })
    .await;
    ada.run(&["whoami"]).expect(0);

    let before = kept();
    let wrong = ada
        .run_with(&["login", &ada.email], "a wrong password indeed")
        .expect(1);
    assert!(wrong.stderr.contains("invalid_credentials"), "{wrong:?}");
    assert_eq!(kept(), before, "a failed login changes nothing");
    ada.run_with(&["login", &ada.email], &ada.password)
        .expect(0);
    assert_ne!(kept(), before);

    // Ended elsewhere: an error, and the file is removed.
    let sessions = "/v1/core/sessions/current";
    let kept: serde_json::Value = serde_json::from_str(&kept()).unwrap();
    let token = text(&kept, "/session/access_token");
    let elsewhere = stack.client().with_token(&token);
    elsewhere.delete(sessions).await.expect(204);
    let ended = ada.run(&["whoami"]).expect(1);
    assert!(ended.stderr.contains("`quartet login`"), "{ended:?}");
    assert!(!ada.session_file().exists());

    ada.run_with(&["login", &ada.email], &ada.password)
        .expect(0);
    ada.run(&["logout"]).expect(0);
    assert!(!ada.session_file().exists());
    ada.run(&["logout"]).expect(0);
    ada.expect_no_secrets();
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_distinguish_failures() {
    let stack = Stack::start(Options::gateway_only()).await;
    let ada = Shell::new(&stack);
    ada.run(&[]).expect(2);
    ada.run(&["links", "edit", "abc"]).expect(2);
    ada.run(&["--url", "nonsense", "whoami"]).expect(2);
    ada.run(&["login"]).expect(2);
    let unused = format!("http://127.0.0.1:{}", ports::take());
    let words = ["--url", &unused, "login", "ada@example.org"];
    let unreachable = ada.run_with(&words, "a long enough password").expect(3);
    assert!(
        unreachable.stderr.contains("cannot be reached"),
        "{unreachable:?}"
    );
    let script = ada.run(&["completions", "bash"]).expect(0).stdout;
    assert!(script.contains("complete -F"), "{script}");

    // A reader that closes the pipe early is not an error.
    let mut command = ada.command(&["completions", "zsh"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
    ada.expect_no_secrets();
}
