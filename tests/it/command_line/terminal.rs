//! On a terminal: prompts without echo, progress bars, clicks until Ctrl-C.

use std::process::Command;

use rexpect::session::{PtySession, spawn_command};
use tokio::task::block_in_place;

use super::Shell;
use crate::harness::Stack;
use crate::harness::user::text;

const PATIENCE_MS: u64 = 30_000;

/// Runs a command on a terminal that echoes input, unless the program disables that.
fn on_terminal(command: Command) -> PtySession {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"stty echo rows 24 cols 120 && exec "$0" "$@""#]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear().env("PATH", "/usr/bin:/bin");
    shell.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    spawn_command(shell, Some(PATIENCE_MS)).unwrap()
}

/// Decodes the output of a session, which has one character per byte.
fn text_of(bytes: &str) -> String {
    let bytes: Vec<u8> = bytes.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    String::from_utf8(bytes).unwrap()
}

/// The remaining output, after a successful exit.
fn finish(mut session: PtySession) -> String {
    let rest = session.exp_eof().unwrap();
    let status = session.process().wait().unwrap();
    let shown = format!("{status:?}");
    assert!(shown.ends_with(", 0)"), "{shown}: {rest}");
    text_of(&rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn password_prompts_have_no_echo() {
    let stack = Stack::small().await;
    let ada = Shell::new(&stack);
    block_in_place(|| {
        let mut session = on_terminal(ada.command(&["signup"]));
        session.exp_string("Email: ").unwrap();
        session.send_line(&ada.email).unwrap();
        let mut seen = session.exp_string("Password: ").unwrap();
        assert!(seen.contains(&ada.email), "input is echoed: {seen}");
        session.send_line(&ada.password).unwrap();
        seen += &session.exp_string("Repeat password: ").unwrap();
        session.send_line(&ada.password).unwrap();
        seen += &finish(session);
        assert!(seen.contains(&ada.email), "{seen}");
        assert!(!seen.contains(&ada.password), "{seen}");

        let mut session = on_terminal(ada.command(&["login", &ada.email]));
        session.exp_string("Password: ").unwrap();
        session.send_line(&ada.password).unwrap();
        let seen = finish(session);
        assert!(!seen.contains(&ada.password), "{seen}");

        let mut session = on_terminal(ada.command(&["signup", "grace@example.org"]));
        session.exp_string("Password: ").unwrap();
        session.send_line(&ada.password).unwrap();
        session.exp_string("Repeat password: ").unwrap();
        session.send_line("a typing mistake").unwrap();
        session.exp_string("differ").unwrap();
    });
    ada.record_tokens();
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_show_a_progress_bar() {
    let stack = Stack::small().await;
    let ada = Shell::signed_up(&stack);
    let content = "All work and no play. ".repeat(200_000);
    std::fs::write(ada.home.path().join("long.txt"), &content).unwrap();
    block_in_place(|| {
        let mut session = on_terminal(ada.command(&["upload", "long.txt"]));
        session.exp_string("long.txt [").unwrap();
        session.exp_string("=").unwrap();
        session.exp_string("MiB/4.20 MiB").unwrap();
        let rest = finish(session);
        assert!(rest.contains("ready"), "{rest}");
        assert!(rest.contains('│'), "a table with borders: {rest}");

        let fails = |color: Option<&str>| {
            let mut command = ada.command(&["assets", "get", "ast_00000000000000000000000000"]);
            if let Some(value) = color {
                command.env("NO_COLOR", value);
            }
            on_terminal(command).exp_eof().unwrap()
        };
        assert!(fails(None).contains("\x1b[31merror:"), "{}", fails(None));
        assert!(!fails(Some("1")).contains('\x1b'), "{}", fails(Some("1")));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_are_printed_until_ctrl_c() {
    let stack = Stack::small().await;
    let ada = Shell::signed_up(&stack);
    let link = ada
        .run(&["--json", "links", "create", "https://example.org"])
        .json();
    let slug = text(&link, "/slug");
    let path = format!("/s/{slug}");
    let mut session = block_in_place(|| {
        let mut session = on_terminal(ada.command(&["links", "clicks", &slug]));
        session.exp_string("press Ctrl-C to stop").unwrap();
        session.exp_regex("TIME +DEVICE.*UNIQUE").unwrap();
        session
    });
    // The first clicks may precede the subscription.
    let visitor = stack.client();
    let mut shown = String::new();
    for _ in 0..1000 {
        visitor.get(&path).await.expect(302);
        shown.extend(std::iter::from_fn(|| session.try_read()));
        if shown.contains("person") {
            break;
        }
    }
    assert!(shown.contains("desktop"), "{shown}");
    block_in_place(|| {
        session.send_control('c').unwrap();
        finish(session);
    });

    let mut command = ada.command(&["--json", "links", "clicks", &slug, "--count", "2"]);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        visitor.get(&path).await.expect(302);
    }
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let clicks: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (output.status.code(), clicks.len()),
        (Some(0), 2),
        "{lines}"
    );
    assert_eq!(clicks[0]["bot"], false);
    ada.expect_no_secrets();
}
